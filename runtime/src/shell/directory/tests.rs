use std::path::Path;

use quorate_protocol::{Incarnation, NodeId};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};

use super::{Directory, DirectoryError, IDENTITY, IDENTITY_BYTES, PAGE_BYTES, cluster_id};

fn open(disk: &MemoryDisk, cluster: &str, node: u64, drawn: u128) -> Result<Directory<MemoryDisk>, DirectoryError> {
    Directory::open(disk.clone(), cluster_id(cluster), NodeId(node), || Ok(Incarnation(drawn)))
}

#[test]
fn the_incarnation_is_drawn_once() {
    let disk = MemoryDisk::new();
    drop(open(&disk, "a", 1, 7).expect("made"));
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(open(&disk, "a", 1, 8).expect("opened").identity().incarnation, Incarnation(7));
}

#[test]
fn a_crash_while_it_is_made_leaves_all_or_nothing() {
    for number in 0.. {
        let disk = MemoryDisk::new();
        disk.power_off_after(number);
        let is_made = open(&disk, "a", 1, 7).is_ok();
        disk.crash(Crash::LoseUnsynced);
        let found = open(&disk, "a", 1, 8).expect("usable after the crash").identity().incarnation;
        assert!([Incarnation(7), Incarnation(8)].contains(&found));
        if is_made {
            assert_eq!(found, Incarnation(7));
            return;
        }
    }
}

#[test]
fn a_second_process_is_locked_out() {
    let disk = MemoryDisk::new();
    let first = open(&disk, "a", 1, 7).expect("made");
    assert!(matches!(open(&disk, "a", 1, 7), Err(DirectoryError::Locked)));
    drop(first);
    open(&disk, "a", 1, 7).expect("free again");
}

#[test]
fn a_foreign_directory_is_refused() {
    let disk = MemoryDisk::new();
    drop(open(&disk, "a", 1, 7).expect("made"));
    assert!(matches!(open(&disk, "b", 1, 7), Err(DirectoryError::ForeignCluster { .. })));
    assert!(matches!(open(&disk, "a", 2, 7), Err(DirectoryError::ForeignNode { .. })));
}

/// The identity is stored twice: one damaged page is survived, two are detected.
#[test]
fn every_flipped_bit_of_the_identity_is_noticed() {
    let disk = MemoryDisk::new();
    drop(open(&disk, "a", 1, 7).expect("made"));
    for bit in 0..IDENTITY_BYTES as u64 * 8 {
        let damaged = disk.fork();
        let flip =
            |place: u64| damaged.flip(Path::new(IDENTITY), place + bit / 8, u8::try_from(bit % 8).expect("below 8"));
        flip(0);
        let directory = open(&damaged, "a", 1, 8).expect("the other place is whole");
        assert_eq!(directory.identity().incarnation, Incarnation(7), "bit {bit}");
        drop(directory);
        flip(PAGE_BYTES);
        assert!(matches!(open(&damaged, "a", 1, 8), Err(DirectoryError::Damaged)), "bit {bit}");
    }
}

#[test]
fn an_identity_that_was_cut_short_is_refused() {
    let disk = MemoryDisk::new();
    drop(open(&disk, "a", 1, 7).expect("made"));
    let bytes = disk.content(IDENTITY).expect("there");
    for length in [0, 1, IDENTITY_BYTES - 1] {
        disk.replace(IDENTITY, &bytes[..length]);
        assert!(matches!(open(&disk, "a", 1, 8), Err(DirectoryError::Damaged)), "{length} bytes");
    }
}

/// Every crash at every step: the count of starts is equal to that of the log, or one behind it.
#[test]
fn starts_are_counted_one_behind_the_log_at_most() {
    for number in 0..12 {
        for seed in 0..20 {
            let disk = MemoryDisk::new();
            drop(open(&disk, "a", 1, 7).expect("made"));
            // The log counts first, and keeps its count.
            let mut log = 0;
            disk.power_off_after(number);
            for _ in 0..4 {
                let Ok(mut directory) = open(&disk, "a", 1, 8) else { break };
                if directory.check_log(log).is_err() {
                    break;
                }
                log += 1;
                if directory.note_start(log).is_err() {
                    break;
                }
            }
            disk.crash(Crash::Seeded(seed));
            let mut directory = open(&disk, "a", 1, 8).expect("a crash breaks nothing");
            directory.check_log(log).unwrap_or_else(|error| panic!("{number}, {seed}: {error}"));
            assert_eq!(directory.is_new(), log == 0);
        }
    }
}

#[test]
fn an_older_log_and_an_older_identity_are_told_apart() {
    let disk = MemoryDisk::new();
    let mut directory = open(&disk, "a", 1, 7).expect("made");
    assert!(directory.is_new());
    for start in 1..=5 {
        directory.check_log(start - 1).expect("in step");
        directory.note_start(start).expect("counted");
    }
    assert!(matches!(directory.check_log(4), Err(DirectoryError::Older { part: "log", found: 4, known: 5 })));
    assert!(matches!(directory.check_log(7), Err(DirectoryError::Older { part: IDENTITY, found: 5, known: 7 })));
    directory.check_log(6).expect("a crash came between the two");
    directory.check_log(7).expect("which was made good");
}

#[test]
fn what_holds_files_and_no_identity_is_nobodys() {
    for name in ["log", "snapshots", "log.lock", "notes.txt"] {
        let disk = MemoryDisk::new();
        disk.replace(name, b"");
        let refused = open(&disk, "a", 1, 7);
        assert!(matches!(&refused, Err(DirectoryError::IdentityMissing { found }) if found == name), "{refused:?}");
        assert!(disk.content(IDENTITY).is_none(), "nothing was changed");
    }
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("lost+found")).expect("made");
    disk.replace(".hidden", b"");
    assert!(open(&disk, "a", 1, 7).is_ok(), "as file systems and tools leave it");
}

#[test]
fn a_missing_folder_of_snapshots_is_made_once() {
    let disk = MemoryDisk::new();
    let mut directory = open(&disk, "a", 1, 7).expect("made");
    directory.check_snapshots().expect("made");
    directory.check_snapshots().expect("there");
    directory.note_start(1).expect("counted");
    drop(directory);
    disk.crash(Crash::LoseUnsynced);
    let directory = open(&disk, "a", 1, 8).expect("opened");
    directory.check_snapshots().expect("durable");
    disk.lose("snapshots");
    assert!(matches!(directory.check_snapshots(), Err(DirectoryError::Missing("snapshots"))));
}

#[test]
fn the_cluster_id_never_changes() {
    assert_eq!(cluster_id("demo").to_string(), "136cf0dc08c5573d96a53ab2a50376b5");
}
