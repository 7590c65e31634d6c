//! The loop: one queue of messages, writes and deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::{self, Faults, Laws, Stage, Timeline};
use quorate_protocol::{
    EntryKind, Input, Instant, LoadFailure, LoadRange, LogAnswer, LogCommand, LogEvent, LogIndex, NodeId,
    PersistFailure, Proposal, ProposalId, Protocol, ReadId, Role, Signal, SnapshotMeta, Standing, Term, Ticket,
};

use super::builder::Builder;
use super::laws::laws;
use super::network::Pick;
use super::node::{Effect, Node};
use super::record::{Fate, Happening};
use crate::{Message, Raft};

/// Cores in one loop. All laws are checked after every step.
#[derive(Debug)]
pub struct Cluster {
    /// Every node, running or not.
    pub nodes: BTreeMap<NodeId, Node>,
    pub(super) time: Timeline<Event>,
    /// The faults of the network and the disks.
    pub faults: Faults,
    /// Number of messages that were sent.
    pub sent: u64,
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    pub(super) holds: Vec<Pick>,
    pub(super) parked: Vec<(NodeId, NodeId, Message)>,
    /// The events since the record was last taken; `None` if nothing is recorded.
    pub(super) record: Option<Vec<Happening>>,
    laws: Laws<Raft>,
    has_lost_disk: bool,
    tail_bytes_max: usize,
    next_id: u64,
    beat: Option<Duration>,
}

/// A scheduled event.
#[derive(Clone, Debug)]
pub enum Event {
    Deliver { from: NodeId, incarnation: u64, to: NodeId, message: Message },
    Written { node: NodeId, starts: u64, ticket: Ticket },
    Loaded { node: NodeId, starts: u64, ticket: Ticket, range: LoadRange },
    Transferred { node: NodeId, starts: u64, ticket: Ticket, to: NodeId, term: Term, snapshot: SnapshotMeta },
    Poll { node: NodeId, starts: u64 },
    Beat,
}

