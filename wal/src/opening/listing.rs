//! The files of a log: those that exist, and those that must.

use std::sync::Arc;

use quorate_protocol::Identity;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::files::{CHECKPOINTS, FileName, Files, io_error, refused, segment_name};
use crate::format::{Checkpoint, CheckpointError, SegmentHeader};

/// The names in the directory, by kind.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<u64>,
    pub(crate) spares: Vec<u64>,
    pub(crate) cuts: Vec<String>,
    pub(crate) leftovers: Vec<String>,
    pub(crate) unknown: Vec<String>,
    /// Number of copies of the checkpoint.
    pub(crate) checkpoints: u64,
}

/// A segment that is open, and its header.
#[derive(Debug)]
pub(crate) struct OpenSegment<F> {
    pub(crate) file: Arc<F>,
    pub(crate) header: SegmentHeader,
}

/// The number of intact copies of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copies {
    Both,
    One,
}

impl Listing {
    pub(crate) fn read<D: Disk>(files: &Files<D>) -> Result<Self, OpenError> {
        let names = files.disk.list(&files.directory).map_err(|error| io_error(&files.directory, error))?;
        let mut listing = Self::default();
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

    /// Removes the segments from the listing that the checkpoint says are free, and returns their ids.
    pub(crate) fn take_freed(&mut self, checkpoint: &Checkpoint) -> Vec<u64> {
        let (freed, needed) = self.segments.iter().partition(|id| **id < checkpoint.oldest_segment);
        self.segments = needed;
        freed
    }

    /// Checks that every segment from the oldest needed one to the newest known one is there.
    pub(crate) fn check_sequence(&self, checkpoint: &Checkpoint) -> Result<(), OpenError> {
        let newest = self.segments.last().copied().unwrap_or(0).max(checkpoint.newest_segment);
        let mut present = self.segments.iter();
        for id in checkpoint.oldest_segment..=newest {
            if present.next() != Some(&id) {
                return Err(OpenError::MissingSegment { segment: id });
            }
        }
        Ok(())
    }

    /// Opens all segments and checks their headers.
    pub(crate) fn open_segments<D: Disk>(
        &self,
        files: &Files<D>,
        identity: &Identity,
    ) -> Result<Vec<OpenSegment<D::File>>, OpenError> {
        let mut opened: Vec<OpenSegment<D::File>> = Vec::new();
        for id in &self.segments {
            let (file, header) = files.open_segment(*id, identity)?;
            if opened.last().is_some_and(|before| before.header.first_lsn >= header.first_lsn) {
                let path = files.path(&segment_name(*id));
                return Err(OpenError::DamagedHeader { path, field: "first LSN" });
            }
            opened.push(OpenSegment { file: Arc::new(file), header });
        }
        Ok(opened)
    }
}

/// The newer of the intact copies of the checkpoint, and whether both are intact.
pub(crate) fn read_checkpoint<D: Disk>(
    files: &Files<D>,
    identity: &Identity,
) -> Result<(Checkpoint, Copies), OpenError> {
    let mut whole: Vec<Checkpoint> = Vec::new();
    for (copy, name) in CHECKPOINTS.iter().enumerate() {
        let Some(bytes) = files.read_checkpoint(copy)? else { continue };
        match Checkpoint::decode(&bytes, identity) {
            Ok(found) => whole.push(found),
            Err(CheckpointError::Damaged) => {}
            Err(CheckpointError::Refused(error)) => return Err(refused(&files.path(name), error)),
        }
    }
    let copies = if whole.len() == CHECKPOINTS.len() { Copies::Both } else { Copies::One };
    let newest = whole.into_iter().max_by_key(|checkpoint| checkpoint.generation);
    newest.map(|newest| (newest, copies)).ok_or(OpenError::CheckpointsLost)
}
