//! Three-phase commit with quorums on the shipped node: every node coordinates transactions and takes part in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{NodeId, Random, Violation};
use quorate_runtime::GroupStart;
use quorate_simulation::campaign::Requirements;
use quorate_simulation::node_machine::{EXPECTED_OF_NODES, Guest, GuestDesk, Host, HostLaws, NodeMachine, NodeSetup};
use quorate_simulation::schedule::Schedule;
use quorate_simulation::world::{
    ClientAnswer, ClusterInfo, Machine as _, NodeView, Observation, Recording, RunOutcome, Workload, run,
};
use quorate_two_phase_commit::three_phase::testing::OneDecision;
use quorate_two_phase_commit::three_phase::{Answer, Command, Config, Event, Request, Settings, ThreePhaseCommit};
use quorate_two_phase_commit::{CommandId, Decision, TransactionId};

use crate::protocols::Protocol;
use crate::transactions;

/// Transactions over all nodes; the classical form, which is not safe, is left to a test.
pub const THREE_PHASE_COMMIT: Protocol = Protocol {
    name: "three-phase-commit",
    about: "atomic commit by a majority of the participants",
    generator: transactions::generator,
    run: run_schedule,
    expected: &[Machine::EXPECTED, EXPECTED_OF_NODES],
    requirements: || Requirements { acknowledged_median: 200, each_fault: 100, reached: Vec::new() },
};

type Machine = NodeMachine<Host<Voter>>;

fn run_schedule(schedule: &Schedule, recording: Recording) -> RunOutcome {
    let mut setup = NodeSetup::<Host<Voter>>::hosted(schedule, ());
    setup.application.lost_percent = 2;
    let mut clients = Clients { random: Random::new(schedule.seed ^ 0x0074_6872_6565) };
    let mut laws = HostLaws::new(vec![Box::<OneDecision>::default()], Box::new(check_at_end));
    run::<Machine>(&setup, schedule, &mut laws, &mut clients, recording)
}

/// An application on one node, which votes as its clients say.
struct Voter {
    /// The call of each command that has not begun.
    commands: BTreeMap<CommandId, u64>,
    /// The call that waits for each transaction.
    calls: BTreeMap<TransactionId, u64>,
}

/// A client's transaction: its participants, and those of them that vote no.
#[derive(Clone, Debug, Hash)]
struct Call {
    participants: BTreeSet<NodeId>,
    refusing: BTreeSet<NodeId>,
}

/// The decisions that an application was told, and those that it was told in two ways.
#[derive(Clone, Debug, Default)]
struct Told {
    decided: BTreeMap<TransactionId, Decision>,
    twice: BTreeSet<TransactionId>,
}

impl Guest for Voter {
    type Core = ThreePhaseCommit;
    type Setup = ();
    type Call = Call;
    type Answer = TransactionId;
    type Kept = Told;

