use std::io;
use std::path::Path;

use super::{Crash, Disk, DiskFile, DiskOperation, MemoryDisk, RealDisk, Sector};

/// Checks the contract that all disks keep.
fn keeps_the_contract(disk: &impl Disk) {
    let (name, other) = (Path::new("d/a"), Path::new("d/b"));
    disk.create_dir(Path::new("d")).expect("made");
    let file = disk.create(name).expect("made");
    assert_eq!(disk.create(name).err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
    file.write_at(3, b"xyz").expect("written");
    let mut read = [9; 8];
    assert_eq!(file.read_at(1, &mut read).expect("read"), 5);
    assert_eq!(&read[..5], b"\0\0xyz");
    assert!(file.read_exact_at(1, &mut read).is_err());
    file.set_len(4).expect("cut");
    file.sync_all().expect("synced");
    assert_eq!(file.len().expect("told"), 4);
    disk.rename(name, other).expect("renamed");
    assert_eq!(disk.open(name).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    assert_eq!(disk.list(Path::new("d")).expect("listed"), ["b"]);
    disk.sync_dir(Path::new("d")).expect("synced");
    disk.remove(other).expect("removed");
    assert!(disk.list(Path::new("d")).expect("listed").is_empty());
    let lock = disk.lock(Path::new("LOCK")).expect("free");
    assert_eq!(disk.lock(Path::new("LOCK")).err().map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    drop(lock);
    disk.lock(Path::new("LOCK")).expect("free again");
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("a directory");
    keeps_the_contract(&RealDisk::new(directory.path()).expect("opened"));
}

#[test]
fn the_memory_disk_keeps_the_contract() {
    keeps_the_contract(&MemoryDisk::new());
}

#[test]
fn a_crash_loses_names_and_bytes_that_were_not_synced() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).expect("made");
    file.write_at(0, b"old").expect("written");
    file.sync_data().expect("synced");
    let lost = disk.fork();
    lost.crash(Crash::LoseUnsynced);
    assert_eq!(lost.content("a"), None, "its directory was not synced");
    disk.sync_dir(Path::new("")).expect("synced");
    file.write_at(0, b"new").expect("written");
    let kept = disk.fork();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.content("a").as_deref(), Some(&b"old"[..]));
    kept.crash(Crash::KeepAll);
    assert_eq!(kept.content("a").as_deref(), Some(&b"new"[..]));
    assert!(file.read_at(0, &mut [0]).is_err(), "it was open across the crash");
}

#[test]
fn sectors_are_torn_one_by_one() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).expect("made");
    file.write_at(0, &[1; 1536]).expect("written");
    file.sync_data().expect("synced");
    file.write_at(0, &[2; 1536]).expect("written");
    disk.tear(|_, sector| [Sector::Keep, Sector::Drop, Sector::Garbage][usize::try_from(sector).expect("three")]);
    let content = disk.content("a").expect("its name is kept");
    assert!(content[..512].iter().all(|byte| *byte == 2));
    assert!(content[512..1024].iter().all(|byte| *byte == 1));
    assert!(content[1024..].iter().all(|byte| *byte != 2));
}

#[test]
fn a_failed_sync_loses_what_it_should_have_written_even_if_the_next_succeeds() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).expect("made");
    disk.sync_dir(Path::new("")).expect("synced");
    file.write_at(0, b"x").expect("written");
    disk.fail(0, io::ErrorKind::Other);
    assert!(file.sync_data().is_err());
    file.sync_data().expect("the kernel has forgotten");
    disk.crash(Crash::KeepAll);
    assert_ne!(disk.content("a").as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_full_disk_refuses_growth_and_takes_overwrites() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(4));
    let file = disk.create(Path::new("a")).expect("made");
    file.write_at(0, b"1234").expect("it fits");
    assert_eq!(file.write_at(4, b"5").err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    file.write_at(0, b"4321").expect("no growth");
}

#[test]
fn the_power_is_off_from_the_chosen_operation_on() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).expect("made");
    disk.power_off_after(1);
    file.write_at(0, b"x").expect("the last one");
    assert!(file.sync_data().is_err());
    assert!(disk.list(Path::new("")).is_err());
    assert_eq!(disk.history(), [DiskOperation::Create, DiskOperation::Write]);
    disk.crash(Crash::KeepAll);
    assert_eq!(disk.list(Path::new("")).expect("it runs again"), ["a"]);
}

/// Otherwise a copy of a running node's disk could never be opened.
#[test]
fn nobody_holds_a_lock_on_a_copy() {
    let disk = MemoryDisk::new();
    let lock = disk.lock(Path::new("LOCK")).expect("free");
    disk.fork().lock(Path::new("LOCK")).expect("free on the copy");
    drop(lock);
}

/// A file of two sectors of which the first is durable, and the second was written since.
fn half_synced(disk: &MemoryDisk) -> super::MemoryFile {
    let file = disk.create(Path::new("a")).expect("made");
    disk.sync_dir(Path::new("")).expect("synced");
    file.write_at(0, &[1; 1024]).expect("written");
    file.sync_data().expect("synced");
    file.write_at(512, &[2; 512]).expect("written");
    file
}

#[test]
fn a_process_that_ends_neither_loses_nor_saves() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.crash(Crash::Process);
    assert!(file.len().is_err(), "it was open");
    assert_eq!(disk.content("a").expect("there")[512..], [2; 512]);
    disk.crash(Crash::LoseBytes);
    assert_eq!(disk.content("a").expect("its name was synced"), [1; 1024]);
}

