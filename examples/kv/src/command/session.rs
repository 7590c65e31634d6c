//! The state of one connection, and the commands about it.

use bytes::Bytes;

use crate::resp::{Reply, Version};
use crate::store::{DEFAULT_USER, Users, parse_integer};

use super::acl::hash_password;
use super::errors::{integer, syntax_error, unknown_subcommand, wrong_arity};
use super::glob;
use super::query::Query;
use super::spec::{Action, Keys, Kind, Spec};

/// The state of a connection that commands change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The connection's number, from 1.
    pub id: i64,
    /// The user as whom the client gives its commands.
    pub user: Box<[u8]>,
    /// The client has shown who it is, or the user `default` needed no password when it came.
    pub is_authenticated: bool,
    /// The protocol of replies.
    pub version: Version,
    /// The name that the client gave itself.
    pub name: Option<Bytes>,
    /// Reads are answered from this node's own state (`READONLY`).
    pub local_reads: bool,
    /// Whether the client gets replies.
    pub replies: Replies,
    /// The client asked that it be not disconnected for want of memory, which no client is.
    pub no_evict: bool,
    /// No further request is taken from the client: it quit, or must not go on.
    pub closing: bool,
}

/// Whether a client gets replies (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replies {
    /// To all its commands.
    #[default]
    On,
    /// To none.
    Off,
    /// To all but the next.
    SkipNext,
}

/// What a client authenticates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login<'a> {
    /// The user, which is `default` if none is named.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: &'a [u8],
}

