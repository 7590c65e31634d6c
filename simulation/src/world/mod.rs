//! The simulated world: nodes, network, disks, clocks and clients, one event after another.

mod active;
mod calls;
mod clock;
mod faults;
mod happening;
mod laws;
mod lifecycle;
mod machine;
mod network;
mod node;
mod progress;
pub mod reached;
mod ready;
mod rounds;
mod workload;

pub use laws::{ClusterLaws, Movements, NodeView, converged};
pub use machine::{
    ClientAnswer, Damage, Folder, Loss, Machine, MachineInput, MachineOutput, MemberCall, Observation, is_minority_lost,
};
pub use workload::{ClusterInfo, Workload};

use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_protocol::{NodeId, Random, Violation};

use crate::history::HistoryEvent;
use crate::schedule::{Fault, FaultKind, Schedule};
use crate::trace::{Moment, MomentKind, Trace};
use active::Active;
use calls::{Calls, Made};
use happening::{Broken, Happening, Planned};
use network::Network;
use node::{Node, Timing};
use progress::{Demand, SERVES_WITHIN_US, SLICE_US};

/// Result of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// The failure, if there was one.
    pub failure: Option<Failure>,
    /// Hash over all events: equal for equal runs.
    pub hash: u64,
    /// Number of events.
    pub steps: u64,
    /// Time that passed in the simulated world, in microseconds.
    pub simulated_us: u64,
    /// Number of acknowledged calls.
    pub acknowledged: u64,
    /// Number of faults of each kind that took place.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Number of times that each rare event was reached.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// The history of the clients.
    pub history: Vec<HistoryEvent>,
    /// All moments of the run, if they were recorded.
    pub moments: Vec<Moment>,
}

/// The failure of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The law that was broken.
    pub law: String,
    /// Description of the violation.
    pub detail: String,
    /// Time in microseconds.
    pub at_us: u64,
}

/// Data to keep of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// The result only.
    Nothing,
    /// All moments, to read and to draw.
    Everything,
}

/// Runs a schedule to its end, or to the first broken law.
pub fn run<M: Machine>(
    setup: &M::Setup,
    schedule: &Schedule,
    laws: &mut dyn ClusterLaws<M>,
    workload: &mut dyn Workload<M>,
    recording: Recording,
) -> RunOutcome {
    let mut world: World<'_, M> = World::new(setup, schedule, workload, recording);
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
    let mut sometimes = std::mem::take(&mut world.sometimes);
    for (what, times) in laws.reached() {
        *sometimes.entry(what).or_insert(0) += times;
    }
    RunOutcome {
        failure,
        hash: world.trace.hash(),
        steps: world.steps,
        simulated_us: world.now_us,
        acknowledged: world.calls.acknowledged,
        faults: world.faults_met,
        sometimes,
        history: world.calls.workload.history(),
        moments: world.trace.into_moments(),
    }
}

struct World<'a, M: Machine> {
    setup: &'a M::Setup,
    schedule: &'a Schedule,
    now_us: u64,
    /// Future events, the next one first.
    queue: BinaryHeap<Planned<M::Message>>,
    planned: u64,
    steps: u64,
    nodes: BTreeMap<u64, Node<M>>,
    network: Network,
    /// The faults that have begun and not ended.
    active: BTreeMap<usize, Active<M::Disk>>,
    /// The faults that wait for the next leader, and the leader that each of the others found.
    hunts: Vec<usize>,
    hunted: BTreeMap<usize, u64>,
    demand: Option<Demand>,
    last_leader: u64,
    /// Number of times that an operator asked for a change of members.
    member_calls: u64,
    leaders_begun: u64,
    timing: Timing,
    crash_random: Random,
    damage_random: Random,
    calls: Calls<'a, M>,
    writes_when_healed: u64,
    trace: Trace,
    faults_met: BTreeMap<FaultKind, u64>,
    sometimes: BTreeMap<&'static str, u64>,
}

impl<'a, M: Machine> World<'a, M> {
    fn new(
        setup: &'a M::Setup,
        schedule: &'a Schedule,
        workload: &'a mut dyn Workload<M>,
        recording: Recording,
    ) -> Self {
        Self {
            setup,
            schedule,
            now_us: 0,
            queue: BinaryHeap::new(),
            planned: 0,
            steps: 0,
            nodes: BTreeMap::new(),
            network: Network::new(schedule.seed, schedule.nodes),
            active: BTreeMap::new(),
            hunts: Vec::new(),
            hunted: BTreeMap::new(),
            demand: None,
            last_leader: 1,
            member_calls: 0,
            leaders_begun: 0,
            timing: Timing::new(schedule.seed),
            crash_random: Random::new(schedule.seed ^ 0x0063_7261_7368),
            damage_random: Random::new(schedule.seed ^ 0x6461_6d61_6765),
            calls: Calls::new(workload),
            writes_when_healed: 0,
            trace: Trace::new(recording == Recording::Everything),
            faults_met: BTreeMap::new(),
            sometimes: BTreeMap::new(),
        }
    }

