//! Deleted registers are removed everywhere, and nothing of them comes back.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::register::message::{Accept, Removal, Remove};
use quorate_paxos::register::testing::{Answers, Builder, Calls, Cluster, Records, Setup};
use quorate_paxos::register::{Message, RegisterObstacle, ResolveOutcome, Roles, Settings, Trace, Version};
use quorate_protocol::{Input, NodeId};

use super::outcomes::{done, read};
use super::support::{KEY, content};
use crate::support::ballot;

fn removing() -> Settings {
    Settings { remove_after: Duration::from_secs(1), ..Settings::default() }
}

fn cluster() -> Cluster {
    Builder::new(3, 1).settings(removing().into()).start()
}

fn registers(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes.values().map(|node| node.core().status().registers).collect()
}

#[test]
fn what_is_deleted_leaves_no_trace() {
    let mut cluster = cluster();
    for key in 0..10_u8 {
        cluster.set(1, &[key], b"value");
        cluster.settle();
        cluster.delete(2, &[key]);
        cluster.run(Duration::from_millis(100));
    }
    assert_eq!(registers(&cluster), [10, 10, 10], "tombstones stay for a while");
    cluster.run(Duration::from_secs(30));
    assert_eq!(registers(&cluster), [0, 0, 0]);
    for node in cluster.nodes.values() {
        assert!(node.disk.newest().is_empty(), "nor on disk");
        assert_eq!(node.core().explain(), []);
    }
    let before = cluster.traffic().messages;
    cluster.run(Duration::from_hours(3));
    assert_eq!(cluster.traffic().messages, before, "nothing is left to do");
}

/// The bug that ages are for: a message that was under way since before the deletion.
#[test]
fn a_late_message_does_not_bring_back_what_was_deleted() {
    let mut cluster = cluster();
    cluster.park(1, 3);
    let written = cluster.set(1, KEY, b"value");
    cluster.run(Duration::from_millis(50));
    let version = done(&cluster, 1, written).version;
    let is_accept = |_: u64, _: u64, message: &Message| matches!(message, Message::Accept(_));
    let late: Vec<Message> = cluster.parked().iter().map(|(_, _, message)| message.clone()).collect();
    assert!(late.iter().any(|message| is_accept(1, 3, message)), "a request to accept is on its way to node 3");
    cluster.forget_parked();
    cluster.heal();
    let gone = cluster.delete(2, KEY);
    cluster.run(Duration::from_secs(30));
    done(&cluster, 2, gone);
    assert_eq!(registers(&cluster), [0, 0, 0]);
    for message in late {
        cluster.input(NodeId(3), Input::Message { from: NodeId(1), message });
    }
    cluster.settle();
    assert_eq!(registers(&cluster), [0, 0, 0]);
    assert!(cluster.node(3).core().status().ignored["old_age"] > 0);
    assert_eq!(read(&mut cluster, 3, KEY).value, None);
    let again = cluster.set(1, KEY, b"again");
    cluster.run(Duration::from_secs(1));
    assert!(done(&cluster, 1, again).version > version, "versions go on");
}

/// A proposer that goes on with a promise of before the deletion would build on what was deleted.
#[test]
fn a_promise_of_before_the_deletion_is_forgotten() {
    let mut cluster = cluster();
    let written = cluster.set(1, KEY, b"value");
    cluster.settle();
    assert_eq!(cluster.node(1).core().status().promised, 1);
    cluster.delete(2, KEY);
    cluster.run(Duration::from_secs(30));
    let status = cluster.node(1).core().status();
    assert_eq!((status.promised, status.registers), (0, 0));
    assert!(status.age > 0);
    let version = done(&cluster, 1, written).version;
    let old = cluster.compare_and_set(1, KEY, version, b"over what was deleted");
    cluster.run(Duration::from_secs(1));
    let outcome = format!("{:?}", cluster.node(1).changed(old));
    assert!(outcome.contains("Conflict"), "{outcome}");
    assert_eq!(read(&mut cluster, 2, KEY).value, None);
}

