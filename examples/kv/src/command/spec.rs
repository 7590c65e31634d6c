//! The description of a command.

use std::sync::LazyLock;

use crate::resp::{Encoder, Reply};

use super::context::{Change, View};
use super::errors::is;

/// The description of a command, as in the reply to `COMMAND`, and the function that carries it out.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// Its effect.
    pub action: Action,
    /// Number of arguments, the name included. If negative, the minimum number.
    pub arity: i64,
    /// Redis's flags.
    pub flags: &'static [&'static str],
    /// Places of its keys.
    pub keys: Keys,
    /// Redis's name for the group of the command.
    pub group: &'static str,
    /// A summary for `COMMAND DOCS`. Empty for a name that is known only to be refused.
    pub summary: &'static str,
    /// The reply to this write may be as long as a value.
    pub is_long: bool,
    /// The place of the time for which this command waits until there is something to take.
    pub timeout: Option<Timeout>,
    /// Its first argument is a subcommand.
    pub is_container: bool,
}

/// The place of a time-out among the arguments behind the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// The first.
    First,
    /// The last.
    Last,
    /// Behind the option `BLOCK`, without which the command does not wait, and in milliseconds.
    Block,
}

/// The effect of a command.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// It needs the store and changes nothing.
    Read(Read),
    /// It goes through the log.
    Write(Write),
    /// It goes to subscribers: at once, or when the entry of its transaction or script was applied.
    Message(Write),
    /// It concerns the connection or the node.
    Connection(Kind),
}

/// Answers from the store. An error takes the place of all that was written.
pub type Read = fn(&View<'_>, &[&[u8]], &mut Encoder<'_>) -> Result<(), Reply>;
/// Changes the store and answers. With an error it has changed nothing.
pub type Write = fn(&mut Change<'_>, &[&[u8]], &mut Encoder<'_>) -> Result<(), Reply>;

/// Commands about the connection or the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Auth,
    Client,
    Cluster,
    Command,
    Config,
    Discard,
    Echo,
    Exec,
    Hello,
    HttpRequest,
    Info,
    Latency,
    Multi,
    Ping,
    Psubscribe,
    Pubsub,
    Punsubscribe,
    Quit,
    Readonly,
    Readwrite,
    Reset,
    Role,
    Select,
    Slowlog,
    Ssubscribe,
    Subscribe,
    Sunsubscribe,
    Unsubscribe,
    Unwatch,
    Wait,
    Waitaof,
    Watch,
}

/// The places of a command's keys among its arguments, the name being 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// There are none.
    None,
    /// First, last (from the end if negative), and step.
    Range(usize, i64, usize),
    /// The argument at this place tells the number of keys, which follow it.
    Counted(usize),
    /// The first argument, and as many after the second as that one tells.
    FirstAndCounted,
    /// The first argument, and the one behind the last option `STORE` or `STOREDIST` from this place on.
    FirstAndStored(usize),
    /// The first half of what follows the option `STREAMS`.
    Streams,
}

