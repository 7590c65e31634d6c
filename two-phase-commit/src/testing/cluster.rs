//! The loop with one queue of messages, writes, answers and deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::testing::{self, Laws, Stage, Timeline};
use quorate_protocol::{Input, Instant, NodeId, Output, PersistFailure, Protocol, Signal, Standing, Ticket};

use super::disk::Disk;
use super::laws::laws;
use super::manager::Manager;
use super::manager::Work;
use super::node::{Node, Traffic};
use super::said::Said;
use crate::{
    Answer, Command, CommandId, Config, Event, Knowledge, Message, Request, Settings, TransactionId, TwoPhaseCommit,
};

/// Random faults of the network, the disks and the applications of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Percentage of messages lost.
    pub loss_percent: u64,
    /// Percentage of messages delivered twice.
    pub duplicate_percent: u64,
    /// Longest time that a message takes. Above zero, messages overtake each other.
    pub latency_max: Duration,
    /// Longest time that a write takes.
    pub write_max: Duration,
    /// Longest time that an application takes to answer.
    pub answer_max: Duration,
    /// Percentage of writes that fail and are certainly not written.
    pub refusal_percent: u64,
    /// Percentage of requests that the application answers with a failure.
    pub failure_percent: u64,
    /// Percentage of requests that the application never receives.
    pub deafness_percent: u64,
}

/// Cores in one loop. After every step all laws are checked.
#[derive(Debug)]
pub struct Cluster {
    /// Every node, running or not.
    pub nodes: BTreeMap<NodeId, Node>,
    time: Timeline<Happening>,
    /// Random faults.
    pub faults: Faults,
    /// Number of steps so far.
    pub steps: u64,
    /// Steps just before which the node of the step is crashed. It is started again after `restart_after`.
    pub crashes: BTreeSet<u64>,
    /// Time for which a crashed node stays down.
    pub restart_after: Duration,
    next_command: u64,
    cut: BTreeSet<(NodeId, NodeId)>,
    parked_links: BTreeSet<(NodeId, NodeId)>,
    parked: Vec<(NodeId, NodeId, Message)>,
    laws: Laws<TwoPhaseCommit>,
}

/// An event of a node.
#[derive(Clone, Debug)]
pub enum Happening {
    Deliver { from: NodeId, to: NodeId, message: Message },
    Written { node: NodeId, starts: u64, ticket: Ticket },
    Asked { node: NodeId, starts: u64, ticket: Ticket, request: Request },
    Restart { node: NodeId },
}

/// Builder of clusters.
#[derive(Clone, Debug)]
pub struct Builder {
    nodes: u64,
    seed: u64,
    settings: Settings,
}

impl Builder {
    /// A cluster with this number of nodes, numbered from 1.
    pub fn new(nodes: u64, seed: u64) -> Self {
        Self { nodes, seed, settings: Settings::default() }
    }

    /// Sets the settings of all nodes.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Starts all nodes, introduced to each other.
    ///
    /// # Panics
    /// When the settings cannot be used.
    pub fn start(self) -> Cluster {
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            time: Timeline::new(self.seed),
            faults: Faults::default(),
            steps: 0,
            crashes: BTreeSet::new(),
            restart_after: Duration::from_secs(1),
            next_command: 0,
            cut: BTreeSet::new(),
            parked_links: BTreeSet::new(),
            parked: Vec::new(),
            laws: Laws::new(laws()),
        };
        for node in (1..=self.nodes).map(NodeId) {
            let config = Config::new(node, self.seed ^ node.0, self.settings.clone()).expect("usable settings");
            cluster.nodes.insert(node, Node::new(config));
        }
        for node in 1..=self.nodes {
            cluster.restart(node);
        }
        cluster.settle();
        cluster
    }
}

impl Cluster {
    /// Three nodes with default settings.
    pub fn of_three(seed: u64) -> Self {
        Builder::new(3, seed).start()
    }

    /// A node.
    pub fn node(&self, node: u64) -> &Node {
        &self.nodes[&NodeId(node)]
    }

