//! Two-phase commit: node 1 coordinates, nodes 2 and 3 take part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::Stream;
use quorate_protocol::{Input, Law, NodeId, Recovery, Signal, Violation};
use quorate_two_phase_commit::message::Stamp;
use quorate_two_phase_commit::testing::{
    CompleteCommit, DurableDecision, NoNumberTwice, OneOutcome, UnanimousCommit, committed,
};
use quorate_two_phase_commit::{
    Answer, Command, CommandId, Config, CoordinatorId, Decision, Epoch, Event, Message, Request, Settings,
    TransactionId, TransactionNumber, TransactionOutcome, TwoPhaseCommit, Vote,
};
use stateright::Property;

use crate::check::{exhaust, find, is_full};
use crate::model::{Budget, Model, State};
use crate::node::{Node, OWN_LAWS};
use crate::subject::Subject;

/// One transaction over some nodes, and a bug between their cores and the world.
struct Transaction {
    participants: Vec<NodeId>,
    /// What an application may answer when it is asked to prepare.
    votes: Vec<Vote>,
    bug: Option<Bug>,
}

/// What is wrong with every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Its disk says that writes are durable when they are not.
    DiskLies,
    /// In doubt for too long it decides alone, as in three-phase commit.
    DecidesAlone,
    /// It takes a no for a yes.
    HearsOnlyYes,
    /// It starts again without its decisions.
    ForgetsDecisions,
    /// It starts again without its votes.
    ForgetsVotes,
}

#[derive(Clone, Debug)]
struct Facts {
    in_doubt: Vec<TransactionId>,
}

#[derive(Clone, Debug, Default, Hash)]
struct Memory {
    outcome: OneOutcome,
    durable: DurableDecision,
    unanimous: UnanimousCommit,
    complete: CompleteCommit,
    numbers: NoNumberTwice,
    /// How branches ended.
    settled: BTreeSet<(NodeId, Decision)>,
    /// What the client was told.
    ended: Option<bool>,
}

impl Transaction {
    fn over(participants: &[u64], votes: &[Vote]) -> Self {
        let participants = participants.iter().copied().map(NodeId).collect();
        Self { participants, votes: votes.to_vec(), bug: None }
    }

    fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }
}

