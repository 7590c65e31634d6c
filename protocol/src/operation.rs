//! What a core asks of its log, and what comes back.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::{ENTRY_HEADER_BYTES, Entry, LogIndex, Term};

/// The most bytes of a state record: it must fit one sector with room to spare.
pub const STATE_BYTES_MAX: usize = 4096 - 512;

/// One change to a group's stream of the log. The operations of one `Persist` happen all or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Adds entries of one term behind the last one.
    Append {
        /// Where the first entry stands: one behind the last.
        index: LogIndex,
        /// The term of all of them.
        term: Term,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Takes the entries from `index` on away. Refused at or below the highest commit hint.
    TruncateFrom {
        /// The first entry to go.
        index: LogIndex,
    },
    /// Lets the entries up to and including `index` go.
    CompactTo {
        /// The last entry to go.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// Lets the whole log go and starts it anew behind `index`, once a snapshot up to there is durable.
    Reset {
        /// The last entry that the snapshot covers.
        index: LogIndex,
        /// Its term.
        term: Term,
    },
    /// Writes the newest record of `key`. For streams without an index.
    Journal {
        /// Which record.
        key: u64,
        /// What it says now; empty: the key is gone.
        bytes: Bytes,
    },
    /// Marks the place from which a checkpoint of the journal will hold.
    CheckpointBegin {
        /// Names the checkpoint.
        id: u64,
    },
    /// The checkpoint is durable: what precedes its mark may go.
    CheckpointDone {
        /// Names the checkpoint.
        id: u64,
    },
    /// Replaces the group's state record. It must be safe to adopt alone, without what was written beside it.
    PutState {
        /// The record, at most [`STATE_BYTES_MAX`].
        bytes: Bytes,
        /// The log is known to be committed up to here: truncation below is refused from now on.
        commit_hint: LogIndex,
    },
    /// As the hint of `PutState`, alone. Needs no sync: a lost one is made anew.
    CommitHint {
        /// The log is known to be committed up to here.
        index: LogIndex,
    },
}

impl Operation {
    /// About how many bytes the operation takes in the log; used to keep batches within their bound.
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

/// Why operations did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PersistFailure {
    /// Certainly not written, for want of room that was seen before a byte was written. It may be tried again.
    NotWritten,
    /// Certainly not written, and never will be: the log does not take these operations, now or later. The log goes on.
    Refused {
        /// Why.
        reason: WriteRefusal,
    },
    /// May or may not be there after a restart. The log takes no more writes.
    Unknown,
    /// Certainly not written, because somebody else owns the log now.
    Fenced,
}

/// Why a log will never take some operations: whoever made them has a bug, or bounds that do not fit the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteRefusal {
    /// They are more than one batch of the log holds.
    TooLarge,
    /// The state record is above its bound.
    StateTooLarge,
    /// The entries do not follow the last one.
    Gap,
    /// A term below that of an entry before it.
    TermRegression,
    /// A position that the log does not have.
    OutOfRange,
    /// The term given is not that of the entry.
    TermMismatch,
    /// Committed entries would go.
    Committed,
    /// A checkpoint that was not begun, or more of them under way than anybody needs.
    Checkpoint,
    /// The stream was deleted.
    Deleted,
    /// A reason that this version of the crate has no name for.
    Other,
}

impl fmt::Display for WriteRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "they are more than one batch of the log holds",
            Self::StateTooLarge => "the state record is above its bound",
            Self::Gap => "the entries do not follow the last one",
            Self::TermRegression => "a term is below that of an entry before it",
            Self::OutOfRange => "the log does not have the position",
            Self::TermMismatch => "the term given is not that of the entry",
            Self::Committed => "committed entries would go",
            Self::Checkpoint => "the checkpoint was not begun, or too many are under way",
            Self::Deleted => "the stream was deleted",
            Self::Other => "the log gave a reason without a name",
        })
    }
}

impl fmt::Display for PersistFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten => f.write_str("there was no room, and nothing was written"),
            Self::Refused { reason } => write!(f, "the log refuses the operations: {reason}"),
            Self::Unknown => f.write_str("the log failed; what was not yet durable may or may not be there"),
            Self::Fenced => f.write_str("somebody else owns the log now"),
        }
    }
}

/// What a core or a replica wants read from its stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadRange {
    /// Entries from the start of the range on, until `bytes_max` is passed; at least one.
    Entries {
        /// From the first index to one behind the last.
        range: Range<LogIndex>,
        /// Stop behind the entry that passes this many bytes.
        bytes_max: usize,
    },
    /// The newest journal record of each key in the range.
    Keys {
        /// From the first key to one behind the last.
        range: Range<u64>,
    },
}

/// What a load brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Consecutive entries from the start of the range on, never none.
    Entries(Vec<(LogIndex, Term, Entry)>),
    /// The newest record of each key, in the order of keys; keys without one are left out.
    Keys(Vec<(u64, Bytes)>),
}

/// Why a load brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadFailure {
    /// The entries were compacted meanwhile, or never written.
    Compacted,
    /// The bytes on disk are not those that were written.
    Damaged,
    /// The disk refused to read.
    Io,
}

const RECORD_OVERHEAD_BYTES: usize = 64;
const _: () = assert!(RECORD_OVERHEAD_BYTES >= ENTRY_HEADER_BYTES);
