//! A thread for work that must not hold up the loop, behind a bounded queue.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

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
            // What the work holds is gone before anybody hears of the end.
            drop(work);
        })?;
        Ok(Self { queue: Some(queue) })
    }

    /// Queues a piece of work. False when the queue is full or closed: the work is dropped.
    pub(crate) fn offer(&self, item: T) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(item).is_ok())
    }

    /// Takes no more work; the thread ends when it has done what waits.
    pub(crate) fn close(&mut self) {
        self.queue = None;
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}
