//! This replica's own proposals that wait for their outcomes.
//!
//! They are numbered without gaps, so the slot of a sequence is found in a ring at once. A proposal that stays long
//! after its neighbours have gone (a lost forward) moves to a small tree, so that it does not make the ring grow.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{Instant, LogIndex, NodeId, Term};

use crate::group::interface::CallId;
use crate::replica::sessions::SESSION_WINDOW;

#[cfg(test)]
mod tests;

/// A proposal that waits for its outcome, or whose unknown outcome may be asked for again.
#[derive(Clone, Debug)]
pub(super) struct OpenProposal {
    /// The call that waits; `None` after it was answered that the outcome is unknown.
    pub(super) call: Option<CallId>,
    pub(super) deadline: Instant,
    /// Bytes of the command, while a call waits.
    pub(super) bytes: usize,
    pub(super) delivery: Kind,
    pub(super) stage: Stage,
}

/// The kind of a proposal, which decides the answers that are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Outside any session.
    Loose,
    /// Opens or closes the session.
    Session,
    /// In the session, for the first time.
    First,
    /// In the session, as a retry. The outcome of the retry does not decide the outcome of the earlier tries.
    Again,
}

impl Kind {
    /// Returns true for a command of the session.
    pub(super) fn is_in_session(self) -> bool {
        matches!(self, Self::First | Self::Again)
    }
}

/// The stage of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// On this node, because there is no leader.
    Waiting,
    /// In this node's own core.
    Proposed,
    /// In the log, at a time when this node led.
    Appended { index: LogIndex, term: Term },
    /// On its way to the leader, or lost.
    Forwarded { to: NodeId },
}

/// All proposals of this replica. The caller bounds the number of those for which a call waits; the number of the
/// others is bounded here.
#[derive(Debug)]
pub(super) struct OpenProposals {
    /// The slots from `base` on, one for each sequence. The front is never empty.
    ring: VecDeque<Option<OpenProposal>>,
    base: u64,
    /// The slots below `base`.
    stragglers: BTreeMap<u64, OpenProposal>,
    /// Slots in the ring that are in use.
    ring_live: usize,
    /// Number of slots for which a call waits, and the bytes of their commands.
    waiting: usize,
    bytes: usize,
    /// Sequences of the session, ascending. Resolved ones are removed when they reach the front.
    in_session: VecDeque<u64>,
    /// Sequences whose outcome was reported as unknown, oldest first. At most [`UNRESOLVED_MAX`] of them are still
    /// unresolved.
    unresolved: VecDeque<u64>,
    /// No deadline is earlier than this.
    expiry_from: Option<Instant>,
}

