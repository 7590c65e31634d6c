//! Many decisions on the shipped node: each group decides once, on a value of its own; clients propose and read at any
//! node.
//!
//! To a client a decision is a register that is written once: a proposal is a cas from no value, and only one of them
//! matches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::testing::laws;
use quorate_paxos::synod::{
    CHANNEL, CommandRefusal, Decision, GroupRoles, Message, Proposal, ProposalOutcome, ReadOutcome, Settings, Synod,
    host_with,
};
use quorate_protocol::{GroupId, Incarnation, Law, NodeId, Now, ProposalId, Random, SessionId, Violation};
use quorate_runtime::group::{CallId, MakeGroup, Reply};
use quorate_runtime::node::Node;
use quorate_simulation::history::{EventKind, Function, History, HistoryEvent, Key, SearchBudget};
use quorate_simulation::node_machine::{
    Application, Desk, NodeMachine, NodeSetup, check_nodes, describe_channel, small_log,
};
use quorate_simulation::schedule::{Generator, Schedule};
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, ClusterLaws, Movements, NodeView, Observation, Recording, RunOutcome, Workload, run,
};
use quorate_transport::{Frame, codec};
use serde_json::{Value, json};

/// The machine that is simulated.
pub(crate) type Machine = NodeMachine<Decisions>;

/// Every fault of a node. A node whose disk fails halts, which is a crash like others for the hosted group.
pub(crate) fn generator() -> Generator {
    Generator::of::<Machine>()
}

/// Runs one schedule.
pub(crate) fn run_schedule(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let mut random = Random::new(schedule.seed ^ 0x0073_796e_6f64);
    let nodes: Vec<NodeId> = (1..=schedule.nodes).map(NodeId).collect();
    let count = nodes.len();
    // A lost disk takes its node's promises with it. Majorities tolerate this for a minority. If all must promise, no
    // disk may be lost.
    let may_lose = schedule.faults.iter().any(|fault| fault.what.destroys());
    let quorums = match random.between(0, 5) {
        0 if !may_lose => QuorumSystem::flexible(nodes, count, 1),
        1 => QuorumSystem::flexible(nodes, count / 2 + 1, count - count / 2),
        2 if !may_lose => {
            let mut weigh = |node| (node, 1 + u16::from(random.between(0, 3) == 0));
            QuorumSystem::weighted(nodes.into_iter().map(&mut weigh))
        }
        3 if !may_lose => {
            let zones: Vec<Vec<NodeId>> = nodes.chunks(2).map(<[NodeId]>::to_vec).collect();
            QuorumSystem::zones(u32::try_from(zones.len() / 2 + 1).expect("few"), zones)
        }
        _ => QuorumSystem::majority(nodes),
    };
    let group = GroupRoles::of(quorums.expect("quorums that meet"));
    let setup = NodeSetup {
        nodes: schedule.nodes,
        joining: schedule.joining,
        seed: schedule.seed,
        log: small_log(&mut random),
        tail_bytes_max: 2_000,
        application: group,
    };
    let mut clients = Clients::new(schedule);
    run::<Machine>(&setup, schedule, &mut DecisionLaws::default(), &mut clients, recording)
}

/// The groups on a node: one for each decision.
pub(crate) struct Decisions {
    /// The calls that wait in a group.
    waiting: BTreeMap<CallId, Waiting>,
    known: u64,
}

/// What a call to a group is for.
enum Waiting {
    /// A client's proposal.
    Proposal(u64),
    /// A client's read.
    Read(u64),
    /// The node's own wait for the decision.
    Decided,
}

/// A client's request for one decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// Proposes `number`, under the name of the same number or of another.
    Propose {
        decision: u64,
        number: u64,
        name: u64,
    },
    Read {
        decision: u64,
    },
}

/// The answer: the chosen number, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The client's own proposal.
    Own,
    /// This number. The client's own proposal will never be chosen.
    Number(u64),
    Nothing,
}

impl Application for Decisions {
    type Setup = GroupRoles;
    type Call = Call;
    type Answer = Reading;
    type Later = ();
    type Kept = ();

