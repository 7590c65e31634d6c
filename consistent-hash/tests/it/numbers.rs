//! Partitions, slots and shards against tables of many cases that other programs made.

use std::ops::ControlFlow;

use quorate_consistent_hash::compat::{
    CompatRing, MemcachedHash, Partitions, PostgresValue, Pymemcache, RingSystem, Server, SwiftDevice, SwiftRing,
    TwemproxyRing, cassandra_composite, cassandra_token, postgres_partition, pymemcache_owner, redis_slot, thanos_key,
    thanos_replicas,
};
use quorate_consistent_hash::{BuildError, KeyHash, Node, Nodes, Placement, ReplicaError, Weight, jump};

use crate::systems::{Case, Kind, cases, check_owners, keys, memcached_hash};

/// Cases whose owners are numbers. `place` computes them from the settings and a key.
fn check_numbers<P: Fn(usize, &[u8]) -> usize>(table: &str, kind: Kind, prepare: impl Fn(&Case<'_>) -> P) {
    let keys = keys(kind);
    for case in cases(table) {
        let place = prepare(&case);
        let owners: Vec<_> = keys.iter().enumerate().map(|(number, key)| place(number, key)).collect();
        case.check(&owners);
    }
}

pub(crate) fn numbered(count: &str) -> Nodes {
    Nodes::named((0..count.parse().unwrap()).map(|number: u32| number.to_string())).unwrap()
}

#[test]
fn hazelcast() {
    check_numbers(include_str!("../golden/systems/hazelcast.tsv"), Kind::Text, |case| {
        let partitions = Partitions::hazelcast(numbered(case.settings[0])).unwrap();
        move |_, key| partitions.partition(partitions.hash(key))
    });
}

#[test]
fn prometheus() {
    check_numbers(include_str!("../golden/systems/prometheus.tsv"), Kind::Text, |case| {
        let modulus: u64 = case.settings[0].parse().unwrap();
        let labels = case.settings[1].to_owned();
        let shards = Partitions::prometheus(numbered(&modulus.min(1000).to_string())).unwrap();
        move |number, key| {
            let values = labels.split(',').map(|label| match label {
                "key" => key.to_vec(),
                "number" => number.to_string().into_bytes(),
                _ => vec![],
            });
            let hash = shards.hash(&values.collect::<Vec<_>>().join(&b';'));
            let shard = usize::try_from(hash.0 % modulus).unwrap();
            assert!(modulus > 1000 || shards.owner_of(hash).get() == shard);
            shard
        }
    });
}

#[test]
fn libmemcached_modula() {
    // It refuses an empty key; the table has a zero there.
    let keys: Vec<_> = keys(Kind::Binary).into_iter().map(|key| if key.is_empty() { vec![0] } else { key }).collect();
    for case in cases(include_str!("../golden/systems/libmemcached-modula.tsv")) {
        let [_, hash] = case.settings[..] else { panic!("{:?}", case.settings) };
        let hash = if hash.is_empty() { MemcachedHash::OneAtATime } else { memcached_hash(hash) };
        check_owners(&case, &Partitions::libmemcached(&case.servers, hash).unwrap(), &[], &keys);
    }
}

#[test]
fn twemproxy_modula() {
    let keys = keys(Kind::Binary);
    for case in cases(include_str!("../golden/systems/twemproxy-modula.tsv")) {
        let hash_tag = case.settings[1].as_bytes().try_into().ok();
        let settings = TwemproxyRing { hash: memcached_hash(case.settings[0]), hash_tag };
        check_owners(&case, &Partitions::twemproxy(&case.servers, settings).unwrap(), &[], &keys);
    }
    let same = ["cache", "cache:11211"].map(Server::new);
    let refused = Partitions::twemproxy(&same, TwemproxyRing::default()).map(|_| ());
    assert_eq!(refused, Err(BuildError::SameServer("cache".into(), "cache:11211".into())));
}

#[test]
fn rabbitmq() {
    check_numbers(include_str!("../golden/systems/rabbitmq.tsv"), Kind::Binary, |case| {
        let partitions = Partitions::rabbitmq(numbered(case.settings[0])).unwrap();
        move |_, key| partitions.owner_of(partitions.hash(key)).get()
    });
    // A queue has as many buckets as its binding key says, checked with a live broker.
    let queues = [("q0", 1.0), ("q1", 2.0), ("q2", 10.0)];
    let queues = queues.map(|(name, weight)| Node::new(name).with_weight(Weight::new(weight).unwrap()));
    let exchange = Partitions::rabbitmq(Nodes::new(queues).unwrap()).unwrap();
    for (key, queue) in [("user:0", "q1"), ("user:1", "q2"), ("user:3", "q2"), ("7919", "q2"), ("ключ", "q1")] {
        assert_eq!(exchange.owner(key.as_bytes()).name(), queue, "{key}");
    }
}

#[test]
fn cassandra() {
    check_numbers(include_str!("../golden/systems/cassandra.tsv"), Kind::Binary, |case| {
        let before = vec![0xFF; case.settings[0].parse().unwrap()];
        move |_, key| {
            usize::try_from(cassandra_token(&[&before, key].concat()).cast_unsigned())
                .expect("the tests run on 64 bits")
        }
    });
    assert_eq!(cassandra_token(&cassandra_composite([&b"a"[..], &5_i32.to_be_bytes()])), -702_446_043_846_556_520);
    assert_eq!(cassandra_composite([&b"only"[..]]), b"only");
}

#[test]
fn postgresql() {
    check_numbers(include_str!("../golden/systems/postgresql.tsv"), Kind::Binary, |case| {
        let modulus: u32 = case.settings[0].parse().unwrap();
        let partitions = Partitions::postgresql(numbered(&modulus.min(1000).to_string())).unwrap();
        let kinds: Vec<_> = case.settings[1..].iter().map(|kind| (*kind).to_owned()).collect();
        move |number, key| {
            let i = i64::try_from(number).unwrap();
            let text = if number < 1500 {
                key.to_vec()
            } else {
                key.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()
            };
            let int8 = if i < 1000 { i - 500 } else { (i - 1500) * 12_345_678_901_234 };
            let int4 = i32::try_from(i * 2_140_000 - 2_147_483_648 + i * i).unwrap();
            let several = [
                PostgresValue::Bytes(&text),
                PostgresValue::Int4(i32::try_from(i).unwrap()),
                if i % 3 == 0 { PostgresValue::Null } else { PostgresValue::Int8(i << 30) },
            ];
            let row = match kinds.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["int4"] => vec![PostgresValue::Int4(int4)],
                ["int8"] => vec![PostgresValue::Int8(int8)],
                ["text"] => vec![PostgresValue::Bytes(&text)],
                ["bytea"] => vec![PostgresValue::Bytes(key)],
                _ => several.to_vec(),
            };
            let partition = usize::try_from(postgres_partition(&row, modulus)).unwrap();
            if let [PostgresValue::Bytes(bytes)] = row[..] {
                let hash = partitions.hash(bytes);
                assert_eq!(hash.0 % u64::from(modulus), partition as u64);
                assert!(modulus > 1000 || partitions.partition(hash) == partition);
            }
            partition
        }
    });
}

