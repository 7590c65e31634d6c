//! Ceph's CRUSH (Weil, Brandt, Miller, Maltzahn, "CRUSH: Controlled, Scalable, Decentralized Placement of Replicated
//! Data", SC 2006), with buckets of the kind `straw2` and the tunables of the profile `jewel`, which has been the
//! default since Jewel.

mod indep;
mod log;
mod pool;
mod search;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::jenkins::{lookup2, mix};
use crate::error::display;
pub use pool::CephPool;
pub use search::{CrushEvent, CrushRejection, CrushStraw};

/// A bucket of a CRUSH map, such as a host, a rack or a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrushBucket {
    /// The number of its type, above zero; devices have type zero.
    pub kind: u16,
    /// Its items in order, each with its weight in steps of 1/65536. An item is a device, from zero on, or the negative
    /// id of a bucket.
    pub items: Vec<(i32, u32)>,
}

/// A step of a CRUSH rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrushStep {
    /// `step take`: starts from this bucket.
    Take(i32),
    /// `step choose firstn`, or `step chooseleaf firstn` if `leaf` is set.
    ChooseFirstn {
        /// Number of items to choose. If it is zero or negative, it is added to the number of wanted replicas.
        count: i32,
        /// Number of the bucket type to choose.
        kind: u16,
        /// True to choose a device below each chosen item.
        leaf: bool,
    },
    /// `step choose indep`, or `step chooseleaf indep` if `leaf` is set: for erasure-coded pools, where the position of
    /// a device decides the part that it holds. A position for which nothing is found stays [`CRUSH_NONE`].
    ChooseIndep {
        /// Number of items to choose. If it is zero or negative, it is added to the number of wanted replicas.
        count: i32,
        /// Number of the bucket type to choose.
        kind: u16,
        /// True to choose a device below each chosen item.
        leaf: bool,
    },
    /// `step set_choose_tries`: the number of tries for an item, in the steps that follow. Zero leaves it unchanged.
    SetChooseTries(u32),
    /// `step set_chooseleaf_tries`: the number of tries for the device below an item, in the steps that follow. Zero
    /// leaves it unchanged.
    SetChooseleafTries(u32),
    /// `step emit`.
    Emit,
}

/// Stands where a rule found no device (`CRUSH_ITEM_NONE`).
pub const CRUSH_NONE: i32 = i32::MAX;

/// Reason why buckets are not a CRUSH map. Nothing was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrushError {
    /// The bucket's id is not negative.
    BadId(i32),
    /// The bucket has type zero, which is that of devices.
    BadKind(i32),
    /// The bucket has an item that does not exist.
    UnknownItem {
        /// The bucket.
        bucket: i32,
        /// The item.
        item: i32,
    },
    /// The bucket contains itself, directly or through other buckets.
    Circle(i32),
    /// A pool has no placement groups or more than 2^20, or its size is not from 1 to 255.
    BadPool,
    /// The rule finds no device for this placement group.
    Unplaced(u32),
    /// The rule takes too many tries: more straws were drawn for the pool than [`CephPool::new`] allows.
    TooManyTries,
}

display!(
    CrushError,
    self,
    f,
    match self {
        Self::BadId(id) => write!(f, "the bucket id {id} is not negative"),
        Self::BadKind(id) => write!(f, "bucket {id} has type zero, which is that of devices"),
        Self::UnknownItem { bucket, item } => write!(f, "bucket {bucket} has the item {item}, which does not exist"),
        Self::Circle(id) => write!(f, "bucket {id} contains itself"),
        Self::BadPool => f.write_str("a pool has 1 to 1048576 placement groups, and a size from 1 to 255"),
        Self::Unplaced(group) => write!(f, "the rule finds no device for placement group {group}"),
        Self::TooManyTries => f.write_str("the rule takes too many tries: too many straws were drawn"),
    }
);

