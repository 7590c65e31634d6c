//! Counters as plain numbers.

/// Counters since the log was opened, and its present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Syncs of the segment being written.
    pub syncs: u64,
    /// Batches written, markers left out.
    pub batches: u64,
    /// Submissions written.
    pub submissions: u64,
    /// Submissions refused.
    pub refused: u64,
    /// Bytes of batches, padding included.
    pub bytes: u64,
    /// Segments begun.
    pub rotations: u64,
    /// Segments freed.
    pub freed_segments: u64,
    /// Records moved forward to free a segment.
    pub relocated: u64,
    /// Bytes of all segment files, spare ones included.
    pub disk_bytes: u64,
    /// Bytes that live records take, padding included.
    pub live_bytes: u64,
    /// Segments in use.
    pub segments: u64,
}
