//! Writes, and the actions that follow once they are durable.
//!
//! Records that need no sync of their own (an End, the outcome of an aborted branch) wait for a record that needs one,
//! or for `lazy_delay`. So a commit costs only the writes that presumed abort needs: one at the coordinator, and two at
//! each writer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate_protocol::{LogIndex, Operation, RecoverError, Ticket, ViewWriter};

use crate::base::Base;
use crate::codec::{KNOWN_BYTES, Record, STATE_BYTES, encode_state};
use crate::recovery::Recovered;
use crate::state::{Awaited, DurableState, KnownCoordinator};
use crate::timers::Timer;
use crate::{CoordinatorId, Epoch, TransactionNumber};

/// The state record, and the writes that are not durable yet.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    /// The newest state, written or included in the next write.
    state: DurableState,
    /// The write that raised the epoch. No message of this epoch leaves before it is durable.
    epoch_ticket: Ticket,
    /// The key of the next record, above every key in use.
    next_key: u64,
    /// The id of the next checkpoint.
    next_checkpoint: u64,
    /// The write that ends the newest checkpoint.
    checkpoint: Ticket,
    next_write: NextWrite,
    /// Operations given to the outbox that are not durable yet, oldest first.
    unsettled: VecDeque<Unsettled>,
    /// The weight of the operations in `unsettled`.
    unsettled_bytes: usize,
    /// The actions that follow once these writes are durable, oldest first.
    awaited: VecDeque<(Ticket, Awaited)>,
}

/// Operations that wait for a write that needs a sync.
#[derive(Clone, Debug, Default)]
struct NextWrite {
    operations: Vec<Operation>,
    /// The actions that follow once `operations` are durable.
    awaited: Vec<Awaited>,
    /// The newest record of each coordinator whose stamp has changed since it was last written.
    news: BTreeMap<CoordinatorId, KeyedRecord>,
    /// True if the state record has changed since it was last written.
    is_state_dirty: bool,
    /// The weight of `operations` and `news`.
    bytes: usize,
}

/// A record and its place.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRecord {
    pub(crate) key: u64,
    pub(crate) record: Record,
}

/// An operation that is not durable yet.
#[derive(Clone, Debug)]
struct Unsettled {
    /// The write with the operation.
    ticket: Ticket,
    operation: Operation,
}

impl Journal {
    /// The journal of a node that starts with this content of its log.
    pub(crate) fn new(recovered: &Recovered) -> Self {
        Self {
            state: recovered.state.clone(),
            epoch_ticket: Ticket(0),
            next_key: recovered.next_key,
            next_checkpoint: recovered.next_checkpoint,
            checkpoint: Ticket(0),
            next_write: NextWrite::default(),
            unsettled: VecDeque::new(),
            unsettled_bytes: 0,
            awaited: VecDeque::new(),
        }
    }

    pub(crate) fn state(&self) -> &DurableState {
        &self.state
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    pub(crate) fn epoch_ticket(&self) -> Ticket {
        self.epoch_ticket
    }

    /// Number of bytes that wait for the log.
    pub(crate) fn bytes(&self) -> usize {
        self.next_write.bytes + self.unsettled_bytes
    }

    /// A key for a new record.
    pub(crate) fn new_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    /// Raises the epoch, with the next write.
    pub(crate) fn raise_epoch(&mut self) -> Result<(), RecoverError> {
        let raised = self.state.epoch.0.checked_add(1);
        self.state.epoch = Epoch(raised.ok_or(RecoverError::Inconsistent("the epoch has run out"))?);
        self.next_write.is_state_dirty = true;
        Ok(())
    }

    /// The actions that bind this node once their writes are durable.
    pub(crate) fn binding(&self) -> Vec<Awaited> {
        self.awaited.iter().map(|(_, effect)| *effect).filter(|effect| effect.is_binding()).collect()
    }

    /// True if the newest record with this key is durable.
    #[cfg(feature = "testing")]
    pub(crate) fn is_on_disk(&self, place: u64) -> bool {
        let is_of_it = |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if *key == place);
        if self.next_write.operations.iter().any(is_of_it) {
            return false;
        }
        // Records between the two marks of a checkpoint are copies of records that are durable or come before it.
        let mut is_copy = false;
        for Unsettled { operation, .. } in self.unsettled.iter().rev() {
            match operation {
                Operation::CheckpointDone { .. } => is_copy = true,
                Operation::CheckpointBegin { .. } => is_copy = false,
                operation if is_of_it(operation) && !is_copy => return false,
                _ => {}
            }
        }
        true
    }

