//! Writes batches at the head of the log, and updates the index, the segments and the checkpoint.

use crate::disk::Disk;
use crate::error::SubmissionRefusal;
use crate::files::is_full;
use crate::format::{BatchBuilder, BatchView};
use crate::head::Head;
use crate::index::{Segment, SharedIndex};
use crate::metrics::Metrics;
use crate::poison::DiskFault;
use crate::roll::Roll;

/// The writing end of a log.
///
/// A batch is built with [`Appender::batch`], gets room from [`Appender::make_room`], and is written with
/// [`Appender::write`]. After a [`DiskFault`] nothing more may be written.
pub(crate) struct Appender<D: Disk> {
    index: SharedIndex<D::File>,
    /// The batch that is being built, in a buffer that is used again and again.
    batch: BatchBuilder,
    /// Maximum bytes of a batch, padding included.
    batch_bytes_max: u64,
    head: Head<D::File>,
    roll: Roll<D>,
    /// Counters. The fields for the present size are filled in by [`Appender::metrics`].
    metrics: Metrics,
}

impl<D: Disk> Appender<D> {
    pub(crate) fn new(index: SharedIndex<D::File>, head: Head<D::File>, roll: Roll<D>, batch_bytes_max: u64) -> Self {
        let (batch, metrics) = (BatchBuilder::default(), Metrics::default());
        Self { index, batch, batch_bytes_max, head, roll, metrics }
    }

    pub(crate) fn index(&self) -> &SharedIndex<D::File> {
        &self.index
    }

    pub(crate) fn head(&self) -> &Head<D::File> {
        &self.head
    }

    pub(crate) fn roll(&self) -> &Roll<D> {
        &self.roll
    }

    /// The batch that is being built.
    pub(crate) fn batch(&mut self) -> &mut BatchBuilder {
        &mut self.batch
    }

    /// Maximum bytes of a batch, padding included.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        self.batch_bytes_max
    }

    /// The counters, for callers to add to.
    pub(crate) fn counters(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// Number of segments begun.
    pub(crate) fn rotations(&self) -> u64 {
        self.metrics.rotations
    }

    /// Counters, and the log's present size.
    pub(crate) fn metrics(&self) -> Metrics {
        let index = self.index.read();
        Metrics {
            disk_bytes: index.disk_bytes() + self.roll.spares().bytes(),
            live_bytes: index.live.total(),
            segments: index.segments.len() as u64,
            ..self.metrics
        }
    }

    /// Makes sure that the batch fits the segment, and begins another segment if it does not. Refuses if the disk has
    /// no room for one.
    pub(crate) fn make_room(&mut self) -> Result<Result<(), SubmissionRefusal>, DiskFault> {
        if self.head.has_room(&self.batch) {
            return Ok(Ok(()));
        }
        let spare = match self.roll.take_spare() {
            Ok(spare) => spare,
            Err(error) if is_full(&error) => return Ok(Err(SubmissionRefusal::DiskFull)),
            Err(error) => return Err(DiskFault::during(MAKING)(error)),
        };
        self.rotate(&spare).map(Ok)
    }

    /// Writes the batch, for which there must be room, and adds its records to the index.
    pub(crate) fn write(&mut self, needs_sync: bool) -> Result<(), DiskFault> {
        let checkpoint = self.roll.durable_generation();
        let written = self.head.write(&mut self.batch, checkpoint, needs_sync).map_err(DiskFault::during(WRITE))?;
        self.metrics.batches += 1;
        self.metrics.bytes += self.batch.bytes().len() as u64;
        let batch = BatchView::of_sealed(self.batch.bytes(), written.offset, written.last);
        self.index.write().add_batch(&batch, self.head.segment(), self.batch.used_bytes());
        Ok(())
    }

    /// Leaves proof in the log of what is durable, without a sync.
    pub(crate) fn write_marker(&mut self) -> Result<(), DiskFault> {
        let checkpoint = self.roll.durable_generation();
        self.head.write_marker(&mut self.batch, checkpoint).map_err(DiskFault::during(WRITE))
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), DiskFault> {
        let was_due = self.head.sync().map_err(DiskFault::during("sync of the log"))?;
        self.metrics.syncs += u64::from(was_due);
        Ok(())
    }

    /// Makes everything durable, and leaves proof of it in the segment and in both copies of the checkpoint.
    pub(crate) fn close(mut self) -> Result<(), DiskFault> {
        self.sync()?;
        self.write_marker()?;
        self.head.require_sync();
        self.sync()?;
        // The same proof outside the segment, which may be full, lose its end, or be replaced by an older copy.
        self.roll.write_both_checkpoints(&self.index, &self.head).map_err(DiskFault::during(CHECKPOINT))
    }

    /// Prepares the next segment a little further, if it is needed soon or the log is low on room. If another thread
    /// fills it, this only says how far it is to be filled: to the end when half of the present segment is written.
    pub(crate) fn prepare_segment(&mut self) -> Result<(), DiskFault> {
        let spares = self.roll.spares();
        if spares.is_made_elsewhere() {
            let wanted = if spares.is_low() { u64::MAX } else { self.head.written_bytes() * 2 };
            spares.want(wanted.min(spares.segment_bytes()));
        } else if self.head.is_half_full() || self.roll.spares().is_low() {
            self.roll.fill(FILL_BYTES).map_err(DiskFault::during(MAKING))?;
        }
        Ok(())
    }

    /// Fails if another thread has failed to fill the next segment.
    pub(crate) fn check_maker(&self) -> Result<(), DiskFault> {
        self.roll.spares().take_failure().map_or(Ok(()), |error| Err(DiskFault::during(MAKING)(error)))
    }

    /// Frees the oldest segments, up to the first that holds a live record.
    pub(crate) fn free_segments(&mut self) -> Result<(), DiskFault> {
        let (oldest, needed) = {
            let index = self.index.read();
            let oldest = index.oldest_segment().unwrap_or(self.head.segment());
            (oldest, index.live.oldest().unwrap_or(u64::MAX).min(self.head.segment()))
        };
        if oldest >= needed {
            return Ok(());
        }
        self.sync()?;
        let freed = {
            let mut index = self.index.write();
            let kept = index.segments.split_off(&needed);
            std::mem::replace(&mut index.segments, kept)
        };
        self.metrics.freed_segments += freed.len() as u64;
        self.roll.free(&freed, &self.index, &self.head).map_err(DiskFault::during("freeing a segment"))
    }

    /// Goes on in another segment, which is durable, with everything needed to find it, before a batch is written to
    /// it. The old one is synced first, so that no batch in it can be torn.
    fn rotate(&mut self, spare: &str) -> Result<(), DiskFault> {
        self.sync()?;
        let next = self.roll.begin(spare, &self.head).map_err(DiskFault::during("beginning a segment"))?;
        let segment = Segment { file: next.file.clone(), bytes: next.bytes };
        self.index.write().segments.insert(next.id, segment);
        self.head.move_to(next);
        self.metrics.rotations += 1;
        self.roll.write_checkpoint(&self.index, &self.head).map_err(DiskFault::during(CHECKPOINT))
    }
}

const WRITE: &str = "write to the log";
const MAKING: &str = "making a segment";
const CHECKPOINT: &str = "write of the checkpoint";
/// Bytes of the next segment that are written at once. They are few enough not to hold up the next batch.
const FILL_BYTES: u64 = 256 * 1024;
