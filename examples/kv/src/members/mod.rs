//! The members of the group: what nodes say of them, requests for changes, and the commands of `kv member`.

use quorate_protocol::{Member, MemberRole};
use quorate_runtime::ReplicaStatus;
use serde::{Deserialize, Serialize};

mod command;
mod plan;
mod request;

pub use command::{MemberError, list, run};
pub use plan::MemberCommand;
pub use request::{MemberAnswer, MemberRequest, NewNode, send};

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The node's id.
    pub node: u64,
    /// `voter`, `learner` or `witness`.
    pub role: String,
    /// Its address for other nodes.
    pub address: String,
    /// The only disk that counts as this member, in hexadecimal, if the configuration names one.
    pub incarnation: Option<String>,
    /// It is a learner that becomes a voter once it has caught up.
    pub waits_for_promotion: bool,
    /// The member that leaves the group at that moment.
    pub replaces: Option<u64>,
}

impl MemberStatus {
    pub(super) fn new(member: &Member) -> Self {
        let role = match member.role {
            MemberRole::Learner => "learner",
            MemberRole::Witness => "witness",
            _ => "voter",
        };
        Self {
            node: member.node.0,
            role: role.to_owned(),
            address: String::from_utf8_lossy(&member.context).into_owned(),
            incarnation: member.incarnation.map(|incarnation| incarnation.to_string()),
            waits_for_promotion: member.promotion.is_some(),
            replaces: member.promotion.and_then(|promotion| promotion.replaces).map(|replaced| replaced.0),
        }
    }

    fn votes(&self) -> bool {
        self.role != "learner"
    }
}

/// The progress of a node, as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The node's id.
    pub node: u64,
    /// Its log is known to be equal to the leader's up to this entry.
    pub match_index: u64,
    /// The leader heard from it lately.
    pub is_active: bool,
    /// Bytes of the snapshot that it is being sent: those that have arrived, and all. All are 0 as long as that is not
    /// known.
    pub snapshot: Option<(u64, u64)>,
}

impl PeerStatus {
    pub(super) fn all(status: &ReplicaStatus) -> Vec<Self> {
        let peers = status.log.peers.iter().map(|peer| Self {
            node: peer.node.0,
            match_index: peer.match_index.0,
            is_active: peer.is_active,
            snapshot: status.sending.iter().find(|it| it.peer == peer.node).map(|it| (it.bytes, it.length)),
        });
        peers.collect()
    }
}

#[cfg(test)]
mod tests;