    /// The writes that more waits for than outputs.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        let unsettled = self.unsettled.iter().map(|it| it.ticket);
        let awaited = self.awaited.iter().map(|(ticket, _)| *ticket);
        [self.epoch_ticket, self.checkpoint].into_iter().chain(unsettled).chain(awaited)
    }

    pub(crate) fn put_view(&self, out: &mut ViewWriter) {
        out.put(&(&self.state, out.ticket(self.epoch_ticket)));
        out.put(&(self.next_key, self.next_checkpoint, out.ticket(self.checkpoint)));
        out.put(&self.next_write);
        for Unsettled { ticket, operation } in &self.unsettled {
            out.put(&(out.ticket(*ticket), operation));
        }
        for (ticket, effect) in &self.awaited {
            out.put(&(out.ticket(*ticket), effect));
        }
    }

    /// Checks that records have places of their own, and that bytes are counted. `keys` are those of all records.
    pub(crate) fn check(&self, keys: &[u64]) {
        let distinct: BTreeSet<u64> = keys.iter().copied().collect();
        assert!(distinct.len() == keys.len(), "every record has a place of its own");
        assert!(distinct.last().is_none_or(|last| *last < self.next_key), "new records get new places");
        let unsettled: usize = self.unsettled.iter().map(|it| it.operation.weight()).sum();
        assert!(unsettled == self.unsettled_bytes, "what waits for the log is counted");
    }
}

impl Base {
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

    /// Notes that committed and finished transactions below this number are forgotten, with the next write or after a
    /// while.
    pub(crate) fn forget_below(&mut self, number: TransactionNumber) {
        let below = &mut self.journal.state.forgotten_below;
        *below = number.max(*below);
        self.journal.next_write.is_state_dirty = true;
        self.arm_lazy();
    }

    /// Writes a coordinator's changed stamp with the next write.
    pub(crate) fn write_known(&mut self, coordinator: CoordinatorId, known: &mut KnownCoordinator) {
        if !self.journal.next_write.news.contains_key(&coordinator) {
            self.make_room(KNOWN_WEIGHT);
            self.journal.next_write.bytes += KNOWN_WEIGHT;
        }
        let key = *known.key.get_or_insert_with(|| self.journal.new_key());
        self.journal.next_write.news.insert(coordinator, KeyedRecord { key, record: known.record(coordinator) });
    }

    /// Gives all waiting operations to the outbox, and returns the write that covers everything so far.
    pub(crate) fn flush(&mut self) -> Ticket {
        self.timers.cancel(Timer::Lazy);
        let next = std::mem::take(&mut self.journal.next_write);
        let mut operations = next.operations;
        operations.extend(next.news.into_values().map(|KeyedRecord { key, record }| written(key, &record)));
        if next.is_state_dirty {
            operations.push(self.state_record());
        }
        if operations.is_empty() {
            return self.chassis.outbox.newest_write();
        }
        let ticket = self.persist(operations);
        self.journal.awaited.extend(next.awaited.into_iter().map(|effect| (ticket, effect)));
        ticket
    }

    /// Writes everything so far. The epoch counts once this is durable.
    pub(crate) fn begin_epoch(&mut self) {
        self.journal.epoch_ticket = self.flush();
    }

