//! Transactions over the shipped nodes: every node coordinates and takes part, with locks on keys; clients commit
//! transactions at any node and query their outcomes later.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use quorate_protocol::{NodeId, Random, Violation};
use quorate_runtime::GroupStart;
use quorate_simulation::node_machine::{Guest, GuestDesk, Host, HostLaws, NodeMachine, NodeSetup};
use quorate_simulation::schedule::{FaultKind, Generator, Schedule};
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, NodeView, Observation, Recording, RunOutcome, Workload, run,
};
use quorate_two_phase_commit::testing::{Manager, Work, laws};
use quorate_two_phase_commit::{
    AbortReason, Answer, Command, CommandId, Config, Decision, Event, Knowledge, OnePhase, Request, RequestKind,
    Settings, TransactionId, TransactionOutcome, TwoPhaseCommit,
};

use crate::beside::Beside;

/// The machine that is simulated.
pub(crate) type Machine = NodeMachine<Host<Vault>>;

/// Every fault but those of leaders, since there is no leader. A node whose disk fails halts, which is a crash like
/// others for the hosted group.
pub(crate) fn generator() -> Generator {
    let is_of_leaders = |kind: &FaultKind| matches!(kind, FaultKind::CrashNextLeader | FaultKind::Transfer);
    let mut generator = Generator::of::<Machine>();
    generator.kinds.retain(|kind| !is_of_leaders(kind));
    generator
}

/// Runs one schedule.
pub(crate) fn run_schedule(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let mut random = Random::new(schedule.seed ^ 0x7472_616e_7361);
    let mut drawn = |low, high| usize::try_from(random.between(low, high)).expect("small");
    let guest = Setup { outcomes_max: drawn(2, 60), write_bytes_max: drawn(700, 6_000) };
    let mut setup = NodeSetup::<Host<Vault>>::hosted(schedule, guest);
    setup.application.lost_percent = 2;
    let told = Rc::new(RefCell::new(BTreeMap::new()));
    let mut clients = Clients { random, told: Rc::clone(&told), lie: None, beside: Beside::of(schedule) };
    let mut laws = HostLaws::new(laws(), Box::new(move |nodes| check_at_end(nodes, &told.borrow())));
    run::<Machine>(&setup, schedule, &mut laws, &mut clients, recording)
}

/// A resource manager and its callers, on one node.
pub(crate) struct Vault {
    /// The continuation of each command.
    commands: BTreeMap<CommandId, Waiting>,
    /// The call that waits for each transaction.
    calls: BTreeMap<TransactionId, u64>,
    /// The answers since the start: a repeated request is not carried out again.
    answered: BTreeMap<(TransactionId, RequestKind), Answer>,
    /// Transactions that were notified of their end since the start: an earlier request that arrives afterwards is not
    /// carried out.
    ending: BTreeSet<TransactionId>,
}

/// Settings that are equal on all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    outcomes_max: usize,
    write_bytes_max: usize,
}

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    /// Commits this at these nodes, or aborts it at once.
    Transact { branches: BTreeMap<NodeId, Job>, then: Then },
    /// Asks for the outcome of an earlier one.
    Query(TransactionId),
}

/// The work of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Write(u8),
    Read,
    Refuse,
}

/// The client's next step after a request to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Wait,
    Abort,
}

/// The answer to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Committed(TransactionId),
    Known(TransactionId, Knowledge),
}

enum Waiting {
    Begin { call: u64, branches: BTreeMap<NodeId, Job>, then: Then },
    Commit { call: u64, transaction: TransactionId },
    Query { call: u64 },
    Nobody,
}

/// Transactions that clients know to be committed, and the nodes on which they wrote.
type Committed = BTreeMap<TransactionId, BTreeSet<NodeId>>;

impl Guest for Vault {
    type Core = TwoPhaseCommit;
    type Setup = Setup;
    type Call = Call;
    type Answer = Told;
    type Kept = Manager;

