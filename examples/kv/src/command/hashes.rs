//! Commands on hashes.

use crate::resp::{Encoder, Reply};
use crate::store::{Hash, Members, Pair, add_decimals, parse_double};

use super::context::{Change, View};
use super::errors::{check_length, double, integer, is, number, syntax_error, wrong_arity};
use super::spec::{ONE_KEY, READ_SLOW, SHRINK, Spec};
use super::strings::sum;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("hdel", -3, ONE_KEY, remove).flags(SHRINK).about("hash", "Removes fields."),
    Spec::read("hexists", 3, ONE_KEY, |view, rest, out| {
        let exists = members(view, rest[0])?.is_some_and(|members| members.contains(rest[1]));
        out.integer(i64::from(exists));
        Ok(())
    })
    .about("hash", "Tells whether a field exists."),
    Spec::read("hget", 3, ONE_KEY, |view, rest, out| {
        out.bulk_or_null(members(view, rest[0])?.and_then(|members| members.get(rest[1])));
        Ok(())
    })
    .about("hash", "Returns the value of a field."),
    Spec::read("hgetall", 2, ONE_KEY, get_all).flags(READ_SLOW).about("hash", "Returns all fields and values."),
    Spec::write("hincrby", 4, ONE_KEY, add).about("hash", "Adds a number to the number of a field."),
    Spec::write("hincrbyfloat", 4, ONE_KEY, add_double)
        .about("hash", "Adds a number with a fraction to the number of a field."),
    Spec::read("hkeys", 2, ONE_KEY, |view, rest, out| list(view, rest, |(field, _)| field, out))
        .flags(READ_SLOW)
        .about("hash", "Returns all fields."),
    Spec::read("hlen", 2, ONE_KEY, |view, rest, out| {
        out.integer(number(members(view, rest[0])?.map_or(0, Members::len)));
        Ok(())
    })
    .about("hash", "Counts the fields."),
    Spec::read("hmget", -3, ONE_KEY, get_many).about("hash", "Returns the values of several fields."),
    Spec::write("hmset", -4, ONE_KEY, |change, rest, out| {
        set(change, rest, "hmset")?;
        out.status("OK");
        Ok(())
    })
    .about("hash", "Sets several fields."),
    Spec::read("hrandfield", -2, ONE_KEY, random).flags(READ_SLOW).about("hash", "Returns any fields."),
    Spec::write("hset", -4, ONE_KEY, |change, rest, out| {
        let added = set(change, rest, "hset")?;
        out.integer(number(added));
        Ok(())
    })
    .about("hash", "Sets fields, and counts the new ones."),
    Spec::write("hsetnx", 4, ONE_KEY, set_absent).about("hash", "Sets a field, if it does not exist."),
    Spec::read("hstrlen", 3, ONE_KEY, |view, rest, out| {
        let value = members(view, rest[0])?.and_then(|members| members.get(rest[1]));
        out.integer(number(value.map_or(0, <[u8]>::len)));
        Ok(())
    })
    .about("hash", "Returns the length of a field's value in bytes."),
    Spec::read("hvals", 2, ONE_KEY, |view, rest, out| list(view, rest, |(_, value)| value, out))
        .flags(READ_SLOW)
        .about("hash", "Returns all values."),
];

fn members<'a>(view: &View<'a>, key: &[u8]) -> Result<Option<&'a Members>, Reply> {
    Ok(view.collection::<Hash>(key)?.map(|Hash(members)| members))
}

