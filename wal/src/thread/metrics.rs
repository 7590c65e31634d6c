//! Counters of the log's threads.

use crate::metrics::Metrics;

/// Counters of the thread and of its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadMetrics {
    /// Counters of the log.
    pub log: Metrics,
    /// Sets of submissions that were made durable together.
    pub sets: u64,
    /// Number of syncs by duration: the place of a sync is that of the lowest bound in [`SYNC_BUCKETS_US`] that it does
    /// not exceed, and the last place counts all longer ones. A write that begins a segment takes several syncs. They
    /// count as one, with the duration of the whole write.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Microseconds spent in syncs.
    pub sync_us: u64,
    /// Number of syncs above [`ThreadSettings::slow_sync`](super::ThreadSettings::slow_sync).
    pub slow_syncs: u64,
}

/// Upper bounds of [`ThreadMetrics::sync_buckets`], in microseconds.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
