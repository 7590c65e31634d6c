//! The log on its thread.

use quorate_protocol::{LoadRange, Loaded, LogIndex, PersistFailure, Ticket};
use quorate_wal::disk::MemoryDisk;
use quorate_wal::{LogThread, ThreadSettings};

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
    assert_eq!(refused.failure(), PersistFailure::NotWritten);
    let range = LoadRange::Entries { range: LogIndex(10)..LogIndex(20), bytes_max: usize::MAX };
    thread.load(A, Ticket(102), range).unwrap();
    let load = completions.recv().unwrap().loads.remove(0);
    let Loaded::Entries(entries) = load.result.unwrap() else { panic!("entries were asked for") };
    assert_eq!(entries.len(), 10);
    thread.close().unwrap();
    assert_eq!(texts(&open(&disk), A, 1).unwrap().len(), 100);
}
