//! Commands on sets.

use std::collections::BTreeSet;

use crate::resp::{Encoder, Reply};
use crate::store::{Members, Set, WrongType};

use super::context::{Change, View};
use super::errors::{count, number, syntax_error};
use super::hashes::{draw_count, draw_places};
use super::lists::{counted_keys, limit};
use super::spec::{ALL_KEYS, Keys, ONE_KEY, READ_MOVABLE, READ_SLOW, SHRINK, Spec, TWO_KEYS, WRITE_SLOW};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("sadd", -3, ONE_KEY, |change, rest, out| {
        let added = change.update(rest[0], |Set(members)| {
            rest[1..].iter().filter(|member| !members.contains(member) && members.set(member, b"")).count()
        })?;
        out.integer(number(added));
        Ok(())
    })
    .about("set", "Adds members, and counts the new ones."),
    Spec::read("scard", 2, ONE_KEY, |view, rest, out| {
        out.integer(number(members(view, rest[0])?.map_or(0, Members::len)));
        Ok(())
    })
    .about("set", "Counts the members."),
    Spec::read("sdiff", -2, ALL_KEYS, |view, rest, out| put(difference(view, rest)?, out))
        .flags(READ_SLOW)
        .about("set", "Returns the members of the first set that no other has."),
    Spec::write("sdiffstore", -3, ALL_KEYS, |change, rest, out| store(change, rest, difference, out))
        .flags(WRITE_SLOW)
        .about("set", "Stores the members of the first set that no other has."),
    Spec::read("sinter", -2, ALL_KEYS, |view, rest, out| put(intersection(view, rest)?, out))
        .flags(READ_SLOW)
        .about("set", "Returns the members that all sets have."),
    Spec::read("sintercard", -3, Keys::Counted(1), intersection_count)
        .flags(READ_MOVABLE)
        .about("set", "Counts the members that all sets have."),
    Spec::write("sinterstore", -3, ALL_KEYS, |change, rest, out| store(change, rest, intersection, out))
        .flags(WRITE_SLOW)
        .about("set", "Stores the members that all sets have."),
    Spec::read("sismember", 3, ONE_KEY, |view, rest, out| {
        let is_member = members(view, rest[0])?.is_some_and(|members| members.contains(rest[1]));
        out.integer(i64::from(is_member));
        Ok(())
    })
    .about("set", "Tells whether a member is there."),
    Spec::read("smembers", 2, ONE_KEY, |view, rest, out| put(union(view, rest)?, out))
        .flags(READ_SLOW)
        .about("set", "Returns all members."),
    Spec::read("smismember", -3, ONE_KEY, |view, rest, out| {
        let members = members(view, rest[0])?;
        out.array(rest.len() - 1);
        for member in &rest[1..] {
            out.integer(i64::from(members.is_some_and(|members| members.contains(member))));
        }
        Ok(())
    })
    .about("set", "Tells which members are there."),
    Spec::write("smove", 4, TWO_KEYS, transfer).flags(SHRINK).about("set", "Moves a member to another set."),
    Spec::write("spop", -2, ONE_KEY, pop).flags(SHRINK).long().about("set", "Removes any members and returns them."),
    Spec::read("srandmember", -2, ONE_KEY, random).flags(READ_SLOW).about("set", "Returns any members."),
    Spec::write("srem", -3, ONE_KEY, |change, rest, out| {
        let removed =
            change.update(rest[0], |Set(members)| rest[1..].iter().filter(|member| members.remove(member)).count())?;
        out.integer(number(removed));
        Ok(())
    })
    .flags(SHRINK)
    .about("set", "Removes members."),
    Spec::read("sunion", -2, ALL_KEYS, |view, rest, out| put(union(view, rest)?, out))
        .flags(READ_SLOW)
        .about("set", "Returns the members that any set has."),
    Spec::write("sunionstore", -3, ALL_KEYS, |change, rest, out| store(change, rest, union, out))
        .flags(WRITE_SLOW)
        .about("set", "Stores the members that any set has."),
];

fn members<'a>(view: &View<'a>, key: &[u8]) -> Result<Option<&'a Members>, WrongType> {
    Ok(view.collection::<Set>(key)?.map(|Set(members)| members))
}

/// All sets, of which absent ones are `None`.
fn all<'a>(view: &View<'a>, keys: &[&[u8]]) -> Result<Vec<Option<&'a Members>>, WrongType> {
    keys.iter().map(|key| members(view, key)).collect()
}

