//! Extreme numbers in all arguments of a caller: the result is an error or an ordinary answer, never a panic.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, Entry, EntryKind, GroupId, LoadRange, LogIndex, LogTime, NodeId, Operation, Random,
    SnapshotMeta, Term, Ticket,
};
use quorate_wal::disk::{Crash, MemoryDisk};
use quorate_wal::{LogSettings, LogThread, SnapshotStore, StreamId, SubmissionRefusal, ThreadSettings, Wal};

use crate::support::*;

const NUMBERS: [u64; 12] =
    [0, 1, 2, 4095, 4096, 16 << 10, 64 << 10, u32::MAX as u64, 1 << 62, (1 << 62) + 1, u64::MAX - 1, u64::MAX];

#[test]
fn extreme_settings_are_refused_or_work() {
    let mut opened = 0;
    for (field, number) in (0..6).flat_map(|field| NUMBERS.map(|number| (field, number))) {
        let mut settings = small();
        match field {
            0 => settings.segment_bytes = number,
            1 => settings.batch_bytes_max = number,
            2 => settings.pinned_bytes_max = number,
            3 => settings.rewrite_bytes_max = number,
            4 => settings.cut_bytes_max = number,
            _ => settings.cut_files_max = usize::try_from(number).unwrap_or(usize::MAX),
        }
        if settings.check().is_err() {
            assert!(Wal::open(MemoryDisk::new(), settings, identity()).is_err());
            continue;
        }
        opened += 1;
        let disk = MemoryDisk::new();
        let (mut wal, _) = Wal::open(disk.clone(), settings.clone(), identity()).expect("settings that hold");
        for index in 1..40 {
            let operations = vec![append_sized(index, 1, 1, 3000), state("t")];
            wal.write(&[(A, operations.clone()), (B, operations)]).expect("a disk that works");
            wal.sync().expect("a disk that works");
            wal.write(&[(A, vec![compact(index, 1)])]).expect("a disk that works");
            wal.settle(index % 2 == 0).expect("a disk that works");
        }
        drop(wal);
        disk.crash(Crash::Seeded(number));
        Wal::open(disk, settings, identity()).expect("a crash breaks nothing");
    }
    assert!(opened > 30, "{opened}");
}

#[test]
fn a_directory_is_a_single_name() {
    for name in ["", ".", "..", "/", "a/b", "../log", "log/.."] {
        let settings = LogSettings { directory: PathBuf::from(name), ..small() };
        assert!(Wal::open(MemoryDisk::new(), settings, identity()).is_err(), "{name}");
    }
}

#[test]
fn extreme_operations_are_refused_or_written() {
    let streams = [StreamId(0), A, StreamId(u64::MAX)];
    for seed in 0..cases(400) {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        let mut random = Random::new(seed);
        for _ in 0..30 {
            let stream = streams[pick(&mut random, 3)];
            if random.between(0, 40) == 0 {
                let _ = wal.delete_stream(stream);
            }
            let operations: Vec<_> = (0..random.between(1, 4)).map(|_| operation(&mut random)).collect();
            wal.write(&[(stream, operations)]).expect("a disk that works");
            wal.sync().expect("a disk that works");
            wal.settle(true).expect("a disk that works");
            let (start, end) = (number(&mut random), number(&mut random));
            let entries = LoadRange::Entries { range: LogIndex(start)..LogIndex(end), bytes_max: usize::MAX };
            let _ = wal.reader().load(stream, &entries);
            let _ = wal.reader().load(stream, &LoadRange::Keys { range: start..end });
            let _ = wal.recover(stream, usize::try_from(end).unwrap_or(usize::MAX)).expect("readable");
        }
        drop(wal);
        disk.crash(Crash::LoseUnsynced);
        open(&disk);
    }
}

fn operation(random: &mut Random) -> Operation {
    let (index, term) = (LogIndex(number(random)), Term(number(random)));
    match random.between(0, 9) {
        0 => Operation::TruncateFrom { index },
        1 => Operation::CompactTo { index, term },
        2 => Operation::Reset { index, term },
        3 => Operation::CommitHint { index },
        4 => Operation::PutState { bytes: Bytes::from(vec![1; pick(random, 5000)]), commit_hint: index },
        5 => Operation::Journal { key: index.0, bytes: Bytes::from(vec![1; pick(random, 3)]) },
        6 => Operation::CheckpointBegin { id: index.0 },
        7 => Operation::CheckpointDone { id: index.0 },
        _ => {
            let entry = Entry::internal(EntryKind::Command, LogTime(term.0), Bytes::from_static(b"x"));
            Operation::Append { index, term, entries: vec![entry; pick(random, 3)] }
        }
    }
}

fn number(random: &mut Random) -> u64 {
    NUMBERS[pick(random, NUMBERS.len())]
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.between(0, count as u64)).expect("small")
}

/// Five gigabytes that are one megabyte of memory: refused before they are copied.
#[test]
fn a_submission_beyond_all_bounds_is_refused() {
    let mut wal = open(&MemoryDisk::new());
    let entry = Entry::internal(EntryKind::Command, LogTime(0), Bytes::from(vec![1; 1 << 20]));
    let entries = vec![entry; 5000];
    let append = Operation::Append { index: LogIndex(1), term: Term(1), entries };
    let written = wal.write(&[(A, vec![append])]).unwrap();
    assert!(matches!(written.refused[..], [(0, SubmissionRefusal::TooLarge { bytes })] if bytes > 5000 << 20));
}

#[test]
fn extreme_settings_of_the_thread_work() {
    for (bytes, loads, slow) in [(0, 0, Duration::ZERO), (usize::MAX, usize::MAX, Duration::MAX)] {
        let settings = ThreadSettings { queue_bytes_max: bytes, loads_max: loads, slow_sync: slow };
        let (on_completion, completions) = completions();
        let thread = LogThread::spawn(open(&MemoryDisk::new()), &settings, on_completion).unwrap();
        thread.submit(A, Ticket(u64::MAX), vec![append(1, 1, 1)]).expect("the queue is empty");
        assert!(completions.recv().unwrap().writes[0].result.is_ok());
        let (start, end) = (u64::MAX, 0);
        thread.load(A, Ticket(0), LoadRange::Keys { range: start..end }).expect("the queue is empty");
        assert!(completions.recv().unwrap().loads[0].result.is_ok());
        assert_eq!(thread.close_within(Duration::MAX), Ok(()));
    }
}

#[test]
fn extreme_places_in_snapshots_are_answered() {
    let store = SnapshotStore::open(MemoryDisk::new(), "snapshots".as_ref(), ClusterId(1), GroupId(u64::MAX)).unwrap();
    for index in [0, u64::MAX] {
        let configuration = Configuration::of_voters([NodeId(u64::MAX)]);
        let meta =
            SnapshotMeta { index: LogIndex(index), term: Term(u64::MAX), log_time: LogTime(u64::MAX), configuration };
        let mut builder = store.begin(meta).unwrap();
        assert!(builder.write_piece(u64::MAX, b"x").is_err());
        builder.write_piece(0, b"content").unwrap();
        builder.finish(None).unwrap();
        let file = store.read(LogIndex(index)).unwrap();
        for offset in NUMBERS {
            let piece = file.read_piece(offset, usize::MAX).unwrap();
            assert_eq!(piece.len(), 7_usize.saturating_sub(usize::try_from(offset).unwrap_or(7)), "{offset}");
        }
        let mut content = String::new();
        file.into_content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
    }
    store.delete_before(LogIndex(u64::MAX)).unwrap();
    assert_eq!(store.indexes().unwrap(), [LogIndex(u64::MAX)]);
}
