//! Settings, inputs and outputs of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{GroupId, Instant, LoadRange, NodeId, Operation, Signal, StorageLevel, Ticket};
use quorate_transport::{Frame, Received, Sender};
use quorate_wal::{Completions, LoadCompletion, StreamId, WriteCompletion};

use crate::group::change::NewGroup;
use crate::group::interface::CallId;
use crate::group::job::{Job, JobResult};
use crate::group::notice::Notice;
use crate::group::reply::Reply;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};

/// Settings of a [`Node`](crate::node::Node).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The other nodes that are known from the start. They always stay peers. Members of groups come and go beside
    /// them.
    pub peers: BTreeSet<NodeId>,
    /// Interval between two heartbeats to a peer to which nothing else was sent. At least one millisecond.
    pub heartbeat_interval: Duration,
    /// A peer that was not heard from for this time is silent. Groups at rest are told, and begin to count the time of
    /// an election from its last frame on. At most the shortest election time-out of the groups, and at least twice
    /// the heartbeat interval.
    pub silent_after: Duration,
    /// Maximum bytes of frames, and of outputs, that a group uses in one turn. One frame and one output are always
    /// taken.
    pub turn_bytes_max: usize,
    /// Maximum bytes of frames that wait for one group's turn. Beyond it the newest are dropped and counted.
    pub frames_bytes_max: usize,
}

impl NodeConfig {
    /// The defaults: a heartbeat interval of 50 ms, silence after 500 ms, 1 MiB in a turn, 32 MiB waiting.
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            peers: peers.into_iter().collect(),
            heartbeat_interval: Duration::from_millis(50),
            silent_after: Duration::from_millis(500),
            turn_bytes_max: 1 << 20,
            frames_bytes_max: 32 << 20,
        }
    }
}

/// An input of a node.
#[derive(Debug)]
pub enum NodeInput {
    /// A frame was received, on any channel from 1 on except that of rpc.
    Frame(Received),
    /// The deadline has passed.
    Timeout,
    /// Frames can be sent to the peer.
    LinkUp(Sender),
    /// Frames can no longer be sent to the peer.
    LinkDown(NodeId),
    /// A frame could not be sent.
    SendFailed {
        /// The intended receiver.
        to: NodeId,
        /// The owner of the frame.
        origin: Origin,
    },
    /// A signal of the log: a write or a load has ended, or the stream keeps the log's oldest segment from being
    /// deleted. After a failed write that may have been made, the log is poisoned for all groups.
    Signal {
        /// The stream whose owner gets the signal.
        stream: StreamId,
        /// The signal.
        signal: Signal,
    },
    /// A snapshot operation is done.
    Snapshot {
        /// The group.
        group: GroupId,
        /// The operation.
        ticket: Ticket,
        /// Its result.
        result: Result<SnapshotDone, SnapshotFailure>,
    },
    /// A job is done.
    Job {
        /// The group.
        group: GroupId,
        /// The job.
        ticket: Ticket,
        /// Its result.
        result: JobResult,
    },
    /// The disk's reserve is used up, or is available again.
    Storage(StorageLevel),
    /// Add a group that has never run on this node. Its founding becomes durable before its first write or message.
    /// The answer is [`Reply::Changed`].
    AddGroup {
        /// The group.
        group: GroupId,
        /// Its members, and the group itself.
        new: NewGroup,
        /// The call to answer.
        call: CallId,
    },
    /// Remove a group from this node for good. It runs until its removal is durable. Then its callers are answered, and
    /// its data are deleted. The answer is [`Reply::Changed`].
    RemoveGroup {
        /// The group.
        group: GroupId,
        /// The call to answer.
        call: CallId,
    },
    /// The node is about to stop. See [`Node::is_settled`](crate::node::Node::is_settled).
    Shutdown {
        /// The time at which it stops waiting.
        deadline: Instant,
    },
}

