//! Keeps the two copies of the checkpoint.

use std::io;

use crate::disk::Disk;
use crate::files::Files;
use crate::format::Checkpoint;
use crate::index::Index;
use crate::opening::copy_of;
use crate::wal::Head;

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
    pub(crate) fn update(&mut self, index: &Index<D::File>, oldest: u64, head: &Head<D::File>) {
        self.current.oldest_segment = oldest;
        self.current.newest_segment = head.segment;
        self.current.durable_lsn = head.durable_lsn;
        self.current.durable_chain = head.chain;
        self.current.seen_lsn = self.current.seen_lsn.max(head.next_lsn - 1);
        self.current.deleted = index.deleted.ranges();
        self.current.streams = index.streams.iter().map(|(id, stream)| (*id, stream.to_checkpoint())).collect();
    }

    /// Both copies are of this generation at least.
    pub(crate) fn durable_generation(&self) -> u64 {
        self.current.generation.saturating_sub(1)
    }

    /// Writes the copy that is older, durably.
    pub(crate) fn rewrite(&mut self) -> io::Result<()> {
        self.current.generation += 1;
        self.files.write_checkpoint(copy_of(self.current.generation), &self.current)
    }
}
