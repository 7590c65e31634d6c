//! The log's directory: file names, and operations on whole files.

use std::io;
use std::path::{Path, PathBuf};

use quorate_protocol::Identity;

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::format::{ALIGNMENT_BYTES, Checkpoint, HeaderError, NUMBER_MAX, SegmentHeader};

/// A directory on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Files<D: Disk> {
    pub(crate) disk: D,
    pub(crate) directory: PathBuf,
}

/// The kind of a file in the directory, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Segment(u64),
    Spare(u64),
    Checkpoint,
    Cut,
    Leftover,
    Unknown,
}

impl FileName {
    pub(crate) fn parse(name: &str) -> Self {
        if name.ends_with(TMP) {
            return Self::Leftover;
        }
        let number = |prefix| name.strip_prefix(prefix).and_then(parse_number);
        match (number(SEGMENT), number(SPARE)) {
            (Some(id), _) => Self::Segment(id),
            (_, Some(id)) => Self::Spare(id),
            _ if CHECKPOINTS.contains(&name) => Self::Checkpoint,
            _ if name.starts_with(CUT) => Self::Cut,
            _ => Self::Unknown,
        }
    }
}

impl<D: Disk> Files<D> {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.directory)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.path(name))
    }

    /// Removes a file, if it exists.
    pub(crate) fn remove_if_there(&self, name: &str) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Writes and syncs the copy of the checkpoint that belongs to its generation.
    pub(crate) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let copy = usize::from(!checkpoint.generation.is_multiple_of(2));
        let path = self.path(CHECKPOINTS[copy]);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.create(&path)?,
            other => other?,
        };
        file.write_at(0, &checkpoint.encode())?;
        file.sync_all()
    }

    /// Reads a copy of the checkpoint whole. `None` if the file is missing.
    pub(crate) fn read_checkpoint(&self, copy: usize) -> Result<Option<Vec<u8>>, OpenError> {
        let path = self.path(CHECKPOINTS[copy]);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| io_error(&path, error))?,
        };
        let length = file.len().map_err(|error| io_error(&path, error))?;
        let mut bytes = vec![0; usize::try_from(length.min(CHECKPOINT_BYTES_MAX)).expect("bounded")];
        let read = file.read_at(0, &mut bytes).map_err(|error| io_error(&path, error))?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Opens a segment and checks its header.
    pub(crate) fn open_segment(&self, id: u64, identity: &Identity) -> Result<(D::File, SegmentHeader), OpenError> {
        let path = self.path(&segment_name(id));
        let file = self.disk.open(&path).map_err(|error| io_error(&path, error))?;
        let mut sector = vec![0; usize::try_from(ALIGNMENT_BYTES).expect("small")];
        let read = file.read_at(0, &mut sector).map_err(|error| io_error(&path, error))?;
        let header = SegmentHeader::decode(&sector[..read], id, identity).map_err(|error| refused(&path, error))?;
        Ok((file, header))
    }
}

/// Writes zeros over a part of a file.
pub(crate) fn zero(file: &impl DiskFile, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; ZERO_BYTES];
    let mut at = start;
    while at < end {
        let count = usize::try_from(end - at).map_or(ZERO_BYTES, |rest| rest.min(ZERO_BYTES));
        file.write_at(at, &zeros[..count])?;
        at += count as u64;
    }
    Ok(())
}

pub(crate) fn io_error(path: &Path, error: io::Error) -> OpenError {
    let path = path.to_owned();
    if is_full(&error) { OpenError::DiskFull { path } } else { OpenError::Io { path, error } }
}

/// Returns true if the disk refused for lack of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(crate) fn refused(path: &Path, error: HeaderError) -> OpenError {
    let path = path.to_owned();
    match error {
        HeaderError::Newer { version } => OpenError::Newer { path, version },
        HeaderError::Features { bits } => OpenError::Features { path, bits },
        HeaderError::Foreign { field, expected, found } => OpenError::Foreign { path, field, expected, found },
        HeaderError::Damaged { field } => OpenError::DamagedHeader { path, field },
    }
}

pub(crate) fn segment_name(id: u64) -> String {
    format!("{SEGMENT}{id:016x}")
}

pub(crate) fn spare_name(id: u64) -> String {
    format!("{SPARE}{id:016x}")
}

pub(crate) fn cut_name(segment: u64, offset: u64) -> String {
    format!("{CUT}{segment:016x}-{offset:08x}")
}

fn parse_number(digits: &str) -> Option<u64> {
    let is_ours = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_ours {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().filter(|number| *number <= NUMBER_MAX / 2)
}

/// Suffix of a file under construction. A file that has it when the log is opened was never finished.
pub(crate) const TMP: &str = ".tmp";
pub(crate) const CHECKPOINTS: [&str; 2] = ["checkpoint-a", "checkpoint-b"];
const SEGMENT: &str = "segment-";
const SPARE: &str = "spare-";
const CUT: &str = "cut-";
const ZERO_BYTES: usize = 1 << 20;
/// Enough for a million streams of ordinary state. Bounds the memory that a damaged directory can make opening
/// allocate.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;
