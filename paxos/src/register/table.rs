//! The registers of an acceptor: ballots in memory, values in the log, and some of them in a bounded cache.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::{JournalRecords, Operation, Outbox, RecoverError, Ticket, ViewWriter};

use super::Register;
use super::codec::{decode_accepted, decode_promise, encode_accepted, encode_promise};
use super::content::{Content, Key};
use crate::Ballot;

/// One register on an acceptor.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Its number, which names its records in the journal.
    pub(crate) number: u64,
    /// The highest ballot promised. Never decreases while the register is not removed.
    pub(crate) promised: Ballot,
    /// The ballot of the content that was accepted last, at most the promised one; zero if none was.
    pub(crate) accepted: Ballot,
    /// The newest write of the register.
    pub(crate) ticket: Ticket,
    /// The accepted content, if it is in memory. It always is until it is durable.
    pub(crate) content: Option<Arc<Content>>,
    /// Place in the order of eviction, if the content is in memory.
    stamp: u64,
    /// True if what was accepted is a tombstone.
    pub(crate) is_tombstone: bool,
    /// True if the journal has a record of a promise.
    has_promise: bool,
}

/// All registers of an acceptor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    slots: BTreeMap<Key, Slot>,
    /// Above the number of every register.
    next_number: u64,
    /// Registers whose newest write is not known to be durable.
    unsettled: BTreeSet<Key>,
    /// Journal keys that are erased, with the write, until it is durable.
    erased: Vec<(Ticket, u64)>,
    /// Registers that are deleted but not removed.
    tombstones: BTreeSet<Key>,
    /// The registers whose content is in memory, in the order of eviction.
    cached: BTreeMap<u64, Key>,
    /// Bytes of these contents.
    cached_bytes: usize,
    next_stamp: u64,
}

impl Table {
    /// Reads the journal. The contents stay in the log.
    pub(crate) fn read(journal: Option<JournalRecords>) -> Result<Self, RecoverError> {
        let mut found: BTreeMap<u64, Found> = BTreeMap::new();
        for record in journal.into_iter().flatten() {
            let (journal_key, bytes) = record?;
            let of_register = found.entry(journal_key / 2).or_default();
            of_register.note(journal_key, &bytes).map_err(RecoverError::State)?;
        }
        let mut table = Self::default();
        for (number, found) in found {
            table.next_number = number + 1;
            let Some((key, slot)) = found.into_slot(number)? else { continue };
            if slot.is_tombstone {
                table.tombstones.insert(key.clone());
            }
            if table.slots.insert(key, slot).is_some() {
                return Err(RecoverError::Inconsistent("a register has two records"));
            }
        }
        Ok(table)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// Number of registers, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The keys behind this one, in order.
    pub(crate) fn keys_after(&self, after: &[u8]) -> impl Iterator<Item = &Key> {
        self.slots.range::<[u8], _>((Bound::Excluded(after), Bound::Unbounded)).map(|(key, _)| key)
    }

    /// Removes some registers, whatever they contain. Returns the operations that erase their records.
    pub(crate) fn remove_some(&mut self, count_max: usize) -> Vec<Operation> {
        let keys: Vec<Key> = self.slots.keys().take(count_max).cloned().collect();
        keys.iter().flat_map(|key| self.remove(key)).collect()
    }

    /// True if no register is left, and no record of one.
    pub(crate) fn is_erased(&self) -> bool {
        self.slots.is_empty() && self.erased.is_empty()
    }

    /// The registers that are deleted but not removed.
    pub(crate) fn tombstones(&self) -> &BTreeSet<Key> {
        &self.tombstones
    }

    /// The highest round that was promised.
    pub(crate) fn round(&self) -> u64 {
        self.slots.values().map(|slot| slot.promised.round).max().unwrap_or_default()
    }

    /// The number above those of all registers.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Bytes of the contents in memory.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Promises a ballot. Returns the write that makes it durable.
    pub(crate) fn promise(&mut self, outbox: &mut Outbox<Register>, key: &[u8], ballot: Ballot) -> Ticket {
        let key = self.slot_of(key);
        let slot = self.slots.get_mut(&key).expect("just made");
        assert!(ballot > slot.promised, "a promise is kept");
        slot.promised = ballot;
        slot.has_promise = true;
        slot.ticket = outbox.persist([promise_record(&key, slot)]);
        let ticket = slot.ticket;
        self.unsettled.insert(key);
        ticket
    }

    /// Accepts a content and promises `next`, in one write. Returns it.
    pub(crate) fn accept(
        &mut self,
        outbox: &mut Outbox<Register>,
        key: &[u8],
        ballot: Ballot,
        next: Ballot,
        content: Content,
    ) -> Ticket {
        let key = self.slot_of(key);
        self.drop_content(&key);
        let is_tombstone = content.value.is_none();
        let slot = self.slots.get_mut(&key).expect("just made");
        assert!(ballot >= slot.promised, "what was promised is kept");
        assert!(ballot > slot.accepted, "a ballot is accepted once");
        assert!(next >= ballot, "to accept is to promise");
        slot.accepted = ballot;
        slot.promised = next;
        slot.is_tombstone = is_tombstone;
        slot.ticket = outbox.persist([accepted_record(&key, slot, &content)]);
        let ticket = slot.ticket;
        if is_tombstone {
            self.tombstones.insert(key.clone());
        } else {
            self.tombstones.remove(&key);
        }
        self.unsettled.insert(key.clone());
        self.keep(key, content);
        ticket
    }

    /// Removes a register. Returns the operations that erase its records.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Vec<Operation> {
        self.drop_content(key);
        self.tombstones.remove(key);
        self.unsettled.remove(key);
        let Some(slot) = self.slots.remove(key) else { return Vec::new() };
        let mut keys = vec![slot.number * 2];
        if slot.has_promise {
            keys.push(slot.number * 2 + 1);
        }
        keys.into_iter().map(|key| Operation::Journal { key, bytes: Bytes::new() }).collect()
    }

