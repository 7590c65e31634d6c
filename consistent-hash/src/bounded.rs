//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads",
//! SODA 2018, first published 2016).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::hash::KeyHash;
use crate::node::{Node, NodeIndex};
use crate::placement::Placement;

/// Bounds live load, such as requests in progress: a load goes to the key's owner, but no node gets more than its fair
/// share times a factor. A load above the bound goes to the next node in the key's order of preference.
///
/// With `m` loads in progress, the new one included, a node of weight `w` out of a total weight `W` holds at most
/// `ceil(factor * m * w / W)`. The bound is checked when a load is taken. As loads end, `m` shrinks and so does the
/// bound, and a node may exceed it until its own loads end: loads are not moved.
///
/// All methods may be called from many threads at once. Taking a load is lock-free: a thread repeats its search only if
/// other threads took the room that it saw. [`BoundedLoads::with_placement`] changes the nodes while loads are in
/// progress.
///
/// ```
/// use quorate_consistent_hash::{BoundedLoads, LoadFactor, Nodes, Placement, Ring};
///
/// let ring = Ring::new(Nodes::named(["a", "b", "c", "d"])?)?;
/// let loads = BoundedLoads::new(ring, LoadFactor::new(1.25)?);
/// let hot = loads.placement().hash(b"hot key");
/// let held: Vec<_> = (0..100).map(|_| loads.take(hot)).collect();
/// assert!((0..4).all(|node| held.iter().filter(|load| load.index().get() == node).count() <= 32));
/// drop(held);
/// assert_eq!(loads.total(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedLoads<P> {
    placement: P,
    factor: LoadFactor,
    /// By node number. The counter of a removed node's number stays zero.
    loads: Vec<Arc<AtomicUsize>>,
    total: Arc<AtomicUsize>,
    total_units: u128,
    /// The counters of nodes that left, while a load or another object still uses them: such a node may come back.
    away: BTreeMap<Box<str>, Arc<AtomicUsize>>,
}

impl<P: Placement> BoundedLoads<P> {
    /// Bounds loads on the nodes of a placement.
    pub fn new(placement: P, factor: LoadFactor) -> Self {
        let loads = (0..placement.nodes().capacity()).map(|_| Arc::default()).collect();
        let total_units = placement.nodes().total_units();
        Self { placement, factor, loads, total: Arc::default(), total_units, away: BTreeMap::new() }
    }

    /// The same loads on the nodes of another placement. Nodes that stay (by name) keep their loads, and both objects
    /// share the counters, so that a writer can give the new object to readers while loads taken from the old one are
    /// still in progress. A node that left and comes back in a later placement still holds its loads that have not
    /// ended.
    pub fn with_placement<Q: Placement>(&self, placement: Q) -> BoundedLoads<Q> {
        let mut next = BoundedLoads::new(placement, self.factor);
        // A counter that only `self` holds is at zero, and nothing else counts on it.
        let is_used = |counter: &Arc<AtomicUsize>| Arc::strong_count(counter) > 1;
        let away = self.away.iter().filter(|(_, counter)| is_used(counter));
        let mut counters: BTreeMap<_, _> = away.map(|(name, counter)| (name.clone(), counter.clone())).collect();
        for (index, node) in self.placement.nodes().iter() {
            counters.insert(node.name().into(), self.loads[index.get()].clone());
        }
        for (index, node) in next.placement.nodes().iter() {
            if let Some(counter) = counters.remove(node.name()) {
                next.loads[index.get()] = counter;
            }
        }
        next.away = counters;
        next.total = self.total.clone();
        next
    }

