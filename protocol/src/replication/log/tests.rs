use bytes::Bytes;
use proptest::prelude::*;

use super::{Log, bootstrap_entry};
use crate::{
    Configuration, Entry, EntryKind, LogIndex, LogPosition, LogTime, NodeId, Operation, RecoverError, Recovery,
    SnapshotMeta, Term, Ticket,
};

fn entry(number: u64) -> Entry {
    Entry::internal(EntryKind::Command, LogTime(number), Bytes::from(vec![7; 10]))
}

/// A log of entries with these terms, from index 1, durable.
fn log(terms: &[u64]) -> Log {
    let mut log = Log::recover(&Recovery::default(), usize::MAX).expect("fresh");
    for term in terms {
        log.append(Term(*term), entry(log.last().0 + 1));
    }
    write(&mut log, 1);
    log
}

fn write(log: &mut Log, ticket: u64) -> Vec<Operation> {
    let operations = log.hand_over(usize::MAX);
    log.mark(Ticket(ticket));
    log.persisted(|_| true);
    log.check_invariants();
    operations
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

fn snapshot(index: u64, term: u64) -> SnapshotMeta {
    let configuration = Configuration::of_voters([NodeId(1)]);
    SnapshotMeta { index: LogIndex(index), term: Term(term), log_time: LogTime(99), configuration }
}

#[test]
fn terms_are_known_from_the_base_to_the_last() {
    let log = log(&[1, 1, 3, 3, 4]);
    let terms: Vec<Option<u64>> = (0..7).map(|index| log.term_at(LogIndex(index)).map(|term| term.0)).collect();
    assert_eq!(terms, [Some(0), Some(1), Some(1), Some(3), Some(3), Some(4), None]);
    assert_eq!(log.last_term(), Term(4));
}

/// Raft §5.3: a conflict is resolved a term at a time.
#[test]
fn the_newest_entry_of_a_term_at_most() {
    let log = log(&[1, 1, 3, 3, 4]);
    let newest = |index, term| log.newest_at_most(position(index, term)).index.0;
    assert_eq!(newest(9, 9), 5);
    assert_eq!(newest(5, 3), 4);
    assert_eq!(newest(3, 3), 3);
    assert_eq!(newest(5, 2), 2);
    assert_eq!(newest(5, 0), 0);
}

#[test]
fn entries_are_handed_over_by_runs_within_a_bound() {
    let mut log = Log::recover(&Recovery::default(), usize::MAX).expect("fresh");
    for term in [1, 1, 2] {
        log.append(Term(term), entry(1));
    }
    let counts = |operations: Vec<Operation>| -> Vec<(u64, u64, usize)> {
        let count = |operation| match operation {
            Operation::Append { index, term, entries } => (index.0, term.0, entries.len()),
            other => panic!("{other:?}"),
        };
        operations.into_iter().map(count).collect()
    };
    assert_eq!(counts(log.hand_over(1)), [(1, 1, 1)], "at least one");
    assert_eq!(counts(log.hand_over(usize::MAX)), [(2, 1, 1), (3, 2, 1)]);
    assert!(!log.wants_writing());
    assert_eq!(log.unsubmitted_bytes(), 0);
}

#[test]
fn a_late_completion_does_not_cover_what_was_truncated() {
    let mut log = log(&[1]);
    log.append(Term(1), entry(2));
    log.append(Term(1), entry(3));
    log.hand_over(usize::MAX);
    log.mark(Ticket(2));
    log.truncate_from(LogIndex(2));
    log.append(Term(2), entry(2));
    let operations = log.hand_over(usize::MAX);
    assert_eq!(operations[0], Operation::TruncateFrom { index: LogIndex(2) });
    log.mark(Ticket(3));
    log.persisted(|ticket| ticket <= Ticket(2));
    assert_eq!(log.durable(), LogIndex(1), "entry 2 of term 1 was durable, and is gone");
    log.persisted(|_| true);
    assert_eq!((log.durable(), log.term_at(LogIndex(2))), (LogIndex(2), Some(Term(2))));
    log.check_invariants();
}

#[test]
fn what_never_reached_the_outbox_is_truncated_in_memory_alone() {
    let mut log = log(&[1]);
    log.append(Term(1), entry(2));
    log.truncate_from(LogIndex(2));
    assert!(!log.wants_writing());
    assert_eq!((log.last(), log.log_time()), (LogIndex(1), LogTime(1)));
}

#[test]
fn a_refused_write_is_handed_over_again() {
    let mut log = log(&[1, 1, 1]);
    log.truncate_from(LogIndex(2));
    log.append(Term(2), entry(2));
    let first = log.hand_over(usize::MAX);
    log.mark(Ticket(2));
    log.rewind();
    log.check_invariants();
    assert_eq!(log.hand_over(usize::MAX), first);
}

#[test]
fn the_cache_keeps_what_is_not_durable_and_as_much_else_as_fits() {
    let mut log = Log::recover(&Recovery::default(), 150).expect("fresh");
    for number in 1..=6 {
        log.append(Term(1), entry(number));
    }
    assert_eq!(log.cache_first(), LogIndex(1));
    write(&mut log, 1);
    assert_eq!(log.cache_first(), LogIndex(5), "66 bytes an entry");
    assert_eq!(log.read(LogIndex(4), LogIndex(6), 1000), None);
    assert_eq!(log.read(LogIndex(5), LogIndex(6), 1).map(|entries| entries.len()), Some(1));
    assert_eq!(log.batch(LogIndex(5), LogIndex(6), 1000).map(|(_, last)| last), Some(LogIndex(6)));
}

#[test]
fn batches_bear_their_terms() {
    let log = log(&[1, 2, 2, 5]);
    let (batch, last) = log.batch(LogIndex(1), LogIndex(3), usize::MAX).expect("cached");
    assert_eq!(last, LogIndex(3));
    let terms: Vec<(u64, u64)> =
        batch.decode().expect("honest").iter().map(|(index, term, _)| (index.0, term.0)).collect();
    assert_eq!(terms, [(1, 1), (2, 2), (3, 2)]);
}

#[test]
fn compaction_keeps_terms_and_configurations_right() {
    let mut log = Log::recover(&Recovery::default(), usize::MAX).expect("fresh");
    let first = Configuration::of_voters([NodeId(1)]);
    log.append(Term(0), bootstrap_entry(&first));
    log.note_configuration(LogIndex(1), first.clone());
    for term in [1, 1, 2] {
        log.append(Term(term), entry(1));
    }
    write(&mut log, 1);
    assert_eq!(log.compact_to(LogIndex(2)), Some(Operation::CompactTo { index: LogIndex(2), term: Term(1) }));
    log.check_invariants();
    assert_eq!((log.first(), log.term_at(LogIndex(2)), log.term_at(LogIndex(1))), (LogIndex(3), Some(Term(1)), None));
    assert_eq!(log.configuration(), &first);
    assert_eq!(log.compact_to(LogIndex(2)), None);
    log.compact_to(LogIndex(4));
    log.check_invariants();
    assert_eq!(log.last_term(), Term(2));
}

#[test]
fn a_truncated_configuration_is_not_in_force() {
    let mut log = log(&[1]);
    let two = Configuration::of_voters([NodeId(1), NodeId(2)]);
    let index = log.append(Term(1), bootstrap_entry(&two));
    log.note_configuration(index, two.clone());
    assert_eq!(log.configuration(), &two);
    log.truncate_from(index);
    assert_eq!(log.configuration(), &Configuration::default());
}

#[test]
fn contradictory_recoveries_are_refused() {
    let tail = vec![(LogIndex(2), entry(2))];
    let good = || Recovery { last: LogIndex(2), runs: vec![position(1, 1)], tail: tail.clone(), ..Recovery::default() };
    assert!(Log::recover(&good(), 1000).is_ok());
    let refused = |recovery: Recovery| match Log::recover(&recovery, 1000) {
        Err(RecoverError::Inconsistent(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(Log::recover(&Recovery { tail: Vec::new(), ..good() }, 1000).is_ok(), "a long newest entry leaves no tail");
    refused(Recovery { tail: vec![(LogIndex(1), entry(1)), (LogIndex(3), entry(3))], ..good() });
    refused(Recovery { tail: vec![(LogIndex(1), entry(1))], ..good() });
    refused(Recovery { runs: Vec::new(), ..good() });
    refused(Recovery { runs: vec![position(2, 1)], ..good() });
    refused(Recovery { runs: vec![position(1, 2), position(2, 1)], ..good() });
    refused(Recovery { runs: vec![position(1, 1), position(3, 2)], ..good() });
    refused(Recovery { base: position(3, 1), ..good() });
    refused(Recovery { base: position(1, 1), runs: vec![position(2, 1)], ..good() });
    let snapshot = Some(snapshot(1, 1));
    let compacted = Recovery { base: position(1, 1), runs: vec![position(2, 1)], snapshot, ..good() };
    assert!(Log::recover(&compacted, 1000).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Compares the log with a plain list of terms, and with a disk whose writes complete late or not at all.
    #[test]
    fn a_log_is_its_list_of_terms(steps in prop::collection::vec((0..7_u8, 0..8_u64), 1..80)) {
        let mut log = Log::recover(&Recovery::default(), 300).expect("fresh");
        let mut model: Vec<u64> = vec![0];
        let (mut disk, mut writes) = (vec![0_u64], Vec::new());
        let (mut ticket, mut done, mut term) = (0_u64, 0_u64, 1_u64);
        for (step, amount) in steps {
            match step {
                0..=2 => {
                    term += u64::from(amount == 0);
                    log.append(Term(term), entry(1));
                    model.push(term);
                }
                3 => {
                    let from = log.base().index.0 + 1 + amount;
                    if from <= log.last().0 {
                        log.truncate_from(LogIndex(from));
                        model.truncate(usize::try_from(from).expect("small"));
                        term += 1;
                    }
                }
                4 => {
                    ticket += 1;
                    writes.push((ticket, log.hand_over(200)));
                    log.mark(Ticket(ticket));
                }
                5 if !writes.is_empty() => {
                    let (number, operations) = writes.remove(0);
                    apply(&mut disk, operations);
                    done = number;
                    log.persisted(|ticket| ticket.0 <= done);
                }
                6 => {
                    writes.clear();
                    log.rewind();
                }
                _ => {}
            }
            log.check_invariants();
            let terms: Vec<u64> = (0..=log.last().0).map(|index| log.term_at(LogIndex(index)).expect("there").0).collect();
            prop_assert_eq!(&terms, &model);
            let durable = usize::try_from(log.durable().0).expect("small");
            prop_assert_eq!(&disk[..=durable], &model[..=durable], "what is durable is on disk");
        }
        prop_assert!(done <= ticket);
    }
}

fn apply(disk: &mut Vec<u64>, operations: Vec<Operation>) {
    for operation in operations {
        match operation {
            Operation::TruncateFrom { index } => {
                assert!(index.0 < disk.len() as u64, "only what is there is truncated");
                disk.truncate(usize::try_from(index.0).expect("small"));
            }
            Operation::Append { index, term, entries } => {
                assert_eq!(index.0, disk.len() as u64);
                disk.extend(entries.iter().map(|_| term.0));
            }
            other => panic!("{other:?}"),
        }
    }
}
