//! Raft, on the shipped node and as the bare core, with small bounds so that each of them is reached.

use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::{Configuration, NodeId, Random};
use quorate_raft::testing::{durable_vote, laws, small_settings};
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_simulation::campaign::Requirements;
use quorate_simulation::core_machine::{CoreLaws, CoreMachine, CoreSetup};
use quorate_simulation::node_machine::{
    EXPECTED_OF_NODES, GROUP_ADDED, GROUP_REMOVED, MakeConfig, NodeMachine, NodeSetup, RegisterService, ReplicaLaws,
    Replicated,
};
use quorate_simulation::registers::{RegisterClients, RegisterState};
use quorate_simulation::schedule::{FaultKind, Generator, Schedule};
use quorate_simulation::world::{Machine, Recording, RunOutcome, reached, run};

use crate::protocols::Protocol;

/// A replicated state machine on the shipped node, its log and its snapshots.
pub const RAFT: Protocol = Protocol {
    name: "raft",
    about: "replicas on the shipped node, with its log and its snapshots",
    generator: Generator::of::<Shipped>,
    run: run_shipped,
    expected: &[Shipped::EXPECTED, EXPECTED_OF_NODES],
    requirements: || {
        let mut requirements = requirements();
        requirements.reached.push((reached::TAIL_TORN, 300));
        requirements
    },
};

/// The same, while groups are added to the nodes and removed from them.
pub const RAFT_GROUPS: Protocol = Protocol {
    name: "raft-groups",
    about: "as raft, while other groups come and go on the nodes",
    generator: || {
        let mut generator = Generator::of::<Shipped>();
        generator.kinds.extend([FaultKind::AddGroup, FaultKind::RemoveGroup]);
        generator
    },
    run: run_shipped,
    expected: &[Shipped::EXPECTED, EXPECTED_OF_NODES, &[GROUP_ADDED, GROUP_REMOVED]],
    requirements: || {
        let mut requirements = (RAFT.requirements)();
        requirements.reached.extend([(GROUP_ADDED, 500), (GROUP_REMOVED, 100)]);
        requirements
    },
};

/// The core alone: a broken law there is a bug of the core.
pub const RAFT_CORE: Protocol = Protocol {
    name: "raft-core",
    about: "the bare raft core on a simple log",
    generator: Generator::of::<Bare>,
    run: run_bare,
    expected: &[Bare::EXPECTED],
    requirements,
};

/// The requirements for a thousand seeds of either. The simple log under the bare core has no tail that could be torn.
fn requirements() -> Requirements {
    Requirements {
        acknowledged_median: 2_000,
        each_fault: 100,
        reached: vec![
            (reached::LEADER_ELECTED, 3_000),
            (reached::SNAPSHOT_INSTALLED, 500),
            (reached::LOG_POISONED, 100),
        ],
    }
}

type Bare = CoreMachine<Raft>;
type Shipped = NodeMachine<Replicated<RegisterService<Raft>>>;

fn run_bare(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let setup = CoreSetup::<Raft> {
        nodes: schedule.nodes,
        seed: schedule.seed,
        snapshot_every: schedule.snapshot_every,
        tail_bytes_max: 2_000,
        config: bare_config,
    };
    let mut clients = RegisterClients::new(schedule.seed);
    let mut laws = CoreLaws::new(laws()).votes(durable_vote);
    run::<Bare>(&setup, schedule, &mut laws, &mut clients, recording)
}

fn bare_config(node: NodeId, nodes: u64, seed: u64) -> Config {
    let start = Start::Initial(Configuration::of_voters((1..=nodes).map(NodeId)));
    Config::new(node, seed, start, small_settings(seed)).expect("settings that fit each other")
}

fn run_shipped(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let setup = NodeSetup::replicated(schedule, shipped_config(schedule.seed), RegisterState::default);
    let mut clients = RegisterClients::new(schedule.seed);
    let mut laws = ReplicaLaws::<RegisterService<Raft>>::new(laws());
    run::<Shipped>(&setup, schedule, &mut laws, &mut clients, recording)
}

/// In every second run idle groups stop sending.
fn shipped_config(seed: u64) -> MakeConfig<Raft> {
    let is_quiet = Random::new(seed).between(0, 2) == 0;
    let quiet_after = is_quiet.then_some(Duration::from_millis(300));
    Arc::new(move |start| {
        let settings = Settings { quiet_after, ..small_settings(seed) };
        let members = Start::Initial(start.members.clone());
        Config::new(start.identity.node, start.seed, members, settings).expect("settings that fit each other")
    })
}
