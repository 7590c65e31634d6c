//! Rendezvous hashing, or highest random weight (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit
//! Rates", IEEE/ACM Transactions on Networking, 1998), with weights by the logarithmic method (Schindelhauer and
//! Schomaker, "Weighted Distributed Hash Tables", SPAA 2005).

mod log;

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::ControlFlow;

use crate::error::{BuildError, RemoveError, ReplicaError};
use crate::hash::{Hasher, KeyHash, fold, splitmix};
use crate::node::{Node, NodeIndex, Nodes, Weight, require_distinct_hashes};
use crate::placement::{Placement, check_replicas};
use log::surprise;

/// Rendezvous hashing: every node makes a draw for every key, and the node with the best draw owns the key.
///
/// | property | value |
/// | --- | --- |
/// | look-up | linear: one multiplication for each node, one logarithm for each distinct weight |
/// | memory | 20 bytes for each node |
/// | balance | perfect, except for chance, with any weights |
/// | disruption | minimal, for owners and for replica sets, whether a node is added or removed or changes its weight |
///
/// A node draws `x = fold(hash ^ seed, multiplier)`. The seed is the hash of its name, and the multiplier is the first
/// output of SplitMix64 with this seed, made odd. The lowest `-log2((x + 1) / 2^64) / weight` wins; the logarithm is
/// computed in integers. The order of the nodes does not matter.
///
/// ```
/// use quorate_consistent_hash::{Node, Nodes, Placement, Rendezvous, Weight};
///
/// let big = Node::new("big").with_weight(Weight::new(3.0)?);
/// let placement = Rendezvous::new(Nodes::new([big, Node::new("small")])?)?;
/// let count = (0..4000_u32).filter(|i| placement.owner(&i.to_le_bytes()).name() == "big").count();
/// assert!((2900..3100).contains(&count));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "HRW")]
#[derive(Clone, Debug)]
pub struct Rendezvous {
    hasher: Hasher,
    nodes: Nodes,
    /// Ordered by weight, then name.
    draws: Vec<Draw>,
    /// The node number of each of `draws`.
    members: Vec<NodeIndex>,
    /// Runs of equal weight.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: u64,
    multiplier: u64,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    units: u64,
    start: usize,
    end: usize,
}

/// A node's draw for a key ([`Rendezvous::draws_of`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RendezvousDraw {
    /// The number of the node.
    pub node: NodeIndex,
    /// The draw: 64 uniform bits.
    pub draw: u64,
    /// 2^48 times `-log2((draw + 1) / 2^64)`, rounded up. The lowest of these divided by the node's weight wins.
    pub logarithm: u64,
}

/// A node's draw for one key, with all that decides between draws.
#[derive(Clone, Copy, Debug)]
struct Standing {
    surprise: u64,
    units: u64,
    draw: u64,
    at: usize,
}

impl Rendezvous {
    /// Makes a placement on these nodes, with the stable hash.
    ///
    /// # Errors
    ///
    /// [`BuildError::HashCollision`] for two names with one hash.
    pub fn new(nodes: Nodes) -> Result<Self, BuildError> {
        Self::with_hasher(nodes, Hasher::STABLE)
    }

    /// Makes a placement with another hash.
    ///
    /// # Errors
    ///
    /// The errors of [`Rendezvous::new`].
    pub fn with_hasher(nodes: Nodes, hasher: Hasher) -> Result<Self, BuildError> {
        require_distinct_hashes(&nodes, hasher)?;
        Ok(Self::of_distinct(nodes, hasher))
    }

    fn of_distinct(nodes: Nodes, hasher: Hasher) -> Self {
        let mut order: Vec<_> = nodes.iter().collect();
        order.sort_by_key(|(_, node)| (node.weight(), node.name()));
        let draws = order
            .iter()
            .map(|(_, node)| {
                let seed = hasher.hash(node.name().as_bytes()).0;
                Draw { seed, multiplier: splitmix(seed, 0) | 1 }
            })
            .collect();
        let mut groups: Vec<Group> = Vec::new();
        for (at, (_, node)) in order.iter().enumerate() {
            let units = node.weight().units();
            match groups.last_mut() {
                Some(group) if group.units == units => group.end = at + 1,
                _ => groups.push(Group { units, start: at, end: at + 1 }),
            }
        }
        let members = order.iter().map(|&(index, _)| index).collect();
        Self { hasher, nodes, draws, members, groups }
    }

