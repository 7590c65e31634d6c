//! The role of a node.

use crate::Role;
use crate::replication::candidate::VotesReceived;
use crate::replication::follower::Follower;
use crate::replication::leader::Leader;

/// The present role of a node, with the state that only this role has.
#[derive(Clone, Debug)]
pub(crate) enum RoleState {
    /// Follows a leader, or waits for one.
    Follower(Follower),
    /// Asks whether it would be elected.
    PreCandidate(VotesReceived),
    /// Requests votes.
    Candidate(VotesReceived),
    /// Leads the group.
    Leader(Box<Leader>),
}

impl RoleState {
    /// The role of a node that owes no leader anything.
    pub(crate) fn follower() -> Self {
        Self::Follower(Follower::default())
    }

    pub(crate) fn name(&self) -> Role {
        match self {
            Self::Follower(_) => Role::Follower,
            Self::PreCandidate(_) => Role::PreCandidate,
            Self::Candidate(_) => Role::Candidate,
            Self::Leader(_) => Role::Leader,
        }
    }
}
