//! Scenarios that broke other implementations of raft, each as a schedule of its own in the simulated world: all laws
//! are checked after every step, what clients saw is judged at the end, and everything must be well again within ten of
//! the longest election time-outs after healing. Each row also shows that its situation was reached; otherwise it would
//! prove nothing.

mod amnesia;
mod corruption;
mod directed;
mod disks;
mod elections;
mod foundings;
mod groups;
mod members;
mod partitions;
mod reads;
mod replication;
mod seen;
mod snapshots;
mod timed;

use std::sync::{Arc, PoisonError};

use quorate_protocol::{Configuration, NodeId};
use quorate_raft::testing::{configurations, small_settings};
use quorate_raft::{Config, Settings, Start};
use quorate_simulation::core_machine::{CoreLaws, CoreSetup};
use quorate_simulation::history::{EventKind, HistoryEvent};
use quorate_simulation::node_machine::{MakeConfig, MemberLaws, NodeSetup, ReplicaLaws};
use quorate_simulation::registers::{RegisterClients, RegisterRequest, RegisterState, Response};
use quorate_simulation::schedule::{CrashPoint, Fault, LossBudget, MemberStep, Partition, Schedule, What, Who};
use quorate_simulation::world::{ClusterLaws, Loss, Recording, RunOutcome, run};
use quorate_simulation::{Moment, MomentKind};

use directed::{Bare, Directed, DirectedLaws, Director, Shared, Staged, Whole};
use seen::OfRaft;

/// A schedule that is written by hand, in milliseconds.
#[derive(Clone)]
pub(crate) struct Script {
    schedule: Schedule,
    /// Bytes of a segment of a whole node's log, if not small ones.
    segment_bytes: Option<u64>,
}

impl Script {
    pub(crate) fn new(nodes: u64, seed: u64) -> Self {
        let schedule = Schedule {
            seed,
            nodes,
            joining: 0,
            clients: 4,
            at_leader_percent: 0,
            snapshot_every: 400,
            budget: LossBudget::Tolerated,
            faults_us: 0,
            faults: Vec::new(),
        };
        Self { schedule, segment_bytes: None }
    }

    /// So many nodes, the last ones, found nothing: they may be added later.
    pub(crate) fn joining(mut self, joining: u64) -> Self {
        self.schedule.joining = joining;
        self
    }

    /// An operator asks the leader to change the members, until that was begun or the time is over.
    pub(crate) fn change(self, from_ms: u64, to_ms: u64, steps: &[MemberStep]) -> Self {
        self.fault(from_ms, to_ms, What::ChangeMembers { steps: steps.to_vec() })
    }

    pub(crate) fn clients(mut self, clients: u64) -> Self {
        self.schedule.clients = clients;
        self
    }

    /// Of a hundred calls, so many go to the leader.
    pub(crate) fn at_leader(mut self, percent: u64) -> Self {
        self.schedule.at_leader_percent = percent;
        self
    }

    pub(crate) fn snapshot_every(mut self, entries: u64) -> Self {
        self.schedule.snapshot_every = entries;
        self
    }

