//! Movement plans and migrations.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_consistent_hash::compat::{
    CompatRing, EnvoyRing, HaproxyFunction, HaproxyHash, LibmemcachedRing, MemcachedHash, RingSystem, TwemproxyRing,
};
use quorate_consistent_hash::{
    Generation, Hasher, KeyHash, KeyRange, Migration, MigrationError, MovementPlan, Node, Nodes, Placement, PlanError,
    Ring, Token, TokenPlacement, Weight, ZoneReplicas,
};

use crate::support::{hashes, named};

fn set<P: Placement>(placement: &P, hash: KeyHash, n: usize) -> BTreeSet<String> {
    placement.replicas_of(hash, n).unwrap().map(|node| node.name().to_owned()).collect()
}

/// For every hash, and for every edge of a range, the plan agrees with a comparison of the placements.
fn check_plan<P, Q>(before: &P, after: &Q, n: usize, seed: u64) -> Result<(), TestCaseError>
where
    P: TokenPlacement,
    Q: TokenPlacement,
{
    let plan = MovementPlan::new(before, after, n).unwrap();
    prop_assert!(plan.moved() >= plan.minimum());
    let edges: Vec<_> =
        plan.movements().flat_map(|movement| [movement.range.after.0, movement.range.up_to.0]).collect();
    let near = edges.iter().flat_map(|edge| [*edge, edge.wrapping_add(1)]);
    let spread = (0..100).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i)).0);
    for hash in near.chain(spread).chain([0, u64::MAX]).map(KeyHash) {
        let moves: Vec<_> = plan.movements().filter(|movement| movement.range.contains(hash)).collect();
        let (old, new) = (set(before, hash, n), set(after, hash, n));
        let from: BTreeSet<_> = moves.iter().map(|movement| movement.from.name().to_owned()).collect();
        let to: BTreeSet<_> = moves.iter().map(|movement| movement.to.name().to_owned()).collect();
        prop_assert_eq!(from, old.difference(&new).cloned().collect::<BTreeSet<_>>());
        prop_assert_eq!(to, new.difference(&old).cloned().collect::<BTreeSet<_>>());
        prop_assert_eq!(moves.len(), new.difference(&old).count());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn plans_say_exactly_what_moves(
        before in prop::collection::btree_map(0_u8..12, 0.5_f64..3.0, 1..8),
        after in prop::collection::btree_map(0_u8..12, 0.5_f64..3.0, 1..8),
        n in 1_usize..4,
        seed: u64,
    ) {
        let nodes = |set: std::collections::BTreeMap<u8, f64>| {
            let node = |(i, weight)| Node::new(format!("node-{i}")).with_weight(Weight::new(weight).unwrap());
            Nodes::new(set.into_iter().map(node)).unwrap()
        };
        let n = n.min(before.len()).min(after.len());
        let build = |set| Ring::builder().virtual_nodes(8).build(nodes(set)).unwrap();
        check_plan(&build(before), &build(after), n, seed)?;
    }

    #[test]
    fn one_node_more_or_less_moves_the_minimum(count in 1_usize..10, seed: u64) {
        let small = Ring::builder().virtual_nodes(16).build(named(count)).unwrap();
        let large = Ring::builder().virtual_nodes(16).build(named(count + 1)).unwrap();
        for (before, after) in [(&small, &large), (&large, &small)] {
            let plan = MovementPlan::new(before, after, 1).unwrap();
            prop_assert_eq!(plan.moved(), plan.minimum());
            check_plan(before, after, 1, seed)?;
        }
    }

    #[test]
    fn ranges_hold_what_they_say(after: u64, up_to: u64, hash: u64) {
        let range = KeyRange { after: Token(after), up_to: Token(up_to) };
        let inside = if after < up_to { after < hash && hash <= up_to } else { hash > after || hash <= up_to };
        prop_assert_eq!(range.contains(KeyHash(hash)), inside);
        prop_assert!(range.contains(KeyHash(up_to)));
        prop_assert_eq!(range.contains(KeyHash(after)), after == up_to);
    }
}

#[test]
fn nothing_moves_between_equal_rings() {
    let ring = Ring::new(named(10)).unwrap();
    let plan = MovementPlan::new(&ring, &ring.clone(), 3).unwrap();
    assert!(plan.is_empty());
    assert_eq!((plan.moved(), plan.minimum()), (0, 0));
}

