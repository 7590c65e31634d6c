//! Partitions and the links that they cut.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FaultKind, Who};

/// A one-way link: from the first node to the second.
pub type Link = (u64, u64);

/// A partition by its shape. In partial ones only some nodes can communicate (Alfatafta et al., "Toward a Generic Fault
/// Tolerance Technique for Partial Network Partitioning", OSDI 2020; Omni-Paxos, EuroSys 2023, section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Partition {
    /// One node is cut off.
    Isolate {
        /// The node.
        node: Who,
    },
    /// Two sides that are cut off from each other.
    Halves {
        /// The nodes of one side.
        side: Vec<u64>,
    },
    /// One node receives nothing, but all others receive its messages.
    Deaf {
        /// The node.
        node: Who,
    },
    /// One node receives everything, but no other receives its messages.
    Mute {
        /// The node.
        node: Who,
    },
    /// Two sides that are cut off from each other, and a node that belongs to both.
    Bridge {
        /// The node between them.
        node: Who,
        /// The nodes of one side.
        side: Vec<u64>,
    },
    /// Each node communicates with the hub only, and the hub with all.
    Star {
        /// The hub.
        hub: Who,
    },
    /// Each node communicates with the one before it and the one after it.
    Chain {
        /// The nodes in a row.
        order: Vec<u64>,
    },
    /// Like a chain whose ends are connected.
    Ring {
        /// The nodes in a row.
        order: Vec<u64>,
    },
    /// Some nodes communicate with one other node only; all others communicate with each other.
    Leaves {
        /// Each leaf, and the node that it communicates with.
        leaves: Vec<(u64, u64)>,
    },
    /// These links only.
    Links {
        /// The links that are cut.
        links: Vec<Link>,
    },
}

impl Partition {
    /// The links that it cuts among nodes 1 to `nodes`, where `node` is the node that it concerns.
    #[must_use]
    pub fn links(&self, nodes: u64, node: u64) -> Vec<Link> {
        let place = |order: &[u64], node: u64| order.iter().position(|other| *other == node);
        let are_neighbours = |order: &[u64], (from, to): Link, is_ring: bool| {
            let (Some(from), Some(to)) = (place(order, from), place(order, to)) else { return false };
            from.abs_diff(to) == 1 || (is_ring && from.abs_diff(to) + 1 == order.len())
        };
        let is_leaf_cut = |leaves: &[(u64, u64)], from: u64, to: u64| {
            leaves.iter().any(|(leaf, hub)| (from == *leaf && to != *hub) || (to == *leaf && from != *hub))
        };
        let is_cut = |(from, to): &Link| match self {
            Self::Isolate { .. } => *from == node || *to == node,
            Self::Halves { side } => side.contains(from) != side.contains(to),
            Self::Deaf { .. } => *to == node,
            Self::Mute { .. } => *from == node,
            Self::Bridge { side, .. } => *from != node && *to != node && side.contains(from) != side.contains(to),
            Self::Star { .. } => *from != node && *to != node,
            Self::Chain { order } => !are_neighbours(order, (*from, *to), false),
            Self::Ring { order } => !are_neighbours(order, (*from, *to), true),
            Self::Leaves { leaves } => is_leaf_cut(leaves, *from, *to),
            Self::Links { links } => links.contains(&(*from, *to)),
        };
        let pairs = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).filter(is_cut).collect()
    }

    /// Its kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Isolate { .. } => FaultKind::Isolate,
            Self::Halves { .. } => FaultKind::Halves,
            Self::Deaf { .. } | Self::Mute { .. } | Self::Links { .. } => FaultKind::OneWay,
            Self::Bridge { .. } => FaultKind::Bridge,
            Self::Star { .. } => FaultKind::Star,
            Self::Chain { .. } => FaultKind::Chain,
            Self::Ring { .. } => FaultKind::Ring,
            Self::Leaves { .. } => FaultKind::Leaves,
        }
    }

    /// The node that it concerns, if there is one.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        match self {
            Self::Isolate { node } | Self::Deaf { node } | Self::Mute { node } | Self::Bridge { node, .. } => {
                Some(*node)
            }
            Self::Star { hub } => Some(*hub),
            _ => None,
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate { node } => write!(f, "cut {node} off"),
            Self::Halves { side } => write!(f, "cut {side:?} off from the rest"),
            Self::Deaf { node } => write!(f, "{node} hears nobody"),
            Self::Mute { node } => write!(f, "nobody hears {node}"),
            Self::Bridge { node, side } => write!(f, "{node} bridges {side:?} and the rest"),
            Self::Star { hub } => write!(f, "star around {hub}"),
            Self::Chain { order } => write!(f, "chain {order:?}"),
            Self::Ring { order } => write!(f, "ring {order:?}"),
            Self::Leaves { leaves } => write!(f, "leaves on their hubs {leaves:?}"),
            Self::Links { links } => write!(f, "cut {links:?}"),
        }
    }
}
