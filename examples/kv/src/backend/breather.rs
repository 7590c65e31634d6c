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
    /// Lets no transaction begin for a short time from now on.
    pub fn begin(&self) {
        self.until.set(Instant::now() + LENGTH);
    }

    /// Waits until it is over, at most until the deadline.
    pub(super) async fn over(&self, deadline: Instant) {
        while self.until.get() > Instant::now() && deadline > Instant::now() {
            sleep_until(self.until.get().min(deadline)).await;
        }
    }
}

/// Longer than a transaction takes where disks and network are well. Others are waited for in further attempts.
const LENGTH: Duration = Duration::from_millis(100);
