//! The stand-in for a stream of the log.

use bytes::Bytes;
use quorate_protocol::testing::{PowerCut, Stream};
use quorate_protocol::{
    Entry, EntryKind, LoadFailure, LoadRange, Loaded, LogIndex, LogPosition, LogTime, Operation, Term,
};

fn entries(index: u64, term: u64, count: usize) -> Operation {
    let entry = Entry::internal(EntryKind::NoOp, LogTime(0), Bytes::new());
    Operation::Append { index: LogIndex(index), term: Term(term), entries: vec![entry; count] }
}

fn record(key: u64, bytes: &'static [u8]) -> Operation {
    Operation::Journal { key, bytes: Bytes::from_static(bytes) }
}

fn state(bytes: &'static [u8], commit_hint: u64) -> Operation {
    Operation::PutState { bytes: Bytes::from_static(bytes), commit_hint: LogIndex(commit_hint) }
}

#[test]
fn a_core_recovers_what_was_written() {
    let mut stream = Stream::default();
    stream.write(&[entries(1, 1, 2), entries(3, 4, 2), state(b"state", 2)]);
    stream.write(&[Operation::TruncateFrom { index: LogIndex(4) }]);
    let recovery = stream.recovery(0);
    assert_eq!((recovery.last, recovery.commit_hint), (LogIndex(3), LogIndex(2)));
    let run = |index, term| LogPosition { index: LogIndex(index), term: Term(term) };
    assert_eq!(recovery.runs, [run(1, 1), run(3, 4)]);
    assert_eq!(recovery.tail.len(), 1, "at least one entry");
    assert_eq!(recovery.state.as_deref(), Some(&b"state"[..]));
    assert!(recovery.journal.is_none());
}

#[test]
#[should_panic(expected = "what is committed is not truncated")]
fn what_is_committed_is_not_truncated() {
    let mut stream = Stream::default();
    stream.write(&[entries(1, 1, 2), state(b"state", 2), Operation::TruncateFrom { index: LogIndex(2) }]);
}

#[test]
fn a_checkpoint_ends_the_records_before_its_mark() {
    let mut stream = Stream::default();
    stream.write(&[record(1, b"a"), record(2, b"b"), record(1, b"c"), record(2, b"")]);
    assert_eq!(stream.newest().into_iter().collect::<Vec<_>>(), [(1, &Bytes::from_static(b"c"))]);
    stream.write(&[Operation::CheckpointBegin { id: 7 }, record(1, b"c"), Operation::CheckpointDone { id: 7 }]);
    let recovery = stream.recovery(usize::MAX);
    let records: Vec<_> = recovery.journal.expect("records").map(|record| record.expect("readable")).collect();
    assert_eq!((recovery.checkpoint, records), (Some(7), vec![(1, Bytes::from_static(b"c"))]));
    let loaded = stream.load(&LoadRange::Keys { range: 0..9 });
    assert_eq!(loaded, Ok(Loaded::Keys(vec![(1, Bytes::from_static(b"c"))])));
}

#[test]
fn a_power_cut_leaves_a_part_of_a_write() {
    let write = [record(1, b"a"), state(b"new", 0)];
    let left = |left| {
        let mut stream = Stream::default();
        stream.cut(&write, left);
        (stream.state.is_some(), stream.newest().len())
    };
    assert_eq!(left(PowerCut::Lost), (false, 0));
    assert_eq!(left(PowerCut::StateAlone), (true, 0));
    assert_eq!(left(PowerCut::Whole), (true, 1));
}

#[test]
fn a_bad_entry_ends_a_load() {
    let mut stream = Stream::default();
    stream.write(&[entries(1, 1, 4)]);
    stream.bad_entry = Some((LogIndex(3), LoadFailure::Io));
    let load = |from: u64| stream.load(&LoadRange::Entries { range: LogIndex(from)..LogIndex(5), bytes_max: 1000 });
    let Ok(Loaded::Entries(loaded)) = load(1) else { panic!("the entries before it are read") };
    assert_eq!(loaded.len(), 2);
    assert_eq!(load(3), Err(LoadFailure::Io));
    assert!(load(4).is_ok());
    assert_eq!(load(0), Err(LoadFailure::Compacted));
}
