//! The log of a core as a state machine: its rules, its bytes and its snapshots.

use bytes::Bytes;
use quorate_protocol::{Entry, LogIndex, LogTime, Operation, STATE_BYTES_MAX, Term, WriteRefusal};

use super::codec::{Command, CommandError, Response};
use super::{BoundLog, CHECKPOINTS_MAX, Reign};
use crate::replica::state_machine::{ApplyContext, StateMachine};

fn apply(log: &mut BoundLog, index: u64, command: &Command) -> Response {
    let context = ApplyContext { index: LogIndex(index), log_time: LogTime(0) };
    let response = log.apply(context, command.encode()).expect("memory takes everything");
    Response::decode(response).expect("a response")
}

/// A log in the reign of index 3.
fn taken_over() -> BoundLog {
    let mut log = BoundLog::default();
    assert_eq!(apply(&mut log, 3, &Command::TakeOver), Response::Reigns(Reign(LogIndex(3))));
    log
}

fn write_in(log: &mut BoundLog, reign: u64, operations: Vec<Operation>) -> Response {
    apply(log, 100, &Command::Write { reign: Reign(LogIndex(reign)), operations })
}

fn write(log: &mut BoundLog, operations: Vec<Operation>) -> Response {
    write_in(log, 3, operations)
}

fn note(key: u64, text: &'static str) -> Operation {
    Operation::Journal { key, bytes: text.into() }
}

fn state(text: &'static str) -> Operation {
    Operation::PutState { bytes: text.into(), commit_hint: LogIndex::ZERO }
}

fn content(log: &BoundLog) -> Vec<(u64, Bytes)> {
    let recovery = log.recovery();
    recovery.journal.expect("a journal").map(|record| record.expect("in memory")).collect()
}

fn restored(log: &BoundLog) -> BoundLog {
    let mut bytes = Vec::new();
    <BoundLog as StateMachine>::write(log.snapshot(), &mut bytes).expect("memory takes everything");
    BoundLog::restore(&mut &bytes[..]).expect("its own snapshot")
}

#[test]
fn the_newest_record_of_each_key_is_what_a_core_recovers_from() {
    let mut log = BoundLog::default();
    assert!(log.recovery().is_fresh());
    log = taken_over();
    let operations = vec![note(1, "a"), note(2, "b"), note(1, "c"), state("one")];
    assert_eq!(write(&mut log, operations), Response::Written);
    assert_eq!(write(&mut log, vec![note(2, ""), note(3, "d"), note(4, "")]), Response::Written);
    assert_eq!(content(&log), [(1, "c".into()), (3, "d".into())]);
    assert_eq!(log.recovery().state, Some("one".into()));
    assert_eq!(log.keys(2..9), [(3, Bytes::from("d"))]);
    let backwards = std::ops::Range { start: 9, end: 2 };
    assert_eq!(log.keys(backwards), []);
}

#[test]
fn a_write_of_another_reign_changes_nothing() {
    let mut log = taken_over();
    write(&mut log, vec![note(1, "a"), state("one")]);
    let before = log.digest();
    assert_eq!(write_in(&mut log, 2, vec![note(1, "b")]), Response::Fenced);
    assert_eq!(write_in(&mut log, 4, vec![state("two")]), Response::Fenced);
    assert_eq!(log.digest(), before);
    assert_eq!(apply(&mut log, 9, &Command::TakeOver), Response::Reigns(Reign(LogIndex(9))));
    assert_eq!(write(&mut log, vec![note(1, "b")]), Response::Fenced, "a reign that has ended");
    assert_eq!(write_in(&mut log, 9, vec![note(1, "c")]), Response::Written);
    assert_eq!(content(&log), [(1, "c".into())]);
}

#[test]
fn before_the_first_reign_nothing_is_written() {
    let mut log = BoundLog::default();
    assert_eq!(log.reign(), Reign(LogIndex(0)));
    assert_eq!(write_in(&mut log, 1, vec![note(1, "a")]), Response::Fenced);
}

#[test]
fn a_checkpoint_drops_what_was_not_written_again() {
    let mut log = taken_over();
    write(&mut log, vec![note(1, "a"), note(2, "b"), state("one")]);
    write(&mut log, vec![Operation::CheckpointBegin { id: 7 }, note(2, "b")]);
    write(&mut log, vec![note(3, "c")]);
    assert_eq!(log.records(), 3);
    assert_eq!(restored(&log).digest(), log.digest(), "in the midst of a checkpoint");
    let mut other = restored(&log);
    for log in [&mut log, &mut other] {
        assert_eq!(write(log, vec![Operation::CheckpointDone { id: 7 }]), Response::Written);
        assert_eq!(content(log), [(2, "b".into()), (3, "c".into())]);
        assert_eq!((log.recovery().checkpoint, log.recovery().state), (Some(7), Some("one".into())));
    }
}

#[test]
fn a_checkpoint_of_a_former_core_is_never_done() {
    let mut log = taken_over();
    write(&mut log, vec![note(1, "a"), Operation::CheckpointBegin { id: 7 }]);
    apply(&mut log, 9, &Command::TakeOver);
    assert_eq!(write_in(&mut log, 9, vec![Operation::CheckpointDone { id: 7 }]), Response::Refused);
    assert_eq!(content(&log), [(1, "a".into())]);
}