fn names(members: &Members) -> impl Iterator<Item = &[u8]> {
    members.iter().map(|(name, _)| name)
}

type Combine = for<'a> fn(&View<'a>, &[&[u8]]) -> Result<Vec<&'a [u8]>, WrongType>;

fn union<'a>(view: &View<'a>, keys: &[&[u8]]) -> Result<Vec<&'a [u8]>, WrongType> {
    let sets = all(view, keys)?;
    if let [set] = sets[..] {
        return Ok(set.into_iter().flat_map(names).collect());
    }
    let mut seen = BTreeSet::new();
    Ok(sets.into_iter().flatten().flat_map(names).filter(|name| seen.insert(*name)).collect())
}

fn intersection<'a>(view: &View<'a>, keys: &[&[u8]]) -> Result<Vec<&'a [u8]>, WrongType> {
    let sets: Option<Vec<_>> = all(view, keys)?.into_iter().collect();
    let Some(sets) = sets else {
        return Ok(Vec::new());
    };
    let smallest = sets.iter().min_by_key(|set| set.len()).copied();
    let common = smallest.into_iter().flat_map(names).filter(|name| sets.iter().all(|set| set.contains(name)));
    Ok(common.collect())
}

fn difference<'a>(view: &View<'a>, keys: &[&[u8]]) -> Result<Vec<&'a [u8]>, WrongType> {
    let sets = all(view, keys)?;
    let (first, others) = sets.split_first().expect("there is a key");
    let alone = |name: &&[u8]| !others.iter().flatten().any(|set| set.contains(name));
    Ok(first.iter().flat_map(|set| names(set)).filter(alone).collect())
}

fn put(members: Vec<&[u8]>, out: &mut Encoder<'_>) -> Done {
    out.set(members.len());
    for member in members {
        out.bulk(member);
        out.check_size()?;
    }
    Ok(())
}

fn store(change: &mut Change<'_>, rest: &[&[u8]], combine: Combine, out: &mut Encoder<'_>) -> Done {
    let mut built = Members::default();
    for name in combine(&change.view(), &rest[1..])? {
        built.set(name, b"");
    }
    out.integer(number(built.len()));
    change.store.put(rest[0], Set(built), None);
    Ok(())
}

fn intersection_count(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let too_many = || Reply::error("ERR Number of keys can't be greater than number of args");
    let (keys, options) = counted_keys(rest, too_many)?;
    let limit = limit(options)?;
    let common = intersection(view, keys)?.len();
    out.integer(number(common.min(limit)));
    Ok(())
}

fn transfer(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (from, to, member) = (rest[0], rest[1], rest[2]);
    let is_member = change.collection::<Set>(from)?.is_some_and(|Set(members)| members.contains(member));
    change.collection::<Set>(to)?;
    if is_member && from != to {
        change.update(from, |Set(members)| members.remove(member))?;
        change.update(to, |Set(members)| !members.contains(member) && members.set(member, b""))?;
    }
    out.integer(i64::from(is_member));
    Ok(())
}

fn pop(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let wanted = match rest[1..] {
        [] => None,
        [wanted] => Some(count(wanted)?),
        _ => return Err(syntax_error()),
    };
    let length = change.collection::<Set>(rest[0])?.map_or(0, |Set(members)| members.len());
    let taken = wanted.unwrap_or(1).min(length);
    let places = draw_places(&change.view(), length, number(taken))?;
    let popped = change.update(rest[0], |Set(members)| match places[..] {
        [place] => {
            let name = members.at(place).0.to_vec();
            members.remove(&name);
            vec![name]
        }
        _ => members.remove_all(&places.into_iter().collect()),
    })?;
    if wanted.is_some() {
        return put(popped.iter().map(Vec::as_slice).collect(), out);
    }
    out.bulk_or_null(popped.first().map(Vec::as_slice));
    Ok(())
}

fn random(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let members = members(view, rest[0])?;
    let Some(wanted) = rest.get(1) else {
        out.bulk_or_null(members.map(|members| members.at(view.random_below(members.len())).0));
        return Ok(());
    };
    if rest.len() > 2 {
        return Err(syntax_error());
    }
    let wanted = draw_count(wanted)?;
    let places = members.map_or(Ok(Vec::new()), |members| draw_places(view, members.len(), wanted))?;
    out.array(places.len());
    for (name, _) in members.into_iter().flat_map(|members| places.iter().map(|place| members.at(*place))) {
        out.bulk(name);
        out.check_size()?;
    }
    Ok(())
}
