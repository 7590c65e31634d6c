//! Inspects a log without changing it: prints its content, and the result that opening it would have.
//!
//! It reads and judges with the code that opens a log.

mod condition;
mod print;

use std::io::{self, Write};
use std::path::Path;

use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};

pub use self::condition::{Condition, Detail};

use self::print::Printer;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::files::{CHECKPOINTS, Files, segment_name};
use crate::format::{ALIGNMENT, Checkpoint, SegmentHeader};
use crate::index::Index;
use crate::opening::{Listing, OpenSegment, read_checkpoint, scan_all};

/// Inspects the log in `directory` of `disk` and prints the findings to `out`. Changes nothing and takes no lock.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use std::path::Path;
/// use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};
/// use quorate_wal::inspect::{Detail, Condition, inspect};
/// use quorate_wal::{LogSettings, Wal, disk::MemoryDisk};
///
/// let disk = MemoryDisk::new();
/// let identity = Identity { cluster: ClusterId(7), node: NodeId(1), incarnation: Incarnation(9) };
/// let settings = LogSettings { segment_bytes: 64 << 10, batch_bytes_max: 16 << 10, ..LogSettings::default() };
/// Wal::open(disk.clone(), settings, identity)?.0.close()?;
/// let mut text = Vec::new();
/// assert_eq!(inspect(&disk, Path::new("log"), Detail::Condition, &mut text)?, Condition::Clean);
/// assert_eq!(text, b"clean\n");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When writing to `out` fails. A log that cannot be read is no error, but a [`Condition`].
pub fn inspect<D: Disk>(disk: &D, directory: &Path, detail: Detail, out: &mut dyn Write) -> io::Result<Condition> {
    let files = Files { disk: disk.clone(), directory: directory.to_owned() };
    let mut printer = Printer::new(out, detail);
    let condition = match look(&files, &mut printer) {
        Ok(condition) => condition,
        Err(error) => {
            let condition = Condition::of(&error);
            match condition {
                Condition::Unreadable => printer.obstacle(&error),
                _ => printer.problem(&error),
            }
            condition
        }
    };
    printer.condition(condition);
    printer.finish().map(|()| condition)
}

fn look<D: Disk>(files: &Files<D>, printer: &mut Printer<'_>) -> Result<Condition, OpenError> {
    let mut listing = Listing::read(files)?;
    if listing.segments.is_empty() && listing.checkpoints == 0 {
        printer.obstacle(&"there is no log here");
        return Ok(Condition::Unreadable);
    }
    let identity = owner(files, &listing);
    printer.identity(&identity);
    let mut condition = Condition::Clean;
    for name in &listing.unknown {
        condition = Condition::Corrupt;
        printer.problem(&OpenError::UnknownFile { path: name.into() });
    }
    for (copy, name) in CHECKPOINTS.iter().enumerate() {
        let bytes = files.read_checkpoint(copy)?;
        let read = bytes.map(|bytes| Checkpoint::decode(&bytes, &identity));
        if !matches!(read, Some(Ok(_))) {
            condition = condition.max(Condition::Torn);
        }
        printer.checkpoint(name, read.as_ref().map(Result::as_ref));
    }
    let (checkpoint, _) = read_checkpoint(files, &identity)?;
    let freed = listing.take_freed(&checkpoint);
    printer.other_files(&listing, freed.len());
    printer.deleted(&checkpoint);
    listing.check_sequence(&checkpoint)?;
    let segments = listing.open_segments(files, &identity)?;
    Ok(condition.max(scan(files, &segments, &checkpoint, printer)?))
}

fn scan<D: Disk>(
    files: &Files<D>,
    segments: &[OpenSegment<D::File>],
    checkpoint: &Checkpoint,
    printer: &mut Printer<'_>,
) -> Result<Condition, OpenError> {
    let mut index = Index::new(checkpoint);
    let scanned = scan_all(files, segments, checkpoint, &mut index, &mut |seen| printer.seen(seen));
    for (stream, known) in &index.streams {
        printer.stream(*stream, known);
    }
    let scanned = scanned?;
    if let Some(last) = segments.last() {
        printer.tail(&last.header, &scanned.tail);
        if let Some(doubt) = scanned.tail.doubt {
            printer.doubt(last.header.id, doubt.offset, scanned.tail.offset);
        }
    }
    let is_whole = scanned.tail.cut_end.is_none() && scanned.repaired == 0;
    Ok(if is_whole { Condition::Clean } else { Condition::Torn })
}

/// The identity of the log, from the first file with an intact header. Files of another identity are found by it.
fn owner<D: Disk>(files: &Files<D>, listing: &Listing) -> Identity {
    let of_segment = |id: &u64| {
        let file = files.disk.open(&files.path(&segment_name(*id))).ok()?;
        let mut sector = vec![0; ALIGNMENT];
        let read = file.read_at(0, &mut sector).ok()?;
        SegmentHeader::owner(&sector[..read])
    };
    let of_checkpoint = |copy| Checkpoint::owner(&files.read_checkpoint(copy).ok()??);
    let nobody = Identity { cluster: ClusterId(0), node: NodeId(0), incarnation: Incarnation(0) };
    listing
        .segments
        .iter()
        .find_map(of_segment)
        .or_else(|| (0..CHECKPOINTS.len()).find_map(of_checkpoint))
        .unwrap_or(nobody)
}
