//! Nodes, their weights, and the checked set that placements are built from.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{BuildError, RemoveError, WeightError};
use crate::hash::Hasher;

/// A node's share relative to other nodes, in steps of 1/65536, so that all arithmetic on it is exact on every
/// platform.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "f64", into = "f64"))]
pub struct Weight(u64);

impl Weight {
    /// The weight of a node that has none set.
    pub const ONE: Self = Self(1 << 16);

    /// The largest weight, 2^32 - 1, which is the largest weight of a system with whole weights of 32 bits.
    pub const MAX: Self = Self(0xFFFF_FFFF << 16);

    /// The weight nearest to `value`.
    ///
    /// # Errors
    ///
    /// For values that are zero, negative, NaN, infinite, out of range, or would round to zero.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before, and the half is added so that truncation rounds"
    )]
    pub fn new(value: f64) -> Result<Self, WeightError> {
        if value.is_nan() {
            return Err(WeightError::NotANumber);
        }
        if value <= 0.0 {
            return Err(WeightError::NotPositive);
        }
        if value > Self::MAX.as_f64() {
            return Err(WeightError::TooLarge);
        }
        match (value * 65536.0 + 0.5) as u64 {
            0 => Err(WeightError::TooSmall),
            units => Ok(Self(units)),
        }
    }

    /// The weight as a number; exact.
    #[expect(clippy::cast_precision_loss, reason = "a weight has at most 48 bits")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 65536.0
    }

    /// The weight in steps of 1/65536: never zero, below 2^48.
    pub fn units(self) -> u64 {
        self.0
    }

    /// The weight as a whole number, if it is one.
    pub fn whole(self) -> Option<u32> {
        if self.0.trailing_zeros() >= 16 { u32::try_from(self.0 >> 16).ok() } else { None }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({})", self.as_f64())
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_f64().fmt(f)
    }
}

impl TryFrom<f64> for Weight {
    type Error = WeightError;

    fn try_from(value: f64) -> Result<Self, WeightError> {
        Self::new(value)
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> Self {
        weight.as_f64()
    }
}

/// A node that owns keys. Its name is its identity: under the same name it owns the same keys, whatever its position in
/// a list. Algorithms that number their nodes, such as [`Jump`](crate::Jump), are an exception and say so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Node {
    name: Box<str>,
    #[cfg_attr(feature = "serde", serde(default))]
    weight: Weight,
    #[cfg_attr(feature = "serde", serde(default))]
    zone: Box<str>,
    #[cfg_attr(feature = "serde", serde(default))]
    rack: Box<str>,
}

impl Node {
    /// Makes a node of weight one, in the unnamed zone and rack.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), weight: Weight::ONE, zone: Box::default(), rack: Box::default() }
    }

    /// The same node with another weight.
    pub fn with_weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// The same node in a zone (a data centre, an availability zone).
    #[doc(alias = "datacenter")]
    pub fn with_zone(mut self, zone: impl Into<Box<str>>) -> Self {
        self.zone = zone.into();
        self
    }

    /// The same node in a rack of its zone. Nodes of one rack fail together.
    pub fn with_rack(mut self, rack: impl Into<Box<str>>) -> Self {
        self.rack = rack.into();
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The weight.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// The zone; empty if none was given.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The rack; empty if none was given.
    pub fn rack(&self) -> &str {
        &self.rack
    }
}

/// A node's number within one placement. It is small, and look-ups use it internally.
///
/// It stays the same while the node stays in the placement. It means nothing in another placement: compare nodes of two
/// placements by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(u32);

impl NodeIndex {
    pub(crate) fn new(index: usize) -> Self {
        // `Nodes` holds at most `NODES_MAX` nodes, so the number fits.
        Self(u32::try_from(index).expect("a node number is below NODES_MAX"))
    }

    #[inline]
    pub(crate) const fn from_u32(index: u32) -> Self {
        Self(index)
    }

    /// The number as an array index, below [`Nodes::capacity`].
    #[inline]
    pub fn get(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }
}

/// The largest number of nodes in one placement, 2^24.
pub const NODES_MAX: usize = 1 << 24;

/// A checked set of nodes: it is not empty, and no name is empty or given twice.
///
/// Nodes are numbered in the order given; a removed node leaves its number free for the next one added.
///
/// ```
/// use quorate_consistent_hash::{BuildError, Node, Nodes};
///
/// let nodes = Nodes::new(["a", "b"].map(Node::new))?;
/// assert_eq!(nodes.len(), 2);
/// assert_eq!(Nodes::new(["a", "a"].map(Node::new)), Err(BuildError::DuplicateNode("a".into())));
/// # Ok::<(), BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// By number; `None` for a removed node.
    slots: Vec<Option<Node>>,
    /// Every node of `slots`, by name.
    by_name: BTreeMap<Box<str>, NodeIndex>,
}

impl Nodes {
    /// Checks and numbers nodes.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoNodes`], [`EmptyName`](BuildError::EmptyName), [`DuplicateNode`](BuildError::DuplicateNode) and
    /// [`TooManyNodes`](BuildError::TooManyNodes).
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Result<Self, BuildError> {
        let mut checked = Self { slots: Vec::new(), by_name: BTreeMap::new() };
        for node in nodes {
            checked.add(node)?;
        }
        if checked.is_empty() {
            return Err(BuildError::NoNodes);
        }
        Ok(checked)
    }