impl Cluster {
    /// Makes a cluster without nodes.
    pub(super) fn empty(seed: u64, tail_bytes_max: usize, beat: Option<Duration>) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            time: Timeline::new(seed),
            faults: Faults::default(),
            cut: BTreeSet::new(),
            holds: Vec::new(),
            parked: Vec::new(),
            record: None,
            laws: Laws::new(laws()),
            has_lost_disk: false,
            sent: 0,
            tail_bytes_max,
            next_id: 0,
            beat,
        };
        if let Some(interval) = beat {
            cluster.time.schedule(interval, Event::Beat);
        }
        cluster
    }

    /// Starts three nodes with default settings.
    pub fn of_three(seed: u64) -> Self {
        Builder::new(3, seed).start()
    }

    /// Returns a node.
    pub fn node(&self, node: u64) -> &Node {
        &self.nodes[&NodeId(node)]
    }

    /// Returns a node, to be changed.
    pub fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(node)).expect("a node of the cluster")
    }

    /// Returns the time, which is equal on every node.
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Carries out everything that needs no time.
    pub fn settle(&mut self) {
        self.run(Duration::ZERO);
    }

    /// Carries out everything that needs no time, and lets no deadline pass.
    pub fn deliver(&mut self) {
        testing::deliver(self);
    }

    /// Lets time pass: see [`testing::run`].
    pub fn run(&mut self, duration: Duration) {
        testing::run(self, duration);
    }

    /// Runs until `done`, for at most `limit`. Returns true if it is done.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        testing::run_until(self, limit, done)
    }

    /// Passes an input to a node and carries out its outputs.
    pub fn input(&mut self, node: NodeId, input: Input<Raft>) {
        let now = self.time.clocks();
        let batch_percent = self.faults.batch_percent;
        let is_batched = self.time.strikes(batch_percent);
        if matches!(input, Input::Signal(Signal::Timeout)) {
            self.note(|| Happening::TimedOut { node });
        }
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let Some(core) = &mut state.core else { return };
        core.handle(now, input);
        core.check_invariants();
        if is_batched {
            let starts = state.starts;
            self.time.schedule(Duration::from_micros(50), Event::Poll { node, starts });
        } else {
            self.poll(node);
        }
    }

    /// Proposes on a node, and returns the proposal's id.
    pub fn propose(&mut self, node: u64, payload: &[u8]) -> ProposalId {
        self.next_id += 1;
        let id = ProposalId { sequence: self.next_id, ..ProposalId::default() };
        let payload = Bytes::copy_from_slice(payload);
        let checksum = quorate_protocol::crc32c(&payload);
        let proposal = Proposal { id, kind: EntryKind::Command, acknowledged_below: 0, payload, checksum };
        self.input(NodeId(node), Input::Command(LogCommand::Propose(proposal)));
        id
    }

    /// Starts a read on a node, and returns the read's id.
    pub fn read(&mut self, node: u64) -> ReadId {
        self.next_id += 1;
        let id = ReadId(self.next_id);
        self.input(NodeId(node), Input::Command(LogCommand::Read { id }));
        id
    }

    /// Returns the index at which a read may be answered, if it may.
    pub fn read_index(&self, node: u64, read: ReadId) -> Option<LogIndex> {
        self.node(node).events.iter().find_map(|event| match event {
            LogEvent::ReadReady { id, index } if *id == read => Some(*index),
            _ => None,
        })
    }

    /// Makes a snapshot on a node and compacts its log, all but `keep` entries.
    pub fn snapshot(&mut self, node: u64, keep: u64) {
        if let Some((snapshot, keep_from)) = self.node_mut(node).snapshot(keep) {
            self.input(NodeId(node), Input::Command(LogCommand::Compact { snapshot, keep_from }));
        }
    }

    /// Runs until a node leads that a quorum follows, and returns it.
    ///
    /// # Panics
    /// When there is none within ten of the longest election time-outs.
    pub fn elect(&mut self) -> u64 {
        let limit = self.nodes.values().next().expect("a node").config.settings().election_timeout_max * 10;
        assert!(self.run_until(limit, |cluster| cluster.leader().is_some()), "a leader is elected");
        self.settle();
        self.leader().expect("just seen")
    }

    /// Makes node `node` the leader. No other node's deadline passes before.
    ///
    /// # Panics
    /// When it is not elected.
    pub fn elect_node(&mut self, node: u64) {
        self.campaign(node);
        assert_eq!(self.leader(), Some(node), "it leads");
    }

    /// Lets the deadline of `node` pass, and no other.
    ///
    /// # Panics
    /// When it is down.
    pub fn campaign(&mut self, node: u64) {
        let due = self.node(node).core().deadline().expect("a follower waits");
        self.time.pass_to(due);
        self.input(NodeId(node), Input::Signal(Signal::Timeout));
        self.deliver();
    }

    /// Returns the leader of the latest term, if it has committed an entry of that term.
    pub fn leader(&self) -> Option<u64> {
        let running = self.nodes.iter().filter_map(|(node, state)| Some((*node, state.core.as_ref()?)));
        let leading = running.filter(|(_, core)| core.role.name() == Role::Leader);
        let (node, core) = leading.max_by_key(|(_, core)| core.state.term)?;
        (core.log.term_at(core.commit_index) == Some(core.state.term)).then_some(node.0)
    }

    /// Crashes a node. Writes that did not complete are lost.
    pub fn crash(&mut self, node: u64) {
        let state = self.node_mut(node);
        state.core = None;
        state.writes.clear();
        state.starts += 1;
        // The laws must notice that it is gone, even if it comes back at once.
        self.check();
    }

    /// Starts a node from its disk, and introduces it.
    pub fn restart(&mut self, node: NodeId) {
        let now = self.time.clocks();
        let tail_bytes_max = self.tail_bytes_max;
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        state.start(now, tail_bytes_max);
        state.is_disk_held = false;
        let incarnation = state.incarnation;
        let peers: Vec<NodeId> = self.nodes.keys().copied().collect();
        for peer in peers {
            if peer == node {
                continue;
            }
            let seen_by_peer = self.nodes[&peer].standing_of(node, incarnation);
            let seen_by_node = self.nodes[&node].standing_of(peer, self.nodes[&peer].incarnation);
            self.input(peer, Input::Signal(Signal::PeerStanding { node, standing: seen_by_peer }));
            self.input(node, Input::Signal(Signal::PeerStanding { node: peer, standing: seen_by_node }));
        }
        let knows_all = self.nodes[&node].known.len() == self.nodes.len();
        let is_known = self.nodes.values().all(|peer| peer.standing_of(node, incarnation) == Standing::Member);
        if !is_known {
            self.input(node, Input::Signal(Signal::PeerStanding { node, standing: Standing::Stranger }));
        } else if knows_all {
            self.input(node, Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        }
    }

    /// Crashes a node and empties its disk. It comes back as another incarnation.
    pub fn wipe(&mut self, node: u64) {
        self.crash(node);
        self.has_lost_disk = true;
        let incarnations: Vec<(NodeId, u64)> = self.nodes.iter().map(|(id, peer)| (*id, peer.incarnation)).collect();
        let state = self.node_mut(node);
        let config = state.config.clone();
        let (incarnation, starts) = (state.incarnation + 1, state.starts);
        *state = Node::new(config);
        state.incarnation = incarnation;
        state.starts = starts;
        state.known = incarnations.into_iter().collect();
        state.known.insert(NodeId(node), incarnation);
    }

    /// Makes `node` accept `peer`'s present incarnation as the known one.
    pub fn introduce(&mut self, node: u64, peer: u64) {
        let incarnation = self.node(peer).incarnation;
        self.node_mut(node).known.insert(NodeId(peer), incarnation);
    }

    /// Starts a node from its disk without introducing any node.
    pub fn start_alone(&mut self, node: u64) {
        let (now, tail_bytes_max) = (self.time.clocks(), self.tail_bytes_max);
        self.node_mut(node).start(now, tail_bytes_max);
        self.poll(NodeId(node));
    }

    /// Checks that committed entries are on the disks of a quorum.
    fn check_durable_quorum(&self, running: &[(NodeId, &Raft)]) {
        let Some((_, core)) = running.iter().max_by_key(|(_, core)| core.commit_index) else { return };
        let (index, term) = (core.commit_index, core.log.term_at(core.commit_index));
        let holds = |state: &&Node| {
            let snapshot = state.disk.snapshot.as_ref().map_or(LogIndex::ZERO, |snapshot| snapshot.index);
            state.disk.base.0.max(snapshot) >= index || state.disk.term_at(index) == term
        };
        let copies = self.nodes.values().filter(holds).count();
        // Every member writes the bootstrap entry itself, so it may be committed before a quorum has it.
        assert!(index <= LogIndex(1) || copies > self.nodes.len() / 2, "entry {index} is durable on {copies} only");
    }

    fn complete_write(&mut self, node: NodeId, starts: u64, ticket: Ticket) {
        let is_refused = self.time.strikes(self.faults.refusal_percent);
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        if state.starts != starts || state.is_disk_held {
            return;
        }
        if is_refused && state.writes.front().is_some_and(|(oldest, _)| *oldest == ticket) {
            state.writes.clear();
            self.input(node, Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
            return;
        }
        while let Some((oldest, _)) = state.writes.front()
            && *oldest <= ticket
        {
            let (_, operations) = state.writes.pop_front().expect("just seen");
            state.disk.write(operations);
        }
        self.note(|| Happening::Persisted { node });
        self.input(node, Input::Signal(Signal::Persisted(ticket)));
    }

    fn transfer(&mut self, from: NodeId, ticket: Ticket, to: NodeId, term: Term, snapshot: &SnapshotMeta) {
        if self.nodes[&from].disk.is_snapshot_unreadable {
            self.input(from, Input::Completed { ticket, answer: LogAnswer::SnapshotUnreadable { to } });
            return;
        }
        let is_cut = self.cut.contains(&(from, to)) || self.cut.contains(&(to, from));
        let content = self.nodes[&from].snapshot_content.clone();
        let content = content.into_iter().filter(|(index, ..)| *index <= snapshot.index).collect();
        let receiver = self.nodes.get_mut(&to).expect("a node of the cluster");
        let admitted = receiver
            .receiving
            .take_if(|(_, sender, admitted, meta)| !is_cut && *sender == from && *admitted == term && meta == snapshot);
        let Some((receive_ticket, ..)) = admitted.filter(|_| receiver.core.is_some()) else {
            self.input(from, Input::Completed { ticket, answer: LogAnswer::SnapshotSendFailed { to } });
            return;
        };
        receiver.disk.snapshot = Some(snapshot.clone());
        receiver.snapshot_content = content;
        let answer = LogAnswer::SnapshotDurable { snapshot: snapshot.clone() };
        self.input(to, Input::Completed { ticket: receive_ticket, answer });
        let answer = LogAnswer::SnapshotSent { to, index: snapshot.index };
        self.input(from, Input::Completed { ticket, answer });
    }

    /// Reports to every node the other nodes from which messages reach it.
    fn beat(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for from in &nodes {
            for to in &nodes {
                let is_up = self.nodes[from].core.is_some();
                if from != to && is_up && !self.cut.contains(&(*from, *to)) {
                    self.input(*to, Input::Signal(Signal::PeerAlive(*from)));
                }
            }
        }
        if let Some(interval) = self.beat {
            self.time.schedule(interval, Event::Beat);
        }
    }

    fn poll(&mut self, node: NodeId) {
        let state = self.nodes.get_mut(&node).expect("a node of the cluster");
        let (starts, incarnation) = (state.starts, state.incarnation);
        for effect in state.poll() {
            match effect {
                Effect::Send(to, message) => self.carry(node, incarnation, to, message),
                Effect::Write(ticket, operations) => {
                    self.note(|| Happening::Wrote { node, operations });
                    let delay = self.time.draw(self.faults.write_max);
                    self.time.schedule(delay, Event::Written { node, starts, ticket });
                }
                Effect::Load(ticket, range) => {
                    let delay = self.time.draw(self.faults.write_max);
                    self.time.schedule(delay, Event::Loaded { node, starts, ticket, range });
                }
                Effect::Told(event) => self.note(|| Happening::Told { node, event }),
                Effect::Halted(reason) => self.note(|| Happening::Halted { node, reason }),
                Effect::SendSnapshot { ticket, to, term, snapshot } => {
                    let delay = self.time.draw(self.faults.write_max * 4).max(Duration::from_millis(1));
                    self.time.schedule(delay, Event::Transferred { node, starts, ticket, to, term, snapshot });
                }
            }
        }
    }

    fn carry(&mut self, from: NodeId, incarnation: u64, to: NodeId, message: Message) {
        self.sent += 1;
        let is_held = self.holds.iter().any(|pick| pick.picks(from, to, &message));
        let is_lost = !is_held && (self.cut.contains(&(from, to)) || self.time.strikes(self.faults.loss_percent));
        let fate = match (is_held, is_lost) {
            (true, _) => Fate::Held,
            (_, true) => Fate::Lost,
            _ => Fate::Sent,
        };
        self.note(|| Happening::Sent { from, to, message: message.clone(), fate });
        if is_held {
            self.parked.push((from, to, message));
            return;
        }
        if is_lost {
            return;
        }
        if self.time.strikes(self.faults.duplicate_percent) {
            let delay = self.time.draw(self.faults.latency_max);
            self.time.schedule(delay, Event::Deliver { from, incarnation, to, message: message.clone() });
        }
        let delay = self.time.draw(self.faults.latency_max);
        self.time.schedule(delay, Event::Deliver { from, incarnation, to, message });
    }

    /// Returns a number below `high`, drawn from the cluster's seed.
    pub fn choose(&mut self, high: u64) -> u64 {
        self.time.choose(high)
    }

    /// Makes loads of this entry fail on a node.
    pub fn spoil(&mut self, node: u64, index: u64, failure: LoadFailure) {
        self.node_mut(node).disk.bad_entry = Some((LogIndex(index), failure));
    }
}

impl Stage for Cluster {
    type Event = Event;

    fn timeline(&mut self) -> &mut Timeline<Event> {
        &mut self.time
    }

    fn deadline(&self) -> Option<(Instant, NodeId)> {
        self.nodes.iter().filter_map(|(node, state)| Some((state.core.as_ref()?.deadline()?, *node))).min()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, incarnation, to, message } => {
                let is_known = self.nodes[&from].incarnation == incarnation;
                if is_known && !self.cut.contains(&(from, to)) {
                    self.input(to, Input::Message { from, message });
                }
            }
            Event::Written { node, starts, ticket } => self.complete_write(node, starts, ticket),
            Event::Loaded { node, starts, ticket, range } => {
                let state = &self.nodes[&node];
                if state.starts == starts && state.core.is_some() {
                    let input = match state.disk.load(&range) {
                        Ok(loaded) => Input::Signal(Signal::Loaded { ticket, result: Ok(loaded) }),
                        Err(failure) => Input::Signal(Signal::Loaded { ticket, result: Err(failure) }),
                    };
                    self.input(node, input);
                }
            }
            Event::Transferred { node, starts, ticket, to, term, snapshot } => {
                let is_here = self.nodes[&node].starts == starts && self.nodes[&node].core.is_some();
                if is_here {
                    self.transfer(node, ticket, to, term, &snapshot);
                }
            }
            Event::Poll { node, starts } if self.nodes[&node].starts == starts => self.poll(node),
            Event::Poll { .. } => {}
            Event::Beat => self.beat(),
        }
    }

    fn time_out(&mut self, node: NodeId) {
        self.input(node, Input::Signal(Signal::Timeout));
    }

    fn check(&mut self) {
        let running = self.nodes.iter().filter_map(|(node, state)| Some((*node, state.core.as_ref()?)));
        let running: Vec<(NodeId, &Raft)> = running.collect();
        self.laws.check(&running);
        if !self.has_lost_disk {
            self.check_durable_quorum(&running);
        }
    }
}
