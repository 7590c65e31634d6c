//! Replicas that lag: they catch up by the log, or by a snapshot whose transfer may be interrupted at any point.

use quorate_protocol::{LogIndex, NodeId, Signal, StorageLevel};
use quorate_raft::Settings;
use quorate_runtime::group::{GroupInput, Notice, SnapshotFailure};
use quorate_runtime::replica::Obstacle;
use quorate_runtime::{Delivery, Outcome, ReplicaSettings};
use quorate_transport::ChannelId;

use crate::cluster::{Cluster, N1, N2, N3};

fn small() -> ReplicaSettings {
    ReplicaSettings {
        snapshot_entries: 100,
        keep_entries: 10,
        chunk_bytes: 100,
        window_bytes: 300,
        catch_up_entries: 50,
        ..ReplicaSettings::default()
    }
}

/// Node 3 was down for so long that the log no longer reaches back to it.
fn with_laggard() -> Cluster {
    with_laggard_at(small())
}

fn with_laggard_at(settings: ReplicaSettings) -> Cluster {
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    cluster.crash(N3);
    // The leader keeps the log for every node that it still counts as alive.
    cluster.run(1500);
    for number in 0..300 {
        assert!(matches!(cluster.execute(N1, &format!("command {number}")), Outcome::Applied(_)));
    }
    assert!(cluster.replica(N1).status().log.first_index > LogIndex(100));
    cluster
}

fn is_caught_up(cluster: &Cluster) -> bool {
    cluster.ledger(N3).counts == cluster.ledger(N1).counts
}

#[test]
fn a_replica_comes_back_by_its_own_snapshot_and_log() {
    let mut cluster = with_laggard();
    cluster.crash(N1);
    cluster.crash(N2);
    for node in [N1, N2] {
        cluster.boot(node);
    }
    cluster.run(3000);
    assert_eq!(cluster.ledger(N1).counts.len(), 300);
    assert_eq!(cluster.ledger(N1), cluster.ledger(N2));
    assert!(matches!(cluster.execute(N2, "command 0"), Outcome::Applied(count) if count == "2"));
}

#[test]
fn a_laggard_is_brought_up_by_a_snapshot() {
    let mut cluster = with_laggard();
    cluster.boot(N3);
    cluster.run(2000);
    assert!(is_caught_up(&cluster));
    let (sent, received) = (cluster.replica(N1).status(), cluster.replica(N3).status());
    assert_eq!((sent.catch_up.peers_by_snapshot, sent.catch_up.peers_by_log), (1, 0));
    assert_eq!((received.catch_up.by_snapshot, received.catch_up.by_log), (1, 0));
    assert_eq!((sent.counters.snapshots_sent, received.counters.snapshots_received), (1, 1));
    assert!(cluster.nodes[&N3].notices.iter().any(|notice| matches!(notice, Notice::SnapshotInstalled { .. })));
}

/// A snapshot of some 6,000 bytes at 1,000 bytes a second. The rate holds, whatever the windows allow.
#[test]
fn a_snapshot_is_sent_no_faster_than_the_rate_allows() {
    let mut cluster = with_laggard_at(ReplicaSettings { snapshot_rate_max: Some(1000), ..small() });
    cluster.boot(N3);
    cluster.run(500);
    let bytes = |cluster: &mut Cluster| cluster.replica(N1).status().counters.snapshot_bytes_sent;
    for second in 1..=3 {
        let before = bytes(&mut cluster);
        cluster.run(1000);
        let sent = bytes(&mut cluster) - before;
        assert!((800..=1100).contains(&sent), "{sent} bytes in second {second}");
    }
    cluster.run(15_000);
    assert!(is_caught_up(&cluster));
    assert_eq!(cluster.replica(N3).status().counters.snapshots_received, 1, "the pace is no reason to give it up");
}

/// Two peers lag, and one is sent a snapshot at a time.
#[test]
fn a_snapshot_waits_for_those_before_it() {
    let settings = ReplicaSettings { snapshot_sends_max: 1, snapshot_rate_max: Some(4000), ..small() };
    let mut cluster = Cluster::start_with(5, settings, Settings::default());
    cluster.elect(N1);
    let (n4, n5) = (NodeId(4), NodeId(5));
    cluster.crash(n4);
    cluster.crash(n5);
    cluster.run(1500);
    for number in 0..300 {
        assert!(matches!(cluster.execute(N1, &format!("command {number}")), Outcome::Applied(_)));
    }
    cluster.boot(n4);
    cluster.boot(n5);
    for _ in 0..20_000 {
        cluster.run(1);
        assert!(cluster.replica(N1).status().sending.len() <= 1);
    }
    for node in [n4, n5] {
        assert_eq!(cluster.ledger(node).counts, cluster.ledger(N1).counts);
        assert_eq!(cluster.replica(node).status().counters.snapshots_received, 1);
    }
}

