//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).

use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::error::{BuildError, ReplicaError};
use crate::hash::{Hasher, KeyHash, scale, splitmix};
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::{Placement, check_replicas, fill_distinct};

/// A table that the nodes fill in turns, each in an order of its own: the fastest look-up, and near perfect balance.
///
/// | | |
/// | --- | --- |
/// | look-up | one multiplication and one read |
/// | memory | two bytes an entry; 65537 entries unless set |
/// | balance | a node's share of the entries is exact to one entry |
/// | disruption | not minimal: besides a removed node's keys a few more move, about 1 % of all at 100 entries a node (the paper's figure 12) |
///
/// There is no adding or removing: build anew. A node that fails for a while is better skipped
/// ([`Placement::owner_where`]): its entries fall to the nodes of the entries after them, and nothing else moves.
///
/// A node starts at entry `h mod size` of the table and steps by `1 + s mod (size - 1)`, where h is the hash of its name and s the
/// first output of SplitMix64 from there. The nodes take turns in the order of their names; a node of less than the greatest weight
/// sits out turns in proportion. A key belongs to entry `hash * size / 2^64`.
#[derive(Clone, Debug)]
pub struct Maglev {
    hasher: Hasher,
    nodes: Nodes,
    table: Vec<u16>,
}

impl Maglev {
    /// A table of 65537 entries, with the stable hash.
    ///
    /// # Errors
    ///
    /// As [`MaglevBuilder::build`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::builder().build(nodes)
    }

    /// A table with other settings.
    pub fn builder() -> MaglevBuilder {
        MaglevBuilder { hasher: Hasher::STABLE, table_size: 65537 }
    }

    /// How many entries the table has.
    pub fn table_size(&self) -> usize {
        self.table.len()
    }

    /// The table: for each entry the number of its node.
    pub fn table(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.table.iter().map(|&node| NodeIndex::from_u32(u32::from(node)))
    }

    /// Bytes on the heap, without the nodes' names.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.table)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the result is below the length of the table")]
    fn entry(&self, hash: KeyHash) -> usize {
        scale(hash.0, self.table.len() as u64) as usize
    }

    fn owners_from(&self, hash: KeyHash) -> impl Iterator<Item = NodeIndex> {
        let (before, after) = self.table.split_at(self.entry(hash));
        after.iter().chain(before).map(|&node| NodeIndex::from_u32(u32::from(node)))
    }
}

impl Placement for Maglev {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        NodeIndex::from_u32(u32::from(self.table[self.entry(hash)]))
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        // Whether the walk was broken off makes no difference to the caller, who knows.
        let _ = self.owners_from(hash).try_for_each(visit);
    }

    #[inline]
    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        check_replicas(out.len(), &self.nodes)?;
        fill_distinct(&self.table, self.entry(hash), |node| NodeIndex::from_u32(u32::from(node)), out);
        Ok(())
    }
}

/// Settings of a [`Maglev`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevBuilder {
    hasher: Hasher,
    table_size: u32,
}

impl MaglevBuilder {
    /// How many entries the table has: a prime number, 65537 unless set. The paper's balance and disruption need 100 entries for
    /// each node there will ever be. Tables of different sizes have nothing in common, which is why the size never follows
    /// the number of nodes by itself.
    pub fn table_size(mut self, entries: u32) -> Self {
        self.table_size = entries;
        self
    }

