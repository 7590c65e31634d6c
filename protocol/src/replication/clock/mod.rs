//! Log time: the clock of a group. It advances at the pace of monotone clocks and is never set.

use std::time::Duration;

use crate::replication::message::ClockReading;
use crate::{Instant, LogEvent, LogTime, Now};

/// This node's reading of the group's log time.
///
/// A leader sends the log time with each heartbeat. In between, and on a node that becomes leader, log time advances
/// with the node's monotone clock. So neither a wall clock that is set nor a change of the leader moves it. On each
/// node log time is corrected towards the node's wall clock by at most a thousandth of the time that passes. The
/// reading of a follower is that of its leader again with each heartbeat, so the group follows the leader's wall clock.
/// Only if no node of a quorum has a reading, because all were stopped, their wall clocks decide.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// `None` until this start of the node has learned the log time.
    reading: Option<Reading>,
    difference_max_ms: u64,
    /// Milliseconds by which the wall clock was ahead of log time in the last report; `None` if they agreed.
    told_ms: Option<i64>,
}

/// A log time in nanoseconds, and the instant at which it was read.
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

    /// Starts the clock of a new leader. If it does not know the log time, it takes the median of the log times that
    /// its voters know, or the median of all wall clocks if none knows it. Log time is never before that of the newest
    /// entry.
    pub(crate) fn begin(&mut self, now: Now, last: LogTime, voters: &[ClockReading]) {
        let of_voters = || median(voters.iter().filter_map(|voter| voter.log_time).map(|time| time.0).collect());
        let walls = || median(voters.iter().map(|voter| voter.wall_ms).chain([now.wall_ms]).collect());
        let own = self.reading.map(|reading| reading.advanced(now));
        let known = own.or_else(|| of_voters().or_else(walls).map(|ms| u128::from(ms) * NS_A_MS));
        let log_ns = known.unwrap_or_default().max(u128::from(last.0) * NS_A_MS);
        self.reading = Some(Reading { at: now.instant, log_ns });
    }

    /// Sets the reading to the leader's log time.
    pub(crate) fn set(&mut self, now: Now, log_time: LogTime) {
        self.reading = Some(Reading { at: now.instant, log_ns: u128::from(log_time.0) * NS_A_MS });
    }

    /// Notes the log time of a received entry. The entry may be old, so it never sets the clock back.
    pub(crate) fn note_entry(&mut self, now: Now, log_time: LogTime) {
        if self.log_time(now).is_some_and(|reading| reading < log_time) {
            self.set(now, log_time);
        }
    }

    /// Advances the reading to `now` permanently. Later times are computed from it.
    pub(crate) fn advance(&mut self, now: Now) {
        if let Some(reading) = &mut self.reading {
            *reading = Reading { at: reading.at.max(now.instant), log_ns: reading.advanced(now) };
        }
    }

    /// Returns the log time at `now`; `None` if this node does not know it.
    pub(crate) fn log_time(&self, now: Now) -> Option<LogTime> {
        Some(LogTime(milliseconds(self.reading?.advanced(now))))
    }

    /// Milliseconds by which the wall clock is ahead of log time.
    pub(crate) fn wall_ahead_ms(&self, now: Now) -> Option<i64> {
        let ahead = i128::from(now.wall_ms) - i128::from(self.log_time(now)?.0);
        Some(i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Returns an event if the wall clock now differs by more than the bound, or agrees again, or was set meanwhile:
    /// then the reported difference is wrong by more than half of itself. Drift alone causes only a few reports.
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

    /// The state that affects behaviour, except the time itself.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + use<> {
        (self.reading.is_some(), self.told_ms)
    }
}

impl Reading {
    fn advanced(self, now: Now) -> u128 {
        if now.instant <= self.at {
            return self.log_ns;
        }
        let passed = now.instant.since(self.at).as_nanos();
        let steady = self.log_ns.saturating_add(passed);
        let wall = u128::from(now.wall_ms) * NS_A_MS;
        let drawn = passed / DRAWN_ONE_IN;
        if wall < steady { steady - drawn.min(steady - wall) } else { steady.saturating_add(drawn.min(wall - steady)) }
    }
}

/// Whole milliseconds. All times of this millennium fit 64 bits, in which a division is ten times as fast.
fn milliseconds(ns: u128) -> u64 {
    match u64::try_from(ns) {
        Ok(ns) => ns / 1_000_000,
        Err(_) => u64::try_from(ns / NS_A_MS).unwrap_or(u64::MAX),
    }
}

/// The median. Of two values in the middle it is the earlier: to end a time span too late does less harm than to end it
/// too early.
fn median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    let middle = times.len().checked_sub(1)? / 2;
    times.get(middle).copied()
}

/// Log time is corrected towards the wall clock by one millisecond in this number: an hour in six weeks.
const DRAWN_ONE_IN: u128 = 1000;
const NS_A_MS: u128 = 1_000_000;

#[cfg(test)]
mod tests;
