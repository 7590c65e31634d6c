//! The loop of the thread that writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_protocol::Ticket;

use super::completion::{Completions, WriteCompletion};
use super::making::MakerThread;
use super::metrics::{SYNC_BUCKETS_US, ThreadMetrics};
use super::scribe::{Scribe, Submission};
use super::shared::{Shared, catching};
use crate::disk::Disk;
use crate::error::{Poisoned, WriteError};
use crate::stream_id::StreamId;
use crate::wal::Wal;

pub(super) struct Writer<D: Disk> {
    scribe: Scribe<D>,
    /// Fills the next segments, unless the log itself does.
    maker: Option<MakerThread<D>>,
    shared: Arc<Shared>,
    on_completion: Arc<dyn Fn(Completions) + Send + Sync>,
    slow_sync: Duration,
    /// The clock, for metrics and warnings. No decision depends on it.
    clock: Clock,
    metrics: ThreadMetrics,
    /// Submissions of the current set that were not answered yet.
    unanswered: Vec<(StreamId, Ticket)>,
    /// True if a set was written since the log last left proof of what is durable.
    owes_proof: bool,
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
            maker: None,
            shared,
            on_completion,
            slow_sync,
            clock,
            metrics: ThreadMetrics::default(),
            unanswered: Vec::new(),
            owes_proof: false,
            panicked: None,
        }
    }

    /// Leaves the next segments to another thread.
    pub(super) fn leaving_segments_to(mut self, maker: MakerThread<D>) -> Self {
        self.maker = Some(maker);
        self
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
        let Self { scribe, maker, panicked: before, .. } = self;
        // Nothing else may write to the directory when the log releases it.
        drop(maker);
        match before {
            Some(poisoned) => Err(poisoned),
            None => catching(|| scribe.close()).unwrap_or_else(|panic| Err(panicked(&panic))),
        }
    }

    /// Maximum time to wait for submissions before leaving proof of what is durable, or looking for room. `None`,
    /// without a limit, if neither is due.
    fn patience(&self) -> Option<Duration> {
        if self.panicked.is_some() {
            return None;
        }
        let proof = self.owes_proof.then_some(IDLE_AFTER);
        // A thread that makes room says when there is some.
        let is_at_it = self.maker.is_none() && self.scribe.wal().is_making_room();
        let room = if is_at_it { Duration::ZERO } else { ROOM_INTERVAL };
        proof.into_iter().chain(self.scribe.is_short_of_room().then_some(room)).min()
    }

    /// Carries out a set. An empty one means that none has come for a while.
    fn carry_out(&mut self, set: VecDeque<Submission>) {
        let is_idle = set.is_empty();
        if !is_idle {
            let mut writes = self.write(set);
            self.sync(&mut writes);
            self.metrics.sets += 1;
            self.unanswered.clear();
            (self.on_completion)(Completions { writes, ..Completions::default() });
        }
        self.owes_proof = !is_idle;
        let changes = self.scribe.settle(is_idle);
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

/// Time without a submission after which the log leaves proof of what is durable. Under load the next batch carries the
/// same proof, so that a marker after each batch would be written for nothing.
const IDLE_AFTER: Duration = Duration::from_millis(5);
/// Interval at which a log that is low on room checks whether there is room again.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
