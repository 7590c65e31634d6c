//! The table of commands.

use crate::kv::resp::Reply;

/// What a client may know of a command, as `COMMAND` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// Which command it is.
    pub kind: Kind,
    /// Arguments with the name; negative: at least so many.
    pub arity: i64,
    /// Redis's flags.
    pub flags: &'static [&'static str],
    /// Where keys stand: first, last (negative: from the end), step. All 0: none.
    pub keys: (i64, i64, i64),
}

/// Every command there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Append,
    Auth,
    Client,
    Command,
    Config,
    Dbsize,
    Decr,
    Decrby,
    Del,
    Echo,
    Exists,
    Expire,
    Flushall,
    Get,
    Hello,
    HttpRequest,
    Incr,
    Incrby,
    Info,
    Keys,
    Mget,
    Mset,
    Persist,
    Pexpire,
    Ping,
    Pttl,
    Quit,
    Readonly,
    Readwrite,
    Reset,
    Select,
    Set,
    Strlen,
    Ttl,
    Type,
}

impl Spec {
    /// The command of a name in any case.
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let position = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
        Some(&COMMANDS[position])
    }

    /// Whether a request with this many arguments, the name included, can be this command.
    pub fn takes(&self, arguments: usize) -> bool {
        takes(self.arity, arguments)
    }

    /// This command as an element of `COMMAND`'s reply.
    pub fn reply(&self) -> Reply {
        let flags = self.flags.iter().map(|flag| Reply::Status(flag)).collect();
        let (first, last, step) = self.keys;
        let empty = || Reply::Array(Vec::new());
        Reply::Array(vec![
            Reply::bulk(self.name),
            Reply::Integer(self.arity),
            Reply::Array(flags),
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Integer(step),
            empty(),
            empty(),
            empty(),
            empty(),
        ])
    }
}

/// Whether `arity` allows this many arguments.
pub(super) fn takes(arity: i64, arguments: usize) -> bool {
    let wanted = usize::try_from(arity.unsigned_abs()).expect("arities are small");
    if arity < 0 { arguments >= wanted } else { arguments == wanted }
}

const fn spec(
    name: &'static str,
    kind: Kind,
    arity: i64,
    flags: &'static [&'static str],
    keys: (i64, i64, i64),
) -> Spec {
    Spec { name, kind, arity, flags, keys }
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const WRITE_SLOW: &[&str] = &["write", "denyoom"];
const SHRINK: &[&str] = &["write", "fast"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const NO_KEYS: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);
const ALL_KEYS: (i64, i64, i64) = (1, -1, 1);

/// All commands by name.
pub const COMMANDS: &[Spec] = &[
    spec("append", Kind::Append, 3, WRITE, ONE_KEY),
    spec("auth", Kind::Auth, -2, CONNECTION, NO_KEYS),
    spec("client", Kind::Client, -2, CONNECTION, NO_KEYS),
    spec("command", Kind::Command, -1, &["loading", "stale"], NO_KEYS),
    spec("config", Kind::Config, -2, ADMIN, NO_KEYS),
    spec("dbsize", Kind::Dbsize, 1, READ, NO_KEYS),
    spec("decr", Kind::Decr, 2, WRITE, ONE_KEY),
    spec("decrby", Kind::Decrby, 3, WRITE, ONE_KEY),
    spec("del", Kind::Del, -2, &["write"], ALL_KEYS),
    spec("echo", Kind::Echo, 2, &["loading", "stale", "fast"], NO_KEYS),
    spec("exists", Kind::Exists, -2, READ, ALL_KEYS),
    spec("expire", Kind::Expire, -3, SHRINK, ONE_KEY),
    spec("flushall", Kind::Flushall, -1, &["write"], NO_KEYS),
    spec("get", Kind::Get, 2, READ, ONE_KEY),
    spec("hello", Kind::Hello, -1, CONNECTION, NO_KEYS),
    spec("host:", Kind::HttpRequest, -1, &["loading", "stale"], NO_KEYS),
    spec("incr", Kind::Incr, 2, WRITE, ONE_KEY),
    spec("incrby", Kind::Incrby, 3, WRITE, ONE_KEY),
    spec("info", Kind::Info, -1, &["loading", "stale"], NO_KEYS),
    spec("keys", Kind::Keys, 2, &["readonly"], NO_KEYS),
    spec("mget", Kind::Mget, -2, READ, ALL_KEYS),
    spec("mset", Kind::Mset, -3, WRITE_SLOW, (1, -1, 2)),
    spec("persist", Kind::Persist, 2, SHRINK, ONE_KEY),
    spec("pexpire", Kind::Pexpire, -3, SHRINK, ONE_KEY),
    spec("ping", Kind::Ping, -1, &["fast"], NO_KEYS),
    spec("post", Kind::HttpRequest, -1, &["loading", "stale"], NO_KEYS),
    spec("pttl", Kind::Pttl, 2, READ, ONE_KEY),
    spec("quit", Kind::Quit, -1, CONNECTION, NO_KEYS),
    spec("readonly", Kind::Readonly, 1, &["loading", "stale", "fast"], NO_KEYS),
    spec("readwrite", Kind::Readwrite, 1, &["loading", "stale", "fast"], NO_KEYS),
    spec("reset", Kind::Reset, 1, CONNECTION, NO_KEYS),
    spec("select", Kind::Select, 2, &["loading", "stale", "fast"], NO_KEYS),
    spec("set", Kind::Set, -3, WRITE_SLOW, ONE_KEY),
    spec("strlen", Kind::Strlen, 2, READ, ONE_KEY),
    spec("ttl", Kind::Ttl, 2, READ, ONE_KEY),
    spec("type", Kind::Type, 2, READ, ONE_KEY),
];

const NAME_BYTES_MAX: usize = 16;
