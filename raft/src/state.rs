//! The state of a node: the part that must survive a crash, and its role.

use std::collections::BTreeMap;

use quorate_protocol::{Instant, LogIndex, NodeId, Role, SnapshotMeta, Term, Ticket, VotingBar};

use crate::leader::Leader;
use crate::message::ClockReading;

/// State that must survive a crash beside the log (Raft figure 2, "persistent state"). Each record is safe to adopt
/// alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// The latest term seen. Never goes back.
    pub(crate) term: Term,
    /// The node that got this node's vote in `term`. Never changes within a term.
    pub(crate) voted_for: Option<NodeId>,
    /// Number of starts in which this node has asked a leader for a read index. It makes the numbers of its questions
    /// unique.
    pub(crate) starts: u32,
    /// The checksum of the group's first configuration. Each founder writes entry 1 itself, so the entry is compared. A
    /// joining node does not know it until it learns it from a leader. Never changes once it is known.
    pub(crate) founding: Option<u32>,
}

/// The present role of a node.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower(Follower),
    /// Asks whether it would be elected.
    PreCandidate(Ballot),
    /// Requests votes.
    Candidate(Ballot),
    /// Leads the group.
    Leader(Box<Leader>),
}

impl RoleState {
    pub(crate) fn name(&self) -> Role {
        match self {
            Self::Follower(_) => Role::Follower,
            Self::PreCandidate(_) => Role::PreCandidate,
            Self::Candidate(_) => Role::Candidate,
            Self::Leader(_) => Role::Leader,
        }
    }
}

/// State of a follower towards its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// True while the leader waits for an acknowledgement of entries that it sent.
    pub(crate) owes_acknowledgement: bool,
    /// The last acknowledged index.
    pub(crate) acknowledged: LogIndex,
    /// The time of the last message from the leader itself, if the group is quiet. See `quiet.rs`.
    pub(crate) quiet_since: Option<Instant>,
}

/// Votes that a (pre-)candidate has received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ballot {
    /// The answer of each voter. A candidate's own vote counts once it is durable.
    pub(crate) votes: BTreeMap<NodeId, bool>,
    /// The clocks of those who granted the vote.
    pub(crate) clocks: BTreeMap<NodeId, ClockReading>,
    /// The write that makes the candidate's own vote durable.
    pub(crate) own_vote: Ticket,
}

/// A snapshot that is being received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiving {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) founding: Option<u32>,
}

/// State that the application was last notified of, so that it gets changes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The index that is committed and durable on this node. Never goes back.
    pub(crate) committed: LogIndex,
    /// The same index just before the log last started again after a snapshot.
    pub(crate) before_reset: LogIndex,
    pub(crate) role: (Role, Term, Option<NodeId>),
    pub(crate) barred: Option<VotingBar>,
}
