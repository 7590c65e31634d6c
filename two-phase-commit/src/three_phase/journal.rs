//! What is written of transactions, and read at the start.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{FailedWrite, LogIndex, Operation, PersistFailure, RecoverError, Recovery, Ticket};

use super::core::ThreePhaseCommit;
use super::record::{Record, decode, decode_state, encode_finished, encode_site, encode_state};
use super::site::Phase;
use crate::{Epoch, Ignored, TransactionId};

impl ThreePhaseCommit {
    pub(super) fn read(&mut self, recovery: Recovery) -> Result<(), RecoverError> {
        let ran_out = RecoverError::Inconsistent("the numbers of records, checkpoints or starts have run out");
        self.next_checkpoint = recovery.checkpoint.map_or(Some(0), |id| id.checked_add(1)).ok_or(ran_out.clone())?;
        let epoch = recovery.state.map(decode_state).transpose().map_err(RecoverError::State)?.unwrap_or_default();
        self.epoch = Epoch(epoch.0.checked_add(1).ok_or(ran_out.clone())?);
        let mut newest = BTreeMap::new();
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            self.next_key = self.next_key.max(key.checked_add(1).ok_or(ran_out.clone())?);
            newest.insert(key, bytes);
        }
        for (key, bytes) in newest.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let is_second = match decode(key, bytes).map_err(RecoverError::State)? {
                Record::Site(transaction, site) => self.sites.insert(transaction, *site).is_some(),
                Record::Finished(node, below) => self.finished.insert(node, (below, key)).is_some(),
            };
            if is_second {
                return Err(RecoverError::Inconsistent("there are two records of one transaction"));
            }
        }
        Ok(())
    }

    /// A write that was certainly not written is repeated, with the newest content. Nothing that it states was told.
    pub(super) fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        match self.chassis.failed_write(ticket, failure) {
            FailedWrite::Refused => {}
            FailedWrite::Stale => return Err(Ignored::StaleAnswer),
            FailedWrite::Fatal(reason) => {
                self.chassis.halt_after_events(reason);
                return Err(Ignored::Halted);
            }
        }
        self.chassis.outbox.refused();
        self.checkpoint();
        let covered = self.checkpoint_ticket;
        self.chassis.outbox.rebind_held(covered);
        if !self.chassis.outbox.is_durable(self.epoch_ticket) {
            self.epoch_ticket = covered;
        }
        self.chassis.write_again_at(self.chassis.instant().after(self.config.settings().silence_timeout));
        Err(Ignored::LogRefuses)
    }

    /// Writes every record again, as a checkpoint, so that all earlier ones may be removed: also those whose removal
    /// was not written.
    pub(super) fn checkpoint(&mut self) {
        let id = self.next_checkpoint;
        self.next_checkpoint += 1;
        self.chassis.outbox.persist([Operation::CheckpointBegin { id }]);
        for (transaction, site) in self.sites.iter().filter(|(_, site)| site.phase != Phase::Asked) {
            let bytes = encode_site(*transaction, site);
            self.chassis.outbox.persist([Operation::Journal { key: site.key, bytes }]);
        }
        for (node, (below, key)) in &self.finished {
            let bytes = encode_finished(*node, *below);
            self.chassis.outbox.persist([Operation::Journal { key: *key, bytes }]);
        }
        let state = self.state_record();
        self.checkpoint_ticket = self.chassis.outbox.persist([state, Operation::CheckpointDone { id }]);
    }

    /// Writes the transaction as it is now.
    pub(super) fn write(&mut self, transaction: TransactionId) -> Ticket {
        let site = &self.sites[&transaction];
        let (key, bytes) = (site.key, encode_site(transaction, site));
        self.chassis.outbox.persist([Operation::Journal { key, bytes }])
    }

    pub(super) fn erase(&mut self, transaction: TransactionId) {
        let site = self.sites.remove(&transaction).expect("looked up by the caller");
        self.chassis.outbox.persist([Operation::Journal { key: site.key, bytes: Bytes::new() }]);
    }

    pub(super) fn state_record(&self) -> Operation {
        Operation::PutState { bytes: encode_state(self.epoch), commit_hint: LogIndex::ZERO }
    }

    pub(super) fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }
}