    /// Adds a node. Only keys that it now owns move.
    ///
    /// # Errors
    ///
    /// The errors of [`Nodes::new`] and [`Rendezvous::new`]. Nothing is changed then.
    pub fn add(&mut self, node: Node) -> Result<NodeIndex, BuildError> {
        let mut nodes = self.nodes.clone();
        let index = nodes.add(node)?;
        *self = Self::with_hasher(nodes, self.hasher)?;
        Ok(index)
    }

    /// Removes a node. Only its keys move.
    ///
    /// # Errors
    ///
    /// [`RemoveError::UnknownNode`] and [`RemoveError::LastNode`]. Nothing is changed then.
    pub fn remove(&mut self, name: &str) -> Result<Node, RemoveError> {
        let mut nodes = self.nodes.clone();
        let (_, node) = nodes.remove(name)?;
        *self = Self::of_distinct(nodes, self.hasher);
        Ok(node)
    }

    /// Changes the weight of the node with this name. Only keys from it or to it move.
    ///
    /// # Errors
    ///
    /// [`BuildError::UnknownNode`]. Nothing is changed then.
    pub fn set_weight(&mut self, name: &str, weight: Weight) -> Result<(), BuildError> {
        let mut nodes = self.nodes.clone();
        nodes.set_weight(name, weight)?;
        *self = Self::of_distinct(nodes, self.hasher);
        Ok(())
    }

    /// The hash in use.
    pub fn hasher(&self) -> Hasher {
        self.hasher
    }

    /// The draws of all nodes for a hashed key, best first: the first is the owner's.
    pub fn draws_of(&self, hash: KeyHash) -> Vec<RendezvousDraw> {
        let mut draws: Vec<Standing> = Vec::with_capacity(self.draws.len());
        for group in &self.groups {
            draws.extend((group.start..group.end).map(|at| {
                let draw = self.draws[at].draw(hash.0);
                Standing { surprise: surprise(draw), units: group.units, draw, at }
            }));
        }
        draws.sort_by(Standing::order);
        let shown =
            |draw: Standing| RendezvousDraw { node: self.members[draw.at], draw: draw.draw, logarithm: draw.surprise };
        draws.into_iter().map(shown).collect()
    }

    /// The position of the owner: the best of the best draws of each group.
    #[inline]
    fn best(&self, hash: u64) -> usize {
        let mut best: Option<Standing> = None;
        for group in &self.groups {
            let (mut draw, mut at) = (0, group.start);
            for (offset, candidate) in self.draws[group.start..group.end].iter().enumerate() {
                let x = candidate.draw(hash);
                if x > draw {
                    draw = x;
                    at = group.start + offset;
                }
            }
            let standing = self.standing(draw, group, at);
            if best.is_none_or(|best| standing.beats(&best)) {
                best = Some(standing);
            }
        }
        best.expect("a placement has a node").at
    }

    /// The three best draws, best first; `None` if there are fewer.
    fn best_three(&self, hash: u64) -> Option<[usize; 3]> {
        if self.groups.len() == 1 {
            let best = best_three_draws(&self.draws, hash);
            return best.iter().all(|&(draw, _)| draw > 0).then(|| best.map(|(_, position)| position as usize));
        }
        let mut ranked = [Standing::NONE; 3];
        let mut filled = 0;
        for group in &self.groups {
            let best = best_three_draws(&self.draws[group.start..group.end], hash);
            // They come in the order of their draws, so that after the first that does not enter, none will.
            for (draw, offset) in best.into_iter().filter(|&(draw, _)| draw > 0) {
                let standing = self.standing(draw, group, group.start + offset as usize);
                let place = ranked[..filled].partition_point(|other| other.beats(&standing));
                if place == ranked.len() {
                    break;
                }
                filled = (filled + 1).min(ranked.len());
                ranked[place..filled].rotate_right(1);
                ranked[place] = standing;
            }
        }
        // A node whose draw is zero was left out above. A caller that needs it ranks all nodes.
        (filled == ranked.len()).then(|| ranked.map(|standing| standing.at))
    }

