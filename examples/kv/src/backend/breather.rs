//! A short time in which no transaction over several shards begins, so that all that are under way end.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When the next transaction of this node may begin.
#[derive(Debug)]
pub struct Breather {
    until: Cell<Instant>,
}

impl Default for Breather {
    fn default() -> Self {
        Self { until: Cell::new(Instant::now()) }
    }
}

impl Breather {
    /// Lets no transaction begin for a short time from now on, which is twice as long with each attempt.
    pub fn begin(&self, attempt: u8) {
        self.until.set(Instant::now() + LENGTH * (1 << attempt.min(DOUBLINGS_MAX)));
    }

    /// Waits until it is over, at most until the deadline.
    pub(super) async fn over(&self, deadline: Instant) {
        while self.until.get() > Instant::now() && deadline > Instant::now() {
            sleep_until(self.until.get().min(deadline)).await;
        }
    }
}

/// Longer than a transaction takes where disks and network are well.
const LENGTH: Duration = Duration::from_millis(100);
/// Other transactions end within 3.2 s. No node asks for more.
const DOUBLINGS_MAX: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breather_is_longer_with_each_attempt_and_has_an_end() {
        let breather = Breather::default();
        for (attempt, length) in [(0, 100), (1, 200), (5, 3_200), (6, 3_200), (255, 3_200)] {
            let (before, length) = (Instant::now(), Duration::from_millis(length));
            breather.begin(attempt);
            assert!(breather.until.get() >= before + length, "{attempt}");
            assert!(breather.until.get() <= Instant::now() + length, "{attempt}");
        }
    }
}
