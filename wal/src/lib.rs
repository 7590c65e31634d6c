#![doc = include_str!("../README.md")]

pub mod disk;
#[cfg(feature = "inspect")]
pub mod inspect;

mod admission;
mod appender;
mod checkpoints;
mod creation;
mod error;
mod files;
mod format;
mod head;
mod index;
mod metrics;
mod opening;
mod poison;
mod reader;
mod recovery;
mod relocation;
mod report;
mod roll;
mod settings;
mod snapshots;
mod spares;
mod stream_id;
mod thread;
mod wal;
mod window;

pub use admission::Written;
pub use error::{OpenError, Poisoned, SubmissionRefusal, WriteError};
pub use format::FORMAT_VERSION;
pub use metrics::Metrics;
pub use reader::LogReader;
pub use report::{Cut, OpeningReport};
pub use settings::{LogSettings, SettingsError};
pub use snapshots::{
    SealedSnapshot, SnapshotBuilder, SnapshotContent, SnapshotError, SnapshotFile, SnapshotStore, StoredSnapshot,
};
pub use stream_id::StreamId;
pub use thread::{
    CloseError, Completions, LoadCompletion, LogThread, SYNC_BUCKETS_US, Scribe, StreamWork, Submission, SubmitError,
    ThreadMetrics, ThreadSettings, WriteCompletion,
};
pub use wal::Wal;
