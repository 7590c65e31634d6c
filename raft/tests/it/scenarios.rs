//! Scenarios that broke other implementations, by number and name. Each states its setup, its faults and the required
//! result. The laws of `testing` are checked after every step of each.

use std::time::Duration;

use quorate_protocol::{
    HaltReason, Input, LoadFailure, LogCommand, LogEvent, LogIndex, NodeId, PersistFailure, Random, ReplicatedLog,
    Role, Signal, Standing, Term, VotingBar, WriteRefusal,
};
use quorate_raft::message::{AppendEntries, AppendOutcome, AppendResponse, VoteKind};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Message, Settings};

use crate::support::{Bench, from_environment};

/// T of the scenarios: ten of the longest election time-outs.
const LIVENESS: Duration = Duration::from_secs(10);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn term(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().status().term.0
}

fn commit(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().status().commit_index.0
}

fn role(cluster: &Cluster, node: u64) -> Role {
    cluster.node(node).core().status().role
}

/// Raft figure 8: an entry of an old term on a majority is not committed by counting copies, and may be overwritten.
#[test]
fn scenario_01_old_term_commit() {
    let is_vote = |message: &Message| matches!(message, Message::RequestVote(_));
    let mut cluster = Builder::new(5, 1).start();
    cluster.elect_node(1);
    // (a) Node 1 writes entry 3, which only node 2 gets.
    cluster.only_links(&[(1, 2)]);
    cluster.propose(1, b"old");
    cluster.deliver();
    cluster.crash(1);
    // (b) Node 5 is elected by 3 and 4, writes another entry 3, and crashes before any node gets it.
    cluster.only_links(&[(5, 3), (5, 4)]);
    cluster.park(5, 3);
    cluster.park(5, 4);
    cluster.time_out(5);
    cluster.release_if(|_, _, message| is_vote(message));
    cluster.release_if(|_, _, message| is_vote(message));
    assert_eq!(role(&cluster, 5), Role::Leader);
    cluster.deliver();
    cluster.crash(5);
    cluster.forget_parked();
    // (c) Node 1 is elected again, and brings node 3 the old entry. Its own new entry does not leave.
    cluster.restart(1);
    cluster.only_links(&[(1, 2), (1, 3)]);
    cluster.park(1, 2);
    cluster.park(1, 3);
    // Node 3 is in a later term than node 1 by now. The first attempt notifies node 1 of it.
    for _ in 0..3 {
        if role(&cluster, 1) != Role::Leader {
            cluster.time_out(1);
            cluster.release_if(|_, _, message| is_vote(message));
            cluster.release_if(|_, _, message| is_vote(message));
        }
    }
    assert_eq!(role(&cluster, 1), Role::Leader);
    let status = cluster.node(1).core().status();
    let log = &cluster.node(1).disk;
    let old = log.entries.get(2).expect("entry 3").clone();
    let prev_term = log.term_at(LogIndex(2)).expect("entry 2");
    for node in [2, 3] {
        let batch = quorate_protocol::EntryBatch::encode(LogIndex(3), [(old.0, &old.1)]);
        let (prev_index, commit_index) = (LogIndex(2), status.commit_index);
        let message = AppendEntries { term: status.term, prev_index, prev_term, commit_index, batch };
        cluster.input(NodeId(node), Input::Message { from: NodeId(1), message: Message::AppendEntries(message) });
    }
    cluster.deliver();
    let copies = [1, 2, 3].iter().filter(|node| cluster.node(**node).disk.term_at(LogIndex(3)) == Some(old.0));
    assert_eq!(copies.count(), 3, "a majority has the old entry");
    assert_eq!(commit(&cluster, 1), 2, "and it is not committed");
    // (d) Node 5 is elected by 3 and 4, whose logs end in an earlier term, and overwrites it.
    cluster.crash(1);
    cluster.forget_parked();
    cluster.restart(5);
    cluster.only_links(&[(5, 3), (5, 4)]);
    for _ in 0..3 {
        if role(&cluster, 5) != Role::Leader {
            cluster.time_out(5);
        }
    }
    assert_eq!(cluster.leader(), Some(5));
    assert_ne!(cluster.node(3).disk.term_at(LogIndex(3)), Some(old.0));
    cluster.heal();
    cluster.restart(1);
    cluster.run(LIVENESS);
    assert!((1..=5).all(|node| cluster.node(node).commands().is_empty()), "nobody was told that it was committed");
}

