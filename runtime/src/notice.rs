//! What an operator may want to see in the log: facts as plain data, which only the shell turns into `tracing` events.

use quorate_protocol::{GroupId, HaltReason, Incarnation, LogIndex, NodeId, Role, Term, VotingBar};

/// One fact worth a line in the log. Rare by nature: never one a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The node's role, term or known leader changed.
    Role {
        /// The role.
        role: Role,
        /// The term.
        term: Term,
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
    },
    /// Whether the node may vote changed.
    Voting {
        /// Nothing when it may, else why not.
        barred: Option<VotingBar>,
    },
    /// This node's wall clock has come to differ from log time by more than is allowed, was set while it did, or no
    /// longer does. Log time does not follow it.
    ClockDiffers {
        /// By how many milliseconds the wall clock is ahead, below zero where it is behind; nothing when it agrees
        /// again.
        wall_ahead_ms: Option<i64>,
    },
    /// A snapshot of this node's state is durable.
    SnapshotBuilt {
        /// What it covers.
        index: LogIndex,
        /// Bytes of its content.
        bytes: u64,
    },
    /// A snapshot goes to a peer.
    SnapshotSending {
        /// To whom.
        to: NodeId,
        /// What it covers.
        index: LogIndex,
    },
    /// A snapshot from a peer is in force.
    SnapshotInstalled {
        /// What it covers.
        index: LogIndex,
    },
    /// A snapshot could not be built, sent, taken in or restored.
    SnapshotFailed {
        /// What it covers.
        index: LogIndex,
        /// Why.
        reason: String,
    },
    /// The group stopped on this node.
    Halted {
        /// Why.
        reason: HaltReason,
    },
    /// The node and a peer know each other's incarnations, durably on both sides.
    Introduced {
        /// The peer.
        peer: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// A peer counts for nothing: its incarnation is another than the known one.
    PeerStranger {
        /// The peer.
        peer: NodeId,
        /// The incarnation it bears.
        found: Incarnation,
        /// The incarnation it is known under.
        known: Incarnation,
    },
    /// A peer knows this node under another incarnation: this data directory is not the one the node began with, and
    /// the node stays a non-voter.
    SelfStranger {
        /// Which peer says so.
        peer: NodeId,
        /// The incarnation it knows.
        known: Incarnation,
    },
    /// A peer knows a later start of this node: its disk is an older copy, such as a restored backup. The node stays a
    /// non-voter.
    SelfOlder {
        /// Which peer says so.
        peer: NodeId,
        /// The start counter that it knows.
        known_start: u32,
        /// The start counter of this node.
        start: u32,
    },
    /// A peer runs on an older copy of its disk: it counts for nothing.
    PeerOlder {
        /// Which peer.
        peer: NodeId,
    },
    /// A peer founded groups with other members or another protocol: nothing is taken from it for them, nor sent to it.
    FoundedOtherwise {
        /// Which peer.
        peer: NodeId,
        /// Which groups.
        groups: Vec<GroupId>,
        /// The voters that they were founded with here.
        ours: Vec<NodeId>,
        /// The voters that they were founded with there.
        theirs: Vec<NodeId>,
    },
    /// The node was opened with other members than the group was founded with. The founding stands.
    DescribedOtherwise {
        /// The voters that the group was founded with.
        founded: Vec<NodeId>,
        /// The voters of today's description.
        described: Vec<NodeId>,
    },
    /// What the node learned of its peers found no room on disk. It is written when there is room; until then peers
    /// that it has not met do not count.
    OwnStreamRefused,
    /// More peers than a node can remember asked to be introduced; this one was not.
    PeersFull {
        /// The peer.
        peer: NodeId,
    },
}
