//! Waits that double with each repetition, drawn from the seed.

use std::time::Duration;

use quorate_protocol::{Instant, Random};

/// A wait that has doubled this number of times.
pub(crate) fn doubled(wait: Duration, doublings: u32) -> Duration {
    wait.saturating_mul(1 << doublings.min(DOUBLINGS_MAX))
}

/// Draws the end of a wait between half of `shortest * 2^doublings`, limited to `max`, and all of it.
pub(crate) fn draw(random: &mut Random, now: Instant, shortest: Duration, doublings: u32, max: Duration) -> Instant {
    let longest = doubled(shortest, doublings).min(max);
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).max(2);
    now.after(Duration::from_nanos(random.between(nanos / 2, nanos)))
}

/// After this number of doublings every wait has reached its bound.
pub(crate) const DOUBLINGS_MAX: u32 = 30;
