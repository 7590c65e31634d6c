//! Carries out the snapshot operations of groups: plain code over a disk, run by a thread or by a simulator.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_protocol::{ClusterId, GroupId, LogIndex, SnapshotMeta};
use quorate_wal::disk::Disk;
use quorate_wal::{SnapshotBuilder, SnapshotContent, SnapshotError, SnapshotFile, SnapshotStore, StoredSnapshot};

use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation, SnapshotReader, SnapshotWriter};
use crate::panics::panic_message;

/// The snapshots of all groups of a node. One directory has a folder for each group.
///
/// At most one thread for each [`SnapshotLane`](crate::group::snapshot::SnapshotLane) may work here at a time.
pub struct SnapshotStores<D: Disk> {
    disk: D,
    directory: PathBuf,
    cluster: ClusterId,
    /// The open folders; `None` for a group that was removed. Locked while a folder is looked up, opened or deleted.
    groups: Mutex<BTreeMap<GroupId, Option<Arc<OfGroup<D>>>>>,
    stop: StopFlag,
}

/// Makes long snapshot operations end early with an error, because the node is about to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

struct OfGroup<D: Disk> {
    store: SnapshotStore<D>,
    /// Locked while one piece is read or written, never for a whole snapshot.
    open: Mutex<Open<D>>,
}

/// Files that stay open between two operations.
struct Open<D: Disk> {
    /// The snapshot that is being received, and its length.
    incoming: Option<(SnapshotBuilder<D>, SnapshotMeta, u64)>,
    /// The snapshot that was last read from.
    outgoing: Option<(LogIndex, SnapshotFile<D>)>,
    /// Snapshots that are being built or finished. Their files have the same names as those of a transfer would have.
    claimed: BTreeSet<LogIndex>,
}

/// While this value lives, no other operation writes a snapshot of this index.
struct Claim<'a, D: Disk> {
    of_group: &'a OfGroup<D>,
    index: LogIndex,
}

impl<D: Disk> SnapshotStores<D> {
    /// Makes the set of snapshots below `directory` of the disk.
    pub fn new(disk: D, directory: &Path, cluster: ClusterId) -> Self {
        let stop = StopFlag::default();
        Self { disk, directory: directory.to_owned(), cluster, groups: Mutex::default(), stop }
    }

    /// Opens a group's folder, removes unfinished files, and returns the newest snapshot, verified.
    ///
    /// # Errors
    /// When the disk refuses, or the newest snapshot is damaged or foreign.
    pub fn open(&self, group: GroupId) -> Result<Option<StoredSnapshot>, SnapshotError> {
        let of_group = self.open_folder(group)?;
        let newest = of_group.store.newest()?;
        lock(&self.groups).insert(group, Some(of_group));
        Ok(newest)
    }

    /// Returns those of these removed groups of which something is left on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn left_of(&self, removed: &BTreeSet<GroupId>) -> io::Result<BTreeSet<GroupId>> {
        let names: BTreeSet<String> = self.disk.list(&self.directory)?.into_iter().collect();
        Ok(removed.iter().copied().filter(|group| names.contains(&group.to_string())).collect())
    }

    /// Returns a flag that ends the operations that are under way on another thread, and all later long ones.
    pub(crate) fn stop_flag(&self) -> StopFlag {
        self.stop.clone()
    }

    /// Carries out one operation. It may take long, so it must not run on the loop.
    ///
    /// # Errors
    /// When the operation failed; see [`SnapshotFailure`].
    pub fn perform(&self, group: GroupId, operation: SnapshotOperation) -> Result<SnapshotDone, SnapshotFailure> {
        if matches!(operation, SnapshotOperation::DeleteAll) {
            return self.delete_all(group).map_err(|error| SnapshotFailure::Io(error.to_string()));
        }
        let of_group = self.folder(group)?;
        // A panic in the state machine's code fails only the operation.
        catch_unwind(AssertUnwindSafe(|| of_group.perform(operation, &self.stop)))
            .unwrap_or_else(|payload| Err(SnapshotFailure::Io(format!("panicked: {}", panic_message(&*payload)))))
    }

    /// Returns a group's folder. That of a group that was added to the running node is opened now.
    fn folder(&self, group: GroupId) -> Result<Arc<OfGroup<D>>, SnapshotFailure> {
        let mut groups = lock(&self.groups);
        match groups.get(&group) {
            Some(Some(of_group)) => Ok(of_group.clone()),
            Some(None) => Err(SnapshotFailure::Missing),
            None => {
                let of_group = self.open_folder(group).map_err(failure)?;
                groups.insert(group, Some(of_group.clone()));
                Ok(of_group)
            }
        }
    }

    fn open_folder(&self, group: GroupId) -> Result<Arc<OfGroup<D>>, SnapshotError> {
        let store = SnapshotStore::open(self.disk.clone(), &self.folder_of(group), self.cluster, group)?;
        let open = Open { incoming: None, outgoing: None, claimed: BTreeSet::new() };
        Ok(Arc::new(OfGroup { store, open: Mutex::new(open) }))
    }

    /// Deletes a removed group's folder. An operation on another lane may write into it at the same time. Then the
    /// folder is not empty at the end, which is an error, and the caller tries again.
    fn delete_all(&self, group: GroupId) -> io::Result<SnapshotDone> {
        lock(&self.groups).insert(group, None);
        let folder = self.folder_of(group);
        let names = match self.disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SnapshotDone::Done),
            names => names?,
        };
        names.iter().try_for_each(|name| self.disk.remove(&folder.join(name)))?;
        self.disk.remove(&folder)?;
        self.disk.sync_dir(&self.directory)?;
        Ok(SnapshotDone::Done)
    }

    fn folder_of(&self, group: GroupId) -> PathBuf {
        self.directory.join(group.to_string())
    }
}

