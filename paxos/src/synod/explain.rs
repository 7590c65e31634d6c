//! Why nothing is decided: the questions operators ask when a decision stands still.

use std::collections::BTreeSet;

use quorate_protocol::{HaltReason, NodeId, Standing, StorageLevel};

use super::Synod;

/// What stands between a node and its part in the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// This node has not yet met every node of the group, so it neither promises, accepts nor proposes. Every node must be met once in the life of a
    /// data directory; none of them need run afterwards.
    NotIntroduced {
        /// Whom it has not met. Nobody: they have not yet said that they know this node.
        missing: Vec<NodeId>,
    },
    /// A peer knows another disk under this node's id: this node learns what is chosen and never votes on it.
    Stranger,
    /// These nodes were founded with another quorum system: neither side takes anything from the other.
    OtherSystem(Vec<NodeId>),
    /// This node has heard of a ballot of the last round: it can begin none any more.
    BallotsExhausted,
    /// The disk's reserve is used up: no proposal is taken.
    DiskFull,
    /// The log had no room for a write: it is tried again.
    LogRefuses,
    /// These acceptors were asked more than once by the ballot under way, and have not answered.
    AcceptorsSilent(Vec<NodeId>),
}

impl Synod {
    /// What stands between this node and its part in the decision, most weighty first. Nothing: it proposes and answers, or knows what is chosen.
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

    /// Nodes of the group that this one has not met under an incarnation that it knows.
    fn missing(&self) -> Vec<NodeId> {
        let is_missing = |node: &NodeId| *node != self.config.node() && self.standing(*node) == Standing::Stranger;
        let missing: BTreeSet<NodeId> = self.config.group().members().filter(is_missing).collect();
        missing.into_iter().collect()
    }

    /// Acceptors that a ballot or a read has asked more than once in vain.
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
