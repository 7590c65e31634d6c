//! The log: one writer, no thread, clock or chance of its own.

use quorate_protocol::{Identity, Operation, RecoverError, Recovery};

use crate::admission::{Admission, Written};
use crate::appender::Appender;
use crate::creation::{create_if_missing, exists, lock};
use crate::disk::Disk;
use crate::error::{OpenError, Poisoned, Refusal, WriteError};
use crate::files::{Files, io_error};
use crate::format::RecordKind;
use crate::head::{Head, HeadSegment};
use crate::index::SharedIndex;
use crate::metrics::Metrics;
use crate::opening::{Bounds, OpenedLog};
use crate::poison::{Fault, Poison};
use crate::reader::Reader;
use crate::recovery;
use crate::relocation::Relocation;
use crate::report::Report;
use crate::roll::Roll;
use crate::settings::Settings;
use crate::spares::Spares;
use crate::stream_id::StreamId;

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
    appender: Appender<D>,
    relocation: Relocation,
    poison: Poison,
    _lock: D::Lock,
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
        let is_new = create_if_missing(&disk, &settings, &identity)?;
        Self::opened(disk, settings, identity, lock, is_new)
    }

    /// As [`Wal::open`] for a log that was made before: when it is missing, it is lost.
    ///
    /// # Errors
    /// As [`Wal::open`], and [`OpenError::Missing`].
    pub fn open_existing(disk: D, settings: Settings, identity: Identity) -> Result<(Self, Report), OpenError> {
        settings.check()?;
        let lock = lock(&disk, &settings.directory)?;
        if !exists(&disk, &settings.directory)? {
            return Err(OpenError::Missing { path: settings.directory });
        }
        Self::opened(disk, settings, identity, lock, false)
    }

    fn opened(
        disk: D,
        settings: Settings,
        identity: Identity,
        lock: D::Lock,
        is_new: bool,
    ) -> Result<(Self, Report), OpenError> {
        let relocation = Relocation::new(&settings);
        let files = Files { disk, directory: settings.directory };
        let bounds = Bounds {
            cut_bytes: settings.cut_bytes_max,
            cut_files: settings.cut_files_max,
            segment_bytes: settings.segment_bytes,
        };
        let log = OpenedLog::open(&files, &identity, bounds)?;
        let spares = Spares::open(files.clone(), settings.segment_bytes, &log.spares)
            .map_err(|error| io_error(&files.directory, error))?;
        let segment = HeadSegment { id: log.last.header.id, file: log.last.file, bytes: log.last.header.bytes };
        let head = Head::new(segment, log.tail.offset, log.last_record, log.checkpoints.seen_lsn());
        let roll = Roll::new(files, identity, spares, log.checkpoints);
        let wal = Self {
            appender: Appender::new(SharedIndex::new(log.index), head, roll, settings.batch_bytes_max),
            relocation,
            poison: Poison::default(),
            _lock: lock,
        };
        Ok((wal, Report { is_new, ..log.report }))
    }

    /// Writes submissions, in this order: the operations of one all or not at all. They are readable at once, and
    /// durable after the next [`Wal::sync`]. Several submissions make one batch as long as they fit one. A stream
    /// begins to exist with its first submission.
    ///
    /// A submission that violates the log's rules, or that the disk has no room for, is refused alone: nothing of it is
    /// written.
    ///
    /// # Errors
    /// When the log failed, now or before. Nothing is known then of any submission since the last sync.
    pub fn write(&mut self, submissions: &[(StreamId, Vec<Operation>)]) -> Result<Written, Poisoned> {
        self.poison.check()?;
        self.poison.note(Admission::new(&mut self.appender).write(submissions))
    }

    /// Makes everything written durable, if anything written needs it, and says how many syncs that took: none or one.
    ///
    /// # Errors
    /// When the log failed, now or before. Nothing is known then of any submission since the last sync.
    pub fn sync(&mut self) -> Result<u64, Poisoned> {
        self.poison.check()?;
        if !self.appender.head().needs_sync() {
            return Ok(0);
        }
        self.poison.note(self.appender.sync()).map(|()| 1)
    }

    /// Whether anything was written since the last sync that is not durable before the next.
    pub fn needs_sync(&self) -> bool {
        self.appender.head().needs_sync()
    }

    /// Does what can wait: frees segments nobody needs, moves what pins one, prepares the next one a little further,
    /// and when the log `is_idle` leaves proof of what is durable, at no sync. To be called after each [`Wal::sync`],
    /// when those who waited for it were told; and now and then while the log is low on room, though nothing is
    /// written: only this call finds out that there is room again.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn settle(&mut self, is_idle: bool) -> Result<(), Poisoned> {
        self.poison.check()?;
        let outcome = self.try_settle(is_idle);
        self.poison.note(outcome)
    }

    fn try_settle(&mut self, is_idle: bool) -> Result<(), Fault> {
        self.appender.free_segments()?;
        self.relocation.run(&mut self.appender)?;
        self.appender.prepare_segment()?;
        if is_idle { self.appender.write_marker() } else { Ok(()) }
    }

    /// Deletes a stream and all it holds. Its id is never used again. Durable after the next [`Wal::sync`].
    ///
    /// # Errors
    /// When the stream was deleted before, the disk is full, or the log failed.
    pub fn delete_stream(&mut self, stream: StreamId) -> Result<(), WriteError> {
        self.poison.check()?;
        if self.appender.index().read().deleted.contains(stream.0) {
            return Err(Refusal::Deleted.into());
        }
        let batch = self.appender.batch();
        batch.start();
        batch.push(RecordKind::StreamDeleted, stream.0, 0, 0, &[]);
        self.poison.note(self.appender.make_room())??;
        Ok(self.poison.note(self.appender.write(true))?)
    }

    /// What `stream` holds: its tail up to `tail_bytes_max` bytes of entries, but always the newest one, its
    /// configurations, and the newest journal record of each key behind the checkpoint, in the order they were first
    /// written. A stream that never held anything gives the default. The snapshot is left out: it lies elsewhere.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn recover(&self, stream: StreamId, tail_bytes_max: usize) -> Result<Recovery, RecoverError> {
        recovery::recover(self.appender.index(), &self.reader(), stream, tail_bytes_max)
    }

    /// The streams that hold anything, ascending.
    pub fn streams(&self) -> Vec<StreamId> {
        self.appender.index().read().streams.keys().copied().map(StreamId).collect()
    }

    /// Reads entries and journal records, on any thread and while the log is written and synced.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.appender.index().clone())
    }

    /// Counters since the log was opened.
    pub fn metrics(&self) -> Metrics {
        self.appender.metrics()
    }

    /// Number of segments begun since the log was opened.
    pub(crate) fn rotations(&self) -> u64 {
        self.appender.rotations()
    }

    /// Bytes on disk that the entries and journal records of a stream keep, headers and padding included: what
    /// compacting it would let go of. Many times the bytes of small entries that were each synced alone.
    pub fn stream_bytes(&self, stream: StreamId) -> u64 {
        self.appender.index().read().streams.get(&stream.0).map_or(0, |known| known.bytes)
    }

    /// Whether the next segment is at hand.
    pub fn storage_level(&self) -> StorageLevel {
        if self.appender.roll().spares().is_low() { StorageLevel::Low } else { StorageLevel::Enough }
    }

    /// Whether the log is low on room, and the next call of [`Wal::settle`] is likely to bring it nearer to enough: a
    /// segment is being made. Otherwise a call a second is enough.
    pub fn is_making_room(&self) -> bool {
        let spares = self.appender.roll().spares();
        spares.is_low() && spares.is_filling()
    }

    /// Streams that keep the oldest segment from being freed with more than the log moves for them: they should
    /// compact.
    pub fn compaction_wanted(&self) -> &[StreamId] {
        self.relocation.compaction_wanted()
    }

    /// Why the log takes no more writes, if it failed.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poison.first()
    }

    /// Makes everything durable, leaves proof of it in the log, and lets go of the directory.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn close(mut self) -> Result<(), Poisoned> {
        self.poison.check()?;
        self.poison.note(self.appender.close())
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
