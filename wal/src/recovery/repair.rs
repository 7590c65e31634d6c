//! Goes on past a batch that was durable and lost a sector, where all it lost is there twice.

use std::collections::BTreeSet;

use super::evidence::{Finding, sound_records};
use super::scan::{BATCH_HEADER_BYTES, Failure, Progress, Scan, place_of};
use crate::disk::DiskFile;
use crate::format::{ALIGNMENT_BYTES, BatchHeader, BatchView, RecordKind, aligned, in_memory};

/// Takes note of the records of the damaged batch at `offset`, when it bears state records and all that is missing is such a
/// record whose copy is sound, or the first or last record of the batch. Says where the scan goes on.
///
/// Only one batch may be damaged: batches share no sector, and a second damage is one too many.
pub(super) fn repair<F: DiskFile>(
    scan: &mut Scan<'_, F>,
    offset: u64,
    finding: &Finding,
    end: Option<Progress>,
) -> Result<Option<(u64, Progress)>, Failure> {
    let next = next_batch(scan, offset, finding)?;
    let Some((next_offset, after)) = next.or(end.map(|progress| (scan.length, progress))) else { return Ok(None) };
    let (first, last) = (scan.progress.lsn + 1, after.lsn);
    let found = sound_records(scan.file, scan.segment, offset, next_offset)?;
    let found: Vec<_> = found.into_iter().filter(|(record, ..)| (first..=last).contains(&record.lsn)).collect();
    let present: BTreeSet<u64> = found.iter().map(|(record, ..)| record.lsn).collect();
    let states = found.iter().filter(|(record, ..)| record.kind == RecordKind::State);
    let copied: BTreeSet<u64> = states.map(|(record, ..)| record.mark).collect();
    let opens = |lsn| found.iter().filter(|(record, ..)| record.kind == RecordKind::Begin).all(|(r, ..)| r.lsn == lsn);
    let closes =
        |lsn| found.iter().filter(|(record, ..)| record.kind == RecordKind::Commit).all(|(r, ..)| r.lsn == lsn);
    let is_whole = !copied.is_empty()
        && last - first <= found.len() as u64 + MISSING_MAX
        && opens(first)
        && closes(last)
        && (first..=last).all(|lsn| lsn == first || lsn == last || present.contains(&lsn) || copied.contains(&lsn));
    if !is_whole {
        return Ok(None);
    }
    let batch_bytes = found.last().map_or(1, |(record, at, ..)| at + record.stored_len() - offset);
    for (record, at, payload) in &found {
        let place = place_of(record, scan.segment, *at, batch_bytes);
        scan.index.apply(record, payload, place);
    }
    Ok(Some((next_offset, after)))
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

/// More records than this are not lost with one page.
const MISSING_MAX: u64 = 128;
