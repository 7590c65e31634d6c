//! Keys as commands: one for most, several for large values, so that none exceeds what a node takes.

use crate::rdb::Content;
use crate::store::{Group, Hash, Set, Stream, StreamId, VALUE_BYTES_MAX, Value, format_double};

/// A command's arguments.
pub(super) type Arguments = Vec<Vec<u8>>;

/// The commands that set one key. They may be repeated from the first on.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) key: Vec<u8>,
    pub(super) commands: Vec<Arguments>,
    /// Bytes of the value in Redis's form.
    pub(super) bytes: u64,
    /// Number of items that a list of several commands has to have in the end.
    pub(super) items: Option<i64>,
}

/// A key with its value: `payload` as `DUMP` answers it, of this content.
///
/// # Errors
/// When a node would not take it, the reason.
pub(super) fn unit(key: Vec<u8>, deadline: Option<u64>, content: Content, payload: &[u8]) -> Result<Unit, String> {
    let bytes = payload.len() as u64;
    let too_long =
        |what: &str, bytes: usize| format!("{what} of {bytes} bytes, and at most {VALUE_BYTES_MAX} are kept");
    if key.len() > VALUE_BYTES_MAX {
        return Err(too_long("a key", key.len()));
    }
    let mut items = None;
    let commands = match content {
        Content::Unknown(what) => return Err(what),
        Content::Text(text) if text.len() > VALUE_BYTES_MAX => return Err(too_long("a string", text.len())),
        Content::Text(text) => {
            let mut set = vec![b"SET".to_vec(), key.clone(), text];
            if let Some(deadline) = deadline {
                set.extend([b"PXAT".to_vec(), digits(deadline)]);
            }
            vec![set]
        }
        Content::Items(_) if payload.len() <= PIECE_BYTES_MAX => {
            let restore = [&b"RESTORE"[..], &key, &digits(deadline.unwrap_or(0)), payload, b"REPLACE", b"ABSTTL"];
            vec![restore.map(<[u8]>::to_vec).to_vec()]
        }
        Content::Items(value) => {
            if let Value::List(list) = &value {
                items = i64::try_from(list.len()).ok();
            }
            pieces(&key, deadline, &value)
        }
    };
    Ok(Unit { key, commands, bytes, items })
}

/// The commands that make a large value. Between the first and the last, others see a part of it.
fn pieces(key: &[u8], deadline: Option<u64>, value: &Value) -> Vec<Arguments> {
    let mut pieces = Pieces { commands: vec![vec![b"DEL".to_vec(), key.to_vec()]], bytes: 0 };
    match value {
        Value::List(list) => list.iter_from(0).for_each(|item| pieces.add(b"RPUSH", key, &[item])),
        Value::Set(Set(members)) => members.iter().for_each(|(member, _)| pieces.add(b"SADD", key, &[member])),
        Value::Hash(Hash(members)) => {
            members.iter().for_each(|(field, value)| pieces.add(b"HSET", key, &[field, value]));
        }
        Value::SortedSet(set) => {
            set.iter_from(0).for_each(|(score, member)| {
                pieces.add(b"ZADD", key, &[format_double(score).as_bytes(), member]);
            });
        }
        Value::Stream(stream) => add_stream(&mut pieces, key, stream),
    }
    if let Some(deadline) = deadline {
        pieces.one(&[b"PEXPIREAT", key, &digits(deadline)]);
    }
    pieces.commands
}

struct Pieces {
    commands: Vec<Arguments>,
    /// Bytes of the last command.
    bytes: usize,
}

impl Pieces {
    /// Adds arguments to a command that takes any number of them.
    fn add(&mut self, name: &[u8], key: &[u8], arguments: &[&[u8]]) {
        let added: usize = arguments.iter().map(|argument| argument.len() + ARGUMENT_BYTES).sum();
        let is_other = self.commands.last().is_none_or(|last| last[0] != name);
        if is_other || self.bytes + added > PIECE_BYTES_MAX {
            self.one(&[name, key]);
            self.bytes = 0;
        }
        self.bytes += added;
        let last = self.commands.last_mut().expect("one was added");
        last.extend(arguments.iter().map(|argument| argument.to_vec()));
    }

    fn one(&mut self, arguments: &[&[u8]]) {
        self.commands.push(arguments.iter().map(|argument| argument.to_vec()).collect());
    }
}

/// What is pending of entries that were removed is lost, since `XCLAIM` does not make it.
fn add_stream(pieces: &mut Pieces, key: &[u8], stream: &Stream) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let id = entry.id.to_string();
        let mut command: Vec<&[u8]> = vec![b"XADD", key, id.as_bytes()];
        command.extend(entry.texts());
        pieces.one(&command);
    }
    for (name, group) in stream.groups() {
        let last = group.last_id.to_string();
        let mut create: Vec<&[u8]> = vec![b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"MKSTREAM"];
        let read = group.entries_read.map(digits);
        if let Some(read) = &read {
            create.extend([&b"ENTRIESREAD"[..], read]);
        }
        pieces.one(&create);
        add_group(pieces, key, name, group);
    }
    let (last, removed) = (stream.last_id().to_string(), stream.max_deleted_id().to_string());
    let added = digits(stream.entries_added());
    pieces.one(&[b"XSETID", key, last.as_bytes(), b"ENTRIESADDED", &added, b"MAXDELETEDID", removed.as_bytes()]);
}

fn add_group(pieces: &mut Pieces, key: &[u8], name: &[u8], group: &Group) {
    for (consumer, _) in group.consumers() {
        pieces.one(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
    }
    for pending in group.iter_from(StreamId::MIN) {
        let id = pending.id.to_string();
        let (delivered, deliveries) = (digits(pending.delivered), digits(pending.deliveries));
        let claim: [&[u8]; 12] = [
            b"XCLAIM",
            key,
            name,
            pending.consumer,
            b"0",
            id.as_bytes(),
            b"TIME",
            &delivered,
            b"RETRYCOUNT",
            &deliveries,
            b"FORCE",
            b"JUSTID",
        ];
        pieces.one(&claim);
    }
}

pub(super) fn digits(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Maximum bytes of a value in one command, and of what a command adds to a larger one.
pub(super) const PIECE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of an argument's length in a request.
const ARGUMENT_BYTES: usize = 16;
