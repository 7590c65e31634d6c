//! The shipped node with many single-decree groups under every fault.

use quorate_simulation::campaign::Campaign;
use quorate_simulation::schedule::{Generator, Schedule};
use quorate_simulation::world::{Machine as _, Outcome, Recording};

use crate::decisions::{Machine, generator, run_schedule};

fn run_nothing_recorded(schedule: &Schedule) -> Outcome {
    run_schedule(schedule, Recording::Nothing)
}

/// More seeds: `QUORATE_SIMULATION_SEEDS=1000 cargo test -p quorate-simulation --release decisions`.
#[test]
fn decisions_keep_their_laws_under_every_fault() {
    let seeds = std::env::var("QUORATE_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    let generator = if seeds > 100 { generator() } else { Generator { faults_us: 6_000_000, ..generator() } };
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: seeds < 100, failures_max: 5 };
    let summary = campaign.run(run_nothing_recorded, || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    for what in Machine::EXPECTED {
        assert!(summary.sometimes.contains_key(what), "{what}: never");
    }
    assert!(summary.acknowledged_median > 500, "{} calls were acknowledged", summary.acknowledged_median);
}