    /// How keys and names are hashed; [`Hasher::STABLE`] unless set.
    pub fn hasher(mut self, hasher: Hasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Builds a table.
    ///
    /// # Errors
    ///
    /// [`BuildError::TooManyNodes`] above 65536 nodes; [`BuildError::BadTableSize`] if the size is no prime number or above 2^24;
    /// [`BuildError::ShareTooSmall`] for a node whose weight is less than half an entry.
    pub fn build(self, nodes: Nodes) -> Result<Maglev, BuildError> {
        check_nodes(&nodes)?;
        check_size(self.table_size)?;
        let fillers = self.fillers(&nodes, self.table_size)?;
        let units: Vec<_> = by_name(&nodes).iter().map(|(_, node)| u64::from(node.weight().units())).collect();
        let turn = units.iter().copied().max().unwrap_or(1);
        // What each has of a turn so far; a turn costs the greatest weight.
        let mut saved = vec![0; units.len()];
        let table = fill(fillers, self.table_size, |filler, _| {
            saved[filler] += units[filler];
            let takes = saved[filler] >= turn;
            saved[filler] -= if takes { turn } else { 0 };
            takes
        });
        Ok(Maglev { hasher: self.hasher, nodes, table })
    }

    fn fillers(self, nodes: &Nodes, size: u32) -> Result<Vec<Filler>, BuildError> {
        let total = nodes.total_units();
        by_name(nodes)
            .into_iter()
            .map(|(index, node)| {
                if u64::from(node.weight().units()) * u64::from(size) * 2 < total {
                    return Err(BuildError::ShareTooSmall(node.name().into()));
                }
                let seed = self.hasher.hash(node.name().as_bytes()).0;
                Ok(Filler::new(index, modulo(seed, size), 1 + modulo(splitmix(seed, 0), size - 1)))
            })
            .collect()
    }
}

/// A node while it fills the table.
pub(crate) struct Filler {
    node: u16,
    /// The entry it wants next.
    entry: u32,
    step: u32,
}

/// Fills a table of a prime `size`, the fillers in turns; `takes` says of a filler, by position, whether it takes an entry in a
/// round, counted from one.
pub(crate) fn fill(mut fillers: Vec<Filler>, size: u32, mut takes: impl FnMut(usize, u32) -> bool) -> Vec<u16> {
    const EMPTY: u32 = u32::MAX;
    let mut table = vec![EMPTY; size as usize];
    let mut empty = size;
    for round in 1.. {
        for (position, filler) in fillers.iter_mut().enumerate() {
            if empty == 0 {
                break;
            }
            if !takes(position, round) {
                continue;
            }
            while table[filler.entry as usize] != EMPTY {
                filler.advance(size);
            }
            table[filler.entry as usize] = u32::from(filler.node);
            empty -= 1;
        }
        if empty == 0 {
            break;
        }
    }
    table.into_iter().map(|node| u16::try_from(node).expect("every entry is filled")).collect()
}

impl Filler {
    pub(crate) fn new(node: NodeIndex, entry: u32, step: u32) -> Self {
        let node = u16::try_from(node.get()).expect("there are at most NODES_MAX");
        Self { node, entry, step }
    }

    /// A prime size makes every step visit every entry.
    fn advance(&mut self, size: u32) {
        self.entry += self.step;
        if self.entry >= size {
            self.entry -= size;
        }
    }
}

pub(crate) fn check_nodes(nodes: &Nodes) -> Result<(), BuildError> {
    if nodes.capacity() > NODES_MAX {
        return Err(BuildError::TooManyNodes { nodes: nodes.capacity(), max: NODES_MAX });
    }
    Ok(())
}

pub(crate) fn check_size(size: u32) -> Result<(), BuildError> {
    if size <= TABLE_MAX && is_prime(size) { Ok(()) } else { Err(BuildError::BadTableSize(size)) }
}

fn by_name(nodes: &Nodes) -> Vec<(NodeIndex, &Node)> {
    let mut order: Vec<_> = nodes.iter().collect();
    order.sort_by_key(|(_, node)| node.name());
    order
}

pub(crate) fn modulo(value: u64, by: u32) -> u32 {
    u32::try_from(value % u64::from(by)).expect("a remainder is below its divisor")
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..=number)
            .take_while(|divisor| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The largest table, 2^24 entries.
const TABLE_MAX: u32 = 1 << 24;

const NODES_MAX: usize = 1 << 16;
