//! Errors of the log's threads.

use crate::error::Poisoned;

/// Reason why a submission or load was not accepted. Nothing of it will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full.
    #[error("the log's queue is full")]
    Full,
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

/// Reason why a log was not closed in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The log failed, now or before.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The disk has not answered in time. The threads keep waiting for it, and hold the log's directory until it
    /// answers or the process ends. The process may end at any time. Submissions under way have had no completion, and
    /// may still get one.
    #[error("the disk does not answer: the log could not be closed")]
    Stalled,
}
