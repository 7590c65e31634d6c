//! The bytes of every message and record, as released. Newer versions must always be able to read them.
//!
//! To write a new file after adding a variant: `QUORATE_RAFT_WRITE_GOLDEN=1 cargo test -p quorate-raft formats`.

use std::fmt::Write;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, DiskState, Entry, EntryBatch, EntryKind, LogIndex, LogTime, NodeId, Now, Operation, Output,
    Protocol, Recovery, SnapshotMeta, Standing, Term, Wire, WireError,
};
use quorate_protocol::{Input, RecoverError, Signal, StateError};
use quorate_raft::message::{
    AppendEntries, AppendOutcome, AppendResponse, ClockReading, CommitNotice, Heartbeat, HeartbeatResponse,
    InstallSnapshot, LeasePromise, Pace, PullEntries, PulledEntries, PulledSnapshot, ReadIndex, ReadIndexResponse,
    ReadOutcome, Removed, RequestVote, Small, TimeoutNow, Verdict, VoteKind, VoteResponse,
};
use quorate_raft::{Config, Message, Raft, Settings, Start};

fn messages() -> Vec<Message> {
    let (term, commit_index) = (Term(7), LogIndex(1000));
    let entry = Entry::internal(EntryKind::Command, LogTime(1_700_000_000_000), Bytes::from_static(b"payload"));
    let batch = EntryBatch::encode(LogIndex(12), [(Term(6), &entry), (Term(7), &entry)]);
    let pulled = batch.clone();
    let snapshot = SnapshotMeta {
        index: LogIndex(9),
        term: Term(3),
        log_time: LogTime(5),
        configuration: Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]),
    };
    let pulled_snapshot = snapshot.clone();
    let append = |outcome| Message::AppendResponse(AppendResponse { term, outcome });
    let read = |outcome| Message::ReadIndexResponse(ReadIndexResponse { term, number: 1 << 32 | 4, outcome });
    let (last_index, last_term) = (LogIndex(300), Term(6));
    let vote = |kind, founding| Message::RequestVote(RequestVote { term, kind, last_index, last_term, founding });
    let log_time = LogTime(1_700_000_000_000);
    let answer = |kind, verdict, log_time| {
        let clock = ClockReading { log_time, wall_ms: 1_700_000_000_001 };
        Message::VoteResponse(VoteResponse { term: Term(6), asked: term, kind, verdict, clock, last_index, last_term })
    };
    vec![
        vote(VoteKind::Pre, None),
        vote(VoteKind::Full, Some(0xdead_beef)),
        vote(VoteKind::Transfer, Some(1)),
        answer(VoteKind::Pre, Verdict::Granted, None),
        answer(VoteKind::Full, Verdict::Refused, Some(log_time)),
        Message::AppendEntries(AppendEntries {
            term,
            prev_index: LogIndex(11),
            prev_term: Term(5),
            commit_index,
            batch,
        }),
        append(AppendOutcome::Matched { match_index: LogIndex(13) }),
        append(AppendOutcome::Conflict { prev_index: LogIndex(11), hint_index: LogIndex(4), hint_term: Term(2) }),
        append(AppendOutcome::Stale),
        append(AppendOutcome::Corrupt { index: LogIndex(12) }),
        Message::Heartbeat(Heartbeat { term, commit_index, round: 5, pace: Pace::Lively, log_time }),
        Message::Heartbeat(Heartbeat { term, commit_index, round: 6, pace: Pace::Quiet, log_time }),
        Message::HeartbeatResponse(HeartbeatResponse {
            term,
            round: 5,
            received_index: LogIndex(13),
            match_index: LogIndex(12),
            durable_index: LogIndex(14),
            pace: Pace::Quiet,
            disk: DiskState::Low,
        }),
        Message::CommitNotice(CommitNotice { term, commit_index }),
        Message::InstallSnapshot(InstallSnapshot { term, snapshot, founding: Some(0xdead_beef) }),
        Message::ReadIndex(ReadIndex { term, number: 1 << 32 | 4 }),
        read(ReadOutcome::Index(LogIndex(13))),
        read(ReadOutcome::NotLeader),
        read(ReadOutcome::Overloaded),
        Message::TimeoutNow(TimeoutNow { term }),
        Message::Removed(Removed { term, index: LogIndex(9) }),
        Message::LeasePromise(LeasePromise { term, round: 5, span_us: 500_000 }),
        Message::PullEntries(PullEntries { term, prev_index: last_index, prev_term: last_term }),
        Message::PulledEntries(PulledEntries { term, prev_index: LogIndex(11), prev_term: Term(5), batch: pulled }),
        Message::PulledSnapshot(PulledSnapshot { term, snapshot: pulled_snapshot, founding: Some(7) }),
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
        let name = name.split('(').next().expect("a name").to_owned();
        writeln!(text, "{name} {}{raw}", hex(&small)).expect("a string takes everything");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/messages-v1.txt");
    if std::env::var_os("QUORATE_RAFT_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &text).expect("the file can be written");
    }
    assert_eq!(text, include_str!("../golden/messages-v1.txt"));
}

