//! What is durable of one node: each write happens whole or not at all.

use bytes::Bytes;
use quorate_protocol::{
    Entry, EntryKind, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, Operation, RecoverError, Recovery, Term,
};

/// A stream of the log, indexed entries and journal alike. Part of a state's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    state: Option<Bytes>,
    base: LogPosition,
    entries: Vec<(Term, Entry)>,
    commit_hint: LogIndex,
    checkpoint: Option<u64>,
    journal: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Record {
    Written { key: u64, bytes: Bytes },
    Mark { id: u64 },
}

impl Disk {
    /// The state record, if one was written.
    pub(crate) fn state(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }

    /// The last entry; the base when there is none.
    pub(crate) fn last(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    /// The entries behind the base, from the first on.
    pub(crate) fn entries(&self) -> &[(Term, Entry)] {
        &self.entries
    }

    /// The term of the entry at `index`, if it is there.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|(term, _)| *term)
    }

    /// Carries out one write.
    ///
    /// # Panics
    /// When the operations do not fit what is there: a core must never ask for that.
    pub(crate) fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.carry_out(operation);
        }
        assert!(self.commit_hint <= self.last(), "what is committed is in the log");
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
            Operation::Journal { key, bytes } => {
                self.journal.push(Record::Written { key: *key, bytes: bytes.clone() });
            }
            Operation::CheckpointBegin { id } => self.journal.push(Record::Mark { id: *id }),
            Operation::CheckpointDone { id } => {
                let mark = self.journal.iter().position(|record| *record == Record::Mark { id: *id });
                self.journal.drain(..=mark.expect("a checkpoint that is done was begun"));
                self.checkpoint = Some(*id);
            }
            Operation::PutState { bytes, commit_hint } => {
                self.state = Some(bytes.clone());
                self.commit_hint = self.commit_hint.max(*commit_hint);
            }
            Operation::CommitHint { index } => self.commit_hint = self.commit_hint.max(*index),
        }
    }

    /// What a core finds when it starts: all of it.
    pub(crate) fn recovery(&self) -> Recovery {
        let numbered = || (self.base.index.0 + 1..).map(LogIndex).zip(&self.entries);
        let mut runs: Vec<LogPosition> = Vec::new();
        for (index, (term, _)) in numbered() {
            if runs.last().is_none_or(|run| run.term != *term) {
                runs.push(LogPosition { index, term: *term });
            }
        }
        let entries = || numbered().map(|(index, (_, entry))| (index, entry.clone()));
        let records: Vec<Result<(u64, Bytes), RecoverError>> = self.written().map(Ok).collect();
        Recovery {
            state: self.state.clone(),
            base: self.base,
            last: self.last(),
            runs,
            tail: entries().collect(),
            configurations: entries().filter(|(_, entry)| entry.header.kind == EntryKind::Configuration).collect(),
            snapshot: None,
            commit_hint: self.commit_hint,
            checkpoint: self.checkpoint,
            journal: (!records.is_empty()).then(|| Box::new(records.into_iter()) as _),
        }
    }

    /// Reads what is durable.
    pub(crate) fn load(&self, range: &LoadRange) -> Result<Loaded, LoadFailure> {
        match range {
            LoadRange::Entries { range, .. } => {
                let wanted = (range.start.0..range.end.0).map(LogIndex);
                let found = wanted.map_while(|index| {
                    let offset = offset(self.base.index.next(), index);
                    let (term, entry) = self.entries.get(offset).filter(|_| index > self.base.index)?;
                    Some((index, *term, entry.clone()))
                });
                let found: Vec<_> = found.collect();
                if found.is_empty() { Err(LoadFailure::Compacted) } else { Ok(Loaded::Entries(found)) }
            }
            LoadRange::Keys { range } => {
                let newest: std::collections::BTreeMap<u64, Bytes> =
                    self.written().filter(|(key, _)| range.contains(key)).collect();
                Ok(Loaded::Keys(newest.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()))
            }
        }
    }

    /// The journal's records, oldest first.
    pub(crate) fn written(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        self.journal.iter().filter_map(|record| match record {
            Record::Written { key, bytes } => Some((*key, bytes.clone())),
            Record::Mark { .. } => None,
        })
    }
}

fn offset(from: LogIndex, to: LogIndex) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).expect("a small log")
}
