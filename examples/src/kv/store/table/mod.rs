//! A hash table whose copy costs almost nothing.
//!
//! Linear hashing (Litwin, VLDB 1980): the table grows by splitting one bucket at a time, so that no insert ever pays
//! for a whole rehash, and it shrinks the same way. Buckets and the segments that hold them are shared between a table
//! and its copies; the first write to a shared bucket copies that bucket (a dozen pointers) and nothing else. A
//! snapshot of a million keys therefore costs a few hundred pointer copies at once, and a little a write afterwards.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::record::Record;

/// Records by key. Cloning shares everything.
#[derive(Debug, Clone)]
pub(super) struct Table {
    segments: Vec<Arc<Segment>>,
    buckets: usize,
    len: usize,
    seed: u64,
}

/// [`SEGMENT_BUCKETS`] buckets; the last segment of a table may hold fewer.
type Segment = Vec<Arc<Bucket>>;
type Bucket = Vec<Slot>;

#[derive(Debug, Clone)]
struct Slot {
    hash: u64,
    record: Record,
}

impl Table {
    /// An empty table. The seed decides the places of keys and nothing else. Each process draws its own, so that
    /// clients cannot choose keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self { segments: vec![Arc::new(vec![Arc::default()])], buckets: 1, len: 0, seed }
    }

    /// An empty table with the same seed.
    pub(super) fn empty(&self) -> Self {
        Self::new(self.seed)
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The hash of a key, to be passed to the other methods.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        hasher.finish()
    }

    /// The record of a key.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        let slot = self.bucket(hash).iter().find(|slot| slot.hash == hash && slot.record.key() == key)?;
        Some(&slot.record)
    }

    /// Inserts a record and returns the one that it replaces.
    pub(super) fn insert(&mut self, hash: u64, record: Record) -> Option<Record> {
        let bucket = self.bucket_mut(hash);
        let same = |slot: &&mut Slot| slot.hash == hash && slot.record.key() == record.key();
        if let Some(slot) = bucket.iter_mut().find(same) {
            return Some(std::mem::replace(&mut slot.record, record));
        }
        bucket.push(Slot { hash, record });
        self.len += 1;
        if self.len > self.buckets * BUCKET_RECORDS {
            self.split();
        }
        None
    }

    /// Removes the record of a key and returns it.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Record> {
        let mut slots = self.bucket(hash).iter();
        let position = slots.position(|slot| slot.hash == hash && slot.record.key() == key)?;
        let removed = self.bucket_mut(hash).swap_remove(position);
        self.len -= 1;
        if self.buckets > 1 && self.len < self.buckets * BUCKET_RECORDS / 4 {
            self.merge();
        }
        Some(removed.record)
    }

    /// All records, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.segments
            .iter()
            .flat_map(|segment| segment.iter())
            .flat_map(|bucket| bucket.iter())
            .map(|slot| &slot.record)
    }

    fn bucket(&self, hash: u64) -> &Bucket {
        let index = address(hash, self.buckets);
        &self.segments[index / SEGMENT_BUCKETS][index % SEGMENT_BUCKETS]
    }

    fn bucket_mut(&mut self, hash: u64) -> &mut Bucket {
        self.bucket_at(address(hash, self.buckets))
    }

    fn bucket_at(&mut self, index: usize) -> &mut Bucket {
        let segment = Arc::make_mut(&mut self.segments[index / SEGMENT_BUCKETS]);
        Arc::make_mut(&mut segment[index % SEGMENT_BUCKETS])
    }

    /// Adds a bucket and moves to it the records that belong there now, all from one other bucket.
    fn split(&mut self) {
        let added = self.buckets;
        let buckets = self.buckets + 1;
        let source = std::mem::take(self.bucket_at(buddy(added)));
        let (moved, kept) = source.into_iter().partition(|slot: &Slot| address(slot.hash, buckets) == added);
        *self.bucket_at(buddy(added)) = kept;
        if added.is_multiple_of(SEGMENT_BUCKETS) {
            self.segments.push(Arc::default());
        }
        let last = self.segments.last_mut().expect("a table has a segment");
        Arc::make_mut(last).push(Arc::new(moved));
        self.buckets = buckets;
    }

    /// Undoes the latest split.
    fn merge(&mut self) {
        let last = self.segments.last_mut().expect("a table has a segment");
        let segment = Arc::make_mut(last);
        let bucket = segment.pop().expect("a segment has a bucket");
        if segment.is_empty() {
            self.segments.pop();
        }
        self.buckets -= 1;
        let target = self.bucket_at(buddy(self.buckets));
        target.extend(Arc::unwrap_or_clone(bucket));
    }
}

/// The bucket of a hash among `buckets`: its low bits, with one bit less where that bucket does not exist yet.
#[allow(clippy::cast_possible_truncation)]
fn address(hash: u64, buckets: usize) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let address = hash as usize & mask;
    if address < buckets { address } else { address & (mask >> 1) }
}

/// The bucket from which bucket `added` splits off: the same number without its highest bit.
fn buddy(added: usize) -> usize {
    added ^ (1 << added.ilog2())
}

/// Average number of records a bucket before one is split.
const BUCKET_RECORDS: usize = 12;
const SEGMENT_BUCKETS: usize = 256;

#[cfg(test)]
mod tests;
