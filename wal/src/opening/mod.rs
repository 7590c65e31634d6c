//! From the files of a directory to a log that can be written.
//!
//! Nothing is written before everything was read and accepted.

mod evidence;
mod repair;
mod rewrite;
mod scan;
mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::Identity;

pub(crate) use scan::{Progress, Seen, Tail, take_note};

use scan::{Failure, Scan};

use crate::disk::{Disk, DiskFile};
use crate::files::{FileName, Files, io_error, is_full, refused, segment_name};
use crate::format::{Checkpoint, CheckpointError, Record, SegmentHeader};
use crate::index::{Index, Segment};
use crate::{Cut, OpenError, Report, StreamId};

/// What was found, accepted and, where needed, put right.
pub(crate) struct Recovered<F> {
    pub(crate) index: Index<F>,
    pub(crate) report: Report,
    /// The last segment.
    pub(crate) active: u64,
    pub(crate) progress: Progress,
    pub(crate) tail: Tail,
    pub(crate) checkpoint: Checkpoint,
    /// Spare files by number.
    pub(crate) spares: Vec<u64>,
}

/// The names in the directory, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<u64>,
    pub(crate) spares: Vec<u64>,
    pub(crate) cuts: Vec<String>,
    pub(crate) leftovers: Vec<String>,
    pub(crate) unknown: Vec<String>,
    /// Copies of the checkpoint.
    pub(crate) checkpoints: u64,
}

/// What a scan of all segments came to.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) progress: Progress,
    pub(crate) tail: Tail,
    /// Batches that lost nothing but what was there twice.
    pub(crate) repaired: u64,
}

/// Reads the whole log, refuses what cannot be, and puts a torn tail right.
pub(crate) fn recover<D: Disk>(
    files: &Files<D>,
    identity: &Identity,
    bounds: tail::Bounds,
) -> Result<Recovered<D::File>, OpenError> {
    let mut listing = list(files)?;
    if let Some(name) = listing.unknown.first() {
        return Err(OpenError::UnknownFile { path: files.path(name) });
    }
    let (mut checkpoint, copies) = read_checkpoint(files, identity)?;
    let freed = listing.take_freed(&checkpoint);
    check_sequence(&listing.segments, &checkpoint)?;
    let headers = open_all(files, identity, &listing.segments)?;
    let mut index = Index::new();
    let Scanned { progress, tail, repaired } = scan_all(files, &headers, &checkpoint, &mut index, &mut |_| {})?;
    if copies == Copies::Both {
        // The newer one may be in memory alone, after a sync of it that failed: it is written again first.
        checkpoint.generation += 1;
    }
    let report = Report { repaired_batches: repaired, ..Report::default() };
    let active = headers[headers.len() - 1].1.id;
    let spares = listing.spares;
    let mut recovered = Recovered { index, report, active, progress, tail, checkpoint, spares };
    listing.leftovers.extend(freed.into_iter().map(segment_name));
    let (file, header) = &headers[headers.len() - 1];
    recovered.keep_cut(files, file, header, bounds)?;
    if recovered.write_anew(files, file, header, bounds)? {
        let report = recovered.report;
        let mut recovered = recover(files, identity, bounds)?;
        recovered.report = report;
        return Ok(recovered);
    }
    recovered.put_right(files, file, header, &listing.leftovers)?;
    Ok(recovered)
}

pub(crate) use tail::Bounds;

pub(crate) type Opened<F> = (Arc<F>, SegmentHeader);

pub(crate) fn list<D: Disk>(files: &Files<D>) -> Result<Listing, OpenError> {
    let names = files.disk.list(&files.directory).map_err(|error| io_error(&files.directory, error))?;
    let mut listing = Listing::default();
    for name in names {
        match FileName::parse(&name) {
            FileName::Segment(id) => listing.segments.push(id),
            FileName::Spare(id) => listing.spares.push(id),
            FileName::Leftover => listing.leftovers.push(name),
            FileName::Checkpoint => listing.checkpoints += 1,
            FileName::Cut => listing.cuts.push(name),
            FileName::Unknown => listing.unknown.push(name),
        }
    }
    Ok(listing)
}

impl Listing {
    /// Takes the segments out that the checkpoint knows to be free.
    pub(crate) fn take_freed(&mut self, checkpoint: &Checkpoint) -> Vec<u64> {
        let (freed, needed) = self.segments.iter().partition(|id| **id < checkpoint.oldest_segment);
        self.segments = needed;
        freed
    }
}