#[test]
fn a_proposer_that_is_away_delays_the_removal_and_is_named() {
    let roles = Roles::of(QuorumSystem::majority([1, 2, 3].map(NodeId)).expect("distinct"));
    let roles = Some(roles.with_proposers((1..=4).map(NodeId)));
    let setup = Setup { roles, settings: removing(), ..Setup::default() };
    let mut cluster = Builder::new(4, 1).settings(setup).start();
    cluster.set(4, KEY, b"value");
    cluster.settle();
    cluster.crash(4);
    cluster.delete(1, KEY);
    cluster.run(Duration::from_mins(5));
    let waits = RegisterObstacle::RemovalWaits { tombstones: 1, silent: vec![NodeId(4)] };
    let said = cluster.nodes.values().filter_map(|node| node.core.as_ref()).any(|core| core.explain().contains(&waits));
    assert!(said, "somebody says who is missing");
    let tombstones = |cluster: &Cluster| cluster.node(1).core().status().tombstones;
    assert_eq!(tombstones(&cluster), 1);
    cluster.restart(4);
    cluster.run(Duration::from_mins(5));
    assert_eq!(tombstones(&cluster), 0);
    let id = cluster.set(4, KEY, b"again");
    cluster.run(Duration::from_secs(1));
    done(&cluster, 4, id);
}

#[test]
fn an_acceptor_that_is_away_delays_the_removal() {
    let mut cluster = cluster();
    cluster.set(1, KEY, b"value");
    cluster.settle();
    cluster.crash(3);
    cluster.delete(1, KEY);
    cluster.run(Duration::from_mins(2));
    let explained = cluster.node(1).core().explain();
    let is_said = |it: &RegisterObstacle| matches!(it, RegisterObstacle::RemovalWaits { tombstones: 1, .. });
    assert!(explained.iter().any(is_said) || cluster.node(2).core().explain().iter().any(is_said), "{explained:?}");
    cluster.restart(3);
    cluster.run(Duration::from_mins(10));
    assert_eq!(registers(&cluster), [0, 0, 0]);
}

#[test]
fn a_register_that_is_used_again_is_not_removed() {
    let mut cluster = cluster();
    cluster.set(1, KEY, b"value");
    cluster.settle();
    cluster.delete(2, KEY);
    cluster.hold(|_, _, message| matches!(message, Message::Remove(_)));
    cluster.run(Duration::from_secs(20));
    let is_removal = cluster.parked().iter().any(|(_, _, message)| matches!(message, Message::Remove(_)));
    assert!(is_removal, "a removal is on its way");
    let id = cluster.set(3, KEY, b"again");
    cluster.run(Duration::from_secs(1));
    done(&cluster, 3, id);
    cluster.release();
    cluster.run(Duration::from_secs(30));
    for node in 1..=3 {
        assert_eq!(read(&mut cluster, node, KEY).value.as_deref(), Some(&b"again"[..]));
    }
}

/// A promise that was given after the tombstone was accepted everywhere is relied on.
#[test]
fn an_acceptor_does_not_remove_what_was_promised_since() {
    let mut cluster = super::support::three();
    cluster.park_all();
    let system = cluster.node(1).core().system();
    let (key, tombstone) = (Bytes::from_static(KEY), ballot(3, 2));
    let content = content(KEY, tombstone, None);
    let accept =
        Accept { system, age: 0, key: key.clone(), ballot: tombstone, next: tombstone, content: content.clone() };
    super::support::hear(&mut cluster, 1, 2, Message::Accept(accept));
    let later = super::support::prepare(&cluster, ballot(7, 3));
    super::support::hear(&mut cluster, 1, 3, later);
    let removal = Removal { start: 9, number: 1 };
    let remove = Message::Remove(Remove { system, removal, deleted: vec![(key, tombstone)] });
    let answer = super::support::hear(&mut cluster, 1, 2, remove);
    assert_eq!(answer, Some(Message::Removed { removal }));
    let left = cluster.node(1).core().register(KEY).expect("it stays");
    assert_eq!((left.promised, left.accepted), (ballot(7, 3), tombstone));
    assert_eq!(cluster.node(1).disk.node_state().removed, 0);
}

/// After a removal nobody remembers a change of before.
#[test]
fn what_became_of_a_change_of_a_removed_register_is_forgotten() {
    let mut cluster = cluster();
    let id = cluster.set(1, KEY, b"value");
    cluster.settle();
    let version = done(&cluster, 1, id).version;
    cluster.delete(1, KEY);
    cluster.run(Duration::from_secs(30));
    assert_eq!(registers(&cluster), [0, 0, 0]);
    let question = cluster.resolve(2, KEY, Trace { id, base: Version::ZERO, first: version.0 });
    cluster.run(Duration::from_secs(1));
    let outcome = cluster.node(2).resolved(question);
    assert!(matches!(outcome, Some(ResolveOutcome::Forgotten(_))), "{outcome:?}");
    cluster.run(Duration::from_secs(30));
    assert_eq!(registers(&cluster), [0, 0, 0], "the question leaves no trace either");
}
