//! What comes back for a submission or a load.

use quorate_protocol::{LoadFailure, Loaded, Ticket};

use crate::error::WriteError;
use crate::stream_id::StreamId;
use crate::wal::StorageLevel;

/// What became of what was submitted: one call for all submissions that one sync covered, one for each load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// Submissions, in the order they were made.
    pub writes: Vec<WriteCompletion>,
    /// Loads.
    pub loads: Vec<LoadCompletion>,
    /// Set when it changed.
    pub storage_level: Option<StorageLevel>,
    /// Streams that should compact, when others than before. See
    /// [`Wal::compaction_wanted`](crate::Wal::compaction_wanted).
    pub compaction_wanted: Vec<StreamId>,
}

/// What became of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteCompletion {
    /// Whose.
    pub stream: StreamId,
    /// Which.
    pub ticket: Ticket,
    /// Durable, or why not.
    pub result: Result<(), WriteError>,
    /// What [`Wal::stream_bytes`](crate::Wal::stream_bytes) says of the stream now.
    pub stream_bytes: u64,
}

/// What a load brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadCompletion {
    /// Whose.
    pub stream: StreamId,
    /// Which.
    pub ticket: Ticket,
    /// What it brought, or why nothing.
    pub result: Result<Loaded, LoadFailure>,
}
