//! Reads segments batch by batch and adds their records to the index.

use std::collections::VecDeque;

use super::evidence::{Finding, survey};
use super::progress::{Failure, Resume, SegmentFile};
use super::repair::{DamagedBatch, End};
use super::tail::{Doubt, Tail};
use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::format::{
    BATCH_HEADER_BYTES, BatchDamage, BatchDescription, BatchView, Record, RecordKind, RecordLink, SEGMENT_DATA_START,
    SegmentHeader, aligned, in_memory,
};
use crate::index::Index;
use crate::stream_id::StreamId;
use crate::window::Window;

/// One segment under scan.
pub(super) struct Scan<'a, F> {
    segment: SegmentFile<'a, F>,
    index: &'a mut Index<F>,
    pub(super) progress: RecordLink,
    /// The last record that was durable according to the checkpoint.
    anchor: RecordLink,
    /// The highest generation of the checkpoint that a batch of the segment states to have been durable.
    pub(super) checkpoint: u64,
    /// Number of batches whose damage hit only records with another copy.
    pub(super) repaired: u64,
    watch: &'a mut dyn FnMut(&Seen),
    /// Batches that nothing shows to be durable so far, oldest first.
    doubts: VecDeque<Doubt>,
    /// The place of the last batch, when it is a marker.
    marker: Option<Resume>,
}

/// A finding of a scan, in the order of the log.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "inspect"), expect(dead_code, reason = "only `inspect` looks at it"))]
pub(crate) enum Seen {
    /// A segment; its batches follow.
    Segment {
        header: SegmentHeader,
        /// Actual size of the file in bytes.
        length: u64,
    },
    /// A batch that counts.
    Batch { offset: u64, last_lsn: u64, header: BatchDescription },
    /// A batch that lost only records of which another copy is intact.
    Repaired { offset: u64, last_lsn: u64 },
}

/// The result of reading at the place of a batch.
enum Found {
    /// A batch; offset of the next one.
    Batch(u64),
    /// Not a batch that counts.
    Damage(BatchDamage),
}

impl<'a, F: DiskFile> Scan<'a, F> {
    pub(super) fn new(
        segment: SegmentFile<'a, F>,
        index: &'a mut Index<F>,
        progress: RecordLink,
        anchor: RecordLink,
        watch: &'a mut dyn FnMut(&Seen),
    ) -> Self {
        let doubts = VecDeque::new();
        Self { segment, index, progress, anchor, checkpoint: 0, repaired: 0, watch, doubts, marker: None }
    }

    /// Scans a segment that others follow: its last record's header CRC is `end_chain`, and its records lie below
    /// `end_lsn`.
    pub(super) fn sealed(&mut self, end_chain: u32, end_lsn: u64) -> Result<(), Failure> {
        let mut window = Window::new(self.segment.file, WINDOW_BYTES);
        let mut offset = SEGMENT_DATA_START;
        while self.progress.chain != end_chain {
            match self.batch(&mut window, offset)? {
                Found::Batch(next) => offset = next,
                Found::Damage(damage) => {
                    let finding = self.survey(offset)?;
                    let end = RecordLink { lsn: end_lsn.saturating_sub(1), chain: end_chain };
                    offset = self.mend(offset, &damage, &finding, End::Sealed(end))?;
                }
            }
        }
        Ok(())
    }

    /// Scans the last segment. Everything up to `durable_lsn` is known to have been durable.
    pub(super) fn last(&mut self, durable_lsn: u64) -> Result<Tail, Failure> {
        let mut window = Window::new(self.segment.file, WINDOW_BYTES);
        let mut offset = SEGMENT_DATA_START;
        loop {
            match self.batch(&mut window, offset)? {
                Found::Batch(next) => offset = next,
                Found::Damage(damage) => {
                    let mut finding = self.survey(offset)?;
                    if durable_lsn.max(finding.durable_lsn) <= self.progress.lsn {
                        self.dispel(durable_lsn.max(finding.durable_lsn));
                        let seen_lsn = finding.seen_lsn.max(self.progress.lsn);
                        // Nothing may refer to a marker, which may not have been synced: the next batch takes its
                        // place.
                        if let Some(marker) = self.marker {
                            (offset, self.progress) = (marker.offset, marker.progress);
                        }
                        return Ok(Tail {
                            doubt: self.doubts.front().copied(),
                            offset,
                            cut_end: finding.end,
                            seen_lsn,
                            states: std::mem::take(&mut finding.states),
                        });
                    }
                    offset = self.mend(offset, &damage, &finding, End::Durable(durable_lsn))?;
                }
            }
        }
    }

