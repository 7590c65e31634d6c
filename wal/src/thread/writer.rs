//! The loop of the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Completions, SYNC_BUCKETS_US, Shared, ThreadMetrics, WriteCompletion};
use crate::disk::Disk;
use crate::{Poisoned, Scribe, Submission, Wal};

pub(super) struct Writer<D: Disk> {
    scribe: Scribe<D>,
    shared: Arc<Shared>,
    on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
    slow_sync: Duration,
    /// Tells the time, for those who watch. Nothing depends on it.
    clock: Clock,
    metrics: ThreadMetrics,
}

/// How the time is told.
pub(super) type Clock = Box<dyn FnMut() -> Instant + Send>;

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        wal: Wal<D>,
        shared: Arc<Shared>,
        on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
        slow_sync: Duration,
        clock: Clock,
    ) -> Self {
        Self { scribe: Scribe::new(wal), shared, on_completion, slow_sync, clock, metrics: ThreadMetrics::default() }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Until the queue is closed and empty. A failed log goes on to answer, so that nobody waits for ever.
    pub(super) fn run(mut self) -> Result<(), Poisoned> {
        let shared = self.shared.clone();
        while let Some(set) = shared.writes.drain() {
            let mut writes = self.write(set);
            self.sync(&mut writes);
            self.metrics.sets += 1;
            (self.on_completion)(Completions { writes, ..Completions::default() });
            let changes = self.scribe.settle(shared.writes.is_empty());
            if changes != Completions::default() {
                (self.on_completion)(changes);
            }
            self.publish();
        }
        self.scribe.close()
    }

    fn write(&mut self, set: VecDeque<Submission>) -> Vec<WriteCompletion> {
        let (start, rotations) = ((self.clock)(), self.scribe.wal().metrics.rotations);
        let writes = self.scribe.write(set);
        if self.scribe.wal().metrics.rotations > rotations {
            self.note_sync(start);
        }
        writes
    }

    fn sync(&mut self, writes: &mut [WriteCompletion]) {
        let is_timed = self.scribe.wal().needs_sync();
        let start = (self.clock)();
        if self.scribe.sync(writes).is_ok() && is_timed {
            self.note_sync(start);
        }
    }

    /// Counts a sync that began at `start` and ends now, and warns of a slow one.
    fn note_sync(&mut self, start: Instant) {
        let taken = (self.clock)().saturating_duration_since(start);
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.metrics.sync_buckets[SYNC_BUCKETS_US.partition_point(|bound| *bound < micros)] += 1;
        self.metrics.sync_us = self.metrics.sync_us.saturating_add(micros);
        if taken > self.slow_sync {
            self.metrics.slow_syncs += 1;
            tracing::warn!(micros, "a sync of the log was slow");
        }
    }

    fn publish(&mut self) {
        self.metrics.log = self.scribe.wal().metrics();
        *self.shared.metrics.lock().expect("nobody panics while holding the counters") = self.metrics;
    }
}
