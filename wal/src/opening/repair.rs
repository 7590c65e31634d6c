//! Goes on past a batch that was durable and lost a sector, where all it lost is there twice.

use std::collections::BTreeMap;

use super::evidence::{Finding, Sound, sound_records};
use super::scan::{BATCH_HEADER_BYTES, Failure, Progress, Scan, place_of};
use crate::disk::DiskFile;
use crate::format::{
    ALIGNMENT_BYTES, BatchBuilder, BatchHeader, BatchView, RECORD_HEADER_BYTES, Record, RecordKind, Witness, aligned,
    in_memory,
};

/// What is known of the end of the damaged batch, where no whole batch follows it in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Another segment follows, which says where this one ended.
    Sealed(Progress),
    /// The checkpoint says that everything up to this LSN was durable.
    Durable(u64),
}

/// Takes note of the records of the damaged batch at `offset`, when it bears state records and all that is missing is
/// such a record whose copy is sound, or the first or last record of the batch. Says where the scan goes on.
///
/// Only one batch may be damaged: batches share no sector, and a second damage is one too many. A write that landed
/// elsewhere damages one and leaves out another: so each must follow the one before it.
pub(super) fn repair<F: DiskFile>(
    scan: &mut Scan<'_, F>,
    offset: u64,
    finding: &Finding,
    end: End,
) -> Result<Option<(u64, Progress)>, Failure> {
    if follows_another(scan, offset)? {
        return Ok(None);
    }
    let next = next_batch(scan, offset, finding)?;
    let (region_end, last_lsn) = match (next, end) {
        (Some((start, before)), _) => (start, before.lsn),
        (None, End::Sealed(progress)) => (scan.length, progress.lsn),
        (None, End::Durable(lsn)) => (scan.length, lsn),
    };
    if region_end <= offset {
        return Ok(None);
    }
    let mut found = sound_records(scan.file, scan.segment, offset, region_end)?;
    found.retain(|(record, ..)| scan.progress.lsn < record.lsn && record.lsn <= last_lsn);
    let Some((first, last)) = bounds(&found, scan.progress.lsn, last_lsn) else { return Ok(None) };
    if first <= scan.progress.lsn || last > last_lsn || !lacks_nothing(&found, offset, first, last) {
        return Ok(None);
    }
    let Some((ended_at, ended)) = end_of(scan, &found, offset)? else { return Ok(None) };
    // What comes next must follow this batch, and not one behind it that is missing.
    let (after, is_followed) = match (next, end) {
        (Some(next), _) => (next, (ended_at, ended.chain) == (next.0, next.1.chain)),
        (None, End::Sealed(progress)) => ((region_end, progress), ended.chain == progress.chain),
        (None, End::Durable(_)) => ((ended_at, ended), ended.lsn == last),
    };
    if !is_followed {
        return Ok(None);
    }
    let batch_bytes = found.last().map_or(1, |(record, at, ..)| at + record.stored_len() - offset);
    for (record, at, payload) in &found {
        let place = place_of(record, scan.segment, *at, batch_bytes);
        scan.index.apply(record, payload, place);
    }
    Ok(Some(after))
}

/// Whether a batch at `offset` says that it follows another than the last one that was read: then that one is lost. It
/// may have gone elsewhere on the disk, and left the marker in its place that it was to replace.
fn follows_another<F: DiskFile>(scan: &Scan<'_, F>, offset: u64) -> Result<bool, Failure> {
    let mut head = [0; BATCH_HEADER_BYTES];
    let read = scan.file.read_at(offset, &mut head)?;
    let header = BatchHeader::read(&head[..read], scan.segment, offset);
    Ok(header.is_some_and(|header| header.predecessor != scan.progress.chain))
}

