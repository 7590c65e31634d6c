//! The table of commands.

use crate::kv::resp::Reply;

/// The description of a command, as in the reply to `COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// The command.
    pub kind: Kind,
    /// Number of arguments, the name included. If negative, the minimum number.
    pub arity: i64,
    /// Redis's flags.
    pub flags: &'static [&'static str],
    /// Places of keys: first, last (from the end if negative), step. All 0 if there are none.
    pub keys: (i64, i64, i64),
    /// Redis's name for the group of the command.
    pub group: &'static str,
    /// A summary for `COMMAND DOCS`. Empty for a name that is known only to be refused.
    pub summary: &'static str,
}

/// All commands.
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
    Flush,
    Function,
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
    Transaction,
    Ttl,
    Type,
}

impl Spec {
    /// The command of this name, in upper or lower case.
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let position = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
        Some(&COMMANDS[position])
    }

    /// Returns true if a request with this number of arguments, the name included, can be this command.
    pub fn takes(&self, arguments: usize) -> bool {
        takes(self.arity, arguments)
    }

    /// The commands that are listed to clients.
    pub fn listed() -> impl Iterator<Item = &'static Self> {
        COMMANDS.iter().filter(|spec| spec.is_listed())
    }

    /// Returns true if the command is listed to clients. A name that is known only to be refused is not.
    pub fn is_listed(&self) -> bool {
        !self.summary.is_empty()
    }

    /// This command's name and description as an element of `COMMAND DOCS`'s reply.
    pub fn docs(&self) -> (Reply, Reply) {
        let pair = |key: &str, text: &str| (Reply::bulk(key), Reply::bulk(text));
        (Reply::bulk(self.name), Reply::Map(vec![pair("summary", self.summary), pair("group", self.group)]))
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

/// Returns true if `arity` allows this number of arguments.
pub(super) fn takes(arity: i64, arguments: usize) -> bool {
    let wanted = usize::try_from(arity.unsigned_abs()).expect("arities are small");
    if arity < 0 { arguments >= wanted } else { arguments == wanted }
}

const fn spec(
    name: &'static str,
    kind: Kind,
    (arity, flags, keys): (i64, &'static [&'static str], (i64, i64, i64)),
    (group, summary): (&'static str, &'static str),
) -> Spec {
    Spec { name, kind, arity, flags, keys, group, summary }
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

/// A name that is known only to be refused.
const UNLISTED: (&str, &str) = ("", "");

/// All commands by name.
const COMMANDS: &[Spec] = &[
    spec(
        "append",
        Kind::Append,
        (3, WRITE, ONE_KEY),
        ("string", "Appends bytes to a value, and creates the key if there is none."),
    ),
    spec("auth", Kind::Auth, (-2, CONNECTION, NO_KEYS), ("connection", "Authenticates the connection.")),
    spec("client", Kind::Client, (-2, CONNECTION, NO_KEYS), ("connection", "Names the connection or tells about it.")),
    spec("command", Kind::Command, (-1, &["loading", "stale"], NO_KEYS), ("server", "Tells about the commands.")),
    spec("config", Kind::Config, (-2, ADMIN, NO_KEYS), ("server", "Tells the settings.")),
    spec("dbsize", Kind::Dbsize, (1, READ, NO_KEYS), ("server", "Counts the keys.")),
    spec("decr", Kind::Decr, (2, WRITE, ONE_KEY), ("string", "Subtracts one from a number.")),
    spec("decrby", Kind::Decrby, (3, WRITE, ONE_KEY), ("string", "Subtracts a number from a number.")),
    spec("del", Kind::Del, (-2, &["write"], ALL_KEYS), ("generic", "Removes keys.")),
    spec("echo", Kind::Echo, (2, &["loading", "stale", "fast"], NO_KEYS), ("connection", "Returns its argument.")),
    spec("exists", Kind::Exists, (-2, READ, ALL_KEYS), ("generic", "Counts which of the keys exist.")),
    spec("expire", Kind::Expire, (-3, SHRINK, ONE_KEY), ("generic", "Sets the time to live of a key in seconds.")),
    spec("flushall", Kind::Flush, (-1, &["write"], NO_KEYS), ("server", "Removes all keys.")),
    spec(
        "flushdb",
        Kind::Flush,
        (-1, &["write"], NO_KEYS),
        ("server", "Removes all keys of the database, of which there is one."),
    ),
    spec(
        "function",
        Kind::Function,
        (-2, &["noscript"], NO_KEYS),
        ("scripting", "Flushes the functions, of which there are none."),
    ),
    spec("get", Kind::Get, (2, READ, ONE_KEY), ("string", "Returns a value.")),
    spec("hello", Kind::Hello, (-1, CONNECTION, NO_KEYS), ("connection", "Chooses the version of the protocol.")),
    spec("host:", Kind::HttpRequest, (-1, &["loading", "stale"], NO_KEYS), UNLISTED),
    spec("incr", Kind::Incr, (2, WRITE, ONE_KEY), ("string", "Adds one to a number.")),
    spec("incrby", Kind::Incrby, (3, WRITE, ONE_KEY), ("string", "Adds a number to a number.")),
    spec("info", Kind::Info, (-1, &["loading", "stale"], NO_KEYS), ("server", "Tells about the node.")),
    spec("keys", Kind::Keys, (2, &["readonly"], NO_KEYS), ("generic", "Returns the keys that match a pattern.")),
    spec("mget", Kind::Mget, (-2, READ, ALL_KEYS), ("string", "Returns several values.")),
    spec("mset", Kind::Mset, (-3, WRITE_SLOW, (1, -1, 2)), ("string", "Sets several values at once.")),
    spec("multi", Kind::Transaction, (1, CONNECTION, NO_KEYS), UNLISTED),
    spec("persist", Kind::Persist, (2, SHRINK, ONE_KEY), ("generic", "Removes the time to live of a key.")),
    spec(
        "pexpire",
        Kind::Pexpire,
        (-3, SHRINK, ONE_KEY),
        ("generic", "Sets the time to live of a key in milliseconds."),
    ),
    spec("ping", Kind::Ping, (-1, &["fast"], NO_KEYS), ("connection", "Returns PONG or its argument.")),
    spec("post", Kind::HttpRequest, (-1, &["loading", "stale"], NO_KEYS), UNLISTED),
    spec("pttl", Kind::Pttl, (2, READ, ONE_KEY), ("generic", "Returns the time to live of a key in milliseconds.")),
    spec("quit", Kind::Quit, (-1, CONNECTION, NO_KEYS), ("connection", "Closes the connection.")),
    spec(
        "readonly",
        Kind::Readonly,
        (1, &["loading", "stale", "fast"], NO_KEYS),
        ("cluster", "Reads what this node has applied from now on."),
    ),
    spec(
        "readwrite",
        Kind::Readwrite,
        (1, &["loading", "stale", "fast"], NO_KEYS),
        ("cluster", "Reads what is newest in the cluster from now on."),
    ),
    spec("reset", Kind::Reset, (1, CONNECTION, NO_KEYS), ("connection", "Makes the connection as new.")),
    spec(
        "select",
        Kind::Select,
        (2, &["loading", "stale", "fast"], NO_KEYS),
        ("connection", "Chooses the database, of which there is one."),
    ),
    spec("set", Kind::Set, (-3, WRITE_SLOW, ONE_KEY), ("string", "Sets a value.")),
    spec("strlen", Kind::Strlen, (2, READ, ONE_KEY), ("string", "Returns the length of a value in bytes.")),
    spec("ttl", Kind::Ttl, (2, READ, ONE_KEY), ("generic", "Returns the time to live of a key in seconds.")),
    spec("type", Kind::Type, (2, READ, ONE_KEY), ("generic", "Returns the type of a value.")),
    spec("watch", Kind::Transaction, (-2, CONNECTION, NO_KEYS), UNLISTED),
];

const NAME_BYTES_MAX: usize = 16;
