//! A stream: entries that only ever join at its end, and the groups that read them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::digest::{digest, mix};
use crate::store::sequence::{Place, Sequence};

use super::pair;

mod group;
mod id;
mod parts;
#[cfg(test)]
mod tests;

pub use group::{Consumer, Group, Pending};
pub use id::StreamId;
pub(in crate::store) use parts::Parts;

/// Entries by id, each a list of fields with values.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// Items are the id, then fields and values in turn, the length of each before it.
    entries: Sequence,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Arc<Group>>,
    entries_digest: u64,
    groups_digest: u64,
    /// Bytes of all groups and their names.
    groups_bytes: u64,
}

/// An entry of a stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamEntry<'a> {
    /// Its id.
    pub id: StreamId,
    packed: &'a [u8],
}

impl<'a> StreamEntry<'a> {
    /// Fields and values in turn.
    pub fn texts(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.packed;
        std::iter::from_fn(move || {
            let (text, after) = (!rest.is_empty()).then(|| pair::read(rest))?;
            rest = after;
            Some(text)
        })
    }
}

impl Stream {
    /// Number of entries. A stream without any may exist.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The id of the first entry, or the lowest id.
    pub fn first_id(&self) -> StreamId {
        self.entries.get(0).map_or(StreamId::MIN, |item| StreamId::split(item).0)
    }

