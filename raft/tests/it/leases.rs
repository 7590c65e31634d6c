//! Leader leases: rows 13 and 13b, and what a lease must never do.

use std::time::Duration;

use quorate_protocol::{Input, Instant, LogCommand, LogIndex, Member, MemberChange, NodeId, ReplicatedLog, Role, Term};
use quorate_raft::message::{ClockReading, RequestVote, Verdict, VoteKind, VoteResponse};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Lease, Message, Settings};

use crate::support::founding;

/// Drift bound of these tests: one clock may be faster than another by a tenth.
const LEASE: Lease = Lease { drift_per_mille: 100 };
/// The drift of a clock, either way. Two such clocks differ by slightly less than the bound.
const WITHIN: i32 = 47;
/// The time for which a promise of 500 ms certainly holds.
const LENGTH: Duration = Duration::from_millis(454);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings() -> Settings {
    Settings { lease: Some(LEASE), ..Settings::default() }
}

fn lease(cluster: &Cluster, node: u64) -> Option<LogIndex> {
    cluster.node(node).core().lease(cluster.clocks(NodeId(node)))
}

/// A cluster whose node 1 leads and holds its lease.
fn holding(nodes: u64, seed: u64) -> Cluster {
    let mut cluster = Builder::new(nodes, seed).settings(settings()).start();
    cluster.run(millis(1000));
    while cluster.leader() != Some(1) {
        cluster.time_out(1);
    }
    cluster.propose(1, b"old");
    cluster.run(millis(150));
    assert!(lease(&cluster, 1).is_some(), "seed {seed}");
    cluster
}

/// Another node that leads.
fn successor(cluster: &Cluster) -> Option<u64> {
    cluster.leader().filter(|leader| *leader != 1)
}

/// Cuts node 1 off and counts the milliseconds in which it holds its lease and another node leads. Its reads by rounds
/// are never served.
fn overlap(seed: u64, slower: i32) -> u32 {
    let mut cluster = holding(3, seed);
    cluster.drift(1, -slower);
    for node in [2, 3] {
        cluster.drift(node, slower);
    }
    let pause = cluster.choose(300);
    cluster.run(millis(300 + pause));
    cluster.isolate(1);
    let (mut overlap, mut reads) = (0, Vec::new());
    for _ in 0..1500 {
        cluster.run(millis(1));
        if successor(&cluster).is_some() {
            overlap += u32::from(lease(&cluster, 1).is_some());
            reads.push(cluster.read(1));
        }
    }
    assert!(reads.iter().all(|read| cluster.read_index(1, *read).is_none()), "seed {seed}");
    overlap
}

/// Within the drift bound, a leader that is cut off has lost its lease when another is elected.
#[test]
fn scenario_13_lease_and_drift_within_the_bound() {
    for seed in 0..150 {
        assert_eq!(overlap(seed, WITHIN), 0, "seed {seed}");
    }
}

/// Beyond the drift bound reads by the lease break, and only they.
#[test]
fn scenario_13_beyond_the_bound_only_leases_break() {
    let broken = (0..20).filter(|seed| overlap(*seed, 400) > 0).count();
    assert!(broken > 0, "the bound matters");
}

/// A leader that is stopped between the check and the access to the state notices it after the access.
#[test]
fn scenario_13_the_clock_is_checked_again_after_the_access() {
    let mut cluster = holding(3, 1);
    let before = lease(&cluster, 1).expect("it holds");
    let old = cluster.node_mut(1).core.take().expect("it runs");
    cluster.run(LENGTH * 3);
    let leader = successor(&cluster).expect("another is elected");
    cluster.propose(leader, b"new");
    cluster.run(millis(10));
    assert!(cluster.node(leader).core().status().commit_index > before);
    // It continues where it was stopped. A read that trusted its first look would be old.
    assert_eq!(old.lease(cluster.clocks(NodeId(1))), None);
    cluster.node_mut(1).core = Some(old);
    let read = cluster.read(1);
    cluster.run(millis(2000));
    assert!(cluster.read_index(1, read).is_none_or(|index| index > before));
}

/// A follower that restarts within the lease votes for nobody for the longest election time-out.
#[test]
fn scenario_13b_restart_inside_a_lease() {
    for seed in 0..20 {
        let mut cluster = holding(3, seed);
        cluster.isolate(3);
        cluster.run(millis(2000));
        // Node 3 has been campaigning for long. Node 2 has just heard the leader and now sees node 3 alone.
        assert!(lease(&cluster, 1).is_some());
        cluster.only_links(&[(2, 3)]);
        cluster.restart(2);
        let started_at = cluster.now();
        assert!(cluster.run_until(millis(10_000), |cluster| successor(cluster).is_some()), "seed {seed}");
        // Node 2 may vote for itself earlier: it waits for an election time-out as always.
        let passed = cluster.now().since(started_at);
        assert!(passed >= millis(if successor(&cluster) == Some(3) { 1000 } else { 500 }), "seed {seed}: {passed:?}");
        assert_eq!(lease(&cluster, 1), None);
    }
}

/// A promise holds although a message of a later term makes the follower forget its leader.
#[test]
fn a_promise_outlives_the_term() {
    let mut cluster = holding(3, 2);
    let status = cluster.node(2).core().status();
    let (term, kind, clock) = (status.term.next(), VoteKind::Full, ClockReading::default());
    let answer = VoteResponse {
        term,
        asked: Term(1),
        kind,
        verdict: Verdict::Refused,
        clock,
        last_index: LogIndex::ZERO,
        last_term: Term(0),
    };
    cluster.park_all();
    cluster.inject(3, 2, Message::VoteResponse(answer));
    assert_eq!((cluster.node(2).core().status().term, cluster.node(2).core().status().leader), (term, None));
    let (last_index, last_term) = (LogIndex(99), term);
    let ask = Message::RequestVote(RequestVote { term, kind, last_index, last_term, founding: Some(founding(3)) });
    let is_granted = |cluster: &Cluster| {
        let answers = cluster.parked().iter().filter(|(from, to, _)| (from.0, to.0) == (2, 3));
        answers.into_iter().any(|(.., message)| matches!(message, Message::VoteResponse(_)))
    };
    cluster.inject(3, 2, ask.clone());
    assert!(!is_granted(&cluster));
    cluster.run(millis(500));
    cluster.inject(3, 2, ask);
    assert!(is_granted(&cluster));
}

