//! Registers in small worlds: one history, whatever is lost, repeated, late or refused, and whoever crashes. Nothing
//! that was deleted comes back.

use bytes::Bytes;
use quorate_paxos::register::message::{Accept, Prepare, Promise};
use quorate_paxos::register::testing::{BallotsOfTheirOwn, OneHistory, PromisesKept, Records};
use quorate_paxos::register::{
    Change, ChangeOutcome, Command, Config, Event, Expected, Functions, Message, ReadOutcome, Register, Roles, Settings,
};
use quorate_paxos::{Ballot, QuorumSystem};
use quorate_protocol::testing::Stream;
use quorate_protocol::{Input, Law, NodeId, ProposalId, ReadId, Recovery, Violation};
use stateright::Property;

use crate::check::{exhaust, find, is_full};
use crate::model::{Budget, Model, State};
use crate::node::{Node, OWN_LAWS};
use crate::subject::Subject;

const KEY: &[u8] = b"k";

/// Two proposers and one register, and a bug between their cores and the world.
struct Registers {
    world: World,
    round_max: u64,
    bug: Option<Bug>,
}

/// What the nodes are and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// Three acceptors. Node 1 writes, node 2 writes if there is nothing, or reads.
    Duel,
    /// One acceptor, which is node 2. Node 1 writes, and node 2 deletes and removes.
    Deletion,
}

/// What is wrong with every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Its disk says that writes are durable when they are not.
    DiskLies,
    /// It starts again with an empty disk, as if nothing had been promised.
    ForgetsEverything,
    /// As a proposer it does not look at what was accepted before.
    AdoptsNothing,
    /// As an acceptor it does not look at ages.
    IgnoresAges,
}

/// What is asked of a node again and again.
#[derive(Clone, Debug)]
struct Facts {
    ballot: Option<Ballot>,
    /// The highest round of a register that was removed here, durably.
    removed: u64,
}

#[derive(Clone, Debug, Default, Hash)]
struct Memory {
    history: OneHistory,
    promises: PromisesKept,
    ballots: BallotsOfTheirOwn,
    /// What applications were told.
    is_done: bool,
    is_conflict: bool,
    is_read: bool,
}

impl Registers {
    fn of(world: World, round_max: u64) -> Self {
        Self { world, round_max, bug: None }
    }

    fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }
}

fn change(node: NodeId, change: Change) -> Command {
    let id = ProposalId { sequence: node.0, ..ProposalId::default() };
    Command::Change { key: Bytes::from_static(KEY), id, change }
}

fn set(node: NodeId) -> Command {
    change(node, Change::Set(Bytes::from_static(b"one")))
}

impl Subject for Registers {
    type Core = Register;
    type Facts = Facts;
    type Memory = Memory;

    fn nodes(&self) -> Vec<NodeId> {
        match self.world {
            World::Duel => vec![NodeId(1), NodeId(2), NodeId(3)],
            World::Deletion => vec![NodeId(1), NodeId(2)],
        }
    }

    fn config(&self, node: NodeId) -> Config {
        let proposers = [NodeId(1), NodeId(2)];
        let acceptors = if self.world == World::Duel { self.nodes() } else { vec![NodeId(2)] };
        let roles = Roles::of(QuorumSystem::majority(acceptors).expect("distinct")).with_proposers(proposers);
        Config::new(node, node.0, roles, Functions::default(), Settings::default()).expect("valid settings")
    }

    fn commands(&self, node: &Node<Self>, given: u8) -> Vec<Command> {
        let read = || Command::Read { key: Bytes::from_static(KEY), id: ReadId(1) };
        match (self.world, node.id, given) {
            (_, NodeId(1), 0) => vec![set(node.id)],
            (World::Duel, NodeId(2), 1) => {
                let (expected, value) = (Expected::Value(None), Some(Bytes::from_static(b"two")));
                let write = change(node.id, Change::CompareAndSet { expected, value });
                if self.bug.is_some() { vec![write] } else { vec![write, read()] }
            }
            (World::Deletion, NodeId(2), 1) => vec![change(node.id, Change::Delete)],
            (World::Deletion, NodeId(2), 2) => vec![read()],
            _ => Vec::new(),
        }
    }

