//! Reads all segments of a log, one after the other.

use std::path::Path;

use super::listing::OpenSegment;
use super::progress::{Failure, SegmentFile};
use super::scan::{Scan, Seen};
use super::tail::Tail;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::files::{Files, io_error, segment_name};
use crate::format::{Checkpoint, RecordLink};
use crate::index::{Index, Segment};
use crate::stream_id::StreamId;

/// The result of a scan of all segments.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The last record.
    pub(crate) progress: RecordLink,
    pub(crate) tail: Tail,
    /// Number of batches that lost only records with another copy.
    pub(crate) repaired: u64,
}

/// Reads all segments into the index, and reports each finding to `watch`. After an error the index holds the records
/// before it.
pub(crate) fn scan_all<D: Disk>(
    files: &Files<D>,
    segments: &[OpenSegment<D::File>],
    checkpoint: &Checkpoint,
    index: &mut Index<D::File>,
    watch: &mut dyn FnMut(&Seen),
) -> Result<Scanned, OpenError> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(OpenError::MissingSegment { segment: checkpoint.oldest_segment });
    };
    let mut progress = RecordLink { lsn: first.header.first_lsn.saturating_sub(1), chain: first.header.chain };
    let (mut repaired, mut tail, mut known) = (0, Tail::default(), 0);
    for (number, OpenSegment { file, header }) in segments.iter().enumerate() {
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
            // The file had its full size, durably, before it had its name: no crash makes it shorter.
            let what = "the file ends here, and its header says that it is longer";
            return Err(OpenError::Corrupt { stream: StreamId(0), position: 0, segment, offset: length, what });
        }
        let anchor = RecordLink { lsn: checkpoint.durable_lsn, chain: checkpoint.durable_chain };
        let segment = SegmentFile { file: &**file, id: segment, length: header.bytes };
        let mut scan = Scan::new(segment, index, progress, anchor, watch);
        let outcome = match segments.get(number + 1) {
            Some(next) => scan.sealed(next.header.chain, next.header.first_lsn),
            None => scan.last(checkpoint.durable_lsn).map(|found| tail = found),
        };
        outcome.map_err(|failure| explain(failure, &path))?;
        progress = scan.progress;
        known = known.max(scan.checkpoint);
        repaired += scan.repaired;
        index.segments.insert(header.id, Segment { file: file.clone(), bytes: header.bytes });
    }
    if known > checkpoint.generation {
        return Err(OpenError::CheckpointOutdated { found: checkpoint.generation, known });
    }
    check_holes(index, last.header.id)?;
    Ok(Scanned { progress, tail, repaired })
}

/// Every stream must have all entries from its base on.
fn check_holes<F>(index: &Index<F>, segment: u64) -> Result<(), OpenError> {
    for (stream, known) in &index.streams {
        if let Some(position) = known.hole() {
            let what = "the entry is in no segment";
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
