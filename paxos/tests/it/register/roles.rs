//! Changes of the acceptors while the group serves. Row 14 of the scenarios, and what else may go wrong.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::message::{List, Listed, Prepare};
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster, Setup};
use quorate_paxos::register::{
    AddedNode, ChangeOutcome, Found, Message, ReadOutcome, RegisterObstacle, Roles, RolesChange, RolesOutcome,
    RolesRefusal, Settings, System,
};
use quorate_protocol::{Input, NodeId, Protocol, ReadId};

use super::support::KEY;
use crate::support::ballot;

/// Three nodes, and others that have no role yet.
fn with_joining(nodes: u64, joining: u64) -> Cluster {
    let settings = Settings { remove_after: Duration::from_secs(2), ..Settings::default() };
    Builder::new(nodes, 1).joining(joining).settings(settings.into()).start()
}

fn add(node: u64) -> RolesChange {
    RolesChange::Add(NodeId(node).into())
}

fn remove(node: u64) -> RolesChange {
    RolesChange::Remove(NodeId(node))
}

fn replace(old: u64, new: u64) -> RolesChange {
    RolesChange::Replace { old: NodeId(old), new: NodeId(new).into() }
}

fn of_all(nodes: impl IntoIterator<Item = u64>) -> Roles {
    Roles::of(QuorumSystem::majority(nodes.into_iter().map(NodeId)).expect("distinct"))
}

/// Changes the roles, and waits for the outcome.
fn change(cluster: &mut Cluster, node: u64, change: RolesChange) -> RolesOutcome {
    let id = cluster.change_roles(node, change);
    cluster.run(Duration::from_secs(6));
    cluster.node(node).roles_changed(id).expect("an outcome").clone()
}

fn done(cluster: &mut Cluster, node: u64, what: RolesChange, epoch: u64) {
    assert_eq!(change(cluster, node, what), RolesOutcome::Done { epoch });
}

fn set(cluster: &mut Cluster, node: u64, key: &[u8], value: &[u8]) {
    let id = cluster.set(node, key, value);
    cluster.run(Duration::from_secs(2));
    let outcome = cluster.node(node).changed(id);
    assert!(matches!(outcome, Some(ChangeOutcome::Done(_))), "{outcome:?}");
}

fn read(cluster: &mut Cluster, node: u64, key: &[u8]) -> Option<Found> {
    let id = cluster.read(node, key);
    cluster.run(Duration::from_secs(6));
    match cluster.node(node).read(id) {
        Some(ReadOutcome::Found(found)) => Some(found.clone()),
        _ => None,
    }
}

fn value(cluster: &mut Cluster, node: u64, key: &[u8]) -> Option<Bytes> {
    read(cluster, node, key).expect("an answer").value
}

/// Isolates nodes from all others, one by one.
fn isolate(cluster: &mut Cluster, nodes: &[u64]) {
    for node in nodes {
        cluster.isolate(*node);
    }
}

fn epoch(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().roles().epoch()
}

#[test]
fn a_node_is_added_and_another_removed() {
    let mut cluster = with_joining(3, 1);
    set(&mut cluster, 1, KEY, b"one");
    done(&mut cluster, 1, add(4), 2);
    assert_eq!(*cluster.node(4).core().roles().roles(), of_all(1..=4));
    done(&mut cluster, 4, remove(1), 4);
    assert_eq!(*cluster.node(2).core().roles().roles(), of_all(2..=4));
    isolate(&mut cluster, &[1, 2]);
    assert_eq!(value(&mut cluster, 4, KEY), Some("one".into()));
    set(&mut cluster, 3, KEY, b"two");
    assert_eq!(value(&mut cluster, 4, KEY), Some("two".into()));
}

