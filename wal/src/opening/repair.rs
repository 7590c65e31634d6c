//! Goes on past a durable batch that lost a sector, if everything lost has another copy.

use std::collections::BTreeMap;

use super::evidence::{Finding, SoundRecord, sound_records};
use super::progress::{Failure, Resume, SegmentFile};
use crate::disk::DiskFile;
use crate::format::{
    ALIGNMENT_BYTES, BATCH_HEADER_BYTES, BatchBuilder, BatchDescription, BatchView, RECORD_HEADER_BYTES, Record,
    RecordKind, RecordLink, Witness, aligned, in_memory,
};
use crate::index::{Index, Place};

/// Knowledge of the end of the damaged batch, if no intact batch follows it in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Another segment follows, whose header states the last record of this one.
    Sealed(RecordLink),
    /// The checkpoint states that everything up to this LSN was durable.
    Durable(u64),
}

/// A batch that was durable and is damaged.
pub(super) struct DamagedBatch<'a, F> {
    pub(super) segment: SegmentFile<'a, F>,
    /// Offset of the batch in the segment.
    pub(super) offset: u64,
    /// The last record before the batch.
    pub(super) before: RecordLink,
    pub(super) finding: &'a Finding,
    pub(super) end: End,
}

impl<F: DiskFile> DamagedBatch<'_, F> {
    /// Adds the records of the batch to the index, if it holds state records and nothing is missing but such records
    /// whose copy is intact, and the first or the last record of the batch. Returns the place at which the scan goes
    /// on.
    ///
    /// Only one batch may be damaged: batches share no sector, and a second damage is one too many. A write that landed
    /// elsewhere damages one batch and leaves out another. So each batch must follow the one before it.
    pub(super) fn repair(&self, index: &mut Index<F>) -> Result<Option<Resume>, Failure> {
        if self.follows_another()? {
            return Ok(None);
        }
        let (offset, before) = (self.offset, self.before.lsn);
        let next = self.next_batch()?;
        let (region_end, last_lsn) = match (next, self.end) {
            (Some(next), _) => (next.offset, next.progress.lsn),
            (None, End::Sealed(progress)) => (self.segment.length, progress.lsn),
            (None, End::Durable(lsn)) => (self.segment.length, lsn),
        };
        if region_end <= offset {
            return Ok(None);
        }
        let mut found = sound_records(self.segment.file, self.segment.id, offset, region_end)?;
        found.retain(|sound| before < sound.record.lsn && sound.record.lsn <= last_lsn);
        let Some((first, last)) = bounds(&found, before, last_lsn) else { return Ok(None) };
        if first <= before || last > last_lsn || !lacks_nothing(&found, offset, first, last) {
            return Ok(None);
        }
        let Some(ended) = self.end_of(&found)? else { return Ok(None) };
        // The next batch must follow this one, and not a missing one in between.
        let (after, is_followed) = match (next, self.end) {
            (Some(next), _) => (next, (ended.offset, ended.progress.chain) == (next.offset, next.progress.chain)),
            (None, End::Sealed(progress)) => {
                (Resume { offset: region_end, progress }, ended.progress.chain == progress.chain)
            }
            (None, End::Durable(_)) => (ended, ended.progress.lsn == last),
        };
        if !is_followed {
            return Ok(None);
        }
        let batch_bytes = found.last().map_or(1, |last| last.offset + last.record.stored_len() - offset);
        for SoundRecord { record, offset, payload } in &found {
            index.add(record, payload, Place::of(record, self.segment.id, *offset, batch_bytes));
        }
        Ok(Some(after))
    }

    /// Returns true if the header of the batch names another predecessor than the last batch that was read. Then its
    /// predecessor is lost. It may have been written elsewhere on the disk, and the marker that it was to replace is
    /// still in its place.
    fn follows_another(&self) -> Result<bool, Failure> {
        let mut head = [0; BATCH_HEADER_BYTES];
        let read = self.segment.file.read_at(self.offset, &mut head)?;
        let header = BatchDescription::read(&head[..read], self.segment.id, self.offset);
        Ok(header.is_some_and(|header| header.predecessor != self.before.chain))
    }

    /// The end of a batch that lacks nothing: its last record states it, or the other records determine it.
    fn end_of(&self, found: &[SoundRecord]) -> Result<Option<Resume>, Failure> {
        if let Some(SoundRecord { record: commit, offset: at, .. }) = of_kind(found, RecordKind::Commit) {
            let mut header = [0; RECORD_HEADER_BYTES];
            self.segment.file.read_exact_at(*at, &mut header)?;
            return Ok(Record::read(&header, self.segment.id, *at).map(|(_, chain)| Resume {
                offset: aligned(at + commit.stored_len()),
                progress: RecordLink { lsn: commit.lsn, chain },
            }));
        }
        let Some(SoundRecord { record: begin, .. }) = of_kind(found, RecordKind::Begin) else { return Ok(None) };
        let mut builder = BatchBuilder::default();
        builder.start();
        builder.push_again(found.iter().map(|sound| (&sound.record, &sound.payload[..])));
        let witness = Witness { prev_durable: begin.mark, checkpoint: begin.position };
        let sealed = builder.seal(self.segment.id, self.offset, begin.lsn, self.before.chain, witness);
        Ok(Some(Resume { offset: self.offset + builder.bytes().len() as u64, progress: sealed }))
    }

    /// The first intact batch behind the damage, and the last record before it.
    fn next_batch(&self) -> Result<Option<Resume>, Failure> {
        let SegmentFile { file, id, length } = self.segment;
        for start in self.finding.batches.iter().copied().filter(|start| *start > self.offset) {
            let mut head = [0; BATCH_HEADER_BYTES];
            file.read_exact_at(start, &mut head)?;
            let Some(header) = BatchDescription::read(&head, id, start) else { continue };
            let end = start + aligned(header.bytes);
            if !start.is_multiple_of(ALIGNMENT_BYTES) || end > length {
                continue;
            }
            let mut bytes = vec![0; in_memory(end - start)];
            file.read_exact_at(start, &mut bytes)?;
            if BatchView::read(&bytes, &header, id, start, header.predecessor).is_ok() {
                let progress = RecordLink { lsn: header.first_lsn.saturating_sub(1), chain: header.predecessor };
                return Ok(Some(Resume { offset: start, progress }));
            }
        }
        Ok(None)
    }
}

