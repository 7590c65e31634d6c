//! Log time: one clock of the group, which goes on at the pace of monotone clocks and is never set.

use std::time::Duration;

use quorate_protocol::{Instant, LogEvent, LogTime, Now};

use crate::message::ClockReading;

/// This node's reading of the group's log time.
///
/// A leader says with each heartbeat what log time it is. In between, and for a node that becomes leader, log time goes
/// on with the node's monotone clock, so that neither a wall clock that is set nor a change of the leader moves it.
/// Towards the wall clock of whoever reads it, it is drawn by at most a thousandth of the time that passes. Only where
/// nobody of a quorum has a reading, because all were stopped, their wall clocks decide.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Nothing as long as this start of the node was not told the log time.
    reading: Option<Reading>,
    difference_max_ms: u64,
    /// By how many milliseconds the wall clock was last told to be ahead of log time; nothing when they agreed.
    told_ms: Option<i64>,
}

/// Log time in nanoseconds, and the moment at which it was that.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    log_ns: u128,
}

impl Clock {
    pub(crate) fn new(difference_max: Duration) -> Self {
        let difference_max_ms = u64::try_from(difference_max.as_millis()).unwrap_or(u64::MAX);
        Self { reading: None, difference_max_ms, told_ms: None }
    }

    /// This node becomes leader. What it does not know itself it takes from the voters that have elected it: the median
    /// of what they know, else the median of all their wall clocks. Log time is never before that of the newest entry.
    pub(crate) fn begin(&mut self, now: Now, last: LogTime, voters: &[ClockReading]) {
        let of_voters = || median(voters.iter().filter_map(|voter| voter.log_time).map(|time| time.0).collect());
        let walls = || median(voters.iter().map(|voter| voter.wall_ms).chain([now.wall_ms]).collect());
        let own = self.reading.map(|reading| reading.advanced(now));
        let known = own.or_else(|| of_voters().or_else(walls).map(|ms| u128::from(ms) * NS_A_MS));
        let log_ns = known.unwrap_or_default().max(u128::from(last.0) * NS_A_MS);
        self.reading = Some(Reading { at: now.instant, log_ns });
    }

    /// The leader says what log time it is.
    pub(crate) fn set(&mut self, now: Now, log_time: LogTime) {
        self.reading = Some(Reading { at: now.instant, log_ns: u128::from(log_time.0) * NS_A_MS });
    }

    /// An entry of this log time was taken in. It may be an old one, so it never sets the clock back.
    pub(crate) fn note_entry(&mut self, now: Now, log_time: LogTime) {
        if self.log_time(now).is_some_and(|reading| reading < log_time) {
            self.set(now, log_time);
        }
    }

    /// Goes on to `now`, for good: what comes later is reckoned from here.
    pub(crate) fn advance(&mut self, now: Now) {
        if let Some(reading) = &mut self.reading {
            *reading = Reading { at: reading.at.max(now.instant), log_ns: reading.advanced(now) };
        }
    }

    /// The log time now; nothing where this node does not know it.
    pub(crate) fn log_time(&self, now: Now) -> Option<LogTime> {
        let log_ms = self.reading?.advanced(now) / NS_A_MS;
        Some(LogTime(u64::try_from(log_ms).unwrap_or(u64::MAX)))
    }

    /// By how many milliseconds the wall clock is ahead of log time.
    pub(crate) fn wall_ahead_ms(&self, now: Now) -> Option<i64> {
        let ahead = i128::from(now.wall_ms) - i128::from(self.log_time(now)?.0);
        Some(i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Tells that the wall clock has come to differ by more than is allowed, that it no longer does, and that it was
    /// set meanwhile: what was told is then off by more than half of itself. Drift alone is told a few times at most.
    pub(crate) fn news(&mut self, now: Now) -> Option<LogEvent> {
        let ahead_ms = self.wall_ahead_ms(now)?;
        let allowed = self.difference_max_ms;
        let wall_ahead_ms = (ahead_ms.unsigned_abs() > allowed).then_some(ahead_ms);
        let is_news = match (self.told_ms, wall_ahead_ms) {
            (Some(told), Some(ahead)) => told.abs_diff(ahead) > allowed.max(told.unsigned_abs() / 2),
            (told, ahead) => told != ahead,
        };
        if !is_news {
            return None;
        }
        self.told_ms = wall_ahead_ms;
        Some(LogEvent::ClockDiffers { wall_ahead_ms })
    }

    /// What decides behaviour beside the time itself.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + use<> {
        (self.reading.is_some(), self.told_ms)
    }
}

impl Reading {
    fn advanced(self, now: Now) -> u128 {
        let passed = now.instant.since(self.at).as_nanos();
        let steady = self.log_ns.saturating_add(passed);
        let wall = u128::from(now.wall_ms) * NS_A_MS;
        let drawn = passed / DRAWN_ONE_IN;
        if wall < steady { steady - drawn.min(steady - wall) } else { steady.saturating_add(drawn.min(wall - steady)) }
    }
}

/// The middle one; of two in the middle the earlier, for what ends too late does less harm than what ends too early.
fn median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    let middle = times.len().checked_sub(1)? / 2;
    times.get(middle).copied()
}

/// Log time is drawn to the wall clock by one millisecond in so many: an hour in six weeks.
const DRAWN_ONE_IN: u128 = 1000;
const NS_A_MS: u128 = 1_000_000;

#[cfg(test)]
mod tests;
