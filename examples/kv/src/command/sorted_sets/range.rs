//! Ranges of a sorted set.

use crate::resp::{Encoder, Reply};
use crate::store::{SortedSet, parse_double};

use super::super::context::{Change, View};
use super::super::errors::{integer, is, number, syntax_error};
use super::super::strings::within;
use super::{Done, put_members};

/// The meaning of the ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Place,
    Score,
    Name,
}

/// The ends of a range, both within it.
#[derive(Debug, Clone, Copy)]
enum Ends<'a> {
    Places(i64, i64),
    Scores(Bound<f64>, Bound<f64>),
    Names(NameBound<'a>, NameBound<'a>),
}

#[derive(Debug, Clone, Copy)]
struct Bound<T> {
    value: T,
    is_excluded: bool,
}

#[derive(Debug, Clone, Copy)]
enum NameBound<'a> {
    Lowest,
    Highest,
    Name(Bound<&'a [u8]>),
}

/// A range with its options.
struct Range<'a> {
    ends: Ends<'a>,
    is_reversed: bool,
    with_scores: bool,
    /// Members to be skipped, and the number of those to be taken. Negative ones take none, or all.
    limit: Option<(i64, i64)>,
}

impl<'a> Ends<'a> {
    fn parse(by: By, low: &'a [u8], high: &'a [u8]) -> Result<Self, Reply> {
        Ok(match by {
            By::Place => Self::Places(integer(low)?, integer(high)?),
            By::Score => Self::Scores(score_bound(low)?, score_bound(high)?),
            By::Name => Self::Names(name_bound(low)?, name_bound(high)?),
        })
    }

    /// The places from the first to behind the last member.
    fn places(self, set: &SortedSet, is_reversed: bool) -> (usize, usize) {
        let (start, end) = match self {
            Self::Places(start, end) => {
                let (start, end) = within(set.len(), start, end).unwrap_or((0, 0));
                if is_reversed { (set.len() - end, set.len() - start) } else { (start, end) }
            }
            Self::Scores(low, high) => (
                set.place(|score, _| score < low.value || low.is_excluded && score <= low.value),
                set.place(|score, _| score < high.value || !high.is_excluded && score <= high.value),
            ),
            Self::Names(low, high) => {
                (set.place(|_, name| low.is_above(name)), set.place(|_, name| high.reaches(name)))
            }
        };
        (start, end.max(start))
    }
}

impl NameBound<'_> {
    /// Returns true if a range that begins here does not have the name, because it is too low.
    fn is_above(&self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::Name(bound) => name < bound.value || bound.is_excluded && name == bound.value,
        }
    }

    /// Returns true if a range that ends here goes as far as the name.
    fn reaches(&self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Highest => true,
            Self::Name(bound) => name < bound.value || !bound.is_excluded && name == bound.value,
        }
    }
}

fn score_bound(text: &[u8]) -> Result<Bound<f64>, Reply> {
    let (is_excluded, text) = match text {
        [b'(', text @ ..] => (true, text),
        text => (false, text),
    };
    let value = parse_double(text).ok_or_else(|| Reply::error("ERR min or max is not a float"))?;
    Ok(Bound { value, is_excluded })
}

fn name_bound(text: &[u8]) -> Result<NameBound<'_>, Reply> {
    match text {
        b"-" => Ok(NameBound::Lowest),
        b"+" => Ok(NameBound::Highest),
        [b'[', value @ ..] => Ok(NameBound::Name(Bound { value, is_excluded: false })),
        [b'(', value @ ..] => Ok(NameBound::Name(Bound { value, is_excluded: true })),
        _ => Err(Reply::error("ERR min or max not valid string range item")),
    }
}