impl<D: Disk> OfGroup<D> {
    fn perform(&self, operation: SnapshotOperation, stop: &StopFlag) -> Result<SnapshotDone, SnapshotFailure> {
        match operation {
            SnapshotOperation::Build { meta, write } => self.build(meta, write, stop),
            SnapshotOperation::Create { meta, length } => self.create(meta, length),
            SnapshotOperation::Write { offset, bytes } => {
                let mut open = self.open();
                let (builder, _, length) = open.incoming.as_mut().ok_or(SnapshotFailure::Missing)?;
                if builder.length() + bytes.len() as u64 > *length {
                    return Err(SnapshotFailure::Damaged);
                }
                builder.write_piece(offset, &bytes).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Finish { checksum, read } => self.finish(checksum, read, stop),
            SnapshotOperation::Abort => {
                let incoming = self.open().incoming.take();
                incoming.map_or(Ok(()), |(builder, ..)| builder.abort()).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Read { index, offset, bytes_max } => self.read(index, offset, bytes_max),
            SnapshotOperation::Restore { index, read } => {
                let mut content = self.store.read(index).map_err(failure)?.into_content();
                read_whole(&mut content, read, stop).map(SnapshotDone::Restored)
            }
            SnapshotOperation::Verify { index } => {
                let mut content = self.store.read(index).map_err(failure)?.into_content();
                read_whole(&mut content, Box::new(|_| Ok(Box::new(()))), stop)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::DeleteBefore { index } => {
                self.open().outgoing.take_if(|(open, _)| *open < index);
                self.store.delete_before(index).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::DeleteAll => unreachable!("it is not an operation of an open folder"),
        }
    }

    fn build(
        &self,
        meta: SnapshotMeta,
        write: SnapshotWriter,
        stop: &StopFlag,
    ) -> Result<SnapshotDone, SnapshotFailure> {
        let claim = self.claim(meta.index)?;
        // Both would be written under one name. The snapshot that is built here is as good as one from a peer.
        let incoming = self.open().incoming.take_if(|(_, incoming, _)| incoming.index == meta.index);
        if let Some((builder, ..)) = incoming {
            builder.abort().map_err(failure)?;
        }
        let mut builder = self.store.begin(meta).map_err(failure)?;
        if let Err(error) = write(&mut Stoppable { inner: &mut builder, stop }) {
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            // If this fails, the next start removes the leftover.
            let _ = builder.abort();
            return Err(if is_full { SnapshotFailure::DiskFull } else { SnapshotFailure::Io(error.to_string()) });
        }
        let StoredSnapshot { meta, length, checksum } = builder.finish(None).map_err(failure)?;
        claim.forget_outgoing();
        Ok(SnapshotDone::Durable { meta, length, checksum })
    }

    fn create(&self, meta: SnapshotMeta, length: u64) -> Result<SnapshotDone, SnapshotFailure> {
        let mut open = self.open();
        if let Some((builder, ..)) = open.incoming.take() {
            builder.abort().map_err(failure)?;
        }
        if open.claimed.contains(&meta.index) {
            return Err(being_written());
        }
        let builder = self.store.begin(meta.clone()).map_err(failure)?;
        open.incoming = Some((builder, meta, length));
        Ok(SnapshotDone::Done)
    }

    /// Makes a state machine before the snapshot counts: a snapshot that cannot be read must not replace the log.
    fn finish(&self, checksum: u32, read: SnapshotReader, stop: &StopFlag) -> Result<SnapshotDone, SnapshotFailure> {
        let (builder, claim) = {
            let mut open = self.open();
            let (builder, meta, length) = open.incoming.take().ok_or(SnapshotFailure::Missing)?;
            if builder.length() != length || !open.claimed.insert(meta.index) {
                return Err(SnapshotFailure::Damaged);
            }
            (builder, Claim { of_group: self, index: meta.index })
        };
        let mut sealed = builder.seal(Some(checksum)).map_err(failure)?;
        let read = catch_unwind(AssertUnwindSafe(|| read_whole(sealed.content(), read, stop)));
        let read =
            read.unwrap_or_else(|panic| Err(SnapshotFailure::Io(format!("panicked: {}", panic_message(&*panic)))));
        match read {
            Ok(state) => {
                let StoredSnapshot { meta, .. } = sealed.keep().map_err(failure)?;
                claim.forget_outgoing();
                Ok(SnapshotDone::Received { meta, state })
            }
            Err(cause) => {
                let _ = sealed.abort();
                // The checksum is right, so the state machine's own code failed, or the node is about to stop.
                Err(if let SnapshotFailure::Io(text) = cause { SnapshotFailure::Unrestorable(text) } else { cause })
            }
        }
    }

    fn read(&self, index: LogIndex, offset: u64, bytes_max: usize) -> Result<SnapshotDone, SnapshotFailure> {
        let mut open = self.open();
        if open.outgoing.as_ref().is_none_or(|(open, _)| *open != index) {
            open.outgoing = Some((index, self.store.read(index).map_err(failure)?));
        }
        let (_, file) = open.outgoing.as_ref().expect("just opened");
        let bytes = file.read_piece(offset, bytes_max).map_err(|error| SnapshotFailure::Io(error.to_string()))?;
        let StoredSnapshot { length, checksum, .. } = *file.stored();
        Ok(SnapshotDone::Piece { offset, bytes, length, checksum })
    }

    fn claim(&self, index: LogIndex) -> Result<Claim<'_, D>, SnapshotFailure> {
        let is_free = self.open().claimed.insert(index);
        is_free.then_some(Claim { of_group: self, index }).ok_or_else(being_written)
    }

    fn open(&self) -> MutexGuard<'_, Open<D>> {
        // A panic leaves the open files in the state between two steps.
        lock(&self.open)
    }
}

impl<D: Disk> Claim<'_, D> {
    /// Closes the file that is open for reading, because it is no longer the one of that name.
    fn forget_outgoing(&self) {
        self.of_group.open().outgoing.take_if(|(index, _)| *index == self.index);
    }
}

impl<D: Disk> Drop for Claim<'_, D> {
    fn drop(&mut self) {
        self.of_group.open().claimed.remove(&self.index);
    }
}