    /// Takes a load for a hashed key. It counts until the guard is dropped.
    pub fn take(&self, hash: KeyHash) -> Load {
        let mut total = self.total.fetch_add(1, Ordering::AcqRel) + 1;
        loop {
            let mut taken = None;
            self.placement.visit(hash, &mut |node| {
                if self.try_take(node, total) {
                    taken = Some(node);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            if let Some(node) = taken {
                return Load { node, on_node: self.loads[node.get()].clone(), total: self.total.clone() };
            }
            // The bounds for `total` loads add up to at least `total`, so other threads took loads meanwhile. With
            // their loads the bounds are higher.
            total = self.total.load(Ordering::Acquire);
        }
    }

    /// Number of loads on a node.
    ///
    /// # Panics
    ///
    /// If the node number belongs to another placement.
    pub fn load(&self, node: NodeIndex) -> usize {
        self.loads[node.get()].load(Ordering::Relaxed)
    }

    /// Number of loads in progress on all nodes.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Number of loads that a node may hold while `total` are in progress.
    ///
    /// # Panics
    ///
    /// If the node number belongs to another placement, or the node was removed.
    pub fn bound(&self, node: NodeIndex, total: usize) -> usize {
        let units = self.placement.nodes().node(node).weight().units();
        let bound = share(u128::from(self.factor.0) * total as u128, units, self.total_units << 16);
        usize::try_from(bound).unwrap_or(usize::MAX)
    }

    /// The placement that gives the order of preference.
    pub fn placement(&self) -> &P {
        &self.placement
    }

    /// The node of a load that was taken here.
    ///
    /// # Panics
    ///
    /// If the load was taken from another placement whose node number does not exist here.
    pub fn node_of(&self, load: &Load) -> &Node {
        self.placement.nodes().node(load.node)
    }

    fn try_take(&self, node: NodeIndex, total: usize) -> bool {
        let bound = self.bound(node, total);
        let more = |load| (load < bound).then_some(load + 1);
        self.loads[node.get()].fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// `ceil(amount * units / whole)` for an amount below 2^96, units below 2^48 and a whole below 2^88.
#[inline]
fn share(amount: u128, units: u64, whole: u128) -> u128 {
    match amount.checked_mul(u128::from(units)) {
        Some(product) => product.div_ceil(whole),
        None => share_of_much(amount, units, whole),
    }
}

/// The same for a product that does not fit: computed 24 bits at a time.
#[cold]
fn share_of_much(amount: u128, units: u64, whole: u128) -> u128 {
    let (high, low) = (u128::from(units >> 24), u128::from(units & 0xFF_FFFF));
    let (quotient, rest) = (amount / whole, amount % whole);
    let (by_high, rest_of_high) = (rest * high / whole, rest * high % whole);
    let by_low = ((rest_of_high << 24) + rest * low).div_ceil(whole);
    quotient.saturating_mul(u128::from(units)).saturating_add((by_high << 24) + by_low)
}

/// A load in progress on a node. Dropping it ends the load.
#[derive(Debug)]
#[must_use = "the load ends when this is dropped"]
pub struct Load {
    node: NodeIndex,
    on_node: Arc<AtomicUsize>,
    total: Arc<AtomicUsize>,
}

impl Load {
    /// Number of the node in the placement that the load was taken from.
    pub fn index(&self) -> NodeIndex {
        self.node
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The node's counter first, so that the counters of all nodes never add up to more than the total.
        self.on_node.fetch_sub(1, Ordering::AcqRel);
        self.total.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Factor by which a node may exceed its fair share of load, in steps of 1/65536: 1.25 allows a quarter more.
///
/// The closer to one, the more keys leave their owner: below two, the expected number of nodes tried is about 2 /
/// (factor - 1)^2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadFactor(u32);

/// The number is not a load factor, because it is not from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFactorError;

crate::error::display!(LoadFactorError, self, f, f.write_str("a load factor is a number from 1 to 65535"));

impl LoadFactor {
    /// The factor nearest to `value`, rounded up.
    ///
    /// # Errors
    ///
    /// [`LoadFactorError`] for a value that is not a number from 1 to 65535.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
    pub fn new(value: f64) -> Result<Self, LoadFactorError> {
        if !(1.0..=65535.0).contains(&value) {
            return Err(LoadFactorError);
        }
        let units = (value * 65536.0) as u32;
        Ok(Self(units + u32::from(f64::from(units) < value * 65536.0)))
    }
}