/// Acknowledgements in any order, duplicated, stale, of any voter: the commit index is equal to a new count.
#[test]
fn scenario_05_sub_quorum_commit_order() {
    let sequences = from_environment("QUORATE_RAFT_SEQUENCES", 2000);
    let mut random = Random::new(5);
    for _ in 0..sequences {
        let count = random.between(2, 8);
        let mut leader = Bench::new(count);
        leader.lead();
        for _ in 0..6 {
            leader.propose(b"x");
        }
        // Entries 3 to 8 are of the leader's term, as is 2; 1 is the configuration.
        let mut durable = vec![leader.last()];
        durable.resize(usize::try_from(count).expect("few"), 0);
        for _ in 0..20 {
            let node = random.between(2, count + 1);
            let match_index = random.between(0, leader.last() + 1);
            let outcome = AppendOutcome::Matched { match_index: LogIndex(match_index) };
            leader.hear(node, Message::AppendResponse(AppendResponse { term: Term(1), outcome }));
            let place = usize::try_from(node - 1).expect("few");
            durable[place] = durable[place].max(match_index);
            let held_by_most = |index: &u64| durable.iter().filter(|have| *have >= index).count() * 2 > durable.len();
            let expected = (2..=leader.last()).rev().find(held_by_most).unwrap_or(0);
            assert_eq!(leader.commit(), expected, "{durable:?}");
        }
    }
}

/// A leader that learns of a later term still compares the candidate's log before it votes.
#[test]
fn scenario_06_a_seen_vote_is_not_a_granted_vote() {
    let mut cluster = Cluster::of_three(2);
    cluster.elect_node(1);
    cluster.propose(1, b"x");
    cluster.settle();
    let ask = |kind| {
        Message::RequestVote(quorate_raft::message::RequestVote {
            term: Term(9),
            kind,
            last_index: LogIndex(1),
            last_term: Term(0),
            founding: None,
        })
    };
    // A pre-vote neither moves the term nor takes the vote.
    cluster.run(millis(1));
    cluster.isolate(2);
    cluster.run(millis(520));
    let before = term(&cluster, 2);
    cluster.input(NodeId(2), Input::Message { from: NodeId(3), message: ask(VoteKind::Pre) });
    assert_eq!(term(&cluster, 2), before);
    // The vote itself is refused because of the shorter log, and the later term is adopted.
    cluster.input(NodeId(1), Input::Message { from: NodeId(3), message: ask(VoteKind::Transfer) });
    assert_eq!((term(&cluster, 1), role(&cluster, 1)), (9, Role::Follower));
    cluster.settle();
    assert_ne!(role(&cluster, 3), Role::Leader);
}

/// Old messages replayed behind the compaction point change nothing.
#[test]
fn scenario_07_append_behind_the_purge_point() {
    let mut cluster = Cluster::of_three(3);
    cluster.elect_node(1);
    cluster.park(1, 2);
    for number in 0..30_u8 {
        cluster.propose(1, &[number]);
        cluster.settle();
    }
    let old: Vec<(NodeId, NodeId, Message)> = cluster.parked().to_vec();
    cluster.release();
    cluster.run(millis(300));
    cluster.snapshot(2, 5);
    let before = cluster.node(2).core().status();
    assert!(before.first_index > LogIndex(20));
    for (from, to, message) in old.iter().chain(old.iter().rev()) {
        cluster.input(*to, Input::Message { from: *from, message: message.clone() });
    }
    cluster.settle();
    let after = cluster.node(2).core().status();
    assert_eq!((after.last_index, after.commit_index), (before.last_index, before.commit_index));
    assert_eq!(after.first_index, before.first_index);
}

/// A leader that cannot read its log sends nothing malformed, and halts or steps down.
#[test]
fn scenario_08_leader_log_read_error() {
    for failure in [LoadFailure::Damaged, LoadFailure::Io] {
        let settings = Settings { cache_bytes_max: 200, ..Settings::default() };
        let mut cluster = Builder::new(3, 4).settings(settings).start();
        cluster.elect_node(1);
        cluster.isolate(3);
        for number in 0..30_u8 {
            cluster.propose(1, &[number; 50]);
            cluster.settle();
        }
        cluster.node_mut(1).disk.bad_entry = Some((LogIndex(12), failure));
        cluster.heal();
        cluster.run(millis(1500));
        let last = cluster.node(3).core().status().last_index;
        match failure {
            LoadFailure::Damaged => {
                assert_eq!(cluster.node(1).halted, Some(HaltReason::Damaged { index: LogIndex(12) }));
            }
            _ => assert_eq!(role(&cluster, 1), Role::Follower, "it stepped down"),
        }
        assert!(last.0 == 11 || cluster.leader() != Some(1), "nothing of entry 12 came from node 1: {last}");
        assert!(cluster.run_until(LIVENESS, |cluster| cluster.node(3).commands().len() == 30));
    }
}

/// Node 1 leads. Its log has 20 more commands and begins after a snapshot, and node 3 has none of them.
fn behind_a_snapshot(seed: u64) -> Cluster {
    let mut cluster = Cluster::of_three(seed);
    cluster.elect_node(1);
    cluster.isolate(3);
    cluster.run(millis(600));
    for number in 0..20_u8 {
        cluster.propose(1, &[number]);
        cluster.settle();
    }
    cluster.snapshot(1, 0);
    cluster.snapshot(2, 0);
    assert!(cluster.node(1).core().status().first_index > LogIndex(20));
    cluster
}

