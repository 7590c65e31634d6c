//! Tables: an entry, a slot or a partition has its node.

use quorate_consistent_hash::compat::{
    EnvoyMaglev, REDIS_SLOTS, RedisSlots, redis_slot, redis_tag, swift_hash, swift_partition,
};
use quorate_consistent_hash::{Hasher, KeyHash, Maglev, NodeIndex, Placement};

use super::{ORDER, Steps, name};
use crate::config::SwiftCluster;

pub(super) fn maglev(table: &Maglev, key: &[u8], steps: &mut Steps) {
    let (hash, size) = (table.hash(key), table.table_size());
    steps.hashed(key);
    steps.add("hash", format_args!("{:016x}, by XXH64", hash.0));
    let entry = (u128::from(hash.0) * size as u128) >> 64;
    entries(table, &table.table().collect::<Vec<_>>(), usize::try_from(entry).unwrap_or(0), steps);
    steps.add("rule", "the node of entry `hash * entries / 2^64` of the table");
}

pub(super) fn envoy_maglev(table: &EnvoyMaglev, key: &[u8], steps: &mut Steps) {
    let (hash, entry) = (Hasher::STABLE.hash(key), table.hash(key));
    steps.hashed(key);
    steps.add("hash", format_args!("{:016x} ({}), by XXH64", hash.0, hash.0));
    entries(table, &table.table().collect::<Vec<_>>(), usize::try_from(entry.0).unwrap_or(0), steps);
    steps.add("rule", "the host of entry `hash modulo entries` of the table");
}

fn entries(placement: &dyn Placement, table: &[NodeIndex], entry: usize, steps: &mut Steps) {
    let size = table.len();
    let named = |entry: usize| format!("{entry} {}", name(placement, table[entry]));
    steps.add("entry", format_args!("{entry} of {size}"));
    steps.add("entry before", named((entry + size - 1) % size));
    steps.add("this entry", named(entry));
    steps.add("entry after", named((entry + 1) % size));
}

/// The slot of a key, without nodes.
pub(super) fn slot(key: &[u8], steps: &mut Steps) {
    steps.hashed(redis_tag(key));
    steps.add(
        "slot",
        format_args!(
            "{}, by CRC-16 modulo {REDIS_SLOTS} of the key, or of its part in the first {{}}",
            redis_slot(key)
        ),
    );
    steps.add("rule", "the master that has the slot");
}

pub(super) fn slots(slots: &RedisSlots, key: &[u8], steps: &mut Steps) {
    slot(key, steps);
    let (owners, at) = (slots.owners(), usize::from(redis_slot(key)));
    let first = owners[..at].iter().rposition(|&owner| owner != owners[at]).map_or(0, |before| before + 1);
    let last = owners[at..].iter().position(|&owner| owner != owners[at]).map_or(owners.len(), |after| at + after) - 1;
    let named = |slot: usize| format!("{slot} {}", name(slots, owners[slot]));
    steps.add("its slots", format_args!("{first} to {last} {}", name(slots, owners[at])));
    if let Some(before) = first.checked_sub(1) {
        steps.add("slot before them", named(before));
    }
    if last + 1 < owners.len() {
        steps.add("slot after them", named(last + 1));
    }
}

pub(super) fn swift(cluster: &SwiftCluster, key: &[u8], steps: &mut Steps) {
    let SwiftCluster { ring, prefix, suffix } = cluster;
    let power = ring.part_power();
    steps.hashed(&[&prefix[..], key, &suffix[..]].concat());
    steps.add("hash", format_args!("{:08x}, the first four bytes of MD5", swift_hash(prefix, key, suffix)));
    let partition = swift_partition(prefix, key, suffix, power);
    steps.add("partition", format_args!("{partition} of {}: the first {power} bits of the hash", 1_u64 << power));
    let hash = KeyHash(partition.into());
    for (replica, device) in ring.primaries(hash).into_iter().enumerate() {
        steps.add(format_args!("replica {replica}"), name(ring, device));
    }
    for handoff in ring.handoffs_of(hash, ORDER) {
        let reason = ["a new region", "a new zone", "a new address", "any other device"];
        let reason = reason.get(handoff.pass - 1).copied().unwrap_or_default();
        let device = name(ring, handoff.device);
        steps.add(
            "handoff",
            format_args!("{device}, at partition {} in pass {}: {reason}", handoff.partition, handoff.pass),
        );
    }
    steps.add(
        "rule",
        "the devices of the partition's replicas; then its handoffs, by a walk from a partition given by a hash of its number",
    );
}
