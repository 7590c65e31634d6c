use std::io::{Read, Write};
use std::path::Path;

use quorate_protocol::{ClusterId, Configuration, GroupId, LogIndex, LogTime, NodeId, SnapshotMeta, Term};

use super::{SnapshotError, SnapshotStore};
use crate::disk::{Crash, Disk, MemoryDisk};

const CLUSTER: ClusterId = ClusterId(7);
const GROUP: GroupId = GroupId(3);

#[test]
fn gives_back_what_was_written_piece_by_piece_and_whole() {
    let store = open(&MemoryDisk::new());
    let content: Vec<u8> = (0..1_000_000_u32).map(|place| place.to_le_bytes()[1]).collect();
    write(&store, 5, &content).expect("written");
    let stored = store.newest().expect("whole").expect("one");
    assert_eq!((stored.meta, stored.length), (meta(5), 1_000_000));
    assert_eq!(read(&store, 5), content);
    let file = store.read(LogIndex(5)).expect("there");
    assert_eq!(file.read_piece(999_990, 100).expect("read"), content[999_990..]);
    assert!(file.read_piece(1_000_000, 100).expect("read").is_empty());
}

#[test]
fn refuses_pieces_with_a_gap_and_content_of_another_checksum() {
    let store = open(&MemoryDisk::new());
    let mut builder = store.begin(meta(5)).expect("begun");
    builder.write_piece(0, b"abc").expect("it follows");
    assert!(matches!(builder.write_piece(4, b"e"), Err(SnapshotError::Gap { offset: 4, length: 3 })));
    builder.write_piece(3, b"d").expect("it follows");
    assert!(matches!(builder.finish(Some(1)), Err(SnapshotError::Checksum { expected: 1, .. })));
    assert_eq!(store.newest().expect("read"), None);
    let mut builder = store.begin(meta(5)).expect("begun");
    builder.write_piece(0, b"abcd").expect("it follows");
    builder.finish(Some(crc32c::crc32c(b"abcd"))).expect("the same");
}

/// The log was compacted behind a snapshot, and the parent of its folder was lost in a crash.
#[test]
fn a_snapshot_survives_in_folders_that_were_just_made() {
    let disk = MemoryDisk::new();
    let open = || SnapshotStore::open(disk.clone(), Path::new("snapshots/3"), CLUSTER, GROUP).expect("opened");
    write(&open(), 1, b"content").expect("written");
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(open().newest().expect("whole").expect("durable").meta.index, LogIndex(1));
}

/// A process that ends between the renaming and the sync leaves a snapshot whose name is not durable.
#[test]
fn a_snapshot_that_is_found_is_durable() {
    for number in 0.. {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        disk.power_off_after(number);
        let is_written = write(&store, 1, b"content").is_ok();
        disk.crash(Crash::Process);
        let is_found = open(&disk).newest().expect("whole").is_some();
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(open(&disk).newest().expect("whole").is_some(), is_found, "stopped after {number} changes");
        if is_written {
            return;
        }
    }
}

#[test]
fn rule_35_a_snapshot_is_there_whole_or_not_at_all_whenever_the_power_goes() {
    let mut number = 0;
    loop {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        write(&store, 1, b"old").expect("written");
        disk.power_off_after(number);
        let done = write(&store, 2, b"new").is_ok();
        for seed in 0..20 {
            let crashed = disk.fork();
            crashed.crash(Crash::Seeded(seed));
            let store = open(&crashed);
            let newest = store.newest().expect("never damaged").expect("the old one is durable").meta.index;
            assert!(newest == LogIndex(2) || (newest == LogIndex(1) && !done), "power off after {number}, seed {seed}");
            assert_eq!(read(&store, newest.0), if newest == LogIndex(2) { b"new" } else { b"old" });
        }
        if done {
            break;
        }
        number += 1;
    }
    assert!(number > 5, "the power was cut at every step");
}

