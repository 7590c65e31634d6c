//! The outcomes of ended branches (tombstones), and their garbage collection.
//!
//! Every message of a coordinator has a low watermark, below which all its transactions are finished. Transactions do
//! not end in the order in which they begin, so that one long transaction would hold back the watermark and all
//! tombstones above it. Therefore a participant asks the coordinator for more than the watermark: a higher bound, and
//! the transactions below it that are not finished. It stores this answer in place of the tombstones, so that it still
//! recognises a prepare that comes late.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{NodeId, RecoverError};

use crate::base::Base;
use crate::codec::{NUMBER_BYTES, Record};
use crate::config::RECORD_OVERHEAD_BYTES;
use crate::error::Ignored;
use crate::journal::KeyedRecord;
use crate::message::{Finished, Message, Stamp};
use crate::recovery::TWO_RECORDS;
use crate::room::Room;
use crate::state::{COORDINATORS_MAX, KnownCoordinator, Tombstone};
use crate::timers::Timer;
use crate::{TransactionId, TransactionNumber, TransactionRefusal, Unready};

/// A participant's memory of transactions that are over for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    /// The ends of branches, kept until their coordinator reports the transaction as finished. [`Room`] counts them.
    tombstones: BTreeMap<TransactionId, Tombstone>,
    /// The last stamp of each coordinator, this node included. At most [`COORDINATORS_MAX`].
    known: BTreeMap<NodeId, KnownCoordinator>,
    /// Number of times in a row that coordinators were asked in vain which outcomes may be dropped.
    attempt: u32,
}

impl Outcomes {
    pub(crate) fn tombstones(&self) -> &BTreeMap<TransactionId, Tombstone> {
        &self.tombstones
    }

    pub(crate) fn known(&self) -> &BTreeMap<NodeId, KnownCoordinator> {
        &self.known
    }

    /// The end of the branch, if it has ended here.
    pub(crate) fn tombstone(&self, transaction: TransactionId) -> Option<Tombstone> {
        self.tombstones.get(&transaction).copied()
    }

    /// True if no node will ask about the transaction again.
    pub(crate) fn is_collected(&self, transaction: TransactionId) -> bool {
        self.known.get(&transaction.coordinator).is_some_and(|known| known.is_finished(transaction.number))
    }

    /// The last stamp of a coordinator.
    pub(crate) fn stamp_of(&self, coordinator: NodeId) -> Stamp {
        self.known.get(&coordinator).map(|known| known.stamp).unwrap_or_default()
    }

