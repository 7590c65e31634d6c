//! Rules on the time from which a write counts, and on failures of the disk.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use quorate_protocol::{
    Entry, EntryKind, LoadFailure, LogIndex, LogTime, Operation, PersistFailure, StorageLevel, Term, Ticket,
};
use quorate_wal::disk::{Crash, DiskOperation, MemoryDisk};
use quorate_wal::{LogThread, StreamId, SubmissionRefusal, ThreadSettings, Wal};

use crate::slow::SlowDisk;
use crate::support::*;

/// Writes with rotations, each synced. Returns the last index that was acknowledged.
fn run(wal: &mut Wal<MemoryDisk>, first: u64, count: u64) -> u64 {
    for index in first..first + count {
        let written = wal.write(&[(A, vec![append_sized(index, 1, 1, 3000), state(&format!("t{index}"))])]);
        if written.is_err() || wal.sync().is_err() {
            return index - 1;
        }
        let _ = wal.settle(index % 3 == 0);
    }
    first + count - 1
}

/// The power goes at each disk operation of a run with rotations, and only what was synced survives.
#[test]
fn rule_20_what_was_acknowledged_survives_wherever_the_power_goes() {
    let fresh = MemoryDisk::new();
    drop(open(&fresh));
    let steps = {
        let disk = fresh.fork();
        let before = disk.operations();
        let mut wal = open(&disk);
        run(&mut wal, 1, 40);
        assert!(wal.metrics().rotations >= 3);
        disk.operations() - before
    };
    for step in 0..steps {
        for crash in [Crash::LoseUnsynced, Crash::Seeded(step)] {
            let disk = fresh.fork();
            disk.power_off_after(step);
            let acknowledged = try_open(&disk).map_or(0, |(mut wal, _)| run(&mut wal, 1, 40));
            disk.crash(crash);
            let (wal, _) = try_open(&disk).unwrap_or_else(|error| panic!("step {step}, {crash:?}: {error}"));
            let found = texts(&wal, A, 1).unwrap_or_default().len() as u64;
            assert!(found >= acknowledged && found <= acknowledged + 1, "step {step}: {found} of {acknowledged}");
            let state = state_of(&wal, A).unwrap_or_default();
            assert!(state == format!("t{found}") || state == format!("t{}", found + 1) || found == 0, "step {step}");
        }
    }
}

/// A process that ends between the renaming and the sync leaves a log whose name is not durable.
#[test]
fn rule_37_a_log_that_is_found_is_durable() {
    for number in 0.. {
        let disk = MemoryDisk::new();
        disk.power_off_after(number);
        let is_made = try_open(&disk).is_ok();
        disk.crash(Crash::Process);
        put(&mut open(&disk), A, vec![append(1, 1, 1)]);
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(open(&disk).recover(A, 0).expect("readable").last, LogIndex(1), "stopped after {number} changes");
        if is_made {
            return;
        }
    }
}

#[test]
fn rule_21_the_first_failed_operation_poisons_for_good() {
    let fresh = MemoryDisk::new();
    drop(open(&fresh));
    let mut poisoned = 0;
    let mut failed_syncs = 0;
    for step in 0.. {
        let disk = fresh.fork();
        let mut wal = open(&disk);
        let before = disk.history().len();
        disk.fail(step, ErrorKind::Other);
        let acknowledged = run(&mut wal, 1, 40);
        let Some(failed) = disk.history()[before..].get(usize::try_from(step).unwrap()).copied() else { break };
        let reason = wal.poisoned().cloned();
        let wal_failed = reason.is_some();
        if let Some(reason) = reason {
            poisoned += 1;
            assert_eq!(wal.sync(), Err(reason.clone()));
            assert_eq!(wal.write(&[(A, vec![append(acknowledged + 1, 1, 1)])]), Err(reason.clone()));
            assert_eq!(wal.settle(true), Err(reason.clone()));
            assert_eq!(wal.close(), Err(reason));
            failed_syncs += u64::from(matches!(failed, DiskOperation::Sync | DiskOperation::SyncDir));
        } else {
            assert_eq!(acknowledged, 40);
        }
        assert!(wal_failed || !matches!(failed, DiskOperation::Sync | DiskOperation::SyncDir | DiskOperation::Write));
        disk.crash(Crash::LoseUnsynced);
        // Rule 22: data that was being written may be there or not.
        let wal = open(&disk);
        let found = texts(&wal, A, 1).unwrap_or_default().len() as u64;
        assert!((acknowledged..=acknowledged + 1).contains(&found), "step {step}: {found} of {acknowledged}");
    }
    assert!(poisoned > 100 && failed_syncs > 40, "{poisoned} failures, {failed_syncs} of a sync");
}

