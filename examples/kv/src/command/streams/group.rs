//! `XGROUP`.

use crate::resp::{Encoder, Reply};
use crate::store::{Group, Stream, StreamId};

use super::super::context::Change;
use super::super::errors::{integer, is, number, unknown_subcommand, wrong_arity};
use super::super::spec::takes;
use super::Done;
use super::parse::{any_id, strict_id};

/// The subcommands with their numbers of arguments behind their name, as in [`takes`].
const SUBCOMMANDS: [(&str, i64); 5] =
    [("create", -3), ("setid", -3), ("destroy", 2), ("createconsumer", 3), ("delconsumer", 3)];

pub(super) fn manage(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let name = subcommand("xgroup", &SUBCOMMANDS, rest)?;
    let (key, group) = (rest[1], rest[2]);
    let options = Options::parse(name, rest)?;
    let stream = change.collection::<Stream>(key)?;
    if stream.is_none() && !options.creates_stream {
        return Err(Reply::error(
            "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
             MKSTREAM option to create an empty stream automatically.",
        ));
    }
    let known = stream.and_then(|stream| stream.group(group));
    if known.is_none() && ["setid", "createconsumer", "delconsumer"].contains(&name) {
        return Err(no_such_group(group, key));
    }
    let last = stream.map_or(StreamId::MIN, Stream::last_id);
    match name {
        "create" => {
            let id = if rest[3] == b"$" { last } else { strict_id(rest[3])? };
            let added = change
                .update(key, |stream: &mut Stream| stream.add_group(group, Group::new(id, options.entries_read)))?;
            if !added {
                return Err(Reply::error("BUSYGROUP Consumer Group name already exists"));
            }
            out.status("OK");
        }
        "setid" => {
            let id = if rest[3] == b"$" { last } else { any_id(rest[3], 0)? };
            let place = |group: &mut Group| (group.last_id, group.entries_read) = (id, options.entries_read);
            change.update(key, |stream: &mut Stream| stream.change_group(group, place))?;
            out.status("OK");
        }
        "destroy" => {
            let removed = change.update(key, |stream: &mut Stream| stream.remove_group(group))?;
            out.integer(i64::from(removed));
        }
        "createconsumer" => {
            let is_known = known.is_some_and(|group| group.consumer(rest[3]).is_some());
            if !is_known {
                let now = change.log_time;
                change
                    .update(key, |stream: &mut Stream| stream.change_group(group, |group| group.see(rest[3], now)))?;
            }
            out.integer(i64::from(!is_known));
        }
        _ => {
            let removed = change.update(key, |stream: &mut Stream| {
                stream.change_group(group, |group| group.remove_consumer(rest[3]))
            })?;
            out.integer(number(removed.unwrap_or(0)));
        }
    }
    Ok(())
}

/// The subcommand that the first argument names, if it takes so many arguments.
pub(super) fn subcommand(
    container: &str,
    known: &[(&'static str, i64)],
    rest: &[&[u8]],
) -> Result<&'static str, Reply> {
    let found = known.iter().find(|(name, _)| is(rest[0], name));
    let (name, arity) = found.ok_or_else(|| unknown_subcommand(container, rest[0]))?;
    if takes(*arity, rest.len() - 1) { Ok(name) } else { Err(wrong_arity(&format!("{container}|{name}"))) }
}

pub(super) fn no_such_group(group: &[u8], key: &[u8]) -> Reply {
    Reply::Error([&b"NOGROUP No such consumer group '"[..], group, b"' for key name '", key, b"'"].concat())
}

/// The error of a subcommand whose options are wrong.
pub(super) fn wrong_options(container: &str, name: &[u8]) -> Reply {
    let start = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
    Reply::Error([start, name, format!("'. Try {container} HELP.").as_bytes()].concat())
}

#[derive(Default)]
struct Options {
    creates_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(name: &str, rest: &[&[u8]]) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        let mut options = rest.get(4..).unwrap_or_default();
        while let Some((option, after)) = options.split_first() {
            options = after;
            if name == "create" && is(option, "mkstream") {
                parsed.creates_stream = true;
            } else if ["create", "setid"].contains(&name) && is(option, "entriesread") && !after.is_empty() {
                let read = integer(after[0])?;
                if read < -1 {
                    return Err(Reply::error("ERR value for ENTRIESREAD must be positive or -1"));
                }
                parsed.entries_read = u64::try_from(read).ok();
                options = &after[1..];
            } else {
                return Err(wrong_options("XGROUP", rest[0]));
            }
        }
        Ok(parsed)
    }
}