    /// Looks for evidence behind damage.
    fn survey(&mut self, offset: u64) -> Result<Finding, Failure> {
        let finding = survey(self.segment, offset, self.progress.lsn)?;
        self.checkpoint = self.checkpoint.max(finding.checkpoint);
        Ok(finding)
    }

    fn batch(&mut self, window: &mut Window<'a, F>, offset: u64) -> Result<Found, Failure> {
        let start = window.bytes(offset, BATCH_HEADER_BYTES)?;
        let damage = BatchDamage { offset, record: Record::guess(start) };
        let Some(header) = BatchDescription::read(start, self.segment.id, offset) else {
            return Ok(Found::Damage(damage));
        };
        let end = offset + aligned(header.bytes);
        let follows = header.predecessor == self.progress.chain && header.first_lsn > self.progress.lsn;
        if !follows || end > self.segment.length || header.bytes > self.segment.length {
            return Ok(Found::Damage(damage));
        }
        let bytes = window.bytes(offset, in_memory(end - offset))?;
        match BatchView::read(bytes, &header, self.segment.id, offset, self.progress.chain) {
            Ok(batch) => {
                self.index.add_batch(&batch, self.segment.id, header.bytes);
                self.doubts.push_back(Doubt { offset, before: self.progress, last_lsn: batch.last.lsn });
                self.marker = header.is_marker().then_some(Resume { offset, progress: self.progress });
                // A marker holds nothing that could be lost.
                self.dispel(if header.is_marker() { batch.last.lsn } else { header.witness.prev_durable });
                self.checkpoint = self.checkpoint.max(header.witness.checkpoint);
                (self.watch)(&Seen::Batch { offset, last_lsn: batch.last.lsn, header });
                self.go_on(offset, batch.last)?;
                Ok(Found::Batch(end))
            }
            Err(damage) => Ok(Found::Damage(damage)),
        }
    }

    /// Moves on behind the batch at `offset`, which counts. It must end with the last durable record or leave it ahead.
    /// If it leads past that record, or another record has its LSN, this file is from a time whose tail was lost.
    fn go_on(&mut self, offset: u64, to: RecordLink) -> Result<(), Failure> {
        let is_passed = (self.progress.lsn + 1..=to.lsn).contains(&self.anchor.lsn);
        self.progress = to;
        if is_passed && to != self.anchor {
            let what = "the bytes are not those that were durable here according to the checkpoint";
            let segment = self.segment.id;
            return Err(Failure::Corrupt(OpenError::Corrupt {
                stream: StreamId(0),
                position: 0,
                segment,
                offset,
                what,
            }));
        }
        Ok(())
    }

    /// Removes from the doubts the batches that were durable.
    fn dispel(&mut self, durable_lsn: u64) {
        while self.doubts.front().is_some_and(|doubt| doubt.last_lsn <= durable_lsn) {
            self.doubts.pop_front();
        }
    }

    /// Goes on past damage to what was durable, if everything lost has another intact copy. Returns the offset at which
    /// to go on.
    fn mend(&mut self, offset: u64, damage: &BatchDamage, finding: &Finding, end: End) -> Result<u64, Failure> {
        let batch = DamagedBatch { segment: self.segment, offset, before: self.progress, finding, end };
        if let Some(Resume { offset: next, progress }) = batch.repair(self.index)? {
            self.repaired += 1;
            self.progress = progress;
            self.dispel(progress.lsn);
            self.marker = None;
            (self.watch)(&Seen::Repaired { offset, last_lsn: progress.lsn });
            return Ok(next);
        }
        Err(Failure::Corrupt(self.corrupt(damage, finding)))
    }

    /// Describes the damage by the record it hit, or by the nearest one that can be read.
    fn corrupt(&self, damage: &BatchDamage, finding: &Finding) -> OpenError {
        let names_stream = |record: &&Record| !matches!(record.kind, RecordKind::Begin | RecordKind::Commit);
        // A damaged header may name a stream that never existed. Then its neighbours are more reliable.
        let is_known = |record: &&Record| self.index.streams.contains_key(&record.stream);
        let guess = damage.record.as_ref().filter(names_stream);
        let record = guess.filter(is_known).or(finding.nearest.as_ref()).or(guess);
        OpenError::Corrupt {
            stream: StreamId(record.map_or(0, |record| record.stream)),
            position: record.map_or(0, |record| record.position),
            segment: self.segment.id,
            offset: damage.offset,
            what: "the bytes are not those that were written, and later records show that they were durable",
        }
    }
}

const WINDOW_BYTES: usize = 1 << 20;
