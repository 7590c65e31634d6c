//! A tutorial: three nodes of the bare core in one process, with a disk of their own each and one network in memory.
//!
//! ```sh
//! cargo run -p quorate-raft --no-default-features --example three_nodes
//! ```
//!
//! Its dependencies are bytes, quorate-protocol, and quorate-raft with `default-features = false`. `main` tells the
//! story. Below it stand the state machine, a node with the loop that carries out what its core asks for, and the
//! network with the clock. `disk.rs` shows how a `Recovery` is made from one's own storage. The README lists what a
//! real program does beside.

mod disk;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Committed, Configuration, Entry, EntryKind, Input, LoadRange, Loaded, LogCommand, LogEvent, LogIndex, LogTime,
    NodeId, Now, Output, Proposal, ProposalId, Protocol, ReplicatedLog, Role, Signal, SnapshotMeta, Standing, Term,
    crc32c,
};
use quorate_raft::{Config, Message, Raft, Settings, Start};

use disk::Disk;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// Memory for entries: room for three or so, so that older ones must be loaded from the disk again.
const CACHE_BYTES: usize = 200;

pub(crate) fn main() {
    let mut cluster = Cluster::start();
    println!("-- three empty disks: the first election");
    let first = cluster.elect();
    cluster.propose(first, 1..=8);
    cluster.run_until(|nodes| nodes.iter().all(|node| node.machine.commands.len() == 8));

    println!("-- the leader crashes: command 99 is not synced, and reaches nobody");
    cluster.propose(first, 99..=99);
    cluster.step();
    assert_eq!(cluster.crash(first), 1, "a write was lost");
    let second = cluster.elect();
    cluster.propose(second, 9..=16);
    cluster.run_until(|nodes| nodes.iter().filter(|node| node.machine.commands.len() == 16).count() == 2);

    println!("-- the crashed node recovers and catches up");
    cluster.restart(first);
    cluster.run_until(|nodes| nodes.iter().all(|node| node.machine.commands.len() == 16));

    println!("-- every node makes a snapshot, and removes the entries that it covers");
    cluster.compact();
    cluster.run_until(|nodes| nodes.iter().all(|node| node.disk.content(node.disk.synced).entries.is_empty()));
    cluster.crash(second);
    cluster.restart(second);
    let third = cluster.elect();
    cluster.propose(third, 17..=17);
    cluster.run_until(|nodes| nodes.iter().all(|node| node.machine.commands.len() == 17));

    let expected: Vec<String> = (1..=17).map(|number| format!("command {number}")).collect();
    for node in &cluster.nodes {
        assert_eq!(node.machine.commands, expected, "node {} applied the same as all", node.id);
    }
    let loads = |of: fn(&Node) -> u32| cluster.nodes.iter().map(of).sum::<u32>();
    assert!(loads(|node| node.loads_for_peers) > 0 && loads(|node| node.loads_to_apply) > 0, "entries were loaded");
    println!("-- all three applied the same {} commands", expected.len());
}

/// The state machine: it keeps the commands. All replicas get the same entries in the same order.
#[derive(Clone)]
struct Machine {
    commands: Vec<String>,
    /// How far it is, in the form in which a snapshot says it.
    covers: SnapshotMeta,
}

impl Machine {
    fn new() -> Self {
        let configuration = Configuration::of_voters(NODES);
        let covers = SnapshotMeta { index: LogIndex::ZERO, term: Term(0), log_time: LogTime(0), configuration };
        Self { commands: Vec::new(), covers }
    }

    fn apply(&mut self, index: LogIndex, term: Term, entry: &Entry) {
        assert_eq!(index, self.covers.index.next(), "entries come in order");
        (self.covers.index, self.covers.term, self.covers.log_time) = (index, term, entry.header.log_time);
        match entry.header.kind {
            EntryKind::Command => self.commands.push(String::from_utf8_lossy(&entry.payload).into_owned()),
            EntryKind::Configuration => {
                self.covers.configuration = Configuration::decode(&entry.payload).expect("a committed configuration");
            }
            _ => {} // entries of the protocol itself, such as the first one of each leader
        }
    }
}