/// A leader that cannot read its snapshot lets another node lead, which can bring up the follower that needs one.
#[test]
fn scenario_08_leader_snapshot_read_error() {
    let mut cluster = behind_a_snapshot(4);
    cluster.node_mut(1).application.is_snapshot_unreadable = true;
    cluster.heal();
    assert!(cluster.run_until(LIVENESS, |cluster| role(cluster, 1) == Role::Follower), "it steps down");
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.node(3).commands().len() == 20), "another brings it");
    assert!(!cluster.node(1).events.iter().any(|event| matches!(event, LogEvent::Installed { .. })));
}

/// It lets the others campaign first. Otherwise it would win again, fail again, and so on.
#[test]
fn a_leader_that_steps_down_for_its_disk_does_not_stand_at_once() {
    for seed in 0..20 {
        let mut cluster = behind_a_snapshot(seed);
        cluster.node_mut(1).application.is_snapshot_unreadable = true;
        cluster.heal();
        assert!(cluster.run_until(LIVENESS, |cluster| role(cluster, 1) == Role::Follower), "it steps down");
        assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()));
        assert_eq!(cluster.leader(), Some(2), "seed {seed}");
    }
}

/// A late completion of a write does not count for a new entry at the same index.
#[test]
fn scenario_09_async_write_reorder() {
    let mut cluster = Cluster::of_three(5);
    cluster.elect_node(1);
    cluster.hold_disk(1);
    cluster.isolate(1);
    cluster.propose(1, b"lost");
    cluster.settle();
    cluster.run(millis(700));
    let leader = if cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some_and(|leader| leader != 1)) {
        cluster.leader().expect("just seen")
    } else {
        panic!("2 or 3 leads")
    };
    cluster.propose(leader, b"kept");
    cluster.run(millis(50));
    cluster.heal();
    cluster.run(millis(300));
    // Node 1 has replaced its own entries by the new ones. All its writes are still under way.
    let status = cluster.node(1).core().status();
    assert!(status.durable_index < status.last_index);
    let acknowledged = cluster.node(leader).core().status().peers;
    let peer = acknowledged.iter().find(|peer| peer.node == NodeId(1)).expect("a peer");
    assert!(peer.match_index <= status.durable_index, "nothing undurable was acknowledged");
    cluster.release_disk(1);
    cluster.run(millis(300));
    assert_eq!(cluster.node(1).commands(), [b"kept"]);
    cluster.crash(1);
    cluster.restart(1);
    assert!(term(&cluster, 1) >= cluster.node(1).disk.entries.last().map_or(0, |(term, _)| term.0));
}

/// A leader's own copy counts when it is durable, and not before.
#[test]
fn scenario_10_leader_counts_only_durable_self() {
    let mut cluster = Cluster::of_three(6);
    cluster.elect_node(1);
    cluster.crash(3);
    let before = commit(&cluster, 1);
    cluster.hold_disk(1);
    cluster.propose(1, b"x");
    cluster.settle();
    assert_eq!(commit(&cluster, 1), before, "one durable copy of three");
    cluster.release_disk(1);
    assert_eq!(commit(&cluster, 1), before + 1);
    // With both followers there is a quorum without the leader. The leader's application gets only entries that are
    // durable there.
    cluster.restart(3);
    cluster.run(millis(300));
    cluster.hold_disk(1);
    cluster.propose(1, b"y");
    cluster.settle();
    assert_eq!(commit(&cluster, 1), before + 2);
    assert_eq!(cluster.node(1).commands(), [b"x"]);
    cluster.crash(1);
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    assert_eq!(cluster.node(leader).commands(), [&b"x"[..], b"y"], "what two had is not lost");
}

/// Answers to an old round of heartbeats do not serve a read that began after another node led.
#[test]
fn scenario_11_reused_read_token() {
    let mut cluster = Cluster::of_three(7);
    cluster.elect_node(1);
    cluster.propose(1, b"old");
    cluster.run(millis(10));
    // A round is under way when node 1 is paused. The network holds its answers.
    cluster.park(2, 1);
    cluster.park(3, 1);
    let first = cluster.read(1);
    cluster.settle();
    assert_eq!(cluster.read_index(1, first), None);
    let old = cluster.node_mut(1).core.take();
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()));
    let leader = cluster.leader().expect("just seen");
    cluster.propose(leader, b"new");
    cluster.run(millis(10));
    let written = cluster.node(leader).core().status().commit_index;
    // It continues as if nothing had happened and gets a read. Then the old answers come.
    cluster.node_mut(1).core = old;
    let again = cluster.read(1);
    cluster.release();
    cluster.run(LIVENESS);
    let served = cluster.read_index(1, again);
    assert!(served.is_none_or(|index| index >= written), "{served:?} is older than {written}");
    assert!(
        cluster.node(1).events.iter().any(|event| matches!(event, LogEvent::ReadFailed { id, .. } if *id == again))
    );
}