/// Old and new quorums need not have a node in common.
#[test]
fn all_nodes_are_replaced_at_once() {
    // Long keys make short lists.
    let (key_bytes_max, value_bytes_max, batch_bytes_max) = (20_000, 1_000, 100_000);
    let settings = Settings { key_bytes_max, value_bytes_max, batch_bytes_max, ..Settings::default() };
    let mut cluster = Builder::new(3, 1).joining(3).settings(settings.into()).start();
    let keys: Vec<Vec<u8>> = (0..21u32).map(|number| number.to_be_bytes().to_vec()).collect();
    for key in &keys {
        cluster.set(1, key, key);
    }
    cluster.run(Duration::from_secs(2));
    done(&mut cluster, 2, RolesChange::To(of_all(4..=6)), 2);
    isolate(&mut cluster, &[1, 2, 3, 6]);
    for key in [&keys[0], &keys[1], &keys[2], &keys[20]] {
        assert_eq!(value(&mut cluster, 5, key).as_deref(), Some(&key[..]));
    }
    for key in &keys {
        let has = |node: u64| cluster.node(node).core().register(key).is_some_and(|slot| slot.accepted.round > 0);
        assert!([4, 5, 6].into_iter().filter(|node| has(*node)).count() >= 2, "a quorum of the new acceptors has it");
    }
    let id = cluster.set(1, KEY, b"late");
    cluster.run(Duration::from_secs(6));
    assert!(!matches!(cluster.node(1).changed(id), Some(ChangeOutcome::Done(_))), "node 1 has no quorum any more");
}

/// Row 14: two of three are replaced while an old node is cut off. Its messages are refused whatever their ballots, and
/// the old majority chooses nothing after the seal.
#[test]
fn row_14_two_of_three_are_replaced_while_an_old_node_is_away() {
    let mut cluster = with_joining(3, 2);
    set(&mut cluster, 3, KEY, b"old");
    cluster.isolate(3);
    let held = cluster.set(3, KEY, b"of the old configuration");
    cluster.run(Duration::from_millis(10));
    done(&mut cluster, 1, RolesChange::To(of_all([1, 4, 5])), 2);
    set(&mut cluster, 4, KEY, b"new");
    let before = cluster.node(2).core().register(KEY);
    // The old majority of 2 and 3 is together again, and 2 missed the end of the change.
    cluster.heal();
    isolate(&mut cluster, &[1, 4, 5]);
    cluster.run(Duration::from_secs(10));
    assert!(!matches!(cluster.node(3).changed(held), Some(ChangeOutcome::Done(_))), "nothing is chosen any more");
    assert_eq!(read(&mut cluster, 3, KEY), None, "and nothing is read");
    assert_eq!(cluster.node(2).core().register(KEY), before);
    let late = Message::Prepare(Prepare {
        system: System { epoch: 0, ..cluster.node(2).core().system() },
        age: 0,
        key: Bytes::from_static(KEY),
        ballot: ballot(1000, 3),
    });
    cluster.input(NodeId(2), Input::Message { from: NodeId(3), message: late });
    assert_eq!(cluster.node(2).core().register(KEY), before, "a message under the old roles is refused");
    assert!(cluster.node(2).core().status().ignored["other_epoch"] > 0);
    cluster.heal();
    assert_eq!(value(&mut cluster, 5, KEY), Some("new".into()));
    assert_eq!(epoch(&cluster, 3), 2, "the node that was away learns of the change");
}

