//! The log on its thread.

use std::time::Duration;

use quorate_protocol::{LoadFailure, LoadRange, Loaded, LogIndex, PersistFailure, StorageLevel, Ticket, WriteRefusal};
use quorate_wal::disk::{Crash, MemoryDisk};
use quorate_wal::{CloseError, Completions, LogThread, OpenError, SubmitError, ThreadSettings, Wal};

use crate::slow::SlowDisk;
use crate::support::*;

#[test]
fn submissions_become_durable_in_order_and_loads_come_back() {
    let disk = MemoryDisk::new();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(open(&disk), &ThreadSettings::default(), on_completion).unwrap();
    for ticket in 1..=100 {
        thread.submit(A, Ticket(ticket), vec![append(ticket, 1, 1)]).unwrap();
    }
    let mut done = Vec::new();
    while done.len() < 100 {
        let set = completions.recv().unwrap();
        done.extend(set.writes.into_iter().map(|write| (write.ticket.0, write.result.is_ok())));
    }
    assert_eq!(done, (1..=100).map(|ticket| (ticket, true)).collect::<Vec<_>>());
    thread.submit(A, Ticket(101), vec![append(300, 1, 1)]).unwrap();
    let refused = completions.recv().unwrap().writes.remove(0).result.unwrap_err();
    assert_eq!(refused.failure(), PersistFailure::Refused { reason: WriteRefusal::Gap });
    let range = LoadRange::Entries { range: LogIndex(10)..LogIndex(20), bytes_max: usize::MAX };
    thread.load(A, Ticket(102), range).unwrap();
    let load = completions.recv().unwrap().loads.remove(0);
    let Loaded::Entries(entries) = load.result.unwrap() else { panic!("entries were asked for") };
    assert_eq!(entries.len(), 10);
    thread.close().unwrap();
    assert_eq!(texts(&open(&disk), A, 1).unwrap().len(), 100);
}

#[test]
fn a_full_queue_refuses_and_takes_again_when_the_disk_goes_on() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk, small(), identity()).unwrap();
    gate.shut();
    let (on_completion, completions) = completions();
    let settings = ThreadSettings { queue_bytes_max: 2000, ..ThreadSettings::default() };
    let thread = LogThread::spawn(wal, &settings, on_completion).unwrap();
    let mut taken = 0;
    let refused = loop {
        match thread.submit(A, Ticket(taken + 1), vec![append(taken + 1, 1, 1)]) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, SubmitError::Full);
    assert!(taken < 50, "what is being written and what waits are bounded");
    gate.open();
    let mut done = 0;
    while done < taken {
        done += completions.recv().unwrap().writes.len() as u64;
    }
    thread.submit(A, Ticket(taken + 1), vec![append(taken + 1, 1, 1)]).unwrap();
    assert!(completions.recv().unwrap().writes[0].result.is_ok());
    thread.close().unwrap();
}

/// Writes, syncs and reads happen only on the log's three threads, whichever thread submits.
#[test]
fn rule_28_blocking_work_is_done_on_the_logs_own_threads() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk, small(), identity()).unwrap();
    gate.callers();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    for index in 1..=40 {
        thread.submit(A, Ticket(index), vec![append_sized(index, 1, 1, 3000), state("t"), compact(index, 1)]).unwrap();
        while completions.recv().unwrap().writes.is_empty() {}
    }
    thread.submit(A, Ticket(41), vec![append(41, 1, 1)]).unwrap();
    let range = LoadRange::Entries { range: LogIndex(41)..LogIndex(42), bytes_max: usize::MAX };
    while completions.recv().unwrap().writes.is_empty() {}
    thread.load(A, Ticket(42), range).unwrap();
    while completions.recv().unwrap().loads.is_empty() {}
    assert!(thread.metrics().log.rotations > 1);
    thread.close().unwrap();
    let mut callers = gate.callers().into_iter().collect::<Vec<_>>();
    // On a busy machine the thread that fills the next segment may never be in time. Then the first does its work.
    callers.retain(|caller| caller != "quorate-log-next");
    assert_eq!(callers, ["quorate-log", "quorate-log-reads"]);
}

/// A bug in the log ends neither its thread nor the process: waiting and later callers get an error, and none hangs.
#[test]
fn a_panic_of_the_writer_poisons_the_log() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk.clone(), small(), identity()).unwrap();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    thread.submit(A, Ticket(1), vec![append(1, 1, 1)]).unwrap();
    assert!(completions.recv().unwrap().writes[0].result.is_ok());
    gate.panic_at_sync();
    let both = [(A, Ticket(2), vec![append(2, 1, 1)]), (B, Ticket(1), vec![append(1, 1, 1)])];
    thread.submit_all(both).unwrap();
    thread.submit(A, Ticket(3), vec![append(3, 1, 1)]).unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(completions.recv().unwrap().writes);
    }
    assert_eq!(told.iter().map(|write| (write.stream, write.ticket.0)).collect::<Vec<_>>(), [(A, 2), (B, 1), (A, 3)]);
    for write in told {
        let refused = write.result.unwrap_err();
        assert_eq!(refused.failure(), PersistFailure::Unknown);
        assert!(refused.to_string().contains("a bug in writing"), "{refused}");
    }
    // Reads go on, and what was acknowledged before is there.
    let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(2), bytes_max: usize::MAX };
    thread.load(A, Ticket(9), range).unwrap();
    assert!(completions.recv().unwrap().loads[0].result.is_ok());
    assert!(thread.close().unwrap_err().to_string().contains("a bug in writing"));
    disk.files().crash(Crash::LoseUnsynced);
    assert_eq!(texts(&open(disk.files()), A, 1).unwrap(), ["1@1"]);
}

