//! Reads: linearizable on any replica, or possibly old and marked as such.

use quorate_protocol::{HaltReason, ReadFailure};
use quorate_raft::Settings;
use quorate_runtime::group::{Group, Reply};
use quorate_runtime::replica::Obstacle;
use quorate_runtime::{Outcome, ReadError, ReplicaSettings};
use quorate_transport::ChannelId;

use crate::cluster::{Cluster, N1, N2, N3};

#[test]
fn a_read_on_any_replica_sees_what_was_acknowledged_before() {
    let mut cluster = Cluster::led();
    for (count, node) in [N1, N2, N3, N2, N1].into_iter().enumerate() {
        assert!(matches!(cluster.execute(node, "a"), Outcome::Applied(_)));
        for reader in [N1, N2, N3] {
            assert_eq!(cluster.read(reader, "a"), Ok(count as u64 + 1));
        }
    }
}

/// The old leader is isolated and has the old value. A linearizable read does not return it.
#[test]
fn a_local_read_returns_the_old_value_where_a_read_does_not() {
    let mut cluster = Cluster::led();
    assert_eq!(cluster.execute(N1, "a"), Outcome::Applied("1".into()));
    cluster.park_inbound(N1);
    cluster.run(3000);
    assert!(cluster.leader().is_some_and(|leader| leader != N1));
    assert_eq!(cluster.execute(N2, "a"), Outcome::Applied("2".into()));
    let calls: Vec<_> = (0..1000).map(|_| cluster.start_read(N1)).collect();
    cluster.run(1000);
    assert_eq!(cluster.ledger(N1).count("a"), 1, "what it has is old");
    let heard = cluster.replica(N1).read_context().leader_heard;
    assert!(heard.is_none_or(|heard| heard.as_millis() > 1000), "and it says so: {heard:?}");
    assert!(calls.iter().all(|call| !cluster.nodes[&N1].replies.contains_key(call)), "nothing old was returned");
    cluster.release();
    for call in calls {
        assert_eq!(cluster.answer(N1, call), Reply::ReadReady);
        assert_eq!(cluster.ledger(N1).count("a"), 2);
    }
}

#[test]
fn a_read_without_a_leader_fails_at_its_deadline_and_says_why() {
    let mut cluster = Cluster::start(3);
    cluster.crash(N2);
    cluster.crash(N3);
    let before = cluster.now.instant;
    let failure = ReadError::DeadlinePassed(Some(ReadFailure::NoLeader));
    assert_eq!(cluster.read(N1, "a"), Err(failure));
    assert_eq!(cluster.now.instant.since(before).as_secs(), 5);
    assert_eq!(cluster.replica(N1).explain().first(), Some(&Obstacle::NoLeader));
    assert!(cluster.replica(N1).explain().contains(&Obstacle::VotersSilent(vec![N2, N3])));
}

#[test]
fn a_read_waits_for_the_next_leader() {
    let mut cluster = Cluster::led();
    assert_eq!(cluster.execute(N1, "a"), Outcome::Applied("1".into()));
    cluster.crash(N1);
    assert_eq!(cluster.read(N2, "a"), Ok(1));
}

#[test]
fn reads_that_come_together_share_one_question() {
    let mut cluster = Cluster::led();
    cluster.run(10);
    cluster.sent.clear();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (call, now, deadline) = (cluster.call(), cluster.now, cluster.deadline(5000));
            cluster.replica(N2).read(now, call, deadline);
            call
        })
        .collect();
    cluster.settle();
    let asked =
        |sent: &[_]| sent.iter().filter(|(from, _, channel)| (*from, *channel) == (N2, ChannelId::FIRST_CORE)).count();
    assert!(asked(&cluster.sent) <= 3, "{:?}", cluster.sent);
    for call in calls {
        assert_eq!(cluster.answer(N2, call), Reply::ReadReady);
    }
}

#[test]
fn too_many_reads_are_refused() {
    let settings = ReplicaSettings { reads_max: 2, ..ReplicaSettings::default() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    cluster.isolate(N1);
    let calls = [cluster.start_read(N1), cluster.start_read(N1)];
    assert_eq!(cluster.read(N1, "a"), Err(ReadError::Overloaded));
    cluster.heal();
    for call in calls {
        assert_eq!(cluster.answer(N1, call), Reply::ReadReady);
    }
}

#[test]
fn reads_end_when_the_group_halts() {
    let mut cluster = Cluster::led();
    cluster.isolate(N1);
    let call = cluster.start_read(N1);
    let reason = HaltReason::Panicked("a bug".into());
    cluster.replica(N1).halted(&reason);
    assert_eq!(cluster.answer(N1, call), Reply::ReadFailed(ReadError::Halted(reason.clone())));
    assert_eq!(cluster.read(N1, "a"), Err(ReadError::Halted(reason)));
}
