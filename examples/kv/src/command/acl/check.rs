//! Whether a user may give a command.

use crate::command::glob;
use crate::command::spec::{Action, Kind, Spec};
use crate::resp::Reply;
use crate::store::{CommandRule, Grant, User};

use super::categories;

/// What a user may not do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command of this name.
    Command(String),
    /// The key at this place among the command's keys.
    Key(Vec<u8>),
    /// This channel.
    Channel(Vec<u8>),
    /// Keys that `SORT` finds by the patterns of this option.
    UnnamedKeys(&'static str),
}

/// Checks that a user may give a command with these arguments, the name first.
///
/// # Errors
/// What it may not do. Of several grants, the one that comes nearest is told.
pub fn check(user: &User, spec: &Spec, arguments: &[&[u8]]) -> Result<(), Denied> {
    if user.is_unrestricted() || is_free(spec) {
        return Ok(());
    }
    let mut nearest = Denied::Command(spec.full_name(arguments));
    for grant in &user.grants {
        match check_grant(grant, spec, arguments) {
            Ok(()) => return Ok(()),
            Err(denied) => nearest = nearest.max(denied),
        }
    }
    Err(nearest)
}

/// Returns true if the user of a connection with these subscriptions may go on with them.
pub fn may_listen(user: &User, channels: &[&[u8]], patterns: &[&[u8]]) -> bool {
    let allows = |grant: &Grant| {
        channels.iter().all(|name| allows_channel(grant, name, false))
            && patterns.iter().all(|name| allows_channel(grant, name, true))
    };
    user.grants.iter().any(allows)
}

/// Commands that need no permission: those by which a client authenticates, or leaves.
pub fn is_free(spec: &Spec) -> bool {
    let kinds = [Kind::Auth, Kind::Hello, Kind::Quit, Kind::Reset, Kind::HttpRequest];
    matches!(spec.action, Action::Connection(kind) if kinds.contains(&kind))
}

impl Denied {
    /// The error of a client.
    pub fn reply(&self) -> Reply {
        Reply::error(match self {
            Self::UnnamedKeys(_) => format!("ERR {}", self.reason()),
            denied => format!("NOPERM {}", denied.reason()),
        })
    }

    /// The reason as a client is told it.
    pub fn reason(&self) -> String {
        match self {
            Self::Command(name) => format!("this user has no permissions to run the '{name}' command"),
            Self::Key(_) => "this user has no permissions to access one of the keys used as arguments".to_owned(),
            Self::Channel(_) => {
                "this user has no permissions to access one of the channels used as arguments".to_owned()
            }
            Self::UnnamedKeys(option) => {
                format!("{option} option of SORT denied due to insufficient ACL permissions.")
            }
        }
    }

    /// The error of a command that a script gave.
    pub fn in_script(&self) -> &'static str {
        match self {
            Self::Command(_) => "ERR The user executing the script can't run this command or subcommand",
            Self::Key(_) | Self::UnnamedKeys(_) => {
                "ERR The user executing the script can't access at least one of the keys mentioned in the command \
                 arguments"
            }
            Self::Channel(_) => {
                "ERR The user executing the script can't publish to the channel mentioned in the command"
            }
        }
    }

    /// The reply of `ACL DRYRUN`.
    pub(super) fn dry_run(&self) -> Vec<u8> {
        let about = |name: &[u8], kind: &str| {
            [b"This user has no permissions to access the '", name, format!("' {kind}").as_bytes()].concat()
        };
        match self {
            Self::Command(name) => format!("This user has no permissions to run the '{name}' command").into_bytes(),
            Self::Key(key) => about(key, "key"),
            Self::Channel(channel) => about(channel, "channel"),
            Self::UnnamedKeys(_) => self.reason().into_bytes(),
        }
    }
}

fn check_grant(grant: &Grant, spec: &Spec, arguments: &[&[u8]]) -> Result<(), Denied> {
    if !allows_command(grant, spec, arguments) {
        return Err(Denied::Command(spec.full_name(arguments)));
    }
    if !grant.allows_all_keys() {
        // Of a command whose keys cannot be told, none is known to be allowed.
        let keys = spec.keys_of(arguments).ok_or_else(|| Denied::Key(Vec::new()))?;
        for (place, key) in keys.into_iter().enumerate() {
            let needed = needs(spec, arguments, place);
            let allows = |reads, writes| (reads || !needed.reads) && (writes || !needed.writes);
            let takes = |known: &crate::store::KeyPattern| {
                allows(known.reads, known.writes) && glob::matches(&known.pattern, key)
            };
            if !grant.keys.iter().any(takes) {
                return Err(Denied::Key(key.to_vec()));
            }
        }
        let reads_all = grant.keys.iter().any(|known| known.reads && *known.pattern == *b"*");
        if let Some(option) = unnamed(spec, arguments).filter(|_| !reads_all) {
            return Err(Denied::UnnamedKeys(option));
        }
    }
    let (channels, are_patterns) = channels_of(spec, arguments);
    let refused = channels.iter().find(|channel| !allows_channel(grant, channel, are_patterns));
    refused.map_or(Ok(()), |channel| Err(Denied::Channel(channel.to_vec())))
}