#[test]
fn rule_21_nobody_waits_for_ever_when_the_log_fails() {
    for step in 0.. {
        let disk = MemoryDisk::new();
        let wal = open(&disk);
        let before = disk.operations();
        let (on_completion, completions) = completions();
        disk.fail(step, ErrorKind::Other);
        let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
        for ticket in 1..=30 {
            thread.submit(A, Ticket(ticket), vec![append_sized(ticket, 1, 1, 3000)]).unwrap();
        }
        let closed = thread.close();
        if disk.operations() - before <= step {
            assert!(step > 20, "with rotations");
            break;
        }
        let writes: Vec<_> = completions.iter().flat_map(|set| set.writes).collect();
        assert_eq!(writes.len(), 30, "step {step}");
        let first = writes.iter().position(|write| write.result.is_err()).unwrap_or(30);
        assert!(closed.is_err() || first == 30);
        for write in &writes[first..] {
            assert_eq!(write.result.as_ref().unwrap_err().failure(), PersistFailure::Unknown);
        }
    }
}

#[test]
fn rule_22_state_never_goes_back_over_a_poisoned_log() {
    let disk = MemoryDisk::new();
    let mut newest = 0;
    for round in 0..60 {
        let mut wal = open(&disk);
        let held: u64 = state_of(&wal, A).map_or(0, |state| state[1..].parse().unwrap());
        assert!(held >= newest, "round {round}: {held} after {newest}");
        disk.fail(round % 7, ErrorKind::Other);
        for term in held + 1..held + 10 {
            let Ok(_) = wal.write(&[(A, vec![state(&format!("t{term}"))])]) else { break };
            if wal.sync().is_err() {
                break;
            }
            newest = term;
            let _ = wal.settle(true);
        }
        drop(wal);
        disk.crash(Crash::Seeded(round));
    }
    assert!(newest > 20, "{newest}");
}

#[test]
fn rule_23_a_full_disk_is_told_early_loses_nothing_and_service_comes_back() {
    let mut told = 0;
    for capacity in (64..400).step_by(12) {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        disk.set_capacity(Some((capacity << 10) + disk.used()));
        let (mut index, mut refused) = (1, false);
        while index < 150 && !refused && wal.storage_level() == StorageLevel::Enough {
            let Ok(written) = wal.write(&[(A, vec![append_sized(index, 1, 1, 3000)])]) else { break };
            refused = !written.refused.is_empty();
            wal.sync().unwrap();
            wal.settle(false).unwrap();
            index += u64::from(!refused);
        }
        if wal.storage_level() == StorageLevel::Low {
            told += 1;
            // The remaining room serves votes and compaction.
            assert!(!refused, "{capacity}: told before anything is refused");
            put(&mut wal, B, vec![state("vote")]);
            put(&mut wal, A, vec![compact(index - 1, 1)]);
        }
        // The disk is full: submissions are refused, and the log is not poisoned.
        loop {
            let written = wal.write(&[(B, vec![state("more")])]).unwrap();
            wal.sync().unwrap();
            if written.refused == [(0, SubmissionRefusal::DiskFull)] || wal.metrics().batches > 2000 {
                break;
            }
        }
        disk.set_capacity(None);
        put(&mut wal, A, vec![append(index, 1, 1)]);
        assert_eq!(wal.storage_level(), StorageLevel::Enough);
        drop(wal);
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(texts(&open(&disk), A, index).unwrap(), [format!("{index}@1")]);
    }
    assert!(told > 10);
}

/// While one sync is held up, eight threads submit; all of that is made durable by the next one.
#[test]
fn rule_24_one_sync_covers_all_that_waits() {
    let (disk, gate) = SlowDisk::new();
    let (wal, _) = Wal::open(disk, small(), identity()).unwrap();
    gate.shut();
    let (on_completion, completions) = completions();
    let thread = LogThread::spawn(wal, &ThreadSettings::default(), on_completion).unwrap();
    thread.submit(StreamId(9), Ticket(1), vec![append(1, 1, 1)]).unwrap();
    gate.await_sync();
    std::thread::scope(|scope| {
        for stream in 1..=8 {
            let thread = &thread;
            scope.spawn(move || {
                for index in 1..=20 {
                    thread.submit(StreamId(stream), Ticket(index), vec![append(index, 1, 1)]).unwrap();
                }
            });
        }
    });
    gate.open();
    let first = completions.recv().unwrap().writes;
    assert_eq!(first.len(), 1);
    let second = completions.recv().unwrap().writes;
    assert_eq!(second.len(), 160, "all of them, by one sync");
    let mut last = BTreeMap::new();
    for write in second {
        assert_eq!(write.result, Ok(()));
        assert_eq!(last.insert(write.stream, write.ticket).map_or(0, |ticket| ticket.0) + 1, write.ticket.0);
    }
    while thread.metrics().sets < 2 {
        std::thread::yield_now();
    }
    assert_eq!(thread.metrics().log.syncs, 2);
    thread.close().unwrap();
}