impl Spec {
    /// The command of this name, in upper or lower case.
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        Self::place(name).map(Self::at)
    }

    /// The command at this place among all.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(place: usize) -> &'static Self {
        COMMANDS[place]
    }

    /// The place of the command of this name, in upper or lower case, among all.
    pub fn place(name: &[u8]) -> Option<usize> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()
    }

    /// Returns true if a request with this number of arguments, the name included, can be this command.
    pub fn takes(&self, arguments: usize) -> bool {
        takes(self.arity, arguments)
    }

    /// The commands that are listed to clients.
    pub fn listed() -> impl Iterator<Item = &'static Self> {
        COMMANDS.iter().copied().filter(|spec| spec.is_listed())
    }

    /// Returns true if the command is listed to clients. A name that is known only to be refused is not.
    pub fn is_listed(&self) -> bool {
        !self.summary.is_empty()
    }

    /// Returns true if the command is of a category of Redis's access control.
    pub fn is_of_category(&self, category: &[u8]) -> bool {
        std::str::from_utf8(category).is_ok_and(|category| super::acl::categories::is_of(self.name, category))
    }

    /// Returns true if the command concerns all keys, or what is kept beside them, and names none of them. Users are
    /// kept by the first shard alone.
    pub fn concerns_all(&self) -> bool {
        let is_of_store = matches!(self.action, Action::Read(_) | Action::Write(_));
        self.keys == Keys::None && is_of_store && !["acl", "time"].contains(&self.name)
    }

    /// Returns true if the command may make keys grow, so that it is refused once they take up too much.
    pub fn may_grow(&self, arguments: &[&[u8]]) -> bool {
        let creates = || arguments.get(1).is_some_and(|name| is(name, "create") || is(name, "createconsumer"));
        self.flags.contains(&"denyoom") || (self.name == "xgroup" && creates())
    }

    /// Returns true if the command reads keys whose names it makes up: of `SORT` with patterns.
    pub fn reads_unnamed(&self, arguments: &[&[u8]]) -> bool {
        let is_pattern =
            |argument: &&[u8]| argument.eq_ignore_ascii_case(b"by") || argument.eq_ignore_ascii_case(b"get");
        self.name.starts_with("sort") && arguments.iter().skip(2).any(is_pattern)
    }

    /// The keys among arguments. `None` if their number is not told rightly.
    pub fn keys_of<'a>(&self, arguments: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
        let counted = |at: usize| {
            let count = usize::try_from(crate::store::parse_integer(arguments.get(at)?)?).ok()?;
            arguments.get(at + 1..)?.get(..count)
        };
        match self.keys {
            Keys::None => Some(Vec::new()),
            Keys::Range(first, last, step) => {
                let back = usize::try_from(last.unsigned_abs()).ok()?;
                let end = if last < 0 { arguments.len().checked_sub(back)? } else { back };
                Some(arguments.get(first..=end)?.iter().step_by(step).copied().collect())
            }
            Keys::Counted(at) => counted(at).map(<[_]>::to_vec),
            Keys::FirstAndCounted => Some([arguments.get(1..2)?, counted(2)?].concat()),
            Keys::FirstAndStored(from) => {
                let mut options = arguments.get(from..).unwrap_or_default().windows(2);
                let stored = options.rfind(|pair| is(pair[0], "store") || is(pair[0], "storedist"));
                Some(arguments.get(1..2)?.iter().chain(stored.map(|pair| &pair[1])).copied().collect())
            }
            Keys::Streams => {
                let behind = arguments.get(option(arguments, "streams")? + 1..)?;
                Some(behind[..behind.len() / 2].to_vec())
            }
        }
    }

    /// The name of a request of this command, with that of its subcommand if it has some.
    pub fn full_name(&self, arguments: &[&[u8]]) -> String {
        match arguments.get(1) {
            Some(subcommand) if self.is_container => {
                format!("{}|{}", self.name, String::from_utf8_lossy(subcommand).to_ascii_lowercase())
            }
            _ => self.name.to_owned(),
        }
    }

    /// This command's name and description as an element of `COMMAND DOCS`'s reply.
    pub fn docs(&self) -> (Reply, Reply) {
        let pair = |key: &str, text: &str| (Reply::bulk(key), Reply::bulk(text));
        (Reply::bulk(self.name), Reply::Map(vec![pair("summary", self.summary), pair("group", self.group)]))
    }

    /// This command as an element of `COMMAND`'s reply.
    pub fn reply(&self) -> Reply {
        let flags = self.flags.iter().map(|flag| Reply::Status(flag)).collect();
        let place = |place: usize| i64::try_from(place).expect("places are small");
        let (first, last, step) = match self.keys {
            Keys::None | Keys::Counted(_) | Keys::Streams => (0, 0, 0),
            Keys::Range(first, last, step) => (place(first), last, place(step)),
            Keys::FirstAndCounted | Keys::FirstAndStored(_) => (1, 1, 1),
        };
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

    /// A command that reads the store.
    pub(super) const fn read(name: &'static str, arity: i64, keys: Keys, run: Read) -> Self {
        Self { action: Action::Read(run), flags: READ, ..Self::new(name, arity, keys) }
    }

    /// A command that changes the store.
    pub(super) const fn write(name: &'static str, arity: i64, keys: Keys, run: Write) -> Self {
        Self { action: Action::Write(run), flags: WRITE, ..Self::new(name, arity, keys) }
    }

    /// A command that sends a message to subscribers.
    pub(super) const fn message(name: &'static str, arity: i64, flags: &'static [&'static str], run: Write) -> Self {
        Self { action: Action::Message(run), flags, ..Self::new(name, arity, Keys::None) }
    }

    /// A command about the connection or the node.
    pub(super) const fn connection(name: &'static str, arity: i64, flags: &'static [&'static str], kind: Kind) -> Self {
        Self { action: Action::Connection(kind), flags, ..Self::new(name, arity, Keys::None) }
    }

    pub(super) const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    pub(super) const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    pub(super) const fn long(self) -> Self {
        Self { is_long: true, ..self }
    }

    /// It waits until there is something to take.
    pub(super) const fn waits(self, timeout: Timeout) -> Self {
        Self { timeout: Some(timeout), flags: WAITING, is_long: true, ..self }
    }

    /// A command whose first argument is a subcommand.
    pub(super) const fn container(self) -> Self {
        Self { is_container: true, ..self }
    }

    /// The group and the summary.
    pub(super) const fn about(self, group: &'static str, summary: &'static str) -> Self {
        Self { group, summary, ..self }
    }

    const fn new(name: &'static str, arity: i64, keys: Keys) -> Self {
        let action = Action::Connection(Kind::HttpRequest);
        Self {
            name,
            action,
            arity,
            flags: &[],
            keys,
            group: "",
            summary: "",
            is_long: false,
            timeout: None,
            is_container: false,
        }
    }
}

/// Returns true if `arity` allows this number of arguments.
pub(super) fn takes(arity: i64, arguments: usize) -> bool {
    let wanted = usize::try_from(arity.unsigned_abs()).expect("arities are small");
    if arity < 0 { arguments >= wanted } else { arguments == wanted }
}

/// The place of an option of `XREAD` or `XREADGROUP`.
pub(super) fn option(arguments: &[&[u8]], name: &str) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        if is(argument, name) {
            return Some(at);
        }
        at += match argument.to_ascii_lowercase().as_slice() {
            b"block" | b"count" => 2,
            b"group" => 3,
            b"noack" => 1,
            _ => return None,
        };
    }
    None
}

