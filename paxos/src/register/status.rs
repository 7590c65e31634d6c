//! The status of a node.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId};

use super::{Found, Register};
use crate::Ballot;

/// State of a node for operators and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Id of this node.
    pub node: NodeId,
    /// Number of registers that this acceptor knows, deleted ones included.
    pub registers: usize,
    /// Number of registers that are deleted here and not yet removed everywhere. It falls only while all nodes run.
    pub tombstones: usize,
    /// Bytes of the values in memory.
    pub cached_bytes: usize,
    /// Number of registers that this proposer can change in one round trip.
    pub promised: usize,
    /// Number of waiting commands.
    pub waiting: usize,
    /// Number of ballots under way.
    pub attempts: usize,
    /// This proposer's age: the number of times that it was asked to forget what was promised to it.
    pub age: u64,
    /// Number of the roles in force: see [`RolesInForce::epoch`](super::RolesInForce::epoch).
    pub epoch: u64,
    /// True while a change of the roles is under way.
    pub is_joint: bool,
    /// Number of registers that this node has moved to the new acceptors in the change under way.
    pub moved: u64,
    /// The nodes that the removal of deleted registers waits for.
    pub removal_waits_for: Vec<NodeId>,
    /// Number of values that could not be read from the log.
    pub unreadable: u64,
    /// True if this node promises, accepts and proposes.
    pub is_counting: bool,
    /// Reason why the group stopped on this node; `None` if it runs.
    pub halted: Option<HaltReason>,
    /// Number of inputs that changed nothing, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
}

/// State of one register on one acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterStatus {
    /// The highest ballot promised.
    pub promised: Ballot,
    /// The ballot of what was accepted last; zero if nothing was.
    pub accepted: Ballot,
    /// What was accepted, if it is in memory.
    pub found: Option<Found>,
    /// True if the newest state of the register survives a crash.
    pub is_durable: bool,
}

impl Status {
    pub(super) fn of(core: &Register) -> Self {
        let chassis = &core.base.chassis;
        Self {
            node: core.base.node(),
            registers: core.acceptor.table.len(),
            tombstones: core.acceptor.table.tombstones().len(),
            cached_bytes: core.acceptor.table.cached_bytes(),
            promised: core.proposer.continued(),
            waiting: core.proposer.waiting(),
            attempts: core.proposer.works().filter(|(_, work)| work.attempt.is_some()).count(),
            age: core.base.state().age,
            epoch: core.base.in_force().epoch(),
            is_joint: core.base.in_force().is_joint(),
            moved: core.changer.moved(),
            removal_waits_for: core.remover.silent(&core.base),
            unreadable: core.acceptor.unreadable(),
            is_counting: core.base.is_counting(),
            halted: chassis.halted().cloned(),
            ignored: chassis.ignored().map(|(reason, count)| (reason.name(), count)).collect(),
        }
    }
}

impl Register {
    /// The state of one register on this acceptor; `None` if it knows nothing of it.
    pub fn register(&self, key: &[u8]) -> Option<RegisterStatus> {
        let slot = self.acceptor.table.get(key)?;
        Some(RegisterStatus {
            promised: slot.promised,
            accepted: slot.accepted,
            found: slot.content.as_ref().map(|content| content.found()),
            is_durable: self.base.chassis.outbox.is_durable(slot.ticket),
        })
    }

    /// The keys that are deleted on this acceptor and not yet removed everywhere, at most `count_max`.
    pub fn tombstones(&self, count_max: usize) -> Vec<Bytes> {
        self.acceptor.table.tombstones().iter().take(count_max).map(|key| Bytes::copy_from_slice(key)).collect()
    }

    /// The ballot under way for a register.
    pub fn ballot(&self, key: &[u8]) -> Option<Ballot> {
        let (_, work) = self.proposer.works().find(|(of, _)| ***of == *key)?;
        work.attempt.as_ref().map(|attempt| attempt.ballot)
    }
}