#[test]
fn a_node_that_does_not_answer_is_no_new_acceptor() {
    let mut cluster = with_joining(3, 1);
    cluster.isolate(4);
    let outcome = change(&mut cluster, 1, add(4));
    assert_eq!(outcome, RolesOutcome::NotTried(RolesRefusal::NotReady(vec![NodeId(4)])));
    assert_eq!(epoch(&cluster, 1), 0);
    set(&mut cluster, 1, KEY, b"one");
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let mut cluster = with_joining(3, 2);
    let refused = |cluster: &mut Cluster, what: RolesChange| match change(cluster, 1, what) {
        RolesOutcome::NotTried(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut cluster, add(2)), RolesRefusal::AlreadyMember(NodeId(2)));
    assert_eq!(refused(&mut cluster, remove(4)), RolesRefusal::NotMember(NodeId(4)));
    let nobody = of_all(1..=3).with_proposers([]);
    assert_eq!(refused(&mut cluster, RolesChange::To(nobody)), RolesRefusal::Proposers);
    let long = AddedNode { node: NodeId(4), context: vec![0; 256].into() };
    assert_eq!(refused(&mut cluster, RolesChange::Add(long)), RolesRefusal::TooLarge);
    let outcome = change(&mut cluster, 1, RolesChange::To(of_all(1..=3)));
    assert_eq!(outcome, RolesOutcome::Done { epoch: 0 }, "these are the roles");
    let flexible = Roles::of(QuorumSystem::flexible((1..=3).map(NodeId), 2, 2).expect("they meet"));
    assert_eq!(flexible, of_all(1..=3), "a majority in other words");
    let flexible = Roles::of(QuorumSystem::flexible((1..=4).map(NodeId), 3, 2).expect("they meet"));
    done(&mut cluster, 1, RolesChange::To(flexible), 2);
    assert_eq!(refused(&mut cluster, add(5)), RolesRefusal::NotMajority);
    assert!(matches!(change(&mut cluster, 5, add(5)), RolesOutcome::NotTried(RolesRefusal::Refused(_))));
}

/// The node that changes the roles crashes once the joint roles are chosen. The others finish.
#[test]
fn any_proposer_finishes_a_change() {
    let mut cluster = with_joining(3, 1);
    set(&mut cluster, 1, KEY, b"one");
    let id = cluster.change_roles(1, replace(1, 4));
    while epoch(&cluster, 1) == 0 {
        cluster.run(Duration::from_micros(10));
    }
    cluster.crash(1);
    assert_eq!(cluster.node(1).roles_changed(id), None);
    cluster.run(Duration::from_mins(1));
    for node in [2, 3, 4] {
        assert_eq!(epoch(&cluster, node), 2, "node {node}");
    }
    isolate(&mut cluster, &[2]);
    assert_eq!(value(&mut cluster, 4, KEY), Some("one".into()));
}

/// A crash of any node at any step of a change, and then of all nodes at once.
#[test]
fn a_change_survives_crashes_at_every_step() {
    let mut ended = 0;
    for crash in (1..400).step_by(3) {
        let mut cluster = with_joining(3, 1);
        for key in [&b"a"[..], b"b", b"c"] {
            cluster.set(1, key, key);
        }
        cluster.run(Duration::from_secs(1));
        let first = cluster.steps;
        cluster.crashes.insert(first + crash);
        cluster.change_roles(1, replace(2, 4));
        cluster.run(Duration::from_secs(3));
        if cluster.steps < first + crash {
            break;
        }
        for node in 1..=4 {
            if cluster.node(node).core.is_some() {
                cluster.crash(node);
            }
        }
        for node in 1..=4 {
            cluster.restart(node);
        }
        cluster.run(Duration::from_mins(2));
        // Who was down learns of the change once it asks for anything.
        for node in 1..=4 {
            cluster.read(node, b"a");
        }
        cluster.run(Duration::from_secs(6));
        let epochs: Vec<u64> = (1..=4).map(|node| epoch(&cluster, node)).collect();
        // If the first ballot of the change was lost with its node, nothing has changed.
        assert!(epochs == [2; 4] || epochs == [0; 4], "step {crash}: {epochs:?}");
        if epochs == [0; 4] {
            continue;
        }
        ended += 1;
        isolate(&mut cluster, &[2]);
        for key in [&b"a"[..], b"b", b"c"] {
            assert_eq!(value(&mut cluster, 3, key).as_deref(), Some(key), "step {crash}");
        }
    }
    assert!(ended > 10, "the change ends in {ended} runs");
}

