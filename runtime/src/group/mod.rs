//! The interface between a node and one group on it, whatever the protocol of the group.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Instant, LoadRange, LogIndex, NodeId, Now, Operation, Signal, SnapshotMeta, Ticket, VotingBar,
};
use quorate_transport::{ChannelId, Frame, Received};

use crate::Founding;
use crate::metrics::MetricKind;
use crate::node::panic_message;

mod hosted;
mod notice;
mod outcome;
mod reply;

pub use hosted::{Heard, Hostable, Hosted, TOLD_MAX, Told};
pub use notice::Notice;
pub use outcome::{NotApplied, Outcome, ProposeError, ReadError, Retry, TransferError, Unknown};
pub use reply::Reply;

/// One group on a node. The node knows its frames, durable operations and jobs, but no type of its protocol.
///
/// Pure: no clock, no I/O. `Hosted` runs a bare core, and `Replica` runs a state machine on a replicated log.
pub trait Group: Any + Send {
    /// Takes one input. A panic halts this group alone.
    fn handle(&mut self, now: Now, input: GroupInput);

    /// Returns the next output, if there is one.
    fn poll_output(&mut self) -> Option<GroupOutput>;

    /// Returns the time at which the group wants the next [`Signal::Timeout`].
    fn deadline(&self) -> Option<Instant>;

    /// Called after the node has halted the group because of a panic. Drops everything that is held and answers every
    /// waiting caller `Unknown`. After this only `poll_output` is called, for those answers.
    fn halted(&mut self, reason: &HaltReason);

    /// Returns the channel of the group's core, equal on all nodes of the group. In the group's founding it stands for
    /// the protocol.
    fn channel(&self) -> ChannelId;

    /// Returns true if the group does not keep the node from stopping: after [`GroupInput::Shutdown`] leadership is
    /// transferred, or cannot be, and no caller waits.
    fn is_settled(&self) -> bool;

    /// Reports the group's metrics, with names of [`metrics`](crate::metrics). Called about once a second.
    fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        let _ = tell;
    }
}

/// An input of a group.
#[derive(Debug)]
pub enum GroupInput {
    /// A frame of this group was received.
    Frame(Received),
    /// A signal for the group's core. A host that needs it as well looks at it and passes it on.
    Signal(Signal),
    /// Reason why this node may not vote according to the incarnations, for status reports; `None` if it may. Comes
    /// just before the [`Signal::PeerStanding`] of this node. A group starts with `NotIntroduced`.
    Barred(Option<VotingBar>),
    /// The founding of this group, for status reports. Comes first.
    Founded(Founding),
    /// All peers that founded this group with other members or another protocol, for status reports. They are
    /// strangers: the group receives nothing from them and sends nothing to them.
    FoundedOtherwise(BTreeSet<NodeId>),
    /// The node is about to stop: transfer leadership if possible, and accept no new calls. See [`Group::is_settled`].
    Shutdown {
        /// The time at which the node stops waiting.
        deadline: Instant,
    },
    /// A snapshot operation is done.
    Snapshot {
        /// The operation.
        ticket: Ticket,
        /// Its result.
        result: Result<SnapshotDone, SnapshotFailure>,
    },
    /// A job is done.
    Job {
        /// The job.
        ticket: Ticket,
        /// Its result.
        result: JobResult,
    },
}

/// An output of a group.
#[derive(Debug)]
pub enum GroupOutput {
    /// Send the frame. If the queue is full, the group gets `Unreachable`.
    Send {
        /// The receiver.
        to: NodeId,
        /// The frame.
        frame: Frame,
    },
    /// Make the operations durable in the group's stream, all or none, after all earlier ones.
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// The operations.
        operations: Vec<Operation>,
    },
    /// Read from the group's stream.
    Load {
        /// Names the read.
        ticket: Ticket,
        /// The range to read.
        range: LoadRange,
    },
    /// Perform an operation on the group's snapshots, off the loop. Operations of one [`SnapshotLane`] run in order.
    Snapshot {
        /// Names the operation.
        ticket: Ticket,
        /// The operation.
        operation: SnapshotOperation,
    },
    /// Run a job off the loop.
    Job {
        /// Names the job.
        ticket: Ticket,
        /// The job.
        job: Job,
    },
    /// Answer a caller.
    Reply {
        /// The call.
        call: CallId,
        /// The answer.
        reply: Reply,
    },
    /// A peer has less than it acknowledged in this start of the node, so it runs on an older copy of its disk. The
    /// node treats it as a stranger in all groups and notifies it.
    OlderCopy {
        /// The peer.
        peer: NodeId,
    },
    /// A fact for the operator's log.
    Notice(Notice),
    /// This group stops on this node.
    Halt {
        /// The reason.
        reason: HaltReason,
    },
}

/// Ties a call to its answer. Unique within one start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Result of a job: a value that only its group understands, or the text of its panic.
pub type JobResult = Result<Box<dyn Any + Send>, String>;

/// Work that must not hold up the loop.
pub struct Job(pub Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>);

impl Job {
    /// Runs the job on the current thread. A panic does not leave this function.
    ///
    /// # Errors
    /// If the job panicked: the text of its panic.
    pub fn run(self) -> JobResult {
        catch_unwind(AssertUnwindSafe(self.0)).map_err(|payload| panic_message(&*payload))
    }
}

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
            Self::Create { .. } | Self::Write { .. } | Self::Abort | Self::Read { .. } | Self::DeleteBefore { .. } => {
                SnapshotLane::Transfer
            }
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

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
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
        }
    }
}
