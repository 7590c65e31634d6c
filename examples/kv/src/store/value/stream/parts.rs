//! A stream as lists of items, as snapshots hold it.

use crate::store::sequence::Sequence;
use crate::store::value::pair;

use super::id::{ID_BYTES, StreamId};
use super::{Group, Stream};

/// What a stream is besides its entries: items of a fixed layout, from which [`Parts::build`] makes it again.
///
/// The first item is the ids and the number of added entries. Then for each group: its name; its last id and number of
/// read entries; the consumers with the time at which each was seen; and, as a list of its own, what is pending.
#[derive(Debug, Default)]
pub(in crate::store) struct Parts {
    /// The ids and the number of added entries.
    pub(in crate::store) head: Vec<u8>,
    /// For each group: name and place; consumers; what is pending.
    pub(in crate::store) groups: Vec<(Vec<u8>, Sequence, Sequence)>,
}

impl Stream {
    pub(in crate::store) fn items(&self) -> &Sequence {
        &self.entries
    }

    /// What the stream is besides its entries. Shares what is pending.
    pub(in crate::store) fn parts(&self) -> Parts {
        let (last, deleted) = (self.last_id.to_bytes(), self.max_deleted_id.to_bytes());
        let groups = self.groups().map(|(name, group)| {
            let read = group.entries_read.map_or(0, |read| read.saturating_add(1));
            let head = [&group.last_id.to_bytes()[..], &read.to_le_bytes(), name].concat();
            let consumers = group.consumers().map(|(name, consumer)| [&consumer.seen.to_le_bytes()[..], name].concat());
            (head, consumers.collect(), group.items().clone())
        });
        let head = [&last[..], &deleted, &self.entries_added.to_le_bytes()].concat();
        Parts { head, groups: groups.collect() }
    }
}

impl Parts {
    /// The stream with these entries. `None` if an item is malformed.
    pub(in crate::store) fn build(self, entries: Sequence) -> Option<Stream> {
        let mut last = StreamId::MIN;
        for item in entries.iter() {
            if item.len() < ID_BYTES || !is_entry(StreamId::split(item).1) || StreamId::split(item).0 <= last {
                return None;
            }
            last = StreamId::split(item).0;
        }
        let (ids, added) = self.head.split_at_checked(2 * ID_BYTES)?;
        let (last_id, deleted) = StreamId::split(ids);
        let mut stream = Stream {
            last_id,
            max_deleted_id: StreamId::split(deleted).0,
            entries_added: u64::from_le_bytes(added.try_into().ok()?),
            ..Stream::default()
        };
        stream.entries_digest = entries.iter().map(crate::store::digest::digest).fold(0, u64::wrapping_add);
        stream.entries = entries;
        if last > last_id || stream.entries_added < stream.len() as u64 {
            return None;
        }
        for (head, consumers, pending) in self.groups {
            let (place, name) = head.split_at_checked(ID_BYTES + 8)?;
            let (last_id, read) = StreamId::split(place);
            let mut group = Group::new(last_id, u64::from_le_bytes(read.try_into().ok()?).checked_sub(1));
            for item in consumers.iter() {
                let (seen, name) = item.split_first_chunk()?;
                group.see(name, u64::from_le_bytes(*seen));
            }
            if !group.fill(pending) || !stream.add_group(name, group) {
                return None;
            }
        }
        Some(stream)
    }
}

/// Returns true for fields and values in turn.
fn is_entry(mut packed: &[u8]) -> bool {
    let mut count = 0;
    while !packed.is_empty() {
        if !pair::is_pair(packed) {
            return false;
        }
        packed = pair::read(packed).1;
        count += 1;
    }
    count % 2 == 0
}
