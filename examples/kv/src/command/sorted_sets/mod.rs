//! Commands on sorted sets.

use crate::resp::{Encoder, Reply, Version};
use crate::store::SortedSet;

use super::context::{Change, View};
use super::errors::{count, double, is, number, syntax_error};
use super::hashes::{draw_count, draw_places};
use super::lists::{counted_keys, side_and_count};
use super::spec::{
    Keys, ONE_KEY, READ_MOVABLE, READ_SLOW, SHRINK, SHRINK_MOVABLE, SHRINK_SLOW, Spec, TWO_KEYS, WRITE_MOVABLE,
    WRITE_SLOW,
};

mod combine;
mod range;

use combine::Rule;
use range::By;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("zadd", -4, ONE_KEY, add).about("sorted-set", "Sets the scores of members."),
    Spec::read("zcard", 2, ONE_KEY, |view, rest, out| {
        out.integer(number(view.collection::<SortedSet>(rest[0])?.map_or(0, SortedSet::len)));
        Ok(())
    })
    .about("sorted-set", "Counts the members."),
    Spec::read("zcount", 4, ONE_KEY, |view, rest, out| range::count_between(view, rest, By::Score, out))
        .about("sorted-set", "Counts the members in a range of scores."),
    Spec::read("zdiff", -3, Keys::Counted(1), |view, rest, out| combine::read(view, rest, Rule::Difference, out))
        .flags(READ_MOVABLE)
        .about("sorted-set", "Returns the members of the first set that no other has."),
    Spec::write("zdiffstore", -4, Keys::FirstAndCounted, |change, rest, out| {
        combine::store(change, rest, Rule::Difference, out)
    })
    .flags(WRITE_MOVABLE)
    .about("sorted-set", "Stores the members of the first set that no other has."),
    Spec::write("zincrby", 4, ONE_KEY, increment).about("sorted-set", "Adds to the score of a member."),
    Spec::read("zinter", -3, Keys::Counted(1), |view, rest, out| combine::read(view, rest, Rule::Intersection, out))
        .flags(READ_MOVABLE)
        .about("sorted-set", "Returns the members that all sets have."),
    Spec::read("zintercard", -3, Keys::Counted(1), combine::intersection_count)
        .flags(READ_MOVABLE)
        .about("sorted-set", "Counts the members that all sets have."),
    Spec::write("zinterstore", -4, Keys::FirstAndCounted, |change, rest, out| {
        combine::store(change, rest, Rule::Intersection, out)
    })
    .flags(WRITE_MOVABLE)
    .about("sorted-set", "Stores the members that all sets have."),
    Spec::read("zlexcount", 4, ONE_KEY, |view, rest, out| range::count_between(view, rest, By::Name, out))
        .about("sorted-set", "Counts the members in a range of names."),
    Spec::write("zmpop", -4, Keys::Counted(1), pop_from_first)
        .flags(SHRINK_MOVABLE)
        .long()
        .about("sorted-set", "Removes members from the first set that has some, and returns them."),
    Spec::read("zmscore", -3, ONE_KEY, |view, rest, out| {
        let set = view.collection::<SortedSet>(rest[0])?;
        out.array(rest.len() - 1);
        for member in &rest[1..] {
            put_score(set.and_then(|set| set.score(member)), out);
        }
        Ok(())
    })
    .about("sorted-set", "Returns the scores of several members."),
    Spec::write("zpopmax", -2, ONE_KEY, |change, rest, out| pop(change, rest, false, out))
        .flags(SHRINK)
        .long()
        .about("sorted-set", "Removes the members with the highest scores and returns them."),
    Spec::write("zpopmin", -2, ONE_KEY, |change, rest, out| pop(change, rest, true, out))
        .flags(SHRINK)
        .long()
        .about("sorted-set", "Removes the members with the lowest scores and returns them."),
    Spec::read("zrandmember", -2, ONE_KEY, random).flags(READ_SLOW).about("sorted-set", "Returns any members."),
    Spec::read("zrange", -4, ONE_KEY, range::range)
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of places, scores or names."),
    Spec::read("zrangebylex", -4, ONE_KEY, |view, rest, out| range::by(view, rest, By::Name, false, out))
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of names."),
    Spec::read("zrangebyscore", -4, ONE_KEY, |view, rest, out| range::by(view, rest, By::Score, false, out))
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of scores."),
    Spec::write("zrangestore", -5, TWO_KEYS, range::store)
        .flags(WRITE_SLOW)
        .about("sorted-set", "Stores the members in a range of places, scores or names."),
    Spec::read("zrank", 3, ONE_KEY, |view, rest, out| rank(view, rest, false, out))
        .about("sorted-set", "Returns the place of a member, from the lowest score."),
    Spec::write("zrem", -3, ONE_KEY, |change, rest, out| {
        let removed = change
            .update(rest[0], |set: &mut SortedSet| rest[1..].iter().filter(|member| set.remove(member)).count())?;
        out.integer(number(removed));
        Ok(())
    })
    .flags(SHRINK)
    .about("sorted-set", "Removes members."),
    Spec::write("zremrangebylex", 4, ONE_KEY, |change, rest, out| range::remove(change, rest, By::Name, out))
        .flags(SHRINK_SLOW)
        .about("sorted-set", "Removes the members in a range of names."),
    Spec::write("zremrangebyrank", 4, ONE_KEY, |change, rest, out| range::remove(change, rest, By::Place, out))
        .flags(SHRINK_SLOW)
        .about("sorted-set", "Removes the members in a range of places."),
    Spec::write("zremrangebyscore", 4, ONE_KEY, |change, rest, out| range::remove(change, rest, By::Score, out))
        .flags(SHRINK_SLOW)
        .about("sorted-set", "Removes the members in a range of scores."),
    Spec::read("zrevrange", -4, ONE_KEY, |view, rest, out| range::by(view, rest, By::Place, true, out))
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of places, from the highest score."),
    Spec::read("zrevrangebylex", -4, ONE_KEY, |view, rest, out| range::by(view, rest, By::Name, true, out))
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of names, from the last."),
    Spec::read("zrevrangebyscore", -4, ONE_KEY, |view, rest, out| range::by(view, rest, By::Score, true, out))
        .flags(READ_SLOW)
        .about("sorted-set", "Returns the members in a range of scores, from the highest."),
    Spec::read("zrevrank", 3, ONE_KEY, |view, rest, out| rank(view, rest, true, out))
        .about("sorted-set", "Returns the place of a member, from the highest score."),
    Spec::read("zscore", 3, ONE_KEY, |view, rest, out| {
        put_score(view.collection::<SortedSet>(rest[0])?.and_then(|set| set.score(rest[1])), out);
        Ok(())
    })
    .about("sorted-set", "Returns the score of a member."),
    Spec::read("zunion", -3, Keys::Counted(1), |view, rest, out| combine::read(view, rest, Rule::Union, out))
        .flags(READ_MOVABLE)
        .about("sorted-set", "Returns the members that any set has."),
    Spec::write("zunionstore", -4, Keys::FirstAndCounted, |change, rest, out| {
        combine::store(change, rest, Rule::Union, out)
    })
    .flags(WRITE_MOVABLE)
    .about("sorted-set", "Stores the members that any set has."),
];