#[test]
fn a_laggard_that_the_log_reaches_is_brought_up_by_the_log() {
    let mut cluster =
        Cluster::start_with(3, ReplicaSettings { snapshot_entries: 10_000, ..small() }, Settings::default());
    cluster.elect(N1);
    cluster.crash(N3);
    for _ in 0..300 {
        cluster.execute(N1, "a");
    }
    cluster.run(1500);
    cluster.boot(N3);
    cluster.run(2500);
    assert!(is_caught_up(&cluster));
    let (sent, received) = (cluster.replica(N1).status().catch_up, cluster.replica(N3).status().catch_up);
    assert_eq!((sent.peers_by_log, sent.peers_by_snapshot), (1, 0));
    assert_eq!((received.by_log, received.by_snapshot), (1, 0));
}

#[test]
fn no_more_than_the_window_is_on_its_way() {
    let mut cluster = with_laggard();
    cluster.machine(N3).holds_snapshots = true;
    cluster.boot(N3);
    cluster.run(1000);
    // The store of node 3 performs no operation, so nothing is acknowledged: three pieces fill the window.
    assert_eq!(cluster.nodes[&N3].held.len(), 4, "{:?}", cluster.nodes[&N3].held);
    cluster.release_snapshots(N3, 2);
    cluster.run(10);
    assert_eq!(cluster.nodes[&N3].held.len(), 3, "one went out of the window and one came in");
    cluster.machine(N3).holds_snapshots = false;
    cluster.release_snapshots(N3, 3);
    cluster.run(2000);
    assert!(is_caught_up(&cluster));
}

/// Killed before the first piece, in the middle, with everything written, and after it is durable but not yet in force.
#[test]
fn a_replica_killed_anywhere_in_an_install_starts_again_cleanly() {
    for operations in [0, 1, 5, 20, 60, 61, 62] {
        let mut cluster = with_laggard();
        cluster.machine(N3).holds_snapshots = true;
        cluster.boot(N3);
        for _ in 0..operations {
            cluster.run(5);
            cluster.release_snapshots(N3, 1);
        }
        cluster.crash(N3);
        cluster.machine(N3).holds_snapshots = false;
        cluster.boot(N3);
        cluster.run(3000);
        assert!(is_caught_up(&cluster), "killed after {operations} operations");
        assert_eq!(cluster.machine(N3).halted, None);
    }
}

#[test]
fn a_transfer_goes_on_where_the_connection_broke() {
    let mut cluster = with_laggard();
    cluster.pieces_left = 40;
    cluster.boot(N3);
    cluster.run(2000);
    let progress = cluster.replica(N3).status().receiving.expect("it has begun");
    assert!(progress.bytes > 500 && progress.bytes < progress.length, "{progress:?}");
    let sent_before = cluster.replica(N1).status().counters.snapshot_bytes_sent;
    cluster.pieces_left = usize::MAX;
    cluster.give(N1, GroupInput::Signal(Signal::Unreachable(N3)));
    cluster.run(3000);
    assert!(is_caught_up(&cluster));
    let sent = cluster.replica(N1).status().counters.snapshot_bytes_sent - sent_before;
    assert!(
        sent < progress.length,
        "{sent} bytes of {} were sent after {} had arrived",
        progress.length,
        progress.bytes
    );
}

#[test]
fn a_leader_that_changes_in_the_middle_is_followed_by_the_next() {
    let mut cluster = with_laggard();
    cluster.pieces_left = 40;
    cluster.boot(N3);
    cluster.run(2000);
    cluster.crash(N1);
    cluster.pieces_left = usize::MAX;
    cluster.run(6000);
    assert_eq!(cluster.leader(), Some(N2), "only node 2 has the log");
    assert_eq!(cluster.ledger(N3).counts, cluster.ledger(N2).counts);
}

#[test]
fn what_cannot_be_written_is_given_up_and_tried_again() {
    let mut cluster = with_laggard();
    cluster.machine(N3).store.failure = Some(SnapshotFailure::DiskFull);
    cluster.boot(N3);
    cluster.run(2000);
    assert!(cluster.nodes[&N3].notices.iter().any(|notice| matches!(notice, Notice::SnapshotFailed { .. })));
    cluster.machine(N3).store.failure = None;
    cluster.run(5000);
    assert!(is_caught_up(&cluster));
}