/// The option by which `SORT` reads keys that it makes up.
fn unnamed(spec: &Spec, arguments: &[&[u8]]) -> Option<&'static str> {
    if !spec.reads_unnamed(arguments) {
        return None;
    }
    arguments.windows(2).skip(2).find_map(|pair| match pair[0].to_ascii_lowercase().as_slice() {
        b"by" if pair[1].contains(&b'*') => Some("BY"),
        b"get" => Some("GET"),
        _ => None,
    })
}

fn allows_command(grant: &Grant, spec: &Spec, arguments: &[&[u8]]) -> bool {
    let full = spec.full_name(arguments);
    let is_about = |rule: &&CommandRule| match rule.name.strip_prefix('@') {
        Some(category) => categories::is_of(spec.name, category) || categories::is_of(&full, category),
        None => *rule.name == *spec.name || *rule.name == *full,
    };
    grant.rules.iter().rev().find(is_about).map_or(grant.allows_others, |rule| rule.allows)
}

fn allows_channel(grant: &Grant, channel: &[u8], is_pattern: bool) -> bool {
    // A pattern is allowed as it stands alone: others of the same channels may match more.
    grant.allows_all_channels()
        || grant.channels.iter().any(
            |known| {
                if is_pattern { **known == *channel } else { glob::matches(known, channel) }
            },
        )
}

/// The channels of a command, and whether they are patterns.
fn channels_of<'b, 'a>(spec: &Spec, arguments: &'b [&'a [u8]]) -> (&'b [&'a [u8]], bool) {
    match spec.action {
        Action::Message(_) => (arguments.get(1..2).unwrap_or_default(), false),
        Action::Connection(Kind::Subscribe | Kind::Ssubscribe) => (&arguments[1..], false),
        Action::Connection(Kind::Psubscribe) => (&arguments[1..], true),
        _ => (&[], false),
    }
}

/// What a command does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needed {
    reads: bool,
    writes: bool,
}

/// What a command does with the content of the key at this place among its keys, as in Redis's table of keys.
fn needs(spec: &Spec, arguments: &[&[u8]], place: usize) -> Needed {
    let (read, write) = (Needed { reads: true, writes: false }, Needed { reads: false, writes: true });
    let both = Needed { reads: true, writes: true };
    let has = |word: &str| arguments.iter().skip(3).any(|argument| argument.eq_ignore_ascii_case(word.as_bytes()));
    let is_first = place == 0;
    match spec.name {
        name if METADATA.contains(&name) => Needed { reads: false, writes: false },
        name if READS_IN_ENTRIES.contains(&name) => read,
        name if UPDATES.contains(&name) => both,
        name if MOVES.contains(&name) => {
            if is_first {
                both
            } else {
                write
            }
        }
        name if STORES.contains(&name) => {
            if is_first {
                write
            } else {
                read
            }
        }
        "copy" | "georadius" | "georadiusbymember" | "sort" => {
            if is_first {
                read
            } else {
                write
            }
        }
        "pfmerge" => {
            if is_first {
                both
            } else {
                read
            }
        }
        "set" => {
            if has("get") {
                both
            } else {
                write
            }
        }
        "bitfield" => {
            let changes =
                |argument: &&[u8]| ["set", "incrby"].iter().any(|word| argument.eq_ignore_ascii_case(word.as_bytes()));
            if arguments.iter().skip(2).any(changes) { both } else { read }
        }
        _ if matches!(spec.action, Action::Read(_)) => read,
        _ => write,
    }
}

/// Commands that tell about a key and nothing of its content.
const METADATA: &[&str] = &[
    "exists",
    "hexists",
    "hlen",
    "hstrlen",
    "llen",
    "memory",
    "object",
    "scard",
    "sismember",
    "strlen",
    "touch",
    "type",
    "watch",
    "xlen",
    "zcard",
];
/// Commands that only read their keys, though they go through the log.
const READS_IN_ENTRIES: &[&str] = &["eval_ro", "evalsha_ro", "fcall_ro", "pfcount", "xreadgroup"];
/// Commands that return content of the keys that they change.
const UPDATES: &[&str] = &[
    "blmpop",
    "blpop",
    "brpop",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "decr",
    "decrby",
    "eval",
    "evalsha",
    "fcall",
    "getdel",
    "getex",
    "getset",
    "hincrby",
    "hincrbyfloat",
    "incr",
    "incrby",
    "incrbyfloat",
    "lmpop",
    "lpop",
    "rpop",
    "setbit",
    "spop",
    "zincrby",
    "zmpop",
    "zpopmax",
    "zpopmin",
];
/// Commands that take from the first key and write the second.
const MOVES: &[&str] = &["blmove", "brpoplpush", "lmove", "rename", "renamenx", "rpoplpush", "smove"];
/// Commands that write the first key from the others.
const STORES: &[&str] = &[
    "bitop",
    "geosearchstore",
    "sdiffstore",
    "sinterstore",
    "sunionstore",
    "zdiffstore",
    "zinterstore",
    "zrangestore",
    "zunionstore",
];
