//! Demands on a cluster during a fault that it must survive.

use super::happening::Broken;

/// A demand that is being checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    ends_us: u64,
    /// Acknowledged writes at the end of the previous slice.
    writes: u64,
    slices: u64,
    idle_slices: u64,
    /// Number of leaders so far and the newest term, at the end of the time to settle.
    settled: Option<(u64, u64)>,
}

impl Demand {
    /// Begins with the time to settle. `writes` is the number of writes that were acknowledged so far.
    pub(super) fn new(ends_us: u64, writes: u64) -> Self {
        Self { ends_us, writes, ..Self::default() }
    }

    pub(super) fn is_over(&self, now_us: u64) -> bool {
        now_us > self.ends_us
    }

    /// Ends a slice of time. The first is the time to settle, and the others are short. The numbers are those of
    /// acknowledged writes and of leaders so far, and the newest term.
    pub(super) fn end_slice(&mut self, acknowledged: u64, leaders: u64, newest_term: u64) -> Result<(), Broken> {
        let writes = std::mem::replace(&mut self.writes, acknowledged);
        let is_idle = writes == acknowledged;
        let broken = |detail: String| Err(("progress while a fault lasts".to_owned(), detail));
        match self.settled {
            None if is_idle => {
                return broken(format!("no write was acknowledged within {} s", SERVES_WITHIN_US / 1_000_000));
            }
            None => self.settled = Some((leaders, newest_term)),
            Some((leaders_then, term)) => {
                self.slices += 1;
                self.idle_slices += u64::from(is_idle);
                if self.idle_slices * 20 > self.slices.max(20) {
                    let Self { slices, idle_slices, .. } = self;
                    return broken(format!("no write was acknowledged in {idle_slices} of {slices} seconds"));
                }
                if leaders > leaders_then + CHANGES_MAX || newest_term > term + TERMS_MAX {
                    let (changes, terms) = (leaders - leaders_then, newest_term - term);
                    return broken(format!("{changes} changes of leader and {terms} terms since it had settled"));
                }
            }
        }
        Ok(())
    }
}

/// Ten times the longest election time-out.
pub(super) const SERVES_WITHIN_US: u64 = 10_000_000;
/// Length of a slice after the time to settle.
pub(super) const SLICE_US: u64 = 1_000_000;
const CHANGES_MAX: u64 = 2;
const TERMS_MAX: u64 = 4;
