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
use crate::{CoordinatorId, Epoch, TransactionId, TransactionNumber, TransactionRefusal, Unready};

/// A participant's memory of transactions that are over for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    /// The ends of branches, kept until their coordinator reports the transaction as finished. [`Room`] counts them.
    tombstones: BTreeMap<TransactionId, Tombstone>,
    /// The last stamp of each coordinator, and the node that serves it; that of this node included. At most
    /// [`COORDINATORS_MAX`].
    known: BTreeMap<CoordinatorId, KnownCoordinator>,
    /// The nodes that an operator has given up, with the key of each record. At most [`COORDINATORS_MAX`].
    given_up: BTreeMap<NodeId, u64>,
    /// Number of times in a row that coordinators were asked in vain which outcomes may be dropped.
    attempt: u32,
}

impl Outcomes {
    pub(crate) fn tombstones(&self) -> &BTreeMap<TransactionId, Tombstone> {
        &self.tombstones
    }

    pub(crate) fn known(&self) -> &BTreeMap<CoordinatorId, KnownCoordinator> {
        &self.known
    }

    pub(crate) fn given_up(&self) -> &BTreeMap<NodeId, u64> {
        &self.given_up
    }

    /// The end of the branch, if it has ended here.
    pub(crate) fn tombstone(&self, transaction: TransactionId) -> Option<Tombstone> {
        self.tombstones.get(&transaction).copied()
    }

    /// Notes whether the record of a committed branch waits for the next write.
    pub(crate) fn set_unwritten(&mut self, transaction: TransactionId, is_unwritten: bool) {
        if let Some(tombstone) = self.tombstones.get_mut(&transaction) {
            tombstone.is_unwritten = is_unwritten;
        }
    }

    /// True if no node will ask about the transaction again.
    pub(crate) fn is_collected(&self, transaction: TransactionId) -> bool {
        self.known.get(&transaction.coordinator).is_some_and(|known| known.is_finished(transaction.number))
    }

    /// The newest epoch of a coordinator.
    pub(crate) fn epoch_of(&self, coordinator: CoordinatorId) -> Epoch {
        self.known.get(&coordinator).map(|known| known.epoch).unwrap_or_default()
    }

    /// The node that serves a coordinator, as far as this node knows.
    pub(crate) fn server_of(&self, coordinator: CoordinatorId) -> Option<NodeId> {
        self.known.get(&coordinator)?.server
    }

    /// True if an operator has given a node up.
    pub(crate) fn is_given_up(&self, node: NodeId) -> bool {
        self.given_up.contains_key(&node)
    }

    /// True if an operator has given a coordinator up.
    pub(crate) fn is_forgotten(&self, coordinator: CoordinatorId) -> bool {
        self.known.get(&coordinator).is_some_and(|known| known.is_forgotten)
    }

