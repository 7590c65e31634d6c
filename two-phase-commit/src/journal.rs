//! What is written, and what happens once it is durable.
//!
//! Records that need no sync of their own (an End, the outcome of an aborted branch) wait for one that does, or for
//! `lazy_delay`. So a commit costs the writes that presumed abort is known for: one at the coordinator, two at each writer.

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
    /// The key of the next record. Above every key that is in use.
    pub(crate) next_key: u64,
    /// The id of the next checkpoint.
    pub(crate) next_checkpoint: u64,
    /// The write that ends the newest checkpoint.
    pub(crate) checkpoint: Ticket,
    /// The state record differs from what was written last.
    pub(crate) is_state_dirty: bool,
    /// What these coordinators said of themselves differs from what was written last. It goes with the next write.
    pub(crate) news_of: BTreeSet<NodeId>,
    /// Waits for a write that needs a sync.
    pub(crate) lazy: Vec<(Operation, Option<Awaited>)>,
    pub(crate) lazy_bytes: usize,
    /// Given to the outbox and not durable, oldest first.
    pub(crate) unsettled: VecDeque<(Ticket, Operation)>,
    pub(crate) unsettled_bytes: usize,
    /// What happens then, oldest first.
    pub(crate) awaited: VecDeque<(Ticket, Awaited)>,
}

impl Journal {
    /// What waits for the log, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.lazy_bytes + self.unsettled_bytes
    }
}

impl TwoPhaseCommit {
    /// A place for a new record.
    pub(crate) fn new_key(&mut self) -> u64 {
        let key = self.journal.next_key;
        self.journal.next_key += 1;
        key
    }

    /// Writes a record, and with it all that waits.
    pub(crate) fn write(&mut self, key: u64, record: &Record, awaited: Option<Awaited>) -> Ticket {
        self.add(Operation::Journal { key, bytes: record.encode() }, awaited);
        self.flush()
    }

    /// Writes a record with the next write, or after a while.
    pub(crate) fn write_lazily(&mut self, key: u64, record: &Record, awaited: Option<Awaited>) {
        self.add(Operation::Journal { key, bytes: record.encode() }, awaited);
        self.arm_lazy();
    }

    /// Takes a record out with the next write, or after a while.
    pub(crate) fn erase_lazily(&mut self, key: u64, awaited: Option<Awaited>) {
        self.add(Operation::Journal { key, bytes: Bytes::new() }, awaited);
        self.arm_lazy();
    }

    /// The state record changed: it goes with the next write, or after a while.
    pub(crate) fn write_state_lazily(&mut self) {
        self.journal.is_state_dirty = true;
        self.arm_lazy();
    }

    /// What a coordinator said of itself changed: it goes with the next write.
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

    /// Hands over all that waits, and gives the write that covers everything so far.
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

    /// This write is durable: what waited for it happens.
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

    /// A write that was certainly not done is done again after a while; what would have been decided or voted by it is not, and
    /// nobody was told of it. After any other failure nothing is known of the disk, so nothing is said.
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
        // What was one write stays one.
        let is_withdrawn =
            |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if withdrawn.contains(key));
        let mut writes: BTreeMap<Ticket, Vec<Operation>> = BTreeMap::new();
        for (ticket, operation) in unsettled.into_iter().filter(|(_, operation)| !is_withdrawn(operation)) {
            writes.entry(ticket).or_default().push(operation);
        }
        for operations in writes.into_values() {
            self.persist(operations);
        }
        // They may be more than one write now: what waits for any of them waits for all.
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

    /// Writes everything that counts anew, so that what was written before may go.
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

    /// Every record that counts, and its key.
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

    /// Whether the newest record of a place is durable.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_on_disk(&self, place: u64) -> bool {
        let is_of_it = |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if *key == place);
        if self.journal.lazy.iter().any(|(operation, _)| is_of_it(operation)) {
            return false;
        }
        // What stands between the two marks of a checkpoint is a copy of what is durable or comes before it.
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

    /// What waits goes first when this does not fit the same write. The state record always does.
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

    /// The record that would bind this node, and must not be written any more once what it says is taken back.
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

    /// A decision that certainly was not written is none.
    fn undecide(&mut self, number: TransactionNumber) {
        let told = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Deciding { writers, .. }) => writers.clone(),
            Some(Stage::Delegating { .. }) => BTreeSet::new(),
            _ => return,
        };
        self.abort_transaction(number, AbortReason::NotWritten, &told);
    }

    /// A vote that certainly was not written is a no.
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
    /// What it said of itself, and where that stands.
    fn record(&self, coordinator: NodeId) -> (u64, Record) {
        let key = self.key.expect("given a place when it is to be written first");
        (key, Record::Known { coordinator, stamp: self.stamp, is_forgotten: self.is_forgotten })
    }
}

/// About what an operation takes beside its bytes, as [`Operation::weight`] has it.
const OPERATION_WEIGHT: usize = 64;
const KNOWN_WEIGHT: usize = OPERATION_WEIGHT + KNOWN_BYTES;
const STATE_WEIGHT: usize = OPERATION_WEIGHT + STATE_BYTES;
