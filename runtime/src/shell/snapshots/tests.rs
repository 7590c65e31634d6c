use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use quorate_protocol::{ClusterId, Configuration, GroupId, LogIndex, LogTime, NodeId, SnapshotMeta, Term, crc32c};
use quorate_wal::disk::MemoryDisk;

use super::SnapshotStores;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation, SnapshotReader, SnapshotWriter};

const GROUP: GroupId = GroupId(3);

fn meta(index: u64) -> SnapshotMeta {
    let configuration = Configuration::of_voters([NodeId(1)]);
    SnapshotMeta { index: LogIndex(index), term: Term(2), log_time: LogTime(9), configuration }
}

fn open(disk: &MemoryDisk) -> SnapshotStores<MemoryDisk> {
    let snapshots = SnapshotStores::new(disk.clone(), Path::new("snapshots"), ClusterId(1));
    snapshots.open(GROUP).expect("opened");
    snapshots
}

fn build(index: u64, content: &'static [u8]) -> SnapshotOperation {
    SnapshotOperation::Build { meta: meta(index), write: Box::new(|out| out.write_all(content)) }
}

fn text() -> SnapshotReader {
    Box::new(|from| {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        Ok(Box::new(text) as Box<dyn std::any::Any + Send>)
    })
}

fn restore(index: u64) -> SnapshotOperation {
    SnapshotOperation::Restore { index: LogIndex(index), read: text() }
}

fn finish(checksum: u32) -> SnapshotOperation {
    SnapshotOperation::Finish { checksum, read: text() }
}

fn restored(snapshots: &SnapshotStores<MemoryDisk>, index: u64) -> String {
    match snapshots.perform(GROUP, restore(index)) {
        Ok(SnapshotDone::Restored(text)) => *text.downcast().expect("a string"),
        other => panic!("not restored: {other:?}"),
    }
}

fn write(offset: u64, bytes: &'static [u8]) -> SnapshotOperation {
    SnapshotOperation::Write { offset, bytes: Bytes::from_static(bytes) }
}

#[test]
fn a_built_snapshot_is_read_in_pieces_and_taken_in_elsewhere() {
    let (here, there) = (MemoryDisk::new(), MemoryDisk::new());
    let (here, there) = (open(&here), open(&there));
    let Ok(SnapshotDone::Durable { length, checksum, .. }) = here.perform(GROUP, build(7, b"some content")) else {
        panic!("not built")
    };
    assert_eq!((length, checksum), (12, crc32c(b"some content")));
    there.perform(GROUP, SnapshotOperation::Create { meta: meta(7), length }).expect("begun");
    let mut offset = 0;
    loop {
        let read = SnapshotOperation::Read { index: LogIndex(7), offset, bytes_max: 5 };
        let Ok(SnapshotDone::Piece { bytes, .. }) = here.perform(GROUP, read) else { panic!("not read") };
        if bytes.is_empty() {
            break;
        }
        let next = offset + bytes.len() as u64;
        there.perform(GROUP, SnapshotOperation::Write { offset, bytes }).expect("written");
        offset = next;
    }
    there.perform(GROUP, finish(checksum)).expect("whole");
    assert_eq!(restored(&there, 7), "some content");
}

#[test]
fn a_transfer_that_is_not_whole_becomes_no_snapshot() {
    let snapshots = open(&MemoryDisk::new());
    let create = || SnapshotOperation::Create { meta: meta(7), length: 3 };
    assert_eq!(snapshots.perform(GROUP, write(0, b"abc")).err(), Some(SnapshotFailure::Missing));
    for (piece, failure) in [(write(1, b"b"), SnapshotFailure::Damaged), (write(0, b"abcd"), SnapshotFailure::Damaged)]
    {
        snapshots.perform(GROUP, create()).expect("begun");
        assert_eq!(snapshots.perform(GROUP, piece).err(), Some(failure));
    }
    snapshots.perform(GROUP, create()).expect("begun");
    snapshots.perform(GROUP, write(0, b"ab")).expect("written");
    assert_eq!(
        snapshots.perform(GROUP, finish(crc32c(b"ab"))).err(),
        Some(SnapshotFailure::Damaged),
        "it is too short"
    );
    snapshots.perform(GROUP, create()).expect("begun");
    snapshots.perform(GROUP, write(0, b"abc")).expect("written");
    assert_eq!(snapshots.perform(GROUP, finish(1)).err(), Some(SnapshotFailure::Damaged), "it is another content");
    assert_eq!(snapshots.perform(GROUP, restore(7)).err(), Some(SnapshotFailure::Missing));
}

