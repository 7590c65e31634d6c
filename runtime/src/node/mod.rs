//! Many groups on one transport and one log, as a pure state machine. You need this module to read the counters of a
//! running node ([`NodeHandle::inspect`](crate::NodeHandle::inspect)), or to write another shell for it, as a simulator
//! does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, GroupId, Identity, Instant, NodeId, Now, PersistFailure, Signal, Standing, StorageLevel, Ticket,
    VotingBar,
};
use quorate_transport::{ChannelId, Frame, Received, codec};

use crate::group::change::GroupError;
use crate::group::interface::{Group, GroupInput, Membership};
use crate::group::notice::Notice;
use crate::metrics::MetricKind;

pub(crate) mod bundle;
mod changing;
mod foundings;
mod gathered;
pub(crate) mod interface;
mod introductions;
mod leftovers;
mod liveness;
mod message;
mod own_stream;
mod peers;
mod resting;
pub(crate) mod roster;
mod slot;
mod slots;
mod turn;

#[cfg(test)]
mod tests;

use changing::Changing;
use gathered::Gathered;
pub use interface::{NodeConfig, NodeCounters, NodeInput, NodeOutput, Origin, Write};
use introductions::{Effect, Hello, Introductions};
use leftovers::{DELETION, Leftovers};
use liveness::Liveness;
use message::{Bundle, NodeMessage, is_of_group};
use own_stream::OwnWrite;
use peers::Peers;
pub use quorate_wal::StreamId;
use resting::Resting;
pub use roster::{NODE_STREAM, PEERS_MAX, PendingStart, Roster};
use slot::GroupSlot;
use slots::Slots;

/// Many groups on one transport and one log. Pure, like the cores: the shell carries frames, writes and jobs.
///
/// Groups take turns in a ring, each with a budget of bytes, so that a busy group does not starve the others. The
/// writes of several groups in a turn are one submission to the log, and their frames to one peer are packed into few.
/// Every call of a group is guarded by `catch_unwind`: a panic halts that group and no other, so `panic = "unwind"` is
/// required.
pub struct Node {
    config: NodeConfig,
    now: Now,
    slots: Slots,
    groups: BTreeMap<GroupId, usize>,
    streams: BTreeMap<StreamId, usize>,
    /// Slots with pending work, each at most once.
    ready: VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    changing: Changing,
    leftovers: Leftovers,
    introductions: Introductions,
    liveness: Liveness,
    resting: Resting,
    peers: Peers,
    storage: StorageLevel,
    log_failed: Option<PersistFailure>,
    gathered: Gathered,
    outputs: VecDeque<NodeOutput>,
    counters: NodeCounters,
}

impl Node {
    /// Makes a node without groups, which runs from `now` on.
    #[must_use]
    pub fn new(now: Now, mut config: NodeConfig, roster: Roster) -> Self {
        // With zero, beats would never end, and no turn would make progress.
        config.heartbeat_interval = config.heartbeat_interval.max(HEARTBEAT_INTERVAL_LEAST);
        config.turn_bytes_max = config.turn_bytes_max.max(1);
        config.silent_after = config.silent_after.max(config.heartbeat_interval * 2);
        let liveness = Liveness::new(&config, now.instant);
        let peers = Peers::new(roster.identity().node, config.peers.clone());
        Self {
            now,
            slots: Slots::default(),
            groups: BTreeMap::new(),
            streams: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            changing: Changing::default(),
            leftovers: Leftovers::default(),
            introductions: Introductions::new(roster, &config.peers),
            liveness,
            resting: Resting::default(),
            peers,
            storage: StorageLevel::Enough,
            log_failed: None,
            gathered: Gathered::default(),
            outputs: VecDeque::new(),
            counters: NodeCounters::default(),
            config,
        }
    }

    /// Adds a group that was bound before the node was made. This node does not vote in it before it has exchanged
    /// incarnations with all voters that the group was founded with.
    ///
    /// # Panics
    /// When the group has no stream (see [`PendingStart::bind`]) or was already added.
    pub fn add(&mut self, now: Now, id: GroupId, group: Box<dyn Group>) {
        self.now = now;
        let bound = self.introductions.roster().groups.get(&id).expect("a group is bound before the node runs");
        let (stream, founding) = (bound.stream, bound.founding.clone());
        let voters = founding.voters();
        assert!(!self.groups.contains_key(&id), "a group is added once");
        let me = self.identity().node;
        voters.iter().filter(|voter| **voter != me).for_each(|voter| self.liveness.add(*voter));
        let founders = voters.iter().map(|voter| (*voter, Bytes::new())).collect();
        self.peers.set(now.instant, id, founders);
        let index = self.slots.insert(GroupSlot::new(id, stream, voters, group));
        self.groups.insert(id, index);
        self.streams.insert(stream, index);
        if !self.slots[index].may_rest {
            self.resting.add_wakeful(index);
        }
        self.give(index, GroupInput::Founded(founding));
        for peer in self.liveness.peers().collect::<Vec<_>>() {
            self.tell_standing(index, peer);
        }
        self.tell_own_standing(index);
        if self.storage == StorageLevel::Low {
            self.give(index, GroupInput::Signal(Signal::Storage(StorageLevel::Low)));
        }
        self.touch(index);
    }

