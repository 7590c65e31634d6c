//! Bad input: every case is a typed error, and nothing changes.

use quorate_consistent_hash::{
    BuildError, HASH_VERSION, Hasher, Jump, LoadFactor, LoadFactorError, Maglev, Memento, MementoState, MovementPlan,
    Node, Nodes, Placement, PlanError, REPLICAS_MAX, RemoveError, Rendezvous, ReplicaError, Ring, RingState,
    STATE_VERSION, StateRestoreError, Weight, WeightError, ZoneError, ZoneReplicas,
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
        (4_294_967_295.25, WeightError::TooLarge),
        (f64::INFINITY, WeightError::TooLarge),
    ] {
        assert_eq!(Weight::new(value), Err(error), "{value}");
    }
    for value in [1.0 / 65536.0, 0.5, 1.0, 2.5, 32768.0, 4_294_967_295.0] {
        assert!((Weight::new(value).unwrap().as_f64() - value).abs() < f64::EPSILON);
    }
    assert_eq!(Weight::new(3.0).unwrap().whole(), Some(3));
    assert_eq!(Weight::new(3.25).unwrap().whole(), None);
    assert_eq!(Weight::MAX.whole(), Some(u32::MAX));
    assert_eq!(Weight::new(f64::from(u32::MAX)), Ok(Weight::MAX));
}

#[test]
fn more_replicas_than_there_are() {
    let ring = Ring::new(named(3)).unwrap();
    let refused = ring.replicas(b"key", 4).map(|_| ());
    assert_eq!(refused, Err(ReplicaError::TooFewNodes { wanted: 4, nodes: 3 }));
    let ring = Ring::new(named(40)).unwrap();
    let wanted = REPLICAS_MAX + 1;
    let refused = ring.replicas(b"key", wanted).map(|_| ());
    assert_eq!(refused, Err(ReplicaError::TooManyReplicas { wanted, max: REPLICAS_MAX }));
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
    let mut rendezvous = Rendezvous::new(named(1)).unwrap();
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
        let state = MementoState {
            version: STATE_VERSION,
            hash_version: HASH_VERSION,
            hasher: Hasher::STABLE,
            numbers: slots.collect(),
            removed: removed.to_vec(),
            fingerprint: 0,
        };
        Memento::try_from(state).map(|_| ())
    };
    let refused = Err(StateRestoreError::Build(BuildError::BadRemovals));
    // A state whose parts fit together still need not be one that a placement made.
    assert_eq!(restore(&[true, false, true], &[1]), Err(StateRestoreError::FingerprintMismatch));
    assert_eq!(restore(&[true, false, true, false], &[1]), refused);
    assert_eq!(restore(&[true, false, true], &[]), refused);
    assert_eq!(restore(&[true, false, true], &[0]), refused);
    assert_eq!(restore(&[true, false, true], &[1, 1]), refused);
    assert_eq!(restore(&[true, false, true], &[7]), refused);
    assert_eq!(restore(&[true, false, true, false], &[1, 3]), Err(StateRestoreError::FingerprintMismatch));
    assert_eq!(restore(&[false, false], &[0, 1]), Err(StateRestoreError::Build(BuildError::NoNodes)));
}

#[test]
fn states_of_other_versions() {
    let ring = Ring::new(named(3)).unwrap();
    let good = RingState::from(&ring);
    let load = |change: &dyn Fn(&mut RingState)| {
        let mut state = good.clone();
        change(&mut state);
        Ring::try_from(state).map(|_| ())
    };
    assert_eq!(load(&|_| ()), Ok(()));
    assert_eq!(load(&|state| state.version = 2), Err(StateRestoreError::UnsupportedVersion { found: 2 }));
    assert_eq!(load(&|state| state.hash_version = 0), Err(StateRestoreError::UnsupportedHash { found: 0 }));
    assert_eq!(load(&|state| state.fingerprint ^= 1), Err(StateRestoreError::FingerprintMismatch));
    assert_eq!(
        load(&|state| state.settings = state.settings.virtual_nodes(161)),
        Err(StateRestoreError::FingerprintMismatch)
    );
    assert_eq!(load(&|state| state.nodes[1] = Node::new("other")), Err(StateRestoreError::FingerprintMismatch));
    let duplicate = StateRestoreError::Build(BuildError::DuplicateNode("node-0".into()));
    assert_eq!(load(&|state| state.nodes[1] = Node::new("node-0")), Err(duplicate));
    let mut state = MementoState::from(&Memento::new(named(3)).unwrap());
    state.version = 7;
    assert_eq!(Memento::try_from(state).map(|_| ()), Err(StateRestoreError::UnsupportedVersion { found: 7 }));
}

#[test]
fn load_factors() {
    for value in [0.0, 0.999, -1.0, f64::NAN, f64::INFINITY, 65536.0] {
        assert_eq!(LoadFactor::new(value), Err(LoadFactorError), "{value}");
    }
    assert!(LoadFactor::new(1.0).is_ok());
}

#[test]
fn zones() {
    let nodes = || Nodes::new([Node::new("a").with_zone("z"), Node::new("b").with_zone("z"), Node::new("c")]).unwrap();
    let build =
        |zones: &[(&str, usize)]| ZoneReplicas::new(Ring::new(nodes()).unwrap(), zones.iter().copied()).map(|_| ());
    assert_eq!(build(&[("z", 2), ("", 1)]), Ok(()));
    assert_eq!(build(&[]), Err(ZoneError::NoReplicas));
    assert_eq!(build(&[("z", 1), ("z", 1)]), Err(ZoneError::DuplicateZone("z".into())));
    assert_eq!(build(&[("y", 1)]), Err(ZoneError::EmptyZone("y".into())));
    assert_eq!(build(&[("z", 0)]), Err(ZoneError::EmptyZone("z".into())));
    assert_eq!(build(&[("z", 3)]), Err(ZoneError::TooFewNodes { zone: "z".into(), wanted: 3, nodes: 2 }));
    let many = Ring::new(named(20)).unwrap();
    assert_eq!(ZoneReplicas::new(many, [("", 17)]).map(|_| ()), Err(ZoneError::TooManyReplicas { wanted: 17 }));
}

#[test]
fn plans_between_rings_that_hash_differently() {
    let one = Ring::new(named(3)).unwrap();
    let other = Ring::builder().hasher(Hasher::keyed([7; 16])).build(named(3)).unwrap();
    assert_eq!(MovementPlan::new(&one, &other, 1).map(|_| ()), Err(PlanError::DifferentHashes));
    let few = ReplicaError::TooFewNodes { wanted: 4, nodes: 3 };
    assert_eq!(MovementPlan::new(&one, &one, 4).map(|_| ()), Err(PlanError::Replicas(few)));
}