/// A node: a core and all that it cannot do itself.
struct Node {
    id: NodeId,
    /// Number of its starts.
    starts: u64,
    /// Nothing while the node is down.
    core: Option<Raft>,
    disk: Disk,
    machine: Machine,
    loads_for_peers: u32,
    loads_to_apply: u32,
}

impl Node {
    fn new(id: NodeId) -> Self {
        let (disk, machine) = (Disk::default(), Machine::new());
        Self { id, starts: 0, core: None, disk, machine, loads_for_peers: 0, loads_to_apply: 0 }
    }

    fn start(&mut self, now: Now) {
        self.starts += 1;
        // Each node and each start has a seed of its own: equal seeds draw equal time-outs, and candidates collide.
        let seed = self.id.0 * 1000 + self.starts;
        // All first members get the same configuration. It counts only until something is on the disk.
        let start = Start::Initial(Configuration::of_voters(NODES));
        let settings = Settings { cache_bytes_max: CACHE_BYTES, ..Settings::default() };
        let config = Config::new(self.id, seed, start, settings).expect("valid settings");
        let recovery = self.disk.recovery();
        println!("node {}: starts with the entries after {} up to {}", self.id, recovery.base.index, recovery.last);
        self.core = Some(Raft::recover(now, config, recovery).expect("the disk holds what the core wrote"));
        // The state machine was in memory: it begins with the snapshot and gets all later entries again.
        self.machine = self.disk.snapshot.clone().unwrap_or_else(Machine::new);
        // No disk of this example is ever lost or swapped. Otherwise its node would be a stranger here: see the README.
        for node in NODES {
            self.handle(now, Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
        }
    }

    fn handle(&mut self, now: Now, input: Input<Raft>) {
        if let Some(core) = &mut self.core {
            core.handle(now, input);
        }
    }

    /// Carries out what the core asks for, in its order, until it asks for nothing.
    fn carry_out(&mut self, now: Now, network: &mut VecDeque<Frame>) {
        while let Some(output) = self.core.as_mut().and_then(Raft::poll_output) {
            match output {
                // The core holds back all that depends on this write until it hears `Persisted`: see `Cluster::step`.
                Output::Persist { ticket, operations } => self.disk.writes.push((ticket, operations)),
                Output::Send { to, message } => network.push_back(Frame { from: self.id, to, message }),
                // The leader needs entries that left its memory, for a peer that is far behind.
                Output::Load { ticket, range } => {
                    let LoadRange::Entries { range, bytes_max } = range else { unreachable!("raft keeps no journal") };
                    println!("node {}: reads entries from {} on for a peer", self.id, range.start);
                    self.loads_for_peers += 1;
                    assert!(self.loads_for_peers < 100, "each load brings a peer on");
                    let result = self.disk.read(&range, bytes_max).map(Loaded::Entries);
                    self.handle(now, Input::Signal(Signal::Loaded { ticket, result }));
                }
                Output::Event(LogEvent::Committed { .. }) => self.apply(),
                Output::Event(LogEvent::Role { role: Role::Leader, term, .. }) => {
                    println!("node {}: leads in term {}", self.id, term.0);
                }
                // The caller may be answered once an entry of this term is applied at this index. If another entry is
                // applied there, the proposal had no effect.
                Output::Event(LogEvent::Appended { id, index, term }) => {
                    println!("node {}: command {} is entry {index} of term {}", self.id, id.sequence, term.0);
                }
                Output::Event(LogEvent::Refused { reason, .. }) => panic!("a new leader takes commands: {reason:?}"),
                Output::Event(_) => {}
                // No node of this example lags behind the others' logs. `send_snapshot` in
                // `protocol/src/testing/replica.rs` shows the answers to this request, without chunks and sockets.
                Output::Request { request, .. } => panic!("nobody needs a snapshot: {request:?}"),
                Output::Halt { reason } => panic!("node {} stops: {reason}", self.id),
            }
        }
    }

    /// Applies all that is committed.
    fn apply(&mut self) {
        let Some(core) = &self.core else { return };
        loop {
            let entries = match core.entries(self.machine.covers.index.next(), 4096) {
                Committed::Cached(entries) => entries,
                Committed::NeedsLoad(range) => {
                    println!("node {}: reads entries from {} on to apply them", self.id, range.start);
                    self.loads_to_apply += 1;
                    self.disk.read(&range, 4096).expect("committed entries are on the disk or in the snapshot")
                }
            };
            if entries.is_empty() {
                return;
            }
            for (index, term, entry) in entries {
                self.machine.apply(index, term, &entry);
            }
        }
    }
}

/// A message on its way. `Message` has an encoding for real networks: the trait `Wire`.
struct Frame {
    from: NodeId,
    to: NodeId,
    message: Message,
}

/// The nodes, the network between them, and the time.
struct Cluster {
    nodes: Vec<Node>,
    network: VecDeque<Frame>,
    now: Now,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self { nodes: NODES.map(Node::new).into(), network: VecDeque::new(), now: Now::default() };
        for node in NODES {
            cluster.restart(node);
        }
        cluster
    }

