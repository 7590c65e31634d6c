//! The shell's clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_protocol::{Instant, Now};

/// Makes the time that is passed to a node: tokio's monotone clock, which tests can pause, and the system's wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// Makes a clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// Returns the present time.
    #[must_use]
    pub fn now(&self) -> Now {
        // A wall clock before 1970 counts as 1970. Log time does not go back because of it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { instant: self.instant(), wall_ms }
    }

    /// Returns the present time of the monotone clock.
    pub(super) fn instant(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Converts an instant to tokio's type.
    pub(super) fn moment(&self, instant: Instant) -> tokio::time::Instant {
        let nanoseconds = Duration::from_nanos(instant.as_nanos());
        // An instant that the platform cannot represent counts as never.
        self.start.checked_add(nanoseconds).unwrap_or_else(|| self.start + Duration::from_hours(8760))
    }
}