    /// Makes nodes of weight one with these names.
    ///
    /// # Errors
    ///
    /// The errors of [`Nodes::new`].
    pub fn named<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Result<Self, BuildError> {
        Self::new(names.into_iter().map(Node::new))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// True if there is no node, which cannot be the case for the nodes of a placement.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// One more than the highest number in use: the length of an array indexed by [`NodeIndex`].
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The node with this number.
    ///
    /// # Panics
    ///
    /// If the number belongs to another placement, or the node was removed.
    pub fn node(&self, index: NodeIndex) -> &Node {
        self.slots[index.get()].as_ref().expect("the number is of a node in this placement")
    }

    /// The number of the node with this name.
    pub fn index_of(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).copied()
    }

    /// The nodes with their numbers, in the order of the numbers.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> + Clone {
        self.slots.iter().enumerate().filter_map(|(index, node)| Some((NodeIndex::new(index), node.as_ref()?)))
    }

    /// The same nodes in the same order, numbered from zero without a gap.
    ///
    /// A set taken from a placement has a gap where a node was removed. Algorithms that place by number
    /// ([`Jump`](crate::Jump), [`JumpBack`](crate::JumpBack), [`Memento`](crate::Memento)) refuse such a set:
    /// renumbering it makes another placement, which the caller must decide on.
    #[must_use]
    pub fn renumbered(self) -> Self {
        let present = self.slots.into_iter().flatten();
        let slots: Vec<_> = present.map(Some).collect();
        let numbered = slots.iter().flatten().enumerate();
        let by_name = numbered.map(|(number, node)| (node.name.clone(), NodeIndex::new(number))).collect();
        Self { slots, by_name }
    }

    /// The nodes with their numbers, in the order of their names.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.by_name.values().map(|&index| (index, self.node(index)))
    }

    /// The sum of all weights, in steps of 1/65536; below 2^72.
    pub fn total_units(&self) -> u128 {
        self.iter().map(|(_, node)| u128::from(node.weight.units())).sum()
    }

    /// True if a node has this number.
    pub fn contains(&self, index: NodeIndex) -> bool {
        self.slots.get(index.get()).is_some_and(Option::is_some)
    }

    /// Like [`Nodes::new`], with a gap in the numbers for each `None`.
    pub(crate) fn with_holes(slots: impl IntoIterator<Item = Option<Node>>) -> Result<Self, BuildError> {
        let mut checked = Self { slots: Vec::new(), by_name: BTreeMap::new() };
        for (number, node) in slots.into_iter().enumerate() {
            if let Some(node) = node {
                checked.add_at(NodeIndex::new(number), node)?;
            }
        }
        if checked.is_empty() {
            return Err(BuildError::NoNodes);
        }
        Ok(checked)
    }

    /// Adds a node under the lowest free number.
    pub(crate) fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let number = if self.len() == self.slots.len() {
            self.slots.len()
        } else {
            self.slots.iter().position(Option::is_none).expect("there are fewer nodes than slots")
        };
        let index = NodeIndex::new(number);
        self.add_at(index, node)?;
        Ok(index)
    }

    /// Adds a node under a free number.
    pub(crate) fn add_at(&mut self, index: NodeIndex, node: Node) -> Result<(), BuildError> {
        if index.get() >= NODES_MAX {
            return Err(too_many());
        }
        if node.name.is_empty() {
            return Err(BuildError::EmptyName);
        }
        if self.by_name.contains_key(&node.name) {
            return Err(BuildError::DuplicateNode(node.name));
        }
        if self.slots.len() <= index.get() {
            self.slots.resize(index.get() + 1, None);
        }
        assert!(self.slots[index.get()].is_none(), "the number is free");
        self.by_name.insert(node.name.clone(), index);
        self.slots[index.get()] = Some(node);
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(NodeIndex, Node), RemoveError> {
        let Some(&index) = self.by_name.get(name) else {
            return Err(RemoveError::UnknownNode(name.into()));
        };
        if self.len() == 1 {
            return Err(RemoveError::LastNode);
        }
        self.by_name.remove(name);
        let node = self.slots[index.get()].take().expect("a named node has a slot");
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        Ok((index, node))
    }

    pub(crate) fn set_weight(&mut self, name: &str, weight: Weight) -> Result<NodeIndex, BuildError> {
        let index = self.index_of(name).ok_or_else(|| BuildError::UnknownNode(name.into()))?;
        self.slots[index.get()].as_mut().expect("a named node has a slot").weight = weight;
        Ok(index)
    }

    /// For algorithms that place by number: checks that every number below the capacity has a node.
    pub(crate) fn require_no_gaps(&self) -> Result<(), BuildError> {
        if self.len() == self.slots.len() { Ok(()) } else { Err(BuildError::NumbersWithGaps) }
    }

    pub(crate) fn require_equal_weights(&self) -> Result<(), BuildError> {
        let mut weights = self.iter().map(|(_, node)| node.weight);
        let first = weights.next();
        if weights.all(|weight| Some(weight) == first) { Ok(()) } else { Err(BuildError::UnequalWeights) }
    }
}

/// Refuses two names with one hash: their hashes would make them one node, and one of the two would own nothing.
pub(crate) fn require_distinct_hashes(nodes: &Nodes, hasher: Hasher) -> Result<(), BuildError> {
    let mut hashes: Vec<_> =
        nodes.iter().map(|(_, node)| (hasher.hash(node.name.as_bytes()), node.name.as_ref())).collect();
    hashes.sort_unstable();
    match hashes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(BuildError::HashCollision(pair[0].1.into(), pair[1].1.into())),
        None => Ok(()),
    }
}

fn too_many() -> BuildError {
    BuildError::TooManyNodes { nodes: NODES_MAX + 1, max: NODES_MAX }
}
