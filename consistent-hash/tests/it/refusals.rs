//! Bad input: every case is a typed error, and nothing changes.

use quorate_consistent_hash::{
    BuildError, Jump, Maglev, Memento, Node, Nodes, Placement, REPLICAS_MAX, RemoveError, Rendezvous, ReplicaError,
    Ring, Weight, WeightError,
};

use crate::support::{named, weighted};

#[test]
fn sets_of_nodes() {
    assert_eq!(Nodes::new([]), Err(BuildError::NoNodes));
    assert_eq!(Nodes::named(["a", ""]), Err(BuildError::EmptyName));
    assert_eq!(Nodes::named(["a", "b", "a"]), Err(BuildError::DuplicateNode("a".into())));
}

#[test]
fn weights() {
    for (value, error) in [
        (0.0, WeightError::NotPositive),
        (-0.0, WeightError::NotPositive),
        (-1.5, WeightError::NotPositive),
        (f64::NEG_INFINITY, WeightError::NotPositive),
        (f64::NAN, WeightError::NotANumber),
        (1e-9, WeightError::TooSmall),
        (f64::MIN_POSITIVE, WeightError::TooSmall),
        (32768.5, WeightError::TooLarge),
        (f64::INFINITY, WeightError::TooLarge),
    ] {
        assert_eq!(Weight::new(value), Err(error), "{value}");
    }
    for value in [1.0 / 65536.0, 0.5, 1.0, 2.5, 32768.0] {
        assert!((Weight::new(value).unwrap().as_f64() - value).abs() < f64::EPSILON);
    }
    assert_eq!(Weight::new(3.0).unwrap().whole(), Some(3));
    assert_eq!(Weight::new(3.25).unwrap().whole(), None);
}

#[test]
fn more_replicas_than_there_are() {
    let ring = Ring::new(named(3)).unwrap();
    let refused = ring.replicas(b"key", 4).map(|_| ());
    assert_eq!(refused, Err(ReplicaError::TooFewNodes { wanted: 4, nodes: 3 }));
    let ring = Ring::new(named(40)).unwrap();
    let wanted = REPLICAS_MAX + 1;
    let refused = ring.replicas(b"key", wanted).map(|_| ());
    assert_eq!(refused, Err(ReplicaError::TooManyReplicas { wanted }));
}

#[test]
fn removals() {
    let mut jump = Jump::new(named(3)).unwrap();
    assert_eq!(jump.remove("node-1"), Err(RemoveError::NotTheLastAdded("node-2".into())));
    assert_eq!(jump.remove("node-9"), Err(RemoveError::UnknownNode("node-9".into())));
    assert_eq!(jump.remove("node-2").unwrap().name(), "node-2");
    let mut memento = Memento::new(named(2)).unwrap();
    memento.remove("node-0").unwrap();
    assert_eq!(memento.remove("node-1"), Err(RemoveError::LastNode));
    let mut rendezvous = Rendezvous::new(named(1));
    assert_eq!(rendezvous.remove("node-0"), Err(RemoveError::LastNode));
    assert_eq!(rendezvous.add(Node::new("node-0")), Err(BuildError::DuplicateNode("node-0".into())));
}

#[test]
fn maglev_tables() {
    let build = |size, nodes| Maglev::builder().table_size(size).build(nodes).map(|_| ());
    assert_eq!(build(1000, named(3)), Err(BuildError::BadTableSize(1000)));
    assert_eq!(build(1, named(1)), Err(BuildError::BadTableSize(1)));
    assert_eq!(build(7, weighted(&[1.0, 1000.0])), Err(BuildError::ShareTooSmall("node-0".into())));
    let many = Maglev::new(named(70_000)).map(|_| ());
    assert_eq!(many, Err(BuildError::TooManyNodes { nodes: 70_000, max: 65_536 }));
}

#[test]
fn memento_states_that_contradict_themselves() {
    let restore = |slots: &[bool], removed: &[u32]| {
        let slots = slots.iter().enumerate().map(|(i, &there)| there.then(|| Node::new(format!("{i}"))));
        Memento::restore(slots, removed, quorate_consistent_hash::Hasher::STABLE).map(|_| ())
    };
    assert_eq!(restore(&[true, false, true], &[1]), Ok(()));
    assert_eq!(restore(&[true, false, true], &[]), Err(BuildError::BadRemovals));
    assert_eq!(restore(&[true, false, true], &[0]), Err(BuildError::BadRemovals));
    assert_eq!(restore(&[true, false, true], &[1, 1]), Err(BuildError::BadRemovals));
    assert_eq!(restore(&[true, false, true], &[7]), Err(BuildError::BadRemovals));
    assert_eq!(restore(&[false, false], &[0, 1]), Err(BuildError::NoNodes));
}
