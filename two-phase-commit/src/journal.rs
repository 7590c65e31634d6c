//! Writes, and the actions that follow once they are durable.
//!
//! Records that need no sync of their own (an End, the outcome of an aborted branch) wait for a record that needs one,
//! or for `lazy_delay`. So a commit costs only the writes that presumed abort needs: one at the coordinator, and two at
//! each writer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_protocol::{HaltReason, LogIndex, NodeId, Operation, PersistFailure, Ticket};

use crate::codec::{KNOWN_BYTES, Record, STATE_BYTES, encode_state};
use crate::error::Ignored;
use crate::state::{Awaited, BranchEnd, BranchStage, Coordinated, Known, Stage};
use crate::timers::Timer;
use crate::{AbortReason, Event, TransactionId, TransactionNumber, TwoPhaseCommit, Vote};

/// Writes that are not durable yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// The key of the next record, above every key in use.
    pub(crate) next_key: u64,
    /// The id of the next checkpoint.
    pub(crate) next_checkpoint: u64,
    /// The write that ends the newest checkpoint.
    pub(crate) checkpoint: Ticket,
    /// True if the state record has changed since it was last written.
    pub(crate) is_state_dirty: bool,
    /// The coordinators whose stamps have changed since they were last written. They go with the next write.
    pub(crate) news_of: BTreeSet<NodeId>,
    /// Operations that wait for a write that needs a sync.
    pub(crate) lazy: Vec<(Operation, Option<Awaited>)>,
    pub(crate) lazy_bytes: usize,
    /// Operations given to the outbox that are not durable yet, oldest first.
    pub(crate) unsettled: VecDeque<(Ticket, Operation)>,
    pub(crate) unsettled_bytes: usize,
    /// The actions that follow once these writes are durable, oldest first.
    pub(crate) awaited: VecDeque<(Ticket, Awaited)>,
}

impl Journal {
    /// Number of bytes that wait for the log.
    pub(crate) fn bytes(&self) -> usize {
        self.lazy_bytes + self.unsettled_bytes
    }
}

impl TwoPhaseCommit {
    /// A key for a new record.
    pub(crate) fn new_key(&mut self) -> u64 {
        let key = self.journal.next_key;
        self.journal.next_key += 1;
        key
    }

    /// Writes a record, together with all waiting ones.
    pub(crate) fn write(&mut self, key: u64, record: &Record, awaited: Option<Awaited>) -> Ticket {
        self.add(Operation::Journal { key, bytes: record.encode() }, awaited);
        self.flush()
    }

    /// Writes a record with the next write, or after a while.
    pub(crate) fn write_lazily(&mut self, key: u64, record: &Record, awaited: Option<Awaited>) {
        self.add(Operation::Journal { key, bytes: record.encode() }, awaited);
        self.arm_lazy();
    }

    /// Erases a record with the next write, or after a while.
    pub(crate) fn erase_lazily(&mut self, key: u64, awaited: Option<Awaited>) {
        self.add(Operation::Journal { key, bytes: Bytes::new() }, awaited);
        self.arm_lazy();
    }

    /// Writes the changed state record with the next write, or after a while.
    pub(crate) fn write_state_lazily(&mut self) {
        self.journal.is_state_dirty = true;
        self.arm_lazy();
    }

    /// Writes a coordinator's changed stamp with the next write.
    pub(crate) fn write_known(&mut self, coordinator: NodeId) {
        if self.journal.news_of.contains(&coordinator) {
            return;
        }
        self.make_room(KNOWN_WEIGHT);
        let key = self.known.get(&coordinator).and_then(|known| known.key);
        let key = key.unwrap_or_else(|| self.new_key());
        self.known.entry(coordinator).or_default().key = Some(key);
        self.journal.lazy_bytes += KNOWN_WEIGHT;
        self.journal.news_of.insert(coordinator);
    }

    /// Gives all waiting operations to the outbox, and returns the write that covers everything so far.
    pub(crate) fn flush(&mut self) -> Ticket {
        self.timers.cancel(Timer::Lazy);
        let lazy = std::mem::take(&mut self.journal.lazy);
        self.journal.lazy_bytes = 0;
        let (mut operations, mut awaited) = (Vec::with_capacity(lazy.len() + 1), Vec::new());
        for (operation, effect) in lazy {
            operations.push(operation);
            awaited.extend(effect);
        }
        for coordinator in std::mem::take(&mut self.journal.news_of) {
            let (key, record) = self.known[&coordinator].record(coordinator);
            operations.push(Operation::Journal { key, bytes: record.encode() });
        }
        if std::mem::take(&mut self.journal.is_state_dirty) {
            operations.push(Operation::PutState { bytes: encode_state(&self.state), commit_hint: LogIndex::ZERO });
        }
        if operations.is_empty() {
            return self.outbox.newest_write();
        }
        let ticket = self.persist(operations);
        self.journal.awaited.extend(awaited.into_iter().map(|effect| (ticket, effect)));
        ticket
    }

