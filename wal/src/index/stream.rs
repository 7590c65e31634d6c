//! The log's knowledge of one stream.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::EntryKind;

use super::live::Live;
use super::place::Place;
use super::points::Points;
use crate::format::{JournalCheckpoint, Record, RecordKind, StateRecord, StreamBase, StreamCheckpoint};

/// One stream: entries by position, journal records by key, its state record.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamIndex {
    /// The place before the first entry.
    pub(crate) base: StreamBase,
    pub(crate) points: Points,
    /// The mark of each run of entries, by the run's first position.
    marks: BTreeMap<u64, u64>,
    /// Positions of configuration entries.
    pub(crate) configurations: BTreeSet<u64>,
    /// The newest state record.
    pub(crate) state: Option<StateRecord>,
    pub(crate) commit_hint: u64,
    /// The newest record of each key.
    pub(crate) journal: BTreeMap<u64, JournalPlace>,
    /// The newest finished checkpoint of the journal.
    pub(crate) checkpoint: Option<JournalCheckpoint>,
    /// Checkpoints of the journal under way: the LSN of each `CheckpointBegin` by id.
    pub(crate) pending: BTreeMap<u64, u64>,
    /// Bytes that its live records take on disk, their share of padding included.
    pub(crate) bytes: u64,
}

/// The place of a journal record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalPlace {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) charge: u32,
    /// The LSN with which it was first written.
    pub(crate) origin: u64,
}

impl StreamIndex {
    /// The index of a stream with the content of a checkpoint.
    pub(super) fn adopt(known: &StreamCheckpoint) -> Self {
        Self {
            base: known.base,
            state: known.state.clone(),
            commit_hint: known.commit_hint,
            checkpoint: known.journal,
            pending: known.pending.clone(),
            ..Self::default()
        }
    }

    /// The state of the stream that a checkpoint stores.
    pub(crate) fn to_checkpoint(&self) -> StreamCheckpoint {
        StreamCheckpoint {
            state: self.state.clone(),
            commit_hint: self.commit_hint,
            base: self.base,
            journal: self.checkpoint,
            pending: self.pending.clone(),
        }
    }

    /// The last position, that of the base when there is no entry.
    pub(crate) fn last(&self) -> u64 {
        self.points.last().unwrap_or(self.base.position)
    }

    /// The mark of the entry at `position`, or of the base.
    pub(crate) fn mark_at(&self, position: u64) -> Option<u64> {
        if position == self.base.position {
            return Some(self.base.mark);
        }
        if position < self.base.position || position > self.last() {
            return None;
        }
        self.marks.range(..=position).next_back().map(|(_, mark)| *mark)
    }

