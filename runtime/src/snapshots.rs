//! Carries out what groups want done with their snapshots: plain code over a disk, run by a thread or by a simulator.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_protocol::{ClusterId, GroupId, LogIndex, SnapshotMeta};
use quorate_wal::disk::Disk;
use quorate_wal::{SnapshotBuilder, SnapshotError, SnapshotFile, SnapshotStore, StoredSnapshot};

use crate::node::panic_message;
use crate::{SnapshotDone, SnapshotFailure, SnapshotOperation, SnapshotReader, SnapshotWriter};

/// The snapshots of all groups of a node, below one directory, a folder for each group.
pub struct Snapshots<D: Disk> {
    disk: D,
    directory: PathBuf,
    cluster: ClusterId,
    groups: BTreeMap<GroupId, OfGroup<D>>,
    stop: StopFlag,
}

/// Makes long snapshot operations end early, with an error: the node is about to stop.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

struct OfGroup<D: Disk> {
    store: SnapshotStore<D>,
    /// The snapshot that is being taken in, and its length.
    incoming: Option<(SnapshotBuilder<D>, SnapshotMeta, u64)>,
    /// The snapshot that was read from last.
    outgoing: Option<(LogIndex, SnapshotFile<D>)>,
}

impl<D: Disk> Snapshots<D> {
    /// The snapshots below `directory` of the disk.
    pub fn new(disk: D, directory: &Path, cluster: ClusterId) -> Self {
        let stop = StopFlag::default();
        Self { disk, directory: directory.to_owned(), cluster, groups: BTreeMap::new(), stop }
    }

    /// Opens a group's folder, removes what was left half written, and tells the newest snapshot, verified.
    ///
    /// # Errors
    /// When the disk refuses, or the newest snapshot is damaged or foreign.
    pub fn open(&mut self, group: GroupId) -> Result<Option<StoredSnapshot>, SnapshotError> {
        let directory = self.directory.join(group.to_string());
        let store = SnapshotStore::open(self.disk.clone(), &directory, self.cluster, group)?;
        let newest = store.newest()?;
        self.groups.insert(group, OfGroup { store, incoming: None, outgoing: None });
        Ok(newest)
    }

    /// Ends operations that are under way on another thread, and all later ones that take long.
    #[must_use]
    pub fn stop_flag(&self) -> StopFlag {
        self.stop.clone()
    }

    /// Carries out one operation. Takes as long as it takes: never on the loop.
    ///
    /// # Errors
    /// When it was not done; see [`SnapshotFailure`].
    pub fn perform(&mut self, group: GroupId, operation: SnapshotOperation) -> Result<SnapshotDone, SnapshotFailure> {
        let Some(of_group) = self.groups.get_mut(&group) else { return Err(SnapshotFailure::Missing) };
        // What the state machine's own code panics with stays a failure of the operation.
        catch_unwind(AssertUnwindSafe(|| of_group.perform(operation, &self.stop))).unwrap_or_else(|payload| {
            of_group.incoming = None;
            Err(SnapshotFailure::Io(format!("panicked: {}", panic_message(&*payload))))
        })
    }
}

