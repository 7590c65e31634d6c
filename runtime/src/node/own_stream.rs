//! The owner of stream 0, the node's own: it holds the roster, knows which part of it is durable, and writes the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_protocol::{GroupId, Incarnation, Instant, NodeId, Operation, Ticket};
use quorate_wal::StreamId;

use super::roster::{Acquaintance, Roster, in_writes};
use crate::group::founding::Founding;

/// The node's own stream. One write is under way at a time; changes meanwhile go into the next one.
#[derive(Debug)]
pub(super) struct OwnStream {
    roster: Roster,
    /// The part of the roster's peers that is durable.
    durable: BTreeMap<NodeId, Acquaintance>,
    /// Changes that are in no write yet.
    changes: Changes,
    writing: Option<Writing>,
    last_ticket: Ticket,
    /// The log accepts no more writes.
    has_failed: bool,
    /// The newest write was refused for want of room, and is retried.
    is_refused: bool,
    /// The time from which a refused write is retried.
    retry_at: Instant,
}

/// A write for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnWrite {
    pub(super) ticket: Ticket,
    pub(super) operations: Vec<Operation>,
}

/// The effect of a write that has become durable.
#[derive(Debug)]
pub(super) enum Written {
    /// There are more parts; this one is next.
    Part(OwnWrite),
    /// The write is complete.
    Complete {
        /// The peers that were durable before it.
        before: BTreeMap<NodeId, Acquaintance>,
        /// Groups whose founding it made durable.
        founded: Vec<GroupId>,
        /// Groups whose removal it made durable.
        removed: Vec<GroupId>,
    },
}

#[derive(Debug, Default)]
struct Changes {
    /// Peers whose record must be written.
    peers: BTreeSet<NodeId>,
    /// Groups whose record must be written: they were founded or removed.
    groups: BTreeSet<GroupId>,
    /// The state record must be written.
    has_state: bool,
    /// The whole stream must be written.
    is_checkpoint: bool,
}

/// The write under way.
#[derive(Debug)]
struct Writing {
    ticket: Ticket,
    /// Further parts. Each is written once those before it are durable.
    rest: VecDeque<Vec<Operation>>,
    /// The peers that are durable after this write.
    peers: BTreeMap<NodeId, Acquaintance>,
    changes: Changes,
    /// The groups of the changes that had been removed when the write was made. The others are founded by it.
    removed: BTreeSet<GroupId>,
}

impl OwnStream {
    /// Makes the owner of a stream that holds this roster.
    pub(super) fn new(roster: Roster) -> Self {
        Self {
            durable: roster.peers.clone(),
            roster,
            changes: Changes::default(),
            writing: None,
            last_ticket: Ticket::default(),
            has_failed: false,
            is_refused: false,
            retry_at: Instant::ZERO,
        }
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Returns the durable knowledge about a peer.
    pub(super) fn durable(&self, peer: NodeId) -> Option<&Acquaintance> {
        self.durable.get(&peer)
    }

    /// Returns the durable knowledge about all peers.
    pub(super) fn durable_peers(&self) -> impl Iterator<Item = (NodeId, Acquaintance)> + '_ {
        self.durable.iter().map(|(peer, known)| (*peer, *known))
    }

    /// Remembers a new peer; see [`Roster::meet`].
    pub(super) fn meet(&mut self, peer: NodeId, incarnation: Incarnation, kept: &BTreeSet<NodeId>) -> bool {
        let is_met = self.roster.meet(peer, incarnation, kept);
        if is_met {
            self.changes.peers.insert(peer);
        }
        is_met
    }

    /// Changes the knowledge about a known peer.
    pub(super) fn change_peer(&mut self, peer: NodeId, change: impl FnOnce(&mut Acquaintance)) {
        change(self.roster.peers.get_mut(&peer).expect("a known peer"));
        self.changes.peers.insert(peer);
    }

    /// Notes that this node runs on an older copy of its disk.
    pub(super) fn note_older(&mut self) {
        self.roster.is_older = true;
        self.changes.has_state = true;
    }

    /// Founds a new group.
    pub(super) fn found(&mut self, group: GroupId, founding: Founding) {
        self.roster.found(group, founding);
        self.changes.groups.insert(group);
        // The state record holds the next free stream.
        self.changes.has_state = true;
    }

