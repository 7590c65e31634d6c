//! Entries of the log: commands with their arguments, as clients sent them.
//!
//! Layout: a version byte, the protocol of the replies (2 or 3), wall clock, random number and the limit of memory as
//! u64, what scripts may do as a length and bytes; then items. A command: 1 and its arguments. A transaction: 2, the
//! number of watched keys, each with its version as u64, the number of commands, and each one's arguments. Arguments
//! are their number and each one's length and bytes. Lengths and counts are LEB128, other numbers little-endian. The
//! layout never changes; tests compare the bytes with those of the first release.

use bytes::{BufMut, Bytes, BytesMut};

use super::resp::Version;

pub(crate) mod codec;
mod outcome;

pub use codec::DecodeError;
use codec::{Decoder, put_bytes, put_length};
pub use outcome::{NO_RECEIVERS, Published, decode_outcome, encode_outcome, put_receivers};

/// The version of an entry that this program writes, and the only one that it reads.
pub const ENTRY_VERSION: u8 = 4;

/// Maximum bytes of an entry that is proposed as a whole. A longer one goes to its shard in pieces.
pub const ENTRY_BYTES_MAX: usize = 960 * 1024;

/// A key that a transaction depends on, with the version that the client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The key.
    pub key: Box<[u8]>,
    /// Its version, 0 if there was no such key.
    pub version: u64,
}

/// An entry that is being written. All of it is applied at one index.
#[derive(Debug)]
pub struct EntryWriter {
    bytes: BytesMut,
    /// Bytes before the first item.
    head: usize,
}

impl EntryWriter {
    /// An entry without commands. `version` is the protocol of the replies. `wall_ms` is the wall clock in Unix ms, by
    /// which points of time that a client names become spans. `random` is a number that no client knows before.
    pub fn new(version: Version, wall_ms: u64, random: u64, capacity: usize) -> Self {
        Self::for_grants(version, wall_ms, random, &[], capacity)
    }

    /// As [`new`](Self::new), for a user who may do what `grants` tell, as `User::encoded_grants` returned them. The
    /// commands themselves were checked; those that their scripts give are checked when the entry is applied.
    pub fn for_grants(version: Version, wall_ms: u64, random: u64, grants: &[u8], capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + LENGTH_BYTES_MAX + grants.len() + capacity);
        bytes.put_u8(ENTRY_VERSION);
        bytes.put_u8(if version == Version::Resp2 { 2 } else { 3 });
        bytes.put_u64_le(wall_ms);
        bytes.put_u64_le(random);
        bytes.put_u64_le(u64::MAX);
        put_bytes(&mut bytes, grants);
        let head = bytes.len();
        Self { bytes, head }
    }

    /// Sets the weight of the keys from which on none may grow. Without this they may, whatever they weigh.
    #[must_use]
    pub fn with_memory_max(mut self, weight: u64) -> Self {
        self.bytes[MEMORY_AT..MEMORY_AT + 8].copy_from_slice(&weight.to_le_bytes());
        self
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns true if there is no command yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.head
    }

    /// Adds a command.
    pub fn command(&mut self, arguments: &[&[u8]]) {
        self.bytes.put_u8(COMMAND);
        put_arguments(&mut self.bytes, arguments);
    }

    /// Adds a transaction. `commands` are arguments, each as [`encode_arguments`] returned them.
    pub fn transaction(&mut self, watched: &[Watched], commands: &[Bytes]) {
        self.bytes.put_u8(TRANSACTION);
        put_length(&mut self.bytes, watched.len());
        for Watched { key, version } in watched {
            put_bytes(&mut self.bytes, key);
            self.bytes.put_u64_le(*version);
        }
        put_length(&mut self.bytes, commands.len());
        for command in commands {
            self.bytes.put_slice(command);
        }
    }

    /// The entry.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The bytes that a command adds to an entry at most.
pub fn command_bytes_max(arguments: &[&[u8]]) -> usize {
    1 + LENGTH_BYTES_MAX + arguments.iter().map(|argument| argument.len() + LENGTH_BYTES_MAX).sum::<usize>()
}

/// The bytes that a transaction adds to an entry at most.
pub fn transaction_bytes_max(watched: &[Watched], commands: &[Bytes]) -> usize {
    let watched: usize = watched.iter().map(|watched| watched.key.len() + LENGTH_BYTES_MAX + 8).sum();
    1 + 2 * LENGTH_BYTES_MAX + watched + commands.iter().map(Bytes::len).sum::<usize>()
}

/// Arguments as bytes, to be kept until they are needed.
pub fn encode_arguments(arguments: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(command_bytes_max(arguments));
    put_arguments(&mut bytes, arguments);
    bytes.freeze()
}

/// Arguments from the bytes of [`encode_arguments`].
///
/// # Errors
/// When they are other bytes.
pub fn decode_arguments(bytes: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    read_arguments(&mut Decoder::new(bytes))
}

fn put_arguments(bytes: &mut BytesMut, arguments: &[&[u8]]) {
    put_length(bytes, arguments.len());
    for argument in arguments {
        put_bytes(bytes, argument);
    }
}

