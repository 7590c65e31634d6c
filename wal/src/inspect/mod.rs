//! Looks at a log without changing it: what is there, and what the log would say to it when it was opened.
//!
//! It reads with the code that recovery reads with, and judges as it does.

mod print;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};

use crate::OpenError;
use crate::disk::{Disk, DiskFile};
use crate::files::{CHECKPOINTS, Files, segment_name};
use crate::format::{ALIGNMENT, Checkpoint, CheckpointError, SegmentHeader};
use crate::index::Index;
use crate::opening::{Listing, Opened, check_sequence, list, open_all, read_checkpoint, scan_all};

use self::print::Printer;

/// What the state of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is as it was left.
    Clean,
    /// Opening it will put it right: a batch that was being written, or one of two copies of something, is damaged.
    /// Nothing that was acknowledged is lost.
    Torn,
    /// It will not open: what was durable is damaged or missing, or files are not those of one log.
    Corrupt,
    /// It cannot be judged: the disk refuses, there is no log, or it is of a newer format.
    Unreadable,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Clean => 0,
            Verdict::Torn => 1,
            Verdict::Corrupt => 2,
            Verdict::Unreadable => 3,
        })
    }
}

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Identity, files, checkpoints, segments, batches, streams, damage and verdict.
    Everything,
    /// Damage and verdict.
    Verdict,
}

/// Looks at the log in `directory` of `disk` and prints what it finds. Changes nothing and takes no lock.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use std::path::Path;
/// use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};
/// use quorate_wal::inspect::{Detail, Verdict, inspect};
/// use quorate_wal::{Settings, Wal, disk::MemoryDisk};
///
/// let disk = MemoryDisk::new();
/// let identity = Identity { cluster: ClusterId(7), node: NodeId(1), incarnation: Incarnation(9) };
/// let settings = Settings { segment_bytes: 64 << 10, batch_bytes_max: 16 << 10, ..Settings::default() };
/// Wal::open(disk.clone(), settings, identity)?.0.close()?;
/// let mut text = Vec::new();
/// assert_eq!(inspect(&disk, Path::new("log"), Detail::Verdict, &mut text)?, Verdict::Clean);
/// assert_eq!(text, b"clean\n");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When `out` takes no more. That the log cannot be read is a [`Verdict`].
pub fn inspect<D: Disk>(disk: &D, directory: &Path, detail: Detail, out: &mut dyn Write) -> io::Result<Verdict> {
    let files = Files { disk: disk.clone(), directory: directory.to_owned() };
    let mut printer = Printer::new(out, detail);
    let verdict = match look(&files, &mut printer) {
        Ok(verdict) => verdict,
        Err(error) => {
            let verdict = judge(&error);
            match verdict {
                Verdict::Unreadable => printer.obstacle(&error),
                _ => printer.problem(&error),
            }
            verdict
        }
    };
    printer.verdict(verdict);
    printer.finish().map(|()| verdict)
}

fn look<D: Disk>(files: &Files<D>, printer: &mut Printer<'_>) -> Result<Verdict, OpenError> {
    let mut listing = list(files)?;
    if listing.segments.is_empty() && listing.checkpoints == 0 {
        printer.obstacle(&"there is no log here");
        return Ok(Verdict::Unreadable);
    }
    let identity = owner(files, &listing);
    printer.identity(&identity);
    let mut verdict = Verdict::Clean;
    for name in &listing.unknown {
        verdict = Verdict::Corrupt;
        printer.problem(&OpenError::UnknownFile { path: name.into() });
    }
    for (copy, name) in CHECKPOINTS.iter().enumerate() {
        let bytes = files.read_checkpoint(copy)?;
        let read = bytes.map(|bytes| Checkpoint::decode(&bytes, &identity));
        if !matches!(read, Some(Ok(_))) {
            verdict = verdict.max(Verdict::Torn);
        }
        printer.checkpoint(name, read.as_ref().map(Result::as_ref));
    }
    let (checkpoint, _) = read_checkpoint(files, &identity)?;
    let freed = listing.take_freed(&checkpoint);
    printer.other_files(&listing, freed.len());
    printer.deleted(&checkpoint);
    check_sequence(&listing.segments, &checkpoint)?;
    let headers = open_all(files, &identity, &listing.segments)?;
    Ok(verdict.max(scan(files, &headers, &checkpoint, printer)?))
}

fn scan<D: Disk>(
    files: &Files<D>,
    headers: &[Opened<D::File>],
    checkpoint: &Checkpoint,
    printer: &mut Printer<'_>,
) -> Result<Verdict, OpenError> {
    let mut index = Index::new();
    let scanned = scan_all(files, headers, checkpoint, &mut index, &mut |seen| printer.seen(seen));
    for (stream, known) in &index.streams {
        printer.stream(*stream, known);
    }
    let scanned = scanned?;
    let (_, header) = &headers[headers.len() - 1];
    printer.tail(header, &scanned.tail);
    let is_whole = scanned.tail.cut_end.is_none() && scanned.repaired == 0;
    Ok(if is_whole { Verdict::Clean } else { Verdict::Torn })
}

/// Whose log it is, by the first file with a sound header. Files of others are found by that.
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

fn judge(error: &OpenError) -> Verdict {
    match error {
        OpenError::Io { .. } | OpenError::Newer { .. } | OpenError::Features { .. } => Verdict::Unreadable,
        _ => Verdict::Corrupt,
    }
}

/// What a copy of the checkpoint came to: nothing where it is missing.
type Read<'a> = Option<Result<&'a Checkpoint, &'a CheckpointError>>;

/// The first bytes of a state record, as digits.
fn digits(bytes: &Bytes) -> String {
    let shown: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_BYTES { format!("{shown}..") } else { shown }
}

const SHOWN_BYTES: usize = 32;