    /// Segments of the logs of whole nodes have this size: none of 8 MB is ever let go, and of small ones a new one is
    /// soon needed.
    pub(crate) fn segments(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    pub(crate) fn lasting(mut self, to_ms: u64) -> Self {
        self.schedule.faults_us = to_ms * 1_000;
        self
    }

    /// Something goes wrong from one moment to another.
    pub(crate) fn fault(self, from_ms: u64, to_ms: u64, what: What) -> Self {
        self.fault_us(from_ms * 1_000, (to_ms - from_ms) * 1_000, what)
    }

    /// The same in microseconds, and how long it lasts.
    pub(crate) fn fault_us(mut self, at_us: u64, for_us: u64, what: What) -> Self {
        self.schedule.faults.push(Fault { at_us, for_us, demands_progress: false, what });
        self
    }

    pub(crate) fn crash(self, from_ms: u64, to_ms: u64, node: u64) -> Self {
        self.fault(from_ms, to_ms, What::Crash { node: Who::Node(node), point: CrashPoint::Now, loss: Loss::Unsynced })
    }

    /// The cluster must serve under the fault that was added last, while it lasts.
    pub(crate) fn demanding_progress(mut self) -> Self {
        self.schedule.faults.last_mut().expect("a fault was added").demands_progress = true;
        self
    }

    /// Only these pairs hear each other.
    pub(crate) fn links(self, from_ms: u64, to_ms: u64, pairs: &[(u64, u64)]) -> Self {
        let nodes = self.schedule.nodes;
        let all = (1..=nodes).flat_map(|from| (1..=nodes).map(move |to| (from, to)));
        let is_whole = |(from, to): &(u64, u64)| pairs.contains(&(*from, *to)) || pairs.contains(&(*to, *from));
        let links: Vec<_> = all.filter(|link| link.0 != link.1 && !is_whole(link)).collect();
        self.cut(from_ms, to_ms, &links)
    }

    /// Nothing gets through on these one-way links.
    pub(crate) fn cut(self, from_ms: u64, to_ms: u64, links: &[(u64, u64)]) -> Self {
        self.fault(from_ms, to_ms, What::Partition { partition: Partition::Links { links: links.to_vec() } })
    }

    /// Nothing gets through to this node, or from it.
    pub(crate) fn isolate(self, from_ms: u64, to_ms: u64, node: u64) -> Self {
        let others: Vec<u64> = (1..=self.schedule.nodes).filter(|other| *other != node).collect();
        let links: Vec<_> = others.iter().flat_map(|other| [(node, *other), (*other, node)]).collect();
        self.cut(from_ms, to_ms, &links)
    }

    /// A node's clocks go ten times as fast, so that it is the first to time out.
    pub(crate) fn hurry(self, from_ms: u64, to_ms: u64, node: u64) -> Self {
        self.fault(from_ms, to_ms, What::Drift { node: Who::Node(node), ppm: 9_000_000 })
    }

    /// Faults may take more than any protocol bears.
    pub(crate) fn exceeding(mut self) -> Self {
        self.schedule.budget = LossBudget::Exceeded;
        self
    }

    /// Runs it on bare cores and then on whole nodes, with a director each; gives what became of it and what the
    /// director saw.
    ///
    /// # Panics
    /// When a law is broken.
    pub(crate) fn play<D: Director + Default>(&self) -> [(RunOutcome, D); 2] {
        [self.play_bare(), self.play_whole()]
    }

    /// Runs it on bare cores alone.
    pub(crate) fn play_bare<D: Director + Default>(&self) -> (RunOutcome, D) {
        self.end("bare cores", self.run_bare())
    }

    /// Runs it on whole nodes alone.
    pub(crate) fn play_whole<D: Director + Default>(&self) -> (RunOutcome, D) {
        self.end("whole nodes", self.run_whole())
    }

    /// Runs it on bare cores and on whole nodes, whatever comes of it.
    pub(crate) fn outcomes(&self) -> [RunOutcome; 2] {
        [self.run_bare::<()>().0, self.run_whole::<()>().0]
    }

    fn run_bare<D: Director + Default>(&self) -> (RunOutcome, D) {
        let Schedule { nodes, seed, snapshot_every, .. } = self.schedule;
        self.run_on::<Bare, D>(CoreLaws::new(directed::laws()), |director| {
            directed::stage(director);
            CoreSetup { nodes, seed, snapshot_every, tail_bytes_max: 2_000, config: bare_config }
        })
    }

    fn run_whole<D: Director + Default>(&self) -> (RunOutcome, D) {
        let founders = self.schedule.nodes - self.schedule.joining;
        let members = MemberLaws::new(|core: &Directed| configurations(core.raft()), LAG_MAX);
        self.run_on::<Whole, D>(ReplicaLaws::new(directed::laws()).members(members), |director| {
            let config: MakeConfig<Directed> =
                Arc::new(move |start| (config(start.identity.node, founders, start.seed), director.clone()));
            let mut setup = NodeSetup::replicated(&self.schedule, config, RegisterState::default);
            setup.log.segment_bytes = self.segment_bytes.unwrap_or(setup.log.segment_bytes);
            setup
        })
    }

    fn run_on<M, D>(&self, laws: impl ClusterLaws<M>, setup: impl FnOnce(Shared) -> M::Setup) -> (RunOutcome, D)
    where
        M: Staged<Call = RegisterRequest, Answer = Response>,
        D: Director + Default,
    {
        let (shared, director) = Shared::new(D::default());
        let setup = setup(shared.clone());
        let mut laws = DirectedLaws { laws, director: shared };
        let mut clients = RegisterClients::new(self.schedule.seed);
        let outcome = told(run::<M>(&setup, &self.schedule, &mut laws, &mut clients, recording()));
        drop((setup, laws));
        directed::stage(Shared::new(()).0);
        let director = Arc::into_inner(director).expect("the nodes are gone").into_inner();
        (outcome, director.unwrap_or_else(PoisonError::into_inner))
    }

    fn end<D>(&self, on: &str, (outcome, director): (RunOutcome, D)) -> (RunOutcome, D) {
        if let Some(failure) = &outcome.failure {
            let schedule = serde_json::to_string(&self.schedule).expect("plain data");
            panic!("{on}, at {} us: {}: {}\n{schedule}", failure.at_us, failure.law, failure.detail);
        }
        (outcome, director)
    }
}

/// Small bounds, so that a short run meets all of them.
fn config(node: NodeId, founders: u64, seed: u64) -> Config {
    let settings = Settings {
        entry_bytes_max: 1_000,
        batch_bytes_max: 2_000,
        window_bytes_max: 8_000,
        promotion_lag_max: LAG_MAX,
        ..small_settings(seed)
    };
    let members = Configuration::of_voters((1..=founders).map(NodeId));
    let start = if members.contains(node) { Start::Initial(members) } else { Start::Join };
    Config::new(node, seed, start, settings).expect("valid settings")
}

/// The configuration of a bare core, with the director of the run.
fn bare_config(node: NodeId, nodes: u64, seed: u64) -> (Config, Shared) {
    (config(node, nodes, seed), directed::staged())
}

/// `QUORATE_ROWS_TRACE=1` prints what happens to the nodes of each run.
fn recording() -> Recording {
    if std::env::var_os("QUORATE_ROWS_TRACE").is_some() { Recording::Everything } else { Recording::Nothing }
}

fn told(outcome: RunOutcome) -> RunOutcome {
    let is_told = |moment: &&Moment| {
        !matches!(moment.what, MomentKind::Arrived { .. } | MomentKind::Lost { .. } | MomentKind::Client(_))
    };
    for moment in outcome.moments.iter().filter(is_told) {
        println!("{:>9} us, node {}: {:?}", moment.at_us, moment.node, moment.what);
    }
    outcome
}

/// How many calls ended well within a time, in milliseconds.
pub(crate) fn acknowledged(history: &[HistoryEvent], from_ms: u64, to_ms: u64) -> usize {
    let is_within = |event: &&HistoryEvent| (from_ms * 1_000_000..to_ms * 1_000_000).contains(&event.time);
    history.iter().filter(is_within).filter(|event| event.kind == EventKind::Ok).count()
}

/// In how many of these seconds calls ended well.
pub(crate) fn slices_with_writes(history: &[HistoryEvent], from: u64, to: u64) -> usize {
    let has_write = |second: &u64| acknowledged(history, second * 1_000, second * 1_000 + 1_000) > 0;
    (from..to).filter(has_write).count()
}

/// Number of entries that a learner may be behind when it becomes a voter.
const LAG_MAX: u64 = 20;
