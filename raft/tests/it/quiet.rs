//! Groups without work rely on the life of nodes, and wake when they must.

use std::time::Duration;

use quorate_protocol::{HaltReason, Input, NodeId, PersistFailure, ReplicatedLog, Role, Signal, Standing};
use quorate_raft::Settings;
use quorate_raft::testing::{Builder, Cluster};

const SECOND: Duration = Duration::from_secs(1);

/// Three nodes whose group went quiet under node 1.
fn quiet_cluster(seed: u64) -> Cluster {
    let settings = Settings { quiet_after: Some(SECOND), quiet_max: SECOND * 20, ..Settings::default() };
    let mut cluster = Builder::new(3, seed).settings(settings).beat(Duration::from_millis(100)).start();
    cluster.elect_node(1);
    cluster.propose(1, b"x");
    cluster.run(SECOND * 5);
    cluster
}

fn sent_in(cluster: &mut Cluster, duration: Duration) -> u64 {
    let before = cluster.traffic().messages;
    cluster.run(duration);
    cluster.traffic().messages - before
}

fn term(cluster: &Cluster) -> u64 {
    cluster.node(2).core().status().term.0
}

#[test]
fn a_quiet_group_says_next_to_nothing() {
    let mut cluster = quiet_cluster(1);
    let before = term(&cluster);
    // Two heartbeats to two peers and their answers in twenty seconds, instead of eight hundred.
    let sent = sent_in(&mut cluster, SECOND * 100);
    assert!(sent <= 48, "{sent} messages in 100 s");
    assert_eq!((cluster.leader(), term(&cluster)), (Some(1), before));
}

#[test]
fn a_command_wakes_the_group() {
    let mut cluster = quiet_cluster(2);
    cluster.propose(1, b"y");
    cluster.run(Duration::from_millis(10));
    for node in 1..=3 {
        assert_eq!(cluster.node(node).commands(), [b"x", b"y"]);
    }
    assert!(sent_in(&mut cluster, SECOND) > 20, "heartbeats go on for a while");
    let read = cluster.read(2);
    cluster.run(Duration::from_millis(10));
    assert!(cluster.read_index(2, read).is_some());
}

#[test]
fn a_leader_whose_node_dies_is_replaced() {
    let mut cluster = quiet_cluster(3);
    cluster.crash(1);
    assert!(cluster.run_until(SECOND * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
}

#[test]
fn a_leader_that_restarted_is_noticed() {
    let mut cluster = quiet_cluster(4);
    cluster.crash(1);
    cluster.restart(1);
    // Its node is alive all the time. It campaigns, and the others learn that it no longer leads.
    assert!(cluster.run_until(SECOND * 4, |cluster| cluster.leader().is_some()));
}

#[test]
fn a_leader_that_stepped_down_is_noticed() {
    let mut cluster = quiet_cluster(5);
    cluster.input(NodeId(1), Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }));
    cluster.input(NodeId(2), Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }));
    cluster.input(NodeId(3), Input::Signal(Signal::PeerStanding { node: NodeId(1), standing: Standing::Stranger }));
    assert!(cluster.run_until(SECOND * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
}

#[test]
fn a_leader_whose_group_alone_died_is_noticed_in_bounded_time() {
    let mut cluster = quiet_cluster(6);
    let ticket = quorate_protocol::Ticket(1);
    cluster.input(NodeId(1), Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::Unknown }));
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(PersistFailure::Unknown)));
    cluster.run(SECOND * 5);
    assert_ne!(cluster.node(2).core().status().role, Role::Leader, "the node is alive");
    assert!(cluster.run_until(SECOND * 20, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
}

#[test]
fn a_follower_that_restarted_finds_its_leader() {
    let mut cluster = quiet_cluster(7);
    let before = term(&cluster);
    cluster.crash(3);
    cluster.run(SECOND * 3);
    cluster.restart(3);
    cluster.run(SECOND * 3);
    assert_eq!(cluster.node(3).core().status().leader, Some(NodeId(1)));
    assert_eq!((cluster.leader(), term(&cluster)), (Some(1), before));
}

#[test]
fn a_leader_that_hears_of_no_node_steps_down() {
    let mut cluster = quiet_cluster(8);
    cluster.isolate(1);
    assert!(cluster.run_until(SECOND * 4, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    assert_ne!(cluster.node(1).core().status().role, Role::Leader);
}

#[test]
fn a_lost_connection_wakes_both_ends() {
    let mut cluster = quiet_cluster(9);
    cluster.input(NodeId(1), Input::Signal(Signal::Unreachable(NodeId(2))));
    cluster.input(NodeId(2), Input::Signal(Signal::Unreachable(NodeId(1))));
    assert!(sent_in(&mut cluster, Duration::from_millis(500)) > 8);
    cluster.run(SECOND * 5);
    assert!(sent_in(&mut cluster, SECOND * 5) <= 12, "and it goes quiet again");
}

#[test]
fn one_dead_node_does_not_keep_the_group_awake() {
    let mut cluster = quiet_cluster(10);
    cluster.crash(3);
    cluster.run(SECOND * 5);
    let sent = sent_in(&mut cluster, SECOND * 100);
    assert!(sent <= 48, "{sent} messages in 100 s");
    cluster.restart(3);
    cluster.propose(1, b"y");
    cluster.run(SECOND * 2);
    assert_eq!(cluster.node(3).commands(), [b"x", b"y"]);
}
