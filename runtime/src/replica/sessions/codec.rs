//! The head of a snapshot's content: the state of a replica beside the state machine.
//!
//! All numbers are little-endian.
//!
//! ```text
//! version (1) | feature level (4) | sessions (4) | the sessions | the state machine's own bytes
//!
//! version 1:   the state machine's own bytes follow
//! version 2:   the state machine stores its state itself, and the index (8) of the last command or tick that it was
//!              given follows; never sent to another node
//!
//! a session:   incarnation (16) | start (4) | time-out, ms (8) | last seen, log time (8) | acknowledged below (8)
//!              | records (4) | the records, from `acknowledged below` on
//! a record:    0: not applied   1: applied, length (4) and response   2: applied, response forgotten
//! ```

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes};
use quorate_protocol::{Incarnation, LogTime, SessionId};

use super::{Record, SESSION_RESPONSE_BYTES_MAX, Session, Sessions, WINDOW};

/// Says if a snapshot contains the state, or the state machine itself stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotForm {
    WithState,
    WithoutState,
}

/// Writes the head of a snapshot's content.
pub(crate) fn write_header(form: SnapshotForm, level: u32, sessions: &Sessions, out: &mut dyn Write) -> io::Result<()> {
    let mut head = Vec::new();
    head.put_u8(match form {
        SnapshotForm::WithState => WITH_STATE,
        SnapshotForm::WithoutState => WITHOUT_STATE,
    });
    head.put_u32_le(level);
    head.put_u32_le(count(sessions.table.len())?);
    out.write_all(&head)?;
    for (id, session) in &sessions.table {
        write_session(*id, session, out)?;
    }
    Ok(())
}

/// Reads the head of a snapshot's content: the feature level and the sessions.
pub(crate) fn read_header(from: &mut dyn Read) -> io::Result<(SnapshotForm, u32, Sessions)> {
    let form = match array(from)? {
        [WITH_STATE] => SnapshotForm::WithState,
        [WITHOUT_STATE] => SnapshotForm::WithoutState,
        _ => return Err(invalid("a version of the snapshot's head that this program does not know")),
    };
    let level = u32::from_le_bytes(array(from)?);
    let mut sessions = Sessions::default();
    for _ in 0..u32::from_le_bytes(array(from)?) {
        let (id, session) = read_session(from)?;
        sessions.table.insert(id, session);
    }
    sessions.expiry_from = sessions.table.values().map(Session::expiry).min();
    Ok((form, level, sessions))
}

fn write_session(id: SessionId, session: &Session, out: &mut dyn Write) -> io::Result<()> {
    let mut head = Vec::new();
    head.put_u128_le(id.incarnation.0);
    head.put_u32_le(id.start);
    head.put_u64_le(session.timeout_ms);
    head.put_u64_le(session.last_seen.0);
    head.put_u64_le(session.acknowledged_below);
    head.put_u32_le(count(session.records.len())?);
    out.write_all(&head)?;
    for record in &session.records {
        match record {
            Record::Open => out.write_all(&[OPEN])?,
            Record::Applied(response) => {
                out.write_all(&[APPLIED])?;
                out.write_all(&count(response.len())?.to_le_bytes())?;
                out.write_all(response)?;
            }
            Record::Forgotten => out.write_all(&[FORGOTTEN])?,
        }
    }
    Ok(())
}

fn read_session(from: &mut dyn Read) -> io::Result<(SessionId, Session)> {
    let incarnation = Incarnation(u128::from_le_bytes(array(from)?));
    let start = u32::from_le_bytes(array(from)?);
    let timeout_ms = u64::from_le_bytes(array(from)?);
    let last_seen = LogTime(u64::from_le_bytes(array(from)?));
    let acknowledged_below = u64::from_le_bytes(array(from)?);
    let length = length(from, WINDOW)?;
    let mut records = VecDeque::with_capacity(length);
    let mut bytes = 0;
    for _ in 0..length {
        let record = read_record(from, SESSION_RESPONSE_BYTES_MAX - bytes)?;
        if let Record::Applied(response) = &record {
            bytes += response.len();
        }
        records.push_back(record);
    }
    let forgotten_below = acknowledged_below;
    let session = Session { timeout_ms, last_seen, acknowledged_below, records, bytes, forgotten_below };
    Ok((SessionId { incarnation, start }, session))
}

fn read_record(from: &mut dyn Read, bytes_max: usize) -> io::Result<Record> {
    match array(from)? {
        [OPEN] => Ok(Record::Open),
        [APPLIED] => {
            let mut response = vec![0; length(from, bytes_max)?];
            from.read_exact(&mut response)?;
            Ok(Record::Applied(Bytes::from(response)))
        }
        [FORGOTTEN] => Ok(Record::Forgotten),
        _ => Err(invalid("a record of a session that this program does not know")),
    }
}

fn length(from: &mut dyn Read, max: usize) -> io::Result<usize> {
    let length = u32::from_le_bytes(array(from)?);
    let length = usize::try_from(length).ok().filter(|length| *length <= max);
    length.ok_or_else(|| invalid("a length in a session above its bound"))
}

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn count(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| invalid("a length in a session above its bound"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const WITH_STATE: u8 = 1;
const WITHOUT_STATE: u8 = 2;
const OPEN: u8 = 0;
const APPLIED: u8 = 1;
const FORGOTTEN: u8 = 2;
