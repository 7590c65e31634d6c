//! The log as the loop sees it: a thread that accepts writes and reports when they are durable.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::thread;

use quorate_wal::disk::Disk;
use quorate_wal::{Completions, LogThread, ThreadSettings, Wal};

use super::mailbox::Mailbox;
use super::news::News;
use super::report::Report;
use crate::node::interface::{NodeInput, Write};

/// Starts the log's threads, which report their results to the loop.
pub(super) fn spawn<D: Disk>(wal: Wal<D>, news: Mailbox<News>) -> io::Result<LogThread> {
    // A group has one write in flight and bounds its size, which bounds the queue without a further limit.
    let settings = ThreadSettings { queue_bytes_max: usize::MAX, loads_max: usize::MAX, ..ThreadSettings::default() };
    // Fails only if the loop has ended.
    LogThread::spawn(wal, &settings, move |done| drop(news.push(News::Log(done), 0)))
}

/// Submits the writes of one turn to the log, which syncs them at once.
pub(super) fn submit(log: &LogThread, writes: Vec<Write>) {
    let writes = writes.into_iter().map(|write| (write.stream, write.ticket, write.operations));
    log.submit_all(writes).expect("the queue has no bound of its own, and the loop closes it last");
}

/// Ends the log's threads without blocking the loop, and reports the end to it.
pub(super) fn close(log: LogThread, lock: Arc<dyn Any + Send + Sync>, news: Mailbox<News>) {
    let ended = news.clone();
    let closing = move || {
        let closed = log.close();
        // Nothing writes to the directory from here on.
        drop(lock);
        let _ = news.push(News::Ended, 0);
        if let Err(poisoned) = closed {
            tracing::error!(%poisoned, "the log could not be closed in order");
        }
    };
    // If no thread can be started, the closure is dropped and the log with it, which also ends its threads.
    if thread::Builder::new().name("quorate-log-end".to_owned()).spawn(closing).is_err() {
        let _ = ended.push(News::Ended, 0);
    }
}

/// Reports the results of the log to the operator and the node.
pub(super) fn tell(done: Completions, report: &mut Report, mut node: impl FnMut(NodeInput)) {
    report.written(&done.writes);
    for input in NodeInput::of_log(done) {
        if let NodeInput::Storage(level) = &input {
            report.storage(*level);
        }
        node(input);
    }
}