#[test]
fn rule_25_gaps_and_falling_terms_are_refused_alone() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 3, 2)]);
    let written = wal
        .write(&[
            (A, vec![append(4, 3, 1)]),
            (A, vec![append(3, 2, 1)]),
            (B, vec![append(1, 1, 1)]),
            (A, vec![append(3, 3, 1), append(5, 3, 1)]),
            (A, vec![compact(2, 9)]),
            (A, vec![compact(7, 3)]),
            (A, vec![Operation::CheckpointDone { id: 1 }]),
            (A, vec![append(3, 4, 1)]),
            (B, vec![journal(7, "b"), journal(7, "c"), journal(2, "a")]),
        ])
        .unwrap();
    let refused = [
        (0, SubmissionRefusal::Gap { expected: 3, found: 4 }),
        (1, SubmissionRefusal::TermRegression { last: 3, found: 2 }),
        (3, SubmissionRefusal::Gap { expected: 4, found: 5 }),
        (4, SubmissionRefusal::TermMismatch { position: 2, found: 9 }),
        (5, SubmissionRefusal::OutOfRange { position: 7, base: 0, last: 2 }),
        (6, SubmissionRefusal::UnknownCheckpoint { id: 1 }),
    ];
    assert_eq!(written.refused, refused);
    wal.sync().unwrap();
    assert_eq!(texts(&wal, A, 1).unwrap(), ["1@3", "2@3", "3@4"]);
    assert_eq!(keys(&wal, B), [(2, "a".to_owned()), (7, "c".to_owned())]);
}

#[test]
fn rule_26_a_commit_hint_alone_needs_no_sync() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3)]);
    write(&mut wal, A, vec![Operation::CommitHint { index: LogIndex(2) }]);
    assert_eq!(wal.sync(), Ok(0));
    let (begin, done) = (Operation::CheckpointBegin { id: 1 }, Operation::CheckpointDone { id: 1 });
    let others = [append(4, 1, 1), state("t"), journal(1, "x"), truncate(4), compact(1, 1), begin, done, reset(5, 1)];
    for operation in others {
        write(&mut wal, A, vec![operation]);
        assert_eq!(wal.sync(), Ok(1));
    }
    wal.delete_stream(B).unwrap();
    assert_eq!(wal.sync(), Ok(1));
    assert_eq!(wal.recover(A, 0).unwrap().commit_hint, LogIndex(5));
}

#[test]
fn rule_30_and_31_a_vote_is_durable_with_everything_written_before_it() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    write(&mut wal, A, vec![append(1, 1, 1)]);
    write(&mut wal, A, vec![state("voted in 2")]);
    wal.sync().unwrap();
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let wal = open(&disk);
    assert_eq!(state_of(&wal, A).as_deref(), Some("voted in 2"));
    assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1"]);
}

/// At whichever step the power goes, a suffix whose truncation was acknowledged does not come back.
#[test]
fn rule_32_a_truncated_suffix_never_comes_back() {
    let base = MemoryDisk::new();
    let mut wal = open(&base);
    put(&mut wal, A, vec![append(1, 1, 6)]);
    wal.close().unwrap();
    for step in 0..20 {
        for seed in 0..10 {
            let disk = base.fork();
            let mut wal = open(&disk);
            disk.power_off_after(step);
            let mut is_gone = false;
            if wal.write(&[(A, vec![truncate(3)])]).is_ok() && wal.sync().is_ok() {
                is_gone = true;
                let _ = wal.settle(true);
                let _ = wal.write(&[(A, vec![append(3, 2, 2)])]);
                let _ = wal.sync();
            }
            drop(wal);
            disk.crash(Crash::Seeded(seed));
            let found = texts(&open(&disk), A, 1).unwrap();
            let texts: Vec<&str> = found.iter().map(String::as_str).collect();
            let expected: &[&[&str]] =
                &[&["1@1", "2@1"], &["1@1", "2@1", "3@2", "4@2"], &["1@1", "2@1", "3@1", "4@1", "5@1", "6@1"]];
            let allowed = if is_gone { &expected[..2] } else { expected };
            assert!(allowed.contains(&&texts[..]), "step {step}, seed {seed}: {texts:?}");
        }
    }
}

