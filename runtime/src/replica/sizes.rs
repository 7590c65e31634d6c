//! How large the newest entries are, roughly, in little memory.

use std::collections::VecDeque;

use quorate_protocol::LogIndex;

/// Bytes of the newest applied entries, a sum for each stretch of some length.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Stretches that follow each other, oldest first.
    stretches: VecDeque<Stretch>,
}

/// Consecutive entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The entry just before the first.
    before: LogIndex,
    bytes: u64,
}

impl Sizes {
    /// The next entry.
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

    /// An index such that the entries behind it, up to `index`, are known to take at most `bytes_max`: what is older
    /// than the oldest stretch is not known.
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

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }
}

/// Entries are told apart to this many bytes.
const STRETCH_BYTES: u64 = 256 << 10;
/// 16 GiB of entries.
const STRETCHES_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
