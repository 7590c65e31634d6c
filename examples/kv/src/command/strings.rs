//! Commands on strings.

use crate::resp::{Encoder, Reply};
use crate::store::{add_decimals, parse_integer};

use super::context::{Change, Time, Unit, View};
use super::errors::{check_length, double, integer, invalid_time, is, number, syntax_error, wrong_arity};
use super::lcs;
use super::spec::{ALL_KEYS, Keys, ONE_KEY, READ_SLOW, SHRINK, Spec, TWO_KEYS, WRITE_SLOW};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("append", 3, ONE_KEY, append)
        .about("string", "Appends bytes to a string, and creates the key if there is none."),
    Spec::write("decr", 2, ONE_KEY, |change, rest, out| add(change, rest[0], -1, out))
        .about("string", "Subtracts one from a number."),
    Spec::write("decrby", 3, ONE_KEY, subtract_by).about("string", "Subtracts a number from a number."),
    Spec::read("get", 2, ONE_KEY, get).about("string", "Returns a string."),
    Spec::write("getdel", 2, ONE_KEY, get_and_remove)
        .flags(SHRINK)
        .long()
        .about("string", "Returns a string and removes the key."),
    Spec::write("getex", -2, ONE_KEY, get_and_expire)
        .flags(SHRINK)
        .long()
        .about("string", "Returns a string and sets or removes the deadline of the key."),
    Spec::read("getrange", 4, ONE_KEY, range).flags(READ_SLOW).about("string", "Returns a part of a string."),
    Spec::write("getset", 3, ONE_KEY, get_and_set).long().about("string", "Sets a string and returns the one before."),
    Spec::write("incr", 2, ONE_KEY, |change, rest, out| add(change, rest[0], 1, out))
        .about("string", "Adds one to a number."),
    Spec::write("incrby", 3, ONE_KEY, |change, rest, out| {
        let by = integer(rest[1])?;
        add(change, rest[0], by, out)
    })
    .about("string", "Adds a number to a number."),
    Spec::write("incrbyfloat", 3, ONE_KEY, add_double).about("string", "Adds a number with a fraction to a number."),
    Spec::read("lcs", -3, TWO_KEYS, lcs::longest_common_subsequence)
        .flags(READ_SLOW)
        .about("string", "Returns the longest bytes that two strings share in order."),
    Spec::read("mget", -2, ALL_KEYS, get_many).about("string", "Returns several strings."),
    Spec::write("mset", -3, Keys::Range(1, -1, 2), set_many)
        .flags(WRITE_SLOW)
        .about("string", "Sets several strings at once."),
    Spec::write("msetnx", -3, Keys::Range(1, -1, 2), set_many_absent)
        .flags(WRITE_SLOW)
        .about("string", "Sets several strings at once, if none of the keys exists."),
    Spec::write("psetex", 4, ONE_KEY, |change, rest, out| set_for(change, rest, Unit::Milliseconds, "psetex", out))
        .flags(WRITE_SLOW)
        .about("string", "Sets a string and its time to live in milliseconds."),
    Spec::write("set", -3, ONE_KEY, set).flags(WRITE_SLOW).about("string", "Sets a string."),
    Spec::write("setex", 4, ONE_KEY, |change, rest, out| set_for(change, rest, Unit::Seconds, "setex", out))
        .flags(WRITE_SLOW)
        .about("string", "Sets a string and its time to live in seconds."),
    Spec::write("setnx", 3, ONE_KEY, set_absent).about("string", "Sets a string, if the key does not exist."),
    Spec::write("setrange", 4, ONE_KEY, set_range).flags(WRITE_SLOW).about("string", "Overwrites a part of a string."),
    Spec::read("strlen", 2, ONE_KEY, length).about("string", "Returns the length of a string in bytes."),
    Spec::read("substr", 4, ONE_KEY, range).flags(READ_SLOW).about("string", "Returns a part of a string."),
];

fn get(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.bulk_or_null(view.text(rest[0])?);
    Ok(())
}

fn get_many(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.array(rest.len());
    for key in rest {
        // A value of another kind counts as none.
        out.bulk_or_null(view.text(key).unwrap_or_default());
        out.check_size()?;
    }
    Ok(())
}

fn length(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.integer(number(view.text(rest[0])?.map_or(0, <[u8]>::len)));
    Ok(())
}

