//! Runs the log on a thread of its own, loads on another, and fills the next segment on a third. All rules are in
//! [`Wal`].

mod completion;
mod error;
mod making;
mod metrics;
mod queue;
mod scribe;
mod shared;
mod writer;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use quorate_protocol::{LoadFailure, LoadRange, Operation, Ticket};

pub use self::completion::{Completions, LoadCompletion, WriteCompletion};
pub use self::error::{CloseError, SubmitError};
pub use self::metrics::{SYNC_BUCKETS_US, ThreadMetrics};
pub use self::scribe::{Scribe, StreamWork, Submission};

use self::making::MakerThread;
use self::queue::Queue;
use self::shared::{Load, Shared, catching};
use self::writer::Writer;
use crate::disk::Disk;
use crate::error::Poisoned;
use crate::reader::LogReader;
use crate::stream_id::StreamId;
use crate::wal::Wal;

/// Runs a [`Wal`]: accepts submissions without waiting, makes all waiting ones durable with one sync, and reports them
/// to a callback. While the log is low on room, it checks once a second whether there is room again.
///
/// A panic within the log ends neither the threads nor the process. All waiting and all later submissions fail with the
/// error that the log is poisoned. A load during which the code panicked fails like one that the disk refused.
///
/// Dropping it closes it as [`LogThread::close`] does, and waits as long.
pub struct LogThread {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<Result<(), Poisoned>>>,
    loader: Option<JoinHandle<()>>,
    /// Closed when both threads have ended.
    ended: Mutex<Receiver<Infallible>>,
}

/// Settings of the log's threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSettings {
    /// Maximum bytes of operations that wait for the log; more are refused. Everything that waits is written at once,
    /// in the needed number of batches, under one sync.
    pub queue_bytes_max: usize,
    /// Maximum number of loads that wait; more are refused.
    pub loads_max: usize,
    /// A sync that takes longer causes a warning.
    pub slow_sync: Duration,
}

impl Default for ThreadSettings {
    fn default() -> Self {
        Self { queue_bytes_max: 64 << 20, loads_max: 4096, slow_sync: Duration::from_secs(1) }
    }
}