    const EXPECTED: &'static [&'static str] = &[
        "a value was chosen",
        "a read found nothing",
        "another proposal was chosen",
        "nobody knew in time",
        SHARED_NAME,
    ];

    fn groups(group: &GroupRoles, _nodes: u64) -> BTreeMap<GroupId, MakeGroup> {
        let make = |decision| {
            let group = group.clone();
            let make: MakeGroup = Box::new(move |start| host_with(start, group, settings()));
            (GroupId(decision), make)
        };
        (1..=DECISIONS).map(make).collect()
    }

    fn start(_: &GroupRoles, desk: &mut Desk<'_, Self>) -> Self {
        let mut this = Self { waiting: BTreeMap::new(), known: 0 };
        for decision in 1..=DECISIONS {
            this.enter(desk, decision, Waiting::Decided, |decision, _, id| decision.wait(id));
        }
        this
    }

    fn call(&mut self, desk: &mut Desk<'_, Self>, call: u64, what: Call) {
        match what {
            Call::Propose { decision, number, name } => {
                let proposal = proposal(number, name);
                self.enter(desk, decision, Waiting::Proposal(call), |decision, now, id| {
                    decision.propose_again(now, id, proposal);
                });
            }
            Call::Read { decision } => {
                self.enter(desk, decision, Waiting::Read(call), Decision::read);
            }
        }
    }

    fn reply(&mut self, desk: &mut Desk<'_, Self>, group: GroupId, id: CallId, reply: Reply) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        let is_told = reply == Reply::Told;
        match waiting {
            Waiting::Proposal(call) => {
                let outcome = desk.enter(group, |decision: &mut Decision, _| decision.take_outcome(id));
                let outcome = outcome.filter(|_| is_told).unwrap_or(ProposalOutcome::Unknown);
                Self::on_outcome(desk, call, &outcome);
            }
            Waiting::Read(call) => {
                let outcome = desk.enter(group, |decision: &mut Decision, _| decision.take_read(id));
                let outcome = outcome.filter(|_| is_told).unwrap_or(ReadOutcome::Failed(CommandRefusal::Halted));
                Self::on_read(desk, call, &outcome);
            }
            Waiting::Decided => {
                let decided = desk.enter(group, |decision: &mut Decision, _| decision.take_decided(id));
                if is_told && decided.is_some_and(|decided| decided.is_ok()) {
                    self.known += 1;
                    desk.sometimes("a value was chosen");
                }
            }
        }
    }

    fn later(&mut self, _: &mut Desk<'_, Self>, (): ()) {}

    fn observe(&self, node: &Node) -> Observation {
        let attempts = cores(node).filter_map(|(_, core)| core.status().attempt);
        let term = attempts.map(|attempt| attempt.ballot.round).max();
        let (is_leader, committed) = (term.is_some(), self.known);
        Observation { term: term.unwrap_or(0), is_leader, committed, applied: committed, digest: 0 }
    }

    fn describe(frame: &Frame) -> String {
        if frame.channel() != CHANNEL {
            return describe_channel(frame);
        }
        let message = codec::decode::<Message>(frame.clone());
        message.map_or_else(|error| format!("unreadable: {error}"), |message| format!("{message:?}"))
    }
}

impl Decisions {
    fn enter(
        &mut self,
        desk: &mut Desk<'_, Self>,
        decision: u64,
        waiting: Waiting,
        f: impl FnOnce(&mut Decision, Now, CallId),
    ) {
        let id = desk.call_id();
        self.waiting.insert(id, waiting);
        let _ = desk.enter(GroupId(decision), |decision: &mut Decision, now| f(decision, now, id));
    }

    fn on_outcome(desk: &mut Desk<'_, Self>, call: u64, outcome: &ProposalOutcome) {
        let answer = match outcome {
            ProposalOutcome::Chosen => ClientAnswer::Done(Reading::Own),
            ProposalOutcome::Superseded { chosen } => {
                desk.sometimes("another proposal was chosen");
                ClientAnswer::Done(Reading::Number(number_of(chosen)))
            }
            ProposalOutcome::IdReused { chosen } => {
                desk.sometimes(SHARED_NAME);
                ClientAnswer::Done(Reading::Number(number_of(chosen)))
            }
            ProposalOutcome::NotTried(_) => ClientAnswer::NotDone,
            _ => {
                desk.sometimes("nobody knew in time");
                ClientAnswer::Unknown
            }
        };
        desk.answer(call, answer);
    }

