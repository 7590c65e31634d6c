//! The ring of OpenStack Swift: a table assigns partitions to devices, and a walk over it finds handoffs.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::ControlFlow;

use super::functions::swift_partition;
use super::md5::md5;
use crate::error::{BuildError, display};
use crate::hash::KeyHash;
use crate::node::{Node, NodeIndex, Nodes};
use crate::placement::Placement;

/// A device of a Swift ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwiftDevice {
    /// The device as a node. Its name must be unique.
    pub node: Node,
    /// `region`.
    pub region: u32,
    /// `zone`.
    pub zone: u32,
    /// `ip`.
    pub ip: Box<str>,
}

/// Reason why parts are not a Swift ring. Nothing was built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwiftError {
    /// The part power is not from 1 to 32.
    BadPartPower(u32),
    /// The row does not have one entry for each partition (the last row may be shorter), or there is no row.
    BadRow {
        /// The row, counted from zero.
        row: usize,
        /// Number of partitions in the row.
        partitions: usize,
    },
    /// A row names a device that does not exist.
    UnknownDevice {
        /// The row, counted from zero.
        row: usize,
        /// The partition.
        partition: usize,
        /// The number of the device.
        device: u32,
    },
    /// The devices are not a valid set of nodes.
    Nodes(BuildError),
}

display!(
    SwiftError,
    self,
    f,
    match self {
        Self::BadPartPower(power) => write!(f, "a part power of {power} is not from 1 to 32"),
        Self::BadRow { row, partitions } => write!(f, "replica {row} has {partitions} partitions, but should have all"),
        Self::UnknownDevice { row, partition, device } => {
            write!(f, "replica {row} of partition {partition} is on device {device}, which does not exist")
        }
        Self::Nodes(error) => error.fmt(f),
    }
);

/// A device that takes a partition when devices of its own are down ([`SwiftRing::handoffs_of`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwiftHandoff {
    /// The device.
    pub device: NodeIndex,
    /// The partition at which the walk found it.
    pub partition: usize,
    /// The pass of the walk: the first finds regions that were not seen yet, the second zones, the third addresses, and
    /// the fourth all other devices.
    pub pass: usize,
}

/// A Swift ring: the devices of a key's partition, followed by its handoffs in order. A key is a path,
/// `/account[/container[/object]]`, and its [`KeyHash`] is the partition.
///
/// Only devices that hold a partition are nodes. A node's number is that of its device.
#[derive(Clone, Debug)]
pub struct SwiftRing {
    nodes: Nodes,
    /// By node number: small numbers for its region, its zone within the region, and its address within the zone.
    tiers: Vec<[u32; 3]>,
    /// Number of different regions, zones and addresses.
    sizes: [usize; 3],
    rows: Vec<Vec<NodeIndex>>,
    part_power: u32,
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
}

impl SwiftRing {
    /// Makes a ring from its parts: the devices by number, with `None` for a missing one, and for each replica the
    /// device of each partition. `prefix` and `suffix` are those of the cluster (`swift_hash_path_prefix` and
    /// `swift_hash_path_suffix`).
    ///
    /// # Errors
    ///
    /// [`SwiftError`].
    pub fn new(
        part_power: u32,
        devices: &[Option<SwiftDevice>],
        rows: &[Vec<u32>],
        prefix: &[u8],
        suffix: &[u8],
    ) -> Result<Self, SwiftError> {
        if !(1..=32).contains(&part_power) {
            return Err(SwiftError::BadPartPower(part_power));
        }
        let partitions = 1_u64 << part_power;
        let mut used = vec![false; devices.len()];
        for (number, row) in rows.iter().enumerate() {
            let (whole, last) = (row.len() as u64 == partitions, number > 0 && number + 1 == rows.len());
            if !whole && (!last || row.len() as u64 > partitions) {
                return Err(SwiftError::BadRow { row: number, partitions: row.len() });
            }
            for (partition, &device) in row.iter().enumerate() {
                let place = device as usize;
                if devices.get(place).is_none_or(Option::is_none) {
                    return Err(SwiftError::UnknownDevice { row: number, partition, device });
                }
                used[place] = true;
            }
        }
        if rows.is_empty() {
            return Err(SwiftError::BadRow { row: 0, partitions: 0 });
        }
        let used = devices.iter().zip(used).map(|(device, used)| device.as_ref().filter(|_| used));
        let (tiers, sizes) = tiers(used.clone());
        let nodes = Nodes::with_holes(used.map(|device| device.map(|device| device.node.clone())));
        let rows = rows.iter().map(|row| row.iter().map(|&device| NodeIndex::from_u32(device)).collect()).collect();
        Ok(Self {
            nodes: nodes.map_err(SwiftError::Nodes)?,
            tiers,
            sizes,
            rows,
            part_power,
            prefix: prefix.into(),
            suffix: suffix.into(),
        })
    }

