//! The content of one node's stream of the log.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{
    Entry, EntryKind, LoadFailure, LoadRange, Loaded, LogIndex, Operation, Recovery, SnapshotMeta, Term,
};

/// A stream of the log. Everything in it is durable: the cluster applies a write when it completes.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The newest state record.
    pub state: Option<Bytes>,
    /// The index just before the first entry, and its term.
    pub base: (LogIndex, Term),
    /// The entries after the base.
    pub entries: VecDeque<(Term, Entry)>,
    /// The highest commit hint.
    pub commit_hint: LogIndex,
    /// The newest durable snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// An entry, and the failure of every load that contains it.
    pub bad_entry: Option<(LogIndex, LoadFailure)>,
    /// True if the snapshot cannot be read.
    pub is_snapshot_unreadable: bool,
}

impl Disk {
    /// Returns the index of the last entry; the base if there is none.
    pub fn last(&self) -> LogIndex {
        self.base.0.plus(self.entries.len() as u64)
    }

    /// Returns the term of the entry at `index`.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.entries.get(self.position(index)?).map(|(term, _)| *term)
    }

    /// Carries out one write.
    ///
    /// # Panics
    /// When the operations do not fit the log. A core must never request that.
    pub fn write(&mut self, operations: Vec<Operation>) {
        for operation in operations {
            match operation {
                Operation::Append { index, term, entries } => {
                    assert_eq!(index, self.last().next(), "entries are appended behind the last");
                    assert!(self.term_at(self.last()).is_none_or(|last| last <= term), "terms never fall");
                    self.entries.extend(entries.into_iter().map(|entry| (term, entry)));
                }
                Operation::TruncateFrom { index } => {
                    assert!(index > self.commit_hint, "what is committed is not truncated");
                    assert!(index > self.base.0 && index <= self.last(), "only what is there is truncated");
                    let kept = self.position(index).expect("behind the base");
                    self.entries.truncate(kept);
                }
                Operation::CompactTo { index, term } => {
                    assert_eq!(self.term_at(index), Some(term), "only what is there is compacted");
                    assert!(
                        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.index >= index),
                        "a snapshot covers it"
                    );
                    let gone = usize::try_from(index.0 - self.base.0.0).expect("a small log");
                    self.entries.drain(..gone);
                    self.base = (index, term);
                }
                Operation::Reset { index, term } => {
                    let snapshot = self.snapshot.as_ref();
                    assert!(snapshot.is_some_and(|snapshot| snapshot.index == index), "a snapshot is there first");
                    self.entries.clear();
                    self.base = (index, term);
                }
                Operation::PutState { bytes, commit_hint } => {
                    self.state = Some(bytes);
                    self.commit_hint = self.commit_hint.max(commit_hint);
                }
                Operation::CommitHint { index } => self.commit_hint = self.commit_hint.max(index),
                other => panic!("a replicated log has no business with {other:?}"),
            }
        }
        assert!(self.commit_hint <= self.last(), "what is committed is in the log");
    }

    /// Returns the data that a starting core recovers, with a tail of at most `tail_bytes_max` (at least one entry).
    pub fn recovery(&self, tail_bytes_max: usize) -> Recovery {
        let numbered = || (self.base.0.0 + 1..).map(LogIndex).zip(&self.entries);
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for (index, (term, _)) in numbered() {
            if runs.last().is_none_or(|run| run.1 != *term) {
                runs.push((index, *term));
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
            snapshot: self.snapshot.clone(),
            commit_hint: self.commit_hint,
            ..Recovery::default()
        }
    }

    /// Reads entries.
    ///
    /// # Errors
    /// When they were compacted or never written, or when the disk is set to fail.
    ///
    /// # Panics
    /// When keys are requested. A replicated log has none.
    pub fn load(&self, range: &LoadRange) -> Result<Loaded, LoadFailure> {
        let LoadRange::Entries { range, bytes_max } = range else { panic!("a replicated log loads entries") };
        let mut loaded = Vec::new();
        let mut bytes = 0;
        let mut index = range.start;
        while index < range.end && bytes <= *bytes_max {
            if let Some((bad, failure)) = self.bad_entry
                && bad == index
            {
                if loaded.is_empty() {
                    return Err(failure);
                }
                break;
            }
            let position = self.position(index).ok_or(LoadFailure::Compacted)?;
            let (term, entry) = self.entries.get(position).ok_or(LoadFailure::Compacted)?;
            bytes += entry.encoded_len();
            loaded.push((index, *term, entry.clone()));
            index = index.next();
        }
        if loaded.is_empty() { Err(LoadFailure::Compacted) } else { Ok(Loaded::Entries(loaded)) }
    }

    fn position(&self, index: LogIndex) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.0.0 + 1)?;
        usize::try_from(offset).ok()
    }
}