#[test]
fn rule_33_committed_entries_are_not_truncated() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 6), Operation::CommitHint { index: LogIndex(3) }]);
    put(&mut wal, A, vec![state_with_hint("t", 4)]);
    let written = wal.write(&[(A, vec![truncate(4)]), (A, vec![truncate(1)]), (A, vec![truncate(5)])]).unwrap();
    let refused = [4, 1].map(|position| SubmissionRefusal::Committed { position, commit_hint: 4 });
    assert_eq!(written.refused, [(0, refused[0]), (1, refused[1])]);
    wal.sync().unwrap();
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let written = open(&disk).write(&[(A, vec![truncate(4)])]).unwrap();
    assert_eq!(written.refused, [(0, refused[0])]);
}

/// The power goes at each disk operation of a compaction that frees segments.
#[test]
fn rule_34_compaction_leaves_old_or_new_and_never_a_hole() {
    let full = MemoryDisk::new();
    let mut wal = open(&full);
    run(&mut wal, 1, 40);
    put(&mut wal, B, vec![journal(1, "x")]);
    drop(wal);
    full.crash(Crash::KeepAll);
    let compact_all = |wal: &mut Wal<MemoryDisk>| {
        wal.write(&[(A, vec![compact(35, 1)])]).is_ok() && wal.sync().is_ok() && wal.settle(true).is_ok()
    };
    let steps = {
        let disk = full.fork();
        let mut wal = open(&disk);
        let before = disk.operations();
        assert!(compact_all(&mut wal));
        assert!(wal.metrics().freed_segments > 0);
        disk.operations() - before
    };
    assert!(steps > 5);
    for step in 0..=steps {
        for seed in 0..10 {
            let disk = full.fork();
            let mut wal = open(&disk);
            disk.power_off_after(step);
            compact_all(&mut wal);
            drop(wal);
            disk.crash(Crash::Seeded(seed));
            let (wal, _) = try_open(&disk).unwrap_or_else(|error| panic!("step {step}, seed {seed}: {error}"));
            let recovery = wal.recover(A, 0).unwrap();
            assert_eq!(recovery.last, LogIndex(40));
            assert!([LogIndex(0), LogIndex(35)].contains(&recovery.base.index));
            assert_eq!(texts(&wal, A, recovery.base.index.0 + 1).unwrap().len() as u64, 40 - recovery.base.index.0);
            assert_eq!(keys(&wal, B).len(), 1);
        }
    }
}

#[test]
fn a_submission_too_large_for_a_batch_is_refused_and_others_are_spread() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let submissions = vec![
        (A, vec![append_sized(1, 1, 8, 2500)]),
        (A, vec![append_sized(9, 1, 1, 40_000)]),
        (A, vec![append_sized(9, 1, 8, 2500)]),
        (B, vec![append_sized(1, 1, 8, 2500)]),
    ];
    let written = wal.write(&submissions).unwrap();
    assert!(matches!(written.refused[..], [(1, SubmissionRefusal::TooLarge { .. })]));
    wal.sync().unwrap();
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let wal = open(&disk);
    assert_eq!((texts(&wal, A, 1).unwrap().len(), texts(&wal, B, 1).unwrap().len()), (16, 8));
}

#[test]
fn a_reset_starts_the_log_anew_behind_a_snapshot() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 6)]);
    put(&mut wal, A, vec![reset(100, 7)]);
    assert_eq!(texts(&wal, A, 3), Err(LoadFailure::Compacted));
    put(&mut wal, A, vec![append(101, 7, 2)]);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let wal = open(&disk);
    assert_eq!(texts(&wal, A, 101).unwrap(), ["101@7", "102@7"]);
    assert_eq!(wal.recover(A, 0).unwrap().base, position(100, 7));
}

#[test]
fn configurations_are_recovered_wherever_they_are() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let configuration = |index| {
        let entry = Entry::internal(EntryKind::Configuration, LogTime(1), bytes::Bytes::from(format!("c{index}")));
        Operation::Append { index: LogIndex(index), term: Term(1), entries: vec![entry] }
    };
    put(&mut wal, A, vec![append(1, 1, 3), configuration(4), append(5, 1, 3), configuration(8), configuration(9)]);
    put(&mut wal, A, vec![truncate(9), append(9, 1, 1)]);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let found = open(&disk).recover(A, 0).unwrap().configurations;
    assert_eq!(found.iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [4, 8]);
}
