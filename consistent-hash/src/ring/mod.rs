//! The ring of virtual nodes (Karger et al., "Consistent Hashing and Random Trees", STOC 1997; virtual nodes as in
//! Dynamo, SOSP 2007, section 4.2).

pub(crate) mod table;
#[cfg(test)]
mod tests;

use core::cmp::Ordering;
use core::ops::ControlFlow;

use alloc::vec::Vec;

use crate::error::{BuildError, RemoveError, ReplicaError};
use crate::hash::{Hasher, KeyHash, splitmix};
use crate::node::{Node, NodeIndex, Nodes, Weight};
use crate::placement::Placement;
use crate::token_placement::{TokenPlacement, sealed};
use table::{TOKENS_MAX, TokenTable};

/// A ring: each node has tokens, and a key belongs to the node with the first token at or after its hash.
///
/// | property | value |
/// | --- | --- |
/// | look-up | one to two cache misses, for any size |
/// | memory | about 22 bytes for each token; a node of weight one has [`virtual_nodes`](RingBuilder::virtual_nodes) tokens |
/// | balance | standard deviation of a node's load: 1 / sqrt(tokens), 8 % at 160 |
/// | disruption | minimal: only keys of the removed node move, only keys to the added node move |
/// | add, remove | linear in the number of tokens; existing tokens are not hashed or sorted again |
///
/// Token `i` of a node is the `i`-th output of SplitMix64 seeded with the hash of the node's name. So placement depends
/// on names and weights only, not on the order of the nodes. If two tokens are equal, they belong to the node whose
/// name comes first.
///
/// ```
/// use quorate_consistent_hash::{Node, Nodes, Placement, Ring, Weight};
///
/// let mut ring = Ring::new(Nodes::new([
///     Node::new("cache-1"),
///     Node::new("cache-2"),
///     Node::new("cache-3").with_weight(Weight::new(2.5)?),
/// ])?)?;
/// let owner = ring.owner(b"user:42").name().to_owned();
/// ring.add(Node::new("cache-4"))?;
/// assert!([owner.as_str(), "cache-4"].contains(&ring.owner(b"user:42").name()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "continuum")]
#[derive(Clone, Debug)]
pub struct Ring {
    settings: RingBuilder,
    nodes: Nodes,
    table: TokenTable,
}

impl Ring {
    /// Makes a ring with 160 virtual nodes for each node of weight one, and with the stable hash.
    ///
    /// # Errors
    ///
    /// The errors of [`RingBuilder::build`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::builder().build(nodes)
    }

    /// Starts a ring with other settings.
    pub fn builder() -> RingBuilder {
        RingBuilder { hasher: Hasher::STABLE, virtual_nodes: 160 }
    }

    /// Adds a node. Only keys that it now owns move.
    ///
    /// # Errors
    ///
    /// The errors of [`RingBuilder::build`]. The ring is unchanged then.
    pub fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let mut nodes = self.nodes.clone();
        let index = nodes.add(node)?;
        self.settings.check(&nodes)?;
        let mut points: Vec<_> = self.settings.points_of(&nodes, index).collect();
        points.sort_unstable();
        let table = self.table.merged(&points, |a, b| by_name(&nodes, a, b));
        self.settings.check_collisions(&nodes, &table)?;
        self.nodes = nodes;
        self.table = table;
        Ok(index)
    }

    /// Removes a node. Only its keys move.
    ///
    /// # Errors
    ///
    /// [`RemoveError::UnknownNode`] and [`RemoveError::LastNode`]. The ring is unchanged then.
    pub fn remove(&mut self, name: &str) -> Result<Node, RemoveError> {
        let (index, node) = self.nodes.remove(name)?;
        self.table = self.table.retained(|_, owner| owner != index);
        Ok(node)
    }

    /// Changes the weight of the node with this name. Only keys from it or to it move.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownNode`], and the errors of [`RingBuilder::build`]. The ring is unchanged then.
    pub fn set_weight(&mut self, name: &str, weight: Weight) -> Result<(), BuildError> {
        let mut nodes = self.nodes.clone();
        let index = nodes.set_weight(name, weight)?;
        self.settings.check(&nodes)?;
        let mut points: Vec<_> = self.settings.points_of(&nodes, index).collect();
        points.sort_unstable();
        let others = (self.nodes.len() > 1).then(|| self.table.retained(|_, owner| owner != index));
        self.table = match others {
            Some(others) => others.merged(&points, |a, b| by_name(&nodes, a, b)),
            None => TokenTable::build(points.iter().copied(), points.len(), |a, b| a.cmp(&b)),
        };
        self.nodes = nodes;
        Ok(())
    }

    /// The settings of the ring.
    pub fn settings(&self) -> RingBuilder {
        self.settings
    }

    /// The tokens in ascending order, each with the number of its node.
    pub fn tokens(&self) -> impl Iterator<Item = (Token, NodeIndex)> {
        self.table.iter().map(|(token, node)| (Token(token), node))
    }
}

