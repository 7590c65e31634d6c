//! The shipped node, complete: `Node` with its groups, the write-ahead log, the snapshot store, and frames. Only the
//! tokio shell, the files and the sockets are replaced.

mod application;
mod beside;
mod disk;
mod host;
mod laws;
mod ledger;
mod losses;
mod member_laws;
mod members;
mod message;
mod registers;
mod replica;
mod shell;
mod work;

pub use application::{Application, Desk, MakeOthers, describe_channel};
pub use disk::NodeDisk;
pub use host::{AtEnd, Due, Guest, GuestDesk, Host, HostLaws, HostSetup};
pub use laws::ReplicaLaws;
pub use ledger::{Kept, ReferenceLog};
pub use member_laws::{ConfigurationsOf, EXPECTED_OF_MEMBERS, MemberLaws, reached_of_members};
pub use message::NodeFrame;
pub use registers::RegisterService;
pub use replica::{Ask, Later, MakeConfig, REPLICA_GROUP, ReplicaSetup, Replicated, Service};
pub use shell::{EXPECTED_OF_NODES, GROUP_ADDED, GROUP_REMOVED};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_protocol::{ClusterId, Configuration, GroupId, Incarnation, Instant, NodeId, Now, Random, Violation};
use quorate_runtime::group::{CallId, SnapshotLane};
use quorate_runtime::node::{Node, NodeInput, Origin, StreamId};
use quorate_runtime::shell::{Opened, Opening, Site, SnapshotStores};
use quorate_transport::{Received, Sender};
use quorate_wal::disk::{MemoryDisk, MemoryLock};
use quorate_wal::{LogReader, OpeningReport, Scribe, Submission, WriteCompletion};

use crate::schedule::{FaultKind, MemberStep};
use crate::world::{Damage, Folder, Loss, Machine, MachineInput, MachineOutput, NodeView, Observation, reached};
use application::Drawers;
use disk::BATCH_BYTES_MAX;
use members::is_address;
use work::{SnapshotWork, Work};

/// Settings that all nodes with the application `A` share.
#[derive(Debug)]
pub struct NodeSetup<A: Application> {
    /// Number of nodes. Their ids run from 1 to this number.
    pub nodes: u64,
    /// Number of nodes that found no group: the last ones.
    pub joining: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Sizes of the log.
    pub log: quorate_wal::LogSettings,
    /// Number of bytes of the log's newest entries that a group has in memory at its start.
    pub tail_bytes_max: usize,
    /// Settings of the application.
    pub application: A::Setup,
}

/// A node as it ships, with an application on it.
pub struct NodeMachine<A: Application> {
    node: Node,
    application: A,
    scribe: Scribe<MemoryDisk>,
    reader: LogReader<MemoryDisk>,
    snapshots: SnapshotStores<MemoryDisk>,
    /// Writes that wait for the log while a set of writes is on its way to the disk.
    queue: VecDeque<Submission>,
    /// The set of writes on its way to the disk, and its token.
    writing: Option<(u64, Vec<WriteCompletion>)>,
    /// Time at which the log next looks for room, while it has too little.
    room_at: Option<Instant>,
    /// Snapshot operations of each lane that wait for the current one, in order.
    snapshot_queues: BTreeMap<SnapshotLane, VecDeque<SnapshotWork>>,
    /// Lanes on which an operation is under way.
    busy_lanes: BTreeSet<SnapshotLane>,
    /// Other pending work of the disk or of other threads, by token.
    work: BTreeMap<u64, Work>,
    /// Peers to which nothing can be sent.
    unlinked: BTreeSet<NodeId>,
    is_founder: bool,
    /// The nodes of its settings, whose addresses are known from the start.
    named: BTreeSet<NodeId>,
    /// The contexts of the peers, as the node last told them.
    contexts: BTreeMap<NodeId, Vec<Bytes>>,
    /// Frames that could not be sent. The node is told before its deadline.
    unsent: Vec<(NodeId, Origin)>,
    is_poisoned: bool,
    /// Number of the start of its disk, and the time of its last input.
    start: u32,
    now: Now,
    drawers: Drawers<A>,
    /// What groups are made from that are added while the node runs.
    site: Site,
    others: MakeOthers,
    /// A law of the node itself that was broken.
    broken: Option<Violation>,
    _lock: MemoryLock,
}

impl<A: Application> NodeSetup<A> {
    /// The nodes that found the groups.
    fn founders(&self) -> impl Iterator<Item = NodeId> + use<A> {
        (1..=self.nodes - self.joining).map(NodeId)
    }

    fn is_founder(&self, node: NodeId) -> bool {
        node.0 <= self.nodes - self.joining
    }