/// A deleted register is removed while a former acceptor still has it. It comes back as an acceptor, and erases it.
#[test]
fn an_acceptor_that_comes_back_brings_nothing_back() {
    let mut cluster = with_joining(3, 1);
    set(&mut cluster, 1, KEY, b"old");
    done(&mut cluster, 1, replace(3, 4), 2);
    cluster.isolate(3);
    let id = cluster.delete(1, KEY);
    cluster.run(Duration::from_mins(2));
    assert!(matches!(cluster.node(1).changed(id), Some(ChangeOutcome::Done(_))));
    assert!([1, 2, 4].iter().all(|node| cluster.node(*node).core().register(KEY).is_none()), "it is removed");
    assert!(cluster.node(3).core().register(KEY).is_some(), "node 3 did not hear of it");
    cluster.heal();
    done(&mut cluster, 1, replace(4, 3), 4);
    assert_eq!(cluster.node(3).core().register(KEY), None, "what it had is erased");
    cluster.isolate(1);
    assert_eq!(value(&mut cluster, 3, KEY), None);
    set(&mut cluster, 3, KEY, b"again");
}

/// A new proposer begins with small rounds. Its version of a register that was deleted and removed is higher than any
/// before, as is that of every other proposer.
#[test]
fn versions_grow_over_a_removal_and_a_change() {
    let mut cluster = with_joining(3, 3);
    for number in 0..20 {
        set(&mut cluster, 1, KEY, &[number]);
    }
    let last = read(&mut cluster, 1, KEY).expect("an answer").version;
    cluster.delete(1, KEY);
    cluster.run(Duration::from_mins(2));
    assert!(cluster.node(1).core().register(KEY).is_none(), "it is removed");
    done(&mut cluster, 1, RolesChange::To(of_all(4..=6)), 2);
    isolate(&mut cluster, &[1, 2, 3]);
    set(&mut cluster, 5, KEY, b"new");
    assert!(read(&mut cluster, 5, KEY).expect("an answer").version > last);
}

/// While a change is under way, what only old acceptors know is found, and what is not there is told without a ballot.
#[test]
fn registers_are_read_while_they_are_moved() {
    let mut cluster = with_joining(3, 3);
    set(&mut cluster, 1, KEY, b"old");
    cluster.change_roles(1, RolesChange::To(of_all(4..=6)));
    while epoch(&cluster, 4) == 0 {
        cluster.run(Duration::from_micros(10));
    }
    // The node that moves registers goes no further.
    cluster.crash(1);
    assert!(cluster.node(2).core().roles().is_joint());
    assert_eq!(cluster.node(4).core().register(KEY), None);
    let (known, unknown) = (cluster.read(2, KEY), cluster.read(2, b"nothing"));
    cluster.run(Duration::from_secs(1));
    let found = |id: ReadId| match cluster.node(2).read(id) {
        Some(ReadOutcome::Found(found)) => found.value.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((found(known), found(unknown)), (Some("old".into()), None));
    assert!(cluster.node(2).core().roles().is_joint(), "the change is still under way");
    assert_eq!(cluster.node(2).core().register(b"nothing"), None, "that read wrote nothing");
    cluster.run(Duration::from_mins(1));
    assert_eq!(epoch(&cluster, 5), 2);
}

/// The quorum of the new acceptors fails in the midst of the change: everybody waits for it, the caller is told, and
/// afterwards the change ends.
#[test]
fn a_change_without_its_new_quorum_is_under_way() {
    let mut cluster = with_joining(3, 3);
    set(&mut cluster, 1, KEY, b"old");
    let id = cluster.change_roles(1, RolesChange::To(of_all(4..=6)));
    while epoch(&cluster, 1) == 0 {
        cluster.run(Duration::from_micros(10));
    }
    isolate(&mut cluster, &[5, 6]);
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.node(1).roles_changed(id), Some(&RolesOutcome::UnderWay { epoch: 1 }));
    let obstacles = cluster.node(1).core().explain();
    assert!(obstacles.iter().any(|obstacle| matches!(obstacle, RegisterObstacle::RolesChange { epoch: 1, .. })));
    assert!(obstacles.contains(&RegisterObstacle::AcceptorsSilent(vec![NodeId(5), NodeId(6)])), "{obstacles:?}");
    assert_eq!(change(&mut cluster, 2, remove(1)), RolesOutcome::NotTried(RolesRefusal::UnderWay));
    cluster.heal();
    cluster.run(Duration::from_mins(1));
    assert_eq!((epoch(&cluster, 1), epoch(&cluster, 6)), (2, 2));
    isolate(&mut cluster, &[1, 2, 3]);
    assert_eq!(value(&mut cluster, 6, KEY), Some("old".into()));
}