    const EXPECTED: &'static [&'static str] = &[
        COMMITTED,
        "a transaction wrote nothing",
        "a transaction was aborted on request",
        "a transaction was aborted by a vote",
        "a transaction was aborted for its votes came late",
        "a transaction was aborted for it could not be written",
        IN_DOUBT,
        "a branch in doubt got its locks back",
        "a branch was committed in one phase",
        "an outcome was forgotten",
        "an application failed to answer",
        "an answer to a request was lost",
        "a commit was not acknowledged for long",
        "a request was not done for long",
        "a branch was not taken",
    ];

    fn config(setup: &Setup, start: &GroupStart) -> Config {
        let settings = Settings {
            begin_timeout: Duration::from_secs(1),
            vote_timeout: Duration::from_millis(300),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_millis(400),
            request_timeout: Duration::from_millis(150),
            report_after: Duration::from_millis(800),
            lazy_delay: Duration::from_millis(100),
            transactions_max: 64,
            branches_max: 64,
            participants_max: 8,
            payload_bytes_max: 64,
            payload_bytes_total_max: 4_000,
            outcomes_max: setup.outcomes_max,
            // So small that one stuck transaction would stop everything, if its tombstones stayed.
            tombstones_max: 150,
            journal_bytes_max: 60_000,
            held_messages_max: 1_000,
            write_bytes_max: start.write_bytes_max.min(setup.write_bytes_max),
            frame_bytes_max: start.frame_bytes_max,
            one_phase: OnePhase::Shortcut,
        };
        Config::new(start.identity.node, start.seed, settings).expect("settings that fit each other")
    }

    fn start(_: &Setup, desk: &mut GuestDesk<'_, '_, Self>) -> Self {
        desk.kept().crash();
        let (commands, calls, answered) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { commands, calls, answered, ending: BTreeSet::new() }
    }

    fn call(&mut self, desk: &mut GuestDesk<'_, '_, Self>, call: u64, what: Call) {
        match what {
            Call::Transact { branches, then } => {
                let command = self.wait(desk, Waiting::Begin { call, branches, then });
                desk.command(Command::Begin { command });
            }
            Call::Query(transaction) => {
                let command = self.wait(desk, Waiting::Query { call });
                desk.command(Command::Query { command, transaction });
            }
        }
    }

    fn event(&mut self, desk: &mut GuestDesk<'_, '_, Self>, event: Event) {
        desk.kept().hear(&event);
        match event {
            Event::Begun { command, transaction } => self.on_begun(desk, command, transaction),
            Event::Refused { command, .. } => {
                let call = match self.commands.remove(&command) {
                    Some(Waiting::Begin { call, .. } | Waiting::Query { call }) => call,
                    Some(Waiting::Commit { call, transaction }) => {
                        self.calls.remove(&transaction);
                        call
                    }
                    Some(Waiting::Nobody) | None => return,
                };
                desk.answer(call, ClientAnswer::NotDone);
            }
            Event::Ended { transaction, outcome } => self.on_ended(desk, transaction, outcome),
            Event::Known { command, transaction, knowledge } => {
                if knowledge == Knowledge::Forgotten {
                    desk.sometimes("an outcome was forgotten");
                }
                if let Some(Waiting::Query { call }) = self.commands.remove(&command) {
                    desk.answer(call, ClientAnswer::Done(Told::Known(transaction, knowledge)));
                }
            }
            Event::InDoubt { .. } => desk.sometimes(IN_DOUBT),
            Event::Unacknowledged { .. } => desk.sometimes("a commit was not acknowledged for long"),
            Event::RequestOverdue { .. } => desk.sometimes("a request was not done for long"),
            Event::Unready { .. } => desk.sometimes("a branch was not taken"),
            _ => {}
        }
    }

    fn request(&mut self, desk: &mut GuestDesk<'_, '_, Self>, request: Request) -> Option<Answer> {
        let (transaction, kind) = (request.transaction(), request.kind());
        match kind {
            RequestKind::Commit | RequestKind::Abort => {
                self.ending.insert(transaction);
            }
            RequestKind::Prepare | RequestKind::Recover if self.ending.contains(&transaction) => return None,
            RequestKind::Recover => desk.sometimes("a branch in doubt got its locks back"),
            RequestKind::CommitOnePhase => desk.sometimes("a branch was committed in one phase"),
            RequestKind::Prepare => {}
        }
        let answer = match self.answered.get(&(transaction, kind)) {
            Some(answer) => *answer,
            None => desk.kept().answer(&request),
        };
        self.answered.insert((transaction, kind), answer);
        if desk.random().between(0, 40) == 0 {
            desk.sometimes("an application failed to answer");
            return Some(Answer::Failed);
        }
        Some(answer)
    }

    fn observe(&self, core: &TwoPhaseCommit) -> Observation {
        let status = core.status();
        Observation { term: status.epoch.0, ..Observation::default() }
    }
}

impl Vault {
    fn wait(&mut self, desk: &mut GuestDesk<'_, '_, Self>, waiting: Waiting) -> CommandId {
        let command = CommandId(desk.number());
        self.commands.insert(command, waiting);
        command
    }

