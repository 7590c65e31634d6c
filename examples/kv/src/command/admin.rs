//! Commands about what a node measures, and its settings.

use crate::resp::Reply;
use crate::stats::{CommandStats, Stats};
use crate::store::{VALUE_BYTES_MAX, parse_integer};

use super::errors::{is, number, syntax_error, unknown_subcommand, wrong_arity};
use super::{glob, spec};

/// A command about what a node measures, and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AdminCommand<'a> {
    ConfigGet(Vec<&'a [u8]>),
    ConfigSet(Vec<&'a [u8]>),
    ResetStats,
    SlowLogGet(usize),
    SlowLogLength,
    SlowLogReset,
    /// The durations of commands; of all if there are no names.
    Histogram(Vec<&'a [u8]>),
}

impl<'a> AdminCommand<'a> {
    pub(super) fn parse_config(rest: &[&'a [u8]]) -> Result<Self, Reply> {
        let (name, rest) = (rest[0], &rest[1..]);
        let subcommands = [("get", -1), ("set", -2), ("resetstat", 0)];
        let known = subcommands.into_iter().find(|(known, _)| is(name, known));
        let (known, arity) = known.ok_or_else(|| unknown_subcommand("config", name))?;
        if !spec::takes(arity, rest.len()) {
            return Err(wrong_arity(&format!("config|{known}")));
        }
        Ok(match known {
            "get" => Self::ConfigGet(rest.to_vec()),
            "set" => Self::ConfigSet(rest.to_vec()),
            _ => Self::ResetStats,
        })
    }

    pub(super) fn parse_slow_log(rest: &[&'a [u8]]) -> Result<Self, Reply> {
        match rest {
            [name] if is(name, "get") => Ok(Self::SlowLogGet(SLOW_COMMANDS_SHOWN)),
            [name, count] if is(name, "get") => match parse_integer(count) {
                Some(-1) => Ok(Self::SlowLogGet(usize::MAX)),
                Some(count) if count >= 0 => Ok(Self::SlowLogGet(usize::try_from(count).unwrap_or(usize::MAX))),
                _ => Err(Reply::error("ERR count should be greater than or equal to -1")),
            },
            [name, ..] if is(name, "get") => Err(wrong_use("SLOWLOG", name)),
            [name] if is(name, "len") => Ok(Self::SlowLogLength),
            [name] if is(name, "reset") => Ok(Self::SlowLogReset),
            [name, ..] if is(name, "len") => Err(wrong_arity("slowlog|len")),
            [name, ..] if is(name, "reset") => Err(wrong_arity("slowlog|reset")),
            _ => Err(unknown_subcommand("slowlog", rest[0])),
        }
    }

    /// Carries out a command.
    pub fn execute(self, stats: &mut Stats, memory_max: u64) -> Reply {
        match self {
            Self::ConfigGet(patterns) => config_get(&patterns, stats, memory_max),
            Self::ConfigSet(pairs) => config_set(&pairs, stats).err().unwrap_or(Reply::OK),
            Self::ResetStats => {
                stats.reset();
                Reply::OK
            }
            Self::SlowLogGet(count) => stats.slow_log.reply(count),
            Self::SlowLogLength => Reply::Integer(number(stats.slow_log.len())),
            Self::SlowLogReset => {
                stats.slow_log.clear();
                Reply::OK
            }
            Self::Histogram(names) => histogram(&names, stats),
        }
    }
}

/// `LATENCY`. Spikes are not monitored, as in Redis unless a threshold is set; durations of commands are.
pub(super) fn parse_latency<'a>(rest: &[&'a [u8]]) -> Result<Result<AdminCommand<'a>, Reply>, Reply> {
    let constant = |reply| Ok(Err(reply));
    match rest {
        [name, names @ ..] if is(name, "histogram") => Ok(Ok(AdminCommand::Histogram(names.to_vec()))),
        [name] if is(name, "latest") => constant(Reply::Array(Vec::new())),
        [name, _] if is(name, "history") => constant(Reply::Array(Vec::new())),
        [name, ..] if is(name, "reset") => constant(Reply::Integer(0)),
        [name] if is(name, "doctor") => {
            constant(Reply::Text("Spikes are not monitored here. See LATENCY HISTOGRAM and SLOWLOG.".to_owned()))
        }
        [name, event] if is(name, "graph") => {
            Err(Reply::Error([b"ERR No samples available for event '", *event, b"'"].concat()))
        }
        [name, ..] => {
            let known = ["latest", "history", "doctor", "graph"].into_iter().find(|known| is(name, known));
            Err(known
                .map_or_else(|| unknown_subcommand("latency", name), |known| wrong_arity(&format!("latency|{known}"))))
        }
        [] => unreachable!("the arity asks for a subcommand"),
    }
}

fn wrong_use(container: &str, name: &[u8]) -> Reply {
    let start = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
    Reply::Error([start, name, format!("'. Try {container} HELP.").as_bytes()].concat())
}

fn histogram(names: &[&[u8]], stats: &Stats) -> Reply {
    let is_asked = |name: &str| {
        let container = name.split('|').next().unwrap_or(name);
        names.is_empty() || names.iter().any(|asked| is(asked, name) || is(asked, container))
    };
    let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let row = |(name, stats): (&str, &CommandStats)| {
        let counts = stats.cumulative().into_iter().map(|(bound, count)| (number(bound), number(count))).collect();
        let row =
            vec![(Reply::bulk("calls"), number(stats.calls)), (Reply::bulk("histogram_usec"), Reply::Map(counts))];
        (Reply::bulk(name), Reply::Map(row))
    };
    Reply::Map(stats.commands().filter(|(name, stats)| is_asked(name) && stats.calls > 0).map(row).collect())
}

fn config_get(patterns: &[&[u8]], stats: &Stats, memory_max: u64) -> Reply {
    let asked =
        |name: &str| patterns.iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()));
    let settings = settings(stats, memory_max).into_iter().filter(|(name, _)| asked(name));
    Reply::Map(settings.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect())
}

