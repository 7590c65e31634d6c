//! `XCLAIM` and `XAUTOCLAIM`.

use crate::resp::{Encoder, Reply};
use crate::store::{Group, Pending, Stream, StreamId, parse_integer};

use super::super::context::Change;
use super::super::errors::{is, syntax_error};
use super::parse::{start_of_interval, strict_id};
use super::{Done, no_group, put_entry, put_id};

/// The options of `XCLAIM` behind the ids.
#[derive(Default)]
struct Options {
    /// Claims entries that nobody has.
    is_forced: bool,
    ids_only: bool,
    /// The time of delivery in Unix ms of log time.
    delivered: Option<u64>,
    deliveries: Option<u64>,
    last_id: StreamId,
}

fn number(text: &[u8], what: &str, command: &str) -> Result<i64, Reply> {
    parse_integer(text).ok_or_else(|| Reply::error(format!("ERR Invalid {what} argument for {command}")))
}

fn idle_min(text: &[u8], command: &str) -> Result<u64, Reply> {
    Ok(u64::try_from(number(text, "min-idle-time", command)?).unwrap_or(0))
}

impl Options {
    fn parse(options: &[&[u8]], change: &Change<'_>) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        let mut rest = options;
        while let Some((option, after)) = rest.split_first() {
            rest = after;
            let value = match option.to_ascii_lowercase().as_slice() {
                b"force" => {
                    parsed.is_forced = true;
                    continue;
                }
                b"justid" => {
                    parsed.ids_only = true;
                    continue;
                }
                _ => after.first().copied().unwrap_or_default(),
            };
            match option.to_ascii_lowercase().as_slice() {
                _ if after.is_empty() => return Err(unknown_option(option)),
                b"idle" => {
                    let idle = number(value, "IDLE option", "XCLAIM")?;
                    parsed.delivered = u64::try_from(idle).ok().and_then(|idle| change.log_time.checked_sub(idle));
                }
                b"time" => {
                    let time = number(value, "TIME option", "XCLAIM")?;
                    // A point of time by the client's clock, which the log's time may not be.
                    let idle = u64::try_from(time).ok().and_then(|time| change.wall_ms.checked_sub(time));
                    parsed.delivered = idle.and_then(|idle| change.log_time.checked_sub(idle));
                }
                b"retrycount" => {
                    parsed.deliveries = u64::try_from(number(value, "RETRYCOUNT option", "XCLAIM")?).ok();
                }
                b"lastid" => parsed.last_id = strict_id(value)?,
                _ => return Err(unknown_option(option)),
            }
            rest = &after[1..];
        }
        Ok(parsed)
    }
}

fn unknown_option(option: &[u8]) -> Reply {
    Reply::Error([&b"ERR Unrecognized XCLAIM option '"[..], option, b"'"].concat())
}

/// Checks that a key has a group.
fn check_group(change: &Change<'_>, key: &[u8], group: &[u8]) -> Done {
    let known = change.collection::<Stream>(key)?.and_then(|stream| stream.group(group));
    known.map(drop).ok_or_else(|| no_group(key, group, ""))
}

pub(super) fn claim(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name, consumer) = (rest[0], rest[1], rest[2]);
    check_group(change, key, name)?;
    let idle_min = idle_min(rest[3], "XCLAIM")?;
    let ids: Vec<StreamId> = rest[4..].iter().map_while(|text| strict_id(text).ok()).collect();
    let options = Options::parse(&rest[4 + ids.len()..], change)?;
    let now = change.log_time;
    let claimed = change.update(key, |stream: &mut Stream| {
        let there: Vec<(StreamId, bool)> = ids.iter().map(|id| (*id, stream.get(*id).is_some())).collect();
        stream.change_group(name, |group| {
            group.last_id = group.last_id.max(options.last_id);
            let mut claimed = Vec::new();
            for (id, is_there) in there {
                if !is_there {
                    group.acknowledge(id);
                } else if claim_one(group, id, consumer, &options, (now, idle_min)) {
                    claimed.push(id);
                }
            }
            claimed
        })
    })?;
    put_claimed(change, key, &claimed.unwrap_or_default(), options.ids_only, out)
}

