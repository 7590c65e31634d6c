//! `CLIENT`.

use bytes::Bytes;

use crate::clients::{ClientFilter, ClientRequest};
use crate::resp::Reply;
use crate::store::parse_integer;

use super::errors::{is, syntax_error, unknown_subcommand, wrong_arity};
use super::parse::Command;
use super::session::{Replies, SessionCommand};
use super::spec;

/// The subcommands with their arities, the subcommand being the first argument.
const SUBCOMMANDS: &[(&str, i64)] = &[
    ("caching", 2),
    ("getname", 1),
    ("getredir", 1),
    ("id", 1),
    ("info", 1),
    ("kill", -2),
    ("list", -1),
    ("no-evict", 2),
    ("pause", -2),
    ("reply", 2),
    ("setname", 2),
    ("tracking", -2),
    ("trackinginfo", 1),
    ("unblock", -2),
    ("unpause", 1),
];

pub(super) fn parse<'a>(rest: &[&'a [u8]]) -> Result<Command<'a>, Reply> {
    let (name, rest) = (rest[0], &rest[1..]);
    let known = SUBCOMMANDS.iter().find(|(known, _)| is(name, known));
    let (known, arity) = known.ok_or_else(|| unknown_subcommand("client", name))?;
    if !spec::takes(*arity, 1 + rest.len()) {
        return Err(wrong_arity(&format!("client|{known}")));
    }
    Ok(Command::Session(match *known {
        "getname" => SessionCommand::ClientName,
        "id" => SessionCommand::ClientId,
        "info" => return Ok(Command::Clients(ClientRequest::Info)),
        "kill" => return kill(rest).map(Command::Clients),
        "list" => return list(rest).map(|filter| Command::Clients(ClientRequest::List(filter))),
        "no-evict" => SessionCommand::NoEvict(on_or_off(rest[0])?),
        "reply" => SessionCommand::Replies(replies(rest[0])?),
        "setname" => SessionCommand::SetClientName(rest[0]),
        name => SessionCommand::Constant(constant(name, rest)?),
    }))
}

/// The reply to a command about what there is not here.
fn constant(name: &str, rest: &[&[u8]]) -> Result<Reply, Reply> {
    match name {
        "caching" => Err(Reply::error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        )),
        "getredir" => Ok(Reply::Integer(-1)),
        "tracking" if on_or_off(rest[0])? => Err(Reply::error("ERR keys are not tracked for clients here")),
        "trackinginfo" => Ok(Reply::Map(vec![
            (Reply::bulk("flags"), Reply::Array(vec![Reply::bulk("off")])),
            (Reply::bulk("redirect"), Reply::Integer(-1)),
            (Reply::bulk("prefixes"), Reply::Array(Vec::new())),
        ])),
        "pause" => Err(Reply::error("ERR clients are not paused here: other nodes would still serve theirs")),
        "unblock" => {
            Err(Reply::error("ERR a command that waits is ended here by its time-out or by CLIENT KILL alone"))
        }
        _ => Ok(Reply::OK),
    }
}

fn on_or_off(word: &[u8]) -> Result<bool, Reply> {
    if is(word, "on") {
        Ok(true)
    } else if is(word, "off") {
        Ok(false)
    } else {
        Err(syntax_error())
    }
}

fn replies(word: &[u8]) -> Result<Replies, Reply> {
    let modes = [("on", Replies::On), ("off", Replies::Off), ("skip", Replies::SkipNext)];
    modes.into_iter().find(|(known, _)| is(word, known)).map(|(_, mode)| mode).ok_or_else(syntax_error)
}

fn list(rest: &[&[u8]]) -> Result<ClientFilter, Reply> {
    match rest {
        [] => Ok(ClientFilter::default()),
        [word, kind] if is(word, "type") => of_kind(kind, ClientFilter::default()),
        [word, ids @ ..] if is(word, "id") && !ids.is_empty() => {
            let id = |text: &&[u8]| parse_integer(text).ok_or_else(|| Reply::error("ERR Invalid client ID"));
            Ok(ClientFilter { ids: ids.iter().map(id).collect::<Result<_, _>>()?, ..ClientFilter::default() })
        }
        _ => Err(syntax_error()),
    }
}

fn kill(rest: &[&[u8]]) -> Result<ClientRequest, Reply> {
    if let [address] = rest {
        return Ok(ClientRequest::KillAddress(Bytes::copy_from_slice(address)));
    }
    let mut filter = ClientFilter { skips_self: true, ..ClientFilter::default() };
    for pair in rest.chunks(2) {
        let [word, value] = pair else { return Err(syntax_error()) };
        if is(word, "id") {
            let id = parse_integer(value).filter(|id| *id > 0);
            filter.ids = vec![id.ok_or_else(|| Reply::error("ERR client-id should be greater than 0"))?];
        } else if is(word, "type") {
            filter = of_kind(value, filter)?;
        } else if is(word, "addr") {
            filter.address = Some(Bytes::copy_from_slice(value));
        } else if is(word, "laddr") {
            filter.local_address = Some(Bytes::copy_from_slice(value));
        } else if is(word, "user") {
            filter.user = Some(Bytes::copy_from_slice(value));
        } else if is(word, "skipme") && is(value, "yes") {
            filter.skips_self = true;
        } else if is(word, "skipme") && is(value, "no") {
            filter.skips_self = false;
        } else {
            return Err(syntax_error());
        }
    }
    Ok(ClientRequest::Kill(filter))
}

/// Restricts a filter to clients of a kind. Nodes and their replication are no clients here.
fn of_kind(kind: &[u8], filter: ClientFilter) -> Result<ClientFilter, Reply> {
    if is(kind, "normal") || is(kind, "pubsub") {
        return Ok(ClientFilter { is_subscriber: Some(is(kind, "pubsub")), ..filter });
    }
    if ["master", "replica", "slave"].iter().any(|known| is(kind, known)) {
        return Ok(ClientFilter { is_nobody: true, ..filter });
    }
    Err(Reply::Error([b"ERR Unknown client type '", kind, b"'"].concat()))
}
