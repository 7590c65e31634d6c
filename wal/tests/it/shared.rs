//! Rules on streams that share segments.

use quorate_protocol::{LoadRange, LogIndex, Operation, Ticket};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::{LogSettings, LogThread, StreamId, SubmissionRefusal, ThreadSettings, Wal, WriteError};

use crate::slow::SlowDisk;
use crate::support::*;

#[test]
fn rule_41_a_segment_is_freed_when_nobody_needs_it() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    for index in 1..60 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    let before = wal.metrics();
    assert!(before.segments > 3 && before.freed_segments == 0);
    put(&mut wal, A, vec![compact(58, 1)]);
    let after = wal.metrics();
    assert_eq!((after.segments, after.relocated), (1, 0));
    assert!(names(&disk, "spare-").len() <= 2);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(texts(&open(&disk), A, 59).unwrap().len(), 1);
}

#[test]
fn rule_42_few_pinning_records_are_moved_and_keep_position_and_mark() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let (begin, done) = (Operation::CheckpointBegin { id: 1 }, Operation::CheckpointDone { id: 1 });
    // The records behind a checkpoint's mark are those written behind it, even if they were moved.
    put(&mut wal, B, vec![journal(4, "four"), begin, journal(5, "five"), journal(6, "six"), done]);
    put(&mut wal, B, vec![append(1, 3, 2), append(3, 4, 2), state("b")]);
    churn(&mut wal, A, 1, 200);
    assert!(wal.metrics().relocated > 0);
    put(&mut wal, B, vec![append(5, 4, 1)]);
    for _ in 0..2 {
        assert_eq!(texts(&wal, B, 1).unwrap(), ["1@3", "2@3", "3@4", "4@4", "5@4"]);
        assert_eq!(keys(&wal, B), [(5, "five".to_owned()), (6, "six".to_owned())]);
        let recovery = wal.recover(B, 0).unwrap();
        assert_eq!(recovery.runs, [position(1, 3), position(3, 4)]);
        drop(wal);
        disk.crash(Crash::LoseUnsynced);
        wal = open(&disk);
    }
}

#[test]
fn rule_42_a_stream_with_much_to_move_is_named_and_moved_only_when_space_runs_out() {
    let disk = MemoryDisk::new();
    let settings = LogSettings { pinned_bytes_max: 64 << 10, ..small() };
    let (mut wal, _) = Wal::open(disk, settings, identity()).unwrap();
    for index in 1..120 {
        put(&mut wal, B, vec![append_sized(index, 1, 1, 3000)]);
    }
    let mut named = false;
    for index in 1..40 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
        put(&mut wal, A, vec![compact(index, 1)]);
        named |= wal.compaction_wanted() == [B];
    }
    assert!(named);
    assert_eq!(wal.metrics().relocated, 0);
    put(&mut wal, B, vec![compact(119, 1)]);
    assert_eq!(wal.compaction_wanted(), []);
}

/// Appends and compacts at once, which leaves only garbage.
fn churn<D: Disk>(wal: &mut Wal<D>, stream: StreamId, first: u64, count: u64) {
    for index in first..first + count {
        put(wal, stream, vec![append_sized(index, 1, 1, 3000), compact(index, 1)]);
    }
}

/// The bound that `pinned_bytes_max` sets is not needed for it.
#[test]
fn rule_43_bytes_on_disk_stay_within_twice_the_live_ones_and_three_segments() {
    let disk = MemoryDisk::new();
    let settings =
        LogSettings { segment_bytes: 1 << 20, batch_bytes_max: 256 << 10, pinned_bytes_max: u64::MAX, ..small() };
    let (mut wal, _) = Wal::open(disk.clone(), settings.clone(), identity()).unwrap();
    let idle: Vec<StreamId> = (1..=1000).map(StreamId).collect();
    for stream in &idle {
        write(&mut wal, *stream, vec![append_sized(1, 1, 10, 100), state("voted")]);
    }
    wal.sync().unwrap();
    let hot = StreamId(5000);
    for round in 0..cases(1500) {
        let index = round * 4 + 1;
        put(&mut wal, hot, vec![append_sized(index, 1, 4, 8000), compact(index + 3, 1)]);
        let metrics = wal.metrics();
        let bound = 2 * metrics.live_bytes + 3 * settings.segment_bytes;
        assert!(metrics.disk_bytes <= bound, "index {index}: {metrics:?}");
    }
    let metrics = wal.metrics();
    assert!(metrics.relocated >= 10_000 && metrics.bytes > 40 * settings.segment_bytes, "{metrics:?}");
    assert!(metrics.live_bytes < 8 << 20);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let (wal, _) = Wal::open(disk, settings, identity()).unwrap();
    for stream in idle {
        assert_eq!(texts(&wal, stream, 1).unwrap().len(), 10);
        assert_eq!(state_of(&wal, stream).as_deref(), Some("voted"));
    }
}

