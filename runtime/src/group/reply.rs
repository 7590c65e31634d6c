//! Answers to callers.

use quorate_protocol::LogIndex;

use crate::group::change::GroupError;
use crate::group::outcome::{BuildError, Outcome, ReadError, TransferError};

/// The answer to one call on a group. Plain data, from which typed handles make their own answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The group stopped before the outcome was known. The requested work may have been done, may still be done, or
    /// never.
    Unknown,
    /// A hosted core has events or requests: take them from `Hosted`.
    Told,
    /// The outcome of a proposal, or of opening or closing a session.
    Outcome(Outcome),
    /// The present state of the state machine may answer the read.
    ReadReady,
    /// The read failed.
    ReadFailed(ReadError),
    /// The result of a transfer of leadership.
    Transfer(Result<(), TransferError>),
    /// The index that the snapshot covers which was asked for.
    Built(Result<LogIndex, BuildError>),
    /// The result of adding or removing a group. The node gives this answer, not the group.
    Changed(Result<(), GroupError>),
}

impl Reply {
    /// Returns true if the caller reads its answer from the group. The other replies contain the answer.
    #[must_use]
    pub fn is_read_from_group(&self) -> bool {
        matches!(self, Self::ReadReady | Self::Told)
    }
}
