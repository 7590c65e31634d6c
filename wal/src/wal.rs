//! The log: one writer, no thread, clock or chance of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use quorate_protocol::Identity;

use crate::checkpoints::Checkpoints;
use crate::disk::{Disk, DiskFile};
use crate::files::{Files, io_error, segment_name, zero};
use crate::format::{ALIGNMENT_BYTES, BatchBuilder, Checkpoint, SEGMENT_DATA_START, SegmentHeader};
use crate::index::Index;
use crate::metrics::Metrics;
use crate::opening::{Bounds, Progress, Recovered, recover};
use crate::reader::Reader;
use crate::spares::Spares;
use crate::{OpenError, Poisoned, Settings, StreamId};

/// A log of many streams in one directory.
///
/// [`Wal::write`] puts operations into the log, [`Wal::sync`] makes everything written durable, [`Wal::settle`] does
/// what can wait until the writers were told. The first failure of the disk poisons the log: every later call fails
/// alike, and only opening it anew tells what is there. Dropping a log is as good as a crash; [`Wal::close`] leaves
/// proof of what was durable.
///
/// ```
/// use bytes::Bytes;
/// use quorate_protocol::{ClusterId, Identity, Incarnation, LogIndex, NodeId, Operation};
/// use quorate_wal::{Settings, StreamId, Wal, disk::RealDisk};
///
/// let folder = tempfile::tempdir()?;
/// let identity = Identity { cluster: ClusterId(7), node: NodeId(1), incarnation: Incarnation(9) };
/// let settings = Settings { segment_bytes: 1 << 20, batch_bytes_max: 1 << 18, ..Settings::default() };
/// let disk = RealDisk::new(folder.path())?;
/// let (mut wal, _report) = Wal::open(disk.clone(), settings.clone(), identity)?;
/// let state = Operation::PutState { bytes: Bytes::from_static(b"term 1"), commit_hint: LogIndex(0) };
/// wal.write(&[(StreamId(1), vec![state])])?;
/// wal.sync()?;
/// wal.close()?;
///
/// let (wal, _report) = Wal::open(disk, settings, identity)?;
/// assert_eq!(wal.recover(StreamId(1), 0)?.state.as_deref(), Some(&b"term 1"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Wal<D: Disk> {
    pub(crate) files: Files<D>,
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) index: Arc<RwLock<Index<D::File>>>,
    pub(crate) builder: BatchBuilder,
    pub(crate) head: Head<D::File>,
    pub(crate) checkpoints: Checkpoints<D>,
    pub(crate) spares: Spares<D>,
    pub(crate) metrics: Metrics,
    pub(crate) poisoned: Option<Poisoned>,
    /// Streams that pin the oldest segment with more than is moved.
    pub(crate) compaction_wanted: Vec<StreamId>,
    /// The oldest and the newest segment when it was last looked who pins the oldest.
    pub(crate) pins_seen: Option<(u64, u64)>,
    /// The oldest and the newest segment when nothing could be moved: not tried again before one of them changes.
    pub(crate) moves_blocked: Option<(u64, u64)>,
    _lock: D::Lock,
}

/// Where the log is written.
#[derive(Debug)]
pub(crate) struct Head<F> {
    pub(crate) segment: u64,
    pub(crate) file: Arc<F>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Where the next batch will stand.
    pub(crate) offset: u64,
    /// The header CRC of the last record.
    pub(crate) chain: u32,
    pub(crate) next_lsn: u64,
    /// The last LSN that was written.
    pub(crate) written_lsn: u64,
    /// The last LSN that is durable.
    pub(crate) durable_lsn: u64,
    /// The last LSN that a batch on disk knows to be durable.
    pub(crate) evident_lsn: u64,
    /// Something was written since the last sync.
    pub(crate) is_dirty: bool,
    /// Something was written that must be synced before it counts.
    pub(crate) needs_sync: bool,
}

/// What opening a log found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The log was made.
    pub is_new: bool,
    /// What was cut off: batches that were being written when the process or machine stopped. They were acknowledged to
    /// nobody.
    pub cut: Option<Cut>,
    /// State records that were adopted from batches that were cut.
    pub adopted_states: u64,
    /// Batches that lost a sector with nothing in it that was not there twice.
    pub repaired_batches: u64,
}

