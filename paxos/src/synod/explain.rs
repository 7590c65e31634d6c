//! Reasons why no value is decided, for operators.

use std::collections::BTreeSet;

use quorate_protocol::{HaltReason, NodeId, Standing, StorageLevel};

use super::Synod;

/// An obstacle to a node's part in the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
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

impl Synod {
    /// The obstacles to this node's part in the decision, the most important first. Without obstacles, it proposes and
    /// answers, or knows the chosen value.
    pub fn explain(&self) -> Vec<Obstacle> {
        if let Some(reason) = &self.halted {
            return vec![Obstacle::Halted(reason.clone())];
        }
        let mut obstacles = Vec::new();
        match self.standings.get(&self.config.node()) {
            Some(Standing::Stranger) => obstacles.push(Obstacle::Stranger),
            None if !self.is_chosen_durable() => obstacles.push(Obstacle::NotIntroduced { missing: self.missing() }),
            Some(Standing::Member) | None => {}
        }
        if !self.foreign.is_empty() {
            obstacles.push(Obstacle::OtherSystem(self.foreign.iter().copied().collect()));
        }
        if self.is_chosen_durable() {
            return obstacles;
        }
        if self.is_exhausted() {
            obstacles.push(Obstacle::BallotsExhausted);
        }
        if self.storage == StorageLevel::Low {
            obstacles.push(Obstacle::DiskFull);
        }
        if self.rewrite_at.is_some() {
            obstacles.push(Obstacle::LogRefuses);
        }
        let silent = self.silent();
        if !silent.is_empty() {
            obstacles.push(Obstacle::AcceptorsSilent(silent));
        }
        obstacles
    }

    /// Nodes of the group that this node has not met under a known incarnation.
    fn missing(&self) -> Vec<NodeId> {
        let is_missing = |node: &NodeId| *node != self.config.node() && self.standing(*node) == Standing::Stranger;
        let missing: BTreeSet<NodeId> = self.config.group().members().filter(is_missing).collect();
        missing.into_iter().collect()
    }

    /// Acceptors that did not answer a ballot or a read although they were asked more than once.
    fn silent(&self) -> Vec<NodeId> {
        let node = self.config.node();
        let acceptors = self.config.group().quorums().acceptors().iter().copied();
        let others = acceptors.filter(|other| *other != node);
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.retries > 1) {
            let has_said = |other: &NodeId| attempt.answered.contains(other) || attempt.refused.contains(other);
            return others.filter(|other| !has_said(other)).collect();
        }
        match self.read_round.as_ref().filter(|round| round.retries > 1) {
            Some(round) => others.filter(|other| !round.answered.contains_key(other)).collect(),
            None => Vec::new(),
        }
    }
}
