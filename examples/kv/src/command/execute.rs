//! Carries out the entries of the log.

use bytes::{Bytes, BytesMut};

use crate::entry::{DecodeError, Entry, Item, encode_outcome};
use crate::resp::{Encoder, Reply};
use crate::store::{Store, User};

use super::context::{Change, View};
use super::spec::{Action, Read, Spec};

/// Applies an entry at a log time in Unix ms, and returns the encoded replies to its commands, one for each item, with
/// the messages to be published, as [`encode_outcome`].
///
/// ```
/// use quorate_kv::command::apply;
/// use quorate_kv::entry::EntryWriter;
/// use quorate_kv::resp::Version;
/// use quorate_kv::store::Store;
///
/// let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
/// entry.command(&[b"incrby", b"n", b"7"]);
/// let mut store = Store::new();
/// assert_eq!(&apply(&mut store, 1_000, &entry.finish()).unwrap()[..], b":7\r\n");
/// ```
///
/// # Errors
/// When the entry cannot be read, or names a command that is not known: a newer program proposed it. Passing over it
/// would make this replica differ from the others, so the caller has to stop.
pub fn apply(store: &mut Store, log_time: u64, entry: &[u8]) -> Result<Bytes, DecodeError> {
    let mut entry = Entry::open(entry)?;
    store.begin_entry(log_time, entry.random);
    let version = entry.version;
    let user = if entry.grants.is_empty() { None } else { Some(user_of(entry.grants)?) };
    let mut change = Change::new(store, log_time, entry.wall_ms, entry.random).for_user(user);
    let mut replies = BytesMut::new();
    let mut out = Encoder::new(&mut replies, version);
    for item in &mut entry {
        match item? {
            Item::Command(arguments) => run(&mut change, &arguments, &mut out)?,
            Item::Transaction { watched, commands } => {
                let is_as_seen = |(key, version): &(&[u8], u64)| change.store.version(change.log_time, key) == *version;
                if !watched.iter().all(is_as_seen) {
                    out.null_array();
                    continue;
                }
                out.array(commands.len());
                for arguments in commands {
                    run(&mut change, &arguments, &mut out)?;
                }
            }
        }
    }
    let published = change.into_published();
    Ok(if replies == OK[..] { Bytes::from_static(OK) } else { encode_outcome(replies, &published) })
}

fn user_of(grants: &[u8]) -> Result<User, DecodeError> {
    User::grants_from(grants).map_err(|_| DecodeError::Length)
}

/// The keys that the commands of an entry name, repeated ones included. Those of a command whose keys cannot be told
/// are left out: it will be answered by an error.
///
/// # Errors
/// When the entry cannot be read.
pub fn keys_of_entry(entry: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let mut keys = Vec::new();
    for item in Entry::open(entry)? {
        match item? {
            Item::Command(arguments) => keys.extend(keys_of(&arguments)),
            Item::Transaction { watched, commands } => {
                keys.extend(watched.into_iter().map(|(key, _)| key));
                keys.extend(commands.iter().flat_map(|arguments| keys_of(arguments)));
            }
        }
    }
    Ok(keys)
}

fn keys_of<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
    Spec::find(arguments[0]).and_then(|spec| spec.keys_of(arguments)).unwrap_or_default()
}

/// Returns true if an entry has a command that concerns all keys of a store.
pub fn is_whole(entry: &[u8]) -> bool {
    let is_whole = |arguments: &Vec<&[u8]>| Spec::find(arguments[0]).is_some_and(Spec::concerns_all);
    let mut items = Entry::open(entry).into_iter().flatten().flatten();
    items.any(|item| match item {
        Item::Command(arguments) => is_whole(&arguments),
        Item::Transaction { commands, .. } => commands.iter().any(is_whole),
    })
}

/// Carries out one command of an entry.
pub(super) fn run(change: &mut Change<'_>, arguments: &[&[u8]], out: &mut Encoder<'_>) -> Result<(), DecodeError> {
    let (name, rest) = arguments.split_first().expect("an entry's command has a name");
    let unknown = || DecodeError::Command(String::from_utf8_lossy(name).into_owned());
    let spec = Spec::find(name).ok_or_else(unknown)?;
    let start = out.len();
    let done = match spec.action {
        _ if !spec.takes(arguments.len()) => return Err(unknown()),
        Action::Read(read) => read(&change.view(), rest, out),
        Action::Write(write) | Action::Message(write) => write(change, rest, out),
        Action::Connection(_) => return Err(unknown()),
    };
    conclude(done, start, out);
    Ok(())
}

/// Answers one read.
pub(super) fn answer(view: &View<'_>, read: Read, rest: &[&[u8]], out: &mut Encoder<'_>) {
    let start = out.len();
    conclude(read(view, rest, out), start, out);
}

/// Writes an error in the place of what was written before it.
fn conclude(done: Result<(), Reply>, start: usize, out: &mut Encoder<'_>) {
    if let Err(error) = done {
        out.truncate(start);
        out.reply(&error);
    }
}

/// By far the most common replies.
const OK: &[u8] = b"+OK\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{EntryWriter, encode_arguments};
    use crate::resp::Version;

    #[test]
    fn an_entry_of_a_newer_program_is_never_skipped() {
        for arguments in [&[&b"newer"[..], b"key"][..], &[b"set", b"key"], &[b"multi"]] {
            for in_transaction in [false, true] {
                let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0);
                if in_transaction {
                    entry.transaction(&[], &[encode_arguments(arguments)]);
                } else {
                    entry.command(arguments);
                }
                let applied = apply(&mut Store::new(), 0, &entry.finish());
                assert!(matches!(applied, Err(DecodeError::Command(_))), "{applied:?}");
            }
        }
    }
}