/// A torn tail. Its first bytes are kept in a file whose name begins with `cut-`, unless the disk has no room for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// In which segment.
    pub segment: u64,
    /// From where on, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl<D: Disk> Wal<D> {
    /// Opens the log in `settings.directory` of `disk`, which is made when it is missing. Whoever knows that there was
    /// one uses [`Wal::open_existing`]: a log that is lost is not a new one.
    ///
    /// # Errors
    /// When somebody else has it open, it is somebody else's, there is no room for it, or anything in it that was
    /// durable is not what was written. The disk is not changed then, but for a log that was being made or a recovery
    /// that was being done when the disk failed. No half-made file stays for want of room.
    pub fn open(disk: D, settings: Settings, identity: Identity) -> Result<(Self, Report), OpenError> {
        settings.check()?;
        let lock = lock(&disk, &settings.directory)?;
        let files = Files { disk, directory: settings.directory.clone() };
        let is_new = create_if_missing(&files, &settings, &identity)?;
        Self::recovered(files, settings, identity, lock, is_new)
    }

    /// As [`Wal::open`] for a log that was made before: when it is missing, it is lost.
    ///
    /// # Errors
    /// As [`Wal::open`], and [`OpenError::Missing`].
    pub fn open_existing(disk: D, settings: Settings, identity: Identity) -> Result<(Self, Report), OpenError> {
        settings.check()?;
        let lock = lock(&disk, &settings.directory)?;
        let files = Files { disk, directory: settings.directory.clone() };
        if !exists(&files)? {
            return Err(OpenError::Missing { path: files.directory });
        }
        Self::recovered(files, settings, identity, lock, false)
    }

    fn recovered(
        files: Files<D>,
        settings: Settings,
        identity: Identity,
        lock: D::Lock,
        is_new: bool,
    ) -> Result<(Self, Report), OpenError> {
        let bounds = Bounds {
            cut_bytes: settings.cut_bytes_max,
            cut_files: settings.cut_files_max,
            segment_bytes: settings.segment_bytes,
        };
        let recovered = recover(&files, &identity, bounds)?;
        let spares = Spares::open(files.clone(), settings.segment_bytes, &recovered.spares)
            .map_err(|error| io_error(&files.directory, error))?;
        let Recovered { index, mut report, active, progress, tail, checkpoint, .. } = recovered;
        report.is_new = is_new;
        let head = Head::at(&index, active, tail.offset, progress, &checkpoint);
        let checkpoints = Checkpoints::new(files.clone(), checkpoint);
        let wal = Self {
            files,
            settings,
            identity,
            index: Arc::new(RwLock::new(index)),
            builder: BatchBuilder::default(),
            head,
            checkpoints,
            spares,
            metrics: Metrics::default(),
            poisoned: None,
            compaction_wanted: Vec::new(),
            pins_seen: None,
            moves_blocked: None,
            _lock: lock,
        };
        Ok((wal, report))
    }

    /// The streams that hold anything, ascending.
    pub fn streams(&self) -> Vec<StreamId> {
        self.index().streams.keys().copied().map(StreamId).collect()
    }

    /// Reads entries and journal records, on any thread and while the log is written and synced.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.index.clone())
    }

    /// Counters since the log was opened.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        let index = self.index();
        metrics.disk_bytes = index.disk_bytes() + self.spares.bytes();
        metrics.live_bytes = index.live.total();
        metrics.segments = index.segments.len() as u64;
        metrics
    }

    /// Bytes on disk that the entries and journal records of a stream keep, headers and padding included: what
    /// compacting it would let go of. Many times the bytes of small entries that were each synced alone.
    pub fn stream_bytes(&self, stream: StreamId) -> u64 {
        self.index().streams.get(&stream.0).map_or(0, |known| known.bytes)
    }

    /// Whether the next segment is at hand.
    pub fn storage_level(&self) -> StorageLevel {
        if self.spares.is_low() { StorageLevel::Low } else { StorageLevel::Enough }
    }

    /// Whether the log is low on room, and the next call of [`Wal::settle`] is likely to bring it nearer to enough: a
    /// segment is being made. Otherwise a call a second is enough.
    pub fn is_making_room(&self) -> bool {
        self.spares.is_low() && self.spares.is_filling()
    }

    /// Streams that keep the oldest segment from being freed with more than the log moves for them: they should
    /// compact.
    pub fn compaction_wanted(&self) -> &[StreamId] {
        &self.compaction_wanted
    }

    /// Why the log takes no more writes, if it failed.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }

    /// Makes everything durable, leaves proof of it in the log, and lets go of the directory.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn close(mut self) -> Result<(), Poisoned> {
        self.sync_all()?;
        self.write_marker()?;
        self.head.is_dirty = true;
        self.sync_all()?;
        // The same proof outside the segment: it may be full, its end may be lost, or an older copy of it put back. In
        // both copies, so that neither is needed alone.
        self.write_both_checkpoints().map_err(|error| self.poison("write of the checkpoint", &error))
    }

    pub(crate) fn index(&self) -> std::sync::RwLockReadGuard<'_, Index<D::File>> {
        self.index.read().expect("nobody panics while holding the index")
    }

    pub(crate) fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, Index<D::File>> {
        self.index.write().expect("nobody panics while holding the index")
    }

    /// Refuses everything after a failure.
    pub(crate) fn check_poison(&self) -> Result<(), Poisoned> {
        self.poisoned.clone().map_or(Ok(()), Err)
    }

    /// The first failure is the last thing the log does.
    pub(crate) fn poison(&mut self, what: &str, error: &io::Error) -> Poisoned {
        let poisoned = Poisoned { reason: format!("{what}: {error}") };
        tracing::error!(reason = poisoned.reason, "the log failed and takes no more writes");
        self.poisoned.get_or_insert(poisoned).clone()
    }
}

