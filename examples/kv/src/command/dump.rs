//! `DUMP` and `RESTORE`.

use crate::rdb::{self, Content, Limits, RdbError};
use crate::resp::{Encoder, Reply};
use crate::store::{VALUE_BYTES_MAX, parse_integer};

use super::context::{Change, Time, Unit, View};
use super::errors::{integer, is, syntax_error};
use super::spec::{ONE_KEY, READ_SLOW, Spec, WRITE_SLOW};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::read("dump", 2, ONE_KEY, |view: &View<'_>, rest, out| {
        out.bulk_or_null(view.store.get(view.at.log_time, rest[0]).map(rdb::dump).as_deref());
        out.check_size()
    })
    .flags(READ_SLOW)
    .about("generic", "Returns a value as bytes in Redis's form."),
    Spec::write("restore", -4, ONE_KEY, restore)
        .flags(WRITE_SLOW)
        .about("generic", "Makes a key from the bytes that DUMP returned, here or in Redis."),
];

impl From<RdbError> for Reply {
    fn from(error: RdbError) -> Self {
        Self::error(match error {
            RdbError::TooShort(_) | RdbError::Version(_) | RdbError::Checksum { .. } => {
                "ERR DUMP payload version or checksum are wrong"
            }
            _ => "ERR Bad data format",
        })
    }
}

#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
}

impl Options {
    fn parse(options: &[&[u8]]) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        // Use is not tracked, so only the syntax of what is told about it counts.
        let (mut has_idle, mut has_frequency) = (false, false);
        let mut rest = options;
        while let Some((option, after)) = rest.split_first() {
            rest = after;
            if is(option, "replace") {
                parsed.replaces = true;
            } else if is(option, "absttl") {
                parsed.is_absolute = true;
            } else if is(option, "idletime") && !after.is_empty() && !has_frequency {
                has_idle = true;
                if integer(after[0])? < 0 {
                    return Err(Reply::error("ERR Invalid IDLETIME value, must be >= 0"));
                }
                rest = &after[1..];
            } else if is(option, "freq") && !after.is_empty() && !has_idle {
                has_frequency = true;
                if !(0..=255).contains(&integer(after[0])?) {
                    return Err(Reply::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
                rest = &after[1..];
            } else {
                return Err(syntax_error());
            }
        }
        Ok(parsed)
    }
}

fn restore(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, dump) = (rest[0], rest[2]);
    let options = Options::parse(&rest[3..])?;
    if !options.replaces && change.has(key) {
        return Err(Reply::error("BUSYKEY Target key name already exists."));
    }
    let ms = parse_integer(rest[1]).ok_or_else(|| Reply::error("ERR value is not an integer or out of range"))?;
    if ms < 0 {
        return Err(Reply::error("ERR Invalid TTL value, must be >= 0"));
    }
    let time = Time { unit: Unit::Milliseconds, is_absolute: options.is_absolute };
    let deadline = if ms == 0 { None } else { Some(change.deadline_of(ms, time, "restore")?) };
    match rdb::load(dump, LIMITS)? {
        Content::Text(text) => change.store.put_text(key, &[&text], deadline),
        Content::Items(value) => change.store.put_value(key, value, deadline),
        Content::Unknown(_) => return Err(Reply::error("ERR Bad data format")),
    }
    if deadline.is_some_and(|deadline| deadline <= change.log_time) {
        change.store.remove(change.log_time, key);
    }
    out.status("OK");
    Ok(())
}

/// Bounds of a value that is restored. What the bytes of a request hold may be compressed.
pub(super) const LIMITS: Limits =
    Limits { text_bytes_max: VALUE_BYTES_MAX as u64, value_bytes_max: 4 * VALUE_BYTES_MAX as u64 };
