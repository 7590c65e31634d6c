//! The seam between a node and what runs on it: one group, whatever protocol is inside.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Instant, LoadFailure, LoadRange, Loaded, LogIndex, NodeId, Now, Operation, PersistFailure,
    SnapshotMeta, Standing, StorageLevel, Ticket, VotingBar,
};
use quorate_transport::{ChannelId, Frame, Received};

use crate::Founding;
use crate::metrics::MetricKind;
use crate::node::panic_message;

/// One group on a node: frames, durable operations and jobs, no types of any protocol.
///
/// Pure, as everything below it: no clock, no I/O. `Hosted` runs a bare core, and
/// `Replica` a state machine on a replicated log.
pub trait Group: Any + Send {
    /// Takes one input. A panic halts this group alone.
    fn handle(&mut self, now: Now, input: GroupInput);

    /// Gives the next output, if there is one.
    fn poll_output(&mut self) -> Option<GroupOutput>;

    /// When [`GroupInput::Timeout`] is wanted next.
    fn deadline(&self) -> Option<Instant>;

    /// The group was halted from outside, after a panic: drop what is held, answer every waiting caller `Unknown`.
    /// Never called again but for `poll_output` of those answers.
    fn halted(&mut self, reason: &HaltReason);

    /// The channel on which its core speaks, equal on all nodes of the group. It stands for the protocol in the group's
    /// founding.
    fn channel(&self) -> ChannelId;

    /// Whether nothing keeps the node from stopping: after [`GroupInput::Shutdown`] leadership is handed over, or
    /// cannot be, and no caller waits.
    fn is_settled(&self) -> bool;

    /// Tells what there is to measure, with names of [`metrics`](crate::metrics). Called about once a second.
    fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        let _ = tell;
    }
}

/// What goes into a group.
#[derive(Debug)]
pub enum GroupInput {
    /// A frame of this group came in.
    Frame(Received),
    /// The deadline has passed.
    Timeout,
    /// Something was heard from the peer, by whatever group.
    PeerAlive(NodeId),
    /// The connection to the peer was lost, or something sent to it was dropped.
    Unreachable(NodeId),
    /// What a node, this one included, counts for from now on.
    PeerStanding {
        /// Which node.
        node: NodeId,
        /// What it counts for.
        standing: Standing,
    },
    /// Why this node may not vote as far as incarnations go, for those who ask; nothing when it may. Comes just before
    /// the `PeerStanding` of this node. A group begins with `NotIntroduced`.
    Barred(Option<VotingBar>),
    /// What this group was founded with, for those who ask. Comes first.
    Founded(Founding),
    /// All peers that founded this group with other members or another protocol, for those who ask. They are strangers,
    /// nothing comes from them and nothing goes to them.
    FoundedOtherwise(BTreeSet<NodeId>),
    /// The disk's reserve is used up, or is there again.
    Storage(StorageLevel),
    /// This group pins the log's oldest segment.
    CompactRequested,
    /// Every write of this group up to this ticket is durable.
    Persisted(Ticket),
    /// A write failed, and with it all later ones.
    PersistFailed {
        /// Which.
        ticket: Ticket,
        /// What is known of it.
        failure: PersistFailure,
    },
    /// What a load brought.
    Loaded {
        /// Which.
        ticket: Ticket,
        /// What it brought, or why nothing.
        result: Result<Loaded, LoadFailure>,
    },
    /// The node is about to stop: hand leadership over if it can be, and take nothing new. See [`Group::is_settled`].
    Shutdown {
        /// When the node stops waiting.
        deadline: Instant,
    },
    /// A snapshot operation is done.
    Snapshot {
        /// Which.
        ticket: Ticket,
        /// What became of it.
        result: Result<SnapshotDone, SnapshotFailure>,
    },
    /// A job is done.
    Job {
        /// Which.
        ticket: Ticket,
        /// What it gave.
        result: JobResult,
    },
}

