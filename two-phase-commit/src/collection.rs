//! Garbage collection of ended transactions at a participant: tombstones, and the transactions that their coordinators
//! report as finished.
//!
//! Every message of a coordinator has a low watermark, below which all its transactions are finished. Transactions do
//! not end in the order in which they begin, so that one long transaction would hold back the watermark and all
//! tombstones above it. Therefore a participant asks the coordinator for more than the watermark: a higher bound, and
//! the transactions below it that are not finished. It stores this answer in place of the tombstones, so that it still
//! recognises a prepare that comes late.

use std::collections::BTreeSet;

use quorate_protocol::{NodeId, Standing};

use crate::codec::{NUMBER_BYTES, Record};
use crate::config::RECORD_OVERHEAD_BYTES;
use crate::error::Ignored;
use crate::message::{Finished, Message, Stamp};
use crate::state::{BranchEnd, COORDINATORS_MAX, Known, Stage, Tombstone};
use crate::timers::Timer;
use crate::{CommandId, Decision, Event, RefuseReason, TransactionId, TransactionNumber, TwoPhaseCommit};

/// Result of applying a coordinator's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The coordinator is known now.
    Known,
    /// Too many coordinators are known.
    NoRoom,
}

impl TwoPhaseCommit {
    /// Applies a coordinator's stamp. Messages of an older epoch are ignored, because they are out of date. Tombstones
    /// of finished transactions are removed.
    pub(crate) fn on_stamp(&mut self, from: NodeId, stamp: Stamp) -> Result<Taken, Ignored> {
        if stamp.finished_below.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        let known = self.known.get(&from);
        if known.is_none() && self.known.len() >= COORDINATORS_MAX {
            return Ok(Taken::NoRoom);
        }
        let before = known.map(|known| known.stamp).unwrap_or_default();
        if stamp.epoch < before.epoch {
            return Err(Ignored::OldEpoch);
        }
        let finished_below = stamp.finished_below.max(before.finished_below);
        let newest = Stamp { epoch: stamp.epoch, finished_below };
        if newest != before {
            self.known.entry(from).or_default().stamp = newest;
            self.write_known(from);
            self.forget_unfinished(from);
            self.collect(from);
        }
        Ok(Taken::Known)
    }

    /// Tells a participant which transactions of this coordinator are finished.
    pub(crate) fn tell_finished(&mut self, to: NodeId) {
        let (stamp, until) = (self.stamp(), self.next_number());
        let unfinished = self.coordinated.keys().copied().collect();
        self.send(to, Message::Finished(Finished { stamp, until, unfinished }));
    }

    /// Handles a coordinator's report of finished transactions. The report may be older than what is known, but
    /// finished transactions stay finished.
    pub(crate) fn on_finished(&mut self, from: NodeId, finished: Finished) -> Result<(), Ignored> {
        let Finished { stamp, mut until, unfinished } = finished;
        if until.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        let known = self.known.get(&from).cloned().unwrap_or_default();
        let was_open = |number: &TransactionNumber| !known.is_finished(*number);
        let mut unfinished: BTreeSet<TransactionNumber> = unfinished.range(..until).copied().filter(was_open).collect();
        // The part that does not fit its record is left for later.
        let most = (self.config.settings().write_bytes_max - RECORD_OVERHEAD_BYTES) / NUMBER_BYTES;
        if let Some(first) = unfinished.iter().nth(most).copied() {
            until = first;
            unfinished = unfinished.range(..first).copied().collect();
        }
        // With the same bound as before, some more transactions may have ended.
        if until < known.until || until <= known.stamp.finished_below {
            return Ok(());
        }
        let newer = Known { until, unfinished, ..known };
        let (low, high) = (first_of(from), TransactionId { coordinator: from, number: until });
        // The report costs a write, so it must free at least one tombstone.
        if !self.tombstones.range(low..high).any(|(transaction, _)| newer.is_finished(transaction.number)) {
            return Ok(());
        }
        let key = newer.unfinished_key.unwrap_or_else(|| self.new_key());
        let record = Record::Unfinished { coordinator: from, until, unfinished: newer.unfinished.clone() };
        self.known.insert(from, Known { unfinished_key: Some(key), ..newer });
        self.write_lazily(key, &record, None);
        self.collect(from);
        Ok(())
    }

    /// Asks the coordinators of settled branches which of their transactions are finished.
    pub(crate) fn on_collect_timeout(&mut self) {
        let holdings = self.holdings.iter().filter(|(_, held)| held.tombstones > 0);
        let coordinators: Vec<NodeId> = holdings.map(|(coordinator, _)| *coordinator).collect();
        for coordinator in coordinators {
            self.send(coordinator, Message::InquireFinished);
        }
        self.collect_attempt = self.collect_attempt.saturating_add(1);
        self.arm_collect();
    }

    pub(crate) fn arm_collect(&mut self) {
        if self.tombstones.is_empty() {
            self.collect_attempt = 0;
        } else if !self.timers.is_armed(Timer::Collect) {
            let at = self.retry_at(self.collect_attempt);
            self.timers.arm(Timer::Collect, at);
        }
    }

