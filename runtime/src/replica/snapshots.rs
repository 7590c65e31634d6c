//! Snapshots of this replica's own state: when they are made, the work after they are durable, and their restore.

use std::any::Any;
use std::io::{BufReader, BufWriter, Write};

use quorate_protocol::{
    HaltReason, Input, Instant, LogCommand, LogIndex, Operation, ReplicatedLog, Signal, SnapshotMeta, StorageLevel,
    Ticket,
};

use super::Replica;
use super::sizes::Sizes;
use super::transfer::{Received, Receiving, Sending};
use crate::group::hostable::Hostable;
use crate::group::interface::GroupOutput;
use crate::group::job::Job;
use crate::group::notice::Notice;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation, SnapshotReader, SnapshotWriter};
use crate::replica::sessions::{Sessions, read_header, write_header};
use crate::replica::state_machine::StateMachine;

/// Snapshots that are made, restored, sent and received.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The newest snapshot that is durable on this node.
    pub(super) newest: Option<SnapshotMeta>,
    building: Option<(Ticket, SnapshotMeta)>,
    restoring: Option<(Ticket, SnapshotMeta)>,
    /// Number of entries applied since the newest snapshot, and the bytes that they and their padding take in the log.
    entries: u64,
    bytes: u64,
    /// Sizes of the newest entries.
    sizes: Sizes,
    /// True if the log wants a snapshot, however little was applied since the last one.
    pub(super) is_wanted: bool,
    /// After a failure: the time before which no snapshot is made.
    retry_at: Option<Instant>,
    /// Snapshots below this index are deleted.
    deleted_before: LogIndex,
    /// The newest snapshot if its file is damaged. It is not sent, and a new one replaces it.
    damaged: Option<LogIndex>,
    /// A snapshot of this node that a peer found damaged and that is being verified.
    verifying: Option<(Ticket, LogIndex)>,
    /// A durable snapshot from the leader and its state machine. It takes effect once the log starts after it.
    ready: Option<(SnapshotMeta, Box<dyn Any + Send>)>,
    /// The last failed operation, as long as none of its kind succeeded since.
    pub(super) failure: Option<(LogIndex, String)>,
    /// Transfers to peers, one for each peer.
    pub(super) sending: Vec<Sending>,
    pub(super) receiving: Option<Receiving>,
    /// The snapshot that could not be received last, and the time before which it is not received again.
    pub(super) refused: Option<(SnapshotMeta, Instant)>,
    /// The snapshot that was received last, so that its sender can be answered again.
    pub(super) received: Option<Received>,
}

/// Result of a restore.
struct Restored<S> {
    level: u32,
    sessions: Sessions,
    /// `None` if the state machine itself has stored a newer state.
    state: Option<S>,
}

impl Snapshots {
    pub(super) fn note_applied(&mut self, index: LogIndex, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
        self.sizes.push(index, bytes as u64);
    }

    /// Counts the padding of a write to the log: each write starts in a new sector and fills its last one.
    pub(super) fn note_written(&mut self, operations: &[Operation]) {
        let bytes: usize = operations.iter().map(Operation::weight).sum();
        self.bytes += (bytes.next_multiple_of(SECTOR_BYTES) - bytes) as u64;
    }

    /// Index of the snapshot that is being restored.
    pub(super) fn restoring(&self) -> Option<LogIndex> {
        self.restoring.as_ref().map(|(_, snapshot)| snapshot.index)
    }

    /// Index of the snapshot that is being made.
    pub(super) fn building(&self) -> Option<LogIndex> {
        self.building.as_ref().map(|(_, snapshot)| snapshot.index)
    }

    /// Returns the next time at which work is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let sending = self.sending.iter().map(Sending::deadline);
        let receiving = self.receiving.as_ref().map(Receiving::deadline);
        sending.chain(receiving).chain(self.retry_at).min()
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    pub(super) fn is_restoring(&self) -> bool {
        self.snapshots.restoring.is_some()
    }

    /// Makes a snapshot if enough was applied since the last one, or the log wants one.
    pub(super) fn build_snapshot_if_due(&mut self) {
        let snapshots = &mut self.snapshots;
        if snapshots.retry_at.is_some_and(|at| at <= self.context.instant()) {
            snapshots.retry_at = None;
        }
        let is_large = snapshots.entries >= self.context.settings.snapshot_entries;
        let is_due = is_large || snapshots.bytes >= self.context.settings.snapshot_bytes || snapshots.is_wanted;
        let is_free = snapshots.building.is_none() && snapshots.restoring.is_none() && snapshots.retry_at.is_none();
        if !is_due || !is_free || self.halted.is_some() {
            return;
        }
        let newest = snapshots.newest.as_ref().map_or(LogIndex::ZERO, |newest| newest.index);
        if self.applied.index < newest || (self.applied.index == newest && snapshots.damaged.is_none()) {
            snapshots.is_wanted = false;
            return;
        }
        let is_state_whole = self.applied.index >= self.applied.state_index;
        let Some(configuration) = self.applied.configuration.clone().filter(|_| is_state_whole) else { return };
        let (index, term, log_time) = (self.applied.index, self.applied.term, self.applied.log_time);
        let meta = SnapshotMeta { index, term, log_time, configuration };
        let (state, sessions, level) = (self.state.snapshot(), self.sessions.clone(), self.applied.level);
        let write: SnapshotWriter = Box::new(move |out| {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
            write_header(level, &sessions, &mut out)?;
            S::write(state, &mut out)?;
            out.flush()
        });
        let ticket = self.context.operate(SnapshotOperation::Build { meta: meta.clone(), write });
        (self.snapshots.entries, self.snapshots.bytes) = (0, 0);
        self.snapshots.building = Some((ticket, meta));
    }

