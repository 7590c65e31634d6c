use std::io;
use std::path::Path;

use super::{Crash, Disk, DiskFile, DiskOperation, MemoryDisk, RealDisk, Sector};

/// What both disks promise.
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

/// Otherwise a copy that is put back in the place of a running node's disk could never be opened.
#[test]
fn nobody_holds_a_lock_on_a_copy() {
    let disk = MemoryDisk::new();
    let lock = disk.lock(Path::new("LOCK")).expect("free");
    disk.fork().lock(Path::new("LOCK")).expect("free on the copy");
    drop(lock);
}
