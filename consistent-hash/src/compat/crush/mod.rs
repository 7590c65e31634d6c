//! Ceph's CRUSH (Weil, Brandt, Miller, Maltzahn, "CRUSH: Controlled, Scalable, Decentralized Placement of Replicated
//! Data", SC 2006), with buckets of the kind `straw2` and the tunables of the profile `jewel`, which has been the
//! default since Jewel.

mod indep;
mod log;
mod pool;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::jenkins::{lookup2, mix};
use crate::error::display;
use log::log2;
pub use pool::CephPool;

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
    /// A pool has no placement groups or more than 2^20, or its size is zero.
    BadPool,
    /// The rule finds no device for this placement group.
    Unplaced(u32),
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
        Self::BadPool => f.write_str("a pool has 1 to 1048576 placement groups, and a size of at least 1"),
        Self::Unplaced(group) => write!(f, "the rule finds no device for placement group {group}"),
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
    pub fn place(&self, rule: &[CrushStep], x: u32, replicas: usize, reweight: impl Fn(i32) -> u32) -> Vec<i32> {
        let (mut taken, mut placed) = (Vec::new(), Vec::new());
        let mut search = Search { map: self, x, reweight: &reweight, tries: TRIES, leaf_tries: 1 };
        for step in rule {
            match *step {
                CrushStep::Take(item) => taken = [item].into(),
                CrushStep::ChooseFirstn { count, kind, leaf } => {
                    let count = wanted(count, replicas);
                    let mut chosen = Vec::new();
                    for bucket in taken.iter().filter_map(|item| self.buckets.get(item)) {
                        chosen.extend(search.firstn(bucket, count, replicas - chosen.len(), kind, leaf));
                    }
                    taken = chosen;
                }
                CrushStep::ChooseIndep { count, kind, leaf } => {
                    let count = wanted(count, replicas);
                    let mut chosen = Vec::new();
                    for bucket in taken.iter().filter_map(|item| self.buckets.get(item)) {
                        chosen.extend(search.indep(bucket, count, replicas - chosen.len(), kind, leaf));
                    }
                    taken = chosen;
                }
                CrushStep::SetChooseTries(0) | CrushStep::SetChooseleafTries(0) => {}
                CrushStep::SetChooseTries(tries) => search.tries = tries,
                CrushStep::SetChooseleafTries(tries) => search.leaf_tries = tries,
                CrushStep::Emit => {
                    placed.extend(taken.drain(..).take(replicas - placed.len()));
                }
            }
        }
        placed
    }

    /// The weight of a device in steps of 1/65536, the sum of all buckets that have it.
    fn device_weight(&self, device: i32) -> u32 {
        let items = self.buckets.values().flat_map(|bucket| &bucket.items);
        items.filter(|(item, _)| *item == device).fold(0, |sum, (_, weight)| sum.saturating_add(*weight))
    }

    /// Refuses buckets that contain themselves, so that every descent ends.
    fn check_depth(&self) -> Result<(), CrushError> {
        // A bucket is done once all buckets in it are done. A bucket of a circle never is.
        let mut left: Vec<i32> = self.buckets.keys().copied().collect();
        loop {
            let before = left.len();
            let open = left.clone();
            left.retain(|id| self.buckets[id].items.iter().any(|(item, _)| open.contains(item)));
            match left.first() {
                None => return Ok(()),
                Some(&id) if left.len() == before => return Err(CrushError::Circle(id)),
                Some(_) => {}
            }
        }
    }
}

/// The number of items that a step chooses from each bucket.
fn wanted(count: i32, replicas: usize) -> usize {
    let replicas = if count > 0 { 0 } else { i64::try_from(replicas).unwrap_or(i64::MAX) };
    usize::try_from(i64::from(count).saturating_add(replicas)).unwrap_or(0)
}

/// The choices of one rule for one input.
struct Search<'m, F> {
    map: &'m CrushMap,
    x: u32,
    reweight: &'m F,
    /// Number of tries for an item.
    tries: u32,
    /// Number of tries for the device below an item.
    leaf_tries: u32,
}

