//! The approximate sizes of the newest entries, in little memory.

use std::collections::VecDeque;

use quorate_protocol::LogIndex;

/// Bytes of the newest applied entries, summed over stretches of consecutive entries.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Consecutive stretches, oldest first.
    stretches: VecDeque<Stretch>,
}

/// Consecutive entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The index just before the first entry.
    before: LogIndex,
    bytes: u64,
}

impl Sizes {
    /// Adds the next entry.
    pub(super) fn push(&mut self, index: LogIndex, bytes: u64) {
        match self.stretches.back_mut() {
            Some(newest) if newest.bytes < STRETCH_BYTES => newest.bytes += bytes,
            _ => {
                self.stretches.push_back(Stretch { before: index.previous(), bytes });
                if self.stretches.len() > STRETCHES_MAX {
                    self.stretches.pop_front();
                }
            }
        }
    }

    /// Returns an index such that the entries after it, up to `index`, are known to take at most `bytes_max`. Sizes
    /// before the oldest stretch are not known.
    pub(super) fn keep_from(&self, index: LogIndex, bytes_max: u64) -> LogIndex {
        let mut bytes = 0;
        let mut from = index;
        for stretch in self.stretches.iter().rev() {
            if stretch.before >= index {
                continue;
            }
            bytes += stretch.bytes;
            if bytes > bytes_max {
                return from;
            }
            from = stretch.before;
        }
        from
    }
}

/// A new stretch begins after this many bytes.
const STRETCH_BYTES: u64 = 256 << 10;
/// Maximum number of stretches: they cover at least 16 GiB of entries.
const STRETCHES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
