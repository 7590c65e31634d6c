//! Bytes of the commands and responses of a [`BoundLog`](super::BoundLog), and of its snapshots. Integers are
//! little-endian.
//!
//! A command is a version (1 byte), a kind (1 byte) and its content. Kind 0 takes over and has no content. Kind 1
//! writes: the reign (8 bytes), and then the operations: a tag (1 byte), and a key or an id (8 bytes), or bytes with
//! their length before them (4 bytes), or both.

use std::io::{self, Read};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{LogIndex, Operation};

use super::Reign;

/// A command of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Begins a new reign.
    TakeOver,
    /// Writes operations of a core that was recovered in this reign.
    Write { reign: Reign, operations: Vec<Operation> },
}

/// The state machine's response to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// The reign that begins.
    Reigns(Reign),
    /// The operations are written.
    Written,
    /// Nothing was written, because another reign has begun.
    Fenced,
    /// Nothing was written, because the command cannot be read or carried out.
    Refused,
}

/// Reason why a command cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// A newer program proposed it.
    Version(u8),
    /// The bytes are not those of a command.
    Malformed,
}

impl Command {
    /// Encodes the command. Operations on an index are left out: they are refused before.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::TakeOver => out.put_u8(TAKE_OVER),
            Self::Write { reign, operations } => {
                out.put_u8(WRITE);
                out.put_u64_le(reign.0.0);
                for operation in operations {
                    put_operation(&mut out, operation);
                }
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, CommandError> {
        let bytes = &mut bytes;
        match bytes.try_get_u8() {
            Ok(VERSION) => {}
            Ok(version) => return Err(CommandError::Version(version)),
            Err(_) => return Err(CommandError::Malformed),
        }
        match bytes.try_get_u8() {
            Ok(TAKE_OVER) if bytes.is_empty() => return Ok(Self::TakeOver),
            Ok(WRITE) => {}
            _ => return Err(CommandError::Malformed),
        }
        let reign = Reign(LogIndex(bytes.try_get_u64_le().map_err(|_| CommandError::Malformed)?));
        let mut operations = Vec::new();
        while !bytes.is_empty() {
            operations.push(take_operation(bytes).ok_or(CommandError::Malformed)?);
        }
        Ok(Self::Write { reign, operations })
    }
}

impl Response {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Self::Reigns(reign) => {
                let mut out = BytesMut::new();
                out.put_u8(0);
                out.put_u64_le(reign.0.0);
                out.freeze()
            }
            Self::Written => Bytes::from_static(&[1]),
            Self::Fenced => Bytes::from_static(&[2]),
            Self::Refused => Bytes::from_static(&[3]),
        }
    }

    /// Decodes a response. One that cannot be read wrote nothing that its reader may rely on.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let bytes = &mut bytes;
        let response = match bytes.try_get_u8().ok()? {
            0 => Self::Reigns(Reign(LogIndex(bytes.try_get_u64_le().ok()?))),
            1 => Self::Written,
            2 => Self::Fenced,
            3 => Self::Refused,
            _ => return None,
        };
        bytes.is_empty().then_some(response)
    }
}

fn put_operation(out: &mut BytesMut, operation: &Operation) {
    match operation {
        Operation::Journal { key, bytes } => {
            out.put_u8(JOURNAL);
            out.put_u64_le(*key);
            put_bytes(out, bytes);
        }
        Operation::PutState { bytes, .. } => {
            out.put_u8(PUT_STATE);
            put_bytes(out, bytes);
        }
        Operation::CheckpointBegin { id } => {
            out.put_u8(CHECKPOINT_BEGIN);
            out.put_u64_le(*id);
        }
        Operation::CheckpointDone { id } => {
            out.put_u8(CHECKPOINT_DONE);
            out.put_u64_le(*id);
        }
        Operation::Append { .. }
        | Operation::TruncateFrom { .. }
        | Operation::CompactTo { .. }
        | Operation::Reset { .. }
        | Operation::CommitHint { .. } => {}
    }
}

fn take_operation(bytes: &mut Bytes) -> Option<Operation> {
    Some(match bytes.try_get_u8().ok()? {
        JOURNAL => Operation::Journal { key: bytes.try_get_u64_le().ok()?, bytes: take_bytes(bytes)? },
        PUT_STATE => Operation::PutState { bytes: take_bytes(bytes)?, commit_hint: LogIndex::ZERO },
        CHECKPOINT_BEGIN => Operation::CheckpointBegin { id: bytes.try_get_u64_le().ok()? },
        CHECKPOINT_DONE => Operation::CheckpointDone { id: bytes.try_get_u64_le().ok()? },
        _ => return None,
    })
}

fn put_bytes(out: &mut BytesMut, bytes: &Bytes) {
    out.put_u32_le(u32::try_from(bytes.len()).expect("a write is bounded"));
    out.put_slice(bytes);
}

/// Takes bytes into an allocation of their own, because the command is a slice of a larger one.
fn take_bytes(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    (length <= bytes.len()).then(|| Bytes::copy_from_slice(&bytes.split_to(length)))
}

/// Reads the content of a snapshot.
pub(super) struct SnapshotReader<'a>(pub(super) &'a mut dyn Read);

impl SnapshotReader<'_> {
    pub(super) fn u8(&mut self) -> io::Result<u8> {
        let mut bytes = [0; 1];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes[0])
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads bytes with their length before them. A false length allocates no more than there is to read.
    pub(super) fn bytes(&mut self) -> io::Result<Bytes> {
        let length = u64::from(self.u32()?);
        let mut bytes = Vec::new();
        (&mut *self.0).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from(bytes))
    }

    /// Checks that nothing follows.
    pub(super) fn end(self) -> io::Result<()> {
        match self.0.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("bytes follow the content of the snapshot")),
        }
    }
}

/// Version of commands and snapshots.
pub(super) const VERSION: u8 = 1;
/// Maximum number of bytes of a command beside its operations.
pub(crate) const WRITE_OVERHEAD_BYTES: usize = 10;

const TAKE_OVER: u8 = 0;
const WRITE: u8 = 1;

const JOURNAL: u8 = 0;
const PUT_STATE: u8 = 1;
const CHECKPOINT_BEGIN: u8 = 2;
const CHECKPOINT_DONE: u8 = 3;
