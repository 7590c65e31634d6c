//! The bytes of every released format, one directory each: every later version reads them, and those of the newest are
//! written.
//!
//! `QUORATE_WAL_GOLDEN=write cargo test -p quorate-wal golden` writes them again, which is allowed for an unreleased
//! format only.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use quorate_protocol::{ClusterId, Configuration, GroupId, LogIndex, LogTime, NodeId, Operation, SnapshotMeta, Term};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{FORMAT_VERSION, SnapshotStore, StreamId, Wal};

use crate::support::*;

const C: StreamId = StreamId(3);
const D: StreamId = StreamId(4);

/// Every kind of record that operations make.
fn plain(disk: &MemoryDisk) {
    let mut wal = open(disk);
    put(&mut wal, A, vec![append(1, 1, 3), append(4, 2, 2), state_with_hint("vote", 2)]);
    write(&mut wal, B, vec![journal(7, "seven"), Operation::CheckpointBegin { id: 1 }, journal(8, "eight")]);
    write(&mut wal, A, vec![truncate(5), append(5, 3, 1), compact(1, 1)]);
    wal.sync().unwrap();
    write(&mut wal, B, vec![Operation::CheckpointDone { id: 1 }, journal(9, "nine"), journal(9, "")]);
    write(&mut wal, C, vec![append(1, 1, 1), reset(10, 4), Operation::CommitHint { index: LogIndex(10) }]);
    write(&mut wal, D, vec![append(1, 1, 1)]);
    wal.delete_stream(D).unwrap();
    wal.close().unwrap();
}

fn check_plain(wal: &Wal<MemoryDisk>) {
    assert_eq!(wal.streams(), [A, B, C]);
    assert_eq!(texts(wal, A, 2).unwrap(), ["2@1", "3@1", "4@2", "5@3"]);
    assert_eq!((state_of(wal, A).as_deref(), wal.recover(A, 0).unwrap().commit_hint), (Some("vote"), LogIndex(2)));
    assert_eq!((keys(wal, B), wal.recover(B, 0).unwrap().checkpoint), (vec![(8, "eight".to_owned())], Some(1)));
    assert_eq!(wal.recover(C, 0).unwrap().base, position(10, 4));
}

/// Records that were moved, and data that only the checkpoint holds.
fn moved(disk: &MemoryDisk) {
    let mut wal = open(disk);
    write(&mut wal, B, vec![append(1, 1, 3), journal(1, "one"), state("kept")]);
    for index in 1..17 {
        write(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    write(&mut wal, A, vec![compact(16, 1)]);
    wal.sync().unwrap();
    wal.settle(false).unwrap();
    assert_eq!((wal.metrics().relocated, wal.metrics().freed_segments), (4, 1));
    wal.close().unwrap();
}

fn check_moved(wal: &Wal<MemoryDisk>) {
    assert_eq!(texts(wal, B, 1).unwrap(), ["1@1", "2@1", "3@1"]);
    assert_eq!(keys(wal, B), [(1, "one".to_owned())]);
    assert_eq!(state_of(wal, B).as_deref(), Some("kept"));
    assert_eq!(wal.recover(A, 0).unwrap().base, position(16, 1));
}

type Scenario = (&'static str, fn(&MemoryDisk), fn(&Wal<MemoryDisk>));

const SCENARIOS: [Scenario; 2] = [("plain", plain, check_plain), ("moved", moved, check_moved)];

#[test]
fn rule_02_golden_files_of_every_released_version_are_read() {
    for version in 1..=FORMAT_VERSION {
        for (name, _, check) in SCENARIOS {
            check(&open(&golden_disk(version, name)));
        }
    }
}

#[test]
fn rule_02_the_newest_version_is_written_as_ever() {
    for (name, make, _) in SCENARIOS {
        let disk = MemoryDisk::new();
        make(&disk);
        disk.crash(Crash::KeepAll);
        let files: Vec<(String, Vec<u8>)> = ["segment-", "checkpoint-"]
            .iter()
            .flat_map(|prefix| names(&disk, prefix))
            .map(|file| {
                let mut bytes = disk.content(format!("log/{file}")).unwrap();
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
                (file, bytes)
            })
            .collect();
        if std::env::var_os("QUORATE_WAL_GOLDEN").is_some() {
            for (file, bytes) in &files {
                std::fs::create_dir_all(folder(FORMAT_VERSION, name)).unwrap();
                std::fs::write(folder(FORMAT_VERSION, name).join(file), bytes).unwrap();
            }
        }
        let mut expected = golden(FORMAT_VERSION, name);
        expected.sort_by_key(|(file, _)| !file.starts_with("segment"));
        for ((file, bytes), (golden_file, golden)) in files.iter().zip(&expected) {
            assert_eq!(file, golden_file, "{name}");
            assert!(bytes == golden, "{name}/{file} is written otherwise");
        }
        assert_eq!(files.len(), expected.len());
    }
}

#[test]
fn rule_02_snapshots_of_version_1_are_read_and_written_as_ever() {
    let name = "00000000000000000009.snapshot";
    let disk = MemoryDisk::new();
    let snapshots = |disk: &MemoryDisk| {
        SnapshotStore::open(disk.clone(), "snapshots".as_ref(), ClusterId(0xc1), GroupId(5)).unwrap()
    };
    let configuration = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
    let meta = SnapshotMeta { index: LogIndex(9), term: Term(4), log_time: LogTime(77), configuration };
    let mut builder = snapshots(&disk).begin(meta.clone()).unwrap();
    builder.write_all(b"everything that was applied").unwrap();
    builder.finish(None).unwrap();
    let written = disk.content(format!("snapshots/{name}")).unwrap();
    if std::env::var_os("QUORATE_WAL_GOLDEN").is_some() {
        std::fs::create_dir_all(folder(1, "snapshots")).unwrap();
        std::fs::write(folder(1, "snapshots").join(name), &written).unwrap();
    }
    let [(_, golden)] = &golden(1, "snapshots")[..] else { panic!("one file") };
    assert!(written == *golden, "it is written otherwise");
    disk.replace(format!("snapshots/{name}"), golden);
    let stored = snapshots(&disk).newest().unwrap().unwrap();
    assert_eq!(stored.meta, meta);
    let mut content = String::new();
    snapshots(&disk).read(LogIndex(9)).unwrap().into_content().read_to_string(&mut content).unwrap();
    assert_eq!(content, "everything that was applied");
}

/// A disk with the golden files of a log. The golden files leave out the zeros at their ends.
pub(crate) fn golden_disk(version: u32, name: &str) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir("log".as_ref()).unwrap();
    disk.sync_dir("".as_ref()).unwrap();
    for (file, mut bytes) in golden(version, name) {
        let is_segment = file.starts_with("segment");
        let length = if is_segment { small().segment_bytes } else { (bytes.len() as u64).next_multiple_of(4096) };
        bytes.resize(usize::try_from(length).unwrap(), 0);
        disk.replace(format!("log/{file}"), &bytes);
    }
    disk
}

fn golden(version: u32, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder(version, name))
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn folder(version: u32, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}")).join(name)
}