/// A read at a new leader waits for an entry of its own term, at the leader and through a follower.
#[test]
fn scenario_12_read_before_first_commit_of_term() {
    let is_vote = |message: &Message| matches!(message, Message::RequestVote(_));
    let mut cluster = Cluster::of_three(8);
    cluster.elect_node(1);
    // Node 2 has the entry but does not know that it is committed.
    cluster.propose(1, b"x");
    cluster.deliver();
    let committed = commit(&cluster, 1);
    assert!(commit(&cluster, 2) < committed);
    cluster.crash(1);
    cluster.park(2, 3);
    cluster.time_out(2);
    cluster.release_if(|_, _, message| is_vote(message));
    cluster.release_if(|_, _, message| is_vote(message));
    assert_eq!(role(&cluster, 2), Role::Leader);
    // Its first entry is not delivered, but heartbeats are.
    let is_entry = |message: &Message| matches!(message, Message::AppendEntries(_));
    cluster.run(millis(150));
    cluster.release_if(|_, _, message| !is_entry(message));
    let at_leader = cluster.read(2);
    let through_follower = cluster.read(3);
    cluster.run(millis(150));
    cluster.release_if(|_, _, message| !is_entry(message));
    cluster.deliver();
    assert_eq!((role(&cluster, 2), cluster.leader()), (Role::Leader, None));
    assert_eq!(cluster.read_index(2, at_leader), None);
    assert_eq!(cluster.read_index(3, through_follower), None);
    cluster.release();
    cluster.run(millis(300));
    assert!(cluster.read_index(2, at_leader) > Some(LogIndex(committed)));
    assert!(cluster.read_index(3, through_follower) > Some(LogIndex(committed)));
}

/// Transfer of leadership: the target gets its missing entries; a transfer to an unreachable target ends at the
/// deadline, and writes continue.
#[test]
fn scenario_14_transfer_under_stress() {
    let mut cluster = Cluster::of_three(9);
    cluster.elect_node(1);
    cluster.cut(1, 2);
    cluster.propose(1, b"x");
    cluster.settle();
    let transfer = LogCommand::Transfer { to: Some(NodeId(2)), timeout: millis(200) };
    cluster.input(NodeId(1), Input::Command(transfer.clone()));
    cluster.propose(1, b"refused");
    assert!(matches!(cluster.node(1).events.last(), Some(LogEvent::Refused { .. })));
    cluster.run(millis(250));
    assert_eq!(role(&cluster, 1), Role::Leader);
    cluster.propose(1, b"y");
    cluster.settle();
    cluster.heal();
    cluster.run(millis(300));
    cluster.input(NodeId(1), Input::Command(transfer));
    cluster.run(millis(100));
    assert_eq!(cluster.leader(), Some(2), "without waiting for an election time-out");
    cluster.propose(2, b"z");
    cluster.settle();
    assert_eq!(cluster.node(2).commands(), [b"x", b"y", b"z"]);
}

/// A node that continuously requests votes neither disturbs a healthy leader nor delays any node's time-out.
#[test]
fn scenario_15_pre_vote_corner_set() {
    let mut cluster = Cluster::of_three(10);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    cluster.cut(1, 3);
    for _ in 0..100 {
        cluster.run(millis(50));
    }
    assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before), "node 3 asks in vain");
    // With one node down, the leader forgets that it leads: a leader is elected again.
    cluster.heal();
    cluster.crash(2);
    cluster.crash(1);
    cluster.restart(1);
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()));
    // Granting a pre-vote does not delay the voter's own election.
    let deadline = |cluster: &Cluster| cluster.node(2).core.as_ref().and_then(quorate_protocol::Protocol::deadline);
    cluster.restart(2);
    cluster.isolate(2);
    cluster.run(millis(400));
    let before = deadline(&cluster);
    let ask = quorate_raft::message::RequestVote {
        term: Term(term(&cluster, 2) + 1),
        kind: VoteKind::Pre,
        last_index: LogIndex(100),
        last_term: Term(100),
        founding: None,
    };
    cluster.input(NodeId(2), Input::Message { from: NodeId(3), message: Message::RequestVote(ask) });
    assert_eq!(deadline(&cluster), before);
}

/// A voter that was alone for a hundred time-outs comes back without a change of leader or term.
#[test]
fn scenario_16_rejoining_isolated_voter() {
    let mut cluster = Builder::new(5, 11).start();
    let leader = cluster.elect();
    let alone = leader % 5 + 1;
    let before = term(&cluster, leader);
    cluster.isolate(alone);
    for number in 0..100_u8 {
        cluster.propose(leader, &[number]);
        cluster.run(millis(1000));
    }
    cluster.heal();
    cluster.run(LIVENESS);
    assert_eq!((cluster.leader(), term(&cluster, leader)), (Some(leader), before));
    assert_eq!(cluster.node(alone).commands().len(), 100);
    assert_eq!(term(&cluster, alone), before);
}

