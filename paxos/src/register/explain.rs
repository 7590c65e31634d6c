//! Reasons why commands have no outcome, for operators.

use std::collections::BTreeSet;

use quorate_protocol::{HaltReason, NodeId, Standing, StorageLevel};

use super::Register;
use super::base::Base;

/// An obstacle to a node's work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterObstacle {
    /// The group has stopped on this node.
    Halted(HaltReason),
    /// This node has not been introduced to every node of the group, so it does not promise, accept or propose. It must
    /// meet every node once in the lifetime of its data directory; the others need not run afterwards.
    NotIntroduced {
        /// The nodes that it has not met. If empty, the others have not confirmed yet that they know this node.
        missing: Vec<NodeId>,
    },
    /// A peer knows another disk under this node's id: this node never promises, accepts or proposes.
    Stranger,
    /// These nodes were founded with other roles. Each side ignores the other's messages.
    OtherSystem(Vec<NodeId>),
    /// This node knows of a ballot of the last round, so it can begin no further ballot.
    BallotsExhausted,
    /// The disk's reserve is used up: changes are refused.
    DiskFull,
    /// The log had no room for a write, which is tried again.
    LogRefuses,
    /// This number of values could not be read from the log: this acceptor does not answer for their registers.
    Unreadable(u64),
    /// These acceptors were asked more than once by a ballot or query under way, and have not answered.
    AcceptorsSilent(Vec<NodeId>),
    /// A change of the roles is under way.
    RolesChange {
        /// Number of the joint roles.
        epoch: u64,
        /// The acceptors that have not listed their registers for this node although they were asked more than once.
        silent: Vec<NodeId>,
    },
    /// Deleted registers cannot be removed: their traces stay until all nodes run.
    RemovalWaits {
        /// Number of the deleted registers.
        tombstones: usize,
        /// The nodes that have not answered. If empty, some acceptor does not take tombstones.
        silent: Vec<NodeId>,
    },
}

impl RegisterObstacle {
    /// The obstacles of a node, the most important first.
    pub(super) fn all_of(core: &Register) -> Vec<Self> {
        let (base, chassis) = (&core.base, &core.base.chassis);
        if let Some(reason) = chassis.halted() {
            return vec![Self::Halted(reason.clone())];
        }
        let mut obstacles = Vec::new();
        match chassis.standings().get(&base.node()) {
            Some(Standing::Stranger) => obstacles.push(Self::Stranger),
            None => obstacles.push(Self::NotIntroduced { missing: missing(base) }),
            Some(Standing::Member) => {}
        }
        if !base.foreign().is_empty() {
            obstacles.push(Self::OtherSystem(base.foreign().iter().copied().collect()));
        }
        if base.is_exhausted() {
            obstacles.push(Self::BallotsExhausted);
        }
        if chassis.storage() == StorageLevel::Low {
            obstacles.push(Self::DiskFull);
        }
        if chassis.rewrite_at().is_some() {
            obstacles.push(Self::LogRefuses);
        }
        if core.acceptor.unreadable() > 0 {
            obstacles.push(Self::Unreadable(core.acceptor.unreadable()));
        }
        let silent = silent(core);
        if !silent.is_empty() {
            obstacles.push(Self::AcceptorsSilent(silent));
        }
        if base.in_force().is_joint() {
            let (epoch, silent) = (base.in_force().epoch(), core.changer.silent(base));
            obstacles.push(Self::RolesChange { epoch, silent });
        }
        let silent = core.remover.silent(base);
        if !silent.is_empty() || core.remover.is_vain() {
            let tombstones = core.acceptor.table.tombstones().len();
            obstacles.push(Self::RemovalWaits { tombstones, silent });
        }
        obstacles
    }
}

/// Nodes of the group that this node has not met under a known incarnation.
fn missing(base: &Base) -> Vec<NodeId> {
    let is_missing = |node: &NodeId| *node != base.node() && !base.chassis.is_member(*node);
    base.in_force().members().into_iter().filter(is_missing).collect()
}

/// Acceptors that did not answer a ballot or a read although they were asked more than once.
fn silent(core: &Register) -> Vec<NodeId> {
    let mut silent = BTreeSet::new();
    for node in core.base.acceptors() {
        let is_silent = core.proposer.works().any(|(_, work)| {
            work.attempt.as_ref().is_some_and(|attempt| attempt.is_silent(node))
                || work.round.as_ref().is_some_and(|round| round.is_silent(node))
        });
        if is_silent {
            silent.insert(node);
        }
    }
    silent.into_iter().collect()
}