    /// Handles an operator's statement that a node will not come back with its data. This node no longer waits for it
    /// and ignores all its messages: if it came back all the same, its questions could get a presumed abort that is no
    /// longer true.
    pub(crate) fn on_forget(&mut self, command: CommandId, node: NodeId) -> Result<(), RefuseReason> {
        self.check_standing(self.config.node()).map_err(|_| RefuseReason::NotIntroduced)?;
        if node == self.config.node() || self.standings.get(&node) == Some(&Standing::Member) {
            return Err(RefuseReason::StillMember);
        }
        if !self.known.contains_key(&node) && self.known.len() >= COORDINATORS_MAX {
            return Err(RefuseReason::Overloaded);
        }
        self.known.entry(node).or_default().is_forgotten = true;
        self.write_known(node);
        let of_it: Vec<TransactionId> = self.tombstones_of(node).map(|(transaction, _)| *transaction).collect();
        for transaction in of_it {
            self.unbury(transaction);
        }
        let written = self.flush();
        let waits_for_it = self.coordinated.iter().filter(
            |(_, it)| matches!(&it.stage, Stage::Committed { unacknowledged, .. } if unacknowledged.contains(&node)),
        );
        let waiting: Vec<TransactionNumber> = waits_for_it.map(|(number, _)| *number).collect();
        for number in waiting {
            self.outbox.event(Event::BranchForgotten { transaction: self.id_of(number), participant: node });
            self.count_acknowledgement(number, node);
        }
        self.outbox.event_after(written, Event::Forgotten { command, node });
        Ok(())
    }

    /// A decision to abort arrived before the prepare, which will be refused.
    pub(crate) fn fence(&mut self, transaction: TransactionId) -> Result<(), Ignored> {
        let is_refused_anyway = transaction.number.epoch < self.known_stamp(transaction.coordinator).epoch;
        if self.is_collected(transaction) || is_refused_anyway {
            return Err(Ignored::Collected);
        }
        self.check_room(transaction.coordinator, 0).map_err(|_| Ignored::Unready)?;
        let (end, key) = (BranchEnd::Decided(Decision::Abort), self.new_key());
        self.bury(transaction, end, Some(key));
        self.write_lazily(key, &Record::Settled { transaction, end }, None);
        Ok(())
    }

    /// Replaces a branch by a tombstone.
    pub(crate) fn bury(&mut self, transaction: TransactionId, end: BranchEnd, key: Option<u64>) {
        if let Some(branch) = self.branches.remove(&transaction) {
            self.let_go(transaction.coordinator, branch.payload.len());
            self.timers.cancel(Timer::Branch(transaction));
        }
        self.keep_tombstone(transaction, Tombstone { end, key });
        let half = self.config.settings().tombstones_max / 2;
        if self.tombstones.len() == half.max(1) {
            // Half of the tombstones are used, so coordinators are asked without long waits, whatever made the waits
            // long.
            self.collect_attempt = 0;
            self.timers.cancel(Timer::Collect);
        }
        self.arm_collect();
    }

    /// Removes the tombstones of this coordinator's finished transactions.
    pub(crate) fn collect(&mut self, coordinator: NodeId) {
        let Some(known) = self.known.get(&coordinator) else { return };
        let number = known.until.max(known.stamp.finished_below);
        let (low, high) = (first_of(coordinator), TransactionId { coordinator, number });
        let finished = self.tombstones.range(low..high).filter(|(id, _)| known.is_finished(id.number));
        let finished: Vec<TransactionId> = finished.map(|(id, _)| *id).collect();
        if finished.is_empty() {
            return;
        }
        self.collect_attempt = 0;
        // The record of the finished transactions is in the same write as the removal, or in an earlier one.
        for transaction in finished {
            self.unbury(transaction);
        }
    }

    /// True if no node will ask about the transaction again.
    pub(crate) fn is_collected(&self, transaction: TransactionId) -> bool {
        self.known.get(&transaction.coordinator).is_some_and(|known| known.is_finished(transaction.number))
    }

    /// The last stamp of a coordinator.
    pub(crate) fn known_stamp(&self, coordinator: NodeId) -> Stamp {
        self.known.get(&coordinator).map(|known| known.stamp).unwrap_or_default()
    }

    /// True if an operator has given a node up.
    pub(crate) fn is_forgotten(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|known| known.is_forgotten)
    }

    fn unbury(&mut self, transaction: TransactionId) {
        if let Some(key) = self.take_tombstone(transaction).and_then(|tombstone| tombstone.key) {
            self.erase_lazily(key, None);
        }
    }

    /// The watermark has reached the bound that was stored beside it.
    pub(crate) fn forget_unfinished(&mut self, coordinator: NodeId) {
        let Some(known) = self.known.get_mut(&coordinator) else { return };
        let below = known.stamp.finished_below;
        if known.until > below {
            known.unfinished = known.unfinished.split_off(&below);
            return;
        }
        known.until = TransactionNumber::default();
        known.unfinished.clear();
        if let Some(key) = known.unfinished_key.take() {
            self.erase_lazily(key, None);
        }
    }

    fn tombstones_of(&self, coordinator: NodeId) -> impl Iterator<Item = (&TransactionId, &Tombstone)> {
        let from = first_of(coordinator);
        self.tombstones.range(from..).take_while(move |(transaction, _)| transaction.coordinator == coordinator)
    }
}

fn first_of(coordinator: NodeId) -> TransactionId {
    TransactionId { coordinator, number: TransactionNumber::default() }
}