/// The old leader keeps one follower, which is the only bridge to the others. A new leader is elected while links stay
/// cut.
#[test]
fn scenario_17_bridge_deadlock() {
    let mut cluster = Builder::new(5, 12).start();
    cluster.elect_node(1);
    cluster.only_links(&[(1, 2), (2, 3), (2, 4), (3, 4)]);
    let elected =
        cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some_and(|leader| [2, 3, 4].contains(&leader)));
    assert!(elected, "one of the bridge and its far side leads");
    let leader = cluster.leader().expect("just seen");
    let before = commit(&cluster, leader);
    cluster.propose(leader, b"x");
    cluster.run(millis(300));
    assert!(commit(&cluster, leader) > before);
    assert_ne!(role(&cluster, 1), Role::Leader, "the old leader went silent");
}

/// Every node is connected to one hub only: the hub leads.
#[test]
fn scenario_18_quorum_loss_hub() {
    let mut cluster = Builder::new(5, 13).start();
    cluster.elect_node(1);
    cluster.only_links(&[(1, 3), (2, 3), (4, 3), (5, 3)]);
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader() == Some(3)));
    cluster.propose(3, b"x");
    cluster.run(millis(300));
    assert_eq!(cluster.node(3).commands(), [b"x"]);
    let before = term(&cluster, 3);
    cluster.run(LIVENESS * 3);
    assert_eq!((cluster.leader(), term(&cluster, 3)), (Some(3), before), "terms do not grow");
}

/// Chains and links of one direction: few changes of leader, and writes continue.
#[test]
fn scenario_20_chain_and_one_way_links() {
    let writes = |cluster: &mut Cluster| {
        let (mut changes, mut slices, mut leader) = (0, 0, cluster.leader());
        for _ in 0..100 {
            cluster.run(millis(1000));
            changes += u32::from(cluster.leader() != leader);
            leader = cluster.leader();
            let Some(node) = leader else { continue };
            let before = cluster.node(node).commands().len();
            cluster.propose(node, b"x");
            cluster.run(millis(20));
            slices += u32::from(cluster.node(node).commands().len() > before);
        }
        assert!(changes <= 2, "{changes} changes of leader");
        assert!(slices >= 95, "{slices} of 100 writes");
    };
    let mut chain = Cluster::of_three(14);
    chain.elect_node(1);
    chain.only_links(&[(1, 2), (2, 3)]);
    writes(&mut chain);
    // Two leaves at either end of a middle.
    let mut leaves = Builder::new(5, 15).start();
    leaves.elect_node(1);
    leaves.only_links(&[(1, 3), (2, 3), (3, 4), (3, 5), (1, 2), (4, 5)]);
    writes(&mut leaves);
    // A node that can only receive, and a node that can only send.
    for deaf in [false, true] {
        let mut cluster = Cluster::of_three(16);
        cluster.elect_node(1);
        for other in [1, 2] {
            let (from, to) = if deaf { (other, 3) } else { (3, other) };
            cluster.cut(from, to);
        }
        let before = term(&cluster, 1);
        writes(&mut cluster);
        assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before));
    }
}

/// A follower's log fails once, then holds a contradicting tail: it catches up without a restart.
#[test]
fn scenario_22_follower_append_failure_in_pipeline() {
    let mut cluster = Cluster::of_three(17);
    cluster.elect_node(1);
    cluster.faults.refusal_percent = 100;
    cluster.hold_disk(1);
    cluster.hold_disk(3);
    cluster.propose(1, b"x");
    cluster.settle();
    cluster.faults.refusal_percent = 0;
    cluster.release_disk(1);
    cluster.release_disk(3);
    let ignored = cluster.node(2).core().status().ignored;
    assert!(ignored.contains(&("log_refuses", 1)), "its write failed: {ignored:?}");
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.node(2).commands() == [b"x"]));
    // A short leadership leaves a tail that no other node has.
    cluster.isolate(1);
    cluster.propose(1, b"tail");
    cluster.propose(1, b"tail");
    cluster.run(millis(700));
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
    let leader = cluster.leader().expect("just seen");
    cluster.propose(leader, b"y");
    cluster.heal();
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.node(1).commands() == [b"x", b"y"]));
}

/// After a failure with an unknown result, and after a refusal that would be repeated, no held output leaves.
#[test]
fn scenario_22_what_a_failed_write_means_to_a_leader() {
    a_failed_write_stops_the_leader(PersistFailure::Unknown);
    a_failed_write_stops_the_leader(PersistFailure::Fenced);
    a_failed_write_stops_the_leader(PersistFailure::Refused { reason: WriteRefusal::TooLarge });
    a_failed_write_stops_the_leader(PersistFailure::Refused { reason: WriteRefusal::Gap });
}

fn a_failed_write_stops_the_leader(failure: PersistFailure) {
    let mut cluster = Cluster::of_three(18);
    cluster.elect_node(1);
    cluster.hold_disk(1);
    cluster.propose(1, b"x");
    let ticket = cluster.node(1).core().status().last_index;
    assert!(ticket > LogIndex(0));
    let written = cluster.node(1).writes.back().expect("a write is on its way").0;
    cluster.input(NodeId(1), Input::Signal(Signal::PersistFailed { ticket: written, failure }));
    assert_eq!(cluster.node(1).halted, Some(HaltReason::LogFailed(failure)));
    cluster.propose(1, b"after");
    assert!(matches!(
        cluster.node(1).events.last(),
        Some(LogEvent::Refused { reason: quorate_protocol::RefuseReason::Halted, .. })
    ));
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some_and(|leader| leader != 1)));
}

