//! What a node says of itself.

use std::collections::BTreeMap;

use quorate_protocol::{HaltReason, NodeId};

use super::state::Phase;
use super::{Config, Proposal, Synod};
use crate::Ballot;

/// What a node knows and does, for operators and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Nothing below is accepted here any more.
    pub promised: Ballot,
    /// What was accepted last, and in which ballot.
    pub accepted: Option<(Ballot, Proposal)>,
    /// What is known to be chosen, durable or not.
    pub chosen: Option<Proposal>,
    /// The ballot of this node that is under way.
    pub attempt: Option<AttemptStatus>,
    /// Learners that have not confirmed that they know what is chosen.
    pub unaware: Vec<NodeId>,
    /// Commands that wait.
    pub waiting: usize,
    /// Whether this node promises, accepts and proposes; learning it always does.
    pub is_counting: bool,
    /// Why the group stopped here.
    pub halted: Option<HaltReason>,
    /// Inputs that changed nothing, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// A ballot under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptStatus {
    /// The ballot.
    pub ballot: Ballot,
    /// What the acceptors are asked to accept, once enough have promised.
    pub proposal: Option<Proposal>,
    /// Who has promised or accepted.
    pub answered: Vec<NodeId>,
    /// Who has promised a higher ballot.
    pub refused: Vec<NodeId>,
}

impl Synod {
    /// The write that was handed out and is not durable yet.
    #[cfg(feature = "testing")]
    pub fn write_in_flight(&self) -> Option<quorate_protocol::Ticket> {
        self.outbox.in_flight()
    }

    /// The start and the number of the question that is under way for reads.
    #[cfg(feature = "testing")]
    pub fn question(&self) -> Option<(u64, u64)> {
        self.read_round.as_ref().map(|round| (self.config.seed(), round.number))
    }

    /// What this node is set up with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What this node knows and does.
    pub fn status(&self) -> Status {
        let attempt = self.attempt.as_ref().map(|attempt| AttemptStatus {
            ballot: attempt.ballot,
            proposal: match &attempt.phase {
                Phase::Prepare { .. } => None,
                Phase::Accept { proposal } => Some(proposal.clone()),
            },
            answered: attempt.answered.iter().copied().collect(),
            refused: attempt.refused.iter().copied().collect(),
        });
        Status {
            node: self.config.node(),
            promised: self.state.promised,
            accepted: self.accepted.as_ref().map(|accepted| (accepted.ballot, accepted.proposal.clone())),
            chosen: self.chosen.clone(),
            attempt,
            unaware: self.unaware.iter().copied().collect(),
            waiting: self.proposals.len() + self.reads.len(),
            is_counting: self.is_counting(),
            halted: self.halted.clone(),
            ignored: self.ignored.iter().map(|(reason, count)| (reason.name(), *count)).collect(),
        }
    }
}