#[test]
fn released_messages_are_read() {
    for (line, expected) in include_str!("../golden/messages-v1.txt").lines().zip(messages()) {
        let mut fields = line.split(' ').skip(1);
        let small = unhex(fields.next().expect("a small section"));
        let (small, read): (Small, usize) = bincode::serde::decode_from_slice(&small, wire()).expect("it decodes");
        assert_eq!(read * 2, line.split(' ').nth(1).expect("a section").len(), "all of it is read");
        let raw: Vec<Bytes> = fields.map(unhex).collect();
        assert_eq!(Message::from_parts(small, raw), Ok(expected));
    }
}

#[test]
fn parts_that_do_not_make_a_message_are_refused() {
    let small = Small::TimeoutNow(TimeoutNow { term: Term(1) });
    assert_eq!(Message::from_parts(small, vec![Bytes::new()]), Err(WireError::Sections));
    let small = Small::InstallSnapshot { term: Term(1), founding: None };
    assert_eq!(Message::from_parts(small.clone(), Vec::new()), Err(WireError::Sections));
    let malformed = Err(WireError::Malformed("snapshot metadata"));
    assert_eq!(Message::from_parts(small, vec![Bytes::from_static(b"x")]), malformed);
}

/// Version, term 1, a vote for node 1, no starts counted: the state record after a first election.
const STATE: &str = "0101000000000000000101000000000000000000000001fb0a8d65";

#[test]
fn the_state_record_keeps_its_bytes() {
    let (core, state) = candidate();
    assert_eq!(hex(&state), STATE);
    assert_eq!(quorate_protocol::ReplicatedLog::status(&core).term, Term(1));
    let recovered = recover(Some(&state)).expect("it is read");
    assert_eq!(quorate_protocol::ReplicatedLog::status(&recovered).term, Term(1));
}

#[test]
fn a_state_record_that_cannot_be_read_is_refused() {
    let (_, state) = candidate();
    let refused = |bytes: &[u8]| match recover(Some(bytes)) {
        Err(RecoverError::State(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), StateError::Malformed);
    assert_eq!(refused(&state[..21]), StateError::Malformed);
    assert_eq!(refused(&[&state[..], &[0]].concat()), StateError::Malformed);
    assert_eq!(refused(&[&[2], &state[1..]].concat()), StateError::Version(2));
    let mut odd = state.to_vec();
    odd[9] = 2;
    assert_eq!(refused(&odd), StateError::Malformed);
}

/// A node of three that campaigns, and the state record it wrote.
fn candidate() -> (Raft, Bytes) {
    let mut core = recover(None).expect("fresh");
    let mut state = Bytes::new();
    for node in [NodeId(1), NodeId(2), NodeId(3)] {
        core.handle(Now::default(), Input::Signal(Signal::PeerStanding { node, standing: Standing::Member }));
    }
    let now = Now { instant: core.deadline().expect("it waits"), wall_ms: 0 };
    core.handle(now, Input::Signal(Signal::Timeout));
    let (kind, verdict, clock) = (VoteKind::Pre, Verdict::Granted, ClockReading::default());
    let answer = VoteResponse {
        term: Term(0),
        asked: Term(1),
        kind,
        verdict,
        clock,
        last_index: LogIndex(1),
        last_term: Term(0),
    };
    core.handle(now, Input::Message { from: NodeId(2), message: Message::VoteResponse(answer) });
    while let Some(output) = core.poll_output() {
        let Output::Persist { ticket, operations } = output else { continue };
        for operation in operations {
            if let Operation::PutState { bytes, .. } = operation {
                state = bytes;
            }
        }
        core.handle(now, Input::Signal(Signal::Persisted(ticket)));
    }
    (core, state)
}

fn recover(state: Option<&[u8]>) -> Result<Raft, RecoverError> {
    let members = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
    let config = Config::new(NodeId(1), 1, Start::Initial(members), Settings::default()).expect("valid");
    let state = state.map(Bytes::copy_from_slice);
    Raft::recover(Now::default(), config, Recovery { state, ..Recovery::default() })
}
