//! The shared part of placements that compute a node number from a key's hash.

use core::marker::PhantomData;
use core::ops::ControlFlow;

use crate::error::{BuildError, RemoveError, ReplicaError};
use crate::hash::{Hasher, KeyHash, fold};
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::{Placement, check_replicas};

/// A placement that assigns a node number to each hash.
pub trait Numbered {
    /// The nodes by number.
    fn all(&self) -> &Nodes;

    /// The hash of keys.
    fn hash_in_use(&self) -> Hasher;

    /// The number of a hashed key's owner.
    fn number(&self, hash: KeyHash) -> u32;
}

/// A function that computes a number below a count from a hash.
pub trait Numbering {
    /// The number of a hashed key in `0..buckets`; 0 if `buckets` is 0.
    fn number(hash: KeyHash, buckets: u32) -> u32;
}

/// Nodes numbered in the order given; `N` computes the number for a key: [`Jump`](crate::Jump) or
/// [`JumpBack`](crate::JumpBack).
#[derive(Clone, Debug)]
pub struct InOrder<N> {
    hasher: Hasher,
    nodes: Nodes,
    numbering: PhantomData<N>,
}

impl<N: Numbering> InOrder<N> {
    /// Makes a placement on these nodes, with the stable hash.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`], [`BuildError::NumbersWithGaps`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::with_hasher(nodes, Hasher::STABLE)
    }

    /// Makes a placement with another hash.
    ///
    /// # Errors
    ///
    /// The errors of [`InOrder::new`].
    pub fn with_hasher(nodes: Nodes, hasher: Hasher) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        nodes.require_no_gaps()?;
        Ok(Self { hasher, nodes, numbering: PhantomData })
    }

    /// Appends a node. Only keys that it now owns move.
    ///
    /// # Errors
    ///
    /// The errors of [`Nodes::new`] and [`InOrder::new`]. Nothing is changed then.
    pub fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let mut nodes = self.nodes.clone();
        let index = nodes.add(node)?;
        nodes.require_equal_weights()?;
        self.nodes = nodes;
        Ok(index)
    }

    /// Removes the node that was added last. Only its keys move.
    ///
    /// # Errors
    ///
    /// [`RemoveError::UnknownNode`], [`RemoveError::LastNode`], and [`RemoveError::NotTheLastAdded`] for any node but
    /// the last.
    pub fn remove(&mut self, name: &str) -> Result<Node, RemoveError> {
        remove_last(&mut self.nodes, name)
    }
}

impl<N: Numbering> Numbered for InOrder<N> {
    #[inline]
    fn all(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    fn hash_in_use(&self) -> Hasher {
        self.hasher
    }

    #[inline]
    fn number(&self, hash: KeyHash) -> u32 {
        N::number(hash, count(&self.nodes))
    }
}

impl<T: Numbered> Placement for T {
    fn nodes(&self) -> &Nodes {
        self.all()
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.hash_in_use().hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        NodeIndex::from_u32(self.number(hash))
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        visit_numbered(self, hash, visit);
    }

    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        fill_numbered(self, hash, out)
    }
}

/// Visits the nodes that derived hashes give, and then all nodes in order, in case the derived hashes keep missing one.
///
/// Each derived hash is a placement of its own, so that disruption stays minimal.
#[inline]
fn visit_numbered(placement: &impl Numbered, hash: KeyHash, mut visit: impl FnMut(NodeIndex) -> ControlFlow<()>) {
    let nodes = placement.all();
    let mut derived = hash;
    for round in 1..=2 * nodes.len() as u64 + 16 {
        if visit(NodeIndex::from_u32(placement.number(derived))).is_break() {
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

/// Fills `out` with the distinct nodes of [`visit_numbered`], in order.
#[inline]
fn fill_numbered(placement: &impl Numbered, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
    check_replicas(out.len(), placement.all())?;
    if out.is_empty() {
        return Ok(());
    }
    let mut filled = 0;
    visit_numbered(placement, hash, |node| {
        if !out[..filled].contains(&node) {
            out[filled] = node;
            filled += 1;
        }
        if filled < out.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    Ok(())
}

fn remove_last(nodes: &mut Nodes, name: &str) -> Result<Node, RemoveError> {
    let last = nodes.node(NodeIndex::from_u32(count(nodes) - 1)).name();
    if nodes.index_of(name).is_some() && name != last {
        return Err(RemoveError::NotTheLastAdded(last.into()));
    }
    nodes.remove(name).map(|(_, node)| node)
}

/// Number of nodes, if their numbers have no gaps. The numbers have none at first, and never get one where only the
/// last node can be removed.
#[inline]
pub(crate) fn count(nodes: &Nodes) -> u32 {
    u32::try_from(nodes.capacity()).expect("NODES_MAX fits 32 bits")
}

/// Tells the hashes derived from a key from the key's own hash; odd.
const SALT: u64 = 0xA076_1D64_78BD_642F;
