//! Reads segments batch by batch and takes note of what they hold.

use std::io;

use super::evidence::{Finding, survey};
use super::repair::repair;
use super::window::Window;
use crate::disk::DiskFile;
use crate::format::{
    BatchDamage, BatchHeader, BatchView, RECORD_HEADER_BYTES, Record, RecordKind, SEGMENT_DATA_START, SegmentHeader,
    aligned, in_memory,
};
use crate::index::{Index, Place};
use crate::{OpenError, StreamId};

/// Where a scan stands: the last batch that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) lsn: u64,
    pub(crate) chain: u32,
}

/// One segment under scan.
pub(super) struct Scan<'a, F> {
    pub(super) file: &'a F,
    pub(super) segment: u64,
    /// Bytes of the file as it is.
    pub(super) length: u64,
    pub(super) index: &'a mut Index<F>,
    pub(super) progress: Progress,
    /// Batches whose damage hit nothing but state records with a sound copy.
    pub(super) repaired: u64,
    pub(super) watch: &'a mut dyn FnMut(&Seen),
}

/// What a scan comes by, in the order of the log.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "inspect"), expect(dead_code, reason = "only `inspect` looks at it"))]
pub(crate) enum Seen {
    /// A segment; its batches follow.
    Segment {
        header: SegmentHeader,
        /// Bytes of the file as it is.
        length: u64,
    },
    /// A batch that counts.
    Batch { offset: u64, last_lsn: u64, header: BatchHeader },
    /// A batch that lost nothing but what was there twice.
    Repaired { offset: u64, last_lsn: u64 },
}

/// What stands behind the last batch of the last segment.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Where the next batch will stand.
    pub(crate) offset: u64,
    /// One behind the last byte of a batch that was cut; nothing when there was none.
    pub(crate) cut_end: Option<u64>,
    /// The highest LSN seen there.
    pub(crate) seen_lsn: u64,
    /// State records found there, oldest first.
    pub(crate) states: Vec<(Record, Vec<u8>)>,
}