fn range(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (start, end) = (integer(rest[1])?, integer(rest[2])?);
    let text = view.text(rest[0])?.unwrap_or_default();
    // Both ends from behind, in the wrong order: also if they would be moved to the same place.
    let part = if start < 0 && end < 0 && start > end { None } else { within_text(text.len(), start, end) };
    out.bulk(part.map_or(&[][..], |(start, end)| &text[start..end]));
    Ok(())
}

/// The range of places, of which negative ones count from the end, as start and end. `None` if it is empty.
pub(super) fn within(length: usize, start: i64, end: i64) -> Option<(usize, usize)> {
    let last = number(length) - 1;
    let place = |place: i64| if place < 0 { place.saturating_add(last + 1) } else { place };
    let (start, end) = (place(start).max(0), place(end).clamp(-1, last));
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end + 1).ok()?);
    (start < end).then_some((start, end))
}

/// As [`within`], but an end before the start of a text counts as its first place.
pub(super) fn within_text(length: usize, start: i64, end: i64) -> Option<(usize, usize)> {
    let is_before = end < 0 && end.saturating_add(number(length)) < 0;
    within(length, start, if is_before { 0 } else { end })
}

/// `SET` with its options.
#[derive(Default)]
struct SetOptions<'a> {
    if_absent: bool,
    if_present: bool,
    returns_old: bool,
    keeps_deadline: bool,
    time: Option<(Time, &'a [u8])>,
}

impl<'a> SetOptions<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if is(option, "nx") && !parsed.if_present {
                parsed.if_absent = true;
            } else if is(option, "xx") && !parsed.if_absent {
                parsed.if_present = true;
            } else if is(option, "get") {
                parsed.returns_old = true;
            } else if is(option, "keepttl") && parsed.time.is_none() {
                parsed.keeps_deadline = true;
            } else {
                let time = time_option(option).filter(|time| {
                    !parsed.keeps_deadline && parsed.time.as_ref().is_none_or(|(before, _)| before == time)
                });
                parsed.time = Some((time.ok_or_else(syntax_error)?, options.next().ok_or_else(syntax_error)?));
            }
        }
        Ok(parsed)
    }
}

/// An option that takes a time.
fn time_option(name: &[u8]) -> Option<Time> {
    let (unit, is_absolute) = match name.to_ascii_lowercase().as_slice() {
        b"ex" => (Unit::Seconds, false),
        b"px" => (Unit::Milliseconds, false),
        b"exat" => (Unit::Seconds, true),
        b"pxat" => (Unit::Milliseconds, true),
        _ => return None,
    };
    Some(Time { unit, is_absolute })
}

/// A deadline from a number that has to be above 0.
fn deadline_of_set(change: &Change<'_>, text: &[u8], time: Time, command: &str) -> Result<u64, Reply> {
    let number = integer(text)?;
    if number <= 0 {
        return Err(invalid_time(command));
    }
    change.deadline_of(number, time, command)
}

fn set(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, value) = (rest[0], rest[1]);
    if rest.len() == 2 {
        // By far the most common write, and the only one that does not depend on the old value.
        change.store.put_text(key, &[value], None);
        out.status("OK");
        return Ok(());
    }
    let options = SetOptions::parse(&rest[2..])?;
    let deadline = match options.time {
        Some((time, text)) => Some(deadline_of_set(change, text, time, "set")?),
        None if options.keeps_deadline => change.deadline(key),
        None => None,
    };
    if options.returns_old {
        out.bulk_or_null(change.text(key)?);
    }
    let exists = change.has(key);
    let sets = !(options.if_absent && exists || options.if_present && !exists);
    if sets {
        put(change, key, &[value], deadline);
    }
    match (options.returns_old, sets) {
        (true, _) => {}
        (false, true) => out.status("OK"),
        (false, false) => out.null(),
    }
    Ok(())
}

/// Sets a string, or removes it if its deadline has passed.
fn put(change: &mut Change<'_>, key: &[u8], value: &[&[u8]], deadline: Option<u64>) {
    if deadline.is_some_and(|deadline| deadline <= change.log_time) {
        change.remove(key);
    } else {
        change.store.put_text(key, value, deadline);
    }
}

fn set_for(change: &mut Change<'_>, rest: &[&[u8]], unit: Unit, command: &str, out: &mut Encoder<'_>) -> Done {
    let deadline = deadline_of_set(change, rest[1], Time { unit, is_absolute: false }, command)?;
    put(change, rest[0], &[rest[2]], Some(deadline));
    out.status("OK");
    Ok(())
}

