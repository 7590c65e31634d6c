//! Looks behind damage for records that testify.

use std::io;

use crate::disk::DiskFile;
use crate::format::{BatchHeader, RECORD_HEADER_BYTES, Record, RecordKind, aligned, in_memory};
use crate::window::Window;

/// What a segment holds behind damage.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// The highest LSN that a later batch knew to be durable.
    pub(super) durable_lsn: u64,
    /// The highest generation of the checkpoint that a later batch knew to be durable.
    pub(super) checkpoint: u64,
    /// The highest LSN.
    pub(super) seen_lsn: u64,
    /// One behind the last byte that belongs to a record of this segment.
    pub(super) end: Option<u64>,
    /// Where batches start.
    pub(super) batches: Vec<u64>,
    /// State records, by LSN.
    pub(super) states: Vec<(Record, Vec<u8>)>,
    /// The first record that names a stream.
    pub(super) nearest: Option<Record>,
}

/// Tries every multiple of 8 from `start` on: a record whose header was written for just this place and comes after
/// `lsn` is one of ours, whatever lies between.
pub(super) fn survey(file: &impl DiskFile, segment: u64, start: u64, length: u64, lsn: u64) -> io::Result<Finding> {
    let mut window = Window::new(file, SURVEY_BYTES);
    let mut finding = Finding::default();
    let mut offset = start;
    while offset < length {
        // Headers that reach beyond this piece are tried with the next one.
        let piece = window.bytes(offset, SURVEY_BYTES)?.to_vec();
        let tried = if piece.len() < SURVEY_BYTES { piece.len() } else { SURVEY_BYTES - OVERLAP_BYTES };
        if tried == 0 {
            break;
        }
        for at in (0..tried).step_by(8) {
            let Some((record, _)) = Record::read(&piece[at..], segment, offset + at as u64) else { continue };
            if record.lsn > lsn {
                note(&mut finding, &record, &piece[at..], segment, offset + at as u64, length);
            }
        }
        offset += tried as u64;
    }
    finding.states.sort_by_key(|(record, _)| record.original_lsn());
    Ok(finding)
}

fn note(finding: &mut Finding, record: &Record, bytes: &[u8], segment: u64, offset: u64, length: u64) {
    finding.seen_lsn = finding.seen_lsn.max(record.lsn);
    let mut end = offset + record.stored_len();
    match record.kind {
        RecordKind::Begin => {
            if let Some(header) = BatchHeader::read(bytes, segment, offset) {
                finding.durable_lsn = finding.durable_lsn.max(header.witness.prev_durable);
                finding.checkpoint = finding.checkpoint.max(header.witness.checkpoint);
                finding.batches.push(offset);
                end = offset + aligned(header.bytes);
            }
        }
        RecordKind::Commit => {}
        _ => {
            finding.nearest.get_or_insert(*record);
            let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + record.length as usize);
            if record.kind == RecordKind::State
                && let Some(payload) = payload.filter(|payload| crc32c::crc32c(payload) == record.payload_crc)
            {
                finding.states.push((*record, payload.to_vec()));
            }
        }
    }
    finding.end = finding.end.max(Some(aligned(end).min(length)));
}

/// A record that is what was written, its offset in the segment, and its payload.
pub(super) type Sound = (Record, u64, Vec<u8>);

/// The records of a damaged batch that are sound, and where they stand.
pub(super) fn sound_records(file: &impl DiskFile, segment: u64, start: u64, end: u64) -> io::Result<Vec<Sound>> {
    let mut bytes = vec![0; in_memory(end - start)];
    let read = file.read_at(start, &mut bytes)?;
    bytes.truncate(read);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let sound = Record::read(&bytes[at..], segment, start + at as u64).and_then(|(record, _)| {
            let payload = bytes.get(at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + record.length as usize)?;
            let is_sound = record.kind == RecordKind::Commit || crc32c::crc32c(payload) == record.payload_crc;
            is_sound.then_some((record, payload))
        });
        match sound {
            Some((record, payload)) => {
                found.push((record, start + at as u64, payload.to_vec()));
                at += in_memory(record.stored_len());
            }
            None => at += 8,
        }
    }
    Ok(found)
}

const SURVEY_BYTES: usize = 1 << 20;
/// The largest record that is read whole here: a state record.
const OVERLAP_BYTES: usize = 8192;