#[test]
fn everything_moves_from_one_node_to_another() {
    let ring = |name| Ring::builder().virtual_nodes(1).build(Nodes::named([name]).unwrap()).unwrap();
    let plan = MovementPlan::new(&ring("a"), &ring("b"), 1).unwrap();
    assert_eq!(plan.moved(), 1 << 64);
    assert_eq!(plan.minimum(), 1 << 64);
}

#[test]
fn compatible_rings_have_plans_too() {
    let before = CompatRing::new(RingSystem::Nginx, named(3)).unwrap();
    let after = CompatRing::new(RingSystem::Nginx, named(4)).unwrap();
    let plan = MovementPlan::new(&before, &after, 1).unwrap();
    assert!(plan.movements().all(|movement| movement.to.name() == "node-3"));
    check_plan(&before, &after, 1, 1).unwrap();
}

#[test]
fn systems_that_hash_alike_have_plans_between_them() {
    let compat = |system, count| CompatRing::new(system, named(count)).unwrap();
    let crc32 = HaproxyHash { function: HaproxyFunction::Crc32, avalanche: false };
    let md5 = LibmemcachedRing::default();
    for (before, after) in [
        (RingSystem::Nginx, RingSystem::Groupcache { replicas: 50 }),
        (RingSystem::Haproxy(crc32), RingSystem::Nginx),
        (RingSystem::Libketama, RingSystem::Libmemcached(md5)),
        (RingSystem::Envoy(EnvoyRing::default()), RingSystem::Thanos),
    ] {
        check_plan(&compat(before, 4), &compat(after, 5), 2, 3).unwrap();
    }
    let ring = Ring::new(named(5)).unwrap();
    check_plan(&compat(RingSystem::Envoy(EnvoyRing::default()), 4), &ring, 1, 3).unwrap();
    check_plan(&ring, &compat(RingSystem::Thanos, 3), 3, 3).unwrap();
}

#[test]
fn systems_that_hash_some_keys_otherwise_have_none() {
    let compat = |system| CompatRing::new(system, named(3)).unwrap();
    let twemproxy = |hash_tag| RingSystem::Twemproxy(TwemproxyRing { hash: MemcachedHash::Md5, hash_tag });
    let whole = compat(RingSystem::Libketama);
    assert!(MovementPlan::new(&whole, &compat(twemproxy(None)), 1).is_ok());
    for tag in [*b"{}", *b"$$", *b"ab", *b"ba", [0, 255], [255, 0], [7, 14]] {
        let plan = MovementPlan::new(&whole, &compat(twemproxy(Some(tag))), 1);
        assert_eq!(plan.map(|_| ()), Err(PlanError::DifferentHashes), "{tag:?}");
    }
}

#[test]
fn a_migration_hands_over_range_by_range() {
    let before = Ring::builder().virtual_nodes(4).build(named(4)).unwrap();
    let mut after = before.clone();
    after.remove("node-1").unwrap();
    after.add(Node::new("new")).unwrap();
    let mut migration = Migration::new(before.clone(), after.clone()).unwrap();
    let check = |migration: &Migration<Ring>, handed: &[KeyRange]| {
        for hash in hashes(300) {
            let ring = if handed.iter().any(|range| range.contains(hash)) { &after } else { &before };
            assert_eq!(migration.owner_of(hash).name(), ring.nodes().node(ring.owner_of(hash)).name());
        }
    };
    let mut handed = Vec::new();
    check(&migration, &handed);
    while let Some((step, movement)) = migration.next_step() {
        handed.push(movement.range);
        let generation = migration.complete(step);
        assert_eq!(generation, migration.complete(step), "once is enough");
        assert_eq!(generation, Generation(handed.len() as u64));
        check(&migration, &handed);
        let resumed = Migration::resume(before.clone(), after.clone(), &migration.progress()).unwrap();
        assert_eq!(resumed.progress(), migration.progress());
        check(&resumed, &handed);
    }
    assert!(handed.len() > 3, "the migration has steps");
    let ring = migration.finish().unwrap();
    assert_eq!(RingOwners::of(&ring), RingOwners::of(&after));
}

#[derive(Debug, PartialEq)]
struct RingOwners(Vec<String>);

impl RingOwners {
    fn of(ring: &Ring) -> Self {
        Self(hashes(100).map(|hash| ring.nodes().node(ring.owner_of(hash)).name().to_owned()).collect())
    }
}

