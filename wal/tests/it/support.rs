//! Short helpers for the tests.

use std::sync::mpsc;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, LogTime,
    NodeId, Operation, Term,
};
use quorate_wal::disk::{Disk, MemoryDisk};
use quorate_wal::{Completions, LogSettings, OpenError, OpeningReport, StreamId, Wal};

pub(crate) const A: StreamId = StreamId(1);
pub(crate) const B: StreamId = StreamId(2);

pub(crate) fn identity() -> Identity {
    Identity { cluster: ClusterId(0xc1), node: NodeId(3), incarnation: Incarnation(0x1c) }
}

/// Settings with small segments, so that little data makes many.
pub(crate) fn small() -> LogSettings {
    LogSettings {
        segment_bytes: 64 << 10,
        batch_bytes_max: 32 << 10,
        pinned_bytes_max: 256 << 10,
        rewrite_bytes_max: 16 << 10,
        cut_bytes_max: 16 << 10,
        cut_files_max: 3,
        ..LogSettings::default()
    }
}

pub(crate) fn open(disk: &MemoryDisk) -> Wal<MemoryDisk> {
    try_open(disk).expect("a log that opens").0
}

pub(crate) fn try_open(disk: &MemoryDisk) -> Result<(Wal<MemoryDisk>, OpeningReport), OpenError> {
    Wal::open(disk.clone(), small(), identity())
}

pub(crate) fn entry(payload: &[u8]) -> Entry {
    Entry::internal(EntryKind::Command, LogTime(7), Bytes::copy_from_slice(payload))
}

/// Entries whose payload contains their index.
pub(crate) fn append(index: u64, term: u64, count: u64) -> Operation {
    append_sized(index, term, count, 0)
}

/// As [`append`], each entry with this number of bytes more.
pub(crate) fn append_sized(index: u64, term: u64, count: u64, bytes: usize) -> Operation {
    let entries = (index..index + count).map(|index| entry(&payload(index, term, bytes))).collect();
    Operation::Append { index: LogIndex(index), term: Term(term), entries }
}

pub(crate) fn payload(index: u64, term: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{index}@{term}").into_bytes();
    payload.resize(payload.len() + bytes, b'.');
    payload
}

pub(crate) fn state(text: &str) -> Operation {
    state_with_hint(text, 0)
}

pub(crate) fn state_with_hint(text: &str, hint: u64) -> Operation {
    Operation::PutState { bytes: Bytes::copy_from_slice(text.as_bytes()), commit_hint: LogIndex(hint) }
}

pub(crate) fn journal(key: u64, text: &str) -> Operation {
    Operation::Journal { key, bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

pub(crate) fn truncate(index: u64) -> Operation {
    Operation::TruncateFrom { index: LogIndex(index) }
}

pub(crate) fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

pub(crate) fn compact(index: u64, term: u64) -> Operation {
    Operation::CompactTo { index: LogIndex(index), term: Term(term) }
}

pub(crate) fn reset(index: u64, term: u64) -> Operation {
    Operation::Reset { index: LogIndex(index), term: Term(term) }
}

/// Writes and syncs; nothing may be refused.
pub(crate) fn put<D: Disk>(wal: &mut Wal<D>, stream: StreamId, operations: Vec<Operation>) {
    write(wal, stream, operations);
    wal.sync().expect("a sync that works");
    wal.settle(false).expect("a disk that works");
}

/// Writes; nothing may be refused.
pub(crate) fn write<D: Disk>(wal: &mut Wal<D>, stream: StreamId, operations: Vec<Operation>) {
    let written = wal.write(&[(stream, operations)]).expect("a write that works");
    assert_eq!(written.refused, [], "nothing is refused");
}

/// The entries from `first` on as text.
pub(crate) fn texts<D: Disk>(wal: &Wal<D>, stream: StreamId, first: u64) -> Result<Vec<String>, LoadFailure> {
    let range = LoadRange::Entries { range: LogIndex(first)..LogIndex(u64::MAX), bytes_max: usize::MAX };
    match wal.reader().load(stream, &range)? {
        Loaded::Entries(entries) => {
            for (number, (index, _, _)) in entries.iter().enumerate() {
                assert_eq!(index.0, first + number as u64, "entries follow each other");
            }
            Ok(entries.iter().map(|(_, _, entry)| String::from_utf8_lossy(&entry.payload).into_owned()).collect())
        }
        Loaded::Keys(_) => panic!("entries were asked for"),
    }
}

/// All journal records as text.
pub(crate) fn keys<D: Disk>(wal: &Wal<D>, stream: StreamId) -> Vec<(u64, String)> {
    match wal.reader().load(stream, &LoadRange::Keys { range: 0..u64::MAX }).expect("readable keys") {
        Loaded::Keys(keys) => {
            keys.into_iter().map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes).into_owned())).collect()
        }
        Loaded::Entries(_) => panic!("keys were asked for"),
    }
}

pub(crate) fn state_of<D: Disk>(wal: &Wal<D>, stream: StreamId) -> Option<String> {
    let state = wal.recover(stream, 0).expect("a readable stream").state?;
    Some(String::from_utf8_lossy(&state).into_owned())
}

/// The path of a segment.
pub(crate) fn segment(id: u64) -> String {
    format!("log/segment-{id:016x}")
}

/// The names in the log's directory that begin with `prefix`.
pub(crate) fn names(disk: &MemoryDisk, prefix: &str) -> Vec<String> {
    let names = disk.list("log".as_ref()).expect("the log's directory");
    names.into_iter().filter(|name| name.starts_with(prefix)).collect()
}

/// A callback, and the receiver of its arguments.
pub(crate) fn completions() -> (impl Fn(Completions) + Send + Sync + 'static, mpsc::Receiver<Completions>) {
    let (sender, receiver) = mpsc::channel();
    (move |completions| drop(sender.send(completions)), receiver)
}

/// Number of cases of a random test: `usual`, or the number in `QUORATE_WAL_CASES`.
pub(crate) fn cases(usual: u64) -> u64 {
    std::env::var("QUORATE_WAL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

/// Offsets of the batches of a new segment: pages that begin with a record that opens a batch.
pub(crate) fn batch_starts(segment: &[u8]) -> Vec<usize> {
    (4096..segment.len()).step_by(4096).filter(|page| segment[*page] == 8 && segment[page + 4] == 1).collect()
}