    /// Takes up the record of a node that was given up.
    pub(crate) fn adopt_given_up(&mut self, node: NodeId, key: u64) -> Result<(), RecoverError> {
        if self.given_up.insert(node, key).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Takes up a record of a coordinator. `adopt` changes what is known of the coordinator, and returns the key of an
    /// earlier record of the same kind.
    pub(crate) fn adopt_known(
        &mut self,
        coordinator: CoordinatorId,
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

    /// Applies a coordinator's stamp. Messages of an older epoch are ignored, because they are out of date. A newer
    /// epoch is taken over from any member; the member serves the coordinator from then on. Tombstones of finished
    /// transactions are removed.
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
        let Stamp { coordinator, epoch, finished_below } = stamp;
        if !self.may_know(coordinator) {
            let refused = transaction.map(|transaction| (from, transaction));
            return room.refuse(base, coordinator, refused, Unready::Coordinators);
        }
        let before = self.known.get(&coordinator);
        if before.is_some_and(|before| before.is_forgotten) {
            return Err(Ignored::Forgotten);
        }
        if epoch < self.epoch_of(coordinator) {
            return Err(Ignored::OldEpoch);
        }
        let server = self.server_of(coordinator);
        let is_same_epoch = before.is_some_and(|before| before.epoch == epoch);
        if is_same_epoch && server.is_some_and(|server| server != from) {
            return Err(Ignored::TwoServers);
        }
        let known = self.known.entry(coordinator).or_default();
        known.unanswered = 0;
        let finished_below = finished_below.max(known.finished_below);
        if (epoch, Some(from), finished_below) == (known.epoch, known.server, known.finished_below) {
            return Ok(());
        }
        (known.epoch, known.server, known.finished_below) = (epoch, Some(from), finished_below);
        base.write_known(coordinator, known);
        if server.is_some_and(|server| server != from) {
            // The node that served it may go on talking, also after a restart of this one.
            base.flush();
        }
        self.forget_unfinished(base, coordinator);
        self.collect(base, room, coordinator);
        Ok(())
    }

    /// Handles a coordinator's report of finished transactions. The report may be older than what is known, but
    /// finished transactions stay finished.
    pub(crate) fn on_finished(&mut self, base: &mut Base, room: &mut Room, finished: Finished) -> Result<(), Ignored> {
        let Finished { stamp, mut until, unfinished } = finished;
        let coordinator = stamp.coordinator;
        if until.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        let known = self.known.get(&coordinator).cloned().unwrap_or_default();
        let was_open = |number: &TransactionNumber| !known.is_finished(*number);
        let mut unfinished: BTreeSet<TransactionNumber> = unfinished.range(..until).copied().filter(was_open).collect();
        // The part that does not fit its record is left for later.
        let most = (base.config.settings().write_bytes_max - RECORD_OVERHEAD_BYTES) / NUMBER_BYTES;
        if let Some(first) = unfinished.iter().nth(most).copied() {
            until = first;
            unfinished = unfinished.range(..first).copied().collect();
        }
        // With the same bound as before, some more transactions may have ended.
        if until < known.until || until <= known.finished_below {
            return Ok(());
        }
        let newer = KnownCoordinator { until, unfinished, ..known };
        let (low, high) = (first_of(coordinator), TransactionId { coordinator, number: until });
        // The report costs a write, so it must free at least one tombstone.
        if !self.tombstones.range(low..high).any(|(transaction, _)| newer.is_finished(transaction.number)) {
            return Ok(());
        }
        let key = newer.unfinished_key.unwrap_or_else(|| base.journal.new_key());
        let newer = KnownCoordinator { unfinished_key: Some(key), ..newer };
        base.write_lazily(key, &newer.unfinished_record(coordinator), None);
        self.known.insert(coordinator, newer);
        self.collect(base, room, coordinator);
        Ok(())
    }

    /// Asks the coordinators of settled branches which of their transactions are finished. When the server of a
    /// coordinator does not answer, another member is asked as well each time: it may have taken the coordinator over.
    pub(crate) fn on_timeout(&mut self, base: &mut Base, room: &Room) {
        for (coordinator, _) in room.of().iter().filter(|(_, held)| held.tombstones > 0) {
            let known = self.known.entry(*coordinator).or_default();
            let another = known.unanswered.checked_sub(1).and_then(|number| base.member_in_turn(number));
            known.unanswered = known.unanswered.saturating_add(1);
            let asked: BTreeSet<NodeId> = known.server.into_iter().chain(another).collect();
            for node in asked {
                base.send(node, Message::InquireFinished { coordinator: *coordinator });
            }
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
    /// on: if it came back all the same, its questions could get a presumed abort that is no longer true. Outcomes of
    /// transactions whose coordinator it served stay: another node may take the coordinator over and ask for them.
    pub(crate) fn give_up(&mut self, base: &mut Base, node: NodeId) -> Result<(), TransactionRefusal> {
        if self.is_given_up(node) {
            return Ok(());
        }
        if self.given_up.len() >= COORDINATORS_MAX {
            return Err(TransactionRefusal::Overloaded);
        }
        let key = base.journal.new_key();
        self.given_up.insert(node, key);
        base.write_lazily(key, &Record::GivenUp { node }, None);
        Ok(())
    }

    /// Handles an operator's statement that a decision log is lost: nobody will serve its coordinator, and nobody will
    /// ask for these outcomes. Messages in its name are ignored from now on: whoever served it from older data could
    /// decide anew what was decided before.
    pub(crate) fn forget_coordinator(
        &mut self,
        base: &mut Base,
        room: &mut Room,
        coordinator: CoordinatorId,
    ) -> Result<(), TransactionRefusal> {
        if !self.may_know(coordinator) {
            return Err(TransactionRefusal::Overloaded);
        }
        let known = self.known.entry(coordinator).or_default();
        known.is_forgotten = true;
        base.write_known(coordinator, known);
        let of_it = self.tombstones.range(first_of(coordinator)..).map(|(transaction, _)| *transaction);
        let of_it: Vec<TransactionId> =
            of_it.take_while(|transaction| transaction.coordinator == coordinator).collect();
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
    pub(crate) fn collect(&mut self, base: &mut Base, room: &mut Room, coordinator: CoordinatorId) {
        let Some(known) = self.known.get(&coordinator) else { return };
        let number = known.until.max(known.finished_below);
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
        let given_up =
            self.given_up.iter().map(|(node, key)| KeyedRecord { key: *key, record: Record::GivenUp { node: *node } });
        settled.chain(known).chain(given_up)
    }

    fn unbury(&mut self, base: &mut Base, room: &mut Room, transaction: TransactionId) {
        let Some(tombstone) = self.tombstones.remove(&transaction) else { return };
        room.remove_tombstone(transaction.coordinator);
        if let Some(key) = tombstone.key {
            base.erase_lazily(key, None);
        }
    }

    /// The watermark has reached the bound that was stored beside it.
    fn forget_unfinished(&mut self, base: &mut Base, coordinator: CoordinatorId) {
        let Some(known) = self.known.get_mut(&coordinator) else { return };
        let below = known.finished_below;
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

    /// True if the coordinator is known, or may become so.
    fn may_know(&self, coordinator: CoordinatorId) -> bool {
        self.known.len() < COORDINATORS_MAX || self.known.contains_key(&coordinator)
    }
}

fn first_of(coordinator: CoordinatorId) -> TransactionId {
    TransactionId { coordinator, number: TransactionNumber::default() }
}
