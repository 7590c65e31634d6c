//! A torn tail: copied to a side file, then cleared.

use std::io;

use super::evidence::SoundRecord;
use crate::disk::{Disk, DiskFile};
use crate::files::{FileName, Files, TMP, cut_name, zero};
use crate::format::RecordLink;
use crate::report::Cut;

/// The content of the last segment behind its last batch.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The offset of the next batch.
    pub(crate) offset: u64,
    /// The end of the last batch that is cut. `None` if none is cut.
    pub(crate) cut_end: Option<u64>,
    /// The highest LSN that was found anywhere in the log.
    pub(crate) seen_lsn: u64,
    /// State records behind the last batch, oldest first.
    pub(crate) states: Vec<SoundRecord>,
    /// The first intact batch that nothing shows to be durable.
    pub(crate) doubt: Option<Doubt>,
}

/// An intact batch that nothing shows to be durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    pub(crate) offset: u64,
    /// The last record before it.
    pub(super) before: RecordLink,
    pub(super) last_lsn: u64,
}

/// Bounds on what opening a log writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Maximum bytes kept of a tail that is cut.
    pub(crate) cut_bytes: u64,
    /// Maximum number of files that keep such bytes.
    pub(crate) cut_files: usize,
    /// Bytes of the segment that takes the batches in doubt, unless they need more.
    pub(crate) segment_bytes: u64,
}

/// Copies the first bytes of a cut tail to a file of their own, and removes the oldest such files above the maximum
/// number.
pub(super) fn keep_cut<D: Disk>(files: &Files<D>, file: &D::File, cut: Cut, bounds: Bounds) -> io::Result<()> {
    let mut cuts = files.disk.list(&files.directory)?;
    cuts.retain(|name| FileName::parse(name) == FileName::Cut);
    let name = cut_name(cut.segment, cut.offset);
    if !cuts.contains(&name) {
        let excess = (cuts.len() + 1).saturating_sub(bounds.cut_files);
        for oldest in cuts.iter().take(excess) {
            files.remove(oldest)?;
        }
    }
    let mut bytes = vec![0; usize::try_from(cut.bytes.min(bounds.cut_bytes)).unwrap_or(0)];
    let read = file.read_at(cut.offset, &mut bytes)?;
    bytes.truncate(read);
    let unfinished = format!("{name}{TMP}");
    files.remove_if_there(&unfinished)?;
    let kept = files.disk.create(&files.path(&unfinished))?;
    if let Err(error) = kept.write_at(0, &bytes).and_then(|()| kept.sync_all()) {
        // A partial copy is of no use and takes up room.
        let _ = files.remove(&unfinished);
        return Err(error);
    }
    files.rename(&unfinished, &name)?;
    files.sync_dir()
}

/// Overwrites everything behind the last batch with zeros, if a record of this segment stands there.
pub(super) fn clear(file: &impl DiskFile, tail: &Tail, bytes: u64) -> io::Result<()> {
    if tail.cut_end.is_none() {
        return Ok(());
    }
    zero(file, tail.offset, bytes)?;
    file.sync_all()
}