impl<D: Disk> OfGroup<D> {
    fn perform(&mut self, operation: SnapshotOperation, stop: &StopFlag) -> Result<SnapshotDone, SnapshotFailure> {
        match operation {
            SnapshotOperation::Build { meta, write } => self.build(meta, write, stop),
            SnapshotOperation::Create { meta, length } => self.create(meta, length),
            SnapshotOperation::Write { offset, bytes } => {
                let (builder, _, length) = self.incoming.as_mut().ok_or(SnapshotFailure::Missing)?;
                if builder.length() + bytes.len() as u64 > *length {
                    return Err(SnapshotFailure::Damaged);
                }
                builder.write_piece(offset, &bytes).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Finish { checksum } => {
                let (builder, _, length) = self.incoming.take().ok_or(SnapshotFailure::Missing)?;
                if builder.length() != length {
                    return Err(SnapshotFailure::Damaged);
                }
                self.outgoing = None;
                builder.finish(Some(checksum)).map(durable).map_err(failure)
            }
            SnapshotOperation::Abort => {
                let incoming = self.incoming.take();
                incoming.map_or(Ok(()), |(builder, ..)| builder.abort()).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Read { index, offset, bytes_max } => self.read(index, offset, bytes_max),
            SnapshotOperation::Restore { index, read } => self.restore(index, read, stop),
            SnapshotOperation::DeleteBefore { index } => {
                self.outgoing.take_if(|(open, _)| *open < index);
                self.store.delete_before(index).map_err(failure)?;
                Ok(SnapshotDone::Done)
            }
        }
    }

    fn build(
        &mut self,
        meta: SnapshotMeta,
        write: SnapshotWriter,
        stop: &StopFlag,
    ) -> Result<SnapshotDone, SnapshotFailure> {
        // Both would be written under one name: what is built here is as good as what a peer sends.
        if let Some((builder, ..)) = self.incoming.take_if(|(_, incoming, _)| incoming.index == meta.index) {
            builder.abort().map_err(failure)?;
        }
        self.outgoing.take_if(|(index, _)| *index == meta.index);
        let mut builder = self.store.begin(meta).map_err(failure)?;
        if let Err(error) = write(&mut Stoppable { inner: &mut builder, stop }) {
            let is_full = error.kind() == io::ErrorKind::StorageFull;
            // The leftover is removed at the next start if not now.
            let _ = builder.abort();
            return Err(if is_full { SnapshotFailure::DiskFull } else { SnapshotFailure::Io(error.to_string()) });
        }
        builder.finish(None).map(durable).map_err(failure)
    }

    fn create(&mut self, meta: SnapshotMeta, length: u64) -> Result<SnapshotDone, SnapshotFailure> {
        if let Some((builder, ..)) = self.incoming.take() {
            builder.abort().map_err(failure)?;
        }
        let builder = self.store.begin(meta.clone()).map_err(failure)?;
        self.incoming = Some((builder, meta, length));
        Ok(SnapshotDone::Done)
    }

    fn read(&mut self, index: LogIndex, offset: u64, bytes_max: usize) -> Result<SnapshotDone, SnapshotFailure> {
        if self.outgoing.as_ref().is_none_or(|(open, _)| *open != index) {
            self.outgoing = Some((index, self.store.read(index).map_err(failure)?));
        }
        let (_, file) = self.outgoing.as_ref().expect("just opened");
        let bytes = file.read_piece(offset, bytes_max).map_err(|error| SnapshotFailure::Io(error.to_string()))?;
        let StoredSnapshot { length, checksum, .. } = *file.stored();
        Ok(SnapshotDone::Piece { offset, bytes, length, checksum })
    }

    fn restore(
        &mut self,
        index: LogIndex,
        read: SnapshotReader,
        stop: &StopFlag,
    ) -> Result<SnapshotDone, SnapshotFailure> {
        let mut content = self.store.read(index).map_err(failure)?.into_content();
        let restored = read(&mut Stoppable { inner: &mut content, stop });
        // Its checksum is verified at the end, which the state machine need not have read.
        let rest = io::copy(&mut content, &mut io::sink());
        match (restored, rest) {
            (_, Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(SnapshotFailure::Damaged),
            (Err(error), _) | (_, Err(error)) => Err(SnapshotFailure::Io(error.to_string())),
            (Ok(restored), Ok(_)) => Ok(SnapshotDone::Restored(restored)),
        }
    }
}

impl StopFlag {
    /// Raises it.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("the node is about to stop")) } else { Ok(()) }
    }
}

impl<D: Disk> fmt::Debug for Snapshots<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots")
            .field("directory", &self.directory)
            .field("groups", &self.groups.len())
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

fn durable(stored: StoredSnapshot) -> SnapshotDone {
    SnapshotDone::Durable { meta: stored.meta, length: stored.length, checksum: stored.checksum }
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
