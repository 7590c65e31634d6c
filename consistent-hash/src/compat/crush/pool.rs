//! A pool of a Ceph cluster: objects in placement groups, placement groups on devices.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{CRUSH_NONE, CrushError, CrushMap, CrushStep, ceph_input, ceph_placement_group};
use crate::hash::KeyHash;
use crate::node::{Node, NodeIndex, Nodes, Weight};
use crate::placement::Placement;

/// A pool of a Ceph cluster. A key is the name of an object (with a namespace: `namespace`, the byte 0x1f, name), and
/// its [`KeyHash`] is its placement group. The nodes are the devices that hold some group, named `osd.N`; the owner is
/// the first device of the group, which is its primary unless primary affinities are set.
///
/// The other devices follow those of the group in the order of preference, by their numbers. Ceph itself would never
/// use them.
#[derive(Clone, Debug)]
pub struct CephPool {
    nodes: Nodes,
    placement_groups: u32,
    /// The devices of all groups, one group after another.
    devices: Box<[NodeIndex]>,
    /// The end of each group among the devices.
    ends: Box<[usize]>,
}

impl CephPool {
    /// The pool with this number, with `pg_num` placement groups of `size` devices each, at most 2^20 and 255.
    /// `reweight` is that of [`CrushMap::place`].
    ///
    /// # Errors
    ///
    /// [`CrushError::BadPool`]; [`CrushError::Unplaced`] if the rule finds no device for a group;
    /// [`CrushError::TooManyTries`] once more than 2^16 straws were drawn for each of the devices of all groups, on
    /// average, but not before 2^26 straws in all, and at the latest after 2^32, which takes about a minute.
    pub fn new(
        map: &CrushMap,
        rule: &[CrushStep],
        pool: u32,
        pg_num: u32,
        size: usize,
        reweight: impl Fn(i32) -> u32,
    ) -> Result<Self, CrushError> {
        let devices = u64::from(pg_num).saturating_mul(size as u64);
        let budget = devices.saturating_mul(STRAWS_PER_DEVICE).clamp(STRAWS_MIN, STRAWS_MAX);
        Self::within(map, rule, pool, pg_num, size, reweight, budget)
    }

    /// The pool, if at most this number of straws is drawn for it.
    fn within(
        map: &CrushMap,
        rule: &[CrushStep],
        pool: u32,
        pg_num: u32,
        size: usize,
        reweight: impl Fn(i32) -> u32,
        mut budget: u64,
    ) -> Result<Self, CrushError> {
        if !(1..=PLACEMENT_GROUPS_MAX).contains(&pg_num) || !(1..=SIZE_MAX).contains(&size) {
            return Err(CrushError::BadPool);
        }
        let mut groups = Vec::new();
        for group in 0..pg_num {
            let mut devices = map.apply(rule, ceph_input(group, pg_num, pool), size, &reweight, |_| {}, &mut budget);
            if budget == 0 {
                return Err(CrushError::TooManyTries);
            }
            devices.retain(|device| (0..CRUSH_NONE).contains(device));
            if devices.is_empty() {
                return Err(CrushError::Unplaced(group));
            }
            groups.push(devices);
        }
        let weights = map.device_weights();
        let used: BTreeMap<i32, u32> =
            groups.iter().flatten().map(|device| (*device, weights.get(device).copied().unwrap_or(0))).collect();
        let node = |(&device, &weight): (&i32, &u32)| {
            Node::new(format!("osd.{device}")).with_weight(Weight::new(f64::from(weight) / 65536.0).unwrap_or_default())
        };
        let nodes = Nodes::new(used.iter().map(node)).map_err(|_| CrushError::BadPool)?;
        let numbers: BTreeMap<i32, NodeIndex> =
            used.keys().copied().zip(nodes.iter().map(|(index, _)| index)).collect();
        let ends = groups.iter().scan(0, |end, group| {
            *end += group.len();
            Some(*end)
        });
        let ends = ends.collect();
        let devices = groups.iter().flatten().map(|device| numbers[device]).collect();
        Ok(Self { nodes, placement_groups: pg_num, devices, ends })
    }

