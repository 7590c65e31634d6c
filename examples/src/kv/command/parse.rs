//! Converts arguments to commands. Texts of errors are Redis's.

use crate::kv::entry::encode_arguments;
use crate::kv::resp::Reply;

use super::blocking::Blocking;
use super::errors::{unknown_command, wrong_arity};
use super::pubsub::PubSubCommand;
use super::query::Query;
use super::session::SessionCommand;
use super::spec::{Action, Kind, Spec};

/// The command of a request.
#[derive(Debug)]
pub enum Command<'a> {
    /// Changes the store; goes through the log.
    Write(&'static Spec),
    /// Reads the store.
    Read(Query),
    /// Concerns messages and subscriptions.
    PubSub(PubSubCommand<'a>),
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

/// Parses a request. The first argument, of which there must be at least one, is the name.
///
/// ```
/// use quorate_examples::kv::command::{Command, parse};
///
/// let command = parse(&[b"set", b"key", b"value"]);
/// assert!(matches!(command, Ok(Command::Write(spec)) if spec.name == "set"));
/// ```
///
/// # Errors
/// The reply with the error, for the client.
pub fn parse<'a>(arguments: &[&'a [u8]]) -> Result<Command<'a>, Reply> {
    let (name, rest) = arguments.split_first().expect("a request has a name");
    let Some(spec) = Spec::find(name) else {
        return Err(unknown_command(name, rest));
    };
    if !spec.takes(arguments.len()) {
        return match spec.action {
            Action::Connection(Kind::Exec) => Ok(Command::Transaction(TransactionCommand::MalformedExec)),
            _ => Err(wrong_arity(spec.name)),
        };
    }
    match spec.action {
        Action::Write(_) => Ok(Command::Write(spec)),
        // Alone, it is answered off the loop.
        Action::Read(_) if spec.name == "keys" => Ok(Command::Read(Query::Keys(rest[0].into()))),
        Action::Read(read) => Ok(Command::Read(match Blocking::of(spec, arguments) {
            None => Query::Command(read, encode_arguments(arguments)),
            Some(blocking) => Query::Waiting(read, encode_arguments(arguments), blocking),
        })),
        Action::Message(_) => Ok(Command::PubSub(PubSubCommand::publish(spec, rest))),
        Action::Connection(kind) if let Some(command) = PubSubCommand::parse(kind, rest) => {
            command.map(Command::PubSub)
        }
        Action::Connection(Kind::Multi) => Ok(Command::Transaction(TransactionCommand::Multi)),
        Action::Connection(Kind::Exec) => Ok(Command::Transaction(TransactionCommand::Exec)),
        Action::Connection(Kind::Discard) => Ok(Command::Transaction(TransactionCommand::Discard)),
        Action::Connection(Kind::Watch) => Ok(Command::Transaction(TransactionCommand::Watch(copies(rest)))),
        Action::Connection(Kind::Unwatch) => Ok(Command::Transaction(TransactionCommand::Unwatch)),
        Action::Connection(Kind::Role) => Ok(Command::Read(Query::Role)),
        Action::Connection(Kind::Info) => Ok(Command::Read(Query::Info(copies(rest)))),
        Action::Connection(kind) => SessionCommand::parse(kind, rest).map(Command::Session),
    }
}

fn copies(arguments: &[&[u8]]) -> Vec<Box<[u8]>> {
    arguments.iter().map(|key| Box::from(*key)).collect()
}
