//! Shutdown of a node: in order, and within the time that the caller sets.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use quorate_protocol::{Instant, Now};
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::news::News;
use super::shutdown::{Shutdown, Stopped};
use super::start::THREADS_WITH_THE_DIRECTORY;
use super::{Driver, log};
use crate::node::interface::NodeInput;

impl Driver {
    pub(super) fn begin_shutdown(&mut self, now: Now, deadline: Instant, done: oneshot::Sender<Stopped>) {
        let shutdown = self.shutdown.get_or_insert_with(|| Shutdown { deadline, done: Vec::new() });
        shutdown.done.push(done);
        shutdown.deadline = shutdown.deadline.min(deadline);
        self.node.handle(now, NodeInput::Shutdown { deadline: shutdown.deadline });
    }

    pub(super) fn is_done(&mut self) -> bool {
        let Some(shutdown) = &self.shutdown else { return false };
        let is_late = self.clock.now().instant >= shutdown.deadline;
        is_late || (self.node.is_settled() && self.waiting.len() == self.node.listeners())
    }

    /// Ends everything in order: no more calls are accepted, queued frames are sent, queued writes are synced, the
    /// threads end, the lock is released. A stalled disk is waited for until the deadline, or for [`CLOSING_TIME_MIN`]
    /// if less time is left.
    pub(super) async fn stop(mut self) {
        let shutdown = self.shutdown.take();
        let left = shutdown.as_ref().map(|shutdown| shutdown.deadline.since(self.clock.now().instant));
        let mut done = shutdown.map(|shutdown| shutdown.done).unwrap_or_default();
        done.extend(self.doors.close());
        self.waiting.clear();
        self.snapshots.close();
        self.jobs.close();
        log::close(self.log, self.lock.clone(), self.news.clone());
        let watch = watch(left.unwrap_or_default().max(CLOSING_TIME_MIN), self.news.clone());
        let mut leaving = pin!(self.transport.shutdown());
        let (mut running, mut has_left, mut is_late) = (THREADS_WITH_THE_DIRECTORY, false, false);
        poll_fn(|context| {
            has_left = has_left || leaving.as_mut().poll(context).is_ready();
            let mut news = Vec::new();
            while self.news.poll_take(context, &mut news) {
                for news in news.drain(..) {
                    match news {
                        News::Ended => running -= 1,
                        News::Late => is_late = true,
                        News::Node(_) | News::Log(_) => {}
                    }
                }
            }
            if is_late || (has_left && running == 0) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop((watch, self.lock));
        let stopped = if running == 0 { Stopped::InOrder } else { Stopped::DiskStalled };
        self.report.stopped(stopped);
        for done in done {
            let _ = done.send(stopped);
        }
    }
}

/// Pushes [`News::Late`] after `patience` unless the returned sender is dropped before. It uses real time, because the
/// cause that keeps a thread from ending may also stop the runtime's clock.
fn watch(patience: Duration, news: Mailbox<News>) -> mpsc::Sender<()> {
    let (watch, dropped) = mpsc::channel();
    let wait = move || {
        if dropped.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = news.push(News::Late, 0);
        }
    };
    // If this thread cannot be started, the shutdown waits without a limit.
    drop(thread::Builder::new().name("quorate-end".to_owned()).spawn(wait));
    watch
}

/// Minimum time for which a shutdown waits for the threads, even when the caller's patience is used up: a sync takes
/// time.
const CLOSING_TIME_MIN: Duration = Duration::from_secs(1);
