//! A consumer group of a stream.

use std::collections::BTreeMap;

use crate::store::digest::{digest, mix};
use crate::store::sequence::{Place, Sequence};

use super::id::{ID_BYTES, StreamId};

/// Consumers that share the entries of a stream, and the entries that they have not acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// Number of entries that were ever added up to [`last_id`](Self::last_id), if it is known.
    pub entries_read: Option<u64>,
    /// Items are id, time of delivery and number of deliveries in eight bytes each, name of the consumer. By id.
    pending: Sequence,
    consumers: BTreeMap<Box<[u8]>, Consumer>,
    pending_digest: u64,
    consumers_digest: u64,
    /// Bytes of the consumers' names.
    names_bytes: u64,
}

/// One consumer of a group.
#[derive(Debug, Clone, Default)]
pub struct Consumer {
    /// Log time in Unix ms of the last attempt to read or claim.
    pub seen: u64,
    /// The ids of its entries in the group's list.
    pending: Sequence,
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending<'a> {
    /// The entry.
    pub id: StreamId,
    /// Log time in Unix ms of the last delivery.
    pub delivered: u64,
    /// Number of deliveries.
    pub deliveries: u64,
    /// The consumer that has it.
    pub consumer: &'a [u8],
}

impl Consumer {
    /// Number of entries that it has not acknowledged.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Group {
    /// A group of which `last_id` was the last entry delivered.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    /// Number of entries that are not acknowledged.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (&[u8], &Consumer)> {
        self.consumers.iter().map(|(name, consumer)| (&**name, consumer))
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// The entry, if it is not acknowledged.
    pub fn find(&self, id: StreamId) -> Option<Pending<'_>> {
        let place = self.pending.find(|item| StreamId::split(item).0.cmp(&id)).ok()?;
        Some(unpack(self.pending.at(place)))
    }

    /// The entries that are not acknowledged, from an id on.
    pub fn iter_from(&self, id: StreamId) -> impl Iterator<Item = Pending<'_>> {
        self.pending.iter_at(place(&self.pending, id)).map(unpack)
    }

    /// The entry with the highest id that is not acknowledged.
    pub fn last_pending(&self) -> Option<Pending<'_>> {
        self.pending.iter_back_at(self.pending.end()).next().map(unpack)
    }

    /// The entries of one consumer, from an id on.
    pub fn iter_of<'a>(&'a self, consumer: &'a Consumer, id: StreamId) -> impl Iterator<Item = Pending<'a>> {
        let items = consumer.pending.iter_at(place(&consumer.pending, id));
        items.filter_map(|item| self.find(StreamId::split(item).0))
    }

    /// Notes that a consumer reads or claims. Returns true if it is new.
    pub fn see(&mut self, name: &[u8], now: u64) -> bool {
        let before = self.consumers.get_mut(name).map(|consumer| std::mem::replace(&mut consumer.seen, now));
        if let Some(seen) = before {
            self.consumers_digest = self.consumers_digest.wrapping_sub(consumer_digest(name, seen));
        } else {
            self.consumers.insert(Box::from(name), Consumer { seen: now, ..Consumer::default() });
            self.names_bytes += name.len() as u64;
        }
        self.consumers_digest = self.consumers_digest.wrapping_add(consumer_digest(name, now));
        before.is_none()
    }

    /// Removes a consumer and returns the number of entries that it had not acknowledged, which nobody has then.
    pub fn remove_consumer(&mut self, name: &[u8]) -> usize {
        let Some(removed) = self.consumers.remove(name) else {
            return 0;
        };
        self.names_bytes -= name.len() as u64;
        self.consumers_digest = self.consumers_digest.wrapping_sub(consumer_digest(name, removed.seen));
        if removed.pending() < self.pending() / ONE_BY_ONE_SHARE {
            for item in removed.pending.iter() {
                self.take(StreamId::split(item).0);
            }
        } else {
            self.pending = self.pending.iter().filter(|item| unpack(item).consumer != name).collect();
            self.pending_digest = self.pending.iter().map(digest).fold(0, u64::wrapping_add);
        }
        removed.pending()
    }

    /// Gives an entry to a consumer, from another that may have it. The consumer has to be [seen](Self::see) before.
    pub fn assign(&mut self, pending: Pending<'_>) {
        let (item, id) = (pack(pending), pending.id);
        let mut owner = None;
        match self.pending.find(|item| StreamId::split(item).0.cmp(&id)) {
            Ok(place) => {
                let before = self.pending.at(place);
                owner = Some(unpack(before).consumer.to_vec());
                self.pending_digest = self.pending_digest.wrapping_sub(digest(before));
                self.pending.replace_at(place, &item);
            }
            Err(place) => self.pending.insert_at(place, &item),
        }
        self.pending_digest = self.pending_digest.wrapping_add(digest(&item));
        if owner.as_deref() == Some(pending.consumer) {
            return;
        }
        if let Some(owner) = owner {
            self.take_from(&owner, id);
        }
        let listed = &mut self.consumers.get_mut(pending.consumer).expect("the consumer was seen").pending;
        listed.insert_at(place(listed, id), &id.to_bytes());
    }

    /// Removes an entry. Returns false if it was acknowledged before.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(consumer) = self.take(id) else {
            return false;
        };
        self.take_from(&consumer, id);
        true
    }

    /// Removes an entry from the group's list, but not from that of its consumer, which is returned.
    fn take(&mut self, id: StreamId) -> Option<Vec<u8>> {
        let place = self.pending.find(|item| StreamId::split(item).0.cmp(&id)).ok()?;
        let item = self.pending.at(place);
        let consumer = unpack(item).consumer.to_vec();
        self.pending_digest = self.pending_digest.wrapping_sub(digest(item));
        self.pending.remove_at(place);
        Some(consumer)
    }

    fn take_from(&mut self, consumer: &[u8], id: StreamId) {
        let listed = &mut self.consumers.get_mut(consumer).expect("who has an entry is listed").pending;
        let place = listed.find(|item| StreamId::split(item).0.cmp(&id)).expect("its entries are listed");
        listed.remove_at(place);
    }

    pub(super) fn digest(&self) -> u64 {
        let read = self.entries_read.map_or(UNKNOWN, |read| mix(read, 0));
        let place = mix(mix(self.last_id.ms, self.last_id.seq), read);
        mix(mix(place, self.pending_digest), self.consumers_digest)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.names_bytes + self.pending.bytes() + (ID_BYTES * self.pending()) as u64
    }

    pub(super) fn items(&self) -> &Sequence {
        &self.pending
    }

    /// Gives the entries of another group's [`items`](Self::items) to this one's consumers. Returns false if an item is
    /// malformed.
    pub(super) fn fill(&mut self, items: Sequence) -> bool {
        let (mut last, mut listed) = (None, BTreeMap::<&[u8], Vec<[u8; ID_BYTES]>>::new());
        for item in items.iter() {
            if item.len() < ITEM_HEAD_BYTES {
                return false;
            }
            let Pending { id, consumer, .. } = unpack(item);
            if last >= Some(id) {
                return false;
            }
            listed.entry(consumer).or_default().push(id.to_bytes());
            last = Some(id);
        }
        for (name, ids) in listed {
            let Some(consumer) = self.consumers.get_mut(name) else {
                return false;
            };
            consumer.pending = ids.into_iter().collect();
        }
        self.pending_digest = items.iter().map(digest).fold(0, u64::wrapping_add);
        self.pending = items;
        true
    }
}