    /// Takes one input. Frames wait for their group's turn, and so do the inputs that must not overtake them: standings
    /// of peers, and time-outs. All other inputs are handled at once.
    pub fn handle(&mut self, now: Now, input: NodeInput) {
        self.now = now;
        match input {
            NodeInput::Frame(received) => self.on_frame(received),
            NodeInput::Timeout => self.on_timeout(),
            NodeInput::LinkUp(peer) => {
                self.introductions.on_frame(peer);
                self.introductions.greet(peer.node);
            }
            NodeInput::LinkDown(peer) => self.lose(peer),
            NodeInput::SendFailed { origin: Origin::Node, .. } => {}
            NodeInput::SendFailed { to, origin: Origin::Group(group) } => {
                if let Some(place) = self.groups.get(&group).copied() {
                    if self.slots[place].may_rest {
                        self.liveness.note_unreachable(to, place);
                    }
                    self.give(place, GroupInput::Signal(Signal::Unreachable(to)));
                }
            }
            NodeInput::SendFailed { to, origin: Origin::Groups } => self.lose(to),
            NodeInput::Signal { stream, signal } => self.on_signal(stream, signal),
            NodeInput::Snapshot { group, ticket: DELETION, result } => {
                self.leftovers.on_snapshots(group, result.is_ok());
            }
            NodeInput::Snapshot { group, ticket, result } => {
                self.give_group(group, GroupInput::Snapshot { ticket, result });
            }
            NodeInput::Job { group, ticket, result } => self.give_group(group, GroupInput::Job { ticket, result }),
            NodeInput::Storage(level) => {
                self.storage = level;
                if level == StorageLevel::Enough {
                    self.introductions.retry();
                }
                self.give_all(|| GroupInput::Signal(Signal::Storage(level)));
            }
            NodeInput::AddGroup { group, new, call } => self.on_add(group, new, call),
            NodeInput::RemoveGroup { group, call } => self.on_remove(group, call),
            NodeInput::Shutdown { deadline } => self.give_all(|| GroupInput::Shutdown { deadline }),
        }
        self.carry_effects();
    }

    /// Deletes what is left on disk of a group that was removed in an earlier start, which had this stream.
    pub fn delete_leftovers(&mut self, group: GroupId, stream: StreamId) {
        self.outputs.extend(self.leftovers.add(group, stream));
    }

    /// Runs `f` on a group, for its handles. Returns `None` if the node has no such group, or it has panicked, or `f`
    /// panics.
    pub fn enter<R>(&mut self, now: Now, group: GroupId, f: impl FnOnce(&mut dyn Group) -> R) -> Option<R> {
        self.now = now;
        let index = *self.groups.get(&group)?;
        let slot = &mut self.slots[index];
        if slot.may_rest && now.instant >= slot.tell_contacts_at {
            slot.tell_contacts_at = now.instant.after(self.config.heartbeat_interval);
            for (node, at) in self.liveness.contacts() {
                slot.handle(now, GroupInput::Heard { node, at });
            }
        }
        let result = slot.enter(f);
        self.touch(index);
        result
    }

    /// Returns the next output. If there is none, the ready groups have a turn first. The shell passes all ready inputs
    /// to the node and then polls until `None`, so that batches follow the load.
    pub fn poll_output(&mut self) -> Option<NodeOutput> {
        while self.outputs.is_empty() {
            if self.ready.is_empty() && self.gathered.is_empty() {
                return None;
            }
            self.turn();
        }
        self.outputs.pop_front()
    }

