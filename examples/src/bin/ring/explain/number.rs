//! Placements that compute a number.

use quorate_consistent_hash::compat::{PartitionSystem, Partitions};
use quorate_consistent_hash::{Jump, JumpBack, KeyHash, Memento, Placement, jump as jump_to, jump_back_path};

use super::{Steps, name};

pub(super) fn jump(placement: &Jump, key: &[u8], steps: &mut Steps) {
    let hash = hash(placement, key, steps);
    let count = placement.nodes().len();
    // Every count of nodes at which the key changes to the newest one.
    let counts = 1..=u32::try_from(count).unwrap_or(u32::MAX);
    for count in counts.filter(|&count| jump_to(hash, count) == count - 1) {
        steps.add("jump", format_args!("to number {} with {count} nodes", count - 1));
    }
    steps.add("rule", format_args!("the last jump below {count}, the number of nodes"));
}

pub(super) fn jump_back(placement: &JumpBack, key: &[u8], steps: &mut Steps) {
    let hash = hash(placement, key, steps);
    let count = u32::try_from(placement.nodes().len()).unwrap_or(u32::MAX);
    ranges(hash, count, steps);
    steps.add("rule", JUMP_BACK_RULE);
}

pub(super) fn memento(placement: &Memento, key: &[u8], steps: &mut Steps) {
    let hash = hash(placement, key, steps);
    let count = u32::try_from(placement.numbers().len()).unwrap_or(u32::MAX);
    ranges(hash, count, steps);
    let path = placement.path_of(hash);
    steps.add("number", path[0]);
    for pair in path.windows(2) {
        steps.add("replaced", format_args!("{} was removed; {} takes its place for this key", pair[0], pair[1]));
    }
    steps.add("rule", format_args!("{JUMP_BACK_RULE}; from removed numbers on to those that replace them"));
}

pub(super) fn partitions(partitions: &Partitions, key: &[u8], steps: &mut Steps) {
    let system = partitions.system();
    match system {
        PartitionSystem::Twemproxy(settings) => steps.hashed(settings.hashed(key)),
        PartitionSystem::Hazelcast => {
            let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
            steps.hashed(&[&length[..], key].concat());
        }
        _ => steps.hashed(key),
    }
    let hash = partitions.hash(key);
    steps.add("hash", format_args!("{}, by {}", hash.0, hash_of(system)));
    let (count, place) = (partitions.count(), partitions.partition(hash));
    let owner_of = |place: usize| name(partitions, partitions.owners()[place]);
    if system == PartitionSystem::RabbitMq {
        for (bucket, number) in partitions.jumps_of(hash) {
            let next = f64::from(u32::try_from(bucket + 1).unwrap_or(u32::MAX)) / number;
            let owner = owner_of(bucket);
            steps.add("jump", format_args!("bucket {bucket} ({owner}), drawn {number:.6}: on to {next:.3}"));
        }
    } else {
        steps.add("place", format_args!("{place} = {} modulo {count}", hash.0));
    }
    if partitions.nodes().len() < count {
        let of = |node| partitions.owners().iter().filter(|&&owner| owner == node).count();
        let owner = partitions.owners()[place];
        steps.add("places", format_args!("{count}, of which {} has {}", name(partitions, owner), of(owner)));
    }
    let before = owner_of((place + count - 1) % count);
    steps.add("place before", before);
    steps.add("place after", owner_of((place + 1) % count));
    steps.add("rule", rule(system));
}

fn hash(placement: &dyn Placement, key: &[u8], steps: &mut Steps) -> KeyHash {
    let hash = placement.hash(key);
    steps.hashed(key);
    steps.add("hash", format_args!("{:016x} ({}), by XXH64", hash.0, hash.0));
    hash
}

/// The ranges in which JumpBackHash looks for a number below `count`.
fn ranges(hash: KeyHash, count: u32, steps: &mut Steps) {
    for (start, number) in jump_back_path(hash, count) {
        let verdict = if number < start {
            "below the range, so that it has none there".into()
        } else if number < count {
            format!("below {count}")
        } else {
            format!("not below {count}, so that it draws again")
        };
        let end = u64::from(start) * 2;
        steps.add("range", format_args!("{start} to {}: the key has {number}, {verdict}", end - 1));
    }
}

fn hash_of(system: PartitionSystem) -> String {
    match system {
        PartitionSystem::Kafka => "murmur2 without its highest bit".into(),
        PartitionSystem::Librdkafka => "CRC-32".into(),
        PartitionSystem::Sarama => "FNV-1a, its absolute value as a signed number".into(),
        PartitionSystem::Hazelcast => "murmur3, its absolute value as a signed number".into(),
        PartitionSystem::PostgreSql => "PostgreSQL's extended hash of the value, combined to that of a row".into(),
        PartitionSystem::Prometheus => "the last eight bytes of MD5".into(),
        PartitionSystem::RabbitMq => "Erlang's phash2".into(),
        PartitionSystem::Thanos => "XXH64".into(),
        PartitionSystem::ClickHouse => "SipHash-2-4 without a key".into(),
        PartitionSystem::Twemproxy(settings) => format!("twemproxy's {:?}", settings.hash),
        PartitionSystem::Libmemcached(hash) => format!("libmemcached's {hash:?}"),
        _ => "its own hash".into(),
    }
}

fn rule(system: PartitionSystem) -> &'static str {
    match system {
        PartitionSystem::RabbitMq => {
            "the last bucket of the jumps, each to (bucket + 1) / number drawn by Erlang's exs1024s; a queue has as many \
             buckets as its binding key says"
        }
        PartitionSystem::Twemproxy(_) => {
            "the hash modulo the sum of the weights, in the order of the names, short ones first"
        }
        PartitionSystem::ClickHouse => "the hash modulo the sum of the weights, in the order of the shards",
        PartitionSystem::Thanos => "the hash modulo the number of endpoints, in the order of their names",
        PartitionSystem::PostgreSql => "the partition whose remainder is the hash modulo the number of partitions",
        _ => "the hash modulo the number of nodes, in their order",
    }
}

const JUMP_BACK_RULE: &str =
    "JumpBackHash: the number in the highest range that has one below the number of nodes, or 0";
