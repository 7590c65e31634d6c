use std::fmt::Write;

use bytes::Bytes;
use quorate_protocol::{Incarnation, LogTime, ProposalId, SessionId};

use super::{
    ProposalState, SESSION_RESPONSE_BYTES_MAX, SESSION_WINDOW, SessionAdmission, Sessions, SnapshotForm, read_header,
    write_header,
};

const MINE: SessionId = SessionId { incarnation: Incarnation(7), start: 2 };

fn id(sequence: u64) -> ProposalId {
    ProposalId { session: MINE, sequence }
}

fn opened() -> Sessions {
    let mut sessions = Sessions::default();
    sessions.open(id(10), 1_000, LogTime(5_000));
    sessions
}

/// Applies a proposal as a replica would. Returns the result in a word.
fn apply(sessions: &mut Sessions, sequence: u64, below: u64, log_time: u64, response: &'static str) -> String {
    sessions.expire(LogTime(log_time));
    match sessions.admit(id(sequence), below, LogTime(log_time)) {
        SessionAdmission::Apply(session) => {
            session.record(sequence, Bytes::from_static(response.as_bytes()));
            "applied".into()
        }
        SessionAdmission::Duplicate(Some(kept)) => format!("duplicate {}", String::from_utf8_lossy(&kept)),
        SessionAdmission::Duplicate(None) => "duplicate".into(),
        SessionAdmission::Expired => "expired".into(),
        SessionAdmission::Behind => "behind".into(),
        SessionAdmission::Beyond => "beyond".into(),
    }
}

fn encoded(sessions: &Sessions) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_header(SnapshotForm::WithState, 3, sessions, &mut bytes).expect("a vector takes all");
    bytes
}

#[test]
fn a_command_is_applied_once_and_its_response_is_kept() {
    let mut sessions = opened();
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "one"), "applied");
    assert_eq!(apply(&mut sessions, 11, 11, 5_002, "two"), "duplicate one");
    assert_eq!(sessions.known(id(11)), ProposalState::Applied(Some(Bytes::from_static(b"one"))));
    assert_eq!(sessions.known(id(12)), ProposalState::NotApplied);
}

#[test]
fn commands_may_overtake_each_other() {
    let mut sessions = opened();
    assert_eq!(apply(&mut sessions, 13, 11, 5_001, "c"), "applied");
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "a"), "applied");
    assert_eq!(apply(&mut sessions, 13, 11, 5_001, "-"), "duplicate c");
    assert_eq!(apply(&mut sessions, 12, 11, 5_001, "b"), "applied");
}

#[test]
fn what_is_acknowledged_is_never_applied_again() {
    let mut sessions = opened();
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "a"), "applied");
    assert_eq!(apply(&mut sessions, 14, 13, 5_001, "d"), "applied");
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "-"), "behind");
    assert_eq!(apply(&mut sessions, 12, 11, 5_001, "given up, and then it came"), "behind");
    assert_eq!(apply(&mut sessions, 13, 13, 5_001, "c"), "applied");
}

#[test]
fn the_window_is_bounded() {
    let mut sessions = opened();
    assert_eq!(apply(&mut sessions, 11 + SESSION_WINDOW, 11, 5_001, "-"), "beyond");
    assert_eq!(apply(&mut sessions, 10 + SESSION_WINDOW, 11, 5_001, "last"), "applied");
    assert_eq!(apply(&mut sessions, u64::MAX, 11, 5_001, "-"), "beyond");
}

#[test]
fn a_session_expires_by_log_time_and_each_of_its_entries_keeps_it() {
    let mut sessions = opened();
    assert_eq!(apply(&mut sessions, 11, 11, 5_999, "a"), "applied");
    assert_eq!(apply(&mut sessions, 12, 11, 6_998, "b"), "applied");
    assert_eq!(apply(&mut sessions, 13, 11, 7_998, "c"), "expired");
    assert_eq!(sessions.len(), 0);
    assert_eq!(sessions.next_expiry(), None);
    sessions.open(id(20), 1_000, LogTime(8_000));
    assert_eq!(apply(&mut sessions, 13, 11, 8_001, "proposed before it was opened anew"), "behind");
    assert_eq!(apply(&mut sessions, 21, 21, 8_001, "a"), "applied");
}

#[test]
fn a_younger_start_ends_older_ones_of_its_incarnation() {
    let mut sessions = opened();
    let other = SessionId { incarnation: Incarnation(8), start: 1 };
    sessions.open(ProposalId { session: other, sequence: 1 }, 1_000, LogTime(5_000));
    let younger = SessionId { start: 3, ..MINE };
    sessions.open(ProposalId { session: younger, sequence: 1 }, 1_000, LogTime(5_000));
    assert_eq!(sessions.len(), 2);
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "-"), "expired");
    assert!(sessions.close(other));
    assert!(!sessions.close(other));
}

#[test]
fn large_responses_are_forgotten_oldest_first_and_never_applied_again() {
    let mut sessions = opened();
    let large = Bytes::from(vec![0; SESSION_RESPONSE_BYTES_MAX / 2]);
    for sequence in [12, 11, 13] {
        let SessionAdmission::Apply(session) = sessions.admit(id(sequence), 11, LogTime(5_001)) else {
            panic!("admitted")
        };
        session.record(sequence, large.clone());
    }
    assert_eq!(sessions.known(id(11)), ProposalState::Applied(None));
    assert_eq!(sessions.known(id(12)), ProposalState::Applied(Some(large.clone())));
    assert_eq!(apply(&mut sessions, 11, 11, 5_001, "-"), "duplicate");
    let SessionAdmission::Apply(session) = sessions.admit(id(14), 13, LogTime(5_001)) else { panic!("admitted") };
    session.record(14, large.clone());
    assert_eq!(sessions.known(id(13)), ProposalState::Applied(Some(large)));
}

#[test]
fn a_table_survives_its_bytes_and_goes_on_equally() {
    let mut sessions = opened();
    apply(&mut sessions, 12, 11, 5_001, "b");
    apply(&mut sessions, 13, 11, 5_001, "");
    let bytes = encoded(&sessions);
    let (form, level, mut restored) = read_header(&mut &bytes[..]).expect("just written");
    assert_eq!((form, level), (SnapshotForm::WithState, 3));
    assert_eq!(encoded(&restored), bytes);
    for table in [&mut sessions, &mut restored] {
        assert_eq!(apply(table, 12, 11, 5_002, "-"), "duplicate b");
        assert_eq!(apply(table, 11, 11, 5_002, "a"), "applied");
        assert_eq!(apply(table, 14, 12, 7_000, "-"), "expired");
    }
    for end in 0..bytes.len() {
        assert!(read_header(&mut &bytes[..end]).is_err(), "{end} bytes are not enough");
    }
}

/// The head of a snapshot has not changed since the first release.
#[test]
fn the_format_is_as_it_was() {
    let mut sessions = opened();
    let large = Bytes::from(vec![0; SESSION_RESPONSE_BYTES_MAX + 1]);
    let SessionAdmission::Apply(session) = sessions.admit(id(12), 12, LogTime(5_001)) else { panic!("admitted") };
    session.record(12, large);
    apply(&mut sessions, 14, 12, 5_002, "d");
    let mut hex = String::new();
    for byte in encoded(&sessions) {
        write!(hex, "{byte:02x}").expect("a string takes all");
    }
    assert_eq!(hex, include_str!("../../../tests/golden/snapshot_head_1.hex").trim_end());
}