impl Subject for Transaction {
    type Core = TwoPhaseCommit;
    type Facts = Facts;
    type Memory = Memory;

    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1), NodeId(2), NodeId(3)]
    }

    fn config(&self, node: NodeId) -> Config {
        // What is not about the decision comes last: it is not what the deadlines are for here.
        let settings = Settings {
            vote_timeout: Duration::from_secs(1),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(1),
            begin_timeout: Duration::from_secs(10),
            lazy_delay: Duration::from_secs(30),
            report_after: Duration::from_hours(1),
            request_timeout: Duration::from_hours(2),
            ..Settings::default()
        };
        Config::new(node, node.0, settings).expect("valid settings")
    }

    fn commands(&self, node: &Node<Self>, given: u8) -> Vec<Command> {
        let (command, transaction) = (CommandId(u64::from(given)), TRANSACTION);
        if CoordinatorId::of_node(node.id) != transaction.coordinator {
            return Vec::new();
        }
        match given {
            0 => vec![Command::Begin { command }],
            1 => {
                let branches: BTreeMap<NodeId, Bytes> =
                    self.participants.iter().map(|node| (*node, Bytes::from_static(b"x"))).collect();
                vec![Command::Commit { command, transaction, branches }]
            }
            _ => vec![Command::Abort { command, transaction }],
        }
    }

    fn answers(&self, _node: NodeId, request: &Request) -> Vec<Answer> {
        match request {
            Request::Prepare { .. } => self.votes.iter().copied().map(Answer::Voted).collect(),
            // What was done once is answered alike whenever it is asked for.
            Request::CommitOnePhase { .. } if self.votes.contains(&Vote::Yes) => {
                vec![Answer::Decided(Decision::Commit)]
            }
            Request::CommitOnePhase { .. } => vec![Answer::Decided(Decision::Abort)],
            Request::Recover { .. } | Request::Commit { .. } | Request::Abort { .. } => vec![Answer::Done],
        }
    }

    fn facts(&self, core: &TwoPhaseCommit, _disk: &Stream) -> Facts {
        Facts { in_doubt: core.status().in_doubt.into_keys().collect() }
    }

    fn depends_on_time(&self, _receiver: &Node<Self>, _message: &Message) -> bool {
        false
    }

    fn is_within(&self, _node: &Node<Self>) -> bool {
        true
    }

    fn told(&self, memory: &mut Memory, node: NodeId, event: &Event) {
        match event {
            Event::Settled { decision, .. } => {
                memory.settled.insert((node, *decision));
            }
            Event::Ended { outcome, .. } => memory.ended = Some(*outcome == TransactionOutcome::Committed),
            _ => {}
        }
    }

    fn judge(&self, memory: &mut Memory, state: &State<Self>, crashed: Option<NodeId>) -> Result<(), Violation> {
        let cores: Vec<(NodeId, &TwoPhaseCommit)> = state.nodes.iter().map(|node| (node.id, &node.core)).collect();
        if let Some(crashed) = crashed {
            let others: Vec<_> = cores.iter().copied().filter(|(node, _)| *node != crashed).collect();
            memory.numbers.check(&others)?;
        }
        memory.outcome.check(&cores)?;
        memory.durable.check(&cores)?;
        memory.unanimous.check(&cores)?;
        memory.complete.check(&cores)?;
        memory.numbers.check(&cores)?;
        // The record of a commit waits for another write, and so does its event.
        for (node, core) in &cores {
            if committed(core).next().is_some() {
                memory.settled.insert((*node, Decision::Commit));
            }
        }
        let told_committed = memory.ended == Some(true);
        let was_aborted = memory.settled.iter().any(|(_, decision)| *decision == Decision::Abort);
        let was_committed = memory.settled.iter().any(|(_, decision)| *decision == Decision::Commit);
        if (told_committed && was_aborted) || (memory.ended == Some(false) && was_committed) {
            let detail = format!("the client was told {:?}, and {:?}", memory.ended, memory.settled);
            return Err(Violation { law: TOLD, detail });
        }
        Ok(())
    }

    fn properties(&self) -> Vec<Property<Model<Self>>> {
        let mut properties = vec![
            Property::<Model<Self>>::always(OWN_LAWS, |_, state| state.keeps(OWN_LAWS)),
            Property::<Model<Self>>::always("one outcome", |_, state| state.keeps("one outcome")),
            Property::<Model<Self>>::always("durable decision", |_, state| state.keeps("durable decision")),
            Property::<Model<Self>>::always("unanimous commit", |_, state| state.keeps("unanimous commit")),
            Property::<Model<Self>>::always("complete commit", |_, state| state.keeps("complete commit")),
            Property::<Model<Self>>::always("no number twice", |_, state| state.keeps("no number twice")),
            Property::<Model<Self>>::always(TOLD, |_, state| state.keeps(TOLD)),
        ];
        if self.bug.is_none() {
            properties.extend(milestones());
        }
        properties
    }

    /// What a coordinator says of its epoch when it meets others only spares questions.
    fn is_dead(&self, _receiver: &Node<Self>, message: &Message) -> bool {
        matches!(message, Message::Finished { .. })
    }

    fn has_drawn_waits(&self) -> bool {
        true
    }

    fn on_input(&self, core: &TwoPhaseCommit, input: Input<TwoPhaseCommit>) -> Input<TwoPhaseCommit> {
        match (self.bug, input) {
            (Some(Bug::DecidesAlone), Input::Signal(Signal::Timeout)) => {
                let in_doubt = core.status().in_doubt.into_keys().next();
                let Some(transaction) = in_doubt else { return Input::Signal(Signal::Timeout) };
                let stamp = Stamp { coordinator: transaction.coordinator, epoch: Epoch(9), ..Stamp::default() };
                let message = Message::Presume { stamp, transaction };
                Input::Message { from: COORDINATOR, message }
            }
            (Some(Bug::HearsOnlyYes), Input::Message { from, message: Message::Vote { transaction, .. } }) => {
                Input::Message { from, message: Message::Vote { transaction, vote: Vote::Yes } }
            }
            (_, input) => input,
        }
    }

    fn on_recovery(&self, mut recovery: Recovery) -> Recovery {
        let lost = match self.bug {
            Some(Bug::ForgetsDecisions) => DECISION,
            Some(Bug::ForgetsVotes) => VOTE,
            _ => return recovery,
        };
        let kept = move |record: &Result<(u64, Bytes), _>| {
            record.as_ref().is_ok_and(|(_, bytes)| bytes.get(1).is_none_or(|kind| *kind != lost))
        };
        recovery.journal = recovery.journal.map(|records| Box::new(records.filter(kept)) as _);
        recovery
    }

    fn says_written_too_early(&self) -> bool {
        self.bug == Some(Bug::DiskLies)
    }
}

fn milestones() -> [Property<Model<Transaction>>; 5] {
    [
        Property::<Model<Transaction>>::sometimes(COMMITTED, |_, state| settled(state, Decision::Commit) == 2),
        Property::<Model<Transaction>>::sometimes(ABORTED, |_, state| state.memory().ended == Some(false)),
        Property::<Model<Transaction>>::sometimes(IN_DOUBT, |_, state| {
            state.nodes.iter().any(|node| !node.facts.in_doubt.is_empty())
        }),
        Property::<Model<Transaction>>::sometimes(HALF, |_, state| {
            let in_doubt = state.nodes.iter().any(|node| !node.facts.in_doubt.is_empty());
            in_doubt && settled(state, Decision::Commit) == 1
        }),
        Property::<Model<Transaction>>::sometimes(TOLD_COMMITTED, |_, state| state.memory().ended == Some(true)),
    ]
}

/// How many branches ended so.
fn settled(state: &State<Transaction>, decision: Decision) -> usize {
    state.memory().settled.iter().filter(|(_, settled)| *settled == decision).count()
}

/// The node that decides.
const COORDINATOR: NodeId = NodeId(1);

