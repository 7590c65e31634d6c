//! Lines of the log on a thread of their own: whoever reads them may be slow or gone, and the loop goes on.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tracing::{dispatcher, warn};

use super::worker::Worker;

/// Something to be said in the log.
type Line = Box<dyn FnOnce() + Send>;

/// Says lines in their order, with the subscriber of the thread that made it.
pub(super) struct Lines {
    worker: Worker<Line>,
    dropped: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl Lines {
    pub(super) fn new() -> io::Result<Self> {
        let dropped = Arc::new(AtomicU64::new(0));
        let subscriber = dispatcher::get_default(Clone::clone);
        let (tell, ended) = channel();
        let counted = dropped.clone();
        let say = move |line: Line| {
            dispatcher::with_default(&subscriber, || {
                // A subscriber that panics, over a closed pipe for one, ends nothing.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    line();
                    let lines = counted.swap(0, Ordering::Relaxed);
                    if lines > 0 {
                        warn!(lines, "lines of the log were dropped: its reader is too slow");
                    }
                }));
            });
        };
        let worker = Worker::spawn("quorate-lines", LINES_MAX, say, move || drop(tell))?;
        Ok(Self { worker, dropped, ended })
    }

    /// Says a line soon. It is dropped and counted when too many wait.
    pub(super) fn say(&self, line: impl FnOnce() + Send + 'static) {
        if !self.worker.offer(Box::new(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says what waits, for a short while at most.
    pub(super) fn end(&mut self) {
        self.worker.close();
        let _ = self.ended.recv_timeout(END_TIME_MAX);
    }
}

/// Lines that wait; one more is dropped.
const LINES_MAX: usize = 1024;
const END_TIME_MAX: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{LINES_MAX, Lines};

    #[test]
    fn a_line_that_cannot_be_said_holds_nobody_up() {
        let lines = Lines::new().expect("a thread");
        let (open, gate) = channel::<()>();
        let (begin, begun) = channel();
        lines.say(move || {
            begin.send(()).expect("the test waits");
            gate.recv().expect("opened below");
        });
        begun.recv().expect("the first line is being said");
        let (tell, told) = channel();
        for number in 0..LINES_MAX + 5 {
            let tell = tell.clone();
            lines.say(move || tell.send(number).expect("the test listens"));
        }
        drop(tell);
        open.send(()).expect("it waits");
        assert_eq!(told.iter().count(), LINES_MAX, "five were dropped, and the caller was not held up");
    }

    #[test]
    fn a_line_that_panics_ends_nothing() {
        let mut lines = Lines::new().expect("a thread");
        let (tell, told) = channel();
        lines.say(|| panic!("the reader of the log is gone"));
        lines.say(move || tell.send(()).expect("the test listens"));
        lines.end();
        told.recv().expect("the next line is said");
    }
}
