//! The shipped node with many single-decree groups under every fault.

use quorate_simulation::campaign::Campaign;
use quorate_simulation::schedule::{FaultKind, Generator, Schedule};
use quorate_simulation::world::{Recording, RunOutcome};
use quorate_verification::SYNOD;

fn generator() -> Generator {
    (SYNOD.generator)()
}

fn run_nothing_recorded(schedule: &Schedule) -> RunOutcome {
    (SYNOD.run)(schedule, Recording::Nothing)
}

/// More seeds: `QUORATE_SIMULATION_SEEDS=1000 cargo test -p quorate-verification --release decisions`.
#[test]
fn decisions_keep_their_laws_under_every_fault() {
    let seeds = std::env::var("QUORATE_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    let generator = if seeds > 100 { generator() } else { Generator { faults_us: 6_000_000, ..generator() } };
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: seeds < 100, failures_max: 5 };
    let summary = campaign.run(run_nothing_recorded, || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    for what in SYNOD.expected[0] {
        assert!(summary.sometimes.contains_key(what), "{what}: never");
    }
    assert!(summary.acknowledged_median > 500, "{} calls were acknowledged", summary.acknowledged_median);
}

/// Seed 7 asks promises of all nodes where it can. An acceptor whose disk is gone, or whose log refuses to open,
/// promises nothing ever again: nobody was served after healing, until quorums that need it were kept for runs in which
/// no disk loses anything.
#[test]
fn a_node_that_is_lost_is_not_needed() {
    let lost = [
        (FaultKind::Wipe, r#"{"at_us": 1000000, "for_us": 100000, "fault": "wipe", "node": 2}"#),
        (
            FaultKind::MisdirectedWrite,
            r#"{"at_us": 300000, "for_us": 100000, "fault": "damage", "node": 2, "damage": "misdirected_write"},
           {"at_us": 310000, "for_us": 100000, "fault": "crash", "node": 2, "point": "now", "loss": "nothing"}"#,
        ),
    ];
    for (kind, faults) in lost {
        let schedule = format!(
            r#"{{"seed": 7, "nodes": 3, "clients": 5, "at_leader_percent": 50, "snapshot_every": 60,
                "budget": "tolerated", "faults_us": 3000000, "faults": [{faults}]}}"#
        );
        let schedule: Schedule = serde_json::from_str(&schedule).expect("a schedule");
        let outcome = run_nothing_recorded(&schedule);
        assert_eq!((outcome.failure, outcome.faults.get(&kind)), (None, Some(&1)), "{faults}");
        // What was chosen before can be read all the same: what counts is that decisions go on.
        assert!(outcome.acknowledged > 500, "{} calls were acknowledged with {faults}", outcome.acknowledged);
    }
}
