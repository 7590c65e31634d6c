//! The required content of a node's log: everything that was acknowledged, and the first part of what was written after
//! it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_protocol::{LogIndex, LogPosition, Operation, Recovery, Term};
use quorate_runtime::node::StreamId;
use quorate_wal::Wal;
use quorate_wal::disk::MemoryDisk;

/// The operations given to a log, kept beside it in the simplest form, so that the log can be compared with them.
#[derive(Clone, Debug, Default)]
pub struct ReferenceLog {
    /// The durable content, by stream.
    streams: BTreeMap<StreamId, Kept>,
    /// Writes since then, in order. A crash keeps the first ones, each completely or not at all.
    written: VecDeque<(StreamId, Vec<Operation>)>,
}

/// Reason why a log that was just opened is not as it must be.
pub(super) enum Mismatch {
    /// The log reports that it cannot read something.
    Unreadable(String),
    /// Acknowledged content is missing, or there is content that was never written.
    Different(String),
}

/// Content of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    state: Option<Bytes>,
    commit_hint: LogIndex,
    base: LogPosition,
    /// The term and the checksum of each entry after the base.
    entries: VecDeque<(Term, u32)>,
    /// The newest record of each key, and the time at which it was written.
    journal: BTreeMap<u64, (u64, Bytes)>,
    checkpoint: Option<(u64, u64)>,
    /// Checkpoints under way, and the time at which each was begun.
    begun: BTreeMap<u64, u64>,
    /// A counter of operations, which serves as the time of a write.
    clock: u64,
}

impl ReferenceLog {
    /// The durable content of a stream.
    #[must_use]
    pub fn durable(&self, stream: StreamId) -> Option<&Kept> {
        self.streams.get(&stream)
    }

    /// Notes that operations were given to the log.
    pub(super) fn wrote(&mut self, stream: StreamId, operations: Vec<Operation>) {
        self.written.push_back((stream, operations));
    }

    /// Notes that all operations given to the log are durable.
    pub(super) fn synced(&mut self) {
        for (stream, operations) in self.written.drain(..) {
            self.streams.entry(stream).or_default().write(&operations);
        }
    }

    /// Compares a log that was just opened with its required content, and adopts its content from then on.
    ///
    /// # Errors
    /// When they differ.
    pub(super) fn verify(&mut self, log: &Wal<MemoryDisk>, streams: &[StreamId]) -> Result<(), Mismatch> {
        let found = streams.iter().map(|stream| Found::read(log, *stream)).collect::<Result<Vec<_>, _>>();
        self.adopt(&found.map_err(Mismatch::Unreadable)?).map_err(Mismatch::Different)
    }

    fn adopt(&mut self, found: &[Found]) -> Result<(), String> {
        let mut why_not = None;
        while let Some(difference) = self.difference(found) {
            let first = why_not.get_or_insert(difference);
            let Some((stream, operations)) = self.written.pop_front() else { return Err(first.clone()) };
            self.streams.entry(stream).or_default().write(&operations);
        }
        self.adopt_states(found)
    }

    fn difference(&self, found: &[Found]) -> Option<String> {
        found.iter().find_map(|found| {
            let difference = match self.streams.get(&found.stream) {
                Some(kept) => kept.difference(found),
                None => Kept::default().difference(found),
            };
            difference.map(|difference| format!("stream {}: {difference}", found.stream))
        })
    }

    /// A state record may be newer than the rest: it is safe to adopt alone.
    fn adopt_states(&mut self, found: &[Found]) -> Result<(), String> {
        for Found { stream, recovery, .. } in found {
            let kept = self.streams.entry(*stream).or_default();
            let later = self.written.iter().filter(|(of, _)| of == stream).flat_map(|(_, operations)| operations);
            let mut states = later.filter_map(|operation| match operation {
                Operation::PutState { bytes, .. } => Some(bytes),
                _ => None,
            });
            if recovery.state != kept.state && !states.any(|state| recovery.state.as_ref() == Some(state)) {
                return Err(format!("stream {stream}: the state record is none that was written last"));
            }
            kept.state.clone_from(&recovery.state);
        }
        self.written.clear();
        Ok(())
    }
}

/// Content of one stream in a log that was just opened.
struct Found {
    stream: StreamId,
    recovery: Recovery,
    journal: Vec<(u64, Bytes)>,
}

