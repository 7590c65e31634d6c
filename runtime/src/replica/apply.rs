//! Applies committed entries in their order, as many as a turn allows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_protocol::{
    Committed, Configuration, Entry, EntryError, EntryKind, HaltReason, LoadFailure, LoadRange, Loaded, LogIndex,
    LogTime, ReplicatedLog, Term, Ticket,
};

use super::message::Verdict;
use super::propose::unknown;
use super::{Replica, ReplicaSettings};
use crate::group::hostable::Hostable;
use crate::group::interface::GroupOutput;
use crate::group::outcome::{NotApplied, Outcome, Unknown};
use crate::panics::panic_message;
use crate::replica::FEATURE_LEVEL;
use crate::replica::sessions::Admission;
use crate::replica::state_machine::{ApplyContext, StateMachine};

/// The last applied entry, and the state that follows from the entries up to it.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) log_time: LogTime,
    /// The members as of `index`. Not known before the first configuration entry after an unknown start.
    pub(super) configuration: Option<Configuration>,
    pub(super) level: u32,
    /// The index up to which the state machine had state of its own at the start. It is not applied again.
    pub(super) state_index: LogIndex,
}

/// The bytes and entries that a turn may still apply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes: usize,
    entries: usize,
}

/// The effect of one entry.
enum Effect {
    Applied(Bytes),
    ResponseForgotten,
    SessionExpired,
    OutsideWindow,
}

impl Budget {
    pub(super) fn new(settings: &ReplicaSettings) -> Self {
        Self { bytes: settings.apply_bytes_max, entries: settings.apply_entries_max }
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries -= 1;
    }

    fn is_spent(self) -> bool {
        self.bytes == 0 || self.entries == 0
    }
}