    /// One millisecond: messages arrive, deadlines pass, and every tenth millisecond the disks sync.
    fn step(&mut self) {
        self.now.instant = self.now.instant.after(Duration::from_millis(1));
        self.now.wall_ms += 1;
        let now = self.now;
        for Frame { from, to, message } in std::mem::take(&mut self.network) {
            self.node(to).handle(now, Input::Message { from, message });
        }
        for node in &mut self.nodes {
            if node.core.as_ref().and_then(Raft::deadline).is_some_and(|deadline| deadline <= now.instant) {
                node.handle(now, Input::Signal(Signal::Timeout));
            }
            if now.wall_ms.is_multiple_of(10)
                && let Some(ticket) = node.disk.sync()
            {
                node.handle(now, Input::Signal(Signal::Persisted(ticket)));
            }
            // All inputs of this moment are in, so all their effects leave as one write and one message to each peer.
            node.carry_out(now, &mut self.network);
        }
    }

    fn run_until(&mut self, is_reached: impl Fn(&[Node]) -> bool) {
        for _ in 0..10_000 {
            if is_reached(&self.nodes) {
                return;
            }
            self.step();
        }
        panic!("not reached within ten seconds");
    }

    fn elect(&mut self) -> NodeId {
        let leads = |node: &Node| node.core.as_ref().is_some_and(|core| core.status().role == Role::Leader);
        self.run_until(|nodes| nodes.iter().any(leads));
        self.nodes.iter().find(|node| leads(node)).expect("just seen").id
    }

    /// Proposes commands on the leader. The id of a proposal is never used again, not even by another process.
    fn propose(&mut self, leader: NodeId, numbers: impl Iterator<Item = u64>) {
        let now = self.now;
        for sequence in numbers {
            let payload = Bytes::from(format!("command {sequence}"));
            let (id, checksum) = (ProposalId { sequence, ..ProposalId::default() }, crc32c(&payload));
            let proposal = Proposal { id, kind: EntryKind::Command, acknowledged_below: 0, payload, checksum };
            self.node(leader).handle(now, Input::Command(LogCommand::Propose(proposal)));
        }
    }

    /// Stops a node at once: its memory, its unsynced writes and the messages from it are gone. Returns the number of
    /// these writes.
    fn crash(&mut self, id: NodeId) -> usize {
        self.network.retain(|frame| frame.from != id);
        let node = self.node(id);
        node.core = None;
        let lost = node.disk.writes.split_off(node.disk.synced).len();
        println!("node {id}: crashes, and loses {lost} writes");
        lost
    }

    fn restart(&mut self, id: NodeId) {
        let now = self.now;
        self.node(id).start(now);
    }

    /// Lets every node make a snapshot of its state machine, and compact its log.
    fn compact(&mut self) {
        let now = self.now;
        for node in &mut self.nodes {
            let snapshot = node.machine.covers.clone();
            println!("node {}: has a snapshot up to entry {}", node.id, snapshot.index);
            node.disk.snapshot = Some(node.machine.clone());
            // With a smaller index, entries stay for nodes that lag a little, which spares them a snapshot.
            let keep_from = snapshot.index;
            node.handle(now, Input::Command(LogCommand::Compact { snapshot, keep_from }));
        }
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("one of the three")
    }
}
