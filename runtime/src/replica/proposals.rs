//! This replica's own proposals that wait for their outcome.
//!
//! They are numbered without gaps, so a ring finds the slot of a sequence at once. What stays long after its neighbours
//! have gone (a forward that was lost) moves to a small tree, so that it does not hold the ring up.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{Instant, LogIndex, NodeId, Term};

use crate::{CallId, SESSION_WINDOW};

#[cfg(test)]
mod tests;

/// A proposal that waits for its outcome, or whose unknown outcome may still be asked for again.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Who waits. Nobody once the outcome was told to be unknown.
    pub(super) call: Option<CallId>,
    pub(super) deadline: Instant,
    /// Bytes of the command, while somebody waits.
    pub(super) bytes: usize,
    pub(super) delivery: Kind,
    pub(super) stage: Stage,
}

/// What may be said of a proposal, by how it was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Outside any session.
    Loose,
    /// Opens or closes the session.
    Session,
    /// In the session, for the first time.
    First,
    /// In the session, again: what is said of this try says nothing of the earlier ones.
    Again,
}

impl Kind {
    /// Whether it is a command of the session.
    pub(super) fn is_in_session(self) -> bool {
        matches!(self, Self::First | Self::Again)
    }
}

/// Where a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Here: nobody leads.
    Waiting,
    /// In this node's own core.
    Proposed,
    /// In the log, where this node led.
    Appended { index: LogIndex, term: Term },
    /// On its way to the leader, or lost.
    Forwarded { to: NodeId },
}

/// All of them. The caller bounds their number; those nobody waits for are bounded here.
#[derive(Debug)]
pub(super) struct Proposals {
    /// From `base` on, one a sequence. The front is never empty.
    ring: VecDeque<Option<Slot>>,
    base: u64,
    /// Below `base`.
    stragglers: BTreeMap<u64, Slot>,
    /// Slots in the ring that are in use.
    ring_live: usize,
    /// Slots that somebody waits for, and the bytes of their commands.
    waiting: usize,
    bytes: usize,
    /// Sequences of the session, ascending; those that are resolved go when they come to the front.
    in_session: VecDeque<u64>,
    /// Sequences whose outcome was told to be unknown, oldest first, at most [`UNRESOLVED_MAX`] that still are.
    unresolved: VecDeque<u64>,
    /// No deadline is earlier.
    expiry_from: Option<Instant>,
}

impl Proposals {
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

    /// Takes a proposal in and numbers it.
    pub(super) fn add(&mut self, slot: Slot) -> u64 {
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

    /// A number for an entry of the session that nobody waits for here.
    pub(super) fn next_sequence(&self) -> u64 {
        self.base + u64::try_from(self.ring.len()).expect("a ring is shorter than 2^64")
    }

    pub(super) fn get(&mut self, sequence: u64) -> Option<&mut Slot> {
        match sequence.checked_sub(self.base) {
            Some(place) => self.ring.get_mut(usize::try_from(place).ok()?)?.as_mut(),
            None => self.stragglers.get_mut(&sequence),
        }
    }

    /// Resolves a proposal: its slot is free.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Slot> {
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

    /// Nobody waits for a proposal any more, but it may be tried again. Gives who waited.
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

    /// An unresolved proposal is tried again: somebody waits for it once more. Says whether it could be.
    pub(super) fn try_again(&mut self, sequence: u64, call: CallId, deadline: Instant, bytes: usize) -> bool {
        let Some(slot) = self.get(sequence).filter(|slot| slot.call.is_none()) else { return false };
        *slot = Slot { call: Some(call), deadline, bytes, delivery: Kind::Again, stage: Stage::Waiting };
        let again = slot.clone();
        self.unresolved.retain(|unresolved| *unresolved != sequence);
        self.note_waiting(&again);
        true
    }

    /// Every proposal of the session below was resolved.
    pub(super) fn acknowledged_below(&mut self) -> u64 {
        while let Some(sequence) = self.in_session.front().copied() {
            if self.get(sequence).is_some() {
                return sequence;
            }
            self.in_session.pop_front();
        }
        self.next_sequence()
    }

    /// The oldest proposal of the session, if the next one would be beyond the window with it.
    pub(super) fn beyond_window(&mut self) -> Option<u64> {
        let below = self.acknowledged_below();
        (self.next_sequence() - below >= SESSION_WINDOW).then_some(below)
    }

    /// The proposals whose deadline has passed, ascending.
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

    /// When to look for expired ones next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expiry_from
    }

    /// All sequences that a test holds for, ascending.
    pub(super) fn matching(&self, mut test: impl FnMut(&Slot) -> bool) -> Vec<u64> {
        self.iter().filter(|(_, slot)| test(slot)).map(|(sequence, _)| sequence).collect()
    }

    /// How many somebody waits for.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes of the commands that somebody waits for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Slot)> {
        let ring = (self.base..).zip(&self.ring).filter_map(|(sequence, slot)| Some((sequence, slot.as_ref()?)));
        self.stragglers.iter().map(|(sequence, slot)| (*sequence, slot)).chain(ring)
    }

    fn note_waiting(&mut self, slot: &Slot) {
        self.waiting += 1;
        self.bytes += slot.bytes;
        self.expiry_from = Some(self.expiry_from.map_or(slot.deadline, |from| from.min(slot.deadline)));
    }

    /// Lets free slots at the front go, and moves one that holds up many free ones out of the way.
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

/// How many proposals of unknown outcome may be tried again; older ones are forgotten.
pub(super) const UNRESOLVED_MAX: usize = 1024;

/// So many free slots in the ring are nothing to worry about.
const RING_SLACK: usize = 1024;