#[test]
fn bytes_may_be_lost_and_names_kept() {
    let disk = MemoryDisk::new();
    disk.create(Path::new("a")).expect("made").write_at(0, b"x").expect("written");
    disk.crash(Crash::LoseBytes);
    assert_eq!(disk.content("a").as_deref(), Some(&[][..]));
}

#[test]
fn a_torn_crash_keeps_or_loses_each_sector_and_garbles_none() {
    let outcomes: Vec<(bool, bool)> = (0..64)
        .map(|seed| {
            let disk = MemoryDisk::new();
            let file = half_synced(&disk);
            file.write_at(0, &[2; 512]).expect("written");
            disk.crash(Crash::Torn(seed));
            let content = disk.content("a").expect("there");
            let sectors = content.as_chunks::<512>().0;
            assert!(sectors.iter().all(|sector| [[1; 512], [2; 512]].contains(sector)));
            (sectors[0] == [2; 512], sectors[1] == [2; 512])
        })
        .collect();
    for wanted in [(false, false), (false, true), (true, false), (true, true)] {
        assert!(outcomes.contains(&wanted), "{wanted:?}");
    }
}

#[test]
fn a_sync_that_the_power_interrupts_has_written_any_part() {
    let kept = (0..32).filter(|seed| {
        let disk = MemoryDisk::new();
        let file = half_synced(&disk);
        disk.power_off_after(0);
        assert!(file.sync_data().is_err());
        disk.crash(Crash::Torn(*seed));
        disk.content("a").expect("there")[512..] == [2; 512]
    });
    assert!((1..32).contains(&kept.count()));
}

#[test]
fn the_next_operation_of_a_sort_fails_once() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.fail_next(DiskOperation::Sync, Some(io::ErrorKind::Other));
    file.write_at(0, b"x").expect("another sort");
    assert!(file.sync_data().is_err());
    file.sync_data().expect("once");
    disk.fail_next(DiskOperation::Rename, Some(io::ErrorKind::Other));
    disk.fail_next(DiskOperation::Rename, None);
    disk.rename(Path::new("a"), Path::new("b")).expect("taken back");
}

#[test]
fn a_write_that_fails_leaves_its_first_half() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.fail_next(DiskOperation::Write, Some(io::ErrorKind::Other));
    assert!(file.write_at(0, &[3; 1024]).is_err());
    let content = disk.content("a").expect("there");
    assert_eq!((&content[..512], &content[512..]), (&[3; 512][..], &[2; 512][..]));
}

#[test]
fn reads_fail_until_they_are_mended() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.fail_reads(Some(io::ErrorKind::Other));
    assert!(file.read_at(0, &mut [0]).is_err());
    file.write_at(0, b"x").expect("writes go on");
    disk.fail_reads(None);
    assert_eq!(file.read_at(0, &mut [0]).expect("mended"), 1);
}

#[test]
fn the_chosen_read_fails_alone() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.fail_read(1, io::ErrorKind::Other);
    let outcomes = [(); 3].map(|()| file.read_at(0, &mut [0]).is_ok());
    assert_eq!(outcomes, [true, false, true]);
}

#[test]
fn a_misdirected_write_is_told_as_done_and_lies_elsewhere() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    let other = disk.create(Path::new("b")).expect("made");
    other.write_at(0, &[7; 4096]).expect("written");
    other.sync_data().expect("synced");
    disk.misdirect(Some(1));
    assert!(disk.is_misdirecting());
    file.write_at(0, &[9; 512]).expect("as far as it knows");
    assert!(!disk.is_misdirecting());
    file.write_at(512, &[8; 512]).expect("once");
    assert_eq!(disk.content("a").expect("there")[..], [[1; 512], [8; 512]].concat());
    assert!(disk.durable_content("b").expect("there").contains(&9));
}

#[test]
fn what_was_synced_last_is_restored_where_it_was_meant_to_be() {
    let disk = MemoryDisk::new();
    let (lost, hit) = (disk.create(Path::new("lost")).expect("made"), disk.create(Path::new("hit")).expect("made"));
    for file in [&lost, &hit] {
        file.write_at(0, &[1; 512]).expect("written");
        file.sync_data().expect("synced");
    }
    // Nothing of it is left in any file.
    for seed in 0..4 {
        disk.misdirect(Some(seed));
        lost.write_at(0, &[2; 512]).expect("as far as it knows");
        lost.sync_data().expect("synced");
        disk.restore_newest();
        let content = |name| disk.durable_content(name).expect("there");
        assert_eq!((content("lost"), content("hit")), (vec![2; 512], vec![1; 512]), "seed {seed}");
        hit.write_at(0, &[1; 512]).expect("written");
        hit.sync_data().expect("synced");
    }
    lost.write_at(0, &[3; 512]).expect("written");
    lost.sync_data().expect("synced");
    lost.write_at(0, &[4; 512]).expect("written");
    disk.restore_newest();
    assert_eq!(disk.durable_content("lost").expect("there"), [3; 512], "what is not synced stays so");
    assert_eq!(disk.content("lost").expect("there"), [4; 512]);
}

#[test]
fn rot_shows_at_once_but_behind_newer_bytes() {
    let disk = MemoryDisk::new();
    let file = half_synced(&disk);
    disk.rot("a", 3, 0);
    disk.rot("a", 600, 0);
    let mut read = [0; 1024];
    file.read_exact_at(0, &mut read).expect("read");
    assert_eq!((read[3], read[600]), (0, 2), "what waits to be written hides what is below");
    let durable = disk.durable_content("a").expect("there");
    assert_eq!((durable[3], durable[600]), (0, 0));
    assert_eq!(disk.paths(), [Path::new("a")]);
}
