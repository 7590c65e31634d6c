//! Maintains the two copies of the checkpoint.

use std::io;

use crate::disk::Disk;
use crate::files::Files;
use crate::format::{Checkpoint, RecordLink};
use crate::index::Index;

/// The checkpoint as it was last written.
#[derive(Debug)]
pub(crate) struct Checkpoints<D: Disk> {
    files: Files<D>,
    current: Checkpoint,
}

/// The part of the log that is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurablePart {
    pub(crate) newest_segment: u64,
    /// The last record. It and all records before it are durable.
    pub(crate) last: RecordLink,
    /// The highest LSN that was ever written.
    pub(crate) seen_lsn: u64,
}

impl<D: Disk> Checkpoints<D> {
    pub(crate) fn new(files: Files<D>, current: Checkpoint) -> Self {
        Self { files, current }
    }

    /// Updates the checkpoint in memory with the state of the log, all of which must be durable.
    pub(crate) fn update(&mut self, index: &Index<D::File>, durable: DurablePart) {
        self.current.oldest_segment = index.oldest_segment().unwrap_or(durable.newest_segment);
        self.current.newest_segment = durable.newest_segment;
        self.current.durable_lsn = durable.last.lsn;
        self.current.durable_chain = durable.last.chain;
        self.current.seen_lsn = self.current.seen_lsn.max(durable.seen_lsn);
        self.current.deleted = index.deleted.ranges();
        self.current.streams = index.streams.iter().map(|(id, stream)| (*id, stream.to_checkpoint())).collect();
    }

    /// The highest LSN that was ever written, as of the last update.
    pub(crate) fn seen_lsn(&self) -> u64 {
        self.current.seen_lsn
    }

    /// A generation that both copies have reached.
    pub(crate) fn durable_generation(&self) -> u64 {
        self.current.generation.saturating_sub(1)
    }

    /// Writes the older copy, durably.
    pub(crate) fn rewrite(&mut self) -> io::Result<()> {
        self.current.generation += 1;
        self.files.write_checkpoint(&self.current)
    }

    /// Writes both copies, one after the other, so that an intact one exists at any moment. A record that is stored
    /// nowhere else must be in both, since one of them may rot.
    pub(crate) fn rewrite_both(&mut self) -> io::Result<()> {
        self.rewrite()?;
        self.rewrite()
    }
}
