//! Single-decree Paxos in small worlds: one value, whatever is lost, repeated, late or refused, and whoever crashes.

use std::sync::Arc;

use bytes::Bytes;
use quorate_paxos::QuorumSystem;
use quorate_paxos::synod::message::{Accepted, Promise};
use quorate_paxos::synod::testing::{BallotsOfTheirOwn, OneChosen, PromisesKept};
use quorate_paxos::synod::{
    Command, Config, Event, GroupRoles, Message, Proposal, ReadOutcome, Settings, Status, Synod,
};
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Input, Law, NodeId, Now, Output, ProposalId, Protocol, ReadId, Recovery, Signal, Standing, Violation,
};
use stateright::Property;

use crate::check::{exhaust, find, is_full};
use crate::model::{Budget, Model, State};
use crate::node::{Node, OWN_LAWS};
use crate::subject::Subject;

/// Three nodes, two of which propose, and a bug between their cores and the world.
struct SynodOfThree {
    round_max: u64,
    bug: Option<Bug>,
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
    /// It takes any promise for one of the ballot under way.
    CountsStalePromises,
    /// It says that it accepted what it refused.
    AcceptsBelowPromise,
}

/// What is asked of a node again and again.
#[derive(Clone, Debug)]
struct Facts {
    status: Status,
    /// What would be left of it after a crash.
    durable: Status,
    durable_round: u64,
}

#[derive(Clone, Debug, Default, Hash)]
struct Memory {
    chosen: OneChosen,
    promises: PromisesKept,
    ballots: BallotsOfTheirOwn,
    /// Whether a read was told that nothing was chosen.
    is_none_told: bool,
}

impl SynodOfThree {
    fn new(round_max: u64) -> Self {
        Self { round_max, bug: None }
    }

    fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }
}

fn proposal_of(node: NodeId) -> Proposal {
    let id = ProposalId { sequence: node.0, ..ProposalId::default() };
    Proposal::new(id, Bytes::copy_from_slice(&node.0.to_le_bytes()[..1]))
}