#[test]
fn a_snapshot_built_here_ends_a_transfer_of_the_same() {
    let snapshots = open(&MemoryDisk::new());
    snapshots.perform(GROUP, SnapshotOperation::Create { meta: meta(7), length: 3 }).expect("begun");
    snapshots.perform(GROUP, build(7, b"own")).expect("built");
    assert_eq!(snapshots.perform(GROUP, write(0, b"abc")).err(), Some(SnapshotFailure::Missing));
    assert_eq!(restored(&snapshots, 7), "own");
}

#[test]
fn what_the_state_machine_fails_with_is_told_and_leaves_the_older_one() {
    let disk = MemoryDisk::new();
    let snapshots = open(&disk);
    snapshots.perform(GROUP, build(5, b"older")).expect("built");
    let panics = SnapshotOperation::Build { meta: meta(7), write: Box::new(|_| panic!("no snapshot today")) };
    let failure = snapshots.perform(GROUP, panics).err();
    assert_eq!(failure, Some(SnapshotFailure::Io("panicked: no snapshot today".to_owned())));
    let fails = SnapshotOperation::Build { meta: meta(7), write: Box::new(|_| Err(io::Error::other("broken"))) };
    assert!(matches!(snapshots.perform(GROUP, fails), Err(SnapshotFailure::Io(text)) if text.contains("broken")));
    disk.set_capacity(Some(disk.used() + 100));
    let full = SnapshotOperation::Build { meta: meta(7), write: Box::new(|out| out.write_all(&vec![0; 1 << 20])) };
    assert_eq!(snapshots.perform(GROUP, full).err(), Some(SnapshotFailure::DiskFull));
    assert_eq!(open(&disk).open(GROUP).expect("whole").expect("one").meta.index, LogIndex(5));
}

#[test]
fn damage_is_noticed_though_the_state_machine_reads_nothing() {
    let disk = MemoryDisk::new();
    let snapshots = open(&disk);
    snapshots.perform(GROUP, build(7, b"content content content")).expect("built");
    let path = "snapshots/3/00000000000000000007.snapshot";
    let file = disk.content(path).expect("there");
    let place = file.windows(7).position(|window| window == b"content").expect("plain content");
    disk.flip(path, place as u64, 0);
    let reads_nothing = SnapshotOperation::Restore { index: LogIndex(7), read: Box::new(|_| Ok(Box::new(()))) };
    assert_eq!(snapshots.perform(GROUP, reads_nothing).err(), Some(SnapshotFailure::Damaged));
    assert_eq!(snapshots.perform(GROUP, restore(7)).err(), Some(SnapshotFailure::Damaged));
}

#[test]
fn a_raised_flag_ends_long_operations() {
    let snapshots = open(&MemoryDisk::new());
    let flag = snapshots.stop_flag();
    let endless = SnapshotOperation::Build {
        meta: meta(7),
        write: Box::new(move |out| {
            flag.raise();
            loop {
                out.write_all(b"more")?;
            }
        }),
    };
    assert!(matches!(snapshots.perform(GROUP, endless), Err(SnapshotFailure::Io(_))));
}

#[test]
fn older_snapshots_are_deleted_also_while_they_are_read() {
    let snapshots = open(&MemoryDisk::new());
    snapshots.perform(GROUP, build(5, b"older")).expect("built");
    snapshots.perform(GROUP, build(7, b"newer")).expect("built");
    let read = || SnapshotOperation::Read { index: LogIndex(5), offset: 0, bytes_max: 9 };
    snapshots.perform(GROUP, read()).expect("read");
    snapshots.perform(GROUP, SnapshotOperation::DeleteBefore { index: LogIndex(7) }).expect("deleted");
    assert_eq!(snapshots.perform(GROUP, read()).err(), Some(SnapshotFailure::Missing));
    assert_eq!(restored(&snapshots, 7), "newer");
    assert_eq!(snapshots.perform(GroupId(99), read()).err(), Some(SnapshotFailure::Missing));
}

