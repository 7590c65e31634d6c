//! The expected content of a log, kept in memory, and the states that a crash may leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::{Entry, LoadFailure, LoadRange, Loaded, LogIndex, Operation, Term};
use quorate_wal::disk::Disk;
use quorate_wal::{StreamId, Wal};

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelStream {
    pub(crate) base: (u64, u64),
    /// Term and payload, from base + 1 on.
    pub(crate) entries: Vec<(u64, Bytes)>,
    pub(crate) state: Option<Bytes>,
    pub(crate) hint: u64,
    /// For each key the time of the write, and the record.
    pub(crate) journal: BTreeMap<u64, (u64, Bytes)>,
    pub(crate) checkpoint: Option<u64>,
    pub(crate) pending: BTreeMap<u64, u64>,
}

impl ModelStream {
    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(crate) fn term_at(&self, index: u64) -> u64 {
        if index == self.base.0 { self.base.1 } else { self.entries[at(index - self.base.0 - 1)].0 }
    }

    fn apply(&mut self, operation: &Operation, clock: u64) {
        match operation {
            Operation::Append { index, term, entries } => {
                assert_eq!(index.0, self.last() + 1);
                self.entries.extend(entries.iter().map(|entry| (term.0, entry.payload.clone())));
            }
            Operation::TruncateFrom { index } => self.entries.truncate(at(index.0 - self.base.0 - 1)),
            Operation::CompactTo { index, term } if index.0 > self.base.0 => {
                self.entries.drain(..at(index.0 - self.base.0));
                self.base = (index.0, term.0);
            }
            Operation::CompactTo { .. } => {}
            Operation::Reset { index, term } => {
                self.entries.clear();
                self.base = (index.0, term.0);
                self.hint = self.hint.max(index.0);
            }
            Operation::Journal { key, bytes } if bytes.is_empty() => {
                self.journal.remove(key);
            }
            Operation::Journal { key, bytes } => {
                self.journal.insert(*key, (clock, bytes.clone()));
            }
            Operation::CheckpointBegin { id } => {
                self.pending.insert(*id, clock);
            }
            Operation::CheckpointDone { id } => {
                let mark = self.pending.remove(id).expect("begun");
                self.pending.retain(|_, begun| *begun > mark);
                self.journal.retain(|_, (written, _)| *written > mark);
                self.checkpoint = Some(*id);
            }
            Operation::PutState { bytes, commit_hint } => {
                self.state = Some(bytes.clone());
                self.hint = self.hint.max(commit_hint.0);
            }
            Operation::CommitHint { index } => self.hint = self.hint.max(index.0),
        }
    }
}

/// The whole content of a log.
pub(crate) type Streams = BTreeMap<StreamId, ModelStream>;

/// The whole log, and every state it went through since it was last durable.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) streams: Streams,
    /// The states that may be found after a crash: the durable state and every later one, oldest first.
    possible: Window,
    /// All states since the log was opened. Opening leaves proof of the state that it found.
    since_open: Window,
    /// The place in `possible` of the last state that is in the files, durable or not.
    in_files: usize,
    pub(crate) clock: u64,
}

/// A period of the log's life.
#[derive(Clone, Debug, Default)]
struct Window {
    /// The states it went through, oldest first.
    states: Vec<Arc<Streams>>,
    /// Every state record written meanwhile: each may be adopted alone.
    records: Vec<(StreamId, Bytes)>,
}

impl Window {
    fn from(streams: &Streams) -> Self {
        Self { states: vec![Arc::new(streams.clone())], records: Vec::new() }
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        let streams = Streams::new();
        let window = Window::from(&streams);
        Self { streams, possible: window.clone(), since_open: window, in_files: 0, clock: 0 }
    }