#[test]
fn every_flipped_bit_is_a_typed_error() {
    let disk = MemoryDisk::new();
    write(&open(&disk), 5, b"content").expect("written");
    let path = "snapshots/00000000000000000005.snapshot";
    let size = disk.content(path).expect("there").len() as u64;
    for offset in 0..size {
        for bit in 0..8 {
            let damaged = disk.fork();
            damaged.flip(path, offset, bit);
            let error = open(&damaged).newest().expect_err("damaged");
            let typed = matches!(
                error,
                SnapshotError::Damaged { .. } | SnapshotError::Version { .. } | SnapshotError::Foreign { .. }
            );
            assert!(typed, "byte {offset}, bit {bit}: {error}");
        }
    }
}

#[test]
fn refuses_what_is_foreign_newer_or_unknown_and_changes_nothing() {
    let disk = MemoryDisk::new();
    write(&open(&disk), 5, b"content").expect("written");
    let operations = disk.operations();
    let foreign = SnapshotStore::open(disk.clone(), Path::new("snapshots"), ClusterId(8), GROUP).expect("opened");
    assert!(matches!(foreign.newest(), Err(SnapshotError::Foreign { .. })));
    let path = "snapshots/00000000000000000005.snapshot";
    disk.flip(path, 8, 1);
    assert!(matches!(open(&disk).newest(), Err(SnapshotError::Version { version: 3, .. })));
    disk.flip(path, 8, 1);
    disk.flip(path, 8, 0);
    assert!(matches!(open(&disk).newest(), Err(SnapshotError::Damaged { what: "version", .. })));
    assert!(
        disk.history()[usize::try_from(operations).expect("few")..]
            .iter()
            .all(|done| { *done == crate::disk::DiskOperation::SyncDir })
    );
    let unfinished = Path::new("snapshots/00000000000000000004.snapshot.tmp");
    disk.replace(unfinished, b"");
    for name in ["snapshots/holiday.jpg", "snapshots/holiday.tmp"] {
        disk.replace(name, b"");
        let unknown = SnapshotStore::open(disk.clone(), Path::new("snapshots"), CLUSTER, GROUP);
        assert!(matches!(unknown, Err(SnapshotError::Unknown { .. })), "{name}");
        assert!(disk.paths().contains(&unfinished.to_owned()), "{name}");
        disk.remove(name.as_ref()).expect("there");
    }
    open(&disk);
    assert!(!disk.paths().contains(&unfinished.to_owned()));
}

#[test]
fn deletes_only_older_ones_and_says_when_one_is_missing() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    for index in [1, 2, 3] {
        write(&store, index, b"x").expect("written");
    }
    let open_before = store.read(LogIndex(1)).expect("there");
    store.delete_before(LogIndex(3)).expect("deleted");
    assert_eq!(store.indexes().expect("listed"), [LogIndex(3)]);
    assert!(matches!(store.read(LogIndex(2)), Err(SnapshotError::Missing(LogIndex(2)))));
    assert_eq!(open_before.read_piece(0, 9).expect("an open one stays readable"), "x");
}

#[test]
fn a_full_disk_is_told_apart_and_leaves_the_old_snapshot() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write(&store, 1, b"old").expect("written");
    disk.set_capacity(Some(disk.used() + 100));
    let error = write(&store, 2, &[0; 1000]).expect_err("full");
    assert!(error.is_full(), "{error}");
    disk.set_capacity(None);
    assert_eq!(open(&disk).newest().expect("whole").expect("there").meta.index, LogIndex(1));
}

fn open(disk: &MemoryDisk) -> SnapshotStore<MemoryDisk> {
    SnapshotStore::open(disk.clone(), Path::new("snapshots"), CLUSTER, GROUP).expect("opened")
}

fn write(store: &SnapshotStore<MemoryDisk>, index: u64, content: &[u8]) -> Result<(), SnapshotError> {
    let mut builder = store.begin(meta(index))?;
    builder.write_all(content).map_err(|error| SnapshotError::Io { path: "content".into(), error })?;
    builder.finish(None).map(|_| ())
}

fn read(store: &SnapshotStore<MemoryDisk>, index: u64) -> Vec<u8> {
    let mut content = Vec::new();
    store.read(LogIndex(index)).expect("there").into_content().read_to_end(&mut content).expect("whole");
    content
}

fn meta(index: u64) -> SnapshotMeta {
    let configuration = Configuration::of_voters([NodeId(1)]);
    SnapshotMeta { index: LogIndex(index), term: Term(2), log_time: LogTime(9), configuration }
}
