//! Disks that are full, stalled, or refuse writes: another node leads if one can, and no state is stale when they
//! recover.

use std::time::Duration;

use quorate_protocol::{
    Committed, DiskState, Input, LogCommand, LogEvent, LogIndex, LogTime, NodeId, Operation, PersistFailure, Recovery,
    RefuseReason, ReplicatedLog, Role, Signal, SnapshotMeta, StorageLevel, Term, VotingBar,
};
use quorate_raft::testing::{Builder, Cluster};

use crate::support::{Bench, recovery};

/// Longer than the time for which a disk may be low or stalled, plus a transfer of leadership.
const LONG: Duration = Duration::from_secs(5);

fn storage(cluster: &mut Cluster, node: u64, level: StorageLevel) {
    cluster.input(NodeId(node), Input::Signal(Signal::Storage(level)));
}

fn role(cluster: &Cluster, node: u64) -> Role {
    cluster.node(node).core().status().role
}

fn term(cluster: &Cluster, node: u64) -> u64 {
    cluster.node(node).core().status().term.0
}

fn is_taken(cluster: &mut Cluster, node: u64, payload: &[u8]) -> bool {
    let id = cluster.propose(node, payload);
    cluster.node(node).events.iter().any(|event| matches!(event, LogEvent::Appended { id: at, .. } if *at == id))
}

#[test]
fn a_leader_that_stays_low_hands_over_to_one_with_room() {
    let mut cluster = Cluster::of_three(31);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    storage(&mut cluster, 1, StorageLevel::Low);
    storage(&mut cluster, 2, StorageLevel::Low);
    assert!(!is_taken(&mut cluster, 1, b"refused"));
    let refused = |event: &LogEvent| matches!(event, LogEvent::Refused { reason: RefuseReason::DiskFull, .. });
    assert!(cluster.node(1).events.iter().any(refused));
    cluster.run(LONG);
    assert_eq!(
        (cluster.leader(), term(&cluster, 3)),
        (Some(3), before + 1),
        "the one with room leads, by one election"
    );
    assert!(is_taken(&mut cluster, 3, b"x"));
    cluster.run(LONG);
    assert_eq!(cluster.leader(), Some(3));
    assert!((1..=3).all(|node| cluster.node(node).commands() == [b"x"]));
}

/// Each round of reads sends heartbeats. That delayed the leader's periodic checks for as long as reads came.
#[test]
fn reads_without_a_pause_do_not_keep_a_low_leader_in_office() {
    let mut cluster = Cluster::of_three(36);
    cluster.elect_node(1);
    storage(&mut cluster, 1, StorageLevel::Low);
    for _ in 0..LONG.as_millis() {
        cluster.read(1);
        cluster.run(Duration::from_millis(1));
    }
    assert_eq!(cluster.leader(), Some(2));
}

#[test]
fn a_leader_that_is_low_for_a_moment_keeps_its_office() {
    let mut cluster = Cluster::of_three(32);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    storage(&mut cluster, 1, StorageLevel::Low);
    cluster.run(Duration::from_millis(26));
    assert!(!is_taken(&mut cluster, 1, b"refused"));
    storage(&mut cluster, 1, StorageLevel::Enough);
    assert!(is_taken(&mut cluster, 1, b"x"), "at once");
    cluster.run(LONG * 3);
    assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before));
}

#[test]
fn where_nobody_has_room_the_leader_stays_and_serves_reads() {
    let mut cluster = Cluster::of_three(33);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    for node in 1..=3 {
        storage(&mut cluster, node, StorageLevel::Low);
    }
    cluster.run(LONG * 3);
    assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before));
    let peers = cluster.node(1).core().status().peers;
    assert!(peers.iter().all(|peer| peer.disk == DiskState::Low), "{peers:?}");
    let read = cluster.read(1);
    cluster.run(Duration::from_millis(10));
    assert!(cluster.read_index(1, read).is_some());
    storage(&mut cluster, 1, StorageLevel::Enough);
    assert!(is_taken(&mut cluster, 1, b"x"), "whoever has room again takes commands again");
}