fn set(change: &mut Change<'_>, rest: &[&[u8]], command: &str) -> Result<usize, Reply> {
    let pairs = &rest[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    let added = change
        .update(rest[0], |Hash(members)| pairs.chunks_exact(2).filter(|pair| members.set(pair[0], pair[1])).count())?;
    Ok(added)
}

fn set_absent(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = change.update(rest[0], |Hash(members)| !members.contains(rest[1]) && members.set(rest[1], rest[2]))?;
    out.integer(i64::from(sets));
    Ok(())
}

fn remove(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let removed =
        change.update(rest[0], |Hash(members)| rest[1..].iter().filter(|field| members.remove(field)).count())?;
    out.integer(number(removed));
    Ok(())
}

fn get_many(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let members = members(view, rest[0])?;
    out.array(rest.len() - 1);
    for field in &rest[1..] {
        out.bulk_or_null(members.and_then(|members| members.get(field)));
        out.check_size()?;
    }
    Ok(())
}

fn get_all(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let members = members(view, rest[0])?;
    out.map(members.map_or(0, Members::len));
    for (field, value) in members.into_iter().flat_map(Members::iter) {
        out.bulk(field);
        out.bulk(value);
        out.check_size()?;
    }
    Ok(())
}

fn list(view: &View<'_>, rest: &[&[u8]], part: for<'a> fn(Pair<'a>) -> &'a [u8], out: &mut Encoder<'_>) -> Done {
    let members = members(view, rest[0])?;
    out.array(members.map_or(0, Members::len));
    for pair in members.into_iter().flat_map(Members::iter) {
        out.bulk(part(pair));
        out.check_size()?;
    }
    Ok(())
}

fn add(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let by = integer(rest[2])?;
    let before = change.collection::<Hash>(rest[0])?.and_then(|Hash(members)| members.get(rest[1]));
    let sum = sum(before, by, "ERR hash value is not an integer")?;
    change.update(rest[0], |Hash(members)| members.set(rest[1], sum.to_string().as_bytes()))?;
    out.integer(sum);
    Ok(())
}

fn add_double(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    if double(rest[2])?.is_infinite() {
        return Err(Reply::error("ERR value is NaN or Infinity"));
    }
    let before = change.collection::<Hash>(rest[0])?.and_then(|Hash(members)| members.get(rest[1])).unwrap_or(b"0");
    parse_double(before).ok_or_else(|| Reply::error("ERR hash value is not a float"))?;
    let sum = add_decimals(before, rest[2]);
    let sum = sum.ok_or_else(|| Reply::error("ERR increment would produce NaN or Infinity"))?;
    check_length(sum.len())?;
    change.update(rest[0], |Hash(members)| members.set(rest[1], sum.as_bytes()))?;
    out.bulk(sum.as_bytes());
    Ok(())
}

fn random(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let members = members(view, rest[0])?;
    let Some(count) = rest.get(1) else {
        out.bulk_or_null(members.map(|members| members.at(view.random_below(members.len())).0));
        return Ok(());
    };
    let count = draw_count(count)?;
    let with_values = match rest[2..] {
        [] => false,
        [option] if is(option, "withvalues") => true,
        _ => return Err(syntax_error()),
    };
    if with_values && !(i64::MIN / 2..=i64::MAX / 2).contains(&count) {
        return Err(Reply::error("ERR value is out of range"));
    }
    let places = members.map_or(Ok(Vec::new()), |members| draw_places(view, members.len(), count))?;
    let is_flat = out.version() == crate::resp::Version::Resp2;
    out.array(places.len() * if with_values && is_flat { 2 } else { 1 });
    for (field, value) in members.into_iter().flat_map(|members| places.iter().map(|place| members.at(*place))) {
        if with_values && !is_flat {
            out.array(2);
        }
        out.bulk(field);
        if with_values {
            out.bulk(value);
        }
        out.check_size()?;
    }
    Ok(())
}

/// The number of draws that a client asks for.
pub(super) fn draw_count(text: &[u8]) -> Result<i64, Reply> {
    let count = integer(text)?;
    if count == i64::MIN {
        let (least, most) = (-i64::MAX, i64::MAX);
        return Err(Reply::error(format!("ERR value is out of range, value must between {least} and {most}")));
    }
    Ok(count)
}

/// `count` different places below `length`, or all; if `count` is negative, as many as it says, maybe one twice.
pub(super) fn draw_places(view: &View<'_>, length: usize, count: i64) -> Result<Vec<usize>, Reply> {
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        if wanted > DRAWN_MAX {
            return Err(Reply::error("ERR value is out of range"));
        }
        return Ok((0..wanted).map(|_| view.random_below(length)).collect());
    }
    if wanted >= length {
        return Ok((0..length).collect());
    }
    // Floyd's way: each set of places is as likely as any other.
    let mut drawn = std::collections::BTreeSet::new();
    for last in length - wanted..length {
        let place = view.random_below(last + 1);
        drawn.insert(if drawn.contains(&place) { last } else { place });
    }
    Ok(drawn.into_iter().collect())
}

/// Maximum number of draws that may repeat in one reply.
const DRAWN_MAX: usize = 1_000_000;
