//! Clusters under random faults: every law after every step, then life after healing.

use quorate_paxos::log::{AnyLog, Lease};
use quorate_protocol::replication::testing::{Plan, Reached, play_random};

use crate::support::from_environment;

/// More seeds: `QUORATE_PAXOS_LOG_SEEDS=10000 cargo test -p quorate-paxos --release log::random`.
fn play_each_seed(joining: u64) -> Reached {
    let first = from_environment("QUORATE_PAXOS_FIRST_SEED", 0);
    let mut reached = Reached::default();
    for seed in first..first + from_environment("QUORATE_PAXOS_LOG_SEEDS", 200) {
        let played = std::panic::catch_unwind(|| play_random::<AnyLog>(Plan { seed, joining, lease: None }));
        reached += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    reached
}

#[test]
fn laws_hold_under_random_faults_and_life_returns() {
    let reached = play_each_seed(0);
    assert!(reached.entries > 20 && reached.snapshots > 2, "elected nodes fetched what they lacked: {reached:?}");
}

#[test]
fn laws_hold_under_random_faults_while_members_change() {
    play_each_seed(2);
}

#[test]
fn reads_by_leases_are_linearizable_under_random_faults_and_drift() {
    let mut leased = 0;
    for seed in 0..from_environment("QUORATE_PAXOS_LEASE_SEEDS", 20) {
        let plan = Plan { seed, joining: seed % 3, lease: Some(Lease { drift_per_mille: 100 }) };
        let played = std::panic::catch_unwind(|| play_random::<AnyLog>(plan));
        leased += played.unwrap_or_else(|_| panic!("seed {seed}")).leased;
    }
    assert!(leased > 10_000, "leases are held: {leased}");
}
