//! Nodes in a small simulated world: the network is a queue, disks are maps, and time is advanced by the test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, GroupId, HaltReason, Identity, Incarnation, Instant, NodeId, Now, Operation,
    PersistFailure, Recovery, Rest, Signal, Ticket,
};
use quorate_transport::{ChannelId, Frame, Received, Sender};
use quorate_wal::StreamId;

use super::{Node, NodeConfig, NodeInput, NodeOutput, PendingStart, Write};
use crate::group::founding::Founding;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::notice::Notice;
use crate::group::reply::Reply;

mod changes;
mod introductions;
mod peers;
mod resting;
mod roster;
mod turns;

/// The groups of these tests have this channel.
const CHANNEL: ChannelId = ChannelId::FIRST_CORE;

/// A group that records its inputs and does what the frames command.
#[derive(Debug, Default)]
struct Fake {
    id: GroupId,
    seen: Vec<String>,
    outputs: VecDeque<GroupOutput>,
    deadline: Option<Instant>,
    waiting: Vec<CallId>,
    last_ticket: Ticket,
    is_leading: bool,
    may_rest: bool,
    rest: Option<Rest>,
}

impl Fake {
    fn boxed(id: GroupId) -> Box<dyn Group> {
        Box::new(Self { id, ..Self::default() })
    }

    fn persist(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        let operations = vec![Operation::Journal { key: 1, bytes: Bytes::from_static(b"something") }];
        self.outputs.push_back(GroupOutput::Persist { ticket: self.last_ticket, operations });
        self.last_ticket
    }

    fn send(&mut self, to: u64, text: &str) {
        self.outputs.push_back(GroupOutput::Send { to: NodeId(to), frame: frame(self.id, text) });
    }

    fn on_frame(&mut self, received: &Received) {
        let text = text(&received.frame);
        self.seen.push(format!("{text} from {}", received.from.node));
        match text.as_str() {
            "panic" => panic!("told to panic"),
            "halt" => self.outputs.push_back(GroupOutput::Halt { reason: HaltReason::LawBroken("told to halt") }),
            "write" => drop(self.persist()),
            "replicate" => {
                self.persist();
                self.send(2, "write");
                self.send(3, "write");
            }
            _ => {}
        }
    }
}

impl Group for Fake {
    fn handle(&mut self, _now: Now, input: GroupInput) {
        match input {
            GroupInput::Frame(received) => self.on_frame(&received),
            GroupInput::Signal(Signal::Timeout) => {
                self.deadline = None;
                self.seen.push("timeout".to_owned());
            }
            GroupInput::Shutdown { .. } => self.is_leading = false,
            GroupInput::Heard { .. } => {}
            GroupInput::Signal(Signal::PersistFailed { failure, .. }) => {
                self.outputs.push_back(GroupOutput::Halt { reason: HaltReason::LogFailed(failure) });
            }
            GroupInput::Signal(other) => self.seen.push(format!("{other:?}")),
            other => self.seen.push(format!("{other:?}")),
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        assert!(self.seen.last().is_none_or(|seen| !seen.starts_with("poll panic")), "told to panic when polled");
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn halted(&mut self, _reason: &HaltReason) {
        self.seen.push("halted".to_owned());
        for call in std::mem::take(&mut self.waiting) {
            self.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Unknown });
        }
    }

    fn channel(&self) -> ChannelId {
        CHANNEL
    }

    fn is_settled(&self) -> bool {
        !self.is_leading
    }

    fn may_rest(&self) -> bool {
        self.may_rest
    }

    fn rest(&self) -> Option<Rest> {
        self.rest.clone()
    }
}

/// The durable content of one node.
#[derive(Clone, Debug, Default)]
struct Disk {
    states: BTreeMap<StreamId, Bytes>,
    journals: BTreeMap<StreamId, BTreeMap<u64, Bytes>>,
    syncs: u64,
}