/// Gives an entry to a consumer, which may be new. Returns false if nobody has the entry, or it was delivered a short
/// time ago.
fn claim_one(group: &mut Group, id: StreamId, consumer: &[u8], options: &Options, (now, idle_min): (u64, u64)) -> bool {
    let before = match group.find(id) {
        Some(pending) if now.saturating_sub(pending.delivered) < idle_min => return false,
        Some(pending) => pending.deliveries,
        None if options.is_forced => 1,
        None => return false,
    };
    let counted = if options.ids_only { before } else { before.saturating_add(1) };
    let deliveries = options.deliveries.unwrap_or(counted);
    group.see(consumer, now);
    group.assign(Pending { id, delivered: options.delivered.unwrap_or(now), deliveries, consumer });
    true
}

fn put_claimed(change: &Change<'_>, key: &[u8], ids: &[StreamId], ids_only: bool, out: &mut Encoder<'_>) -> Done {
    let stream = change.collection::<Stream>(key)?;
    out.array(ids.len());
    for id in ids {
        match stream.and_then(|stream| stream.get(*id)).filter(|_| !ids_only) {
            Some(entry) => put_entry(entry, out)?,
            None => put_id(*id, out),
        }
    }
    Ok(())
}

pub(super) fn claim_idle(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, name, consumer) = (rest[0], rest[1], rest[2]);
    let idle_min = idle_min(rest[3], "XAUTOCLAIM")?;
    let start = start_of_interval(rest[4])?;
    let (mut count, mut options) = (COUNT, Options::default());
    let mut after = &rest[5..];
    while let Some((option, behind)) = after.split_first() {
        after = behind;
        if is(option, "count") && !behind.is_empty() {
            count = attempts(behind[0])?;
            after = &behind[1..];
        } else if is(option, "justid") {
            options.ids_only = true;
        } else {
            return Err(syntax_error());
        }
    }
    check_group(change, key, name)?;
    let now = change.log_time;
    let (mut claimed, mut gone, mut next) = (Vec::new(), Vec::new(), None);
    change.update(key, |stream: &mut Stream| {
        let looked_at: Vec<(StreamId, bool)> = stream.group(name).map_or_else(Vec::new, |group| {
            let pending = group.iter_from(start).take(count.saturating_mul(ATTEMPTS).saturating_add(1));
            pending.map(|pending| (pending.id, stream.get(pending.id).is_some())).collect()
        });
        stream.change_group(name, |group| {
            for (attempt, (id, is_there)) in looked_at.into_iter().enumerate() {
                if claimed.len() + gone.len() == count || attempt == count.saturating_mul(ATTEMPTS) {
                    next = Some(id);
                    break;
                }
                if !is_there {
                    group.acknowledge(id);
                    gone.push(id);
                } else if claim_one(group, id, consumer, &options, (now, idle_min)) {
                    claimed.push(id);
                }
            }
        });
    })?;
    out.array(3);
    put_id(next.unwrap_or(StreamId::MIN), out);
    put_claimed(change, key, &claimed, options.ids_only, out)?;
    out.array(gone.len());
    for id in gone {
        put_id(id, out);
    }
    Ok(())
}

fn attempts(text: &[u8]) -> Result<usize, Reply> {
    let count = parse_integer(text).and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| Reply::error("ERR COUNT must be > 0"))
}

/// Maximum number of entries that are claimed at once if it is not told.
const COUNT: usize = 100;
/// The highest such number that may be told.
const COUNT_MAX: usize = usize::MAX / 32;
/// Number of entries that are looked at for each that may be claimed.
const ATTEMPTS: usize = 10;
