//! Nodes with real cores on real logs, over disks and a network in memory. Time advances from deadline to deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, EntryKind, GroupId, Identity, Incarnation, Instant, LogCommand, LogIndex, NodeId, Now,
    PersistFailure, Proposal, ProposalId, Protocol, Recovery, ReplicatedLog, Role, SessionId, Signal, crc32c,
};
use quorate_raft::{Config, Message, Raft, Settings, Start};
use quorate_runtime::group::{Founding, NewGroup, Notice, SnapshotOperation};
use quorate_runtime::hosted::Hosted;
use quorate_runtime::node::{
    NODE_STREAM, Node, NodeConfig, NodeCounters, NodeInput, NodeOutput, PendingStart, Roster, Write,
};
use quorate_runtime::shell::{Directory, cluster_id};
use quorate_transport::memory::{DeliveryTime, MemoryTransport, Network};
use quorate_transport::{ChannelId, Inbox, Incoming, Limits, LinkEvent, Peer, Received, Sender, Transport, codec};
use quorate_wal::Wal;
use quorate_wal::disk::MemoryDisk;

pub(crate) const NODES: [u64; 3] = [1, 2, 3];

/// Three machines, of which some run.
pub(crate) struct World {
    network: Network,
    machines: BTreeMap<u64, Machine>,
    disks: BTreeMap<u64, MemoryDisk>,
    pub(crate) notices: Vec<(u64, Notice)>,
    now: Now,
    drawn: u128,
    sequence: u64,
    groups: u64,
    settings: Settings,
    /// The nodes that descriptions name; all three unless set.
    pub(crate) descriptions: BTreeMap<u64, Vec<u64>>,
}

/// A process. It is gone when it is stopped.
struct Machine {
    node: Node,
    wal: Wal<MemoryDisk>,
    transport: Arc<MemoryTransport>,
    inboxes: [Inbox; 2],
    /// Messages that other threads would send to the loop.
    news: Vec<NodeInput>,
    syncs: u64,
    /// The next write of stream 0 is refused.
    refuses_own_write: bool,
    /// Machines whose frames vanish on the way to this one. No connection is lost.
    deaf_to: BTreeSet<u64>,
    _directory: Directory<MemoryDisk>,
}

impl World {
    pub(crate) fn new(groups: u64, settings: Settings) -> Self {
        Self {
            network: Network::new(Limits::default(), DeliveryTime::OnSettle).expect("sound limits"),
            machines: BTreeMap::new(),
            disks: NODES.into_iter().map(|id| (id, MemoryDisk::new())).collect(),
            notices: Vec::new(),
            now: Now { instant: Instant::ZERO, wall_ms: 1_000_000 },
            drawn: 0,
            sequence: 0,
            groups,
            settings,
            descriptions: BTreeMap::new(),
        }
    }

    pub(crate) fn start(&mut self, id: u64) {
        self.drawn += 1;
        let drawn = Incarnation(self.drawn);
        let disk = self.disks[&id].clone();
        let directory = Directory::open(disk.clone(), cluster_id("test"), NodeId(id), || Ok(drawn)).expect("opened");
        let identity = directory.identity();
        let settings =
            quorate_wal::LogSettings { segment_bytes: 4 << 20, batch_bytes_max: 2 << 20, ..Default::default() };
        let (mut wal, _) = Wal::open(disk, settings, identity).expect("a sound log");
        let recovery = wal.recover(NODE_STREAM, 0).expect("sound");
        let mut pending = PendingStart::recover(identity, self.now.wall_ms, recovery).expect("sound");
        let described = Configuration::of_voters(self.described(id).into_iter().map(NodeId));
        for group in (1..=self.groups).map(GroupId) {
            pending.bind(group);
            pending.found(group, Founding::new(ChannelId::FIRST_CORE, described.clone()));
        }
        for operations in pending.operations() {
            wal.write(&[(NODE_STREAM, operations)]).expect("written");
        }
        wal.sync().expect("synced");
        let transport = self.network.join(identity);
        let control = transport.claim(ChannelId::TRANSPORT..=ChannelId::SNAPSHOTS).expect("free");
        let groups = transport.claim(ChannelId::REPLICA..=ChannelId(u16::MAX)).expect("free");
        for peer in NODES.into_iter().filter(|peer| *peer != id) {
            transport.set_peer(Peer::new(NodeId(peer), "")).expect("a peer");
        }
        let peers = NODES.into_iter().filter(|peer| *peer != id).map(NodeId);
        let mut node = Node::new(self.now, NodeConfig::new(peers), pending.durable());
        for group in (1..=self.groups).map(GroupId) {
            let core = self.core(identity, group, node.roster(), &wal);
            node.add(self.now, group, Box::new(Hosted::new(group, ChannelId::FIRST_CORE, core)));
            node.note_description(group, &described);
        }
        let inboxes = [control, groups];
        let machine = Machine {
            node,
            wal,
            transport,
            inboxes,
            news: Vec::new(),
            syncs: 0,
            refuses_own_write: false,
            deaf_to: BTreeSet::new(),
            _directory: directory,
        };
        self.machines.insert(id, machine);
    }

