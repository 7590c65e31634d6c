//! The bytes of every message and record, as released. Newer versions must read them for ever.
//!
//! To write a new file after adding a variant: `QUORATE_TWO_PHASE_COMMIT_WRITE_GOLDEN=1 cargo test -p
//! quorate-two-phase-commit formats`.

use std::fmt::Write;

use bytes::Bytes;
use quorate_protocol::testing::Happening;
use quorate_protocol::{NodeId, Now, Operation, Protocol, RecoverError, Recovery, StateError, Wire, WireError};
use quorate_two_phase_commit::message::{Acknowledgement, CommitOnePhase, Decide, Finished, Prepare, Small, Stamp};
use quorate_two_phase_commit::testing::{Builder, Transactions, Work};
use quorate_two_phase_commit::{
    Command, Config, CoordinatorId, Decision, Epoch, Message, Settings, TransactionId, TransactionNumber,
    TwoPhaseCommit, Unready, Vote,
};

fn messages() -> Vec<Message> {
    let finished_below = TransactionNumber { epoch: Epoch(3), sequence: 1000 };
    let stamp = Stamp { coordinator: CoordinatorId(1), epoch: Epoch(4), finished_below };
    let number = TransactionNumber { epoch: Epoch(4), sequence: 70_000 };
    let transaction = TransactionId { coordinator: CoordinatorId(1), number };
    let payload = Bytes::from_static(b"payload");
    let participants = [NodeId(1), NodeId(2), NodeId(300)].into();
    let vote = |vote| Message::Vote { transaction, vote };
    let decide = |decision| Message::Decide(Decide { stamp, transaction, decision });
    let acknowledge = |how| Message::Acknowledge { transaction, how };
    let outcome = |decision| Message::Outcome { transaction, decision };
    vec![
        Message::Prepare(Prepare { stamp, transaction, participants, payload: payload.clone() }),
        vote(Vote::Yes),
        vote(Vote::ReadOnly),
        vote(Vote::No),
        decide(Decision::Commit),
        decide(Decision::Abort),
        acknowledge(Acknowledgement::Applied),
        acknowledge(Acknowledgement::AlreadyDone),
        acknowledge(Acknowledgement::Forgotten),
        acknowledge(Acknowledgement::HeuristicallyAborted),
        acknowledge(Acknowledgement::HeuristicallyCommitted),
        acknowledge(Acknowledgement::Lost),
        Message::Inquire { transaction },
        Message::Presume { stamp, transaction },
        outcome(Decision::Commit),
        outcome(Decision::Abort),
        Message::CommitOnePhase(CommitOnePhase { stamp, transaction, payload }),
        Message::InquireFinished { coordinator: CoordinatorId(1) },
        Message::Finished(Finished { stamp, until: number, unfinished: [finished_below].into() }),
        Message::Unready { transaction, why: Unready::LogBehind },
        Message::Served { coordinator: CoordinatorId(1), epoch: Epoch(5), server: NodeId(2) },
        Message::Noted { stamp, transaction },
    ]
}

fn wire() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<65_536>()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn compare(file: &str, golden: &str, text: &str) {
    if std::env::var_os("QUORATE_TWO_PHASE_COMMIT_WRITE_GOLDEN").is_some() {
        let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, text).expect("the file can be written");
    }
    assert_eq!(text, golden);
}

/// One line for each message: its name, the small section, the raw section.
#[test]
fn messages_keep_their_bytes() {
    let mut text = String::new();
    for message in messages() {
        let mut raw = Vec::new();
        let small = message.to_parts(&mut raw);
        let small = bincode::serde::encode_to_vec(&small, wire()).expect("it encodes");
        let raw: String = raw.iter().map(|section| format!(" {}", hex(section))).collect();
        let name = format!("{message:?}");
        let name = name.split(['(', ' ']).next().expect("a name").to_owned();
        writeln!(text, "{name} {}{raw}", hex(&small)).expect("a string takes everything");
    }
    compare("messages-v1.txt", include_str!("../golden/messages-v1.txt"), &text);
}

#[test]
fn released_messages_are_read() {
    let golden = include_str!("../golden/messages-v1.txt");
    assert_eq!(golden.lines().count(), messages().len());
    for (line, expected) in golden.lines().zip(messages()) {
        let mut fields = line.split(' ').skip(1);
        let small = unhex(fields.next().expect("a small section"));
        let (decoded, read): (Small, usize) = bincode::serde::decode_from_slice(&small, wire()).expect("it decodes");
        assert_eq!(read, small.len(), "all of it is read");
        let raw: Vec<Bytes> = fields.map(unhex).collect();
        assert_eq!(Message::from_parts(decoded, raw), Ok(expected));
    }
}

#[test]
fn parts_that_do_not_make_a_message_are_refused() {
    let transaction = TransactionId::default();
    let inquire = Small::Inquire { transaction };
    assert_eq!(Message::from_parts(inquire, vec![Bytes::new()]), Err(WireError::Sections));
    let prepare = Small::Prepare { stamp: Stamp::default(), transaction, participants: [].into() };
    assert_eq!(Message::from_parts(prepare.clone(), Vec::new()), Err(WireError::Sections));
    assert_eq!(Message::from_parts(prepare, vec![Bytes::new(); 2]), Err(WireError::Sections));
}

/// The operations that a node wrote, in order.
fn written_by(node: NodeId, record: &[Happening<TwoPhaseCommit>]) -> impl Iterator<Item = &Operation> {
    let writes = record.iter().filter_map(move |happening| match happening {
        Happening::Wrote { node: of, operations } if *of == node => Some(operations),
        _ => None,
    });
    writes.flatten()
}

