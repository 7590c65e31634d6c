//! Ids of deleted streams.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Ids of deleted streams, which are never used again. Consecutive ids make one range when all of them are deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The last id of each range by its first.
    ranges: BTreeMap<u64, u64>,
}

impl Deleted {
    pub(super) fn new(ranges: &[RangeInclusive<u64>]) -> Self {
        Self { ranges: ranges.iter().map(|range| (*range.start(), *range.end())).collect() }
    }

    pub(crate) fn contains(&self, stream: u64) -> bool {
        self.ranges.range(..=stream).next_back().is_some_and(|(_, last)| stream <= *last)
    }

    pub(super) fn insert(&mut self, stream: u64) {
        let (mut first, mut last) = (stream, stream);
        if let Some((before, end)) = self.ranges.range(..stream).next_back()
            && end + 1 == stream
        {
            first = *before;
        }
        if let Some(end) = stream.checked_add(1).and_then(|next| self.ranges.remove(&next)) {
            last = end;
        }
        self.ranges.insert(first, last);
    }

    pub(crate) fn ranges(&self) -> Vec<RangeInclusive<u64>> {
        self.ranges.iter().map(|(first, last)| *first..=*last).collect()
    }
}
