//! What a caller is told.

use crate::{Outcome, ReadError, TransferError};

/// The answer to one call on a group. Plain data; typed handles make their own answers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The group stopped before the outcome was known: what was asked may or may not happen, or have happened.
    Unknown,
    /// A hosted core has told something: take it from `Hosted`.
    Told,
    /// What became of a proposal, or of opening or closing a session.
    Outcome(Outcome),
    /// The state machine as it is now may answer the read.
    ReadReady,
    /// The read is not answered.
    ReadFailed(ReadError),
    /// Whether leadership was handed over.
    Transfer(Result<(), TransferError>),
}