/// All writes of a cluster in which every kind of record is written, one line for each operation.
fn written() -> String {
    let mut cluster = Builder::new(3, 1).recorded().start();
    let decided = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.transact(1, &[(2, Work::Refuse), (3, Work::Write(2))]);
    cluster.transact(2, &[(3, Work::Write(3))]);
    cluster.quiesce();
    cluster.command(3, |command| Command::Forget { command, node: NodeId(9) });
    cluster.hold_disk(1);
    let transaction = cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.settle();
    cluster.command(3, |command| Command::ForceOutcome { command, transaction, decision: Decision::Abort });
    cluster.settle();
    cluster.release_disk(1);
    cluster.quiesce();
    cluster.command(3, |command| Command::ForgetMixed { command, transaction });
    assert_eq!(decided.number.sequence, 1);
    let mut text = String::new();
    let record = cluster.take_record();
    for node in cluster.nodes.keys() {
        for operation in written_by(*node, &record) {
            match operation {
                Operation::Journal { key, bytes } => writeln!(text, "{node} record {key} {}", hex(bytes)),
                Operation::PutState { bytes, .. } => writeln!(text, "{node} state {}", hex(bytes)),
                other => panic!("no {other:?} is written here"),
            }
            .expect("a string takes everything");
        }
    }
    text
}

#[test]
fn records_keep_their_bytes() {
    let text = written();
    compare("records-v1.txt", include_str!("../golden/records-v1.txt"), &text);
    for kind in ["0101", "0102", "0103", "0104", "0105", "0106", "0107", "0108", "0109", "010a", "010b"] {
        assert!(text.lines().any(|line| line.split(' ').nth(3).is_some_and(|hex| hex.starts_with(kind))), "{kind}");
    }
}

#[test]
fn released_records_are_read() {
    let mut states = 0;
    for node in 1..=3 {
        let (mut state, mut records) = (None, Vec::<Result<(u64, Bytes), RecoverError>>::new());
        for line in include_str!("../golden/records-v1.txt").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields[..] {
                [of, "state", bytes] if of == node.to_string() => {
                    states += 1;
                    state = Some(unhex(bytes));
                }
                [of, "record", key, bytes] if of == node.to_string() && !bytes.is_empty() => {
                    records = vec![Ok((key.parse().expect("a key"), unhex(bytes)))];
                }
                _ => {}
            }
            let journal = records.clone();
            if state.is_some() {
                let journal = Some(Box::new(journal.into_iter()) as _);
                recover(NodeId(node), Recovery { state: state.clone(), journal, ..Recovery::default() })
                    .expect("it is read");
            }
        }
    }
    assert!(states >= 3);
}

/// A log may also return older records of a key: only the newest counts.
#[test]
fn older_records_of_a_key_do_not_count() {
    let mut cluster = Builder::new(3, 1).recorded().start();
    cluster.transact(1, &[(2, Work::Write(1)), (3, Work::Write(1))]);
    cluster.quiesce();
    let record = cluster.take_record();
    for (node, it) in &cluster.nodes {
        let (mut state, mut records) = (None, Vec::new());
        for operation in written_by(*node, &record).cloned() {
            match operation {
                Operation::Journal { key, bytes } => records.push(Ok((key, bytes))),
                Operation::PutState { bytes, .. } => state = Some(bytes),
                other => panic!("no {other:?} is written here"),
            }
        }
        let journal = Some(Box::new(records.into_iter()) as _);
        let core = recover(*node, Recovery { state, journal, ..Recovery::default() }).expect("it is read");
        let (found, expected) = (core.status(), it.core().status());
        let counts =
            |status: &quorate_two_phase_commit::Status| (status.remembered, status.branches, status.tombstones);
        assert_eq!(counts(&found), counts(&expected));
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let state = Bytes::from_static(&[1; 25]);
    let refused = |recovery: Recovery| recover(NodeId(1), recovery).expect_err("it is refused");
    let with_state = |bytes: &[u8]| Recovery { state: Some(Bytes::copy_from_slice(bytes)), ..Recovery::default() };
    assert_eq!(refused(with_state(&[])), RecoverError::State(StateError::Malformed));
    assert_eq!(refused(with_state(&state[..24])), RecoverError::State(StateError::Malformed));
    assert_eq!(refused(with_state(&[2; 25])), RecoverError::State(StateError::Version(2)));
    let record = |bytes: &'static [u8]| Box::new(std::iter::once(Ok((0_u64, Bytes::from_static(bytes))))) as _;
    let alone = Recovery { journal: Some(record(&[1, 5])), ..Recovery::default() };
    assert!(matches!(refused(alone), RecoverError::Inconsistent(_)));
    let mut sound = vec![1; 9];
    sound.extend([0; 16]);
    for (bytes, error) in
        [(&[1, 99][..], StateError::Kind(99)), (&[1], StateError::Malformed), (&[3, 1], StateError::Version(3))]
    {
        let recovery = Recovery { journal: Some(record(bytes)), ..with_state(&sound) };
        assert_eq!(refused(recovery), RecoverError::State(error));
    }
}

fn recover(node: NodeId, recovery: Recovery) -> Result<TwoPhaseCommit, RecoverError> {
    let config = Config::new(node, 1, Settings::default()).expect("valid");
    TwoPhaseCommit::recover(Now::default(), config, recovery)
}
