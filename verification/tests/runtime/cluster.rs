//! Replicas on Raft in one loop. The test controls time, network, disks and crashes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Configuration, GroupId, HaltReason, Incarnation, Instant, LogStatus, NodeId, Now, Recovery, Role, SessionId,
    Signal, Standing,
};
use quorate_raft::{Config, Raft, Settings, Start};
use quorate_runtime::group::{CallId, Group, GroupInput, GroupOutput, Notice, Reply, SnapshotLane, SnapshotOperation};
use quorate_runtime::replica::{ProposeOptions, Replica, Seat};
use quorate_runtime::testing::{Ledger, LedgerFiles, MemorySnapshots};
use quorate_runtime::{Delivery, Outcome, ReadError, ReplicaSettings};
use quorate_transport::{ChannelId, Frame, Received, Sender};

pub(crate) const GROUP: GroupId = GroupId(7);

/// A group of a cluster, on one node.
pub(crate) trait Member: Group + Sized {
    /// Its settings beside those of the replica; a test sets them.
    type Extra: Clone + Default;

    /// Starts it from what its disk holds.
    fn boot(boot: Boot, extra: &Self::Extra) -> Self;

    /// The replicated log.
    fn log(&self) -> LogStatus;

    fn transfer(&mut self, now: Now, call: CallId, to: NodeId, deadline: Instant);
}

/// What a group starts from.
pub(crate) struct Boot {
    pub(crate) now: Now,
    pub(crate) seat: Seat,
    pub(crate) settings: ReplicaSettings,
    pub(crate) config: Config,
    pub(crate) recovery: Recovery,
    pub(crate) files: Option<LedgerFiles>,
}

impl Member for Replica<Raft, Ledger> {
    type Extra = ();

    fn boot(Boot { now, seat, settings, config, recovery, files }: Boot, (): &()) -> Self {
        let ledger = files.map_or_else(Ledger::default, Ledger::open);
        Self::recover(now, seat, settings, config, recovery, ledger).expect("a log that was written by the same code")
    }

    fn log(&self) -> LogStatus {
        self.status().log
    }

    fn transfer(&mut self, now: Now, call: CallId, to: NodeId, deadline: Instant) {
        Self::transfer(self, now, call, Some(to), deadline);
    }
}

/// One node: the parts that survive a crash, and the parts that do not.
pub(crate) struct Machine<G = Replica<Raft, Ledger>> {
    pub(crate) replica: Option<G>,
    pub(crate) disk: Stream,
    pub(crate) store: MemorySnapshots,
    /// The files of its state machine; `None` if that is in memory.
    pub(crate) files: Option<LedgerFiles>,
    /// Snapshot operations wait until they are released.
    pub(crate) holds_snapshots: bool,
    /// Operations that make snapshots wait until they are released.
    pub(crate) holds_builds: bool,
    pub(crate) held: VecDeque<(quorate_protocol::Ticket, SnapshotOperation)>,
    pub(crate) replies: BTreeMap<CallId, Reply>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) start: u32,
    inputs: VecDeque<GroupInput>,
}

/// A simulated cluster of replicas.
pub(crate) struct Cluster<G: Member = Replica<Raft, Ledger>> {
    pub(crate) extra: G::Extra,
    pub(crate) nodes: BTreeMap<NodeId, Machine<G>>,
    pub(crate) now: Now,
    /// Milliseconds by which the nodes' wall clocks are ahead.
    pub(crate) wall_ahead_ms: BTreeMap<NodeId, i64>,
    pub(crate) settings: ReplicaSettings,
    pub(crate) raft: Settings,
    /// Frames on these links are lost.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Frames on these links wait.
    pub(crate) parked_links: BTreeSet<(NodeId, NodeId)>,
    /// Frames on these channels are lost.
    pub(crate) lost_channels: BTreeSet<ChannelId>,
    /// Number of frames of the snapshots' channel that may still pass.
    pub(crate) pieces_left: usize,
    /// Every frame that was sent.
    pub(crate) sent: Vec<(NodeId, NodeId, ChannelId)>,
    parked: Vec<(NodeId, NodeId, Frame)>,
    wires: VecDeque<(NodeId, NodeId, Frame)>,
    last_call: u64,
}

pub(crate) const N1: NodeId = NodeId(1);
pub(crate) const N2: NodeId = NodeId(2);
pub(crate) const N3: NodeId = NodeId(3);

impl Cluster {
    /// Nodes 1 to `count`, all running, without a leader yet.
    pub(crate) fn start(count: u64) -> Self {
        Self::start_with(count, ReplicaSettings::default(), Settings::default())
    }