/// Wipe node 2 while node 3 is down: there is no quorum, nothing is committed, and the reason is typed.
#[test]
fn scenario_24_a_wiped_voter_does_not_vote() {
    let mut cluster = Cluster::of_three(19);
    cluster.elect_node(1);
    cluster.crash(3);
    cluster.propose(1, b"on 1 and 2");
    cluster.run(millis(10));
    cluster.wipe(2);
    cluster.crash(1);
    // If the wiped node voted, it and node 3 could elect a node that never had the entry.
    cluster.restart(3);
    cluster.restart(2);
    cluster.run(LIVENESS);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.node(2).core().status().barred, Some(VotingBar::Stranger));
    let told = LogEvent::Voting { barred: Some(VotingBar::Stranger) };
    assert!(cluster.node(2).events.contains(&told));
    // With node 1 and the wiped node alone, one could lead, but nothing is committed: the wiped node receives and does
    // not count.
    cluster.crash(3);
    cluster.restart(1);
    let before = commit(&cluster, 1);
    cluster.propose(1, b"never");
    cluster.run(LIVENESS);
    assert_eq!((cluster.leader(), commit(&cluster, 1)), (None, before));
    // The third brings a quorum of members, and the wiped one is caught up without counting.
    cluster.restart(3);
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.leader().is_some()));
    cluster.run(millis(500));
    assert_eq!(cluster.node(2).commands(), [b"on 1 and 2"]);
    cluster.crash(3);
    cluster.run(LIVENESS);
    assert_ne!(role(&cluster, 1), Role::Leader, "the wiped node's answers keep nobody in office");
}

/// Wipe node 2 when node 1 has never met the old one: node 3 knows the old one, and node 2 does not vote for node 1.
#[test]
fn scenario_24_a_wiped_voter_whom_one_never_met() {
    let mut cluster = Cluster::of_three(20);
    cluster.elect_node(3);
    cluster.propose(3, b"on 2 and 3");
    cluster.run(millis(10));
    cluster.wipe(2);
    // Node 1 takes the new incarnation for the first.
    cluster.introduce(1, 2);
    cluster.restart(2);
    assert_eq!(cluster.node(2).core().status().barred, Some(VotingBar::Stranger));
    cluster.crash(3);
    cluster.run(LIVENESS);
    assert_eq!(cluster.leader(), None, "node 2 does not vote, though node 1 would count it");
}

/// A fresh node that was not introduced to all others neither votes nor campaigns.
#[test]
fn scenario_24_nobody_votes_before_introductions() {
    let mut cluster = Cluster::of_three(21);
    for node in 1..=3 {
        cluster.wipe(node);
    }
    for node in 1..=3 {
        cluster.start_alone(node);
    }
    cluster.run(LIVENESS);
    for node in 1..=3 {
        assert_eq!(cluster.node(node).core().status().barred, Some(VotingBar::NotIntroduced));
        assert_eq!((role(&cluster, node), term(&cluster, node)), (Role::Follower, 0));
    }
}

/// A far-behind follower is brought up by a snapshot while its leader's log is kept from the snapshot on.
#[test]
fn scenario_25_snapshot_while_writing() {
    let mut cluster = behind_a_snapshot(22);
    cluster.heal();
    for number in 20..40_u8 {
        cluster.propose(1, &[number]);
        cluster.run(millis(20));
        cluster.input(NodeId(1), Input::Signal(Signal::CompactRequested));
        if number == 22 {
            cluster.crash(3);
            cluster.restart(3);
        }
    }
    assert!(cluster.run_until(LIVENESS, |cluster| cluster.node(3).commands().len() == 40));
    let installed = |event: &&LogEvent| matches!(event, LogEvent::Installed { .. });
    assert!(cluster.node(3).events.iter().any(|event| installed(&event)), "by a snapshot");
    assert_eq!(cluster.node(3).commands(), cluster.node(1).commands());
}

/// The announcement of a snapshot that the log covers does not reset the log.
#[test]
fn scenario_25_a_snapshot_that_is_covered_resets_nothing() {
    let mut cluster = Cluster::of_three(23);
    cluster.elect_node(1);
    for number in 0..5_u8 {
        cluster.propose(1, &[number]);
    }
    cluster.run(millis(10));
    cluster.snapshot(1, 3);
    let snapshot = cluster.node(1).disk.snapshot.clone().expect("just made");
    let before = cluster.node(2).core().status();
    let install = quorate_raft::message::InstallSnapshot { term: before.term, snapshot, founding: None };
    cluster.input(NodeId(2), Input::Message { from: NodeId(1), message: Message::InstallSnapshot(install) });
    cluster.settle();
    let after = cluster.node(2).core().status();
    assert_eq!((after.first_index, after.last_index), (before.first_index, before.last_index));
}

