//! The loop with one queue of messages, writes and deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::{self, Faults, Laws, Stage, Timeline};
use quorate_protocol::{
    Input, Instant, NodeId, PersistFailure, ProposalId, Protocol, ReadId, Signal, Standing, Ticket,
};

use super::builder::Builder;
use super::disk::{Disk, PowerCut};
use super::laws::laws;
use super::node::{Effect, Node, Round};
use crate::synod::{Command, Message, Proposal, Synod};

/// Cores in one loop. After every step all laws are checked.
#[derive(Debug)]
pub struct Cluster {
    /// Every node, running or not.
    pub nodes: BTreeMap<NodeId, Node>,
    time: Timeline<Happening>,
    /// Random faults of the network and the disks.
    pub faults: Faults,
    /// Number of messages sent.
    pub sent: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
    parked_links: BTreeSet<(NodeId, NodeId)>,
    parked: Vec<(NodeId, NodeId, Message)>,
    laws: Laws<Synod>,
    next_id: u64,
}

/// An event of a node.
#[derive(Clone, Debug)]
pub enum Happening {
    Deliver { from: NodeId, incarnation: u64, to: NodeId, message: Message },
    Written { node: NodeId, starts: u64, ticket: Ticket },
    Round { node: NodeId, starts: u64 },
}