    fn on_begun(&mut self, desk: &mut GuestDesk<'_, '_, Self>, command: CommandId, transaction: TransactionId) {
        let Some(Waiting::Begin { call, branches, then }) = self.commands.remove(&command) else { return };
        self.calls.insert(transaction, call);
        let command = self.wait(desk, Waiting::Commit { call, transaction });
        let branches = branches.into_iter().map(|(node, job)| (node, job.work().payload())).collect();
        desk.command(Command::Commit { command, transaction, branches });
        if then == Then::Abort {
            let command = self.wait(desk, Waiting::Nobody);
            desk.command(Command::Abort { command, transaction });
        }
    }

    fn on_ended(
        &mut self,
        desk: &mut GuestDesk<'_, '_, Self>,
        transaction: TransactionId,
        outcome: TransactionOutcome,
    ) {
        desk.sometimes(match outcome {
            TransactionOutcome::Committed => COMMITTED,
            TransactionOutcome::ReadOnly => "a transaction wrote nothing",
            TransactionOutcome::Aborted(AbortReason::Asked) => "a transaction was aborted on request",
            TransactionOutcome::Aborted(AbortReason::Refused(_)) => "a transaction was aborted by a vote",
            TransactionOutcome::Aborted(AbortReason::TimedOut) => "a transaction was aborted for its votes came late",
            TransactionOutcome::Aborted(AbortReason::NotWritten) => {
                "a transaction was aborted for it could not be written"
            }
            TransactionOutcome::Aborted(AbortReason::Unready(..)) => {
                "a transaction was aborted for a branch that was not taken"
            }
            _ => "a transaction ended in another way",
        });
        let Some(call) = self.calls.remove(&transaction) else { return };
        let is_done = matches!(outcome, TransactionOutcome::Committed | TransactionOutcome::ReadOnly);
        desk.answer(
            call,
            if is_done { ClientAnswer::Done(Told::Committed(transaction)) } else { ClientAnswer::NotDone },
        );
    }
}

impl Job {
    fn work(self) -> Work {
        match self {
            Self::Write(key) => Work::Write(key),
            Self::Read => Work::Read,
            Self::Refuse => Work::Refuse,
        }
    }
}

/// Clients that commit transactions, and query the outcomes of earlier ones.
struct Clients {
    random: Random,
    told: Rc<RefCell<Committed>>,
    /// A false answer about a committed transaction.
    lie: Option<String>,
    /// The observer of transactions beside a dead node.
    beside: Option<Beside>,
}

impl Clients {
    fn transaction(&mut self, nodes: u64) -> Call {
        let mut branches = BTreeMap::new();
        let likely = self.random.between(20, 90);
        for node in (1..=nodes).map(NodeId) {
            let key = u8::try_from(self.random.between(0, 40)).expect("small");
            if self.random.between(0, 100) < likely {
                branches.insert(
                    node,
                    match self.random.between(0, 60) {
                        0 => Job::Refuse,
                        1..10 => Job::Read,
                        _ => Job::Write(key),
                    },
                );
            }
        }
        if branches.is_empty() {
            branches.insert(NodeId(1), Job::Write(0));
        }
        let then = if self.random.between(0, 30) == 0 { Then::Abort } else { Then::Wait };
        Call::Transact { branches, then }
    }
}

impl Workload<Machine> for Clients {
    fn call(&mut self, client: u64, cluster: ClusterInfo, at_us: u64) -> (NodeId, Call) {
        let count = self.told.borrow().len() as u64;
        if count > 0 && self.random.between(0, 8) == 0 {
            let place = usize::try_from(self.random.between(0, count)).expect("small");
            let transaction = *self.told.borrow().keys().nth(place).expect("below the count");
            return (server_of(transaction), Call::Query(transaction));
        }
        let coordinator = NodeId(self.random.between(1, cluster.nodes + 1));
        if let Some(beside) = &mut self.beside {
            beside.called(client, coordinator, at_us);
        }
        (coordinator, self.transaction(cluster.nodes))
    }

