//! Commands on keys of any kind.

use crate::resp::{Encoder, Reply};
use crate::store::{Hash, Lifetime, Record, Set, Value, parse_integer};

use super::context::{Change, Time, Unit, View};
use super::errors::{integer, is, no_such_key, number, syntax_error, unknown_subcommand};
use super::spec::{ALL_KEYS, Keys, ONE_KEY, READ_SLOW, SHRINK, SHRINK_SLOW, Spec, TWO_KEYS, WRITE_SLOW};

type Done = Result<(), Reply>;

const SPAN_SECONDS: Time = Time { unit: Unit::Seconds, is_absolute: false };
const SPAN_MS: Time = Time { unit: Unit::Milliseconds, is_absolute: false };
const POINT_SECONDS: Time = Time { unit: Unit::Seconds, is_absolute: true };
const POINT_MS: Time = Time { unit: Unit::Milliseconds, is_absolute: true };

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("copy", -3, TWO_KEYS, copy).flags(WRITE_SLOW).about("generic", "Copies a value to another key."),
    Spec::read("dbsize", 1, Keys::None, |view, _, out| {
        out.integer(number(view.store.len(view.at.log_time)));
        Ok(())
    })
    .about("server", "Counts the keys."),
    Spec::write("del", -2, ALL_KEYS, remove).flags(SHRINK_SLOW).about("generic", "Removes keys."),
    Spec::read("exists", -2, ALL_KEYS, exist).about("generic", "Counts which of the keys exist."),
    Spec::write("expire", -3, ONE_KEY, |change, rest, out| expire(change, rest, (SPAN_SECONDS, "expire"), out))
        .flags(SHRINK)
        .about("generic", "Sets the time to live of a key in seconds."),
    Spec::write("expireat", -3, ONE_KEY, |change, rest, out| expire(change, rest, (POINT_SECONDS, "expireat"), out))
        .flags(SHRINK)
        .about("generic", "Sets the end of a key in Unix seconds."),
    Spec::read("expiretime", 2, ONE_KEY, |view, rest, out| expire_time(view, rest, Unit::Seconds, out))
        .about("generic", "Returns the end of a key in Unix seconds."),
    Spec::write("flushall", -1, Keys::None, flush).flags(SHRINK_SLOW).about("server", "Removes all keys."),
    Spec::write("flushdb", -1, Keys::None, flush)
        .flags(SHRINK_SLOW)
        .about("server", "Removes all keys of the database, of which there is one."),
    Spec::read("object", -2, Keys::Range(2, 2, 1), object)
        .flags(READ_SLOW)
        .container()
        .about("generic", "Tells how a value is stored."),
    Spec::write("persist", 2, ONE_KEY, persist).flags(SHRINK).about("generic", "Removes the time to live of a key."),
    Spec::write("pexpire", -3, ONE_KEY, |change, rest, out| expire(change, rest, (SPAN_MS, "pexpire"), out))
        .flags(SHRINK)
        .about("generic", "Sets the time to live of a key in milliseconds."),
    Spec::write("pexpireat", -3, ONE_KEY, |change, rest, out| expire(change, rest, (POINT_MS, "pexpireat"), out))
        .flags(SHRINK)
        .about("generic", "Sets the end of a key in Unix milliseconds."),
    Spec::read("pexpiretime", 2, ONE_KEY, |view, rest, out| expire_time(view, rest, Unit::Milliseconds, out))
        .about("generic", "Returns the end of a key in Unix milliseconds."),
    Spec::read("pttl", 2, ONE_KEY, |view, rest, out| time_to_live(view, rest, Unit::Milliseconds, out))
        .about("generic", "Returns the time to live of a key in milliseconds."),
    Spec::read("randomkey", 1, Keys::None, |view, _, out| {
        out.bulk_or_null(view.store.random_key(view.at.log_time, view.random()));
        Ok(())
    })
    .flags(READ_SLOW)
    .about("generic", "Returns any key."),
    Spec::write("rename", 3, TWO_KEYS, |change, rest, out| {
        move_value(change, rest[0], rest[1])?;
        out.status("OK");
        Ok(())
    })
    .flags(SHRINK_SLOW)
    .about("generic", "Gives a value another key."),
    Spec::write("renamenx", 3, TWO_KEYS, rename_absent)
        .flags(SHRINK)
        .about("generic", "Gives a value another key, if there is no such key."),
    Spec::read("time", 1, Keys::None, time).about("server", "Returns the log's time."),
    Spec::read("touch", -2, ALL_KEYS, exist).about("generic", "Counts which of the keys exist."),
    Spec::read("ttl", 2, ONE_KEY, |view, rest, out| time_to_live(view, rest, Unit::Seconds, out))
        .about("generic", "Returns the time to live of a key in seconds."),
    Spec::read("type", 2, ONE_KEY, |view, rest, out| {
        out.status(view.store.get(view.at.log_time, rest[0]).map_or("none", kind));
        Ok(())
    })
    .about("generic", "Returns the type of a value."),
    Spec::write("unlink", -2, ALL_KEYS, remove).flags(SHRINK).about("generic", "Removes keys."),
];

