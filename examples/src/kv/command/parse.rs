//! Converts arguments to commands. Texts of errors are Redis's.

use crate::kv::resp::Reply;
use crate::kv::store::{ExpireCondition, Expiry, SetAnswer, SetCondition, Unit, VALUE_BYTES_MAX, Write};

use super::errors::{integer, invalid_time, syntax_error, unknown_command, wrong_arity};
use super::query::Query;
use super::session::SessionCommand;
use super::spec::{Kind, Spec};

/// The command of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// Changes the store; goes through the log.
    Write(Write<'a>),
    /// Reads the store.
    Read(Query),
    /// Concerns the connection alone.
    Session(SessionCommand<'a>),
}

/// Parses a request. The first argument, of which there must be at least one, is the name. `wall_ms` is the wall clock
/// in Unix ms, by which points of time that a client names become spans.
///
/// ```
/// use quorate_examples::kv::command::{Command, Query, parse};
///
/// assert_eq!(parse(&[b"get", b"key"], 0), Ok(Command::Read(Query::Get(Box::from(&b"key"[..])))));
/// ```
///
/// # Errors
/// The reply with the error, for the client.
pub fn parse<'a>(arguments: &[&'a [u8]], wall_ms: u64) -> Result<Command<'a>, Reply> {
    let (name, rest) = arguments.split_first().expect("a request has a name");
    let Some(spec) = Spec::find(name) else {
        return Err(unknown_command(name, rest));
    };
    if !spec.takes(arguments.len()) {
        return Err(wrong_arity(spec.name));
    }
    match spec.kind {
        Kind::Append | Kind::Del | Kind::Flush | Kind::Mset | Kind::Persist | Kind::Set => {
            parse_write(spec.kind, rest, wall_ms).map(Command::Write)
        }
        Kind::Incr | Kind::Incrby | Kind::Decr | Kind::Decrby => parse_add(spec.kind, rest).map(Command::Write),
        Kind::Expire => parse_expire(Unit::Seconds, rest).map(Command::Write),
        Kind::Pexpire => parse_expire(Unit::Milliseconds, rest).map(Command::Write),
        Kind::Get => Ok(Command::Read(Query::Get(rest[0].into()))),
        Kind::Mget => Ok(Command::Read(Query::GetMany(keys(rest)))),
        Kind::Exists => Ok(Command::Read(Query::Exists(keys(rest)))),
        Kind::Strlen => Ok(Command::Read(Query::Length(rest[0].into()))),
        Kind::Ttl => Ok(Command::Read(Query::TimeToLive(rest[0].into(), Unit::Seconds))),
        Kind::Pttl => Ok(Command::Read(Query::TimeToLive(rest[0].into(), Unit::Milliseconds))),
        Kind::Type => Ok(Command::Read(Query::Type(rest[0].into()))),
        Kind::Dbsize => Ok(Command::Read(Query::Size)),
        Kind::Keys => Ok(Command::Read(Query::Keys(rest[0].into()))),
        Kind::Info => Ok(Command::Read(Query::Info(keys(rest)))),
        kind => SessionCommand::parse(kind, rest).map(Command::Session),
    }
}

fn keys(arguments: &[&[u8]]) -> Vec<Box<[u8]>> {
    arguments.iter().map(|key| Box::from(*key)).collect()
}

fn parse_write<'a>(kind: Kind, rest: &[&'a [u8]], wall_ms: u64) -> Result<Write<'a>, Reply> {
    match kind {
        Kind::Set => parse_set(rest, wall_ms),
        Kind::Append => Ok(Write::Append { key: rest[0], value: rest[1] }),
        Kind::Del => Ok(Write::Delete { keys: rest.to_vec() }),
        Kind::Persist => Ok(Write::Persist { key: rest[0] }),
        Kind::Mset if !rest.len().is_multiple_of(2) => Err(wrong_arity("mset")),
        Kind::Mset => Ok(Write::SetMany { pairs: rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect() }),
        _ => match rest {
            [] => Ok(Write::FlushAll),
            [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => Ok(Write::FlushAll),
            _ => Err(syntax_error()),
        },
    }
}

fn parse_add<'a>(kind: Kind, rest: &[&'a [u8]]) -> Result<Write<'a>, Reply> {
    let by = match kind {
        Kind::Incr => 1,
        Kind::Decr => -1,
        Kind::Incrby => integer(rest[1])?,
        _ => {
            let by = integer(rest[1])?;
            by.checked_neg().ok_or_else(|| Reply::error("ERR decrement would overflow"))?
        }
    };
    Ok(Write::Add { key: rest[0], by })
}

fn parse_set<'a>(rest: &[&'a [u8]], wall_ms: u64) -> Result<Write<'a>, Reply> {
    let mut condition = SetCondition::Always;
    let mut answer = SetAnswer::Outcome;
    let mut keeps = false;
    let mut time: Option<(TimeOption, &[u8])> = None;
    let mut options = rest[2..].iter();
    while let Some(option) = options.next() {
        let mut lower = [0; 8];
        let lower = lower.get_mut(..option.len()).ok_or_else(syntax_error)?;
        lower.copy_from_slice(option);
        lower.make_ascii_lowercase();
        match &*lower {
            b"nx" if condition != SetCondition::Present => condition = SetCondition::Absent,
            b"xx" if condition != SetCondition::Absent => condition = SetCondition::Present,
            b"get" => answer = SetAnswer::Old,
            b"keepttl" if time.is_none() => keeps = true,
            name => {
                let option = TimeOption::find(name)
                    .filter(|option| !keeps && time.as_ref().is_none_or(|(before, _)| before == option));
                time = Some((option.ok_or_else(syntax_error)?, options.next().ok_or_else(syntax_error)?));
            }
        }
    }
    let expiry = match time {
        Some((option, text)) => Expiry::In(option.span(integer(text)?, wall_ms)?),
        None if keeps => Expiry::Keep,
        None => Expiry::Never,
    };
    Ok(Write::Set { key: rest[0], value: rest[1], condition, expiry, answer })
}

/// An option of `SET` that takes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeOption {
    unit: Unit,
    absolute: bool,
}

impl TimeOption {
    fn find(name: &[u8]) -> Option<Self> {
        let (unit, absolute) = match name {
            b"ex" => (Unit::Seconds, false),
            b"px" => (Unit::Milliseconds, false),
            b"exat" => (Unit::Seconds, true),
            b"pxat" => (Unit::Milliseconds, true),
            _ => return None,
        };
        Some(Self { unit, absolute })
    }

    /// Milliseconds from now on.
    fn span(self, number: i64, wall_ms: u64) -> Result<i64, Reply> {
        let ms = match self.unit {
            Unit::Seconds => number.checked_mul(1000),
            Unit::Milliseconds => Some(number),
        };
        match ms.filter(|ms| *ms > 0) {
            Some(ms) if self.absolute => Ok(ms.saturating_sub_unsigned(wall_ms)),
            Some(ms) => Ok(ms),
            None => Err(invalid_time("set")),
        }
    }
}

fn parse_expire<'a>(unit: Unit, rest: &[&'a [u8]]) -> Result<Write<'a>, Reply> {
    let mut condition = ExpireCondition::default();
    for option in &rest[2..] {
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
    let number = integer(rest[1])?;
    let in_ms = match unit {
        Unit::Seconds => number.checked_mul(1000).ok_or_else(|| invalid_time("expire"))?,
        Unit::Milliseconds => number,
    };
    Ok(Write::Expire { key: rest[0], in_ms, condition, unit })
}

const _: () = assert!(VALUE_BYTES_MAX <= u32::MAX as usize);
