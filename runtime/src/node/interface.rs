//! What a node is set up with, what goes in and what comes out.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{
    GroupId, Instant, LoadFailure, LoadRange, Loaded, NodeId, Operation, PersistFailure, StorageLevel, Ticket,
};
use quorate_transport::{Frame, Received, Sender};
use quorate_wal::{Completions, LoadCompletion, StorageLevel as LogLevel, StreamId, WriteCompletion};

use crate::{CallId, Job, JobResult, Notice, Reply, SnapshotDone, SnapshotFailure, SnapshotOperation};

/// Settings of a [`Node`](crate::Node).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The other nodes: introduced to, and kept alive.
    pub peers: BTreeSet<NodeId>,
    /// Between two heartbeats to a peer that nothing else was sent to, and between two words to the groups that a peer
    /// is alive. At least a millisecond.
    pub heartbeat_interval: Duration,
    /// Bytes of frames, and of outputs, that a group may use up in one turn. One frame and one output are always taken.
    pub turn_bytes_max: usize,
    /// Bytes of frames that wait for one group's turn; beyond it the newest are dropped and counted.
    pub frames_bytes_max: usize,
}

impl NodeConfig {
    /// The defaults: 50 ms, 1 MiB a turn, 32 MiB waiting.
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            peers: peers.into_iter().collect(),
            heartbeat_interval: Duration::from_millis(50),
            turn_bytes_max: 1 << 20,
            frames_bytes_max: 32 << 20,
        }
    }
}

/// What goes into a node.
#[derive(Debug)]
pub enum NodeInput {
    /// A frame came in, on any channel from 1 on but that of rpc.
    Frame(Received),
    /// The deadline has passed.
    Timeout,
    /// Frames can be sent to the peer.
    LinkUp(Sender),
    /// Frames can no longer be sent to the peer.
    LinkDown(NodeId),
    /// A frame could not be sent.
    SendFailed {
        /// To whom.
        to: NodeId,
        /// Whose it was.
        origin: Origin,
    },
    /// Every write of the stream up to this ticket is durable.
    Persisted {
        /// Which stream.
        stream: StreamId,
        /// Which write.
        ticket: Ticket,
    },
    /// A write failed. Unless it was certainly not written, the log is poisoned for all groups.
    PersistFailed {
        /// Which stream.
        stream: StreamId,
        /// Which write.
        ticket: Ticket,
        /// What is known of it.
        failure: PersistFailure,
    },
    /// What a load brought.
    Loaded {
        /// Which stream.
        stream: StreamId,
        /// Which load.
        ticket: Ticket,
        /// What it brought, or why nothing.
        result: Result<Loaded, LoadFailure>,
    },
    /// A snapshot operation is done.
    Snapshot {
        /// Whose.
        group: GroupId,
        /// Which.
        ticket: Ticket,
        /// What became of it.
        result: Result<SnapshotDone, SnapshotFailure>,
    },
    /// A job is done.
    Job {
        /// Whose.
        group: GroupId,
        /// Which.
        ticket: Ticket,
        /// What it gave.
        result: JobResult,
    },
    /// The disk's reserve is used up, or is there again.
    Storage(StorageLevel),
    /// The stream pins the log's oldest segment.
    CompactRequested(StreamId),
    /// The node is about to stop. See [`Node::is_settled`](crate::Node::is_settled).
    Shutdown {
        /// When it stops waiting.
        deadline: Instant,
    },
}

impl NodeInput {
    /// What a node is told of what its log has done.
    pub fn of_log(done: Completions) -> impl Iterator<Item = Self> {
        let writes = done.writes.into_iter().map(|WriteCompletion { stream, ticket, result, .. }| match result {
            Ok(()) => Self::Persisted { stream, ticket },
            Err(error) => Self::PersistFailed { stream, ticket, failure: error.failure() },
        });
        let loads = done.loads.into_iter().map(|LoadCompletion { stream, ticket, result }| Self::Loaded {
            stream,
            ticket,
            result,
        });
        let level = done.storage_level.map(|level| match level {
            LogLevel::Low => Self::Storage(StorageLevel::Low),
            LogLevel::Enough => Self::Storage(StorageLevel::Enough),
        });
        let compaction = done.compaction_wanted.into_iter().map(Self::CompactRequested);
        writes.chain(loads).chain(level).chain(compaction)
    }
}

/// What comes out of a node. The shell carries outputs out in their order.
#[derive(Debug)]
pub enum NodeOutput {
    /// Send the frame; if that fails say [`NodeInput::SendFailed`].
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        frame: Frame,
        /// Whose it is.
        origin: Origin,
    },
    /// Make these durable, with one sync for all of them. Each is all or none, and stands behind all earlier ones of
    /// its stream.
    Write(Vec<Write>),
    /// Read from a stream.
    Load {
        /// Which stream.
        stream: StreamId,
        /// Names the load.
        ticket: Ticket,
        /// What to read.
        range: LoadRange,
    },
    /// Do something with a group's snapshots, off the loop, in the order asked.
    Snapshot {
        /// Whose.
        group: GroupId,
        /// Names the operation.
        ticket: Ticket,
        /// What to do.
        operation: SnapshotOperation,
    },
    /// Run this off the loop.
    Job {
        /// Whose.
        group: GroupId,
        /// Names the job.
        ticket: Ticket,
        /// What to run.
        job: Job,
    },
    /// Answer a caller.
    Reply {
        /// Whose answer.
        group: GroupId,
        /// Which call.
        call: CallId,
        /// The answer.
        reply: Reply,
    },
    /// Something an operator may want to see in the log.
    Notice {
        /// Which group; nothing when it is the node's own.
        group: Option<GroupId>,
        /// What.
        notice: Notice,
    },
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The node's own: nobody is told when it is lost.
    Node,
    /// One group's.
    Group(GroupId),
    /// A bundle of several groups'.
    Groups,
}

/// The write of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where to.
    pub stream: StreamId,
    /// Names the write within the stream.
    pub ticket: Ticket,
    /// What to write.
    pub operations: Vec<Operation>,
}

/// What a node has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Writes of groups.
    pub writes: u64,
    /// Submissions to the log that they went in.
    pub write_batches: u64,
    /// Messages of groups that were sent.
    pub messages_sent: u64,
    /// Frames that they went in, those of the node itself included.
    pub frames_sent: u64,
    /// Messages of groups that came in.
    pub messages_received: u64,
    /// Frames that came in.
    pub frames_received: u64,
    /// Messages that were dropped: unknown group, stopped group, no room, a peer that has not said how it founded the
    /// group, or founded it otherwise.
    pub messages_dropped: u64,
    /// Messages of groups that were not sent: the peer does not know this start of the node yet, or founded the group
    /// otherwise.
    pub messages_withheld: u64,
    /// Frames of the node's own channel that no correct peer sends.
    pub frames_malformed: u64,
    /// Groups that stopped.
    pub groups_halted: u64,
}