impl Disk {
    fn apply(&mut self, stream: StreamId, operations: Vec<Operation>) {
        for operation in operations {
            match operation {
                Operation::PutState { bytes, .. } => drop(self.states.insert(stream, bytes)),
                Operation::Journal { key, bytes } => {
                    self.journals.entry(stream).or_default().insert(key, bytes);
                }
                Operation::CheckpointBegin { .. } | Operation::CheckpointDone { .. } => {}
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    fn recover(&self, stream: StreamId) -> Recovery {
        let records: Vec<_> =
            self.journals.get(&stream).into_iter().flatten().map(|(k, v)| Ok((*k, v.clone()))).collect();
        Recovery {
            state: self.states.get(&stream).cloned(),
            journal: Some(Box::new(records.into_iter())),
            ..Recovery::default()
        }
    }
}

/// Three nodes.
struct World {
    nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, Disk>,
    incarnations: BTreeMap<NodeId, Incarnation>,
    /// Frames under way.
    network: VecDeque<(NodeId, Received)>,
    notices: Vec<(NodeId, Notice)>,
    replies: Vec<(GroupId, CallId, Reply)>,
    /// The peers that nodes told, in the order of telling.
    peers: Vec<(NodeId, BTreeMap<NodeId, Vec<Bytes>>)>,
    now: Now,
    drawn: u128,
    groups: u64,
    /// The groups may come to rest.
    may_rest: bool,
    /// Nodes whose writes do not complete.
    stalled: BTreeSet<NodeId>,
    /// Nodes whose writes are refused because there is no room.
    full: BTreeSet<NodeId>,
    /// The voters with which nodes found new groups; all three unless set.
    founders: BTreeMap<NodeId, Vec<u64>>,
    frames: u64,
}

impl World {
    fn new(groups: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            network: VecDeque::new(),
            notices: Vec::new(),
            replies: Vec::new(),
            peers: Vec::new(),
            now: Now::default(),
            drawn: 100,
            groups,
            may_rest: false,
            stalled: BTreeSet::new(),
            full: BTreeSet::new(),
            founders: BTreeMap::new(),
            frames: 0,
        }
    }

    /// Three nodes that are introduced to each other.
    fn introduced(groups: u64) -> Self {
        let mut world = Self::new(groups);
        (1..=3).for_each(|node| world.start(node));
        world.run();
        world
    }

    fn start(&mut self, id: u64) {
        let node = NodeId(id);
        let incarnation = *self.incarnations.entry(node).or_insert_with(|| {
            self.drawn += 1;
            Incarnation(self.drawn)
        });
        let identity = Identity { cluster: ClusterId(7), node, incarnation };
        let disk = self.disks.entry(node).or_default();
        let wall_ms = self.now.instant.as_nanos() / 1_000_000;
        let mut pending = PendingStart::recover(identity, wall_ms, disk.recover(StreamId(0))).expect("readable");
        let founders = self.founders.get(&node).cloned().unwrap_or_else(|| vec![1, 2, 3]);
        let founded: Vec<GroupId> = pending.groups().filter(|group| group.0 > self.groups).collect();
        for group in (1..=self.groups).map(GroupId) {
            pending.bind(group);
            let members = Configuration::of_voters(founders.iter().copied().map(NodeId));
            pending.found(group, Founding::new(CHANNEL, members));
        }
        pending.operations().into_iter().for_each(|operations| disk.apply(StreamId(0), operations));
        let peers = (1..=3).map(NodeId).filter(|peer| *peer != node);
        let mut started = Node::new(self.now, NodeConfig::new(peers), pending.durable());
        for group in (1..=self.groups).map(GroupId) {
            started.add(self.now, group, Box::new(Fake { id: group, may_rest: self.may_rest, ..Fake::default() }));
        }
        for group in founded {
            started.add(self.now, group, Fake::boxed(group));
        }
        self.nodes.insert(node, started);
    }

    fn stop(&mut self, id: u64) {
        self.nodes.remove(&NodeId(id));
        self.network.retain(|(to, received)| *to != NodeId(id) && received.from.node != NodeId(id));
    }

    /// Stops the node and empties its disk.
    fn wipe(&mut self, id: u64) {
        self.stop(id);
        self.disks.remove(&NodeId(id));
        self.incarnations.remove(&NodeId(id));
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(id)).expect("it runs")
    }

    fn fake(&mut self, node: u64, group: u64) -> &Fake {
        self.node(node).group(GroupId(group)).expect("a fake")
    }

    fn sender(&self, node: u64) -> Sender {
        Sender { node: NodeId(node), incarnation: self.incarnations[&NodeId(node)] }
    }

    /// Passes a frame of a group to a node.
    fn give(&mut self, node: u64, group: u64, from: u64, text: &str) {
        let (now, from) = (self.now, self.sender(from));
        let received = Received { from, frame: frame(GroupId(group), text) };
        self.node(node).handle(now, NodeInput::Frame(received));
    }

    /// Carries out outputs of the nodes and moves frames until nothing is left, without time passing.
    fn settle(&mut self) {
        loop {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let outputs: usize = ids.into_iter().map(|id| self.carry_out(id)).sum();
            let Some(()) = self.deliver() else {
                if outputs == 0 {
                    return;
                }
                continue;
            };
        }
    }

    /// Settles, and lets three heartbeats pass.
    fn run(&mut self) {
        for _ in 0..3 {
            self.now.instant = self.now.instant.after(Duration::from_millis(60));
            let now = self.now;
            self.nodes.values_mut().for_each(|node| node.handle(now, NodeInput::Timeout));
            self.settle();
        }
    }

    fn carry_out(&mut self, id: NodeId) -> usize {
        let mut count = 0;
        while let Some(output) = self.nodes.get_mut(&id).and_then(Node::poll_output) {
            count += 1;
            match output {
                NodeOutput::Send { to, frame, .. } => {
                    self.frames += 1;
                    if self.nodes.contains_key(&to) {
                        self.network.push_back((to, Received { from: self.sender(id.0), frame }));
                    }
                }
                NodeOutput::Write(writes) if self.full.contains(&id) => {
                    for Write { stream, ticket, .. } in writes {
                        let failure = PersistFailure::NotWritten;
                        let signal = Signal::PersistFailed { ticket, failure };
                        let refused = NodeInput::Signal { stream, signal };
                        self.nodes.get_mut(&id).expect("it runs").handle(self.now, refused);
                    }
                }
                NodeOutput::Write(writes) if !self.stalled.contains(&id) => {
                    let disk = self.disks.get_mut(&id).expect("it has a disk");
                    disk.syncs += 1;
                    for write in writes {
                        disk.apply(write.stream, write.operations);
                        let signal = Signal::Persisted(write.ticket);
                        let persisted = NodeInput::Signal { stream: write.stream, signal };
                        self.nodes.get_mut(&id).expect("it runs").handle(self.now, persisted);
                    }
                }
                NodeOutput::DeleteStream { stream, ticket } => {
                    let disk = self.disks.get_mut(&id).expect("it has a disk");
                    disk.states.remove(&stream);
                    disk.journals.remove(&stream);
                    let deleted = NodeInput::Signal { stream, signal: Signal::Persisted(ticket) };
                    self.nodes.get_mut(&id).expect("it runs").handle(self.now, deleted);
                }
                NodeOutput::Write(_) | NodeOutput::Snapshot { .. } => {}
                NodeOutput::Notice { notice, .. } => self.notices.push((id, notice)),
                NodeOutput::Reply { group, call, reply } => self.replies.push((group, call, reply)),
                NodeOutput::Peers(peers) => self.peers.push((id, peers)),
                other => panic!("not expected: {other:?}"),
            }
        }
        count
    }

    fn deliver(&mut self) -> Option<()> {
        let (to, received) = self.network.pop_front()?;
        // A transport refuses frames of all other nodes.
        if let Some(node) = self.nodes.get_mut(&to)
            && node.peers().any(|peer| peer == received.from.node)
        {
            node.handle(self.now, NodeInput::Frame(received));
        }
        Some(())
    }
}

fn enter(world: &mut World, node: u64, group: u64, f: impl FnOnce(&mut Fake)) {
    let now = world.now;
    let entered = world.node(node).enter(now, GroupId(group), |group| {
        let group: &mut dyn std::any::Any = group;
        f(group.downcast_mut().expect("a fake"));
    });
    assert!(entered.is_some());
}

fn frame(group: GroupId, text: &str) -> Frame {
    Frame::new(CHANNEL, group, Bytes::copy_from_slice(text.as_bytes()), Vec::new()).expect("small")
}

fn text(frame: &Frame) -> String {
    String::from_utf8_lossy(frame.small()).into_owned()
}
