//! Reasons why no value is decided, for operators.

use std::collections::BTreeSet;

use quorate_protocol::{HaltReason, NodeId, Standing, StorageLevel};

use super::Synod;
use super::base::Base;

/// An obstacle to a node's part in the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionObstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// This node has not been introduced to every node of the group, so it does not promise, accept or propose. It must
    /// meet every node once in the lifetime of its data directory; the others need not run afterwards.
    NotIntroduced {
        /// The nodes that it has not met. If empty, the others have not confirmed yet that they know this node.
        missing: Vec<NodeId>,
    },
    /// A peer knows another disk under this node's id: this node learns the chosen value and never votes.
    Stranger,
    /// These nodes were founded with another quorum system. Each side ignores the other's messages.
    OtherSystem(Vec<NodeId>),
    /// This node knows of a ballot of the last round, so it can begin no further ballot.
    BallotsExhausted,
    /// The disk's reserve is used up: proposals are refused.
    DiskFull,
    /// The log had no room for a write, which is tried again.
    LogRefuses,
    /// These acceptors were asked more than once by the current ballot, and have not answered.
    AcceptorsSilent(Vec<NodeId>),
}

impl DecisionObstacle {
    /// The obstacles of a node, the most important first.
    pub(super) fn all_of(core: &Synod) -> Vec<Self> {
        let (base, chassis) = (&core.base, &core.base.chassis);
        if let Some(reason) = chassis.halted() {
            return vec![Self::Halted(reason.clone())];
        }
        let is_decided = core.learner.durable(base).is_some();
        let mut obstacles = Vec::new();
        match chassis.standings().get(&base.config.node()) {
            Some(Standing::Stranger) => obstacles.push(Self::Stranger),
            None if !is_decided => obstacles.push(Self::NotIntroduced { missing: missing(base) }),
            Some(Standing::Member) | None => {}
        }
        if !base.foreign().is_empty() {
            obstacles.push(Self::OtherSystem(base.foreign().iter().copied().collect()));
        }
        if is_decided {
            return obstacles;
        }
        if core.acceptor.is_exhausted() {
            obstacles.push(Self::BallotsExhausted);
        }
        if chassis.storage() == StorageLevel::Low {
            obstacles.push(Self::DiskFull);
        }
        if chassis.rewrite_at().is_some() {
            obstacles.push(Self::LogRefuses);
        }
        let silent = silent(core);
        if !silent.is_empty() {
            obstacles.push(Self::AcceptorsSilent(silent));
        }
        obstacles
    }
}

/// Nodes of the group that this node has not met under a known incarnation.
fn missing(base: &Base) -> Vec<NodeId> {
    let is_missing = |node: &NodeId| *node != base.config.node() && !base.chassis.is_member(*node);
    let missing: BTreeSet<NodeId> = base.config.group().members().filter(is_missing).collect();
    missing.into_iter().collect()
}

/// Acceptors that did not answer a ballot or a read although they were asked more than once.
fn silent(core: &Synod) -> Vec<NodeId> {
    let is_silent = |other: &NodeId| match core.proposer.attempt().filter(|attempt| attempt.is_repeated()) {
        Some(attempt) => !attempt.has_said(*other),
        None => core.reader.is_silent(*other),
    };
    core.base.config.other_acceptors().filter(is_silent).collect()
}