impl LogThread {
    /// Starts the threads. `on_completion` is called on them. It should only pass the completions on, since it holds up
    /// the log.
    ///
    /// # Errors
    /// When the operating system cannot start a thread.
    pub fn spawn<D: Disk>(
        wal: Wal<D>,
        settings: &ThreadSettings,
        on_completion: impl Fn(Completions) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            writes: Queue::new(settings.queue_bytes_max),
            loads: Queue::new(settings.loads_max),
            metrics: Mutex::new(ThreadMetrics { log: wal.metrics(), ..ThreadMetrics::default() }),
        });
        let on_completion: Arc<dyn Fn(Completions) + Send + Sync> = Arc::new(on_completion);
        let reader = wal.reader();
        let maker = MakerThread::spawn(wal.segment_maker(), shared.clone())?;
        let (runs, ended) = channel();
        let loader = Builder::new().name("quorate-log-reads".to_owned()).spawn({
            let (shared, on_completion, runs) = (shared.clone(), on_completion.clone(), runs.clone());
            move || {
                let _runs = runs;
                run_loads(&shared, &reader, &*on_completion);
            }
        })?;
        let mut thread = Self { shared: shared.clone(), writer: None, loader: Some(loader), ended: Mutex::new(ended) };
        let writer = Writer::new(wal, shared, on_completion, settings.slow_sync, Box::new(Instant::now))
            .leaving_segments_to(maker);
        thread.writer = Some(Builder::new().name("quorate-log".to_owned()).spawn(move || {
            // Dropped last: when the end is noticed, the directory is free.
            let _runs = runs;
            writer.run()
        })?);
        Ok(thread)
    }

    /// Submits operations, which become durable all or not at all, after all that were submitted before. Never waits.
    ///
    /// # Errors
    /// When the queue is full, or the log is closed. Nothing is written then, and no completion comes.
    pub fn submit(&self, stream: StreamId, ticket: Ticket, operations: Vec<Operation>) -> Result<(), SubmitError> {
        let weight = operations.iter().map(Operation::weight).sum();
        self.shared.writes.push(Submission { stream, ticket, work: StreamWork::Write(operations) }, weight)
    }

    /// As [`LogThread::submit`] for several at once. They enter the queue together, so that one sync covers them,
    /// unless another segment is begun among them.
    ///
    /// # Errors
    /// As [`LogThread::submit`], for all of them.
    pub fn submit_all(
        &self,
        submissions: impl IntoIterator<Item = (StreamId, Ticket, Vec<Operation>)>,
    ) -> Result<(), SubmitError> {
        self.shared.writes.push_all(submissions.into_iter().map(|(stream, ticket, operations)| {
            let weight = operations.iter().map(Operation::weight).sum();
            (Submission { stream, ticket, work: StreamWork::Write(operations) }, weight)
        }))
    }

    /// As [`Wal::delete_stream`], in order with the submissions.
    ///
    /// # Errors
    /// As [`LogThread::submit`].
    pub fn delete_stream(&self, stream: StreamId, ticket: Ticket) -> Result<(), SubmitError> {
        self.shared.writes.push(Submission { stream, ticket, work: StreamWork::Delete }, 1)
    }

    /// Submits a load, which waits for no write. Never waits itself.
    ///
    /// # Errors
    /// When too many loads wait, or the log is closed. No completion comes then.
    pub fn load(&self, stream: StreamId, ticket: Ticket, range: LoadRange) -> Result<(), SubmitError> {
        self.shared.loads.push(Load { stream, ticket, range }, 1)
    }

    /// Makes the thread that writes look for submissions for this time before it sleeps. This saves the time of a
    /// wake-up where submissions come one at a time, and costs processor time. Zero, as at first, makes it sleep at
    /// once.
    pub fn spin(&self, spin: Duration) {
        self.shared.writes.set_spin(spin);
    }

    /// Counters since the log was opened.
    pub fn metrics(&self) -> ThreadMetrics {
        *self.shared.metrics.lock().expect("nobody panics while holding the counters")
    }

    /// Writes and syncs everything that waits, closes the log and releases its directory. All completions were reported
    /// when it returns. It waits for the disk without a limit.
    ///
    /// # Errors
    /// When the log failed, now or before.
    pub fn close(mut self) -> Result<(), Poisoned> {
        self.stop()
    }

    /// As [`LogThread::close`], but waits at most `patience` for a disk that does not answer.
    ///
    /// # Errors
    /// When the log failed, now or before, or the disk has not answered by then.
    pub fn close_within(mut self, patience: Duration) -> Result<(), CloseError> {
        self.close_queues();
        let waited = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
        if waited == Err(RecvTimeoutError::Timeout) {
            // The threads are not joined: they end by themselves.
            self.writer = None;
            self.loader = None;
            return Err(CloseError::Stalled);
        }
        Ok(self.stop()?)
    }

    fn close_queues(&self) {
        self.shared.writes.close();
        self.shared.loads.close();
    }

    fn stop(&mut self) -> Result<(), Poisoned> {
        self.close_queues();
        let panicked = || Poisoned { reason: "the log's thread panicked".to_owned() };
        let loads = self.loader.take().map_or(Ok(()), |loader| loader.join().map_err(|_| panicked()));
        let writes = self.writer.take().map_or(Ok(()), |writer| writer.join().unwrap_or_else(|_| Err(panicked())));
        writes.and(loads)
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        // A caller that needs the outcome calls `close`.
        let _ = self.stop();
    }
}

fn run_loads<D: Disk>(shared: &Shared, reader: &LogReader<D>, on_completion: &(dyn Fn(Completions) + Send + Sync)) {
    while let Some(loads) = shared.loads.drain(None) {
        for Load { stream, ticket, range } in loads {
            let result = catching(|| reader.load(stream, &range)).unwrap_or_else(|panic| {
                tracing::error!(%stream, panic, "a load from the log panicked");
                Err(LoadFailure::Io)
            });
            let load = LoadCompletion { stream, ticket, result };
            let told = catching(|| on_completion(Completions { loads: vec![load], ..Completions::default() }));
            if let Err(panic) = told {
                tracing::error!(panic, "the callback panicked on the completion of a load");
            }
        }
    }
}
