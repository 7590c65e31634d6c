//! Lines of the log, on standard error.
//!
//! A thread of its own writes them. When whoever reads them is slow, lines are dropped and counted; when nobody reads
//! them any more, they are lost: a node never waits for the reader of its log, and never ends with it.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Writes what is left when dropped.
#[must_use]
pub struct LogGuard(#[allow(dead_code)] WorkerGuard);

/// Starts logging for this process, at `level` and above; the variable `RUST_LOG` says more than that, or less. To be
/// called once.
pub fn log_to_stderr(level: &str) -> LogGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).finish(io::stderr());
    let (writer, guard) = writer;
    // A second call changes nothing.
    let _ = LOST.set(writer.error_counter());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal());
    subscriber.log_internal_errors(false).with_writer(writer).init();
    LogGuard(guard)
}

/// Lines that were dropped because nobody took them in time.
pub fn lines_lost() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

static LOST: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that wait to be written.
const LINES_MAX: usize = 10_000;
