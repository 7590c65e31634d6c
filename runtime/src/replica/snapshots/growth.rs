//! The growth of the log since the newest snapshot, which decides when the next one is made.

use quorate_protocol::{LogIndex, Operation};

use super::sizes::Sizes;
use crate::replica::settings::ReplicaSettings;

/// Entries since the newest snapshot was begun, and the sizes of the newest entries.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Number of entries that were applied.
    entries: u64,
    /// Bytes that they and their padding take in the log.
    bytes: u64,
    sizes: Sizes,
}

impl Growth {
    pub(super) fn on_applied(&mut self, index: LogIndex, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
        self.sizes.push(index, bytes as u64);
    }

    /// Counts the padding of a write to the log: each write starts in a new sector and fills its last one.
    pub(super) fn on_written(&mut self, operations: &[Operation]) {
        let bytes: usize = operations.iter().map(Operation::weight).sum();
        self.bytes += (bytes.next_multiple_of(SECTOR_BYTES) - bytes) as u64;
    }

    /// A snapshot of the applied entries is begun.
    pub(super) fn on_begun(&mut self) {
        (self.entries, self.bytes) = (0, 0);
    }

    /// The snapshot could not be made, so one remains due.
    pub(super) fn on_failed(&mut self, settings: &ReplicaSettings) {
        self.entries = settings.snapshot_entries;
    }

    /// The state was replaced by a snapshot. Entries before it are not applied here.
    pub(super) fn on_restored(&mut self) {
        *self = Self::default();
    }

    /// Returns true if the log has grown enough for a snapshot.
    pub(super) fn is_large(&self, settings: &ReplicaSettings) -> bool {
        self.entries >= settings.snapshot_entries || self.bytes >= settings.snapshot_bytes
    }

    /// Returns the index after which entries stay in the log although a snapshot up to `index` covers them, for peers
    /// that lag slightly.
    pub(super) fn keep_from(&self, index: LogIndex, settings: &ReplicaSettings) -> LogIndex {
        let by_count = LogIndex(index.0.saturating_sub(settings.keep_entries));
        by_count.max(self.sizes.keep_from(index, settings.keep_bytes))
    }
}

/// A write takes whole sectors of the log.
const SECTOR_BYTES: usize = 4096;