impl<F> Head<F> {
    fn at(index: &Index<F>, segment: u64, offset: u64, progress: Progress, checkpoint: &Checkpoint) -> Self {
        let known = &index.segments[&segment];
        Self {
            segment,
            file: known.file.clone(),
            bytes: known.bytes,
            offset,
            chain: progress.chain,
            next_lsn: checkpoint.seen_lsn.max(progress.lsn) + 1,
            written_lsn: progress.lsn,
            durable_lsn: progress.lsn,
            evident_lsn: progress.lsn,
            is_dirty: false,
            needs_sync: false,
        }
    }
}

/// Whether the disk has room for the log to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageLevel {
    /// The next segment is at hand, or can be.
    Enough,
    /// It could not be made: new commands should be refused, so that what is left serves votes, truncation and
    /// compaction.
    Low,
}

fn lock<D: Disk>(disk: &D, directory: &Path) -> Result<D::Lock, OpenError> {
    let path = with_suffix(directory, ".lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => io_error(&path, error),
    })
}

/// Makes the log under another name first, so that it is there whole or not at all.
fn create_if_missing<D: Disk>(files: &Files<D>, settings: &Settings, identity: &Identity) -> Result<bool, OpenError> {
    if exists(files)? {
        return Ok(false);
    }
    let unfinished = Files { disk: files.disk.clone(), directory: with_suffix(&files.directory, ".tmp") };
    let made = create(&unfinished, settings, identity).and_then(|()| {
        files.disk.rename(&unfinished.directory, &files.directory)?;
        files.disk.sync_dir(Path::new(""))
    });
    match made {
        Ok(()) => Ok(true),
        Err(error) => {
            // What was made would hold the room that others need. What cannot be removed is removed by the next
            // attempt.
            for name in unfinished.disk.list(&unfinished.directory).unwrap_or_default() {
                let _ = unfinished.remove(&name);
            }
            Err(io_error(&unfinished.directory, error))
        }
    }
}

fn exists<D: Disk>(files: &Files<D>) -> Result<bool, OpenError> {
    match files.disk.list(&files.directory) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(&files.directory, error)),
    }
}

fn create<D: Disk>(files: &Files<D>, settings: &Settings, identity: &Identity) -> io::Result<()> {
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
    checkpoints.rewrite()?;
    checkpoints.rewrite()?;
    files.sync_dir()
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

const FIRST_SEGMENT: u64 = 1;
const _: () = assert!(SEGMENT_DATA_START == ALIGNMENT_BYTES);
