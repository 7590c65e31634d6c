//! Raft and Multi-Paxos, on the shipped node and as bare cores, with small bounds so that each of them is reached.

use std::sync::Arc;
use std::time::Duration;

use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::testing::{configurations, durable_vote, laws, small_settings};
use quorate_protocol::replication::{Config, Election, LogCore, Settings, Start};
use quorate_protocol::{Configuration, NodeId, Random};
use quorate_raft::UpToDateLog;
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

/// Raft: a replicated state machine on the shipped node, its log and its snapshots.
pub const RAFT: Protocol = shipped::<UpToDateLog>("raft");

/// The same on Multi-Paxos.
pub const PAXOS: Protocol = shipped::<AnyLog>("paxos");

/// Raft while groups are added to the nodes and removed from them.
pub const RAFT_GROUPS: Protocol = with_groups::<UpToDateLog>("raft-groups");

/// Raft while nodes join the group and leave it, and an operator replaces those whose disks are wiped.
pub const RAFT_MEMBERS: Protocol = with_members::<UpToDateLog>("raft-members");

/// The same on Multi-Paxos.
pub const PAXOS_MEMBERS: Protocol = with_members::<AnyLog>("paxos-members");

/// The core of Raft alone: a broken law there is a bug of the core.
pub const RAFT_CORE: Protocol = bare::<UpToDateLog>("raft-core");

/// The core of Multi-Paxos alone.
pub const PAXOS_CORE: Protocol = bare::<AnyLog>("paxos-core");

const fn shipped<E: Election>(name: &'static str) -> Protocol {
    Protocol {
        name,
        about: "replicas on the shipped node, with its log and its snapshots",
        generator: Generator::of::<Shipped<E>>,
        run: run_shipped::<E>,
        expected: &[Shipped::<E>::EXPECTED, EXPECTED_OF_NODES],
        requirements: requirements_of_disks,
    }
}

const fn with_groups<E: Election>(name: &'static str) -> Protocol {
    Protocol {
        name,
        about: "the same, while other groups come and go on the nodes",
        generator: || {
            let mut generator = Generator::of::<Shipped<E>>();
            generator.kinds.extend([FaultKind::AddGroup, FaultKind::RemoveGroup]);
            generator
        },
        run: run_shipped::<E>,
        expected: &[Shipped::<E>::EXPECTED, EXPECTED_OF_NODES, &[GROUP_ADDED, GROUP_REMOVED]],
        requirements: || {
            let mut requirements = requirements_of_disks();
            requirements.reached.extend([(GROUP_ADDED, 500), (GROUP_REMOVED, 100)]);
            requirements
        },
    }
}

const fn with_members<E: Election>(name: &'static str) -> Protocol {
    Protocol {
        name,
        about: "the same, while the members of the group change",
        generator: || {
            let mut generator = Generator::of::<Shipped<E>>();
            // The operator replaces a node whose disk is empty. Other losses are those of `raft`.
            let is_other_loss = |kind: &FaultKind| {
                matches!(
                    kind,
                    FaultKind::BitRot | FaultKind::MisdirectedWrite | FaultKind::LostFolder | FaultKind::OldCopy
                )
            };
            generator.kinds.retain(|kind| !is_other_loss(kind));
            generator.kinds.push(FaultKind::ChangeMembers);
            generator
        },
        run: run_members::<E>,
        expected: &[Shipped::<E>::EXPECTED, EXPECTED_OF_MEMBERS],
        requirements: requirements_of_members,
    }
}

const fn bare<E: Election>(name: &'static str) -> Protocol {
    Protocol {
        name,
        about: "the bare core on a simple log",
        generator: Generator::of::<Bare<E>>,
        run: run_bare::<E>,
        expected: &[Bare::<E>::EXPECTED],
        requirements,
    }
}

fn requirements_of_disks() -> Requirements {
    let mut requirements = requirements();
    requirements.reached.push((reached::TAIL_TORN, 300));
    requirements
}

fn requirements_of_members() -> Requirements {
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
}

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

type Bare<E> = CoreMachine<LogCore<E>>;
type Shipped<E> = NodeMachine<Replicated<RegisterService<LogCore<E>>>>;

fn run_bare<E: Election>(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let setup = CoreSetup::<LogCore<E>> {
        nodes: schedule.nodes,
        seed: schedule.seed,
        snapshot_every: schedule.snapshot_every,
        tail_bytes_max: 2_000,
        config: bare_config,
    };
    let mut clients = RegisterClients::new(schedule.seed);
    let mut laws = CoreLaws::new(laws()).votes(durable_vote::<E>);
    run::<Bare<E>>(&setup, schedule, &mut laws, &mut clients, recording)
}

fn bare_config(node: NodeId, nodes: u64, seed: u64) -> Config {
    let start = Start::Initial(Configuration::of_voters((1..=nodes).map(NodeId)));
    Config::new(node, seed, start, small_settings(seed)).expect("settings that fit each other")
}

fn run_shipped<E: Election>(schedule: &Schedule, recording: Recording) -> RunOutcome {
    run_with::<E>(ReplicaLaws::new(laws()), schedule, recording)
}

fn run_members<E: Election>(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let members = MemberLaws::new(configurations, PROMOTION_LAG_MAX);
    run_with::<E>(ReplicaLaws::new(laws()).members(members), schedule, recording)
}

fn run_with<E: Election>(
    mut laws: ReplicaLaws<RegisterService<LogCore<E>>>,
    schedule: &Schedule,
    recording: Recording,
) -> RunOutcome {
    let setup = NodeSetup::replicated(schedule, shipped_config::<E>(schedule.seed), RegisterState::default);
    let mut clients = RegisterClients::new(schedule.seed);
    run::<Shipped<E>>(&setup, schedule, &mut laws, &mut clients, recording)
}

/// In every second run idle groups stop sending.
fn shipped_config<E: Election>(seed: u64) -> MakeConfig<LogCore<E>> {
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