    fn answered(&mut self, client: u64, what: &Call, answer: &ClientAnswer<Told>, at_us: u64) {
        if let (Call::Transact { branches, .. }, Some(beside)) = (what, &mut self.beside) {
            beside.answered(client, branches, answer, at_us);
        }
        match (what, answer) {
            (Call::Transact { branches, .. }, ClientAnswer::Done(Told::Committed(transaction))) => {
                let writes = branches.iter().filter(|(_, job)| matches!(job, Job::Write(_)));
                let writers: BTreeSet<NodeId> = writes.map(|(node, _)| *node).collect();
                if !writers.is_empty() {
                    self.told.borrow_mut().insert(*transaction, writers);
                }
            }
            // A coordinator that crashed may have to ask the only participant again.
            (Call::Query(_), ClientAnswer::Done(Told::Known(transaction, knowledge)))
                if !matches!(knowledge, Knowledge::Committed | Knowledge::Forgotten | Knowledge::InDoubt) =>
            {
                self.lie.get_or_insert(format!("{transaction} was committed, and then {knowledge:?}"));
            }
            _ => {}
        }
    }

    fn is_write(&self, what: &Call) -> bool {
        matches!(what, Call::Transact { .. })
    }

    fn pause_us(&mut self, _client: u64) -> u64 {
        self.random.between(1_000, 40_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        match self.lie.take() {
            Some(detail) => Err(Violation { law: "what is committed stays so", detail }),
            None => self.beside.as_ref().map_or(Ok(()), Beside::judge),
        }
    }
}

/// The node that decides on a transaction: each node serves the coordinator of its own log.
fn server_of(transaction: TransactionId) -> NodeId {
    NodeId(transaction.coordinator.0)
}

/// Checks that all answers to clients were true, and that nothing is in doubt, locked or kept without need. A node that
/// lost its disk is down for good: transactions that depend on it may stay.
fn check_at_end(nodes: &[NodeView<'_, Machine>], told: &Committed) -> Result<(), Violation> {
    let lost: BTreeSet<NodeId> = nodes.iter().filter(|view| view.is_lost).map(|view| view.node).collect();
    let broken = |law, detail| Err(Violation { law, detail });
    for view in nodes.iter().filter(|view| !view.is_lost) {
        let (node, manager) = (view.node, view.disk.kept());
        let Some(core) = view.machine.and_then(NodeMachine::core) else {
            return broken(DOUBT, format!("node {node} is down"));
        };
        let status = core.status();
        for (transaction, _) in told.iter().filter(|(_, writers)| writers.contains(&node)) {
            let effects = manager.effects.iter().filter(|(id, _)| id == transaction).count();
            // The node with the decision may be gone for good.
            let is_in_doubt = lost.contains(&server_of(*transaction)) && status.in_doubt.contains_key(transaction);
            if effects != 1 && !is_in_doubt {
                return broken(TOLD, format!("{transaction} was committed, and on node {node} done {effects} times"));
            }
        }
        let may_stay = |transaction: &TransactionId| lost.contains(&server_of(*transaction));
        let doubts = status.in_doubt.iter().find(|(transaction, _)| lost.is_empty() && !may_stay(transaction));
        if let Some((transaction, age)) = doubts {
            return broken(DOUBT, format!("{transaction} has been in doubt for {age:?} on node {node}"));
        }
        let silent = status.unacknowledged.iter().find(|(_, silent)| silent.iter().any(|it| !lost.contains(it)));
        if let Some((transaction, silent)) = silent {
            return broken(DOUBT, format!("{transaction} is not finished on node {node}: {silent:?} do not answer"));
        }
        if let Some((key, holder)) = manager.locks.iter().find(|(_, holder)| !may_stay(holder)) {
            return broken("no lock remains", format!("{holder} holds {key} on node {node}"));
        }
        if lost.is_empty() && (status.coordinated, status.branches, status.tombstones) != (0, 0, 0) {
            return broken("logs are collected", format!("on node {node}: {status:?}"));
        }
    }
    one_decision(nodes)
}

/// Checks that no branch that wrote is committed on one node and aborted on another.
fn one_decision(nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
    let mut ends: BTreeMap<TransactionId, (Decision, NodeId)> = BTreeMap::new();
    for view in nodes.iter().filter(|view| !view.is_lost) {
        for (transaction, decision) in &view.disk.kept().ended {
            let (before, node) = *ends.entry(*transaction).or_insert((*decision, view.node));
            if before != *decision {
                let detail = format!("{transaction}: {before:?} on node {node}, {decision:?} on node {}", view.node);
                return Err(Violation { law: "one outcome", detail });
            }
        }
    }
    Ok(())
}

const COMMITTED: &str = "a transaction was committed";
const IN_DOUBT: &str = "a transaction was in doubt for long";
const TOLD: &str = "what was committed is done everywhere";
const DOUBT: &str = "nothing stays in doubt";
