//! Promises of every algorithm: balance, minimal disruption, distinct replicas, and equal results for every order of
//! the nodes.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_consistent_hash::{
    BuildError, Hasher, Jump, JumpBack, KeyHash, Maglev, Memento, MementoState, Node, NodeIndex, Nodes, Placement,
    Rendezvous, ReplicaError, Ring, Weight, jump, jump_back, jump_back_path,
};

use crate::support::{every_algorithm, hashes, loads, name, named, weighted};

fn names_of(placement: &dyn Placement, hash: KeyHash, n: usize) -> Vec<String> {
    placement.replicas_of(hash, n).unwrap().map(|node| node.name().to_owned()).collect()
}

/// The steps that explain an owner lead to it.
#[test]
fn explanations_end_at_the_owner() {
    let mut memento = Memento::new(named(40)).unwrap();
    for gone in ["node-3", "node-39", "node-17", "node-0", "node-21", "node-22"] {
        memento.remove(gone).unwrap();
    }
    let weights: Vec<f64> = (0..40).map(|i| f64::from(i % 4) + 0.5).collect();
    let rendezvous = Rendezvous::new(weighted(&weights)).unwrap();
    let (mut replaced, mut without) = (0, 0);
    for hash in hashes(2000) {
        let draws = rendezvous.draws_of(hash);
        let mut order = vec![NodeIndex::default(); 40];
        rendezvous.fill_replicas(hash, &mut order).unwrap();
        assert_eq!(draws.iter().map(|draw| draw.node).collect::<Vec<_>>(), order);
        let path = memento.path_of(hash);
        assert_eq!(path[0], jump_back(hash, 40));
        assert_eq!(path.last().map(|&number| number as usize), Some(memento.owner_of(hash).get()));
        replaced += path.len() - 1;
        let steps = jump_back_path(hash, 40);
        let found = steps.iter().find(|&&(range, bucket)| bucket >= range && bucket < 40);
        assert_eq!(found.map_or(0, |&(_, bucket)| bucket), jump_back(hash, 40));
        assert!(found.is_none() || found == steps.last());
        without += usize::from(found.is_none());
    }
    assert!(replaced > 200 && without > 0, "{replaced} {without}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn replicas_are_distinct_and_start_with_the_owner(count in 1_usize..30, seed: u64) {
        for (algorithm, placement) in every_algorithm(&named(count)) {
            for i in 0..20 {
                let hash = Hasher::STABLE.hash_u64(seed.wrapping_add(i));
                let all = names_of(&*placement, hash, count.min(16));
                prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{}", algorithm);
                prop_assert_eq!(&all[0], name(&*placement, placement.owner_of(hash)), "{}", algorithm);
                for n in 0..all.len() {
                    prop_assert_eq!(&names_of(&*placement, hash, n)[..], &all[..n], "{}", algorithm);
                }
                let mut every = vec![NodeIndex::default(); count];
                placement.fill_replicas(hash, &mut every).unwrap();
                prop_assert_eq!(every.iter().collect::<BTreeSet<_>>().len(), count, "{}", algorithm);
                let error = ReplicaError::TooFewNodes { wanted: count + 1, nodes: count };
                prop_assert_eq!(placement.fill_replicas(hash, &mut vec![NodeIndex::default(); count + 1]), Err(error));
            }
        }
    }

    #[test]
    fn visits_follow_the_replicas(weights in prop::collection::vec(0.5_f64..4.0, 1..20), seed: u64) {
        for (algorithm, placement) in every_algorithm(&weighted(&weights)) {
            let hash = Hasher::STABLE.hash_u64(seed);
            let mut visited = Vec::new();
            placement.visit(hash, &mut |node| {
                if !visited.contains(&node) {
                    visited.push(node);
                }
                std::ops::ControlFlow::Continue(())
            });
            let mut every = vec![NodeIndex::default(); weights.len()];
            placement.fill_replicas(hash, &mut every).unwrap();
            prop_assert_eq!(&visited, &every, "{}", algorithm);
            let last = *every.last().unwrap();
            prop_assert_eq!(placement.owner_where(hash, &|node| node == last), Some(last));
            prop_assert_eq!(placement.owner_where(hash, &|_| false), None);
        }
    }

    #[test]
    fn removal_and_return_move_only_what_they_must(
        weights in prop::collection::vec(0.5_f64..4.0, 2..20),
        gone: prop::sample::Index,
        seed: u64,
    ) {
        let nodes = weighted(&weights);
        let gone = format!("node-{}", gone.index(weights.len()));
        let ring = Ring::new(nodes.clone()).unwrap();
        let mut smaller = ring.clone();
        let node = smaller.remove(&gone).unwrap();
        check_minimal(&ring, &smaller, &gone, seed)?;
        smaller.add(node.clone()).unwrap();
        check_same(&ring, &smaller, seed)?;
        let rendezvous = Rendezvous::new(nodes).unwrap();
        let mut smaller = rendezvous.clone();
        smaller.remove(&gone).unwrap();
        check_minimal(&rendezvous, &smaller, &gone, seed)?;
        smaller.add(node).unwrap();
        check_same(&rendezvous, &smaller, seed)?;
    }

    #[test]
    fn memento_keeps_its_promise_through_any_history(
        count in 2_usize..40,
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..60),
        seed: u64,
    ) {
        let mut placement = Memento::new(named(count)).unwrap();
        let mut fresh = count;
        for (add, which) in steps {
            let before = placement.clone();
            if add {
                let node = format!("node-{fresh}");
                fresh += 1;
                placement.add(Node::new(node.clone())).unwrap();
                for hash in (0..40).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i))) {
                    let owner = name(&placement, placement.owner_of(hash));
                    prop_assert!(owner == node || owner == name(&before, before.owner_of(hash)));
                }
            } else if placement.nodes().len() > 1 {
                let names: Vec<_> = placement.nodes().iter().map(|(_, node)| node.name().to_owned()).collect();
                let gone = &names[which.index(names.len())];
                placement.remove(gone).unwrap();
                for hash in (0..40).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i))) {
                    let owner = name(&before, before.owner_of(hash));
                    prop_assert!(owner == gone || owner == name(&placement, placement.owner_of(hash)));
                }
            }
            let restored = Memento::try_from(MementoState::from(&placement)).unwrap();
            check_same(&placement, &restored, seed)?;
        }
    }

    #[test]
    fn numbered_algorithms_grow_without_moving_the_rest(hash: u64, count in 1_u32..100_000, more in 1_u32..1000) {
        for number in [jump, jump_back] {
            let before = number(KeyHash(hash), count);
            prop_assert!(before < count);
            let after = number(KeyHash(hash), count + more);
            prop_assert!(after == before || (count..count + more).contains(&after));
        }
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter(
        weights in prop::collection::vec(0.5_f64..4.0, 1..12),
        by in any::<prop::sample::Index>(),
        seed: u64,
    ) {
        let nodes: Vec<_> = weighted(&weights).iter().map(|(_, node)| node.clone()).collect();
        let mut turned = nodes.clone();
        turned.rotate_left(by.index(nodes.len()));
        turned.reverse();
        let (nodes, turned) = (Nodes::new(nodes).unwrap(), Nodes::new(turned).unwrap());
        check_same(&Ring::new(nodes.clone()).unwrap(), &Ring::new(turned.clone()).unwrap(), seed)?;
        check_same(&Rendezvous::new(nodes.clone()).unwrap(), &Rendezvous::new(turned.clone()).unwrap(), seed)?;
        let maglev = |nodes| Maglev::builder().table_size(1009).build(nodes).unwrap();
        check_same(&maglev(nodes), &maglev(turned), seed)?;
    }
}

