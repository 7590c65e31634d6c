//! The table of a core's deadlines.

use std::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// The deadlines of a core, at most one for each timer. `T` is the name of a timer, that is, the purpose of its
/// deadline. Timers with the same deadline are due in the order of their names.
#[derive(Clone, Debug)]
pub struct Timers<T> {
    /// Has the same content as `armed`.
    by_time: BTreeSet<(Instant, T)>,
    armed: BTreeMap<T, Instant>,
}

impl<T: Copy + Ord> Timers<T> {
    /// Sets a timer to this time, in place of an earlier setting.
    pub fn arm(&mut self, timer: T, at: Instant) {
        self.cancel(timer);
        self.armed.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// Cancels a timer.
    pub fn cancel(&mut self, timer: T) {
        if let Some(at) = self.armed.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// True if the timer is set and has not fired.
    #[must_use]
    pub fn is_armed(&self, timer: T) -> bool {
        self.armed.contains_key(&timer)
    }

    /// Time of the next deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns the next timer whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// All armed timers, by time.
    pub fn iter(&self) -> impl Iterator<Item = (Instant, T)> + '_ {
        self.by_time.iter().copied()
    }
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), armed: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Timer {
        Lazy,
        Collect,
    }

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