/// The newer one of the copies that are whole, and whether both are.
pub(crate) fn read_checkpoint<D: Disk>(
    files: &Files<D>,
    identity: &Identity,
) -> Result<(Checkpoint, Copies), OpenError> {
    let mut whole: Vec<Checkpoint> = Vec::new();
    for (copy, name) in crate::files::CHECKPOINTS.iter().enumerate() {
        let Some(bytes) = files.read_checkpoint(copy)? else { continue };
        match Checkpoint::decode(&bytes, identity) {
            Ok(found) => whole.push(found),
            Err(CheckpointError::Damaged) => {}
            Err(CheckpointError::Refused(error)) => return Err(refused(&files.path(name), error)),
        }
    }
    let copies = if whole.len() == crate::files::CHECKPOINTS.len() { Copies::Both } else { Copies::One };
    let newest = whole.into_iter().max_by_key(|checkpoint| checkpoint.generation);
    newest.map(|newest| (newest, copies)).ok_or(OpenError::CheckpointsLost)
}

/// How many copies of the checkpoint are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    Both,
    One,
}

/// Every segment from the oldest needed one to the newest known one must be there.
pub(crate) fn check_sequence(segments: &[u64], checkpoint: &Checkpoint) -> Result<(), OpenError> {
    let newest = segments.last().copied().unwrap_or(0).max(checkpoint.newest_segment);
    let mut present = segments.iter();
    for id in checkpoint.oldest_segment..=newest {
        if present.next() != Some(&id) {
            return Err(OpenError::MissingSegment { segment: id });
        }
    }
    Ok(())
}

pub(crate) fn open_all<D: Disk>(
    files: &Files<D>,
    identity: &Identity,
    segments: &[u64],
) -> Result<Vec<Opened<D::File>>, OpenError> {
    let mut opened: Vec<Opened<D::File>> = Vec::new();
    for id in segments {
        let (file, header) = files.open_segment(*id, identity)?;
        if opened.last().is_some_and(|(_, before)| before.first_lsn >= header.first_lsn) {
            let path = files.path(&segment_name(*id));
            return Err(OpenError::DamagedHeader { path, field: "first LSN" });
        }
        opened.push((Arc::new(file), header));
    }
    Ok(opened)
}

/// Reads all segments into the index, which holds what was read until an error, too. Shows everything it comes by to
/// `watch`.
pub(crate) fn scan_all<D: Disk>(
    files: &Files<D>,
    headers: &[Opened<D::File>],
    checkpoint: &Checkpoint,
    index: &mut Index<D::File>,
    watch: &mut dyn FnMut(&Seen),
) -> Result<Scanned, OpenError> {
    index.adopt(checkpoint);
    let (_, first) = headers.first().ok_or(OpenError::MissingSegment { segment: checkpoint.oldest_segment })?;
    let mut progress = Progress { lsn: first.first_lsn.saturating_sub(1), chain: first.chain };
    let (mut repaired, mut tail, mut known) = (0, Tail::default(), 0);
    for (number, (file, header)) in headers.iter().enumerate() {
        let path = files.path(&segment_name(header.id));
        if progress.chain != header.chain {
            return Err(OpenError::DamagedHeader { path, field: "chain" });
        }
        if progress.lsn >= header.first_lsn {
            return Err(OpenError::DamagedHeader { path, field: "first LSN" });
        }
        progress.lsn = header.first_lsn - 1;
        let length = file.len().map_err(|error| io_error(&path, error))?;
        watch(&Seen::Segment { header: *header, length });
        let segment = header.id;
        if length < header.bytes {
            // It was made at its full size, durably, before it had its name: no crash makes it shorter.
            let what = "the file ends here, and its header says that it is longer";
            return Err(OpenError::Corrupt { stream: StreamId(0), position: 0, segment, offset: length, what });
        }
        let mut scan = Scan {
            file: &**file,
            segment,
            length: header.bytes,
            index: &mut *index,
            progress,
            checkpoint: known,
            anchor: Progress { lsn: checkpoint.durable_lsn, chain: checkpoint.durable_chain },
            repaired: 0,
            watch,
            doubts: VecDeque::new(),
            marker: None,
        };
        let outcome = match headers.get(number + 1) {
            Some((_, next)) => scan.sealed(next.chain, next.first_lsn),
            None => scan.last(checkpoint.durable_lsn).map(|found| tail = found),
        };
        outcome.map_err(|failure| explain(failure, &path))?;
        progress = scan.progress;
        known = scan.checkpoint;
        repaired += scan.repaired;
        index.segments.insert(header.id, Segment { file: file.clone(), bytes: header.bytes });
    }
    if known > checkpoint.generation {
        return Err(OpenError::CheckpointOutdated { found: checkpoint.generation, known });
    }
    check_holes(index, headers[headers.len() - 1].1.id)?;
    Ok(Scanned { progress, tail, repaired })
}