impl Found {
    fn read(log: &Wal<MemoryDisk>, stream: StreamId) -> Result<Self, String> {
        let read = log.recover(stream, usize::MAX).and_then(|mut recovery| {
            let journal = recovery.journal.take().into_iter().flatten().collect::<Result<_, _>>()?;
            Ok(Self { stream, recovery, journal })
        });
        read.map_err(|error| format!("stream {stream}: {error}"))
    }
}

impl Kept {
    /// Index of the entry before the first one.
    #[must_use]
    pub fn base(&self) -> LogIndex {
        self.base.index
    }

    /// Index of the last entry; equal to the base if there are no entries.
    #[must_use]
    pub fn last(&self) -> LogIndex {
        self.base.index.plus(self.entries.len() as u64)
    }

    /// The term of the entry at `index`, if it is there or is the base.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.at(index).map(|(term, _)| term) }
    }

    fn at(&self, index: LogIndex) -> Option<(Term, u32)> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).copied()
    }

    fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.clock += 1;
            match operation {
                Operation::Append { index, term, entries } => {
                    self.truncate(*index);
                    self.entries.extend(entries.iter().map(|entry| (*term, entry.header.checksum)));
                }
                Operation::TruncateFrom { index } => self.truncate(*index),
                Operation::CompactTo { index, term } => self.rebase(*index, *term),
                Operation::Reset { index, term } => {
                    self.entries.clear();
                    self.base = LogPosition { index: *index, term: *term };
                    self.commit_hint = self.commit_hint.max(*index);
                }
                Operation::Journal { key, bytes } if bytes.is_empty() => {
                    self.journal.remove(key);
                }
                Operation::Journal { key, bytes } => {
                    self.journal.insert(*key, (self.clock, bytes.clone()));
                }
                Operation::CheckpointBegin { id } => {
                    self.begun.insert(*id, self.clock);
                }
                Operation::CheckpointDone { id } => {
                    let Some(mark) = self.begun.remove(id) else { continue };
                    self.begun.retain(|_, begun| *begun > mark);
                    self.checkpoint = Some((*id, mark));
                    self.journal.retain(|_, (written, _)| *written > mark);
                }
                Operation::PutState { bytes, commit_hint } => {
                    self.state = Some(bytes.clone());
                    self.commit_hint = self.commit_hint.max(*commit_hint);
                }
                Operation::CommitHint { index } => self.commit_hint = self.commit_hint.max(*index),
            }
        }
    }

    fn truncate(&mut self, from: LogIndex) {
        let kept = from.0.saturating_sub(self.base.index.0 + 1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    fn rebase(&mut self, index: LogIndex, term: Term) {
        let gone = index.0.saturating_sub(self.base.index.0);
        let gone = usize::try_from(gone).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.drain(..gone);
        if index > self.base.index {
            self.base = LogPosition { index, term };
        }
    }

    /// The difference to a recovered stream, without its state record.
    fn difference(&self, found: &Found) -> Option<String> {
        let Found { recovery: found, journal, .. } = found;
        if found.base != self.base || found.last != self.last() {
            let (base, last) = (self.base.index, self.last());
            return Some(format!(
                "entries {base} to {last} were kept, {} to {} are there",
                found.base.index, found.last
            ));
        }
        for (index, entry) in &found.tail {
            if self.at(*index) != found.term_at(*index).map(|term| (term, entry.header.checksum)) {
                return Some(format!("entry {index} is another than was kept"));
            }
        }
        if found.tail.len() != self.entries.len() {
            return Some(format!("{} of {} entries can be read", found.tail.len(), self.entries.len()));
        }
        if found.checkpoint != self.checkpoint.map(|(id, _)| id) {
            return Some(format!("checkpoint {:?} is there, {:?} was kept", found.checkpoint, self.checkpoint));
        }
        let mut kept: Vec<_> = self.journal.iter().map(|(key, (written, bytes))| (*written, *key, bytes)).collect();
        kept.sort_unstable_by_key(|(written, ..)| *written);
        if !kept.iter().map(|(_, key, bytes)| (key, *bytes)).eq(journal.iter().map(|(key, bytes)| (key, bytes))) {
            return Some(format!("{} journal records are there, and others were kept", journal.len()));
        }
        None
    }
}