/// The first transaction of its coordinator.
const TRANSACTION: TransactionId = TransactionId {
    coordinator: CoordinatorId::of_node(COORDINATOR),
    number: TransactionNumber { epoch: Epoch(1), sequence: 1 },
};

const COMMITTED: &str = "committed everywhere";
const ABORTED: &str = "the client is told that it is aborted";
const TOLD_COMMITTED: &str = "the client is told that it is committed";
const IN_DOUBT: &str = "in doubt";
const HALF: &str = "committed on one node and in doubt on the other";

const TOLD: &str = "what the client is told is so";

/// The second byte of the records; their layout is in the core's codec.
const DECISION: u8 = 1;
const VOTE: u8 = 4;

const BOTH: [u64; 2] = [2, 3];
const ANY_VOTE: [Vote; 2] = [Vote::Yes, Vote::No];

#[test]
fn votes_and_deadlines() {
    let budget = Budget { commands: 3, timeouts: if is_full() { 3 } else { 2 }, ..Budget::default() };
    exhaust("votes and deadlines", Transaction::over(&BOTH, &ANY_VOTE), budget, &[COMMITTED, IN_DOUBT, ABORTED, HALF]);
}

#[test]
fn crashes() {
    let (crashes, timeouts) = if is_full() { (3, 2) } else { (2, 1) };
    let budget = Budget { commands: 2, crashes, timeouts, ..Budget::default() };
    exhaust("crashes", Transaction::over(&BOTH, &[Vote::Yes]), budget, &[COMMITTED, IN_DOUBT, HALF]);
}

#[test]
fn everything_at_once() {
    let more = u8::from(is_full());
    let budget =
        Budget { commands: 2, crashes: 1 + more, timeouts: 1 + more, duplicates: 1, refusals: 1, ..Budget::default() };
    exhaust("everything at once", Transaction::over(&BOTH, &ANY_VOTE), budget, &[COMMITTED, IN_DOUBT, ABORTED, HALF]);
}

#[test]
fn a_coordinator_that_takes_part() {
    let more = u8::from(is_full());
    let budget = Budget { commands: 2, crashes: 1 + more, timeouts: 1 + more, duplicates: 1, ..Budget::default() };
    exhaust("its own coordinator", Transaction::over(&[1, 2], &ANY_VOTE), budget, &[COMMITTED, IN_DOUBT, ABORTED]);
}

#[test]
fn readers() {
    let budget = Budget { commands: 2, timeouts: 1, duplicates: 1, ..Budget::default() };
    exhaust("readers", Transaction::over(&BOTH, &[Vote::Yes, Vote::ReadOnly]), budget, &[COMMITTED, IN_DOUBT]);
}

#[test]
fn one_phase() {
    let more = u8::from(is_full());
    let budget =
        Budget { commands: 2, crashes: 2 + more, timeouts: 1 + more, duplicates: 1, refusals: 1, ..Budget::default() };
    exhaust("one phase", Transaction::over(&[2], &[Vote::Yes]), budget, &[TOLD_COMMITTED, IN_DOUBT]);
    exhaust("one phase, refused", Transaction::over(&[2], &[Vote::No]), budget, &[ABORTED, IN_DOUBT]);
}

#[test]
fn finds_a_disk_that_lies() {
    let budget = Budget { commands: 2, crashes: 1, timeouts: 1, ..Budget::default() };
    let found = find("a disk that lies", Transaction::over(&BOTH, &[Vote::Yes]).with(Bug::DiskLies), budget);
    assert!(["complete commit", "one outcome", OWN_LAWS].contains(&found), "{found}");
}

#[test]
fn finds_a_decision_alone() {
    let budget = Budget { commands: 2, timeouts: 1, ..Budget::default() };
    let subject = Transaction::over(&BOTH, &[Vote::Yes]).with(Bug::DecidesAlone);
    assert_eq!(find("a decision alone", subject, budget), "one outcome");
}

#[test]
fn finds_a_no_taken_for_a_yes() {
    let budget = Budget { commands: 2, ..Budget::default() };
    let subject = Transaction::over(&BOTH, &ANY_VOTE).with(Bug::HearsOnlyYes);
    assert_eq!(find("a no taken for a yes", subject, budget), "unanimous commit");
}

#[test]
fn finds_a_forgotten_decision() {
    let budget = Budget { commands: 2, crashes: 1, timeouts: 1, ..Budget::default() };
    let subject = Transaction::over(&BOTH, &[Vote::Yes]).with(Bug::ForgetsDecisions);
    assert_eq!(find("a forgotten decision", subject, budget), "one outcome");
}

#[test]
fn finds_a_forgotten_vote() {
    let budget = Budget { commands: 2, crashes: 1, timeouts: 1, ..Budget::default() };
    let subject = Transaction::over(&BOTH, &[Vote::Yes]).with(Bug::ForgetsVotes);
    let found = find("a forgotten vote", subject, budget);
    // A commit may come to a node that was asked anew and has not answered again.
    assert!(["complete commit", OWN_LAWS].contains(&found), "{found}");
}
