//! Changes of a log's files: blind ones, and ones that follow the format, with checksums that match afterwards.

use proptest::prelude::*;
use quorate_wal::disk::{Crash, Disk, MemoryDisk};

use crate::craft::{PAGE, put_32, put_64, records, reseal_log};
use crate::support::*;

/// One change. Numbers choose among the existing files, batches and records.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    /// One bit.
    Flip { file: usize, at: usize, bit: u8 },
    /// A run of one byte.
    Fill { file: usize, at: usize, length: usize, byte: u8 },
    /// The file ends early.
    Truncate { file: usize, at: usize },
    /// The file goes on.
    Extend { file: usize, length: usize, byte: u8 },
    /// The file is something else.
    Replace { file: usize, bytes: Vec<u8> },
    /// A part of another file, or of this one.
    Splice { from: usize, from_at: usize, to: usize, to_at: usize, length: usize },
    /// A field of a record.
    Record { segment: usize, batch: usize, record: usize, field: usize, value: u64 },
    /// A field of a segment's header.
    Header { segment: usize, field: usize, value: u64 },
    /// Eight bytes of a checkpoint.
    Checkpoint { copy: usize, at: usize, value: u64 },
    /// The file is gone.
    Remove { file: usize },
    /// There is one more file.
    Add { name: usize, bytes: Vec<u8> },
    /// A file has the name of another.
    Rename { file: usize, name: usize },
}

/// Some changes, and true if checksums are made to match afterwards.
pub(crate) fn mutations() -> impl Strategy<Value = (Vec<Mutation>, bool)> {
    (prop::collection::vec(mutation(), 1..5), any::<bool>())
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let some = || any::<usize>();
    let bytes = || prop::collection::vec(any::<u8>(), 0..9000);
    prop_oneof![
        2 => (some(), some(), 0..8_u8).prop_map(|(file, at, bit)| Mutation::Flip { file, at, bit }),
        1 => (some(), some(), 1..9000_usize, any::<u8>())
            .prop_map(|(file, at, length, byte)| Mutation::Fill { file, at, length, byte }),
        1 => (some(), some()).prop_map(|(file, at)| Mutation::Truncate { file, at }),
        1 => (some(), 1..20_000_usize, any::<u8>()).prop_map(|(file, length, byte)| Mutation::Extend { file, length, byte }),
        1 => (some(), bytes()).prop_map(|(file, bytes)| Mutation::Replace { file, bytes }),
        2 => (some(), some(), some(), some(), 1..9000_usize).prop_map(|(from, from_at, to, to_at, length)| {
            Mutation::Splice { from, from_at, to, to_at, length }
        }),
        8 => (some(), some(), some(), some(), value()).prop_map(|(segment, batch, record, field, value)| {
            Mutation::Record { segment, batch, record, field, value }
        }),
        2 => (some(), some(), value()).prop_map(|(segment, field, value)| Mutation::Header { segment, field, value }),
        3 => (some(), some(), value()).prop_map(|(copy, at, value)| Mutation::Checkpoint { copy, at, value }),
        1 => some().prop_map(|file| Mutation::Remove { file }),
        1 => (some(), bytes()).prop_map(|(name, bytes)| Mutation::Add { name, bytes }),
        1 => (some(), some()).prop_map(|(file, name)| Mutation::Rename { file, name }),
    ]
}

/// Extreme numbers, at which code may break.
fn value() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 2,
        1 << 63,
        1 << 62,
        u64::from(u32::MAX),
        u64::from(u32::MAX) + 1,
        1 << 31,
        65_536,
        4096,
    ]);
    prop_oneof![0..20_u64, edges, any::<u64>()]
}

/// Logs of every kind: long, moved, torn, with files of all names.
pub(crate) fn corpus() -> Vec<MemoryDisk> {
    let long = MemoryDisk::new();
    let mut wal = open(&long);
    for index in 1..40 {
        put(&mut wal, A, vec![append_sized(index, 1 + index / 10, 1, 3000)]);
        put(&mut wal, B, vec![journal(index % 5, "text"), state(&format!("t{index}"))]);
    }
    wal.close().unwrap();

    let mixed = MemoryDisk::new();
    let mut wal = open(&mixed);
    put(&mut wal, A, vec![append(1, 1, 6), state_with_hint("t1", 2), truncate(5), append(5, 2, 3), compact(2, 1)]);
    let begin = quorate_protocol::Operation::CheckpointBegin { id: 1 };
    let done = quorate_protocol::Operation::CheckpointDone { id: 1 };
    put(&mut wal, B, vec![journal(1, "one"), begin, journal(2, "two"), done, reset(9, 3), append(10, 3, 2)]);
    put(&mut wal, quorate_wal::StreamId(7), vec![append(1, 1, 1)]);
    wal.delete_stream(quorate_wal::StreamId(7)).unwrap();
    wal.sync().unwrap();
    let torn = mixed.fork();
    wal.close().unwrap();
    torn.crash(Crash::KeepAll);
    let mut wal = open(&torn);
    write(&mut wal, A, vec![append_sized(8, 4, 3, 1500), state("t4")]);
    drop(wal);
    torn.crash(Crash::KeepAll);
    let page = *batch_starts(&torn.content(segment(2)).unwrap()).last().unwrap();
    torn.flip(segment(2), page as u64 + 700, 3);

    let moved = MemoryDisk::new();
    let mut wal = open(&moved);
    write(&mut wal, B, vec![append(1, 1, 3), journal(1, "one"), state("kept")]);
    for index in 1..40 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000), compact(index, 1)]);
    }
    assert!(wal.metrics().relocated > 0);
    wal.close().unwrap();
    moved.replace("log/cut-0000000000000001-00001000", &[1; 300]);
    vec![long, mixed, torn, moved]
}

