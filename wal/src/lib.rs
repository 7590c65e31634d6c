#![doc = include_str!("../README.md")]

pub mod disk;
#[cfg(feature = "inspect")]
pub mod inspect;

mod checkpoints;
mod cursor;
mod error;
mod files;
mod format;
mod index;
mod metrics;
mod reader;
mod recover_stream;
mod recovery;
mod relocation;
mod scribe;
mod settings;
mod settle;
mod snapshot_store;
mod spares;
mod stream_id;
mod thread;
mod wal;
mod write;

pub use error::{OpenError, Poisoned, Refusal, WriteError};
pub use format::FORMAT_VERSION;
pub use metrics::Metrics;
pub use reader::Reader;
pub use scribe::{Scribe, Submission, Work};
pub use settings::{Settings, SettingsError};
pub use snapshot_store::{
    SealedSnapshot, SnapshotBuilder, SnapshotContent, SnapshotError, SnapshotFile, SnapshotStore, StoredSnapshot,
};
pub use stream_id::StreamId;
pub use thread::{
    CloseError, Completions, LoadCompletion, LogThread, SYNC_BUCKETS_US, SubmitError, ThreadMetrics, ThreadSettings,
    WriteCompletion,
};
pub use wal::{Cut, Report, StorageLevel, Wal};
pub use write::Written;
