//! Reads segments batch by batch and takes note of what they hold.

use std::collections::VecDeque;
use std::io;

use super::evidence::{Finding, survey};
use super::repair::{End, repair};
use crate::disk::DiskFile;
use crate::format::{
    BatchDamage, BatchHeader, BatchView, RECORD_HEADER_BYTES, Record, RecordKind, SEGMENT_DATA_START, SegmentHeader,
    aligned, in_memory,
};
use crate::index::{Index, Place};
use crate::window::Window;
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
    /// The last record that the checkpoint knows to have been durable.
    pub(super) anchor: Progress,
    /// The highest generation of the checkpoint that any batch knows to have been durable.
    pub(super) checkpoint: u64,
    /// Batches whose damage hit nothing but state records with a sound copy.
    pub(super) repaired: u64,
    pub(super) watch: &'a mut dyn FnMut(&Seen),
    /// Batches that nothing shows to be durable yet, oldest first.
    pub(super) doubts: VecDeque<Doubt>,
    /// The last batch, when it is a marker: where it stands, and the batch before it.
    pub(super) marker: Option<(u64, Progress)>,
}

/// A batch that is whole, and that nothing shows to have been durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    pub(super) offset: u64,
    /// The batch before it.
    pub(super) before: Progress,
    last_lsn: u64,
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
    /// The first batch of those that nothing shows to be durable, though they are whole.
    pub(crate) doubt: Option<Doubt>,
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
    /// Scans a segment that others follow: its last record's header CRC is `end_chain`, and its records lie below
    /// `end_lsn`.
    pub(super) fn sealed(&mut self, end_chain: u32, end_lsn: u64) -> Result<(), Failure> {
        let mut window = Window::new(self.file, WINDOW_BYTES);
        let mut offset = SEGMENT_DATA_START;
        while self.progress.chain != end_chain {
            match self.batch(&mut window, offset)? {
                Found::Batch(next) => offset = next,
                Found::Damage(damage) => {
                    let finding = self.survey(offset)?;
                    let end = Progress { lsn: end_lsn.saturating_sub(1), chain: end_chain };
                    offset = self.mend(offset, &damage, &finding, End::Sealed(end))?;
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
                    let mut finding = self.survey(offset)?;
                    if durable_lsn.max(finding.durable_lsn) <= self.progress.lsn {
                        self.dispel(durable_lsn.max(finding.durable_lsn));
                        let seen_lsn = finding.seen_lsn.max(self.progress.lsn);
                        // Nothing may refer to a marker, which was not synced: the next batch takes its place.
                        if let Some((place, before)) = self.marker {
                            (offset, self.progress) = (place, before);
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

    /// Looks behind damage.
    fn survey(&mut self, offset: u64) -> Result<Finding, Failure> {
        let finding = survey(self.file, self.segment, offset, self.length, self.progress.lsn)?;
        self.checkpoint = self.checkpoint.max(finding.checkpoint);
        Ok(finding)
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
                self.doubts.push_back(Doubt { offset, before: self.progress, last_lsn: batch.last_lsn });
                self.marker = header.is_marker().then_some((offset, self.progress));
                // A marker holds nothing that could be lost.
                self.dispel(if header.is_marker() { batch.last_lsn } else { header.witness.prev_durable });
                self.checkpoint = self.checkpoint.max(header.witness.checkpoint);
                (self.watch)(&Seen::Batch { offset, last_lsn: batch.last_lsn, header });
                self.go_on(offset, Progress { lsn: batch.last_lsn, chain: batch.chain })?;
                Ok(Found::Batch(end))
            }
            Err(damage) => Ok(Found::Damage(damage)),
        }
    }

    /// The batch at `offset` counts and ends here. It must not lead past the last durable record, nor to another one in
    /// its place: then this file is from a time whose tail was lost, and the log went on otherwise.
    fn go_on(&mut self, offset: u64, to: Progress) -> Result<(), Failure> {
        let is_passed = (self.progress.lsn + 1..=to.lsn).contains(&self.anchor.lsn);
        self.progress = to;
        if is_passed && (to.lsn, to.chain) != (self.anchor.lsn, self.anchor.chain) {
            let what = "the bytes are not those that the checkpoint knows to have been durable here";
            let segment = self.segment;
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

    /// What was durable is in doubt no more.
    fn dispel(&mut self, durable_lsn: u64) {
        while self.doubts.front().is_some_and(|doubt| doubt.last_lsn <= durable_lsn) {
            self.doubts.pop_front();
        }
    }

    /// Gets past damage below what was durable, where it hit nothing that has no sound copy. Says where to go on.
    fn mend(&mut self, offset: u64, damage: &BatchDamage, finding: &Finding, end: End) -> Result<u64, Failure> {
        if let Some((next, progress)) = repair(self, offset, finding, end)? {
            self.repaired += 1;
            self.progress = progress;
            self.dispel(progress.lsn);
            self.marker = None;
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