    pub(crate) fn start_with(count: u64, settings: ReplicaSettings, raft: Settings) -> Self {
        let mut cluster = Self::prepare(count, settings, raft, || None);
        cluster.boot_all();
        cluster
    }

    /// As [`Cluster::start_with`], with state machines that store their state themselves.
    pub(crate) fn start_stored(count: u64, settings: ReplicaSettings, raft: Settings) -> Self {
        let mut cluster = Self::prepare(count, settings, raft, || Some(LedgerFiles::default()));
        cluster.boot_all();
        cluster
    }

    /// Three nodes, of which the first leads.
    pub(crate) fn led() -> Self {
        let mut cluster = Self::start(3);
        cluster.elect(N1);
        cluster
    }

    pub(crate) fn ledger(&self, node: NodeId) -> &Ledger {
        self.nodes[&node].replica.as_ref().expect("a running node").state()
    }

    /// Proposes with a deadline of five seconds.
    pub(crate) fn propose(&mut self, node: NodeId, command: &str, delivery: Delivery) -> CallId {
        let deadline = self.deadline(5000);
        self.propose_until(node, command, delivery, deadline)
    }

    pub(crate) fn propose_until(
        &mut self,
        node: NodeId,
        command: &str,
        delivery: Delivery,
        deadline: Instant,
    ) -> CallId {
        let (call, now) = (self.call(), self.clocks(node));
        let command = Bytes::copy_from_slice(command.as_bytes());
        self.replica(node).propose(now, call, command, ProposeOptions { deadline, delivery });
        self.settle();
        call
    }

    /// Proposes at most once and runs until there is an outcome.
    pub(crate) fn execute(&mut self, node: NodeId, command: &str) -> Outcome {
        let call = self.propose(node, command, Delivery::AtMostOnce);
        self.outcome(node, call)
    }

    /// Runs until the call has its outcome.
    pub(crate) fn outcome(&mut self, node: NodeId, call: CallId) -> Outcome {
        match self.answer(node, call) {
            Reply::Outcome(outcome) => outcome,
            other => panic!("not an outcome: {other:?}"),
        }
    }

    /// Opens the session of a node's replica.
    pub(crate) fn open_session(&mut self, node: NodeId, timeout: Duration) -> Outcome {
        let (call, now, deadline) = (self.call(), self.clocks(node), self.deadline(5000));
        self.replica(node).open_session(now, call, timeout, deadline);
        self.settle();
        self.outcome(node, call)
    }

    pub(crate) fn start_read(&mut self, node: NodeId) -> CallId {
        let (call, now, deadline) = (self.call(), self.clocks(node), self.deadline(5000));
        self.replica(node).read(now, call, deadline);
        self.settle();
        call
    }

    /// Reads linearizably. Returns the number of times that a command was applied.
    pub(crate) fn read(&mut self, node: NodeId, command: &str) -> Result<u64, ReadError> {
        let call = self.start_read(node);
        match self.answer(node, call) {
            Reply::ReadReady => Ok(self.ledger(node).count(command)),
            Reply::ReadFailed(error) => Err(error),
            other => panic!("not an answer to a read: {other:?}"),
        }
    }
}

impl<G: Member> Cluster<G> {
    pub(crate) fn prepare(
        count: u64,
        settings: ReplicaSettings,
        raft: Settings,
        files: impl Fn() -> Option<LedgerFiles>,
    ) -> Self {
        let mut cluster = Self {
            extra: G::Extra::default(),
            nodes: BTreeMap::new(),
            now: Now { instant: Instant::from_nanos(1_000_000_000), wall_ms: 1_000_000 },
            wall_ahead_ms: BTreeMap::new(),
            settings,
            raft,
            cut: BTreeSet::new(),
            parked_links: BTreeSet::new(),
            lost_channels: BTreeSet::new(),
            pieces_left: usize::MAX,
            sent: Vec::new(),
            parked: Vec::new(),
            wires: VecDeque::new(),
            last_call: 0,
        };
        for node in (1..=count).map(NodeId) {
            let machine = Machine {
                replica: None,
                disk: Stream::default(),
                store: MemorySnapshots::default(),
                files: files(),
                holds_snapshots: false,
                holds_builds: false,
                held: VecDeque::new(),
                replies: BTreeMap::new(),
                notices: Vec::new(),
                halted: None,
                start: 0,
                inputs: VecDeque::new(),
            };
            cluster.nodes.insert(node, machine);
        }
        cluster
    }

