//! Fills segment files on a thread other than the log's.

use std::io;
use std::sync::PoisonError;

use super::Spares;
use crate::disk::Disk;

/// Fills the next segment of a log on a thread of its own, so that no batch waits for it.
///
/// The log says how far the file is to be filled ([`Spares::want`]), so that the disk has no more of this work at a
/// time than the log's own progress calls for. If the log needs the file earlier, it completes the file itself.
pub(crate) struct SegmentMaker<D: Disk> {
    pub(super) spares: Spares<D>,
}

impl<D: Disk> SegmentMaker<D> {
    /// From now on the log leaves the filling to this maker.
    pub(crate) fn new(spares: Spares<D>) -> Self {
        spares.state().is_made_elsewhere = true;
        Self { spares }
    }

    /// Fills files until [`SegmentMaker::close`] is called. `on_news` is called when the log is to be told something:
    /// that it is low on room, or no longer, or that the disk failed.
    pub(crate) fn run(&self, on_news: impl Fn()) {
        while self.wait() {
            if self.make_part() {
                on_news();
            }
        }
    }

    /// Fills the next file a part further, if the log wants it. Returns true if there is news for the log.
    pub(crate) fn make_part(&self) -> bool {
        let was_low = self.spares.is_low();
        let outcome = if self.spares.state().is_wanted() { self.spares.fill(PART_BYTES) } else { Ok(()) };
        let is_low = self.spares.is_low();
        if outcome.is_err() || (is_low && !self.spares.is_filling()) {
            // Nothing more before the log asks again.
            self.spares.state().wanted = 0;
        }
        let has_failed = outcome.is_err();
        if let Err(error) = outcome {
            self.spares.state().failure = Some(error);
        }
        has_failed || was_low != is_low
    }

    /// Reports a failure that is not the disk's.
    pub(crate) fn fail(&self, reason: String) {
        self.spares.state().failure = Some(io::Error::other(reason));
    }

    /// Makes [`SegmentMaker::run`] return after the part that it is at.
    pub(crate) fn close(&self) {
        self.spares.state().is_closed = true;
        self.spares.inner.changed.notify_all();
    }

    /// Waits until the log wants more of the next file. Returns false once it is closed.
    fn wait(&self) -> bool {
        let mut state = self.spares.state();
        while !state.is_closed && !state.is_wanted() {
            state = self.spares.inner.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_closed
    }
}

impl<D: Disk> Clone for SegmentMaker<D> {
    fn clone(&self) -> Self {
        Self { spares: self.spares.clone() }
    }
}

/// Bytes that are written and synced at once. Few enough not to hold up for long a log that needs the file.
const PART_BYTES: u64 = 256 * 1024;
