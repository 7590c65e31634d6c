//! What a contender reached.

use std::time::Duration;

/// Amount written, and the time it took.
#[derive(Default)]
pub struct Score {
    entries: usize,
    taken: Duration,
    /// The time from each write to its durability.
    waits: Vec<Duration>,
}

impl Score {
    /// Adds a turn in which each wait was for this number of entries.
    pub fn add(&mut self, taken: Duration, entries: usize, waits: Vec<Duration>) {
        self.taken += taken;
        self.entries += entries * waits.len();
        self.waits.extend(waits);
    }

    /// Entries a second.
    pub fn rate(&self) -> f64 {
        self.entries as f64 / self.taken.as_secs_f64()
    }

    /// The wait that this share of all waits does not exceed, in microseconds.
    pub fn wait_us(&self, share: f64) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let place = (waits.len() as f64 * share) as usize;
        waits.get(place).map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e6)
    }
}
