//! What is done to a torn tail: kept aside, then cleared.

use std::io;
use std::sync::Arc;

use super::scan::Tail;
use crate::disk::{Disk, DiskFile};
use crate::files::{FileName, Files, TMP, cut_name, zero};

/// How much recovery writes at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Of what is cut.
    pub(crate) cut_bytes: u64,
    pub(crate) cut_files: usize,
    /// To a segment that is shorter than it says.
    pub(crate) segment_bytes: u64,
}

/// Keeps the first bytes of a cut tail in a file of their own, and the newest such files.
pub(super) fn keep_cut<D: Disk>(
    files: &Files<D>,
    file: &Arc<D::File>,
    segment: u64,
    start: u64,
    end: u64,
    bounds: Bounds,
) -> io::Result<()> {
    let mut cuts = files.disk.list(&files.directory)?;
    cuts.retain(|name| FileName::parse(name) == FileName::Cut);
    let name = cut_name(segment, start);
    if !cuts.contains(&name) {
        let excess = (cuts.len() + 1).saturating_sub(bounds.cut_files);
        for oldest in cuts.iter().take(excess) {
            files.remove(oldest)?;
        }
    }
    let mut bytes = vec![0; usize::try_from((end - start).min(bounds.cut_bytes)).unwrap_or(0)];
    let read = file.read_at(start, &mut bytes)?;
    bytes.truncate(read);
    let unfinished = format!("{name}{TMP}");
    match files.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let kept = files.disk.create(&files.path(&unfinished))?;
    kept.write_at(0, &bytes)?;
    kept.sync_all()?;
    files.rename(&unfinished, &name)?;
    files.sync_dir()
}

/// Clears everything behind the last batch, where something of this segment was found there, and gives the file its size.
pub(super) fn clear(file: &impl DiskFile, tail: &Tail, bytes: u64) -> io::Result<()> {
    let length = file.len()?;
    if tail.cut_end.is_none() && length >= bytes {
        return Ok(());
    }
    let start = if tail.cut_end.is_some() { tail.offset } else { length };
    zero(file, start, bytes)?;
    file.sync_all()
}
