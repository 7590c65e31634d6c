//! The shipped node with two-phase commit under every fault.

use quorate_simulation::campaign::Campaign;
use quorate_simulation::schedule::{Aim, FaultKind, Generator, Schedule};
use quorate_simulation::world::{Recording, RunOutcome};
use quorate_verification::TWO_PHASE_COMMIT;

fn generator() -> Generator {
    (TWO_PHASE_COMMIT.generator)()
}

fn run_nothing_recorded(schedule: &Schedule) -> RunOutcome {
    (TWO_PHASE_COMMIT.run)(schedule, Recording::Nothing)
}

/// More seeds: `QUORATE_SIMULATION_SEEDS=1000 cargo test -p quorate-verification --release transactions_keep`.
#[test]
fn transactions_keep_their_laws_under_every_fault() {
    let seeds = std::env::var("QUORATE_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    let generator = if seeds > 100 { generator() } else { Generator { faults_us: 5_000_000, ..generator() } };
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: seeds < 100, failures_max: 5 };
    let summary = campaign.run(run_nothing_recorded, || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    let missed: Vec<_> =
        TWO_PHASE_COMMIT.expected[0].iter().filter(|what| !summary.sometimes.contains_key(**what)).collect();
    assert!(seeds < 100 || missed.is_empty(), "never: {missed:?}");
    assert!(summary.acknowledged_median > 100, "{} calls were acknowledged", summary.acknowledged_median);
}

/// What a node that is dead leaves behind, as a participant and as a coordinator, is in nobody's way.
#[test]
fn transactions_go_on_beside_a_node_that_is_dead() {
    let generator = Generator { aim: Aim::BesideTheDead, ..generator() };
    let campaign = Campaign { generator, seeds: 0..6, threads: 2, is_run_twice: false, failures_max: 5 };
    let summary = campaign.run(run_nothing_recorded, || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    assert!(summary.sometimes.contains_key("a commit was not acknowledged for long"), "{:?}", summary.sometimes);
}

/// The participant that was left the decision aborted, crashed before that was durable, and committed when it was asked
/// again. The law of one outcome took the first for an outcome.
#[test]
fn an_abort_of_its_own_that_was_lost_is_none() {
    let schedule = include_str!("found/an-abort-that-was-lost.json");
    let schedule: Schedule = serde_json::from_str(schedule).expect("a schedule");
    assert_eq!(run_nothing_recorded(&schedule).failure, None);
}

/// A misdirected write damaged one batch of the log and left out the next; the first was repaired, and the log read on
/// behind the second as if nothing were missing. Seed 131.
#[test]
fn a_batch_is_not_repaired_past_one_that_is_missing() {
    let schedule = include_str!("found/repaired-past-a-lost-batch.json");
    let schedule: Schedule = serde_json::from_str(schedule).expect("a schedule");
    let outcome = run_nothing_recorded(&schedule);
    assert_eq!(outcome.failure, None);
    assert!(outcome.faults.contains_key(&FaultKind::MisdirectedWrite), "{:?}", outcome.faults);
}