impl<'a> Range<'a> {
    /// From the ends and options behind the key, of a command whose name tells `by` and the direction.
    fn of_command(rest: &[&'a [u8]], by: By, is_reversed: bool) -> Result<Self, Reply> {
        let (mut with_scores, mut limit, mut options) = (false, None, &rest[2..]);
        loop {
            match options {
                [] => break,
                [option, ..] if is(option, "withscores") && by == By::Name => return Err(no_scores_by_name()),
                [option, rest @ ..] if is(option, "withscores") => {
                    with_scores = true;
                    options = rest;
                }
                [option, skipped, taken, rest @ ..] if is(option, "limit") && by != By::Place => {
                    limit = Some((integer(skipped)?, integer(taken)?));
                    options = rest;
                }
                _ => return Err(syntax_error()),
            }
        }
        let (low, high) = ordered(rest, by, is_reversed);
        Ok(Self { ends: Ends::parse(by, low, high)?, is_reversed, with_scores, limit })
    }

    /// From the ends and options of `ZRANGE` behind the key.
    fn parse(rest: &[&'a [u8]], may_have_scores: bool) -> Result<Self, Reply> {
        let (mut by, mut is_reversed, mut with_scores, mut limit) = (By::Place, false, false, None);
        let mut options = &rest[2..];
        while let Some((option, after)) = options.split_first() {
            options = after;
            match option.to_ascii_lowercase().as_slice() {
                b"byscore" => by = By::Score,
                b"bylex" => by = By::Name,
                b"rev" => is_reversed = true,
                b"withscores" if may_have_scores => with_scores = true,
                b"limit" if after.len() >= 2 => {
                    limit = Some((integer(after[0])?, integer(after[1])?));
                    options = &after[2..];
                }
                _ => return Err(syntax_error()),
            }
        }
        if limit.is_some_and(|limit| limit != (0, -1)) && by == By::Place {
            return Err(Reply::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Name {
            return Err(no_scores_by_name());
        }
        let (low, high) = ordered(rest, by, is_reversed);
        Ok(Self { ends: Ends::parse(by, low, high)?, is_reversed, with_scores, limit })
    }

    fn members<'b>(&self, set: &'b SortedSet) -> Vec<(f64, &'b [u8])> {
        let (start, end) = self.ends.places(set, self.is_reversed);
        let (skipped, taken) = self.limit.unwrap_or((0, -1));
        let Ok(skipped) = usize::try_from(skipped) else {
            return Vec::new();
        };
        let taken = usize::try_from(taken).unwrap_or(usize::MAX).min((end - start).saturating_sub(skipped));
        if taken == 0 {
            return Vec::new();
        }
        if self.is_reversed {
            set.iter_back_from(end - skipped).take(taken).collect()
        } else {
            set.iter_from(start + skipped).take(taken).collect()
        }
    }
}

fn no_scores_by_name() -> Reply {
    Reply::error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
}

/// The lower and the higher end. A client that reads backwards names the higher score or name first.
fn ordered<'a>(rest: &[&'a [u8]], by: By, is_reversed: bool) -> (&'a [u8], &'a [u8]) {
    if is_reversed && by != By::Place { (rest[1], rest[0]) } else { (rest[0], rest[1]) }
}

fn put(view: &View<'_>, key: &[u8], range: &Range<'_>, out: &mut Encoder<'_>) -> Done {
    let set = view.collection::<SortedSet>(key)?;
    let members = set.map_or_else(Vec::new, |set| range.members(set));
    put_members(members.into_iter(), range.with_scores, out)
}

pub(super) fn range(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    put(view, rest[0], &Range::parse(&rest[1..], true)?, out)
}

pub(super) fn by(view: &View<'_>, rest: &[&[u8]], by: By, is_reversed: bool, out: &mut Encoder<'_>) -> Done {
    put(view, rest[0], &Range::of_command(&rest[1..], by, is_reversed)?, out)
}

pub(super) fn store(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let range = Range::parse(&rest[2..], false)?;
    let mut built = SortedSet::default();
    if let Some(set) = change.collection::<SortedSet>(rest[1])? {
        for (score, member) in range.members(set) {
            built.set(member, score);
        }
    }
    out.integer(number(built.len()));
    change.store.put(rest[0], built, None);
    Ok(())
}

pub(super) fn count_between(view: &View<'_>, rest: &[&[u8]], by: By, out: &mut Encoder<'_>) -> Done {
    let ends = Ends::parse(by, rest[1], rest[2])?;
    let count = view.collection::<SortedSet>(rest[0])?.map_or(0, |set| {
        let (start, end) = ends.places(set, false);
        end - start
    });
    out.integer(number(count));
    Ok(())
}

pub(super) fn remove(change: &mut Change<'_>, rest: &[&[u8]], by: By, out: &mut Encoder<'_>) -> Done {
    let ends = Ends::parse(by, rest[1], rest[2])?;
    let removed = change.update(rest[0], |set: &mut SortedSet| {
        let (start, end) = ends.places(set, false);
        set.remove_range(start, end);
        end - start
    })?;
    out.integer(number(removed));
    Ok(())
}