#[test]
fn a_panic_of_whoever_is_told_hangs_nobody() {
    let wal = open(&MemoryDisk::new());
    let (sender, receiver) = std::sync::mpsc::channel();
    let on_completion = move |done: Completions| {
        sender.send(done.writes.len()).unwrap();
        assert!(done.writes[0].ticket != Ticket(1), "a bug in the callback");
    };
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    thread.submit(A, Ticket(1), vec![append(1, 1, 1)]).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    thread.submit(A, Ticket(2), vec![append(2, 1, 1)]).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    assert!(thread.close().is_err());
}

#[test]
fn a_panic_of_a_load_answers_it_and_the_next_one_is_carried_out() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk, small(), identity()).unwrap();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    thread.submit(A, Ticket(1), vec![append(1, 1, 1)]).unwrap();
    assert!(completions.recv().unwrap().writes[0].result.is_ok());
    let load = |ticket| {
        let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(2), bytes_max: usize::MAX };
        thread.load(A, Ticket(ticket), range).unwrap();
        completions.recv().unwrap().loads.remove(0).result
    };
    gate.panic_at_read();
    assert_eq!(load(2), Err(LoadFailure::Io));
    assert!(load(3).is_ok());
    thread.close().unwrap();
}

/// A disk may answer late or never: closing the log does not wait for that.
#[test]
fn closing_gives_a_stalled_disk_up() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk.clone(), small(), identity()).unwrap();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    gate.shut();
    thread.submit(A, Ticket(1), vec![append(1, 1, 1)]).unwrap();
    gate.await_sync();
    assert_eq!(thread.close_within(Duration::ZERO), Err(CloseError::Stalled));
    // The threads hold the directory until they end, which they do when the disk answers.
    assert!(matches!(Wal::open(disk.clone(), small(), identity()), Err(OpenError::Locked)));
    gate.open();
    assert!(completions.recv().unwrap().writes[0].result.is_ok());
    while completions.recv().is_ok() {}
    assert_eq!(texts(&open(disk.files()), A, 1).unwrap(), ["1@1"], "all ends in order after all");

    let (wal, _) = Wal::open(SlowDisk::new().0, small(), identity()).unwrap();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), |_| {}).unwrap();
    assert_eq!(thread.close_within(Duration::from_mins(10)), Ok(()));
}

/// While the log is low on room nothing is written, since commands are refused. That there is room again is noticed all
/// the same.
#[test]
fn rule_23_room_again_is_noticed_without_a_write() {
    let disk = MemoryDisk::new();
    let wal = open(&disk);
    disk.set_capacity(Some(disk.used()));
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    let (mut index, mut ticket, mut level) = (1, 0, None);
    while level.is_none() {
        ticket += 1;
        thread.submit(A, Ticket(ticket), vec![append_sized(index, 1, 1, 3000)]).unwrap();
        let written = loop {
            let done = completions.recv().unwrap();
            level = level.or(done.storage_level);
            if let Some(write) = done.writes.first() {
                break write.result.is_ok();
            }
        };
        // Whether a write is refused first depends on which thread is faster.
        index += u64::from(written);
    }
    assert_eq!(level, Some(StorageLevel::Low));
    disk.set_capacity(None);
    let told = completions.recv().unwrap();
    assert_eq!(told.storage_level, Some(StorageLevel::Enough));
    thread.close().unwrap();
}

/// The bytes that compacting a stream would free: pages, not bytes of entries.
#[test]
fn completions_tell_what_a_stream_keeps_on_disk() {
    let wal = open(&MemoryDisk::new());
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    let write = |stream, ticket, operations| {
        thread.submit(stream, Ticket(ticket), operations).unwrap();
        completions.recv().unwrap().writes[0].stream_bytes
    };
    let one = write(A, 1, vec![append(1, 1, 1)]);
    assert!((2000..=4096).contains(&one), "one small entry, synced alone, takes most of a page: {one}");
    for index in 2..=10 {
        assert_eq!(write(A, index, vec![append(index, 1, 1)]), index * one);
    }
    assert!(write(B, 1, vec![journal(1, "x")]) > 1000, "each stream by itself");
    assert_eq!(write(A, 11, vec![compact(9, 1)]), one);
    assert_eq!(write(A, 12, vec![reset(20, 2)]), 0);
    thread.close().unwrap();
}
