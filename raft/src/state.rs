//! What a node knows: what must survive a crash, and its role.

use std::collections::BTreeMap;

use quorate_protocol::{Instant, LogIndex, NodeId, Role, SnapshotMeta, Term, Ticket, VotingBar};

use crate::leader::Leader;
use crate::message::ClockReading;

/// What must survive a crash beside the log (Raft figure 2, "persistent state"). Safe to adopt alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DurableState {
    /// The latest term seen. Never goes back.
    pub(crate) term: Term,
    /// Who got this node's vote in `term`. Never changes within a term.
    pub(crate) voted_for: Option<NodeId>,
    /// How often this node has started and asked a leader for a read index since: names its questions.
    pub(crate) starts: u32,
    /// The checksum of the group's first configuration: entry 1 is written by each founder itself, and so compared.
    /// Unknown to who joins, until a leader says it. Never changes once it is known.
    pub(crate) founding: Option<u32>,
}

/// What a node does at present.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Follows, or waits.
    Follower(Follower),
    /// Asks whether it would be elected.
    PreCandidate(Ballot),
    /// Asks to be elected.
    Candidate(Ballot),
    /// Leads.
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

/// What a follower owes its leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Whether the leader waits to hear how much of what it sent is durable.
    pub(crate) owes_acknowledgement: bool,
    /// What it was told last.
    pub(crate) acknowledged: LogIndex,
    /// Since when the group is quiet: the last word from the leader itself. See `quiet.rs`.
    pub(crate) quiet_since: Option<Instant>,
}

/// Votes that a (pre-)candidate has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ballot {
    /// Each voter's answer; a candidate's own counts once it is durable.
    pub(crate) votes: BTreeMap<NodeId, bool>,
    /// What time it is at those who said yes.
    pub(crate) clocks: BTreeMap<NodeId, ClockReading>,
    /// The write that makes the candidate's own vote durable.
    pub(crate) own_vote: Ticket,
}

/// A snapshot that is on its way here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiving {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) term: Term,
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) founding: Option<u32>,
}

/// What the application was told last, so that it is told changes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Committed and durable here. Never goes back.
    pub(crate) committed: LogIndex,
    /// The same just before the log last started anew behind a snapshot.
    pub(crate) before_reset: LogIndex,
    pub(crate) role: (Role, Term, Option<NodeId>),
    pub(crate) barred: Option<VotingBar>,
}
