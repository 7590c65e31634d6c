//! Replica sets across zones and racks, by the rules of Cassandra's `NetworkTopologyStrategy`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use crate::error::display;
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes};
use crate::placement::{Placement, REPLICAS_MAX, Replicas};

/// Places a given number of replicas in each zone, in as many racks of the zone as possible.
///
/// The nodes come in a key's order of preference. A node is taken if its zone still lacks replicas and its rack is new
/// in that zone. A further node of a rack is taken only as often as the zone has fewer racks than replicas. So a zone's
/// replicas are in `min(replicas, racks)` racks, and the first node that fits is taken first.
///
/// ```
/// use quorate_consistent_hash::{Node, Nodes, Placement, Ring, ZoneReplicas};
///
/// let (east, west) = ("east", "west");
/// let nodes = [("a", east, "r1"), ("b", east, "r1"), ("c", east, "r2"), ("d", west, "r1"), ("e", west, "r2")];
/// let nodes = nodes.map(|(name, zone, rack)| Node::new(name).with_zone(zone).with_rack(rack));
/// let placement = ZoneReplicas::new(Ring::new(Nodes::new(nodes)?)?, [(east, 2), (west, 1)])?;
/// let zones: Vec<_> = placement.replicas(b"user:42").map(|node| node.zone()).collect();
/// assert_eq!(zones.iter().filter(|&&zone| zone == east).count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "NetworkTopologyStrategy")]
#[derive(Clone, Debug)]
pub struct ZoneReplicas<P> {
    placement: P,
    zones: Vec<Zone>,
    /// By node number: the position of its zone in `zones`, or `NO_ZONE` if the zone holds no replicas.
    zone_of: Vec<u32>,
    /// By node number: the number of its rack, counted through all zones.
    rack_of: Vec<u32>,
    total: usize,
}

#[derive(Clone, Debug)]
struct Zone {
    replicas: usize,
    /// Number of nodes that may still be taken from racks that have one already.
    repeats: usize,
}

/// Reason why replicas cannot be placed like this. Nothing was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneError {
    /// No replica is wanted in any zone.
    NoReplicas,
    /// This zone is given twice.
    DuplicateZone(Box<str>),
    /// The zone has no nodes, or no replica is wanted in it. Leave the zone out.
    EmptyZone(Box<str>),
    /// The zone has fewer nodes than replicas are wanted.
    TooFewNodes {
        /// The zone.
        zone: Box<str>,
        /// Number of replicas wanted.
        wanted: usize,
        /// Number of nodes in the zone.
        nodes: usize,
    },
    /// More than [`REPLICAS_MAX`] replicas are wanted in all.
    TooManyReplicas {
        /// Number of replicas wanted.
        wanted: usize,
    },
}

display!(
    ZoneError,
    self,
    f,
    match self {
        Self::NoReplicas => f.write_str("no replicas are wanted in any zone"),
        Self::DuplicateZone(zone) => write!(f, "zone {zone:?} is given twice"),
        Self::EmptyZone(zone) => write!(f, "zone {zone:?} has no nodes, or no replicas are wanted in it"),
        Self::TooFewNodes { zone, wanted, nodes } =>
            write!(f, "{wanted} replicas wanted of {nodes} nodes in zone {zone:?}"),
        Self::TooManyReplicas { wanted } => write!(f, "{wanted} replicas wanted, at most {REPLICAS_MAX} are possible"),
    }
);

impl<P: Placement> ZoneReplicas<P> {
    /// Places these numbers of replicas in these zones, in the placement's order of preference.
    ///
    /// # Errors
    ///
    /// [`ZoneError`].
    pub fn new<'z>(placement: P, replicas: impl IntoIterator<Item = (&'z str, usize)>) -> Result<Self, ZoneError> {
        let nodes = placement.nodes();
        let mut zones = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let mut total = 0_usize;
        for (name, replicas) in replicas {
            if names.contains(&name) {
                return Err(ZoneError::DuplicateZone(name.into()));
            }
            zones.push(Zone::new(nodes, name, replicas)?);
            names.push(name);
            total = total.saturating_add(replicas);
        }
        if total == 0 {
            return Err(ZoneError::NoReplicas);
        }
        if total > REPLICAS_MAX {
            return Err(ZoneError::TooManyReplicas { wanted: total });
        }
        let mut zone_of = vec![NO_ZONE; nodes.capacity()];
        let mut rack_of = vec![0; nodes.capacity()];
        let mut racks = Vec::new();
        for (index, node) in nodes.iter() {
            if let Some(zone) = (0..).zip(&names).find(|(_, name)| **name == node.zone()) {
                zone_of[index.get()] = zone.0;
            }
            racks.push((node.zone(), node.rack(), index));
        }
        racks.sort_unstable();
        let mut number = 0;
        for pair in racks.windows(2) {
            number += u32::from((pair[0].0, pair[0].1) != (pair[1].0, pair[1].1));
            rack_of[pair[1].2.get()] = number;
        }
        Ok(Self { placement, zones, zone_of, rack_of, total })
    }

    /// The nodes that hold a key.
    pub fn replicas(&self, key: &[u8]) -> Replicas<'_> {
        self.replicas_of(self.placement.hash(key))
    }

    /// The nodes that hold a hashed key, in its order of preference.
    pub fn replicas_of(&self, hash: KeyHash) -> Replicas<'_> {
        // A zone has at least one replica, so there are no more zones than replicas.
        let mut lacking = [(0, 0); REPLICAS_MAX];
        for (lacking, zone) in lacking.iter_mut().zip(&self.zones) {
            *lacking = (zone.replicas, zone.repeats);
        }
        let mut taken = [NodeIndex::default(); REPLICAS_MAX];
        let mut count = 0;
        self.placement.visit(hash, &mut |node| {
            let zone = self.zone_of[node.get()];
            if zone == NO_ZONE || taken[..count].contains(&node) {
                return ControlFlow::Continue(());
            }
            let (replicas, repeats) = &mut lacking[zone as usize];
            let rack = self.rack_of[node.get()];
            let repeated = taken[..count].iter().any(|other| self.rack_of[other.get()] == rack);
            if *replicas == 0 || (repeated && *repeats == 0) {
                return ControlFlow::Continue(());
            }
            *replicas -= 1;
            *repeats -= usize::from(repeated);
            taken[count] = node;
            count += 1;
            if count == self.total { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(count, self.total, "every zone has nodes and racks enough");
        Replicas::new(self.placement.nodes(), taken, count)
    }

    /// The placement that gives the order of preference.
    pub fn placement(&self) -> &P {
        &self.placement
    }
}

impl Zone {
    fn new(nodes: &Nodes, name: &str, replicas: usize) -> Result<Self, ZoneError> {
        let mut racks: Vec<_> =
            nodes.iter().filter(|(_, node)| node.zone() == name).map(|(_, node)| node.rack()).collect();
        let count = racks.len();
        if count == 0 || replicas == 0 {
            return Err(ZoneError::EmptyZone(name.into()));
        }
        if count < replicas {
            return Err(ZoneError::TooFewNodes { zone: name.into(), wanted: replicas, nodes: count });
        }
        racks.sort_unstable();
        racks.dedup();
        Ok(Self { replicas, repeats: replicas.saturating_sub(racks.len()) })
    }
}

const NO_ZONE: u32 = u32::MAX;