/// The leader's own store fails, so it leaves its office to a node that can send the snapshot.
#[test]
fn what_the_leader_cannot_read_is_brought_by_another() {
    let mut cluster = with_laggard();
    cluster.machine(N1).store.failure = Some(SnapshotFailure::Io("no".into()));
    cluster.boot(N3);
    cluster.run(10_000);
    assert_eq!(cluster.leader(), Some(N2));
    assert_eq!(cluster.ledger(N3).counts, cluster.ledger(N2).counts);
    let failures = cluster.nodes[&N1].notices.iter().filter(|notice| matches!(notice, Notice::SnapshotFailed { .. }));
    assert!(failures.count() >= 3);
}

#[test]
fn a_snapshot_that_is_being_sent_is_kept() {
    let mut cluster = with_laggard();
    cluster.pieces_left = 20;
    cluster.boot(N3);
    cluster.run(1000);
    let sending = cluster.replica(N1).status().sending[0].index;
    for number in 0..300 {
        assert!(matches!(cluster.execute(N1, &format!("more {number}")), Outcome::Applied(_)));
    }
    assert!(cluster.nodes[&N1].store.durable.contains_key(&sending), "it is still being sent");
    cluster.pieces_left = usize::MAX;
    cluster.run(20_000);
    assert!(is_caught_up(&cluster));
    assert!(!cluster.nodes[&N1].store.durable.contains_key(&sending), "and goes when it is not");
}

#[test]
fn a_snapshot_that_cannot_be_made_is_made_later() {
    let mut cluster = Cluster::start_with(3, small(), Settings::default());
    cluster.elect(N1);
    cluster.machine(N1).store.failure = Some(SnapshotFailure::Io("no".into()));
    for _ in 0..150 {
        cluster.execute(N1, "a");
    }
    assert!(cluster.nodes[&N1].store.durable.is_empty());
    cluster.machine(N1).store.failure = None;
    cluster.run(6000);
    assert_eq!(cluster.nodes[&N1].store.durable.len(), 1);
}

#[test]
fn a_pinned_segment_makes_a_snapshot_before_its_time() {
    let mut cluster = Cluster::led();
    cluster.execute(N1, "a");
    cluster.give(N1, GroupInput::Signal(Signal::CompactRequested));
    cluster.run(100);
    let status = cluster.replica(N1).status();
    assert_eq!(status.snapshot_index, Some(status.applied_index));
    assert_eq!(status.log.first_index, status.applied_index.next(), "nothing is kept for laggards");
}

#[test]
fn applying_goes_on_while_a_snapshot_is_made() {
    let mut cluster = Cluster::start_with(3, small(), Settings::default());
    cluster.elect(N1);
    cluster.machine(N1).holds_snapshots = true;
    for _ in 0..250 {
        assert!(matches!(cluster.execute(N1, "a"), Outcome::Applied(_)));
    }
    assert_eq!(cluster.nodes[&N1].held.len(), 1, "one at a time");
    let call = cluster.propose(N1, "b", Delivery::AtMostOnce);
    assert!(matches!(cluster.outcome(N1, call), Outcome::Applied(_)));
    assert!(cluster.sent.iter().all(|(_, _, channel)| *channel != ChannelId::SNAPSHOTS));
}

#[test]
fn a_laggard_is_brought_up_while_its_leader_makes_a_snapshot() {
    let mut cluster = with_laggard();
    cluster.machine(N1).holds_builds = true;
    for number in 0..200 {
        assert!(matches!(cluster.execute(N1, &format!("more {number}")), Outcome::Applied(_)));
    }
    assert_eq!(cluster.nodes[&N1].held.len(), 1, "a snapshot is being made, for as long as the test likes");
    cluster.boot(N3);
    cluster.run(30_000);
    assert!(is_caught_up(&cluster));
    assert_eq!(cluster.replica(N3).status().catch_up.by_snapshot, 1);
}

/// The peer detects the damage, so the leader verifies its own copy and makes another, though nothing was applied
/// since.
#[test]
fn a_snapshot_that_rots_is_replaced() {
    let mut cluster = with_laggard();
    let index = cluster.replica(N1).status().snapshot_index.expect("it made one");
    cluster.machine(N1).store.rotten.insert(index);
    cluster.boot(N3);
    cluster.run(3000);
    assert!(is_caught_up(&cluster));
    let (term, sent) = (cluster.replica(N1).status().log.term, cluster.replica(N1).status().counters);
    assert_eq!(cluster.leader(), Some(N1), "it keeps its office, in term {term}");
    assert_eq!(sent.snapshots_sent, 1);
    let is_told =
        |notice: &Notice| matches!(notice, Notice::SnapshotFailed { reason, .. } if reason.contains("damaged"));
    assert!(cluster.nodes[&N1].notices.iter().any(is_told));
    assert_eq!(cluster.replica(N1).explain(), []);
}