    /// The nodes that a node's description names now.
    fn described(&self, id: u64) -> Vec<u64> {
        self.descriptions.get(&id).cloned().unwrap_or_else(|| NODES.to_vec())
    }

    fn core(&self, identity: Identity, group: GroupId, roster: &Roster, wal: &Wal<MemoryDisk>) -> Raft {
        let stream = roster.stream(group).expect("bound");
        let members = roster.founding(group).expect("founded").configuration().clone();
        let seed = group.0 * 31 + identity.node.0 * 7 + u64::try_from(identity.incarnation.0).expect("small");
        let config = Config::new(identity.node, seed, Start::Initial(members), self.settings.clone()).expect("sound");
        Raft::recover(self.now, config, wal.recover(stream, 1 << 20).expect("sound")).expect("sound")
    }

    /// Ends the process. Only synced data survive.
    pub(crate) fn kill(&mut self, id: u64) {
        let machine = self.machines.remove(&id).expect("it runs");
        drop(machine);
        self.disks[&id].crash(quorate_wal::disk::Crash::LoseUnsynced);
        // A transport that is dropped stays in the network until its successor joins, so its links are cut.
        for peer in NODES.into_iter().filter(|peer| *peer != id) {
            self.network.cut(NodeId(id), NodeId(peer));
            self.network.cut(NodeId(peer), NodeId(id));
        }
    }

    /// Starts a machine that was killed.
    pub(crate) fn restart(&mut self, id: u64) {
        for peer in NODES.into_iter().filter(|peer| *peer != id) {
            self.network.heal(NodeId(id), NodeId(peer));
            self.network.heal(NodeId(peer), NodeId(id));
        }
        self.start(id);
    }

    /// Gives a stopped machine an empty disk.
    pub(crate) fn wipe(&mut self, id: u64) {
        assert!(!self.machines.contains_key(&id), "it does not run");
        self.disks.insert(id, MemoryDisk::new());
    }

    /// Returns a copy of the disk of a machine, like a backup.
    pub(crate) fn backup(&self, id: u64) -> MemoryDisk {
        self.disks[&id].fork()
    }

    /// Replaces the disk of a stopped machine by a backup.
    pub(crate) fn restore(&mut self, id: u64, disk: MemoryDisk) {
        assert!(!self.machines.contains_key(&id), "it does not run");
        self.disks.insert(id, disk);
    }

    /// Lets all frames from and to a machine vanish, or arrive again. No connection is lost.
    pub(crate) fn isolate(&mut self, id: u64, is_isolated: bool) {
        for (other, machine) in &mut self.machines {
            let cut: Vec<u64> = NODES.into_iter().filter(|it| is_isolated && (*it == id || *other == id)).collect();
            machine.deaf_to = cut.into_iter().filter(|it| it != other).collect();
        }
    }

    /// Passes an input to a node.
    pub(crate) fn input(&mut self, id: u64, input: NodeInput) {
        let now = self.now;
        self.machines.get_mut(&id).expect("it runs").node.handle(now, input);
    }

    /// Sets the wall clocks of all machines.
    pub(crate) fn set_wall_ms(&mut self, wall_ms: u64) {
        self.now.wall_ms = wall_ms;
    }

