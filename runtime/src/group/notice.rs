//! Facts for the operator's log, as plain data. Only the shell turns them into `tracing` events.

use quorate_protocol::{GroupId, HaltReason, Incarnation, LogIndex, NodeId, Role, Term, VotingBar};

/// One fact that deserves a line in the log. Notices are rare: there is never one for each message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The node's role, term or known leader changed.
    Role {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// The leader, as far as it is known.
        leader: Option<NodeId>,
    },
    /// The node's right to vote changed.
    Voting {
        /// The reason why it may not vote; `None` if it may.
        barred: Option<VotingBar>,
    },
    /// This node's wall clock now differs from log time by more than the bound, or was set while it did, or agrees
    /// again. Log time does not follow the wall clock.
    ClockDiffers {
        /// Milliseconds by which the wall clock is ahead, negative if it is behind; `None` if it agrees again.
        wall_ahead_ms: Option<i64>,
    },
    /// A snapshot of this node's state is durable.
    SnapshotBuilt {
        /// The index that it covers.
        index: LogIndex,
        /// Bytes of its content.
        bytes: u64,
    },
    /// A snapshot is being sent to a peer.
    SnapshotSending {
        /// The receiver.
        to: NodeId,
        /// The index that it covers.
        index: LogIndex,
    },
    /// A snapshot from a peer has replaced this node's state.
    SnapshotInstalled {
        /// The index that it covers.
        index: LogIndex,
    },
    /// A snapshot could not be built, sent, received or restored.
    SnapshotFailed {
        /// The index that it covers.
        index: LogIndex,
        /// The reason.
        reason: String,
    },
    /// A command was not applied, because an operator has marked it.
    CommandSkipped {
        /// Its index.
        index: LogIndex,
    },
    /// The group was added to the running node.
    Added,
    /// The group was removed from this node for good.
    Removed,
    /// Groups that were founded on this node are not opened by the program. Their data stay.
    NotOpened {
        /// The groups.
        groups: Vec<GroupId>,
    },
    /// The group stopped on this node.
    Halted {
        /// The reason.
        reason: HaltReason,
    },
    /// The node and a peer know each other's incarnations, durably on both sides.
    Introduced {
        /// The peer.
        peer: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// A peer does not count, because its incarnation differs from the known one.
    PeerStranger {
        /// The peer.
        peer: NodeId,
        /// The incarnation that it has now.
        found: Incarnation,
        /// The incarnation under which it is known.
        known: Incarnation,
    },
    /// A peer knows this node under another incarnation: this data directory is not the one with which the node began.
    /// The node stays a non-voter.
    SelfStranger {
        /// The peer.
        peer: NodeId,
        /// The incarnation that the peer knows.
        known: Incarnation,
    },
    /// A peer knows a later start of this node: its disk is an older copy, such as a restored backup. The node stays a
    /// non-voter.
    SelfOlder {
        /// The peer.
        peer: NodeId,
        /// The start counter that the peer knows.
        known_start: u32,
        /// The start counter of this node.
        start: u32,
    },
    /// A peer runs on an older copy of its disk. It does not count.
    PeerOlder {
        /// The peer.
        peer: NodeId,
    },
    /// A peer founded groups with other members or another protocol. For them nothing is accepted from it or sent to
    /// it.
    FoundedOtherwise {
        /// The peer.
        peer: NodeId,
        /// The groups.
        groups: Vec<GroupId>,
        /// The voters with which they were founded on this node.
        ours: Vec<NodeId>,
        /// The voters with which they were founded on the peer.
        theirs: Vec<NodeId>,
    },
    /// The node was opened with other members than those with which the group was founded. The founding stays in force.
    DescribedOtherwise {
        /// The voters with which the group was founded.
        founded: Vec<NodeId>,
        /// The voters of the present description.
        described: Vec<NodeId>,
    },
    /// The disk has no room for what the node learned of its peers. It is written when there is room. Until then new
    /// peers do not count.
    OwnStreamRefused,
    /// No address of a peer could be taken from the configurations of the groups. If it had addresses before, they stay
    /// in use.
    PeerAddress {
        /// The peer.
        peer: NodeId,
        /// The reason.
        reason: &'static str,
    },
    /// More peers than a node can remember asked to be introduced. This one was refused.
    PeersFull {
        /// The peer.
        peer: NodeId,
    },
}
