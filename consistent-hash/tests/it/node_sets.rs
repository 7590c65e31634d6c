//! Sets of nodes as they occur in practice: with gaps where nodes were removed, with extreme weights, with names that
//! collide.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_consistent_hash::compat::{
    CompatRing, EnvoyHash, EnvoyMaglev, EnvoyRing, LibmemcachedRing, Partitions, RedisSlots, RingSystem,
};
use quorate_consistent_hash::{
    BoundedLoads, BuildError, Hasher, Jump, JumpBack, KeyHash, LoadFactor, Maglev, Memento, Node, NodeIndex, Nodes,
    Placement, Rendezvous, Ring, Weight, ZoneReplicas, jump, jump_back,
};

use crate::support::{hashes, name, named, weighted};

type Built = Result<Box<dyn Placement>, BuildError>;

fn boxed<P: Placement + 'static>(built: Result<P, BuildError>) -> Built {
    built.map(|placement| Box::new(placement) as Box<dyn Placement>)
}

/// Every placement on these nodes, built or refused.
fn every_placement(nodes: &Nodes) -> Vec<(&'static str, Built)> {
    let nodes = || nodes.clone();
    vec![
        ("ring", boxed(Ring::builder().virtual_nodes(3).build(nodes()))),
        ("rendezvous", boxed(Rendezvous::new(nodes()))),
        ("maglev", boxed(Maglev::builder().table_size(251).build(nodes()))),
        ("jump", boxed(Jump::new(nodes()))),
        ("jump-back", boxed(JumpBack::new(nodes()))),
        ("memento", boxed(Memento::new(nodes()))),
        ("libmemcached", boxed(CompatRing::new(RingSystem::Libmemcached(LibmemcachedRing::default()), nodes()))),
        ("libketama", boxed(CompatRing::new(RingSystem::Libketama, nodes()))),
        ("nginx", boxed(CompatRing::new(RingSystem::Nginx, nodes()))),
        ("envoy", boxed(CompatRing::new(RingSystem::Envoy(EnvoyRing::default()), nodes()))),
        ("envoy-maglev", boxed(EnvoyMaglev::with_table_size(nodes(), 251))),
        ("kafka", boxed(Partitions::kafka(nodes()))),
        ("librdkafka", boxed(Partitions::librdkafka(nodes()))),
        ("sarama", boxed(Partitions::sarama(nodes()))),
        ("redis-slots", boxed(RedisSlots::even(nodes()))),
    ]
}

/// Properties of every placement: each node is reached from every key, once, and stands in for all others when they are
/// down.
fn check_reach(algorithm: &str, placement: &dyn Placement, seed: u64) -> Result<(), TestCaseError> {
    let nodes: BTreeSet<_> = placement.nodes().iter().map(|(index, _)| index).collect();
    for hash in (0..8).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i))).chain([KeyHash(0), KeyHash(u64::MAX)]) {
        let mut order = vec![NodeIndex::default(); nodes.len()];
        placement.fill_replicas(hash, &mut order).unwrap();
        prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), nodes.clone(), "{}", algorithm);
        prop_assert_eq!(order[0], placement.owner_of(hash), "{}", algorithm);
        let _ = placement.owner(&hash.0.to_le_bytes());
        for &only in &order {
            prop_assert_eq!(placement.owner_where(hash, &|node| node == only), Some(only), "{}", algorithm);
        }
    }
    Ok(())
}

