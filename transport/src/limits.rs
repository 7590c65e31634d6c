//! The bounds that every transport keeps.

/// The bounds of a transport's queues and frames.
///
/// ```
/// use quorate_transport::Limits;
/// let limits = Limits { frame_bytes_max: 1 << 20, ..Limits::default() };
/// limits.check()?;
/// # Ok::<(), quorate_transport::LimitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the longest frame in bytes, header included. `send` refuses a longer one. A longer one that arrives
    /// ends its connection before memory is allocated for it. Default: 8 MiB.
    pub frame_bytes_max: usize,
    /// Number of frames that may wait for one peer on one lane; above it `send` refuses. Default: 16,384.
    pub queue_frames_max: usize,
    /// Number of bytes that may wait for one peer on one lane; above it `send` refuses. Default: 32 MiB.
    pub queue_bytes_max: usize,
    /// Number of frames that may wait in one inbox; newer ones are dropped and counted. Default: 65,536.
    pub inbox_frames_max: usize,
    /// Number of bytes that may wait in one inbox; newer frames are dropped and counted. Default: 64 MiB.
    pub inbox_bytes_max: usize,
}

impl Limits {
    /// Checks that the bounds fit each other.
    ///
    /// # Errors
    /// When the longest frame would never fit a queue, an inbox or its own format, or a queue can hold no frame.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.frame_bytes_max < FRAME_BYTES_LEAST || u32::try_from(self.frame_bytes_max).is_err() {
            return Err(LimitsError::Frame);
        }
        if self.queue_frames_max == 0 || self.queue_bytes_max < self.frame_bytes_max {
            return Err(LimitsError::Queue);
        }
        if self.inbox_frames_max == 0 || self.inbox_bytes_max < self.frame_bytes_max {
            return Err(LimitsError::Inbox);
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 8 << 20,
            queue_frames_max: 16_384,
            queue_bytes_max: 32 << 20,
            inbox_frames_max: 65_536,
            inbox_bytes_max: 64 << 20,
        }
    }
}

/// Bounds that do not fit each other. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The longest frame is shorter than a heartbeat, or longer than 4 GiB.
    #[error("frame_bytes_max must lie between {FRAME_BYTES_LEAST} bytes and 4 GiB")]
    Frame,
    /// A queue can hold no frame, or not the longest frame.
    #[error("a queue must have room for at least one frame, and for the longest frame")]
    Queue,
    /// An inbox can hold no frame, or not the longest frame.
    #[error("an inbox must have room for at least one frame, and for the longest frame")]
    Inbox,
}

const FRAME_BYTES_LEAST: usize = 64;