/// A command about the connection. Texts are the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SessionCommand<'a> {
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    Hello {
        version: Option<Version>,
        name: Option<&'a [u8]>,
        login: Option<Login<'a>>,
    },
    Auth(Login<'a>),
    Select(i64),
    ClientId,
    ClientName,
    SetClientName(&'a [u8]),
    NoEvict(bool),
    Replies(Replies),
    Readonly,
    Readwrite,
    Reset,
    Quit,
    /// An HTTP request, which a browser was made to send here: the connection is closed without a reply.
    HttpRequest,
    /// A fixed reply.
    Constant(Reply),
}

/// The effect of a [`SessionCommand`].
#[derive(Debug, Clone)]
pub enum SessionEffect {
    /// This is the reply.
    Reply(Reply),
    /// The node has to be asked for the reply.
    Ask(Query),
    /// This is the reply, and the connection is as new.
    Reset(Reply),
    /// There is no reply.
    Nothing,
}

impl<'a> SessionCommand<'a> {
    pub(super) fn parse(kind: Kind, rest: &[&'a [u8]]) -> Result<Self, Reply> {
        Ok(match (kind, rest) {
            (Kind::Ping, []) => Self::Ping(None),
            (Kind::Ping, [text]) => Self::Ping(Some(text)),
            (Kind::Ping, _) => return Err(wrong_arity("ping")),
            (Kind::Echo, _) => Self::Echo(rest[0]),
            (Kind::Hello, _) => return parse_hello(rest),
            (Kind::Auth, [password]) => Self::Auth(Login { user: None, password }),
            (Kind::Auth, [user, password]) => Self::Auth(Login { user: Some(user), password }),
            (Kind::Auth, _) => return Err(syntax_error()),
            (Kind::Select, _) => Self::Select(integer(rest[0])?),
            (Kind::Command, _) => return parse_command(rest).map(Self::Constant),
            (Kind::Readonly, _) => Self::Readonly,
            (Kind::Readwrite, _) => Self::Readwrite,
            (Kind::Reset, _) => Self::Reset,
            (Kind::Quit, _) => Self::Quit,
            (Kind::HttpRequest, _) => Self::HttpRequest,
            (kind, _) => unreachable!("{kind:?} is no command about the connection"),
        })
    }
}

impl Session {
    /// The session of a new connection.
    pub fn new(id: i64) -> Self {
        Self {
            id,
            user: DEFAULT_USER.into(),
            is_authenticated: false,
            version: Version::default(),
            name: None,
            local_reads: false,
            replies: Replies::On,
            no_evict: false,
            closing: false,
        }
    }

    /// Makes the client act as the user `default`, which it may do if that needs no password.
    pub fn act_as_default(&mut self, users: &Users) {
        self.user = DEFAULT_USER.into();
        self.is_authenticated = is_open(users);
    }

    /// Returns true if the client has to authenticate first.
    pub fn needs_login(&self, users: &Users) -> bool {
        !self.is_authenticated && !is_open(users)
    }

    fn log_in(&mut self, login: &Login<'_>, users: &Users) -> Result<(), Reply> {
        let name = login.user.unwrap_or(DEFAULT_USER);
        let user = users.get(name);
        if login.user.is_none() && user.is_some_and(|user| user.takes_any_password) {
            return Err(Reply::error(NO_PASSWORD_SET));
        }
        if !user.is_some_and(|user| user.admits(&hash_password(login.password))) {
            return Err(wrong_password());
        }
        self.user = name.into();
        self.is_authenticated = true;
        Ok(())
    }

    /// Carries out a command.
    pub fn execute(&mut self, command: SessionCommand<'_>, users: &Users) -> SessionEffect {
        SessionEffect::Reply(match command {
            SessionCommand::Ping(None) => Reply::Status("PONG"),
            SessionCommand::Ping(Some(text)) | SessionCommand::Echo(text) => Reply::Bulk(Bytes::copy_from_slice(text)),
            SessionCommand::Hello { version, name, login } => {
                let admitted = match login {
                    Some(login) => self.log_in(&login, users),
                    None if self.needs_login(users) => Err(Reply::error(HELLO_WITHOUT_LOGIN)),
                    None => Ok(()),
                };
                if let Err(refusal) = admitted {
                    return SessionEffect::Reply(refusal);
                }
                if let Some(name) = name {
                    self.set_name(name);
                }
                self.version = version.unwrap_or(self.version);
                return SessionEffect::Ask(Query::Hello(self.id));
            }
            SessionCommand::Auth(login) => self.log_in(&login, users).err().unwrap_or(Reply::OK),
            SessionCommand::Select(index) => self.select(index),
            SessionCommand::ClientId => Reply::Integer(self.id),
            SessionCommand::ClientName => self.name.clone().map_or(Reply::Null, Reply::Bulk),
            SessionCommand::SetClientName(name) => self.set_name(name),
            SessionCommand::NoEvict(no_evict) => {
                self.no_evict = no_evict;
                Reply::OK
            }
            SessionCommand::Replies(replies) => {
                self.replies = replies;
                if replies != Replies::On {
                    return SessionEffect::Nothing;
                }
                Reply::OK
            }
            SessionCommand::Readonly => {
                self.local_reads = true;
                Reply::OK
            }
            SessionCommand::Readwrite => {
                self.local_reads = false;
                Reply::OK
            }
            SessionCommand::Reset => {
                *self = Self::new(self.id);
                self.act_as_default(users);
                return SessionEffect::Reset(Reply::Status("RESET"));
            }
            SessionCommand::Quit => {
                self.closing = true;
                Reply::OK
            }
            SessionCommand::HttpRequest => {
                self.closing = true;
                return SessionEffect::Nothing;
            }
            SessionCommand::Constant(reply) => reply,
        })
    }

    /// There is one database. A client that selects another which Redis would have may ignore the error, and would then
    /// change other clients' keys. So its connection ends.
    fn select(&mut self, index: i64) -> Reply {
        match index {
            0 => Reply::OK,
            1..DATABASES => {
                self.closing = true;
                Reply::error("ERR there is database 0 only, so the connection is closed")
            }
            _ if i32::try_from(index).is_ok() => Reply::error("ERR DB index is out of range"),
            _ => Reply::error("ERR value is not an integer or out of range"),
        }
    }

    fn set_name(&mut self, name: &[u8]) -> Reply {
        if !is_client_name(name) {
            return invalid_client_name();
        }
        self.name = (!name.is_empty()).then(|| Bytes::copy_from_slice(name));
        Reply::OK
    }
}

fn parse_hello<'a>(rest: &[&'a [u8]]) -> Result<SessionCommand<'a>, Reply> {
    let Some((version, options)) = rest.split_first() else {
        return Ok(SessionCommand::Hello { version: None, name: None, login: None });
    };
    let version = match parse_integer(version) {
        Some(2) => Version::Resp2,
        Some(3) => Version::Resp3,
        Some(_) => return Err(Reply::error("NOPROTO unsupported protocol version")),
        None => return Err(Reply::error("ERR Protocol version is not an integer or out of range")),
    };
    let mut options = options;
    let (mut name, mut login) = (None, None);
    while let Some((option, rest)) = options.split_first() {
        options = match rest {
            [value, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(*value);
                rest
            }
            [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                login = Some(Login { user: Some(user), password });
                rest
            }
            _ => return Err(Reply::Error([b"ERR Syntax error in HELLO option '", *option, b"'"].concat())),
        };
    }
    if name.is_some_and(|name| !is_client_name(name)) {
        return Err(invalid_client_name());
    }
    Ok(SessionCommand::Hello { version: Some(version), name, login })
}

