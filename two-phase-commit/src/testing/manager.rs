//! An application under test: a resource manager with locks on keys, whose prepared branches are durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{Answer, Decision, Event, Request, TransactionId, Vote};

/// Work of a branch, encoded in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Writes a key, and locks it until the decision. Votes no if another transaction holds the lock.
    Write(u8),
    /// Reads only.
    Read,
    /// Cannot be done: votes no.
    Refuse,
}

impl Work {
    /// The payload with this work.
    pub fn payload(self) -> Bytes {
        match self {
            Self::Write(key) => Bytes::copy_from_slice(&[b'w', key]),
            Self::Read => Bytes::from_static(b"r"),
            Self::Refuse => Bytes::from_static(b"n"),
        }
    }

    fn of(payload: &[u8]) -> Self {
        match payload {
            [b'w', key] => Self::Write(*key),
            b"r" => Self::Read,
            _ => Self::Refuse,
        }
    }
}

/// A resource manager. Its state survives a crash unless marked as volatile.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    prepared: BTreeMap<TransactionId, Bytes>,
    /// Committed transactions whose commit may be asked for again.
    applied: BTreeSet<TransactionId>,
    /// Every write that took effect, in order: the transaction and the key.
    pub effects: Vec<(TransactionId, u8)>,
    /// The end of each branch that wrote.
    pub ended: BTreeMap<TransactionId, Decision>,
    /// Volatile: the transaction that holds the lock of each key.
    pub locks: BTreeMap<u8, TransactionId>,
    /// Volatile: prepared branches that were named since the start.
    named: BTreeSet<TransactionId>,
    /// Volatile: true if it may serve.
    pub is_serving: bool,
}

impl Manager {
    /// Loses its volatile state.
    pub fn crash(&mut self) {
        self.locks.clear();
        self.named.clear();
        self.is_serving = false;
    }

    /// Branches that are prepared.
    pub fn prepared(&self) -> impl Iterator<Item = TransactionId> + '_ {
        self.prepared.keys().copied()
    }

    /// Carries out a request. All effects are durable at once.
    ///
    /// # Panics
    /// When a core makes a request that it must not make.
    pub fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Prepare { transaction, payload } => Answer::Voted(self.prepare(*transaction, payload)),
            Request::Recover { transaction, payload } => {
                // It may come again, if the answer was lost or was a failure.
                if !self.named.contains(transaction) {
                    assert!(!self.is_serving, "what is in doubt is named before anything is served");
                    self.recover(*transaction, payload);
                }
                Answer::Done
            }
            Request::Commit { transaction } => {
                self.commit(*transaction);
                Answer::Done
            }
            Request::Abort { transaction } => {
                self.abort(*transaction);
                Answer::Done
            }
            Request::CommitOnePhase { transaction, payload } => {
                if self.applied.contains(transaction) {
                    return Answer::Decided(Decision::Commit);
                }
                match self.prepare(*transaction, payload) {
                    Vote::Yes => {
                        self.commit(*transaction);
                        Answer::Decided(Decision::Commit)
                    }
                    Vote::ReadOnly => Answer::Decided(Decision::Commit),
                    Vote::No => Answer::Decided(Decision::Abort),
                }
            }
        }
    }

    /// Handles an event of the core.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Recovered { .. } => {
                self.is_serving = true;
                let named = &self.named;
                self.prepared.retain(|transaction, _| named.contains(transaction));
            }
            Event::Settled { transaction, .. } => {
                self.applied.remove(transaction);
            }
            _ => {}
        }
    }

    fn prepare(&mut self, transaction: TransactionId, payload: &Bytes) -> Vote {
        assert!(self.is_serving, "nothing is served before what was in doubt has its locks");
        match Work::of(payload) {
            Work::Read => Vote::ReadOnly,
            Work::Refuse => Vote::No,
            Work::Write(key) => {
                if *self.locks.entry(key).or_insert(transaction) != transaction {
                    return Vote::No;
                }
                self.prepared.insert(transaction, payload.clone());
                // A no that was lost in a crash does not count: the branch is asked again before anything is decided.
                self.ended.remove(&transaction);
                Vote::Yes
            }
        }
    }

    fn recover(&mut self, transaction: TransactionId, payload: &Bytes) {
        self.named.insert(transaction);
        // A decision that was carried out before the crash is asked for again, and is done already.
        if self.ended.contains_key(&transaction) {
            return;
        }
        let Work::Write(key) = Work::of(payload) else { panic!("{transaction} was prepared without a write") };
        assert!(self.prepared.contains_key(&transaction), "{transaction} was prepared before it was voted for");
        let holder = *self.locks.entry(key).or_insert(transaction);
        assert!(holder == transaction, "{transaction} and {holder} are both prepared on one key");
    }

    fn commit(&mut self, transaction: TransactionId) {
        if self.applied.contains(&transaction) {
            return;
        }
        let payload = self.prepared.remove(&transaction).expect("only what is prepared is committed");
        let Work::Write(key) = Work::of(&payload) else { panic!("{transaction} was prepared without a write") };
        assert!(self.locks.remove(&key) == Some(transaction), "{transaction} held its lock");
        self.effects.push((transaction, key));
        self.applied.insert(transaction);
        let before = self.ended.insert(transaction, Decision::Commit);
        assert!(before.is_none(), "{transaction} ended before: {before:?}");
    }

    fn abort(&mut self, transaction: TransactionId) {
        if self.prepared.remove(&transaction).is_some() {
            let before = self.ended.insert(transaction, Decision::Abort);
            assert!(before != Some(Decision::Commit), "{transaction} is committed");
        }
        self.locks.retain(|_, holder| *holder != transaction);
    }
}
