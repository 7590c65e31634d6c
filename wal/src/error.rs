//! The errors of the log.

use std::io;
use std::path::PathBuf;

use quorate_protocol::{PersistFailure, WriteRefusal};

use crate::format::FORMAT_VERSION;
use crate::settings::SettingsError;
use crate::stream_id::StreamId;

/// Reason why a log cannot be opened. Nothing was changed on disk, unless the variant states it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The settings do not fit together.
    #[error("settings of the log: {0}")]
    Settings(#[from] SettingsError),
    /// Another process has the log open.
    #[error("the log is locked: another process has it open")]
    Locked,
    /// The disk failed. A repair that had begun may be half done; the next open starts it again.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the disk.
        #[source]
        error: io::Error,
    },
    /// The disk has no room for what opening must write. The file that was being made was removed.
    #[error("{path}: the disk has no room")]
    DiskFull {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is no log, though one was created before.
    #[error("the log `{path}` is missing, though it was made")]
    Missing {
        /// Its directory.
        path: PathBuf,
    },
    /// The files belong to another identity.
    #[error("{path} belongs to another {field}: {found}, and not {expected}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// `cluster`, `node`, `incarnation` or `segment id`.
        field: &'static str,
        /// The value that the caller expects.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// Written by a newer version of the format.
    #[error("{path} has format version {version}, this binary reads up to {FORMAT_VERSION}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Needs features that this binary lacks.
    #[error("{path} needs features {bits:#x} that this binary lacks")]
    Features {
        /// The file.
        path: PathBuf,
        /// The unknown bits.
        bits: u32,
    },
    /// A segment's first sector is not what was written, or a file names a format version that no release has.
    #[error("the header of {path} is damaged: {field}")]
    DamagedHeader {
        /// The file.
        path: PathBuf,
        /// The class of the first field that looks wrong.
        field: &'static str,
    },
    /// A record that was durable is not what was written. Restore the node from its peers.
    #[error("the log is corrupt: stream {stream}, position {position}, segment {segment}, offset {offset}: {what}")]
    Corrupt {
        /// The stream of the record, as far as its header or its neighbours show it.
        stream: StreamId,
        /// Its position (index or key), as far as its header or its neighbours show it.
        position: u64,
        /// Id of the segment.
        segment: u64,
        /// Offset in the segment, in bytes.
        offset: u64,
        /// The sign of the damage.
        what: &'static str,
    },
    /// A segment is missing.
    #[error("segment {segment} of the log is missing")]
    MissingSegment {
        /// Id of the segment.
        segment: u64,
    },
    /// Both copies of the checkpoint are damaged or missing. Term and vote may be stored nowhere else.
    #[error("both copies of the log's checkpoint are damaged or missing")]
    CheckpointsLost,
    /// The checkpoint is older than one that was durable according to the log: older copies were put in its place. They
    /// may lack a vote.
    #[error("the log's checkpoint has generation {found}, and the log knows generation {known}: it is an older copy")]
    CheckpointOutdated {
        /// The generation of the newer copy.
        found: u64,
        /// The generation that both copies had at least.
        known: u64,
    },
    /// A file that the log did not create.
    #[error("unknown file {path} in the log's directory")]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
}

/// The log failed and takes no more writes. Data that was not yet durable may or may not be there after a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed and must be opened again: {reason}")]
pub struct Poisoned {
    /// The first failure.
    pub reason: String,
}

/// Reason why the operations of one submission were refused. None of them was written, and the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionRefusal {
    /// Entries do not follow the last one.
    #[error("an entry for position {found}, where position {expected} comes next")]
    Gap {
        /// The position that comes next.
        expected: u64,
        /// The given value.
        found: u64,
    },
    /// A term below that of an entry before it.
    #[error("term {found} behind term {last}")]
    TermRegression {
        /// The term of the last entry.
        last: u64,
        /// The given value.
        found: u64,
    },
    /// A position that the log does not have.
    #[error("position {position} is outside the log, {base} to {last}")]
    OutOfRange {
        /// The given value.
        position: u64,
        /// The position before the first entry.
        base: u64,
        /// The last position.
        last: u64,
    },
    /// The given term is not that of the entry.
    #[error("position {position} has another term than {found}")]
    TermMismatch {
        /// The position.
        position: u64,
        /// The given value.
        found: u64,
    },
    /// Committed entries would be removed.
    #[error("position {position} is committed up to {commit_hint} and cannot be truncated")]
    Committed {
        /// The position.
        position: u64,
        /// The highest commit hint given.
        commit_hint: u64,
    },
    /// A checkpoint of a journal that is not under way: it was not begun, was finished, or a later one was finished.
    #[error("checkpoint {id} was not begun")]
    UnknownCheckpoint {
        /// Id of the checkpoint.
        id: u64,
    },
    /// Too many checkpoints of one journal under way.
    #[error("more than {CHECKPOINTS_PENDING_MAX} checkpoints under way")]
    TooManyCheckpoints,
    /// A state record above its bound.
    #[error("a state record of {bytes} bytes is too large")]
    StateTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The operations do not fit one batch.
    #[error("operations of {bytes} bytes do not fit one batch")]
    TooLarge {
        /// Their size in a batch.
        bytes: u64,
    },
    /// The disk has no room for another segment.
    #[error("the disk is full")]
    DiskFull,
    /// The stream was deleted, and ids are never used again.
    #[error("the stream was deleted")]
    Deleted,
}

impl SubmissionRefusal {
    /// The failure that the core gets. Only lack of room passes; every other refusal would come again.
    #[must_use]
    pub fn failure(&self) -> PersistFailure {
        let reason = match self {
            Self::DiskFull => return PersistFailure::NotWritten,
            Self::Gap { .. } => WriteRefusal::Gap,
            Self::TermRegression { .. } => WriteRefusal::TermRegression,
            Self::OutOfRange { .. } => WriteRefusal::OutOfRange,
            Self::TermMismatch { .. } => WriteRefusal::TermMismatch,
            Self::Committed { .. } => WriteRefusal::Committed,
            Self::UnknownCheckpoint { .. } | Self::TooManyCheckpoints => WriteRefusal::Checkpoint,
            Self::StateTooLarge { .. } => WriteRefusal::StateTooLarge,
            Self::TooLarge { .. } => WriteRefusal::TooLarge,
            Self::Deleted => WriteRefusal::Deleted,
        };
        PersistFailure::Refused { reason }
    }
}

/// Reason why a submission did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The submission was refused; the log goes on.
    #[error(transparent)]
    Refused(#[from] SubmissionRefusal),
    /// The log failed.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl WriteError {
    /// The failure that the core gets.
    #[must_use]
    pub fn failure(&self) -> PersistFailure {
        match self {
            Self::Refused(refusal) => refusal.failure(),
            Self::Poisoned(_) => PersistFailure::Unknown,
        }
    }
}

/// Maximum number of checkpoints of one journal under way at once.
pub(crate) const CHECKPOINTS_PENDING_MAX: usize = 8;