    fn on_read(desk: &mut Desk<'_, Self>, call: u64, outcome: &ReadOutcome) {
        let answer = match outcome {
            ReadOutcome::Chosen(chosen) => ClientAnswer::Done(Reading::Number(number_of(chosen))),
            ReadOutcome::NoneYet => {
                desk.sometimes("a read found nothing");
                ClientAnswer::Done(Reading::Nothing)
            }
            ReadOutcome::Failed(CommandRefusal::TimedOut) => ClientAnswer::Unknown,
            _ => ClientAnswer::NotDone,
        };
        desk.answer(call, answer);
    }
}

/// A proposal that can be tried again anywhere: its number is its value. Some values are long.
fn proposal(number: u64, name: u64) -> Proposal {
    let session = SessionId { incarnation: Incarnation(1), start: 1 };
    let length = if number.is_multiple_of(3) { VALUE_BYTES_MAX } else { 8 };
    let mut value = number.to_le_bytes().to_vec();
    value.resize(length, 0);
    Proposal::new(ProposalId { session, sequence: name }, Bytes::from(value))
}

/// The number that is proposed.
fn number_of(proposal: &Proposal) -> u64 {
    proposal.value.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

fn cores(node: &Node) -> impl Iterator<Item = (GroupId, &Synod)> {
    (1..=DECISIONS).map(GroupId).filter_map(|group| Some((group, node.group::<Decision>(group)?.core()?)))
}

fn settings() -> Settings {
    Settings {
        value_bytes_max: VALUE_BYTES_MAX,
        command_timeout: Duration::from_millis(1_500),
        retry_interval_max: Duration::from_secs(1),
        backoff_max: Duration::from_millis(500),
        settle_after: Duration::from_millis(500),
        commands_max: 8,
        held_messages_max: 16,
        ..Settings::default()
    }
}

/// Clients that propose and read. Decisions are opened one after another, so that there are fresh ones throughout the
/// run.
pub(crate) struct Clients {
    random: Random,
    numbers: u64,
    length_us: u64,
    events: Vec<HistoryEvent>,
    /// A proposal whose outcome its client does not know, to be tried again under the same name: still one call.
    unknown: BTreeMap<u64, Call>,
    /// Clients that repeat an earlier call.
    again: BTreeSet<u64>,
    /// The first number that was proposed in each decision. Some clients propose other numbers under its name, which is
    /// misuse.
    names: BTreeMap<u64, u64>,
    /// The place in `events` at which a client's current call begins.
    begun: BTreeMap<u64, usize>,
}

impl Clients {
    fn new(schedule: &Schedule) -> Self {
        let random = Random::new(schedule.seed ^ 0x636c_6965_6e74);
        let length_us = schedule.faults_us + AFTER_FAULTS_US;
        let (events, unknown, begun) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (again, names) = (BTreeSet::new(), BTreeMap::new());
        Self { random, numbers: 0, length_us, events, unknown, again, names, begun }
    }

    fn record(&mut self, client: u64, kind: EventKind, call: &Call, value: Value, at_us: u64) {
        let (function, decision) = match call {
            Call::Propose { decision, .. } => (Function::Cas, decision),
            Call::Read { decision } => (Function::Read, decision),
        };
        let key = Some(Key::from(format!("d{decision}")));
        self.events.push(HistoryEvent { process: client, kind, function, key, value, time: at_us * 1_000 });
    }

    fn end(&mut self, client: u64, kind: EventKind, call: &Call, value: Value, at_us: u64) {
        self.record(client, kind, call, value, at_us);
        self.begun.remove(&client);
    }
}

impl Workload<Machine> for Clients {
    fn call(&mut self, client: u64, cluster: ClusterInfo, at_us: u64) -> (NodeId, Call) {
        let node = NodeId(self.random.between(1, cluster.nodes + 1));
        if let Some(call) = self.unknown.remove(&client) {
            self.again.insert(client);
            return (node, call);
        }
        self.again.remove(&client);
        let newest = 1 + at_us.min(self.length_us - 1) * DECISIONS / self.length_us;
        let oldest = if self.random.between(0, 4) == 0 { 1 } else { newest.saturating_sub(2).max(1) };
        let decision = self.random.between(oldest, newest + 1);
        let (call, value) = if self.random.between(0, 3) == 0 {
            self.numbers += 1;
            let number = self.numbers;
            let first = *self.names.entry(decision).or_insert(number);
            let name = if self.random.between(0, 8) == 0 { first } else { number };
            (Call::Propose { decision, number, name }, json!([null, number]))
        } else {
            (Call::Read { decision }, Value::Null)
        };
        self.begun.insert(client, self.events.len());
        self.record(client, EventKind::Invoke, &call, value, at_us);
        (node, call)
    }

    fn answered(&mut self, client: u64, what: &Call, answer: &ClientAnswer<Reading>, at_us: u64) {
        match (what, answer) {
            (Call::Propose { number, .. }, ClientAnswer::Done(Reading::Own)) => {
                self.end(client, EventKind::Ok, what, json!([null, number]), at_us);
            }
            (Call::Propose { decision, .. }, ClientAnswer::Done(Reading::Number(other))) => {
                // The proposal had no effect, and the answer has the chosen number: this counts as a read.
                let read = Call::Read { decision: *decision };
                if let Some(invoked) = self.begun.get(&client).and_then(|begun| self.events.get_mut(*begun)) {
                    invoked.function = Function::Read;
                    invoked.value = Value::Null;
                }
                self.end(client, EventKind::Ok, &read, json!(other), at_us);
            }
            (Call::Propose { .. }, ClientAnswer::Unknown) if self.random.between(0, 2) == 0 => {
                self.unknown.insert(client, what.clone());
            }
            (Call::Propose { number, .. }, ClientAnswer::NotDone) if !self.again.contains(&client) => {
                self.end(client, EventKind::Fail, what, json!([null, number]), at_us);
            }
            // The proposal was tried, now or before.
            (Call::Propose { number, .. }, _) => {
                self.end(client, EventKind::Info, what, json!([null, number]), at_us);
            }
            (Call::Read { .. }, ClientAnswer::Done(reading)) => {
                let value = match reading {
                    Reading::Number(number) => json!(number),
                    Reading::Own | Reading::Nothing => Value::Null,
                };
                self.end(client, EventKind::Ok, what, value, at_us);
            }
            (Call::Read { .. }, ClientAnswer::NotDone) => self.end(client, EventKind::Fail, what, Value::Null, at_us),
            (Call::Read { .. }, ClientAnswer::Unknown) => self.end(client, EventKind::Info, what, Value::Null, at_us),
        }
    }

    fn pause_us(&mut self, _client: u64) -> u64 {
        self.random.between(500, 40_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        let history = History::from_events(self.events.iter().cloned()).expect("made here");
        history.judge(SearchBudget::default()).check()
    }

    fn history(&self) -> Vec<HistoryEvent> {
        self.events.clone()
    }
}

/// The laws of each decision, and of the nodes.
#[derive(Default)]
struct DecisionLaws {
    laws: BTreeMap<GroupId, Vec<Box<dyn Law<Synod>>>>,
    movements: Movements,
}

impl ClusterLaws<Machine> for DecisionLaws {
    fn check(&mut self, nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
        if !self.movements.have_moved(nodes) {
            return Ok(());
        }
        check_nodes(nodes)?;
        for group in (1..=DECISIONS).map(GroupId) {
            let cores: Vec<_> = nodes.iter().filter_map(|view| Some((view.node, core_of(view, group)?))).collect();
            let laws = self.laws.entry(group).or_insert_with(laws);
            laws.iter_mut().try_for_each(|law| law.check(&cores))?;
        }
        Ok(())
    }

    /// Checks that each decision with an accepted value is decided, and that every node that counts has learned it.
    fn at_end(&mut self, nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
        check_nodes(nodes)?;
        for group in (1..=DECISIONS).map(GroupId) {
            let counting = || nodes.iter().filter(|view| !view.is_lost);
            let statuses: Vec<_> = counting().map(|view| Some(core_of(view, group)?.status())).collect();
            let is_open = statuses.iter().flatten().any(|status| status.accepted.is_some() || status.chosen.is_some());
            let known: BTreeSet<_> = statuses.iter().map(|status| status.as_ref()?.chosen.clone()).collect();
            if is_open && (known.len() > 1 || known.contains(&None)) {
                let detail = format!("decision {group}: {statuses:?}");
                return Err(Violation { law: "everybody learns", detail });
            }
        }
        Ok(())
    }
}

fn core_of<'a>(view: &NodeView<'a, Machine>, group: GroupId) -> Option<&'a Synod> {
    view.machine?.node().group::<Decision>(group)?.core()
}

const SHARED_NAME: &str = "two values had one name";
const DECISIONS: u64 = 32;
const VALUE_BYTES_MAX: usize = 5_000;
/// Time for which clients go on after the faults.
const AFTER_FAULTS_US: u64 = 11_000_000;