#[test]
fn pymemcache() {
    check_numbers(include_str!("../golden/systems/pymemcache.tsv"), Kind::Text, |case| {
        let names: Vec<String> = case.servers.iter().map(|server| server.name.to_string()).collect();
        let placement = Pymemcache::new(Nodes::named(names.iter().map(String::as_str)).unwrap());
        move |_, key| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let owner = pymemcache_owner(&names, str::from_utf8(key).unwrap()).unwrap();
            assert_eq!(placement.owner(key).name(), names[owner]);
            assert_eq!(placement.scores(key)[0].0, placement.owner_of(placement.hash(key)));
            owner
        }
    });
}

#[test]
fn thanos() {
    let keys: Vec<_> = keys(Kind::Binary).iter().map(|key| [&b"t\xFFkey\xFF"[..], key, b"\xFF"].concat()).collect();
    assert_eq!(thanos_key("t", [("key", "user:0")]), keys[0]);
    for case in cases(include_str!("../golden/systems/thanos.tsv")) {
        let [algorithm, replicas] = case.settings[..] else { panic!("{:?}", case.settings) };
        let replicas: usize = replicas.parse().unwrap();
        let nodes = case
            .servers
            .iter()
            .zip(&case.places)
            .map(|(server, place)| Node::new(server.name.clone()).with_zone(place.zone));
        let nodes = Nodes::new(nodes).unwrap();
        let place = |names: &[&str]| {
            let digit = |name: &&str| case.place(name);
            if let [owner] = names {
                return digit(owner);
            }
            names.iter().rev().fold(0, |number, name| number * 1000 + digit(name) + 1)
        };
        let owners: Vec<_> = if algorithm == "ketama" {
            let ring = CompatRing::new(RingSystem::Thanos, nodes).unwrap();
            let set = |key: &Vec<u8>| thanos_replicas(&ring, ring.hash(key), replicas).unwrap();
            let names = |key| set(key).into_iter().map(|node| ring.nodes().node(node).name()).collect::<Vec<_>>();
            keys.iter().map(|key| place(&names(key))).collect()
        } else {
            let shards = Partitions::thanos(&nodes).unwrap();
            let names = |key: &Vec<u8>| shards.replicas(key, replicas).unwrap().map(Node::name).collect::<Vec<_>>();
            keys.iter().map(|key| place(&names(key))).collect()
        };
        case.check(&owners);
    }
}