impl Cluster {
    /// A cluster without nodes.
    pub(super) fn empty(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            time: Timeline::new(seed),
            faults: Faults::default(),
            sent: 0,
            cut: BTreeSet::new(),
            parked_links: BTreeSet::new(),
            parked: Vec::new(),
            laws: Laws::new(laws()),
            next_id: 0,
        }
    }

    /// Three nodes with default settings.
    pub fn of_three(seed: u64) -> Self {
        Builder::new(3, seed).start()
    }

    /// A node.
    pub fn node(&self, node: u64) -> &Node {
        &self.nodes[&NodeId(node)]
    }

    /// A node, for changes.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(node)).expect("a node of the cluster")
    }

    /// The time on every node.
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Carries out all events that are due now, without letting a deadline pass.
    pub fn deliver(&mut self) {
        testing::deliver(self);
    }

    /// Lets time pass: see [`testing::run`].
    pub fn run(&mut self, duration: Duration) {
        testing::run(self, duration);
    }

    /// Runs until `done` returns true, at most for `limit`. Returns whether it did.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        testing::run_until(self, limit, done)
    }

    /// Lets the next deadline of a node pass, and no other node's.
    ///
    /// # Panics
    /// When it has no deadline.
    pub fn time_out(&mut self, node: u64) {
        let due = self.node(node).core().deadline().expect("it waits for something");
        self.time.pass_to(due);
        self.input(NodeId(node), Input::Signal(Signal::Timeout));
        self.deliver();
    }

    /// Gives a node one input and carries out its outputs, together with the inputs that wait for a round.
    pub fn input(&mut self, node: NodeId, input: Input<Synod>) {
        let now = self.time.clocks();
        let Some(state) = self.nodes.get_mut(&node) else { return };
        state.handle(now, input);
        if state.core.is_some() && state.round.is_none() {
            self.poll(node);
        }
    }

    /// Gives a node an input that arrived by itself: at once, or in a round with the next input.
    fn give(&mut self, node: NodeId, input: Input<Synod>) {
        let is_batched = self.time.strikes(self.faults.batch_percent);
        let Some(state) = self.nodes.get_mut(&node).filter(|state| state.core.is_some()) else { return };
        if state.round.is_none() {
            if !is_batched {
                return self.input(node, input);
            }
            state.round = Some(Round::default());
            let starts = state.starts;
            self.time.schedule(ROUND, Happening::Round { node, starts });
        }
        let Some(round) = &mut state.round else { return };
        let is_frame = matches!(input, Input::Message { .. });
        if is_frame { round.frames.push(input) } else { round.news.push(input) }
    }

    /// Hands in a round like a driver, and then carries out the outputs. Either frames come first, or the results of
    /// writes.
    fn end_round(&mut self, node: NodeId) {
        let now = self.time.clocks();
        let are_frames_first = self.time.choose(2) == 0;
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let Some(Round { frames, news }) = state.round.take() else { return };
        let (first, then) = if are_frames_first { (frames, news) } else { (news, frames) };
        for input in first {
            state.handle(now, input);
        }
        let is_due =
            |state: &Node| state.core.as_ref().and_then(Protocol::deadline).is_some_and(|due| due <= now.instant);
        if is_due(state) && !are_frames_first {
            state.handle(now, Input::Signal(Signal::Timeout));
        }
        for input in then {
            state.handle(now, input);
        }
        if is_due(state) {
            state.handle(now, Input::Signal(Signal::Timeout));
        }
        self.poll(node);
    }

    /// Proposes on a node, under a new id.
    pub fn propose(&mut self, node: u64, value: &[u8]) -> ProposalId {
        self.next_id += 1;
        let id = ProposalId { sequence: self.next_id, ..ProposalId::default() };
        self.propose_again(node, id, value);
        id
    }

    /// Proposes a proposal again on a node.
    pub fn propose_again(&mut self, node: u64, id: ProposalId, value: &[u8]) {
        let proposal = Proposal::new(id, Bytes::copy_from_slice(value));
        self.input(NodeId(node), Input::Command(Command::Propose(proposal)));
    }

    /// Reads on a node.
    pub fn read(&mut self, node: u64) -> ReadId {
        self.next_id += 1;
        let id = ReadId(self.next_id);
        self.input(NodeId(node), Input::Command(Command::Read { id }));
        id
    }

    /// Cuts the way from `from` to `to`.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((NodeId(from), NodeId(to)));
        self.input(NodeId(from), Input::Signal(Signal::Unreachable(NodeId(to))));
    }

    /// Cuts all ways between `node` and the others.
    pub fn isolate(&mut self, node: u64) {
        let others: Vec<u64> = self.nodes.keys().map(|other| other.0).filter(|other| *other != node).collect();
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Restores all ways.
    pub fn heal(&mut self) {
        self.cut.clear();
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.hear(node);
        }
    }

    /// Lets a node and all running nodes that it can reach hear each other.
    fn hear(&mut self, node: NodeId) {
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            for (from, to) in [(node, other), (other, node)] {
                if self.nodes[&from].core.is_some() && !self.cut.contains(&(from, to)) {
                    self.input(to, Input::Signal(Signal::PeerAlive(from)));
                }
            }
        }
    }

    /// Keeps messages from `from` to `to` until they are released.
    pub fn park(&mut self, from: u64, to: u64) {
        self.parked_links.insert((NodeId(from), NodeId(to)));
    }

    /// Keeps all messages.
    pub fn park_all(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.parked_links = nodes.iter().flat_map(|from| nodes.iter().map(|to| (*from, *to))).collect();
    }

    /// Delivers the kept messages for which `chosen` (sender, receiver, message) is true, in order, and keeps further
    /// ones. Returns their number.
    pub fn release_if(&mut self, chosen: impl Fn(u64, u64, &Message) -> bool) -> usize {
        let parked = std::mem::take(&mut self.parked);
        let (picked, kept): (Vec<_>, Vec<_>) =
            parked.into_iter().partition(|(from, to, message)| chosen(from.0, to.0, message));
        self.parked = kept;
        let count = picked.len();
        for (from, to, message) in picked {
            self.input(to, Input::Message { from, message });
        }
        self.deliver();
        count
    }

    /// Delivers all kept messages, in order, and keeps no further ones.
    pub fn release(&mut self) {
        self.parked_links.clear();
        self.release_if(|_, _, _| true);
    }

    /// Drops all kept messages, and keeps no further ones.
    pub fn forget_parked(&mut self) {
        self.parked_links.clear();
        self.parked.clear();
    }

    /// The kept messages.
    pub fn parked(&self) -> &[(NodeId, NodeId, Message)] {
        &self.parked
    }

    /// Stops a node at once. `left` is the part of the current write that reaches the disk.
    pub fn crash(&mut self, node: u64, left: PowerCut) {
        self.node_mut(node).stop(left);
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| other.0 != node).collect();
        for other in others {
            self.input(other, Input::Signal(Signal::Unreachable(NodeId(node))));
        }
    }

    /// Introduces all nodes to each other, durably.
    pub fn introduce(&mut self) {
        let all: BTreeMap<NodeId, u64> = self.nodes.iter().map(|(node, state)| (*node, state.incarnation)).collect();
        for state in self.nodes.values_mut() {
            for (node, incarnation) in &all {
                state.known.entry(*node).or_insert(*incarnation);
            }
        }
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for node in nodes {
            self.tell_standings(node);
        }
    }

    /// Starts a node from its disk, and introduces it to the running ones.
    pub fn restart(&mut self, node: u64) {
        let now = self.time.clocks();
        let state = self.node_mut(node);
        state.halted = None;
        state.start(now);
        self.poll(NodeId(node));
        self.tell_standings(node);
        self.hear(NodeId(node));
    }

    /// Tells a node the standings of all others, and all others its standing.
    fn tell_standings(&mut self, node: u64) {
        let mut inputs = Vec::new();
        for (peer, other) in self.nodes.iter().filter(|(peer, _)| peer.0 != node) {
            let standing = self.node(node).standing_of(*peer, other.incarnation);
            inputs.push((NodeId(node), Input::Signal(Signal::PeerStanding { node: *peer, standing })));
            let standing = other.standing_of(NodeId(node), self.node(node).incarnation);
            inputs.push((*peer, Input::Signal(Signal::PeerStanding { node: NodeId(node), standing })));
        }
        // If a node was wiped, the others know it as another one, and it becomes a stranger to itself. A node that some
        // other has not met is told nothing yet.
        let known: Vec<Option<&u64>> = self.nodes.values().map(|other| other.known.get(&NodeId(node))).collect();
        let incarnation = &self.node(node).incarnation;
        let own = if known.iter().flatten().any(|known| *known != incarnation) {
            Some(Standing::Stranger)
        } else {
            known.iter().all(Option::is_some).then_some(Standing::Member)
        };
        inputs.extend(
            own.map(|standing| (NodeId(node), Input::Signal(Signal::PeerStanding { node: NodeId(node), standing }))),
        );
        for (to, input) in inputs {
            self.input(to, input);
        }
    }

    /// Wipes a node's disk while it is down: it comes back as another incarnation.
    pub fn wipe(&mut self, node: u64) {
        self.crash(node, PowerCut::Lost);
        let state = self.node_mut(node);
        state.disk = Disk::default();
        state.incarnation += 1;
        let incarnation = state.incarnation;
        state.known.insert(NodeId(node), incarnation);
    }

    /// Holds back the completion of a node's writes until they are released.
    pub fn hold_disk(&mut self, node: u64) {
        self.node_mut(node).is_disk_held = true;
    }

    /// Completes a node's writes again, those that waited at once.
    pub fn release_disk(&mut self, node: u64) {
        let state = self.node_mut(node);
        state.is_disk_held = false;
        let (starts, tickets) = (state.starts, state.writes.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>());
        for ticket in tickets {
            self.time.schedule(Duration::ZERO, Happening::Written { node: NodeId(node), starts, ticket });
        }
        self.deliver();
    }

    /// Makes the current write of each held disk durable, but none that follows from it. Returns the number of writes.
    pub fn sync(&mut self) -> usize {
        let under_way = |(node, state): (&NodeId, &Node)| Some((*node, state.starts, state.writes.front()?.0));
        let writes: Vec<(NodeId, u64, Ticket)> = self.nodes.iter().filter_map(under_way).collect();
        for (node, starts, ticket) in &writes {
            self.node_mut(node.0).is_disk_held = false;
            self.complete_write(*node, *starts, *ticket);
            self.node_mut(node.0).is_disk_held = true;
        }
        self.deliver();
        writes.len()
    }

    /// A random number below `high` from the cluster's seed.
    pub fn choose(&mut self, high: u64) -> u64 {
        self.time.choose(high)
    }

    fn complete_write(&mut self, node: NodeId, starts: u64, ticket: Ticket) {
        let is_refused = self.time.strikes(self.faults.refusal_percent);
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        let is_next = state.writes.front().is_some_and(|(next, _)| *next == ticket);
        if state.starts != starts || state.is_disk_held || !is_next {
            return;
        }
        let (_, operations) = state.writes.pop_front().expect("just seen");
        if is_refused {
            let failure = PersistFailure::NotWritten;
            return self.give(node, Input::Signal(Signal::PersistFailed { ticket, failure }));
        }
        state.disk.write(&operations);
        state.writes_done += 1;
        self.give(node, Input::Signal(Signal::Persisted(ticket)));
    }

    fn poll(&mut self, node: NodeId) {
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        let (starts, incarnation) = (state.starts, state.incarnation);
        for effect in state.poll() {
            match effect {
                Effect::Send(to, message) => self.carry(node, incarnation, to, message),
                Effect::Write(ticket) => {
                    let delay = self.time.draw(self.faults.write_max);
                    self.time.schedule(delay, Happening::Written { node, starts, ticket });
                }
            }
        }
    }

    fn carry(&mut self, from: NodeId, incarnation: u64, to: NodeId, message: Message) {
        self.sent += 1;
        if self.parked_links.contains(&(from, to)) {
            self.parked.push((from, to, message));
            return;
        }
        if self.cut.contains(&(from, to)) || self.time.strikes(self.faults.loss_percent) {
            return;
        }
        if self.time.strikes(self.faults.duplicate_percent) {
            let delay = self.time.draw(self.faults.latency_max);
            self.time.schedule(delay, Happening::Deliver { from, incarnation, to, message: message.clone() });
        }
        let delay = self.time.draw(self.faults.latency_max);
        self.time.schedule(delay, Happening::Deliver { from, incarnation, to, message });
    }
}

