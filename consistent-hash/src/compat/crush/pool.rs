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
    /// The pool with this number, with `pg_num` placement groups of `size` devices each. `reweight` is that of
    /// [`CrushMap::place`].
    ///
    /// # Errors
    ///
    /// [`CrushError::BadPool`]; [`CrushError::Unplaced`] if the rule finds no device for a group.
    pub fn new(
        map: &CrushMap,
        rule: &[CrushStep],
        pool: u32,
        pg_num: u32,
        size: usize,
        reweight: impl Fn(i32) -> u32,
    ) -> Result<Self, CrushError> {
        if pg_num == 0 || pg_num > PLACEMENT_GROUPS_MAX || size == 0 {
            return Err(CrushError::BadPool);
        }
        let mut groups = Vec::new();
        for group in 0..pg_num {
            let mut devices = map.place(rule, ceph_input(group, pg_num, pool), size, &reweight);
            devices.retain(|device| (0..CRUSH_NONE).contains(device));
            if devices.is_empty() {
                return Err(CrushError::Unplaced(group));
            }
            groups.push(devices);
        }
        let used: BTreeMap<i32, u32> =
            groups.iter().flatten().map(|&device| (device, map.device_weight(device))).collect();
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

/// Largest number of placement groups of a pool.
const PLACEMENT_GROUPS_MAX: u32 = 1 << 20;
