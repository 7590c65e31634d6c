//! Time as a core sees it: each input brings it, and the core never asks for it.

use std::fmt;
use std::time::Duration;

/// A moment on a node's monotone clock, in nanoseconds since a start that only the shell knows.
///
/// A newtype of this crate, so that a core cannot ask the system for the time and a simulator can set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// A moment `nanoseconds` after the start of the clock.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the start of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `duration` later. Limited to the end of the clock, after 584 years.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }

    /// Time from `earlier` until this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The time that comes with every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// The monotone clock: never goes back from one input of a node to the next.
    pub instant: Instant,
    /// The wall clock in Unix milliseconds. It may jump either way; only log time is computed from it.
    pub wall_ms: u64,
}

impl Now {
    /// The time of the next input, which came at `now`: the monotone clock does not go back, and the wall clock may.
    #[must_use]
    pub fn advanced_to(self, now: Self) -> Self {
        Self { instant: self.instant.max(now.instant), wall_ms: now.wall_ms }
    }
}

/// Time that an entry of a replicated log bears: Unix milliseconds that never decrease along the log.
///
/// It is the only time that a state machine sees, so that the time is equal on every replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct LogTime(pub u64);

impl fmt::Display for LogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