    /// Among equal weights the draw alone decides, so that its logarithm is not needed.
    #[inline]
    fn standing(&self, draw: u64, group: &Group, at: usize) -> Standing {
        let equal = self.groups.len() == 1;
        Standing { surprise: if equal { 0 } else { surprise(draw) }, units: group.units, draw, at }
    }

    /// Puts the best draws that are worse than `after` into `ranked`, best first, and returns their number. If `ranked`
    /// has room, these are all nodes. The rest of `ranked` is not sorted.
    fn rank(&self, hash: u64, after: Option<Standing>, ranked: &mut [Standing]) -> usize {
        let mut filled = 0;
        for group in &self.groups {
            // No draw up to this one can enter `ranked`, because a draw of the same weight did not.
            let mut floor = None;
            for at in group.start..group.end {
                let x = self.draws[at].draw(hash);
                if floor.is_some_and(|floor| x <= floor) {
                    continue;
                }
                let standing = self.standing(x, group, at);
                if after.is_some_and(|after| !after.beats(&standing)) {
                    continue;
                }
                let place = ranked[..filled].partition_point(|other| other.beats(&standing));
                if place == ranked.len() {
                    floor = Some(x);
                    continue;
                }
                filled = (filled + 1).min(ranked.len());
                ranked[place..filled].rotate_right(1);
                ranked[place] = standing;
            }
        }
        filled
    }
}

impl Placement for Rendezvous {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.members[self.best(hash.0)]
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let mut after = None;
        loop {
            let mut ranked = [Standing::NONE; 8];
            let filled = self.rank(hash.0, after, &mut ranked);
            for standing in &ranked[..filled] {
                if visit(self.members[standing.at]).is_break() {
                    return;
                }
            }
            if filled < ranked.len() {
                return;
            }
            after = ranked.last().copied();
        }
    }

    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        check_replicas(out.len(), &self.nodes)?;
        if let [first, second, third] = out
            && let Some(best) = self.best_three(hash.0)
        {
            (*first, *second, *third) = (self.members[best[0]], self.members[best[1]], self.members[best[2]]);
            return Ok(());
        }
        let mut after = None;
        for part in out.chunks_mut(8) {
            let mut ranked = [Standing::NONE; 8];
            let ranked = &mut ranked[..part.len()];
            self.rank(hash.0, after, ranked);
            for (index, standing) in part.iter_mut().zip(&*ranked) {
                *index = self.members[standing.at];
            }
            after = ranked.last().copied();
        }
        Ok(())
    }
}

/// The three greatest draws with their positions, greatest first; zero if there are fewer.
///
/// Each draw is compared with the three places in turn and swapped with a smaller one. Branches would be mispredicted;
/// these selections need none.
#[inline]
fn best_three_draws(draws: &[Draw], hash: u64) -> [(u64, u32); 3] {
    let [mut first, mut second, mut third] = [(0, 0); 3];
    for (position, draw) in (0_u32..).zip(draws) {
        let new = (draw.draw(hash), position);
        let (above_first, above_second, above_third) = (new.0 > first.0, new.0 > second.0, new.0 > third.0);
        third = if above_second {
            second
        } else if above_third {
            new
        } else {
            third
        };
        second = if above_first {
            first
        } else if above_second {
            new
        } else {
            second
        };
        first = if above_first { new } else { first };
    }
    [first, second, third]
}

impl Draw {
    #[inline]
    fn draw(self, hash: u64) -> u64 {
        fold(hash ^ self.seed, self.multiplier)
    }
}

impl Standing {
    const NONE: Self = Self { surprise: 0, units: 0, draw: 0, at: 0 };

    /// True if this draw comes before the other. Draws are compared by logarithm over weight, without a division; then
    /// by the draw itself, which is finer than its logarithm; then by weight and name, which is the order of `at`.
    #[inline]
    fn beats(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }

    #[inline]
    fn order(&self, other: &Self) -> Ordering {
        let own = u128::from(self.surprise) * u128::from(other.units);
        let theirs = u128::from(other.surprise) * u128::from(self.units);
        own.cmp(&theirs).then(other.draw.cmp(&self.draw)).then(self.at.cmp(&other.at))
    }
}
