//! Applies committed entries in their order, as many as a turn allows.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_protocol::{
    Committed, Configuration, Entry, EntryError, EntryKind, HaltReason, Instant, LoadFailure, LoadRange, Loaded,
    LogIndex, LogTime, Operation, ReplicatedLog, SnapshotMeta, Term, Ticket,
};

use super::content::{self, Origin, Restored, RestoredState};
use super::context::Context;
use super::sessions::{SessionAdmission, Sessions, SnapshotForm};
use crate::group::interface::GroupOutput;
use crate::group::outcome::{NotApplied, Outcome, Unknown};
use crate::group::snapshot::{SnapshotReader, SnapshotWriter};
use crate::group::start::SkippedCommand;
use crate::panics::panic_message;
use crate::replica::explain::Obstacle;
use crate::replica::settings::ReplicaSettings;
use crate::replica::state_machine::{ApplyContext, StateMachine};

/// The newest feature level that this binary supports. A committed entry that requires a higher one halts the group on
/// this node.
pub const FEATURE_LEVEL: u32 = 0;

/// The state machine, and the entries that it applies next.
#[derive(Debug)]
pub(super) struct Application<S> {
    state: S,
    applied: Applied,
    /// Entries up to here may be applied: they are committed, and durable on this node. Never goes back.
    committed: LogIndex,
    /// The next entries, taken from the core or the disk. The first one follows the last applied entry.
    taken: VecDeque<(LogIndex, Term, Entry)>,
    /// A read of entries that are no longer in the core's cache. Nothing is applied meanwhile.
    loading: Option<Ticket>,
    /// The time at which applying is retried after entries could not be read.
    retry_at: Option<Instant>,
    /// The work that may still be done in this turn.
    budget: Budget,
    /// Commands that are not applied.
    skipped: Vec<SkippedCommand>,
    /// True if the state machine itself stores its state.
    is_stored: bool,
    /// True if the state machine has done work since the last batch ended.
    is_in_batch: bool,
}

/// The replicated state beside the state machine: it follows from the entries up to the last applied one alone.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    /// The last applied entry. Never goes back.
    index: LogIndex,
    term: Term,
    /// Never goes back, although the log time of an entry may be earlier than that of the entry before it.
    log_time: LogTime,
    /// The members as of `index`. Not known before the first configuration entry after an unknown start.
    configuration: Option<Configuration>,
    /// Never goes back, and never above [`FEATURE_LEVEL`].
    level: u32,
    sessions: Sessions,
    /// The index up to which the state machine had stored its state at the start. It is not applied again. Never
    /// changes.
    state_index: LogIndex,
    /// The index of the last command or tick that the state machine was given, now or before the start.
    given: LogIndex,
}

/// The bytes and entries that a turn may still apply.
#[derive(Clone, Copy, Debug)]
struct Budget {
    bytes: usize,
    entries: usize,
}

/// The effect of one entry.
pub(super) enum Effect {
    Applied(Bytes),
    ResponseForgotten,
    SessionExpired,
    OutsideWindow,
}

impl<S: StateMachine> Application<S> {
    /// Makes the application before the first entry. `stored` is the index up to which the state machine itself has
    /// stored its state.
    pub(super) fn new(
        state: S,
        stored: Option<LogIndex>,
        configuration: Option<Configuration>,
        settings: &ReplicaSettings,
    ) -> Self {
        let applied = Applied {
            index: LogIndex::ZERO,
            term: Term(0),
            log_time: LogTime(0),
            configuration,
            level: 0,
            sessions: Sessions::default(),
            state_index: stored.unwrap_or_default(),
            given: LogIndex::ZERO,
        };
        Self {
            state,
            applied,
            committed: LogIndex::ZERO,
            taken: VecDeque::new(),
            loading: None,
            retry_at: None,
            budget: Budget::new(settings),
            skipped: Vec::new(),
            is_stored: stored.is_some(),
            is_in_batch: false,
        }
    }

    /// Does not apply these commands.
    pub(super) fn skip(&mut self, skipped: Vec<SkippedCommand>) {
        self.skipped = skipped;
    }

    /// Returns true if the entry is a command that is not applied.
    pub(super) fn is_skipped(&self, index: LogIndex, term: Term, entry: &Entry) -> bool {
        let command = SkippedCommand { index, term, checksum: entry.header.checksum };
        entry.header.kind == EntryKind::Command && self.skipped.contains(&command)
    }

    pub(super) fn state(&self) -> &S {
        &self.state
    }

    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Returns the index of the last entry that may be applied.
    pub(super) fn committed(&self) -> LogIndex {
        self.committed
    }

