//! The table of all deadlines.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::Instant;

use crate::{TransactionId, TransactionNumber};

/// Purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A transaction that this node coordinates: its time is up, or a message is repeated.
    Coordinated(TransactionNumber),
    /// A branch at this node: its time is up, or a question is repeated.
    Branch(TransactionId),
    /// Records that need no sync have waited long enough.
    Lazy,
    /// The log refused a write, which is written again.
    Rewrite,
    /// Coordinators are asked which outcomes may be dropped.
    Collect,
}

/// The deadlines; at most one for each timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Instant, Timer)>,
    armed: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer to this time, in place of an earlier setting.
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.armed.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// Cancels a timer.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.armed.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(crate) fn is_armed(&self, timer: Timer) -> bool {
        self.armed.contains_key(&timer)
    }

    /// Time of the next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns the next timer whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// All armed timers, by time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, Timer)> + '_ {
        self.by_time.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_timer_fires_once_and_at_its_newest_time() {
        let at = |millis| Instant::ZERO.after(Duration::from_millis(millis));
        let mut timers = Timers::default();
        timers.arm(Timer::Lazy, at(5));
        timers.arm(Timer::Collect, at(3));
        timers.arm(Timer::Lazy, at(1));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop_due(at(4)), Some(Timer::Lazy));
        assert_eq!(timers.pop_due(at(2)), None);
        timers.cancel(Timer::Collect);
        assert_eq!((timers.pop_due(at(9)), timers.next()), (None, None));
    }
}