    /// The nodes in the settings of a node. Those of a founder are as old as the group. Those of a node that joins name
    /// every node, because any of them may lead by then.
    fn named(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<A> {
        (1..=if self.is_founder(node) { self.nodes - self.joining } else { self.nodes }).map(NodeId)
    }

    /// After a power cut, the power sometimes fails again while the node recovers, at any change of the disk.
    fn crash_while_opening(&self, node: NodeId, now: Now, disk: &mut NodeDisk<A>) {
        let Some(loss) = disk.last_loss.take().filter(|loss| *loss != Loss::Nothing) else { return };
        let mut random = Random::new(self.seed ^ (node.0 << 40) ^ (u64::from(disk.starts) << 20) ^ RECOVERY);
        while random.between(0, 4) == 0 {
            disk.starts += 1;
            disk.files.power_off_after(random.between(0, CHANGES_OF_OPENING));
            // It does not matter whether opening was complete before the power failed.
            drop(self.open(node, now, disk));
            disk.crash(loss, &mut random);
        }
        disk.last_loss = None;
    }

    fn open(&self, node: NodeId, now: Now, disk: &mut NodeDisk<A>) -> Result<Opened<MemoryDisk>, String> {
        disk.spare_newest();
        let mut random = Random::new(self.seed ^ (node.0 << 40) ^ (u64::from(disk.starts) << 20) ^ disk.incarnation);
        let incarnation = disk.incarnation();
        let mut is_drawn = false;
        let opening = Opening {
            cluster: ClusterId(CLUSTER),
            node,
            members: Configuration::of_voters(self.founders()),
            joining: self.named(node).filter(|named| !self.is_founder(*named)).collect(),
            log: self.log.clone(),
            frame_bytes_max: FRAME_BYTES_MAX,
            tail_bytes_max: self.tail_bytes_max,
            groups: A::groups(&self.application, self.nodes),
            reopen: Box::new({
                let others = A::others(&self.application);
                move |group| others(group)
            }),
        };
        let draw = || {
            let drawn = (u128::from(random.next_u64()) << 64) | u128::from(random.next_u64());
            // The first random number of a new directory is its incarnation.
            let is_first = !std::mem::replace(&mut is_drawn, true) && disk.start_counter == 0;
            Ok(if is_first { incarnation.0 } else { drawn })
        };
        opening.open(disk.files.clone(), || now, draw).map_err(|error| error.to_string())
    }
}

impl<A: Application> NodeMachine<A> {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The application.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.application
    }

    /// Checks the laws of the node itself, which do not depend on the application: its log keeps what was acknowledged.
    ///
    /// # Errors
    /// When a law was broken.
    pub fn check(&self) -> Result<(), Violation> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// The streams of removed groups that are still in the log.
    #[must_use]
    pub fn leftovers(&self) -> Vec<GroupId> {
        let in_log: BTreeSet<StreamId> = self.scribe.wal().streams().into_iter().collect();
        let removed = self.node.roster().removed();
        removed.filter(|(_, stream)| in_log.contains(stream)).map(|(group, _)| group).collect()
    }

    fn add_group(&mut self, now: Now, group: GroupId) {
        let Some(make) = (self.others)(group) else { return };
        let (seed, call) = (self.drawers.random.next_u64(), CallId(self.drawers.number()));
        if let Ok(new) = self.site.make(now, group, None, seed, make) {
            self.node.handle(now, NodeInput::AddGroup { group, new, call });
        }
    }

    fn desk<'a>(&'a mut self, now: Now, disk: &'a mut NodeDisk<A>) -> (&'a mut A, Desk<'a, A>) {
        let desk = Desk { now, node: &mut self.node, kept: &mut disk.kept, drawers: &mut self.drawers };
        (&mut self.application, desk)
    }

    fn on_timeout(&mut self, now: Now, disk: &mut NodeDisk<A>) {
        for (to, origin) in std::mem::take(&mut self.unsent) {
            self.node.handle(now, NodeInput::SendFailed { to, origin });
        }
        self.look_for_room(now, disk);
        if self.node.deadline() <= now.instant {
            self.node.handle(now, NodeInput::Timeout);
        }
        while let Some(entry) = self.drawers.put_off.first_entry().filter(|entry| entry.key().0 <= now.instant) {
            let what = entry.remove();
            let (application, mut desk) = self.desk(now, disk);
            application.later(&mut desk, what);
        }
    }
}

impl<A: Application> Machine for NodeMachine<A> {
    type Setup = NodeSetup<A>;
    type Message = NodeFrame;
    type Call = A::Call;
    type Answer = A::Answer;
    type Disk = NodeDisk<A>;

