//! A stand-in for one stream of a node's log.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::PowerCut;
use crate::{
    Entry, EntryKind, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, Operation, RecoverError, Recovery,
    STATE_BYTES_MAX, SnapshotMeta, Term,
};

/// The durable content of one stream: indexed entries or a journal, and a state record. Each write is done completely
/// or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The newest state record.
    pub state: Option<Bytes>,
    /// The position just before the first entry.
    pub base: LogPosition,
    /// The entries after the base.
    pub entries: Vec<(Term, Entry)>,
    /// The highest commit hint.
    pub commit_hint: LogIndex,
    /// The newest durable snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// An entry, and the failure of every load that begins with it.
    pub bad_entry: Option<(LogIndex, LoadFailure)>,
    checkpoint: Option<u64>,
    journal: Vec<Record>,
}

/// A record of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Record {
    Written { key: u64, bytes: Bytes },
    Mark { id: u64 },
}

impl Stream {
    /// Index of the last entry; the base if there are no entries.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    /// The term of the entry at `index`.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.at(index).map(|(term, _)| *term) }
    }

    /// The newest journal record of each key that was not removed.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<u64, &Bytes> {
        let mut newest: BTreeMap<u64, &Bytes> = self.written().collect();
        newest.retain(|_, bytes| !bytes.is_empty());
        newest
    }

    /// Every journal record after the mark of the newest checkpoint, oldest first.
    pub fn written(&self) -> impl Iterator<Item = (u64, &Bytes)> + '_ {
        self.journal.iter().filter_map(|record| match record {
            Record::Written { key, bytes } => Some((*key, bytes)),
            Record::Mark { .. } => None,
        })
    }

    /// Adds a record to the journal.
    pub fn put(&mut self, key: u64, bytes: Bytes) {
        self.journal.push(Record::Written { key, bytes });
    }

    /// Carries out one write.
    ///
    /// # Panics
    /// When the operations do not fit the content of the stream. A core must never ask for that.
    pub fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.carry_out(operation);
        }
        assert!(self.commit_hint <= self.last(), "what is committed is in the log");
        assert!(self.journal.is_empty() || self.last() == LogIndex::ZERO, "a stream has entries or a journal");
    }

    /// Carries out the part of one write that a power cut leaves.
    pub fn cut(&mut self, operations: &[Operation], left: PowerCut) {
        match left {
            PowerCut::Lost => {}
            PowerCut::StateAlone => {
                for operation in operations {
                    if let Operation::PutState { bytes, .. } = operation {
                        self.state = Some(bytes.clone());
                    }
                }
            }
            PowerCut::Whole => self.write(operations),
        }
    }

    /// The content that a core gets when it starts, with a tail of at most `tail_bytes_max` but at least one entry.
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
        let records: Vec<Result<(u64, Bytes), RecoverError>> =
            self.written().map(|(key, bytes)| Ok((key, bytes.clone()))).collect();
        Recovery {
            state: self.state.clone(),
            base: self.base,
            last: self.last(),
            runs,
            tail: tail.map(|(index, (_, entry))| (index, entry.clone())).collect(),
            configurations: configurations.map(|(index, (_, entry))| (index, entry.clone())).collect(),
            snapshot: self.snapshot.clone(),
            commit_hint: self.commit_hint,
            checkpoint: self.checkpoint,
            journal: (!records.is_empty()).then(|| Box::new(records.into_iter()) as _),
        }
    }

    /// Reads from the stream.
    ///
    /// # Errors
    /// When the entries were compacted or never written, or when the stream is set to fail.
    pub fn load(&self, range: &LoadRange) -> Result<Loaded, LoadFailure> {
        let (range, bytes_max) = match range {
            LoadRange::Entries { range, bytes_max } => (range, *bytes_max),
            LoadRange::Keys { range } => {
                let newest = self.newest().into_iter().filter(|(key, _)| range.contains(key));
                return Ok(Loaded::Keys(newest.map(|(key, bytes)| (key, bytes.clone())).collect()));
            }
        };
        let mut loaded = Vec::new();
        let (mut bytes, mut index) = (0, range.start);
        while index < range.end && bytes <= bytes_max {
            match self.bad_entry {
                Some((bad, failure)) if bad == index && loaded.is_empty() => return Err(failure),
                Some((bad, _)) if bad == index => break,
                _ => {}
            }
            let (term, entry) = self.at(index).ok_or(LoadFailure::Compacted)?;
            bytes += entry.encoded_len();
            loaded.push((index, *term, entry.clone()));
            index = index.next();
        }
        if loaded.is_empty() { Err(LoadFailure::Compacted) } else { Ok(Loaded::Entries(loaded)) }
    }

    fn at(&self, index: LogIndex) -> Option<&(Term, Entry)> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { index, term, entries } => {
                assert_eq!(*index, self.last().next(), "entries are appended behind the last");
                assert!(self.term_at(self.last()).is_none_or(|last| last <= *term), "terms never fall");
                self.entries.extend(entries.iter().map(|entry| (*term, entry.clone())));
            }
            Operation::TruncateFrom { index } => {
                assert!(*index > self.commit_hint, "what is committed is not truncated");
                assert!(*index > self.base.index && *index <= self.last(), "only what is there is truncated");
                self.entries.truncate(distance(self.base.index.next(), *index));
            }
            Operation::CompactTo { index, term } => {
                assert_eq!(self.term_at(*index), Some(*term), "only what is there is compacted");
                let snapshot = self.snapshot.as_ref();
                assert!(snapshot.is_some_and(|snapshot| snapshot.index >= *index), "a snapshot covers it");
                self.entries.drain(..distance(self.base.index, *index));
                self.base = LogPosition { index: *index, term: *term };
            }
            Operation::Reset { index, term } => {
                let snapshot = self.snapshot.as_ref();
                assert!(snapshot.is_some_and(|snapshot| snapshot.index >= *index), "a snapshot is there first");
                self.entries.clear();
                self.base = LogPosition { index: *index, term: *term };
            }
            Operation::Journal { key, bytes } => self.put(*key, bytes.clone()),
            Operation::CheckpointBegin { id } => self.journal.push(Record::Mark { id: *id }),
            Operation::CheckpointDone { id } => {
                let mark = self.journal.iter().position(|record| *record == Record::Mark { id: *id });
                self.journal.drain(..=mark.expect("a checkpoint is begun before it is done"));
                self.checkpoint = Some(*id);
            }
            Operation::PutState { bytes, commit_hint } => {
                assert!(bytes.len() <= STATE_BYTES_MAX, "a state record fits a sector");
                self.state = Some(bytes.clone());
                self.commit_hint = self.commit_hint.max(*commit_hint);
            }
            Operation::CommitHint { index } => self.commit_hint = self.commit_hint.max(*index),
        }
    }
}

fn distance(from: LogIndex, to: LogIndex) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).expect("a small log")
}
