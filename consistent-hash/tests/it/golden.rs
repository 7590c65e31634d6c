//! Placement against tables that other programs made. `tests/golden/README.md` describes how.

use quorate_consistent_hash::compat::{
    CompatRing, EnvoyHash, EnvoyMaglev, EnvoyRing, LibmemcachedRing, Partitions, RedisSlots, RingSystem, redis_slot,
};
use quorate_consistent_hash::{BuildError, KeyHash, Node, Nodes, Placement, Token, Weight, jump};

use crate::support::{name, named};

/// Reads nodes from lines of name and weight, as the recipes do.
fn nodes(text: &str) -> Nodes {
    Nodes::new(text.lines().map(|line| {
        let (name, weight) = line.split_once(' ').unwrap();
        Node::new(name).with_weight(Weight::new(weight.parse().unwrap()).unwrap())
    }))
    .unwrap()
}

fn assert_owners(placement: &dyn Placement, table: &str) {
    let mut keys = 0;
    for line in table.lines() {
        let (key, owner) = line.split_once('\t').unwrap();
        assert_eq!(placement.owner(key.as_bytes()).name(), owner, "key {key:?}");
        keys += 1;
    }
    assert!(keys > 400, "the table is whole");
}

#[test]
fn libmemcached_weighted_ketama() {
    let weighted = CompatRing::new(
        RingSystem::Libmemcached(LibmemcachedRing::default()),
        nodes(include_str!("../golden/ketama.nodes")),
    )
    .unwrap();
    assert_owners(&weighted, include_str!("../golden/libmemcached.tsv"));
    let equal = CompatRing::new(
        RingSystem::Libmemcached(LibmemcachedRing::default()),
        nodes(include_str!("../golden/ketama-equal.nodes")),
    )
    .unwrap();
    assert_owners(&equal, include_str!("../golden/libmemcached-equal.tsv"));
    // The default port may be left out.
    let short = include_str!("../golden/ketama.nodes").replace(":11211", "");
    let short = CompatRing::new(RingSystem::Libmemcached(LibmemcachedRing::default()), nodes(&short)).unwrap();
    assert_owners(&short, &include_str!("../golden/libmemcached.tsv").replace(":11211", ""));
}

#[test]
fn libmemcached_names_and_weights_of_every_kind() {
    let odd = CompatRing::new(
        RingSystem::Libmemcached(LibmemcachedRing::default()),
        nodes(include_str!("../golden/libmemcached-names.nodes")),
    )
    .unwrap();
    assert_owners(&odd, include_str!("../golden/libmemcached-names.tsv"));
    let heavy = CompatRing::new(
        RingSystem::Libmemcached(LibmemcachedRing::default()),
        nodes(include_str!("../golden/libmemcached-heavy.nodes")),
    )
    .unwrap();
    assert_owners(&heavy, include_str!("../golden/libmemcached-heavy.tsv"));
}

#[test]
fn libketama() {
    let weighted = CompatRing::new(RingSystem::Libketama, nodes(include_str!("../golden/ketama.nodes"))).unwrap();
    assert_owners(&weighted, include_str!("../golden/libketama.tsv"));
    let equal = CompatRing::new(RingSystem::Libketama, nodes(include_str!("../golden/ketama-equal.nodes"))).unwrap();
    assert_owners(&equal, include_str!("../golden/libketama-equal.tsv"));
    assert_owners(&equal, include_str!("../golden/uhashring-equal.tsv"));
}

#[test]
fn nginx() {
    let ring = CompatRing::new(RingSystem::Nginx, nodes(include_str!("../golden/nginx.nodes"))).unwrap();
    assert_owners(&ring, include_str!("../golden/nginx.tsv"));
}

#[test]
fn envoy_ring_hash() {
    let table: Vec<Vec<&str>> =
        include_str!("../golden/envoy-ring.tsv").lines().map(|line| line.split('\t').collect()).collect();
    for case in ["basic", "murmur", "hostname", "uneven", "changed"] {
        let rows: Vec<_> = table.iter().filter(|row| row[0] == case).collect();
        let mut names: Vec<_> = rows.iter().map(|row| row[3]).collect();
        names.sort_unstable();
        names.dedup();
        let hash_function = if rows[0][2] == "murmur2" { EnvoyHash::MurmurHash2 } else { EnvoyHash::XxHash };
        let settings =
            EnvoyRing { minimum_ring_size: rows[0][1].parse().unwrap(), hash_function, ..EnvoyRing::default() };
        let ring = CompatRing::new(RingSystem::Envoy(settings), Nodes::named(names).unwrap()).unwrap();
        let tokens: Vec<_> = ring.tokens().map(|(Token(token), node)| (name(&ring, node).to_owned(), token)).collect();
        let expected: Vec<_> = rows.iter().map(|row| (row[3].to_owned(), row[4].parse::<u64>().unwrap())).collect();
        assert_eq!(tokens, expected, "{case}");
    }
}

#[test]
fn envoy_ring_hash_with_weights() {
    let hosts = || nodes("127.0.0.1:90 1\n127.0.0.1:91 2\n127.0.0.1:92 3\n");
    let ring = |minimum, maximum| {
        let settings =
            EnvoyRing { minimum_ring_size: minimum, maximum_ring_size: maximum, hash_function: EnvoyHash::XxHash };
        CompatRing::new(RingSystem::Envoy(settings), hosts()).unwrap()
    };
    let tiny: Vec<_> = ring(6, 6).tokens().map(|(token, node)| (token.0, node.get())).collect();
    let expected = [
        (928_266_305_478_181_108, 2),
        (4_443_673_547_860_492_590, 2),
        (5_583_722_120_771_150_861, 1),
        (6_311_230_543_546_372_928, 1),
        (13_444_792_449_719_432_967, 2),
        (16_117_243_373_044_804_889, 0),
    ];
    assert_eq!(tiny, expected);
    let large = ring(6144, 8 << 20);
    let mut counts = [0; 3];
    for i in 0..6000 {
        counts[large.owner_of(KeyHash(i * (u64::MAX / 6000))).get()] += 1;
    }
    assert_eq!(counts, [987, 1932, 3081]);
}