/// Weights from the smallest to the largest, whole or not.
fn any_weight() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(1.0 / 65536.0),
        Just(1.0),
        Just(4_294_967_295.0),
        Just(2_147_483_648.5),
        0.5_f64..4.0,
        (1_u32..20).prop_map(f64::from),
        any::<u32>().prop_map(|whole| f64::from(whole.max(1))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn gaps_are_refused_or_make_no_difference(
        count in 1_usize..20,
        churn in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..25),
        seed: u64,
    ) {
        let mut ring = Ring::builder().virtual_nodes(1).build(named(count)).unwrap();
        for (number, (adds, which)) in churn.into_iter().enumerate() {
            let names: Vec<_> = ring.nodes().iter().map(|(_, node)| node.name().to_owned()).collect();
            if adds {
                ring.add(Node::new(format!("new-{number}"))).unwrap();
            } else if names.len() > 1 {
                ring.remove(&names[which.index(names.len())]).unwrap();
            }
        }
        let nodes = ring.nodes().clone();
        let has_gaps = nodes.len() < nodes.capacity();
        for (algorithm, built) in every_placement(&nodes) {
            let is_numbered =
                ["jump", "jump-back", "memento", "kafka", "librdkafka", "sarama"].contains(&algorithm);
            match built {
                Ok(placement) => {
                    prop_assert!(!(is_numbered && has_gaps), "{}", algorithm);
                    check_reach(algorithm, &*placement, seed)?;
                }
                Err(error) => {
                    prop_assert!(is_numbered && has_gaps, "{}: {}", algorithm, error);
                    prop_assert_eq!(error, BuildError::NumbersWithGaps);
                }
            }
        }
        let renumbered = nodes.clone().renumbered();
        prop_assert_eq!(renumbered.len(), renumbered.capacity());
        let names = |nodes: &Nodes| nodes.iter().map(|(_, node)| node.clone()).collect::<Vec<_>>();
        prop_assert_eq!(names(&renumbered), names(&nodes));
        prop_assert_eq!(&renumbered, &Nodes::new(names(&nodes)).unwrap());
        for (algorithm, built) in every_placement(&renumbered) {
            check_reach(algorithm, &*built.unwrap(), seed)?;
        }
    }

    #[test]
    fn weights_at_the_limits_are_refused_or_served(
        weights in prop::collection::vec(any_weight(), 1..6),
        factor in prop_oneof![Just(1.0), Just(65535.0), 1.0_f64..3.0],
        total in prop_oneof![Just(0), Just(usize::MAX), 0_usize..1000],
        seed: u64,
    ) {
        let nodes = weighted(&weights);
        for (algorithm, built) in every_placement(&nodes) {
            if let Ok(placement) = built {
                check_reach(algorithm, &*placement, seed)?;
            }
        }
        let heavy = Ring::builder().virtual_nodes(u32::MAX).build(nodes.clone()).map(|_| ());
        let is_light = weights.iter().all(|&weight| weight < 0.001);
        prop_assert!(is_light || matches!(heavy, Err(BuildError::TooManyTokens { .. })), "{:?}", heavy);
        // With all loads on the nodes, the bounds have room for them, and each bound is the fair share times the
        // factor, rounded up.
        let loads = BoundedLoads::new(Rendezvous::new(nodes.clone()).unwrap(), LoadFactor::new(factor).unwrap());
        let sum = nodes.iter().fold(0_usize, |sum, (node, _)| sum.saturating_add(loads.bound(node, total)));
        prop_assert!(sum >= total, "{} of {}", sum, total);
        let held = loads.take(KeyHash(seed));
        prop_assert_eq!(loads.load(held.index()), 1);
    }

    #[test]
    fn maglev_shares_are_rounded_down_or_up(
        weights in prop::collection::vec(any_weight(), 1..40),
        size in prop::sample::select(vec![2_u32, 7, 53, 97, 251, 1009, 10_007]),
    ) {
        let nodes = weighted(&weights);
        let total = nodes.total_units();
        let fair = |index| u128::from(nodes.node(index).weight().units()) * u128::from(size);
        match Maglev::builder().table_size(size).build(nodes.clone()) {
            Ok(maglev) => {
                let mut entries = vec![0_u128; nodes.capacity()];
                maglev.table().for_each(|node| entries[node.get()] += 1);
                for (index, _) in nodes.iter() {
                    let entries = entries[index.get()];
                    prop_assert!(entries >= fair(index) / total && entries <= fair(index).div_ceil(total), "{}", entries);
                    prop_assert!(entries > 0);
                }
                prop_assert_eq!(maglev.table_size(), size as usize);
            }
            Err(BuildError::ShareTooSmall(name)) => {
                prop_assert!(fair(nodes.index_of(&name).unwrap()) < total, "{} has an entry", name);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn buckets_up_to_the_greatest_number(hash: u64, buckets in (1_u32 << 31) - 3..=u32::MAX) {
        for number in [jump, jump_back] {
            let bucket = number(KeyHash(hash), buckets);
            prop_assert!(bucket < buckets);
            let before = number(KeyHash(hash), buckets - 1);
            prop_assert!(bucket == before || bucket == buckets - 1);
        }
    }
}

#[test]
fn a_light_node_has_an_entry_or_is_refused() {
    let nodes = || {
        let heavy = Node::new("A").with_weight(Weight::new(10.0).unwrap()).with_zone("x");
        Nodes::new([heavy, Node::new("B").with_zone("y")]).unwrap()
    };
    let small = Maglev::builder().table_size(7).build(nodes()).map(|_| ());
    assert_eq!(small, Err(BuildError::ShareTooSmall("B".into())));
    let maglev = Maglev::builder().table_size(13).build(nodes()).unwrap();
    assert_eq!(maglev.replicas(b"key", 2).unwrap().count(), 2);
    let zones = ZoneReplicas::new(maglev, [("x", 1), ("y", 1)]).unwrap();
    assert!(hashes(100).all(|hash| zones.replicas_of(hash).count() == 2));
    let light = Maglev::new(weighted(&[32768.0, 0.3])).map(|_| ());
    assert_eq!(light, Err(BuildError::ShareTooSmall("node-1".into())));
}

#[test]
fn one_heavy_node_among_many_is_built_soon() {
    // A round for each entry, with every node asked in each round, would take minutes here, and days for the largest
    // table.
    let mut weights = vec![1.0; 20_000];
    weights.push(20_000.0);
    let maglev = Maglev::builder().table_size(524_287).build(weighted(&weights)).unwrap();
    let heavy = maglev.table().filter(|node| node.get() == 20_000).count();
    assert!((262_143..=262_144).contains(&heavy), "{heavy}");
    let envoy = EnvoyMaglev::with_table_size(weighted(&weights), 524_287).unwrap();
    assert_eq!(envoy.table().len(), 524_287);
}

/// Two names of 64 bytes with one XXH64: the second stripe of one name undoes the change of its first stripe.
const COLLIDING: [&str; 2] = [
    "node-aaaxxxxxxxxxxxxxxxxxxxxxxxxnode-bbbxxxxxxxxxxxxxxxxxxxxxxxx",
    "00022724xxxxxxxxxxxxxxxxxxxxxxxxXHlZrxpaxxxxxxxxxxxxxxxxxxxxxxxx",
];

#[test]
fn names_with_one_hash_are_refused_where_names_are_hashed() {
    let [one, two] = COLLIDING;
    assert_eq!(Hasher::STABLE.hash(one.as_bytes()), Hasher::STABLE.hash(two.as_bytes()));
    let nodes = || Nodes::named([one, two, "third"]).unwrap();
    let collision = |first: &str, second: &str| Err(BuildError::HashCollision(first.into(), second.into()));
    assert_eq!(Ring::new(nodes()).map(|_| ()), collision(two, one));
    assert_eq!(Rendezvous::new(nodes()).map(|_| ()), collision(two, one));
    assert_eq!(Maglev::new(nodes()).map(|_| ()), collision(two, one));
    assert_eq!(CompatRing::new(RingSystem::Envoy(EnvoyRing::default()), nodes()).map(|_| ()), collision(one, two));
    let mut rendezvous = Rendezvous::new(Nodes::named([one, "third"]).unwrap()).unwrap();
    assert_eq!(rendezvous.add(Node::new(two)).map(|_| ()), collision(two, one));
    let mut ring = Ring::new(Nodes::named([one, "third"]).unwrap()).unwrap();
    assert_eq!(ring.add(Node::new(two)).map(|_| ()), collision(two, one));
    assert_eq!((ring.nodes().len(), rendezvous.nodes().len()), (2, 2));
    // Under another hash, and in algorithms that do not hash names, they are two ordinary nodes.
    let keyed = Hasher::keyed(*b"sixteen secrets!");
    for placement in [
        boxed(Ring::builder().hasher(keyed).build(nodes())),
        boxed(Rendezvous::with_hasher(nodes(), keyed)),
        boxed(Jump::new(nodes())),
        boxed(CompatRing::new(RingSystem::Nginx, nodes())),
    ] {
        let placement = placement.unwrap();
        let owners: BTreeSet<_> = hashes(1000).map(|hash| name(&*placement, placement.owner_of(hash))).collect();
        assert_eq!(owners.len(), 3);
    }
}

#[test]
fn two_names_of_one_server_are_refused() {
    let refused = |built: Result<CompatRing, BuildError>| matches!(built.map(|_| ()), Err(BuildError::SameServer(..)));
    for names in [
        ["cache-1", "cache-1:11211"],
        ["cache-1:11211", "Cache-1"],
        ["cache-1:11212", "cache-1:011212"],
        ["cache-1:0", "cache-1"],
        ["[::1]:11212", "::1:11212"],
        ["[fe80::A]", "fe80::a"],
        ["/tmp/a.sock", "/tmp/a.sock:0"],
    ] {
        assert!(
            refused(CompatRing::new(
                RingSystem::Libmemcached(LibmemcachedRing::default()),
                Nodes::named(names).unwrap()
            )),
            "{names:?}"
        );
    }
    for names in [["web:80", "web"], ["web", "WEB:0080"], ["unix:/a", "UNIX:/a"], ["[::A]:81", "[::a]:81"]] {
        assert!(refused(CompatRing::new(RingSystem::Nginx, Nodes::named(names).unwrap())), "{names:?}");
    }
    assert!(refused(CompatRing::new(RingSystem::Libketama, Nodes::named(["A:1", "a:1"]).unwrap())));
    // Paths distinguish upper and lower case, and every port counts.
    assert!(
        CompatRing::new(
            RingSystem::Libmemcached(LibmemcachedRing::default()),
            Nodes::named(["/tmp/a", "/tmp/A", "a:1", "a:2"]).unwrap()
        )
        .is_ok()
    );
    assert!(
        CompatRing::new(RingSystem::Nginx, Nodes::named(["unix:/a", "unix:/A", "a:1", "a:2", "a"]).unwrap()).is_ok()
    );
}

#[test]
fn ring_sizes_that_envoy_refuses() {
    let build = |minimum, maximum| {
        let settings =
            EnvoyRing { minimum_ring_size: minimum, maximum_ring_size: maximum, hash_function: EnvoyHash::XxHash };
        CompatRing::new(RingSystem::Envoy(settings), named(3)).map(|_| ())
    };
    assert_eq!(build(1024, 8 << 20), Ok(()));
    assert_eq!(build(8 << 20, 8 << 20), Ok(()));
    for (minimum, maximum) in [(1025, 1024), ((8 << 20) + 1, 8 << 20), (1024, (8 << 20) + 1), (u64::MAX, u64::MAX)] {
        assert_eq!(build(minimum, maximum), Err(BuildError::BadRingSize { minimum, maximum }));
    }
    assert!(matches!(build(0, 0), Err(BuildError::ShareTooSmall(_))));
}

#[test]
fn more_servers_than_a_ring_holds_are_refused_before_they_are_hashed() {
    let nodes = named(419_431);
    for built in [
        CompatRing::new(RingSystem::Libmemcached(LibmemcachedRing::default()), nodes.clone()),
        CompatRing::new(RingSystem::Libketama, nodes.clone()),
        CompatRing::new(RingSystem::Nginx, nodes),
    ] {
        assert!(matches!(built.map(|_| ()), Err(BuildError::TooManyTokens { .. })));
    }
}