impl NodeInput {
    /// Makes the inputs of a node from the results of its log.
    pub fn of_log(done: Completions) -> impl Iterator<Item = Self> {
        let writes = done.writes.into_iter().map(|WriteCompletion { stream, ticket, result, .. }| {
            let signal = match result {
                Ok(()) => Signal::Persisted(ticket),
                Err(error) => Signal::PersistFailed { ticket, failure: error.failure() },
            };
            Self::Signal { stream, signal }
        });
        let loads = done.loads.into_iter().map(|LoadCompletion { stream, ticket, result }| {
            let signal = Signal::Loaded { ticket, result };
            Self::Signal { stream, signal }
        });
        let level = done.storage_level.map(Self::Storage);
        let compaction = done.compaction_wanted.into_iter();
        let compaction = compaction.map(|stream| Self::Signal { stream, signal: Signal::CompactRequested });
        writes.chain(loads).chain(level).chain(compaction)
    }
}

/// An output of a node. The shell carries outputs out in their order.
#[derive(Debug)]
pub enum NodeOutput {
    /// Send the frame. If that fails, the node needs [`NodeInput::SendFailed`].
    Send {
        /// The receiver.
        to: NodeId,
        /// The frame.
        frame: Frame,
        /// The owner of the frame.
        origin: Origin,
    },
    /// Make these writes durable, with one sync for all of them. Each is written completely or not at all, and after
    /// all earlier writes of its stream.
    Write(Vec<Write>),
    /// Read from a stream.
    Load {
        /// The stream.
        stream: StreamId,
        /// Names the load.
        ticket: Ticket,
        /// The range to read.
        range: LoadRange,
    },
    /// Delete a stream, after all earlier writes. The result is a [`NodeInput::Signal`], as for a write.
    DeleteStream {
        /// The stream.
        stream: StreamId,
        /// Names the deletion.
        ticket: Ticket,
    },
    /// Perform an operation on a group's snapshots, off the loop, in the order of these outputs.
    Snapshot {
        /// The group.
        group: GroupId,
        /// Names the operation.
        ticket: Ticket,
        /// The operation.
        operation: SnapshotOperation,
    },
    /// Run a job off the loop.
    Job {
        /// The group.
        group: GroupId,
        /// Names the job.
        ticket: Ticket,
        /// The job.
        job: Job,
    },
    /// Answer a caller.
    Reply {
        /// The group.
        group: GroupId,
        /// The call.
        call: CallId,
        /// The answer.
        reply: Reply,
    },
    /// The peers, and for each the contexts that configurations of the groups have for it, newest first; empty if there
    /// is none but perhaps an empty one. They replace those of the last output of this kind, the first of which
    /// replaces [`NodeConfig::peers`]. Exchange frames with these nodes and no others.
    Peers(BTreeMap<NodeId, Vec<Bytes>>),
    /// A fact for the operator's log.
    Notice {
        /// The group; `None` if it concerns the node itself.
        group: Option<GroupId>,
        /// The fact.
        notice: Notice,
    },
}

/// The owner of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The node itself. No group is notified if the frame is lost.
    Node,
    /// One group.
    Group(GroupId),
    /// Several groups, whose frames are in one bundle.
    Groups,
}

/// The write of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The stream.
    pub stream: StreamId,
    /// Names the write within the stream.
    pub ticket: Ticket,
    /// The operations.
    pub operations: Vec<Operation>,
}

/// Counters of a node since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounters {
    /// Writes of groups.
    pub writes: u64,
    /// Submissions to the log that contained them.
    pub write_batches: u64,
    /// Messages of groups that were sent.
    pub messages_sent: u64,
    /// Frames that contained them, and frames of the node itself.
    pub frames_sent: u64,
    /// Messages of groups that were received.
    pub messages_received: u64,
    /// Frames that were received.
    pub frames_received: u64,
    /// Messages that were dropped: unknown group, stopped group, no room, or a peer that has not stated how it founded
    /// the group or founded it otherwise.
    pub messages_dropped: u64,
    /// Those of them whose group is not on this node: not yet, or no more.
    pub messages_without_group: u64,
    /// Messages of groups that were not sent: the peer does not know this start of the node yet, or founded the group
    /// otherwise.
    pub messages_withheld: u64,
    /// Frames of the node's own channel that no correct peer sends.
    pub frames_malformed: u64,
    /// Groups that stopped.
    pub groups_halted: u64,
    /// Groups that were added since the start.
    pub groups_added: u64,
    /// Groups that were removed.
    pub groups_removed: u64,
    /// Groups at rest that were woken because a peer had started anew, or its part of the group was not at rest.
    pub groups_woken: u64,
}
