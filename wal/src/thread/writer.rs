//! The loop of the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_protocol::Ticket;

use super::completion::{Completions, WriteCompletion};
use super::metrics::{SYNC_BUCKETS_US, ThreadMetrics};
use super::scribe::{Scribe, Submission};
use super::shared::{Shared, catching};
use crate::disk::Disk;
use crate::error::{Poisoned, WriteError};
use crate::stream_id::StreamId;
use crate::wal::Wal;

pub(super) struct Writer<D: Disk> {
    scribe: Scribe<D>,
    shared: Arc<Shared>,
    on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
    slow_sync: Duration,
    /// The clock, for metrics and warnings. No decision depends on it.
    clock: Clock,
    metrics: ThreadMetrics,
    /// Submissions of the current set that were not answered yet.
    unanswered: Vec<(StreamId, Ticket)>,
    /// Set if the log's code panicked. Its state is not used any more.
    panicked: Option<Poisoned>,
}

/// A source of the time.
pub(super) type Clock = Box<dyn FnMut() -> Instant + Send>;

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        wal: Wal<D>,
        shared: Arc<Shared>,
        on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
        slow_sync: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            scribe: Scribe::new(wal),
            shared,
            on_completion,
            slow_sync,
            clock,
            metrics: ThreadMetrics::default(),
            unanswered: Vec::new(),
            panicked: None,
        }
    }

    /// Runs until the queue is closed and empty. A log that failed, also by a panic, keeps answering, so that no caller
    /// waits for ever.
    pub(super) fn run(mut self) -> Result<(), Poisoned> {
        let shared = self.shared.clone();
        while let Some(set) = shared.writes.drain(self.patience()) {
            self.unanswered.clear();
            self.unanswered.extend(set.iter().map(|submission| (submission.stream, submission.ticket)));
            if self.panicked.is_none()
                && let Err(panic) = catching(|| self.carry_out(set))
            {
                let poisoned = panicked(&panic);
                tracing::error!(reason = poisoned.reason, "the log takes no more writes");
                self.panicked = Some(poisoned);
            }
            self.refuse_unanswered();
        }
        let Self { scribe, panicked: before, .. } = self;
        match before {
            Some(poisoned) => Err(poisoned),
            None => catching(|| scribe.close()).unwrap_or_else(|panic| Err(panicked(&panic))),
        }
    }

    /// Maximum time to wait for submissions before looking for room. `None`, without a limit, unless the log is low on
    /// room.
    fn patience(&self) -> Option<Duration> {
        let is_wanted = self.panicked.is_none() && self.scribe.is_short_of_room();
        is_wanted.then(|| if self.scribe.wal().is_making_room() { Duration::ZERO } else { ROOM_INTERVAL })
    }

    fn carry_out(&mut self, set: VecDeque<Submission>) {
        if !set.is_empty() {
            let mut writes = self.write(set);
            self.sync(&mut writes);
            self.metrics.sets += 1;
            self.unanswered.clear();
            (self.on_completion)(Completions { writes, ..Completions::default() });
        }
        let changes = self.scribe.settle(self.shared.writes.is_empty());
        if changes != Completions::default() {
            (self.on_completion)(changes);
        }
        self.publish();
    }

    /// Answers the submissions of a set that was not carried out to its end.
    fn refuse_unanswered(&mut self) {
        let (Some(poisoned), false) = (&self.panicked, self.unanswered.is_empty()) else { return };
        let refused = self.unanswered.drain(..).map(|(stream, ticket)| {
            let result = Err(WriteError::Poisoned(poisoned.clone()));
            WriteCompletion { stream, ticket, result, stream_bytes: 0 }
        });
        let writes = refused.collect();
        let told = catching(|| (self.on_completion)(Completions { writes, ..Completions::default() }));
        if let Err(panic) = told {
            tracing::error!(panic, "the callback panicked on the completion of writes");
        }
    }

    fn write(&mut self, set: VecDeque<Submission>) -> Vec<WriteCompletion> {
        let (start, rotations) = ((self.clock)(), self.scribe.wal().rotations());
        let writes = self.scribe.write(set);
        if self.scribe.wal().rotations() > rotations {
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

fn panicked(panic: &str) -> Poisoned {
    Poisoned { reason: format!("the log's code panicked: {panic}") }
}

/// Interval at which a log that is low on room checks whether there is room again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
