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
    /// The longest frame, header included, in bytes. A longer one is refused by `send`, and ends the connection that
    /// it comes over before anything is allocated for it. 8 MiB unless set.
    pub frame_bytes_max: usize,
    /// The most frames that wait for one peer on one lane; the next is refused by `send`. 16,384 unless set.
    pub queue_frames_max: usize,
    /// The most bytes that wait for one peer on one lane; a frame beyond is refused by `send`. 32 MiB unless set.
    pub queue_bytes_max: usize,
    /// The most frames that wait in one inbox; newer ones are dropped and counted. 65,536 unless set.
    pub inbox_frames_max: usize,
    /// The most bytes that wait in one inbox; newer frames are dropped and counted. 64 MiB unless set.
    pub inbox_bytes_max: usize,
}

impl Limits {
    /// Whether the bounds fit each other.
    ///
    /// # Errors
    /// When the longest frame would never fit a queue, an inbox or its own format, or a queue holds nothing.
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

/// Which bounds do not fit. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The longest frame is shorter than a heartbeat, or longer than 4 GiB.
    #[error("frame_bytes_max must lie between {FRAME_BYTES_LEAST} bytes and 4 GiB")]
    Frame,
    /// A queue holds nothing, or less than the longest frame.
    #[error("a queue must hold at least one frame, and the longest one")]
    Queue,
    /// An inbox holds nothing, or less than the longest frame.
    #[error("an inbox must hold at least one frame, and the longest one")]
    Inbox,
}

const FRAME_BYTES_LEAST: usize = 64;
