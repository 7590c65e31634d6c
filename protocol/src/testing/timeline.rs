//! What is to happen, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Instant, Now, Random};

/// One queue of everything that is to happen, in the order of time, with chance drawn from one seed: the same seed gives the same run.
#[derive(Debug)]
pub struct Timeline<E> {
    now: Instant,
    queue: BTreeMap<(Instant, u64), E>,
    scheduled: u64,
    random: Random,
}

impl<E> Timeline<E> {
    /// Nothing is to happen yet. It begins a second after zero, so that there is a past.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self { now, queue: BTreeMap::new(), scheduled: 0, random: Random::new(seed) }
    }

    /// The time on every node.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Both clocks of every node. The wall clock runs with the other.
    #[must_use]
    pub fn clocks(&self) -> Now {
        let millis = self.now.as_nanos() / 1_000_000;
        Now { instant: self.now, wall_ms: 1_700_000_000_000 + millis }
    }

    /// Lets the time be `at`, if that is not past.
    pub fn pass_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// Has something happen after a delay. What is due at one moment happens in the order in which it was scheduled.
    pub fn schedule(&mut self, delay: Duration, event: E) {
        self.scheduled += 1;
        self.queue.insert((self.now.after(delay), self.scheduled), event);
    }

    /// When something happens next.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes what happens next, and lets time pass to it.
    pub fn take_next(&mut self) -> Option<E> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.pass_to(at);
        Some(event)
    }

    /// A number below `high`.
    pub fn choose(&mut self, high: u64) -> u64 {
        self.random.between(0, high)
    }

    /// Whether something happens that does in so many of a hundred cases. Nothing is drawn for what never does.
    pub fn strikes(&mut self, percent: u64) -> bool {
        percent > 0 && self.random.between(0, 100) < percent
    }

    /// A time below `max`. Nothing is drawn below zero.
    ///
    /// # Panics
    /// When `max` is above 500 years.
    pub fn draw(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).expect("a short time");
        if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(self.random.between(0, nanos)) }
    }
}