/// Thanos itself searches for ever for four replicas in these zones.
#[test]
fn thanos_zones_without_enough_nodes() {
    let nodes = [("a", "east"), ("b", "west"), ("c", "west"), ("d", "west")];
    let nodes = Nodes::new(nodes.map(|(name, zone)| Node::new(name).with_zone(zone))).unwrap();
    let ring = CompatRing::new(RingSystem::Thanos, nodes).unwrap();
    let hash = ring.hash(b"key");
    assert_eq!(thanos_replicas(&ring, hash, 3).unwrap().len(), 3);
    assert_eq!(thanos_replicas(&ring, hash, 4), Err(ReplicaError::TooFewNodes { wanted: 4, nodes: 3 }));
    assert_eq!(thanos_replicas(&ring, hash, 5), Err(ReplicaError::TooFewNodes { wanted: 5, nodes: 4 }));
}

#[test]
fn clickhouse() {
    check_numbers(include_str!("../golden/systems/clickhouse.tsv"), Kind::Binary, |case| {
        let count = case.settings[1].to_owned();
        let shards = numbered(&count.parse::<u32>().unwrap().min(1000).to_string());
        let function = case.settings[0].to_owned();
        let [siphash, kafka] = [Partitions::clickhouse(shards.clone()), Partitions::kafka(shards)].map(Result::unwrap);
        move |number, key| {
            let count: u32 = count.parse().unwrap();
            let modulo = |hash: KeyHash| usize::try_from(hash.0 % u64::from(count)).unwrap();
            match &*function {
                "siphash" => modulo(siphash.hash(key)),
                "kafka" => modulo(kafka.hash(key)),
                "jump" => jump(siphash.hash(key), count) as usize,
                width => {
                    let bytes = width.strip_prefix("siphash-").unwrap().parse::<usize>().unwrap() / 8;
                    let number = (number as u64 * 7919).to_le_bytes();
                    siphash.partition(siphash.hash(&number[..bytes]))
                }
            }
        }
    });
    let shards = Partitions::clickhouse(numbered("1")).unwrap();
    assert_eq!(shards.hash(&[5]), KeyHash(10_536_747_468_361_244_917));
}