    fn answers(&self, _node: NodeId, request: &std::convert::Infallible) -> Vec<std::convert::Infallible> {
        match *request {}
    }

    fn facts(&self, core: &Register, disk: &Stream) -> Facts {
        Facts { ballot: core.ballot(KEY), removed: disk.node_state().removed }
    }

    /// No answer depends on whether a deadline has come.
    fn depends_on_time(&self, _receiver: &Node<Self>, _message: &Message) -> bool {
        false
    }

    /// A node that starts again begins above the rounds that it had reserved.
    fn is_within(&self, node: &Node<Self>) -> bool {
        node.facts.ballot.is_none_or(|ballot| ballot.round % 1024 <= self.round_max)
    }

    fn told(&self, memory: &mut Memory, _node: NodeId, event: &Event) {
        match event {
            Event::Changed { outcome: ChangeOutcome::Done(_), .. } => memory.is_done = true,
            Event::Changed { outcome: ChangeOutcome::Conflict(_), .. } => memory.is_conflict = true,
            Event::Read { outcome: ReadOutcome::Found(found), .. } => memory.is_read |= found.value.is_some(),
            _ => {}
        }
    }

    fn judge(&self, memory: &mut Memory, state: &State<Self>, _crashed: Option<NodeId>) -> Result<(), Violation> {
        let cores: Vec<(NodeId, &Register)> = state.nodes.iter().map(|node| (node.id, &node.core)).collect();
        memory.history.check(&cores)?;
        memory.promises.check(&cores)?;
        memory.ballots.check(&cores)
    }

    fn properties(&self) -> Vec<Property<Model<Self>>> {
        let mut properties = vec![
            Property::<Model<Self>>::always(OWN_LAWS, |_, state| state.keeps(OWN_LAWS)),
            Property::<Model<Self>>::always("one history", |_, state| state.keeps("one history")),
            Property::<Model<Self>>::always("promises kept", |_, state| state.keeps("promises kept")),
            Property::<Model<Self>>::always("ballots of their own", |_, state| state.keeps("ballots of their own")),
        ];
        if self.bug.is_none() {
            properties.extend([
                Property::<Model<Self>>::sometimes(DONE, |_, state| state.memory().is_done),
                Property::<Model<Self>>::sometimes(CONFLICT, |_, state| state.memory().is_conflict),
                Property::<Model<Self>>::sometimes(READ, |_, state| state.memory().is_read),
                Property::<Model<Self>>::sometimes(DUEL, |_, state| {
                    let refused = state.network.iter().any(|envelope| matches!(envelope.message, Message::Nack(_)));
                    refused && state.nodes.iter().filter(|node| node.facts.ballot.is_some()).count() > 1
                }),
                Property::<Model<Self>>::sometimes(REMOVED, |_, state| {
                    state.nodes.iter().any(|node| node.facts.removed > 0)
                }),
                Property::<Model<Self>>::sometimes(LATE, |_, state| {
                    let is_removed = state.nodes.iter().any(|node| node.facts.removed > 0);
                    let is_old = |message: &Message| matches!(message, Message::Accept(Accept { age: 0, .. }));
                    is_removed && state.network.iter().any(|envelope| is_old(&envelope.message))
                }),
            ]);
        }
        properties
    }

    /// Answers to a ballot that is over: nobody waits for them.
    fn is_dead(&self, receiver: &Node<Self>, message: &Message) -> bool {
        let ballot = match message {
            Message::Promise(message) => message.ballot,
            Message::Accepted(message) => message.ballot,
            Message::Nack(message) => message.ballot,
            _ => return false,
        };
        receiver.facts.ballot != Some(ballot)
    }

