//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4).

use alloc::collections::BinaryHeap;
use alloc::collections::binary_heap::PeekMut;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::ControlFlow;

use crate::error::{BuildError, ReplicaError};
use crate::hash::{Hasher, KeyHash, scale, splitmix};
use crate::node::{Node, NodeIndex, Nodes, Weight, require_distinct_hashes};
use crate::placement::{Placement, check_replicas, fill_distinct};

/// A table that the nodes fill in turns, each in its own order. It has the fastest look-up and almost perfect balance.
///
/// | property | value |
/// | --- | --- |
/// | look-up | one multiplication and one read |
/// | memory | two bytes for each entry; 65537 entries by default |
/// | balance | a node has its share of the entries, rounded down or up |
/// | disruption | not minimal: when a node is removed, a few keys of other nodes move too, about 1 % of all keys at 100 entries a node (the paper's figure 12) |
///
/// Nodes cannot be added or removed: build a new table. To leave out a node that fails for a while, skip it
/// ([`Placement::owner_where`]): its entries fall to the nodes of the entries after them, and nothing else moves.
///
/// A node starts at entry `h mod size` of the table and steps by `1 + s mod (size - 1)`, where h is the hash of its
/// name and s is the first output of SplitMix64 seeded with h. Shares are rounded by the largest remainders; equal
/// remainders are ordered by name. A node takes its n-th entry in round `ceil(n * greatest weight / weight)`, and
/// within a round the nodes take turns in the order of their names. A key belongs to entry `hash * size / 2^64`.
#[derive(Clone, Debug)]
pub struct Maglev {
    hasher: Hasher,
    nodes: Nodes,
    table: Vec<u16>,
}