/// The buckets of a Ceph cluster, which decide the devices of each placement group.
///
/// ```
/// use quorate_consistent_hash::compat::{CrushBucket, CrushMap, CrushStep};
///
/// let host = |devices: [(i32, u32); 2]| CrushBucket { kind: 1, items: devices.to_vec() };
/// let one = 1 << 16;
/// let map = CrushMap::new([
///     (-1, CrushBucket { kind: 10, items: vec![(-2, 3 * one), (-3, 5 * one / 2)] }),
///     (-2, host([(0, one), (1, 2 * one)])),
///     (-3, host([(2, one), (3, 3 * one / 2)])),
/// ])?;
/// let rule = [CrushStep::Take(-1), CrushStep::ChooseFirstn { count: 0, kind: 1, leaf: true }, CrushStep::Emit];
/// let devices = map.place(&rule, 0, 2, |_| one);
/// assert_eq!(devices.len(), 2);
/// # Ok::<(), quorate_consistent_hash::compat::CrushError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrushMap {
    buckets: BTreeMap<i32, CrushBucket>,
}

impl CrushMap {
    /// Makes a map from its buckets, each with its id.
    ///
    /// # Errors
    ///
    /// [`CrushError`].
    pub fn new(buckets: impl IntoIterator<Item = (i32, CrushBucket)>) -> Result<Self, CrushError> {
        let buckets: BTreeMap<_, _> = buckets.into_iter().collect();
        for (&id, bucket) in &buckets {
            if id >= 0 {
                return Err(CrushError::BadId(id));
            }
            if bucket.kind == 0 {
                return Err(CrushError::BadKind(id));
            }
            if let Some(&(item, _)) = bucket.items.iter().find(|(item, _)| *item < 0 && !buckets.contains_key(item)) {
                return Err(CrushError::UnknownItem { bucket: id, item });
            }
        }
        let map = Self { buckets };
        map.check_depth()?;
        Ok(map)
    }

    /// Applies a rule to the input `x`, which for a placement group is [`ceph_input`]. Returns up to `replicas`
    /// devices, and fewer if the rule finds no more; `indep` rules mark missing ones by [`CRUSH_NONE`]. `reweight`
    /// returns a device's reweight in steps of 1/65536, from zero (out) to one.
    ///
    /// The time grows with the tries and counts of the rule, which may be very large: [`CephPool::new`] has a bound.
    pub fn place(&self, rule: &[CrushStep], x: u32, replicas: usize, reweight: impl Fn(i32) -> u32) -> Vec<i32> {
        self.trace(rule, x, replicas, reweight, |_| {})
    }

    /// The weight of each device in steps of 1/65536, the sum of all buckets that have it.
    fn device_weights(&self) -> BTreeMap<i32, u32> {
        let mut weights = BTreeMap::new();
        for &(device, weight) in self.buckets.values().flat_map(|bucket| &bucket.items).filter(|(item, _)| *item >= 0) {
            let sum: &mut u32 = weights.entry(device).or_default();
            *sum = sum.saturating_add(weight);
        }
        weights
    }

    /// Refuses buckets that contain themselves, so that every descent ends.
    fn check_depth(&self) -> Result<(), CrushError> {
        // A bucket is done once all buckets in it are done. A bucket of a circle never is.
        let mut within: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let mut open: BTreeMap<i32, usize> = BTreeMap::new();
        for (&id, bucket) in &self.buckets {
            let below = bucket.items.iter().filter(|(item, _)| *item < 0);
            open.insert(id, below.clone().count());
            below.for_each(|(item, _)| within.entry(*item).or_default().push(id));
        }
        let mut done: Vec<i32> = open.iter().filter(|(_, below)| **below == 0).map(|(&id, _)| id).collect();
        while let Some(id) = done.pop() {
            open.remove(&id);
            for above in within.remove(&id).into_iter().flatten() {
                if let Some(below) = open.get_mut(&above) {
                    *below -= 1;
                    if *below == 0 {
                        done.push(above);
                    }
                }
            }
        }
        open.keys().next().map_or(Ok(()), |&id| Err(CrushError::Circle(id)))
    }
}

/// Jenkins's mixing of two numbers.
fn hash2(a: u32, b: u32) -> u32 {
    let (a, b, hash) = mix(a, b, SEED ^ a ^ b);
    let (_, _, hash) = mix(X, a, hash);
    mix(b, Y, hash).2
}

/// Jenkins's mixing of three numbers.
#[expect(clippy::many_single_char_names, reason = "as Jenkins names them")]
fn hash3(a: u32, b: u32, c: u32) -> u32 {
    let (a, b, hash) = mix(a, b, SEED ^ a ^ b ^ c);
    let (c, x, hash) = mix(c, X, hash);
    let (y, _, hash) = mix(Y, a, hash);
    let (_, _, hash) = mix(b, x, hash);
    mix(y, c, hash).2
}

