//! What the log knows of its records without reading them.

mod points;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use points::Point;
pub(crate) use stream::{JournalPlace, StreamIndex};

use crate::format::{Checkpoint, Record, RecordKind};

/// Streams, segments, and what lies where.
#[derive(Debug)]
pub(crate) struct Index<F> {
    pub(crate) streams: BTreeMap<u64, StreamIndex>,
    pub(crate) segments: BTreeMap<u64, Segment<F>>,
    pub(crate) deleted: Deleted,
    pub(crate) live: Live,
}

/// A segment that may hold records somebody needs.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: Arc<F>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Where a record was found, and what it costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Bytes that the record keeps on disk, its share of its batch's padding included.
    pub(crate) charge: u32,
}

impl<F> Index<F> {
    pub(crate) fn new() -> Self {
        Self { streams: BTreeMap::new(), segments: BTreeMap::new(), deleted: Deleted::default(), live: Live::default() }
    }

    /// Starts from what a checkpoint knows.
    pub(crate) fn adopt(&mut self, checkpoint: &Checkpoint) {
        self.deleted = Deleted { ranges: checkpoint.deleted.iter().copied().collect() };
        for (stream, known) in &checkpoint.streams {
            self.streams.insert(*stream, StreamIndex::adopt(known));
        }
    }

    /// Takes note of one record. Records come in the order of their LSNs.
    pub(crate) fn apply(&mut self, record: &Record, payload: &[u8], place: Place) {
        if matches!(record.kind, RecordKind::Begin | RecordKind::Commit) || self.deleted.contains(record.stream) {
            return;
        }
        let stream = self.streams.entry(record.stream).or_default();
        if record.kind == RecordKind::StreamDeleted {
            stream.clear(&mut self.live);
            self.streams.remove(&record.stream);
            self.deleted.insert(record.stream);
        } else {
            let before = self.live.total;
            stream.apply(record, payload, place, &mut self.live);
            stream.bytes = stream.bytes + self.live.total - before;
        }
    }

    /// Bytes of all segments.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}

/// Bytes that live records keep, by segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    segments: BTreeMap<u64, u64>,
    /// Their sum.
    total: u64,
}

impl Live {
    fn add(&mut self, segment: u64, bytes: u64) {
        *self.segments.entry(segment).or_default() += bytes;
        self.total += bytes;
    }

    fn subtract(&mut self, segment: u64, bytes: u64) {
        let live = self.segments.get_mut(&segment).expect("what is taken off was put on");
        *live = live.checked_sub(bytes).expect("no more than was put on");
        self.total -= bytes;
        if *live == 0 {
            self.segments.remove(&segment);
        }
    }

    /// The oldest segment with a live record.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    /// Live bytes of all segments.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

/// Ids that were used and never will be again. Ids given out in order make one range when all are deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// First to last.
    ranges: BTreeMap<u64, u64>,
}

impl Deleted {
    pub(crate) fn contains(&self, stream: u64) -> bool {
        self.ranges.range(..=stream).next_back().is_some_and(|(_, last)| stream <= *last)
    }

    fn insert(&mut self, stream: u64) {
        let mut range = (stream, stream);
        if let Some((first, last)) = self.ranges.range(..stream).next_back().map(|(first, last)| (*first, *last))
            && last + 1 == stream
        {
            range.0 = first;
        }
        if let Some(last) = stream.checked_add(1).and_then(|next| self.ranges.remove(&next)) {
            range.1 = last;
        }
        self.ranges.insert(range.0, range.1);
    }

    pub(crate) fn ranges(&self) -> Vec<(u64, u64)> {
        self.ranges.iter().map(|(first, last)| (*first, *last)).collect()
    }
}