    /// The devices of a placement group, the primary first. Positions for which nothing was found are left out.
    ///
    /// # Panics
    ///
    /// If the pool has no such group.
    pub fn devices(&self, placement_group: u32) -> &[NodeIndex] {
        let group = placement_group as usize;
        let begin = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.devices[begin..self.ends[group]]
    }

    fn group_of(&self, hash: KeyHash) -> &[NodeIndex] {
        // A hash above the groups wraps around.
        let group = hash.0 % u64::from(self.placement_groups);
        self.devices(u32::try_from(group).unwrap_or_default())
    }
}

impl Placement for CephPool {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(ceph_placement_group(key, self.placement_groups).into())
    }

    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.group_of(hash)[0]
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let all = self.nodes.iter().map(|(index, _)| index);
        let _ = self.group_of(hash).iter().copied().chain(all).try_for_each(visit);
    }
}

/// Largest number of devices of a group, as in Ceph.
const SIZE_MAX: usize = 255;

/// Number of straws that may be drawn for each device of each group on average: seven tries in a bucket of ten thousand
/// items, say.
const STRAWS_PER_DEVICE: u64 = 1 << 16;
/// Number of straws that may be drawn for any pool; they take about a second.
const STRAWS_MIN: u64 = 1 << 26;
/// Largest number of straws that are drawn for a pool.
const STRAWS_MAX: u64 = 1 << 32;

/// Largest number of placement groups of a pool.
const PLACEMENT_GROUPS_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::CrushBucket;

    #[test]
    fn rules_of_endless_tries_are_refused() {
        let bucket =
            |kind, items: &[i32]| CrushBucket { kind, items: items.iter().map(|&item| (item, 1 << 16)).collect() };
        let map = CrushMap::new([(-1, bucket(2, &[-2])), (-2, bucket(1, &[0])), (-3, bucket(2, &[]))]).unwrap();
        let place = |steps: &[CrushStep]| {
            let rule =
                [&[CrushStep::SetChooseTries(u32::MAX), CrushStep::SetChooseleafTries(u32::MAX)], steps].concat();
            CephPool::within(&map, &rule, 1, 8, 2, |_| 1 << 16, 10_000).map(|_| ())
        };
        for kind in [0, 1] {
            for leaf in [false, true] {
                let firstn = CrushStep::ChooseFirstn { count: i32::MAX, kind, leaf };
                let indep = CrushStep::ChooseIndep { count: i32::MAX, kind, leaf };
                for step in [firstn, indep] {
                    // There is one host and one device for two replicas; and below an empty bucket there is none.
                    for root in [-1, -3] {
                        let placed = place(&[CrushStep::Take(root), step, CrushStep::Emit]);
                        assert_eq!(placed, Err(CrushError::TooManyTries), "{step:?} from {root}");
                    }
                }
            }
        }
        // A rule that ends is not cut short.
        let one = CrushStep::ChooseFirstn { count: 1, kind: 0, leaf: false };
        assert_eq!(place(&[CrushStep::Take(-1), one, CrushStep::Emit]), Ok(()));
    }

    #[test]
    fn sizes_are_bounded() {
        let map = CrushMap::new([(-1, CrushBucket { kind: 1, items: [(0, 1 << 16)].to_vec() })]).unwrap();
        let rule = [CrushStep::Take(-1), CrushStep::ChooseIndep { count: 0, kind: 0, leaf: false }, CrushStep::Emit];
        for (pg_num, size) in [(0, 3), (u32::MAX, 3), (8, 0), (8, 256), (8, usize::MAX)] {
            let refused = CephPool::new(&map, &rule, 1, pg_num, size, |_| 1 << 16).map(|_| ());
            assert_eq!(refused, Err(CrushError::BadPool), "{pg_num} {size}");
        }
        let pool = CephPool::new(&map, &rule, 1, 8, 255, |_| 1 << 16).unwrap();
        assert_eq!(pool.devices(7).len(), 1);
    }
}
