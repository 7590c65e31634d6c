//! Converts arguments to commands. Texts of errors are Redis's.

use crate::entry::encode_arguments;
use crate::resp::Reply;
use crate::store::parse_integer;

use super::acl::AclCommand;
use super::admin::{AdminCommand, parse_latency};
use super::blocking::Blocking;
use super::client;
use super::errors::{integer, unknown_command, wrong_arity};
use super::pubsub::PubSubCommand;
use super::query::Query;
use super::session::SessionCommand;
use super::spec::{Action, Kind, Spec};
use crate::clients::ClientRequest;

/// The command of a request.
#[derive(Debug)]
pub enum Command<'a> {
    /// Changes the store; goes through the log.
    Write(&'static Spec),
    /// Reads the store.
    Read(Query),
    /// Concerns messages and subscriptions.
    PubSub(PubSubCommand<'a>),
    /// Concerns clients of the node.
    Clients(ClientRequest),
    /// Concerns what the node measures, and its settings.
    Admin(AdminCommand<'a>),
    /// Concerns the users.
    Acl(AclCommand<'a>),
    /// Concerns the connection's transaction.
    Transaction(TransactionCommand),
    /// Concerns the connection alone.
    Session(SessionCommand<'a>),
}

/// A command about a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TransactionCommand {
    Multi,
    Exec,
    Discard,
    Watch(Vec<Box<[u8]>>),
    Unwatch,
    /// `EXEC` with arguments, which ends the transaction as well.
    MalformedExec,
}

/// Parses a request of a command, which is `None` if it is not known. The first argument, of which there must be at
/// least one, is the name.
///
/// ```
/// use quorate_kv::command::{Command, Spec, parse};
///
/// let command = parse(Spec::find(b"SET"), &[b"set", b"key", b"value"]);
/// assert!(matches!(command, Ok(Command::Write(spec)) if spec.name == "set"));
/// ```
///
/// # Errors
/// The reply with the error, for the client.
pub fn parse<'a>(spec: Option<&'static Spec>, arguments: &[&'a [u8]]) -> Result<Command<'a>, Reply> {
    let (name, rest) = arguments.split_first().expect("a request has a name");
    let Some(spec) = spec else {
        return Err(unknown_command(name, rest));
    };
    if !spec.takes(arguments.len()) {
        return match spec.action {
            Action::Connection(Kind::Exec) => Ok(Command::Transaction(TransactionCommand::MalformedExec)),
            _ => Err(wrong_arity(spec.name)),
        };
    }
    match spec.action {
        Action::Write(_) if spec.name == "acl" => AclCommand::parse(rest).map(Command::Acl),
        Action::Write(_) => Ok(Command::Write(spec)),
        // Alone, it is answered off the loop.
        Action::Read(_) if spec.name == "keys" => Ok(Command::Read(Query::Keys(rest[0].into()))),
        Action::Read(read) => Ok(Command::Read(match Blocking::of(spec, arguments) {
            None => Query::Command(read, encode_arguments(arguments)),
            Some(blocking) => Query::Waiting(read, encode_arguments(arguments), blocking, None),
        })),
        Action::Message(_) => Ok(Command::PubSub(PubSubCommand::publish(spec, rest))),
        Action::Connection(kind) if let Some(command) = PubSubCommand::parse(kind, rest) => {
            command.map(Command::PubSub)
        }
        Action::Connection(Kind::Client) => client::parse(rest),
        Action::Connection(Kind::Config) => AdminCommand::parse_config(rest).map(Command::Admin),
        Action::Connection(Kind::Slowlog) => AdminCommand::parse_slow_log(rest).map(Command::Admin),
        Action::Connection(Kind::Latency) => Ok(match parse_latency(rest)? {
            Ok(command) => Command::Admin(command),
            Err(reply) => Command::Session(SessionCommand::Constant(reply)),
        }),
        Action::Connection(Kind::Wait) => parse_wait(rest, false),
        Action::Connection(Kind::Waitaof) => parse_wait(&rest[1..], true),
        Action::Connection(Kind::Multi) => Ok(Command::Transaction(TransactionCommand::Multi)),
        Action::Connection(Kind::Exec) => Ok(Command::Transaction(TransactionCommand::Exec)),
        Action::Connection(Kind::Discard) => Ok(Command::Transaction(TransactionCommand::Discard)),
        Action::Connection(Kind::Watch) => Ok(Command::Transaction(TransactionCommand::Watch(copies(rest)))),
        Action::Connection(Kind::Unwatch) => Ok(Command::Transaction(TransactionCommand::Unwatch)),
        Action::Connection(Kind::Role) => Ok(Command::Read(Query::Role)),
        Action::Connection(Kind::Cluster) => Ok(Command::Read(Query::Cluster(copies(rest)))),
        Action::Connection(Kind::Info) => Ok(Command::Read(Query::Info(copies(rest)))),
        Action::Connection(kind) => SessionCommand::parse(kind, rest).map(Command::Session),
    }
}

/// `WAIT` and the last arguments of `WAITAOF`. Neither waits: an answered write is on a majority's disks.
fn parse_wait<'a>(rest: &[&[u8]], shows_own: bool) -> Result<Command<'a>, Reply> {
    integer(rest[0])?;
    let timeout = parse_integer(rest[1]);
    let timeout = timeout.ok_or_else(|| Reply::error("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Reply::error("ERR timeout is negative"));
    }
    Ok(Command::Read(Query::Wait { shows_own }))
}

fn copies(arguments: &[&[u8]]) -> Vec<Box<[u8]>> {
    arguments.iter().map(|key| Box::from(*key)).collect()
}