    /// Notes that these journal keys are erased by a write.
    pub(crate) fn note_erased(&mut self, ticket: Ticket, erased: &[Operation]) {
        self.erased.extend(erased.iter().filter_map(|operation| match operation {
            Operation::Journal { key, .. } => Some((ticket, *key)),
            _ => None,
        }));
    }

    /// Keeps a content in memory that was loaded, if it is still what is accepted.
    pub(crate) fn keep_loaded(&mut self, key: &Key, ballot: Ballot, content: Content) {
        let is_missing = |slot: &Slot| slot.accepted == ballot && slot.content.is_none();
        if self.slots.get(key).is_some_and(is_missing) {
            self.keep(key.clone(), content);
        }
    }

    fn keep(&mut self, key: Key, content: Content) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        self.cached_bytes += content.weight();
        self.next_stamp += 1;
        slot.stamp = self.next_stamp;
        slot.content = Some(Arc::new(content));
        self.cached.insert(slot.stamp, key);
    }

    fn drop_content(&mut self, key: &[u8]) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if let Some(content) = slot.content.take() {
            self.cached_bytes -= content.weight();
            self.cached.remove(&slot.stamp);
        }
    }

    /// Drops contents from memory until they are within the bound. What is not durable stays.
    pub(crate) fn evict(&mut self, outbox: &Outbox<Register>, bytes_max: usize) {
        while self.cached_bytes > bytes_max {
            let Some((_, key)) = self.cached.first_key_value() else { return };
            if !outbox.is_durable(self.slots[key].ticket) {
                return;
            }
            let key = key.clone();
            self.drop_content(&key);
        }
    }

    /// A write is durable.
    pub(crate) fn persisted(&mut self, outbox: &Outbox<Register>) {
        let slots = &self.slots;
        self.unsettled.retain(|key| slots.get(key).is_some_and(|slot| !outbox.is_durable(slot.ticket)));
        self.erased.retain(|(ticket, _)| !outbox.is_durable(*ticket));
    }

    /// Writes everything again that is not durable, because the log refused a write.
    pub(crate) fn write_again(&mut self, outbox: &mut Outbox<Register>) {
        let erased = std::mem::take(&mut self.erased);
        if !erased.is_empty() {
            let again = erased.iter().map(|(_, key)| Operation::Journal { key: *key, bytes: Bytes::new() });
            let ticket = outbox.persist(again);
            self.erased = erased.into_iter().map(|(_, key)| (ticket, key)).collect();
        }
        for key in self.unsettled.clone() {
            let operations = self.records(&key);
            let ticket = outbox.persist(operations);
            self.slots.get_mut(&key).expect("it is there until it is removed").ticket = ticket;
        }
    }

    /// Makes the newest write that of every register which is not durable.
    pub(crate) fn rebind(&mut self, newest: Ticket) {
        for key in &self.unsettled {
            self.slots.get_mut(key).expect("it is there until it is removed").ticket = newest;
        }
        for (ticket, _) in &mut self.erased {
            *ticket = newest;
        }
    }

    /// The records of a register whose content is in memory.
    fn records(&self, key: &Key) -> Vec<Operation> {
        let slot = &self.slots[key];
        let accepted = slot.content.as_ref().map(|content| accepted_record(key, slot, content));
        let promise = slot.has_promise.then(|| promise_record(key, slot));
        accepted.into_iter().chain(promise).collect()
    }

    /// The register of a journal record that was loaded, if the record is its newest one.
    pub(crate) fn is_current(&self, journal_key: u64, bytes: &Bytes) -> bool {
        if journal_key.is_multiple_of(2) {
            let Ok(record) = decode_accepted(bytes) else { return false };
            let slot = self.slots.get(&*record.key);
            slot.is_some_and(|slot| slot.number == journal_key / 2 && slot.accepted == record.accepted)
        } else {
            let Ok((key, promised)) = decode_promise(bytes) else { return false };
            let slot = self.slots.get(&*key);
            slot.is_some_and(|slot| slot.number == journal_key / 2 && slot.promised == promised)
        }
    }

    /// The key of a register, which is made if it is not there.
    fn slot_of(&mut self, key: &[u8]) -> Key {
        if let Some((key, _)) = self.slots.get_key_value(key) {
            return key.clone();
        }
        let key: Key = key.into();
        let slot = Slot::new(self.next_number);
        self.next_number += 1;
        self.slots.insert(key.clone(), slot);
        key
    }

    /// The writes of registers that are not durable.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        let unsettled = self.unsettled.iter().map(|key| self.slots[key].ticket);
        unsettled.chain(self.erased.iter().map(|(ticket, _)| *ticket))
    }

    /// All registers, by key.
    #[cfg(feature = "testing")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Slot)> {
        self.slots.iter()
    }

    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for (key, slot) in &self.slots {
            assert!(slot.accepted <= slot.promised, "what was accepted was promised");
            assert!(slot.number < self.next_number, "numbers are not used twice");
            let is_cached = slot.content.is_some();
            assert!(is_cached == (self.cached.get(&slot.stamp) == Some(key)), "what is in memory can be evicted");
            assert!(slot.is_tombstone == self.tombstones.contains(key), "deleted registers are seen to");
            assert!(
                is_cached || slot.accepted == Ballot::ZERO || !self.unsettled.contains(key) || slot.has_promise,
                "what is not durable is in memory"
            );
            bytes += slot.content.as_ref().map_or(0, |content| content.weight());
        }
        assert!(bytes == self.cached_bytes, "bytes in memory are counted");
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        for (key, slot) in &self.slots {
            writer.put(&(key, slot.number, slot.promised, slot.accepted, slot.has_promise, &slot.content));
            writer.put(&writer.ticket(slot.ticket));
        }
        let order: Vec<&Key> = self.cached.values().collect();
        writer.put(&(self.next_number, order, &self.unsettled));
        for (ticket, key) in &self.erased {
            writer.put(&(writer.ticket(*ticket), key));
        }
    }
}

