//! The clocks of a node, and their errors.

use quorate_protocol::{Instant, Now};

/// The clocks of one node over the run's own time.
#[derive(Clone, Debug)]
pub(super) struct NodeClock {
    /// A moment of the run in microseconds, and the node's monotone clock at that moment in nanoseconds.
    since_us: u64,
    local_ns: u64,
    /// Error of its rate in millionths; positive if it runs too fast.
    ppm: i64,
    /// Milliseconds by which the wall clock is ahead.
    wall_ahead_ms: i64,
}

impl NodeClock {
    pub(super) fn new(start_ns: u64, wall_ahead_ms: i64) -> Self {
        Self { since_us: 0, local_ns: start_ns, ppm: 0, wall_ahead_ms }
    }

    pub(super) fn now(&self, at_us: u64) -> Now {
        let local_ns = self.local_ns + self.scaled(at_us - self.since_us);
        let wall_ms = (WALL_START_MS + local_ns / 1_000_000).saturating_add_signed(self.wall_ahead_ms);
        Now { instant: Instant::from_nanos(local_ns), wall_ms }
    }

    /// The first moment of the run at which the monotone clock has reached `instant`.
    pub(super) fn when(&self, instant: Instant) -> u64 {
        let wait_ns = u128::from(instant.as_nanos().saturating_sub(self.local_ns));
        let rate = u128::from(self.rate());
        let wait_us = (wait_ns * 1_000_000).div_ceil(rate * 1_000);
        self.since_us.saturating_add(u64::try_from(wait_us).unwrap_or(u64::MAX))
    }

    pub(super) fn drift(&mut self, at_us: u64, by_ppm: i64) {
        self.local_ns = self.now(at_us).instant.as_nanos();
        self.since_us = at_us;
        self.ppm += by_ppm;
    }

    /// Advances both clocks at once, for good.
    pub(super) fn leap(&mut self, at_us: u64, by_ms: u64) {
        self.local_ns = self.now(at_us).instant.as_nanos() + by_ms * 1_000_000;
        self.since_us = at_us;
    }

    pub(super) fn jump(&mut self, by_ms: i64) {
        self.wall_ahead_ms += by_ms;
    }

    fn rate(&self) -> u64 {
        // Several faults at once must not make a clock stop or go back.
        1_000_000_u64.saturating_add_signed(self.ppm.max(-900_000))
    }

    fn scaled(&self, passed_us: u64) -> u64 {
        let scaled = u128::from(passed_us) * u128::from(self.rate()) / 1_000;
        u64::try_from(scaled).expect("a run is shorter than 584 years")
    }
}

const WALL_START_MS: u64 = 1_700_000_000_000;