#[test]
fn pins_and_generations() {
    let before = Ring::new(named(3)).unwrap();
    let after = Ring::new(named(4)).unwrap();
    let mut migration = Migration::new(before.clone(), after.clone()).unwrap();
    let hash = migration.plan().movement(0).range.up_to;
    let hash = KeyHash(hash.0);
    let start = migration.generation();
    migration.check(start).unwrap();
    assert_eq!(migration.pin(hash, "nobody"), Err(MigrationError::UnknownNode("nobody".into())));
    let pinned = migration.pin(hash, "node-3").unwrap();
    assert_eq!(migration.owner_of(hash).name(), "node-3");
    assert_eq!(migration.owner_of(KeyHash(hash.0.wrapping_sub(1))).name(), migration.plan().movement(0).from.name());
    let stale = MigrationError::StaleGeneration { given: start, current: pinned };
    assert_eq!(migration.check(start), Err(stale));
    let unpinned = migration.unpin(hash);
    assert_eq!(migration.unpin(hash), unpinned, "nothing was pinned any more");
    assert_ne!(migration.owner_of(hash).name(), "node-3");
    let migration = migration.finish().unwrap_err();
    assert_eq!(migration.left(), migration.plan().len());
    let mut other = migration.progress();
    other.steps += 1;
    assert_eq!(Migration::resume(before, after, &other).map(|_| ()), Err(MigrationError::FingerprintMismatch));
}

/// Nodes in two zones of two racks each.
fn zoned(names: &[&str]) -> Ring {
    let node = |(place, name): (usize, &&str)| {
        Node::new(*name).with_zone(["east", "west"][place % 2]).with_rack(format!("r{}", place / 2 % 2))
    };
    Ring::builder().virtual_nodes(8).build(Nodes::new(names.iter().enumerate().map(node)).unwrap()).unwrap()
}

#[test]
fn plans_between_sets_across_zones_say_what_moves() {
    let (before, after) = (zoned(&["a", "b", "c", "d", "e", "f"]), zoned(&["a", "b", "c", "d", "g", "f", "h"]));
    let zones = |ring| ZoneReplicas::new(ring, [("east", 2), ("west", 1)]).unwrap();
    let (before, after) = (zones(before), zones(after));
    let plan = MovementPlan::between_zones(&before, &after).unwrap();
    assert!(!plan.is_empty());
    let set = |zones: &ZoneReplicas<Ring>, hash| -> BTreeSet<String> {
        zones.replicas_of(hash).map(|node| node.name().to_owned()).collect()
    };
    for hash in hashes(3000) {
        let (old, new) = (set(&before, hash), set(&after, hash));
        let moves: Vec<_> = plan.movements().filter(|movement| movement.range.contains(hash)).collect();
        let from: BTreeSet<_> = moves.iter().map(|movement| movement.from.name().to_owned()).collect();
        let to: BTreeSet<_> = moves.iter().map(|movement| movement.to.name().to_owned()).collect();
        assert_eq!(from, old.difference(&new).cloned().collect());
        assert_eq!(to, new.difference(&old).cloned().collect());
    }
    let fewer = ZoneReplicas::new(after.placement().clone(), [("east", 2)]).unwrap();
    let refused = MovementPlan::between_zones(&before, &fewer).map(|_| ());
    assert_eq!(refused, Err(PlanError::DifferentReplicas { before: 3, after: 2 }));
}

#[test]
fn movements_from_a_node_come_with_their_places_in_the_plan() {
    let before = Ring::builder().virtual_nodes(8).build(named(5)).unwrap();
    let mut after = before.clone();
    after.add(Node::new("new")).unwrap();
    let plan = MovementPlan::new(&before, &after, 1).unwrap();
    let mut places = BTreeSet::new();
    for (_, node) in before.nodes().iter() {
        for (place, movement) in plan.movements_from(node.name()) {
            assert_eq!(plan.movement(place), movement);
            assert_eq!(movement.from.name(), node.name());
            assert!(places.insert(place), "a movement has one source");
        }
    }
    assert_eq!(places, (0..plan.len()).collect(), "every movement has a source");
}