    /// Returns the time at which the node wants the next [`NodeInput::Timeout`].
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let beat = self.liveness.deadline();
        self.timers.first().map_or(beat, |(deadline, _)| beat.min(*deadline))
    }

    /// Returns the identity of the node.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.introductions.roster().identity()
    }

    /// Returns the durable state of the node: the start counter, the peers, the streams of the groups.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        self.introductions.roster()
    }

    /// Reports if the group's description now differs from its founding. The founding stays in force, which may
    /// surprise those who changed the description.
    pub fn note_description(&mut self, group: GroupId, described: &Configuration) {
        let Some(founding) = self.introductions.roster().founding(group) else { return };
        let (founded, described): (Vec<_>, Vec<_>) =
            (founding.configuration().voters().collect(), described.voters().collect());
        if founded != described {
            let notice = Notice::DescribedOtherwise { founded, described };
            self.outputs.push_back(NodeOutput::Notice { group: Some(group), notice });
        }
    }

    /// Reports a fact about the node itself.
    pub(crate) fn note(&mut self, notice: Notice) {
        self.outputs.push_back(NodeOutput::Notice { group: None, notice });
    }

    /// Returns the reason why this node may not vote in the group according to the introductions; `None` if it may, or
    /// has no such group.
    #[must_use]
    pub fn voting_bar(&self, group: GroupId) -> Option<VotingBar> {
        let slot = &self.slots[*self.groups.get(&group)?];
        self.introductions.voting_bar(group, &slot.voters, &slot.membership)
    }

    /// Returns the nodes with which this node exchanges frames, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.nodes()
    }

    /// Returns a peer's standing in a group.
    #[must_use]
    pub fn standing(&self, peer: NodeId, group: GroupId) -> Standing {
        let membership = self.groups.get(&group).map(|index| &self.slots[*index].membership);
        self.introductions.standing(peer, group, membership.unwrap_or(&Membership::default()))
    }

    /// Returns the groups in the order of their ids, and for each true if it still runs.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, bool)> + '_ {
        self.groups.iter().map(|(group, index)| (*group, !self.slots[*index].has_stopped()))
    }

    /// Returns a group, or its part of this type, for inspection; `None` if there is none, or it is of another type.
    #[must_use]
    pub fn group<G: Group>(&self, group: GroupId) -> Option<&G> {
        self.slots[*self.groups.get(&group)?].group().as_part()
    }

    /// Reports the metrics of a group that still runs.
    pub fn measure(&self, group: GroupId, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        let slot = self.groups.get(&group).map(|index| &self.slots[*index]);
        if let Some(slot) = slot.filter(|slot| !slot.has_stopped()) {
            // The group may call a state machine. If that panics, the panic shows again where it does harm.
            let _ = catch_unwind(AssertUnwindSafe(|| slot.group().measure(tell)));
        }
    }

    /// Returns true if no group keeps the node from stopping.
    pub fn is_settled(&mut self) -> bool {
        self.slots.iter_mut().all(GroupSlot::is_settled)
    }

    /// Number of calls that wait for news of a group, which may never come.
    pub fn listeners(&mut self) -> usize {
        self.slots.iter_mut().map(GroupSlot::listeners).sum()
    }

    /// Returns the counters since the node started.
    #[must_use]
    pub fn counters(&self) -> NodeCounters {
        self.counters
    }

    fn on_frame(&mut self, received: Received) {
        self.counters.frames_received += 1;
        self.introductions.on_frame(received.from);
        self.carry_effects();
        self.liveness.heard(received.from.node, self.now.instant);
        match received.frame.channel() {
            ChannelId::NODE => self.on_node_frame(received),
            ChannelId::BUNDLES => self.on_bundle(received),
            _ => self.queue(received),
        }
    }

    fn on_node_frame(&mut self, received: Received) {
        let Received { from, frame } = received;
        let (small, raw) = frame.into_sections();
        match (codec::decode_small(&small), raw.as_slice()) {
            (Ok(NodeMessage::Hello { known, start, is_older, foundings }), []) => {
                self.introductions.on_hello(from, &Hello { known, start, is_older, foundings: &foundings });
            }
            (Ok(NodeMessage::Known { incarnation, start, is_older, foundings }), []) => {
                let hello = Hello { known: None, start, is_older, foundings: &foundings };
                self.introductions.on_known(from, incarnation, &hello);
            }
            (Ok(NodeMessage::Mismatch { known, foundings }), []) => {
                self.introductions.on_mismatch(from, known, &foundings);
            }
            (Ok(NodeMessage::Alive), []) => {}
            (Ok(NodeMessage::Groups { edition, foundings }), []) => {
                self.introductions.on_groups(from, edition, &foundings);
            }
            (Ok(NodeMessage::GroupsKnown { edition, start }), []) => {
                self.introductions.on_groups_known(from, edition, start);
            }
            (Ok(NodeMessage::Resting { sum }), []) => self.on_resting(from.node, sum),
            (Ok(NodeMessage::RestingParts { parts }), []) => self.on_resting_parts(from.node, &parts),
            (Ok(NodeMessage::RestingGroups { part, groups }), []) => self.on_resting_groups(from.node, part, groups),
            _ => self.counters.frames_malformed += 1,
        }
    }

    fn on_bundle(&mut self, received: Received) {
        let Received { from, frame } = received;
        let (small, raw) = frame.into_sections();
        let frames = match (codec::decode_small::<Bundle>(&small), raw.as_slice()) {
            (Ok(bundle), [bytes]) => bundle::unpack(&bundle.frames, bytes.clone()),
            _ => None,
        };
        let Some(frames) = frames else {
            self.counters.frames_malformed += 1;
            return;
        };
        for frame in frames {
            self.queue(Received { from, frame });
        }
    }

    fn queue(&mut self, received: Received) {
        self.counters.messages_received += 1;
        let frame = &received.frame;
        let is_wanted =
            is_of_group(frame.channel()) && self.introductions.has_same_founding(received.from.node, frame.group());
        let index = self.groups.get(&frame.group()).copied();
        self.counters.messages_without_group += u64::from(index.is_none());
        let index = index.filter(|_| is_wanted);
        let is_queued = index.is_some_and(|index| self.slots[index].queue(received, self.config.frames_bytes_max));
        match index {
            Some(index) if is_queued => self.touch(index),
            _ => self.counters.messages_dropped += 1,
        }
    }

    fn on_timeout(&mut self) {
        while let Some((deadline, index)) = self.timers.first().copied()
            && deadline <= self.now.instant
        {
            self.timers.pop_first();
            self.slots[index].armed = None;
            self.slots[index].queue_timeout();
            self.touch(index);
        }
        if let Some(beat) = self.liveness.beat(self.now.instant) {
            self.on_beat(&beat);
        }
    }

    /// Passes a signal of the log to the owner of the stream.
    fn on_signal(&mut self, stream: StreamId, signal: Signal) {
        let failure = if let Signal::PersistFailed { failure, .. } = signal { Some(failure) } else { None };
        if stream == NODE_STREAM {
            self.on_own_signal(&signal);
        } else if let Some(index) = self.streams.get(&stream).copied() {
            self.give(index, GroupInput::Signal(signal));
        } else if matches!(signal, Signal::Persisted(DELETION) | Signal::PersistFailed { ticket: DELETION, .. }) {
            // A deletion that the log refuses for good was made before.
            self.leftovers.on_stream(stream, failure != Some(PersistFailure::NotWritten));
        }
        if let Some(failure) = failure {
            self.on_persist_failed(stream, failure);
        }
    }

    fn on_own_signal(&mut self, signal: &Signal) {
        match *signal {
            Signal::Persisted(ticket) => self.introductions.on_persisted(ticket),
            Signal::PersistFailed { ticket, failure: PersistFailure::NotWritten } => {
                self.introductions.on_refused(self.now.instant, ticket);
            }
            Signal::CompactRequested => self.introductions.on_compact_requested(),
            _ => {}
        }
    }

    fn on_persist_failed(&mut self, stream: StreamId, failure: PersistFailure) {
        // If the log refuses stream 0 permanently, that counts as a failure of the log, because a node must be able to
        // learn.
        let is_alone = matches!(failure, PersistFailure::Refused { .. }) && stream != NODE_STREAM;
        if failure == PersistFailure::NotWritten || is_alone || self.log_failed.is_some() {
            return;
        }
        self.log_failed = Some(failure);
        self.introductions.on_persist_failed();
        self.for_each_slot(|node, index| {
            if node.slots[index].stream != stream {
                let ticket = node.slots[index].last_ticket.max(Ticket(1));
                node.give(index, GroupInput::Signal(Signal::PersistFailed { ticket, failure }));
            }
        });
        for (group, call) in self.changing.fail() {
            self.reply(group, call, Err(GroupError::LogFailed));
        }
    }

    fn carry_effects(&mut self) {
        while let Some(effect) = self.introductions.poll() {
            match effect {
                Effect::Send(to, message) => self.tell_peer(to, &message),
                Effect::Persist(OwnWrite { ticket, operations }) => {
                    self.gathered.write(NODE_STREAM, ticket, operations);
                }
                Effect::NewVoice(peer) => {
                    self.liveness.forget(peer);
                    self.wake_resting_with(peer);
                }
                Effect::NewStart(peer) => self.wake_resting_with(peer),
                Effect::Standing(peer) => self.for_each_slot(|node, index| node.tell_standing(index, peer)),
                Effect::SelfStanding => self.for_each_slot(Self::tell_own_standing),
                Effect::Founded(group) => self.on_founded(group),
                Effect::Removed(group, stream) => self.on_removed(group, stream),
                Effect::Notice(notice) => self.outputs.push_back(NodeOutput::Notice { group: None, notice }),
            }
        }
    }

    /// Introductions and heartbeats follow the members of the groups, and so does the shell.
    fn follow_members(&mut self) {
        if !self.peers.refresh(self.now.instant) {
            return;
        }
        self.liveness.follow(&self.peers);
        self.introductions.follow(&self.peers);
        self.gathered.frames.retain(|to, frames| self.peers.contains(*to) || !frames.is_empty());
        self.outputs.extend(self.peers.take_news().map(NodeOutput::Peers));
        self.carry_effects();
    }

    /// Tells a group the standings that its configuration changes, if it names other disks or voters than before.
    fn follow_membership(&mut self, index: usize, membership: Membership) {
        if self.slots[index].membership == membership {
            return;
        }
        let before = std::mem::replace(&mut self.slots[index].membership, membership);
        let disks = &self.slots[index].membership.disks;
        let me = self.identity().node;
        let named: BTreeSet<NodeId> = before.disks.keys().chain(disks.keys()).copied().collect();
        for peer in named.into_iter().filter(|node| *node != me) {
            self.tell_standing(index, peer);
        }
        self.tell_own_standing(index);
    }

    fn tell_standing(&mut self, index: usize, peer: NodeId) {
        let slot = &mut self.slots[index];
        slot.queue_standing(peer, self.introductions.standing(peer, slot.id, &slot.membership));
        let foreign = self.introductions.foreign(slot.id);
        if slot.foreign != foreign {
            slot.foreign.clone_from(&foreign);
            slot.handle(self.now, GroupInput::FoundedOtherwise(foreign));
        }
        self.touch(index);
    }

    fn tell_own_standing(&mut self, index: usize) {
        let slot = &self.slots[index];
        let bar = self.introductions.voting_bar(slot.id, &slot.voters, &slot.membership);
        if self.slots[index].barred == bar {
            return;
        }
        self.slots[index].barred = bar;
        self.give(index, GroupInput::Barred(bar));
        let standing = if bar.is_none() { Standing::Member } else { Standing::Stranger };
        let node = self.identity().node;
        self.give(index, GroupInput::Signal(Signal::PeerStanding { node, standing }));
    }

    /// Tells all groups that the connection to a peer was lost, or a message of several groups.
    fn lose(&mut self, peer: NodeId) {
        self.liveness.lose(peer);
        self.give_all(|| GroupInput::Signal(Signal::Unreachable(peer)));
    }

    fn give_group(&mut self, group: GroupId, input: GroupInput) {
        if let Some(index) = self.groups.get(&group).copied() {
            self.give(index, input);
        }
    }

    fn give_all(&mut self, input: impl Fn() -> GroupInput) {
        self.for_each_slot(|node, index| node.give(index, input()));
    }

    fn queue_at(&mut self, index: usize, signal: Signal) {
        self.slots[index].queue_signal(signal);
        self.touch(index);
    }

    /// Sends a message of the node itself.
    fn tell_peer(&mut self, peer: NodeId, message: &NodeMessage) {
        self.gathered.send(peer, node_frame(message));
    }

    fn for_each_slot(&mut self, mut f: impl FnMut(&mut Self, usize)) {
        for index in 0..self.slots.end() {
            if self.slots.is_taken(index) {
                f(self, index);
            }
        }
    }

    fn give(&mut self, index: usize, input: GroupInput) {
        self.slots[index].handle(self.now, input);
        self.touch(index);
    }

    /// Puts the group into the ring, where it has its turn.
    fn touch(&mut self, index: usize) {
        if !std::mem::replace(&mut self.slots[index].is_ready, true) {
            self.ready.push_back(index);
        }
    }

    fn rearm(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let deadline = slot.deadline();
        if deadline == slot.armed {
            return;
        }
        if let Some(armed) = slot.armed {
            self.timers.remove(&(armed, index));
        }
        slot.armed = deadline;
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, index));
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("identity", &self.identity())
            .field("groups", &self.groups.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

const HEARTBEAT_INTERVAL_LEAST: Duration = Duration::from_millis(1);

/// Makes a frame of the node's own channel.
fn node_frame(message: &NodeMessage) -> Frame {
    let small = codec::encode_small(message).expect("the node's own messages are bounded");
    Frame::new(ChannelId::NODE, GroupId(0), small, Vec::new()).expect("the node's own frames are bounded")
}