/// One message to each peer and one write for everything that was proposed since the last poll.
#[test]
fn batches_follow_the_load() {
    let mut cluster = Cluster::of_three(24);
    cluster.elect_node(1);
    cluster.run(millis(50));
    cluster.park(1, 2);
    cluster.faults.batch_percent = 100;
    for number in 0..100_u8 {
        cluster.propose(1, &[number]);
    }
    cluster.faults.batch_percent = 0;
    cluster.run(millis(1));
    let entries: Vec<usize> = cluster
        .parked()
        .iter()
        .filter_map(|(_, _, message)| match message {
            Message::AppendEntries(AppendEntries { batch, .. }) => Some(batch.decode().expect("honest").len()),
            _ => None,
        })
        .collect();
    assert_eq!(entries, [100]);
}

/// A follower that restarts in an idle group learns the commit index without another entry. Otherwise reads would wait
/// for it.
#[test]
fn a_follower_that_restarts_learns_the_last_commit() {
    let mut cluster = Cluster::of_three(11);
    cluster.elect_node(1);
    cluster.propose(1, b"last");
    cluster.run(Duration::from_secs(1));
    let committed = cluster.node(1).core().status().commit_index;
    cluster.crash(3);
    cluster.restart(3);
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.leader(), Some(1), "nothing was appended meanwhile");
    assert_eq!(cluster.node(1).core().status().last_index, committed);
    assert_eq!(cluster.node(3).core().status().commit_index, committed);
}

/// A peer that has just died delays compaction only as long as it counts as alive, although no other snapshot is made.
#[test]
fn a_dead_peer_holds_compaction_back_for_a_while_only() {
    let mut cluster = Cluster::of_three(12);
    cluster.elect_node(1);
    cluster.crash(3);
    for number in 0..10_u8 {
        cluster.propose(1, &[number]);
    }
    cluster.run(millis(10));
    cluster.snapshot(1, 0);
    assert_eq!(cluster.node(1).core().status().first_index, LogIndex(3), "node 3 was heard of just now");
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(1).core().status().first_index, LogIndex(13));
}

/// A follower that lost acknowledged entries is asked at the pace of heartbeats and not continuously, and is reported.
#[test]
fn a_follower_that_lost_what_it_acknowledged_is_asked_slowly() {
    let mut cluster = Cluster::of_three(13);
    cluster.elect_node(1);
    cluster.run(millis(300));
    let old = cluster.node(3).disk.clone();
    for number in 0..10_u8 {
        cluster.propose(1, &[number]);
    }
    cluster.run(millis(300));
    cluster.crash(3);
    cluster.node_mut(3).disk = old;
    cluster.restart(3);
    cluster.run(millis(200));
    let before = cluster.traffic().messages;
    cluster.run(Duration::from_secs(1));
    let sent = cluster.traffic().messages - before;
    assert!(sent < 100, "{sent} messages in a second without a command");
    let ignored = cluster.node(1).core().status().ignored;
    assert!(ignored.iter().any(|(reason, count)| *reason == "acknowledged_lost" && *count >= 9), "{ignored:?}");
    assert_eq!(cluster.node(3).core().status().last_index, LogIndex(2), "it gets nothing that would cover it up");
}

/// The same while reads continue: each causes a round of heartbeats, and none of them another question.
#[test]
fn a_follower_that_lost_what_it_acknowledged_is_not_asked_at_the_pace_of_reads() {
    let mut cluster = Cluster::of_three(13);
    cluster.elect_node(1);
    cluster.run(millis(300));
    let old = cluster.node(3).disk.clone();
    cluster.propose(1, b"x");
    cluster.run(millis(300));
    cluster.crash(3);
    cluster.node_mut(3).disk = old;
    cluster.restart(3);
    cluster.run(millis(200));
    let asked = |cluster: &Cluster| {
        let ignored = cluster.node(1).core().status().ignored;
        ignored.iter().find(|(reason, _)| *reason == "acknowledged_lost").map_or(0, |(_, count)| *count)
    };
    let before = asked(&cluster);
    for _ in 0..200 {
        cluster.read(1);
        cluster.run(millis(5));
    }
    let often = asked(&cluster) - before;
    assert!((5..=21).contains(&often), "asked {often} times in a second");
}

/// A disk that is replaced twice: the second stranger is brought up like the first, though its leader learns of no
/// other standing.
#[test]
fn scenario_24_a_disk_that_is_replaced_twice_is_filled_twice() {
    let mut cluster = Cluster::of_three(25);
    cluster.elect_node(1);
    for number in 0..10_u8 {
        cluster.propose(1, &[number]);
    }
    cluster.run(millis(300));
    for _ in 0..2 {
        cluster.wipe(3);
        cluster.restart(3);
        cluster.run(Duration::from_secs(2));
        assert_eq!(cluster.node(3).core().status().barred, Some(VotingBar::Stranger));
        assert_eq!(cluster.node(3).commands().len(), 10);
    }
}