/// The unreadable snapshot does not count, now or after the next start, and the log is unchanged.
#[test]
fn a_snapshot_that_no_state_machine_can_be_made_from_is_not_kept() {
    let disk = MemoryDisk::new();
    let snapshots = open(&disk);
    snapshots.perform(GROUP, build(5, b"older")).expect("built");
    let refuses: SnapshotReader = Box::new(|_| Err(io::Error::other("not mine")));
    let panics: SnapshotReader = Box::new(|_| panic!("not mine either"));
    for (read, expected) in [(refuses, "not mine"), (panics, "panicked: not mine either")] {
        snapshots.perform(GROUP, SnapshotOperation::Create { meta: meta(7), length: 3 }).expect("begun");
        snapshots.perform(GROUP, write(0, b"abc")).expect("written");
        let finish = SnapshotOperation::Finish { checksum: crc32c(b"abc"), read };
        let failure = snapshots.perform(GROUP, finish).err();
        assert_eq!(failure, Some(SnapshotFailure::Unrestorable(expected.to_owned())));
        assert_eq!(open(&disk).open(GROUP).expect("whole").expect("one").meta.index, LogIndex(5));
    }
    snapshots.perform(GROUP, SnapshotOperation::Create { meta: meta(7), length: 3 }).expect("begun anew");
    snapshots.perform(GROUP, write(0, b"abc")).expect("written");
    let Ok(SnapshotDone::Received { state, .. }) = snapshots.perform(GROUP, finish(crc32c(b"abc"))) else {
        panic!("not taken in")
    };
    assert_eq!(*state.downcast::<String>().expect("a string"), "abc");
}

#[test]
fn a_file_that_rots_is_found_and_replaced_by_one_of_the_same_index() {
    let disk = MemoryDisk::new();
    let snapshots = open(&disk);
    snapshots.perform(GROUP, build(7, b"content")).expect("built");
    let read = || SnapshotOperation::Read { index: LogIndex(7), offset: 0, bytes_max: 100 };
    snapshots.perform(GROUP, read()).expect("read");
    snapshots.perform(GROUP, SnapshotOperation::Verify { index: LogIndex(7) }).expect("sound");
    let path = "snapshots/3/00000000000000000007.snapshot";
    let file = disk.content(path).expect("there");
    let place = file.windows(7).position(|window| window == b"content").expect("plain content");
    disk.flip(path, place as u64, 0);
    let verified = snapshots.perform(GROUP, SnapshotOperation::Verify { index: LogIndex(7) });
    assert_eq!(verified.err(), Some(SnapshotFailure::Damaged));
    snapshots.perform(GROUP, build(7, b"content")).expect("built anew");
    let Ok(SnapshotDone::Piece { bytes, .. }) = snapshots.perform(GROUP, read()) else { panic!("not read") };
    assert_eq!(&bytes[..], b"content", "the damaged file is not read any more");
}

/// While the state machine writes for as long as it needs, pieces are read and received.
#[test]
fn a_snapshot_being_built_keeps_no_other_from_being_sent() {
    let snapshots = Arc::new(open(&MemoryDisk::new()));
    snapshots.perform(GROUP, build(5, b"older")).expect("built");
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let slow: SnapshotWriter = Box::new(move |out| {
        begun.send(()).expect("somebody waits");
        may_go_on.recv().map_err(io::Error::other)?;
        out.write_all(b"newer")
    });
    let building = thread::spawn({
        let snapshots = snapshots.clone();
        move || snapshots.perform(GROUP, SnapshotOperation::Build { meta: meta(9), write: slow }).map(drop)
    });
    has_begun.recv().expect("it is being built");
    let read = SnapshotOperation::Read { index: LogIndex(5), offset: 0, bytes_max: 9 };
    assert!(matches!(snapshots.perform(GROUP, read), Ok(SnapshotDone::Piece { .. })));
    assert_eq!(restored(&snapshots, 5), "older");
    let piece = write(0, b"abc");
    let create = |index| SnapshotOperation::Create { meta: meta(index), length: 3 };
    assert!(matches!(snapshots.perform(GROUP, create(9)), Err(SnapshotFailure::Io(_))), "its file has that name");
    snapshots.perform(GROUP, create(7)).expect("begun");
    snapshots.perform(GROUP, piece).expect("written");
    snapshots.perform(GROUP, finish(crc32c(b"abc"))).expect("whole");
    go_on.send(()).expect("it waits");
    assert_eq!(building.join().expect("no panic"), Ok(()));
    assert_eq!(restored(&snapshots, 9), "newer");
}
