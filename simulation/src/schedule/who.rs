//! The nodes that faults affect.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node, given by its id or by its role when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Who {
    /// The node with this id.
    Node(u64),
    /// The node in this role.
    Role(TargetRole),
}

/// Role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetRole {
    /// The leader; while there is none, the last one.
    Leader,
}

impl Who {
    /// The current leader.
    pub const LEADER: Self = Self::Role(TargetRole::Leader);
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "n{node}"),
            Self::Role(TargetRole::Leader) => f.write_str("the leader"),
        }
    }
}