/// Two nodes change the roles at once: one of them wins, and both callers learn what became of theirs.
#[test]
fn of_two_changes_at_once_one_is_made() {
    let mut cluster = with_joining(3, 2);
    let (one, two) = (cluster.change_roles(1, add(4)), cluster.change_roles(2, add(5)));
    cluster.run(Duration::from_secs(20));
    let outcomes = [cluster.node(1).roles_changed(one).cloned(), cluster.node(2).roles_changed(two).cloned()];
    let is_done = |outcome: &Option<RolesOutcome>| *outcome == Some(RolesOutcome::Done { epoch: 2 });
    let is_overtaken =
        |outcome: &Option<RolesOutcome>| *outcome == Some(RolesOutcome::NotTried(RolesRefusal::Overtaken));
    assert_eq!(outcomes.iter().filter(|outcome| is_done(outcome)).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| is_overtaken(outcome)).count(), 1, "{outcomes:?}");
    let roles = cluster.node(1).core().roles().clone();
    assert!((2..=5).all(|node| epoch(&cluster, node) == 2 || !roles.contains(NodeId(node))));
}

/// Lists that no correct acceptor makes are ignored by name.
#[test]
fn lists_that_cannot_be_are_ignored() {
    let mut cluster = with_joining(3, 1);
    set(&mut cluster, 1, KEY, b"old");
    cluster.change_roles(1, add(4));
    while epoch(&cluster, 1) == 0 {
        cluster.run(Duration::from_micros(10));
    }
    let mut core = cluster.node(1).core().clone();
    let mut hear = |listed: Listed, reason: &str| {
        let before = core.status().ignored.get(reason).copied().unwrap_or_default();
        let message = Message::Listed(listed);
        core.handle(quorate_protocol::Now::default(), Input::Message { from: NodeId(2), message });
        assert_eq!(core.status().ignored.get(reason).copied().unwrap_or_default(), before + 1, "{reason}");
    };
    let system = cluster.node(1).core().system();
    let empty = Listed { system, after: Bytes::new(), keys: Vec::new(), is_end: true, removed: 0 };
    hear(Listed { is_end: false, ..empty.clone() }, "key");
    hear(Listed { keys: vec![Bytes::new()], ..empty.clone() }, "key");
    hear(Listed { keys: vec![vec![1; 2000].into()], ..empty.clone() }, "key");
    hear(Listed { removed: u64::MAX, ..empty.clone() }, "absurd_ballot");
    hear(Listed { after: Bytes::from_static(b"other"), ..empty }, "stale_answer");
    let list = Message::List(List { system, after: Bytes::new() });
    core.handle(quorate_protocol::Now::default(), Input::Message { from: NodeId(9), message: list });
    assert_eq!(core.status().ignored["not_member"], 1);
}

/// The roles outlive a restart, and a group keeps those with which it was founded to tell it from others.
#[test]
fn the_roles_in_force_are_durable() {
    let mut cluster = with_joining(3, 1);
    done(&mut cluster, 1, replace(3, 4), 2);
    for node in 1..=4 {
        cluster.crash(node);
        cluster.restart(node);
    }
    assert_eq!(epoch(&cluster, 4), 2);
    assert_eq!(*cluster.node(4).core().config().roles(), of_all(1..=3));
    let setup = Setup::from(of_all([1, 2, 4]));
    let other = Builder::new(3, 1).settings(setup).joining(1).start();
    assert_ne!(other.node(1).core().system(), System { epoch: 0, ..cluster.node(1).core().system() });
}
