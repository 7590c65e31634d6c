//! The sequence of segment files: begins the next one, frees the oldest ones, and updates the checkpoint.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use quorate_protocol::Identity;

use crate::checkpoints::{Checkpoints, DurablePart};
use crate::disk::{Disk, DiskFile};
use crate::files::{Files, segment_name};
use crate::format::SegmentHeader;
use crate::head::{Head, HeadSegment};
use crate::index::{Segment, SharedIndex};
use crate::spares::Spares;

/// Creates, renames and frees the segments of a log.
pub(crate) struct Roll<D: Disk> {
    files: Files<D>,
    identity: Identity,
    spares: Spares<D>,
    checkpoints: Checkpoints<D>,
}

impl<D: Disk> Roll<D> {
    pub(crate) fn new(files: Files<D>, identity: Identity, spares: Spares<D>, checkpoints: Checkpoints<D>) -> Self {
        Self { files, identity, spares, checkpoints }
    }

    /// The segment files prepared in advance.
    pub(crate) fn spares(&self) -> &Spares<D> {
        &self.spares
    }

    /// A generation that both copies of the checkpoint have reached.
    pub(crate) fn durable_generation(&self) -> u64 {
        self.checkpoints.durable_generation()
    }

    /// The name of a file for the next segment, which is made now if none is ready.
    pub(crate) fn take_spare(&self) -> io::Result<String> {
        self.spares.take()
    }

    /// Prepares the next segment a little further.
    pub(crate) fn fill(&self, bytes: u64) -> io::Result<()> {
        self.spares.fill(bytes)
    }

    /// Turns a spare file into the segment behind the head, durably, with everything needed to find it.
    pub(crate) fn begin(&self, spare: &str, head: &Head<D::File>) -> io::Result<HeadSegment<D::File>> {
        let id = head.segment() + 1;
        let bytes = self.spares.segment_bytes();
        let identity = self.identity;
        let header = SegmentHeader { identity, id, first_lsn: head.next_lsn(), bytes, chain: head.last().chain };
        let file = self.files.disk.open(&self.files.path(spare))?;
        file.write_at(0, &header.encode())?;
        file.sync_all()?;
        self.files.rename(spare, &segment_name(id))?;
        self.files.sync_dir()?;
        Ok(HeadSegment { id, file: Arc::new(file), bytes })
    }

    /// Writes both copies of the checkpoint, and then frees segments that are no longer in the index. Everything
    /// written must be durable.
    pub(crate) fn free(
        &mut self,
        freed: &BTreeMap<u64, Segment<D::File>>,
        index: &SharedIndex<D::File>,
        head: &Head<D::File>,
    ) -> io::Result<()> {
        self.write_both_checkpoints(index, head)?;
        for (id, segment) in freed {
            self.spares.offer(*id, segment.bytes)?;
        }
        self.files.sync_dir()
    }

    /// Writes the older copy of the checkpoint. Everything written must be durable.
    pub(crate) fn write_checkpoint(&mut self, index: &SharedIndex<D::File>, head: &Head<D::File>) -> io::Result<()> {
        self.update(index, head);
        self.checkpoints.rewrite()
    }

    /// Writes both copies of the checkpoint. Everything written must be durable.
    pub(crate) fn write_both_checkpoints(
        &mut self,
        index: &SharedIndex<D::File>,
        head: &Head<D::File>,
    ) -> io::Result<()> {
        self.update(index, head);
        self.checkpoints.rewrite_both()
    }

    fn update(&mut self, index: &SharedIndex<D::File>, head: &Head<D::File>) {
        assert!(!head.is_dirty(), "a checkpoint holds only what is durable");
        let durable = DurablePart { newest_segment: head.segment(), last: head.last(), seen_lsn: head.next_lsn() - 1 };
        self.checkpoints.update(&index.read(), durable);
    }
}
