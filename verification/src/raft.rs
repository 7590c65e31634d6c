//! Raft, on the shipped node and as the bare core, with small bounds so that each of them is reached.

use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::{Configuration, NodeId, Random};
use quorate_raft::testing::{configurations, durable_vote, laws, small_settings};
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_simulation::campaign::Requirements;
use quorate_simulation::core_machine::{CoreLaws, CoreMachine, CoreSetup};
use quorate_simulation::node_machine::{
    EXPECTED_OF_MEMBERS, EXPECTED_OF_NODES, GROUP_ADDED, GROUP_REMOVED, MakeConfig, MemberLaws, NodeMachine, NodeSetup,
    RegisterService, ReplicaLaws, Replicated, reached_of_members,
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

/// The same, while nodes join the group and leave it, and an operator replaces those whose disks are wiped.
pub const RAFT_MEMBERS: Protocol = Protocol {
    name: "raft-members",
    about: "as raft, while the members of the group change",
    generator: || {
        let mut generator = Generator::of::<Shipped>();
        // The operator replaces a node whose disk is empty. Other losses are those of `raft`.
        let is_other_loss = |kind: &FaultKind| {
            matches!(kind, FaultKind::BitRot | FaultKind::MisdirectedWrite | FaultKind::LostFolder | FaultKind::OldCopy)
        };
        generator.kinds.retain(|kind| !is_other_loss(kind));
        generator.kinds.push(FaultKind::ChangeMembers);
        generator
    },
    run: run_members,
    expected: &[Shipped::EXPECTED, EXPECTED_OF_MEMBERS],
    requirements: || {
        let mut requirements = Requirements { acknowledged_median: 1_000, ..requirements() };
        requirements.reached.extend([
            (reached_of_members::APPLIED, 800),
            (reached_of_members::NOT_APPLIED, 800),
            (reached_of_members::UNKNOWN, 30),
            (reached_of_members::LEFT_BY_ANOTHER, 10),
            (reached_of_members::LEADER_REMOVED, 100),
            (reached_of_members::PROMOTED, 400),
            (reached_of_members::PROMOTED_BY_ANOTHER, 100),
            (reached_of_members::WIPED_REMOVED, 20),
            (reached_of_members::WIPED_VOTES, 60),
            (reached_of_members::LEARNER_INSTALLED, 300),
            (reached_of_members::REMOVED_TOLD, 300),
        ]);
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
    run_with(ReplicaLaws::new(laws()), schedule, recording)
}

fn run_members(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let members = MemberLaws::new(configurations, PROMOTION_LAG_MAX);
    run_with(ReplicaLaws::new(laws()).members(members), schedule, recording)
}

fn run_with(mut laws: ReplicaLaws<RegisterService<Raft>>, schedule: &Schedule, recording: Recording) -> RunOutcome {
    let setup = NodeSetup::replicated(schedule, shipped_config(schedule.seed), RegisterState::default);
    let mut clients = RegisterClients::new(schedule.seed);
    run::<Shipped>(&setup, schedule, &mut laws, &mut clients, recording)
}

/// In every second run idle groups stop sending.
fn shipped_config(seed: u64) -> MakeConfig<Raft> {
    let is_quiet = Random::new(seed).between(0, 2) == 0;
    let quiet_after = is_quiet.then_some(Duration::from_millis(300));
    Arc::new(move |start| {
        let settings = Settings { quiet_after, promotion_lag_max: PROMOTION_LAG_MAX, ..small_settings(seed) };
        let node = start.identity.node;
        let is_founder = start.members.contains(node);
        let members = if is_founder { Start::Initial(start.members.clone()) } else { Start::Join };
        Config::new(node, start.seed, members, settings).expect("settings that fit each other")
    })
}

/// Number of entries that a learner may be behind when it becomes a voter.
const PROMOTION_LAG_MAX: u64 = 20;