fn put_score(score: Option<f64>, out: &mut Encoder<'_>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

/// Members, and their scores if they are wanted: as pairs under RESP3, flat under RESP2.
fn put_members<'a>(
    members: impl ExactSizeIterator<Item = (f64, &'a [u8])>,
    with_scores: bool,
    out: &mut Encoder<'_>,
) -> Done {
    let is_flat = out.version() == Version::Resp2;
    out.array(members.len() * if with_scores && is_flat { 2 } else { 1 });
    for (score, member) in members {
        if with_scores && !is_flat {
            out.array(2);
        }
        out.bulk(member);
        if with_scores {
            out.double(score);
        }
        out.check_size()?;
    }
    Ok(())
}

/// A score and a member.
type Scored<'a> = (f64, &'a [u8]);

/// The options of `ZADD`.
#[derive(Default, Clone, Copy)]
struct AddOptions {
    if_absent: bool,
    if_present: bool,
    if_greater: bool,
    if_less: bool,
    counts_changes: bool,
    increments: bool,
}

impl AddOptions {
    /// The options, and the scores and members behind them.
    fn parse<'a>(rest: &[&'a [u8]]) -> Result<(Self, Vec<Scored<'a>>), Reply> {
        let mut options = Self::default();
        let mut taken = 0;
        for option in rest {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => options.if_absent = true,
                b"xx" => options.if_present = true,
                b"gt" => options.if_greater = true,
                b"lt" => options.if_less = true,
                b"ch" => options.counts_changes = true,
                b"incr" => options.increments = true,
                _ => break,
            }
            taken += 1;
        }
        let pairs = &rest[taken..];
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(syntax_error());
        }
        if options.if_absent && options.if_present {
            return Err(Reply::error("ERR XX and NX options at the same time are not compatible"));
        }
        if options.if_greater && (options.if_less || options.if_absent) || options.if_less && options.if_absent {
            return Err(Reply::error("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if options.increments && pairs.len() > 2 {
            return Err(Reply::error("ERR INCR option supports a single increment-element pair"));
        }
        let pairs = pairs.chunks_exact(2).map(|pair| Ok((double(pair[0])?, pair[1])));
        Ok((options, pairs.collect::<Result<_, Reply>>()?))
    }

    fn allows(self, before: Option<f64>, score: f64) -> bool {
        match before {
            None => !self.if_present,
            Some(before) => {
                !self.if_absent && (!self.if_greater || score > before) && (!self.if_less || score < before)
            }
        }
    }
}

