//! Recovery of a node's state at its start.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{RecoverError, Recovery};

use crate::codec::{Record, decode_state};
use crate::state::{Branch, BranchStage, Coordinated, Remembered, Stage, Tombstone};
use crate::timers::Timer;
use crate::{Epoch, Event, TransactionId, TransactionNumber, TwoPhaseCommit};

impl TwoPhaseCommit {
    /// Reads the content of the log. Transactions without a decision at a coordinator are aborted, because they have no
    /// record.
    pub(crate) fn adopt(&mut self, recovery: Recovery) -> Result<(), RecoverError> {
        let has_state = recovery.state.is_some();
        if let Some(bytes) = recovery.state {
            self.state = decode_state(bytes).map_err(RecoverError::State)?;
        }
        let next_checkpoint = recovery.checkpoint.map_or(Some(0), |id| id.checked_add(1));
        self.journal.next_checkpoint = next_checkpoint.ok_or(RAN_OUT)?;
        // An older record of a key does not count, but the log may still return it.
        let mut newest = BTreeMap::new();
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            self.journal.next_key = self.journal.next_key.max(key.checked_add(1).ok_or(RAN_OUT)?);
            if bytes.is_empty() {
                newest.remove(&key);
            } else {
                newest.insert(key, bytes);
            }
        }
        if !has_state && !newest.is_empty() {
            return Err(RecoverError::Inconsistent("there are records of transactions and no state record"));
        }
        for (key, bytes) in newest {
            self.adopt_record(key, Record::decode(bytes).map_err(RecoverError::State)?)?;
        }
        Ok(())
    }

    /// Raises the epoch, and asks for the locks of branches in doubt before anything else happens.
    pub(crate) fn begin_epoch(&mut self) -> Result<(), RecoverError> {
        let raised = self.state.epoch.0.checked_add(1);
        self.state.epoch = Epoch(raised.ok_or(RecoverError::Inconsistent("the epoch has run out"))?);
        self.journal.is_state_dirty = true;
        self.forget_outcomes();
        for coordinator in self.known.keys().copied().collect::<Vec<_>>() {
            self.forget_unfinished(coordinator);
            self.collect(coordinator);
        }
        self.epoch_ticket = self.flush();
        let numbers: Vec<TransactionNumber> = self.coordinated.keys().copied().collect();
        for number in numbers {
            let at = self.retry_at(0);
            self.timers.arm(Timer::Coordinated(number), at);
        }
        for transaction in self.recovering.clone() {
            self.ask(transaction);
        }
        if self.recovering.is_empty() {
            self.outbox.event(Event::Recovered { without: BTreeSet::new() });
        }
        self.arm_collect();
        Ok(())
    }

    fn adopt_record(&mut self, key: u64, record: Record) -> Result<(), RecoverError> {
        match record {
            Record::Commit { number, writers } => {
                let unacknowledged = writers.clone();
                self.adopt_coordinated(number, Stage::Committed { key, writers, unacknowledged })
            }
            Record::Delegated { number, participant, payload } => {
                self.adopt_coordinated(number, Stage::Delegated { key, participant, payload })
            }
            Record::Ended { number, writers } => {
                let twice = self.remembered.insert(number, Remembered { key, writers }).is_some();
                if twice { Err(TWO_RECORDS) } else { Ok(()) }
            }
            Record::Prepared { transaction, participants, payload } => {
                self.adopt_prepared(key, transaction, participants, payload)
            }
            Record::Settled { transaction, end } => {
                let twice = self.keep_tombstone(transaction, Tombstone { end, key: Some(key) }).is_some();
                if twice { Err(TWO_RECORDS) } else { Ok(()) }
            }
            Record::Known { coordinator, stamp, is_forgotten } => {
                let known = self.known.entry(coordinator).or_default();
                (known.stamp, known.is_forgotten) = (stamp, is_forgotten);
                if known.key.replace(key).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
            }
            Record::Unfinished { coordinator, until, unfinished } => {
                let known = self.known.entry(coordinator).or_default();
                (known.until, known.unfinished) = (until, unfinished);
                if known.unfinished_key.replace(key).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
            }
        }
    }

    fn adopt_coordinated(&mut self, number: TransactionNumber, stage: Stage) -> Result<(), RecoverError> {
        if number.epoch > self.state.epoch {
            return Err(RecoverError::Inconsistent("a decision is of a later epoch than the state record"));
        }
        self.hold(&stage);
        let it = Coordinated { stage, since: self.now.instant, attempt: 0, is_reported: false };
        if self.coordinated.insert(number, it).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    fn adopt_prepared(
        &mut self,
        key: u64,
        transaction: TransactionId,
        participants: BTreeSet<quorate_protocol::NodeId>,
        payload: bytes::Bytes,
    ) -> Result<(), RecoverError> {
        self.take_on(transaction.coordinator, payload.len());
        let mut branch = Branch::new(BranchStage::Prepared, participants, payload, self.now.instant);
        branch.key = Some(key);
        self.unheard.insert(transaction);
        self.recovering.insert(transaction);
        if self.branches.insert(transaction, branch).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }
}

const RAN_OUT: RecoverError = RecoverError::Inconsistent("the numbers of records or checkpoints have run out");
const TWO_RECORDS: RecoverError = RecoverError::Inconsistent("there are two records of one transaction");
