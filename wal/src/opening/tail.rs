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
    /// To the segment that takes what is written anew, unless that needs more.
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
    if let Err(error) = kept.write_at(0, &bytes).and_then(|()| kept.sync_all()) {
        // Half of it is of no use, and holds room.
        let _ = files.remove(&unfinished);
        return Err(error);
    }
    files.rename(&unfinished, &name)?;
    files.sync_dir()
}

/// Clears everything behind the last batch, where something of this segment was found there.
pub(super) fn clear(file: &impl DiskFile, tail: &Tail, bytes: u64) -> io::Result<()> {
    if tail.cut_end.is_none() {
        return Ok(());
    }
    zero(file, tail.offset, bytes)?;
    file.sync_all()
}