    pub(crate) fn boot_all(&mut self) {
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.boot(node);
        }
    }

    /// Starts a node, or starts it again, from what its disk holds.
    pub(crate) fn boot(&mut self, node: NodeId) {
        let now = self.clocks(node);
        let members = Configuration::of_voters(self.nodes.keys().copied());
        let everybody: Vec<NodeId> = self.nodes.keys().copied().collect();
        let machine = self.nodes.get_mut(&node).expect("a node of the cluster");
        machine.start += 1;
        let session = SessionId { incarnation: incarnation(node), start: machine.start };
        let seed = node.0 * 1000 + u64::from(machine.start);
        let config = Config::new(node, seed, Start::Initial(members), self.raft.clone()).expect("valid settings");
        machine.disk.snapshot = machine.store.newest();
        let recovery = machine.disk.recovery(1000);
        let seat = Seat { group: GROUP, node, session };
        let (settings, files) = (self.settings.clone(), machine.files.clone());
        machine.replica = Some(G::boot(Boot { now, seat, settings, config, recovery, files }, &self.extra));
        machine.halted = None;
        machine.inputs.push_back(GroupInput::Barred(None));
        for peer in everybody {
            let standing = Standing::Member;
            machine.inputs.push_back(GroupInput::Signal(Signal::PeerStanding { node: peer, standing }));
        }
        self.settle();
    }

    /// Crashes the node. Frames on their way to it, and its unfinished work, are lost.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let machine = self.machine(node);
        machine.replica = None;
        machine.inputs.clear();
        machine.replies.clear();
        machine.held.clear();
        machine.store.incoming = None;
        machine.files.iter().for_each(LedgerFiles::crash);
        self.wires.retain(|(_, to, _)| *to != node);
    }

    pub(crate) fn machine(&mut self, node: NodeId) -> &mut Machine<G> {
        self.nodes.get_mut(&node).expect("a node of the cluster")
    }

    pub(crate) fn replica(&mut self, node: NodeId) -> &mut G {
        self.machine(node).replica.as_mut().expect("a running node")
    }

    /// Makes `node` win an election. No other node campaigns until it has won.
    pub(crate) fn elect(&mut self, node: NodeId) {
        for _ in 0..100 {
            self.run(100);
            let leader = self.leader();
            if leader == Some(node) {
                self.run(50);
                return;
            }
            if let Some(other) = leader {
                let call = self.call();
                let (now, deadline) = (self.clocks(other), self.deadline(1000));
                self.replica(other).transfer(now, call, node, deadline);
            }
        }
        panic!("node {node} was not elected");
    }

    /// The node that leads in the newest term, if one does.
    pub(crate) fn leader(&mut self) -> Option<NodeId> {
        let running = self.nodes.iter().filter_map(|(node, machine)| Some((*node, machine.replica.as_ref()?)));
        let leading = running.map(|(node, replica)| (node, replica.log())).filter(|(_, log)| log.role == Role::Leader);
        leading.max_by_key(|(_, log)| log.term).map(|(node, _)| node)
    }

    /// Returns both clocks of a node.
    pub(crate) fn clocks(&self, node: NodeId) -> Now {
        let ahead_ms = self.wall_ahead_ms.get(&node).copied().unwrap_or_default();
        Now { wall_ms: self.now.wall_ms.saturating_add_signed(ahead_ms), ..self.now }
    }

    /// Isolates `node`: no frame passes between it and the others, in either direction.
    pub(crate) fn isolate(&mut self, node: NodeId) {
        for peer in self.nodes.keys().copied().filter(|peer| *peer != node) {
            self.cut.insert((node, peer));
            self.cut.insert((peer, node));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Makes frames to `node` wait until they are released.
    pub(crate) fn park_inbound(&mut self, node: NodeId) {
        let peers = self.nodes.keys().copied().filter(|peer| *peer != node);
        self.parked_links.extend(peers.map(|peer| (peer, node)));
    }

    pub(crate) fn release(&mut self) {
        self.parked_links.clear();
        self.wires.extend(std::mem::take(&mut self.parked));
        self.settle();
    }

    /// Drops the frames that wait on parked links.
    pub(crate) fn drop_parked(&mut self) {
        self.parked_links.clear();
        self.parked.clear();
    }

    pub(crate) fn deadline(&self, milliseconds: u64) -> Instant {
        self.now.instant.after(Duration::from_millis(milliseconds))
    }

    pub(crate) fn call(&mut self) -> CallId {
        self.last_call += 1;
        CallId(self.last_call)
    }

    /// Runs until the call has its answer.
    pub(crate) fn answer(&mut self, node: NodeId, call: CallId) -> Reply {
        for _ in 0..20_000 {
            if let Some(reply) = self.machine(node).replies.remove(&call) {
                return reply;
            }
            self.run(1);
        }
        panic!("no answer within 20 s");
    }

    /// Passes an input to a node.
    pub(crate) fn give(&mut self, node: NodeId, input: GroupInput) {
        self.machine(node).inputs.push_back(input);
        self.settle();
    }

    /// Advances time by this number of milliseconds.
    pub(crate) fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now.instant = self.now.instant.after(Duration::from_millis(1));
            self.now.wall_ms += 1;
            self.settle();
        }
    }

    /// Carries out everything that is due now.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut is_busy = false;
            for node in self.nodes.keys().copied().collect::<Vec<_>>() {
                is_busy |= self.turn(node);
            }
            while let Some((from, to, frame)) = self.wires.pop_front() {
                is_busy = true;
                self.deliver(from, to, frame);
            }
            if !is_busy {
                return;
            }
        }
    }

    /// Carries out the snapshot operations of a node that were held.
    pub(crate) fn release_snapshots(&mut self, node: NodeId, count: usize) {
        let machine = self.machine(node);
        for _ in 0..count {
            let Some((ticket, operation)) = machine.held.pop_front() else { break };
            let result = machine.store.perform(operation);
            machine.inputs.push_back(GroupInput::Snapshot { ticket, result });
        }
        self.settle();
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, frame: Frame) {
        let channel = frame.channel();
        self.sent.push((from, to, channel));
        if self.cut.contains(&(from, to)) || self.lost_channels.contains(&channel) {
            return;
        }
        if channel == ChannelId::SNAPSHOTS {
            if self.pieces_left == 0 {
                return;
            }
            self.pieces_left -= 1;
        }
        if self.parked_links.contains(&(from, to)) {
            return self.parked.push((from, to, frame));
        }
        let machine = self.machine(to);
        if machine.replica.is_some() {
            let from = Sender { node: from, incarnation: incarnation(from) };
            machine.inputs.push_back(GroupInput::Frame(Received { from, frame }));
        }
    }

    /// Passes waiting inputs and carries out outputs. Returns true if there was anything to do.
    fn turn(&mut self, node: NodeId) -> bool {
        let now = self.clocks(node);
        let machine = self.nodes.get_mut(&node).expect("a node of the cluster");
        let Some(replica) = &mut machine.replica else { return false };
        let mut is_busy = false;
        for input in std::mem::take(&mut machine.inputs) {
            is_busy = true;
            replica.handle(now, input);
        }
        if replica.deadline().is_some_and(|deadline| deadline <= now.instant) {
            replica.handle(now, GroupInput::Signal(Signal::Timeout));
        }
        while let Some(output) = replica.poll_output() {
            is_busy = true;
            match output {
                GroupOutput::Send { to, frame } => self.wires.push_back((node, to, frame)),
                GroupOutput::Persist { ticket, operations } => {
                    machine.disk.snapshot = machine.store.newest();
                    machine.disk.write(&operations);
                    machine.inputs.push_back(GroupInput::Signal(Signal::Persisted(ticket)));
                }
                GroupOutput::Load { ticket, range } => {
                    let result = machine.disk.load(&range);
                    machine.inputs.push_back(GroupInput::Signal(Signal::Loaded { ticket, result }));
                }
                GroupOutput::Snapshot { ticket, operation }
                    if machine.holds_snapshots || (machine.holds_builds && operation.lane() == SnapshotLane::Build) =>
                {
                    machine.held.push_back((ticket, operation));
                }
                GroupOutput::Snapshot { ticket, operation } => {
                    let result = machine.store.perform(operation);
                    machine.inputs.push_back(GroupInput::Snapshot { ticket, result });
                }
                GroupOutput::Job { ticket, job } => {
                    let result = Ok((job.0)());
                    machine.inputs.push_back(GroupInput::Job { ticket, result });
                }
                GroupOutput::Reply { call, reply } => {
                    assert!(machine.replies.insert(call, reply).is_none(), "a call is answered once");
                }
                // No node hosts this replica.
                GroupOutput::OlderCopy { peer } => panic!("node {peer} has lost nothing"),
                GroupOutput::Members { .. } => {}
                GroupOutput::Notice(notice) => machine.notices.push(notice),
                GroupOutput::Halt { reason } => machine.halted = Some(reason),
            }
        }
        is_busy
    }
}

pub(crate) fn incarnation(node: NodeId) -> Incarnation {
    Incarnation(u128::from(node.0) + 100)
}
