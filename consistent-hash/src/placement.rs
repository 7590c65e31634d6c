//! The trait that all algorithms implement, and the replica set that it returns.

use alloc::sync::Arc;
use core::ops::ControlFlow;

use crate::error::ReplicaError;
use crate::hash::KeyHash;
use crate::node::{Node, NodeIndex, Nodes};

/// Largest number of replicas that [`Placement::replicas`] returns at once, so that a set fits the stack.
pub const REPLICAS_MAX: usize = 16;

/// A placement: the node that owns a key, and the nodes that hold its replicas.
///
/// Every placement has at least one node, so that every key has an owner. A look-up does not allocate or wait, and it
/// is a pure function of the placement and the key.
///
/// ```
/// use quorate_consistent_hash::{Jump, Nodes, Placement, Ring};
///
/// let nodes = Nodes::named(["a", "b", "c", "d"])?;
/// let ring = Ring::new(nodes.clone())?;
/// let jump = Jump::new(nodes)?;
///
/// // Any algorithm behind one type:
/// for placement in [&ring as &dyn Placement, &jump] {
///     let replicas: Vec<_> = placement.replicas(b"user:42", 3)?.map(|node| node.name()).collect();
///     assert_eq!(replicas[0], placement.owner(b"user:42").name());
///     assert_eq!(replicas.len(), 3);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Placement {
    /// The nodes that keys are placed on.
    fn nodes(&self) -> &Nodes;

    /// The hash of a key in this placement.
    fn hash(&self, key: &[u8]) -> KeyHash;

    /// The number of the owner of a hashed key.
    fn owner_of(&self, hash: KeyHash) -> NodeIndex;

    /// Calls `visit` with node numbers in the key's order of preference, until it breaks or every node has come at
    /// least once. The first is the owner. A node may come more than once.
    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>);

    /// Fills `out` with the numbers of distinct nodes in the key's order of preference, without allocating.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::TooFewNodes`] if `out` is longer than the number of nodes. `out` is unchanged then.
    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        check_replicas(out.len(), self.nodes())?;
        let mut filled = 0;
        self.visit(hash, &mut |node| {
            if filled < out.len() && !out[..filled].contains(&node) {
                out[filled] = node;
                filled += 1;
            }
            if filled < out.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!(filled, out.len(), "a visit reaches every node");
        Ok(())
    }

    /// The first node in the key's order of preference that `accept` accepts, if there is one: the owner if it is up,
    /// else the node that stands in for it. Nothing is rebuilt, and no key of an accepted owner moves.
    fn owner_where(&self, hash: KeyHash, accept: &dyn Fn(NodeIndex) -> bool) -> Option<NodeIndex> {
        let mut found = None;
        self.visit(hash, &mut |node| {
            if accept(node) {
                found = Some(node);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// The node that owns a key.
    fn owner(&self, key: &[u8]) -> &Node {
        self.nodes().node(self.owner_of(self.hash(key)))
    }

    /// The `n` distinct nodes that hold a key, the owner first.
    ///
    /// # Errors
    ///
    /// The errors of [`replicas_of`](Placement::replicas_of).
    fn replicas(&self, key: &[u8], n: usize) -> Result<Replicas<'_>, ReplicaError> {
        self.replicas_of(self.hash(key), n)
    }

    /// The `n` distinct nodes that hold a hashed key, the owner first.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`] if there are fewer than `n` nodes, or `n` is above [`REPLICAS_MAX`]; use
    /// [`fill_replicas`](Placement::fill_replicas) for more.
    fn replicas_of(&self, hash: KeyHash, n: usize) -> Result<Replicas<'_>, ReplicaError> {
        if n > REPLICAS_MAX {
            return Err(ReplicaError::TooManyReplicas { wanted: n, max: REPLICAS_MAX });
        }
        let mut indexes = [NodeIndex::default(); REPLICAS_MAX];
        self.fill_replicas(hash, &mut indexes[..n])?;
        Ok(Replicas::new(self.nodes(), indexes, n))
    }
}

impl<P: Placement + ?Sized> Placement for Arc<P> {
    fn nodes(&self) -> &Nodes {
        (**self).nodes()
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        (**self).hash(key)
    }

    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        (**self).owner_of(hash)
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        (**self).visit(hash, visit);
    }

    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        (**self).fill_replicas(hash, out)
    }
}

/// The distinct nodes that hold a key, in order of preference: an iterator over nodes that needs no heap memory.
#[derive(Clone, Debug)]
pub struct Replicas<'a> {
    nodes: &'a Nodes,
    indexes: [NodeIndex; REPLICAS_MAX],
    next: usize,
    end: usize,
}

impl<'a> Replicas<'a> {
    pub(crate) fn new(nodes: &'a Nodes, indexes: [NodeIndex; REPLICAS_MAX], count: usize) -> Self {
        Self { nodes, indexes, next: 0, end: count }
    }

    /// The numbers of the nodes that the iterator has not returned yet.
    pub fn indexes(&self) -> &[NodeIndex] {
        &self.indexes[self.next..self.end]
    }
}

impl<'a> Iterator for Replicas<'a> {
    type Item = &'a Node;

    fn next(&mut self) -> Option<&'a Node> {
        let &index = self.indexes().first()?;
        self.next += 1;
        Some(self.nodes.node(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Replicas<'_> {}

#[inline]
pub(crate) fn check_replicas(wanted: usize, nodes: &Nodes) -> Result<(), ReplicaError> {
    let nodes = nodes.len();
    if wanted > nodes {
        return Err(ReplicaError::TooFewNodes { wanted, nodes });
    }
    Ok(())
}

/// Fills `out` with the distinct nodes of `items` from `start` on, wrapping around. `items` must contain enough
/// distinct nodes.
///
/// Three replicas are so common, and three distinct nodes in a row so likely, that this case has a separate path: one
/// branch, which is almost always predicted correctly.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "three conditions as one branch")]
pub(crate) fn fill_distinct<T: Copy>(items: &[T], start: usize, node: impl Fn(T) -> NodeIndex, out: &mut [NodeIndex]) {
    if let [first, second, third] = out
        && let Some(&[one, two, three]) = items.get(start..).and_then(|items| items.first_chunk())
    {
        (*first, *second, *third) = (node(one), node(two), node(three));
        if (*first != *second) & (*second != *third) & (*first != *third) {
            return;
        }
    }
    let mut position = start;
    let mut filled = 0;
    while filled < out.len() {
        if position >= items.len() {
            position = 0;
        }
        let candidate = node(items[position]);
        if !out[..filled].contains(&candidate) {
            out[filled] = candidate;
            filled += 1;
        }
        position += 1;
    }
}