#[test]
fn a_source_that_died_has_others_in_its_place() {
    let before = Ring::builder().virtual_nodes(8).build(named(5)).unwrap();
    let mut after = before.clone();
    after.remove("node-2").unwrap();
    let plan = MovementPlan::new(&before, &after, 3).unwrap();
    let from: Vec<_> = plan.movements_from("node-2").collect();
    assert_eq!(from.len(), plan.len());
    let mut parts = 0;
    for (place, movement) in from {
        assert_eq!(plan.movement(place), movement);
        let sources = MovementPlan::sources(&before, movement.range, 3, |node| node.name() != "node-2").unwrap();
        // The parts make up the range, and each has the two other nodes of its set.
        assert_eq!(sources.iter().map(|(part, _)| part.len()).sum::<u128>(), movement.range.len());
        for hash in hashes(300).chain([movement.range.up_to.0].map(KeyHash)) {
            let found: Vec<_> = sources.iter().filter(|(part, _)| part.contains(hash)).collect();
            assert_eq!(found.len(), usize::from(movement.range.contains(hash)));
            for (_, nodes) in found {
                let names: BTreeSet<_> = nodes.iter().map(|node| node.name().to_owned()).collect();
                let mut expected = set(&before, hash, 3);
                assert!(expected.remove("node-2"));
                assert_eq!(names, expected);
                parts += 1;
            }
        }
    }
    assert!(parts > 50);
    let none = MovementPlan::sources(&before, plan.movement(0).range, 1, |_| false).unwrap();
    assert!(none.iter().all(|(_, nodes)| nodes.is_empty()));
}

#[test]
fn a_migration_goes_back_from_half_way() {
    let before = Ring::builder().virtual_nodes(8).build(named(4)).unwrap();
    let mut after = before.clone();
    after.add(Node::new("new")).unwrap();
    let mut migration = Migration::new(before.clone(), after.clone()).unwrap();
    for _ in 0..3 {
        let (step, _) = migration.next_step().unwrap();
        migration.complete(step);
    }
    let (reached, half) = (migration.generation(), owners(&migration));
    let mut back = migration.reversed();
    assert_eq!(owners(&back), half, "turning round moves nothing");
    assert!(back.generation() > reached);
    assert_eq!(back.left(), 3);
    assert_eq!(back.movements_from("new").count(), 3);
    // It survives a restart, and differs from the original migration.
    let progress = back.progress();
    assert_eq!(Migration::resume(before.clone(), after.clone(), &progress).map(|_| ()), Err(MigrationError::OtherPlan));
    back = Migration::resume(after, before.clone(), &progress).unwrap();
    while let Some((step, movement)) = back.next_step() {
        assert_eq!(movement.from.name(), "new");
        back.complete(step);
    }
    let ring = back.finish().unwrap();
    for hash in hashes(500) {
        assert_eq!(ring.owner_of(hash), before.owner_of(hash));
    }
}

fn owners(migration: &Migration<Ring>) -> Vec<String> {
    hashes(500).map(|hash| migration.owner_of(hash).name().to_owned()).collect()
}

#[test]
fn only_keys_that_moved_make_a_request_stale() {
    let before = Ring::builder().virtual_nodes(8).build(named(4)).unwrap();
    let mut after = before.clone();
    after.add(Node::new("new")).unwrap();
    let mut migration = Migration::new(before, after).unwrap();
    let routed = migration.generation();
    let (step, movement) = migration.next_step().unwrap();
    let (moved, range) = (KeyHash(movement.range.up_to.0), movement.range);
    let still = hashes(500).find(|hash| !range.contains(*hash)).unwrap();
    let current = migration.complete(step);
    assert_eq!(migration.check_key(still, routed), Ok(()));
    assert_eq!(migration.check_key(moved, current), Ok(()));
    let stale = Err(MigrationError::StaleGeneration { given: routed, current });
    assert_eq!(migration.check_key(moved, routed), stale);
    // A pin and its end affect only the one key.
    let pinned = migration.pin(still, "new").unwrap();
    assert!(migration.check_key(still, current).is_err());
    assert_eq!(migration.check_key(moved, current), Ok(()));
    let unpinned = migration.unpin(still);
    assert!(migration.check_key(still, pinned).is_err());
    let resumed =
        Migration::resume(migration.before().clone(), migration.after().clone(), &migration.progress()).unwrap();
    assert!(resumed.check_key(still, pinned).is_err());
    assert!(resumed.check_key(moved, routed).is_err());
    assert_eq!(resumed.check_key(still, unpinned), Ok(()));
    assert!(resumed.check_key(still, Generation(unpinned.0 + 1)).is_err(), "nothing is routed by what is to come");
}