/// Redis's name for the kind of a value.
pub(super) fn kind(record: &Record) -> &'static str {
    match record.as_value() {
        None => "string",
        Some(Value::List(_)) => "list",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Set(_)) => "set",
        Some(Value::SortedSet(_)) => "zset",
        Some(Value::Stream(_)) => "stream",
    }
}

fn remove(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let removed = rest.iter().filter(|key| change.remove(key)).count();
    out.integer(number(removed));
    Ok(())
}

fn exist(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.integer(number(rest.iter().filter(|key| view.has(key)).count()));
    Ok(())
}

fn flush(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match rest {
        [] => {}
        [mode] if is(mode, "async") || is(mode, "sync") => {}
        _ => return Err(syntax_error()),
    }
    change.store.clear();
    out.status("OK");
    Ok(())
}

/// Conditions for `EXPIRE`. Several may be given at once.
#[derive(Default)]
struct ExpireCondition {
    absent: bool,
    present: bool,
    later: bool,
    earlier: bool,
}

impl ExpireCondition {
    fn parse(options: &[&[u8]]) -> Result<Self, Reply> {
        let mut condition = Self::default();
        for option in options {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => condition.absent = true,
                b"xx" => condition.present = true,
                b"gt" => condition.later = true,
                b"lt" => condition.earlier = true,
                _ => return Err(Reply::Error([&b"ERR Unsupported option "[..], option].concat())),
            }
        }
        if condition.absent && (condition.present || condition.later || condition.earlier) {
            return Err(Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if condition.later && condition.earlier {
            return Err(Reply::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// A key without a deadline counts as having the latest.
    fn allows(&self, current: Option<u64>, deadline: u64) -> bool {
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.later && current.is_none_or(|current| deadline <= current)
            || self.earlier && current.is_some_and(|current| deadline >= current))
    }
}

fn expire(change: &mut Change<'_>, rest: &[&[u8]], (time, name): (Time, &str), out: &mut Encoder<'_>) -> Done {
    let condition = ExpireCondition::parse(&rest[2..])?;
    let deadline = change.deadline_of(integer(rest[1])?, time, name)?;
    let sets = change.has(rest[0]) && condition.allows(change.deadline(rest[0]), deadline);
    if sets {
        change.store.set_deadline(change.log_time, rest[0], Some(deadline));
    }
    out.integer(i64::from(sets));
    Ok(())
}

fn persist(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let persists = change.deadline(rest[0]).is_some();
    if persists {
        change.store.set_deadline(change.log_time, rest[0], None);
    }
    out.integer(i64::from(persists));
    Ok(())
}

/// -2 without a key, -1 without a deadline, else the remaining time by log time, rounded as in Redis.
fn time_to_live(view: &View<'_>, rest: &[&[u8]], unit: Unit, out: &mut Encoder<'_>) -> Done {
    out.integer(match (view.store.lifetime(view.at.log_time, rest[0]), unit) {
        (Lifetime::Absent, _) => -2,
        (Lifetime::Endless, _) => -1,
        (Lifetime::Until(deadline), Unit::Milliseconds) => signed(deadline.saturating_sub(view.at.now)),
        (Lifetime::Until(deadline), Unit::Seconds) => signed((deadline.saturating_sub(view.at.now) + 500) / 1000),
    });
    Ok(())
}

fn expire_time(view: &View<'_>, rest: &[&[u8]], unit: Unit, out: &mut Encoder<'_>) -> Done {
    out.integer(match (view.store.lifetime(view.at.log_time, rest[0]), unit) {
        (Lifetime::Absent, _) => -2,
        (Lifetime::Endless, _) => -1,
        (Lifetime::Until(deadline), Unit::Milliseconds) => signed(deadline),
        (Lifetime::Until(deadline), Unit::Seconds) => signed((deadline + 500) / 1000),
    });
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn time(view: &View<'_>, _: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let ms = view.at.now;
    out.array(2);
    out.bulk((ms / 1000).to_string().as_bytes());
    out.bulk((ms % 1000 * 1000).to_string().as_bytes());
    Ok(())
}

fn move_value(change: &mut Change<'_>, from: &[u8], to: &[u8]) -> Done {
    let record = change.store.get(change.log_time, from).cloned().ok_or_else(no_such_key)?;
    if from != to {
        change.remove(from);
        change.store.put_copy(&record, to, record.deadline());
    }
    Ok(())
}

fn rename_absent(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let is_free = !change.has(rest[1]);
    if !change.has(rest[0]) {
        return Err(no_such_key());
    }
    if is_free {
        move_value(change, rest[0], rest[1])?;
    }
    out.integer(i64::from(is_free));
    Ok(())
}

fn copy(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (mut replaces, mut options) = (false, rest[2..].iter());
    while let Some(option) = options.next() {
        if is(option, "replace") {
            replaces = true;
        } else if is(option, "db") {
            let database = parse_integer(options.next().ok_or_else(syntax_error)?);
            let database = database.ok_or_else(|| Reply::error("ERR value is not an integer or out of range"))?;
            if database != 0 {
                return Err(Reply::error("ERR DB index is out of range"));
            }
        } else {
            return Err(syntax_error());
        }
    }
    if rest[0] == rest[1] {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    let record = change.store.get(change.log_time, rest[0]).cloned();
    let record = record.filter(|_| replaces || !change.has(rest[1]));
    if let Some(record) = &record {
        change.store.put_copy(record, rest[1], record.deadline());
    }
    out.integer(i64::from(record.is_some()));
    Ok(())
}

fn object(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let known = ["encoding", "freq", "idletime", "refcount"].into_iter().find(|name| is(rest[0], name));
    let name = known.ok_or_else(|| unknown_subcommand("object", rest[0]))?;
    let [key] = rest[1..] else {
        return Err(super::errors::wrong_arity(&format!("object|{name}")));
    };
    let Some(record) = view.store.get(view.at.log_time, key) else {
        out.null();
        return Ok(());
    };
    match name {
        "encoding" => out.bulk(encoding(record).as_bytes()),
        "freq" => {
            return Err(Reply::error(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        // Use is not tracked.
        "idletime" => out.integer(0),
        _ => out.integer(1),
    }
    Ok(())
}

/// The encoding in which Redis would keep the value.
fn encoding(record: &Record) -> &'static str {
    match (record.as_text(), record.as_value()) {
        (Some(text), _) if parse_integer(text).is_some() => "int",
        (Some(text), _) if text.len() <= EMBEDDED_BYTES_MAX => "embstr",
        (_, Some(Value::List(_))) => "quicklist",
        (_, Some(Value::Hash(Hash(members)))) if members.is_small() => "listpack",
        (_, Some(Value::Set(Set(members)))) if is_integer_set(members.len(), members.iter().map(|(name, _)| name)) => {
            "intset"
        }
        (_, Some(Value::Hash(_) | Value::Set(_))) => "hashtable",
        (_, Some(Value::SortedSet(members))) => {
            if members.is_small() {
                "listpack"
            } else {
                "skiplist"
            }
        }
        (_, Some(Value::Stream(_))) => "stream",
        _ => "raw",
    }
}

fn is_integer_set<'a>(count: usize, mut members: impl Iterator<Item = &'a [u8]>) -> bool {
    count <= INTEGERS_MAX && members.all(|member| parse_integer(member).is_some())
}

/// Maximum bytes of a string that Redis keeps beside its head.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Maximum number of integers that Redis keeps in one piece.
const INTEGERS_MAX: usize = 512;
