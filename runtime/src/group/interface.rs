//! A group as its node sees it: the trait, its inputs and its outputs.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{
    Configuration, HaltReason, Incarnation, Instant, LoadRange, NodeId, Now, Operation, Rest, Signal, Ticket, VotingBar,
};
use quorate_transport::{ChannelId, Frame, Received};

use crate::group::founding::Founding;
use crate::group::job::{Job, JobResult};
use crate::group::notice::Notice;
use crate::group::reply::Reply;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};
use crate::metrics::MetricKind;

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

    /// Number of calls that wait for news of the group, which may never come: a node that stops does not wait for them.
    fn listeners(&self) -> usize {
        0
    }

    /// Returns true if the group's core may come to rest (see
    /// [`Protocol::may_rest`](quorate_protocol::Protocol::may_rest)).
    fn may_rest(&self) -> bool {
        false
    }

    /// Returns the rest of the group's core, if it is at rest (see
    /// [`Protocol::rest`](quorate_protocol::Protocol::rest)).
    fn rest(&self) -> Option<Rest> {
        None
    }

    /// Returns the part of this type, for a group that consists of parts which handles reach. See `as_part`.
    fn part(&self, wanted: TypeId) -> Option<&dyn Any> {
        let _ = wanted;
        None
    }

    /// As [`part`](Group::part), to change it.
    fn part_mut(&mut self, wanted: TypeId) -> Option<&mut dyn Any> {
        let _ = wanted;
        None
    }

    /// Reports the group's metrics, with names of [`metrics`](crate::metrics). Called about once a second.
    fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        let _ = tell;
    }
}

impl dyn Group {
    /// Returns the group as a `T`, or its part of that type; `None` if it is no `T` and has none.
    #[must_use]
    pub fn as_part<T: Any>(&self) -> Option<&T> {
        let whole: &dyn Any = self;
        whole.downcast_ref().or_else(|| self.part(TypeId::of::<T>())?.downcast_ref())
    }

    /// As `as_part`, to change it.
    pub fn as_part_mut<T: Any>(&mut self) -> Option<&mut T> {
        let whole: &dyn Any = self;
        if whole.is::<T>() {
            let whole: &mut dyn Any = self;
            return whole.downcast_mut();
        }
        self.part_mut(TypeId::of::<T>())?.downcast_mut()
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
    /// The node of a peer was last heard from at this time, for status reports. Comes before a call to a group that may
    /// come to rest.
    Heard {
        /// The peer.
        node: NodeId,
        /// The time.
        at: Instant,
    },
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
    /// Perform an operation on the group's snapshots, off the loop. Operations of one
    /// [`SnapshotLane`](super::SnapshotLane) run in order.
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
    /// The members of the group, of both halves of a joint configuration. The group reports them at its start and
    /// whenever the configuration in force changes. Until it does, they are the voters that it was founded with.
    Members {
        /// Their contexts.
        contexts: Members,
        /// Who of them counts.
        membership: Membership,
    },
    /// A fact for the operator's log.
    Notice(Notice),
    /// This group stops on this node.
    Halt {
        /// The reason.
        reason: HaltReason,
    },
}

/// Members of a group, each with its contexts in the configuration (see [`Member::context`]).
///
/// [`Member::context`]: quorate_protocol::Member::context
pub type Members = BTreeSet<(NodeId, Bytes)>;

/// The part of a group's configuration that decides which nodes count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The voters, of both halves of a joint configuration.
    pub voters: BTreeSet<NodeId>,
    /// The only disks that count as these members. A member without an entry is the first disk that the others met
    /// under its id.
    pub disks: BTreeMap<NodeId, Incarnation>,
}

impl Membership {
    /// Returns the membership of a configuration.
    #[must_use]
    pub fn of(configuration: &Configuration) -> Self {
        let disk = |node| Some((node, configuration.member(node)?.incarnation?));
        Self {
            voters: configuration.voters().chain(configuration.outgoing_voters()).collect(),
            disks: configuration.nodes().filter_map(disk).collect(),
        }
    }
}

/// Ties a call to its answer. Unique within one start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);
