//! Moves the few records that pin the oldest segment to the head, so that it can be freed.

use std::sync::Arc;

use quorate_protocol::LoadFailure;

use crate::disk::Disk;
use crate::format::{RECORD_HEADER_BYTES, RecordKind};
use crate::index::{JournalPlace, Point};
use crate::reader::{read_journal, read_point};
use crate::{Poisoned, Refusal, StreamId, Wal};

/// What one stream has in a segment.
struct Pin {
    stream: StreamId,
    /// Bytes that it keeps there.
    bytes: u64,
    points: Vec<Point>,
    journal: Vec<(u64, JournalPlace)>,
}

/// Why records were not moved. The log goes on, and keeps the segment.
enum Obstacle {
    Poisoned(Poisoned),
    /// No room for the copies.
    Refused(Refusal),
    /// A record cannot be read.
    Unreadable(LoadFailure),
}

impl From<Poisoned> for Obstacle {
    fn from(poisoned: Poisoned) -> Self {
        Self::Poisoned(poisoned)
    }
}

impl Obstacle {
    fn report(self, segment: u64) -> Result<(), Poisoned> {
        match self {
            Self::Poisoned(poisoned) => return Err(poisoned),
            Self::Refused(refusal) => tracing::warn!(segment, %refusal, "a segment of the log cannot be freed"),
            Self::Unreadable(failure) => tracing::error!(segment, ?failure, "a segment of the log cannot be freed"),
        }
        Ok(())
    }
}

impl<D: Disk> Wal<D> {
    /// Moves what pins the oldest segments, where the log takes twice as much as what lives in it, or more than
    /// [`Settings::pinned_bytes_max`](crate::Settings::pinned_bytes_max) above that.
    ///
    /// Each move frees a segment, and costs at most what lives in it: over time no more is moved than was written.
    pub(crate) fn relocate(&mut self) -> Result<(), Poisoned> {
        for _ in 0..SEGMENTS_AT_ONCE {
            let (oldest, sealed, live) = {
                let index = self.index();
                let oldest = index.segments.keys().next().copied().unwrap_or(self.head.segment);
                (oldest, index.disk_bytes() - self.head.bytes, index.live.total())
            };
            let is_due = sealed > 2 * live;
            let is_pinned = sealed.saturating_sub(live) > self.settings.pinned_bytes_max;
            if !is_due && !is_pinned {
                self.compaction_wanted.clear();
                return Ok(());
            }
            // Which streams pin a segment takes a look at all of them: not with every sync.
            let span = Some((oldest, self.head.segment));
            let was_seen = !is_due && self.pins_seen == span;
            if oldest == self.head.segment || was_seen || self.moves_blocked == span {
                return Ok(());
            }
            self.pins_seen = span;
            let pins = self.pins(oldest);
            let large = pins.iter().filter(|pin| pin.bytes > self.settings.rewrite_bytes_max);
            self.compaction_wanted = large.map(|pin| pin.stream).collect();
            if !is_due && !self.compaction_wanted.is_empty() {
                return Ok(());
            }
            if let Err(obstacle) = self.move_forward(&pins) {
                self.moves_blocked = span;
                return obstacle.report(oldest);
            }
            self.free_segments()?;
        }
        Ok(())
    }

    fn pins(&self, segment: u64) -> Vec<Pin> {
        let index = self.index();
        let pins = index.streams.iter().map(|(stream, known)| {
            let points: Vec<Point> = known.points.iter().filter(|point| point.segment == segment).copied().collect();
            let journal: Vec<(u64, JournalPlace)> = known
                .journal
                .iter()
                .filter(|(_, place)| place.segment == segment)
                .map(|(key, place)| (*key, *place))
                .collect();
            let bytes = points.iter().map(|point| u64::from(point.charge)).sum::<u64>()
                + journal.iter().map(|(_, place)| u64::from(place.charge)).sum::<u64>();
            Pin { stream: StreamId(*stream), bytes, points, journal }
        });
        pins.filter(|pin| pin.bytes > 0).collect()
    }

    /// Copies all of these to the head and makes the copies durable.
    fn move_forward(&mut self, pins: &[Pin]) -> Result<(), Obstacle> {
        self.builder.start();
        for pin in pins {
            for point in &pin.points {
                self.move_point(pin.stream, point)?;
            }
            for (key, place) in &pin.journal {
                let bytes = read_journal::<D>(place, &self.file_of(place.segment), pin.stream, *key)
                    .map_err(Obstacle::Unreadable)?;
                self.add_moved(RecordKind::RelocatedJournal, pin.stream, *key, place.origin, &[&bytes])?;
            }
        }
        self.flush_moved()?;
        Ok(self.sync_all()?)
    }

    fn move_point(&mut self, stream: StreamId, point: &Point) -> Result<(), Obstacle> {
        let file = self.file_of(point.segment);
        let mut outcome = Ok(());
        let read = read_point::<D>(point, &file, stream, point.first..point.end(), &mut |position, mark, entry| {
            let parts = [&entry.encode_header()[..], &entry.payload[..]];
            outcome = self.add_moved(RecordKind::RelocatedEntry, stream, position, mark, &parts);
            outcome.is_ok()
        });
        outcome?;
        read.map(|_| ()).map_err(Obstacle::Unreadable)
    }

    /// Adds a copy to the batch, which is written when it is full.
    fn add_moved(
        &mut self,
        kind: RecordKind,
        stream: StreamId,
        position: u64,
        mark: u64,
        parts: &[&[u8]],
    ) -> Result<(), Obstacle> {
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>() + RECORD_HEADER_BYTES + RECORD_PADDING_MAX;
        if self.builder.bytes_max() + bytes as u64 > self.settings.batch_bytes_max {
            self.flush_moved()?;
            self.builder.start();
        }
        self.builder.push(kind, stream.0, position, mark, parts);
        self.metrics.relocated += 1;
        Ok(())
    }

    fn flush_moved(&mut self) -> Result<(), Obstacle> {
        if self.builder.is_empty() {
            return Ok(());
        }
        self.make_room()?.map_err(Obstacle::Refused)?;
        Ok(self.write_batch(true)?)
    }

    fn file_of(&self, segment: u64) -> Arc<D::File> {
        self.index().segments[&segment].file.clone()
    }
}

const SEGMENTS_AT_ONCE: usize = 4;
const RECORD_PADDING_MAX: usize = 8;