/// The power goes at each disk operation while records are moved and a segment is freed.
#[test]
fn rule_43_a_relocation_may_be_cut_short_anywhere() {
    let full = MemoryDisk::new();
    let mut wal = open(&full);
    put(&mut wal, B, vec![append(1, 1, 5), journal(1, "one"), state("b")]);
    put(&mut wal, B, vec![journal(2, "two"), append(6, 2, 3)]);
    for index in 1..17 {
        write(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    write(&mut wal, A, vec![compact(16, 1)]);
    wal.sync().unwrap();
    assert_eq!((wal.metrics().relocated, wal.metrics().segments), (0, 2));
    wal.close().unwrap();
    full.crash(Crash::KeepAll);
    let steps = {
        let disk = full.fork();
        let mut wal = open(&disk);
        let before = disk.operations();
        wal.settle(true).unwrap();
        assert_eq!((wal.metrics().relocated, wal.metrics().freed_segments), (10, 1));
        disk.operations() - before
    };
    assert!(steps > 5);
    for step in 0..=steps {
        for seed in 0..20 {
            let disk = full.fork();
            let mut wal = open(&disk);
            disk.power_off_after(step);
            let _ = wal.settle(true);
            drop(wal);
            disk.crash(Crash::Seeded(seed));
            let (mut wal, _) = try_open(&disk).unwrap_or_else(|error| panic!("step {step}, seed {seed}: {error}"));
            assert_eq!(texts(&wal, B, 1).unwrap().len(), 8, "step {step}, seed {seed}");
            assert_eq!(keys(&wal, B), [(1, "one".to_owned()), (2, "two".to_owned())]);
            assert_eq!(state_of(&wal, B).as_deref(), Some("b"));
            put(&mut wal, B, vec![append(9, 2, 1)]);
            assert_eq!(texts(&wal, B, 1).unwrap().len(), 9);
        }
    }
}

#[test]
fn rule_44_a_deleted_stream_stays_deleted() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    put(&mut wal, B, vec![append(1, 1, 3), state("b"), journal(1, "x")]);
    wal.delete_stream(B).unwrap();
    wal.sync().unwrap();
    for _ in 0..3 {
        assert_eq!(wal.streams(), [A]);
        assert_eq!(wal.delete_stream(B), Err(WriteError::Refused(SubmissionRefusal::Deleted)));
        let written = wal.write(&[(B, vec![append(1, 1, 1)])]).unwrap();
        assert_eq!(written.refused, [(0, SubmissionRefusal::Deleted)]);
        // This holds as well when no segment holds a record of the stream any more.
        let first = wal.recover(A, 0).unwrap().last.0 + 1;
        churn(&mut wal, A, first, 60);
        drop(wal);
        disk.crash(Crash::LoseUnsynced);
        wal = open(&disk);
    }
}

#[test]
fn rule_45_a_load_does_not_wait_for_a_sync() {
    let (disk, gate) = SlowDisk::new();
    let (mut wal, _) = Wal::open(disk, small(), identity()).unwrap();
    put(&mut wal, A, vec![append(1, 1, 3)]);
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    gate.shut();
    thread.submit(A, Ticket(1), vec![append(4, 1, 1)]).unwrap();
    let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(4), bytes_max: usize::MAX };
    thread.load(A, Ticket(2), range).unwrap();
    let first = completions.recv().unwrap();
    assert!(first.writes.is_empty() && first.loads[0].ticket == Ticket(2) && first.loads[0].result.is_ok());
    gate.open();
    assert_eq!(completions.recv().unwrap().writes[0].ticket, Ticket(1));
    thread.close().unwrap();
}