fn place(items: &Sequence, id: StreamId) -> Place {
    items.find(|item| StreamId::split(item).0.cmp(&id)).unwrap_or_else(|place| place)
}

fn consumer_digest(name: &[u8], seen: u64) -> u64 {
    mix(digest(name), seen)
}

fn pack(Pending { id, delivered, deliveries, consumer }: Pending<'_>) -> Vec<u8> {
    [&id.to_bytes()[..], &delivered.to_le_bytes(), &deliveries.to_le_bytes(), consumer].concat()
}

fn unpack(item: &[u8]) -> Pending<'_> {
    let (id, rest) = StreamId::split(item);
    let (delivered, rest) = rest.split_first_chunk().expect("a time of delivery follows");
    let (deliveries, consumer) = rest.split_first_chunk().expect("a number of deliveries follows");
    Pending { id, delivered: u64::from_le_bytes(*delivered), deliveries: u64::from_le_bytes(*deliveries), consumer }
}

/// Bytes of an item before the consumer's name.
const ITEM_HEAD_BYTES: usize = ID_BYTES + 16;
/// The entries of a removed consumer are removed one by one if it has less than this share of all.
const ONE_BY_ONE_SHARE: usize = 64;
/// Stands for an unknown number of read entries.
const UNKNOWN: u64 = 0x3c6e_f372_fe94_f82b;
