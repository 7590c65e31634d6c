//! Commands that wait until there is something to take.
//!
//! In an entry of the log each takes what is there, or nothing: no entry waits. The node that has the client proposes
//! it again when items were added to one of its keys. A command that only reads is answered again at that time.

use std::time::Duration;

use bytes::Bytes;

use crate::resp::{Encoder, Reply};
use crate::store::{List, SortedSet, parse_double, parse_integer};

use super::context::Change;
use super::lists::{self, End};
use super::sorted_sets;
use super::spec::{self, Keys, Spec, TWO_KEYS, Timeout, WAITING_TO_PUT};

type Done = Result<(), Reply>;

/// All keys but for the time-out behind them.
const KEYS: Keys = Keys::Range(1, -2, 1);

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("blmove", 6, TWO_KEYS, |change, rest, out| {
        seconds(rest[4])?;
        lists::move_item(change, (rest[0], lists::end(rest[2])?), (rest[1], lists::end(rest[3])?), out)
    })
    .waits(Timeout::Last)
    .flags(WAITING_TO_PUT)
    .about("list", "Moves an item to another list as soon as there is one."),
    Spec::write("blmpop", -5, Keys::Counted(2), |change, rest, out| {
        seconds(rest[0])?;
        lists::pop_from_first(change, &rest[1..], out)
    })
    .waits(Timeout::First)
    .about("list", "Removes and returns items of the first list that has some, as soon as one has."),
    Spec::write("blpop", -3, KEYS, |change, rest, out| pop_item(change, rest, End::Front, out))
        .waits(Timeout::Last)
        .about("list", "Removes and returns the first item of a list as soon as there is one."),
    Spec::write("brpop", -3, KEYS, |change, rest, out| pop_item(change, rest, End::Back, out))
        .waits(Timeout::Last)
        .about("list", "Removes and returns the last item of a list as soon as there is one."),
    Spec::write("brpoplpush", 4, TWO_KEYS, |change, rest, out| {
        seconds(rest[2])?;
        lists::move_item(change, (rest[0], End::Back), (rest[1], End::Front), out)
    })
    .waits(Timeout::Last)
    .flags(WAITING_TO_PUT)
    .about("list", "Moves the last item of a list before the first of another as soon as there is one."),
    Spec::write("bzmpop", -5, Keys::Counted(2), |change, rest, out| {
        seconds(rest[0])?;
        sorted_sets::pop_from_first(change, &rest[1..], out)
    })
    .waits(Timeout::First)
    .about("sorted-set", "Removes and returns members of the first set that has some, as soon as one has."),
    Spec::write("bzpopmax", -3, KEYS, |change, rest, out| pop_member(change, rest, false, out))
        .waits(Timeout::Last)
        .about("sorted-set", "Removes and returns the member with the highest score as soon as there is one."),
    Spec::write("bzpopmin", -3, KEYS, |change, rest, out| pop_member(change, rest, true, out))
        .waits(Timeout::Last)
        .about("sorted-set", "Removes and returns the member with the lowest score as soon as there is one."),
];

/// What a command waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocking {
    /// The keys, to one of which something has to be added.
    pub keys: Vec<Box<[u8]>>,
    /// The time for which it waits. `None`: without end.
    pub timeout: Option<Duration>,
    /// Whether it puts what it takes somewhere else, where a value of another kind may be.
    pub puts: bool,
}

impl Blocking {
    /// What a command with these arguments waits for. `None` if it is not to wait: it is of another kind, or its
    /// arguments are wrong, which its entry will tell.
    pub fn of(spec: &Spec, arguments: &[&[u8]]) -> Option<Self> {
        let seconds = |text: &[u8]| seconds(text).ok().map(Duration::from_secs_f64);
        let time = match spec.timeout? {
            Timeout::First => seconds(arguments.get(1)?)?,
            Timeout::Last => seconds(arguments.last()?)?,
            Timeout::Block => milliseconds(arguments.get(spec::option(arguments, "block")? + 1)?).ok()?,
        };
        let keys = spec.keys_of(arguments)?.into_iter().map(Box::from).collect();
        let timeout = Some(time).filter(|time| !time.is_zero());
        Some(Self { keys, timeout, puts: ["blmove", "brpoplpush"].contains(&spec.name) })
    }

    /// Returns true for the reply that tells that there was nothing.
    pub fn is_nothing(reply: &[u8]) -> bool {
        [NO_LIST, NO_VALUE, b"_\r\n"].contains(&reply)
    }

    /// The reply to an attempt, if there was one before with the reply `nothing`. A client that waits takes no notice
    /// of a value of another kind, unless the item may have nowhere to go, and is told that the group of which it is a
    /// member is gone.
    pub fn later(&self, reply: Bytes, nothing: Option<Bytes>) -> Bytes {
        match nothing {
            Some(nothing) if reply.starts_with(b"-WRONGTYPE ") && !self.puts => nothing,
            Some(_) if reply.starts_with(b"-NOGROUP ") => Bytes::from_static(GROUP_IS_GONE),
            _ => reply,
        }
    }

    /// The reply once the time is over, from the one to the last attempt. It is a list, though an attempt to move an
    /// item is answered by a value.
    pub fn timed_out(reply: Bytes) -> Bytes {
        if reply == NO_VALUE { Bytes::from_static(NO_LIST) } else { reply }
    }
}

fn seconds(text: &[u8]) -> Result<f64, Reply> {
    let seconds = parse_double(text).filter(|seconds| *seconds <= SECONDS_MAX);
    let seconds = seconds.ok_or_else(|| Reply::error("ERR timeout is not a float or out of range"))?;
    if seconds < 0.0 { Err(Reply::error("ERR timeout is negative")) } else { Ok(seconds) }
}

/// The time behind `BLOCK`.
pub(super) fn milliseconds(text: &[u8]) -> Result<Duration, Reply> {
    let ms = parse_integer(text).ok_or_else(|| Reply::error("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Reply::error("ERR timeout is negative"))?;
    let time = Duration::from_millis(ms);
    if time.as_secs_f64() <= SECONDS_MAX { Ok(time) } else { Err(Reply::error("ERR timeout is out of range")) }
}

/// The keys before the time-out.
fn keys<'b, 'a>(rest: &'b [&'a [u8]]) -> Result<&'b [&'a [u8]], Reply> {
    let (timeout, keys) = rest.split_last().expect("the arity asks for it");
    seconds(timeout)?;
    Ok(keys)
}

fn pop_item(change: &mut Change<'_>, rest: &[&[u8]], end: End, out: &mut Encoder<'_>) -> Done {
    for key in keys(rest)? {
        if change.collection::<List>(key)?.is_some() {
            out.array(2);
            out.bulk(key);
            for item in end.pop(change, key, 1)? {
                out.bulk(&item);
            }
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

fn pop_member(change: &mut Change<'_>, rest: &[&[u8]], is_lowest: bool, out: &mut Encoder<'_>) -> Done {
    for key in keys(rest)? {
        if change.collection::<SortedSet>(key)?.is_some() {
            out.array(3);
            out.bulk(key);
            for (score, member) in sorted_sets::take(change, key, is_lowest, 1)? {
                out.bulk(&member);
                out.double(score);
            }
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

/// No list and no value, in RESP2.
const NO_LIST: &[u8] = b"*-1\r\n";
const NO_VALUE: &[u8] = b"$-1\r\n";
const GROUP_IS_GONE: &[u8] = b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n";
/// Maximum time-out: a hundred years.
const SECONDS_MAX: f64 = 3_155_760_000.0;
