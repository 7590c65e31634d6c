//! Counters of the log's threads.

use crate::metrics::Metrics;

/// Counters of the thread, beside those of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadMetrics {
    /// What the log did.
    pub log: Metrics,
    /// Sets of submissions that were made durable together.
    pub sets: u64,
    /// Syncs by how long they took: how many took at most [`SYNC_BUCKETS_US`] microseconds, and in the last place all
    /// others. To begin a segment takes several syncs, which count as one together with the write they held up.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Microseconds spent in syncs.
    pub sync_us: u64,
    /// Syncs above [`ThreadSettings::slow_sync`](super::ThreadSettings::slow_sync).
    pub slow_syncs: u64,
}

/// Upper bounds of [`ThreadMetrics::sync_buckets`], in microseconds.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
