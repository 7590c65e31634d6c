//! The log: one writer, without a thread, clock or randomness of its own.

use quorate_protocol::{Identity, Operation, RecoverError, Recovery, StorageLevel};

use crate::admission::{Admission, Written};
use crate::appender::Appender;
use crate::creation::{create_if_missing, exists, lock};
use crate::disk::Disk;
use crate::error::{OpenError, Poisoned, SubmissionRefusal, WriteError};
use crate::files::{Files, io_error};
use crate::format::RecordKind;
use crate::head::{Head, HeadSegment};
use crate::index::SharedIndex;
use crate::metrics::Metrics;
use crate::opening::{Bounds, OpenedLog};
use crate::poison::{DiskFault, Poison};
use crate::reader::LogReader;
use crate::recovery;
use crate::relocation::Relocation;
use crate::report::OpeningReport;
use crate::roll::Roll;
use crate::settings::LogSettings;
use crate::spares::{SegmentMaker, Spares};
use crate::stream_id::StreamId;

/// A log of many streams in one directory.
///
/// [`Wal::write`] puts operations into the log, [`Wal::sync`] makes everything written durable, [`Wal::settle`] does
/// the work that can wait until the writers were notified. The first failure of the disk poisons the log: every later
/// call that writes or syncs fails with the same error, and only opening the log again shows what is on disk. Dropping
/// a log leaves it as a crash does; [`Wal::close`] leaves proof of what was durable.
///
/// ```
/// use bytes::Bytes;
/// use quorate_protocol::{ClusterId, Identity, Incarnation, LogIndex, NodeId, Operation};
/// use quorate_wal::{LogSettings, StreamId, Wal, disk::RealDisk};
///
/// let folder = tempfile::tempdir()?;
/// let identity = Identity { cluster: ClusterId(7), node: NodeId(1), incarnation: Incarnation(9) };
/// let settings = LogSettings { segment_bytes: 1 << 20, batch_bytes_max: 1 << 18, ..LogSettings::default() };
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
    /// Opens the log in `settings.directory` of `disk`, and creates it if it is missing. A caller that knows that the
    /// log existed uses [`Wal::open_existing`], which does not take a lost log for a new one.
    ///
    /// # Errors
    /// When another process has the log open, it belongs to another identity, the disk has no room for it, or anything
    /// in it that was durable is not what was written. The disk is not changed then, except that the creation or
    /// repair of a log may be half done when the disk failed. If room runs out, no half-made file stays.
    pub fn open(disk: D, settings: LogSettings, identity: Identity) -> Result<(Self, OpeningReport), OpenError> {
        settings.check()?;
        let lock = lock(&disk, &settings.directory)?;
        let is_new = create_if_missing(&disk, &settings, &identity)?;
        Self::opened(disk, settings, identity, lock, is_new)
    }

    /// As [`Wal::open`] for a log that was created before: if it is missing, this is an error.
    ///
    /// # Errors
    /// As [`Wal::open`], and [`OpenError::Missing`].
    pub fn open_existing(
        disk: D,
        settings: LogSettings,
        identity: Identity,
    ) -> Result<(Self, OpeningReport), OpenError> {
        settings.check()?;
        let lock = lock(&disk, &settings.directory)?;
        if !exists(&disk, &settings.directory)? {
            return Err(OpenError::Missing { path: settings.directory });
        }
        Self::opened(disk, settings, identity, lock, false)
    }

    fn opened(
        disk: D,
        settings: LogSettings,
        identity: Identity,
        lock: D::Lock,
        is_new: bool,
    ) -> Result<(Self, OpeningReport), OpenError> {
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
        Ok((wal, OpeningReport { is_new, ..log.report }))
    }

    /// Writes submissions in the given order. The operations of one are written all or not at all. They are readable at
    /// once, and durable after the next [`Wal::sync`]. Several submissions share a batch as long as they fit one. A
    /// stream begins to exist with its first submission.
    ///
    /// A submission that violates the log's rules, or that the disk has no room for, is refused, and nothing of it is
    /// written. The others are written.
    ///
    /// # Errors
    /// When the log failed, now or before. Then it is unknown whether any submission since the last sync was written.
    pub fn write(&mut self, submissions: &[(StreamId, Vec<Operation>)]) -> Result<Written, Poisoned> {
        self.check()?;
        self.poison.note(Admission::new(&mut self.appender).write(submissions))
    }

    /// Makes everything written durable, if anything written needs it, and returns the number of syncs: zero or one.
    ///
    /// # Errors
    /// When the log failed, now or before. Then it is unknown whether any submission since the last sync was written.
    pub fn sync(&mut self) -> Result<u64, Poisoned> {
        self.check()?;
        if !self.appender.head().needs_sync() {
            return Ok(0);
        }
        self.poison.note(self.appender.sync()).map(|()| 1)
    }

    /// Returns true if anything was written since the last sync that must be made durable. Commit hints alone need no
    /// sync.
    pub fn needs_sync(&self) -> bool {
        self.appender.head().needs_sync()
    }

    /// Does the work that can wait: frees segments without live records, moves records that keep the oldest segment in
    /// use, and prepares the next segment a little further. If the log `is_idle`, it also leaves proof of what is
    /// durable, without a sync. To be called after each [`Wal::sync`], when those who waited for it were notified. To
    /// be called from time to time as well while the log is low on room, even if nothing is written: only this call
    /// notices that there is room again.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn settle(&mut self, is_idle: bool) -> Result<(), Poisoned> {
        self.check()?;
        let outcome = self.try_settle(is_idle);
        self.poison.note(outcome)
    }

    /// Refuses all work after the first failure, also one of the maker of segments.
    fn check(&mut self) -> Result<(), Poisoned> {
        self.poison.check()?;
        self.poison.note(self.appender.check_maker())
    }

    fn try_settle(&mut self, is_idle: bool) -> Result<(), DiskFault> {
        self.appender.free_segments()?;
        self.relocation.run(&mut self.appender)?;
        self.appender.prepare_segment()?;
        if is_idle { self.appender.write_marker() } else { Ok(()) }
    }

    /// Deletes a stream and all its records, for a node that gives up one of its groups: the segments that only this
    /// stream needed become free. Its id is never used again. Durable after the next [`Wal::sync`].
    ///
    /// # Errors
    /// When the stream was deleted before, the disk is full, or the log failed.
    pub fn delete_stream(&mut self, stream: StreamId) -> Result<(), WriteError> {
        self.check()?;
        if self.appender.index().read().deleted.contains(stream.0) {
            return Err(SubmissionRefusal::Deleted.into());
        }
        let batch = self.appender.batch();
        batch.start();
        batch.push(RecordKind::StreamDeleted, stream.0, 0, 0, &[]);
        self.poison.note(self.appender.make_room())??;
        Ok(self.poison.note(self.appender.write(true))?)
    }

    /// Recovers the content of `stream`: its newest entries up to `tail_bytes_max` bytes, but at least the newest one;
    /// its configurations; and the newest journal record of each key behind the checkpoint, in the order in which they
    /// were first written. A stream without any record gives the default. The snapshot is left out, since it is stored
    /// elsewhere.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn recover(&self, stream: StreamId, tail_bytes_max: usize) -> Result<Recovery, RecoverError> {
        recovery::recover(self.appender.index(), &self.reader(), stream, tail_bytes_max)
    }

    /// Ids of the existing streams, ascending.
    pub fn streams(&self) -> Vec<StreamId> {
        self.appender.index().read().streams.keys().copied().map(StreamId).collect()
    }

    /// A reader of entries and journal records. It works on any thread, and while the log is written and synced.
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(self.appender.index().clone())
    }

    /// Counters since the log was opened.
    pub fn metrics(&self) -> Metrics {
        self.appender.metrics()
    }

    /// A maker of the next segments for another thread. From now on [`Wal::settle`] makes none. The maker must have
    /// ended when the log is closed or dropped, since it writes to the directory.
    pub(crate) fn segment_maker(&self) -> SegmentMaker<D> {
        SegmentMaker::new(self.appender.roll().spares().clone())
    }

    /// Number of segments begun since the log was opened.
    pub(crate) fn rotations(&self) -> u64 {
        self.appender.rotations()
    }

    /// Bytes that the entries and journal records of a stream take on disk, headers and padding included. Compacting
    /// the stream lets go of them. Small entries that were each synced alone take many times their own bytes.
    pub fn stream_bytes(&self, stream: StreamId) -> u64 {
        self.appender.index().read().streams.get(&stream.0).map_or(0, |known| known.bytes)
    }

    /// Returns [`StorageLevel::Low`] if no file for the next segment is ready and the disk had no room to make one. New
    /// commands should be refused then, so that the remaining room serves votes, truncation and compaction.
    pub fn storage_level(&self) -> StorageLevel {
        if self.appender.roll().spares().is_low() { StorageLevel::Low } else { StorageLevel::Enough }
    }

    /// Returns true if the log is low on room and a segment is being made. Then the next call of [`Wal::settle`] is
    /// likely to bring the log nearer to enough room. Otherwise one call a second is enough.
    pub fn is_making_room(&self) -> bool {
        let spares = self.appender.roll().spares();
        spares.is_low() && spares.is_filling()
    }

    /// Streams that keep the oldest segment in use with more bytes than the log moves for them: they should compact.
    pub fn compaction_wanted(&self) -> &[StreamId] {
        self.relocation.compaction_wanted()
    }

    /// The failure after which the log takes no more writes, if there was one.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poison.first()
    }

    /// Makes everything durable, leaves proof of it in the log, and lets go of the directory.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn close(mut self) -> Result<(), Poisoned> {
        self.check()?;
        self.poison.note(self.appender.close())
    }
}
