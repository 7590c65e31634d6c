//! What a node keeps of itself in stream 0: its start counter, the peers it has met, and which stream belongs to which group.
//!
//! The state record holds what must survive any single damaged sector; it is small and bounded:
//!
//! ```text
//! version (1) | start counter (4) | next stream (8) | peers (2) | per peer: node (8), incarnation (16), flags (1)
//! ```
//!
//! The table of groups is a journal, one record a group: key = group id, bytes = version (1), stream (8). All numbers are
//! little-endian.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{
    GroupId, Identity, Incarnation, LogIndex, NodeId, Operation, RecoverError, Recovery, STATE_BYTES_MAX, StateError,
};
use quorate_wal::StreamId;

/// The most peers a node remembers; one more is not introduced and said so.
pub const PEERS_MAX: usize = 128;

/// The node's own stream.
pub const NODE_STREAM: StreamId = StreamId(0);

/// A start that is not yet durable: what the log's stream 0 held, and what must be written there before anything else.
///
/// The shell writes [`PendingStart::operations`], syncs, and only then has a [`Roster`] in hand, without which there
/// is no [`Node`](crate::Node): so no proposal, rpc or connection can precede the raised start counter.
#[derive(Debug)]
pub struct PendingStart {
    roster: Roster,
    bound: Vec<GroupId>,
}

impl PendingStart {
    /// Reads what stream 0 held and raises the start counter.
    ///
    /// # Errors
    /// When it cannot be read. Nothing was changed.
    pub fn recover(identity: Identity, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut roster = match &recovery.state {
            Some(state) => Roster::decode(identity, state).map_err(RecoverError::State)?,
            None => Roster::fresh(identity),
        };
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            let stream = decode_binding(&bytes).map_err(RecoverError::State)?;
            if stream.0 >= roster.next_stream {
                return Err(RecoverError::Inconsistent("a group's stream is above the last one given out"));
            }
            roster.groups.insert(GroupId(key), stream);
        }
        let raised = roster.start.checked_add(1);
        roster.start = raised.ok_or(RecoverError::Inconsistent("the start counter has run out"))?;
        Ok(Self { roster, bound: Vec::new() })
    }

    /// The stream of `group`: the one it has had since it was first bound, else a new one that no group ever had.
    pub fn bind(&mut self, group: GroupId) -> StreamId {
        if let Some(stream) = self.roster.groups.get(&group) {
            return *stream;
        }
        let stream = StreamId(self.roster.next_stream);
        self.roster.next_stream += 1;
        self.roster.groups.insert(group, stream);
        self.bound.push(group);
        stream
    }

    /// The raised start counter, for what is built before the node runs.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.roster.start
    }

    /// What must be durable in stream 0 before [`PendingStart::durable`].
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let bindings = self.bound.iter().map(|group| encode_binding(*group, self.roster.groups[group]));
        std::iter::once(self.roster.state()).chain(bindings).collect()
    }

    /// The roster, now that [`PendingStart::operations`] are durable.
    #[must_use]
    pub fn durable(self) -> Roster {
        self.roster
    }
}

/// What a node durably knows of itself and its peers.
#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) identity: Identity,
    pub(super) start: u32,
    next_stream: u64,
    pub(super) peers: BTreeMap<NodeId, Acquaintance>,
    pub(super) groups: BTreeMap<GroupId, StreamId>,
}

/// What is known of a peer. Only ever grows: the first incarnation met stays the known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acquaintance {
    pub(super) incarnation: Incarnation,
    /// The peer said that it has this node's incarnation durable.
    pub(super) is_mutual: bool,
}

impl Roster {
    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How often the node has been started, this start included.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The stream bound to `group`.
    #[must_use]
    pub fn stream(&self, group: GroupId) -> Option<StreamId> {
        self.groups.get(&group).copied()
    }

    /// The state record.
    pub(super) fn state(&self) -> Operation {
        let mut out = BytesMut::with_capacity(FIXED_BYTES + self.peers.len() * PEER_BYTES);
        out.put_u8(VERSION);
        out.put_u32_le(self.start);
        out.put_u64_le(self.next_stream);
        out.put_u16_le(u16::try_from(self.peers.len()).expect("bounded by PEERS_MAX"));
        for (node, known) in &self.peers {
            out.put_u64_le(node.0);
            out.put_u128_le(known.incarnation.0);
            out.put_u8(if known.is_mutual { FLAG_MUTUAL } else { 0 });
        }
        Operation::PutState { bytes: out.freeze(), commit_hint: LogIndex::ZERO }
    }

    /// The whole table of groups anew, between the two marks of a checkpoint: older records may go then.
    pub(super) fn checkpoint(&self, id: u64) -> Vec<Operation> {
        let bindings = self.groups.iter().map(|(group, stream)| encode_binding(*group, *stream));
        std::iter::once(Operation::CheckpointBegin { id })
            .chain(bindings)
            .chain([self.state(), Operation::CheckpointDone { id }])
            .collect()
    }

    fn fresh(identity: Identity) -> Self {
        let next_stream = NODE_STREAM.0 + 1;
        Self { identity, start: 0, next_stream, peers: BTreeMap::new(), groups: BTreeMap::new() }
    }

    fn decode(identity: Identity, bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(StateError::Version(bytes[0]));
        }
        if bytes.len() < FIXED_BYTES {
            return Err(StateError::Malformed);
        }
        let mut rest = &bytes[1..];
        let (start, next_stream) = (rest.get_u32_le(), rest.get_u64_le());
        let count = usize::from(rest.get_u16_le());
        if next_stream == NODE_STREAM.0 || count > PEERS_MAX || rest.len() != count * PEER_BYTES {
            return Err(StateError::Malformed);
        }
        let mut roster = Self { start, next_stream, ..Self::fresh(identity) };
        for _ in 0..count {
            let node = NodeId(rest.get_u64_le());
            let incarnation = Incarnation(rest.get_u128_le());
            let flags = rest.get_u8();
            if flags & !FLAG_MUTUAL != 0 {
                return Err(StateError::Malformed);
            }
            roster.peers.insert(node, Acquaintance { incarnation, is_mutual: flags & FLAG_MUTUAL != 0 });
        }
        Ok(roster)
    }
}

fn encode_binding(group: GroupId, stream: StreamId) -> Operation {
    let mut out = BytesMut::with_capacity(BINDING_BYTES);
    out.put_u8(VERSION);
    out.put_u64_le(stream.0);
    Operation::Journal { key: group.0, bytes: out.freeze() }
}

fn decode_binding(bytes: &Bytes) -> Result<StreamId, StateError> {
    match bytes.first() {
        Some(&VERSION) if bytes.len() == BINDING_BYTES => Ok(StreamId((&bytes[1..]).get_u64_le())),
        Some(&version) if version != VERSION => Err(StateError::Version(version)),
        _ => Err(StateError::Malformed),
    }
}

const VERSION: u8 = 1;
const FLAG_MUTUAL: u8 = 1;
const FIXED_BYTES: usize = 15;
const PEER_BYTES: usize = 25;
const BINDING_BYTES: usize = 9;
const _: () = assert!(FIXED_BYTES + PEERS_MAX * PEER_BYTES <= STATE_BYTES_MAX);