/// Lets `read` read the content, and then reads the rest, at whose end the checksum is verified.
fn read_whole<D: Disk>(
    content: &mut SnapshotContent<D>,
    read: SnapshotReader,
    stop: &StopFlag,
) -> Result<Box<dyn Any + Send>, SnapshotFailure> {
    let read = read(&mut Stoppable { inner: content, stop });
    let rest = io::copy(&mut Stoppable { inner: content, stop }, &mut io::sink());
    match (read, rest) {
        (_, Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(SnapshotFailure::Damaged),
        (Err(error), _) | (_, Err(error)) => Err(SnapshotFailure::Io(error.to_string())),
        (Ok(read), Ok(_)) => Ok(read),
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn being_written() -> SnapshotFailure {
    SnapshotFailure::Io("a snapshot of this index is being written already".to_owned())
}

impl StopFlag {
    /// Raises the flag.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("the node is about to stop")) } else { Ok(()) }
    }
}

impl<D: Disk> fmt::Debug for SnapshotStores<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStores")
            .field("directory", &self.directory)
            .field("groups", &lock(&self.groups).len())
            .finish_non_exhaustive()
    }
}

/// Reads or writes until the flag is raised.
struct Stoppable<'a, T> {
    inner: &'a mut T,
    stop: &'a StopFlag,
}

impl<T: Write> Write for Stoppable<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Stoppable<'_, T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(into)
    }
}

fn failure(error: SnapshotError) -> SnapshotFailure {
    match error {
        SnapshotError::Missing(_) => SnapshotFailure::Missing,
        SnapshotError::Damaged { .. } | SnapshotError::Gap { .. } | SnapshotError::Checksum { .. } => {
            SnapshotFailure::Damaged
        }
        error if error.is_full() => SnapshotFailure::DiskFull,
        error => SnapshotFailure::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
