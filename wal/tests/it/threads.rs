//! The log on its thread.

use quorate_protocol::{LoadRange, Loaded, LogIndex, PersistFailure, Ticket, WriteRefusal};
use quorate_wal::disk::MemoryDisk;
use quorate_wal::{LogThread, SubmitError, ThreadSettings, Wal};

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

/// Whoever submits, writes, syncs and reads happen on the log's two threads alone.
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
    assert_eq!(gate.callers().into_iter().collect::<Vec<_>>(), ["quorate-log", "quorate-log-reads"]);
}
