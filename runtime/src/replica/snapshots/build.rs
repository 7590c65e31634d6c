//! Snapshots that are made from this replica's own state.

use quorate_protocol::{Instant, LogIndex, ReplicatedLog, SnapshotMeta, StorageLevel, Ticket};

use super::growth::Growth;
use crate::group::snapshot::SnapshotOperation;
use crate::replica::application::Application;
use crate::replica::context::Context;
use crate::replica::sessions::SnapshotForm;
use crate::replica::settings::ReplicaSettings;
use crate::replica::state_machine::StateMachine;

/// The snapshot that is being made, and the reasons to make the next one.
#[derive(Debug)]
pub(super) struct Build {
    under_way: Option<Building>,
    growth: Growth,
    /// True if the log wants a snapshot, however little was applied since the last one.
    is_wanted: bool,
    /// After a failure: the time before which no snapshot is made.
    retry_at: Option<Instant>,
    storage: StorageLevel,
}

#[derive(Debug)]
struct Building {
    ticket: Ticket,
    meta: SnapshotMeta,
    form: SnapshotForm,
}

impl Build {
    pub(super) fn new() -> Self {
        Self {
            under_way: None,
            growth: Growth::default(),
            is_wanted: false,
            retry_at: None,
            storage: StorageLevel::Enough,
        }
    }

    /// Index of the snapshot that is being made.
    pub(super) fn index(&self) -> Option<LogIndex> {
        self.under_way.as_ref().map(|building| building.meta.index)
    }

    pub(super) fn growth(&mut self) -> &mut Growth {
        &mut self.growth
    }

    /// The log wants a snapshot.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// The newest snapshot must be replaced, without a pause.
    pub(super) fn want_at_once(&mut self) {
        self.is_wanted = true;
        self.retry_at = None;
    }

    /// Allows a snapshot to be made again without a pause after a failure.
    pub(super) fn allow_retry(&mut self) {
        self.retry_at = None;
    }

    /// The snapshot that was wanted exists.
    pub(super) fn on_fulfilled(&mut self) {
        self.is_wanted = false;
    }

    /// The disk's reserve is used up, or is available again.
    pub(super) fn on_storage(&mut self, level: StorageLevel) {
        if level == StorageLevel::Low && self.storage != level {
            // This group can free only the part of the log that a snapshot can replace.
            self.is_wanted = true;
        }
        self.storage = level;
    }

    pub(super) fn is_disk_low(&self) -> bool {
        self.storage == StorageLevel::Low
    }

    /// Returns true if a snapshot is due, and none is being made. `is_asked` is true if a caller wants one.
    pub(super) fn is_due(&mut self, now: Instant, settings: &ReplicaSettings, is_asked: bool) -> bool {
        self.retry_at.take_if(|at| *at <= now);
        let is_due = is_asked || self.is_wanted || self.growth.is_large(settings);
        is_due && self.under_way.is_none() && self.retry_at.is_none()
    }

    /// Begins to make a snapshot of the present state, off the loop.
    pub(super) fn begin<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &mut Context<L>,
        application: &Application<S>,
        meta: SnapshotMeta,
        form: SnapshotForm,
    ) {
        let write = application.writer(form);
        let ticket = context.operate(SnapshotOperation::Build { meta: meta.clone(), write });
        self.growth.on_begun();
        self.under_way = Some(Building { ticket, meta, form });
    }

    /// Ends the snapshot of this ticket, and returns its metadata and its form.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<(SnapshotMeta, SnapshotForm)> {
        let building = self.under_way.take_if(|building| building.ticket == ticket)?;
        Some((building.meta, building.form))
    }

    /// The snapshot could not be made. It is made again after a pause.
    pub(super) fn on_failed(&mut self, now: Instant, settings: &ReplicaSettings) {
        self.retry_at = Some(now.after(settings.retry));
        self.growth.on_failed(settings);
    }

    /// Returns the index after which entries stay in the log although a snapshot up to `index` covers them.
    pub(super) fn keep_from(&self, index: LogIndex, settings: &ReplicaSettings) -> LogIndex {
        if self.is_wanted || self.is_disk_low() { index } else { self.growth.keep_from(index, settings) }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}
