//! Sessions: a record of proposals by which a command that comes twice is applied once.
//!
//! The table is part of the replicated state: it depends on the entries alone, is equal on every replica, and is at
//! the head of every snapshot. A session is opened by an entry and stays alive as long as the log time between its
//! entries is below its time-out.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use quorate_protocol::{LogTime, ProposalId, SessionId};

mod codec;

pub(crate) use codec::{SnapshotForm, read_header, write_header};

#[cfg(test)]
mod tests;

/// Maximum number of unacknowledged proposals of a session whose responses are kept. A proposal further ahead is never
/// applied.
pub const SESSION_WINDOW: u64 = 65_536;

/// Maximum bytes of responses that a session keeps. Beyond it the oldest responses are dropped; it stays known that
/// their proposals were applied.
pub const SESSION_RESPONSE_BYTES_MAX: usize = 16 << 20;

/// The sessions of a group, as of the last applied entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    table: BTreeMap<SessionId, Session>,
    /// No session expires before this time. Not part of the state: computed again when a table is decoded.
    expiry_from: Option<LogTime>,
}

/// One session.
#[derive(Clone)]
pub(crate) struct Session {
    timeout_ms: u64,
    last_seen: LogTime,
    /// Every proposal below this was answered or given up, and none of them is applied any more. Never goes back.
    acknowledged_below: u64,
    /// State of the proposals from `acknowledged_below` on. At most [`SESSION_WINDOW`].
    records: VecDeque<Record>,
    /// Bytes of the responses in `records`. At most [`SESSION_RESPONSE_BYTES_MAX`].
    bytes: usize,
    /// No response is kept below this sequence. Not part of the state: it only speeds up a search.
    forgotten_below: u64,
}

/// State of one proposal of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    /// It was not applied.
    Open,
    /// It was applied, with this response.
    Applied(Bytes),
    /// It was applied, but the response is no longer kept.
    Forgotten,
}

/// Decision about a command of a session.
pub(crate) enum SessionAdmission<'a> {
    /// It may be applied. Its response must be recorded in the session.
    Apply(&'a mut Session),
    /// It was applied before, with this response if it is still kept.
    Duplicate(Option<Bytes>),
    /// Its session does not exist: expired, closed, or never opened.
    Expired,
    /// It is behind the window: acknowledged, given up, or older than the session.
    Behind,
    /// It is beyond the window, where no correct proposer proposes.
    Beyond,
}

/// The known state of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProposalState {
    /// It was applied, with this response if it is still kept.
    Applied(Option<Bytes>),
    /// It was not applied.
    NotApplied,
    /// It is behind the window, or its session does not exist.
    Nothing,
}

impl Sessions {
    /// Removes the sessions whose time-out has passed. Called before each entry with its log time.
    pub(crate) fn expire(&mut self, log_time: LogTime) {
        if self.expiry_from.is_none_or(|from| log_time < from) {
            return;
        }
        self.table.retain(|_, session| log_time < session.expiry());
        self.expiry_from = self.table.values().map(Session::expiry).min();
    }

    /// Opens a session, or opens it again: nothing that was proposed before is applied in it.
    ///
    /// Earlier starts of the same incarnation have ended, so their sessions are removed. This bounds the table by the
    /// number of nodes.
    pub(crate) fn open(&mut self, id: ProposalId, timeout_ms: u64, log_time: LogTime) {
        let SessionId { incarnation, start } = id.session;
        self.table.retain(|other, _| other.incarnation != incarnation || other.start > start);
        let acknowledged_below = id.sequence.saturating_add(1);
        let session = Session {
            timeout_ms,
            last_seen: log_time,
            acknowledged_below,
            records: VecDeque::new(),
            bytes: 0,
            forgotten_below: acknowledged_below,
        };
        let expiry = session.expiry();
        self.expiry_from = Some(self.expiry_from.map_or(expiry, |from| from.min(expiry)));
        self.table.insert(id.session, session);
    }

    /// Closes a session. Returns true if it existed.
    pub(crate) fn close(&mut self, id: SessionId) -> bool {
        self.table.remove(&id).is_some()
    }