impl Applied {
    pub(super) fn new(state_index: LogIndex) -> Self {
        Self { index: LogIndex::ZERO, term: Term(0), log_time: LogTime(0), configuration: None, level: 0, state_index }
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Returns true if there is more to apply than this turn allowed.
    pub(super) fn has_backlog(&self) -> bool {
        self.budget.is_spent() && self.may_apply()
    }

    pub(super) fn apply_committed(&mut self) {
        while !self.budget.is_spent() && self.may_apply() {
            self.load_retry_at = None;
            if let Some((index, term, entry)) = self.taken.pop_front() {
                self.apply_next(index, term, &entry);
                continue;
            }
            match self.context.core.entries(self.applied.index.next(), self.budget.bytes.min(BATCH_BYTES)) {
                Committed::Cached(entries) => {
                    assert!(!entries.is_empty(), "what is committed is there");
                    self.taken = entries.into();
                }
                Committed::NeedsLoad(range) => {
                    let ticket = self.context.ticket();
                    self.loading = Some(ticket);
                    let range = LoadRange::Entries { range, bytes_max: BATCH_BYTES };
                    self.context.push(GroupOutput::Load { ticket, range });
                }
            }
        }
    }

    /// Takes entries that were read from disk. A snapshot may have overtaken them.
    pub(super) fn on_loaded(&mut self, ticket: Ticket, result: Result<Loaded, LoadFailure>) {
        if self.loading.take_if(|loading| *loading == ticket).is_none() {
            return;
        }
        match result {
            Ok(Loaded::Entries(entries))
                if entries.first().is_some_and(|first| first.0 == self.applied.index.next()) =>
            {
                self.taken = entries.into();
            }
            Ok(_) => {}
            Err(LoadFailure::Damaged) => self.halt(&HaltReason::Damaged { index: self.applied.index.next() }),
            Err(_) => {
                self.context.counters.loads_failed += 1;
                self.load_retry_at = Some(self.context.instant().after(self.context.settings.retry));
            }
        }
    }

    fn may_apply(&self) -> bool {
        let is_free = self.loading.is_none() && !self.is_restoring() && self.halted.is_none();
        let is_waiting = self.load_retry_at.is_some_and(|at| self.context.instant() < at);
        is_free && !is_waiting && self.applied.index < self.committed
    }

    /// Drops entries that were taken from the core or the disk but are no longer the next, because a snapshot has
    /// overtaken them.
    pub(super) fn forget_loaded(&mut self) {
        self.taken.clear();
        self.loading = None;
        self.load_retry_at = None;
    }

    fn apply_next(&mut self, index: LogIndex, term: Term, entry: &Entry) {
        assert_eq!(index, self.applied.index.next(), "entries are applied in their order");
        let bytes = entry.encoded_len();
        self.budget.spend(bytes);
        if let Err(reason) = self.apply(index, term, entry) {
            return self.halt(&reason);
        }
        self.snapshots.note_applied(index, bytes);
        self.catch_up.on_applied(self.applied.index, self.committed);
    }

    fn apply(&mut self, index: LogIndex, term: Term, entry: &Entry) -> Result<(), HaltReason> {
        let header = entry.header;
        if header.elided_length.is_some() || crc32c::crc32c(&entry.payload) != header.checksum {
            return Err(HaltReason::Damaged { index });
        }
        if term > self.applied.term {
            self.on_later_term(index, term);
            self.applied.term = term;
        }
        let log_time = header.log_time.max(self.applied.log_time);
        self.applied.log_time = log_time;
        self.sessions.expire(log_time);
        let context = ApplyContext { index, log_time };
        let effect = match header.kind {
            EntryKind::Command => self.apply_command(context, entry)?,
            EntryKind::SessionOpen => match <[u8; 8]>::try_from(&entry.payload[..]) {
                Ok(timeout) => {
                    self.sessions.open(header.id, u64::from_le_bytes(timeout), log_time);
                    Effect::Applied(Bytes::new())
                }
                Err(_) => Effect::SessionExpired,
            },
            EntryKind::SessionClose => {
                self.sessions.close(header.id.session);
                Effect::Applied(Bytes::new())
            }
            EntryKind::Tick => {
                self.ticks.on_ended();
                if index > self.applied.state_index {
                    guarded(index, || self.state.tick(context))?;
                }
                Effect::Applied(Bytes::new())
            }
            EntryKind::NoOp => Effect::Applied(Bytes::new()),
            EntryKind::Configuration => {
                let unreadable = HaltReason::LawBroken("a committed configuration cannot be read");
                self.applied.configuration = Some(Configuration::decode(&entry.payload).map_err(|_| unreadable)?);
                Effect::Applied(Bytes::new())
            }
            EntryKind::FeatureLevel => {
                let bytes = <[u8; 4]>::try_from(&entry.payload[..]);
                let level = bytes.map_or(u32::MAX, u32::from_le_bytes);
                if level > FEATURE_LEVEL {
                    return Err(HaltReason::FeatureLevel { index, level });
                }
                self.applied.level = self.applied.level.max(level);
                Effect::Applied(Bytes::new())
            }
            kind => return Err(HaltReason::Entry { index, error: EntryError::Kind(kind.code()) }),
        };
        self.applied.index = index;
        self.tell(index, term, entry, effect);
        Ok(())
    }

    /// Applies a command, unless its session forbids it.
    fn apply_command(&mut self, context: ApplyContext, entry: &Entry) -> Result<Effect, HaltReason> {
        let (header, command) = (&entry.header, entry.payload.clone());
        let is_known = context.index <= self.applied.state_index;
        if header.acknowledged_below == 0 {
            if is_known {
                return Ok(Effect::ResponseForgotten);
            }
            return guarded(context.index, || self.state.apply(context, command)).map(Effect::Applied);
        }
        match self.sessions.admit(header.id, header.acknowledged_below, context.log_time) {
            Admission::Apply(session) if is_known => {
                session.record_forgotten(header.id.sequence);
                Ok(Effect::ResponseForgotten)
            }
            Admission::Apply(session) => {
                let response = guarded(context.index, || self.state.apply(context, command))?;
                session.record(header.id.sequence, response.clone());
                Ok(Effect::Applied(response))
            }
            Admission::Duplicate(Some(response)) => Ok(Effect::Applied(response)),
            Admission::Duplicate(None) => Ok(Effect::ResponseForgotten),
            Admission::Expired => Ok(Effect::SessionExpired),
            Admission::Behind | Admission::Beyond => Ok(Effect::OutsideWindow),
        }
    }

    /// Answers the caller on this node that waits for this entry, or the node that forwarded it.
    fn tell(&mut self, index: LogIndex, term: Term, entry: &Entry, effect: Effect) {
        let id = entry.header.id;
        if id.session == self.context.seat.session {
            let outcome = match effect {
                Effect::Applied(response) => Outcome::Applied(response),
                Effect::ResponseForgotten => unknown(Unknown::ResponseForgotten),
                Effect::SessionExpired => Outcome::NotApplied(NotApplied::SessionExpired),
                Effect::OutsideWindow => Outcome::NotApplied(NotApplied::WindowPassed),
            };
            self.on_own_entry(id.sequence, outcome);
        } else if let Some(awaiting) = self.forwards.take_at(index, term) {
            let (verdict, response) = match effect {
                Effect::Applied(response) => {
                    let length = u32::try_from(response.len()).expect("a response is shorter than 4 GiB");
                    (Verdict::Applied { length }, response)
                }
                Effect::ResponseForgotten => (Verdict::ResponseForgotten, Bytes::new()),
                Effect::SessionExpired => (Verdict::SessionExpired, Bytes::new()),
                Effect::OutsideWindow => (Verdict::OutsideWindow, Bytes::new()),
            };
            self.answer(&awaiting, verdict, response);
        }
    }
}

/// Runs the state machine's own code. A panic halts the group, and the entry is not skipped.
fn guarded<R>(index: LogIndex, run: impl FnOnce() -> R) -> Result<R, HaltReason> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic_message(&*panic);
        HaltReason::StateMachine { index, message }
    })
}

/// Bytes of entries that are taken from the core, or read from disk, at a time.
const BATCH_BYTES: usize = 256 << 10;