    /// A node, for changes.
    pub fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(node)).expect("a node of the cluster")
    }

    /// Carries out all events that need no time.
    pub fn settle(&mut self) {
        self.run(Duration::ZERO);
    }

    /// The time on every node.
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Lets time pass: see [`testing::run`].
    pub fn run(&mut self, duration: Duration) {
        testing::run(self, duration);
    }

    /// Gives a node one input and carries out its outputs.
    pub fn input(&mut self, node: NodeId, input: Input<TwoPhaseCommit>) {
        let now = self.time.clocks();
        let Some(core) = self.nodes.get_mut(&node).and_then(|it| it.core.as_mut()) else { return };
        core.handle(now, input);
        self.poll(node);
        if let Some(core) = &self.nodes[&node].core {
            core.check_invariants();
        }
    }

    /// Gives a node a command.
    pub fn command(&mut self, node: u64, command: impl FnOnce(CommandId) -> Command) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.input(NodeId(node), Input::Command(command(id)));
        id
    }

    /// Begins a transaction at a node, and returns its id.
    ///
    /// # Panics
    /// When the node refuses.
    pub fn begin(&mut self, node: u64) -> TransactionId {
        let id = self.command(node, |command| Command::Begin { command });
        let begun = self.node(node).events.iter().find_map(|event| match event {
            Event::Begun { command, transaction } if *command == id => Some(*transaction),
            _ => None,
        });
        begun.expect("it is begun")
    }

    /// True if a node's epoch is durable, so that it can begin transactions.
    pub fn is_ready(&self, node: u64) -> bool {
        let core = self.node(node).core.as_ref();
        core.is_some_and(|core| core.halted.is_none() && core.outbox.is_durable(core.epoch_ticket))
    }

    /// Commits a begun transaction.
    pub fn commit(&mut self, transaction: TransactionId, branches: &[(u64, Work)]) -> CommandId {
        let branches = branches.iter().map(|(node, work)| (NodeId(*node), work.payload())).collect();
        self.command(transaction.coordinator.0, |command| Command::Commit { command, transaction, branches })
    }

    /// Begins a transaction and commits it.
    pub fn transact(&mut self, coordinator: u64, branches: &[(u64, Work)]) -> TransactionId {
        let transaction = self.begin(coordinator);
        self.commit(transaction, branches);
        transaction
    }

    /// The coordinator's answer to a query for a transaction; `None` while it is down or refuses.
    pub fn query(&mut self, transaction: TransactionId) -> Option<Knowledge> {
        let coordinator = transaction.coordinator.0;
        let id = self.command(coordinator, |command| Command::Query { command, transaction });
        self.settle();
        self.node(coordinator).events.iter().find_map(|event| match event {
            Event::Known { command, knowledge, .. } if *command == id => Some(*knowledge),
            _ => None,
        })
    }

    /// Cuts the way from `from` to `to`.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((NodeId(from), NodeId(to)));
    }

    /// Cuts both ways between two nodes.
    pub fn part(&mut self, one: u64, two: u64) {
        self.cut(one, two);
        self.cut(two, one);
    }

    /// Restores all ways.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Keeps messages from `from` to `to` until they are released.
    pub fn park(&mut self, from: u64, to: u64) {
        self.parked_links.insert((NodeId(from), NodeId(to)));
    }

    /// Delivers all kept messages, in order, and keeps no further ones. Returns them, so that they can be delivered
    /// again.
    pub fn release(&mut self) -> Vec<(NodeId, NodeId, Message)> {
        self.parked_links.clear();
        let parked = std::mem::take(&mut self.parked);
        for (from, to, message) in parked.clone() {
            self.input(to, Input::Message { from, message });
        }
        self.settle();
        parked
    }

    /// The kept messages.
    pub fn parked(&self) -> &[(NodeId, NodeId, Message)] {
        &self.parked
    }

    /// Holds back the completion of a node's writes.
    pub fn hold_disk(&mut self, node: u64) {
        self.node_mut(node).is_disk_held = true;
    }

    /// Completes a node's writes again, those that waited first.
    pub fn release_disk(&mut self, node: u64) {
        let it = self.node_mut(node);
        it.is_disk_held = false;
        let (starts, tickets) = (it.starts, it.writes.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>());
        for ticket in tickets {
            self.time.schedule(Duration::ZERO, Happening::Written { node: NodeId(node), starts, ticket });
        }
        self.settle();
    }

    /// Makes the oldest write of a node fail.
    ///
    /// # Panics
    /// When there is no write.
    pub fn fail_write(&mut self, node: u64, failure: PersistFailure) {
        let it = self.node_mut(node);
        let (ticket, _) = it.writes.pop_front().expect("a write is on its way");
        self.input(NodeId(node), Input::Signal(Signal::PersistFailed { ticket, failure }));
    }

    /// Makes the oldest write of a node durable without telling the node.
    ///
    /// # Panics
    /// When there is no write.
    pub fn land_write(&mut self, node: u64) {
        let it = self.node_mut(node);
        let (_, operations) = it.writes.front().expect("a write is on its way");
        it.disk.write(operations);
    }

    /// Delivers a message now.
    pub fn inject(&mut self, from: u64, to: u64, message: Message) {
        self.input(NodeId(to), Input::Message { from: NodeId(from), message });
        self.settle();
    }

    /// Holds back the requests to a node's application.
    pub fn hold_requests(&mut self, node: u64) {
        self.node_mut(node).are_requests_held = true;
    }

    /// Gives a node's application its requests again, those that waited first.
    pub fn release_requests(&mut self, node: u64) {
        let it = self.node_mut(node);
        it.are_requests_held = false;
        let (starts, held) = (it.starts, std::mem::take(&mut it.held_requests));
        for (ticket, request) in held {
            self.time.schedule(Duration::ZERO, Happening::Asked { node: NodeId(node), starts, ticket, request });
        }
        self.settle();
    }

    /// The requests to a node's application that are held back.
    pub fn held_requests(&self, node: u64) -> Vec<Request> {
        self.node(node).held_requests.iter().map(|(_, request)| request.clone()).collect()
    }

    /// Stops a node. Its incomplete writes are lost.
    pub fn crash(&mut self, node: u64) {
        let it = self.node_mut(node);
        it.core = None;
        it.writes.clear();
        it.held_requests.clear();
        it.heard.clear();
        it.starts += 1;
        it.manager.crash();
        // The laws must see that it is down, even if it comes back at once.
        self.check();
    }

    /// Starts a node from its disk, and introduces it. A running node is left alone.
    ///
    /// # Panics
    /// When it cannot read what it wrote.
    pub fn restart(&mut self, node: u64) {
        let (id, now) = (NodeId(node), self.time.clocks());
        let it = self.node_mut(node);
        if it.core.is_some() {
            return;
        }
        let core = TwoPhaseCommit::recover(now, it.config.clone(), it.disk.recovery());
        it.core = Some(core.expect("the disk holds what was written"));
        it.halted = None;
        (it.is_disk_held, it.are_requests_held) = (false, false);
        self.poll(id);
        let peers: Vec<NodeId> = self.nodes.keys().copied().collect();
        for peer in peers {
            self.input(peer, Input::Signal(Signal::PeerStanding { node: id, standing: self.standing(id) }));
            if peer != id {
                self.input(id, Input::Signal(Signal::PeerStanding { node: peer, standing: self.standing(peer) }));
            }
        }
    }

    /// Stops a node and empties its disk: it comes back as another incarnation.
    pub fn wipe(&mut self, node: u64) {
        self.crash(node);
        let it = self.node_mut(node);
        (it.disk, it.is_wiped, it.manager) = (Disk::default(), true, Manager::default());
    }

    /// Ends all faults, starts all nodes, and lets time pass until nothing is in doubt.
    ///
    /// # Panics
    /// When something stays in doubt, locked, or on disk.
    pub fn quiesce(&mut self) {
        self.faults = Faults::default();
        self.crashes.clear();
        self.heal();
        self.release();
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for node in &nodes {
            if self.node(*node).halted.is_some() {
                self.crash(*node);
            }
            self.restart(*node);
            self.release_disk(*node);
            self.release_requests(*node);
        }
        self.run(Duration::from_mins(1));
        for (node, it) in &self.nodes {
            let status = it.core().status();
            assert_eq!((status.coordinated, status.branches, status.tombstones), (0, 0, 0), "node {node}: {status:?}");
            assert!(it.manager.locks.is_empty(), "no lock remains on node {node}: {:?}", it.manager.locks);
            assert_eq!(it.manager.prepared().count(), 0, "nothing is prepared on node {node}");
            assert_eq!(it.disk.records(), status.remembered, "node {node} keeps no more than it remembers");
        }
    }

    /// A random number below `high` from the cluster's seed.
    pub fn choose(&mut self, high: u64) -> u64 {
        self.time.choose(high)
    }

    /// The messages and writes of all nodes together.
    pub fn traffic(&self) -> Traffic {
        self.nodes.values().fold(Traffic::default(), |sum, it| Traffic {
            messages: sum.messages + it.traffic.messages,
            writes: sum.writes + it.traffic.writes,
        })
    }

    fn standing(&self, node: NodeId) -> Standing {
        if self.nodes[&node].is_wiped { Standing::Stranger } else { Standing::Member }
    }

    /// Counts a step of a node, and crashes the node just before it if the step is marked. Returns false then.
    fn survives(&mut self, node: NodeId) -> bool {
        self.steps += 1;
        if !self.crashes.contains(&self.steps) {
            return true;
        }
        // Other nodes may already know the effects of its last step before the crash.
        self.check();
        self.crash(node.0);
        self.time.schedule(self.restart_after, Happening::Restart { node });
        false
    }

    fn complete_write(&mut self, node: NodeId, starts: u64, ticket: Ticket) {
        let is_refused = self.time.strikes(self.faults.refusal_percent);
        let it = &self.nodes[&node];
        let is_next = it.writes.front().is_some_and(|(oldest, _)| *oldest == ticket);
        if it.starts != starts || it.is_disk_held || !is_next || !self.survives(node) {
            return;
        }
        let it = self.nodes.get_mut(&node).expect("just seen");
        let (_, operations) = it.writes.pop_front().expect("just seen");
        if is_refused {
            return self
                .input(node, Input::Signal(Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten }));
        }
        it.disk.write(&operations);
        if self.survives(node) {
            self.input(node, Input::Signal(Signal::Persisted(ticket)));
        }
    }

    fn answer(&mut self, node: NodeId, starts: u64, ticket: Ticket, request: Request) {
        let is_failed = self.time.strikes(self.faults.failure_percent);
        if self.nodes[&node].starts != starts || !self.survives(node) {
            return;
        }
        let it = self.nodes.get_mut(&node).expect("just seen");
        if it.are_requests_held {
            it.held_requests.push((ticket, request));
            return;
        }
        let answer = it.manager.answer(&request);
        if self.survives(node) {
            let answer = if is_failed { Answer::Failed } else { answer };
            self.input(node, Input::Completed { ticket, answer });
        }
    }

    fn poll(&mut self, node: NodeId) {
        let starts = self.nodes[&node].starts;
        while let Some(output) = self.nodes.get_mut(&node).and_then(|it| it.core.as_mut()?.poll_output()) {
            if !matches!(output, Output::Event(_)) && !self.survives(node) {
                return;
            }
            let it = self.nodes.get_mut(&node).expect("just seen");
            match output {
                Output::Send { to, message } => {
                    Said::by(&it.disk).check_message(to, &message);
                    it.traffic.messages += 1;
                    self.carry(node, to, message);
                }
                Output::Persist { ticket, operations } => {
                    it.traffic.writes += 1;
                    it.writes.push_back((ticket, operations));
                    let delay = self.time.draw(self.faults.write_max);
                    self.time.schedule(delay, Happening::Written { node, starts, ticket });
                }
                Output::Request { ticket, request } => {
                    let is_lost = self.time.strikes(self.faults.deafness_percent);
                    if is_lost || !it.heard.insert(ticket) {
                        continue;
                    }
                    // An application carries out one request after another.
                    let busy_until = it.busy_until;
                    let delay = self.time.draw(self.faults.answer_max).max(busy_until.since(self.time.now()));
                    self.node_mut(node.0).busy_until = self.time.now().after(delay);
                    self.time.schedule(delay, Happening::Asked { node, starts, ticket, request });
                }
                Output::Event(event) => {
                    Said::by(&it.disk).check_event(&event);
                    it.manager.hear(&event);
                    it.events.push(event);
                }
                Output::Halt { reason } => it.halted = Some(reason),
                Output::Load { .. } => panic!("nothing is ever loaded"),
            }
        }
    }

    fn carry(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.parked_links.contains(&(from, to)) {
            self.parked.push((from, to, message));
            return;
        }
        if self.cut.contains(&(from, to)) || self.time.strikes(self.faults.loss_percent) {
            return;
        }
        if self.time.strikes(self.faults.duplicate_percent) {
            let delay = self.time.draw(self.faults.latency_max * 20);
            self.time.schedule(delay, Happening::Deliver { from, to, message: message.clone() });
        }
        let delay = self.time.draw(self.faults.latency_max);
        self.time.schedule(delay, Happening::Deliver { from, to, message });
    }
}

