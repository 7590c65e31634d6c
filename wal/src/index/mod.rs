//! The place of each record, known without reading it.

mod deleted;
mod live;
mod place;
mod points;
mod shared;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::place::Place;
pub(crate) use self::points::Point;
pub(crate) use self::shared::SharedIndex;
pub(crate) use self::stream::{JournalPlace, StreamIndex};

use self::deleted::Deleted;
use self::live::Live;
use crate::format::{BatchView, Checkpoint, Record, RecordKind};

/// Streams, segments, and the place of each record.
#[derive(Debug)]
pub(crate) struct Index<F> {
    pub(crate) streams: BTreeMap<u64, StreamIndex>,
    pub(crate) segments: BTreeMap<u64, Segment<F>>,
    pub(crate) deleted: Deleted,
    pub(crate) live: Live,
}

/// A segment that may hold live records.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) file: Arc<F>,
    /// Size of the file in bytes.
    pub(crate) bytes: u64,
}

impl<F> Index<F> {
    /// An index with the content of this checkpoint.
    pub(crate) fn new(checkpoint: &Checkpoint) -> Self {
        let streams = checkpoint.streams.iter();
        Self {
            streams: streams.map(|(stream, known)| (*stream, StreamIndex::adopt(known))).collect(),
            segments: BTreeMap::new(),
            deleted: Deleted::new(&checkpoint.deleted),
            live: Live::default(),
        }
    }

    /// Adds all records of a batch of `batch_bytes` bytes without padding.
    pub(crate) fn add_batch(&mut self, batch: &BatchView<'_>, segment: u64, batch_bytes: u64) {
        for stored in batch.records() {
            let place = Place::of(&stored.record, segment, stored.offset, batch_bytes);
            self.add(&stored.record, stored.payload, place);
        }
    }

    /// Adds one record. Records come in the order of their LSNs.
    pub(crate) fn add(&mut self, record: &Record, payload: &[u8], place: Place) {
        if matches!(record.kind, RecordKind::Begin | RecordKind::Commit) || self.deleted.contains(record.stream) {
            return;
        }
        let stream = self.streams.entry(record.stream).or_default();
        if record.kind == RecordKind::StreamDeleted {
            stream.clear(&mut self.live);
            self.streams.remove(&record.stream);
            self.deleted.insert(record.stream);
        } else {
            let before = self.live.total();
            stream.apply(record, payload, place, &mut self.live);
            stream.bytes = stream.bytes + self.live.total() - before;
        }
    }

    /// Bytes of all segments.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The oldest segment.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }
}