    pub(crate) fn stream(&self, stream: StreamId) -> ModelStream {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Notes that a submission was written, or was being written when the disk failed.
    pub(crate) fn write(&mut self, stream: StreamId, operations: &[Operation]) {
        let known = self.streams.entry(stream).or_default();
        for operation in operations {
            self.clock += 1;
            known.apply(operation, self.clock);
            if let Operation::PutState { bytes, .. } = operation {
                self.possible.records.push((stream, bytes.clone()));
                self.since_open.records.push((stream, bytes.clone()));
            }
        }
        self.note();
    }

    pub(crate) fn delete(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        self.note();
    }

    fn note(&mut self) {
        let streams = Arc::new(self.streams.clone());
        self.possible.states.push(streams.clone());
        self.since_open.states.push(streams);
    }

    /// Notes that the last write is in the files, whole.
    pub(crate) fn written(&mut self) {
        self.in_files = self.possible.states.len() - 1;
    }

    /// Notes that everything written is durable.
    pub(crate) fn sync(&mut self) {
        self.possible = Window::from(&self.streams);
        self.in_files = 0;
    }

    /// Goes on from the content of a log, which must be one of the possible states; else returns a description of it.
    pub(crate) fn adopt<D: Disk>(&mut self, wal: &Wal<D>) -> Result<(), String> {
        let window = self.possible.clone();
        self.adopt_one_of(wal, &window.states, &window.records)
    }

    /// As [`Model::adopt`], but nothing that was in the files may be missing.
    pub(crate) fn adopt_all<D: Disk>(&mut self, wal: &Wal<D>) -> Result<(), String> {
        let window = self.possible.clone();
        self.adopt_one_of(wal, &window.states[self.in_files..], &window.records)
    }

    /// As [`Model::adopt`], but everything since the log was opened may be missing from some point on.
    pub(crate) fn adopt_any_since_open<D: Disk>(&mut self, wal: &Wal<D>) -> Result<(), String> {
        let window = self.since_open.clone();
        self.adopt_one_of(wal, &window.states, &window.records)
    }

    fn adopt_one_of<D: Disk>(
        &mut self,
        wal: &Wal<D>,
        candidates: &[Arc<Streams>],
        records: &[(StreamId, Bytes)],
    ) -> Result<(), String> {
        let found = read(wal)?;
        let Some(matching) = candidates.iter().find(|candidate| matches(candidate, &found, records)) else {
            let held: Vec<_> = candidates.iter().map(|streams| summary(streams)).collect();
            return Err(format!("the log holds {:?}\nnone of {held:#?}", summary(&found)));
        };
        // Clocks and pending checkpoints are not readable: they come from the model.
        let mut streams = Streams::clone(matching);
        for (stream, found) in found {
            let known = streams.entry(stream).or_default();
            known.state = found.state;
        }
        self.streams = streams;
        self.sync();
        self.since_open = self.possible.clone();
        Ok(())
    }

    /// Reads everything, which must be the data that was written last.
    pub(crate) fn read_back<D: Disk>(&self, wal: &Wal<D>) -> Result<(), String> {
        let found = read(wal)?;
        if matches(&self.streams, &found, &[]) {
            return Ok(());
        }
        Err(format!("the log holds {:?}\nand not {:#?}", summary(&found), summary(&self.streams)))
    }

    /// Reads each entry and each key by itself. Those that can be read must be the data that was written last. Returns
    /// their number, and the reasons for the others.
    pub(crate) fn read_back_each<D: Disk>(&self, wal: &Wal<D>) -> Result<ReadBack, String> {
        let (mut read_back, reader) = (ReadBack::default(), wal.reader());
        for (stream, known) in &self.streams {
            for (position, (term, payload)) in (known.base.0 + 1..).zip(&known.entries) {
                let range = LogIndex(position)..LogIndex(position + 1);
                let loaded = reader.load(*stream, &LoadRange::Entries { range, bytes_max: usize::MAX });
                let is_right = match &loaded {
                    Ok(Loaded::Entries(read)) => {
                        let is_right = |(index, read_term, entry): &(LogIndex, _, Entry)| {
                            *index == LogIndex(position) && *read_term == Term(*term) && entry.payload == *payload
                        };
                        read.len() == 1 && read.iter().all(is_right)
                    }
                    _ => false,
                };
                if !read_back.counts(is_right, &loaded) {
                    return Err(format!("{stream}: {position} is read as {loaded:?}"));
                }
            }
            for (key, (_, bytes)) in &known.journal {
                let loaded = reader.load(*stream, &LoadRange::Keys { range: *key..key + 1 });
                let is_right = matches!(&loaded, Ok(Loaded::Keys(read)) if *read == [(*key, bytes.clone())]);
                if !read_back.counts(is_right, &loaded) {
                    return Err(format!("{stream}: key {key} is read as {loaded:?}"));
                }
            }
        }
        Ok(read_back)
    }
}

/// The result of reading everything piece by piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadBack {
    /// Number of reads that returned the written data.
    pub(crate) right: u64,
    /// Number of reads that failed because of damage.
    pub(crate) damaged: u64,
    /// Number of reads that failed with the disk.
    pub(crate) failed: u64,
}