/// A negative sharding key counts as the number without a sign that has the same 64 bits, or the same 32 bits if its
/// type has no more.
#[test]
fn clickhouse_shards() {
    let keys = keys(Kind::Binary);
    for case in cases(include_str!("../golden/systems/clickhouse-shards.tsv")) {
        let node = |server: &Server| Some(Node::new(server.name.clone()).with_weight(server.weight?));
        let shards = Partitions::clickhouse(Nodes::new(case.servers.iter().filter_map(node)).unwrap()).unwrap();
        let number = |i: usize| match case.settings[0] {
            "sipHash64(k)" => shards.hash(&keys[i]).0,
            "toUInt64(i) * 1000000007" => i as u64 * 1_000_000_007,
            key => {
                let bits = if key.starts_with("toInt") { (i as u64).wrapping_sub(1000) } else { i as u64 };
                let width: u32 = key.split_once("nt").unwrap().1.split_once('(').unwrap().0.parse().unwrap();
                let signed = (bits << (64 - width)).cast_signed() >> (64 - width);
                let value =
                    if key.starts_with("toInt") { signed.cast_unsigned() } else { bits & (u64::MAX >> (64 - width)) };
                value & (u64::MAX >> (64 - width.max(32)))
            }
        };
        let owner = |i| case.place(shards.nodes().node(shards.owner_of(KeyHash(number(i)))).name());
        case.check(&(0..2000).map(owner).collect::<Vec<_>>());
    }
}

#[test]
fn kafka() {
    check_numbers(include_str!("../golden/systems/kafka.tsv"), Kind::Binary, |case| {
        let nodes = numbered(case.settings[1]);
        let partitions = match case.settings[0] {
            "java" | "murmur2" => Partitions::kafka(nodes),
            "consistent" => Partitions::librdkafka(nodes),
            _ => Partitions::sarama(nodes),
        };
        let partitions = partitions.unwrap();
        move |_, key| partitions.partition(partitions.hash(key))
    });
}

#[test]
fn redis_slots() {
    check_numbers(include_str!("../golden/systems/redis.tsv"), Kind::Binary, |case| {
        let form = case.settings[0].as_bytes().to_vec();
        move |_, key| {
            let (head, tail) = key.split_at(key.len().min(3));
            let part = |byte: u8| match byte {
                b'K' => key.to_vec(),
                b'H' => head.to_vec(),
                b'T' => tail.to_vec(),
                other => vec![other],
            };
            usize::from(redis_slot(&form.iter().copied().flat_map(part).collect::<Vec<_>>()))
        }
    });
}

/// The partition and the first four devices of a path, and nothing else of the ring's builder.
#[test]
fn swift() {
    for case in cases(include_str!("../golden/systems/swift-rings.tsv")) {
        let [power, prefix, suffix, ref rows @ ..] = case.settings[..] else { panic!("{:?}", case.settings) };
        let number = |digits: &[u8]| u32::from_str_radix(str::from_utf8(digits).unwrap(), 36).unwrap();
        let rows: Vec<Vec<u32>> = rows.iter().map(|row| row.as_bytes().chunks(3).map(number).collect()).collect();
        let devices = case.servers.iter().zip(&case.places).map(|(server, place)| {
            let node = Node::new(server.name.clone());
            Some(SwiftDevice { node, region: place.region, zone: place.zone.parse().unwrap(), ip: place.ip.into() })
        });
        let devices: Vec<_> = devices.collect();
        let power = power.parse().unwrap();
        let ring = SwiftRing::new(power, &devices, &rows, prefix.as_bytes(), suffix.as_bytes()).unwrap();
        let owner = |key: &Vec<u8>| {
            let path = [b"/a/c/", &key[key.iter().take_while(|byte| **byte == b'/').count()..]].concat();
            let hash = ring.hash(&path);
            let mut found = Vec::new();
            ring.visit(hash, &mut |device| {
                if !found.contains(&device.get()) {
                    found.push(device.get());
                }
                if found.len() < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let partition = usize::try_from(hash.0).unwrap();
            found.iter().rev().fold(0, |number, device| number * 1000 + device + 1) + partition * 1000_usize.pow(4)
        };
        case.check(&keys(Kind::Text).iter().map(owner).collect::<Vec<_>>());
    }
}
