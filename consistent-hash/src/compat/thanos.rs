//! Thanos's receiver: what it hashes, and how it spreads replicas over zones.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::ring::CompatRing;
use crate::error::ReplicaError;
use crate::hash::KeyHash;
use crate::node::NodeIndex;
use crate::placement::{Placement, check_replicas};
use crate::token_placement::sealed::Table;

/// The bytes that Thanos's receiver hashes for a series of a tenant. The labels are in the order of the request, which
/// is that of their names.
pub fn thanos_key<'l>(tenant: &str, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Vec<u8> {
    let mut key = tenant.as_bytes().to_vec();
    key.push(SEPARATOR);
    for (name, value) in labels {
        for text in [name, value] {
            key.extend_from_slice(text.as_bytes());
            key.push(SEPARATOR);
        }
    }
    key
}

/// The `n` nodes to which Thanos's receiver writes a series, the owner first. The zones of the ring's nodes are its
/// availability zones; a node without one is in a zone of its own name, the empty one.
///
/// A node is left out while its zone has more replicas than the zone with the fewest.
///
/// # Errors
///
/// [`ReplicaError::TooFewNodes`] if there are fewer nodes, or if the zones cannot have so many replicas as equally as
/// asked. Then Thanos 0.43 searches for ever when it starts.
pub fn thanos_replicas(ring: &CompatRing, hash: KeyHash, n: usize) -> Result<Vec<NodeIndex>, ReplicaError> {
    let nodes = ring.nodes();
    check_replicas(n, nodes)?;
    let mut spread: BTreeMap<&str, usize> = nodes.iter().map(|(_, node)| (node.zone(), 0)).collect();
    let mut taken = BTreeSet::new();
    let mut replicas = Vec::with_capacity(n);
    while replicas.len() < n {
        let before = replicas.len();
        for node in ring.table().owners_from(hash.0) {
            let zone = nodes.node(node).zone();
            let least = spread.values().min().copied().unwrap_or(0);
            if replicas.len() < n && spread[zone] <= least && taken.insert(node) {
                replicas.push(node);
                *spread.entry(zone).or_default() += 1;
            }
        }
        if replicas.len() == before {
            return Err(ReplicaError::TooFewNodes { wanted: n, nodes: before });
        }
    }
    Ok(replicas)
}

/// Stands behind the tenant and behind each name and value.
const SEPARATOR: u8 = 0xFF;
