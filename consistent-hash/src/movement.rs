//! Movements between two rings: the key ranges that change nodes, with their sources and targets.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::error::{ReplicaError, display};
use crate::hash::KeyHash;
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::REPLICAS_MAX;
use crate::ring::Token;
use crate::token_placement::TokenPlacement;
use crate::zones::ZoneReplicas;

/// The key hashes after one token up to and including another. The range wraps around if the second token is not
/// greater; a range from a token to itself has all hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KeyRange {
    /// The last hash before the range.
    pub after: Token,
    /// The last hash of the range.
    pub up_to: Token,
}

impl KeyRange {
    /// True if a hash is in the range.
    pub fn contains(self, hash: KeyHash) -> bool {
        // The distance is counted from the start of the range, so that a range that wraps around needs no special case.
        let distance = hash.0.wrapping_sub(self.after.0).wrapping_sub(1);
        u128::from(distance) < self.len()
    }

    /// Number of hashes in the range, at most 2^64.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u128 {
        match self.up_to.0.wrapping_sub(self.after.0) {
            0 => 1 << 64,
            len => len.into(),
        }
    }
}

/// A key range that moves from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement<'a> {
    /// The keys that move.
    pub range: KeyRange,
    /// The node that holds the keys before, but not after.
    pub from: &'a Node,
    /// The node that holds the keys after, but not before.
    pub to: &'a Node,
}

/// The exact movements between two rings: every key that must move, and no other.
///
/// With one replica, every movement is a change of owner. With more, each range has one movement for each new member of
/// its replica set. A node in both sets keeps its copy, whatever its position in them.
///
/// ```
/// use quorate_consistent_hash::{MovementPlan, Node, Nodes, Ring};
///
/// let before = Ring::new(Nodes::named(["a", "b", "c"])?)?;
/// let mut after = before.clone();
/// after.add(Node::new("d"))?;
/// let plan = MovementPlan::new(&before, &after, 1)?;
/// assert!(plan.movements().all(|movement| movement.to.name() == "d"));
/// assert_eq!(plan.moved(), plan.minimum());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MovementPlan {
    before: Nodes,
    after: Nodes,
    steps: Vec<Step>,
    minimum: u128,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    range: KeyRange,
    from: NodeIndex,
    to: NodeIndex,
}

/// Reason why two placements cannot be compared. Nothing was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// One of the placements does not have such replica sets.
    Replicas(ReplicaError),
    /// The placements hash keys differently, so that no range of one is a range of the other.
    DifferentHashes,
    /// One placement has more replicas than the other, so that some copies would have no source or no target.
    DifferentReplicas {
        /// Number of replicas before.
        before: usize,
        /// Number of replicas after.
        after: usize,
    },
}

display!(
    PlanError,
    self,
    f,
    match self {
        Self::Replicas(error) => error.fmt(f),
        Self::DifferentHashes => f.write_str("the placements hash keys differently"),
        Self::DifferentReplicas { before, after } => write!(f, "{before} replicas before and {after} after"),
    }
);

impl MovementPlan {
    /// Plans the movements from one ring to another for replica sets of `replicas` nodes. The rings may be those of two
    /// systems that hash keys alike, such as nginx and groupcache.
    ///
    /// # Errors
    ///
    /// [`PlanError`].
    pub fn new<P, Q>(before: &P, after: &Q, replicas: usize) -> Result<Self, PlanError>
    where
        P: TokenPlacement,
        Q: TokenPlacement,
    {
        // This refuses every case in which the sets below would be refused.
        before.replicas_of(KeyHash(0), replicas).map_err(PlanError::Replicas)?;
        after.replicas_of(KeyHash(0), replicas).map_err(PlanError::Replicas)?;
        let rings = [(before.table(), before.nodes()), (after.table(), after.nodes())];
        Self::of_sets(before, after, |side, token, set: &mut [NodeIndex; REPLICAS_MAX]| {
            let (table, nodes) = rings[side];
            table.fill(token, nodes, &mut set[..replicas]).map(|()| replicas)
        })
    }

    /// Plans the movements between replica sets across zones. A node in the set of a range before and after keeps its
    /// copy.
    ///
    /// # Errors
    ///
    /// [`PlanError::DifferentHashes`], [`PlanError::DifferentReplicas`].
    pub fn between_zones<P, Q>(before: &ZoneReplicas<P>, after: &ZoneReplicas<Q>) -> Result<Self, PlanError>
    where
        P: TokenPlacement,
        Q: TokenPlacement,
    {
        let (one, other) = (before.replicas_of(KeyHash(0)).len(), after.replicas_of(KeyHash(0)).len());
        if one != other {
            return Err(PlanError::DifferentReplicas { before: one, after: other });
        }
        Self::of_sets(before.placement(), after.placement(), |side, token, set| {
            let hash = KeyHash(token);
            let replicas = if side == 0 { before.replicas_of(hash) } else { after.replicas_of(hash) };
            set[..one].copy_from_slice(replicas.indexes());
            Ok(one)
        })
    }