/// The hash of an object's name, of which [`ceph_placement_group`] takes a modulo.
pub fn ceph_hash(object: &[u8]) -> u32 {
    lookup2(object, 0)
}

/// The placement group of an object in a pool with `pg_num` groups.
pub fn ceph_placement_group(object: &[u8], pg_num: u32) -> u32 {
    stable_modulo(ceph_hash(object), pg_num)
}

/// The input of a rule for a placement group.
pub fn ceph_input(placement_group: u32, pgp_num: u32, pool: u32) -> u32 {
    hash2(stable_modulo(placement_group, pgp_num), pool)
}

/// A modulo under which one more group moves half of the objects of one existing group, and no others.
fn stable_modulo(value: u32, by: u32) -> u32 {
    let mask = by.max(1).checked_next_power_of_two().map_or(u32::MAX, |power| power - 1);
    if value & mask < by { value & mask } else { value & (mask >> 1) }
}

const SEED: u32 = 1_315_423_911;
const X: u32 = 231_232;
const Y: u32 = 1232;

#[cfg(test)]
mod tests {
    use super::*;

    /// Values computed by Ceph 16.2.15.
    #[test]
    fn hashes_as_ceph_does() {
        assert_eq!(hash2(1, 2), 0xB78D_EE9C);
        assert_eq!([hash3(0, 0, 0), hash3(1, 2, 3)], [0x7A3B_F3B2, 0x735A_D42B]);
        assert_eq!(hash3(0, 2_u32.wrapping_neg(), 0), 0x20D3_044A);
        for (object, group) in [("user:0", 0x2E), ("user:1", 0x39), ("7919", 0x3E), ("k1", 0x1F)] {
            assert_eq!(ceph_placement_group(object.as_bytes(), 96), group, "{object}");
        }
        assert_eq!(ceph_hash(b"user:0"), 0x3883_5E6E);
        // The largest numbers have no power of two above them.
        assert_eq!([stable_modulo(7, u32::MAX), stable_modulo(u32::MAX, u32::MAX)], [7, u32::MAX >> 1]);
    }

    #[test]
    fn bad_maps_are_refused() {
        let bucket = |kind, items: &[(i32, u32)]| CrushBucket { kind, items: items.to_vec() };
        let refused = |buckets: &[(i32, CrushBucket)]| CrushMap::new(buckets.iter().cloned()).map(|_| ()).unwrap_err();
        assert_eq!(refused(&[(0, bucket(1, &[]))]), CrushError::BadId(0));
        assert_eq!(refused(&[(-1, bucket(0, &[]))]), CrushError::BadKind(-1));
        assert_eq!(refused(&[(-1, bucket(1, &[(-2, 1)]))]), CrushError::UnknownItem { bucket: -1, item: -2 });
        let circle = [(-1, bucket(1, &[(-2, 1), (0, 1)])), (-2, bucket(1, &[(-1, 1)]))];
        assert_eq!(refused(&circle), CrushError::Circle(-2));
        // A chain of buckets is no circle, however long, and neither is a bucket that two others have.
        let chain =
            (1..100_000).map(|i| (-i, bucket(1, &[(-i - 1, 1), (0, 1)]))).chain([(-100_000, bucket(1, &[(0, 1)]))]);
        assert!(CrushMap::new(chain).is_ok());
        let shared = [(-1, bucket(2, &[(-2, 1), (-2, 1)])), (-2, bucket(1, &[(0, 1)])), (-3, bucket(2, &[(-2, 1)]))];
        assert!(CrushMap::new(shared).is_ok());
        // Empty buckets, rules without a start, and types that do not exist place nothing, and the rule ends.
        let map = CrushMap::new([(-1, bucket(2, &[(-2, 1), (7, 1)])), (-2, bucket(1, &[]))]).unwrap();
        let choose = |kind, leaf| CrushStep::ChooseFirstn { count: 0, kind, leaf };
        let nowhere = [choose(1, true), CrushStep::Emit];
        let empty = [CrushStep::Take(-1), choose(1, true), CrushStep::Emit];
        for rule in [&nowhere[..], &empty] {
            assert_eq!(map.place(rule, 5, 3, |_| 1 << 16), Vec::<i32>::new());
        }
        assert_eq!(map.place(&[CrushStep::Take(-1), choose(0, false), CrushStep::Emit], 5, 3, |_| 1 << 16), [7]);
    }
}
