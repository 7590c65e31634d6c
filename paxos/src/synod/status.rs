//! The status of a node.

use std::collections::BTreeMap;

use quorate_protocol::{HaltReason, NodeId};

use super::attempt::Attempt;
use super::{Proposal, Synod};
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

impl Status {
    pub(super) fn of(core: &Synod) -> Self {
        let chassis = &core.base.chassis;
        Self {
            node: core.base.config.node(),
            promised: core.acceptor.promised(),
            accepted: core.acceptor.accepted_pair(),
            chosen: core.learner.chosen().cloned(),
            attempt: core.proposer.attempt().map(Attempt::status),
            unaware: core.learner.unaware().iter().copied().collect(),
            waiting: core.proposer.waiting() + core.reader.waiting(),
            is_counting: core.base.is_counting(),
            halted: chassis.halted().cloned(),
            ignored: chassis.ignored().map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}
