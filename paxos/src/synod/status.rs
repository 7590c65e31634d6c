//! The status of a node.

use std::collections::BTreeMap;

use quorate_protocol::{HaltReason, NodeId};

use super::state::Phase;
use super::{Config, Proposal, Synod};
use crate::Ballot;

/// State of a node for operators and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Id of this node.
    pub node: NodeId,
    /// The promised ballot: nothing below it is accepted any more.
    pub promised: Ballot,
    /// The proposal accepted last, with its ballot.
    pub accepted: Option<(Ballot, Proposal)>,
    /// The proposal that is known to be chosen, durable or not.
    pub chosen: Option<Proposal>,
    /// This node's own ballot under way.
    pub attempt: Option<AttemptStatus>,
    /// Learners that have not confirmed that they know the chosen proposal.
    pub unaware: Vec<NodeId>,
    /// Number of waiting commands.
    pub waiting: usize,
    /// True if this node promises, accepts and proposes. It always learns.
    pub is_counting: bool,
    /// Reason why the group stopped on this node; `None` if it runs.
    pub halted: Option<HaltReason>,
    /// Number of inputs that changed nothing, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// A ballot under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptStatus {
    /// The ballot.
    pub ballot: Ballot,
    /// The proposal that the acceptors are asked to accept; `None` until enough have promised.
    pub proposal: Option<Proposal>,
    /// Acceptors that have promised or accepted.
    pub answered: Vec<NodeId>,
    /// Acceptors that have promised a higher ballot.
    pub refused: Vec<NodeId>,
}

impl Synod {
    /// The write that was handed out and is not durable yet.
    #[cfg(feature = "testing")]
    pub fn write_in_flight(&self) -> Option<quorate_protocol::Ticket> {
        self.outbox.in_flight()
    }

    /// The start and the number of the current round of queries.
    #[cfg(feature = "testing")]
    pub fn question(&self) -> Option<(u64, u64)> {
        self.read_round.as_ref().map(|round| (self.config.seed(), round.number))
    }

    /// The configuration of this node.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The state of this node.
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