#[test]
fn envoy_maglev() {
    let table = |nodes, size| -> Vec<usize> {
        let maglev = EnvoyMaglev::with_table_size(nodes, size).unwrap();
        (0..u64::from(size)).map(|hash| maglev.owner_of(KeyHash(hash)).get()).collect()
    };
    let addresses = Nodes::named((90..96).map(|port| format!("127.0.0.1:{port}"))).unwrap();
    assert_eq!(table(addresses, 7), [2, 4, 0, 1, 5, 0, 3]);
    let hosts = Nodes::named((90..96).map(|host| host.to_string())).unwrap();
    assert_eq!(table(hosts, 7), [2, 5, 0, 3, 4, 1, 0]);
    let weighted = nodes("127.0.0.1:90 1\n127.0.0.1:91 2\n");
    assert_eq!(table(weighted, 17), [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]);
    let equal = nodes("127.0.0.1:90 1\n127.0.0.1:91 1\n");
    assert_eq!(table(equal, 17), [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]);
    // Weights 0.8 and 0.2, as in the published case of unequal localities.
    let unequal = nodes("127.0.0.1:90 4\n127.0.0.1:91 1\n");
    assert_eq!(table(unequal, 17), [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn redis_cluster_slots() {
    let mut keys = 0;
    for line in include_str!("../golden/redis-slot.tsv").lines() {
        let (key, slot) = line.rsplit_once('\t').unwrap();
        assert_eq!(redis_slot(key.as_bytes()).to_string(), slot, "key {key:?}");
        keys += 1;
    }
    assert!(keys > 400, "the table is whole");
}

#[test]
fn redis_cluster_slots_on_new_masters() {
    let mut clusters = 0;
    for line in include_str!("../golden/redis-create.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let masters: usize = columns[1].parse().unwrap();
        let slots = RedisSlots::even(named(masters)).unwrap();
        let ends: Vec<String> = (0..masters)
            .map(|node| slots.owners().iter().rposition(|owner| owner.get() == node).unwrap().to_string())
            .collect();
        assert_eq!(ends.join(" "), columns[3], "{masters} masters");
        assert!(slots.owners().is_sorted());
        clusters += 1;
    }
    assert!(clusters > 30, "the table is whole");
}

/// Whatever rounding does, every node has slots, or the nodes are refused.
#[test]
fn redis_cluster_slots_on_any_number_of_masters() {
    for masters in (1..1200).chain([4096, 8191, 8192, 8193, 9999, 16_000, 16_383, 16_384]) {
        match RedisSlots::even(named(masters)) {
            Ok(slots) => {
                let mut owners = slots.owners().to_vec();
                owners.dedup();
                assert_eq!(owners.len(), masters);
            }
            Err(error) => {
                assert_eq!(error, BuildError::TooManyNodes { nodes: masters, max: 16_384 });
                assert!(masters > 8192, "{masters}");
            }
        }
    }
    assert!(RedisSlots::even(named(16_385)).is_err());
}

#[test]
fn kafka_partitions() {
    let on = |count| Nodes::named((0..count).map(|number| number.to_string())).unwrap();
    let all: Vec<Partitions> = vec![
        Partitions::kafka(on(10)).unwrap(),
        Partitions::kafka(on(997)).unwrap(),
        Partitions::librdkafka(on(4)).unwrap(),
        Partitions::kafka(on(4)).unwrap(),
        Partitions::sarama(on(4)).unwrap(),
    ];
    let mut keys = 0;
    for line in include_str!("../golden/kafka.tsv").lines() {
        let mut columns = line.split('\t');
        let hex = columns.next().unwrap();
        let key: Vec<_> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let owners: Vec<_> = all.iter().map(|partitions| partitions.owner(&key).name()).collect();
        assert_eq!(owners, columns.collect::<Vec<_>>(), "{hex}");
        keys += 1;
    }
    assert_eq!(keys, 600);
}

#[test]
fn jump_hash() {
    for line in include_str!("../golden/jump.tsv").lines() {
        let mut numbers = line.split('\t').map(|number| number.parse::<u64>().unwrap());
        let mut next = || numbers.next().unwrap();
        let (key, buckets, expected) = (next(), next(), next());
        let bucket = jump(KeyHash(key), u32::try_from(buckets).unwrap());
        assert_eq!(u64::from(bucket), expected, "{line}");
    }
}

#[test]
fn what_the_others_would_place_on_nobody_is_refused() {
    let light = || nodes("a:1 32000\nb:1 1\n");
    assert!(matches!(
        CompatRing::new(RingSystem::Libmemcached(LibmemcachedRing::default()), light()),
        Err(BuildError::ShareTooSmall(_))
    ));
    assert!(matches!(CompatRing::new(RingSystem::Libketama, light()), Err(BuildError::ShareTooSmall(_))));
    assert!(matches!(EnvoyMaglev::with_table_size(named(20), 17), Err(BuildError::ShareTooSmall(_))));
    for refused in
        [CompatRing::new(RingSystem::Nginx, nodes("a 1.5\n")), CompatRing::new(RingSystem::Libketama, nodes("a 1.5\n"))]
    {
        assert_eq!(refused.map(|_| ()), Err(BuildError::FractionalWeight("a".into())));
    }
}
