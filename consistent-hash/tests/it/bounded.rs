//! Bounded loads.

use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;
use quorate_consistent_hash::{BoundedLoads, KeyHash, Load, LoadFactor, Node, Nodes, Placement, Rendezvous, Ring};

use crate::support::{hashes, named, weighted};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_node_is_above_its_bound_when_a_load_is_taken(
        weights in prop::collection::vec(0.5_f64..4.0, 1..12),
        factor in 1.0_f64..3.0,
        steps in prop::collection::vec((any::<u64>(), any::<prop::sample::Index>(), 0..4), 1..200),
    ) {
        let placement = Rendezvous::new(weighted(&weights)).unwrap();
        let loads = BoundedLoads::new(placement, LoadFactor::new(factor).unwrap());
        let mut held: Vec<Load> = Vec::new();
        for (hash, which, action) in steps {
            if action == 0 && !held.is_empty() {
                drop(held.swap_remove(which.index(held.len())));
                continue;
            }
            // Few keys, so that each of them has much load.
            let hash = KeyHash(hash % 3);
            let mut free = Vec::new();
            loads.placement().visit(hash, &mut |node| {
                if loads.load(node) < loads.bound(node, held.len() + 1) {
                    free.push(node);
                }
                std::ops::ControlFlow::Continue(())
            });
            let load = loads.take(hash);
            prop_assert_eq!(load.index(), free[0], "the first node with room in the order of preference");
            prop_assert!(loads.load(load.index()) <= loads.bound(load.index(), held.len() + 1));
            held.push(load);
            prop_assert_eq!(loads.total(), held.len());
            let sum: usize = loads.placement().nodes().iter().map(|(node, _)| loads.load(node)).sum();
            prop_assert_eq!(sum, held.len());
        }
        drop(held);
        prop_assert_eq!(loads.total(), 0);
    }

    /// Nodes leave and come back while loads are held: the loads of a node are those taken under its name and not yet
    /// ended.
    #[test]
    fn loads_are_counted_by_name_through_any_membership(
        steps in prop::collection::vec((any::<u64>(), any::<prop::sample::Index>(), 0..6), 1..150),
        factor in 1.0_f64..2.0,
    ) {
        let ring = |members: u64| {
            let names = (0..6).filter(|i| members >> i & 1 == 1).map(|i| format!("node-{i}"));
            Ring::builder().virtual_nodes(2).build(Nodes::named(names).unwrap()).unwrap()
        };
        let mut loads = BoundedLoads::new(ring(0b11_1111), LoadFactor::new(factor).unwrap());
        let mut older = Vec::new();
        let mut held: Vec<(String, Load)> = Vec::new();
        for (random, which, action) in steps {
            match action {
                0 if !held.is_empty() => drop(held.swap_remove(which.index(held.len()))),
                1 => {
                    let next = loads.with_placement(ring(random % 63 + 1));
                    // Readers may use the previous object for a while.
                    older.push(std::mem::replace(&mut loads, next));
                    older.drain(..older.len().saturating_sub(which.index(3)));
                }
                2 if !older.is_empty() => {
                    let old = &older[which.index(older.len())];
                    let load = old.take(KeyHash(random));
                    held.push((old.node_of(&load).name().to_owned(), load));
                }
                _ => {
                    let load = loads.take(KeyHash(random));
                    let name = loads.node_of(&load).name().to_owned();
                    let on_node = held.iter().filter(|(other, _)| *other == name).count() + 1;
                    prop_assert!(on_node <= loads.bound(load.index(), held.len() + 1), "{} on {}", on_node, name);
                    held.push((name, load));
                }
            }
            for (index, node) in loads.placement().nodes().iter() {
                let on_node = held.iter().filter(|(name, _)| name == node.name()).count();
                prop_assert_eq!(loads.load(index), on_node, "{}", node.name());
            }
            prop_assert_eq!(loads.total(), held.len());
        }
    }
}

#[test]
fn bounds_follow_the_weights() {
    let loads = BoundedLoads::new(Ring::new(weighted(&[1.0, 3.0])).unwrap(), LoadFactor::new(1.0).unwrap());
    let held: Vec<_> = hashes(400).map(|hash| loads.take(hash)).collect();
    let on = |name: &str| loads.load(loads.placement().nodes().index_of(name).unwrap());
    assert_eq!((on("node-0"), on("node-1")), (100, 300));
    assert_eq!(loads.node_of(&held[0]).name(), loads.placement().nodes().node(held[0].index()).name());
}

#[test]
fn loads_go_on_while_the_nodes_change() {
    let ring = Ring::new(named(2)).unwrap();
    let before = BoundedLoads::new(ring.clone(), LoadFactor::new(1.0).unwrap());
    let mut held: Vec<_> = hashes(10).map(|hash| before.take(hash)).collect();
    let mut more = ring;
    more.add(Node::new("node-2")).unwrap();
    let after = before.with_placement(more);
    assert_eq!(after.total(), 10);
    // The new node has room for its share; the others are full until their loads end.
    held.extend(hashes(5).map(|hash| after.take(hash)));
    let new = after.placement().nodes().index_of("node-2").unwrap();
    assert_eq!(after.load(new), 5);
    drop(held);
    assert_eq!((before.total(), after.total()), (0, 0));
}

#[test]
fn many_threads_never_exceed_the_bound_of_all_they_could_hold() {
    const THREADS: usize = 4;
    const HELD: usize = 8;
    let loads = BoundedLoads::new(Ring::new(named(5)).unwrap(), LoadFactor::new(1.0).unwrap());
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (loads, barrier) = (&loads, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut held = std::collections::VecDeque::new();
                for i in 0..2000_u64 {
                    // All threads take loads for the same few keys.
                    let load = loads.take(KeyHash(i % 2 * (1 << 63)));
                    assert!(loads.load(load.index()) <= loads.bound(load.index(), THREADS * HELD), "thread {thread}");
                    held.push_back(load);
                    if held.len() == HELD {
                        held.pop_front();
                    }
                }
            });
        }
    });
    assert_eq!(loads.total(), 0);
    assert!(loads.placement().nodes().iter().all(|(node, _)| loads.load(node) == 0));
}
