//! Operations that a core asks of its log, and their outcomes.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::{ENTRY_HEADER_BYTES, Entry, LogIndex, Term};

/// Bound of a state record in bytes: the record must fit one sector, together with the log's own framing.
pub const STATE_BYTES_MAX: usize = 4096 - 512;

/// One change to a group's stream of the log. The operations of one `Persist` are written all or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Appends entries of one term after the last entry.
    Append {
        /// Index of the first entry: one after the last entry of the log.
        index: LogIndex,
        /// Term of all these entries.
        term: Term,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Removes the entries from `index` on. Refused at or below the highest commit hint.
    TruncateFrom {
        /// Index of the first entry to remove.
        index: LogIndex,
    },
    /// Removes the entries up to and including `index`.
    CompactTo {
        /// Index of the last entry to remove.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// Removes the whole log and continues it after `index`, once a snapshot up to `index` is durable.
    Reset {
        /// Index of the last entry that the snapshot covers.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// Writes the newest record of `key`. For streams without an index.
    Journal {
        /// The key.
        key: u64,
        /// The new value of the key; empty to remove the key.
        bytes: Bytes,
    },
    /// Begins a checkpoint of the journal: after this mark the core writes every record that still counts once more.
    CheckpointBegin {
        /// Id of the checkpoint.
        id: u64,
    },
    /// Ends the checkpoint: everything that counts was written after its mark, so the records before it may be removed.
    CheckpointDone {
        /// Id of the checkpoint.
        id: u64,
    },
    /// Replaces the group's state record. The record must be safe to adopt without the operations written beside it.
    PutState {
        /// The record, at most [`STATE_BYTES_MAX`].
        bytes: Bytes,
        /// The log is known to be committed up to here. From now on the log refuses to truncate at or below this index.
        commit_hint: LogIndex,
    },
    /// The commit hint of `PutState`, alone. It needs no sync: a lost hint is written again.
    CommitHint {
        /// The log is known to be committed up to here.
        index: LogIndex,
    },
}

impl Operation {
    /// Approximate number of bytes that the operation takes in the log. It serves to keep batches within their bound.
    #[must_use]
    pub fn weight(&self) -> usize {
        let content = match self {
            Self::Append { entries, .. } => {
                entries.iter().map(|entry| entry.encoded_len() + RECORD_OVERHEAD_BYTES).sum()
            }
            Self::Journal { bytes, .. } | Self::PutState { bytes, .. } => bytes.len(),
            _ => 0,
        };
        RECORD_OVERHEAD_BYTES + content
    }
}

/// Reason why operations did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PersistFailure {
    /// Certainly not written: the log saw, before it wrote a byte, that there is no room. The write may be tried again.
    NotWritten,
    /// Certainly not written, and never will be: the log does not accept these operations. It does accept others.
    Refused {
        /// Reason of the refusal.
        reason: WriteRefusal,
    },
    /// The operations may or may not be found after a restart. The log accepts no more writes.
    Unknown,
    /// Certainly not written, because another process owns the log now.
    Fenced,
}

/// Reason why a log will never accept some operations: the core that made them has a bug, or its bounds do not fit the
/// log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteRefusal {
    /// The operations do not fit one batch of the log.
    TooLarge,
    /// The state record is longer than its bound.
    StateTooLarge,
    /// The entries do not follow the last entry.
    Gap,
    /// A term is below that of an earlier entry.
    TermRegression,
    /// The log does not have the position.
    OutOfRange,
    /// The operation states another term than the entry has.
    TermMismatch,
    /// The operation would remove committed entries.
    Committed,
    /// The checkpoint was not begun, or too many are under way.
    Checkpoint,
    /// The stream was deleted.
    Deleted,
    /// The operation is for a log with an index, and this log keeps only a state record and a journal.
    Indexed,
    /// A reason that this version of the crate has no variant for.
    Other,
}

impl fmt::Display for WriteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "they do not fit one batch of the log",
            Self::StateTooLarge => "the state record is longer than its bound",
            Self::Gap => "the entries do not follow the last entry",
            Self::TermRegression => "a term is below that of an earlier entry",
            Self::OutOfRange => "the log does not have the position",
            Self::TermMismatch => "the operation states another term than the entry has",
            Self::Committed => "they would remove committed entries",
            Self::Checkpoint => "the checkpoint was not begun, or too many are under way",
            Self::Deleted => "the stream was deleted",
            Self::Indexed => "the log has no index, only a state record and a journal",
            Self::Other => "the reason has no name in this version",
        })
    }
}

impl fmt::Display for PersistFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten => f.write_str("there was no room, and nothing was written"),
            Self::Refused { reason } => write!(f, "the log refuses the operations: {reason}"),
            Self::Unknown => f.write_str("the log failed; what was not yet durable may or may not be there"),
            Self::Fenced => f.write_str("another process owns the log now"),
        }
    }
}

/// Part of its stream that a core or a replica asks to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadRange {
    /// Entries from the start of the range on, until their size passes `bytes_max`; at least one.
    Entries {
        /// The first index, and the index after the last.
        range: Range<LogIndex>,
        /// Size in bytes at which to stop; the entry that passes it is included.
        bytes_max: usize,
    },
    /// The newest journal record of each key in the range. A core whose records need more memory than it may use keeps
    /// the keys only, and loads the records when it needs them.
    Keys {
        /// The first key, and the key after the last.
        range: Range<u64>,
    },
}

/// Result of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Consecutive entries from the start of the range on; at least one.
    Entries(Vec<(LogIndex, Term, Entry)>),
    /// The newest record of each key, in the order of keys. A key without a record is left out.
    Keys(Vec<(u64, Bytes)>),
}

/// Reason why a load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadFailure {
    /// The entries were compacted meanwhile, or were never written.
    Compacted,
    /// The bytes on disk are not those that were written.
    Damaged,
    /// The disk returned an error.
    Io,
}

const RECORD_OVERHEAD_BYTES: usize = 64;
const _: () = assert!(RECORD_OVERHEAD_BYTES >= ENTRY_HEADER_BYTES);