    /// The first position and the mark of each run of entries with one mark.
    pub(crate) fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (first, mark) in &self.marks {
            if runs.last().is_none_or(|(_, last)| last != mark) {
                runs.push((*first, *mark));
            }
        }
        runs
    }

    /// The first position between base and last whose entry has no known place.
    pub(crate) fn hole(&self) -> Option<u64> {
        let mut next = self.base.position + 1;
        for point in self.points.iter() {
            if point.first != next {
                return Some(next);
            }
            next = point.end();
        }
        None
    }

    pub(super) fn clear(&mut self, live: &mut Live) {
        self.remove_from(0, live);
        let journal = std::mem::take(&mut self.journal);
        for place in journal.values() {
            live.subtract(place.segment, u64::from(place.charge));
        }
    }

    pub(super) fn apply(&mut self, record: &Record, payload: &[u8], place: Place, live: &mut Live) {
        let (position, mark) = (record.position, record.mark);
        match record.kind {
            RecordKind::Entry => self.add_entry(position, mark, payload, place, live),
            RecordKind::RelocatedEntry => self.move_entry(position, mark, payload, place, live),
            RecordKind::TruncateFrom => self.remove_from(position, live),
            RecordKind::CompactTo => self.rebase(position, mark, live),
            RecordKind::Reset => {
                self.remove_from(0, live);
                self.rebase(position, mark, live);
                self.commit_hint = self.commit_hint.max(position);
            }
            RecordKind::Journal => self.journal(position, payload, record.lsn, place, live),
            RecordKind::RelocatedJournal => self.journal(position, payload, mark, place, live),
            RecordKind::CheckpointBegin => {
                if self.checkpoint.is_none_or(|done| done.lsn < record.lsn) {
                    self.pending.insert(position, record.lsn);
                }
            }
            RecordKind::CheckpointDone => self.finish_checkpoint(position, live),
            RecordKind::State => {
                let written = record.original_lsn();
                if self.state.as_ref().is_none_or(|state| state.lsn < written) {
                    self.state = Some(StateRecord { lsn: written, bytes: Bytes::copy_from_slice(payload) });
                }
                self.commit_hint = self.commit_hint.max(position);
            }
            RecordKind::CommitHint => self.commit_hint = self.commit_hint.max(position),
            RecordKind::Begin | RecordKind::Commit | RecordKind::StreamDeleted => {}
        }
    }

    fn add_entry(&mut self, position: u64, mark: u64, payload: &[u8], place: Place, live: &mut Live) {
        self.remove_from(position, live);
        if position <= self.base.position {
            return;
        }
        self.points.append(position, place, live);
        if self.marks.values().next_back() != Some(&mark) {
            self.marks.insert(position, mark);
        }
        if is_configuration(payload) {
            self.configurations.insert(position);
        }
    }

    fn move_entry(&mut self, position: u64, mark: u64, payload: &[u8], place: Place, live: &mut Live) {
        if position <= self.base.position {
            return;
        }
        self.points.relocate(position, place, live);
        if self.marks.range(..=position).next_back().map(|(_, mark)| *mark) != Some(mark) {
            self.marks.insert(position, mark);
        }
        if is_configuration(payload) {
            self.configurations.insert(position);
        }
    }

    fn remove_from(&mut self, position: u64, live: &mut Live) {
        if position > self.last() {
            return;
        }
        self.points.remove_from(position, live);
        self.marks.split_off(&position);
        self.configurations.split_off(&position);
    }

    fn rebase(&mut self, position: u64, mark: u64, live: &mut Live) {
        if position < self.base.position {
            return;
        }
        let next = (self.last() > position).then(|| self.mark_at(position + 1)).flatten();
        self.points.remove_to(position, live);
        self.marks = self.marks.split_off(&(position + 1));
        if let Some(next) = next {
            self.marks.insert(position + 1, next);
        }
        self.configurations = self.configurations.split_off(&(position + 1));
        self.base = StreamBase { position, mark };
    }

    fn journal(&mut self, key: u64, payload: &[u8], origin: u64, place: Place, live: &mut Live) {
        if let Some(old) = self.journal.remove(&key) {
            live.subtract(old.segment, u64::from(old.charge));
        }
        if payload.is_empty() || self.checkpoint.is_some_and(|done| origin <= done.lsn) {
            return;
        }
        live.add(place.segment, u64::from(place.charge));
        let place = JournalPlace { segment: place.segment, offset: place.offset, charge: place.charge, origin };
        self.journal.insert(key, place);
    }

    fn finish_checkpoint(&mut self, id: u64, live: &mut Live) {
        let Some(mark) = self.pending.remove(&id) else { return };
        self.pending.retain(|_, begun| *begun > mark);
        self.checkpoint = Some(JournalCheckpoint { id, lsn: mark });
        self.journal.retain(|_, place| {
            let is_needed = place.origin > mark;
            if !is_needed {
                live.subtract(place.segment, u64::from(place.charge));
            }
            is_needed
        });
    }
}

fn is_configuration(entry: &[u8]) -> bool {
    EntryKind::peek(entry) == Some(EntryKind::Configuration)
}