fn parse_command(rest: &[&[u8]]) -> Result<Reply, Reply> {
    let all = || Reply::Array(Spec::listed().map(Spec::reply).collect());
    let listed = |name: &[u8]| Spec::find(name).filter(|spec| spec.is_listed());
    let Some((name, rest)) = rest.split_first() else {
        return Ok(all());
    };
    match (name.to_ascii_lowercase().as_slice(), rest) {
        (b"count", []) => Ok(Reply::Integer(i64::try_from(Spec::listed().count()).expect("a short table"))),
        (b"count", _) => Err(wrong_arity("command|count")),
        (b"info", []) => Ok(all()),
        (b"info", names) => {
            Ok(Reply::Array(names.iter().map(|name| listed(name).map_or(Reply::Null, Spec::reply)).collect()))
        }
        (b"docs", []) => Ok(Reply::Map(Spec::listed().map(Spec::docs).collect())),
        (b"docs", names) => Ok(Reply::Map(names.iter().filter_map(|name| listed(name)).map(Spec::docs).collect())),
        (b"getkeys", [] | [_]) => Err(wrong_arity("command|getkeys")),
        (b"getkeys", arguments) => keys_of(arguments),
        (b"getkeysandflags", [] | [_]) => Err(wrong_arity("command|getkeysandflags")),
        (b"getkeysandflags", arguments) => keys_and_flags(arguments),
        (b"list", [filter, kind, pattern]) if filter.eq_ignore_ascii_case(b"filterby") => list(kind, pattern),
        (b"list", []) => Ok(Reply::Array(Spec::listed().map(|spec| Reply::bulk(spec.name)).collect())),
        (b"list", _) => Err(syntax_error()),
        _ => Err(unknown_subcommand("command", name)),
    }
}

/// The names of the commands that a filter takes.
fn list(kind: &[u8], pattern: &[u8]) -> Result<Reply, Reply> {
    let pattern = pattern.to_ascii_lowercase();
    let takes = |spec: &Spec| match kind.to_ascii_lowercase().as_slice() {
        b"pattern" => Ok(glob::matches(&pattern, spec.name.as_bytes())),
        b"aclcat" => Ok(spec.is_of_category(&pattern)),
        // There are no modules.
        b"module" => Ok(false),
        _ => Err(syntax_error()),
    };
    let mut names = Vec::new();
    for spec in Spec::listed() {
        if takes(spec)? {
            names.push(Reply::bulk(spec.name));
        }
    }
    Ok(Reply::Array(names))
}

/// The keys of a request, each with what the command may do with it at most.
fn keys_and_flags(arguments: &[&[u8]]) -> Result<Reply, Reply> {
    let Reply::Array(keys) = keys_of(arguments)? else { unreachable!("keys are a list") };
    let is_read = Spec::find(arguments[0]).is_some_and(|spec| matches!(spec.action, Action::Read(_)));
    let flags = if is_read { vec!["RO", "access"] } else { vec!["RW", "access", "update", "insert", "delete"] };
    let flags = Reply::Array(flags.into_iter().map(Reply::Status).collect());
    Ok(Reply::Array(keys.into_iter().map(|key| Reply::Array(vec![key, flags.clone()])).collect()))
}

/// The keys of a request, for clients that have to know where it goes.
fn keys_of(arguments: &[&[u8]]) -> Result<Reply, Reply> {
    let spec = Spec::find(arguments[0]).ok_or_else(|| Reply::error("ERR Invalid command specified"))?;
    if spec.keys == Keys::None {
        return Err(Reply::error("ERR The command has no key arguments"));
    }
    if !spec.takes(arguments.len()) {
        return Err(Reply::error("ERR Invalid number of arguments specified for command"));
    }
    let keys = spec.keys_of(arguments);
    let keys = keys.ok_or_else(|| Reply::error("ERR Invalid arguments specified for command"))?;
    Ok(Reply::Array(keys.into_iter().map(|key| Reply::Bulk(Bytes::copy_from_slice(key))).collect()))
}

fn is_client_name(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

fn invalid_client_name() -> Reply {
    Reply::error("ERR Client names cannot contain spaces, newlines or special characters.")
}

/// Returns true if anybody may act as the user `default`.
fn is_open(users: &Users) -> bool {
    users.get(DEFAULT_USER).is_some_and(|user| user.is_on && user.takes_any_password)
}

fn wrong_password() -> Reply {
    Reply::error("WRONGPASS invalid username-password pair or user is disabled.")
}

const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. Are you \
    sure your configuration is correct?";
const HELLO_WITHOUT_LOGIN: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
    HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
    same time";
/// Number of databases of a Redis server by default.
const DATABASES: i64 = 16;