impl Slot {
    fn new(number: u64) -> Self {
        Self {
            number,
            promised: Ballot::ZERO,
            accepted: Ballot::ZERO,
            ticket: Ticket(0),
            content: None,
            stamp: 0,
            is_tombstone: false,
            has_promise: false,
        }
    }
}

fn accepted_record(key: &Key, slot: &Slot, content: &Content) -> Operation {
    let bytes = encode_accepted(key, slot.promised, slot.accepted, content);
    Operation::Journal { key: slot.number * 2, bytes }
}

fn promise_record(key: &Key, slot: &Slot) -> Operation {
    Operation::Journal { key: slot.number * 2 + 1, bytes: encode_promise(key, slot.promised) }
}

/// The newest records of one register in the journal.
#[derive(Default)]
struct Found {
    accepted: Option<(Key, Ballot, Ballot, bool)>,
    promise: Option<(Key, Ballot)>,
}

impl Found {
    fn note(&mut self, journal_key: u64, bytes: &Bytes) -> Result<(), quorate_protocol::StateError> {
        let is_erased = bytes.is_empty();
        if journal_key % 2 == 1 {
            let read = |(key, promised): (Bytes, Ballot)| (Key::from(&key[..]), promised);
            self.promise = if is_erased { None } else { Some(read(decode_promise(bytes)?)) };
        } else {
            self.accepted = if is_erased {
                None
            } else {
                let record = decode_accepted(bytes)?;
                Some((record.key[..].into(), record.promised, record.accepted, record.content.value.is_none()))
            };
        }
        Ok(())
    }

    fn into_slot(self, number: u64) -> Result<Option<(Key, Slot)>, RecoverError> {
        let mut slot = Slot::new(number);
        let mut of_key = None;
        if let Some((key, promised, accepted, is_tombstone)) = self.accepted {
            (slot.promised, slot.accepted, slot.is_tombstone) = (promised, accepted, is_tombstone);
            of_key = Some(key);
        }
        if let Some((key, promised)) = self.promise {
            if of_key.as_ref().is_some_and(|other| *other != key) {
                return Err(RecoverError::Inconsistent("the records of a register have two keys"));
            }
            slot.promised = slot.promised.max(promised);
            slot.has_promise = true;
            of_key = Some(key);
        }
        Ok(of_key.map(|key| (key, slot)))
    }
}