#[test]
fn a_write_that_breaks_a_rule_is_refused_as_a_whole() {
    let mut log = taken_over();
    let entries: Vec<Entry> = Vec::new();
    let indexed = [
        Operation::Append { index: LogIndex(1), term: Term(1), entries },
        Operation::TruncateFrom { index: LogIndex(1) },
        Operation::CompactTo { index: LogIndex(1), term: Term(1) },
        Operation::Reset { index: LogIndex(1), term: Term(1) },
        Operation::CommitHint { index: LogIndex(1) },
        Operation::PutState { bytes: Bytes::new(), commit_hint: LogIndex(1) },
    ];
    for operation in indexed {
        assert_eq!(log.check(&[operation]), Err(WriteRefusal::Indexed));
    }
    let long = Operation::PutState { bytes: vec![0; STATE_BYTES_MAX + 1].into(), commit_hint: LogIndex::ZERO };
    assert_eq!(log.check(&[long]), Err(WriteRefusal::StateTooLarge));
    let done = || Operation::CheckpointDone { id: 1 };
    assert_eq!(log.check(&[done()]), Err(WriteRefusal::Checkpoint));
    assert_eq!(log.check(&[Operation::CheckpointBegin { id: 1 }, done()]), Ok(()));
    assert_eq!(log.check(&[Operation::CheckpointBegin { id: 1 }, done(), done()]), Err(WriteRefusal::Checkpoint));
    let begin = (0..).map(|id| Operation::CheckpointBegin { id });
    let many: Vec<_> = begin.take(CHECKPOINTS_MAX + 1).collect();
    assert_eq!(log.check(&many), Err(WriteRefusal::Checkpoint));
    assert_eq!(log.check(&many[1..]), Ok(()));
    assert_eq!(write(&mut log, vec![note(1, "a"), done()]), Response::Refused);
    assert_eq!(log.records(), 0);
}

#[test]
fn the_bytes_of_the_records_are_counted() {
    let mut log = taken_over();
    assert_eq!(log.growth(&[note(1, "abc"), note(2, ""), note(1, "ab")]), log.growth(&[note(5, "ab")]));
    let growth = log.growth(&[note(1, "abc")]);
    write(&mut log, vec![note(1, "abc")]);
    assert_eq!(log.records_bytes(), growth);
    assert_eq!(log.growth(&[note(1, ""), note(2, "abc")]), 0);
    assert_eq!(log.growth(&[note(1, "abcd")]), 1);
    write(&mut log, vec![note(1, "abcd"), note(2, "a")]);
    assert_eq!(restored(&log).records_bytes(), log.records_bytes());
    write(&mut log, vec![Operation::CheckpointBegin { id: 1 }, note(2, "a"), Operation::CheckpointDone { id: 1 }]);
    assert_eq!(log.records_bytes(), growth - 2);
    write(&mut log, vec![note(2, "")]);
    assert_eq!(log.records_bytes(), 0);
}

#[test]
fn a_command_that_cannot_be_read_is_refused_or_halts() {
    let mut log = taken_over();
    let context = ApplyContext { index: LogIndex(9), log_time: LogTime(0) };
    let golden = Command::Write { reign: Reign(LogIndex(3)), operations: vec![note(1, "a")] }.encode();
    for length in 0..golden.len() {
        if length == 10 {
            continue;
        }
        let response = log.apply(context, golden.slice(..length)).expect("it is of this version");
        assert_eq!(Response::decode(response), Some(Response::Refused), "the first {length} bytes");
    }
    assert_eq!(Command::decode(Bytes::from_static(&[2, 0])), Err(CommandError::Version(2)));
    assert!(log.apply(context, Bytes::from_static(&[2, 0])).is_err(), "a newer program wrote it");
    assert_eq!(log.reign(), Reign(LogIndex(3)));
    for bytes in [&[][..], &[0, 1], &[4], &[1, 1]] {
        assert_eq!(Response::decode(Bytes::copy_from_slice(bytes)), None);
    }
}

#[test]
fn a_damaged_snapshot_is_an_error() {
    let mut log = taken_over();
    write(&mut log, vec![note(1, "abc"), state("one"), Operation::CheckpointBegin { id: 1 }]);
    let mut bytes = Vec::new();
    <BoundLog as StateMachine>::write(log.snapshot(), &mut bytes).expect("memory takes everything");
    for length in 0..bytes.len() {
        assert!(BoundLog::restore(&mut &bytes[..length]).is_err(), "the first {length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(BoundLog::restore(&mut &longer[..]).is_err());
    bytes[0] = 2;
    assert!(BoundLog::restore(&mut &bytes[..]).is_err());
}

#[test]
fn the_bytes_never_change() {
    let operations =
        vec![note(1, "a"), state("s"), Operation::CheckpointBegin { id: 2 }, Operation::CheckpointDone { id: 2 }];
    let command = Command::Write { reign: Reign(LogIndex(3)), operations };
    let bytes = command.encode();
    assert_eq!(Command::decode(bytes.clone()), Ok(command));
    let operations =
        "0001000000000000000100000061".to_owned() + "010100000073" + "020200000000000000" + "030200000000000000";
    assert_eq!(hex(&bytes), "01010300000000000000".to_owned() + &operations);
    assert_eq!(hex(&Command::TakeOver.encode()), "0100");
    let responses = [Response::Reigns(Reign(LogIndex(3))), Response::Written, Response::Fenced, Response::Refused];
    assert_eq!(responses.map(|response| hex(&response.encode())), ["000300000000000000", "01", "02", "03"]);
    let mut log = taken_over();
    write(&mut log, vec![note(1, "a"), state("s"), Operation::CheckpointBegin { id: 2 }]);
    let mut snapshot = Vec::new();
    <BoundLog as StateMachine>::write(log, &mut snapshot).expect("memory takes everything");
    let head = "0103000000000000000100000000000000".to_owned() + "000000000000000000" + "010100000073";
    let marks = "010000000000000002000000000000000100000000000000";
    let records = "0100000000000000010000000000000000000000000000000100000061";
    assert_eq!(hex(&snapshot), head + marks + records);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
