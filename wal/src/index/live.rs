//! Number of bytes of each segment that are still needed.

use std::collections::BTreeMap;

/// Bytes that live records take, by segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    segments: BTreeMap<u64, u64>,
    /// The sum over all segments.
    total: u64,
}

impl Live {
    pub(super) fn add(&mut self, segment: u64, bytes: u64) {
        *self.segments.entry(segment).or_default() += bytes;
        self.total += bytes;
    }

    pub(super) fn subtract(&mut self, segment: u64, bytes: u64) {
        let live = self.segments.get_mut(&segment).expect("what is taken off was put on");
        *live = live.checked_sub(bytes).expect("no more than was put on");
        self.total -= bytes;
        if *live == 0 {
            self.segments.remove(&segment);
        }
    }

    /// The oldest segment with a live record.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.segments.keys().next().copied()
    }

    /// Live bytes of all segments.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}
