//! Recovers the content of a stream for its core.

use std::collections::VecDeque;
use std::ops::Range;

use quorate_protocol::{Entry, JournalRecords, LoadFailure, LogIndex, LogPosition, RecoverError, Recovery, Term};

use crate::disk::Disk;
use crate::format::StreamBase;
use crate::index::SharedIndex;
use crate::reader::LogReader;
use crate::stream_id::StreamId;

/// Reads the content of a stream: see [`Wal::recover`](crate::Wal::recover).
pub(crate) fn recover<D: Disk>(
    index: &SharedIndex<D::File>,
    reader: &LogReader<D>,
    stream: StreamId,
    tail_bytes_max: usize,
) -> Result<Recovery, RecoverError> {
    StreamRecovery { index, reader, stream }.run(tail_bytes_max)
}

/// The recovery of one stream.
struct StreamRecovery<'a, D: Disk> {
    index: &'a SharedIndex<D::File>,
    reader: &'a LogReader<D>,
    stream: StreamId,
}

impl<D: Disk> StreamRecovery<'_, D> {
    fn run(&self, tail_bytes_max: usize) -> Result<Recovery, RecoverError> {
        let (mut recovery, positions) = {
            let index = self.index.read();
            let Some(known) = index.streams.get(&self.stream.0) else { return Ok(Recovery::default()) };
            let mut records: Vec<(u64, u64)> = known.journal.iter().map(|(key, place)| (place.origin, *key)).collect();
            records.sort_unstable();
            let StreamBase { position, mark } = known.base;
            let recovery = Recovery {
                state: known.state.as_ref().map(|state| state.bytes.clone()),
                base: log_position(position, mark),
                last: LogIndex(known.last()),
                runs: known.runs().into_iter().map(|(first, term)| log_position(first, term)).collect(),
                commit_hint: LogIndex(known.commit_hint),
                checkpoint: known.checkpoint.map(|checkpoint| checkpoint.id),
                journal: (!records.is_empty()).then(|| self.journal(records)),
                ..Recovery::default()
            };
            (recovery, known.configurations.clone())
        };
        for position in positions {
            let entries = self.entries(position..position + 1, 0)?;
            recovery.configurations.extend(entries);
        }
        recovery.tail = self.tail(&recovery, tail_bytes_max)?;
        Ok(recovery)
    }

    fn journal(&self, records: Vec<(u64, u64)>) -> JournalRecords {
        let (reader, stream) = (self.reader.clone(), self.stream);
        Box::new(records.into_iter().filter_map(move |(_, key)| match reader.key(stream, key) {
            Ok(bytes) => bytes.map(|bytes| Ok((key, bytes))),
            Err(failure) => Some(Err(unreadable(failure))),
        }))
    }

    /// The newest entries that fit the bound. The newest one of all is included even if it does not fit, since a core
    /// must know the end of its log.
    fn tail(&self, recovery: &Recovery, bytes_max: usize) -> Result<Vec<(LogIndex, Entry)>, RecoverError> {
        let Recovery { base, last, .. } = recovery;
        // The size of entries on disk is known without reading them, and is above their own size. So the search goes
        // back further in each round.
        let mut disk_bytes = bytes_max as u64;
        loop {
            let first = self.first_within(disk_bytes).unwrap_or(last.0 + 1);
            let (tail, is_full) = self.newest(first..last.0 + 1, bytes_max)?;
            if is_full || first <= base.index.0 + 1 {
                return Ok(tail.into());
            }
            disk_bytes = disk_bytes.saturating_mul(4).max(TAIL_STEP_BYTES as u64);
        }
    }

    /// The newest entries of a range that fit the bound, at least one, and true if they reach the bound or more were
    /// left out.
    fn newest(&self, range: Range<u64>, bytes_max: usize) -> Result<(VecDeque<(LogIndex, Entry)>, bool), RecoverError> {
        let (mut tail, mut bytes, mut is_full) = (VecDeque::new(), 0, false);
        let mut next = range.start;
        while next < range.end {
            for (index, entry) in self.entries(next..range.end, TAIL_STEP_BYTES)? {
                next = index.0 + 1;
                bytes += entry.encoded_len();
                tail.push_back((index, entry));
                while bytes > bytes_max && tail.len() > 1 {
                    let (_, oldest) = tail.pop_front().expect("bytes are those of the entries held");
                    bytes -= oldest.encoded_len();
                    is_full = true;
                }
            }
        }
        Ok((tail, is_full || bytes >= bytes_max))
    }

    /// The first position of the newest points that together take at least these bytes on disk.
    fn first_within(&self, disk_bytes: u64) -> Option<u64> {
        let index = self.index.read();
        let known = index.streams.get(&self.stream.0)?;
        let mut first = None;
        let mut bytes = 0;
        for point in known.points.iter().rev() {
            if first.is_some() && bytes > disk_bytes {
                break;
            }
            first = Some(point.first);
            bytes += u64::from(point.charge);
        }
        first
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<(LogIndex, Entry)>, RecoverError> {
        let loaded = self.reader.entries(self.stream, range, bytes_max).map_err(unreadable)?;
        Ok(loaded.into_iter().map(|(index, _, entry)| (index, entry)).collect())
    }
}

fn log_position(position: u64, mark: u64) -> LogPosition {
    LogPosition { index: LogIndex(position), term: Term(mark) }
}

fn unreadable(failure: LoadFailure) -> RecoverError {
    RecoverError::Io(match failure {
        LoadFailure::Damaged => "a record is not what was written".to_owned(),
        LoadFailure::Compacted => "an entry is not where it should be".to_owned(),
        _ => "the disk refused to read".to_owned(),
    })
}

const TAIL_STEP_BYTES: usize = 1 << 20;
