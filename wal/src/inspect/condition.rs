//! The result of an inspection.

use std::process::ExitCode;

use crate::error::OpenError;

/// The state of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It is as it was left. Opening it may write batches again that nothing shows to be durable; the text names them.
    Clean,
    /// Opening it will repair it: a batch that was being written, or one of two copies of something, is damaged.
    /// Nothing that was acknowledged is lost, as far as the files show.
    Torn,
    /// It will not open: durable data is damaged or missing, or files are not those of one log.
    Corrupt,
    /// It cannot be judged: the disk refuses, there is no log, or it is of a newer format.
    Unreadable,
}

impl Condition {
    /// The condition of a log that does not open for this reason.
    pub(super) fn of(error: &OpenError) -> Self {
        match error {
            OpenError::Io { .. } | OpenError::Newer { .. } | OpenError::Features { .. } => Self::Unreadable,
            _ => Self::Corrupt,
        }
    }
}

impl From<Condition> for ExitCode {
    fn from(condition: Condition) -> Self {
        Self::from(match condition {
            Condition::Clean => 0,
            Condition::Torn => 1,
            Condition::Corrupt => 2,
            Condition::Unreadable => 3,
        })
    }
}

/// The amount of detail that is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Identity, files, checkpoints, segments, batches, streams, damage, batches in doubt and condition.
    Everything,
    /// Damage, batches in doubt and condition.
    Condition,
}