/// A node that is barred from voting is not barred from learning: whichever nodes it was introduced to, it follows, and
/// gets entries and snapshots.
#[test]
fn scenario_24_a_node_that_may_not_vote_follows_a_leader_that_it_knows() {
    for is_behind_a_snapshot in [false, true] {
        let mut cluster = Cluster::of_three(26);
        cluster.elect_node(1);
        for number in 0..10_u8 {
            cluster.propose(1, &[number]);
        }
        cluster.run(millis(300));
        if is_behind_a_snapshot {
            cluster.snapshot(1, 0);
        }
        cluster.wipe(3);
        cluster.start_alone(3);
        for (node, other, standing) in [(1, 3, Standing::Stranger), (3, 1, Standing::Member)] {
            cluster.input(NodeId(node), Input::Signal(Signal::PeerStanding { node: NodeId(other), standing }));
        }
        cluster.run(Duration::from_secs(2));
        assert_eq!(cluster.node(3).core().status().barred, Some(VotingBar::NotIntroduced));
        assert_eq!(cluster.node(3).commands().len(), 10, "behind a snapshot: {is_behind_a_snapshot}");
        assert_eq!(cluster.leader(), Some(1));
    }
}

/// The request to campaign is lost. It is repeated until the target's term shows.
#[test]
fn scenario_14_an_order_that_is_lost_is_given_again() {
    let mut cluster = Cluster::of_three(27);
    cluster.elect_node(1);
    cluster.run(millis(300));
    cluster.hold(|_, _, message| matches!(message, Message::TimeoutNow(_)));
    let transfer = LogCommand::Transfer { to: Some(NodeId(2)), timeout: Duration::from_secs(2) };
    cluster.input(NodeId(1), Input::Command(transfer));
    cluster.deliver();
    assert_eq!(cluster.parked().len(), 1);
    cluster.forget_parked();
    cluster.run(millis(300));
    assert_eq!(cluster.leader(), Some(2));
}

/// A transfer to a node that is gone is not waited for until its deadline.
#[test]
fn scenario_14_a_hand_over_to_a_node_that_is_gone_ends_early() {
    let taken = |cluster: &mut Cluster| {
        let id = cluster.propose(1, b"x");
        let events = &cluster.node(1).events;
        events.iter().any(|event| matches!(event, LogEvent::Appended { id: at, .. } if *at == id))
    };
    let transfer = || Input::Command(LogCommand::Transfer { to: Some(NodeId(2)), timeout: Duration::from_mins(1) });
    let mut cluster = Cluster::of_three(28);
    cluster.elect_node(1);
    cluster.run(millis(300));
    cluster.crash(2);
    cluster.propose(1, b"that node 2 lacks");
    cluster.input(NodeId(1), transfer());
    assert!(!taken(&mut cluster), "it was heard of just now");
    cluster.run(millis(700));
    assert!(taken(&mut cluster), "it is not waited for");
    cluster.input(NodeId(1), transfer());
    assert!(taken(&mut cluster), "it is not even tried");
}

/// The loop of a leader was blocked, so it could hear from no node. It asks before it steps down.
#[test]
fn a_leader_whose_own_loop_stood_still_asks_first() {
    let mut leader = Bench::new(3);
    leader.lead();
    leader.wait(5000);
    let said = leader.time_out();
    assert_eq!(role_of(&leader), Role::Leader);
    assert_eq!(said.iter().filter(|(_, message)| matches!(message, Message::Heartbeat(_))).count(), 2);
    // No answer comes, so it steps down as it would have before.
    for _ in 0..6 {
        leader.time_out();
    }
    assert_ne!(role_of(&leader), Role::Leader);
}

fn role_of(bench: &Bench) -> Role {
    bench.core.status().role
}

/// A term further ahead than a group gets while one of its nodes is away comes from a fault. No node follows it.
#[test]
fn a_term_that_no_election_reaches_is_not_followed() {
    let heartbeat = |term| {
        let (commit_index, pace) = (LogIndex(0), quorate_raft::message::Pace::Lively);
        let log_time = quorate_protocol::LogTime(0);
        Message::Heartbeat(quorate_raft::message::Heartbeat {
            term: Term(term),
            commit_index,
            round: 1,
            pace,
            log_time,
        })
    };
    let mut node = Bench::new(3);
    for term in [(1 << 32) + 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(node.hear(2, heartbeat(term)), []);
        assert_eq!(node.term(), 0);
    }
    assert_eq!(node.core.status().ignored, [("absurd_term", 3)]);
    node.hear(2, heartbeat(1 << 32));
    assert_eq!(node.term(), 1 << 32);
}

/// In the last possible term no node can be elected, and the node reports that.
#[test]
fn the_last_term_is_named() {
    let mut node = Bench::with_log(1, u64::MAX / 2, &[0, 1]);
    assert_eq!(node.core.status().barred, Some(VotingBar::TermsUsedUp));
    assert!(node.events.contains(&LogEvent::Voting { barred: Some(VotingBar::TermsUsedUp) }));
    node.time_out();
    assert_eq!((role_of(&node), node.term()), (Role::Follower, u64::MAX / 2));
}