    /// Restores the state machine from a snapshot, off the loop. Nothing is applied meanwhile. A restore that is under
    /// way is superseded.
    pub(super) fn restore(&mut self, snapshot: SnapshotMeta) {
        let index = snapshot.index;
        if index <= self.applied.index || self.snapshots.restoring().is_some_and(|restoring| index <= restoring) {
            return;
        }
        self.forget_loaded();
        if let Some((_, state)) = self.snapshots.ready.take_if(|(ready, _)| *ready == snapshot) {
            self.snapshots.restoring = None;
            return self.on_restored(snapshot, Ok(SnapshotDone::Restored(state)));
        }
        let read = self.reader(index);
        let ticket = self.context.operate(SnapshotOperation::Restore { index, read });
        self.snapshots.restoring = Some((ticket, snapshot));
    }

    /// Returns a reader for the content of a snapshot that covers `index`.
    pub(super) fn reader(&self, index: LogIndex) -> SnapshotReader {
        let has_more = self.applied.state_index >= index;
        Box::new(move |from| {
            let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
            let (level, sessions) = read_header(&mut from)?;
            let state = if has_more { None } else { Some(S::restore(&mut from)?) };
            Ok(Box::new(Restored { level, sessions, state }) as Box<dyn Any + Send>)
        })
    }

    /// Keeps a durable snapshot from the leader with its state machine until the log starts after it.
    pub(super) fn keep_ready(&mut self, snapshot: SnapshotMeta, state: Box<dyn Any + Send>) {
        self.forget_ready(LogIndex(u64::MAX));
        self.snapshots.ready = Some((snapshot, state));
    }

    /// Frees a state machine that waits for an index up to `index`, because everything up to there is known to be
    /// committed.
    pub(super) fn forget_ready(&mut self, index: LogIndex) {
        if let Some((_, state)) = self.snapshots.ready.take_if(|(ready, _)| ready.index <= index) {
            self.free(state);
        }
    }

    pub(super) fn on_snapshot_done(&mut self, ticket: Ticket, result: Result<SnapshotDone, SnapshotFailure>) {
        if let Some((_, meta)) = self.snapshots.building.take_if(|(building, _)| *building == ticket) {
            return self.on_built(meta, result);
        }
        if let Some((_, meta)) = self.snapshots.restoring.take_if(|(restoring, _)| *restoring == ticket) {
            return self.on_restored(meta, result);
        }
        if let Some((_, index)) = self.snapshots.verifying.take_if(|(verifying, _)| *verifying == ticket) {
            return self.on_verified(index, result.err());
        }
        self.on_transfer_done(ticket, result);
    }

    fn on_built(&mut self, meta: SnapshotMeta, result: Result<SnapshotDone, SnapshotFailure>) {
        let is_in_place = self.snapshots.damaged == Some(meta.index);
        if self.snapshots.newest.as_ref().is_some_and(|newest| newest.index >= meta.index) && !is_in_place {
            // A snapshot from the leader has superseded it.
            return;
        }
        match result {
            Ok(SnapshotDone::Durable { length, .. }) => {
                let keep_from = self.keep_from(meta.index);
                self.snapshots.is_wanted = false;
                self.snapshots.damaged = None;
                self.snapshots.failure = None;
                self.snapshots.newest = Some(meta.clone());
                self.context.counters.snapshots_built += 1;
                let notice = Notice::SnapshotBuilt { index: meta.index, bytes: length };
                self.context.notice(notice);
                let command = LogCommand::Compact { snapshot: meta, keep_from };
                self.context.command(command);
                if self.storage == StorageLevel::Low {
                    // Free space is more important than peers that lag: they are sent the snapshot.
                    self.context.input(Input::Signal(Signal::CompactRequested));
                }
                self.delete_old_snapshots();
            }
            Ok(_) => self.on_build_failed(&meta, "the store gave another answer than was asked for".into()),
            Err(failure) => self.on_build_failed(&meta, format!("{failure:?}")),
        }
    }

    fn on_build_failed(&mut self, meta: &SnapshotMeta, reason: String) {
        self.snapshots.retry_at = Some(self.context.instant().after(self.context.settings.retry));
        self.snapshots.entries = self.context.settings.snapshot_entries;
        self.note_failure(meta.index, reason);
    }