impl OpenProposals {
    pub(super) fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            base: 1,
            stragglers: BTreeMap::new(),
            ring_live: 0,
            waiting: 0,
            bytes: 0,
            in_session: VecDeque::new(),
            unresolved: VecDeque::new(),
            expiry_from: None,
        }
    }

    /// Adds a proposal and returns its sequence.
    pub(super) fn add(&mut self, slot: OpenProposal) -> u64 {
        let sequence = self.next_sequence();
        self.note_waiting(&slot);
        if slot.delivery.is_in_session() {
            self.in_session.push_back(sequence);
        }
        self.ring.push_back(Some(slot));
        self.ring_live += 1;
        self.shorten();
        sequence
    }

    /// Returns a sequence for an entry of the session for which no call waits here.
    pub(super) fn next_sequence(&self) -> u64 {
        self.base + u64::try_from(self.ring.len()).expect("a ring is shorter than 2^64")
    }

    pub(super) fn get(&mut self, sequence: u64) -> Option<&mut OpenProposal> {
        match sequence.checked_sub(self.base) {
            Some(place) => self.ring.get_mut(usize::try_from(place).ok()?)?.as_mut(),
            None => self.stragglers.get_mut(&sequence),
        }
    }

    /// Resolves a proposal and frees its slot.
    pub(super) fn take(&mut self, sequence: u64) -> Option<OpenProposal> {
        let slot = match sequence.checked_sub(self.base) {
            Some(place) => {
                let slot = self.ring.get_mut(usize::try_from(place).ok()?)?.take()?;
                self.ring_live -= 1;
                self.shorten();
                slot
            }
            None => self.stragglers.remove(&sequence)?,
        };
        if slot.call.is_some() {
            self.waiting -= 1;
            self.bytes -= slot.bytes;
        }
        Some(slot)
    }

    /// Marks a proposal as unresolved: no call waits for it, but it may be retried. Returns the call that waited.
    pub(super) fn leave_unresolved(&mut self, sequence: u64) -> Option<CallId> {
        let slot = self.get(sequence)?;
        let call = slot.call.take()?;
        let bytes = std::mem::take(&mut slot.bytes);
        self.waiting -= 1;
        self.bytes -= bytes;
        self.unresolved.push_back(sequence);
        while self.unresolved.len() > UNRESOLVED_MAX {
            let Some(oldest) = self.unresolved.pop_front() else { break };
            if self.get(oldest).is_some_and(|slot| slot.call.is_none()) {
                self.take(oldest);
            }
        }
        Some(call)
    }

    /// Lets a call wait for an unresolved proposal that is retried. Returns false if it cannot be retried.
    pub(super) fn try_again(&mut self, sequence: u64, call: CallId, deadline: Instant, bytes: usize) -> bool {
        let Some(slot) = self.get(sequence).filter(|slot| slot.call.is_none()) else { return false };
        *slot = OpenProposal { call: Some(call), deadline, bytes, delivery: Kind::Again, stage: Stage::Waiting };
        let again = slot.clone();
        self.unresolved.retain(|unresolved| *unresolved != sequence);
        self.note_waiting(&again);
        true
    }

    /// Returns the sequence below which every proposal of the session was resolved.
    pub(super) fn acknowledged_below(&mut self) -> u64 {
        while let Some(sequence) = self.in_session.front().copied() {
            if self.get(sequence).is_some() {
                return sequence;
            }
            self.in_session.pop_front();
        }
        self.next_sequence()
    }

    /// Returns the oldest proposal of the session if the next one would be beyond the window because of it.
    pub(super) fn beyond_window(&mut self) -> Option<u64> {
        let below = self.acknowledged_below();
        (self.next_sequence() - below >= SESSION_WINDOW).then_some(below)
    }

    /// Returns the proposals whose deadline has passed, ascending.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<u64> {
        if self.expiry_from.is_none_or(|from| now < from) {
            return Vec::new();
        }
        let (mut expired, mut expiry_from) = (Vec::new(), None);
        for (sequence, slot) in self.iter().filter(|(_, slot)| slot.call.is_some()) {
            if slot.deadline <= now {
                expired.push(sequence);
            } else {
                expiry_from = Some(expiry_from.map_or(slot.deadline, |from: Instant| from.min(slot.deadline)));
            }
        }
        self.expiry_from = expiry_from;
        expired
    }

    /// Returns the time of the next check for expired proposals.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expiry_from
    }

    /// Returns all sequences for which a test holds, ascending.
    pub(super) fn matching(&self, mut test: impl FnMut(&OpenProposal) -> bool) -> Vec<u64> {
        self.iter().filter(|(_, slot)| test(slot)).map(|(sequence, _)| sequence).collect()
    }

    /// Number of proposals for which a call waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes of the commands for which a call waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &OpenProposal)> {
        let ring = (self.base..).zip(&self.ring).filter_map(|(sequence, slot)| Some((sequence, slot.as_ref()?)));
        self.stragglers.iter().map(|(sequence, slot)| (*sequence, slot)).chain(ring)
    }

    fn note_waiting(&mut self, slot: &OpenProposal) {
        self.waiting += 1;
        self.bytes += slot.bytes;
        self.expiry_from = Some(self.expiry_from.map_or(slot.deadline, |from| from.min(slot.deadline)));
    }

    /// Removes free slots at the front. Moves a used slot to the tree if it keeps many free ones in the ring.
    fn shorten(&mut self) {
        while !self.ring.is_empty() {
            let is_sparse = self.ring_live * 4 + RING_SLACK < self.ring.len();
            let Some(front) = self.ring.front_mut() else { return };
            if front.is_some() && !is_sparse {
                return;
            }
            if let Some(slot) = front.take() {
                self.ring_live -= 1;
                self.stragglers.insert(self.base, slot);
            }
            self.ring.pop_front();
            self.base += 1;
        }
    }
}

/// Maximum number of proposals with unknown outcome that may be retried. Older ones are forgotten.
pub(super) const UNRESOLVED_MAX: usize = 1024;

/// Number of free slots in the ring that are tolerated.
const RING_SLACK: usize = 1024;