/// Applies the changes to a copy.
pub(crate) fn mutate(disk: &MemoryDisk, mutations: &[Mutation], fits: bool) -> MemoryDisk {
    let disk = disk.fork();
    disk.crash(Crash::KeepAll);
    for mutation in mutations {
        change(&disk, mutation);
    }
    if fits {
        reseal_log(&disk);
    }
    disk
}

fn change(disk: &MemoryDisk, mutation: &Mutation) {
    let path = |number: usize| {
        let files = names(disk, "");
        format!("log/{}", files[number % files.len()])
    };
    let content = |path: &str| disk.content(path).expect("just listed");
    match mutation {
        Mutation::Flip { file, at, bit } => {
            let path = path(*file);
            let mut bytes = content(&path);
            if let Some(at) = at.checked_rem(bytes.len()) {
                bytes[at] ^= 1 << bit;
            }
            disk.replace(path, &bytes);
        }
        Mutation::Fill { file, at, length, byte } => {
            let path = path(*file);
            let mut bytes = content(&path);
            let at = at.checked_rem(bytes.len()).unwrap_or(0);
            let end = bytes.len().min(at + length);
            bytes[at..end].fill(*byte);
            disk.replace(path, &bytes);
        }
        Mutation::Truncate { file, at } => {
            let path = path(*file);
            let bytes = content(&path);
            disk.replace(path, &bytes[..at.checked_rem(bytes.len()).unwrap_or(0)]);
        }
        Mutation::Extend { file, length, byte } => {
            let path = path(*file);
            let mut bytes = content(&path);
            bytes.resize(bytes.len() + length, *byte);
            disk.replace(path, &bytes);
        }
        Mutation::Replace { file, bytes } => disk.replace(path(*file), bytes),
        Mutation::Splice { from, from_at, to, to_at, length } => {
            let (source, path) = (content(&path(*from)), path(*to));
            let mut bytes = content(&path);
            let from_at = from_at.checked_rem(source.len()).unwrap_or(0);
            let to_at = to_at.checked_rem(bytes.len()).unwrap_or(0);
            let length = (*length).min(source.len() - from_at).min(bytes.len() - to_at);
            bytes[to_at..to_at + length].copy_from_slice(&source[from_at..from_at + length]);
            disk.replace(path, &bytes);
        }
        Mutation::Record { segment, batch, record, field, value } => {
            with_segment(disk, *segment, |bytes| change_record(bytes, *batch, *record, *field, *value));
        }
        Mutation::Header { segment, field, value } => with_segment(disk, *segment, |bytes| {
            if bytes.len() >= PAGE {
                put_64(bytes, 8 * (1 + field % 10), *value);
            }
        }),
        Mutation::Checkpoint { copy, at, value } => {
            let path = ["log/checkpoint-a", "log/checkpoint-b"][copy % 2];
            let Some(mut bytes) = disk.content(path).filter(|bytes| bytes.len() >= 40) else { return };
            let at = at % 400.min(bytes.len() - 8);
            put_64(&mut bytes, at, *value);
            disk.replace(path, &bytes);
        }
        Mutation::Remove { file } => {
            if names(disk, "").len() > 1 {
                disk.remove(path(*file).as_ref()).expect("it is there");
            }
        }
        Mutation::Add { name, bytes } => disk.replace(format!("log/{}", NAMES[name % NAMES.len()]), bytes),
        Mutation::Rename { file, name } => {
            let to = format!("log/{}", NAMES[name % NAMES.len()]);
            disk.rename(path(*file).as_ref(), to.as_ref()).expect("it is there");
        }
    }
}

fn with_segment(disk: &MemoryDisk, number: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let segments = names(disk, "segment-");
    let Some(place) = number.checked_rem(segments.len()) else { return };
    let path = format!("log/{}", segments[place]);
    let mut bytes = disk.content(&path).expect("just listed");
    change(&mut bytes);
    disk.replace(path, &bytes);
}

fn change_record(bytes: &mut [u8], batch: usize, record: usize, field: usize, value: u64) {
    let starts = batch_starts(bytes);
    let Some(start) = batch.checked_rem(starts.len()).map(|place| starts[place]) else { return };
    let found = records(bytes, start);
    let Some(at) = record.checked_rem(found.len()).map(|place| found[place]) else { return };
    let [low, kind, ..] = value.to_le_bytes();
    let low_32 = u32::from_le_bytes(value.to_le_bytes()[..4].try_into().expect("four bytes"));
    match field % 8 {
        0 => put_32(bytes, at, low_32),
        1 => bytes[at + 4] = 1 + kind % 16,
        2 => put_64(bytes, at + 8, u64::from(low % 8)),
        3 => put_64(bytes, at + 16, value),
        4 => put_64(bytes, at + 24, value),
        5 => put_64(bytes, at + 32, value),
        6 if at + 64 <= bytes.len() => put_32(bytes, at + 56, low_32),
        _ if at + 64 <= bytes.len() => put_64(bytes, at + 56, value),
        _ => {}
    }
}

const NAMES: [&str; 12] = [
    "segment-0000000000000002",
    "segment-0000000000000009",
    "segment-ffffffffffffffff",
    "segment-fffffffffffffffe",
    "spare-0000000000000000",
    "spare-ffffffffffffffff",
    "checkpoint-a",
    "checkpoint-b",
    "cut-0000000000000001-00001000",
    "spare.tmp",
    "anew.tmp",
    "notes.txt",
];
