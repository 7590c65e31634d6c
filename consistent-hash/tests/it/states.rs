//! A state of which a byte or a field was altered is refused, or restores the same placement.
#![cfg(feature = "serde")]

use proptest::prelude::*;
use quorate_consistent_hash::{
    Generation, Hasher, KeyHash, Maglev, MaglevState, Memento, MementoState, Migration, MigrationError,
    MigrationProgress, Node, Nodes, Placement, Rendezvous, RendezvousState, Ring, RingState, StateRestoreError, Weight,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::named;

fn rich_ring() -> Ring {
    let node = |(name, weight, zone, rack): (&str, f64, &str, &str)| {
        Node::new(name).with_weight(Weight::new(weight).unwrap()).with_zone(zone).with_rack(rack)
    };
    let nodes =
        [("a", 1.0, "east", "r1"), ("b", 2.5, "east", "r2"), ("c", 1.0, "west", "r1"), ("d", 0.75, "", "")].map(node);
    Ring::builder().virtual_nodes(5).hasher(Hasher::keyed([3; 16])).build(Nodes::new(nodes).unwrap()).unwrap()
}

fn churned_memento() -> Memento {
    let mut memento = Memento::new(named(7)).unwrap();
    for gone in ["node-1", "node-5", "node-3"] {
        memento.remove(gone).unwrap();
    }
    memento
}

fn migration() -> Migration<Ring> {
    let before = Ring::builder().virtual_nodes(4).build(named(3)).unwrap();
    let mut after = before.clone();
    after.add(Node::new("new")).unwrap();
    let mut migration = Migration::new(before, after).unwrap();
    for _ in 0..2 {
        let step = migration.next_step().unwrap().0;
        migration.complete(step);
    }
    migration.pin(KeyHash(77), "node-1").unwrap();
    migration
}

fn resume(progress: &MigrationProgress) -> Result<Migration<Ring>, MigrationError> {
    let before = Ring::builder().virtual_nodes(4).build(named(3)).unwrap();
    let mut after = before.clone();
    after.add(Node::new("new")).unwrap();
    Migration::resume(before, after, progress)
}

/// Replaces each byte by each of several others, and leaves each byte out. `accepted` returns whether the state is
/// accepted.
fn check_every_byte<S>(state: &S, accepted: impl Fn(S) -> bool)
where
    S: Serialize + DeserializeOwned + PartialEq + Clone + std::fmt::Debug,
{
    let text = serde_json::to_vec(state).unwrap();
    assert!(accepted(state.clone()), "the state itself is taken");
    let mut parsed = 0;
    for at in 0..text.len() {
        for other in [b'0', b'1', b'5', b'9', b'a', b'b', b'n', b',', b'"', b'.', b'-', b' ', 0] {
            let mut altered = text.clone();
            if other == 0 {
                altered.remove(at);
            } else {
                altered[at] = other;
            }
            let Ok(other) = serde_json::from_slice::<S>(&altered) else { continue };
            parsed += 1;
            assert!(other == *state || !accepted(other), "taken: {}", String::from_utf8_lossy(&altered));
        }
    }
    assert!(parsed > 100, "only {parsed} altered states are states at all");
}

#[test]
fn no_byte_of_a_state_can_be_altered() {
    check_every_byte(&RingState::from(&rich_ring()), |state| Ring::try_from(state).is_ok());
    check_every_byte(&MementoState::from(&churned_memento()), |state| Memento::try_from(state).is_ok());
    let nodes = || rich_ring().nodes().clone();
    let rendezvous = Rendezvous::with_hasher(nodes(), Hasher::keyed([3; 16])).unwrap();
    check_every_byte(&RendezvousState::from(&rendezvous), |state| Rendezvous::try_from(state).is_ok());
    let maglev = Maglev::builder().table_size(53).hasher(Hasher::keyed([3; 16])).build(nodes()).unwrap();
    check_every_byte(&MaglevState::from(&maglev), |state| Maglev::try_from(state).is_ok());
    check_every_byte(&migration().progress(), |progress| resume(&progress).is_ok());
}

#[test]
fn tables_and_draws_come_back_as_they_were() {
    let mut rendezvous = Rendezvous::new(rich_ring().nodes().clone()).unwrap();
    // A gap in the numbers is closed, and does not count.
    rendezvous.remove("a").unwrap();
    let restored = Rendezvous::try_from(RendezvousState::from(&rendezvous)).unwrap();
    let maglev = Maglev::builder().table_size(251).build(rendezvous.nodes().clone()).unwrap();
    let same = Maglev::try_from(MaglevState::from(&maglev)).unwrap();
    assert_eq!(same.table_size(), 251);
    for i in 0..500_u64 {
        let key = i.to_le_bytes();
        assert_eq!(restored.owner(&key), rendezvous.owner(&key));
        assert_eq!(same.owner(&key), maglev.owner(&key));
    }
}

#[test]
fn what_decides_placement_cannot_be_altered() {
    let good = MementoState::from(&churned_memento());
    let refusal = |change: &dyn Fn(&mut MementoState)| {
        let mut state = good.clone();
        change(&mut state);
        Memento::try_from(state).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(&|state| state.removed.reverse()), StateRestoreError::FingerprintMismatch);
    assert_eq!(refusal(&|state| state.numbers.swap(0, 2)), StateRestoreError::FingerprintMismatch);
    assert_eq!(refusal(&|state| state.hasher = Hasher::keyed([1; 16])), StateRestoreError::FingerprintMismatch);
    assert!(matches!(refusal(&|state| state.numbers.extend([None, None, None])), StateRestoreError::Build(_)));
    let good = RingState::from(&rich_ring());
    let replaced = |node: Node| {
        let mut state = good.clone();
        state.nodes[1] = node;
        Ring::try_from(state).map(|_| ()).unwrap_err()
    };
    let weight = Weight::new(2.5).unwrap();
    for altered in [
        Node::new("b").with_weight(weight).with_zone("west").with_rack("r2"),
        Node::new("b").with_weight(weight).with_zone("east").with_rack("r1"),
        Node::new("b").with_weight(Weight::new(2.502).unwrap()).with_zone("east").with_rack("r2"),
    ] {
        assert_eq!(replaced(altered), StateRestoreError::FingerprintMismatch);
    }
}

#[test]
fn the_progress_of_another_migration_is_refused() {
    let progress = migration().progress();
    assert_eq!(resume(&progress).unwrap().progress(), progress);
    // The same number of steps, but other nodes.
    let ring = |names: [&'static str; 3]| Ring::builder().virtual_nodes(4).build(Nodes::named(names).unwrap()).unwrap();
    for (names, new) in [(["node-0", "node-1", "node-2"], "newer"), (["node-0", "node-1", "other"], "new")] {
        let before = ring(names);
        let mut after = before.clone();
        after.add(Node::new(new)).unwrap();
        assert_eq!(Migration::resume(before, after, &progress).map(|_| ()), Err(MigrationError::OtherPlan));
    }
    let mut edited = progress.clone();
    edited.generation = Generation(edited.generation.0 + 1);
    assert_eq!(resume(&edited).map(|_| ()), Err(MigrationError::FingerprintMismatch));
}

/// A restored ring renumbers its nodes; the migration between its rings stays the same.
#[test]
fn a_migration_goes_on_between_restored_rings() {
    let mut before = Ring::builder().virtual_nodes(4).build(named(5)).unwrap();
    before.remove("node-1").unwrap();
    let mut after = before.clone();
    after.remove("node-0").unwrap();
    after.add(Node::new("new")).unwrap();
    let mut migration = Migration::new(before.clone(), after.clone()).unwrap();
    let step = migration.next_step().unwrap().0;
    migration.complete(step);
    let restored = |ring: &Ring| Ring::try_from(RingState::from(ring)).unwrap();
    assert!(restored(&before).nodes().capacity() < before.nodes().capacity());
    let resumed = Migration::resume(restored(&before), restored(&after), &migration.progress()).unwrap();
    assert_eq!(resumed.progress(), migration.progress());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn states_come_back_as_they_were(
        weights in prop::collection::vec(1.0_f64 / 65536.0..4_294_967_295.0, 1..6),
        names in prop::collection::btree_set("[a-z\"\\\\é]{1,6}", 6),
    ) {
        let node = |(name, weight): (&String, &f64)| Node::new(name.as_str()).with_weight(Weight::new(*weight).unwrap());
        let nodes = Nodes::new(names.iter().zip(&weights).map(node)).unwrap();
        if let Ok(ring) = Ring::builder().virtual_nodes(1).build(nodes) {
            let text = serde_json::to_string(&RingState::from(&ring)).unwrap();
            let back = Ring::try_from(serde_json::from_str::<RingState>(&text).unwrap()).unwrap();
            prop_assert_eq!(back.nodes(), ring.nodes());
        }
    }
}
