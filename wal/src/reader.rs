//! Reads entries and journal records, on any thread.

use std::ops::Range;
use std::sync::{Arc, RwLockReadGuard};

use bytes::Bytes;
use quorate_protocol::{Entry, LoadFailure, LoadRange, Loaded, LogIndex, Term};

use crate::disk::{Disk, DiskFile};
use crate::format::{RECORD_HEADER_BYTES, Record, RecordKind, aligned};
use crate::index::{Index, JournalPlace, Point, SharedIndex};
use crate::stream_id::StreamId;
use crate::window::Window;

/// A reader of entries and journal records. Clones read the same log, and may outlive it. A load waits for no sync and
/// no other load.
pub struct LogReader<D: Disk> {
    index: SharedIndex<D::File>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self { index: self.index.clone() }
    }
}

/// Some of a stream's points, with the files in which they are.
type Located<F> = Vec<(Point, Arc<F>)>;

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(index: SharedIndex<D::File>) -> Self {
        Self { index }
    }

    /// Reads the entries or keys of `range`. Every byte is checked against its record's CRC, every time.
    ///
    /// # Errors
    /// When no entry of the range exists, the bytes are not those that were written, or the disk refuses. Keys that do
    /// not exist are no error.
    pub fn load(&self, stream: StreamId, range: &LoadRange) -> Result<Loaded, LoadFailure> {
        match range {
            LoadRange::Entries { range, bytes_max } => {
                self.entries(stream, range.start.0..range.end.0, *bytes_max).map(Loaded::Entries)
            }
            LoadRange::Keys { range } => self.keys(stream, range.clone()).map(Loaded::Keys),
        }
    }

    /// Entries from the start of the range on, until they have `bytes_max` bytes or more; at least one.
    pub(crate) fn entries(
        &self,
        stream: StreamId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(LogIndex, Term, Entry)>, LoadFailure> {
        let mut loaded = Vec::new();
        let mut bytes = 0;
        let mut attempts = 0;
        let mut next = range.start;
        while next < range.end {
            let points = self.locate(stream, next..range.end)?;
            if points.is_empty() {
                break;
            }
            for (point, file) in points {
                let before = next;
                let outcome = read_point::<D>(&point, &file, stream, next..range.end, &mut |position, term, entry| {
                    bytes += entry.encoded_len();
                    loaded.push((LogIndex(position), Term(term), entry));
                    next = position + 1;
                    bytes < bytes_max
                });
                if next > before {
                    attempts = 0;
                }
                match outcome {
                    Ok(true) => {}
                    Ok(false) => return Ok(loaded),
                    // The segment may have been freed meanwhile: look the entry up again.
                    Err(LoadFailure::Damaged) if attempts < ATTEMPTS_MAX => {
                        attempts += 1;
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        if loaded.is_empty() { Err(LoadFailure::Compacted) } else { Ok(loaded) }
    }

    /// The newest record of each key in the range.
    fn keys(&self, stream: StreamId, keys: Range<u64>) -> Result<Vec<(u64, Bytes)>, LoadFailure> {
        let places: Vec<u64> = {
            let index = self.index()?;
            let Some(known) = index.streams.get(&stream.0) else { return Ok(Vec::new()) };
            known.journal.range(keys.start..keys.end.max(keys.start)).map(|(key, _)| *key).collect()
        };
        let mut loaded = Vec::new();
        for key in places {
            if let Some(bytes) = self.key(stream, key)? {
                loaded.push((key, bytes));
            }
        }
        Ok(loaded)
    }

    /// The newest record of a key.
    pub(crate) fn key(&self, stream: StreamId, key: u64) -> Result<Option<Bytes>, LoadFailure> {
        let mut outcome = Ok(None);
        for _ in 0..ATTEMPTS_MAX {
            let (place, file) = {
                let index = self.index()?;
                let Some(place) = index.streams.get(&stream.0).and_then(|known| known.journal.get(&key)) else {
                    return Ok(None);
                };
                (*place, index.segments[&place.segment].file.clone())
            };
            outcome = read_journal::<D>(&place, &file, stream, key).map(Some);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The index. Fails if the writer panicked while it changed the index.
    fn index(&self) -> Result<RwLockReadGuard<'_, Index<D::File>>, LoadFailure> {
        self.index.try_read().ok_or(LoadFailure::Io)
    }

    fn locate(&self, stream: StreamId, range: Range<u64>) -> Result<Located<D::File>, LoadFailure> {
        let index = self.index()?;
        let known = index.streams.get(&stream.0).ok_or(LoadFailure::Compacted)?;
        if range.start <= known.base.position {
            return Err(LoadFailure::Compacted);
        }
        let points = known.points.from(range.start).take_while(|point| point.first < range.end).take(POINTS_AT_ONCE);
        Ok(points.map(|point| (*point, index.segments[&point.segment].file.clone())).collect())
    }
}

/// Reads the entries of a point that are in the range, until `take` returns false. Returns false then, and true if all
/// were read.
pub(crate) fn read_point<D: Disk>(
    point: &Point,
    file: &D::File,
    stream: StreamId,
    range: Range<u64>,
    take: &mut dyn FnMut(u64, u64, Entry) -> bool,
) -> Result<bool, LoadFailure> {
    let mut window = Window::new(file, WINDOW_BYTES);
    let mut offset = u64::from(point.offset);
    let mut next = point.first;
    let end = point.end().min(range.end);
    let mut is_lost = false;
    while next < end {
        if !point.reaches(offset) {
            return Err(LoadFailure::Damaged);
        }
        let start = window.bytes(offset, RECORD_HEADER_BYTES).map_err(|_| LoadFailure::Io)?;
        // Within a damaged record zeros are no gap.
        if !is_lost && !offset.is_multiple_of(aligned(1)) && start.get(..8) == Some(&[0; 8]) {
            offset = aligned(offset);
            continue;
        }
        let Some((record, _)) = Record::read(start, point.segment, offset) else {
            // A damaged record of another stream, or one with a second copy: the requested record may be intact behind
            // it.
            offset += RECORD_ALIGNMENT_BYTES;
            is_lost = true;
            continue;
        };
        is_lost = false;
        let is_entry = matches!(record.kind, RecordKind::Entry | RecordKind::RelocatedEntry);
        if is_entry && record.stream == stream.0 && record.position == next {
            next += 1;
            if record.position >= range.start {
                let entry = Entry::decode(payload(&mut window, &record, offset)?).map_err(|_| LoadFailure::Damaged)?;
                if !take(record.position, record.mark, entry) {
                    return Ok(false);
                }
            }
        }
        offset += record.stored_len();
        if record.kind == RecordKind::Commit {
            offset = aligned(offset);
        }
    }
    Ok(true)
}

pub(crate) fn read_journal<D: Disk>(
    place: &JournalPlace,
    file: &D::File,
    stream: StreamId,
    key: u64,
) -> Result<Bytes, LoadFailure> {
    let mut window = Window::new(file, RECORD_HEADER_BYTES);
    let offset = u64::from(place.offset);
    let start = window.bytes(offset, RECORD_HEADER_BYTES).map_err(|_| LoadFailure::Io)?;
    let (record, _) = Record::read(start, place.segment, offset).ok_or(LoadFailure::Damaged)?;
    let is_journal = matches!(record.kind, RecordKind::Journal | RecordKind::RelocatedJournal);
    if !is_journal || record.stream != stream.0 || record.position != key {
        return Err(LoadFailure::Damaged);
    }
    payload(&mut window, &record, offset)
}

fn payload<F: DiskFile>(window: &mut Window<'_, F>, record: &Record, offset: u64) -> Result<Bytes, LoadFailure> {
    let start = offset + RECORD_HEADER_BYTES as u64;
    let bytes = window.bytes(start, record.length as usize).map_err(|_| LoadFailure::Io)?;
    if bytes.len() < record.length as usize || crc32c::crc32c(bytes) != record.payload_crc {
        return Err(LoadFailure::Damaged);
    }
    Ok(Bytes::copy_from_slice(bytes))
}

const RECORD_ALIGNMENT_BYTES: u64 = 8;
const ATTEMPTS_MAX: u32 = 3;
const POINTS_AT_ONCE: usize = 32;
const WINDOW_BYTES: usize = 128 * 1024;
