//! The simulated world: nodes, network, disks, clocks and clients, one thing after another.

mod clients;
mod clock;
mod faults;
mod machine;
mod network;
mod node;

pub use clients::{Answer, Request};
pub use machine::{ClusterLaws, Machine, MachineInput, MachineOutput, Observation};

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_protocol::{NodeId, Random};

use crate::history::{Budget, Event, History, Verdict};
use crate::schedule::{FaultKind, Schedule};
use crate::trace::{Moment, MomentKind, Trace};
use clients::Clients;
use network::Network;
use node::{Node, Timing};

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// One number over all that happened: equal for equal runs.
    pub hash: u64,
    /// How many things happened.
    pub steps: u64,
    /// How much time passed in the simulated world, in microseconds.
    pub simulated_us: u64,
    /// How many calls were acknowledged.
    pub acknowledged: u64,
    /// How many faults of each kind took place.
    pub faults: BTreeMap<FaultKind, u64>,
    /// How often what ought to happen sometimes did.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// What the clients saw.
    pub history: Vec<Event>,
    /// Everything that happened, if it was asked for.
    pub moments: Vec<Moment>,
}

/// What went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The law that was broken.
    pub law: String,
    /// How.
    pub detail: String,
    /// When, in microseconds.
    pub at_us: u64,
}

/// What to keep of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Only what it came to.
    Nothing,
    /// Everything that happened, to read and to draw.
    Everything,
}

/// Runs a schedule to its end, or to the first broken law.
pub fn run<M: Machine>(
    setup: &M::Setup,
    schedule: &Schedule,
    laws: &mut dyn ClusterLaws<M>,
    recording: Recording,
) -> Outcome {
    let mut world: World<'_, M> = World::new(setup, schedule, recording);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(laws)));
    let broken = match result {
        Ok(Ok(())) => None,
        Ok(Err((law, detail))) => Some((law, detail)),
        Err(panic) => Some(("no panic".to_owned(), panic_text(&*panic))),
    };
    let failure = broken.map(|(law, detail)| Failure { law, detail, at_us: world.now_us });
    if let Some(failure) = &failure {
        world.trace.note(failure.at_us, 0, || MomentKind::Violation(format!("{}: {}", failure.law, failure.detail)));
    }
    Outcome {
        failure,
        hash: world.trace.hash(),
        steps: world.steps,
        simulated_us: world.now_us,
        acknowledged: world.clients.acknowledged,
        faults: world.faults_met,
        sometimes: world.sometimes,
        history: world.clients.events,
        moments: world.trace.into_moments(),
    }
}

/// A law's name, and how it was broken.
type Broken = (String, String);

struct World<'a, M: Machine> {
    setup: &'a M::Setup,
    schedule: &'a Schedule,
    now_us: u64,
    /// What will happen, in the order of time, and of being planned.
    queue: BTreeMap<(u64, u64), Happening<M::Message>>,
    planned: u64,
    steps: u64,
    nodes: BTreeMap<u64, Node<M>>,
    network: Network,
    timing: Timing,
    crash_random: Random,
    clients: Clients,
    are_clients_done: bool,
    acknowledged_when_healed: u64,
    trace: Trace,
    faults_met: BTreeMap<FaultKind, u64>,
    sometimes: BTreeMap<&'static str, u64>,
}

/// Something that will happen.
enum Happening<T> {
    Arrive {
        to: u64,
        from: u64,
        incarnation: u64,
        sent_us: u64,
        message: Box<T>,
    },
    /// The disk of this start of a node has done what was asked.
    DiskDone {
        node: u64,
        start: u64,
        token: u64,
        is_write: bool,
    },
    Timer {
        node: u64,
    },
    Poll {
        node: u64,
        start: u64,
    },
    FaultBegins(usize),
    FaultEnds(usize),
    Call {
        client: usize,
    },
    CallExpires {
        call: u64,
    },
    Healed,
    MustServe,
    ClientsStop,
    End,
}

impl<'a, M: Machine> World<'a, M> {
    fn new(setup: &'a M::Setup, schedule: &'a Schedule, recording: Recording) -> Self {
        Self {
            setup,
            schedule,
            now_us: 0,
            queue: BTreeMap::new(),
            planned: 0,
            steps: 0,
            nodes: BTreeMap::new(),
            network: Network::new(schedule.seed),
            timing: Timing::new(schedule.seed),
            crash_random: Random::new(schedule.seed ^ 0x0063_7261_7368),
            clients: Clients::new(schedule.clients, schedule.seed),
            are_clients_done: false,
            acknowledged_when_healed: 0,
            trace: Trace::new(recording == Recording::Everything),
            faults_met: BTreeMap::new(),
            sometimes: BTreeMap::new(),
        }
    }

    fn run(&mut self, laws: &mut dyn ClusterLaws<M>) -> Result<(), Broken> {
        self.begin()?;
        while let Some(((at_us, _), happening)) = self.queue.pop_first() {
            self.now_us = at_us;
            self.steps += 1;
            if matches!(happening, Happening::End) {
                break;
            }
            let is_quiet = matches!(happening, Happening::Call { .. } | Happening::CallExpires { .. });
            self.happen(happening)?;
            if !is_quiet {
                let nodes: Vec<_> =
                    self.nodes.iter().map(|(id, node)| (NodeId(*id), node.machine.as_ref(), &node.disk)).collect();
                laws.check(&nodes).map_err(|violation| (violation.law.to_owned(), violation.detail))?;
            }
            if self.steps > STEPS_MAX {
                return Err(("the run ends".to_owned(), format!("{STEPS_MAX} steps were not enough")));
            }
        }
        self.check_converged()?;
        self.check_history()
    }

