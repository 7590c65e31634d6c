//! Threads for work that must not block the loop, behind bounded queues.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use quorate_protocol::{GroupId, Ticket};
use quorate_wal::disk::Disk;

use super::mailbox::Mailbox;
use super::news::News;
use crate::group::snapshot::{SnapshotFailure, SnapshotLane, SnapshotOperation};
use crate::node::interface::NodeInput;
use crate::shell::snapshots::{SnapshotStores, StopFlag};

/// A thread that does one piece of work after another.
#[derive(Debug)]
pub(crate) struct Worker<T> {
    queue: Option<SyncSender<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread. `ended` runs on it when the queue is closed and everything was done, or the work panicked.
    pub(crate) fn spawn(
        name: &str,
        queue_max: usize,
        mut work: impl FnMut(T) + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, receiver) = sync_channel(queue_max);
        let ended = OnDrop(Some(ended));
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ended = ended;
            while let Ok(item) = receiver.recv() {
                work(item);
            }
            // The work's data are dropped before the end is reported.
            drop(work);
        })?;
        Ok(Self { queue: Some(queue) })
    }

    /// Queues a piece of work. Returns false if the queue is full or closed; the work is then dropped.
    pub(crate) fn offer(&self, item: T) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(item).is_ok())
    }

    /// Accepts no more work. The thread ends when it has done the waiting work.
    pub(crate) fn close(&mut self) {
        self.queue = None;
    }
}

/// The threads that work on snapshots, one for each lane, so that making a large snapshot does not delay sending
/// another.
#[derive(Debug)]
pub(crate) struct SnapshotThreads {
    lanes: [Worker<SnapshotWork>; SnapshotThreads::COUNT],
    stop: StopFlag,
}

type SnapshotWork = (GroupId, Ticket, SnapshotOperation);

impl SnapshotThreads {
    /// Number of threads. Each sends [`News::Ended`] once.
    pub(crate) const COUNT: usize = SnapshotLane::ALL.len();

    /// Starts the threads. They hold `lock` until they end.
    pub(crate) fn spawn<D: Disk>(
        snapshots: SnapshotStores<D>,
        lock: &Arc<dyn Any + Send + Sync>,
        news: &Mailbox<News>,
    ) -> io::Result<Self> {
        let stop = snapshots.stop_flag();
        let snapshots = Arc::new(snapshots);
        let spawn = |name: &str| {
            let (snapshots, lock, tell, ended) = (snapshots.clone(), lock.clone(), news.clone(), news.clone());
            let work = move |(group, ticket, operation): SnapshotWork| {
                let _lock = &lock;
                let result = snapshots.perform(group, operation);
                // Fails only if the loop has ended.
                let _ = tell.push(News::Node(NodeInput::Snapshot { group, ticket, result }), 0);
            };
            Worker::spawn(name, WORK_MAX, work, move || drop(ended.push(News::Ended, 0)))
        };
        let lanes = [spawn("quorate-transfer")?, spawn("quorate-build")?, spawn("quorate-restore")?];
        Ok(Self { lanes, stop })
    }

    /// Queues an operation on its lane.
    ///
    /// # Errors
    /// When the lane's queue is full. The operation is dropped.
    pub(crate) fn offer(
        &self,
        group: GroupId,
        ticket: Ticket,
        operation: SnapshotOperation,
    ) -> Result<(), SnapshotFailure> {
        let lane = match operation.lane() {
            SnapshotLane::Transfer => 0,
            SnapshotLane::Build => 1,
            SnapshotLane::Whole => 2,
        };
        let is_queued = self.lanes[lane].offer((group, ticket, operation));
        is_queued.then_some(()).ok_or_else(|| SnapshotFailure::Io("too many snapshot operations wait".to_owned()))
    }

    /// Makes running operations end early, accepts no more, and lets the threads end.
    pub(crate) fn close(&mut self) {
        self.stop.raise();
        for lane in &mut self.lanes {
            lane.close();
        }
    }
}

/// Maximum number of snapshot operations, or jobs, that wait for their thread. One more fails at once.
pub(super) const WORK_MAX: usize = 4096;

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}