pub(super) fn add(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (options, pairs) = AddOptions::parse(&rest[1..])?;
    if options.increments {
        return increment_by(change, rest[0], options, pairs[0], out);
    }
    let (added, changed) = change.update(rest[0], |set: &mut SortedSet| {
        let (mut added, mut changed) = (0, 0);
        for (score, member) in pairs {
            let before = set.score(member);
            if options.allows(before, score) && before != Some(score) {
                set.set(member, score);
                added += usize::from(before.is_none());
                changed += 1;
            }
        }
        (added, changed)
    })?;
    out.integer(number(if options.counts_changes { changed } else { added }));
    Ok(())
}

fn increment(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let by = double(rest[1])?;
    increment_by(change, rest[0], AddOptions::default(), (by, rest[2]), out)
}

fn increment_by(
    change: &mut Change<'_>,
    key: &[u8],
    options: AddOptions,
    (by, member): (f64, &[u8]),
    out: &mut Encoder<'_>,
) -> Done {
    let before = change.collection::<SortedSet>(key)?.and_then(|set| set.score(member));
    let score = before.unwrap_or(0.0) + by;
    if score.is_nan() {
        return Err(Reply::error("ERR resulting score is not a number (NaN)"));
    }
    if !options.allows(before, score) {
        out.null();
        return Ok(());
    }
    change.update(key, |set: &mut SortedSet| set.set(member, score))?;
    out.double(score);
    Ok(())
}

fn rank(view: &View<'_>, rest: &[&[u8]], is_reversed: bool, out: &mut Encoder<'_>) -> Done {
    let set = view.collection::<SortedSet>(rest[0])?;
    match set.and_then(|set| Some((set, set.rank(rest[1])?))) {
        Some((set, rank)) => out.integer(number(if is_reversed { set.len() - 1 - rank } else { rank })),
        None => out.null(),
    }
    Ok(())
}

/// Removes members from an end and returns them.
pub(super) fn take(
    change: &mut Change<'_>,
    key: &[u8],
    is_lowest: bool,
    wanted: usize,
) -> Result<Vec<(f64, Vec<u8>)>, Reply> {
    let taken = change.update(key, |set: &mut SortedSet| {
        let count = wanted.min(set.len());
        let owned = |(score, member): (f64, &[u8])| (score, member.to_vec());
        if is_lowest {
            let taken = set.iter_from(0).take(count).map(owned).collect();
            set.remove_range(0, count);
            return taken;
        }
        let taken: Vec<_> = set.iter_back_from(set.len()).take(count).map(owned).collect();
        set.remove_range(set.len() - count, set.len());
        taken
    })?;
    Ok(taken)
}

fn pop(change: &mut Change<'_>, rest: &[&[u8]], is_lowest: bool, out: &mut Encoder<'_>) -> Done {
    let wanted = match rest[1..] {
        [] => None,
        [wanted] => Some(count(wanted)?),
        _ => return Err(syntax_error()),
    };
    let taken = take(change, rest[0], is_lowest, wanted.unwrap_or(1))?;
    let members = taken.iter().map(|(score, member)| (*score, member.as_slice()));
    match (wanted, taken.first()) {
        (None, Some((score, member))) => {
            out.array(2);
            out.bulk(member);
            out.double(*score);
        }
        _ => put_members(members, true, out)?,
    }
    Ok(())
}

pub(super) fn pop_from_first(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (keys, options) = counted_keys(rest, syntax_error)?;
    let side = |side: &[u8]| match side.to_ascii_lowercase().as_slice() {
        b"min" => Ok(true),
        b"max" => Ok(false),
        _ => Err(syntax_error()),
    };
    let (is_lowest, wanted) = side_and_count(options, side)?;
    for key in keys {
        if change.collection::<SortedSet>(key)?.is_none() {
            continue;
        }
        let taken = take(change, key, is_lowest, wanted)?;
        out.array(2);
        out.bulk(key);
        out.array(taken.len());
        for (score, member) in taken {
            out.array(2);
            out.bulk(&member);
            out.double(score);
        }
        return Ok(());
    }
    out.null_array();
    Ok(())
}

fn random(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let set = view.collection::<SortedSet>(rest[0])?;
    let Some(wanted) = rest.get(1) else {
        out.bulk_or_null(set.and_then(|set| Some(set.at(view.random_below(set.len()))?.1)));
        return Ok(());
    };
    let wanted = draw_count(wanted)?;
    let with_scores = match rest[2..] {
        [] => false,
        [option] if is(option, "withscores") => true,
        _ => return Err(syntax_error()),
    };
    if with_scores && !(i64::MIN / 2..=i64::MAX / 2).contains(&wanted) {
        return Err(Reply::error("ERR value is out of range"));
    }
    let places = set.map_or(Ok(Vec::new()), |set| draw_places(view, set.len(), wanted))?;
    let members: Vec<_> = set.into_iter().flat_map(|set| places.iter().filter_map(|place| set.at(*place))).collect();
    put_members(members.into_iter(), with_scores, out)
}
