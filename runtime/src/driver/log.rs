//! The log as the loop sees it: a thread that takes writes and tells when they are durable.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::thread;

use quorate_wal::disk::Disk;
use quorate_wal::{Completions, LogThread, ThreadSettings, Wal};

use super::News;
use super::mailbox::Mailbox;
use super::report::Report;
use crate::{NodeInput, Write};

/// Starts the log's threads, which tell the loop what they did.
pub(super) fn spawn<D: Disk>(wal: Wal<D>, news: Mailbox<News>) -> io::Result<LogThread> {
    // A group has one write in flight and bounds it, which bounds the queue without a second rule.
    let settings = ThreadSettings { queue_bytes_max: usize::MAX, loads_max: usize::MAX, ..ThreadSettings::default() };
    // Nobody listens any more when the loop has ended.
    LogThread::spawn(wal, &settings, move |done| drop(news.push(News::Log(done), 0)))
}

/// Hands the writes of one turn to the log, to be synced at once.
pub(super) fn submit(log: &LogThread, writes: Vec<Write>) {
    let writes = writes.into_iter().map(|write| (write.stream, write.ticket, write.operations));
    log.submit_all(writes).expect("the queue has no bound of its own, and the loop closes it last");
}

/// Ends the log's threads without holding up the loop, and tells it.
pub(super) fn close(log: LogThread, lock: Arc<dyn Any + Send + Sync>, news: Mailbox<News>) {
    let ended = news.clone();
    let closing = move || {
        let closed = log.close();
        // Nothing is written any more.
        drop(lock);
        let _ = news.push(News::Ended, 0);
        if let Err(poisoned) = closed {
            tracing::error!(%poisoned, "the log could not be closed in order");
        }
    };
    // A closure that cannot be run is dropped, and the log with it, which ends its threads as well.
    if thread::Builder::new().name("quorate-log-end".to_owned()).spawn(closing).is_err() {
        let _ = ended.push(News::Ended, 0);
    }
}

/// Tells the operator and the node what the log has done.
pub(super) fn tell(done: Completions, report: &mut Report, mut node: impl FnMut(NodeInput)) {
    report.written(&done.writes);
    for input in NodeInput::of_log(done) {
        if let NodeInput::Storage(level) = &input {
            report.storage(*level);
        }
        node(input);
    }
}
