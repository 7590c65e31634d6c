//! Clusters under random faults: every law after every step, then life after healing.

use quorate_protocol::replication::testing::{Plan, play_random};
use quorate_raft::{Lease, UpToDateLog};

use crate::support::from_environment;

/// More seeds: `QUORATE_RAFT_SEEDS=10000 cargo test -p quorate-raft --release random`.
fn play_each_seed(joining: u64) {
    let first = from_environment("QUORATE_RAFT_FIRST_SEED", 0);
    for seed in first..first + from_environment("QUORATE_RAFT_SEEDS", 300) {
        let played = std::panic::catch_unwind(|| play_random::<UpToDateLog>(Plan { seed, joining, lease: None }));
        assert!(played.is_ok(), "seed {seed}");
    }
}

#[test]
fn laws_hold_under_random_faults_and_life_returns() {
    play_each_seed(0);
}

#[test]
fn laws_hold_under_random_faults_while_members_change() {
    play_each_seed(2);
}

/// More seeds: `QUORATE_RAFT_LEASE_SEEDS=10000`.
#[test]
fn reads_by_leases_are_linearizable_under_random_faults_and_drift() {
    let mut leased = 0;
    for seed in 0..from_environment("QUORATE_RAFT_LEASE_SEEDS", 20) {
        let plan = Plan { seed, joining: seed % 3, lease: Some(Lease { drift_per_mille: 100 }) };
        let played = std::panic::catch_unwind(|| play_random::<UpToDateLog>(plan));
        leased += played.unwrap_or_else(|_| panic!("seed {seed}")).leased;
    }
    assert!(leased > 10_000, "leases are held: {leased}");
}
