//! Creates a log, and locks its directory.

use std::io;
use std::path::{Path, PathBuf};

use quorate_protocol::Identity;

use crate::checkpoints::Checkpoints;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::files::{Files, TMP, io_error, segment_name, zero};
use crate::format::{ALIGNMENT_BYTES, Checkpoint, SEGMENT_DATA_START, SegmentHeader};
use crate::settings::LogSettings;

/// Takes the exclusive lock of the log in `directory`.
pub(crate) fn lock<D: Disk>(disk: &D, directory: &Path) -> Result<D::Lock, OpenError> {
    let path = with_suffix(directory, ".lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => io_error(&path, error),
    })
}

/// Creates the log if it is missing, and returns true if it did. The log is created under another name first, so that
/// it is there whole or not at all.
pub(crate) fn create_if_missing<D: Disk>(
    disk: &D,
    settings: &LogSettings,
    identity: &Identity,
) -> Result<bool, OpenError> {
    let directory = &settings.directory;
    if exists(disk, directory)? {
        return Ok(false);
    }
    let unfinished = Files { disk: disk.clone(), directory: with_suffix(directory, TMP) };
    let made = create(&unfinished, settings, identity).and_then(|()| {
        disk.rename(&unfinished.directory, directory)?;
        disk.sync_dir(Path::new(""))
    });
    match made {
        Ok(()) => Ok(true),
        Err(error) => {
            // The unfinished files would hold room that is needed elsewhere. The next attempt removes those that cannot
            // be removed here.
            for name in disk.list(&unfinished.directory).unwrap_or_default() {
                let _ = unfinished.remove(&name);
            }
            Err(io_error(&unfinished.directory, error))
        }
    }
}

/// Returns true if the directory of the log exists.
pub(crate) fn exists<D: Disk>(disk: &D, directory: &Path) -> Result<bool, OpenError> {
    match disk.list(directory) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(directory, error)),
    }
}

fn create<D: Disk>(files: &Files<D>, settings: &LogSettings, identity: &Identity) -> io::Result<()> {
    files.disk.create_dir(&files.directory)?;
    for name in files.disk.list(&files.directory)? {
        files.remove(&name)?;
    }
    let header =
        SegmentHeader { identity: *identity, id: FIRST_SEGMENT, first_lsn: 1, bytes: settings.segment_bytes, chain: 0 };
    let segment = files.disk.create(&files.path(&segment_name(FIRST_SEGMENT)))?;
    segment.write_at(0, &header.encode())?;
    zero(&segment, SEGMENT_DATA_START, settings.segment_bytes)?;
    segment.sync_all()?;
    let mut checkpoints = Checkpoints::new(files.clone(), Checkpoint::of_new_log(*identity, FIRST_SEGMENT));
    checkpoints.rewrite_both()?;
    files.sync_dir()
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

const FIRST_SEGMENT: u64 = 1;
const _: () = assert!(SEGMENT_DATA_START == ALIGNMENT_BYTES);
