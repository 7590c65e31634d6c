//! The progress of a scan.

use std::io;

use crate::error::OpenError;
use crate::format::RecordLink;

/// A segment under scan.
#[derive(Debug)]
pub(super) struct SegmentFile<'a, F> {
    pub(super) file: &'a F,
    pub(super) id: u64,
    /// Size of the file in bytes.
    pub(super) length: u64,
}

impl<F> Clone for SegmentFile<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for SegmentFile<'_, F> {}

/// The place where a scan goes on, and the last record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    pub(super) offset: u64,
    pub(super) progress: RecordLink,
}

/// Reason why a scan ended.
pub(super) enum Failure {
    Io(io::Error),
    Corrupt(OpenError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