impl ReadBack {
    /// Counts one answer. Returns false if it is not allowed.
    fn counts(&mut self, is_right: bool, loaded: &Result<Loaded, LoadFailure>) -> bool {
        let count = match loaded {
            Ok(_) if is_right => &mut self.right,
            Err(LoadFailure::Damaged) => &mut self.damaged,
            Err(LoadFailure::Io) => &mut self.failed,
            _ => return false,
        };
        *count += 1;
        true
    }
}

/// Reads the whole content of a log.
fn read<D: Disk>(wal: &Wal<D>) -> Result<Streams, String> {
    let mut streams = Streams::new();
    for stream in wal.streams() {
        let recovery = wal.recover(stream, usize::MAX).map_err(|error| format!("{stream}: {error}"))?;
        let mut found = ModelStream {
            base: (recovery.base.index.0, recovery.base.term.0),
            state: recovery.state.clone(),
            hint: recovery.commit_hint.0,
            checkpoint: recovery.checkpoint,
            ..ModelStream::default()
        };
        let range = LoadRange::Entries { range: LogIndex(found.base.0 + 1)..LogIndex(u64::MAX), bytes_max: usize::MAX };
        match wal.reader().load(stream, &range) {
            Ok(Loaded::Entries(entries)) => {
                for (index, term, entry) in entries {
                    if index.0 != found.last() + 1 || recovery.term_at(index) != Some(term) {
                        return Err(format!("{stream}: {index} of {term} does not fit {:?}", recovery.runs));
                    }
                    found.entries.push((term.0, entry.payload));
                }
            }
            Err(LoadFailure::Compacted) => {}
            other => return Err(format!("{stream}: {other:?}")),
        }
        if recovery.last.0 != found.last() || recovery.tail.len() != found.entries.len() {
            return Err(format!("{stream}: {} entries to {}", recovery.tail.len(), recovery.last));
        }
        for (at, record) in recovery.journal.into_iter().flatten().enumerate() {
            let (key, bytes) = record.map_err(|error| format!("{stream}: {error}"))?;
            found.journal.insert(key, (at as u64, bytes));
        }
        streams.insert(stream, found);
    }
    Ok(streams)
}

/// Returns true if the content of a log matches. State records may be newer than the rest.
fn matches(candidate: &Streams, found: &Streams, states: &[(StreamId, Bytes)]) -> bool {
    let empty = ModelStream::default();
    let names: std::collections::BTreeSet<_> = candidate.keys().chain(found.keys()).collect();
    names.into_iter().all(|stream| {
        let wanted = candidate.get(stream).unwrap_or(&empty);
        let held = found.get(stream).unwrap_or(&empty);
        let is_adopted = |state: &Bytes| states.iter().any(|(whose, written)| whose == stream && written == state);
        let mut order: Vec<_> = wanted.journal.iter().map(|(key, (clock, _))| (*clock, *key)).collect();
        order.sort_unstable();
        let mut held_order: Vec<_> = held.journal.iter().map(|(key, (at, _))| (*at, *key)).collect();
        held_order.sort_unstable();
        wanted.base == held.base
            && wanted.entries == held.entries
            && wanted.checkpoint == held.checkpoint
            && held.hint <= wanted.hint
            && (held.state == wanted.state || held.state.as_ref().is_some_and(is_adopted))
            && order.iter().map(|(_, key)| key).eq(held_order.iter().map(|(_, key)| key))
            && order.iter().all(|(_, key)| wanted.journal[key].1 == held.journal[key].1)
    })
}

fn summary(streams: &Streams) -> Vec<String> {
    let texts = streams.iter().map(|(stream, held)| {
        let keys: Vec<_> = held.journal.keys().collect();
        let terms: Vec<_> = held.entries.iter().map(|(term, _)| term).collect();
        format!(
            "{stream}: {:?} to {} {terms:?}, state {:?}, hint {}, keys {keys:?}, checkpoint {:?}",
            held.base,
            held.last(),
            held.state,
            held.hint,
            held.checkpoint,
        )
    });
    texts.collect()
}

fn at(count: u64) -> usize {
    usize::try_from(count).expect("small")
}