    const EXPECTED: &'static [&'static str] =
        &[COMMITTED, ABORTED, "a vote was no", "a node started with a transaction that it did not know the end of"];

    fn config((): &(), start: &GroupStart) -> Config {
        let settings = Settings {
            vote_timeout: Duration::from_millis(400),
            silence_timeout: Duration::from_millis(200),
            transactions_max: 256,
            participants_max: 8,
            payload_bytes_max: 64,
            held_messages_max: 1_000,
            write_bytes_max: start.write_bytes_max.min(4_000),
            ..Settings::default()
        };
        Config::new(start.identity.node, start.seed, settings).expect("settings that fit each other")
    }

    fn start((): &(), _: &mut GuestDesk<'_, '_, Self>) -> Self {
        Self { commands: BTreeMap::new(), calls: BTreeMap::new() }
    }

    fn call(&mut self, desk: &mut GuestDesk<'_, '_, Self>, call: u64, what: Call) {
        let command = CommandId(desk.number());
        self.commands.insert(command, call);
        let work = |node| if what.refusing.contains(&node) { REFUSED } else { b"yes" };
        let branches = what.participants.iter().map(|node| (*node, Bytes::from_static(work(*node)))).collect();
        desk.command(Command::Commit { command, branches });
    }

    fn event(&mut self, desk: &mut GuestDesk<'_, '_, Self>, event: Event) {
        match event {
            Event::Begun { command, transaction } => {
                if let Some(call) = self.commands.remove(&command) {
                    self.calls.insert(transaction, call);
                }
            }
            Event::Refused { command, .. } => {
                if let Some(call) = self.commands.remove(&command) {
                    desk.answer(call, ClientAnswer::NotDone);
                }
            }
            Event::Recovered { .. } => {
                desk.sometimes("a node started with a transaction that it did not know the end of");
            }
            Event::Decided { transaction, decision } => {
                desk.sometimes(if decision == Decision::Commit { COMMITTED } else { ABORTED });
                let told = desk.kept();
                if *told.decided.entry(transaction).or_insert(decision) != decision {
                    told.twice.insert(transaction);
                }
                if let Some(call) = self.calls.remove(&transaction) {
                    let is_done = decision == Decision::Commit;
                    desk.answer(call, if is_done { ClientAnswer::Done(transaction) } else { ClientAnswer::NotDone });
                }
            }
        }
    }

    fn request(&mut self, desk: &mut GuestDesk<'_, '_, Self>, request: Request) -> Option<Answer> {
        let Request::Prepare { payload, .. } = request;
        if payload != REFUSED {
            return Some(Answer::Yes);
        }
        desk.sometimes("a vote was no");
        Some(Answer::No)
    }

    fn observe(&self, core: &ThreePhaseCommit) -> Observation {
        Observation { term: core.epoch().0, ..Observation::default() }
    }
}

/// Clients that commit transactions at any node.
struct Clients {
    random: Random,
}

impl Workload<Machine> for Clients {
    fn call(&mut self, _client: u64, cluster: ClusterInfo, _at_us: u64) -> (NodeId, Call) {
        let coordinator = NodeId(self.random.between(1, cluster.nodes + 1));
        let others = (1..=cluster.nodes).map(NodeId).filter(|_| self.random.between(0, 100) < 70);
        let participants: BTreeSet<NodeId> = others.chain([coordinator]).collect();
        let refusing = participants.iter().copied().filter(|_| self.random.between(0, 60) == 0).collect();
        (coordinator, Call { participants, refusing })
    }

    fn answered(&mut self, _: u64, _: &Call, _: &ClientAnswer<TransactionId>, _: u64) {}

    fn pause_us(&mut self, _client: u64) -> u64 {
        self.random.between(1_000, 40_000)
    }

    fn judge(&mut self) -> Result<(), Violation> {
        Ok(())
    }
}

/// Checks that no two applications were told different decisions, and that everything is decided if no node is lost.
fn check_at_end(nodes: &[NodeView<'_, Machine>]) -> Result<(), Violation> {
    let mut decided: BTreeMap<TransactionId, (NodeId, Decision)> = BTreeMap::new();
    for view in nodes {
        let (node, told) = (view.node, view.disk.kept());
        if let Some(transaction) = told.twice.first() {
            return broken("one decision", format!("node {node} was told two decisions on {transaction}"));
        }
        for (transaction, decision) in &told.decided {
            let (first, known) = *decided.entry(*transaction).or_insert((node, *decision));
            if known != *decision {
                let detail = format!("{transaction}: {known:?} on node {first}, {decision:?} on node {node}");
                return broken("one decision", detail);
            }
        }
    }
    if nodes.iter().any(|view| view.is_lost) {
        return Ok(());
    }
    for view in nodes {
        let Some(core) = view.machine.and_then(NodeMachine::core) else {
            return broken("everything is decided", format!("node {} is down", view.node));
        };
        if let Some(transaction) = core.undecided().first() {
            return broken("everything is decided", format!("{transaction} is not decided on node {}", view.node));
        }
    }
    Ok(())
}

fn broken(law: &'static str, detail: String) -> Result<(), Violation> {
    Err(Violation { law, detail })
}

const COMMITTED: &str = "a transaction was committed";
const ABORTED: &str = "a transaction was aborted";
const REFUSED: &[u8] = b"no";