    fn begin(&mut self) -> Result<(), Broken> {
        for id in 1..=self.schedule.nodes {
            let disk = M::fresh_disk(self.setup, NodeId(id), 1);
            let clock = self.timing.clock();
            self.nodes.insert(id, Node::new(disk, clock));
            self.start(id)?;
        }
        for client in 0..usize::try_from(self.schedule.clients).unwrap_or(0) {
            let pause_us = self.clients.pause_us();
            self.plan(pause_us, Happening::Call { client });
        }
        for (number, fault) in self.schedule.faults.iter().enumerate() {
            self.plan_at(fault.at_us, Happening::FaultBegins(number));
            self.plan_at(fault.at_us.saturating_add(fault.for_us), Happening::FaultEnds(number));
        }
        let ends = self.schedule.faults.iter().map(|fault| fault.at_us.saturating_add(fault.for_us));
        let healed_us = ends.max().unwrap_or(0).max(self.schedule.faults_us);
        self.plan_at(healed_us, Happening::Healed);
        self.plan_at(healed_us + SERVES_WITHIN_US, Happening::MustServe);
        self.plan_at(healed_us + SERVES_WITHIN_US + SERVES_FOR_US, Happening::ClientsStop);
        self.plan_at(healed_us + SERVES_WITHIN_US + SERVES_FOR_US + CONVERGES_WITHIN_US, Happening::End);
        Ok(())
    }

    fn plan(&mut self, in_us: u64, happening: Happening<M::Message>) {
        self.plan_at(self.now_us + in_us, happening);
    }

    fn plan_at(&mut self, at_us: u64, happening: Happening<M::Message>) {
        self.planned += 1;
        self.queue.insert((at_us, self.planned), happening);
    }

    fn happen(&mut self, happening: Happening<M::Message>) -> Result<(), Broken> {
        match happening {
            Happening::FaultBegins(number) => self.begin_fault(number),
            Happening::FaultEnds(number) => self.end_fault(number)?,
            Happening::Call { client } => self.client_calls(client),
            Happening::CallExpires { call } => self.answer(call, &Answer::Unknown),
            Happening::Healed => self.acknowledged_when_healed = self.clients.acknowledged,
            Happening::MustServe => {
                if self.clients.acknowledged == self.acknowledged_when_healed {
                    let seconds = SERVES_WITHIN_US / 1_000_000;
                    let detail = format!("no call was acknowledged within {seconds} s after healing");
                    return Err(("serves after healing".to_owned(), detail));
                }
            }
            Happening::ClientsStop => self.are_clients_done = true,
            Happening::End => {}
            Happening::Arrive { to, from, incarnation, sent_us, message } => {
                self.arrive(to, from, incarnation, sent_us, message);
            }
            Happening::DiskDone { node, start, token, is_write } => self.disk_done(node, start, token, is_write),
            Happening::Timer { node } => self.timer(node),
            Happening::Poll { node, start } => self.poll(node, start)?,
        }
        Ok(())
    }

    fn client_calls(&mut self, client: usize) {
        if self.are_clients_done {
            return;
        }
        let (call, node, request) = self.clients.call(client, self.schedule.nodes, self.now_us * 1_000);
        self.trace.count(&(self.now_us, client, &request));
        self.trace.note(self.now_us, node, || MomentKind::Client(format!("client {client} calls {request:?}")));
        self.plan(CALL_EXPIRES_US, Happening::CallExpires { call });
        self.give_call(node, call, request);
    }

    fn answer(&mut self, call: u64, answer: &Answer) {
        let Some(client) = self.clients.answer(call, answer, self.now_us * 1_000) else { return };
        self.trace.note(self.now_us, 0, || MomentKind::Client(format!("client {client} is told {answer:?}")));
        let pause_us = self.clients.pause_us();
        self.plan(pause_us, Happening::Call { client });
    }

    fn sometimes(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_insert(0) += 1;
    }

    /// Every node that still counts must have applied the same, and all that any applied.
    fn check_converged(&self) -> Result<(), Broken> {
        let law = || "converges after healing".to_owned();
        let mut states = Vec::new();
        for (id, node) in &self.nodes {
            let Some(machine) = &node.machine else { return Err((law(), format!("node {id} is down"))) };
            let seen = machine.observe();
            if node.incarnation == 1 {
                states.push((seen.applied, seen.digest, *id));
            }
        }
        let is_other = |pair: &&[(u64, u64, u64)]| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1);
        match states.windows(2).find(is_other) {
            None => Ok(()),
            Some(pair) => {
                let detail =
                    format!("node {} applied up to {}, node {} up to {}", pair[0].2, pair[0].0, pair[1].2, pair[1].0);
                Err((law(), detail))
            }
        }
    }

    fn check_history(&self) -> Result<(), Broken> {
        let history = History::from_events(self.clients.events.iter().cloned()).expect("made here");
        let judgement = history.judge(Budget::default());
        match judgement.verdict() {
            Verdict::Holds => Ok(()),
            Verdict::Undecided => Err(("the history is decided".to_owned(), judgement.to_string())),
            Verdict::Violated => Err(("linearizable".to_owned(), judgement.to_string())),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind").to_owned()
}

/// After so long a client gives up waiting and goes on.
const CALL_EXPIRES_US: u64 = 2_000_000;
/// Ten times the longest election time-out.
const SERVES_WITHIN_US: u64 = 10_000_000;
const SERVES_FOR_US: u64 = 1_000_000;
const CONVERGES_WITHIN_US: u64 = 4_000_000;
const STEPS_MAX: u64 = 20_000_000;
