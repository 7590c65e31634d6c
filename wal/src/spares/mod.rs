//! Segment files prepared in advance: filled with zeros, or freed and used again. A file that grows makes every sync
//! slower.

mod maker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) use self::maker::SegmentMaker;
use crate::disk::{Disk, DiskFile};
use crate::files::{Files, is_full, segment_name, spare_name, zero};

/// The next segments of the log.
///
/// The log fills them itself, a part at a time, or another thread does with a [`SegmentMaker`]. Clones are the same
/// segments.
pub(crate) struct Spares<D: Disk> {
    inner: Arc<Inner<D>>,
}

struct Inner<D: Disk> {
    files: Files<D>,
    segment_bytes: u64,
    /// The file under construction. Held while a part of it is written and synced, so it is locked before `state`.
    filling: Mutex<Option<Filling<D::File>>>,
    /// Never held while the disk works, so that writers of the log do not wait for it.
    state: Mutex<State>,
    /// Notified when `wanted` has grown, or no more files are to be made.
    changed: Condvar,
}

struct Filling<F> {
    file: F,
    filled: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of the files that are ready. At most [`SPARES_MAX`].
    ready: Vec<u64>,
    /// Bytes of the file under construction, if there is one.
    filled: Option<u64>,
    next_number: u64,
    /// The last attempt to make one failed for lack of room.
    is_low: bool,
    /// Bytes to which another thread is to fill the next file.
    wanted: u64,
    /// True if another thread fills the files.
    is_made_elsewhere: bool,
    /// The failure of the other thread, until the log takes it.
    failure: Option<io::Error>,
    /// True if no more files are to be made by the other thread.
    is_closed: bool,
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
        let state = Mutex::new(State { ready, next_number, ..State::default() });
        let inner = Inner { files, segment_bytes, filling: Mutex::new(None), state, changed: Condvar::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Size of a segment file in bytes.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.inner.segment_bytes
    }

    /// Returns true if no file is ready, and the last attempt to make one failed for lack of room.
    pub(crate) fn is_low(&self) -> bool {
        let state = self.state();
        state.is_low && state.ready.is_empty()
    }

    /// Returns true if a file is under construction, which the next call of [`Spares::fill`] continues.
    pub(crate) fn is_filling(&self) -> bool {
        self.state().filled.is_some()
    }

    /// Bytes of the files that are ready or under construction.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.state();
        state.ready.len() as u64 * self.segment_bytes() + state.filled.unwrap_or(0)
    }

    /// Returns true if another thread fills the files.
    pub(crate) fn is_made_elsewhere(&self) -> bool {
        self.state().is_made_elsewhere
    }

    /// Tells the other thread to fill the next file to this size, if no file is ready.
    pub(crate) fn want(&self, bytes: u64) {
        let mut state = self.state();
        let was_wanted = state.is_wanted();
        state.wanted = state.wanted.max(bytes);
        if !was_wanted && state.is_wanted() {
            drop(state);
            self.inner.changed.notify_all();
        }
    }

    /// The failure of the other thread, once.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.state().failure.take()
    }

    /// Fills the next file a little further. Lack of room is not an error: the log is low then, until a later call
    /// succeeds.
    pub(crate) fn fill(&self, bytes: u64) -> io::Result<()> {
        let filling = &mut *self.filling();
        if self.has_ready() {
            self.state().is_low = false;
            return Ok(());
        }
        let outcome = self.try_fill(filling, bytes);
        let is_low = match &outcome {
            Err(error) if is_full(error) => {
                self.abandon(filling)?;
                true
            }
            _ => self.state().is_low && !self.has_ready(),
        };
        self.state().is_low = is_low;
        if is_low { Ok(()) } else { outcome }
    }

    /// The name of a ready file, which is made now if there is none.
    pub(crate) fn take(&self) -> io::Result<String> {
        if let Some(number) = self.pop() {
            return Ok(spare_name(number));
        }
        let filling = &mut *self.filling();
        if let Err(error) = self.try_fill(filling, self.segment_bytes()) {
            self.state().is_low |= is_full(&error);
            self.abandon(filling)?;
            return Err(error);
        }
        let number = self.pop().expect("a file was just made, and only the log takes one");
        Ok(spare_name(number))
    }

    /// Takes over a segment that is not needed, or removes it. The caller must sync the directory.
    pub(crate) fn offer(&self, segment: u64, bytes: u64) -> io::Result<()> {
        let filling = &mut *self.filling();
        if bytes != self.segment_bytes() || self.state().ready.len() >= SPARES_MAX {
            return self.inner.files.remove(&segment_name(segment));
        }
        let number = self.state().number();
        self.inner.files.rename(&segment_name(segment), &spare_name(number))?;
        self.state().add(number);
        self.state().is_low = false;
        self.abandon(filling)
    }

    fn try_fill(&self, filling: &mut Option<Filling<D::File>>, bytes: u64) -> io::Result<()> {
        if self.has_ready() {
            return Ok(());
        }
        let Inner { files, segment_bytes, .. } = &*self.inner;
        let mut file = match filling.take() {
            Some(file) => file,
            // Filling the free space and giving it back would take room from snapshots, which could make more.
            None if files.disk.available()?.is_some_and(|bytes| bytes < *segment_bytes) => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            None => Filling { file: files.disk.create(&files.path(FILLING))?, filled: 0 },
        };
        let end = file.filled.saturating_add(bytes).min(*segment_bytes);
        let outcome = zero(&file.file, file.filled, end);
        file.filled = end;
        self.state().filled = Some(end);
        let file = filling.insert(file);
        outcome?;
        // Synced in parts, since one sync of a whole segment would hold up the batches behind it.
        file.file.sync_all()?;
        if end < *segment_bytes {
            return Ok(());
        }
        *filling = None;
        self.state().filled = None;
        let number = self.state().number();
        files.rename(FILLING, &spare_name(number))?;
        // Until its name is durable it is no file that the log may rely on.
        let synced = files.sync_dir();
        self.state().add(number);
        synced
    }

    /// Removes the file under construction.
    fn abandon(&self, filling: &mut Option<Filling<D::File>>) -> io::Result<()> {
        self.state().filled = None;
        match filling.take() {
            Some(_) => self.inner.files.remove(FILLING),
            None => Ok(()),
        }
    }

    fn has_ready(&self) -> bool {
        !self.state().ready.is_empty()
    }

    fn pop(&self) -> Option<u64> {
        let mut state = self.state();
        let number = (!state.ready.is_empty()).then(|| state.ready.remove(0));
        state.wanted = 0;
        number
    }

    fn filling(&self) -> MutexGuard<'_, Option<Filling<D::File>>> {
        self.inner.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Clone for Spares<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl State {
    /// Returns true if the other thread is to fill the next file further.
    fn is_wanted(&self) -> bool {
        self.ready.is_empty() && self.filled.unwrap_or(0) < self.wanted
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    fn add(&mut self, number: u64) {
        self.ready.push(number);
        self.wanted = 0;
    }
}

/// One for the next segment, one for the segment after it.
const SPARES_MAX: usize = 2;
const FILLING: &str = "spare.tmp";
