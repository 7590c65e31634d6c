//! Jump consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014, figure 1).

use core::ops::ControlFlow;

use crate::error::{BuildError, RemoveError, ReplicaError};
use crate::hash::{Hasher, KeyHash, fold};
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::{Placement, check_replicas};

/// Nodes numbered in the order given, a key's number computed by jump consistent hash.
///
/// | | |
/// | --- | --- |
/// | look-up | about ln(nodes) steps of a division each |
/// | memory | none but the nodes |
/// | balance | perfect but for chance |
/// | disruption | minimal, but only the last node can be removed; weights must be equal |
///
/// Here the order of the nodes is part of the placement: append new nodes at the end.
#[derive(Clone, Debug)]
pub struct Jump {
    hasher: Hasher,
    nodes: Nodes,
}

impl Jump {
    /// A placement on these nodes, with the stable hash.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::with_hasher(nodes, Hasher::STABLE)
    }

    /// A placement with another hash.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`].
    pub fn with_hasher(nodes: Nodes, hasher: Hasher) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        Ok(Self { hasher, nodes })
    }

    /// Appends a node; only keys that it now owns move.
    ///
    /// # Errors
    ///
    /// As [`Nodes::new`] and [`Jump::new`]; nothing is changed then.
    pub fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let mut nodes = self.nodes.clone();
        let index = nodes.add(node)?;
        nodes.require_equal_weights()?;
        self.nodes = nodes;
        Ok(index)
    }

    /// Removes the node added last; only its keys move.
    ///
    /// # Errors
    ///
    /// [`RemoveError::UnknownNode`], [`RemoveError::LastNode`], and [`RemoveError::NotTheLastAdded`] for any node but the last.
    pub fn remove(&mut self, name: &str) -> Result<Node, RemoveError> {
        remove_last(&mut self.nodes, name)
    }

    #[inline]
    fn number(&self, hash: KeyHash) -> u32 {
        jump(hash, count(&self.nodes))
    }
}

impl Placement for Jump {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        NodeIndex::from_u32(self.number(hash))
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        visit_numbered(hash, &self.nodes, |hash| self.number(hash), visit);
    }

    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        fill_numbered(hash, &self.nodes, |hash| self.number(hash), out)
    }
}

/// The number in `0..buckets` of a hashed key; 0 where `buckets` is 0.
///
/// ```
/// use quorate_consistent_hash::{KeyHash, jump};
///
/// assert_eq!(jump(KeyHash(0xdead10cc), 666), 361);
/// ```
#[doc(alias = "JumpConsistentHash")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "operands are whole, below 2^53 and not negative; truncation is what the paper asks for, and too large saturates"
)]
pub fn jump(hash: KeyHash, buckets: u32) -> u32 {
    let mut key = hash.0;
    let (mut bucket, mut next) = (0_u64, 0_u64);
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // Both operands are below 2^53, so every platform computes the same quotient (IEEE 754).
        let step = f64::from(1_u32 << 31) / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * step) as u64;
    }
    bucket as u32
}

/// Visits by looking up derived hashes, then, should they keep missing a node, all nodes in order.
///
/// Each derived hash is a placement of its own, which keeps the promise of minimal disruption.
#[inline]
pub(crate) fn visit_numbered(
    hash: KeyHash,
    nodes: &Nodes,
    number: impl Fn(KeyHash) -> u32,
    mut visit: impl FnMut(NodeIndex) -> ControlFlow<()>,
) {
    let mut derived = hash;
    for round in 1..=2 * nodes.len() as u64 + 16 {
        if visit(NodeIndex::from_u32(number(derived))).is_break() {
            return;
        }
        derived = KeyHash(fold(hash.0 ^ SALT, round.wrapping_mul(SALT)));
    }
    for (index, _) in nodes.iter() {
        if visit(index).is_break() {
            return;
        }
    }
}

/// Fills `out` with the distinct nodes of [`visit_numbered`].
#[inline]
pub(crate) fn fill_numbered(
    hash: KeyHash,
    nodes: &Nodes,
    number: impl Fn(KeyHash) -> u32,
    out: &mut [NodeIndex],
) -> Result<(), ReplicaError> {
    check_replicas(out.len(), nodes)?;
    if out.is_empty() {
        return Ok(());
    }
    let mut filled = 0;
    visit_numbered(hash, nodes, number, |node| {
        if !out[..filled].contains(&node) {
            out[filled] = node;
            filled += 1;
        }
        if filled < out.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Ok(())
}

pub(crate) fn remove_last(nodes: &mut Nodes, name: &str) -> Result<Node, RemoveError> {
    let last = nodes.node(NodeIndex::from_u32(count(nodes) - 1)).name();
    if nodes.index_of(name).is_some() && name != last {
        return Err(RemoveError::NotTheLastAdded(last.into()));
    }
    nodes.remove(name).map(|(_, node)| node)
}

/// How many nodes there are: the numbers have no holes where only the last node can be removed.
#[inline]
pub(crate) fn count(nodes: &Nodes) -> u32 {
    u32::try_from(nodes.capacity()).expect("NODES_MAX fits 32 bits")
}

/// Tells the hashes derived from a key apart from the key's own; odd.
const SALT: u64 = 0xA076_1D64_78BD_642F;