    /// Returns the time at which applying is retried.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Allows a turn's work again.
    pub(super) fn renew_budget(&mut self, settings: &ReplicaSettings) {
        self.budget = Budget::new(settings);
    }

    /// Returns true if this turn's work is done, whatever is left.
    pub(super) fn is_turn_over(&self) -> bool {
        self.budget.is_spent()
    }

    /// Returns true if there is an entry to apply and no reason to wait.
    pub(super) fn may_apply(&self, now: Instant) -> bool {
        let is_waiting = self.loading.is_some() || self.retry_at.is_some_and(|at| now < at);
        !is_waiting && self.applied.index < self.committed
    }

    pub(super) fn on_committed(&mut self, index: LogIndex) {
        assert!(index >= self.committed, "what is committed stays committed");
        self.committed = index;
    }

    /// The core's log starts after a snapshot of this index, so everything up to there is committed.
    pub(super) fn on_installed(&mut self, index: LogIndex) {
        self.committed = self.committed.max(index);
    }

    /// Takes the next entry. `None` if it must be read from disk first.
    pub(super) fn next<L: ReplicatedLog>(&mut self, context: &mut Context<L>) -> Option<(LogIndex, Term, Entry)> {
        self.retry_at = None;
        if self.taken.is_empty() {
            match context.core.entries(self.applied.index.next(), self.budget.bytes.min(BATCH_BYTES)) {
                Committed::Cached(entries) => {
                    assert!(!entries.is_empty(), "what is committed is there");
                    self.taken = entries.into();
                }
                Committed::NeedsLoad(range) => {
                    let ticket = context.ticket();
                    self.loading = Some(ticket);
                    let range = LoadRange::Entries { range, bytes_max: BATCH_BYTES };
                    context.push(GroupOutput::Load { ticket, range });
                }
            }
        }
        self.taken.pop_front()
    }