impl Subject for SynodOfThree {
    type Core = Synod;
    type Facts = Facts;
    type Memory = Memory;

    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1), NodeId(2), NodeId(3)]
    }

    fn config(&self, node: NodeId) -> Config {
        let quorums = QuorumSystem::majority(self.nodes()).expect("distinct");
        // One learner beside the proposers: how the decision spreads further is no matter of safety.
        let group = GroupRoles::of(quorums).with_proposers([NodeId(1), NodeId(2)]).with_learners([NodeId(3)]);
        Config::new(node, node.0, group, Settings::default()).expect("valid settings")
    }

    fn commands(&self, node: &Node<Self>, given: u8) -> Vec<Command> {
        match (node.id, given) {
            // What is proposed is tried again by its client, when the other has proposed as well.
            (NodeId(1), 0 | 2) => vec![Command::Propose(proposal_of(node.id))],
            (NodeId(2), 1) if self.bug.is_some() => vec![Command::Propose(proposal_of(node.id))],
            (NodeId(2), 1) => vec![Command::Propose(proposal_of(node.id)), Command::Read { id: ReadId(1) }],
            _ => Vec::new(),
        }
    }

    fn answers(&self, _node: NodeId, request: &std::convert::Infallible) -> Vec<std::convert::Infallible> {
        match *request {}
    }

    fn facts(&self, core: &Synod, disk: &Stream) -> Facts {
        let node = core.status().node;
        let mut again = Synod::recover(Now::default(), self.config(node), disk.recovery(usize::MAX))
            .expect("it was written by a core");
        let durable = again.status();
        again.handle(Now::default(), Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        again.handle(Now::default(), Input::Command(Command::Propose(proposal_of(node))));
        while again.poll_output().is_some() {}
        // A ballot that it would begin now is one round above all that is durable.
        let next = again.status().attempt.map_or(0, |attempt| attempt.ballot.round);
        Facts { status: core.status(), durable, durable_round: next.saturating_sub(1) }
    }

    /// No answer depends on whether a deadline has come.
    fn depends_on_time(&self, _receiver: &Node<Self>, _message: &Message) -> bool {
        false
    }

    fn is_within(&self, node: &Node<Self>) -> bool {
        node.facts.status.attempt.as_ref().is_none_or(|attempt| attempt.ballot.round <= self.round_max)
    }

    fn told(&self, memory: &mut Memory, _node: NodeId, event: &Event) {
        memory.is_none_told |= matches!(event, Event::Read { outcome: ReadOutcome::NoneYet, .. });
    }

    fn judge(&self, memory: &mut Memory, state: &State<Self>, _crashed: Option<NodeId>) -> Result<(), Violation> {
        let cores: Vec<(NodeId, &Synod)> = state.nodes.iter().map(|node| (node.id, &node.core)).collect();
        memory.chosen.check(&cores)?;
        memory.promises.check(&cores)?;
        memory.ballots.check(&cores)?;
        check_durable(&state.nodes)
    }

    fn properties(&self) -> Vec<Property<Model<Self>>> {
        let mut properties = vec![
            Property::<Model<Self>>::always(OWN_LAWS, |_, state| state.keeps(OWN_LAWS)),
            Property::<Model<Self>>::always("one chosen", |_, state| state.keeps("one chosen")),
            Property::<Model<Self>>::always("promises kept", |_, state| state.keeps("promises kept")),
            Property::<Model<Self>>::always("ballots of their own", |_, state| state.keeps("ballots of their own")),
            Property::<Model<Self>>::always(DURABLE, |_, state| state.keeps(DURABLE)),
        ];
        if self.bug.is_none() {
            properties.extend(milestones());
        }
        properties
    }

    /// Answers to a ballot that is over, or to a node that knows the decision: nobody waits for them.
    fn is_dead(&self, receiver: &Node<Self>, message: &Message) -> bool {
        let ballot = match message {
            Message::Promise(_) if self.bug == Some(Bug::CountsStalePromises) => return false,
            Message::Promise(message) => message.ballot,
            Message::Accepted(message) => message.ballot,
            Message::Nack(message) => message.ballot,
            Message::Report(message) => return receiver.core.question() != Some((message.start, message.number)),
            _ => return false,
        };
        let under_way = receiver.facts.status.attempt.as_ref().map(|attempt| attempt.ballot);
        under_way != Some(ballot) && ballot.round <= receiver.facts.durable_round
    }

    fn on_input(&self, core: &Synod, input: Input<Synod>) -> Input<Synod> {
        let under_way = || core.status().attempt.map(|attempt| attempt.ballot);
        match (self.bug, input) {
            (Some(Bug::AdoptsNothing), Input::Message { from, message: Message::Promise(promise) }) => {
                Input::Message { from, message: Message::Promise(Promise { accepted: None, ..promise }) }
            }
            (Some(Bug::CountsStalePromises), Input::Message { from, message: Message::Promise(promise) }) => {
                let ballot = under_way().unwrap_or(promise.ballot);
                Input::Message { from, message: Message::Promise(Promise { ballot, ..promise }) }
            }
            (_, input) => input,
        }
    }

    fn on_output(&self, _core: &Synod, output: Output<Synod>) -> Vec<Output<Synod>> {
        match (self.bug, output) {
            (Some(Bug::AcceptsBelowPromise), Output::Send { to, message: Message::Nack(nack) }) => {
                let message = Message::Accepted(Accepted { ballot: nack.ballot });
                vec![Output::Send { to, message }]
            }
            (_, output) => vec![output],
        }
    }

    fn on_recovery(&self, recovery: Recovery) -> Recovery {
        if self.bug == Some(Bug::ForgetsEverything) { Recovery::default() } else { recovery }
    }

    fn says_written_too_early(&self) -> bool {
        self.bug == Some(Bug::DiskLies)
    }
}

const CHOSEN: &str = "a value is chosen and known";
const UNKNOWN: &str = "a value is chosen and known to nobody";
const ADOPTED: &str = "a proposer adopts another's proposal";
const DUEL: &str = "a proposer is outrun";
const NONE: &str = "a read finds that nothing is chosen";