/// Where a batch that lacks nothing ends: its last record says it, or else it is what the others make it.
fn end_of<F: DiskFile>(scan: &Scan<'_, F>, found: &[Sound], offset: u64) -> Result<Option<(u64, Progress)>, Failure> {
    let of_kind = |kind| found.iter().find(|(record, ..)| record.kind == kind);
    if let Some((commit, at, _)) = of_kind(RecordKind::Commit) {
        let mut header = [0; RECORD_HEADER_BYTES];
        scan.file.read_exact_at(*at, &mut header)?;
        let chain = Record::read(&header, scan.segment, *at).map(|(_, crc)| Progress { lsn: commit.lsn, chain: crc });
        return Ok(chain.map(|progress| (aligned(at + commit.stored_len()), progress)));
    }
    let Some((begin, ..)) = of_kind(RecordKind::Begin) else { return Ok(None) };
    let mut builder = BatchBuilder::default();
    builder.start();
    builder.push_again(found.iter().map(|(record, _, payload)| (record, &payload[..])));
    let witness = Witness { prev_durable: begin.mark, checkpoint: begin.position };
    let sealed = builder.seal(scan.segment, offset, begin.lsn, scan.progress.chain, witness);
    let progress = Progress { lsn: sealed.last_lsn, chain: sealed.chain };
    Ok(Some((offset + builder.bytes().len() as u64, progress)))
}

/// The LSNs of the batch's first and last record: LSNs may jump from batch to batch, so that its own records say it
/// best.
fn bounds(found: &[Sound], before: u64, after: u64) -> Option<(u64, u64)> {
    let of_kind = |kind| found.iter().find(|(record, ..)| record.kind == kind);
    if let Some((begin, _, payload)) = of_kind(RecordKind::Begin) {
        let count = u64::from(payload.get(4..8)?.try_into().map(u32::from_le_bytes).ok()?);
        return Some((begin.lsn, begin.lsn.checked_add(count)?.checked_sub(1)?));
    }
    if let Some((commit, ..)) = of_kind(RecordKind::Commit) {
        return Some((commit.lsn.checked_add(1)?.checked_sub(commit.position)?, commit.lsn));
    }
    Some((before.checked_add(1)?, after))
}

/// Whether these are the records of one batch at `offset`, and what is missing of it is its first record, its last one,
/// or state records whose copy is there. Lengths are known of all these, so each record must stand where the batch has
/// it: else more is missing.
fn lacks_nothing(found: &[Sound], offset: u64, first: u64, last: u64) -> bool {
    let places: BTreeMap<u64, u64> = found.iter().map(|(record, at, _)| (record.lsn, *at)).collect();
    let mut lengths: BTreeMap<u64, u64> = found.iter().map(|(record, ..)| (record.lsn, record.stored_len())).collect();
    let (mut last_original, mut first_copy) = (0, u64::MAX);
    for (record, ..) in found.iter().filter(|(record, ..)| record.kind == RecordKind::State) {
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

/// The first whole batch behind the damage, and where the damaged one ended according to it.
fn next_batch<F: DiskFile>(
    scan: &Scan<'_, F>,
    offset: u64,
    finding: &Finding,
) -> Result<Option<(u64, Progress)>, Failure> {
    for start in finding.batches.iter().copied().filter(|start| *start > offset) {
        let mut head = [0; BATCH_HEADER_BYTES];
        scan.file.read_exact_at(start, &mut head)?;
        let Some(header) = BatchHeader::read(&head, scan.segment, start) else { continue };
        let end = start + aligned(header.bytes);
        if !start.is_multiple_of(ALIGNMENT_BYTES) || end > scan.length {
            continue;
        }
        let mut bytes = vec![0; in_memory(end - start)];
        scan.file.read_exact_at(start, &mut bytes)?;
        if BatchView::read(&bytes, &header, scan.segment, start, header.predecessor).is_ok() {
            let before = Progress { lsn: header.first_lsn.saturating_sub(1), chain: header.predecessor };
            return Ok(Some((start, before)));
        }
    }
    Ok(None)
}