    /// Returns a new group for a running machine.
    pub(crate) fn new_group(&self, id: u64, group: u64) -> NewGroup {
        let members = Configuration::of_voters(NODES.map(NodeId));
        let start = Start::Initial(members.clone());
        let config = Config::new(NodeId(id), group * 31 + id, start, self.settings.clone()).expect("sound");
        let core = Raft::recover(self.now, config, Recovery::default()).expect("nothing to recover");
        NewGroup { members, made: Box::new(Hosted::new(GroupId(group), ChannelId::FIRST_CORE, core)) }
    }

    /// Makes one write of the node's own stream find no room.
    pub(crate) fn refuse_own_write(&mut self, id: u64) {
        self.machines.get_mut(&id).expect("it runs").refuses_own_write = true;
    }

    pub(crate) fn node(&self, id: u64) -> &Node {
        &self.machines[&id].node
    }

    pub(crate) fn raft(&self, id: u64, group: u64) -> &Raft {
        let hosted: &Hosted<Raft> = self.node(id).group(GroupId(group)).expect("a core");
        hosted.core().expect("served")
    }

    /// Returns the node that leads the group and knows it, if there is one.
    pub(crate) fn leader(&self, group: u64) -> Option<u64> {
        let leads = |id: &&u64| self.raft(**id, group).status().role == Role::Leader;
        self.machines.keys().find(leads).copied()
    }

    /// Makes the leader of the group append a command.
    pub(crate) fn propose(&mut self, group: u64, payload: &'static [u8]) {
        let leader = self.leader(group).expect("somebody leads");
        self.propose_at(leader, group, payload);
    }

    /// Makes a node append a command to a group that it leads.
    pub(crate) fn propose_at(&mut self, leader: u64, group: u64, payload: &'static [u8]) {
        self.sequence += 1;
        let payload = Bytes::from_static(payload);
        let session = SessionId { incarnation: Incarnation(1), start: 1 };
        let proposal = Proposal {
            id: ProposalId { session, sequence: self.sequence },
            kind: EntryKind::Command,
            acknowledged_below: 0,
            checksum: crc32c(&payload),
            payload,
        };
        let now = self.now;
        let node = &mut self.machines.get_mut(&leader).expect("it runs").node;
        node.enter(now, GroupId(group), |group| {
            let group: &mut dyn std::any::Any = group;
            let hosted: &mut Hosted<Raft> = group.downcast_mut().expect("a core");
            hosted.command(now, LogCommand::Propose(proposal)).expect("served");
        });
    }

    pub(crate) fn commit_index(&self, id: u64, group: u64) -> LogIndex {
        self.raft(id, group).status().commit_index
    }

    /// Carries out everything until nothing is left to do now.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for (id, machine) in &mut self.machines {
                is_quiet &= machine.round(self.now, |notice| self.notices.push((*id, notice))) == 0;
            }
            is_quiet &= self.network.settle() == 0;
            if is_quiet {
                return;
            }
        }
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now.instant.after(duration);
        self.settle();
        loop {
            let deadlines = self.machines.values().map(|machine| machine.node.deadline());
            let next = deadlines.min().unwrap_or(end).max(self.now.instant);
            if next > end {
                break;
            }
            self.pass_to(next);
            self.settle();
        }
        self.pass_to(end);
    }

    /// Runs until the condition holds, for at most `limit`.
    pub(crate) fn run_until(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.instant.after(limit);
        while self.now.instant < end {
            if is_so(self) {
                return true;
            }
            self.run(Duration::from_millis(50));
        }
        is_so(self)
    }

    /// One round of one machine. Its outputs are on the network, and are not delivered.
    pub(crate) fn round(&mut self, id: u64) {
        let machine = self.machines.get_mut(&id).expect("it runs");
        machine.round(self.now, |notice| self.notices.push((id, notice)));
    }

    /// Moves frames from the network into inboxes, where they stay.
    pub(crate) fn deliver(&mut self) {
        self.network.settle();
    }

    /// Passes messages of raft to the first group as if they lay in one inbox, and runs a round.
    pub(crate) fn hand_in(&mut self, id: u64, messages: Vec<(Sender, Message)>) {
        let node = &mut self.machines.get_mut(&id).expect("it runs").node;
        for (from, message) in messages {
            let frame = codec::encode(ChannelId::FIRST_CORE, GroupId(1), &message).expect("small");
            node.handle(self.now, NodeInput::Frame(Received { from, frame }));
        }
        self.round(id);
    }

    /// Syncs of the logs, and counters of the nodes, summed over the machines.
    pub(crate) fn totals(&self) -> (u64, NodeCounters) {
        let mut sum = NodeCounters::default();
        for counters in self.machines.values().map(|machine| machine.node.counters()) {
            sum.writes += counters.writes;
            sum.messages_sent += counters.messages_sent;
            sum.groups_woken += counters.groups_woken;
            sum.frames_sent += counters.frames_sent;
        }
        (self.machines.values().map(|machine| machine.syncs).sum(), sum)
    }

    /// Lets time pass while no machine has a turn.
    pub(crate) fn pass(&mut self, duration: Duration) {
        self.pass_to(self.now.instant.after(duration));
    }

    fn pass_to(&mut self, instant: Instant) {
        let passed = instant.since(self.now.instant);
        self.now.wall_ms += u64::try_from(passed.as_millis()).expect("short");
        self.now.instant = instant;
    }
}