/// Every stream must have all entries from its base on.
fn check_holes<F>(index: &Index<F>, segment: u64) -> Result<(), OpenError> {
    for (stream, known) in &index.streams {
        if let Some(position) = known.hole() {
            let what = "the entry lies in no segment";
            return Err(OpenError::Corrupt { stream: StreamId(*stream), position, segment, offset: 0, what });
        }
    }
    Ok(())
}

fn explain(failure: Failure, path: &Path) -> OpenError {
    match failure {
        Failure::Io(error) => io_error(path, error),
        Failure::Corrupt(error) => error,
    }
}

impl<F: DiskFile> Recovered<F> {
    /// Keeps a torn tail aside, for people.
    fn keep_cut<D: Disk<File = F>>(
        &mut self,
        files: &Files<D>,
        file: &Arc<F>,
        header: &SegmentHeader,
        bounds: Bounds,
    ) -> Result<(), OpenError> {
        let Some(end) = self.tail.cut_end else { return Ok(()) };
        let cut = Cut { segment: header.id, offset: self.tail.offset, bytes: end - self.tail.offset };
        tracing::warn!(segment = cut.segment, offset = cut.offset, bytes = cut.bytes, "torn tail of the log cut");
        self.report.cut = Some(cut);
        match tail::keep_cut(files, file, header.id, cut.offset, end, bounds) {
            // They are for people to look at: no reason not to start.
            Err(error) if is_full(&error) => tracing::warn!("no room to keep what was cut"),
            outcome => outcome.map_err(|error| io_error(&files.path(&segment_name(header.id)), error))?,
        }
        Ok(())
    }

    /// Makes what was accepted durable, adopts what a torn tail still says, and cuts it. Each step may be the last one
    /// before a crash: the next open does the same again.
    fn put_right<D: Disk<File = F>>(
        &mut self,
        files: &Files<D>,
        file: &Arc<F>,
        header: &SegmentHeader,
        leftovers: &[String],
    ) -> Result<(), OpenError> {
        let path = files.path(&segment_name(header.id));
        let at = |error| io_error(&path, error);
        // What the last process wrote, renamed and did not sync counts from here on, so it must be durable.
        file.sync_data().map_err(at)?;
        files.sync_dir().map_err(|error| io_error(&files.directory, error))?;
        files.disk.sync_dir(Path::new("")).map_err(|error| io_error(&files.directory, error))?;
        self.report.adopted_states += self.adopt_states();
        self.write_checkpoints(files).map_err(at)?;
        tail::clear(&**file, &self.tail, header.bytes).map_err(at)?;
        for name in leftovers {
            match files.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&files.path(name), error));
                }
                _ => {}
            }
        }
        files.sync_dir().map_err(|error| io_error(&files.directory, error))
    }

    /// A state record is safe to adopt alone, from a batch that is cut. Says how many were adopted.
    fn adopt_states(&mut self) -> u64 {
        let adopted = self.newer_states();
        for (record, payload) in &adopted {
            let stream = self.index.streams.entry(record.stream).or_default();
            stream.state = Some((record.original_lsn(), Bytes::copy_from_slice(payload)));
        }
        adopted.len() as u64
    }

    /// The state records of the torn tail that are newer than what the log holds of their streams, one a stream.
    fn newer_states(&self) -> Vec<(Record, Vec<u8>)> {
        // The newest one of each stream comes last and is kept.
        let newest: BTreeMap<u64, _> = self.tail.states.iter().map(|found| (found.0.stream, found)).collect();
        let is_newer = |record: &Record| {
            let known = self.index.streams.get(&record.stream).and_then(|stream| stream.state.as_ref());
            known.is_none_or(|(lsn, _)| *lsn < record.original_lsn()) && !self.index.deleted.contains(record.stream)
        };
        newest.into_values().filter(|(record, _)| is_newer(record)).cloned().collect()
    }

    fn write_checkpoints<D: Disk>(&mut self, files: &Files<D>) -> io::Result<()> {
        let streams = self.index.streams.iter().map(|(id, stream)| (*id, stream.to_checkpoint())).collect();
        self.checkpoint.newest_segment = self.active;
        self.checkpoint.durable_lsn = self.progress.lsn;
        self.checkpoint.durable_chain = self.progress.chain;
        self.checkpoint.seen_lsn = self.checkpoint.seen_lsn.max(self.tail.seen_lsn).max(self.progress.lsn);
        self.checkpoint.deleted = self.index.deleted.ranges();
        self.checkpoint.streams = streams;
        // One after the other, so that a whole one is there at any moment.
        for _ in 0..2 {
            self.checkpoint.generation += 1;
            files.write_checkpoint(copy_of(self.checkpoint.generation), &self.checkpoint)?;
        }
        Ok(())
    }
}

/// Which copy a generation of the checkpoint goes to.
pub(crate) fn copy_of(generation: u64) -> usize {
    usize::from(!generation.is_multiple_of(2))
}