    /// Decides about a command of a session, and keeps the session alive.
    pub(crate) fn admit(&mut self, id: ProposalId, acknowledged_below: u64, log_time: LogTime) -> SessionAdmission<'_> {
        let Some(session) = self.table.get_mut(&id.session) else { return SessionAdmission::Expired };
        session.last_seen = log_time;
        session.acknowledge(acknowledged_below.min(id.sequence));
        let Some(place) = session.place(id.sequence) else { return SessionAdmission::Behind };
        match session.records.get(place) {
            Some(Record::Applied(response)) => SessionAdmission::Duplicate(Some(response.clone())),
            Some(Record::Forgotten) => SessionAdmission::Duplicate(None),
            Some(Record::Open) => SessionAdmission::Apply(session),
            None if place < WINDOW => SessionAdmission::Apply(session),
            None => SessionAdmission::Beyond,
        }
    }

    /// Returns the known state of a proposal.
    pub(crate) fn known(&self, id: ProposalId) -> ProposalState {
        let Some(session) = self.table.get(&id.session) else { return ProposalState::Nothing };
        let Some(place) = session.place(id.sequence) else { return ProposalState::Nothing };
        match session.records.get(place) {
            Some(Record::Applied(response)) => ProposalState::Applied(Some(response.clone())),
            Some(Record::Forgotten) => ProposalState::Applied(None),
            Some(Record::Open) | None => ProposalState::NotApplied,
        }
    }

    /// Returns the sequence from which on proposals belong to the session, if it is open.
    pub(crate) fn opened(&self, id: SessionId) -> Option<u64> {
        self.table.get(&id).map(|session| session.acknowledged_below)
    }

    /// Returns a time before which no session expires. The leader makes log time reach it.
    pub(crate) fn next_expiry(&self) -> Option<LogTime> {
        self.expiry_from
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Session {
    /// Keeps the response of a proposal that was just applied.
    pub(crate) fn record(&mut self, sequence: u64, response: Bytes) {
        self.bytes += response.len();
        self.forgotten_below = self.forgotten_below.min(sequence);
        self.keep(sequence, Record::Applied(response));
        while self.bytes > SESSION_RESPONSE_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// Notes that a proposal was applied whose response is not known.
    pub(crate) fn record_forgotten(&mut self, sequence: u64) {
        self.keep(sequence, Record::Forgotten);
    }

    fn keep(&mut self, sequence: u64, record: Record) {
        let place = self.place(sequence).expect("only what was admitted is recorded");
        assert!(place < WINDOW, "only what was admitted is recorded");
        if self.records.len() <= place {
            self.records.resize(place + 1, Record::Open);
        }
        self.records[place] = record;
    }

    fn acknowledge(&mut self, below: u64) {
        while self.acknowledged_below < below {
            match self.records.pop_front() {
                Some(Record::Applied(response)) => self.bytes -= response.len(),
                Some(_) => {}
                None => {
                    self.acknowledged_below = below;
                    return;
                }
            }
            self.acknowledged_below += 1;
        }
    }

    /// Drops the oldest response that is still kept.
    fn forget_oldest(&mut self) {
        let mut sequence = self.forgotten_below.max(self.acknowledged_below);
        loop {
            let place = self.place(sequence).expect("not below what is acknowledged");
            let record = self.records.get_mut(place).expect("what has bytes has a record");
            sequence += 1;
            if let Record::Applied(response) = record {
                self.bytes -= response.len();
                *record = Record::Forgotten;
                self.forgotten_below = sequence;
                return;
            }
        }
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        let distance = sequence.checked_sub(self.acknowledged_below)?;
        Some(usize::try_from(distance).unwrap_or(usize::MAX))
    }

    fn expiry(&self) -> LogTime {
        LogTime(self.last_seen.0.saturating_add(self.timeout_ms))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("timeout_ms", &self.timeout_ms)
            .field("last_seen", &self.last_seen)
            .field("acknowledged_below", &self.acknowledged_below)
            .field("records", &self.records.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const WINDOW: usize = SESSION_WINDOW as usize;
