//! Log time: the wall clock as far as it can be believed, and never back.

use std::time::Duration;

use quorate_protocol::{LogTime, Now};

/// Follows the wall clock, but not where it jumps ahead of the monotone one.
///
/// The furthest that the wall clock was believed to be ahead of the monotone clock is kept. A jump back is
/// followed (log time then stands still), and so is the return from it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Wall clock minus monotone clock in milliseconds: the most that was believed.
    offset_ms: i128,
    step_max_ms: i128,
    /// Whether the wall clock is being disbelieved, so that it is reported once.
    is_disbelieved: bool,
}

impl Clock {
    pub(crate) fn new(now: Now, step_max: Duration) -> Self {
        let step_max_ms = i128::try_from(step_max.as_millis()).unwrap_or(i128::MAX / 2);
        Self { offset_ms: offset(now), step_max_ms, is_disbelieved: false }
    }

    /// The log time of an entry appended now behind one of log time `last`; and, once for every jump, by how many
    /// milliseconds the wall clock is ahead of what is believed.
    pub(crate) fn log_time(&mut self, now: Now, last: LogTime) -> (LogTime, Option<u64>) {
        let ahead = offset(now) - self.offset_ms;
        let mut report = None;
        let wall = if ahead > self.step_max_ms {
            if !self.is_disbelieved {
                report = u64::try_from(ahead).ok();
            }
            self.is_disbelieved = true;
            u64::try_from(i128::from(now.wall_ms) - ahead).unwrap_or(0)
        } else {
            self.is_disbelieved = false;
            self.offset_ms = self.offset_ms.max(offset(now));
            now.wall_ms
        };
        (last.max(LogTime(wall)), report)
    }

    /// Whether the wall clock is being disbelieved.
    pub(crate) fn is_disbelieved(&self) -> bool {
        self.is_disbelieved
    }
}

fn offset(now: Now) -> i128 {
    i128::from(now.wall_ms) - i128::from(now.instant.as_nanos() / 1_000_000)
}

#[cfg(test)]
mod tests;