    fn run(&mut self, laws: &mut dyn ClusterLaws<M>) -> Result<(), Broken> {
        self.begin()?;
        while let Some(Planned { at_us, happening, .. }) = self.queue.pop() {
            self.now_us = at_us;
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(("the run ends".to_owned(), format!("{STEPS_MAX} steps were not enough")));
            }
            if let Happening::End { at_latest_us } = happening {
                if self.is_over(laws, at_latest_us)? {
                    break;
                }
                continue;
            }
            // Only these events change a node's state. The others wait for its next round.
            let is_loud = matches!(
                happening,
                Happening::FaultBegins(_)
                    | Happening::FaultEnds(_)
                    | Happening::Stop { .. }
                    | Happening::Start { .. }
                    | Happening::Hunted { .. }
            );
            if let Happening::Round { node, start } = happening {
                let mut goes_on = self.begin_round(node, start);
                while goes_on {
                    goes_on = self.step_of_round(node)?;
                    laws.check(&self.views()).map_err(broken)?;
                }
                continue;
            }
            self.happen(happening)?;
            if is_loud {
                laws.check(&self.views()).map_err(broken)?;
            }
        }
        self.calls.workload.judge().map_err(broken)
    }

    /// True if all nodes agree. At any moment a node may be busy with work of its own, whose end is awaited.
    fn is_over(&mut self, laws: &mut dyn ClusterLaws<M>, at_latest_us: u64) -> Result<bool, Broken> {
        let agreed = self.check_all_run().and_then(|()| laws.at_end(&self.views()).map_err(broken));
        if agreed.is_err() && self.now_us < at_latest_us {
            self.plan(LOOKS_AGAIN_US, Happening::End { at_latest_us });
            return Ok(false);
        }
        agreed.map(|()| true)
    }

    fn views(&self) -> Vec<NodeView<'_, M>> {
        self.nodes.iter().map(|(id, node)| node.view(NodeId(*id))).collect()
    }

    fn begin(&mut self) -> Result<(), Broken> {
        for id in 1..=self.schedule.nodes {
            let disk = M::fresh_disk(self.setup, NodeId(id), 1);
            let mut clock = self.timing.clock();
            clock.jump(self.schedule.wrong_from_the_start_ms(id));
            self.nodes.insert(id, Node::new(disk, clock));
            self.start(id)?;
        }
        for client in 0..self.schedule.clients {
            let pause_us = self.calls.workload.pause_us(client);
            self.plan(pause_us, Happening::Call { client });
        }
        for (number, fault) in self.schedule.faults.iter().enumerate() {
            self.plan_at(fault.at_us, Happening::FaultBegins(number));
            self.plan_at(fault.ends_us(), Happening::FaultEnds(number));
        }
        let ends = self.schedule.faults.iter().map(Fault::ends_us);
        let healed_us = ends.max().unwrap_or(0).max(self.schedule.faults_us);
        self.plan_at(healed_us, Happening::Healed);
        self.plan_at(healed_us + SERVES_WITHIN_US, Happening::MustServe);
        let end_us = healed_us + SERVES_WITHIN_US + CONVERGES_WITHIN_US;
        self.plan_at(end_us, Happening::End { at_latest_us: end_us + AGREES_WITHIN_US });
        Ok(())
    }

    fn plan(&mut self, in_us: u64, happening: Happening<M::Message>) {
        self.plan_at(self.now_us + in_us, happening);
    }

    fn plan_at(&mut self, at_us: u64, happening: Happening<M::Message>) {
        self.planned += 1;
        self.queue.push(Planned { at_us, number: self.planned, happening });
    }

    fn happen(&mut self, happening: Happening<M::Message>) -> Result<(), Broken> {
        match happening {
            Happening::FaultBegins(number) => self.begin_fault(number),
            Happening::FaultEnds(number) => self.end_fault(number)?,
            Happening::Call { client } => self.client_calls(client),
            Happening::CallExpires { call } => self.answer(call, &ClientAnswer::Unknown),
            Happening::Healed => {
                self.writes_when_healed = self.calls.acknowledged_writes;
                self.plan(SERVES_FOR_US, Happening::Serves);
            }
            Happening::Serves => {
                let serves = self.calls.acknowledged_writes > self.writes_when_healed;
                self.plan(SERVES_FOR_US, if serves { Happening::ClientsStop } else { Happening::Serves });
            }
            Happening::MustServe => {
                if self.calls.acknowledged_writes == self.writes_when_healed {
                    let seconds = SERVES_WITHIN_US / 1_000_000;
                    let detail = format!("no write was acknowledged within {seconds} s after healing");
                    return Err(("serves after healing".to_owned(), detail));
                }
            }
            Happening::ClientsStop => self.calls.are_over = true,
            Happening::End { .. } | Happening::Round { .. } => {}
            Happening::Arrive(envelope, message) => self.arrive(envelope, message),
            Happening::DiskDone { node, start, token, is_write } => self.disk_done(node, start, token, is_write),
            Happening::Timer { node } => self.timer(node),
            Happening::Link { node, peer } => self.link(node, peer),
            Happening::Stop { node } => self.crash(node, Loss::Nothing),
            Happening::Start { node } => self.start(node)?,
            Happening::Hunted { node, start, number } => self.end_hunt(node, start, number),
            Happening::ChangeMembers { number } => self.change_members(number),
            Happening::Slice => self.end_slice()?,
        }
        Ok(())
    }

    fn client_calls(&mut self, client: u64) {
        if self.calls.are_over {
            return;
        }
        let cluster = ClusterInfo {
            nodes: self.schedule.nodes,
            at_leader_percent: self.schedule.at_leader_percent,
            leader: self.leader().map(NodeId),
        };
        let Made { call, node, what } = self.calls.make(client, cluster, self.now_us);
        self.trace.count(&(self.now_us, client, &what));
        self.trace.note(self.now_us, node, || MomentKind::Client(format!("client {client} calls {what:?}")));
        let patience_us = self.calls.workload.patience_us(&what);
        self.plan(patience_us, Happening::CallExpires { call });
        self.give_call(node, call, what);
    }

    /// Ends a call, if it is still under way.
    fn answer(&mut self, call: u64, answer: &ClientAnswer<M::Answer>) {
        let Some(client) = self.calls.end(call, answer, self.now_us) else { return };
        self.trace.note(self.now_us, 0, || MomentKind::Client(format!("client {client} is told {answer:?}")));
        let pause_us = self.calls.workload.pause_us(client);
        self.plan(pause_us, Happening::Call { client });
    }

    /// Ends the calls that wait for this node, with unknown outcome.
    fn forget_calls(&mut self, node: u64) {
        for call in self.calls.waiting_for(node) {
            self.answer(call, &ClientAnswer::Unknown);
        }
    }

    fn begin_demand(&mut self, for_us: u64) {
        self.demand = Some(Demand::new(self.now_us + for_us, self.calls.acknowledged_writes));
        self.plan(SERVES_WITHIN_US, Happening::Slice);
    }

    fn end_slice(&mut self) -> Result<(), Broken> {
        let newest_term = self.nodes.values().map(|node| node.seen.term).max().unwrap_or(0);
        let Some(demand) = self.demand.as_mut().filter(|demand| !demand.is_over(self.now_us)) else { return Ok(()) };
        demand.end_slice(self.calls.acknowledged_writes, self.leaders_begun, newest_term)?;
        self.plan(SLICE_US, Happening::Slice);
        Ok(())
    }

    /// The leader of the newest term.
    fn leader(&self) -> Option<u64> {
        let leading = self.nodes.iter().filter(|(_, node)| node.machine.is_some() && node.seen.is_leader);
        leading.max_by_key(|(_, node)| node.seen.term).map(|(id, _)| *id)
    }

    fn node(&mut self, id: u64) -> &mut Node<M> {
        self.nodes.get_mut(&id).expect("nodes are never removed")
    }

    fn sometimes(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_insert(0) += 1;
    }

    /// Checks that every node that counts runs by now.
    fn check_all_run(&self) -> Result<(), Broken> {
        match self.nodes.iter().find(|(_, node)| !node.is_lost && node.machine.is_none()) {
            None => Ok(()),
            Some((id, _)) => Err(("converges after healing".to_owned(), format!("node {id} is down"))),
        }
    }
}

fn broken(violation: Violation) -> Broken {
    (violation.law.to_owned(), violation.detail)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind").to_owned()
}

const SERVES_FOR_US: u64 = 1_000_000;
const CONVERGES_WITHIN_US: u64 = 4_000_000;
/// Work that is under way at the end is complete after this time.
const AGREES_WITHIN_US: u64 = 500_000;
const LOOKS_AGAIN_US: u64 = 100_000;
const STEPS_MAX: u64 = 20_000_000;