impl<'m, F: Fn(i32) -> u32> Search<'m, F> {
    /// Chooses up to `count` distinct items below a bucket, but no more than there is room for; their devices if `leaf`
    /// is set.
    fn firstn(&self, bucket: &'m CrushBucket, count: usize, room: usize, kind: u16, leaf: bool) -> Vec<i32> {
        let (mut found, mut leaves) = (Vec::new(), Vec::new());
        for rep in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            if found.len() == room {
                break;
            }
            for failures in 0..self.tries {
                let r = rep.wrapping_add(failures);
                match self.descend(bucket, r, kind) {
                    Descent::DeadEnd => break,
                    Descent::Empty => {}
                    Descent::Found(item) if found.contains(&item) || (item >= 0 && self.is_out(item)) => {}
                    Descent::Found(item) => {
                        let device = if leaf { self.leaf_below(item, r, &leaves) } else { Some(item) };
                        if let Some(device) = device {
                            found.push(item);
                            leaves.push(device);
                            break;
                        }
                    }
                }
            }
        }
        leaves
    }

    /// A device below an item that is in, and not among those taken. The tries begin with the number of the outer try.
    fn leaf_below(&self, item: i32, r: u32, taken: &[i32]) -> Option<i32> {
        let Some(bucket) = self.map.buckets.get(&item) else { return Some(item) };
        for failures in 0..self.leaf_tries {
            match self.descend(bucket, r.wrapping_add(failures), 0) {
                Descent::Found(device) if !taken.contains(&device) && !self.is_out(device) => return Some(device),
                Descent::DeadEnd => return None,
                _ => {}
            }
        }
        None
    }

    fn descend(&self, mut bucket: &'m CrushBucket, r: u32, kind: u16) -> Descent {
        loop {
            let Some(item) = straw2(bucket, self.x, r) else { return Descent::Empty };
            let below = self.map.buckets.get(&item);
            let own = below.map_or(0, |bucket| bucket.kind);
            match below {
                _ if own == kind => return Descent::Found(item),
                Some(below) => bucket = below,
                None => return Descent::DeadEnd,
            }
        }
    }

    fn is_out(&self, device: i32) -> bool {
        let weight = (self.reweight)(device);
        weight < 1 << 16 && hash2(self.x, device.cast_unsigned()) & 0xFFFF >= weight
    }
}

enum Descent {
    Found(i32),
    /// The bucket has no items, which counts as a failure.
    Empty,
    /// The item is a device instead of a bucket, which ends the search for this replica.
    DeadEnd,
}

/// The item with the longest straw. If several are equally long, the first of them.
fn straw2(bucket: &CrushBucket, x: u32, r: u32) -> Option<i32> {
    let mut best: Option<(i64, i32)> = None;
    for &(item, weight) in &bucket.items {
        let straw = if weight == 0 {
            i64::MIN
        } else {
            let draw = hash3(x, item.cast_unsigned(), r) & 0xFFFF;
            (log2(draw).cast_signed() - (1 << 48)) / i64::from(weight)
        };
        if best.is_none_or(|(longest, _)| straw > longest) {
            best = Some((straw, item));
        }
    }
    best.map(|(_, item)| item)
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

/// The placement group of an object in a pool with `pg_num` groups.
pub fn ceph_placement_group(object: &[u8], pg_num: u32) -> u32 {
    stable_modulo(lookup2(object, 0), pg_num)
}

/// The input of a rule for a placement group.
pub fn ceph_input(placement_group: u32, pgp_num: u32, pool: u32) -> u32 {
    hash2(stable_modulo(placement_group, pgp_num), pool)
}

/// A modulo under which one more group moves half of the objects of one existing group, and no others.
fn stable_modulo(value: u32, by: u32) -> u32 {
    let mask = by.max(1).next_power_of_two().wrapping_sub(1);
    if value & mask < by { value & mask } else { value & (mask >> 1) }
}

const SEED: u32 = 1_315_423_911;
const X: u32 = 231_232;
const Y: u32 = 1232;

/// Number of tries for an item: `choose_total_tries` plus one.
const TRIES: u32 = 51;

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
