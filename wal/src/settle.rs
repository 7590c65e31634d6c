//! What can wait until the writers were told: proof, the next segment, freeing old ones.

use std::io;

use crate::disk::Disk;
use crate::format::RecordKind;
use crate::{Poisoned, Refusal, StreamId, Wal, WriteError};

impl<D: Disk> Wal<D> {
    /// Does what can wait: frees segments nobody needs, moves what pins one, prepares the next one a little further,
    /// and when the log `is_idle` leaves proof of what is durable, at no sync. To be called after each [`Wal::sync`],
    /// when those who waited for it were told; and now and then while the log is low on room, though nothing is
    /// written: only this call finds out that there is room again.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn settle(&mut self, is_idle: bool) -> Result<(), Poisoned> {
        self.check_poison()?;
        self.free_segments()?;
        self.relocate()?;
        if self.head.offset * 2 > self.head.bytes || self.spares.is_low() {
            let filled = self.spares.fill(FILL_BYTES);
            filled.map_err(|error| self.poison("making a segment", &error))?;
        }
        if is_idle { self.write_marker() } else { Ok(()) }
    }

    /// Deletes a stream and all it holds. Its id is never used again. Durable after the next [`Wal::sync`].
    ///
    /// # Errors
    /// When the stream was deleted before, the disk is full, or the log failed.
    pub fn delete_stream(&mut self, stream: StreamId) -> Result<(), WriteError> {
        self.check_poison()?;
        if self.index().deleted.contains(stream.0) {
            return Err(Refusal::Deleted.into());
        }
        self.builder.start();
        self.builder.push(RecordKind::StreamDeleted, stream.0, 0, 0, &[]);
        self.make_room()??;
        Ok(self.write_batch(true)?)
    }

    /// Frees the oldest segments as far as nobody needs anything in them.
    pub(crate) fn free_segments(&mut self) -> Result<(), Poisoned> {
        let (oldest, needed) = {
            let index = self.index();
            let oldest = index.segments.keys().next().copied().unwrap_or(self.head.segment);
            (oldest, index.live.oldest().unwrap_or(u64::MAX).min(self.head.segment))
        };
        if oldest >= needed {
            return Ok(());
        }
        self.sync_all()?;
        let freed = {
            let mut index = self.index_mut();
            let kept = index.segments.split_off(&needed);
            std::mem::replace(&mut index.segments, kept)
        };
        let outcome = self.write_both_checkpoints().and_then(|()| {
            for (id, segment) in &freed {
                self.spares.offer(*id, segment.bytes)?;
            }
            self.files.sync_dir()
        });
        self.metrics.freed_segments += freed.len() as u64;
        outcome.map_err(|error| self.poison("freeing a segment", &error))
    }

    /// What lies nowhere else must lie in both copies: one of them may rot.
    pub(crate) fn write_both_checkpoints(&mut self) -> io::Result<()> {
        self.write_checkpoint()?;
        self.write_checkpoint()
    }
}

/// Small enough not to hold up the next batch.
const FILL_BYTES: u64 = 256 * 1024;