pub(super) const READ: &[&str] = &["readonly", "fast"];
pub(super) const READ_SLOW: &[&str] = &["readonly"];
pub(super) const READ_MOVABLE: &[&str] = &["readonly", "movablekeys"];
pub(super) const WRITE: &[&str] = &["write", "denyoom", "fast"];
pub(super) const WRITE_SLOW: &[&str] = &["write", "denyoom"];
pub(super) const WRITE_MOVABLE: &[&str] = &["write", "denyoom", "movablekeys"];
const WAITING: &[&str] = &["write", "noscript", "blocking"];
pub(super) const WAITING_TO_PUT: &[&str] = &["write", "denyoom", "noscript", "blocking"];
pub(super) const SHRINK: &[&str] = &["write", "fast"];
pub(super) const SHRINK_SLOW: &[&str] = &["write"];
pub(super) const SHRINK_MOVABLE: &[&str] = &["write", "movablekeys"];

pub(super) const ONE_KEY: Keys = Keys::Range(1, 1, 1);
pub(super) const TWO_KEYS: Keys = Keys::Range(1, 2, 1);
pub(super) const ALL_KEYS: Keys = Keys::Range(1, -1, 1);

/// All commands by name.
static COMMANDS: LazyLock<Vec<&'static Spec>> = LazyLock::new(|| {
    let groups = [
        super::acl::COMMANDS,
        super::bitfield::COMMANDS,
        super::bits::COMMANDS,
        super::blocking::COMMANDS,
        super::connection::COMMANDS,
        super::dump::COMMANDS,
        super::geo::COMMANDS,
        super::hashes::COMMANDS,
        super::hyperloglog::COMMANDS,
        super::keys::COMMANDS,
        super::lists::COMMANDS,
        super::memory::COMMANDS,
        super::pubsub::COMMANDS,
        super::scan::COMMANDS,
        super::script::COMMANDS,
        super::sets::COMMANDS,
        super::sort::COMMANDS,
        super::sorted_sets::COMMANDS,
        super::streams::COMMANDS,
        super::strings::COMMANDS,
    ];
    let mut all: Vec<_> = groups.into_iter().flatten().collect();
    all.sort_by_key(|spec| spec.name);
    all
});

