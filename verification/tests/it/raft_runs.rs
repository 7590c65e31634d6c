//! The shipped raft core under every fault.

use quorate_protocol::testing::Stream;
use quorate_protocol::{Configuration, Instant, LogIndex, NodeId, Now, Random, Violation};
use quorate_raft::testing::{laws, small_settings};
use quorate_raft::{Config, Raft, Start};
use quorate_simulation::campaign::Campaign;
use quorate_simulation::core_machine::{CoreDisk, CoreLaws, CoreMachine, CoreSetup};
use quorate_simulation::diagram::svg;
use quorate_simulation::registers::{RegisterClients, RegisterRequest, Response};
use quorate_simulation::schedule::{Aim, Fault, FaultKind, Generator, LossBudget, Partition, Schedule, What, Who};
use quorate_simulation::shrink::shrink;
use quorate_simulation::world::{
    ClusterLaws, Damage, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation, Recording, RunOutcome, run,
};

fn config(node: NodeId, nodes: u64, seed: u64) -> Config {
    let start = Start::Initial(Configuration::of_voters((1..=nodes).map(NodeId)));
    Config::new(node, seed, start, small_settings(seed)).expect("valid settings")
}

fn run_on<M>(schedule: &Schedule, recording: Recording) -> RunOutcome
where
    M: Machine<Setup = CoreSetup<Raft>, Call = RegisterRequest, Answer = Response>,
    CoreLaws<Raft>: ClusterLaws<M>,
{
    let setup = CoreSetup::<Raft> {
        nodes: schedule.nodes,
        seed: schedule.seed,
        snapshot_every: schedule.snapshot_every,
        tail_bytes_max: 2_000,
        config,
    };
    let mut clients = RegisterClients::new(schedule.seed);
    run::<M>(&setup, schedule, &mut CoreLaws::new(laws()), &mut clients, recording)
}

fn run_raft(schedule: &Schedule) -> RunOutcome {
    run_on::<CoreMachine<Raft>>(schedule, Recording::Nothing)
}

fn short() -> Generator {
    Generator { faults_us: 6_000_000, ..Generator::of::<CoreMachine<Raft>>() }
}