fn milestones() -> [Property<Model<SynodOfThree>>; 5] {
    [
        Property::<Model<SynodOfThree>>::sometimes(CHOSEN, |_, state| {
            state.nodes.iter().any(|node| node.facts.durable.chosen.is_some())
        }),
        Property::<Model<SynodOfThree>>::sometimes(UNKNOWN, |_, state| {
            let is_known = state.nodes.iter().any(|node| node.facts.status.chosen.is_some());
            let is_asked = state.network.iter().any(|envelope| matches!(envelope.message, Message::Accepted(_)));
            state.memory().chosen.chosen().is_some() && !is_known && !is_asked
        }),
        Property::<Model<SynodOfThree>>::sometimes(ADOPTED, |_, state| {
            state.nodes.iter().any(|node| {
                let attempt = node.facts.status.attempt.as_ref();
                let proposal = attempt.and_then(|attempt| attempt.proposal.as_ref());
                proposal.is_some_and(|proposal| *proposal != proposal_of(node.id))
            })
        }),
        Property::<Model<SynodOfThree>>::sometimes(DUEL, |_, state| {
            let ballots = || state.nodes.iter().filter_map(|node| Some(node.facts.status.attempt.as_ref()?.ballot));
            let refused = state.network.iter().any(|envelope| matches!(envelope.message, Message::Nack(_)));
            refused && ballots().count() > 1
        }),
        Property::<Model<SynodOfThree>>::sometimes(NONE, |_, state| state.memory().is_none_told),
    ]
}

/// What any node knows to be chosen is what a quorum has durably accepted last.
fn check_durable(nodes: &[Arc<Node<SynodOfThree>>]) -> Result<(), Violation> {
    let Some(chosen) = nodes.iter().find_map(|node| node.facts.status.chosen.as_ref()) else { return Ok(()) };
    let accepted =
        |node: &&Arc<Node<SynodOfThree>>| node.facts.durable.accepted.as_ref().map(|(_, value)| value) == Some(chosen);
    let copies = nodes.iter().filter(accepted).count();
    if copies * 2 > nodes.len() {
        return Ok(());
    }
    let detail = format!("{chosen:?} is chosen, and durable on {copies} of {}", nodes.len());
    Err(Violation { law: DURABLE, detail })
}

const DURABLE: &str = "what is chosen is durable on a quorum";

#[test]
fn two_proposers() {
    let (timeouts, rounds) = if is_full() { (1, 3) } else { (0, 2) };
    let budget = Budget { commands: 2, timeouts, ..Budget::default() };
    exhaust("two proposers", SynodOfThree::new(rounds), budget, &[CHOSEN, ADOPTED, DUEL, NONE]);
}

#[test]
fn a_crash_of_a_proposer() {
    let budget = Budget { commands: if is_full() { 2 } else { 1 }, crashes: 1, ..Budget::default() };
    let milestones = if is_full() { &[CHOSEN, UNKNOWN, ADOPTED][..] } else { &[CHOSEN, UNKNOWN] };
    exhaust("a crash", SynodOfThree::new(2), budget, milestones);
}

#[test]
fn messages_that_come_twice() {
    let budget = Budget { commands: if is_full() { 2 } else { 1 }, duplicates: 1, refusals: 1, ..Budget::default() };
    exhaust("messages twice, a write refused", SynodOfThree::new(2), budget, &[CHOSEN]);
}

#[test]
fn finds_a_disk_that_lies() {
    let budget = Budget { commands: 2, crashes: 1, ..Budget::default() };
    assert_eq!(find("a disk that lies", SynodOfThree::new(2).with(Bug::DiskLies), budget), "promises kept");
}

#[test]
fn finds_a_forgotten_promise() {
    let budget = Budget { commands: 2, crashes: 1, ..Budget::default() };
    let subject = SynodOfThree::new(2).with(Bug::ForgetsEverything);
    assert_eq!(find("a forgotten promise", subject, budget), "promises kept");
}

#[test]
fn finds_a_proposer_that_adopts_nothing() {
    let budget = Budget { commands: 2, ..Budget::default() };
    let subject = SynodOfThree::new(2).with(Bug::AdoptsNothing);
    assert_eq!(find("adopts nothing", subject, budget), "one chosen");
}

#[test]
fn finds_stale_promises_that_count() {
    let budget = Budget { commands: 3, crashes: 1, ..Budget::default() };
    let subject = SynodOfThree::new(2).with(Bug::CountsStalePromises);
    assert_eq!(find("stale promises", subject, budget), "one chosen");
}

#[test]
fn finds_an_acceptance_below_a_promise() {
    let budget = Budget { commands: 2, ..Budget::default() };
    let subject = SynodOfThree::new(2).with(Bug::AcceptsBelowPromise);
    assert_eq!(find("accepts below its promise", subject, budget), "one chosen");
}