/// Sets what can be set while the server runs: all of it, or nothing if one pair is wrong. It is not kept.
fn config_set(pairs: &[&[u8]], stats: &mut Stats) -> Result<(), Reply> {
    if !pairs.len().is_multiple_of(2) {
        return Err(syntax_error());
    }
    let failed = |name: &[u8], why: &str| {
        let start = &b"ERR CONFIG SET failed (possibly related to argument '"[..];
        Reply::Error([start, name, format!("') - {why}").as_bytes()].concat())
    };
    let (mut slower_than, mut length_max) = (stats.slow_log.slower_than, stats.slow_log.length_max());
    for (place, pair) in pairs.chunks(2).enumerate() {
        let (name, value) = (pair[0], pair[1]);
        if !settings(stats, 0).iter().any(|(known, _)| is(name, known)) {
            return Err(Reply::Error(
                [&b"ERR Unknown option or number of arguments for CONFIG SET - '"[..], name, b"'"].concat(),
            ));
        }
        if pairs.chunks(2).take(place).any(|earlier| earlier[0].eq_ignore_ascii_case(name)) {
            return Err(failed(name, "duplicate parameter"));
        }
        let integer =
            || parse_integer(value).ok_or_else(|| failed(name, "argument couldn't be parsed into an integer"));
        if is(name, SLOWER_THAN) {
            slower_than = integer()?;
        } else if is(name, SLOW_LOG_LENGTH) {
            let between = "argument must be between 0 and 9223372036854775807 inclusive";
            length_max = usize::try_from(integer()?).map_err(|_| failed(name, between))?;
        } else {
            return Err(failed(name, "can't set immutable config"));
        }
    }
    if !stats.slow_log.set_length_max(length_max) {
        return Err(failed(SLOW_LOG_LENGTH.as_bytes(), "at most 10000 commands are kept"));
    }
    stats.slow_log.slower_than = slower_than;
    Ok(())
}

/// The settings that clients, benchmarks and monitoring tools look for, with the values that apply here.
fn settings(stats: &Stats, memory_max: u64) -> [(&'static str, String); 9] {
    [
        ("save", String::new()),
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxmemory", memory_max.to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", VALUE_BYTES_MAX.to_string()),
        (SLOWER_THAN, stats.slow_log.slower_than.to_string()),
        (SLOW_LOG_LENGTH, stats.slow_log.length_max().to_string()),
    ]
}

const SLOWER_THAN: &str = "slowlog-log-slower-than";
const SLOW_LOG_LENGTH: &str = "slowlog-max-len";
/// Number of commands that `SLOWLOG GET` shows unless it is told.
const SLOW_COMMANDS_SHOWN: usize = 10;
