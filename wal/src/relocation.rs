//! Moves the few live records of the oldest segment to the head, so that it can be freed.

use std::sync::Arc;

use quorate_protocol::LoadFailure;

use crate::appender::Appender;
use crate::disk::Disk;
use crate::error::SubmissionRefusal;
use crate::format::{RECORD_HEADER_BYTES, RecordKind};
use crate::index::{Index, JournalPlace, Point};
use crate::poison::DiskFault;
use crate::reader::{read_journal, read_point};
use crate::settings::LogSettings;
use crate::stream_id::StreamId;

/// Decides when records are moved, and remembers why they were not.
#[derive(Debug)]
pub(crate) struct Relocation {
    /// As [`LogSettings::pinned_bytes_max`].
    pinned_bytes_max: u64,
    /// As [`LogSettings::rewrite_bytes_max`].
    rewrite_bytes_max: u64,
    /// Streams that keep the oldest segment in use with more bytes than are moved.
    compaction_wanted: Vec<StreamId>,
    /// The segments at the time when the streams with records in the oldest one were last looked up.
    pins_seen: Option<Span>,
    /// The segments at the time when a move failed. It is not tried again before one of them changes.
    moves_blocked: Option<Span>,
}

/// The segments of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    oldest: u64,
    newest: u64,
}

/// The live records of one stream in a segment.
struct Pin {
    stream: StreamId,
    /// Bytes that they take there.
    bytes: u64,
    points: Vec<Point>,
    journal: Vec<(u64, JournalPlace)>,
}

/// Reason why records were not moved. Except after a fault the log goes on, and keeps the segment.
enum Obstacle {
    Fault(DiskFault),
    /// No room for the copies.
    Refused(SubmissionRefusal),
    /// A record cannot be read.
    Unreadable(LoadFailure),
}

impl From<DiskFault> for Obstacle {
    fn from(fault: DiskFault) -> Self {
        Self::Fault(fault)
    }
}

impl Obstacle {
    fn report(self, segment: u64) -> Result<(), DiskFault> {
        match self {
            Self::Fault(fault) => return Err(fault),
            Self::Refused(refusal) => tracing::warn!(segment, %refusal, "a segment of the log cannot be freed"),
            Self::Unreadable(failure) => tracing::error!(segment, ?failure, "a segment of the log cannot be freed"),
        }
        Ok(())
    }
}

impl Relocation {
    pub(crate) fn new(settings: &LogSettings) -> Self {
        Self {
            pinned_bytes_max: settings.pinned_bytes_max,
            rewrite_bytes_max: settings.rewrite_bytes_max,
            compaction_wanted: Vec::new(),
            pins_seen: None,
            moves_blocked: None,
        }
    }

    /// Streams that keep the oldest segment in use with more bytes than are moved.
    pub(crate) fn compaction_wanted(&self) -> &[StreamId] {
        &self.compaction_wanted
    }

    /// Moves the live records of the oldest segments, if the sealed segments take more than twice the live bytes, or
    /// exceed them by more than [`LogSettings::pinned_bytes_max`].
    ///
    /// Each move frees a segment, and costs at most its live bytes: over time no more is moved than was written.
    pub(crate) fn run<D: Disk>(&mut self, appender: &mut Appender<D>) -> Result<(), DiskFault> {
        for _ in 0..SEGMENTS_AT_ONCE {
            let newest = appender.head().segment();
            let (span, sealed, live) = {
                let index = appender.index().read();
                let oldest = index.oldest_segment().unwrap_or(newest);
                let sealed = index.disk_bytes() - appender.head().segment_bytes();
                (Span { oldest, newest }, sealed, index.live.total())
            };
            let is_due = sealed > 2 * live;
            let is_pinned = sealed.saturating_sub(live) > self.pinned_bytes_max;
            if !is_due && !is_pinned {
                self.compaction_wanted.clear();
                return Ok(());
            }
            // To find the streams of a segment, all streams are searched: not with every sync.
            let was_seen = !is_due && self.pins_seen == Some(span);
            if span.oldest == span.newest || was_seen || self.moves_blocked == Some(span) {
                return Ok(());
            }
            self.pins_seen = Some(span);
            let pins = pins_of(&appender.index().read(), span.oldest);
            let large = pins.iter().filter(|pin| pin.bytes > self.rewrite_bytes_max);
            self.compaction_wanted = large.map(|pin| pin.stream).collect();
            if !is_due && !self.compaction_wanted.is_empty() {
                return Ok(());
            }
            if let Err(obstacle) = (Mover { appender: &mut *appender }).run(&pins) {
                self.moves_blocked = Some(span);
                return obstacle.report(span.oldest);
            }
            appender.free_segments()?;
        }
        Ok(())
    }
}

/// The streams with live records in a segment.
fn pins_of<F>(index: &Index<F>, segment: u64) -> Vec<Pin> {
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

/// Copies records to the head.
struct Mover<'a, D: Disk> {
    appender: &'a mut Appender<D>,
}

impl<D: Disk> Mover<'_, D> {
    /// Copies all of these to the head and makes the copies durable.
    fn run(&mut self, pins: &[Pin]) -> Result<(), Obstacle> {
        self.appender.batch().start();
        for pin in pins {
            for point in &pin.points {
                self.move_point(pin.stream, point)?;
            }
            for (key, place) in &pin.journal {
                let file = self.file_of(place.segment);
                let bytes = read_journal::<D>(place, &file, pin.stream, *key).map_err(Obstacle::Unreadable)?;
                self.add(RecordKind::RelocatedJournal, pin.stream, *key, place.origin, &[&bytes])?;
            }
        }
        self.flush()?;
        Ok(self.appender.sync()?)
    }

    fn move_point(&mut self, stream: StreamId, point: &Point) -> Result<(), Obstacle> {
        let file = self.file_of(point.segment);
        let mut outcome = Ok(());
        let read = read_point::<D>(point, &file, stream, point.first..point.end(), &mut |position, mark, entry| {
            let parts = [&entry.encode_header()[..], &entry.payload[..]];
            outcome = self.add(RecordKind::RelocatedEntry, stream, position, mark, &parts);
            outcome.is_ok()
        });
        outcome?;
        read.map(|_| ()).map_err(Obstacle::Unreadable)
    }

    /// Adds a copy to the batch, which is written when it is full.
    fn add(
        &mut self,
        kind: RecordKind,
        stream: StreamId,
        position: u64,
        mark: u64,
        parts: &[&[u8]],
    ) -> Result<(), Obstacle> {
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>() + RECORD_HEADER_BYTES + RECORD_PADDING_MAX;
        if self.appender.batch().bytes_max() + bytes as u64 > self.appender.batch_bytes_max() {
            self.flush()?;
            self.appender.batch().start();
        }
        self.appender.batch().push(kind, stream.0, position, mark, parts);
        self.appender.counters().relocated += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Obstacle> {
        if self.appender.batch().is_empty() {
            return Ok(());
        }
        self.appender.make_room()?.map_err(Obstacle::Refused)?;
        Ok(self.appender.write(true)?)
    }

    fn file_of(&self, segment: u64) -> Arc<D::File> {
        self.appender.index().read().segments[&segment].file.clone()
    }
}

/// Maximum number of segments that one call frees.
const SEGMENTS_AT_ONCE: usize = 4;
const RECORD_PADDING_MAX: usize = 8;