    const EXPECTED: &'static [&'static str] = A::EXPECTED;

    fn fresh_disk(setup: &NodeSetup<A>, node: NodeId, incarnation: u64) -> NodeDisk<A> {
        NodeDisk::new(node, incarnation, setup.joining > 0)
    }

    fn copy_disk(disk: &NodeDisk<A>) -> NodeDisk<A> {
        disk.fork()
    }

    fn start(setup: &NodeSetup<A>, node: NodeId, now: Now, disk: &mut NodeDisk<A>) -> Result<Self, String> {
        setup.crash_while_opening(node, now, disk);
        disk.starts += 1;
        let (opened, broken) = disk.verify(|disk| setup.open(node, now, disk))?;
        let node_id = node;
        let Opened { mut node, log, snapshots, lock, site, report } = opened;
        let seed = setup.seed ^ (node.identity().node.0 << 32) ^ (u64::from(disk.starts) << 12) ^ DESK;
        let mut drawers = Drawers::new(seed, disk.loses_requests);
        let mut desk = Desk { now, node: &mut node, kept: &mut disk.kept, drawers: &mut drawers };
        note_report(&mut desk, &report);
        let application = A::start(&setup.application, &mut desk);
        // If members change, there may be nodes to which there never is a connection.
        let never_linked = if setup.joining > 0 { setup.nodes } else { 0 };
        Ok(Self {
            node,
            application,
            reader: log.reader(),
            scribe: Scribe::new(log),
            snapshots,
            queue: VecDeque::new(),
            writing: None,
            room_at: None,
            snapshot_queues: BTreeMap::new(),
            busy_lanes: BTreeSet::new(),
            work: BTreeMap::new(),
            unlinked: (1..=never_linked).map(NodeId).collect(),
            is_founder: setup.is_founder(node_id),
            named: setup.named(node_id).collect(),
            contexts: BTreeMap::new(),
            unsent: Vec::new(),
            is_poisoned: false,
            start: disk.starts,
            now,
            drawers,
            site,
            others: A::others(&setup.application),
            broken,
            _lock: lock,
        })
    }

    fn handle(&mut self, now: Now, disk: &mut NodeDisk<A>, input: MachineInput<NodeFrame, A::Call>) {
        self.now = now;
        match input {
            MachineInput::Message { from, incarnation, message } => {
                let from = Sender { node: from, incarnation: incarnation_of(from, incarnation) };
                if let Some(frame) = message.arrive() {
                    self.node.handle(now, NodeInput::Frame(Received { from, frame }));
                }
            }
            MachineInput::LinkUp { peer, incarnation } => {
                self.unlinked.remove(&peer);
                let incarnation = incarnation_of(peer, incarnation);
                self.node.handle(now, NodeInput::LinkUp(Sender { node: peer, incarnation }));
            }
            MachineInput::LinkDown { peer } => {
                self.unlinked.insert(peer);
                self.node.handle(now, NodeInput::LinkDown(peer));
            }
            MachineInput::Timeout => self.on_timeout(now, disk),
            MachineInput::Call { call, what } => {
                let (application, mut desk) = self.desk(now, disk);
                application.call(&mut desk, call, what);
            }
            MachineInput::Done { token } => self.on_done(now, disk, token),
            MachineInput::AddGroup { group } => self.add_group(now, GroupId(group)),
            MachineInput::RemoveGroup { group } => {
                let call = CallId(self.drawers.number());
                self.node.handle(now, NodeInput::RemoveGroup { group: GroupId(group), call });
            }
            MachineInput::Transfer { to } => {
                let (application, mut desk) = self.desk(now, disk);
                application.transfer(&mut desk, to);
            }
            MachineInput::ChangeMembers(call) => {
                let (application, mut desk) = self.desk(now, disk);
                application.change_members(&mut desk, &call);
            }
        }
    }

    fn poll(&mut self, now: Now, disk: &mut NodeDisk<A>) -> Option<MachineOutput<NodeFrame, A::Answer>> {
        loop {
            if let Some(output) = self.drawers.outputs.pop_front() {
                return Some(output);
            }
            match self.node.poll_output() {
                Some(output) => self.carry_out(now, disk, output),
                None => return None,
            }
        }
    }

    /// Frames that could not be sent are reported in the next round, which begins at once.
    fn deadline(&self) -> Option<Instant> {
        if !self.unsent.is_empty() {
            return Some(Instant::ZERO);
        }
        let put_off = self.drawers.put_off.keys().next().map(|(at, _)| *at);
        put_off.into_iter().chain(self.room_at).chain([self.node.deadline()]).min()
    }

    fn crash(mut self, disk: &mut NodeDisk<A>, loss: Loss, random: &mut Random) {
        if loss != Loss::Nothing && random.between(0, 2) == 0 {
            disk.files.power_off_after(random.between(0, CHANGES_BEFORE_CRASH));
            self.work_on(disk);
        }
        drop(self);
        disk.crash(loss, random);
    }

    fn bears(kind: FaultKind) -> bool {
        A::bears(kind)
    }

    fn damage(disk: &mut NodeDisk<A>, _: Option<&mut Self>, damage: Damage, random: &mut Random) -> bool {
        disk.damage(damage, random)
    }

    fn mend(disk: &mut NodeDisk<A>, _: Option<&mut Self>, damage: Damage) {
        disk.mend(damage);
    }

    fn lose_folder(disk: &mut NodeDisk<A>, folder: Folder) -> bool {
        disk.lose_folder(folder)
    }

    fn lose_requests(disk: &mut NodeDisk<A>, running: Option<&mut Self>, are_lost: bool) {
        disk.loses_requests = are_lost;
        if let Some(machine) = running {
            machine.drawers.loses_requests = are_lost;
        }
    }

    fn flip_bit(message: &mut NodeFrame, random: &mut Random) -> bool {
        message.flip_bit(random)
    }

    fn message_bytes(message: &NodeFrame) -> u64 {
        message.frame.wire_bytes() as u64
    }

    fn observe(&self) -> Observation {
        self.application.observe(&self.node)
    }

    /// True if this node has been introduced to every initial voter, and they to it, or founds nothing. If a voter is
    /// wiped before that, voters that had not met it cannot vote.
    fn is_founded(&self) -> bool {
        let is_introduced = || self.node.groups().all(|(group, _)| self.node.voting_bar(group).is_none());
        !self.is_founder || is_introduced()
    }

    /// Addresses that are not in the settings come from the configurations of the groups.
    fn knows(&self, peer: NodeId) -> bool {
        let is_told =
            || self.contexts.get(&peer).is_some_and(|all| all.iter().any(|context| is_address(context, peer)));
        self.named.contains(&peer) || is_told()
    }

    fn tolerates_loss(nodes: &[NodeView<'_, Self>], losing: NodeId) -> bool {
        A::tolerates_loss(nodes, losing)
    }

    fn bears_change(nodes: &[NodeView<'_, Self>], leader: NodeId, steps: &[MemberStep]) -> bool {
        A::bears_change(nodes, leader, steps)
    }

    fn is_replaced(nodes: &[NodeView<'_, Self>], lost: &NodeView<'_, Self>) -> bool {
        A::is_replaced(nodes, lost)
    }
}

/// Checks the laws of every running node itself: see [`NodeMachine::check`].
///
/// # Errors
/// When a law is broken.
pub fn check_nodes<A: Application>(nodes: &[NodeView<'_, NodeMachine<A>>]) -> Result<(), Violation> {
    for (node, machine) in nodes.iter().filter_map(|view| Some((view.node, view.machine?))) {
        machine.check()?;
        let roster = machine.node.roster();
        if let Some(other) = nodes.iter().find(|other| !other.is_lost && roster.is_older_copy(other.node)) {
            let detail = format!("node {node} takes node {} for an older copy", other.node);
            return Err(Violation { law: "nobody is taken for an older copy without reason", detail });
        }
    }
    Ok(())
}

/// Notes the events that opening the log reports.
fn note_report<A: Application>(desk: &mut Desk<'_, A>, report: &OpeningReport) {
    let found = [
        (report.cut.is_some(), reached::TAIL_TORN),
        (report.adopted_states > 0, "a state record was adopted from a torn tail"),
        (report.repaired_batches > 0, "a damaged batch was repaired"),
    ];
    for (_, what) in found.into_iter().filter(|(is_so, _)| *is_so) {
        desk.sometimes(what);
    }
}

/// Sizes of a log in which segments are begun, freed and moved very often.
pub fn small_log(random: &mut Random) -> quorate_wal::LogSettings {
    quorate_wal::LogSettings {
        segment_bytes: random.between(2, 9) * (16 << 10),
        batch_bytes_max: BATCH_BYTES_MAX,
        pinned_bytes_max: random.between(1, 9) * (32 << 10),
        rewrite_bytes_max: random.between(1, 17) << 10,
        ..quorate_wal::LogSettings::default()
    }
}

/// The incarnation of a node's disk with this number.
fn incarnation_of(node: NodeId, number: u64) -> Incarnation {
    Incarnation((u128::from(node.0) << 64) | u128::from(number))
}

const CLUSTER: u128 = 0x7175_6f72_6174_6520_7369_6d75_6c61_7465;
/// Groups bound the size of frames by their content.
const FRAME_BYTES_MAX: usize = 2 << 20;
const DESK: u64 = 0x6465_736b;
const RECOVERY: u64 = 0x7265_636f_7665_7279;
/// Largest number of disk changes between the moment of a crash and the moment when the power is gone.
const CHANGES_BEFORE_CRASH: u64 = 16;
/// Approximate number of disk changes during opening.
const CHANGES_OF_OPENING: u64 = 40;
