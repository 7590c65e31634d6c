//! Settings of the TCP transport.

use std::time::Duration;

use crate::limits::{Limits, LimitsError};

/// Settings of a [`TcpTransport`](crate::tcp::TcpTransport). All times are real time of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// The bounds of frames, queues and inboxes. A queue is for one peer and one lane.
    pub limits: Limits,
    /// Number of this start of the node's process, which its log raises at each start. It tells connections of an
    /// earlier start from those of a later one. Default: 0, which suits an incarnation that starts only once.
    pub start: u32,
    /// Longest time of a dial, until the connection stands. Default: 2 s.
    pub dial_timeout: Duration,
    /// Longest time of a handshake, on either side. Default: 5 s.
    pub handshake_timeout: Duration,
    /// Number of accepted connections that may be in their handshake; further ones are closed at once. Default: 64.
    /// Connections after their handshake are bounded by the known peers: one for each lane.
    pub handshakes_max: usize,
    /// Time between two probes of a connection. Must be at most half of every peer's time-out. Default: 500 ms.
    pub heartbeat_interval: Duration,
    /// Time of silence after which a connection counts as half open and is closed. Default: 3 s.
    pub heartbeat_timeout: Duration,
    /// Wait before the second dial. It doubles from dial to dial, and a random part of up to a half is subtracted. A
    /// connection from the peer ends the wait. Default: 50 ms.
    pub backoff_min: Duration,
    /// Longest wait between dials. Default: 2 s.
    pub backoff_max: Duration,
    /// Longest time that a shutdown waits for queues to empty. Default: 2 s.
    pub shutdown_timeout: Duration,
}

impl TcpSettings {
    /// Checks that the settings fit each other.
    ///
    /// # Errors
    /// When they do not; the error names the settings.
    pub fn check(&self) -> Result<(), TcpSettingsError> {
        self.limits.check()?;
        if self.handshakes_max == 0 {
            return Err(TcpSettingsError::Handshakes);
        }
        let times = [self.dial_timeout, self.handshake_timeout, self.heartbeat_interval, self.backoff_min];
        if times.iter().any(Duration::is_zero) {
            return Err(TcpSettingsError::Zero);
        }
        if self.heartbeat_timeout < self.heartbeat_interval * 2 {
            return Err(TcpSettingsError::Heartbeat);
        }
        if self.backoff_max < self.backoff_min {
            return Err(TcpSettingsError::Backoff);
        }
        Ok(())
    }
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            start: 0,
            dial_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            handshakes_max: 64,
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(2),
        }
    }
}

/// Settings that do not fit each other. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpSettingsError {
    /// The bounds do not fit each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// No connection could ever be accepted.
    #[error("handshakes_max must be at least 1")]
    Handshakes,
    /// A time is zero that must not be.
    #[error("dial_timeout, handshake_timeout, heartbeat_interval and backoff_min must not be zero")]
    Zero,
    /// One lost probe would end a connection.
    #[error("heartbeat_timeout must be at least twice heartbeat_interval")]
    Heartbeat,
    /// The wait between dials would shrink.
    #[error("backoff_max must be at least backoff_min")]
    Backoff,
}