/// The LSNs of the batch's first and last record. LSNs may jump from batch to batch, so the batch's own records are
/// used first.
fn bounds(found: &[SoundRecord], before: u64, after: u64) -> Option<(u64, u64)> {
    if let Some(SoundRecord { record: begin, payload, .. }) = of_kind(found, RecordKind::Begin) {
        let count = u64::from(payload.get(4..8)?.try_into().map(u32::from_le_bytes).ok()?);
        return Some((begin.lsn, begin.lsn.checked_add(count)?.checked_sub(1)?));
    }
    if let Some(SoundRecord { record: commit, .. }) = of_kind(found, RecordKind::Commit) {
        return Some((commit.lsn.checked_add(1)?.checked_sub(commit.position)?, commit.lsn));
    }
    Some((before.checked_add(1)?, after))
}

/// Returns true if these are the records of one batch at `offset`, and nothing is missing but its first record, its
/// last one, or state records whose copy exists. The lengths of all these are known, so each record must stand at the
/// computed offset. Otherwise more is missing.
fn lacks_nothing(found: &[SoundRecord], offset: u64, first: u64, last: u64) -> bool {
    let places: BTreeMap<u64, u64> = found.iter().map(|sound| (sound.record.lsn, sound.offset)).collect();
    let lengths = found.iter().map(|sound| (sound.record.lsn, sound.record.stored_len()));
    let mut lengths: BTreeMap<u64, u64> = lengths.collect();
    let (mut last_original, mut first_copy) = (0, u64::MAX);
    for SoundRecord { record, .. } in found.iter().filter(|sound| sound.record.kind == RecordKind::State) {
        lengths.insert(record.mark, record.stored_len());
        last_original = last_original.max(record.lsn.min(record.mark));
        first_copy = first_copy.min(record.lsn.max(record.mark));
    }
    let is_between = |lsn| first < lsn && lsn < last;
    if !is_between(last_original) || !is_between(first_copy) || places.keys().any(|lsn| !(first..=last).contains(lsn)) {
        return false;
    }
    let (mut place, mut states_end) = (offset, offset);
    for lsn in first..=last {
        let length = match lengths.get(&lsn) {
            Some(length) => *length,
            None if lsn == first => BATCH_HEADER_BYTES as u64,
            None if lsn == last => RECORD_HEADER_BYTES as u64,
            None => return false,
        };
        if lsn == first_copy {
            place = place.max(aligned(states_end));
        }
        if places.get(&lsn).is_some_and(|at| *at != place) {
            return false;
        }
        place += length;
        if lsn == last_original {
            states_end = place;
        }
    }
    true
}

fn of_kind(found: &[SoundRecord], kind: RecordKind) -> Option<&SoundRecord> {
    found.iter().find(|sound| sound.record.kind == kind)
}