const NAME_BYTES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_once_each() {
        for pair in COMMANDS.windows(2) {
            assert_ne!(pair[0].name, pair[1].name);
        }
        for spec in COMMANDS.iter() {
            assert_eq!(Spec::find(spec.name.to_uppercase().as_bytes()).map(|found| found.name), Some(spec.name));
        }
    }

    /// Those that Redis 7.0.15 refuses when memory is short.
    #[test]
    fn commands_that_may_make_keys_grow_are_those_of_redis() {
        let of_redis = "append bitfield bitop blmove brpoplpush copy decr decrby geoadd georadius georadiusbymember \
            geosearchstore getset hincrby hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat linsert lmove lpush \
            lpushx lset mset msetnx pfadd pfmerge psetex restore rpoplpush rpush rpushx sadd sdiffstore set setbit \
            setex setnx setrange sinterstore sort sunionstore xadd xsetid zadd zdiffstore zincrby zinterstore \
            zrangestore zunionstore";
        let ours: Vec<_> = COMMANDS.iter().filter(|spec| spec.may_grow(&[])).map(|spec| spec.name).collect();
        assert_eq!(ours.join(" "), of_redis);
        let group = Spec::find(b"xgroup").unwrap();
        assert!(group.may_grow(&[b"xgroup", b"CREATE"]) && !group.may_grow(&[b"xgroup", b"destroy"]));
    }

    #[test]
    fn keys_are_found() {
        let keys = |line: &str| {
            let arguments: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let keys = Spec::find(arguments[0]).unwrap().keys_of(&arguments);
            keys.map(|keys| {
                keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(keys("mset a 1 b 2").as_deref(), Some("a b"));
        assert_eq!(keys("del a b c").as_deref(), Some("a b c"));
        assert_eq!(keys("zunionstore to 2 a b weights 1 2").as_deref(), Some("to a b"));
        assert_eq!(keys("sintercard 2 a b limit 1").as_deref(), Some("a b"));
        assert_eq!(keys("sintercard 3 a b"), None);
        assert_eq!(keys("bitop and to a b").as_deref(), Some("to a b"));
        assert_eq!(keys("georadius a 1 2 3 km asc store b").as_deref(), Some("a b"));
        assert_eq!(keys("georadiusbymember a store 3 km storedist b").as_deref(), Some("a b"));
        assert_eq!(keys("xread count 2 block 0 streams a streams 1 $").as_deref(), Some("a streams"));
        assert_eq!(keys("xreadgroup group streams block noack streams a >").as_deref(), Some("a"));
        assert_eq!(keys("xread count 2 block 0 1 2"), None);
        assert_eq!(keys("ping").as_deref(), Some(""));
    }
}
