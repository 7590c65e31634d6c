//! The node's own state in stream 0: its starts, the peers that it has met, the stream of each group, and the groups
//! that were removed.
//!
//! The state record holds the data that must survive any single damaged sector:
//!
//! ```text
//! version (1) | start counter (4) | start's wall clock in ms (8) | next stream (8) | flags (1)
//! ```
//!
//! The rest is a journal. Its keys below 2^63 are streams, those from 2^63 on are slots for peers:
//!
//! ```text
//! stream      version (1) = 2 | group (8) | digest of the founding (16) | first configuration
//! stream      version (1) = 3 | group (8): the group was removed for good
//! 2^63 + n    version (1) | node (8) | incarnation (16) | its newest start: counter (4), wall clock (8) | flags (1)
//! ```
//!
//! All numbers are little-endian. All records but that of a removed group have version 2. A binary that does not know
//! version 3 refuses a node from which a group was removed: it would found that group again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, BytesMut};
use quorate_protocol::{
    Configuration, GroupId, Identity, Incarnation, LogIndex, NodeId, Operation, RecoverError, Recovery, StateError,
};
use quorate_wal::StreamId;
use serde::{Deserialize, Serialize};

use crate::group::founding::Founding;

/// Maximum number of peers that a node remembers. One more takes the place of a peer that belongs to no group and never
/// knew this node. If there is none, the new peer is not introduced, and the node reports that.
pub const PEERS_MAX: usize = 4096;

/// The node's own stream.
pub const NODE_STREAM: StreamId = StreamId(0);

/// One start of a node. A node that runs on an older copy of its disk has a start that its peers know as past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Start {
    /// Number of starts of the node, this one included.
    pub(super) counter: u32,
    /// The wall clock at the start, in Unix milliseconds. It distinguishes two starts with the same counter.
    pub(super) begun_ms: u64,
}

/// A start that is not yet durable: the content of stream 0, and the operations that must be written there before
/// anything else.
///
/// The shell writes [`PendingStart::operations`], syncs, and only then gets a [`Roster`], without which there is no
/// [`Node`](crate::node::Node). So no proposal, rpc or connection can precede the raised start counter.
#[derive(Debug)]
pub struct PendingStart {
    roster: Roster,
    /// Streams that were assigned in this start to groups that are not founded yet.
    unfounded: BTreeMap<GroupId, StreamId>,
    founded: Vec<GroupId>,
}

impl PendingStart {
    /// Reads the content of stream 0 and raises the start counter. `wall_ms` is the wall clock, in Unix milliseconds.
    ///
    /// # Errors
    /// When it cannot be read. Nothing was changed.
    pub fn recover(identity: Identity, wall_ms: u64, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut roster = match &recovery.state {
            Some(state) => Roster::decode(identity, state).map_err(RecoverError::State)?,
            None => Roster::fresh(identity),
        };
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            if key & PEER_KEYS == 0 {
                roster.take_in_stream(StreamId(key), &bytes)?;
            } else {
                roster.take_in_peer(key & !PEER_KEYS, &bytes).map_err(RecoverError::State)?;
            }
        }
        let raised = roster.start.counter.checked_add(1);
        let counter = raised.ok_or(RecoverError::Inconsistent("the start counter has run out"))?;
        roster.start = Start { counter, begun_ms: wall_ms };
        Ok(Self { roster, unfounded: BTreeMap::new(), founded: Vec::new() })
    }

    /// Returns true if `group` was removed for good. It must not be bound again.
    #[must_use]
    pub fn is_removed(&self, group: GroupId) -> bool {
        self.roster.removed.contains_key(&group)
    }

    /// Returns the groups that were founded on this node and not removed.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.roster.groups.keys().copied()
    }

    /// Returns the groups that were removed, with the streams that they had.
    pub fn removed(&self) -> impl Iterator<Item = (GroupId, StreamId)> + '_ {
        self.roster.removed()
    }

    /// Returns the stream of `group`: the one that it was first bound to, or a new one that no group ever had.
    pub fn bind(&mut self, group: GroupId) -> StreamId {
        if let Some(bound) = self.roster.groups.get(&group) {
            return bound.stream;
        }
        let roster = &mut self.roster;
        *self.unfounded.entry(group).or_insert_with(|| roster.take_stream())
    }

    /// Returns the stream of a group that was founded on this node.
    pub(crate) fn stream(&self, group: GroupId) -> Option<StreamId> {
        self.roster.stream(group)
    }

    /// Returns the founding of the group; `None` if it is new.
    #[must_use]
    pub fn founding(&self, group: GroupId) -> Option<&Founding> {
        self.roster.founding(group)
    }

    /// Founds a new group that was bound. An old group keeps its founding.
    pub fn found(&mut self, group: GroupId, founding: Founding) {
        if let Some(stream) = self.unfounded.remove(&group) {
            self.roster.groups.insert(group, Bound { stream, founding });
            self.founded.push(group);
        }
    }

    /// Returns the raised start counter, for parts that are made before the node runs.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.roster.start.counter
    }

    /// Returns the operations that must be durable in stream 0 before [`PendingStart::durable`]: writes in their order,
    /// each of them all or none.
    ///
    /// # Panics
    /// When a group was bound but not founded.
    #[must_use]
    pub fn operations(&self) -> Vec<Vec<Operation>> {
        assert!(self.unfounded.is_empty(), "a group is founded when it is first bound");
        let bindings = self.founded.iter().filter_map(|group| self.roster.group(*group));
        in_writes(std::iter::once(self.roster.state()).chain(bindings))
    }

    /// Returns the roster, after [`PendingStart::operations`] have become durable.
    #[must_use]
    pub fn durable(self) -> Roster {
        self.roster
    }
}

