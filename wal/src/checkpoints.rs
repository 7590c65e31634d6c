//! Keeps the two copies of the checkpoint.

use std::io;

use crate::disk::Disk;
use crate::files::Files;
use crate::format::Checkpoint;
use crate::index::Index;
use crate::recovery::copy_of;

/// The checkpoint as it was last written.
#[derive(Debug)]
pub(crate) struct Checkpoints<D: Disk> {
    files: Files<D>,
    current: Checkpoint,
}

impl<D: Disk> Checkpoints<D> {
    pub(crate) fn new(files: Files<D>, current: Checkpoint) -> Self {
        Self { files, current }
    }

    /// Takes over what the log knows now, all of which must be durable.
    pub(crate) fn update(&mut self, index: &Index<D::File>, oldest: u64, newest: u64, durable: u64, next_lsn: u64) {
        self.current.oldest_segment = oldest;
        self.current.newest_segment = newest;
        self.current.durable_lsn = durable;
        self.current.seen_lsn = self.current.seen_lsn.max(next_lsn - 1);
        self.current.deleted = index.deleted.ranges();
        self.current.streams = index.streams.iter().map(|(id, stream)| (*id, stream.to_checkpoint())).collect();
    }

    /// Writes the copy that is older, durably.
    pub(crate) fn rewrite(&mut self) -> io::Result<()> {
        self.current.generation += 1;
        self.files.write_checkpoint(copy_of(self.current.generation), &self.current)
    }
}
