//! Sorted tokens with an index by their leading bits: the look-up table of every kind of ring.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::error::ReplicaError;
use crate::node::{NodeIndex, Nodes};
use crate::placement::{check_replicas, fill_distinct};

/// Largest number of tokens in one ring, 2^26. More memory is better spent otherwise.
pub(crate) const TOKENS_MAX: u64 = 1 << 26;

/// Tokens in order, each owned by a node.
///
/// A look-up reads one word of `starts` and, in most cases, one cache line of `entries`. Each entry keeps the leading
/// 40 bits of a token beside the number of its node; only a hash that agrees with a token in all 40 bits needs
/// `tokens`.
#[derive(Clone, Debug)]
pub struct TokenTable {
    /// Ascending; never empty.
    tokens: Vec<u64>,
    /// For each token its leading bits and its node, followed by `SENTINELS` entries with the first node and the
    /// greatest prefix, so that a search neither runs past the end nor has to wrap around.
    entries: Vec<u64>,
    /// For each value of a hash's leading bits, the number of tokens with smaller ones.
    starts: Vec<u32>,
    /// Number of bits by which a hash is shifted to get those leading bits.
    shift: u32,
}

impl TokenTable {
    /// Sorts `points`, whose number `count` is at least one. If two tokens are equal, the node that `tie` puts first
    /// owns them.
    pub(crate) fn build(
        points: impl Iterator<Item = (u64, NodeIndex)> + Clone,
        count: usize,
        tie: impl Fn(NodeIndex, NodeIndex) -> Ordering,
    ) -> Self {
        let shift = shift_for(count);
        let mut ends = vec![0_u32; 1 << (64 - shift)];
        for (token, _) in points.clone() {
            ends[lead(token, shift)] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            let start = sum;
            sum += *end;
            *end = start;
        }
        // One pass puts each token into the bucket of its leading bits. Only the few tokens within a bucket are left to
        // sort.
        let mut sorted = vec![(0_u64, NodeIndex::default()); count];
        for point in points {
            let end = &mut ends[lead(point.0, shift)];
            sorted[*end as usize] = point;
            *end += 1;
        }
        let mut start = 0;
        for end in ends {
            let bucket = &mut sorted[start..end as usize];
            if bucket.len() > 1 {
                bucket.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| tie(a.1, b.1)));
            }
            start = end as usize;
        }
        Self::from_sorted(&sorted)
    }

    /// The same table with `points` (ascending) merged in. Nothing is hashed or sorted again.
    pub(crate) fn merged(&self, points: &[(u64, NodeIndex)], tie: impl Fn(NodeIndex, NodeIndex) -> Ordering) -> Self {
        let mut merged = Vec::with_capacity(self.len() + points.len());
        let mut new = points.iter().copied().peekable();
        for old in self.iter() {
            while let Some(point) = new.next_if(|point| point.0.cmp(&old.0).then_with(|| tie(point.1, old.1)).is_lt()) {
                merged.push(point);
            }
            merged.push(old);
        }
        merged.extend(new);
        Self::from_sorted(&merged)
    }

    /// The same table with only the tokens that `keep` accepts, which must be at least one.
    pub(crate) fn retained(&self, keep: impl Fn(u64, NodeIndex) -> bool) -> Self {
        let kept: Vec<_> = self.iter().filter(|&(token, node)| keep(token, node)).collect();
        Self::from_sorted(&kept)
    }

    fn from_sorted(points: &[(u64, NodeIndex)]) -> Self {
        assert!(!points.is_empty(), "a ring has a token");
        let shift = shift_for(points.len());
        let tokens = points.iter().map(|&(token, _)| token).collect();
        let first = points[0].1;
        let entries = points
            .iter()
            .copied()
            .chain([(u64::MAX, first); SENTINELS])
            .map(|(token, node)| (token & !NODE_MASK) | u64::from(node.as_u32()))
            .collect();
        let mut starts = Vec::with_capacity(1 << (64 - shift));
        for (position, &(token, _)) in (0_u32..).zip(points) {
            while starts.len() <= lead(token, shift) {
                starts.push(position);
            }
        }
        starts.resize(1 << (64 - shift), u32::try_from(points.len()).expect("TOKENS_MAX fits 32 bits"));
        Self { tokens, entries, starts, shift }
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The owner of a hash: the node of the first token at or after it, wrapping around.
    #[inline]
    pub(crate) fn owner(&self, hash: u64) -> NodeIndex {
        node_of(self.entries[self.search(hash)])
    }

    /// The position of the first token at or after `hash`; 0 after the last token.
    pub(crate) fn position(&self, hash: u64) -> usize {
        let position = self.search(hash);
        if position == self.len() { 0 } else { position }
    }

    /// The owners of `hash` and of the tokens after it, each token once.
    pub(crate) fn owners_from(&self, hash: u64) -> impl Iterator<Item = NodeIndex> {
        let (before, after) = self.entries[..self.len()].split_at(self.position(hash));
        after.iter().chain(before).map(|&entry| node_of(entry))
    }

    /// Fills `out` with the distinct owners from `hash` on.
    #[inline]
    pub(crate) fn fill(&self, hash: u64, nodes: &Nodes, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        check_replicas(out.len(), nodes)?;
        fill_distinct(&self.entries[..self.len()], self.search(hash), node_of, out);
        Ok(())
    }

    /// Tokens and owners, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, NodeIndex)> + Clone {
        self.tokens.iter().zip(&self.entries).map(|(&token, &entry)| (token, node_of(entry)))
    }

    /// The position of the first token at or after `hash`; `len()`, a sentinel, after the last token.
    #[inline]
    fn search(&self, hash: u64) -> usize {
        let prefix = hash & !NODE_MASK;
        let mut position = self.starts[lead(hash, self.shift)] as usize;
        // Most searches end within two tokens. Counting both at once avoids a branch that would be mispredicted.
        let below = |position: usize| self.entries[position] & !NODE_MASK < prefix;
        position += usize::from(below(position)) + usize::from(below(position + 1));
        while below(position) {
            position += 1;
        }
        // Where hashes have few values, many are equal to a token, so that the first one is looked at here.
        if self.entries[position] & !NODE_MASK == prefix && self.tokens.get(position).is_some_and(|&token| token < hash)
        {
            return self.search_exactly(hash);
        }
        position
    }

    #[cold]
    fn search_exactly(&self, hash: u64) -> usize {
        self.tokens.partition_point(|&token| token < hash)
    }
}

/// Between one and two buckets for each token, so that a bucket holds less than one token on average.
fn shift_for(count: usize) -> u32 {
    64 - count.next_power_of_two().trailing_zeros().max(1)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 27 bits are left")]
fn lead(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}

#[inline]
fn node_of(entry: u64) -> NodeIndex {
    NodeIndex::from_u32((entry & NODE_MASK) as u32)
}

/// The bits of an entry that hold the node, enough for `NODES_MAX`.
const NODE_MASK: u64 = (1 << 24) - 1;

/// A search that starts at the end reads this many entries past it.
const SENTINELS: usize = 2;
