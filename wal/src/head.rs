//! The place where the log is written.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::format::{BatchBuilder, RecordLink, SEGMENT_DATA_START, Witness};

/// The end of the newest segment.
#[derive(Debug)]
pub(crate) struct Head<F> {
    segment: u64,
    file: Arc<F>,
    /// Size of the file in bytes.
    bytes: u64,
    /// Offset of the next batch.
    offset: u64,
    /// The header CRC of the last record.
    chain: u32,
    /// The LSN of the next record. Above [`Head::written_lsn`], and by more than one after a cut.
    next_lsn: u64,
    /// The LSN of the last record.
    written_lsn: u64,
    /// The LSN of the last durable record.
    durable_lsn: u64,
    /// The highest LSN that a batch on disk states to be durable. At most [`Head::durable_lsn`].
    evident_lsn: u64,
    /// True if anything was written since the last sync.
    is_dirty: bool,
    /// True if anything was written since the last sync that counts only once it is durable.
    needs_sync: bool,
}

/// A segment file for a head.
#[derive(Debug)]
pub(crate) struct HeadSegment<F> {
    pub(crate) id: u64,
    pub(crate) file: Arc<F>,
    /// Size of the file in bytes.
    pub(crate) bytes: u64,
}

impl<F: DiskFile> Head<F> {
    /// A head behind `last`, which is durable. All LSNs up to `seen_lsn` may have been used.
    pub(crate) fn new(segment: HeadSegment<F>, offset: u64, last: RecordLink, seen_lsn: u64) -> Self {
        Self {
            segment: segment.id,
            file: segment.file,
            bytes: segment.bytes,
            offset,
            chain: last.chain,
            next_lsn: seen_lsn.max(last.lsn) + 1,
            written_lsn: last.lsn,
            durable_lsn: last.lsn,
            evident_lsn: last.lsn,
            is_dirty: false,
            needs_sync: false,
        }
    }

    /// Id of the segment.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// Size of the segment in bytes.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.bytes
    }

    /// The LSN of the next record.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// The last record.
    pub(crate) fn last(&self) -> RecordLink {
        RecordLink { lsn: self.written_lsn, chain: self.chain }
    }

    /// True if anything was written since the last sync.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// True if anything was written since the last sync that counts only once it is durable.
    pub(crate) fn needs_sync(&self) -> bool {
        self.needs_sync
    }

    /// Bytes of the segment that are written, from its start.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.offset
    }

    /// Returns true if more than half of the segment is written.
    pub(crate) fn is_half_full(&self) -> bool {
        self.offset * 2 > self.bytes
    }

    /// Returns true if the batch fits the segment.
    pub(crate) fn has_room(&self, batch: &BatchBuilder) -> bool {
        self.offset + batch.bytes_max() <= self.bytes
    }

    /// Seals a batch that fits the segment, and writes it. Returns its place.
    pub(crate) fn write(
        &mut self,
        batch: &mut BatchBuilder,
        checkpoint: u64,
        needs_sync: bool,
    ) -> io::Result<WrittenBatch> {
        let offset = self.offset;
        let last = batch.seal(self.segment, offset, self.next_lsn, self.chain, self.witness(checkpoint));
        self.file.write_at(offset, batch.bytes())?;
        self.offset += batch.bytes().len() as u64;
        self.chain = last.chain;
        self.written_lsn = last.lsn;
        self.next_lsn = last.lsn + 1;
        self.evident_lsn = self.durable_lsn;
        self.is_dirty = true;
        self.needs_sync |= needs_sync;
        Ok(WrittenBatch { offset, last })
    }

    /// Writes a marker at the place of the next batch, if there is room and no batch on disk has this proof. The next
    /// batch is written over it, and carries the same proof.
    pub(crate) fn write_marker(&mut self, batch: &mut BatchBuilder, checkpoint: u64) -> io::Result<()> {
        batch.start();
        if !self.has_room(batch) || self.evident_lsn >= self.durable_lsn {
            return Ok(());
        }
        batch.seal(self.segment, self.offset, self.next_lsn, self.chain, self.witness(checkpoint));
        self.evident_lsn = self.durable_lsn;
        self.file.write_at(self.offset, batch.bytes())
    }

    /// Makes everything written durable. Returns true if that took a sync.
    pub(crate) fn sync(&mut self) -> io::Result<bool> {
        let is_due = self.is_dirty;
        if is_due {
            self.file.sync_data()?;
        }
        self.is_dirty = false;
        self.needs_sync = false;
        self.durable_lsn = self.written_lsn;
        Ok(is_due)
    }

    /// Makes the next sync happen even if no batch was written, since a marker was.
    pub(crate) fn require_sync(&mut self) {
        self.is_dirty = true;
    }

    /// Goes on at the start of another segment.
    pub(crate) fn move_to(&mut self, segment: HeadSegment<F>) {
        self.segment = segment.id;
        self.file = segment.file;
        self.bytes = segment.bytes;
        self.offset = SEGMENT_DATA_START;
    }

    fn witness(&self, checkpoint: u64) -> Witness {
        Witness { prev_durable: self.durable_lsn, checkpoint }
    }
}

/// A batch that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenBatch {
    /// Offset in the segment.
    pub(crate) offset: u64,
    /// Its last record.
    pub(crate) last: RecordLink,
}