    /// The id of the last entry that is there, or the lowest id.
    pub fn end_id(&self) -> StreamId {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// The id of the entry that was added last. It may have been removed.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The highest id of all entries that were removed by their id.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Number of entries that were ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// Sets what is remembered of entries that were added and removed.
    pub fn set_ids(&mut self, last_id: StreamId, entries_added: Option<u64>, max_deleted_id: Option<StreamId>) {
        self.last_id = last_id;
        self.entries_added = entries_added.unwrap_or(self.entries_added);
        self.max_deleted_id = max_deleted_id.unwrap_or(self.max_deleted_id);
    }

    /// Adds an entry of fields and values in turn. Its id has to be above [`last_id`](Self::last_id).
    pub fn append(&mut self, id: StreamId, texts: &[&[u8]]) {
        let mut item = id.to_bytes().to_vec();
        for text in texts {
            pair::put(&mut item, text);
        }
        self.entries_digest = self.entries_digest.wrapping_add(digest(&item));
        self.entries.insert_at(self.entries.end(), &item);
        self.last_id = id;
        self.entries_added += 1;
    }

    /// The entry of an id.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.find(id).ok().map(|place| unpack(self.entries.at(place)))
    }

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = StreamEntry<'_>> {
        let place = self.find(start).unwrap_or_else(|place| place);
        self.entries.iter_at(place).map(unpack).take_while(move |entry| entry.id <= end)
    }

    /// The entries from `end` back to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = StreamEntry<'_>> {
        let place = match end.next().map(|behind| self.find(behind)) {
            Some(Ok(place) | Err(place)) => place,
            None => self.entries.end(),
        };
        self.entries.iter_back_at(place).map(unpack).take_while(move |entry| entry.id >= start)
    }

    /// Number of entries before an id. Looks at all chunks of entries.
    pub fn count_before(&self, id: StreamId) -> usize {
        if id <= self.first_id() {
            return 0;
        }
        self.entries.search(|item| StreamId::split(item).0.cmp(&id)).unwrap_or_else(|index| index)
    }

    /// Removes an entry. Returns false if there is none.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Ok(place) = self.find(id) else {
            return false;
        };
        self.entries_digest = self.entries_digest.wrapping_sub(digest(self.entries.at(place)));
        self.entries.remove_at(place);
        self.max_deleted_id = self.max_deleted_id.max(id);
        true
    }

    /// Removes the first entries.
    pub fn remove_front(&mut self, count: usize) {
        for item in self.entries.iter().take(count) {
            self.entries_digest = self.entries_digest.wrapping_sub(digest(item));
        }
        self.entries.remove_range(0, count);
    }

    /// The groups by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, &**group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(|group| &**group)
    }

    /// Adds a group. Returns false if there is one of this name, which is not changed.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.count_group(name, &group);
        self.groups.insert(Box::from(name), Arc::new(group));
        true
    }

    /// Removes a group. Returns false if there is none.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(removed) = self.groups.remove(name) else {
            return false;
        };
        self.discount_group(name, &removed);
        true
    }

    /// Changes a group, if it is there.
    pub fn change_group<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let mut group = self.groups.remove(name)?;
        self.discount_group(name, &group);
        let result = change(Arc::make_mut(&mut group));
        self.count_group(name, &group);
        self.groups.insert(Box::from(name), group);
        Some(result)
    }

    /// Delivers the entries behind the last that a group has, at most `count`, to a consumer, which may be new. Returns
    /// the first and the last. They are not expected to be acknowledged if `is_final`. Without entries nothing changes.
    pub fn deliver(
        &mut self,
        name: &[u8],
        consumer: &[u8],
        count: usize,
        is_final: bool,
        now: u64,
    ) -> Option<(StreamId, StreamId)> {
        let start = self.group(name)?.last_id.next()?;
        let ids: Vec<StreamId> = self.range(start, StreamId::MAX).take(count).map(|entry| entry.id).collect();
        let last = *ids.last()?;
        let mut read = self.group(name)?.entries_read;
        for id in &ids {
            read = match read {
                Some(read) if !self.has_gaps_from(*id) => Some(read + 1),
                _ => self.place_of(*id),
            };
        }
        self.change_group(name, |group| {
            (group.last_id, group.entries_read) = (last, read);
            group.see(consumer, now);
            if !is_final {
                for id in &ids {
                    group.assign(Pending { id: *id, delivered: now, deliveries: 1, consumer });
                }
            }
        });
        Some((ids[0], last))
    }

    /// Number of entries that a group has not read, if it can be told. It is negative if a client said so.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gaps_from(group.last_id) => read,
            _ => self.place_of(group.last_id)?,
        };
        Some(self.entries_added.wrapping_sub(read).cast_signed())
    }

    /// Returns true if an entry from `id` on may have been removed by its id.
    fn has_gaps_from(&self, id: StreamId) -> bool {
        self.len() > 0 && self.has_gaps() && id <= self.max_deleted_id
    }

    /// Returns true if an entry behind the first that is there may have been removed by its id.
    fn has_gaps(&self) -> bool {
        self.max_deleted_id != StreamId::MIN && self.first_id() <= self.max_deleted_id
    }

    /// Number of entries that were ever added up to an id, if it can be told.
    pub(crate) fn place_of(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 || self.len() == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        let has_gaps = self.has_gaps();
        if has_gaps && id != StreamId::MIN && id < self.max_deleted_id || id > self.last_id {
            return None;
        }
        if id == self.last_id {
            return Some(self.entries_added);
        }
        let before = self.entries_added.saturating_sub(self.len() as u64);
        match id.cmp(&self.first_id()) {
            Ordering::Less if !has_gaps => Some(before),
            Ordering::Equal if !has_gaps => Some(before + 1),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.bytes() + self.groups_bytes
    }

    pub(super) fn digest(&self) -> u64 {
        mix(mix(self.ids_digest(), self.entries_digest), self.groups_digest)
    }

    /// A number that changes when those who wait for entries have to look again: entries were added, or a group was
    /// removed.
    pub(super) fn news(&self) -> u64 {
        mix(mix(self.last_id.ms, self.last_id.seq), self.groups.len() as u64)
    }

    fn ids_digest(&self) -> u64 {
        let ids = [self.last_id, self.max_deleted_id].into_iter().flat_map(|id| [id.ms, id.seq]);
        ids.fold(self.entries_added, mix)
    }

    fn count_group(&mut self, name: &[u8], group: &Group) {
        self.groups_digest = self.groups_digest.wrapping_add(mix(digest(name), group.digest()));
        self.groups_bytes += name.len() as u64 + group.bytes();
    }

    fn discount_group(&mut self, name: &[u8], group: &Group) {
        self.groups_digest = self.groups_digest.wrapping_sub(mix(digest(name), group.digest()));
        self.groups_bytes -= name.len() as u64 + group.bytes();
    }

    fn find(&self, id: StreamId) -> Result<Place, Place> {
        self.entries.find(|item| StreamId::split(item).0.cmp(&id))
    }
}

fn unpack(item: &[u8]) -> StreamEntry<'_> {
    let (id, packed) = StreamId::split(item);
    StreamEntry { id, packed }
}
