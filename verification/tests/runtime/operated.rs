//! What operators and programs ask of a replica: snapshots, elections, and the news of its status.

use std::time::Duration;

use quorate_protocol::{LogIndex, NodeId, Role};
use quorate_raft::Settings;
use quorate_runtime::group::{CallId, Reply, SnapshotFailure};
use quorate_runtime::{BuildError, CampaignError, Outcome, ReplicaSettings, TransferError};

use crate::cluster::{Cluster, N1, N2, N3};

fn written() -> Cluster {
    let mut cluster = Cluster::led();
    for number in 0..20 {
        assert!(matches!(cluster.execute(N1, &format!("command {number}")), Outcome::Applied(_)));
    }
    cluster
}

/// Asks for a snapshot, with a second of time.
fn ask(cluster: &mut Cluster, node: NodeId, compacts: bool) -> CallId {
    let (call, now, deadline) = (cluster.call(), cluster.clocks(node), cluster.deadline(1000));
    if compacts {
        cluster.replica(node).compact(now, call, deadline);
    } else {
        cluster.replica(node).snapshot(now, call, deadline);
    }
    cluster.settle();
    call
}

fn built(cluster: &mut Cluster, node: NodeId, call: CallId) -> Result<LogIndex, BuildError> {
    match cluster.answer(node, call) {
        Reply::Built(result) => result,
        other => panic!("not an answer: {other:?}"),
    }
}

#[test]
fn a_snapshot_is_made_when_it_is_asked_for_and_the_log_keeps_its_entries() {
    let mut cluster = written();
    let applied = cluster.replica(N2).status().applied_index;
    let call = ask(&mut cluster, N2, false);
    assert_eq!(built(&mut cluster, N2, call), Ok(applied));
    let status = cluster.replica(N2).status();
    assert_eq!((status.snapshot_index, status.log.first_index), (Some(applied), LogIndex(1)));
    // There is one already.
    let call = ask(&mut cluster, N2, false);
    assert_eq!(built(&mut cluster, N2, call), Ok(applied));
    assert_eq!(cluster.replica(N2).status().counters.snapshots_built, 1);
}

#[test]
fn compacting_removes_what_the_snapshot_covers() {
    let mut cluster = written();
    let applied = cluster.replica(N1).status().applied_index;
    let call = ask(&mut cluster, N1, false);
    assert_eq!(built(&mut cluster, N1, call), Ok(applied));
    let call = ask(&mut cluster, N1, true);
    assert_eq!(built(&mut cluster, N1, call), Ok(applied));
    cluster.settle();
    assert_eq!(cluster.replica(N1).status().log.first_index, applied.next());
    assert_eq!(cluster.replica(N2).status().log.first_index, LogIndex(1), "each node has a log of its own");
}

#[test]
fn whoever_asks_for_a_snapshot_learns_why_there_is_none() {
    let mut cluster = written();
    cluster.machine(N1).store.failure = Some(SnapshotFailure::DiskFull);
    let call = ask(&mut cluster, N1, false);
    assert_eq!(built(&mut cluster, N1, call), Err(BuildError::Failed("DiskFull".into())));
    // The pause after a failure does not hold up the next caller.
    cluster.machine(N1).store.failure = None;
    let call = ask(&mut cluster, N1, false);
    assert!(built(&mut cluster, N1, call).is_ok());
    cluster.machine(N2).holds_builds = true;
    let applied = cluster.replica(N2).status().applied_index;
    let call = ask(&mut cluster, N2, true);
    assert_eq!(built(&mut cluster, N2, call), Err(BuildError::DeadlinePassed));
    cluster.release_snapshots(N2, 1);
    assert_eq!(cluster.replica(N2).status().snapshot_index, Some(applied), "it is made all the same");
}

#[test]
fn a_node_campaigns_when_it_is_told_to_and_no_leader_is_alive() {
    let settings = Settings {
        election_timeout_min: Duration::from_secs(10),
        election_timeout_max: Duration::from_secs(20),
        ..Settings::default()
    };
    let mut cluster = Cluster::start_with(3, ReplicaSettings::default(), settings);
    let now = cluster.clocks(N2);
    assert_eq!(cluster.replica(N2).campaign(now), Ok(()));
    cluster.run(10);
    assert_eq!(cluster.leader(), Some(N2), "long before any time-out");
    let now = cluster.clocks(N3);
    assert_eq!(cluster.replica(N2).campaign(now), Err(CampaignError::Leads));
    assert_eq!(cluster.replica(N3).campaign(now), Err(CampaignError::LeaderAlive(N2)));
    cluster.run(100);
    assert_eq!(cluster.replica(N3).status().log.role, Role::Follower);
    assert_eq!(cluster.leader(), Some(N2));
}

#[test]
fn a_leader_that_steps_down_lets_another_node_lead() {
    let mut cluster = written();
    let now = cluster.clocks(N1);
    assert_eq!(cluster.replica(N1).step_down(now), Ok(()));
    cluster.settle();
    assert_eq!(cluster.replica(N1).status().log.role, Role::Follower);
    cluster.run(3000);
    let leader = cluster.leader().expect("another leader");
    assert_ne!(leader, N1);
    let now = cluster.clocks(N1);
    assert_eq!(cluster.replica(N1).step_down(now), Err(TransferError::NotLeader { leader: Some(leader) }));
}