impl Stage for Cluster {
    type Event = Happening;

    fn timeline(&mut self) -> &mut Timeline<Happening> {
        &mut self.time
    }

    fn deadline(&self) -> Option<(Instant, NodeId)> {
        // A node that waits for a round gets its time-out in that round.
        let waits = self.nodes.iter().filter(|(_, state)| state.round.is_none());
        waits.filter_map(|(node, state)| Some((state.core.as_ref()?.deadline()?, *node))).min()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, incarnation, to, message } => {
                // Messages sent from a lost disk do not come from the node that is known now.
                let is_of_now = self.nodes[&from].incarnation == incarnation;
                if is_of_now && !self.cut.contains(&(from, to)) {
                    self.give(to, Input::Message { from, message });
                }
            }
            Happening::Written { node, starts, ticket } => self.complete_write(node, starts, ticket),
            Happening::Round { node, starts } if self.nodes[&node].starts == starts => self.end_round(node),
            Happening::Round { .. } => {}
        }
    }

    fn time_out(&mut self, node: NodeId) {
        self.input(node, Input::Signal(Signal::Timeout));
    }

    fn check(&mut self) {
        let running = self.nodes.iter().filter_map(|(node, state)| Some((*node, state.core.as_ref()?)));
        let running: Vec<(NodeId, &Synod)> = running.collect();
        self.laws.check(&running);
        let learned = running.iter().find_map(|(_, core)| Some((core.config.group(), core.chosen.as_ref()?)));
        if let Some((group, chosen)) = learned {
            // The content of a lost disk is unknown.
            let holds = |node: NodeId| {
                let state = &self.nodes[&node];
                state.incarnation > 1 || state.disk.accepted().is_some_and(|(_, accepted)| accepted == *chosen)
            };
            assert!(group.quorums().is_accept_quorum(holds), "what is chosen is on the disks of a quorum");
        }
    }
}

/// Time in which a round gathers inputs.
const ROUND: Duration = Duration::from_micros(50);
