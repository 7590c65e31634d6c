//! A simple model of one group's stream of a log: each write is done completely or not at all.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{
    Entry, EntryKind, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, Operation, Recovery, Term,
};

/// The durable content of a replicated log.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    state: Option<Bytes>,
    base: LogPosition,
    entries: VecDeque<(Term, Entry)>,
    commit_hint: LogIndex,
}

impl Stream {
    /// Index of the last entry; equal to the base if there are no entries.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    /// Index of the entry before the first one.
    #[must_use]
    pub fn base(&self) -> LogIndex {
        self.base.index
    }

    /// The term of the entry at `index`.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.at(index).map(|(term, _)| *term) }
    }

    /// The protocol's state record that was written last.
    #[must_use]
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    fn at(&self, index: LogIndex) -> Option<&(Term, Entry)> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Carries out one write.
    ///
    /// # Panics
    /// When the operations do not fit the log, which a core must never cause.
    pub fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::Append { index, term, entries } => {
                    assert_eq!(*index, self.last().next(), "entries are appended behind the last");
                    self.entries.extend(entries.iter().map(|entry| (*term, entry.clone())));
                }
                Operation::TruncateFrom { index } => {
                    assert!(*index > self.commit_hint, "what is committed is not truncated");
                    assert!(*index > self.base.index, "what was compacted is not truncated");
                    self.entries.truncate(offset(self.base.index.next(), *index));
                }
                Operation::CompactTo { index, term } => {
                    assert_eq!(self.term_at(*index), Some(*term), "only what is there is compacted");
                    self.entries.drain(..offset(self.base.index, *index));
                    self.base = LogPosition { index: *index, term: *term };
                }
                Operation::Reset { index, term } => {
                    self.entries.clear();
                    self.base = LogPosition { index: *index, term: *term };
                }
                Operation::PutState { bytes, commit_hint } => {
                    self.state = Some(bytes.clone());
                    self.commit_hint = self.commit_hint.max(*commit_hint);
                }
                Operation::CommitHint { index } => self.commit_hint = self.commit_hint.max(*index),
                other => panic!("a replicated log has no business with {other:?}"),
            }
        }
    }

    /// The content that a core gets when it starts, without its snapshot.
    #[must_use]
    pub fn recovery(&self, tail_bytes_max: usize) -> Recovery {
        let numbered = || (self.base.index.0 + 1..).map(LogIndex).zip(&self.entries);
        let mut runs: Vec<LogPosition> = Vec::new();
        for (index, (term, _)) in numbered() {
            if runs.last().is_none_or(|run| run.term != *term) {
                runs.push(LogPosition { index, term: *term });
            }
        }
        let mut bytes = 0;
        let newest = self.entries.iter().rev().take_while(|(_, entry)| {
            bytes += entry.encoded_len();
            bytes <= tail_bytes_max
        });
        let count = newest.count().max(1).min(self.entries.len());
        let tail = numbered().skip(self.entries.len() - count);
        let configurations = numbered().filter(|(_, (_, entry))| entry.header.kind == EntryKind::Configuration);
        Recovery {
            state: self.state.clone(),
            base: self.base,
            last: self.last(),
            runs,
            tail: tail.map(|(index, (_, entry))| (index, entry.clone())).collect(),
            configurations: configurations.map(|(index, (_, entry))| (index, entry.clone())).collect(),
            commit_hint: self.commit_hint,
            ..Recovery::default()
        }
    }

    /// Reads entries.
    ///
    /// # Errors
    /// When they were compacted or were never written.
    ///
    /// # Panics
    /// When keys are asked for, which a replicated log does not have.
    pub fn load(&self, range: &LoadRange) -> Result<Loaded, LoadFailure> {
        let LoadRange::Entries { range, bytes_max } = range else { panic!("a replicated log loads entries") };
        let mut loaded = Vec::new();
        let (mut bytes, mut index) = (0, range.start);
        while index < range.end && bytes <= *bytes_max {
            let (term, entry) = self.at(index).ok_or(LoadFailure::Compacted)?;
            bytes += entry.encoded_len();
            loaded.push((index, *term, entry.clone()));
            index = index.next();
        }
        if loaded.is_empty() { Err(LoadFailure::Compacted) } else { Ok(Loaded::Entries(loaded)) }
    }
}

fn offset(from: LogIndex, to: LogIndex) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).expect("a small log")
}