/// What comes out of a group.
#[derive(Debug)]
pub enum GroupOutput {
    /// Send the frame; a full queue is told back as `Unreachable`.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        frame: Frame,
    },
    /// Make the operations durable in the group's stream, all or none, behind all earlier ones.
    Persist {
        /// Names the write.
        ticket: Ticket,
        /// What to write.
        operations: Vec<Operation>,
    },
    /// Read from the group's stream.
    Load {
        /// Names the read.
        ticket: Ticket,
        /// What to read.
        range: LoadRange,
    },
    /// Do something with the group's snapshots, off the loop: what shares a [`SnapshotLane`] in the order asked.
    Snapshot {
        /// Names the operation.
        ticket: Ticket,
        /// What to do.
        operation: SnapshotOperation,
    },
    /// Run this off the loop.
    Job {
        /// Names the job.
        ticket: Ticket,
        /// What to run.
        job: Job,
    },
    /// Answer a caller.
    Reply {
        /// Which call.
        call: CallId,
        /// The answer.
        reply: crate::Reply,
    },
    /// A peer has less than it acknowledged in this start of the node: it runs on an older copy of its disk. The node
    /// takes it for a stranger in all groups, and tells it.
    OlderCopy {
        /// The peer.
        peer: NodeId,
    },
    /// Something an operator may want to see in the log.
    Notice(crate::Notice),
    /// This group stops on this node.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

/// Ties a caller's question to its answer. Unique within one start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a job gives: a value that only its group understands, or the text of its panic.
pub type JobResult = Result<Box<dyn Any + Send>, String>;

/// Work that must not hold up the loop.
pub struct Job(pub Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>);

impl Job {
    /// Does it, on whatever thread. A panic stays within it.
    ///
    /// # Errors
    /// With the text of its panic.
    pub fn run(self) -> JobResult {
        catch_unwind(AssertUnwindSafe(self.0)).map_err(|payload| panic_message(&*payload))
    }
}

/// Writes a snapshot's content, off the loop.
pub type SnapshotWriter = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// Reads a snapshot's content into a new state machine, off the loop.
pub type SnapshotReader = Box<dyn FnOnce(&mut dyn io::Read) -> io::Result<Box<dyn Any + Send>> + Send>;

/// What a group wants done with its snapshots. A snapshot is named by the index it covers.
pub enum SnapshotOperation {
    /// Make a snapshot from this node's state: write, sync, verify, rename.
    Build {
        /// What it stands for.
        meta: SnapshotMeta,
        /// Writes its content.
        write: SnapshotWriter,
    },
    /// Begin to take in a snapshot from a peer; one under way is given up.
    Create {
        /// What it stands for.
        meta: SnapshotMeta,
        /// Bytes of its content.
        length: u64,
    },
    /// Write a piece of the snapshot being taken in.
    Write {
        /// Where in the content.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// The content is whole: check it, sync, make a state machine from it, rename. What no state machine can be made
    /// from never becomes a snapshot.
    Finish {
        /// CRC-32C of the whole content.
        checksum: u32,
        /// Reads its content.
        read: SnapshotReader,
    },
    /// Give up the snapshot being taken in.
    Abort,
    /// Read a piece of a snapshot's content, to send it.
    Read {
        /// Which snapshot.
        index: LogIndex,
        /// Where in the content.
        offset: u64,
        /// At most so many bytes.
        bytes_max: usize,
    },
    /// Make a state machine from a snapshot.
    Restore {
        /// Which snapshot.
        index: LogIndex,
        /// Reads its content.
        read: SnapshotReader,
    },
    /// Read a snapshot from start to end, to see whether it is still what was written.
    Verify {
        /// Which snapshot.
        index: LogIndex,
    },
    /// Delete every snapshot that covers less than this one.
    DeleteBefore {
        /// The oldest to keep.
        index: LogIndex,
    },
}

/// What operations on snapshots wait for each other: each lane has a thread of its own, so that what takes long in one
/// holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotLane {
    /// Pieces on their way between nodes.
    Transfer,
    /// Snapshots being made of this node's own states.
    Build,
    /// Snapshots being read from start to end.
    Whole,
}

impl SnapshotLane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Transfer, Self::Build, Self::Whole];
}

impl SnapshotOperation {
    /// What it waits for.
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

/// What became of a snapshot operation.
#[derive(Debug)]
pub enum SnapshotDone {
    /// The snapshot is durable and was read back whole.
    Durable {
        /// What it stands for.
        meta: SnapshotMeta,
        /// Bytes of its content.
        length: u64,
        /// CRC-32C of its content.
        checksum: u32,
    },
    /// A peer's snapshot is durable, was read back whole, and this is the state machine that it makes.
    Received {
        /// What it stands for.
        meta: SnapshotMeta,
        /// The new state machine.
        state: Box<dyn Any + Send>,
    },
    /// Begun, written, given up, verified or deleted.
    Done,
    /// A piece of content.
    Piece {
        /// Where in the content.
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

/// Why a snapshot operation failed. The log and older snapshots are as before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotFailure {
    /// No snapshot covers that index.
    Missing,
    /// Its bytes are not those that were written or sent.
    Damaged,
    /// It is what was sent, and the state machine cannot be made from it; with what the state machine says. It was not
    /// kept.
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
