//! The content of its log that a core gets when it starts.

use std::fmt;

use bytes::Bytes;

use crate::{Entry, EntryError, LogIndex, LogPosition, SnapshotMeta, Term};

/// Content of a group's stream of the log when the node starts. A fresh stream gives [`Recovery::default`].
///
/// It never holds the whole log: the core loads entries outside the tail when it needs them.
#[derive(Default)]
pub struct Recovery {
    /// The newest state record.
    pub state: Option<Bytes>,
    /// Position just before the first entry, up to which the log was compacted or covered by a snapshot. Zero on a
    /// fresh stream.
    pub base: LogPosition,
    /// Index of the last entry; equal to the base if there are no entries.
    pub last: LogIndex,
    /// Position of the first entry of each term, ascending, over all entries of the log.
    pub runs: Vec<LogPosition>,
    /// The newest entries that fit the byte bound given to recovery, up to the last one. Empty if the last entry alone
    /// does not fit.
    pub tail: Vec<(LogIndex, Entry)>,
    /// Every configuration entry that is still in the log, ascending.
    pub configurations: Vec<(LogIndex, Entry)>,
    /// The newest durable snapshot. If it lies beyond the log or does not match it, the core resets the log first.
    pub snapshot: Option<SnapshotMeta>,
    /// The highest commit hint found: the log was committed at least up to here.
    pub commit_hint: LogIndex,
    /// Id of the newest checkpoint that was marked done.
    pub checkpoint: Option<u64>,
    /// Journal records after the checkpoint's mark, in the order in which they were written, read from disk as the core
    /// asks for them. They contain at least the newest record of each key. An older record of the key, even one that
    /// removes the key, may come before it; the newest one counts.
    pub journal: Option<JournalRecords>,
}

/// Journal records, read from disk as they are asked for. Each is a key and its bytes.
pub type JournalRecords = Box<dyn Iterator<Item = Result<(u64, Bytes), RecoverError>> + Send>;

impl Recovery {
    /// True if nothing was ever written to the stream.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state.is_none() && self.last == LogIndex::ZERO && self.snapshot.is_none() && self.checkpoint.is_none()
    }

    /// The term of the entry at `index`, if it is in the log or just before it.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last {
            return None;
        }
        self.runs.iter().rev().find(|first| first.index <= index).map(|first| first.term)
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("state", &self.state)
            .field("base", &self.base)
            .field("last", &self.last)
            .field("runs", &self.runs)
            .field("tail", &self.tail.len())
            .field("configurations", &self.configurations.len())
            .field("snapshot", &self.snapshot)
            .field("commit_hint", &self.commit_hint)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}

/// Reason why a core cannot start from the content of its log. Nothing was changed on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// The state record cannot be decoded.
    State(StateError),
    /// A configuration entry cannot be decoded.
    Configuration {
        /// Index of the entry.
        index: LogIndex,
    },
    /// An entry cannot be decoded.
    Entry {
        /// Index of the entry.
        index: LogIndex,
        /// Reason why it cannot be decoded.
        error: EntryError,
    },
    /// The content contradicts itself; the text says how.
    Inconsistent(&'static str),
    /// The log could not be read further.
    Io(String),
    /// Settings contradict each other. Nothing was changed.
    Settings(String),
    /// The state machine panicked when it was asked for its last applied index.
    StateMachine(String),
    /// The state machine has stored its state up to an index that the log does not have: either the log or the state is
    /// of another node, or of another time. Nothing was changed.
    StateMachineAhead {
        /// The index up to which the state machine has stored its state.
        applied: LogIndex,
        /// The last index of the log.
        last: LogIndex,
    },
}

/// Reason why a state record or journal record cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A newer version of the format wrote the record.
    Version(u8),
    /// The record, or a part of it, is of a kind that this binary does not know: a newer one wrote it.
    Kind(u8),
    /// The bytes are not those of a record.
    Malformed,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "record version {version} is newer than this binary knows"),
            Self::Kind(kind) => write!(f, "this binary does not know records of kind {kind}"),
            Self::Malformed => f.write_str("the bytes are not those of a record"),
        }
    }
}

impl std::error::Error for StateError {}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => write!(f, "state record: {error}"),
            Self::Configuration { index } => write!(f, "the configuration entry at index {index} cannot be read"),
            Self::Entry { index, error } => write!(f, "entry at index {index}: {error}"),
            Self::Inconsistent(what) => write!(f, "the content of the log contradicts itself: {what}"),
            Self::Io(error) => write!(f, "the log could not be read: {error}"),
            Self::Settings(error) => f.write_str(error),
            Self::StateMachine(panic) => write!(f, "the state machine panicked: {panic}"),
            Self::StateMachineAhead { applied, last } => {
                write!(f, "the state machine has stored its state up to index {applied}, but the log ends at {last}")
            }
        }
    }
}

impl std::error::Error for RecoverError {}