/// Why a scan ended.
pub(super) enum Failure {
    Io(io::Error),
    Corrupt(OpenError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What stands where a batch should.
enum Found {
    /// A batch; where the next one stands.
    Batch(u64),
    /// Not a batch that counts.
    Damage(BatchDamage),
}

impl<F: DiskFile> Scan<'_, F> {
    /// Scans a segment that others follow: its last record's header CRC is `end_chain`, and its records lie below `end_lsn`.
    pub(super) fn sealed(&mut self, end_chain: u32, end_lsn: u64) -> Result<(), Failure> {
        let mut window = Window::new(self.file, WINDOW_BYTES);
        let mut offset = SEGMENT_DATA_START;
        while self.progress.chain != end_chain {
            match self.batch(&mut window, offset)? {
                Found::Batch(next) => offset = next,
                Found::Damage(damage) => {
                    let finding = survey(self.file, self.segment, offset, self.length, self.progress.lsn)?;
                    let end = Progress { lsn: end_lsn.saturating_sub(1), chain: end_chain };
                    offset = self.mend(offset, &damage, &finding, Some(end))?;
                }
            }
        }
        Ok(())
    }

    /// Scans the last segment. Everything up to `durable_lsn` is known to have been durable.
    pub(super) fn last(&mut self, durable_lsn: u64) -> Result<Tail, Failure> {
        let mut window = Window::new(self.file, WINDOW_BYTES);
        let mut offset = SEGMENT_DATA_START;
        loop {
            match self.batch(&mut window, offset)? {
                Found::Batch(next) => offset = next,
                Found::Damage(damage) => {
                    let mut finding = survey(self.file, self.segment, offset, self.length, self.progress.lsn)?;
                    if durable_lsn.max(finding.durable_lsn) <= self.progress.lsn {
                        return Ok(Tail {
                            offset,
                            cut_end: finding.end,
                            seen_lsn: finding.seen_lsn.max(self.progress.lsn),
                            states: std::mem::take(&mut finding.states),
                        });
                    }
                    offset = self.mend(offset, &damage, &finding, None)?;
                }
            }
        }
    }

    fn batch(&mut self, window: &mut Window<'_, F>, offset: u64) -> Result<Found, Failure> {
        let start = window.bytes(offset, BATCH_HEADER_BYTES)?;
        let damage = BatchDamage { offset, record: Record::guess(start) };
        let Some(header) = BatchHeader::read(start, self.segment, offset) else { return Ok(Found::Damage(damage)) };
        let end = offset + aligned(header.bytes);
        let follows = header.predecessor == self.progress.chain && header.first_lsn > self.progress.lsn;
        if !follows || end > self.length || header.bytes > self.length {
            return Ok(Found::Damage(damage));
        }
        let bytes = window.bytes(offset, in_memory(end - offset))?;
        match BatchView::read(bytes, &header, self.segment, offset, self.progress.chain) {
            Ok(batch) => {
                take_note(self.index, &batch, self.segment, header.bytes);
                (self.watch)(&Seen::Batch { offset, last_lsn: batch.last_lsn, header });
                self.progress = Progress { lsn: batch.last_lsn, chain: batch.chain };
                Ok(Found::Batch(end))
            }
            Err(damage) => Ok(Found::Damage(damage)),
        }
    }

    /// Gets past damage below what was durable, where it hit nothing that has no sound copy. Says where to go on.
    fn mend(
        &mut self,
        offset: u64,
        damage: &BatchDamage,
        finding: &Finding,
        end: Option<Progress>,
    ) -> Result<u64, Failure> {
        if let Some((next, progress)) = repair(self, offset, finding, end)? {
            self.repaired += 1;
            self.progress = progress;
            (self.watch)(&Seen::Repaired { offset, last_lsn: progress.lsn });
            return Ok(next);
        }
        Err(Failure::Corrupt(self.corrupt(damage, finding)))
    }

    /// Names the damage: by the record it hit, or by the nearest one that can be read.
    fn corrupt(&self, damage: &BatchDamage, finding: &Finding) -> OpenError {
        let names_stream = |record: &&Record| !matches!(record.kind, RecordKind::Begin | RecordKind::Commit);
        // A damaged header may name a stream that never was; its neighbours tell better then.
        let is_known = |record: &&Record| self.index.streams.contains_key(&record.stream);
        let guess = damage.record.as_ref().filter(names_stream);
        let record = guess.filter(is_known).or(finding.nearest.as_ref()).or(guess);
        OpenError::Corrupt {
            stream: StreamId(record.map_or(0, |record| record.stream)),
            position: record.map_or(0, |record| record.position),
            segment: self.segment,
            offset: damage.offset,
            what: "the bytes are not those that were written, and later records show that they were durable",
        }
    }
}

/// Takes note of all records of a batch.
pub(crate) fn take_note<F>(index: &mut Index<F>, batch: &BatchView<'_>, segment: u64, batch_bytes: u64) {
    for (record, offset, payload) in batch.records() {
        index.apply(&record, payload, place_of(&record, segment, offset, batch_bytes));
    }
}

/// A record's place, and its share of what its batch takes on disk.
pub(super) fn place_of(record: &Record, segment: u64, offset: u64, batch_bytes: u64) -> Place {
    let charge = record.stored_len() * aligned(batch_bytes) / batch_bytes.max(1);
    Place {
        segment,
        offset: u32::try_from(offset).expect("segments are below 4 GiB"),
        charge: u32::try_from(charge).expect("batches are far below 4 GiB"),
    }
}

/// Of the record that opens a batch.
pub(super) const BATCH_HEADER_BYTES: usize = RECORD_HEADER_BYTES + 8;
const WINDOW_BYTES: usize = 1 << 20;
