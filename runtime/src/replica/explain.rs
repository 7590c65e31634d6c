//! Explanations for operators of a group that makes no progress.

use quorate_protocol::{DiskState, HaltReason, LogIndex, NodeId, Term, VotingBar};

/// An obstacle between a replica and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// The node is shutting down.
    ShuttingDown,
    /// There is no leader, as far as this node knows. Other obstacles may be listed beside it.
    NoLeader,
    /// This node asks for votes in this term.
    ElectionUnderWay(Term),
    /// This node neither votes nor campaigns.
    MayNotVote(VotingBar),
    /// These nodes founded the group with other members or another protocol. Nothing is accepted from them or sent to
    /// them.
    FoundedOtherwise(Vec<NodeId>),
    /// Too few voters for a quorum were heard from lately. These were not.
    VotersSilent(Vec<NodeId>),
    /// The leader was not heard from lately.
    LeaderSilent(NodeId),
    /// The disk's reserve is used up, so no command is accepted.
    DiskFull,
    /// A write of this node's log has been under way for far longer than writes usually take. Entries that this node
    /// leads or acknowledges wait for it.
    DiskStalled,
    /// The leader is told that this node's disk does not accept writes, though the node answers: it counts for no
    /// quorum until its disk does. Only the leader knows.
    PeerDisk {
        /// The node.
        node: NodeId,
        /// The state of its disk.
        disk: DiskState,
    },
    /// The state machine is being restored from the snapshot that covers this index.
    Restoring(LogIndex),
    /// Committed entries are being read from disk before they can be applied.
    Loading(LogIndex),
    /// Committed entries could not be read from disk. The replica retries.
    LoadFailed(LogIndex),
    /// A snapshot could not be made, sent or received. The replica retries. The service continues, and the log grows
    /// meanwhile.
    SnapshotFailed {
        /// The index that it covers.
        index: LogIndex,
        /// The reason.
        reason: String,
    },
    /// This node's wall clock differs from log time by more than the bound. The service continues, and log time does
    /// not follow the wall clock.
    ClockDiffers {
        /// Milliseconds by which the wall clock is ahead; negative if it is behind.
        wall_ahead_ms: i64,
    },
}

/// The state of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryState {
    /// The state machine has applied it.
    Applied,
    /// It is committed and waits to be applied. [`Replica::explain`](super::Replica::explain) lists the obstacles.
    Committed,
    /// This node's log ends before this index.
    NotReached,
    /// This node's own write is not durable yet.
    WaitsForOwnDisk,
    /// A quorum does not have it yet. These voters do not have it.
    WaitsForPeers(Vec<NodeId>),
    /// The leader decides whether it is committed, and notifies this node.
    WaitsForLeader(NodeId),
    /// There is no leader that could commit it; see [`Replica::explain`](super::Replica::explain).
    NoLeader,
}
