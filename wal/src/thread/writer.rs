//! The loop of the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_protocol::Operation;

use super::{Completions, SYNC_BUCKETS_US, Shared, Submission, ThreadMetrics, Work, WriteCompletion};
use crate::disk::Disk;
use crate::{Poisoned, StorageLevel, StreamId, Wal, WriteError};

pub(super) struct Writer<D: Disk> {
    wal: Wal<D>,
    shared: Arc<Shared>,
    on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
    slow_sync: Duration,
    metrics: ThreadMetrics,
    storage_level: StorageLevel,
    compaction_wanted: Vec<StreamId>,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        wal: Wal<D>,
        shared: Arc<Shared>,
        on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
        slow_sync: Duration,
    ) -> Self {
        let metrics = ThreadMetrics::default();
        let storage_level = wal.storage_level();
        Self { wal, shared, on_completion, slow_sync, metrics, storage_level, compaction_wanted: Vec::new() }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Until the queue is closed and empty. A failed log goes on to answer, so that nobody waits for ever.
    pub(super) fn run(mut self) -> Result<(), Poisoned> {
        let shared = self.shared.clone();
        while let Some(set) = shared.writes.drain() {
            let writes = self.carry_out(set);
            (self.on_completion)(Completions { writes, ..Completions::default() });
            // What follows can wait until the loop knows. Its failure poisons the log, and the next submission learns of it.
            let _ = self.wal.settle(shared.writes.is_empty());
            self.tell_changes();
            self.publish();
        }
        self.wal.close()
    }

    fn carry_out(&mut self, set: VecDeque<Submission>) -> Vec<WriteCompletion> {
        let mut completions: Vec<WriteCompletion> = Vec::with_capacity(set.len());
        let mut pending: Vec<(StreamId, Vec<Operation>)> = Vec::with_capacity(set.len());
        for Submission { stream, ticket, work } in set {
            let result = match work {
                Work::Write(operations) => {
                    pending.push((stream, operations));
                    Ok(())
                }
                Work::Delete => {
                    self.write(&mut pending, &mut completions);
                    self.wal.delete_stream(stream)
                }
            };
            completions.push(WriteCompletion { stream, ticket, result });
        }
        self.write(&mut pending, &mut completions);
        if let Err(poisoned) = self.sync() {
            for completion in completions.iter_mut().filter(|completion| completion.result.is_ok()) {
                completion.result = Err(poisoned.clone().into());
            }
        }
        self.metrics.sets += 1;
        completions
    }

    /// Writes what stands at the end of `completions`.
    fn write(&mut self, pending: &mut Vec<(StreamId, Vec<Operation>)>, completions: &mut [WriteCompletion]) {
        let first = completions.len() - pending.len();
        match self.wal.write(pending) {
            Ok(written) => {
                for (number, refusal) in written.refused {
                    completions[first + number].result = Err(WriteError::Refused(refusal));
                }
            }
            Err(poisoned) => {
                for completion in &mut completions[first..] {
                    completion.result = Err(poisoned.clone().into());
                }
            }
        }
        pending.clear();
    }

    fn sync(&mut self) -> Result<(), Poisoned> {
        if !self.wal.needs_sync() {
            return self.wal.sync().map(|_| ());
        }
        let start = Instant::now();
        self.wal.sync()?;
        let taken = start.elapsed();
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.metrics.sync_buckets[SYNC_BUCKETS_US.partition_point(|bound| *bound < micros)] += 1;
        self.metrics.sync_us = self.metrics.sync_us.saturating_add(micros);
        if taken > self.slow_sync {
            self.metrics.slow_syncs += 1;
            tracing::warn!(micros, "a sync of the log was slow");
        }
        Ok(())
    }

    fn tell_changes(&mut self) {
        let mut changes = Completions::default();
        let level = self.wal.storage_level();
        if level != self.storage_level {
            self.storage_level = level;
            changes.storage_level = Some(level);
        }
        if self.wal.compaction_wanted() != self.compaction_wanted {
            self.compaction_wanted = self.wal.compaction_wanted().to_vec();
            changes.compaction_wanted.clone_from(&self.compaction_wanted);
        }
        if changes != Completions::default() {
            (self.on_completion)(changes);
        }
    }

    fn publish(&mut self) {
        self.metrics.log = self.wal.metrics();
        *self.shared.metrics.lock().expect("nobody panics while holding the counters") = self.metrics;
    }
}
