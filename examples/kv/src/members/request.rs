//! A request for a change of members, and its answer, as they are sent to a node's http port.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Incarnation, Member, MemberChange, NodeId, RefuseReason};
use quorate_runtime::{NotApplied, Outcome};
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::credentials::Credentials;
use crate::status::{StatusError, request};

/// A change of the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRequest {
    /// Adds a learner that becomes a voter, unless `learner` is set.
    Add {
        /// The node.
        node: NewNode,
        /// It stays a learner.
        learner: bool,
    },
    /// Makes a learner a voter once it has caught up.
    Promote(u64),
    /// Makes a voter a learner.
    Demote(u64),
    /// Removes a member.
    Remove(u64),
    /// Replaces a member by another node, or by another disk under its id.
    Replace {
        /// The member that leaves.
        old: u64,
        /// The node that takes its place.
        new: NewNode,
    },
}

/// A node that becomes a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewNode {
    /// Its id.
    pub id: u64,
    /// Its address for other nodes.
    pub address: String,
    /// Its disk, in hexadecimal.
    pub incarnation: String,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberAnswer {
    /// The change is complete. A learner may still wait for its promotion.
    Applied,
    /// The node does not lead. Nothing was changed.
    NotLeader,
    /// The change cannot be made at this moment. Nothing was changed.
    NotNow {
        /// The reason.
        reason: String,
    },
    /// The change cannot be made. Nothing was changed.
    Refused {
        /// The reason.
        reason: String,
    },
    /// The change may have been made, or may still be made.
    Unknown {
        /// The reason.
        reason: String,
    },
}

impl MemberRequest {
    /// The change that is asked for.
    ///
    /// # Errors
    /// When the request is malformed.
    pub fn into_change(self) -> Result<MemberChange, String> {
        Ok(match self {
            Self::Add { node, learner } => MemberChange::Add(node.into_member(learner)?),
            Self::Promote(node) => MemberChange::Promote(NodeId(node)),
            Self::Demote(node) => MemberChange::Demote(NodeId(node)),
            Self::Remove(node) => MemberChange::Remove(NodeId(node)),
            Self::Replace { old, new } => MemberChange::Replace { old: NodeId(old), new: new.into_member(false)? },
        })
    }
}

impl NewNode {
    fn into_member(self, learner: bool) -> Result<Member, String> {
        let incarnation = u128::from_str_radix(&self.incarnation, 16);
        let incarnation = incarnation.map_err(|_| format!("{:?} is not the number of a disk", self.incarnation))?;
        let node = NodeId(self.id);
        let member = if learner { Member::learner(node) } else { Member::voter(node) };
        Ok(Member { context: Bytes::from(self.address), incarnation: Some(Incarnation(incarnation)), ..member })
    }
}

impl MemberAnswer {
    /// The answer that tells of an outcome.
    pub fn of(outcome: Outcome) -> Self {
        let reason = match outcome {
            Outcome::Applied(_) => return Self::Applied,
            Outcome::Unknown { reason, .. } => return Self::Unknown { reason: reason.to_string() },
            Outcome::NotApplied(reason) => reason,
        };
        let text = reason.to_string();
        match reason {
            NotApplied::Refused { reason: RefuseReason::NotLeader, .. } => Self::NotLeader,
            NotApplied::Refused {
                reason: RefuseReason::ConfigurationPending | RefuseReason::Transferring | RefuseReason::Overloaded,
                ..
            }
            | NotApplied::Superseded
            | NotApplied::Overloaded
            | NotApplied::ShuttingDown => Self::NotNow { reason: text },
            NotApplied::Refused { reason: RefuseReason::QuorumSilent, .. } => {
                Self::NotNow { reason: SILENT.to_owned() }
            }
            NotApplied::Refused { reason: RefuseReason::ConfigurationInvalid(error), .. } => {
                Self::Refused { reason: error.to_string() }
            }
            _ => Self::Refused { reason: text },
        }
    }
}

const SILENT: &str = "too few of the voters that there would be were heard from lately";

/// Sends a request to a node. Waits longer than the node needs for any answer.
///
/// # Errors
/// When no answer came. The change may have been made, or may still be made.
pub fn send(credentials: &Credentials, http: &Address, change: &MemberRequest) -> Result<MemberAnswer, StatusError> {
    let body = serde_json::to_string(change).map_err(|_| StatusError::Foreign)?;
    request(credentials, http, "POST /members", &body, PATIENCE)
}

const PATIENCE: Duration = Duration::from_secs(10);