/// A write was refused while the disk was low. When there is room again, no trace of either is left.
#[test]
fn a_refused_write_leaves_nothing_low_behind() {
    let mut cluster = Builder::new(1, 34).start();
    let leader = cluster.elect();
    cluster.hold_disk(leader);
    assert!(is_taken(&mut cluster, leader, b"x"));
    storage(&mut cluster, leader, StorageLevel::Low);
    cluster.fail_oldest(leader, PersistFailure::NotWritten);
    cluster.run(LONG);
    storage(&mut cluster, leader, StorageLevel::Enough);
    cluster.release_disk(leader);
    cluster.run(LONG);
    assert_eq!(cluster.leader(), Some(leader));
    assert!(is_taken(&mut cluster, leader, b"y"));
    cluster.run(Duration::from_millis(10));
    assert_eq!(cluster.node(leader).commands(), [b"x", b"y"]);
}

/// Heartbeats are answered before the disk, so they would keep a leader in office whose disk is stalled.
#[test]
fn scenario_28_a_leader_whose_disk_stands_still_hands_over() {
    let mut cluster = Cluster::of_three(35);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    cluster.hold_disk(1);
    cluster.propose(1, b"sent");
    cluster.settle();
    cluster.propose(1, b"waits for the disk");
    cluster.run(LONG);
    let leader = cluster.leader().expect("another leads");
    assert_ne!(leader, 1);
    assert_eq!(term(&cluster, leader), before + 1, "by one election");
    assert_eq!(cluster.node(1).core().status().disk, DiskState::Stalled);
    assert!(is_taken(&mut cluster, leader, b"new"));
    cluster.run(LONG * 3);
    assert_eq!((cluster.leader(), term(&cluster, leader)), (Some(leader), before + 1));
    assert_eq!(cluster.node(leader).commands(), [&b"sent"[..], b"new"]);
    cluster.release_disk(1);
    cluster.run(LONG);
    assert_eq!(cluster.node(1).commands(), [&b"sent"[..], b"new"], "without a restart");
    assert_eq!(cluster.node(1).core().status().disk, DiskState::Ready);
    assert_eq!(term(&cluster, leader), before + 1);
}

/// No node can take the office, because all disks are stalled: the leader steps down, and no node campaigns meanwhile.
#[test]
fn scenario_28_where_all_disks_stand_still_nobody_leads_or_campaigns() {
    let mut cluster = Cluster::of_three(36);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    for node in 1..=3 {
        cluster.hold_disk(node);
    }
    cluster.propose(1, b"x");
    cluster.run(LONG * 3);
    for node in 1..=3 {
        let status = cluster.node(node).core().status();
        assert_eq!((status.role, status.term.0, status.disk), (Role::Follower, before, DiskState::Stalled));
    }
    for node in 1..=3 {
        cluster.release_disk(node);
    }
    assert!(cluster.run_until(LONG * 2, |cluster| cluster.leader().is_some()));
    cluster.run(Duration::from_secs(1));
    assert!((1..=3).all(|node| cluster.node(node).commands() == [b"x"]));
}

/// There is no other node that could lead.
#[test]
fn scenario_28_a_single_node_keeps_its_office() {
    let mut cluster = Builder::new(1, 37).start();
    let leader = cluster.elect();
    let before = term(&cluster, leader);
    cluster.hold_disk(leader);
    cluster.propose(leader, b"x");
    cluster.run(LONG * 3);
    assert_eq!((role(&cluster, leader), term(&cluster, leader)), (Role::Leader, before));
    assert_eq!(cluster.node(leader).core().status().disk, DiskState::Stalled);
    cluster.release_disk(leader);
    assert_eq!(cluster.node(leader).commands(), [b"x"]);
}