/// Row 12 with leases: no read by a lease before an entry of the leader's own term is committed.
#[test]
fn a_lease_waits_for_an_entry_of_its_own_term() {
    let mut cluster = holding(3, 3);
    cluster.crash(1);
    cluster.hold(|_, _, message| matches!(message, Message::AppendEntries(_)));
    cluster.time_out(2);
    cluster.run(millis(200));
    assert_eq!((cluster.node(2).core().status().role, lease(&cluster, 2)), (Role::Leader, None));
    cluster.release();
    cluster.run(millis(150));
    assert!(lease(&cluster, 2).is_some());
}

/// Row 14 with leases: none while a transfer is under way, and none in this term once a node was told to campaign.
#[test]
fn scenario_14_no_lease_while_a_transfer_may_be_under_way() {
    let mut cluster = holding(3, 4);
    let transfer = LogCommand::Transfer { to: Some(NodeId(2)), timeout: millis(150) };
    cluster.part(1, 2);
    cluster.propose(1, b"x");
    cluster.input(NodeId(1), Input::Command(transfer.clone()));
    cluster.settle();
    assert_eq!(lease(&cluster, 1), None);
    cluster.run(millis(200));
    assert!(lease(&cluster, 1).is_some(), "the target was not told");
    cluster.heal();
    cluster.run(millis(300));
    cluster.hold(|_, _, message| matches!(message, Message::TimeoutNow(_)));
    cluster.input(NodeId(1), Input::Command(transfer));
    cluster.settle();
    assert_eq!((cluster.parked().is_empty(), lease(&cluster, 1)), (false, None));
    cluster.run(millis(1000));
    let status = cluster.node(1).core().status();
    assert_eq!((status.role, lease(&cluster, 1)), (Role::Leader, None), "the order may still arrive");
    let read = cluster.read(1);
    cluster.run(millis(10));
    assert!(cluster.read_index(1, read).is_some(), "reads take rounds");
    cluster.release();
    assert_eq!(cluster.leader(), Some(2));
    cluster.run(millis(150));
    assert!(lease(&cluster, 2).is_some());
}

/// A joint configuration needs the promises of both of its halves.
#[test]
fn a_lease_needs_a_quorum_of_the_configuration_in_force() {
    let remove = [2, 3].map(|node| MemberChange::Remove(NodeId(node)));
    let promote = [2, 3].map(|node| MemberChange::Promote(NodeId(node)));
    for (founders, changes) in [(3, remove), (1, promote)] {
        let mut cluster = Builder::new(founders, 5).joining(3 - founders).settings(settings()).start();
        cluster.run(millis(1000));
        while cluster.leader() != Some(1) {
            cluster.time_out(1);
        }
        for node in founders + 1..=3 {
            cluster.change(1, [MemberChange::Add(Member::learner(NodeId(node)))]);
            cluster.run(millis(300));
        }
        cluster.run(millis(300));
        cluster.faults.latency_max = millis(40);
        cluster.change(1, changes);
        assert!(cluster.run_until(millis(1000), |cluster| cluster.members(1).is_joint()));
        cluster.isolate(1);
        cluster.run(LENGTH + millis(1));
        assert_eq!((cluster.node(1).core().status().role, lease(&cluster, 1)), (Role::Leader, None));
    }
}

/// A promise counts from the time at which the heartbeat was sent, however late the answer comes.
#[test]
fn a_lease_counts_from_the_time_of_sending() {
    let mut cluster = holding(3, 6);
    cluster.hold(|_, _, message| matches!(message, Message::LeasePromise(_)));
    while cluster.parked().is_empty() {
        cluster.run(millis(1));
    }
    let ended_at = cluster.now().after(LENGTH + millis(2));
    cluster.isolate(1);
    cluster.run(millis(350));
    cluster.release();
    assert!(lease(&cluster, 1).is_some());
    cluster.run(ended_at.since(cluster.now()));
    assert_eq!((cluster.node(1).core().status().role, lease(&cluster, 1)), (Role::Leader, None));
}

/// A follower whose leases are off sends no promise, and does not count.
#[test]
fn a_follower_that_does_not_promise_does_not_count() {
    let mut cluster = holding(3, 7);
    cluster.hold(|_, _, message| matches!(message, Message::LeasePromise(_)));
    cluster.run(millis(1000));
    assert_eq!(lease(&cluster, 1), None);
    let read = cluster.read(1);
    cluster.run(millis(10));
    assert!(cluster.read_index(1, read).is_some());
    let mut off = Cluster::of_three(7);
    off.elect_node(1);
    off.start_recording();
    off.run(millis(1000));
    assert_eq!(lease(&off, 1), None);
    let record = format!("{:?}", off.take_record());
    assert!(!record.contains("LeasePromise"));
}

/// A group of one holds its lease as long as it leads.
#[test]
fn a_single_voter_reads_without_a_message() {
    let cluster = holding(1, 8);
    assert_eq!(lease(&cluster, 1), Some(cluster.node(1).core().status().commit_index));
    assert!(cluster.node(1).core().lease(quorate_protocol::Now { instant: Instant::ZERO, wall_ms: 0 }).is_some());
}
