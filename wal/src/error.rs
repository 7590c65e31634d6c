//! What can go wrong.

use std::io;
use std::path::PathBuf;

use quorate_protocol::{PersistFailure, WriteRefusal};

use crate::format::FORMAT_VERSION;
use crate::settings::SettingsError;
use crate::stream_id::StreamId;

/// Why a log cannot be opened. Nothing was changed on disk, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The settings do not fit together.
    #[error("settings of the log: {0}")]
    Settings(#[from] SettingsError),
    /// Somebody else has the log open.
    #[error("the log is locked: another process has it open")]
    Locked,
    /// The disk refused. A recovery that had begun may be half done; it starts again at the next open.
    #[error("{path}: {error}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
    /// The disk has no room for what opening must write. A file that was being made is gone again.
    #[error("{path}: the disk has no room")]
    DiskFull {
        /// Which file or directory.
        path: PathBuf,
    },
    /// There is no log, though there was one.
    #[error("the log `{path}` is missing, though it was made")]
    Missing {
        /// Its directory.
        path: PathBuf,
    },
    /// The files belong to somebody else.
    #[error("{path} belongs to another {field}: {found}, and not {expected}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// `cluster`, `node`, `incarnation` or `segment id`.
        field: &'static str,
        /// Who opens it.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// Written by a newer version of the format.
    #[error("{path} has format version {version}, this binary reads up to {FORMAT_VERSION}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Needs features that this binary lacks.
    #[error("{path} needs features {bits:#x} that this binary lacks")]
    Features {
        /// Which file.
        path: PathBuf,
        /// The unknown bits.
        bits: u32,
    },
    /// A segment's first sector is not what was written.
    #[error("the header of {path} is damaged: {field}")]
    DamagedHeader {
        /// Which file.
        path: PathBuf,
        /// The class of the first field that looks wrong.
        field: &'static str,
    },
    /// A record that was durable is not what was written. Restore the node from its peers.
    #[error("the log is corrupt: stream {stream}, position {position}, segment {segment}, offset {offset}: {what}")]
    Corrupt {
        /// Whose record, as far as its header or its neighbours tell.
        stream: StreamId,
        /// Its position (index or key), as far as its header or its neighbours tell.
        position: u64,
        /// In which segment.
        segment: u64,
        /// Where in the segment, in bytes.
        offset: u64,
        /// How the damage shows.
        what: &'static str,
    },
    /// A segment is missing.
    #[error("segment {segment} of the log is missing")]
    MissingSegment {
        /// Which.
        segment: u64,
    },
    /// Both copies of the checkpoint are damaged or missing. Term and vote may lie nowhere else.
    #[error("both copies of the log's checkpoint are damaged or missing")]
    CheckpointsLost,
    /// The checkpoint is older than one that the log knows to have been durable: copies of an earlier time were put in
    /// its place. They may lack a vote.
    #[error("the log's checkpoint has generation {found}, and the log knows generation {known}: it is an older copy")]
    CheckpointOutdated {
        /// That of the newer copy.
        found: u64,
        /// What both copies had at least.
        known: u64,
    },
    /// A file that the log did not make.
    #[error("unknown file {path} in the log's directory")]
    UnknownFile {
        /// Which.
        path: PathBuf,
    },
}

/// The log failed and takes no more writes: what was not yet durable may or may not be there after a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log failed and must be opened anew: {reason}")]
pub struct Poisoned {
    /// What failed first.
    pub reason: String,
}

/// Why the operations of one submission were refused. Nothing of them was written, and the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Entries do not follow the last one.
    #[error("an entry for position {found} where {expected} comes next")]
    Gap {
        /// What comes next.
        expected: u64,
        /// What was given.
        found: u64,
    },
    /// A term below that of an entry before it.
    #[error("term {found} behind term {last}")]
    TermRegression {
        /// The term before.
        last: u64,
        /// What was given.
        found: u64,
    },
    /// A position that the log does not have.
    #[error("position {position} is outside the log, {base} to {last}")]
    OutOfRange {
        /// What was given.
        position: u64,
        /// The position before the first entry.
        base: u64,
        /// The last position.
        last: u64,
    },
    /// The term given is not that of the entry.
    #[error("position {position} has another term than {found}")]
    TermMismatch {
        /// Which position.
        position: u64,
        /// What was given.
        found: u64,
    },
    /// Committed entries would go.
    #[error("position {position} is committed up to {commit_hint} and cannot be truncated")]
    Committed {
        /// Which position.
        position: u64,
        /// The highest commit hint given.
        commit_hint: u64,
    },
    /// A checkpoint of a journal that was not begun, or is not the newest.
    #[error("checkpoint {id} was not begun")]
    UnknownCheckpoint {
        /// Which.
        id: u64,
    },
    /// More checkpoints under way than anybody needs.
    #[error("more than {CHECKPOINTS_PENDING_MAX} checkpoints under way")]
    TooManyCheckpoints,
    /// A state record above its bound.
    #[error("a state record of {bytes} bytes")]
    StateTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More than one batch holds.
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

impl Refusal {
    /// What a core is told: only the want of room passes, every other refusal would be given again.
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

/// Why a submission did not become durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It was refused, alone; the log goes on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log failed.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl WriteError {
    /// What a core is told.
    #[must_use]
    pub fn failure(&self) -> PersistFailure {
        match self {
            Self::Refused(refusal) => refusal.failure(),
            Self::Poisoned(_) => PersistFailure::Unknown,
        }
    }
}

/// Checkpoints of one journal that may be under way at once.
pub(crate) const CHECKPOINTS_PENDING_MAX: usize = 8;