    /// Takes entries that were read from disk. A snapshot may have overtaken them.
    ///
    /// # Errors
    /// When the log is damaged.
    pub(super) fn on_loaded<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        ticket: Ticket,
        result: Result<Loaded, LoadFailure>,
    ) -> Result<(), HaltReason> {
        if self.loading.take_if(|loading| *loading == ticket).is_none() {
            return Ok(());
        }
        match result {
            Ok(Loaded::Entries(entries))
                if entries.first().is_some_and(|(index, ..)| *index == self.applied.index.next()) =>
            {
                self.taken = entries.into();
            }
            Ok(_) => {}
            Err(LoadFailure::Damaged) => return Err(HaltReason::Damaged { index: self.applied.index.next() }),
            Err(_) => {
                context.counters.loads_failed += 1;
                self.retry_at = Some(context.instant().after(context.settings.retry));
            }
        }
        Ok(())
    }

    /// Drops entries that were taken from the core or the disk but are no longer the next, because a snapshot has
    /// overtaken them.
    pub(super) fn forget_taken(&mut self) {
        self.taken.clear();
        self.loading = None;
        self.retry_at = None;
    }

    /// Applies the next entry, which [`check`] has accepted. `is_skipped` withholds a command from the state machine.
    ///
    /// # Errors
    /// When this node cannot apply it.
    pub(super) fn apply(
        &mut self,
        index: LogIndex,
        term: Term,
        entry: &Entry,
        is_skipped: bool,
    ) -> Result<Effect, HaltReason> {
        assert_eq!(index, self.applied.index.next(), "entries are applied in their order");
        self.budget.spend(entry.encoded_len());
        let header = entry.header;
        self.applied.term = self.applied.term.max(term);
        let log_time = header.log_time.max(self.applied.log_time);
        self.applied.log_time = log_time;
        self.applied.sessions.expire(log_time);
        let context = ApplyContext { index, log_time };
        let effect = match header.kind {
            EntryKind::Command => self.apply_command(context, entry, is_skipped)?,
            EntryKind::Tick => {
                self.applied.given = index;
                if index > self.applied.state_index {
                    self.run(index, |state| state.tick(context))?;
                }
                Effect::Applied(Bytes::new())
            }
            _ => self.applied.apply(index, entry)?,
        };
        self.applied.index = index;
        Ok(effect)
    }

    /// Ends the batch of the commands and ticks that were applied since the last call.
    ///
    /// # Errors
    /// When the state machine cannot store its state.
    pub(super) fn end_batch(&mut self) -> Result<(), HaltReason> {
        if !self.is_in_batch {
            return Ok(());
        }
        let ended = self.run(self.applied.index, S::end_batch);
        self.is_in_batch = false;
        ended
    }

    /// Checks a write to the log against what the state machine has stored.
    ///
    /// # Errors
    /// When it removes an entry whose effect the state machine has stored, which was then never committed.
    pub(super) fn check_write(&self, operations: &[Operation]) -> Result<(), HaltReason> {
        let stored = self.applied.state_index;
        let removed = operations.iter().find_map(|operation| match operation {
            Operation::TruncateFrom { index } if *index <= stored => Some(*index),
            _ => None,
        });
        removed
            .map_or(Ok(()), |index| Err(HaltReason::StateMachineAhead { applied: stored, committed: index.previous() }))
    }

    /// Returns the next log time at which something is due without a command.
    pub(super) fn next_due(&self) -> Option<LogTime> {
        self.state.next_deadline().into_iter().chain(self.applied.sessions.next_expiry()).min()
    }

    /// Returns the form of a snapshot of which no other node needs the content.
    pub(super) fn form(&self) -> SnapshotForm {
        if self.is_stored { SnapshotForm::WithoutState } else { SnapshotForm::WithState }
    }

    /// Returns a writer for a snapshot of the present state.
    pub(super) fn writer(&self, form: SnapshotForm) -> SnapshotWriter {
        let Applied { level, given, .. } = self.applied;
        content::writer::<S>(form, level, self.applied.sessions.clone(), given, self.state.snapshot())
    }

    /// Returns a reader for the content of a snapshot that covers `index`.
    pub(super) fn reader(&self, origin: Origin, index: LogIndex) -> SnapshotReader {
        let is_older = self.applied.state_index < index;
        content::reader::<S>(origin, is_older.then(|| self.state.restorer()))
    }

    /// Continues from a snapshot, and returns the old state machine if a new one has replaced it.
    ///
    /// # Errors
    /// When the snapshot requires a newer feature level, or lacks a state that the state machine has not stored.
    pub(super) fn install(&mut self, meta: &SnapshotMeta, restored: Restored<S>) -> Result<Option<S>, HaltReason> {
        let Restored { level, sessions, state } = restored;
        if level > FEATURE_LEVEL {
            return Err(HaltReason::FeatureLevel { index: meta.index, level });
        }
        let applied = self.applied.state_index;
        if let RestoredState::Stored(given) = state
            && applied < given
        {
            return Err(HaltReason::StateMachineBehind { applied, snapshot: given });
        }
        self.applied.sessions = sessions;
        self.applied.level = level;
        self.applied.index = meta.index;
        self.applied.term = meta.term;
        self.applied.log_time = meta.log_time;
        self.applied.configuration = Some(meta.configuration.clone());
        self.committed = self.committed.max(meta.index);
        match state {
            RestoredState::New(state) => {
                let old = std::mem::replace(&mut self.state, state);
                let installed = self.run(meta.index, |state| state.installed().map(|()| state.applied()));
                self.applied.given = installed?.unwrap_or(meta.index);
                Ok(Some(old))
            }
            RestoredState::Stored(given) => {
                self.applied.given = given;
                Ok(None)
            }
            RestoredState::Older => {
                self.applied.given = meta.index;
                Ok(None)
            }
        }
    }

    /// Returns the obstacle to applying the next entry.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        let next = self.applied.index.next();
        match (self.retry_at, self.loading) {
            (Some(_), _) => Some(Obstacle::LoadFailed(next)),
            (None, Some(_)) => Some(Obstacle::Loading(next)),
            (None, None) => None,
        }
    }

    fn run<R>(&mut self, index: LogIndex, run: impl FnOnce(&mut S) -> io::Result<R>) -> Result<R, HaltReason> {
        self.is_in_batch = true;
        guarded(index, || run(&mut self.state))
    }

    /// Applies a command, unless its session forbids it.
    fn apply_command(&mut self, context: ApplyContext, entry: &Entry, is_skipped: bool) -> Result<Effect, HaltReason> {
        let (header, command) = (&entry.header, entry.payload.clone());
        let is_known = context.index <= self.applied.state_index;
        let is_withheld = is_known || is_skipped;
        let given = if is_skipped && !is_known { self.applied.given } else { context.index };
        if header.acknowledged_below == 0 {
            self.applied.given = given;
            if is_withheld {
                return Ok(Effect::ResponseForgotten);
            }
            return self.run(context.index, |state| state.apply(context, command)).map(Effect::Applied);
        }
        match self.applied.sessions.admit(header.id, header.acknowledged_below, context.log_time) {
            SessionAdmission::Apply(session) if is_withheld => {
                self.applied.given = given;
                session.record_forgotten(header.id.sequence);
                Ok(Effect::ResponseForgotten)
            }
            SessionAdmission::Apply(session) => {
                self.applied.given = context.index;
                self.is_in_batch = true;
                let response = guarded(context.index, || self.state.apply(context, command))?;
                session.record(header.id.sequence, response.clone());
                Ok(Effect::Applied(response))
            }
            SessionAdmission::Duplicate(Some(response)) => Ok(Effect::Applied(response)),
            SessionAdmission::Duplicate(None) => Ok(Effect::ResponseForgotten),
            SessionAdmission::Expired => Ok(Effect::SessionExpired),
            SessionAdmission::Behind | SessionAdmission::Beyond => Ok(Effect::OutsideWindow),
        }
    }
}

