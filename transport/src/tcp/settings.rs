//! The settings of TCP.

use std::time::Duration;

use crate::{Limits, LimitsError};

/// The settings of a [`TcpTransport`](crate::tcp::TcpTransport). All times are wall time of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// The bounds of frames, queues and inboxes. A queue is for one peer and one lane.
    pub limits: Limits,
    /// Which start of this node's process this is: the counter that its log raises at each start. With it, connections
    /// of an earlier start are told from those of a later one. 0 unless set, which is right for an incarnation that
    /// starts once.
    pub start: u32,
    /// How long a dial may take until the connection stands. 2 s unless set.
    pub dial_timeout: Duration,
    /// How long a handshake may take, on either side. 5 s unless set.
    pub handshake_timeout: Duration,
    /// The most accepted connections that may be in their handshake; further ones are closed at once. 64 unless set.
    /// Those that passed it are bounded by the known peers: one a lane.
    pub handshakes_max: usize,
    /// How often each connection is probed. Must be at most half of every peer's time-out. 500 ms unless set.
    pub heartbeat_interval: Duration,
    /// How long a connection may be silent before it counts as half open and is closed. 3 s unless set.
    pub heartbeat_timeout: Duration,
    /// How long to wait before the second dial. Doubles from dial to dial; a random part of up to a half is taken off.
    /// 50 ms unless set. A connection from the peer ends the wait.
    pub backoff_min: Duration,
    /// How far the wait grows. 2 s unless set.
    pub backoff_max: Duration,
    /// How long a shutdown waits for queues to empty. 2 s unless set.
    pub shutdown_timeout: Duration,
}

impl TcpSettings {
    /// Whether the settings fit each other.
    ///
    /// # Errors
    /// When they do not; the error says which.
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

/// Which settings do not fit. Nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TcpSettingsError {
    /// The bounds do not fit each other.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// No connection could ever be accepted.
    #[error("handshakes_max must be at least 1")]
    Handshakes,
    /// A time that must pass is zero.
    #[error("dial_timeout, handshake_timeout, heartbeat_interval and backoff_min must not be zero")]
    Zero,
    /// A lost probe would end a connection.
    #[error("heartbeat_timeout must be at least twice heartbeat_interval")]
    Heartbeat,
    /// The wait between dials would shrink.
    #[error("backoff_max must be at least backoff_min")]
    Backoff,
}
