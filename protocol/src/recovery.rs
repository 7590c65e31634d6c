//! What a core finds when it starts.

use std::fmt;

use bytes::Bytes;

use crate::{Entry, EntryError, LogIndex, SnapshotMeta, Term};

/// What a group's stream of the log held when the node started. A fresh stream gives [`Recovery::default`].
///
/// It never holds the whole log: entries outside the tail are read when they are needed.
#[derive(Default)]
pub struct Recovery {
    /// The newest state record.
    pub state: Option<Bytes>,
    /// The entry just before the first: what compaction or a snapshot reached, and its term. Zero on a fresh stream.
    pub base: (LogIndex, Term),
    /// The last entry, equal to the base when there is none.
    pub last: LogIndex,
    /// Where each term begins, ascending, over the entries from the first to the last.
    pub runs: Vec<(LogIndex, Term)>,
    /// The newest entries that fit the byte bound given to recovery, up to the last one. None where the last alone does not fit.
    pub tail: Vec<(LogIndex, Entry)>,
    /// Every configuration entry that is still in the log, ascending.
    pub configurations: Vec<(LogIndex, Entry)>,
    /// The newest durable snapshot. It may lie beyond the log, or not match it: then the core resets the log first.
    pub snapshot: Option<SnapshotMeta>,
    /// The highest commit hint found: the log was committed at least up to here.
    pub commit_hint: LogIndex,
    /// The newest checkpoint that was marked done.
    pub checkpoint: Option<u64>,
    /// Journal records behind the checkpoint's mark in the order they were written, read as they are asked for: the newest of
    /// each key at least. An older one of a key, and one that takes the key away, may stand before it and does not count.
    pub journal: Option<JournalRecords>,
}

/// Journal records, read from disk as they are asked for: key, bytes.
pub type JournalRecords = Box<dyn Iterator<Item = Result<(u64, Bytes), RecoverError>> + Send>;

impl Recovery {
    /// Whether nothing was ever written to the stream.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state.is_none() && self.last == LogIndex::ZERO && self.snapshot.is_none() && self.checkpoint.is_none()
    }

    /// The term of the entry at `index`, if it is in the log or just before it.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        if index < self.base.0 || index > self.last {
            return None;
        }
        self.runs.iter().rev().find(|(first, _)| *first <= index).map(|(_, term)| *term)
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

/// Why a core cannot start from what it found. Nothing was changed on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// The state record cannot be read.
    State(StateError),
    /// A configuration entry cannot be read.
    Configuration {
        /// Where it stands.
        index: LogIndex,
    },
    /// An entry cannot be read.
    Entry {
        /// Where it stands.
        index: LogIndex,
        /// Why.
        error: EntryError,
    },
    /// What was found contradicts itself, and why.
    Inconsistent(&'static str),
    /// The log could not be read further.
    Io(String),
    /// Settings contradict each other. Nothing was changed.
    Settings(String),
    /// The state machine panicked when it was asked how far it is.
    StateMachine(String),
}

/// Why a state record or journal record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// Written by a newer version of the format.
    Version(u8),
    /// The bytes are not those of a record.
    Malformed,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "record version {version} is newer than this binary knows"),
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
            Self::Inconsistent(what) => write!(f, "what was found contradicts itself: {what}"),
            Self::Io(error) => write!(f, "the log could not be read: {error}"),
            Self::Settings(error) => f.write_str(error),
            Self::StateMachine(panic) => write!(f, "the state machine panicked: {panic}"),
        }
    }
}

impl std::error::Error for RecoverError {}
