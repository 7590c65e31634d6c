//! What tests ask of clusters of registers, of their nodes and of their disks.

use bytes::Bytes;
use quorate_protocol::testing::Stream;
use quorate_protocol::{Input, NodeId, ProposalId, ReadId};

use super::{Cluster, Node};
use crate::Ballot;
use crate::register::codec::{decode_accepted, decode_promise, decode_state};
use crate::register::state::State;
use crate::register::{
    Change, ChangeOutcome, Command, Event, Expected, ReadOutcome, ResolveOutcome, RolesChange, RolesInForce,
    RolesOutcome, Trace, Version,
};

/// Commands of applications.
pub trait Calls {
    /// Changes a register on a node, under a new id.
    fn change(&mut self, node: u64, key: &[u8], change: Change) -> ProposalId;
    /// Changes a register on a node under an id that may have been used before.
    fn change_again(&mut self, node: u64, key: &[u8], id: ProposalId, change: Change);
    /// Reads a register on a node.
    fn read(&mut self, node: u64, key: &[u8]) -> ReadId;
    /// Asks a node what became of a change.
    fn resolve(&mut self, node: u64, key: &[u8], trace: Trace) -> ReadId;

    /// Asks a node to change the roles.
    fn change_roles(&mut self, node: u64, change: RolesChange) -> ReadId;

    /// Writes a value.
    fn set(&mut self, node: u64, key: &[u8], value: &[u8]) -> ProposalId {
        self.change(node, key, Change::Set(Bytes::copy_from_slice(value)))
    }

    /// Deletes a register.
    fn delete(&mut self, node: u64, key: &[u8]) -> ProposalId {
        self.change(node, key, Change::Delete)
    }

    /// Writes a value if the register has a version.
    fn compare_and_set(&mut self, node: u64, key: &[u8], expected: Version, value: &[u8]) -> ProposalId {
        let value = Some(Bytes::copy_from_slice(value));
        self.change(node, key, Change::CompareAndSet { expected: Expected::Version(expected), value })
    }
}

impl Calls for Cluster {
    fn change(&mut self, node: u64, key: &[u8], change: Change) -> ProposalId {
        let id = ProposalId { sequence: self.next_id(), ..ProposalId::default() };
        self.change_again(node, key, id, change);
        id
    }

    fn change_again(&mut self, node: u64, key: &[u8], id: ProposalId, change: Change) {
        let key = Bytes::copy_from_slice(key);
        self.input(NodeId(node), Input::Command(Command::Change { key, id, change }));
    }

    fn read(&mut self, node: u64, key: &[u8]) -> ReadId {
        let id = ReadId(self.next_id());
        let key = Bytes::copy_from_slice(key);
        self.input(NodeId(node), Input::Command(Command::Read { key, id }));
        id
    }

    fn resolve(&mut self, node: u64, key: &[u8], trace: Trace) -> ReadId {
        let id = ReadId(self.next_id());
        let key = Bytes::copy_from_slice(key);
        self.input(NodeId(node), Input::Command(Command::Resolve { key, id, trace }));
        id
    }

    fn change_roles(&mut self, node: u64, change: RolesChange) -> ReadId {
        let id = ReadId(self.next_id());
        self.input(NodeId(node), Input::Command(Command::ChangeRoles { id, change }));
        id
    }
}

/// Answers that the application of a node got.
pub trait Answers {
    /// The last outcome of a change.
    fn changed(&self, change: ProposalId) -> Option<&ChangeOutcome>;
    /// The answer to a read.
    fn read(&self, read: ReadId) -> Option<&ReadOutcome>;
    /// The answer to the question what became of a change.
    fn resolved(&self, question: ReadId) -> Option<&ResolveOutcome>;
    /// The outcome of a change of the roles.
    fn roles_changed(&self, change: ReadId) -> Option<&RolesOutcome>;
}

impl Answers for Node {
    fn changed(&self, change: ProposalId) -> Option<&ChangeOutcome> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Changed { id, outcome } if *id == change => Some(outcome),
            _ => None,
        })
    }

    fn read(&self, read: ReadId) -> Option<&ReadOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::Read { id, outcome } if *id == read => Some(outcome),
            _ => None,
        })
    }

    fn resolved(&self, question: ReadId) -> Option<&ResolveOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::Resolved { id, outcome } if *id == question => Some(outcome),
            _ => None,
        })
    }

    fn roles_changed(&self, change: ReadId) -> Option<&RolesOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::RolesChanged { id, outcome } if *id == change => Some(outcome),
            _ => None,
        })
    }
}

/// The state record of a node as tests see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// The node's ballots have rounds up to here.
    pub reserved: u64,
    /// The proposer's age.
    pub age: u64,
    /// The highest round in which a removed register had been deleted.
    pub removed: u64,
}

/// Records that are durable.
pub trait Records {
    /// The state record.
    fn node_state(&self) -> NodeState;
    /// The roles in force.
    fn roles(&self) -> Option<RolesInForce>;
    /// The promised ballot of a register, and the accepted one.
    fn register(&self, key: &[u8]) -> Option<(Ballot, Ballot)>;
}

impl Records for Stream {
    fn node_state(&self) -> NodeState {
        let found = self.state.as_ref().and_then(|bytes| decode_state(bytes).ok());
        let State { reserved, age, removed, .. } = found.map(|found| found.state).unwrap_or_default();
        NodeState { reserved, age, removed }
    }

    fn roles(&self) -> Option<RolesInForce> {
        self.state.as_ref().and_then(|bytes| decode_state(bytes).ok()).map(|found| found.in_force)
    }

    fn register(&self, key: &[u8]) -> Option<(Ballot, Ballot)> {
        let (mut promised, mut accepted, mut is_there) = (Ballot::ZERO, Ballot::ZERO, false);
        for (journal_key, bytes) in self.newest() {
            if journal_key % 2 == 1 {
                let Some((_, ballot)) = decode_promise(bytes).ok().filter(|(of, _)| of == key) else { continue };
                promised = promised.max(ballot);
            } else {
                let Some(record) = decode_accepted(bytes).ok().filter(|record| record.key == key) else { continue };
                promised = promised.max(record.promised);
                accepted = record.accepted;
            }
            is_there = true;
        }
        is_there.then_some((promised, accepted))
    }
}