/// `after` is `before` without one node: no key of another node moves, and replica sets lose only that node.
fn check_minimal(before: &dyn Placement, after: &dyn Placement, gone: &str, seed: u64) -> Result<(), TestCaseError> {
    let n = after.nodes().len().min(3);
    for hash in (0..60).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i))) {
        let mut left = names_of(before, hash, n);
        left.retain(|name| name != gone);
        let replicas = names_of(after, hash, n);
        prop_assert_eq!(&replicas[..left.len()], &left[..]);
    }
    Ok(())
}

fn check_same(one: &dyn Placement, other: &dyn Placement, seed: u64) -> Result<(), TestCaseError> {
    let n = one.nodes().len().min(4);
    for hash in (0..60).map(|i| Hasher::STABLE.hash_u64(seed.wrapping_add(i))) {
        prop_assert_eq!(names_of(one, hash, n), names_of(other, hash, n));
    }
    Ok(())
}

/// The greatest load divided by the fair load must stay within the limits of chance. `deviation` is the relative
/// deviation of one node's share, apart from that of the keys themselves. With so few nodes, a fair algorithm never
/// reaches five deviations.
#[expect(clippy::cast_precision_loss, reason = "counts of keys are small")]
fn assert_balanced(placement: &dyn Placement, keys: impl Iterator<Item = KeyHash>, deviation: f64, what: &str) {
    let loads = loads(placement, keys);
    let total: u64 = loads.iter().sum();
    for (index, node) in placement.nodes().iter() {
        let fair = total as f64 * node.weight().units() as f64 / placement.nodes().total_units() as f64;
        let allowed = 5.0 * (deviation * deviation + 1.0 / fair).sqrt();
        let off = loads[index.get()] as f64 / fair - 1.0;
        assert!(off.abs() < allowed, "{what}: {} is off by {off:.4}, allowed {allowed:.4}", node.name());
    }
}