    /// The devices that hold a partition, each once, in the order of the replicas.
    pub fn primaries(&self, hash: KeyHash) -> Vec<NodeIndex> {
        let mut found = Vec::new();
        for device in self.devices_at(self.partition(hash)) {
            if !found.contains(&device) {
                found.push(device);
            }
        }
        found
    }

    /// The first `count` handoffs of a partition, in order.
    pub fn handoffs_of(&self, hash: KeyHash, count: usize) -> Vec<SwiftHandoff> {
        let mut seen = Seen::new(self.nodes.capacity(), &self.sizes);
        self.primaries(hash).into_iter().for_each(|device| seen.add(device, &self.tiers));
        let mut found = Vec::new();
        if count > 0 {
            self.handoffs(self.partition(hash), &mut seen, &mut |handoff| {
                found.push(handoff);
                if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        found
    }

    /// The binary logarithm of the number of partitions.
    pub fn part_power(&self) -> u32 {
        self.part_power
    }

    fn partition(&self, KeyHash(hash): KeyHash) -> usize {
        let partitions = self.rows[0].len();
        // A number above the partitions wraps around.
        usize::try_from(hash % partitions as u64).unwrap_or(0)
    }

    fn devices_at(&self, partition: usize) -> impl Iterator<Item = NodeIndex> {
        self.rows.iter().filter_map(move |row| row.get(partition).copied())
    }

    /// Walks over all other partitions, starting from one given by a hash of the partition's number: first to devices
    /// in regions not seen yet, then in zones not seen yet, then at addresses not seen yet, then to the rest.
    fn handoffs(&self, partition: usize, seen: &mut Seen, visit: &mut dyn FnMut(SwiftHandoff) -> ControlFlow<()>) {
        let parts = self.rows[0].len();
        let digits = alloc::format!("{partition}");
        let start = (md5(digits.as_bytes())[0].swap_bytes() >> (32 - self.part_power)) as usize;
        let step = (parts / 65536).max(1);
        let behind = step - ((parts - start) % step);
        for tier in 0..4 {
            for part in (start..parts).step_by(step).chain((behind..start).step_by(step)) {
                for device in self.devices_at(part) {
                    if tier < 3 && seen.full(tier, &self.sizes) {
                        break;
                    }
                    if seen.is_new(tier, device, &self.tiers) {
                        seen.add(device, &self.tiers);
                        if visit(SwiftHandoff { device, partition: part, pass: tier + 1 }).is_break() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

impl Placement for SwiftRing {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The partition of a path.
    fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(swift_partition(&self.prefix, key, &self.suffix, self.part_power).into())
    }

    /// The device of the first replica.
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.rows[0][self.partition(hash)]
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        let mut seen = Seen::new(self.nodes.capacity(), &self.sizes);
        for device in self.primaries(hash) {
            seen.add(device, &self.tiers);
            if visit(device).is_break() {
                return;
            }
        }
        self.handoffs(self.partition(hash), &mut seen, &mut |handoff| visit(handoff.device));
    }
}

/// The devices and tiers that a walk has seen.
struct Seen {
    devices: Vec<bool>,
    tiers: [Vec<bool>; 3],
    counts: [usize; 3],
}

impl Seen {
    fn new(devices: usize, sizes: &[usize; 3]) -> Self {
        Self { devices: vec![false; devices], tiers: sizes.map(|size| vec![false; size]), counts: [0; 3] }
    }

    fn full(&self, tier: usize, sizes: &[usize; 3]) -> bool {
        self.counts[tier] == sizes[tier]
    }

    fn is_new(&self, tier: usize, device: NodeIndex, tiers: &[[u32; 3]]) -> bool {
        match self.tiers.get(tier) {
            Some(seen) => !seen[tiers[device.get()][tier] as usize],
            None => !self.devices[device.get()],
        }
    }

    fn add(&mut self, device: NodeIndex, tiers: &[[u32; 3]]) {
        self.devices[device.get()] = true;
        for ((seen, count), &number) in self.tiers.iter_mut().zip(&mut self.counts).zip(&tiers[device.get()]) {
            *count += usize::from(!seen[number as usize]);
            seen[number as usize] = true;
        }
    }
}

/// The tiers of devices as small numbers, and the number of different values of each tier.
fn tiers<'a>(devices: impl Iterator<Item = Option<&'a SwiftDevice>>) -> (Vec<[u32; 3]>, [usize; 3]) {
    let mut known: [BTreeMap<(u32, u32, &str), u32>; 3] = Default::default();
    let mut all = Vec::new();
    for device in devices {
        let mut numbers = [0; 3];
        if let Some(device) = device {
            let names =
                [(device.region, 0, ""), (device.region, device.zone, ""), (device.region, device.zone, &*device.ip)];
            for ((number, known), name) in numbers.iter_mut().zip(&mut known).zip(names) {
                let next = u32::try_from(known.len()).expect("there are no more tiers than devices");
                *number = *known.entry(name).or_insert(next);
            }
        }
        all.push(numbers);
    }
    (all, known.map(|known| known.len()))
}