    fn has_drawn_waits(&self) -> bool {
        true
    }

    fn on_input(&self, _core: &Register, input: Input<Register>) -> Input<Register> {
        match (self.bug, input) {
            (Some(Bug::AdoptsNothing), Input::Message { from, message: Message::Promise(promise) }) => {
                Input::Message { from, message: Message::Promise(Promise { accepted: None, ..promise }) }
            }
            (Some(Bug::IgnoresAges), Input::Message { from, message: Message::Accept(accept) }) => {
                Input::Message { from, message: Message::Accept(Accept { age: u64::MAX, ..accept }) }
            }
            (Some(Bug::IgnoresAges), Input::Message { from, message: Message::Prepare(prepare) }) => {
                Input::Message { from, message: Message::Prepare(Prepare { age: u64::MAX, ..prepare }) }
            }
            (_, input) => input,
        }
    }

    fn on_recovery(&self, recovery: Recovery) -> Recovery {
        if self.bug == Some(Bug::ForgetsEverything) { Recovery::default() } else { recovery }
    }

    fn says_written_too_early(&self) -> bool {
        self.bug == Some(Bug::DiskLies)
    }
}

const DONE: &str = "a change is done";
const CONFLICT: &str = "a change finds another value";
const READ: &str = "a read finds a value";
const DUEL: &str = "a proposer is overtaken";
const REMOVED: &str = "a deleted register is removed";
const LATE: &str = "a message of before the removal is still on its way";

#[test]
fn two_proposers() {
    let rounds = if is_full() { 5 } else { 3 };
    let budget = Budget { commands: 2, ..Budget::default() };
    exhaust("two proposers of a register", Registers::of(World::Duel, rounds), budget, &[DONE, CONFLICT, READ, DUEL]);
}

#[test]
fn a_crash_of_a_node() {
    let budget = Budget { commands: if is_full() { 2 } else { 1 }, crashes: 1, ..Budget::default() };
    exhaust("a crash with a register", Registers::of(World::Duel, 3), budget, &[DONE]);
}

#[test]
fn a_deletion() {
    let budget = Budget { commands: 2, timeouts: 1, duplicates: 1, ..Budget::default() };
    let milestones = [DONE, REMOVED, LATE];
    exhaust("a deletion", Registers::of(World::Deletion, 8), budget, &milestones);
}

#[test]
fn a_deletion_and_a_crash() {
    let budget = Budget { commands: 2, timeouts: 1, crashes: 1, ..Budget::default() };
    exhaust("a deletion and a crash", Registers::of(World::Deletion, 8), budget, &[DONE, REMOVED]);
}

#[test]
fn finds_a_disk_that_lies() {
    let budget = Budget { commands: 1, crashes: 1, ..Budget::default() };
    let law = find("a disk that lies about registers", Registers::of(World::Duel, 3).with(Bug::DiskLies), budget);
    assert_eq!(law, "promises kept");
}

#[test]
fn finds_a_forgotten_promise() {
    let budget = Budget { commands: 1, crashes: 1, ..Budget::default() };
    let law = find("a forgotten register", Registers::of(World::Duel, 3).with(Bug::ForgetsEverything), budget);
    assert_eq!(law, "promises kept");
}

#[test]
fn finds_a_proposer_that_adopts_nothing() {
    let budget = Budget { commands: 2, ..Budget::default() };
    let law = find("a register that adopts nothing", Registers::of(World::Duel, 3).with(Bug::AdoptsNothing), budget);
    assert_eq!(law, "one history");
}

#[test]
fn finds_what_comes_back_after_its_deletion() {
    let budget = Budget { commands: 2, timeouts: 1, duplicates: 1, ..Budget::default() };
    let law = find("ages that are ignored", Registers::of(World::Deletion, 8).with(Bug::IgnoresAges), budget);
    assert_eq!(law, "promises kept");
}