    /// Reports a failed operation on a snapshot.
    pub(super) fn note_failure(&mut self, index: LogIndex, reason: String) {
        self.snapshots.failure = Some((index, reason.clone()));
        self.context.notice(Notice::SnapshotFailed { index, reason });
    }

    /// Returns true if the snapshot of this index must not be sent: its file is damaged, or is being verified.
    pub(super) fn is_doubtful(&self, index: LogIndex) -> bool {
        let snapshots = &self.snapshots;
        snapshots.damaged == Some(index) || snapshots.verifying.is_some_and(|(_, verifying)| verifying == index)
    }

    /// Verifies a snapshot that a peer found damaged: either this copy is damaged, or its transfer was.
    pub(super) fn verify(&mut self, index: LogIndex) {
        if self.snapshots.verifying.is_none() {
            let ticket = self.context.operate(SnapshotOperation::Verify { index });
            self.snapshots.verifying = Some((ticket, index));
        }
    }

    fn on_verified(&mut self, index: LogIndex, failure: Option<SnapshotFailure>) {
        match failure {
            Some(SnapshotFailure::Damaged | SnapshotFailure::Missing) => self.replace_damaged(index),
            Some(failure) => self.note_failure(index, format!("it could not be verified ({failure:?})")),
            None => {}
        }
    }

    /// Replaces a snapshot whose file is damaged. The state is in memory, so a new snapshot can be made.
    pub(super) fn replace_damaged(&mut self, index: LogIndex) {
        if self.snapshots.newest.as_ref().is_some_and(|newest| newest.index == index) {
            self.snapshots.damaged = Some(index);
            self.snapshots.is_wanted = true;
            self.snapshots.retry_at = None;
            self.note_failure(index, "its file is damaged: it is not sent, and a new one is made".into());
        }
    }

    fn on_restored(&mut self, meta: SnapshotMeta, result: Result<SnapshotDone, SnapshotFailure>) {
        let restored = match result {
            Ok(SnapshotDone::Restored(restored)) => restored.downcast::<Restored<S>>(),
            Ok(_) => return self.halt(&HaltReason::Restore("the store gave another answer".into())),
            Err(failure) => return self.halt(&HaltReason::Restore(format!("{failure:?}"))),
        };
        let Ok(restored) = restored else {
            return self.halt(&HaltReason::Restore("the store gave another state machine".into()));
        };
        let Restored { level, sessions, state } = *restored;
        if level > crate::replica::FEATURE_LEVEL {
            return self.halt(&HaltReason::FeatureLevel { index: meta.index, level });
        }
        if let Some(state) = state {
            let old = std::mem::replace(&mut self.state, state);
            self.free(old);
        }
        self.sessions = sessions;
        self.applied.level = level;
        self.applied.index = meta.index;
        self.applied.term = meta.term;
        self.applied.log_time = meta.log_time;
        self.applied.configuration = Some(meta.configuration.clone());
        (self.snapshots.entries, self.snapshots.bytes) = (0, 0);
        self.snapshots.sizes.clear();
        self.committed = self.committed.max(meta.index);
        self.catch_up.on_applied(meta.index, self.committed);
        self.context.notice(Notice::SnapshotInstalled { index: meta.index });
        let (index, term) = (meta.index, meta.term);
        self.snapshots.newest = Some(meta);
        self.snapshots.damaged = None;
        self.snapshots.failure = None;
        self.delete_old_snapshots();
        self.on_covered(index);
        // The entries that follow are of this term or a later one.
        self.on_later_term(index.next(), term);
    }

    /// Deletes snapshots that are neither the newest nor being sent.
    pub(super) fn delete_old_snapshots(&mut self) {
        let Some(newest) = &self.snapshots.newest else { return };
        let index = self.snapshots.sending.iter().map(Sending::index).fold(newest.index, LogIndex::min);
        if index > self.snapshots.deleted_before {
            self.snapshots.deleted_before = index;
            self.context.operate(SnapshotOperation::DeleteBefore { index });
        }
    }

    /// Returns the index after which entries stay in the log although a snapshot covers them, for peers that lag
    /// slightly.
    fn keep_from(&self, index: LogIndex) -> LogIndex {
        if self.snapshots.is_wanted || self.storage == StorageLevel::Low {
            return index;
        }
        let by_count = LogIndex(index.0.saturating_sub(self.context.settings.keep_entries));
        by_count.max(self.snapshots.sizes.keep_from(index, self.context.settings.keep_bytes))
    }

    /// Frees an old state off the loop, because freeing a large state takes long.
    fn free(&mut self, old: impl Send + 'static) {
        let ticket = self.context.ticket();
        let job = Job(Box::new(move || {
            drop(old);
            Box::new(())
        }));
        self.context.push(GroupOutput::Job { ticket, job });
    }
}

/// A write takes whole sectors of the log.
const SECTOR_BYTES: usize = 4096;
/// State machines write and read small pieces, but the store needs large ones.
const BUFFER_BYTES: usize = 256 << 10;
