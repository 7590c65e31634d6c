use bytes::Bytes;
use proptest::prelude::*;
use quorate_protocol::{BatchError, BatchHeader, Entry, EntryBatch, EntryKind, LogIndex, LogTime, Run, Term};

#[test]
fn gives_back_entries_with_their_places() {
    let entries = [no_op(1), no_op(2), no_op(3)];
    let terms = [Term(1), Term(1), Term(4)];
    let batch = EntryBatch::encode(LogIndex(5), terms.into_iter().zip(&entries));
    assert_eq!(batch.header().runs, [Run { term: Term(1), count: 2 }, Run { term: Term(4), count: 1 }]);
    let places: Vec<_> = batch.decode().expect("whole").into_iter().map(|(index, term, _)| (index.0, term.0)).collect();
    assert_eq!(places, [(5, 1), (6, 1), (7, 4)]);
}

#[test]
fn refuses_runs_that_are_not_those_of_a_log() {
    let batch = EntryBatch::encode(LogIndex(1), [(Term(2), &no_op(1)), (Term(2), &no_op(2))]);
    let decode = |runs: Vec<Run>, first| {
        EntryBatch::from_parts(BatchHeader { first: LogIndex(first), runs }, batch.raw().clone()).decode()
    };
    let run = |term, count| Run { term: Term(term), count };
    assert_eq!(decode(vec![run(2, 1), run(1, 1)], 1), Err(BatchError::Runs));
    assert_eq!(decode(vec![run(2, 2), run(3, 0)], 1), Err(BatchError::Runs));
    assert_eq!(decode(vec![run(2, 2)], u64::MAX - 1), Err(BatchError::Runs));
    assert_eq!(decode(vec![run(2, 1)], 1), Err(BatchError::Trailing { bytes: 56 }));
    assert!(matches!(decode(vec![run(2, u32::MAX)], 1), Err(BatchError::Entry(_))));
}

proptest! {
    #[test]
    fn arbitrary_parts_never_panic(
        first in any::<u64>(),
        runs in proptest::collection::vec((any::<u64>(), 0..4u32), 0..4),
        raw in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let runs = runs.into_iter().map(|(term, count)| Run { term: Term(term), count }).collect();
        let _ = EntryBatch::from_parts(BatchHeader { first: LogIndex(first), runs }, Bytes::from(raw)).decode();
    }
}

fn no_op(time: u64) -> Entry {
    Entry::internal(EntryKind::NoOp, LogTime(time), Bytes::new())
}
