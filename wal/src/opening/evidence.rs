//! Searches the bytes behind damage for records that prove what was durable.

use std::io;

use super::progress::SegmentFile;
use crate::disk::DiskFile;
use crate::format::{BatchDescription, RECORD_HEADER_BYTES, Record, RecordKind, aligned, in_memory};
use crate::window::Window;

/// The records of a segment behind damage.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// The highest LSN that a later batch states to be durable.
    pub(super) durable_lsn: u64,
    /// The highest generation of the checkpoint that a later batch states to be durable.
    pub(super) checkpoint: u64,
    /// The highest LSN.
    pub(super) seen_lsn: u64,
    /// The offset behind the last byte that belongs to a record of this segment.
    pub(super) end: Option<u64>,
    /// Offsets of batches.
    pub(super) batches: Vec<u64>,
    /// State records, ascending by LSN.
    pub(super) states: Vec<SoundRecord>,
    /// The first record that names a stream.
    pub(super) nearest: Option<Record>,
}

/// Tries every multiple of 8 from `start` on. A record whose header was written for exactly this place, and whose LSN
/// is above `lsn`, belongs to the log, whatever lies between.
pub(super) fn survey<F: DiskFile>(segment: SegmentFile<'_, F>, start: u64, lsn: u64) -> io::Result<Finding> {
    let SegmentFile { file, id, length } = segment;
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
            let Some((record, _)) = Record::read(&piece[at..], id, offset + at as u64) else { continue };
            if record.lsn > lsn {
                finding.add(&record, &piece[at..], segment.id, offset + at as u64, length);
            }
        }
        offset += tried as u64;
    }
    finding.states.sort_by_key(|found| found.record.original_lsn());
    Ok(finding)
}

impl Finding {
    /// Adds a record at `offset` of a segment of `length` bytes; `bytes` begin with its header.
    fn add(&mut self, record: &Record, bytes: &[u8], segment: u64, offset: u64, length: u64) {
        self.seen_lsn = self.seen_lsn.max(record.lsn);
        let mut end = offset + record.stored_len();
        match record.kind {
            RecordKind::Begin => {
                if let Some(header) = BatchDescription::read(bytes, segment, offset) {
                    self.durable_lsn = self.durable_lsn.max(header.witness.prev_durable);
                    self.checkpoint = self.checkpoint.max(header.witness.checkpoint);
                    self.batches.push(offset);
                    end = offset + aligned(header.bytes);
                }
            }
            RecordKind::Commit => {}
            _ => {
                self.nearest.get_or_insert(*record);
                let payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + record.length as usize);
                if record.kind == RecordKind::State
                    && let Some(payload) = payload.filter(|payload| crc32c::crc32c(payload) == record.payload_crc)
                {
                    self.states.push(SoundRecord { record: *record, offset, payload: payload.to_vec() });
                }
            }
        }
        self.end = self.end.max(Some(aligned(end).min(length)));
    }
}

/// A record whose header and payload are those that were written.
#[derive(Clone, Debug)]
pub(crate) struct SoundRecord {
    pub(super) record: Record,
    /// Offset of the header in the segment.
    pub(super) offset: u64,
    pub(super) payload: Vec<u8>,
}

/// The intact records of a damaged batch, with their offsets.
pub(super) fn sound_records(file: &impl DiskFile, segment: u64, start: u64, end: u64) -> io::Result<Vec<SoundRecord>> {
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
                found.push(SoundRecord { record, offset: start + at as u64, payload: payload.to_vec() });
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
