//! The shipped node, whole, with replicas whose members change under faults.

use quorate_simulation::campaign::Campaign;
use quorate_simulation::node_machine::reached_of_members;
use quorate_simulation::schedule::Generator;
use quorate_simulation::world::Recording;
use quorate_verification::RAFT_MEMBERS;

/// More seeds: `QUORATE_SIMULATION_SEEDS=1000 cargo test -p quorate-verification --release members_change`.
#[test]
fn members_change_under_faults() {
    let seeds = std::env::var("QUORATE_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    let generator = (RAFT_MEMBERS.generator)();
    let generator = if seeds > 100 { generator } else { Generator { faults_us: 6_000_000, ..generator } };
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: seeds < 100, failures_max: 5 };
    let summary = campaign.run(|schedule| (RAFT_MEMBERS.run)(schedule, Recording::Nothing), || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    for what in [reached_of_members::APPLIED, reached_of_members::PROMOTED] {
        assert!(summary.sometimes.contains_key(what), "{what}: {:?}", summary.sometimes);
    }
}