impl Machine {
    /// One round, in the order of the driver: frames, news, the time-out, and then the outputs.
    fn round(&mut self, now: Now, notice: impl FnMut(Notice)) -> usize {
        let mut count = self.take_in(now);
        for input in std::mem::take(&mut self.news) {
            count += 1;
            self.node.handle(now, input);
        }
        if self.node.deadline() <= now.instant {
            count += 1;
            self.node.handle(now, NodeInput::Timeout);
        }
        count + self.carry_out(notice)
    }

    fn take_in(&mut self, now: Now) -> usize {
        let mut count = 0;
        for inbox in &mut self.inboxes {
            while let Some(incoming) = inbox.try_recv() {
                count += 1;
                match incoming {
                    Incoming::Frame(received) if self.deaf_to.contains(&received.from.node.0) => {}
                    Incoming::Frame(received) => self.node.handle(now, NodeInput::Frame(received)),
                    Incoming::Link(LinkEvent::Up { peer }) => self.node.handle(now, NodeInput::LinkUp(peer)),
                    Incoming::Link(LinkEvent::Down { peer, .. }) => {
                        self.node.handle(now, NodeInput::LinkDown(peer.node));
                    }
                    Incoming::Link(LinkEvent::Refused { .. }) => {}
                }
            }
        }
        count
    }

    fn carry_out(&mut self, mut notice: impl FnMut(Notice)) -> usize {
        let mut count = 0;
        while let Some(output) = self.node.poll_output() {
            count += 1;
            match output {
                NodeOutput::Send { to, frame, origin } => {
                    if self.transport.send(to, frame).is_err() {
                        self.news.push(NodeInput::SendFailed { to, origin });
                    }
                }
                NodeOutput::Write(mut writes) => {
                    let is_refused = |write: &Write| self.refuses_own_write && write.stream == NODE_STREAM;
                    if let Some(place) = writes.iter().position(is_refused) {
                        self.refuses_own_write = false;
                        let Write { stream, ticket, .. } = writes.remove(place);
                        let failure = PersistFailure::NotWritten;
                        self.news.push(NodeInput::Signal { stream, signal: Signal::PersistFailed { ticket, failure } });
                    }
                    let (done, submissions): (Vec<_>, Vec<_>) = writes
                        .into_iter()
                        .map(|write| ((write.stream, write.ticket), (write.stream, write.operations)))
                        .unzip();
                    let written = self.wal.write(&submissions).expect("the disk works");
                    assert_eq!(written.refused, [], "cores keep the log's rules");
                    self.syncs += self.wal.sync().expect("the disk works");
                    for (stream, ticket) in done {
                        self.news.push(NodeInput::Signal { stream, signal: Signal::Persisted(ticket) });
                    }
                }
                NodeOutput::Load { stream, ticket, range } => {
                    let result = self.wal.reader().load(stream, &range);
                    self.news.push(NodeInput::Signal { stream, signal: Signal::Loaded { ticket, result } });
                }
                NodeOutput::Notice { notice: told, .. } => notice(told),
                // What a removed group leaves on disk stays there.
                NodeOutput::Peers(_)
                | NodeOutput::Reply { .. }
                | NodeOutput::DeleteStream { .. }
                | NodeOutput::Snapshot { operation: SnapshotOperation::DeleteAll, .. } => {}
                NodeOutput::Snapshot { .. } | NodeOutput::Job { .. } => panic!("bare cores ask for neither"),
            }
        }
        count
    }
}
