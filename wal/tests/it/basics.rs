//! Written data can be read and recovered.

use quorate_protocol::LogIndex;
use quorate_wal::disk::{Crash, MemoryDisk, RealDisk};
use quorate_wal::{OpenError, Wal};

use crate::support::*;

#[test]
fn what_was_synced_is_there_after_a_crash() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3), state("t1")]);
    put(&mut wal, B, vec![append(1, 4, 2), journal(9, "nine")]);
    write(&mut wal, A, vec![append(4, 2, 1)]);
    disk.crash(Crash::LoseUnsynced);
    drop(wal);
    let wal = open(&disk);
    assert_eq!(wal.streams(), [A, B]);
    assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1", "2@1", "3@1"]);
    assert_eq!(texts(&wal, B, 2).unwrap(), ["2@4"]);
    assert_eq!(keys(&wal, B), [(9, "nine".to_owned())]);
    assert_eq!(state_of(&wal, A).as_deref(), Some("t1"));
}

#[test]
fn a_stream_is_recovered_as_its_core_wants_it() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 10), append(11, 2, 10)]);
    put(&mut wal, A, vec![truncate(16), append(16, 5, 5), state_with_hint("voted", 12), compact(5, 1)]);
    let tail_bytes = entry(&payload(20, 5, 0)).encoded_len() * 3;
    for _ in 0..2 {
        let recovery = wal.recover(A, tail_bytes).unwrap();
        assert_eq!(recovery.base, position(5, 1));
        assert_eq!(recovery.last, LogIndex(20));
        assert_eq!(recovery.runs, [position(6, 1), position(11, 2), position(16, 5)]);
        assert_eq!(recovery.tail.iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [18, 19, 20]);
        assert_eq!(recovery.commit_hint, LogIndex(12));
        wal.close().unwrap();
        wal = open(&disk);
    }
}

/// The newest entry is recovered however large it is: without the end of its log a core cannot start.
#[test]
fn the_newest_entry_is_always_handed_over() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 5)]);
    put(&mut wal, A, vec![append_sized(6, 2, 1, 20_000)]);
    for bound in [0, 1, 10_000, 20_000] {
        let tail = wal.recover(A, bound).unwrap().tail;
        assert_eq!(tail.iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [6], "{bound}");
    }
    assert_eq!(wal.recover(A, usize::MAX).unwrap().tail.len(), 6);
    assert_eq!(wal.recover(B, 0).unwrap().tail.len(), 0);
}

#[test]
fn real_files_work_alike() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path()).unwrap();
    let (mut wal, report) = Wal::open(disk.clone(), small(), identity()).unwrap();
    assert!(report.is_new);
    for index in 1..200 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 1000), state("t1")]);
    }
    assert!(matches!(Wal::open(disk.clone(), small(), identity()), Err(OpenError::Locked)));
    drop(wal);
    let (wal, _) = Wal::open(disk, small(), identity()).unwrap();
    assert!(wal.metrics().segments > 5);
    assert_eq!(texts(&wal, A, 1).unwrap().len(), 199);
}