/// The durable knowledge of a node about itself and its peers.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) identity: Identity,
    pub(super) start: Start,
    /// A peer knows a later start, so this disk is an older copy.
    pub(super) is_older: bool,
    next_stream: u64,
    pub(super) peers: BTreeMap<NodeId, Acquaintance>,
    pub(super) groups: BTreeMap<GroupId, Bound>,
    /// Groups that were removed for good, with the streams that they had. One stays in `groups` until that is durable.
    removed: BTreeMap<GroupId, StreamId>,
}

/// The stream of a group's log, and the group's founding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) stream: StreamId,
    pub(super) founding: Founding,
}

/// The knowledge about a peer. It only grows: the first incarnation met stays the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acquaintance {
    pub(super) incarnation: Incarnation,
    /// The peer has stated that it has this node's incarnation durable.
    pub(super) is_mutual: bool,
    /// Its newest start.
    pub(super) start: Start,
    /// The peer is known to run on an older copy of its disk.
    pub(super) is_older: bool,
    /// Its slot in the journal.
    slot: u64,
}

impl Roster {
    /// Returns the identity of the node.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns true if a node, this one or a peer, is known to run on an older copy of its disk.
    #[must_use]
    pub fn is_older_copy(&self, node: NodeId) -> bool {
        if node == self.identity.node { self.is_older } else { self.peers.get(&node).is_some_and(|peer| peer.is_older) }
    }

