//! The raft core, as it is simulated: small bounds, so that every one of them is met.

use quorate_protocol::{Configuration, NodeId};
use quorate_raft::testing::laws;
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_simulation::core_machine::{CoreLaws, CoreMachine, CoreSetup};
use quorate_simulation::registers::RegisterClients;
use quorate_simulation::schedule::{Generator, Schedule};
use quorate_simulation::world::{Outcome, Recording, run};

/// Every fault that a bare core can meet.
pub(crate) fn generator() -> Generator {
    Generator::of::<CoreMachine<Raft>>()
}

/// Runs one schedule on bare raft cores.
pub(crate) fn run_schedule(schedule: &Schedule, recording: Recording) -> Outcome {
    let setup = CoreSetup::<Raft> {
        nodes: schedule.nodes,
        seed: schedule.seed,
        snapshot_every: schedule.snapshot_every,
        tail_bytes_max: 2_000,
        config,
    };
    let mut clients = RegisterClients::new(schedule.seed);
    run::<CoreMachine<Raft>>(&setup, schedule, &mut CoreLaws::new(laws()), &mut clients, recording)
}

fn config(node: NodeId, nodes: u64, seed: u64) -> Config {
    let settings = Settings {
        entry_bytes_max: 1_000,
        batch_bytes_max: 2_000,
        window_bytes_max: 8_000,
        uncommitted_bytes_max: 20_000,
        received_bytes_max: 8_000,
        cache_bytes_max: 4_000,
        reads_max: 100,
        held_messages_max: 100,
        ..Settings::default()
    };
    let start = Start::Initial(Configuration::of_voters((1..=nodes).map(NodeId)));
    Config::new(node, seed, start, settings).expect("the settings above fit each other")
}