impl Maglev {
    /// Makes a table of 65537 entries, with the stable hash.
    ///
    /// # Errors
    ///
    /// The errors of [`MaglevBuilder::build`].
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::builder().build(nodes)
    }

    /// Starts a table with other settings.
    pub fn builder() -> MaglevBuilder {
        MaglevBuilder { hasher: Hasher::STABLE, table_size: 65537 }
    }

    /// Changes the weight of the node with this name by building the table again. Most keys that move belong to this
    /// node, and a few to others.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownNode`], and the errors of [`MaglevBuilder::build`]. Nothing is changed then.
    pub fn set_weight(&mut self, name: &str, weight: Weight) -> Result<(), BuildError> {
        let mut nodes = self.nodes.clone();
        nodes.set_weight(name, weight)?;
        let size = u32::try_from(self.table.len()).expect("a table size fits 32 bits");
        *self = Self::builder().table_size(size).hasher(self.hasher).build(nodes)?;
        Ok(())
    }

    /// Number of entries of the table.
    pub fn table_size(&self) -> usize {
        self.table.len()
    }

    /// The hash in use.
    pub fn hasher(&self) -> Hasher {
        self.hasher
    }

    /// The table: the node number of each entry.
    pub fn table(&self) -> impl ExactSizeIterator<Item = NodeIndex> {
        self.table.iter().map(|&node| NodeIndex::from_u32(u32::from(node)))
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
        // The result says whether the visitor stopped the walk, which the caller knows.
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
    /// Sets the number of entries of the table: a prime number, 65537 by default. The paper's balance and disruption
    /// need 100 entries for each node that there will ever be. Tables of different sizes have nothing in common, so the
    /// size does not follow the number of nodes automatically.
    pub fn table_size(mut self, entries: u32) -> Self {
        self.table_size = entries;
        self
    }

    /// Sets the hash of keys and names; [`Hasher::STABLE`] by default.
    pub fn hasher(mut self, hasher: Hasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Builds a table.
    ///
    /// # Errors
    ///
    /// [`BuildError::TooManyNodes`] above 65536 nodes; [`BuildError::BadTableSize`] if the size is not prime or above
    /// 2^24; [`BuildError::ShareTooSmall`] for a node whose weight is less than an entry; [`BuildError::HashCollision`]
    /// for two names with one hash.
    pub fn build(self, nodes: Nodes) -> Result<Maglev, BuildError> {
        check_nodes(&nodes)?;
        check_size(self.table_size)?;
        require_distinct_hashes(&nodes, self.hasher)?;
        let order: Vec<_> = nodes.by_name().collect();
        let entries = apportion(&order, nodes.total_units(), self.table_size)?;
        let greatest = order.iter().map(|(_, node)| node.weight().units()).max().unwrap_or(1);
        let round_of = |filler: usize, entry: u32| {
            let units = u128::from(order[filler].1.weight().units());
            let round = (u128::from(entry) * u128::from(greatest)).div_ceil(units);
            u64::try_from(round).expect("every node has an entry, so that there are not more than two rounds an entry")
        };
        let table = fill(self.fillers(&order), self.table_size, |filler, taken, _| {
            (taken < entries[filler]).then(|| round_of(filler, taken + 1))
        });
        Ok(Maglev { hasher: self.hasher, nodes, table })
    }

    fn fillers(self, order: &[(NodeIndex, &Node)]) -> Vec<Filler> {
        let size = self.table_size;
        let filler = |&(index, node): &(NodeIndex, &Node)| {
            let seed = self.hasher.hash(node.name().as_bytes()).0;
            Filler::new(index, modulo(seed, size), 1 + modulo(splitmix(seed, 0), size - 1))
        };
        order.iter().map(filler).collect()
    }
}

/// Number of the `size` entries that each node gets: its share by weight, rounded down or up so that the sum is right.
/// The largest remainders are rounded up; of equal remainders, the first in order.
fn apportion(order: &[(NodeIndex, &Node)], total: u128, size: u32) -> Result<Vec<u32>, BuildError> {
    let mut entries = Vec::with_capacity(order.len());
    let mut remainders = Vec::with_capacity(order.len());
    for (position, (_, node)) in order.iter().enumerate() {
        let share = u128::from(node.weight().units()) * u128::from(size);
        let Some(whole) = u32::try_from(share / total).ok().filter(|&whole| whole > 0) else {
            return Err(BuildError::ShareTooSmall(node.name().into()));
        };
        entries.push(whole);
        remainders.push((Reverse(share % total), position));
    }
    remainders.sort_unstable();
    let left = size - entries.iter().sum::<u32>();
    for &(_, position) in remainders.iter().take(left as usize) {
        entries[position] += 1;
    }
    Ok(entries)
}

/// A node while it fills the table.
pub(crate) struct Filler {
    node: u16,
    /// The entry that the node wants next.
    entry: u32,
    step: u32,
}

/// Fills a table of a prime `size` in rounds, within each round in the order of the fillers.
///
/// `next` takes the position of a filler, its number of entries so far, and the round of its last entry (0 at first).
/// It returns the round in which the filler takes its next entry, or `None` if it takes no more. Together the fillers
/// must want at least `size` entries.
pub(crate) fn fill(
    mut fillers: Vec<Filler>,
    size: u32,
    mut next: impl FnMut(usize, u32, u64) -> Option<u64>,
) -> Vec<u16> {
    const EMPTY: u32 = u32::MAX;
    let mut table = vec![EMPTY; size as usize];
    let mut taken = vec![0_u32; fillers.len()];
    // Rounds in which no filler takes an entry are skipped, because there may be very many.
    let mut turns: BinaryHeap<_> =
        (0..fillers.len()).filter_map(|position| Some(Reverse((next(position, 0, 0)?, position)))).collect();
    for _ in 0..size {
        let mut turn = turns.peek_mut().expect("the fillers want as many entries as there are");
        let Reverse((round, position)) = *turn;
        let filler = &mut fillers[position];
        while table[filler.entry as usize] != EMPTY {
            filler.advance(size);
        }
        table[filler.entry as usize] = u32::from(filler.node);
        taken[position] += 1;
        match next(position, taken[position], round) {
            Some(round) => *turn = Reverse((round, position)),
            None => drop(PeekMut::pop(turn)),
        }
    }
    table.into_iter().map(|node| u16::try_from(node).expect("every entry is filled")).collect()
}

impl Filler {
    pub(crate) fn new(node: NodeIndex, entry: u32, step: u32) -> Self {
        let node = u16::try_from(node.get()).expect("there are at most NODES_MAX");
        Self { node, entry, step }
    }

    /// A prime size makes every step width visit every entry.
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

pub(crate) fn modulo(value: u64, by: u32) -> u32 {
    u32::try_from(value % u64::from(by)).expect("a remainder is below its divisor")
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..=number)
            .take_while(|divisor| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// Largest table, 2^24 entries.
const TABLE_MAX: u32 = 1 << 24;

pub(crate) const NODES_MAX: usize = 1 << 16;