#[test]
fn loads_stay_within_the_theoretical_bound() {
    for count in [1, 2, 3, 10, 50] {
        for (algorithm, placement) in every_algorithm(&named(count)) {
            let deviation = if algorithm == "ring" { (1.0_f64 / 160.0).sqrt() } else { 0.01 };
            assert_balanced(&*placement, hashes(100_000), deviation, &format!("{algorithm} on {count}"));
        }
    }
}

#[test]
fn loads_follow_the_weights() {
    let nodes = weighted(&[0.25, 1.0, 1.0, 1.7, 3.0, 8.0, 0.6]);
    for (algorithm, placement) in every_algorithm(&nodes) {
        let deviation = if algorithm == "ring" { (1.0_f64 / 40.0).sqrt() } else { 0.01 };
        assert_balanced(&*placement, hashes(200_000), deviation, algorithm);
    }
}

#[test]
fn numbers_of_any_pattern_spread_once_hashed() {
    for shift in [0, 8, 16, 32, 48] {
        for (algorithm, placement) in every_algorithm(&named(10)) {
            let keys = (0..50_000_u64).map(|i| Hasher::STABLE.hash_u64(i << shift));
            let deviation = if algorithm == "ring" { 0.08 } else { 0.01 };
            assert_balanced(&*placement, keys, deviation, &format!("{algorithm}, shifted {shift}"));
        }
    }
}

#[test]
fn memento_stays_balanced_after_many_removals() {
    let mut placement = Memento::new(named(100)).unwrap();
    for i in (0..100).filter(|i| i % 5 != 2) {
        placement.remove(&format!("node-{i}")).unwrap();
    }
    assert_eq!(placement.nodes().len(), 20);
    assert_balanced(&placement, hashes(100_000), 0.0, "memento after 80 removals");
}

#[test]
fn maglev_moves_little_more_than_it_must() {
    let nodes = named(100);
    let before = Maglev::new(nodes.clone()).unwrap();
    let left = nodes.iter().map(|(_, node)| node.clone()).filter(|node| node.name() != "node-7");
    let after = Maglev::new(Nodes::new(left).unwrap()).unwrap();
    let moved = before
        .table()
        .zip(after.table())
        .filter(|&(one, other)| name(&before, one) != "node-7" && name(&before, one) != name(&after, other))
        .count();
    assert!(moved * 100 < before.table_size() * 2, "{moved} entries moved needlessly");
}

#[test]
fn a_changed_weight_moves_keys_of_that_node_only() {
    let nodes = weighted(&[1.0, 2.0, 1.0, 3.0]);
    let changed = nodes.index_of("node-2").unwrap();
    let weight = Weight::new(1.5).unwrap();
    let ring = Ring::new(nodes.clone()).unwrap();
    let mut heavier_ring = ring.clone();
    heavier_ring.set_weight("node-2", weight).unwrap();
    let rendezvous = Rendezvous::new(nodes.clone()).unwrap();
    let mut heavier_rendezvous = rendezvous.clone();
    heavier_rendezvous.set_weight("node-2", weight).unwrap();
    let pairs: [(&dyn Placement, &dyn Placement); 2] = [(&ring, &heavier_ring), (&rendezvous, &heavier_rendezvous)];
    for (before, after) in pairs {
        let mut moved = 0;
        for hash in hashes(5000) {
            let (before, after) = (before.owner_of(hash), after.owner_of(hash));
            assert!(before == after || after == changed);
            moved += u32::from(before != after);
        }
        assert!(moved > 0);
    }
    // A table is built again, and equals the table built on the new weights.
    let mut maglev = Maglev::new(nodes).unwrap();
    maglev.set_weight("node-2", weight).unwrap();
    let built = Maglev::new(weighted(&[1.0, 2.0, 1.5, 3.0])).unwrap();
    assert!(maglev.table().eq(built.table()));
    let unknown = Err(BuildError::UnknownNode("other".into()));
    assert_eq!(heavier_ring.set_weight("other", weight), unknown);
    assert_eq!(heavier_rendezvous.set_weight("other", weight), unknown);
    assert_eq!(maglev.set_weight("other", weight), unknown);
}

#[test]
fn weights_are_refused_where_they_would_be_ignored() {
    let nodes = weighted(&[1.0, 2.0]);
    assert!(Jump::new(nodes.clone()).is_err());
    assert!(JumpBack::new(nodes.clone()).is_err());
    assert!(Memento::new(nodes).is_err());
}