    /// Removes a group for good.
    pub(super) fn remove(&mut self, group: GroupId) {
        self.roster.remove(group);
        self.changes.groups.insert(group);
    }

    /// Forgets a group whose removal is durable. Returns the stream that it had.
    pub(super) fn forget(&mut self, group: GroupId) -> Option<StreamId> {
        self.roster.forget(group)
    }

    /// Lets the next write contain the whole stream.
    pub(super) fn note_compaction(&mut self) {
        self.changes.is_checkpoint = true;
    }

    /// Returns a write of the changes, unless there are none, or a write is under way or was refused.
    pub(super) fn write(&mut self) -> Option<OwnWrite> {
        if self.is_refused { None } else { self.submit() }
    }

    /// Returns the write that was refused, if there is one.
    pub(super) fn retry(&mut self) -> Option<OwnWrite> {
        if self.is_refused { self.submit() } else { None }
    }

    /// As [`OwnStream::retry`], at most once in each [`RETRY_INTERVAL`].
    pub(super) fn retry_if_due(&mut self, now: Instant) -> Option<OwnWrite> {
        if !self.is_refused || self.writing.is_some() || now < self.retry_at {
            return None;
        }
        self.retry_at = now.after(RETRY_INTERVAL);
        self.retry()
    }

    /// Every write up to `ticket` is durable. Returns `None` if that is not news.
    pub(super) fn on_persisted(&mut self, ticket: Ticket) -> Option<Written> {
        let mut writing = self.writing.take_if(|writing| writing.ticket <= ticket)?;
        let Some(operations) = writing.rest.pop_front() else {
            self.is_refused = false;
            let before = std::mem::replace(&mut self.durable, writing.peers);
            let is_removed = |group: &GroupId| writing.removed.contains(group);
            let (removed, founded) = writing.changes.groups.into_iter().partition(is_removed);
            return Some(Written::Complete { before, founded, removed });
        };
        let ticket = self.next_ticket();
        writing.ticket = ticket;
        self.writing = Some(writing);
        Some(Written::Part(OwnWrite { ticket, operations }))
    }

    /// A write found no room and was not made. Its changes go into the next one. Returns true if no write was refused
    /// before.
    pub(super) fn on_refused(&mut self, now: Instant, ticket: Ticket) -> bool {
        self.retry_at = now.after(RETRY_INTERVAL);
        let Some(writing) = self.writing.take_if(|writing| writing.ticket == ticket) else { return false };
        self.changes.add(writing.changes);
        !std::mem::replace(&mut self.is_refused, true)
    }

    /// The log accepts no more writes.
    pub(super) fn on_persist_failed(&mut self) {
        self.has_failed = true;
        self.writing = None;
    }

    fn submit(&mut self) -> Option<OwnWrite> {
        if self.writing.is_some() || self.has_failed || self.changes.is_empty() {
            return None;
        }
        let ticket = self.next_ticket();
        let changes = std::mem::take(&mut self.changes);
        let mut rest: VecDeque<Vec<Operation>> = if changes.is_checkpoint {
            self.roster.checkpoint((u64::from(self.roster.start.counter) << 32) | ticket.0).into()
        } else {
            let state = changes.has_state.then(|| self.roster.state());
            let groups = changes.groups.iter().filter_map(|group| self.roster.group(*group));
            let peers = changes.peers.iter().filter(|peer| self.roster.peers.contains_key(peer));
            in_writes(state.into_iter().chain(groups).chain(peers.map(|peer| self.roster.peer(*peer)))).into()
        };
        let operations = rest.pop_front().expect("something has changed");
        let removed = changes.groups.iter().copied().filter(|group| self.roster.is_removed(*group)).collect();
        self.writing = Some(Writing { ticket, rest, peers: self.roster.peers.clone(), changes, removed });
        Some(OwnWrite { ticket, operations })
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.groups.is_empty() && !self.has_state && !self.is_checkpoint
    }

    fn add(&mut self, other: Self) {
        self.peers.extend(other.peers);
        self.groups.extend(other.groups);
        self.has_state |= other.has_state;
        self.is_checkpoint |= other.is_checkpoint;
    }
}

/// Interval between two tries of a write that found no room.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