    /// A write is durable. Afterwards [`Base::next_durable`] gives the actions that waited for it.
    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        let (outbox, journal) = (&mut self.chassis.outbox, &mut self.journal);
        outbox.persisted(ticket);
        while let Some(it) = journal.unsettled.pop_front_if(|it| outbox.is_durable(it.ticket)) {
            journal.unsettled_bytes -= it.operation.weight();
        }
    }

    /// The next action whose write is durable.
    pub(crate) fn next_durable(&mut self) -> Option<Awaited> {
        let outbox = &self.chassis.outbox;
        self.journal.awaited.pop_front_if(|(ticket, _)| outbox.is_durable(*ticket)).map(|(_, effect)| effect)
    }

    /// The log refused the write in flight, so that no write after it was written either. Queues their operations
    /// again, except the records with the keys in `withdrawn`: the caller takes the actions behind them back.
    pub(crate) fn write_again(&mut self, withdrawn: &BTreeSet<u64>) {
        self.chassis.outbox.refused();
        self.journal.unsettled_bytes = 0;
        // Operations of one write stay in one write.
        let is_withdrawn =
            |operation: &Operation| matches!(operation, Operation::Journal { key, .. } if withdrawn.contains(key));
        let mut writes: BTreeMap<Ticket, Vec<Operation>> = BTreeMap::new();
        for Unsettled { ticket, operation } in std::mem::take(&mut self.journal.unsettled) {
            if !is_withdrawn(&operation) {
                writes.entry(ticket).or_default().push(operation);
            }
        }
        for operations in writes.into_values() {
            self.persist(operations);
        }
        // There may be several writes now. Outputs that waited for one of them wait for all.
        let (outbox, journal) = (&mut self.chassis.outbox, &mut self.journal);
        let covered = outbox.newest_write();
        outbox.rebind_held(covered);
        for waits in [&mut journal.epoch_ticket, &mut journal.checkpoint] {
            if !outbox.is_durable(*waits) {
                *waits = covered;
            }
        }
        journal.awaited.retain(|(_, effect)| !effect.is_binding());
        journal.awaited.iter_mut().for_each(|(ticket, _)| *ticket = covered);
        let again_at = self.now().after(self.config.settings().retry_min);
        self.chassis.write_again_at(again_at);
    }

    /// True if the newest checkpoint is written, so that another may begin.
    pub(crate) fn may_checkpoint(&self) -> bool {
        self.chassis.outbox.is_durable(self.journal.checkpoint)
    }

    /// Writes all records that count again, so that all earlier ones may be removed.
    pub(crate) fn checkpoint(&mut self, records: Vec<KeyedRecord>) {
        self.flush();
        let id = self.journal.next_checkpoint;
        self.journal.next_checkpoint += 1;
        self.persist(vec![Operation::CheckpointBegin { id }]);
        for KeyedRecord { key, record } in records {
            self.persist(vec![written(key, &record)]);
        }
        let state = self.state_record();
        self.journal.checkpoint = self.persist(vec![state, Operation::CheckpointDone { id }]);
    }

    /// True if the log is so far behind that no new work is begun.
    pub(crate) fn is_log_behind(&self) -> bool {
        self.journal.bytes() >= self.config.settings().journal_bytes_max
    }

    fn add(&mut self, operation: Operation, awaited: Option<Awaited>) {
        let bytes = operation.weight();
        self.make_room(bytes);
        let next = &mut self.journal.next_write;
        next.bytes += bytes;
        next.operations.push(operation);
        next.awaited.extend(awaited);
    }

    /// Flushes the waiting operations first if `bytes` more do not fit the same write. The state record always fits.
    fn make_room(&mut self, bytes: usize) {
        if self.journal.next_write.bytes + bytes + STATE_WEIGHT > self.config.settings().write_bytes_max {
            self.flush();
        }
    }

    fn arm_lazy(&mut self) {
        if !self.timers.is_armed(Timer::Lazy) {
            self.timers.arm(Timer::Lazy, self.now().after(self.config.settings().lazy_delay));
        }
    }

    fn persist(&mut self, operations: Vec<Operation>) -> Ticket {
        let ticket = self.chassis.outbox.persist(operations.iter().cloned());
        self.journal.unsettled_bytes += operations.iter().map(Operation::weight).sum::<usize>();
        self.journal.unsettled.extend(operations.into_iter().map(|operation| Unsettled { ticket, operation }));
        ticket
    }

    fn state_record(&self) -> Operation {
        Operation::PutState { bytes: encode_state(&self.journal.state), commit_hint: LogIndex::ZERO }
    }
}

fn written(key: u64, record: &Record) -> Operation {
    Operation::Journal { key, bytes: record.encode() }
}

/// Approximate size of an operation beside its bytes, as in [`Operation::weight`].
const OPERATION_WEIGHT: usize = 64;
const KNOWN_WEIGHT: usize = OPERATION_WEIGHT + KNOWN_BYTES;
const STATE_WEIGHT: usize = OPERATION_WEIGHT + STATE_BYTES;
