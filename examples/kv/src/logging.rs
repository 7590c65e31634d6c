//! Writes the lines of the log to standard error.
//!
//! A thread of its own writes them. If the reader is slow, lines are dropped and counted. If there is no reader any
//! more, they are lost. A node never waits for the reader of its log, and does not end when the reader does.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Writes the remaining lines when dropped.
#[must_use]
pub struct LogGuard(#[allow(dead_code)] WorkerGuard);

/// The form of the lines of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object of JSON a line, for collectors.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("the formats are text and json".to_owned()),
        }
    }
}

/// Starts logging for this process, at `level` and above. The variable `RUST_LOG` changes the levels. To be called
/// once.
pub fn log_to_stderr(level: &str, format: LogFormat) -> LogGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).finish(io::stderr());
    let (writer, guard) = writer;
    // A second call changes nothing.
    let _ = LOST.set(writer.error_counter());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(io::stderr().is_terminal());
    let subscriber = subscriber.log_internal_errors(false).with_writer(writer);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.with_ansi(false).json().flatten_event(true).init(),
    }
    LogGuard(guard)
}

/// Number of lines that were dropped because they were not read in time.
pub fn lines_lost() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

static LOST: OnceLock<ErrorCounter> = OnceLock::new();
/// Maximum number of lines that wait to be written.
const LINES_MAX: usize = 10_000;
