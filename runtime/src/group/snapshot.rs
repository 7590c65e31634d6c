//! Operations on a group's snapshots, and their results.

use std::any::Any;
use std::fmt;
use std::io;

use bytes::Bytes;
use quorate_protocol::{LogIndex, SnapshotMeta};

/// Writes a snapshot's content, off the loop.
pub type SnapshotWriter = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// Reads a snapshot's content into a new state machine, off the loop.
pub type SnapshotReader = Box<dyn FnOnce(&mut dyn io::Read) -> io::Result<Box<dyn Any + Send>> + Send>;

/// An operation on a group's snapshots. A snapshot is named by the index that it covers.
pub enum SnapshotOperation {
    /// Make a snapshot from this node's state: write, sync, verify, rename.
    Build {
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Writes its content.
        write: SnapshotWriter,
    },
    /// Begin to receive a snapshot from a peer. An unfinished one is discarded.
    Create {
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Bytes of its content.
        length: u64,
    },
    /// Write a piece of the snapshot that is being received.
    Write {
        /// Offset in the content.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// The content is complete: check it, sync, make a state machine from it, rename. If no state machine can be made
    /// from it, it never becomes a snapshot.
    Finish {
        /// CRC-32C of the whole content.
        checksum: u32,
        /// Reads its content.
        read: SnapshotReader,
    },
    /// Discard the snapshot that is being received.
    Abort,
    /// Read a piece of a snapshot's content in order to send it.
    Read {
        /// The snapshot.
        index: LogIndex,
        /// Offset in the content.
        offset: u64,
        /// Maximum length of the piece.
        bytes_max: usize,
    },
    /// Make a state machine from a snapshot.
    Restore {
        /// The snapshot.
        index: LogIndex,
        /// Reads its content.
        read: SnapshotReader,
    },
    /// Read a snapshot from start to end and check that it is unchanged since it was written.
    Verify {
        /// The snapshot.
        index: LogIndex,
    },
    /// Delete every snapshot that covers less than this one.
    DeleteBefore {
        /// The oldest to keep.
        index: LogIndex,
    },
    /// Delete everything of a group that was removed. Its other operations end without effect.
    DeleteAll,
}

/// Groups of snapshot operations that wait for each other. Each lane has a thread of its own, so that a long operation
/// in one lane does not delay another lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotLane {
    /// Pieces of snapshots that are sent or received.
    Transfer,
    /// Snapshots that are made from this node's own state.
    Build,
    /// Snapshots that are read from start to end.
    Whole,
}

impl SnapshotLane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Transfer, Self::Build, Self::Whole];
}

impl SnapshotOperation {
    /// Returns the lane of the operation.
    #[must_use]
    pub fn lane(&self) -> SnapshotLane {
        match self {
            Self::Create { .. }
            | Self::Write { .. }
            | Self::Abort
            | Self::Read { .. }
            | Self::DeleteBefore { .. }
            | Self::DeleteAll => SnapshotLane::Transfer,
            Self::Build { .. } => SnapshotLane::Build,
            Self::Finish { .. } | Self::Restore { .. } | Self::Verify { .. } => SnapshotLane::Whole,
        }
    }
}

/// The result of a snapshot operation that succeeded.
#[derive(Debug)]
pub enum SnapshotDone {
    /// The snapshot is durable and was read back completely.
    Durable {
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Bytes of its content.
        length: u64,
        /// CRC-32C of its content.
        checksum: u32,
    },
    /// A peer's snapshot is durable and was read back completely.
    Received {
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// The state machine that was made from it.
        state: Box<dyn Any + Send>,
    },
    /// The operation was begun, or it wrote, discarded, verified or deleted.
    Done,
    /// A piece of content.
    Piece {
        /// Offset in the content.
        offset: u64,
        /// The piece; empty at the end.
        bytes: Bytes,
        /// Bytes of the whole content.
        length: u64,
        /// CRC-32C of the whole content.
        checksum: u32,
    },
    /// A new state machine.
    Restored(Box<dyn Any + Send>),
}

/// Reason why a snapshot operation failed. The log and older snapshots are unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotFailure {
    /// No snapshot covers that index.
    Missing,
    /// Its bytes differ from those that were written or sent.
    Damaged,
    /// Its bytes are those that were sent, but the state machine cannot be made from it; with the state machine's
    /// error. It was not kept.
    Unrestorable(String),
    /// The disk is full.
    DiskFull,
    /// The disk, or the state machine's own code, failed.
    Io(String),
}

impl fmt::Debug for SnapshotOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build { meta, .. } => write!(f, "Build({})", meta.index),
            Self::Create { meta, length } => write!(f, "Create({}, {length})", meta.index),
            Self::Write { offset, bytes } => write!(f, "Write({offset}, {})", bytes.len()),
            Self::Finish { checksum, .. } => write!(f, "Finish({checksum:08x})"),
            Self::Abort => f.write_str("Abort"),
            Self::Read { index, offset, bytes_max } => write!(f, "Read({index}, {offset}, {bytes_max})"),
            Self::Restore { index, .. } => write!(f, "Restore({index})"),
            Self::Verify { index } => write!(f, "Verify({index})"),
            Self::DeleteBefore { index } => write!(f, "DeleteBefore({index})"),
            Self::DeleteAll => f.write_str("DeleteAll"),
        }
    }
}
