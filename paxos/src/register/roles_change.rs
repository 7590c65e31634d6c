//! Changes of the roles: what an application asks for, and what it learns.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::NodeId;

use super::{CommandRefusal, Roles, RolesInForce};
use crate::QuorumSystem;

/// A change of the roles of a group. All but the first need a group whose quorums are majorities of its acceptors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RolesChange {
    /// These roles instead of the present ones, whatever they are. Old and new quorums need not intersect.
    To(Roles),
    /// One more acceptor, which is also a proposer.
    Add(AddedNode),
    /// The node loses its roles.
    Remove(NodeId),
    /// The node `new` gets the roles, and `old` loses them.
    Replace {
        /// The node that leaves.
        old: NodeId,
        /// The node that takes its place.
        new: AddedNode,
    },
}

/// A node that gets a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddedNode {
    /// Its id.
    pub node: NodeId,
    /// How the others reach it, as the server understands it: with the server of `quorate-runtime` its address. Empty
    /// if they know. At most 255 bytes.
    pub context: Bytes,
}

impl From<NodeId> for AddedNode {
    fn from(node: NodeId) -> Self {
        Self { node, context: Bytes::new() }
    }
}

/// Outcome of a [`RolesChange`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RolesOutcome {
    /// These roles are in force, alone.
    Done {
        /// Their number.
        epoch: u64,
    },
    /// The change has begun and was not done in time. It goes on, and any proposer finishes it:
    /// [`Status::epoch`](super::Status::epoch) tells.
    UnderWay {
        /// Number of the joint roles with which it began.
        epoch: u64,
    },
    /// Nothing has changed, and nothing will by this command.
    NotTried(RolesRefusal),
    /// It did not become known in time whether the change has begun. It may, now or later.
    Unknown,
}

/// Reason why roles were not changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RolesRefusal {
    /// Another change is under way.
    UnderWay,
    /// Another change came first.
    Overtaken,
    /// There would be no proposer, or more than [`PROPOSERS_MAX`](super::PROPOSERS_MAX).
    Proposers,
    /// The roles, with those of the founding, would not fit the state record.
    TooLarge,
    /// The node has these roles already.
    AlreadyMember(NodeId),
    /// The node has no role.
    NotMember(NodeId),
    /// The quorums are other than majorities: the new ones must be named ([`RolesChange::To`]).
    NotMajority,
    /// There would be no acceptor, or too many.
    Acceptors,
    /// These nodes did not answer, or were not introduced to the group, so that the change might never end. If there
    /// are none, those that answered are no quorum.
    NotReady(Vec<NodeId>),
    /// The node does not carry out commands, for this reason.
    Refused(CommandRefusal),
}

impl RolesChange {
    /// The roles after the change of these.
    ///
    /// # Errors
    /// When the change does not fit the roles. The refusal names the node.
    pub(crate) fn apply(&self, present: &RolesInForce) -> Result<Roles, RolesRefusal> {
        let roles = present.roles();
        let mut members =
            Members { acceptors: roles.quorums().acceptors().clone(), proposers: roles.proposers().clone() };
        match self {
            Self::To(roles) => return Ok(roles.clone()),
            Self::Add(added) => members.add(added.node)?,
            Self::Remove(node) => members.remove(*node)?,
            Self::Replace { old, new } => {
                members.remove(*old)?;
                members.add(new.node)?;
            }
        }
        if *roles.quorums() != majority(roles.quorums().acceptors())? {
            return Err(RolesRefusal::NotMajority);
        }
        Ok(Roles::of(majority(&members.acceptors)?).with_proposers(members.proposers))
    }

    /// The node that is added.
    pub(crate) fn added(&self) -> Option<&AddedNode> {
        match self {
            Self::Add(added) | Self::Replace { new: added, .. } => Some(added),
            Self::To(_) | Self::Remove(_) => None,
        }
    }
}

struct Members {
    acceptors: BTreeSet<NodeId>,
    proposers: BTreeSet<NodeId>,
}

impl Members {
    fn add(&mut self, node: NodeId) -> Result<(), RolesRefusal> {
        self.proposers.insert(node);
        if self.acceptors.insert(node) { Ok(()) } else { Err(RolesRefusal::AlreadyMember(node)) }
    }

    fn remove(&mut self, node: NodeId) -> Result<(), RolesRefusal> {
        let is_member = self.acceptors.remove(&node) | self.proposers.remove(&node);
        if is_member { Ok(()) } else { Err(RolesRefusal::NotMember(node)) }
    }
}

fn majority(acceptors: &BTreeSet<NodeId>) -> Result<QuorumSystem, RolesRefusal> {
    QuorumSystem::majority(acceptors.iter().copied()).map_err(|_| RolesRefusal::Acceptors)
}