    /// Plans between two rings. `fill` returns the replica set of the first or second ring, for the range that ends
    /// with a token.
    fn of_sets<P: TokenPlacement, Q: TokenPlacement>(
        before: &P,
        after: &Q,
        fill: impl Fn(usize, u64, &mut [NodeIndex; REPLICAS_MAX]) -> Result<usize, ReplicaError>,
    ) -> Result<Self, PlanError> {
        if probes().any(|probe| before.hash(&probe) != after.hash(&probe)) {
            return Err(PlanError::DifferentHashes);
        }
        let mut planner = Planner {
            renamed: before.nodes().iter().map(|(i, node)| (i, after.nodes().index_of(node.name()))).collect(),
            steps: Vec::new(),
            open: Vec::new(),
            held: (vec![0; before.nodes().capacity()], vec![0; after.nodes().capacity()]),
        };
        let mut tokens: Vec<_> = before.table().iter().chain(after.table().iter()).map(|(token, _)| token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let mut previous = *tokens.last().expect("a ring has a token");
        for token in tokens {
            let range = KeyRange { after: Token(previous), up_to: Token(token) };
            let mut sets = [[NodeIndex::default(); REPLICAS_MAX]; 2];
            let mut counts = [0; 2];
            for (side, (set, count)) in sets.iter_mut().zip(&mut counts).enumerate() {
                *count = fill(side, token, set).map_err(PlanError::Replicas)?;
            }
            planner.compare(range, &sets[0][..counts[0]], &sets[1][..counts[1]]);
            previous = token;
        }
        let minimum = planner.minimum(before.nodes());
        planner.steps.sort_by_key(|step| step.range.up_to);
        Ok(Self { before: before.nodes().clone(), after: after.nodes().clone(), steps: planner.steps, minimum })
    }

    /// The movements, ordered by the ends of their ranges.
    pub fn movements(&self) -> impl ExactSizeIterator<Item = Movement<'_>> {
        (0..self.steps.len()).map(|step| self.movement(step))
    }

    /// The movements from this node, with their positions among all. Once the node has died, other nodes must carry
    /// them out.
    pub fn movements_from(&self, node: &str) -> impl Iterator<Item = (usize, Movement<'_>)> {
        self.movements().enumerate().filter(move |(_, movement)| movement.from.name() == node)
    }

    /// The nodes that have copies of a range to read from, among those that `is_alive` accepts. The range is divided
    /// where they change. `before` is the ring that the plan starts from, and `replicas` the size of its sets. A part
    /// without sources has lost all its copies, or waits for a node to come back.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`] if the ring does not have such sets.
    pub fn sources<P: TokenPlacement>(
        before: &P,
        range: KeyRange,
        replicas: usize,
        is_alive: impl Fn(&Node) -> bool,
    ) -> Result<Vec<(KeyRange, Vec<&Node>)>, ReplicaError> {
        let mut ends: Vec<u64> =
            before.table().iter().map(|(token, _)| token).filter(|&token| range.contains(KeyHash(token))).collect();
        ends.push(range.up_to.0);
        // In the order of the range, which may wrap around.
        ends.sort_unstable_by_key(|end| end.wrapping_sub(range.after.0).wrapping_sub(1));
        ends.dedup();
        let mut parts: Vec<(KeyRange, Vec<&Node>)> = Vec::new();
        let mut start = range.after;
        for end in ends {
            let end = Token(end);
            let nodes: Vec<_> = before.replicas_of(KeyHash(end.0), replicas)?.filter(|node| is_alive(node)).collect();
            match parts.last_mut() {
                Some((part, sources)) if *sources == nodes => part.up_to = end,
                _ => parts.push((KeyRange { after: start, up_to: end }, nodes)),
            }
            start = end;
        }
        Ok(parts)
    }

