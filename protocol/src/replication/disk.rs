//! The state of this node's disk: its room, and the write that is under way.

use std::time::Duration;

use crate::replication::Settings;
use crate::{DiskState, Instant, StorageLevel};

/// The times that show whether the disk lets this node serve.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// The time of the last change of the room on the disk.
    level_since: Instant,
    /// The time at which the write under way was handed out, if there is one.
    writing_since: Option<Instant>,
    /// Time for which a disk may have too little room, or a write may be under way, before another node should lead.
    patience: Duration,
}

impl Disk {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        Self { level_since: now, writing_since: None, patience: settings.election_timeout_max * 2 }
    }

    /// Notes that the room on the disk changed.
    pub(crate) fn note_level(&mut self, now: Instant) {
        self.level_since = now;
    }

    /// Notes that a write was handed out.
    pub(crate) fn note_write(&mut self, now: Instant) {
        self.writing_since = Some(now);
    }

    /// Notes that no write is under way.
    pub(crate) fn note_idle(&mut self) {
        self.writing_since = None;
    }

    /// Returns true if leadership was offered to another node at `at` because of the write that is under way.
    pub(crate) fn was_offered(&self, at: Instant) -> bool {
        self.writing_since.is_some_and(|since| at > since)
    }

    /// Returns the time at which the write under way makes the disk count as stalled.
    pub(crate) fn stalled_at(&self) -> Option<Instant> {
        self.writing_since.map(|since| since.after(self.patience))
    }

    /// Returns true if a write has been under way for longer than the disk may take.
    pub(crate) fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_at().is_some_and(|at| at <= now)
    }

    /// Returns the time at which a leader with too little room offers leadership to another node, if it last did so at
    /// `offered_at`.
    pub(crate) fn low_until(&self, level: StorageLevel, offered_at: Instant) -> Option<Instant> {
        (level == StorageLevel::Low).then(|| self.level_since.max(offered_at).after(self.patience))
    }

    /// Returns the end of the patience that began at `since`.
    pub(crate) fn patience_end(&self, since: Instant) -> Instant {
        since.after(self.patience)
    }

    /// Returns the state of the disk.
    pub(crate) fn state(&self, level: StorageLevel, now: Instant) -> DiskState {
        match level {
            _ if self.is_stalled(now) => DiskState::Stalled,
            StorageLevel::Low => DiskState::Low,
            StorageLevel::Enough => DiskState::Ready,
        }
    }
}
