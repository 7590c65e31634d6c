//! The bytes of every message and record, as released. Newer versions must read them for ever.
//!
//! To write a new file after adding a variant: `QUORATE_THREE_PHASE_COMMIT_WRITE_GOLDEN=1 cargo test -p
//! quorate-two-phase-commit three_phase::formats`.

use std::fmt::Write;

use bytes::Bytes;
use quorate_protocol::testing::Happening;
use quorate_protocol::{NodeId, Now, Operation, Protocol, RecoverError, Recovery, StateError, Wire, WireError};
use quorate_two_phase_commit::three_phase::testing::{Builder, ThreePhases};
use quorate_two_phase_commit::three_phase::{Attempt, Config, Message, Position, Settings, Small, ThreePhaseCommit};
use quorate_two_phase_commit::{Decision, Epoch, TransactionNumber};

use super::ALL;

const GOLDEN: &str = include_str!("../../golden/three-phase-v1.txt");

/// Every message and every record of a commit, an abort by the others, and a restart.
fn lines() -> String {
    let mut out = String::new();
    for message in messages() {
        let mut raw = Vec::new();
        let small = bincode::serde::encode_to_vec(message.to_parts(&mut raw), bincode::config::standard());
        let raw: Vec<String> = raw.iter().map(|bytes| hex(bytes)).collect();
        writeln!(out, "message {} {}", hex(&small.expect("it is encoded")), raw.join(",")).expect("a string");
    }
    let mut cluster = Builder::new(3, 1).recorded().start();
    cluster.transact(1, &ALL);
    cluster.settle();
    cluster.isolate(1);
    cluster.transact(1, &ALL);
    cluster.quiesce();
    for happening in cluster.take_record() {
        let Happening::Wrote { node: NodeId(1), operations } = happening else { continue };
        for operation in operations {
            match operation {
                Operation::Journal { key, bytes } => writeln!(out, "record {key} {}", hex(&bytes)),
                Operation::PutState { bytes, .. } => writeln!(out, "state {}", hex(&bytes)),
                other => panic!("no {other:?} is written here"),
            }
            .expect("a string");
        }
    }
    out
}

fn messages() -> Vec<Message> {
    let number = TransactionNumber { epoch: Epoch(4), sequence: 70_000 };
    let transaction = super::transaction_of(1, number);
    let finished_below = TransactionNumber { epoch: Epoch(3), sequence: 1000 };
    let (attempt, decision) = (Attempt { round: 300, node: NodeId(2) }, Decision::Commit);
    let participants = [NodeId(1), NodeId(2), NodeId(300)].into();
    let small = [
        Small::Vote { transaction, is_yes: true },
        Small::Elect { transaction, attempt },
        Small::State { transaction, attempt, position: Position::Ready },
        Small::State { transaction, attempt, position: Position::Accepted(Decision::Abort, attempt) },
        Small::Propose { transaction, attempt, decision },
        Small::Accept { transaction, attempt },
        Small::Decide { transaction, decision, finished_below },
        Small::Known { transaction },
        Small::Presume { transaction },
    ];
    let payload = Bytes::from_static(b"payload");
    let prepare = Message::Prepare { transaction, participants, finished_below, payload };
    std::iter::once(prepare).chain(small.into_iter().map(Message::Small)).collect()
}

#[test]
fn what_is_written_and_sent_has_the_released_bytes() {
    let lines = lines();
    if std::env::var_os("QUORATE_THREE_PHASE_COMMIT_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/three-phase-v1.txt");
        std::fs::write(path, &lines).expect("it is written");
    }
    assert_eq!(lines, GOLDEN);
}

#[test]
fn released_messages_and_records_are_read() {
    let mut messages = messages().into_iter();
    let (mut state, mut read) = (None, 0);
    for line in GOLDEN.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["message", small, raw] => {
                let decoded = bincode::serde::decode_from_slice(&unhex(small), bincode::config::standard());
                let raw = if raw.is_empty() { Vec::new() } else { vec![unhex(raw)] };
                let message = Message::from_parts(decoded.expect("it is decoded").0, raw).expect("it is whole");
                assert_eq!(Some(message), messages.next());
            }
            ["state", bytes] => state = Some(unhex(bytes)),
            ["record", key, bytes] if !bytes.is_empty() => {
                let records: Vec<Result<(u64, Bytes), RecoverError>> =
                    vec![Ok((key.parse().expect("a key"), unhex(bytes)))];
                let journal = Some(Box::new(records.into_iter()) as _);
                recover(Recovery { state: state.clone(), journal, ..Recovery::default() }).expect("it is read");
                read += 1;
            }
            _ => {}
        }
    }
    assert_eq!(messages.next(), None);
    assert!(read > 4, "{read}");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let refused = |state: &'static [u8], record: Option<&'static [u8]>| {
        let journal = record.map(|bytes| Box::new(std::iter::once(Ok((0_u64, Bytes::from_static(bytes))))) as _);
        recover(Recovery { state: Some(Bytes::from_static(state)), journal, ..Recovery::default() })
            .expect_err("it is refused")
    };
    let sound: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refused(&[], None), RecoverError::State(StateError::Malformed));
    assert_eq!(refused(&sound[..8], None), RecoverError::State(StateError::Malformed));
    assert_eq!(refused(&[2; 9], None), RecoverError::State(StateError::Version(2)));
    assert_eq!(refused(sound, Some(&[1, 9])), RecoverError::State(StateError::Malformed));
    assert_eq!(refused(sound, Some(&[3, 1])), RecoverError::State(StateError::Version(3)));
    assert_eq!(refused(sound, Some(&[1, 1, 0])), RecoverError::State(StateError::Malformed));
    assert!(matches!(refused(&[1, 255, 255, 255, 255, 255, 255, 255, 255], None), RecoverError::Inconsistent(_)));
}

#[test]
fn sections_that_do_not_fit_are_refused() {
    let transaction = super::transaction_of(1, TransactionNumber::default());
    let known = Small::Known { transaction };
    assert_eq!(Message::from_parts(known, vec![Bytes::new()]), Err(WireError::Sections));
    let (participants, finished_below) = ([NodeId(1)].into(), TransactionNumber::default());
    let prepare = Small::Prepare { transaction, participants, finished_below };
    assert_eq!(Message::from_parts(prepare, Vec::new()), Err(WireError::Sections));
}

fn recover(recovery: Recovery) -> Result<ThreePhaseCommit, RecoverError> {
    let config = Config::new(NodeId(1), 1, Settings::default()).expect("valid");
    ThreePhaseCommit::recover(Now::default(), config, recovery)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits = |place: usize| u8::from_str_radix(&text[place..place + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}
