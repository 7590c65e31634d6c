//! Files with any content cause no panic, no write if the log refuses, and the same judgement of log and inspector.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quorate_protocol::{ClusterId, Configuration, GroupId, LogIndex, LogTime, NodeId, SnapshotMeta, Term};
use quorate_wal::SnapshotStore;
use quorate_wal::disk::{Crash, Disk, DiskOperation, MemoryDisk};
use quorate_wal::inspect::{Condition, Detail, inspect};

use crate::mutation::{corpus, mutate, mutations};
use crate::support::*;

/// A runner of this number of cases, the same ones each time.
fn runner(usual: u64) -> TestRunner {
    let config = Config { cases: u32::try_from(cases(usual)).unwrap(), failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]))
}

#[test]
fn rule_40_changed_files_are_no_panic_and_a_refusal_changes_nothing() {
    let corpus = corpus();
    let mut runner = runner(500);
    let outcome = runner.run(&(0..corpus.len(), mutations()), |(log, (changes, fits))| {
        let disk = mutate(&corpus[log], &changes, fits);
        let condition = look(&disk);
        let operations = disk.operations();
        match try_open(&disk) {
            Err(error) => {
                prop_assert_eq!(disk.operations(), operations, "a refusal changes nothing: {}", error);
                prop_assert!(condition >= Condition::Corrupt, "{:?}, though {}", condition, error);
            }
            Ok((wal, report)) => {
                prop_assert!(condition < Condition::Corrupt, "{:?}, though it opens", condition);
                prop_assert!(condition == Condition::Torn || report.cut.is_none());
                use_it(wal);
                disk.crash(Crash::LoseUnsynced);
                prop_assert_eq!(
                    try_open(&disk).err().map(|error| error.to_string()),
                    None,
                    "what was accepted is again"
                );
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Returns the inspector's condition. The inspector must not change anything.
fn look(disk: &MemoryDisk) -> Condition {
    let operations = disk.operations();
    let mut text = Vec::new();
    let condition = inspect(disk, Path::new("log"), Detail::Everything, &mut text).unwrap();
    assert_eq!(disk.operations(), operations, "looking changes nothing");
    condition
}

/// Reads everything and writes something, if possible.
fn use_it(mut wal: quorate_wal::Wal<MemoryDisk>) {
    for stream in wal.streams() {
        let last = match wal.recover(stream, 1 << 16) {
            Ok(recovery) => recovery.journal.into_iter().flatten().fold(recovery.last.0, |last, _| last),
            Err(_) => 0,
        };
        let _ = texts(&wal, stream, 1);
        let next = last.saturating_add(1);
        let term = u64::MAX;
        for operations in [
            vec![append(next.min(u64::MAX - 9), term, 1)],
            vec![compact(last, 1)],
            vec![truncate(next.max(1) - 1)],
            vec![journal(1, "x"), state("t")],
            vec![reset(last, 1)],
        ] {
            wal.write(&[(stream, operations)]).expect("a disk that works");
        }
        wal.sync().expect("a disk that works");
        wal.settle(true).expect("a disk that works");
    }
    wal.close().expect("a disk that works");
}

#[test]
fn rule_40_changed_snapshots_are_typed_errors_and_stay_as_they_are() {
    let disk = MemoryDisk::new();
    let path = "snapshots/00000000000000000005.snapshot";
    let store = |disk: &MemoryDisk| SnapshotStore::open(disk.clone(), "snapshots".as_ref(), ClusterId(7), GroupId(3));
    let configuration = Configuration::of_voters([NodeId(1), NodeId(2)]);
    let meta = SnapshotMeta { index: LogIndex(5), term: Term(2), log_time: LogTime(9), configuration };
    let mut builder = store(&disk).unwrap().begin(meta).unwrap();
    builder.write_piece(0, &[8; 3000]).unwrap();
    builder.finish(None).unwrap();
    let sound = disk.content(path).unwrap();
    let changes = prop::collection::vec((0..sound.len(), any::<u8>()), 0..6);
    let strategy = (changes, 0..sound.len() + 50, any::<bool>(), any::<u32>());
    let outcome = runner(500).run(&strategy, |(changes, length, fits, stated)| {
        let mut bytes = sound.clone();
        for (at, byte) in &changes {
            bytes[*at] = *byte;
        }
        if fits {
            // The length of the metadata is false, and the checksum matches it.
            bytes[36..40].copy_from_slice(&stated.to_le_bytes());
            let end = bytes.len().min(40 + stated as usize);
            let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
            if let Some(place) = bytes.get_mut(end..end + 4) {
                place.copy_from_slice(&crc);
            }
        }
        bytes.resize(length, 0);
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        damaged.replace(path, &bytes);
        let before = damaged.history().len();
        let newest = store(&damaged).unwrap().newest();
        prop_assert!(newest.is_err() || bytes == sound);
        let done = damaged.history().split_off(before);
        prop_assert!(done.iter().all(|operation| *operation == DiskOperation::SyncDir), "nothing was changed");
        prop_assert_eq!(damaged.content(path), Some(bytes));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Names of directories and files that the log did not give.
#[test]
fn rule_40_directories_where_files_should_be_are_no_panic() {
    for name in ["segment-0000000000000009", "spare-0000000000000000", "cut-1", "checkpoint-a", "notes"] {
        let disk = corpus().swap_remove(0);
        let path = format!("log/{name}");
        if disk.content(&path).is_some() {
            disk.remove(path.as_ref()).unwrap();
        }
        disk.create_dir(path.as_ref()).unwrap();
        let _ = try_open(&disk);
        look(&disk);
    }
}
