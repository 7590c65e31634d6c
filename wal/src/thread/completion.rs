//! Results of submissions and loads.

use quorate_protocol::{LoadFailure, Loaded, StorageLevel, Ticket};

use crate::error::WriteError;
use crate::stream_id::StreamId;

/// Results that the log's threads report: in one call for all submissions that one sync covered, and in one call for
/// each load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// Results of submissions, in the order of submission.
    pub writes: Vec<WriteCompletion>,
    /// Results of loads.
    pub loads: Vec<LoadCompletion>,
    /// The storage level, if it changed.
    pub storage_level: Option<StorageLevel>,
    /// Streams that should compact. Empty if they have not changed, or if none should compact any more. See
    /// [`Wal::compaction_wanted`](crate::Wal::compaction_wanted).
    pub compaction_wanted: Vec<StreamId>,
}

/// The result of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteCompletion {
    /// The stream.
    pub stream: StreamId,
    /// The ticket.
    pub ticket: Ticket,
    /// `Ok` when the operations are durable, else the error.
    pub result: Result<(), WriteError>,
    /// [`Wal::stream_bytes`](crate::Wal::stream_bytes) of the stream after this write. Zero if the log's code panicked.
    pub stream_bytes: u64,
}

/// The result of one load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadCompletion {
    /// The stream.
    pub stream: StreamId,
    /// The ticket.
    pub ticket: Ticket,
    /// The loaded entries or records, or the failure.
    pub result: Result<Loaded, LoadFailure>,
}
