//! Groups without work rely on the life of nodes, and wake when they must.

use std::time::Duration;

use quorate_protocol::{
    HaltReason, Input, NodeId, PersistFailure, Protocol, ReplicatedLog, Rest, Role, Signal, Standing,
};
use quorate_raft::Settings;
use quorate_raft::testing::{Builder, Cluster};

const SECOND: Duration = Duration::from_secs(1);

/// Three nodes whose group went quiet under node 1.
fn quiet_cluster(seed: u64) -> Cluster {
    let settings = Settings { quiet_after: Some(SECOND), ..Settings::default() };
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
fn a_quiet_group_says_nothing() {
    let mut cluster = quiet_cluster(1);
    let before = term(&cluster);
    assert_eq!(sent_in(&mut cluster, SECOND * 100), 0);
    for node in 1..=3 {
        let core = cluster.node(node).core();
        assert_eq!(core.deadline(), None, "nothing waits for time to pass");
        let with = if node == 1 { vec![NodeId(2), NodeId(3)] } else { vec![NodeId(1)] };
        assert_eq!(core.rest(), Some(Rest { leader: NodeId(1), term: core.status().term, with }));
    }
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
fn a_quiet_follower_votes_for_no_other_node() {
    let settings = Settings { quiet_after: Some(SECOND), ..Settings::default() };
    // Nobody but the nodes themselves notices anything.
    let mut cluster = Builder::new(3, 15).settings(settings).start();
    cluster.elect_node(1);
    cluster.run(SECOND * 60);
    let before = term(&cluster);
    cluster.input(NodeId(3), Input::Signal(Signal::Unreachable(NodeId(1))));
    cluster.run(SECOND * 3);
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
    assert_eq!(sent_in(&mut cluster, SECOND * 5), 0, "and it goes quiet again");
}

#[test]
fn a_follower_that_is_woken_waits_for_its_leader() {
    let mut cluster = quiet_cluster(11);
    cluster.run(SECOND * 60);
    let campaigns_at = |cluster: &Cluster| cluster.node(2).core().deadline().expect("it waits").since(cluster.now());
    cluster.input(NodeId(2), Input::Signal(Signal::Unreachable(NodeId(1))));
    assert!(campaigns_at(&cluster) >= Settings::default().election_timeout_min);
    // The life of the node counted until then.
    let mut cluster = quiet_cluster(12);
    let heard_at = cluster.now();
    cluster.run(Duration::from_millis(50));
    cluster.input(NodeId(2), Input::Signal(Signal::PeerSilent { node: NodeId(1), heard_at }));
    let wait = campaigns_at(&cluster);
    let bounds = (Settings::default().election_timeout_min, Settings::default().election_timeout_max);
    assert!(wait + Duration::from_millis(50) >= bounds.0 && wait + Duration::from_millis(50) <= bounds.1, "{wait:?}");
}

#[test]
fn a_read_whose_round_gets_lost_is_answered() {
    let mut cluster = quiet_cluster(13);
    cluster.isolate(1);
    let read = cluster.read(1);
    cluster.heal();
    cluster.run(Duration::from_millis(300));
    assert!(cluster.read_index(1, read).is_some());
}

#[test]
fn a_group_does_not_rest_while_time_matters() {
    let settings = Settings { quiet_after: Some(SECOND), replace_after: Some(SECOND * 3), ..Settings::default() };
    let mut cluster = Builder::new(3, 14).settings(settings).beat(Duration::from_millis(100)).start();
    cluster.elect_node(1);
    cluster.run(SECOND * 5);
    assert_eq!(cluster.node(1).core().deadline(), None);
    cluster.crash(3);
    cluster.run(SECOND * 5);
    assert!(cluster.node(1).core().deadline().is_some(), "a spare may come that replaces the voter that is gone");
}

#[test]
fn one_dead_node_does_not_keep_the_group_awake() {
    let mut cluster = quiet_cluster(10);
    cluster.crash(3);
    for _ in 0..50 {
        // No heartbeat can be sent to it.
        cluster.input(NodeId(1), Input::Signal(Signal::Unreachable(NodeId(3))));
        cluster.run(Duration::from_millis(100));
    }
    assert_eq!(sent_in(&mut cluster, SECOND * 100), 0);
    cluster.restart(3);
    cluster.propose(1, b"y");
    cluster.run(SECOND * 2);
    assert_eq!(cluster.node(3).commands(), [b"x", b"y"]);
}