fn set_absent(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let exists = change.has(rest[0]);
    if !exists {
        change.store.put_text(rest[0], &[rest[1]], None);
    }
    out.integer(i64::from(!exists));
    Ok(())
}

fn pairs<'a, 'b>(
    rest: &'b [&'a [u8]],
    command: &str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + 'b, Reply> {
    if !rest.len().is_multiple_of(2) {
        return Err(wrong_arity(command));
    }
    Ok(rest.chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn set_many(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    for (key, value) in pairs(rest, "mset")? {
        change.store.put_text(key, &[value], None);
    }
    out.status("OK");
    Ok(())
}

fn set_many_absent(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let sets = !pairs(rest, "msetnx")?.any(|(key, _)| change.has(key));
    if sets {
        for (key, value) in pairs(rest, "msetnx")? {
            change.store.put_text(key, &[value], None);
        }
    }
    out.integer(i64::from(sets));
    Ok(())
}

fn get_and_set(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.bulk_or_null(change.text(rest[0])?);
    change.store.put_text(rest[0], &[rest[1]], None);
    Ok(())
}

fn get_and_remove(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.bulk_or_null(change.text(rest[0])?);
    change.remove(rest[0]);
    Ok(())
}

fn get_and_expire(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let key = rest[0];
    let deadline = match rest[1..] {
        [] => None,
        [option] if is(option, "persist") => Some(None),
        [option, text] => {
            let time = time_option(option).ok_or_else(syntax_error)?;
            Some(Some(deadline_of_set(change, text, time, "getex")?))
        }
        _ => return Err(syntax_error()),
    };
    let text = change.text(key)?;
    out.bulk_or_null(text);
    if let Some(deadline) = deadline.filter(|deadline| *deadline != change.deadline(key)) {
        change.store.set_deadline(change.log_time, key, deadline);
    }
    Ok(())
}

fn append(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let before = change.text(rest[0])?.unwrap_or_default().to_vec();
    let length = before.len() + rest[1].len();
    check_length(length)?;
    change.store.put_text(rest[0], &[&before, rest[1]], change.deadline(rest[0]));
    out.integer(number(length));
    Ok(())
}

fn set_range(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, offset, part) = (rest[0], integer(rest[1])?, rest[2]);
    let offset = usize::try_from(offset).map_err(|_| Reply::error("ERR offset is out of range"))?;
    let before = change.text(key)?.unwrap_or_default();
    if part.is_empty() {
        out.integer(number(before.len()));
        return Ok(());
    }
    let end = offset.saturating_add(part.len());
    check_length(end)?;
    let mut text = before.to_vec();
    text.resize(text.len().max(end), 0);
    text[offset..end].copy_from_slice(part);
    change.store.put_text(key, &[&text], change.deadline(key));
    out.integer(number(text.len()));
    Ok(())
}

fn add(change: &mut Change<'_>, key: &[u8], by: i64, out: &mut Encoder<'_>) -> Done {
    let sum = sum(change.text(key)?, by, "ERR value is not an integer or out of range")?;
    change.store.put_text(key, &[sum.to_string().as_bytes()], change.deadline(key));
    out.integer(sum);
    Ok(())
}

/// The sum of a number in a text, which is 0 if there is none, and another. `malformed` is the error of other texts.
pub(super) fn sum(before: Option<&[u8]>, by: i64, malformed: &str) -> Result<i64, Reply> {
    let before = before.map_or(Some(0), parse_integer).ok_or_else(|| Reply::error(malformed))?;
    before.checked_add(by).ok_or_else(|| Reply::error("ERR increment or decrement would overflow"))
}

fn subtract_by(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let by = integer(rest[1])?;
    let by = by.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?;
    add(change, rest[0], by, out)
}

fn add_double(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let before = change.text(rest[0])?.unwrap_or(b"0");
    double(before)?;
    double(rest[1])?;
    let sum = add_decimals(before, rest[1]);
    let sum = sum.ok_or_else(|| Reply::error("ERR increment would produce NaN or Infinity"))?;
    change.store.put_text(rest[0], &[sum.as_bytes()], change.deadline(rest[0]));
    out.bulk(sum.as_bytes());
    Ok(())
}
