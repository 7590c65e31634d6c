//! The events that are scheduled, and the time of each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Instant, Now, Random};

/// A queue of scheduled events in the order of time, with random numbers from one seed. The same seed gives the same
/// run.
#[derive(Debug)]
pub(super) struct Timeline<E> {
    now: Instant,
    queue: BTreeMap<(Instant, u64), E>,
    scheduled: u64,
    random: Random,
}

impl<E> Timeline<E> {
    /// Makes an empty timeline. Its time begins at one second instead of zero, so that earlier times exist.
    #[must_use]
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self { now, queue: BTreeMap::new(), scheduled: 0, random: Random::new(seed) }
    }

    /// The time on every node whose clock keeps pace.
    #[must_use]
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Both clocks of every node whose clock keeps pace. The wall clock runs as fast as the monotone one.
    #[must_use]
    pub(super) fn clocks(&self) -> Now {
        let millis = self.now.as_nanos() / 1_000_000;
        Now { instant: self.now, wall_ms: 1_700_000_000_000 + millis }
    }

    /// Advances the time to `at`, unless that is in the past.
    pub(super) fn pass_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// Schedules an event after a delay. Events at the same moment happen in the order in which they were scheduled.
    pub(super) fn schedule(&mut self, delay: Duration, event: E) {
        self.scheduled += 1;
        self.queue.insert((self.now.after(delay), self.scheduled), event);
    }

    /// Time of the next event.
    #[must_use]
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes the next event, and advances the time to it.
    pub(super) fn take_next(&mut self) -> Option<E> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.pass_to(at);
        Some(event)
    }

    /// A random number below `high`.
    pub(super) fn choose(&mut self, high: u64) -> u64 {
        self.random.between(0, high)
    }

    /// True with a probability of `percent`. At zero percent no random number is drawn.
    pub(super) fn strikes(&mut self, percent: u64) -> bool {
        percent > 0 && self.random.between(0, 100) < percent
    }

    /// A random time below `max`. If `max` is zero, no random number is drawn.
    ///
    /// # Panics
    /// When `max` is above 500 years.
    pub(super) fn draw(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).expect("a short time");
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.random.between(0, nanos)) }
    }
}