    /// Number of starts of the node, this one included.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.start.counter
    }

    /// Returns the stream bound to `group`.
    #[must_use]
    pub fn stream(&self, group: GroupId) -> Option<StreamId> {
        self.groups.get(&group).map(|bound| bound.stream)
    }

    /// Returns the founding of `group`.
    #[must_use]
    pub fn founding(&self, group: GroupId) -> Option<&Founding> {
        self.groups.get(&group).map(|bound| &bound.founding)
    }

    /// Returns true if `group` was removed for good, or that is being made durable.
    #[must_use]
    pub fn is_removed(&self, group: GroupId) -> bool {
        self.removed.contains_key(&group)
    }

    /// Returns the groups whose removal is durable, with the streams that they had.
    pub fn removed(&self) -> impl Iterator<Item = (GroupId, StreamId)> + '_ {
        let durable = self.removed.iter().filter(|(group, _)| !self.groups.contains_key(group));
        durable.map(|(group, stream)| (*group, *stream))
    }

    /// Founds a new group on a stream that no group ever had.
    pub(super) fn found(&mut self, group: GroupId, founding: Founding) {
        let stream = self.take_stream();
        self.groups.insert(group, Bound { stream, founding });
    }

    /// Notes that a group is removed for good.
    pub(super) fn remove(&mut self, group: GroupId) {
        if let Some(bound) = self.groups.get(&group) {
            self.removed.insert(group, bound.stream);
        }
    }

    /// Forgets the founding of a group whose removal is durable. Returns the stream that it had.
    pub(super) fn forget(&mut self, group: GroupId) -> Option<StreamId> {
        self.groups.remove(&group).map(|bound| bound.stream)
    }

    fn take_stream(&mut self) -> StreamId {
        let stream = StreamId(self.next_stream);
        self.next_stream += 1;
        stream
    }

    /// Remembers a peer under its incarnation. If there is no room, a peer is forgotten that never knew this node and
    /// is not in `kept`. Returns false if there is no such peer.
    pub(super) fn meet(&mut self, node: NodeId, incarnation: Incarnation, kept: &BTreeSet<NodeId>) -> bool {
        let slot = if self.peers.len() < PEERS_MAX {
            let taken: BTreeSet<u64> = self.peers.values().map(|peer| peer.slot).collect();
            (0..PEERS_MAX as u64).find(|slot| !taken.contains(slot)).expect("fewer peers than slots")
        } else {
            let is_idle = |(peer, known): &(&NodeId, &Acquaintance)| !known.is_mutual && !kept.contains(peer);
            let Some(idle) = self.peers.iter().find(is_idle).map(|(peer, _)| *peer) else { return false };
            self.peers.remove(&idle).expect("just found").slot
        };
        let known = Acquaintance { incarnation, is_mutual: false, start: Start::default(), is_older: false, slot };
        self.peers.insert(node, known);
        true
    }

    /// Returns the state record.
    pub(super) fn state(&self) -> Operation {
        let mut out = BytesMut::with_capacity(STATE_BYTES);
        out.put_u8(VERSION);
        out.put_u32_le(self.start.counter);
        out.put_u64_le(self.start.begun_ms);
        out.put_u64_le(self.next_stream);
        out.put_u8(if self.is_older { FLAG_OLDER } else { 0 });
        Operation::PutState { bytes: out.freeze(), commit_hint: LogIndex::ZERO }
    }

    /// Returns the record of one group: its founding, or that it was removed; `None` if the group was never here.
    pub(super) fn group(&self, group: GroupId) -> Option<Operation> {
        let removed = self.removed.get(&group).map(|stream| encode_removed(group, *stream));
        removed.or_else(|| self.groups.get(&group).map(|bound| encode_group(group, bound)))
    }

    /// Returns the record of one known peer.
    pub(super) fn peer(&self, node: NodeId) -> Operation {
        let known = &self.peers[&node];
        let mut out = BytesMut::with_capacity(PEER_BYTES);
        out.put_u8(VERSION);
        out.put_u64_le(node.0);
        out.put_u128_le(known.incarnation.0);
        out.put_u32_le(known.start.counter);
        out.put_u64_le(known.start.begun_ms);
        let flags = [(known.is_mutual, FLAG_MUTUAL), (known.is_older, FLAG_OLDER)];
        out.put_u8(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
        Operation::Journal { key: PEER_KEYS | known.slot, bytes: out.freeze() }
    }

    /// Returns all records between the two marks of a checkpoint, after which older records may be deleted. As writes,
    /// each of them all or none.
    pub(super) fn checkpoint(&self, id: u64) -> Vec<Vec<Operation>> {
        let removed = self.removed.keys().filter(|group| !self.groups.contains_key(group));
        let groups = self.groups.keys().chain(removed).filter_map(|group| self.group(*group));
        let peers = self.peers.keys().map(|node| self.peer(*node));
        let begin = std::iter::once(Operation::CheckpointBegin { id });
        in_writes(begin.chain(groups).chain(peers).chain([self.state(), Operation::CheckpointDone { id }]))
    }

    fn fresh(identity: Identity) -> Self {
        let next_stream = NODE_STREAM.0 + 1;
        let (peers, groups, removed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { identity, start: Start::default(), is_older: false, next_stream, peers, groups, removed }
    }

    fn decode(identity: Identity, bytes: &[u8]) -> Result<Self, StateError> {
        let mut rest = check(bytes, STATE_BYTES..=STATE_BYTES)?;
        let start = Start { counter: rest.get_u32_le(), begun_ms: rest.get_u64_le() };
        let next_stream = rest.get_u64_le();
        let flags = rest.get_u8();
        if next_stream == NODE_STREAM.0 || next_stream >= PEER_KEYS || flags & !FLAG_OLDER != 0 {
            return Err(StateError::Malformed);
        }
        Ok(Self { start, next_stream, is_older: flags & FLAG_OLDER != 0, ..Self::fresh(identity) })
    }

    /// Takes in the record of a stream. A journal may return an older record of a key as well, so a removed group stays
    /// removed.
    fn take_in_stream(&mut self, stream: StreamId, bytes: &[u8]) -> Result<(), RecoverError> {
        if stream.0 >= self.next_stream {
            return Err(RecoverError::Inconsistent("a group's stream is above the last one given out"));
        }
        if let Some((&REMOVED_VERSION, mut rest)) = bytes.split_first() {
            if bytes.len() != REMOVED_BYTES {
                return Err(RecoverError::State(StateError::Malformed));
            }
            let group = GroupId(rest.get_u64_le());
            self.groups.remove(&group);
            self.removed.insert(group, stream);
            return Ok(());
        }
        let mut rest = check(bytes, GROUP_BYTES_MIN..=usize::MAX).map_err(RecoverError::State)?;
        let (group, digest) = (GroupId(rest.get_u64_le()), rest.get_u128_le());
        let configuration = Configuration::decode(rest).map_err(|_| RecoverError::State(StateError::Malformed))?;
        if !self.is_removed(group) {
            let founding = Founding::from_parts(digest, configuration);
            self.groups.insert(group, Bound { stream, founding });
        }
        Ok(())
    }

    fn take_in_peer(&mut self, slot: u64, bytes: &[u8]) -> Result<(), StateError> {
        let mut rest = check(bytes, PEER_BYTES..=PEER_BYTES)?;
        let (node, incarnation) = (NodeId(rest.get_u64_le()), Incarnation(rest.get_u128_le()));
        let start = Start { counter: rest.get_u32_le(), begun_ms: rest.get_u64_le() };
        let flags = rest.get_u8();
        if flags & !(FLAG_MUTUAL | FLAG_OLDER) != 0 {
            return Err(StateError::Malformed);
        }
        let (is_mutual, is_older) = (flags & FLAG_MUTUAL != 0, flags & FLAG_OLDER != 0);
        let known = Acquaintance { incarnation, is_mutual, start, is_older, slot };
        if self.peers.insert(node, known).is_some() || self.peers.len() > PEERS_MAX {
            return Err(StateError::Malformed);
        }
        Ok(())
    }
}

fn encode_group(group: GroupId, bound: &Bound) -> Operation {
    let configuration = bound.founding.configuration().encode();
    let mut out = BytesMut::with_capacity(GROUP_BYTES_MIN + configuration.len());
    out.put_u8(VERSION);
    out.put_u64_le(group.0);
    out.put_u128_le(bound.founding.digest());
    out.put_slice(&configuration);
    Operation::Journal { key: bound.stream.0, bytes: out.freeze() }
}

fn encode_removed(group: GroupId, stream: StreamId) -> Operation {
    let mut out = BytesMut::with_capacity(REMOVED_BYTES);
    out.put_u8(REMOVED_VERSION);
    out.put_u64_le(group.0);
    Operation::Journal { key: stream.0, bytes: out.freeze() }
}

/// Checks the version and the length of a record, and returns the bytes behind the version.
fn check(bytes: &[u8], length: std::ops::RangeInclusive<usize>) -> Result<&[u8], StateError> {
    match bytes.first() {
        Some(&version) if version != VERSION => Err(StateError::Version(version)),
        Some(_) if length.contains(&bytes.len()) => Ok(&bytes[1..]),
        _ => Err(StateError::Malformed),
    }
}

/// Splits operations into writes that fit every log.
pub(super) fn in_writes(operations: impl IntoIterator<Item = Operation>) -> Vec<Vec<Operation>> {
    let mut writes: Vec<Vec<Operation>> = Vec::new();
    let mut bytes = 0;
    for operation in operations {
        let weight = operation.weight() + RECORD_OVERHEAD_BYTES;
        match writes.last_mut() {
            Some(write) if bytes + weight <= WRITE_BYTES => write.push(operation),
            _ => {
                writes.push(vec![operation]);
                bytes = 0;
            }
        }
        bytes += weight;
    }
    writes
}

const VERSION: u8 = 2;
/// Version of the record of a removed group.
const REMOVED_VERSION: u8 = 3;
const REMOVED_BYTES: usize = 9;
const FLAG_MUTUAL: u8 = 1;
const FLAG_OLDER: u8 = 2;
/// Keys of the journal from here on are slots for peers.
const PEER_KEYS: u64 = 1 << 63;
const STATE_BYTES: usize = 22;
const PEER_BYTES: usize = 38;
const GROUP_BYTES_MIN: usize = 25;
/// Maximum weight of one write of stream 0, unless a single record is larger. It is below the least batch of a log (16
/// KiB).
const WRITE_BYTES: usize = 8 << 10;
const RECORD_OVERHEAD_BYTES: usize = 64;