#[test]
fn a_rotten_snapshot_of_the_newest_entry_is_made_anew_in_its_place() {
    let mut cluster = with_laggard();
    cluster.give(N1, GroupInput::Signal(Signal::CompactRequested));
    cluster.run(10);
    let status = cluster.replica(N1).status();
    assert_eq!(status.snapshot_index, Some(status.applied_index));
    cluster.machine(N1).store.rotten.insert(status.applied_index);
    cluster.boot(N3);
    cluster.run(3000);
    assert!(is_caught_up(&cluster));
    assert_eq!(cluster.leader(), Some(N1));
}

/// The follower keeps its own log and state, reports the failure, and does not accept the same snapshot again at once.
#[test]
fn a_snapshot_that_cannot_be_restored_costs_a_follower_nothing() {
    let mut cluster = with_laggard();
    let index = cluster.replica(N1).status().snapshot_index.expect("it made one");
    let (meta, content) = cluster.nodes[&N1].store.durable[&index].clone();
    let foreign = [&content[..9], &[0xff; 100]].concat();
    cluster.machine(N1).store.durable.insert(index, (meta, foreign));
    cluster.boot(N3);
    cluster.run(12_000);
    assert_eq!(cluster.machine(N3).halted, None);
    assert!(!cluster.nodes[&N3].store.durable.contains_key(&index), "nothing of it is kept");
    let obstacles = cluster.replica(N3).explain();
    assert!(matches!(obstacles[..], [Obstacle::SnapshotFailed { .. }]), "{obstacles:?}");
    let failures = |notice: &&Notice| matches!(notice, Notice::SnapshotFailed { .. });
    let failures = cluster.nodes[&N3].notices.iter().filter(failures).count();
    assert!((1..=3).contains(&failures), "{failures} tries in 12 s");
    // It starts again from its old state, and accepts the next snapshot.
    cluster.crash(N3);
    cluster.boot(N3);
    for number in 0..200 {
        cluster.execute(N1, &format!("more {number}"));
    }
    // The transfer that is under way is given up first.
    cluster.run(20_000);
    assert!(is_caught_up(&cluster));
}

#[test]
fn a_low_disk_makes_a_snapshot_and_lets_the_log_go() {
    let mut cluster = Cluster::start_with(3, ReplicaSettings { keep_entries: 1000, ..small() }, Settings::default());
    cluster.elect(N1);
    for _ in 0..150 {
        cluster.execute(N1, "a");
    }
    assert_eq!(cluster.replica(N1).status().log.first_index, LogIndex(1), "all is kept for peers that lag");
    cluster.give(N1, GroupInput::Signal(Signal::Storage(StorageLevel::Low)));
    cluster.run(100);
    let status = cluster.replica(N1).status();
    assert_eq!(status.snapshot_index, Some(status.applied_index));
    assert_eq!(status.log.first_index, status.applied_index.next());
    assert!(matches!(cluster.execute(N1, "a"), Outcome::NotApplied(_)));
    cluster.give(N1, GroupInput::Signal(Signal::Storage(StorageLevel::Enough)));
    assert!(matches!(cluster.execute(N1, "a"), Outcome::Applied(_)), "there is room again");
}

#[test]
fn what_stays_for_laggards_is_bounded_in_bytes_as_well() {
    let settings = ReplicaSettings { keep_entries: 1000, keep_bytes: 1 << 20, ..small() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    let large = "x".repeat(100_000);
    for _ in 0..100 {
        assert!(matches!(cluster.execute(N1, &large), Outcome::Applied(_)));
    }
    cluster.run(1000);
    let status = cluster.replica(N1).status();
    let kept = status.snapshot_index.expect("it made one").0 + 1 - status.log.first_index.0;
    assert!((5..=10).contains(&kept), "{kept} entries of 100 kB behind the snapshot");
}

/// Each small command is a write of its own here, and takes a whole sector of the log.
#[test]
fn a_snapshot_is_made_for_what_the_log_takes_on_disk() {
    let settings = ReplicaSettings { snapshot_entries: 1_000_000, snapshot_bytes: 1 << 20, ..small() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    for _ in 0..300 {
        cluster.execute(N1, "a");
    }
    let index = cluster.replica(N1).status().snapshot_index.expect("300 sectors are more than a MiB");
    assert!(index > LogIndex(200), "{index}");
}
