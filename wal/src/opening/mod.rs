//! Opens a log: reads the files of its directory and prepares it for writing.
//!
//! Nothing is written before everything was read and accepted.

mod evidence;
mod listing;
mod progress;
mod repair;
mod rewrite;
mod scan;
mod segments;
mod tail;

use std::collections::BTreeMap;
use std::path::Path;

use quorate_protocol::Identity;

#[cfg(feature = "inspect")]
pub(crate) use self::listing::Listing;
pub(crate) use self::listing::OpenSegment;
pub(crate) use self::tail::{Bounds, Tail};
#[cfg(feature = "inspect")]
pub(crate) use self::{listing::read_checkpoint, scan::Seen, segments::scan_all};

use self::evidence::SoundRecord;
use self::listing::Copies;
use self::rewrite::Rewrite;
use self::segments::Scanned;
use crate::checkpoints::{Checkpoints, DurablePart};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::files::{Files, io_error, is_full, segment_name};
use crate::format::{RecordLink, StateRecord};
use crate::index::Index;
use crate::report::{Cut, OpeningReport};

/// A log that was read, accepted and, if needed, repaired.
pub(crate) struct OpenedLog<D: Disk> {
    pub(crate) index: Index<D::File>,
    pub(crate) report: OpeningReport,
    /// The last segment.
    pub(crate) last: OpenSegment<D::File>,
    pub(crate) last_record: RecordLink,
    pub(crate) tail: Tail,
    pub(crate) checkpoints: Checkpoints<D>,
    /// Numbers of the spare files.
    pub(crate) spares: Vec<u64>,
}

impl<D: Disk> OpenedLog<D> {
    /// Reads the whole log, refuses an invalid one, and cuts a torn tail.
    pub(crate) fn open(files: &Files<D>, identity: &Identity, bounds: Bounds) -> Result<Self, OpenError> {
        let mut listing = listing::Listing::read(files)?;
        if let Some(name) = listing.unknown.first() {
            return Err(OpenError::UnknownFile { path: files.path(name) });
        }
        let (mut checkpoint, copies) = listing::read_checkpoint(files, identity)?;
        let freed = listing.take_freed(&checkpoint);
        listing.check_sequence(&checkpoint)?;
        let mut segments = listing.open_segments(files, identity)?;
        let mut index = Index::new(&checkpoint);
        let Scanned { progress, tail, repaired } =
            segments::scan_all(files, &segments, &checkpoint, &mut index, &mut |_| {})?;
        if copies == Copies::Both {
            // The newer one may be in memory alone, after a sync of it that failed. So it is written again first.
            checkpoint.generation += 1;
        }
        let report = OpeningReport { repaired_batches: repaired, ..OpeningReport::default() };
        let last = segments.pop().expect("a scan without segments fails");
        let checkpoints = Checkpoints::new(files.clone(), checkpoint);
        let mut log = Self { index, report, last, last_record: progress, tail, checkpoints, spares: listing.spares };
        listing.leftovers.extend(freed.into_iter().map(segment_name));
        log.keep_cut(files, bounds)?;
        if log.write_again(files, bounds)? {
            let report = log.report;
            let mut log = Self::open(files, identity, bounds)?;
            log.report = report;
            return Ok(log);
        }
        log.put_right(files, &listing.leftovers)?;
        Ok(log)
    }

    /// Copies a torn tail to a side file, for people.
    fn keep_cut(&mut self, files: &Files<D>, bounds: Bounds) -> Result<(), OpenError> {
        let Some(end) = self.tail.cut_end else { return Ok(()) };
        let segment = self.last.header.id;
        let cut = Cut { segment, offset: self.tail.offset, bytes: end - self.tail.offset };
        tracing::warn!(segment, offset = cut.offset, bytes = cut.bytes, "torn tail of the log cut");
        self.report.cut = Some(cut);
        match tail::keep_cut(files, &*self.last.file, cut, bounds) {
            // The file is only for people to look at, so the log opens without it.
            Err(error) if is_full(&error) => tracing::warn!("no room to keep the bytes of the torn tail"),
            outcome => outcome.map_err(|error| io_error(&files.path(&segment_name(segment)), error))?,
        }
        Ok(())
    }

    /// Writes the batches in doubt to the next segment. Returns true if there were any.
    fn write_again(&mut self, files: &Files<D>, bounds: Bounds) -> Result<bool, OpenError> {
        let Some(doubt) = self.tail.doubt else { return Ok(false) };
        let states = self.newer_states();
        let rewrite = Rewrite {
            files,
            from: &self.last,
            doubt,
            end: self.tail.offset,
            seen_lsn: self.tail.seen_lsn,
            states: &states,
            spares: &self.spares,
            segment_bytes: bounds.segment_bytes,
        };
        rewrite.run()?;
        self.report.adopted_states = states.len() as u64;
        Ok(true)
    }

    /// Makes what was accepted durable, adopts the state records of a torn tail, and cuts it. Each step may be the last
    /// one before a crash: the next open repeats them.
    fn put_right(&mut self, files: &Files<D>, leftovers: &[String]) -> Result<(), OpenError> {
        let path = files.path(&segment_name(self.last.header.id));
        let at = |error| io_error(&path, error);
        // Writes and renames of the last process that were not synced count from here on, so they must be durable.
        self.last.file.sync_data().map_err(at)?;
        files.sync_dir().map_err(|error| io_error(&files.directory, error))?;
        files.disk.sync_dir(Path::new("")).map_err(|error| io_error(&files.directory, error))?;
        self.report.adopted_states += self.adopt_states();
        let (last, seen_lsn) = (self.last_record, self.tail.seen_lsn);
        let durable = DurablePart { newest_segment: self.last.header.id, last, seen_lsn };
        self.checkpoints.update(&self.index, durable);
        self.checkpoints.rewrite_both().map_err(at)?;
        tail::clear(&*self.last.file, &self.tail, self.last.header.bytes).map_err(at)?;
        for name in leftovers {
            files.remove_if_there(name).map_err(|error| io_error(&files.path(name), error))?;
        }
        files.sync_dir().map_err(|error| io_error(&files.directory, error))
    }

    /// Adopts state records of batches that are cut: a state record is safe to adopt alone. Returns the number adopted.
    fn adopt_states(&mut self) -> u64 {
        let adopted = self.newer_states();
        for SoundRecord { record, payload, .. } in &adopted {
            let stream = self.index.streams.entry(record.stream).or_default();
            stream.state = Some(StateRecord { lsn: record.original_lsn(), bytes: payload.clone().into() });
        }
        adopted.len() as u64
    }

    /// The state records of the torn tail that are newer than those in the log, one a stream.
    fn newer_states(&self) -> Vec<SoundRecord> {
        // The newest one of each stream comes last and is kept.
        let newest: BTreeMap<u64, _> = self.tail.states.iter().map(|found| (found.record.stream, found)).collect();
        let is_newer = |found: &&SoundRecord| {
            let stream = found.record.stream;
            let known = self.index.streams.get(&stream).and_then(|known| known.state.as_ref());
            known.is_none_or(|state| state.lsn < found.record.original_lsn()) && !self.index.deleted.contains(stream)
        };
        newest.into_values().filter(is_newer).cloned().collect()
    }
}
