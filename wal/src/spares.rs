//! Segment files prepared in advance: filled with zeros, or freed and used again. A file that grows makes every sync
//! slower.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::files::{Files, is_full, segment_name, spare_name, zero};

/// The next segments of the log.
#[derive(Debug)]
pub(crate) struct Spares<D: Disk> {
    files: Files<D>,
    segment_bytes: u64,
    /// Numbers of the files that are ready. At most [`SPARES_MAX`].
    ready: Vec<u64>,
    filling: Option<Filling<D::File>>,
    next_number: u64,
    /// The last attempt to make one failed for lack of room.
    is_low: bool,
}

#[derive(Debug)]
struct Filling<F> {
    file: F,
    filled: u64,
}

impl<D: Disk> Spares<D> {
    /// Takes over existing spare files, and removes those of another size or above the maximum number.
    pub(crate) fn open(files: Files<D>, segment_bytes: u64, found: &[u64]) -> io::Result<Self> {
        let mut ready = Vec::new();
        for number in found {
            let name = spare_name(*number);
            let length = files.disk.open(&files.path(&name))?.len()?;
            if length == segment_bytes && ready.len() < SPARES_MAX {
                ready.push(*number);
            } else {
                files.remove(&name)?;
            }
        }
        let next_number = found.iter().max().map_or(0, |number| number + 1);
        Ok(Self { files, segment_bytes, ready, filling: None, next_number, is_low: false })
    }

    /// Size of a segment file in bytes.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Returns true if no file is ready, and the last attempt to make one failed for lack of room.
    pub(crate) fn is_low(&self) -> bool {
        self.is_low && self.ready.is_empty()
    }

    /// Returns true if a file is under construction, which the next call of [`Spares::fill`] continues.
    pub(crate) fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Bytes of the files that are ready or under construction.
    pub(crate) fn bytes(&self) -> u64 {
        self.ready.len() as u64 * self.segment_bytes + self.filling.as_ref().map_or(0, |filling| filling.filled)
    }

    /// Fills the next file a little further. Lack of room is not an error: the log is low then, until a later call
    /// succeeds.
    pub(crate) fn fill(&mut self, bytes: u64) -> io::Result<()> {
        if self.has_ready() {
            self.is_low = false;
            return Ok(());
        }
        let outcome = self.try_fill(bytes);
        self.is_low = match &outcome {
            Err(error) if is_full(error) => {
                self.abandon()?;
                true
            }
            _ => self.is_low && !self.has_ready(),
        };
        if self.is_low { Ok(()) } else { outcome }
    }

    /// The name of a ready file, which is made now if there is none.
    pub(crate) fn take(&mut self) -> io::Result<String> {
        if let Err(error) = self.try_fill(self.segment_bytes) {
            self.is_low |= is_full(&error);
            self.abandon()?;
            return Err(error);
        }
        let number = self.ready.remove(0);
        Ok(spare_name(number))
    }

    /// Takes over a segment that is not needed, or removes it. The caller must sync the directory.
    pub(crate) fn offer(&mut self, segment: u64, bytes: u64) -> io::Result<()> {
        if bytes != self.segment_bytes || self.ready.len() >= SPARES_MAX {
            return self.files.remove(&segment_name(segment));
        }
        let number = self.number();
        self.files.rename(&segment_name(segment), &spare_name(number))?;
        self.ready.push(number);
        self.is_low = false;
        self.abandon()
    }

    fn try_fill(&mut self, bytes: u64) -> io::Result<()> {
        if self.has_ready() {
            return Ok(());
        }
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            // Filling the free space and giving it back would take room from snapshots, which could make more.
            None if self.files.disk.available()?.is_some_and(|bytes| bytes < self.segment_bytes) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            None => Filling { file: self.files.disk.create(&self.files.path(FILLING))?, filled: 0 },
        };
        let end = self.segment_bytes.min(filling.filled + bytes);
        let outcome = zero(&filling.file, filling.filled, end);
        filling.filled = end;
        let filling = self.filling.insert(filling);
        outcome?;
        // Synced in parts, since one sync of a whole segment would hold up the batches behind it.
        filling.file.sync_all()?;
        if end < self.segment_bytes {
            return Ok(());
        }
        self.filling = None;
        let number = self.number();
        self.files.rename(FILLING, &spare_name(number))?;
        self.ready.push(number);
        self.files.sync_dir()
    }

    /// Removes the file under construction.
    fn abandon(&mut self) -> io::Result<()> {
        match self.filling.take() {
            Some(_) => self.files.remove(FILLING),
            None => Ok(()),
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }
}

/// One for the next segment, one for the segment after it.
const SPARES_MAX: usize = 2;
const FILLING: &str = "spare.tmp";