    /// A write is durable: carries out the actions that waited for it.
    pub(crate) fn on_persisted(&mut self, ticket: Ticket) {
        self.outbox.persisted(ticket);
        while let Some((ticket, operation)) = self.journal.unsettled.front()
            && self.outbox.is_durable(*ticket)
        {
            self.journal.unsettled_bytes -= operation.weight();
            self.journal.unsettled.pop_front();
        }
        while let Some((ticket, effect)) = self.journal.awaited.front().copied()
            && self.outbox.is_durable(ticket)
        {
            self.journal.awaited.pop_front();
            match effect {
                Awaited::Decided(number) => self.on_decided(number),
                Awaited::Delegated(number) => self.on_delegated(number),
                Awaited::Ended(number) => self.on_ended(number),
                Awaited::Prepared(transaction) => self.on_prepared(transaction),
                Awaited::Settled(transaction, decision) => self.outbox.event(Event::Settled { transaction, decision }),
            }
        }
    }

    /// A write failed. If it was certainly not written, it is repeated after a while, except for the decisions and
    /// votes in it: these are taken back, because no other node was told them. After any other failure the state of the
    /// disk is unknown, and the group halts.
    pub(crate) fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        if failure != PersistFailure::NotWritten {
            self.halt(HaltReason::LogFailed(failure));
            return Err(Ignored::Halted);
        }
        if self.outbox.in_flight() != Some(ticket) {
            return Err(Ignored::StaleAnswer);
        }
        self.outbox.refused();
        self.journal.unsettled_bytes = 0;
        let (unsettled, awaited) =
            (std::mem::take(&mut self.journal.unsettled), std::mem::take(&mut self.journal.awaited));
        let withdrawn: BTreeSet<u64> = awaited.iter().filter_map(|(_, effect)| self.binding_key(*effect)).collect();
        // Operations of one write stay in one write.
        let is_withdrawn =
            |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if withdrawn.contains(key));
        let mut writes: BTreeMap<Ticket, Vec<Operation>> = BTreeMap::new();
        for (ticket, operation) in unsettled.into_iter().filter(|(_, operation)| !is_withdrawn(operation)) {
            writes.entry(ticket).or_default().push(operation);
        }
        for operations in writes.into_values() {
            self.persist(operations);
        }
        // There may be several writes now. Outputs that waited for one of them wait for all.
        let covered = self.outbox.newest_write();
        self.outbox.rebind_held(covered);
        for waits in [&mut self.epoch_ticket, &mut self.journal.checkpoint] {
            if !self.outbox.is_durable(*waits) {
                *waits = covered;
            }
        }
        for (_, effect) in awaited {
            match effect {
                Awaited::Decided(number) | Awaited::Delegated(number) => self.undecide(number),
                Awaited::Prepared(transaction) => self.unprepare(transaction),
                Awaited::Ended(_) | Awaited::Settled(..) => self.journal.awaited.push_back((covered, effect)),
            }
        }
        self.timers.arm(Timer::Rewrite, self.now.instant.after(self.config.settings().retry_min));
        Err(Ignored::LogRefuses)
    }

    /// Writes every record that counts again, so that all earlier ones may be removed.
    pub(crate) fn checkpoint(&mut self) {
        if !self.outbox.is_durable(self.journal.checkpoint) {
            return;
        }
        self.flush();
        let id = self.journal.next_checkpoint;
        self.journal.next_checkpoint += 1;
        self.persist(vec![Operation::CheckpointBegin { id }]);
        for (key, record) in self.records() {
            self.persist(vec![Operation::Journal { key, bytes: record.encode() }]);
        }
        let state = Operation::PutState { bytes: encode_state(&self.state), commit_hint: LogIndex::ZERO };
        self.journal.checkpoint = self.persist(vec![state, Operation::CheckpointDone { id }]);
    }

    /// Every record that counts, with its key.
    pub(crate) fn records(&self) -> Vec<(u64, Record)> {
        let of_stage = |(number, it): (&TransactionNumber, &Coordinated)| {
            let number = *number;
            match &it.stage {
                Stage::Deciding { key, writers } | Stage::Committed { key, writers, .. } => {
                    Some((*key, Record::Commit { number, writers: writers.clone() }))
                }
                Stage::Ending { key, writers } => Some((*key, Record::Ended { number, writers: writers.clone() })),
                Stage::Delegating { key, participant, payload } | Stage::Delegated { key, participant, payload } => {
                    let (participant, payload) = (*participant, payload.clone());
                    Some((*key, Record::Delegated { number, participant, payload }))
                }
                Stage::Working | Stage::Voting(_) | Stage::Forgetting => None,
            }
        };
        let mut records: Vec<(u64, Record)> = self.coordinated.iter().filter_map(of_stage).collect();
        records.extend(
            self.remembered
                .iter()
                .map(|(number, it)| (it.key, Record::Ended { number: *number, writers: it.writers.clone() })),
        );
        records.extend(self.branches.iter().filter_map(|(transaction, branch)| {
            let (participants, payload) = (branch.participants.clone(), branch.payload.clone());
            let record = Record::Prepared { transaction: *transaction, participants, payload };
            branch.key.map(|key| (key, record))
        }));
        records.extend(self.tombstones.iter().filter_map(|(transaction, tombstone)| {
            let record = Record::Settled { transaction: *transaction, end: tombstone.end };
            tombstone.key.map(|key| (key, record))
        }));
        for (coordinator, known) in &self.known {
            records.extend(known.key.map(|_| known.record(*coordinator)));
            records.extend(known.unfinished_key.map(|key| {
                let (until, unfinished) = (known.until, known.unfinished.clone());
                (key, Record::Unfinished { coordinator: *coordinator, until, unfinished })
            }));
        }
        records
    }

    /// True if the newest record with this key is durable.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_on_disk(&self, place: u64) -> bool {
        let is_of_it = |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if *key == place);
        if self.journal.lazy.iter().any(|(operation, _)| is_of_it(operation)) {
            return false;
        }
        // Records between the two marks of a checkpoint are copies of records that are durable or come before it.
        let mut is_copy = false;
        for (_, operation) in self.journal.unsettled.iter().rev() {
            match operation {
                Operation::CheckpointDone { .. } => is_copy = true,
                Operation::CheckpointBegin { .. } => is_copy = false,
                operation if is_of_it(operation) && !is_copy => return false,
                _ => {}
            }
        }
        true
    }

    fn add(&mut self, operation: Operation, awaited: Option<Awaited>) {
        let bytes = operation.weight();
        self.make_room(bytes);
        self.journal.lazy_bytes += bytes;
        self.journal.lazy.push((operation, awaited));
    }

    /// Flushes the waiting operations first if `bytes` more do not fit the same write. The state record always fits.
    fn make_room(&mut self, bytes: usize) {
        if self.journal.lazy_bytes + bytes + STATE_WEIGHT > self.config.settings().write_bytes_max {
            self.flush();
        }
    }

    fn arm_lazy(&mut self) {
        if !self.timers.is_armed(Timer::Lazy) {
            self.timers.arm(Timer::Lazy, self.now.instant.after(self.config.settings().lazy_delay));
        }
    }

    fn persist(&mut self, operations: Vec<Operation>) -> Ticket {
        let ticket = self.outbox.persist(operations.iter().cloned());
        self.journal.unsettled_bytes += operations.iter().map(Operation::weight).sum::<usize>();
        self.journal.unsettled.extend(operations.into_iter().map(|operation| (ticket, operation)));
        ticket
    }

    /// Key of the record that would bind this node, and that must not be written once the action behind it is taken
    /// back.
    fn binding_key(&self, effect: Awaited) -> Option<u64> {
        match effect {
            Awaited::Decided(number) | Awaited::Delegated(number) => match &self.coordinated.get(&number)?.stage {
                Stage::Deciding { key, .. } | Stage::Delegating { key, .. } => Some(*key),
                _ => None,
            },
            Awaited::Prepared(transaction) => self.branches.get(&transaction)?.key,
            Awaited::Ended(_) | Awaited::Settled(..) => None,
        }
    }

    /// A decision that was certainly not written is taken back.
    fn undecide(&mut self, number: TransactionNumber) {
        let told = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Deciding { writers, .. }) => writers.clone(),
            Some(Stage::Delegating { .. }) => BTreeSet::new(),
            _ => return,
        };
        self.abort_transaction(number, AbortReason::NotWritten, &told);
    }

    /// A vote that was certainly not written becomes a no.
    fn unprepare(&mut self, transaction: TransactionId) {
        let Some(branch) = self.branches.get_mut(&transaction) else { return };
        branch.key = None;
        if branch.stage == BranchStage::Writing {
            self.abort_branch(transaction, BranchEnd::Abandoned);
            self.send_vote(transaction, Vote::No);
        }
    }
}

impl Known {
    /// The record of the stamp, with its key.
    fn record(&self, coordinator: NodeId) -> (u64, Record) {
        let key = self.key.expect("given a place when it is to be written first");
        (key, Record::Known { coordinator, stamp: self.stamp, is_forgotten: self.is_forgotten })
    }
}

/// Approximate size of an operation beside its bytes, as in [`Operation::weight`].
const OPERATION_WEIGHT: usize = 64;
const KNOWN_WEIGHT: usize = OPERATION_WEIGHT + KNOWN_BYTES;
const STATE_WEIGHT: usize = OPERATION_WEIGHT + STATE_BYTES;