    /// True if an operator has given a node up.
    pub(crate) fn is_forgotten(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|known| known.is_forgotten)
    }

    /// Takes up a record of a coordinator. `adopt` changes what is known of the coordinator, and returns the key of an
    /// earlier record of the same kind.
    pub(crate) fn adopt_known(
        &mut self,
        coordinator: NodeId,
        adopt: impl FnOnce(&mut KnownCoordinator) -> Option<u64>,
    ) -> Result<(), RecoverError> {
        let twice = adopt(self.known.entry(coordinator).or_default()).is_some();
        if twice { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Drops at the start what is finished.
    pub(crate) fn collect_all(&mut self, base: &mut Base, room: &mut Room) {
        for coordinator in self.known.keys().copied().collect::<Vec<_>>() {
            self.forget_unfinished(base, coordinator);
            self.collect(base, room, coordinator);
        }
    }

    /// Applies a coordinator's stamp. Messages of an older epoch are ignored, because they are out of date. Tombstones
    /// of finished transactions are removed.
    pub(crate) fn on_stamp(
        &mut self,
        base: &mut Base,
        room: &mut Room,
        from: NodeId,
        transaction: Option<TransactionId>,
        stamp: Stamp,
    ) -> Result<(), Ignored> {
        if stamp.finished_below.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        if !self.may_know(from) {
            return room.refuse(base, from, transaction, Unready::Coordinators);
        }
        let before = self.stamp_of(from);
        if stamp.epoch < before.epoch {
            return Err(Ignored::OldEpoch);
        }
        let finished_below = stamp.finished_below.max(before.finished_below);
        let newest = Stamp { epoch: stamp.epoch, finished_below };
        if newest != before {
            let known = self.known.entry(from).or_default();
            known.stamp = newest;
            base.write_known(from, known);
            self.forget_unfinished(base, from);
            self.collect(base, room, from);
        }
        Ok(())
    }

    /// Handles a coordinator's report of finished transactions. The report may be older than what is known, but
    /// finished transactions stay finished.
    pub(crate) fn on_finished(
        &mut self,
        base: &mut Base,
        room: &mut Room,
        from: NodeId,
        finished: Finished,
    ) -> Result<(), Ignored> {
        let Finished { stamp, mut until, unfinished } = finished;
        if until.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        let known = self.known.get(&from).cloned().unwrap_or_default();
        let was_open = |number: &TransactionNumber| !known.is_finished(*number);
        let mut unfinished: BTreeSet<TransactionNumber> = unfinished.range(..until).copied().filter(was_open).collect();
        // The part that does not fit its record is left for later.
        let most = (base.config.settings().write_bytes_max - RECORD_OVERHEAD_BYTES) / NUMBER_BYTES;
        if let Some(first) = unfinished.iter().nth(most).copied() {
            until = first;
            unfinished = unfinished.range(..first).copied().collect();
        }
        // With the same bound as before, some more transactions may have ended.
        if until < known.until || until <= known.stamp.finished_below {
            return Ok(());
        }
        let newer = KnownCoordinator { until, unfinished, ..known };
        let (low, high) = (first_of(from), TransactionId { coordinator: from, number: until });
        // The report costs a write, so it must free at least one tombstone.
        if !self.tombstones.range(low..high).any(|(transaction, _)| newer.is_finished(transaction.number)) {
            return Ok(());
        }
        let key = newer.unfinished_key.unwrap_or_else(|| base.journal.new_key());
        let newer = KnownCoordinator { unfinished_key: Some(key), ..newer };
        base.write_lazily(key, &newer.unfinished_record(from), None);
        self.known.insert(from, newer);
        self.collect(base, room, from);
        Ok(())
    }

    /// Asks the coordinators of settled branches which of their transactions are finished.
    pub(crate) fn on_timeout(&mut self, base: &mut Base, room: &Room) {
        for (coordinator, _) in room.of().iter().filter(|(_, held)| held.tombstones > 0) {
            base.send(*coordinator, Message::InquireFinished);
        }
        self.attempt = self.attempt.saturating_add(1);
        self.arm(base);
    }

    /// Sets the timer of the next question, while there are tombstones.
    pub(crate) fn arm(&mut self, base: &mut Base) {
        if self.tombstones.is_empty() {
            self.attempt = 0;
        } else if !base.timers.is_armed(Timer::Collect) {
            let at = base.retry_at(self.attempt);
            base.timers.arm(Timer::Collect, at);
        }
    }

    /// Handles an operator's statement that a node will not come back with its data. Its messages are ignored from now
    /// on: if it came back all the same, its questions could get a presumed abort that is no longer true.
    pub(crate) fn give_up(&mut self, base: &mut Base, room: &mut Room, node: NodeId) -> Result<(), TransactionRefusal> {
        if !self.may_know(node) {
            return Err(TransactionRefusal::Overloaded);
        }
        let known = self.known.entry(node).or_default();
        known.is_forgotten = true;
        base.write_known(node, known);
        let of_it = self.tombstones.range(first_of(node)..).map(|(transaction, _)| *transaction);
        let of_it: Vec<TransactionId> = of_it.take_while(|transaction| transaction.coordinator == node).collect();
        for transaction in of_it {
            self.unbury(base, room, transaction);
        }
        Ok(())
    }

    /// Keeps the end of a branch.
    pub(crate) fn bury(&mut self, base: &mut Base, room: &mut Room, transaction: TransactionId, tombstone: Tombstone) {
        self.keep(room, transaction, tombstone);
        let half = base.config.settings().tombstones_max / 2;
        if self.tombstones.len() == half.max(1) {
            // Half of the tombstones are used, so coordinators are asked without long waits, whatever made the waits
            // long.
            self.attempt = 0;
            base.timers.cancel(Timer::Collect);
        }
        self.arm(base);
    }

    /// Takes up a tombstone, and returns the one in its place.
    pub(crate) fn keep(
        &mut self,
        room: &mut Room,
        transaction: TransactionId,
        tombstone: Tombstone,
    ) -> Option<Tombstone> {
        let before = self.tombstones.insert(transaction, tombstone);
        if before.is_none() {
            room.add_tombstone(transaction.coordinator);
        }
        before
    }

    /// Removes the tombstones of this coordinator's finished transactions.
    pub(crate) fn collect(&mut self, base: &mut Base, room: &mut Room, coordinator: NodeId) {
        let Some(known) = self.known.get(&coordinator) else { return };
        let number = known.until.max(known.stamp.finished_below);
        let (low, high) = (first_of(coordinator), TransactionId { coordinator, number });
        let finished = self.tombstones.range(low..high).filter(|(id, _)| known.is_finished(id.number));
        let finished: Vec<TransactionId> = finished.map(|(id, _)| *id).collect();
        if finished.is_empty() {
            return;
        }
        self.attempt = 0;
        // The record of the finished transactions is in the same write as the removal, or in an earlier one.
        for transaction in finished {
            self.unbury(base, room, transaction);
        }
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyedRecord> + '_ {
        let settled = self.tombstones.iter().filter_map(|(transaction, tombstone)| {
            let record = Record::Settled { transaction: *transaction, end: tombstone.end };
            tombstone.key.map(|key| KeyedRecord { key, record })
        });
        let known = self.known.iter().flat_map(|(coordinator, known)| {
            let stamp = known.key.map(|key| KeyedRecord { key, record: known.record(*coordinator) });
            let record = |key| KeyedRecord { key, record: known.unfinished_record(*coordinator) };
            stamp.into_iter().chain(known.unfinished_key.map(record))
        });
        settled.chain(known)
    }

    fn unbury(&mut self, base: &mut Base, room: &mut Room, transaction: TransactionId) {
        let Some(tombstone) = self.tombstones.remove(&transaction) else { return };
        room.remove_tombstone(transaction.coordinator);
        if let Some(key) = tombstone.key {
            base.erase_lazily(key, None);
        }
    }

    /// The watermark has reached the bound that was stored beside it.
    fn forget_unfinished(&mut self, base: &mut Base, coordinator: NodeId) {
        let Some(known) = self.known.get_mut(&coordinator) else { return };
        let below = known.stamp.finished_below;
        if known.until > below {
            known.unfinished = known.unfinished.split_off(&below);
            return;
        }
        known.until = TransactionNumber::default();
        known.unfinished.clear();
        if let Some(key) = known.unfinished_key.take() {
            base.erase_lazily(key, None);
        }
    }

    /// True if the node is known as a coordinator, or may become so.
    fn may_know(&self, node: NodeId) -> bool {
        self.known.len() < COORDINATORS_MAX || self.known.contains_key(&node)
    }
}

fn first_of(coordinator: NodeId) -> TransactionId {
    TransactionId { coordinator, number: TransactionNumber::default() }
}
