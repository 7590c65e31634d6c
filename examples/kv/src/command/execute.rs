//! Carries out the entries of the log.

use bytes::{Bytes, BytesMut};

use crate::entry::{DecodeError, Entry, Item, encode_outcome};
use crate::resp::{Encoder, Reply};
use crate::store::{Store, User};

use super::context::{Change, View};
use super::errors::{abort_because, out_of_memory};
use super::spec::{Action, Kind, Read, Spec};

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
    let (version, entry_memory_max) = (entry.version, entry.memory_max);
    let user = if entry.grants.is_empty() { None } else { Some(user_of(entry.grants)?) };
    let mut change = Change::new(store, log_time, entry.wall_ms, entry.random).for_user(user);
    let mut replies = BytesMut::new();
    let mut out = Encoder::new(&mut replies, version);
    for item in &mut entry {
        let item = item?;
        let is_full = change.store.weight() >= entry_memory_max;
        change.is_full = is_full;
        match item {
            Item::Command(arguments) => run(&mut change, &arguments, &mut out)?,
            Item::Transaction { commands, .. } if is_full && commands.iter().any(|command| may_grow(command)) => {
                out.reply(&abort_because(&out_of_memory()));
            }
            Item::Transaction { watched, commands } => {
                let is_as_seen = |(key, version): &(&[u8], u64)| change.store.version(change.log_time, key) == *version;
                if !watched.iter().all(is_as_seen) {
                    out.null_array();
                    continue;
                }
                out.array(commands.len());
                for arguments in commands {
                    change.is_full = is_full;
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
        Action::Read(read) => out.check_size().and_then(|()| read(&change.view(), rest, out)),
        Action::Write(_) if change.is_full && spec.may_grow(arguments) => Err(out_of_memory()),
        Action::Message(write) => write(change, rest, out),
        Action::Write(write) => {
            let done = write(change, rest, out);
            // A script that has changed something is not stopped midway.
            change.is_full = false;
            done
        }
        Action::Connection(kind) => {
            put_constant(kind, rest, out).ok_or_else(unknown)?;
            Ok(())
        }
    };
    conclude(done, start, out);
    Ok(())
}

/// Answers a command that may stand in a transaction although it needs no store. `None` if it may not.
fn put_constant(kind: Kind, rest: &[&[u8]], out: &mut Encoder<'_>) -> Option<()> {
    match (kind, rest) {
        (Kind::Ping, []) => out.status("PONG"),
        (Kind::Ping | Kind::Echo, [text]) => out.bulk(text),
        // There is one database, and nothing is watched any more when a transaction is carried out.
        (Kind::Select, [_]) | (Kind::Unwatch, []) => out.status("OK"),
        _ => return None,
    }
    Some(())
}

fn may_grow(arguments: &[&[u8]]) -> bool {
    Spec::find(arguments[0]).is_some_and(|spec| spec.may_grow(arguments))
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

    fn ask(store: &mut Store, memory_max: u64, commands: &[&[&str]]) -> String {
        let bytes = |command: &[&str]| command.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let mut entry = EntryWriter::new(Version::Resp2, 0, 0, 0).with_memory_max(memory_max);
        let commands: Vec<Vec<Vec<u8>>> = commands.iter().map(|command| bytes(command)).collect();
        let commands: Vec<Vec<&[u8]>> =
            commands.iter().map(|command| command.iter().map(Vec::as_slice).collect()).collect();
        match &commands[..] {
            [one] => entry.command(one),
            several => entry.transaction(&[], &several.iter().map(|one| encode_arguments(one)).collect::<Vec<_>>()),
        }
        String::from_utf8(apply(store, 1, &entry.finish()).unwrap().to_vec()).unwrap()
    }

    /// The replies of Redis 7.0.15 with `maxmemory` 1, except that it refuses the commands between `MULTI` and `EXEC`
    /// at once.
    #[test]
    fn keys_do_not_grow_while_they_weigh_too_much() {
        const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.";
        let mut store = Store::new();
        assert_eq!(ask(&mut store, 5, &[&["set", "key", "12"]]), "+OK\r\n", "it weighs too much only now");
        for (command, reply) in [
            (&["set", "a", "1"][..], format!("{OOM}\r\n")),
            (&["get", "key"], "$2\r\n12\r\n".to_owned()),
            (&["expire", "key", "100"], ":1\r\n".to_owned()),
            (&["lpop", "a"], "$-1\r\n".to_owned()),
            (&["blpop", "a", "0"], "*-1\r\n".to_owned()),
            (&["xgroup", "create", "a", "g", "$", "mkstream"], format!("{OOM}\r\n")),
            (
                &["eval", "return redis.call('set','a','1')", "1", "a"],
                format!("{OOM} script: 67ed14c1cb086d8c2fcf91ebe13410ba087fd0f8, on @user_script:1.\r\n"),
            ),
            (&["eval", "return redis.pcall('set','a','1')", "1", "a"], format!("{OOM}\r\n")),
            (&["eval", "redis.call('del','b') return redis.call('set','a','')", "2", "a", "b"], "+OK\r\n".to_owned()),
        ] {
            assert_eq!(ask(&mut store, 5, &[command]), reply, "{command:?}");
        }
        let refused = "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > \
            'maxmemory'.\r\n";
        assert_eq!(ask(&mut store, 5, &[&["del", "key"], &["set", "b", "1"]]), refused);
        assert_eq!(ask(&mut store, 5, &[&["get", "key"], &["del", "key"]]), "*2\r\n$2\r\n12\r\n:1\r\n");
        assert_eq!(ask(&mut store, 5, &[&["append", "a", "1"]]), ":1\r\n", "there is room again");
        assert_eq!(ask(&mut store, 0, &[&["set", "a", "1"]]), format!("{OOM}\r\n"));
    }

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