/// Runs the state machine's own code. A panic or an error halts the group, and the entry is not skipped.
fn guarded<R>(index: LogIndex, run: impl FnOnce() -> io::Result<R>) -> Result<R, HaltReason> {
    let done = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let message = panic_message(&*panic);
        HaltReason::StateMachine { index, message }
    })?;
    done.map_err(|error| HaltReason::StateMachineFailed { index, message: error.to_string() })
}

impl Applied {
    pub(super) fn index(&self) -> LogIndex {
        self.index
    }

    pub(super) fn term(&self) -> Term {
        self.term
    }

    pub(super) fn log_time(&self) -> LogTime {
        self.log_time
    }

    pub(super) fn level(&self) -> u32 {
        self.level
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns the newest applied configuration; `None` if the members are not known yet.
    pub(super) fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// Returns the metadata of a snapshot of the present state; `None` if the members are not known yet, or the state
    /// machine has applied more than these entries.
    pub(super) fn snapshot_meta(&self) -> Option<SnapshotMeta> {
        let is_state_whole = self.index >= self.state_index;
        let configuration = self.configuration.clone().filter(|_| is_state_whole)?;
        Some(SnapshotMeta { index: self.index, term: self.term, log_time: self.log_time, configuration })
    }

    /// Applies an entry that does not concern the state machine.
    fn apply(&mut self, index: LogIndex, entry: &Entry) -> Result<Effect, HaltReason> {
        let header = entry.header;
        match header.kind {
            EntryKind::SessionOpen => match <[u8; 8]>::try_from(&entry.payload[..]) {
                Ok(timeout) => self.sessions.open(header.id, u64::from_le_bytes(timeout), self.log_time),
                Err(_) => return Ok(Effect::SessionExpired),
            },
            EntryKind::SessionClose => _ = self.sessions.close(header.id.session),
            EntryKind::NoOp => {}
            EntryKind::Configuration => {
                let unreadable = HaltReason::LawBroken("a committed configuration cannot be read");
                self.configuration = Some(Configuration::decode(&entry.payload).map_err(|_| unreadable)?);
            }
            EntryKind::FeatureLevel => {
                let bytes = <[u8; 4]>::try_from(&entry.payload[..]);
                let level = bytes.map_or(u32::MAX, u32::from_le_bytes);
                if level > FEATURE_LEVEL {
                    return Err(HaltReason::FeatureLevel { index, level });
                }
                self.level = self.level.max(level);
            }
            kind => return Err(HaltReason::Entry { index, error: EntryError::Kind(kind.code()) }),
        }
        Ok(Effect::Applied(Bytes::new()))
    }
}

impl Budget {
    fn new(settings: &ReplicaSettings) -> Self {
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

impl From<Effect> for Outcome {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Applied(response) => Self::Applied(response),
            Effect::ResponseForgotten => Self::Unknown { reason: Unknown::ResponseForgotten, retry: None },
            Effect::SessionExpired => Self::NotApplied(NotApplied::SessionExpired),
            Effect::OutsideWindow => Self::NotApplied(NotApplied::WindowPassed),
        }
    }
}

/// Checks that an entry is whole.
///
/// # Errors
/// When its command is damaged, or was elided.
pub(super) fn check(index: LogIndex, entry: &Entry) -> Result<(), HaltReason> {
    if entry.header.elided_length.is_some() || !entry.is_intact() {
        return Err(HaltReason::Damaged { index });
    }
    Ok(())
}

/// Bytes of entries that are taken from the core, or read from disk, at a time.
const BATCH_BYTES: usize = 256 << 10;
