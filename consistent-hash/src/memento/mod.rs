//! MementoHash (Coluzzi, Brocco, Antonucci, Leidi, "MementoHash: A Stateful, Minimal Memory, Best Performing Consistent
//! Hash Algorithm", 2023), over JumpBackHash.

use alloc::vec::Vec;

use crate::error::{BuildError, RemoveError};
use crate::hash::{Hasher, KeyHash, scale, splitmix};
use crate::jump_back::jump_back;
use crate::node::{Node, NodeIndex, Nodes};
use crate::numbered::{Numbered, count};

/// Numbered nodes of which any may be removed: [`JumpBack`](crate::JumpBack) that remembers the removed nodes.
///
/// | property | value |
/// | --- | --- |
/// | look-up | constant while no node is removed; grows with the square of ln(numbers / nodes) |
/// | memory | the nodes only, and four bytes for each number once a node is removed |
/// | balance | perfect, except for chance |
/// | disruption | minimal for any removal; an added node takes the number that was freed last |
///
/// The placement depends on the order of removals, so that a copy must be made from its state
/// ([`MementoState`](crate::MementoState)), not from the list of nodes alone. Weights must be equal.
///
/// ```
/// use quorate_consistent_hash::{Memento, Nodes, Placement};
///
/// let mut placement = Memento::new(Nodes::named(["a", "b", "c", "d"])?)?;
/// let owner = placement.owner(b"user:42").name().to_owned();
/// let gone = if owner == "b" { "c" } else { "b" };
/// placement.remove(gone)?;
/// assert_eq!(placement.owner(b"user:42").name(), owner);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memento {
    hasher: Hasher,
    /// Numbered by bucket; the buckets in `removed` are holes.
    nodes: Nodes,
    /// One more than the highest number.
    size: u32,
    /// By number: the number of nodes that were left after it was removed, or `WORKING`. Empty while no node is
    /// removed.
    left: Vec<u32>,
    /// The removed numbers, in the order of removal.
    removed: Vec<u32>,
}

impl Memento {
    /// Makes a placement on these nodes, with the stable hash.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnequalWeights`]; [`BuildError::NumbersWithGaps`], because the nodes do not say in which order
    /// others were removed.
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::with_hasher(nodes, Hasher::STABLE)
    }

    /// Makes a placement with another hash.
    ///
    /// # Errors
    ///
    /// The errors of [`Memento::new`].
    pub fn with_hasher(nodes: Nodes, hasher: Hasher) -> Result<Self, BuildError> {
        nodes.require_equal_weights()?;
        nodes.require_no_gaps()?;
        let size = count(&nodes);
        Ok(Self { hasher, nodes, size, left: Vec::new(), removed: Vec::new() })
    }

    /// Adds a node under the number that was freed last, or under a new number. Only keys that it now owns move.
    ///
    /// # Errors
    ///
    /// The errors of [`Nodes::new`] and [`Memento::new`]. Nothing is changed then.
    pub fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let number = self.removed.last().copied().unwrap_or(self.size);
        let mut nodes = self.nodes.clone();
        nodes.add_at(NodeIndex::from_u32(number), node)?;
        nodes.require_equal_weights()?;
        self.nodes = nodes;
        if self.removed.pop().is_none() {
            self.size += 1;
        } else if self.removed.is_empty() {
            self.left = Vec::new();
        } else {
            self.left[number as usize] = WORKING;
        }
        Ok(NodeIndex::from_u32(number))
    }

    /// Removes a node. Only its keys move.
    ///
    /// # Errors
    ///
    /// [`RemoveError::UnknownNode`] and [`RemoveError::LastNode`]. Nothing is changed then.
    pub fn remove(&mut self, name: &str) -> Result<Node, RemoveError> {
        let (index, node) = self.nodes.remove(name)?;
        self.forget(index.as_u32());
        Ok(node)
    }

    /// The freed numbers in the order of their removal. Together with the nodes by number, they are the whole state.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = u32> {
        self.removed.iter().copied()
    }

    /// Makes a placement from its parts: the nodes by number, with `None` for each freed number, and the freed numbers
    /// in the order of their removal.
    ///
    /// # Errors
    ///
    /// The errors of [`Memento::new`]; [`BuildError::BadRemovals`] if `removed` does not name each `None` exactly once.
    pub(crate) fn restore(numbers: Vec<Option<Node>>, removed: &[u32], hasher: Hasher) -> Result<Self, BuildError> {
        let all = numbers.len();
        let size = u32::try_from(all).map_err(|_| BuildError::BadRemovals)?;
        let mut holes: Vec<_> = removed.to_vec();
        holes.sort_unstable();
        let freed = (0..).zip(&numbers).filter(|(_, node)| node.is_none()).map(|(number, _)| number);
        if !freed.eq(holes) {
            return Err(BuildError::BadRemovals);
        }
        let nodes = Nodes::with_holes(numbers)?;
        nodes.require_equal_weights()?;
        let mut left = Vec::new();
        if !removed.is_empty() {
            left.resize(all, WORKING);
            for (&number, left_then) in removed.iter().zip((0..size).rev()) {
                left[number as usize] = left_then;
            }
        }
        Ok(Self { hasher, nodes, size, left, removed: removed.to_vec() })
    }

    /// The nodes by number, with `None` for each removed one.
    pub fn numbers(&self) -> impl ExactSizeIterator<Item = Option<&Node>> {
        (0..self.size).map(|number| {
            let index = NodeIndex::from_u32(number);
            self.nodes.contains(index).then(|| self.nodes.node(index))
        })
    }

    /// The hash in use.
    pub fn hasher(&self) -> Hasher {
        self.hasher
    }

    /// The numbers on the way to the owner of a hashed key: that of [`jump_back`], and if it was removed, the numbers
    /// that replace it, of which the last is the owner's.
    pub fn path_of(&self, hash: KeyHash) -> Vec<u32> {
        let number = jump_back(hash, self.size);
        let mut path = [number].to_vec();
        if !self.left.is_empty() {
            self.replaced(hash, number, |next| path.push(next));
        }
        path
    }

    fn forget(&mut self, number: u32) {
        if self.removed.is_empty() && number == self.size - 1 {
            self.size -= 1;
            return;
        }
        self.left.resize(self.size as usize, WORKING);
        self.removed.push(number);
        let gone = u32::try_from(self.removed.len()).expect("there are fewer holes than numbers");
        self.left[number as usize] = self.size - gone;
    }

    /// Follows the replacements of a removed number (the paper's algorithm 4), and reports each.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the bound is a number of nodes")]
    fn replaced(&self, hash: KeyHash, mut number: u32, mut visit: impl FnMut(u32)) -> u32 {
        loop {
            let left = self.left[number as usize];
            if left == WORKING {
                return number;
            }
            let mut next = scale(splitmix(hash.0, u64::from(number)), u64::from(left)) as u32;
            // If a number was removed before `number`, it had already been replaced by a smaller one when `number` was
            // removed.
            loop {
                visit(next);
                let left_then = self.left[next as usize];
                if left_then == WORKING || left_then < left {
                    break;
                }
                next = left_then;
            }
            number = next;
        }
    }
}

impl Numbered for Memento {
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
        let number = jump_back(hash, self.size);
        if self.left.is_empty() {
            return number;
        }
        self.replaced(hash, number, |_| {})
    }
}

/// Marks a number that has a node.
const WORKING: u32 = u32::MAX;