impl sealed::Table for Ring {
    fn table(&self) -> &TokenTable {
        &self.table
    }
}

impl TokenPlacement for Ring {}

impl Placement for Ring {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.settings.hasher.hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.table.owner(hash.0)
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        // The result says whether the visitor stopped the walk, which the caller knows.
        let _ = self.table.owners_from(hash.0).try_for_each(visit);
    }

    #[inline]
    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        self.table.fill(hash.0, &self.nodes, out)
    }
}

/// A position on the ring, in the space of key hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Token(pub u64);

/// Settings of a [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RingBuilder {
    hasher: Hasher,
    virtual_nodes: u32,
}

impl RingBuilder {
    /// Sets the number of tokens of a node of weight one; 160 by default. More tokens balance better and cost memory.
    pub fn virtual_nodes(mut self, virtual_nodes: u32) -> Self {
        self.virtual_nodes = virtual_nodes;
        self
    }

    /// Sets the hash of keys and names; [`Hasher::STABLE`] by default.
    pub fn hasher(mut self, hasher: Hasher) -> Self {
        self.hasher = hasher;
        self
    }

    pub(crate) fn hash_in_use(self) -> Hasher {
        self.hasher
    }

    pub(crate) fn virtual_nodes_each(self) -> u32 {
        self.virtual_nodes
    }

    /// Builds a ring.
    ///
    /// # Errors
    ///
    /// [`BuildError::ShareTooSmall`] if weight times virtual nodes is below a half; [`BuildError::TooManyTokens`] above
    /// 2^26 tokens; [`BuildError::HashCollision`] for two names with one hash.
    pub fn build(self, nodes: Nodes) -> Result<Ring, BuildError> {
        let count = self.check(&nodes)?;
        let points = nodes.iter().flat_map(|(index, _)| self.points_of(&nodes, index));
        let table = TokenTable::build(points, count, |a, b| by_name(&nodes, a, b));
        self.check_collisions(&nodes, &table)?;
        Ok(Ring { settings: self, nodes, table })
    }

    fn points_of(self, nodes: &Nodes, index: NodeIndex) -> impl Iterator<Item = (u64, NodeIndex)> + Clone {
        let node = nodes.node(index);
        let seed = self.hasher.hash(node.name().as_bytes()).0;
        (0..self.tokens_for(node.weight())).map(move |i| (splitmix(seed, i), index))
    }

    /// Number of tokens of a node of this weight. A number above 64 bits is far more than any ring can have.
    fn tokens_for(self, weight: Weight) -> u64 {
        let tokens = (u128::from(weight.units()) * u128::from(self.virtual_nodes) + (1 << 15)) >> 16;
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Checks that every node has a token, and returns the number of all tokens.
    fn check(self, nodes: &Nodes) -> Result<usize, BuildError> {
        if nodes.is_empty() {
            return Err(BuildError::NoNodes);
        }
        let mut tokens = 0_u64;
        for (_, node) in nodes.iter() {
            match self.tokens_for(node.weight()) {
                0 => return Err(BuildError::ShareTooSmall(node.name().into())),
                own => tokens = tokens.saturating_add(own),
            }
        }
        match usize::try_from(tokens) {
            Ok(count) if tokens <= TOKENS_MAX => Ok(count),
            _ => Err(BuildError::TooManyTokens { tokens, max: TOKENS_MAX }),
        }
    }

    /// Two names with one hash have the same tokens, all of which would belong to the first name.
    fn check_collisions(self, nodes: &Nodes, table: &TokenTable) -> Result<(), BuildError> {
        let mut last = None;
        for (token, node) in table.iter() {
            if let Some((before, other)) = last
                && before == token
                && other != node
            {
                let (one, two) = (nodes.node(other).name(), nodes.node(node).name());
                if self.hasher.hash(one.as_bytes()) == self.hasher.hash(two.as_bytes()) {
                    return Err(BuildError::HashCollision(one.into(), two.into()));
                }
            }
            last = Some((token, node));
        }
        Ok(())
    }
}

fn by_name(nodes: &Nodes, a: NodeIndex, b: NodeIndex) -> Ordering {
    nodes.node(a).name().cmp(nodes.node(b).name())
}
