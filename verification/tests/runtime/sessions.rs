//! Exactly-once across retries, failover, snapshots and time.

use std::time::Duration;

use quorate_raft::Settings;
use quorate_runtime::{Delivery, NotApplied, Outcome, ReplicaSettings, Retry, Unknown};
use quorate_transport::ChannelId;

use crate::cluster::{Cluster, N1, N2, N3};

const HOUR: Duration = Duration::from_hours(1);

/// Proposes in the session. The outcome stays unknown, though the command was applied.
fn lose_answer(cluster: &mut Cluster, command: &str) -> Retry {
    cluster.lost_channels.insert(ChannelId::REPLICA);
    cluster.park_inbound(N2);
    let deadline = cluster.deadline(50);
    cluster.lost_channels.clear();
    let call = cluster.propose_until(N2, command, Delivery::ExactlyOnce, deadline);
    cluster.run(50);
    let outcome = cluster.outcome(N2, call);
    cluster.drop_parked();
    let Outcome::Unknown { reason: Unknown::DeadlinePassed, retry: Some(retry) } = outcome else {
        panic!("{outcome:?}")
    };
    retry
}

fn led_with_session(settings: ReplicaSettings) -> Cluster {
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    assert!(matches!(cluster.open_session(N2, HOUR), Outcome::Applied(_)));
    cluster
}

#[test]
fn a_command_needs_an_open_session_to_be_exactly_once() {
    let mut cluster = Cluster::led();
    let call = cluster.propose(N1, "a", Delivery::ExactlyOnce);
    assert_eq!(cluster.outcome(N1, call), Outcome::NotApplied(NotApplied::NoSession));
    assert!(matches!(cluster.open_session(N1, HOUR), Outcome::Applied(_)));
    let call = cluster.propose(N1, "a", Delivery::ExactlyOnce);
    assert_eq!(cluster.outcome(N1, call), Outcome::Applied("1".into()));
}

#[test]
fn a_retry_gives_the_response_of_the_first_try() {
    let mut cluster = led_with_session(ReplicaSettings::default());
    let retry = lose_answer(&mut cluster, "a");
    cluster.run(500);
    assert_eq!(cluster.ledger(N1).count("a"), 1);
    let call = cluster.propose(N2, "a", Delivery::Again(retry));
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
    cluster.run(500);
    assert_eq!(cluster.ledger(N1).count("a"), 1);
}

#[test]
fn a_retry_that_overtakes_the_first_try_is_applied_alone() {
    let mut cluster = led_with_session(ReplicaSettings::default());
    cluster.parked_links.insert((N2, N1));
    let deadline = cluster.deadline(50);
    let call = cluster.propose_until(N2, "a", Delivery::ExactlyOnce, deadline);
    cluster.run(50);
    let Outcome::Unknown { retry: Some(retry), .. } = cluster.outcome(N2, call) else {
        panic!("it can be tried again")
    };
    let call = cluster.propose(N2, "a", Delivery::Again(retry));
    cluster.release();
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
    cluster.run(500);
    assert_eq!(cluster.ledger(N3).count("a"), 1, "both tries came to the leader");
}

#[test]
fn a_retry_at_the_next_leader_is_applied_once() {
    let mut cluster = led_with_session(ReplicaSettings::default());
    let retry = lose_answer(&mut cluster, "a");
    cluster.run(20);
    cluster.crash(N1);
    cluster.run(3000);
    let call = cluster.propose(N2, "a", Delivery::Again(retry));
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
    assert_eq!(cluster.ledger(N2).count("a"), 1);
}

#[test]
fn a_retry_is_never_told_to_be_not_applied() {
    let mut cluster = led_with_session(ReplicaSettings::default());
    let retry = lose_answer(&mut cluster, "a");
    cluster.isolate(N2);
    cluster.run(3000);
    // Node 2 knows no leader and may not know that the first try was applied.
    let deadline = cluster.deadline(100);
    let call = cluster.propose_until(N2, "a", Delivery::Again(retry), deadline);
    let outcome = cluster.outcome(N2, call);
    let again = match outcome {
        Outcome::Unknown { reason: Unknown::TryFailed(NotApplied::NoLeader), retry: Some(again) } => again,
        other => panic!("{other:?}"),
    };
    cluster.heal();
    let call = cluster.propose(N2, "a", Delivery::Again(again));
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
}

#[test]
fn a_session_survives_a_snapshot() {
    let settings = ReplicaSettings { snapshot_entries: 20, keep_entries: 0, ..ReplicaSettings::default() };
    let mut cluster = led_with_session(settings);
    let retry = lose_answer(&mut cluster, "a");
    cluster.isolate(N3);
    cluster.run(1500);
    for _ in 0..50 {
        cluster.execute(N1, "other");
    }
    // Each node starts from a snapshot, node 3 gets one from its leader, and the retry finds the outcome of the first
    // try.
    cluster.heal();
    cluster.run(3000);
    assert!(cluster.replica(N3).status().counters.snapshots_received > 0);
    assert_eq!(cluster.replica(N3).status().sessions, 1, "the session came with the snapshot");
    cluster.crash(N1);
    cluster.run(3000);
    let call = cluster.propose(N2, "a", Delivery::Again(retry));
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
    cluster.run(200);
    assert_eq!(cluster.ledger(N3).count("a"), 1);
}

