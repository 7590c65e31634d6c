use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Entry, EntryKind, Identity, Incarnation, LoadRange, Loaded, LogIndex, LogTime, NodeId, Operation,
    Random, StorageLevel, Term,
};

use super::SegmentMaker;
use crate::disk::{Crash, DiskOperation, MemoryDisk};
use crate::settings::LogSettings;
use crate::stream_id::StreamId;
use crate::wal::Wal;

const STREAM: StreamId = StreamId(1);
const SEGMENT_BYTES: u64 = 64 << 10;

fn open(disk: &MemoryDisk) -> (Wal<MemoryDisk>, SegmentMaker<MemoryDisk>) {
    let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
    let settings = LogSettings { segment_bytes: SEGMENT_BYTES, batch_bytes_max: 32 << 10, ..LogSettings::default() };
    let (wal, _) = Wal::open(disk.clone(), settings, identity).expect("a log that opens");
    let maker = wal.segment_maker();
    (wal, maker)
}

fn append(index: u64, bytes: usize) -> (StreamId, Vec<Operation>) {
    let entry = Entry::internal(EntryKind::Command, LogTime(1), Bytes::from(vec![7; bytes]));
    (STREAM, vec![Operation::Append { index: LogIndex(index), term: Term(1), entries: vec![entry] }])
}

/// Appends until more than half of the first segment is written, without a step of the maker.
fn fill_half(wal: &mut Wal<MemoryDisk>) -> u64 {
    let mut index = 0;
    while wal.metrics().bytes < SEGMENT_BYTES / 2 {
        index += 1;
        let written = wal.write(&[append(index, 3000)]).expect("a disk that works");
        assert_eq!(written.refused, []);
        wal.sync().expect("a disk that works");
        wal.settle(false).expect("a disk that works");
    }
    index
}

#[test]
fn the_log_leaves_the_next_segment_to_the_maker() {
    let disk = MemoryDisk::new();
    let (mut wal, maker) = open(&disk);
    let index = fill_half(&mut wal);
    assert_eq!(wal.metrics().disk_bytes, SEGMENT_BYTES, "no other file was begun");
    maker.make_part();
    assert_eq!(wal.metrics().disk_bytes, 2 * SEGMENT_BYTES);
    let before = disk.history().len();
    maker.make_part();
    assert_eq!(disk.history().len(), before, "one file is enough");
    wal.write(&[append(index + 1, 30_000)]).expect("a disk that works");
    assert_eq!(wal.rotations(), 1);
}

#[test]
fn the_maker_fills_no_further_than_the_log_wants() {
    let disk = MemoryDisk::new();
    let (mut wal, maker) = open(&disk);
    maker.make_part();
    assert_eq!(wal.metrics().disk_bytes, SEGMENT_BYTES, "nothing is written yet");
    wal.write(&[append(1, 100)]).expect("a disk that works");
    wal.settle(false).expect("a disk that works");
    assert_eq!(maker.spares.state().wanted, 2 * (4096 + 4096), "the header and one batch are written");
}

#[test]
fn a_failure_of_the_maker_poisons_the_log() {
    for operation in [DiskOperation::Write, DiskOperation::Sync] {
        let disk = MemoryDisk::new();
        let (mut wal, maker) = open(&disk);
        let index = fill_half(&mut wal);
        disk.fail_next(operation, Some(std::io::ErrorKind::Other));
        assert!(maker.make_part(), "the log is to be told");
        let poisoned = wal.write(&[append(index + 1, 10)]).expect_err("a failed disk");
        assert!(poisoned.reason.contains("making a segment"), "{poisoned}");
        assert_eq!(wal.sync().expect_err("for good"), poisoned);
        assert!(!maker.make_part(), "nothing more is made");
    }
}

#[test]
fn rule_23_a_maker_without_room_reports_it_and_tries_again_when_asked() {
    let disk = MemoryDisk::new();
    let (mut wal, maker) = open(&disk);
    fill_half(&mut wal);
    disk.set_capacity(Some(disk.used() + SEGMENT_BYTES / 2));
    assert!(maker.make_part(), "the log is low on room");
    assert_eq!(wal.storage_level(), StorageLevel::Low);
    let before = disk.history().len();
    assert!(!maker.make_part());
    assert_eq!(disk.history().len(), before, "it waits to be asked");
    disk.set_capacity(None);
    wal.settle(true).expect("a disk that works");
    assert!(maker.make_part(), "there is room again");
    assert_eq!(wal.storage_level(), StorageLevel::Enough);
}

/// The maker and the log take steps in any order, the power fails at any of them, and the log opens with everything
/// that was acknowledged.
#[test]
fn steps_of_the_maker_between_those_of_the_log_lose_nothing_in_a_crash() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let disk = MemoryDisk::new();
        let (mut wal, maker) = open(&disk);
        disk.power_off_after(random.between(0, 120));
        let mut acknowledged = 0;
        for index in 1..=60 {
            for _ in 0..random.between(0, 3) {
                maker.make_part();
            }
            let bytes = usize::try_from(random.between(0, 20_000)).expect("small");
            if wal.write(&[append(index, bytes)]).is_err() {
                break;
            }
            maker.make_part();
            if wal.sync().is_err() {
                break;
            }
            acknowledged = index;
            if wal.settle(random.between(0, 2) == 0).is_err() {
                break;
            }
        }
        drop((wal, maker));
        disk.crash(Crash::Seeded(seed));
        let (wal, _) = open(&disk);
        let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(acknowledged + 1), bytes_max: usize::MAX };
        if acknowledged > 0 {
            let Ok(Loaded::Entries(entries)) = wal.reader().load(STREAM, &range) else { panic!("seed {seed}") };
            assert_eq!(entries.len() as u64, acknowledged, "seed {seed}");
        }
    }
}