    /// One movement, by its position.
    ///
    /// # Panics
    ///
    /// If there is no movement at this position.
    pub fn movement(&self, step: usize) -> Movement<'_> {
        let Step { range, from, to } = self.steps[step];
        Movement { range, from: self.before.node(from), to: self.after.node(to) }
    }

    /// Number of movements.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// True if nothing moves.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The reverse plan, movement by movement; for plans for one replica only.
    pub(crate) fn reversed(&self) -> Self {
        let turned = |step: &Step| Step { range: step.range, from: step.to, to: step.from };
        let steps = self.steps.iter().map(turned).collect();
        // Between the same two loads, the least number of hashes that must move is equal in both directions: what one
        // node gains, another loses.
        Self { before: self.after.clone(), after: self.before.clone(), steps, minimum: self.minimum }
    }

    /// Number of key hashes that move, out of 2^64 times the number of replicas.
    pub fn moved(&self) -> u128 {
        self.steps.iter().map(|step| step.range.len()).sum()
    }

    /// Number of key hashes that any plan between these loads must move: the sum of what the nodes gain.
    pub fn minimum(&self) -> u128 {
        self.minimum
    }

    /// A digest of the movements and of the nodes before and after. It does not depend on the numbers of the nodes,
    /// which change when a ring is restored.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        let [before, after] = [&self.before, &self.after].map(|nodes| {
            let mut ranks = vec![0_u64; nodes.capacity()];
            digest.number(nodes.len() as u64);
            for (rank, (index, node)) in (0..).zip(nodes.by_name()) {
                digest.node(node);
                ranks[index.get()] = rank;
            }
            ranks
        });
        for Step { range, from, to } in &self.steps {
            digest.number(range.after.0).number(range.up_to.0).number(before[from.get()]).number(after[to.get()]);
        }
        digest.finish()
    }

    /// The position of the movement that covers a hash; for plans for one replica only.
    pub(crate) fn step_of(&self, hash: KeyHash) -> Option<usize> {
        // Ranges do not overlap, so the hash can only be in the first range that ends at or after it, or in the range
        // that wraps around.
        let next = self.steps.partition_point(|step| step.range.up_to.0 < hash.0);
        let wrapped = if next == self.steps.len() { 0 } else { next };
        self.steps.get(wrapped).is_some_and(|step| step.range.contains(hash)).then_some(wrapped)
    }
}

struct Planner {
    /// For each node before, its number after, if it is still there.
    renamed: BTreeMap<NodeIndex, Option<NodeIndex>>,
    steps: Vec<Step>,
    /// The positions of the steps that end where the current range starts.
    open: Vec<usize>,
    /// Number of hashes that each node holds before and after.
    held: (Vec<u128>, Vec<u128>),
}

impl Planner {
    fn compare(&mut self, range: KeyRange, before: &[NodeIndex], after: &[NodeIndex]) {
        for node in before {
            self.held.0[node.get()] += range.len();
        }
        for node in after {
            self.held.1[node.get()] += range.len();
        }
        let stays = |node: &NodeIndex| self.renamed.get(node).copied().flatten().filter(|node| after.contains(node));
        let kept: Vec<_> = before.iter().filter_map(stays).collect();
        let lost = before.iter().filter(|node| stays(node).is_none());
        let gained = after.iter().filter(|node| !kept.contains(node));
        let pairs: Vec<_> = lost.copied().zip(gained.copied()).collect();
        let mut open = Vec::new();
        for (from, to) in pairs {
            let same = |&step: &usize| self.steps[step].from == from && self.steps[step].to == to;
            if let Some(step) = self.open.iter().copied().find(same) {
                self.steps[step].range.up_to = range.up_to;
                open.push(step);
            } else {
                open.push(self.steps.len());
                self.steps.push(Step { range, from, to });
            }
        }
        self.open = open;
    }

    fn minimum(&self, before: &Nodes) -> u128 {
        let mut gains = self.held.1.clone();
        for (index, _) in before.iter() {
            if let Some(after) = self.renamed.get(&index).copied().flatten() {
                gains[after.get()] = gains[after.get()].saturating_sub(self.held.0[index.get()]);
            }
        }
        gains.iter().sum()
    }
}

/// Texts on which two hashers differ, except with a chance of 2^-32 at most, if they differ on any text but the empty
/// one. A system may hash a part of a key only, between two bytes of its settings, and may take bytes beyond ASCII as
/// signed: the second and third text have every byte twice, and between any two bytes there is text in one of them.
fn probes() -> impl Iterator<Item = Vec<u8>> {
    let bytes = |step: u8| (0..=u8::MAX).map(move |i| i.wrapping_mul(step));
    let twice = move |step| bytes(step).chain(bytes(step)).collect();
    core::iter::once(b"quorate-consistent-hash".to_vec()).chain([1, 7].map(twice))
}