/// More seeds: `QUORATE_SIMULATION_SEEDS=1000 cargo test -p quorate-verification --release raft`.
#[test]
fn raft_keeps_its_laws_under_every_fault() {
    let seeds = std::env::var("QUORATE_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    let generator = if seeds > 100 { Generator::of::<CoreMachine<Raft>>() } else { short() };
    let campaign = Campaign { generator, seeds: 0..seeds, threads: 2, is_run_twice: false, failures_max: 5 };
    let summary = campaign.run(run_raft, || {});
    println!("{summary}");
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    for kind in Generator::of::<CoreMachine<Raft>>().switched_on() {
        // So few seeds need not have drawn every kind.
        assert!(seeds < 100 || summary.faults.contains_key(&kind), "{kind} never took place");
    }
    for what in [
        "a leader was elected",
        "a message met a cut link",
        "a snapshot was installed",
        "a node halted for its disk",
        "committed entries were loaded from the log",
    ] {
        assert!(summary.sometimes.contains_key(what), "{what}: never");
    }
    assert!(summary.acknowledged_median > 500, "{} calls were acknowledged", summary.acknowledged_median);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let campaign = Campaign { generator: short(), seeds: 100..106, threads: 2, is_run_twice: true, failures_max: 5 };
    let summary = campaign.run(run_raft, || {});
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    assert_eq!(campaign.run(run_raft, || {}).hash, summary.hash);
    let others = Campaign { seeds: 101..107, ..campaign };
    assert_ne!(others.run(run_raft, || {}).hash, summary.hash);
}

/// Within the budget no old copy of a disk comes back; where one does, what was promised is forgotten.
#[test]
fn old_copies_of_disks_break_laws() {
    let kinds = vec![FaultKind::OldCopy, FaultKind::Isolate, FaultKind::LostWrites];
    let generator = Generator { kinds, budget: LossBudget::Exceeded, ..short() };
    let broken = (0..60).find_map(|seed| run_raft(&generator.schedule(seed)).failure);
    let failure = broken.expect("within 60 seeds");
    println!("{}: {}", failure.law, failure.detail);
}

#[test]
fn raft_serves_while_a_partial_partition_lasts() {
    let generator = Generator { faults_us: 15_000_000, aim: Aim::Progress, ..short() };
    let campaign = Campaign { generator, seeds: 0..16, threads: 2, is_run_twice: false, failures_max: 5 };
    let summary = campaign.run(run_raft, || {});
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
    assert!(summary.faults.len() >= 5, "{:?}", summary.faults);
}

#[test]
fn a_cluster_that_does_not_serve_under_a_demand_is_found() {
    let isolate = |node| What::Partition { partition: Partition::Isolate { node: Who::Node(node) } };
    let fault = |node| Fault { at_us: 1_000_000, for_us: 20_000_000, demands_progress: node == 1, what: isolate(node) };
    let mut schedule = Generator { kinds: Vec::new(), ..short() }.schedule(0);
    schedule.faults = (1..=schedule.nodes).map(fault).collect();
    let failure = run_raft(&schedule).failure.expect("nobody can serve");
    assert_eq!(failure.law, "progress while a fault lasts");
    // Ten seconds after it began; some seconds later when a write that was under way then counts as served.
    assert!((11_000_000..=14_000_000).contains(&failure.at_us), "{failure:?}");
}

/// The shipped core on a disk that says a write is durable and loses it in a crash.
struct OnLyingDisk(CoreMachine<Raft>);

struct LyingDisk {
    disk: CoreDisk,
    /// As it was a few writes ago.
    older: Vec<Stream>,
}

impl Machine for OnLyingDisk {
    type Setup = CoreSetup<Raft>;
    type Message = <CoreMachine<Raft> as Machine>::Message;
    type Call = RegisterRequest;
    type Answer = Response;
    type Disk = LyingDisk;

    const EXPECTED: &'static [&'static str] = &[];

    fn fresh_disk(setup: &Self::Setup, node: NodeId, incarnation: u64) -> LyingDisk {
        LyingDisk { disk: CoreMachine::<Raft>::fresh_disk(setup, node, incarnation), older: Vec::new() }
    }

    fn copy_disk(disk: &LyingDisk) -> LyingDisk {
        LyingDisk { disk: CoreMachine::<Raft>::copy_disk(&disk.disk), older: disk.older.clone() }
    }

    fn start(setup: &Self::Setup, node: NodeId, now: Now, disk: &mut LyingDisk) -> Result<Self, String> {
        CoreMachine::start(setup, node, now, &mut disk.disk).map(Self)
    }

    fn handle(&mut self, now: Now, disk: &mut LyingDisk, input: MachineInput<Self::Message, RegisterRequest>) {
        if matches!(input, MachineInput::Done { .. }) {
            disk.older.push(disk.disk.stream.clone());
            if disk.older.len() > 3 {
                disk.older.remove(0);
            }
        }
        self.0.handle(now, &mut disk.disk, input);
    }

    fn poll(&mut self, now: Now, disk: &mut LyingDisk) -> Option<MachineOutput<Self::Message, Response>> {
        self.0.poll(now, &mut disk.disk)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn crash(self, disk: &mut LyingDisk, loss: Loss, random: &mut Random) {
        self.0.crash(&mut disk.disk, loss, random);
        let stream = &mut disk.disk.stream;
        let snapshot = stream.snapshot.as_ref().map_or(LogIndex::ZERO, |meta| meta.index);
        let does_fit = |older: &&Stream| older.base.index <= snapshot && older.last() >= snapshot;
        if let Some(older) = disk.older.first().filter(does_fit) {
            let newest = stream.snapshot.take();
            *stream = older.clone();
            stream.snapshot = newest;
        }
        disk.older.clear();
    }

    fn bears(kind: FaultKind) -> bool {
        CoreMachine::<Raft>::bears(kind)
    }

    fn damage(disk: &mut LyingDisk, running: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool {
        CoreMachine::damage(&mut disk.disk, running.map(|machine| &mut machine.0), damage, random)
    }

    fn mend(disk: &mut LyingDisk, running: Option<&mut Self>, damage: Damage) {
        CoreMachine::mend(&mut disk.disk, running.map(|machine| &mut machine.0), damage);
    }

    fn message_bytes(message: &Self::Message) -> u64 {
        CoreMachine::<Raft>::message_bytes(message)
    }

    fn observe(&self) -> Observation {
        self.0.observe()
    }
}

impl ClusterLaws<OnLyingDisk> for CoreLaws<Raft> {
    fn check(&mut self, nodes: &[NodeView<'_, OnLyingDisk>]) -> Result<(), Violation> {
        ClusterLaws::<CoreMachine<Raft>>::check(self, &inner(nodes))
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, OnLyingDisk>]) -> Result<(), Violation> {
        ClusterLaws::<CoreMachine<Raft>>::at_end(self, &inner(nodes))
    }
}

fn inner<'a>(nodes: &[NodeView<'a, OnLyingDisk>]) -> Vec<NodeView<'a, CoreMachine<Raft>>> {
    nodes.iter().map(|view| view.project(|machine| &machine.0, |disk| &disk.disk)).collect()
}

#[test]
fn a_disk_that_lies_is_found_and_the_schedule_shrunk() {
    let fails = |schedule: &Schedule| run_on::<OnLyingDisk>(schedule, Recording::Nothing).failure.is_some();
    let generator = Generator { kinds: vec![FaultKind::TornWrites, FaultKind::Isolate, FaultKind::Delay], ..short() };
    let schedule = (0..200).map(|seed| generator.schedule(seed)).find(&fails).expect("found within 200 seeds");
    let before = schedule.faults.len();
    let smallest = shrink(schedule, 60, fails);
    assert!(smallest.faults.len() <= before.min(4), "{before} faults shrunk to {:?}", smallest.faults);
    let outcome = run_on::<OnLyingDisk>(&smallest, Recording::Everything);
    let failure = outcome.failure.expect("it still fails");
    let picture = svg(smallest.nodes, &outcome.moments, 120);
    if let Ok(folder) = std::env::var("QUORATE_SIMULATION_PICTURES") {
        std::fs::write(format!("{folder}/lying-disk.svg"), &picture).expect("the folder can be written");
    }
    assert!(picture.contains(&format!(">{}", failure.law)), "the violation is marked");
    assert!(picture.contains(">stops<"), "the crash is marked");
}