/// An entry that is being read, item by item.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The protocol of the replies.
    pub version: Version,
    /// The wall clock of the node that took the commands, in Unix ms.
    pub wall_ms: u64,
    /// A number that no client knew before.
    pub random: u64,
    /// The weight of the keys from which on none may grow.
    pub memory_max: u64,
    /// What scripts may do, for `User::grants_from`. Empty: everything.
    pub grants: &'a [u8],
    rest: Decoder<'a>,
}

/// A part of an entry. It has one reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A command with its arguments, the name first.
    Command(Vec<&'a [u8]>),
    /// Commands that take effect if no watched key has changed.
    Transaction {
        /// The watched keys with their versions.
        watched: Vec<(&'a [u8], u64)>,
        /// The commands.
        commands: Vec<Vec<&'a [u8]>>,
    },
}

impl<'a> Entry<'a> {
    /// Reads the start of an entry.
    ///
    /// # Errors
    /// When it is of another version.
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = Decoder::new(bytes);
        let version = rest.byte()?;
        if version != ENTRY_VERSION {
            return Err(DecodeError::Version(version));
        }
        let version = match rest.byte()? {
            2 => Version::Resp2,
            3 => Version::Resp3,
            other => return Err(DecodeError::Kind(other)),
        };
        let (wall_ms, random, memory_max, grants) = (rest.u64()?, rest.u64()?, rest.u64()?, rest.bytes()?);
        Ok(Self { version, wall_ms, random, memory_max, grants, rest })
    }

    fn read(&mut self) -> Result<Item<'a>, DecodeError> {
        match self.rest.byte()? {
            COMMAND => read_arguments(&mut self.rest).map(Item::Command),
            TRANSACTION => {
                let count = self.rest.count()?;
                let watched = (0..count).map(|_| Ok((self.rest.bytes()?, self.rest.u64()?)));
                let watched = watched.collect::<Result<_, _>>()?;
                let count = self.rest.count()?;
                let commands = (0..count).map(|_| read_arguments(&mut self.rest)).collect::<Result<_, _>>()?;
                Ok(Item::Transaction { watched, commands })
            }
            kind => Err(DecodeError::Kind(kind)),
        }
    }
}

impl<'a> Iterator for Entry<'a> {
    type Item = Result<Item<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.read())
    }
}

/// At least one argument, the name.
fn read_arguments<'a>(decoder: &mut Decoder<'a>) -> Result<Vec<&'a [u8]>, DecodeError> {
    let count = decoder.count()?;
    if count == 0 {
        return Err(DecodeError::Length);
    }
    (0..count).map(|_| decoder.bytes()).collect()
}

const COMMAND: u8 = 1;
const TRANSACTION: u8 = 2;
const MEMORY_AT: usize = 2 + 8 + 8;
const HEADER_BYTES: usize = MEMORY_AT + 8;
/// Bytes of a length at most.
const LENGTH_BYTES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Bytes {
        let mut entry = EntryWriter::for_grants(Version::Resp3, 0x0102, 0xfffe, b"may", 0).with_memory_max(0x0304);
        entry.command(&[b"set", b"key", b""]);
        let watched = [Watched { key: Box::from(&b"w"[..]), version: 7 }];
        entry.transaction(&watched, &[encode_arguments(&[b"incr", b"n"]), encode_arguments(&[b"get", &[7; 200]])]);
        entry.finish()
    }

    #[test]
    fn the_bytes_are_those_of_the_first_release() {
        let mut expected = vec![4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(b"\x03may");
        expected.extend_from_slice(b"\x01\x03\x03set\x03key\x00");
        expected.extend_from_slice(b"\x02\x01\x01w\x07\0\0\0\0\0\0\0\x02\x02\x04incr\x01n\x02\x03get\xc8\x01");
        expected.extend_from_slice(&[7; 200]);
        assert_eq!(&entry()[..], &expected[..]);
    }

    #[test]
    fn what_was_written_is_read_and_a_part_of_it_is_not() {
        let bytes = entry();
        let items: Vec<_> = Entry::open(&bytes).unwrap().map(Result::unwrap).collect();
        let [Item::Command(arguments), Item::Transaction { watched, commands }] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(arguments, &[&b"set"[..], b"key", b""]);
        assert_eq!((watched.len(), commands.len()), (1, 2));
        for length in 0..bytes.len() {
            let read = Entry::open(&bytes[..length]).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            assert!(read.is_err() || [HEADER_BYTES + 4, HEADER_BYTES + 15].contains(&length), "{length}: {read:?}");
        }
    }

    #[test]
    fn what_another_program_wrote_is_refused() {
        for (at, byte, error) in
            [(0, 1, DecodeError::Version(1)), (1, 4, DecodeError::Kind(4)), (30, 9, DecodeError::Kind(9))]
        {
            let mut bytes = entry().to_vec();
            bytes[at] = byte;
            let read = Entry::open(&bytes).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            assert_eq!(read.unwrap_err(), error);
        }
    }
}