impl Stage for Cluster {
    type Event = Happening;

    fn timeline(&mut self) -> &mut Timeline<Happening> {
        &mut self.time
    }

    fn deadline(&self) -> Option<(Instant, NodeId)> {
        self.nodes.iter().filter_map(|(node, state)| Some((state.core.as_ref()?.deadline()?, *node))).min()
    }

    fn happen(&mut self, event: Happening) {
        match event {
            Happening::Deliver { from, to, message } => {
                let is_heard = !self.cut.contains(&(from, to)) && self.nodes[&to].core.is_some();
                if is_heard && self.survives(to) {
                    self.input(to, Input::Message { from, message });
                }
            }
            Happening::Written { node, starts, ticket } => self.complete_write(node, starts, ticket),
            Happening::Asked { node, starts, ticket, request } => self.answer(node, starts, ticket, request),
            Happening::Restart { node } => self.restart(node.0),
        }
    }

    fn time_out(&mut self, node: NodeId) {
        self.input(node, Input::Signal(Signal::Timeout));
    }

    fn check(&mut self) {
        let running = self.nodes.iter().filter_map(|(node, it)| Some((*node, it.core.as_ref()?)));
        let running: Vec<(NodeId, &TwoPhaseCommit)> = running.collect();
        self.laws.check(&running);
    }
}
