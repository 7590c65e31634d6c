//! Look-ups in the rings and tables of other systems beside our own of the same shape: the same nodes, the same number
//! of tokens or entries, the same hashes.
//!
//! ```text
//! cargo bench -p quorate-consistent-hash --bench compat
//! ```
//!
//! Both are measured in turn, and the least time of many short rounds counts, so that other work on the machine
//! does not disturb. The first ratio is of look-ups of a hash, the second of hashing a key of twelve bytes and
//! looking it up; there the hash function of the system counts, while ours is XXH64. The program fails if the first is
//! above 1.2. (For Envoy's Maglev the remainder by the size of the table, which is two multiplications where ours is
//! one, is part of hashing the key: the second ratio has it.)

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use quorate_consistent_hash::compat::{
    CompatRing, EnvoyMaglev, EnvoyRing, HaproxyHash, LibmemcachedRing, RingSystem, TwemproxyRing,
};
use quorate_consistent_hash::{KeyHash, Maglev, Nodes, Placement, Ring};

fn main() -> ExitCode {
    // What `cargo bench` adds to the arguments, and what `cargo test` does not.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let systems = [
        ("libmemcached", RingSystem::Libmemcached(LibmemcachedRing::default())),
        ("libketama", RingSystem::Libketama),
        ("nginx", RingSystem::Nginx),
        ("envoy", RingSystem::Envoy(EnvoyRing::default())),
        ("grpc", RingSystem::Grpc { minimum_ring_size: 1024, maximum_ring_size: 4096 }),
        ("haproxy", RingSystem::Haproxy(HaproxyHash::default())),
        ("varnish", RingSystem::Varnish),
        ("twemproxy", RingSystem::Twemproxy(TwemproxyRing::default())),
        ("traffic-server", RingSystem::TrafficServer),
        ("thanos", RingSystem::Thanos),
        ("open-telemetry", RingSystem::OpenTelemetry),
        ("groupcache", RingSystem::Groupcache { replicas: 50 }),
        ("uhashring", RingSystem::Uhashring),
        ("npm-hashring", RingSystem::NpmHashring { vnodes: None, hash_ring: false }),
        ("npm-consistent-hashing", RingSystem::NpmConsistentHashing { replicas: 160 }),
    ];
    let mut is_fast = true;
    println!("system\tnodes\ttokens\tns a hash\tours\tratio\tns a key\tours\tratio");
    for count in [10, 100] {
        let nodes = || Nodes::named((0..count).map(|i| format!("10.0.0.{i}:11211"))).expect("distinct names");
        for (name, system) in systems {
            let ring = CompatRing::new(system, nodes()).expect("every node has tokens");
            let tokens = ring.tokens().count();
            let tokens_each = u32::try_from(tokens / count).expect("few tokens").max(1);
            let ours = Ring::builder().virtual_nodes(tokens_each).build(nodes()).expect("every node has tokens");
            is_fast &= row(name, count, tokens, &ring, &ours);
        }
        let table = EnvoyMaglev::new(nodes()).expect("every node has entries");
        let ours = Maglev::builder().table_size(65537).build(nodes()).expect("every node has entries");
        is_fast &= row("envoy-maglev", count, 65537, &table, &ours);
    }
    if is_fast { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line, and returns whether the look-up is fast enough.
fn row<P: Placement, Q: Placement>(name: &str, nodes: usize, tokens: usize, theirs: &P, ours: &Q) -> bool {
    let keys: Vec<[u8; 12]> = (0..KEYS)
        .map(|i| {
            let mut key = *b"user:0000000";
            key[5..].copy_from_slice(format!("{i:07}").as_bytes());
            key
        })
        .collect();
    let hashes: Vec<KeyHash> = keys.iter().map(|key| ours.hash(key)).collect();
    let positions: Vec<KeyHash> = keys.iter().map(|key| theirs.hash(key)).collect();
    let [theirs_hash, ours_hash] = least(|| by_hash(theirs, &positions), || by_hash(ours, &hashes));
    let [theirs_key, ours_key] = least(|| by_key(theirs, &keys), || by_key(ours, &keys));
    let (hash_ratio, key_ratio) = (theirs_hash / ours_hash, theirs_key / ours_key);
    println!(
        "{name}\t{nodes}\t{tokens}\t{theirs_hash:.2}\t{ours_hash:.2}\t{hash_ratio:.2}\t{theirs_key:.1}\t{ours_key:.1}\t{key_ratio:.2}"
    );
    hash_ratio <= RATIO_MAX
}

fn by_hash<P: Placement>(placement: &P, hashes: &[KeyHash]) -> usize {
    hashes.iter().fold(0, |sum, &hash| sum ^ placement.owner_of(hash).get())
}

fn by_key<P: Placement>(placement: &P, keys: &[[u8; 12]]) -> usize {
    keys.iter().fold(0, |sum, key| sum ^ placement.owner_of(placement.hash(key)).get())
}

/// The least time of each, in nanoseconds a look-up.
fn least(one: impl Fn() -> usize, other: impl Fn() -> usize) -> [f64; 2] {
    let timed = |work: &dyn Fn() -> usize| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    let mut least = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        least[0] = least[0].min(timed(&one));
        least[1] = least[1].min(timed(&other));
    }
    least.map(|time| time.as_secs_f64() * 1e9 / KEYS_MEASURED)
}

const ROUNDS: usize = 300;
const KEYS: usize = 2_000;
const KEYS_MEASURED: f64 = 2_000.0;
const RATIO_MAX: f64 = 1.2;