/// A follower receives but does not persist: its leader shows this, and continues with the other nodes.
#[test]
fn scenario_28_a_follower_whose_disk_stands_still_is_named() {
    let mut cluster = Cluster::of_three(38);
    cluster.elect_node(1);
    cluster.hold_disk(3);
    for number in 0..50_u8 {
        cluster.propose(1, &[number]);
        cluster.run(Duration::from_millis(100));
    }
    let disks =
        |cluster: &Cluster| cluster.node(1).core().status().peers.iter().map(|peer| peer.disk).collect::<Vec<_>>();
    assert_eq!(disks(&cluster), [DiskState::Ready, DiskState::Stalled]);
    assert_eq!(cluster.node(1).commands().len(), 50);
    cluster.release_disk(3);
    cluster.run(Duration::from_secs(1));
    assert_eq!(disks(&cluster), [DiskState::Ready, DiskState::Ready]);
    assert_eq!(cluster.node(3).commands().len(), 50);
}

#[test]
fn scenario_21_a_short_stall_costs_no_office() {
    let mut cluster = Cluster::of_three(39);
    cluster.elect_node(1);
    let before = term(&cluster, 1);
    for number in 0..5_u8 {
        cluster.hold_disk(1);
        cluster.propose(1, &[number]);
        cluster.run(Duration::from_millis(1900));
        cluster.release_disk(1);
        cluster.run(Duration::from_millis(100));
    }
    assert_eq!((cluster.leader(), term(&cluster, 1)), (Some(1), before));
}

/// A compaction that found no room is written when there is room. Otherwise the disk would keep the old entries for
/// ever.
#[test]
fn a_refused_compaction_is_written_again() {
    let mut node = Bench::new(1);
    node.time_out();
    for _ in 0..5 {
        node.propose(b"x");
    }
    let (index, configuration) = (LogIndex(node.commit()), node.core.status().configuration);
    let snapshot = SnapshotMeta { index, term: Term(1), log_time: LogTime(0), configuration };
    node.writes_complete = false;
    node.input(Input::Command(LogCommand::Compact { snapshot, keep_from: index }));
    let ticket = node.pending.pop().expect("it compacts");
    node.input(Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
    node.operations.clear();
    node.writes_complete = true;
    for _ in 0..5 {
        node.time_out();
    }
    let is_compaction =
        |operation: &&Operation| matches!(operation, Operation::CompactTo { index: at, .. } if *at == index);
    assert_eq!(node.operations.iter().filter(is_compaction).count(), 1, "{:?}", node.operations);
    // Entries that were written are not written again with the next refusal.
    node.writes_complete = false;
    node.propose(b"y");
    let ticket = node.pending.pop().expect("it writes");
    node.input(Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
    node.operations.clear();
    node.writes_complete = true;
    for _ in 0..5 {
        node.time_out();
    }
    assert_eq!(node.operations.iter().filter(is_compaction).count(), 0, "{:?}", node.operations);
}

/// The first write was torn, and recovery adopted its state record alone. No output depended on it, so the group begins
/// nevertheless.
#[test]
fn a_group_whose_first_write_was_torn_begins() {
    let first = Bench::new(1);
    let state = first.operations.iter().find_map(|operation| match operation {
        Operation::PutState { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    let mut node = Bench::recovered(1, Recovery { state, ..Recovery::default() });
    assert_eq!(node.last(), 1, "the first entry is written again");
    node.time_out();
    assert_eq!((node.role(), node.commit()), (Role::Leader, 2));
}

/// A node that was in a term had its first entry. It has lost the entry, and makes no other.
#[test]
fn a_node_that_voted_does_not_begin_anew() {
    let state = recovery(1, 5, &[]).state;
    let node = Bench::recovered(1, Recovery { state, ..Recovery::default() });
    let status = node.core.status();
    assert_eq!((status.last_index, status.barred), (LogIndex(0), Some(VotingBar::NotMember)));
}

/// The newest entry is longer than the tail that recovery gets.
#[test]
fn a_log_without_a_cached_tail_is_recovered() {
    let mut found = recovery(1, 1, &[0, 1, 1]);
    found.tail.clear();
    let mut node = Bench::recovered(1, found);
    node.time_out();
    assert_eq!((node.role(), node.last(), node.commit()), (Role::Leader, 4, 4));
    assert_eq!(node.core.entries(LogIndex(1), 100), Committed::NeedsLoad(LogIndex(1)..LogIndex(4)));
}
