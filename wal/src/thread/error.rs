//! Errors of the log's threads.

use crate::error::Poisoned;

/// Why a submission was not taken. Nothing of it will be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// More waits than the bound allows.
    #[error("the log's queue is full")]
    Full,
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log was not closed in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The log failed, now or before.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The disk has not answered in time. The threads go on to wait for it, and hold the log's directory until it
    /// answers or the process ends, which may happen at any time. For what was under way there was no completion, and
    /// may yet be one.
    #[error("the disk does not answer: the log could not be closed")]
    Stalled,
}
