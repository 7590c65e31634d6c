//! Checks a stream's operations against its state, one after the other, before anything is written.

use std::collections::BTreeSet;

use quorate_protocol::{LogIndex, Operation, STATE_BYTES_MAX, Term};

use crate::error::{CHECKPOINTS_PENDING_MAX, SubmissionRefusal};
use crate::format::{NUMBER_MAX, StreamBase};
use crate::index::StreamIndex;

/// The state of a stream after the operations checked so far.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    base: StreamBase,
    last: u64,
    last_term: u64,
    commit_hint: u64,
    /// The runs of one term that this batch appended. Positions below the first are in the index.
    appended: Vec<Run>,
    /// The first position whose entry is no longer that of the index.
    replaced_from: u64,
    pending: BTreeSet<u64>,
    is_deleted: bool,
}

/// Consecutive entries of one term.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    term: u64,
}

impl Cursor {
    pub(super) fn new(stream: Option<&StreamIndex>, is_deleted: bool) -> Self {
        let last = stream.map_or(0, StreamIndex::last);
        Self {
            base: stream.map_or_else(StreamBase::default, |stream| stream.base),
            last,
            last_term: stream.and_then(|stream| stream.mark_at(last)).unwrap_or(0),
            commit_hint: stream.map_or(0, |stream| stream.commit_hint),
            appended: Vec::new(),
            replaced_from: u64::MAX,
            pending: stream.map(|stream| stream.pending.keys().copied().collect()).unwrap_or_default(),
            is_deleted,
        }
    }

    /// Checks one operation and applies its effect.
    pub(super) fn check(
        &mut self,
        stream: Option<&StreamIndex>,
        operation: &Operation,
    ) -> Result<(), SubmissionRefusal> {
        if self.is_deleted {
            return Err(SubmissionRefusal::Deleted);
        }
        match operation {
            Operation::Append { index, term, entries } => self.append(*index, *term, entries.len() as u64),
            Operation::TruncateFrom { index } => self.truncate(stream, index.0),
            Operation::CompactTo { index, term } => self.compact(stream, index.0, term.0),
            Operation::Reset { index, term } => self.reset(index.0, term.0),
            Operation::PutState { bytes, .. } if bytes.len() > STATE_BYTES_MAX => {
                Err(SubmissionRefusal::StateTooLarge { bytes: bytes.len() })
            }
            Operation::PutState { commit_hint: LogIndex(hint), .. }
            | Operation::CommitHint { index: LogIndex(hint) } => {
                self.commit_hint = self.commit_hint.max(*hint);
                Ok(())
            }
            Operation::CheckpointBegin { id } => {
                if self.pending.len() >= CHECKPOINTS_PENDING_MAX {
                    return Err(SubmissionRefusal::TooManyCheckpoints);
                }
                self.pending.insert(*id);
                Ok(())
            }
            Operation::CheckpointDone { id } => {
                if self.pending.remove(id) {
                    Ok(())
                } else {
                    Err(SubmissionRefusal::UnknownCheckpoint { id: *id })
                }
            }
            Operation::Journal { .. } => Ok(()),
        }
    }

    fn append(&mut self, LogIndex(index): LogIndex, Term(term): Term, count: u64) -> Result<(), SubmissionRefusal> {
        let expected = self.last.saturating_add(1);
        if index != expected || index.checked_add(count).is_none_or(|end| end > NUMBER_MAX) {
            return Err(SubmissionRefusal::Gap { expected, found: index });
        }
        if term < self.last_term {
            return Err(SubmissionRefusal::TermRegression { last: self.last_term, found: term });
        }
        if count > 0 {
            if self.appended.last().is_none_or(|run| run.term != term) {
                self.appended.push(Run { first: index, term });
            }
            self.replaced_from = self.replaced_from.min(index);
            self.last += count;
            self.last_term = term;
        }
        Ok(())
    }

    fn truncate(&mut self, stream: Option<&StreamIndex>, index: u64) -> Result<(), SubmissionRefusal> {
        if index <= self.commit_hint {
            return Err(SubmissionRefusal::Committed { position: index, commit_hint: self.commit_hint });
        }
        self.within(index, self.last.saturating_add(1).min(NUMBER_MAX))?;
        let term = self.term_at(stream, index - 1);
        self.last_term = term.expect("the position before one in the log is in it or its base");
        self.appended.retain(|run| run.first < index);
        self.replaced_from = self.replaced_from.min(index);
        self.last = index - 1;
        Ok(())
    }

    fn compact(&mut self, stream: Option<&StreamIndex>, index: u64, term: u64) -> Result<(), SubmissionRefusal> {
        if index <= self.base.position {
            return Ok(());
        }
        self.within(index, self.last)?;
        if self.term_at(stream, index) != Some(term) {
            return Err(SubmissionRefusal::TermMismatch { position: index, found: term });
        }
        self.base = StreamBase { position: index, mark: term };
        Ok(())
    }

    fn reset(&mut self, index: u64, term: u64) -> Result<(), SubmissionRefusal> {
        if index < self.base.position || index > NUMBER_MAX {
            return Err(SubmissionRefusal::OutOfRange { position: index, base: self.base.position, last: self.last });
        }
        self.base = StreamBase { position: index, mark: term };
        self.last = index;
        self.last_term = term;
        self.commit_hint = self.commit_hint.max(index);
        self.appended.clear();
        self.replaced_from = 0;
        Ok(())
    }

    fn within(&self, index: u64, last: u64) -> Result<(), SubmissionRefusal> {
        if (self.base.position + 1..=last).contains(&index) {
            return Ok(());
        }
        Err(SubmissionRefusal::OutOfRange { position: index, base: self.base.position, last: self.last })
    }

    fn term_at(&self, stream: Option<&StreamIndex>, index: u64) -> Option<u64> {
        if index == self.base.position {
            return Some(self.base.mark);
        }
        if index >= self.replaced_from {
            return self.appended.iter().rev().find(|run| run.first <= index).map(|run| run.term);
        }
        stream.and_then(|stream| stream.mark_at(index))
    }
}