#[test]
fn an_expired_session_applies_nothing() {
    let mut cluster = Cluster::led();
    assert!(matches!(cluster.open_session(N2, Duration::from_secs(2)), Outcome::Applied(_)));
    let retry = lose_answer(&mut cluster, "a");
    cluster.park_inbound(N1);
    let deadline = cluster.deadline(60_000);
    let call = cluster.propose_until(N2, "late", Delivery::ExactlyOnce, deadline);
    cluster.run(100);
    cluster.parked_links.retain(|(from, _)| *from == N2);
    cluster.run(4000);
    cluster.release();
    assert_eq!(cluster.outcome(N2, call), Outcome::NotApplied(NotApplied::SessionExpired));
    assert_eq!(cluster.ledger(N1).count("late"), 0);
    let call = cluster.propose(N2, "b", Delivery::ExactlyOnce);
    assert_eq!(cluster.outcome(N2, call), Outcome::NotApplied(NotApplied::NoSession));
    let call = cluster.propose(N2, "a", Delivery::Again(retry));
    let expired = Outcome::Unknown { reason: Unknown::SessionExpired, retry: None };
    assert_eq!(cluster.outcome(N2, call), expired, "the first try may have been applied");
}

#[test]
fn a_session_expires_on_an_idle_group_too() {
    let mut cluster = Cluster::led();
    assert!(matches!(cluster.open_session(N2, Duration::from_secs(2)), Outcome::Applied(_)));
    assert_eq!(cluster.replica(N3).status().sessions, 1);
    cluster.run(3000);
    assert_eq!(cluster.replica(N3).status().sessions, 0);
    assert!(matches!(cluster.open_session(N2, Duration::from_secs(2)), Outcome::Applied(_)));
}

#[test]
fn a_closed_session_applies_nothing() {
    let mut cluster = led_with_session(ReplicaSettings::default());
    let (call, now, deadline) = (cluster.call(), cluster.now, cluster.deadline(5000));
    cluster.replica(N2).close_session(now, call, deadline);
    assert!(matches!(cluster.outcome(N2, call), Outcome::Applied(_)));
    let call = cluster.propose(N2, "a", Delivery::ExactlyOnce);
    assert_eq!(cluster.outcome(N2, call), Outcome::NotApplied(NotApplied::NoSession));
}

#[test]
fn a_forward_that_is_answered_twice_is_answered_once() {
    let mut cluster = Cluster::led();
    // The entry reaches node 2 by the log first. Then the leader's answer comes.
    cluster.parked_links.insert((N1, N2));
    let call = cluster.propose(N2, "a", Delivery::AtMostOnce);
    cluster.run(200);
    cluster.release();
    cluster.run(200);
    assert_eq!(cluster.outcome(N2, call), Outcome::Applied("1".into()));
    let counters = cluster.replica(N2).status().counters;
    assert_eq!((counters.applied, counters.answers_ignored), (1, 0));
    cluster.parked_links.insert((N1, N2));
    cluster.propose(N2, "b", Delivery::AtMostOnce);
    // Only frames of the core pass before the answer.
    cluster.run(500);
    cluster.release();
    cluster.run(10);
    let counters = cluster.replica(N2).status().counters;
    assert_eq!(counters.applied, 2);
}

#[test]
fn a_snapshot_that_covers_a_proposal_tells_what_became_of_it_only_with_a_session() {
    let settings = ReplicaSettings { snapshot_entries: 20, keep_entries: 0, ..ReplicaSettings::default() };
    let mut cluster = Cluster::start_with(3, settings, Settings::default());
    cluster.elect(N1);
    assert!(matches!(cluster.open_session(N1, HOUR), Outcome::Applied(_)));
    cluster.isolate(N1);
    let deadline = cluster.deadline(60_000);
    let loose = cluster.propose_until(N1, "loose", Delivery::AtMostOnce, deadline);
    let in_session = cluster.propose_until(N1, "in session", Delivery::ExactlyOnce, deadline);
    cluster.run(3000);
    for _ in 0..50 {
        assert!(matches!(cluster.execute(N2, "other"), Outcome::Applied(_)));
    }
    cluster.heal();
    let covered = Outcome::Unknown { reason: Unknown::CoveredBySnapshot, retry: None };
    assert_eq!(cluster.outcome(N1, loose), covered);
    assert_eq!(cluster.outcome(N1, in_session), Outcome::NotApplied(NotApplied::Superseded));
    assert_eq!(cluster.ledger(N1).count("loose") + cluster.ledger(N1).count("in session"), 0);
}
