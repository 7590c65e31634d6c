//! How a node stops: in order, and within a time that the caller sets.

use std::future::poll_fn;
use std::task::Poll;

use quorate_protocol::{Instant, Now};
use tokio::sync::oneshot;

use super::start::THREADS_WITH_THE_DIRECTORY;
use super::{Driver, News, log};
use crate::NodeInput;

/// A shutdown that was asked for.
#[derive(Debug)]
pub(super) struct Shutdown {
    pub(super) deadline: Instant,
    done: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(super) fn begin_shutdown(&mut self, now: Now, deadline: Instant, done: oneshot::Sender<()>) {
        let shutdown = self.shutdown.get_or_insert_with(|| Shutdown { deadline, done: Vec::new() });
        shutdown.done.push(done);
        shutdown.deadline = shutdown.deadline.min(deadline);
        self.node.handle(now, NodeInput::Shutdown { deadline: shutdown.deadline });
    }

    pub(super) fn is_done(&mut self) -> bool {
        let Some(shutdown) = &self.shutdown else { return false };
        self.clock.now().instant >= shutdown.deadline || (self.node.is_settled() && self.waiting.is_empty())
    }

    /// Ends everything in order: no more calls, what is queued is sent and synced, the threads end, the lock goes.
    pub(super) async fn stop(mut self) {
        let mut done = self.shutdown.take().map(|shutdown| shutdown.done).unwrap_or_default();
        done.extend(self.doors.close());
        self.waiting.clear();
        self.transport.shutdown().await;
        self.snapshots.close();
        self.jobs.close();
        log::close(self.log, self.news.clone());
        let mut running = THREADS_WITH_THE_DIRECTORY;
        while running > 0 {
            let mut news = Vec::new();
            poll_fn(|context| if self.news.poll_take(context, &mut news) { Poll::Ready(()) } else { Poll::Pending })
                .await;
            running -= news.iter().filter(|news| matches!(news, News::Ended)).count();
        }
        drop(self.lock);
        for done in done {
            let _ = done.send(());
        }
    }
}
