//! State machines that store their state themselves, as a database does.

use quorate_protocol::{HaltReason, LogIndex, NodeId};
use quorate_raft::Settings;
use quorate_runtime::group::Reply;
use quorate_runtime::replica::Obstacle;
use quorate_runtime::testing::LedgerFiles;
use quorate_runtime::{Outcome, ReplicaSettings};

use crate::cluster::{Cluster, N1, N2, N3};

fn small() -> ReplicaSettings {
    ReplicaSettings { snapshot_entries: 100, keep_entries: 10, ..ReplicaSettings::default() }
}

/// Three nodes, of which the first leads.
fn cluster() -> Cluster {
    let mut cluster = Cluster::start_stored(3, small(), Settings::default());
    cluster.elect(N1);
    cluster
}

fn write(cluster: &mut Cluster, commands: std::ops::Range<u64>) {
    for number in commands {
        assert!(matches!(cluster.execute(N1, &format!("command {number}")), Outcome::Applied(count) if count == "1"));
    }
}

fn files(cluster: &Cluster, node: NodeId) -> &LedgerFiles {
    cluster.nodes[&node].files.as_ref().expect("it stores its state itself")
}

fn newest_content(cluster: &Cluster, node: NodeId) -> &[u8] {
    &cluster.nodes[&node].store.durable.values().next_back().expect("a snapshot").1
}

#[test]
fn the_log_is_compacted_without_a_copy_of_the_state() {
    let mut cluster = cluster();
    write(&mut cluster, 0..350);
    cluster.run(100);
    assert!(cluster.replica(N1).status().log.first_index > LogIndex(200));
    let (head, given) = newest_content(&cluster, N1).split_at(9);
    assert_eq!(head, [2, 0, 0, 0, 0, 0, 0, 0, 0], "no session");
    assert_eq!(given.len(), 8, "an index, and no state");
    for node in [N1, N2, N3] {
        cluster.crash(node);
    }
    for node in [N1, N2, N3] {
        assert!(files(&cluster, node).written().applied > LogIndex(200), "what the log forgot is durable");
        cluster.boot(node);
    }
    cluster.run(3000);
    for node in [N1, N2, N3] {
        assert_eq!(cluster.ledger(node).counts.len(), 350);
        assert!(cluster.ledger(node).counts.values().all(|count| *count == 1), "each command is applied once");
    }
}

#[test]
fn a_batch_of_commands_is_one_write() {
    let mut cluster = cluster();
    let before = files(&cluster, N2).writes();
    cluster.park_inbound(N2);
    write(&mut cluster, 0..50);
    cluster.release();
    cluster.run(200);
    assert_eq!(cluster.ledger(N2).counts.len(), 50);
    let writes = files(&cluster, N2).writes() - before;
    assert!(writes <= 5, "{writes} writes of 50 commands");
}

#[test]
fn a_peer_that_lags_gets_a_snapshot_with_the_state() {
    let mut cluster = cluster();
    write(&mut cluster, 0..5);
    cluster.crash(N3);
    // The leader keeps the log for every node that it still counts as alive.
    cluster.run(1500);
    write(&mut cluster, 5..300);
    assert_eq!(newest_content(&cluster, N1)[0], 2);
    cluster.boot(N3);
    cluster.run(8000);
    assert_eq!(cluster.ledger(N3).counts, cluster.ledger(N1).counts);
    assert_eq!(cluster.replica(N3).status().counters.snapshots_received, 1);
    assert!(files(&cluster, N3).written().applied > LogIndex(200), "the new state is in its files");
    // The next snapshot needs no state again, and the received one is enough until then.
    cluster.crash(N3);
    cluster.boot(N3);
    write(&mut cluster, 300..420);
    cluster.run(100);
    assert_eq!(newest_content(&cluster, N1)[0], 2);
    assert_eq!(cluster.ledger(N3).counts, cluster.ledger(N1).counts);
}

/// The last entry that the snapshot covers is none of the state machine, which cannot know its index.
#[test]
fn a_state_is_not_behind_a_snapshot_that_ends_with_an_entry_of_the_log_itself() {
    let mut cluster = cluster();
    write(&mut cluster, 0..10);
    cluster.elect(N2);
    let (call, now, deadline) = (cluster.call(), cluster.clocks(N3), cluster.deadline(1000));
    cluster.replica(N3).snapshot(now, call, deadline);
    let built = cluster.answer(N3, call);
    let given = files(&cluster, N3).written().applied;
    assert!(matches!(built, Reply::Built(Ok(index)) if index > given), "{built:?}, {given:?}");
    cluster.crash(N3);
    cluster.boot(N3);
    cluster.run(1000);
    assert_eq!(cluster.nodes[&N3].halted, None);
    assert_eq!(cluster.ledger(N3).counts.len(), 10);
}

/// The state is lost, and the log no longer has the commands that made it.
#[test]
fn row_32_a_state_machine_behind_its_snapshot_is_refused_with_both_indexes() {
    let mut cluster = cluster();
    write(&mut cluster, 0..250);
    cluster.run(100);
    let snapshot = cluster.replica(N3).status().snapshot_index.expect("a snapshot");
    let halted = |cluster: &Cluster| cluster.nodes[&N3].halted.clone();
    cluster.crash(N3);
    cluster.machine(N3).files = Some(LedgerFiles::default());
    cluster.boot(N3);
    cluster.run(100);
    let reason = HaltReason::StateMachineBehind { applied: LogIndex::ZERO, snapshot };
    assert_eq!(halted(&cluster), Some(reason.clone()));
    assert_eq!(cluster.replica(N3).explain(), [Obstacle::Halted(reason)]);
    assert!(cluster.ledger(N3).counts.is_empty(), "nothing is applied on a state that is not there");
    write(&mut cluster, 250..260);
}

#[test]
fn a_state_machine_that_cannot_write_halts_and_goes_on_after_a_restart() {
    let mut cluster = cluster();
    write(&mut cluster, 0..10);
    files(&cluster, N3).set_failing(true);
    write(&mut cluster, 10..20);
    cluster.run(100);
    let Some(HaltReason::StateMachineFailed { message, .. }) = &cluster.nodes[&N3].halted else {
        panic!("{:?}", cluster.nodes[&N3].halted)
    };
    assert_eq!(message, "the disk of the ledger fails");
    files(&cluster, N3).set_failing(false);
    cluster.crash(N3);
    cluster.boot(N3);
    cluster.run(3000);
    assert_eq!(cluster.ledger(N3).counts, cluster.ledger(N1).counts);
}

#[test]
fn the_log_keeps_what_the_state_machine_cannot_make_durable() {
    let mut cluster = cluster();
    cluster.machine(N2).holds_builds = true;
    write(&mut cluster, 0..150);
    files(&cluster, N2).set_failing(true);
    cluster.release_snapshots(N2, 1);
    assert_eq!(cluster.replica(N2).status().snapshot_index, None);
    assert_eq!(cluster.replica(N2).status().log.first_index, LogIndex(1));
    files(&cluster, N2).set_failing(false);
    cluster.run(6000);
    cluster.release_snapshots(N2, 1);
    assert!(cluster.replica(N2).status().snapshot_index.is_some(), "it is tried again");
}
