//! A hash table whose copy costs almost nothing.
//!
//! Linear hashing (Litwin, VLDB 1980): the table grows by splitting one bucket at a time, so that no insert ever pays
//! for a whole rehash, and it shrinks the same way. Buckets and the segments that hold them are shared between a table
//! and its copies; the first write to a shared bucket copies that bucket (a dozen pointers) and nothing else. A
//! snapshot of a million keys therefore costs a few hundred pointer copies at once, and a little a write afterwards.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

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
type Bucket = Vec<Record>;

impl Table {
    /// An empty table. The seed decides the places of keys and nothing else. Clients do not know it, so that they
    /// cannot choose keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self { segments: vec![Arc::new(vec![Arc::default()])], buckets: 1, len: 0, seed }
    }

    /// An empty table with the same seed.
    pub(super) fn empty(&self) -> Self {
        Self::new(self.seed)
    }

    /// The seed.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The hash of a key, to be passed to the other methods.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0);
        hasher.write(key);
        hasher.finish() as u32
    }

    /// The record of a key.
    pub(super) fn get(&self, hash: u32, key: &[u8]) -> Option<&Record> {
        self.bucket(hash).iter().find(|record| record.hash() == hash && record.key() == key)
    }

    /// The record of a key, to be changed. Its key has to stay.
    pub(super) fn get_mut(&mut self, hash: u32, key: &[u8]) -> Option<&mut Record> {
        let position = self.position(hash, key)?;
        Some(&mut self.bucket_mut(hash)[position])
    }

    /// Inserts a record and returns the one that it replaces.
    pub(super) fn insert(&mut self, record: Record) -> Option<Record> {
        let hash = record.hash();
        let bucket = self.bucket_mut(hash);
        let same = |known: &&mut Record| known.hash() == hash && known.key() == record.key();
        if let Some(known) = bucket.iter_mut().find(same) {
            return Some(std::mem::replace(known, record));
        }
        bucket.push(record);
        self.len += 1;
        if self.len > self.buckets * BUCKET_RECORDS {
            self.split();
        }
        None
    }

    /// Removes the record of a key and returns it.
    pub(super) fn remove(&mut self, hash: u32, key: &[u8]) -> Option<Record> {
        let position = self.position(hash, key)?;
        let removed = self.bucket_mut(hash).swap_remove(position);
        self.len -= 1;
        if self.buckets > 1 && self.len < self.buckets * BUCKET_RECORDS / 4 {
            self.merge();
        }
        Some(removed)
    }

    /// All records, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.segments.iter().flat_map(|segment| segment.iter()).flat_map(|bucket| bucket.iter())
    }

    /// The records of one bucket from a cursor on, which is 0 at the start, and the next cursor, which is 0 at the end.
    ///
    /// A cursor is a hash with its bits in reverse order. In that order the hashes of a bucket are neighbours, and they
    /// stay in order when buckets are split or merged between two calls. So a scan meets every record that is there all
    /// the time, and on any replica, since they share the seed.
    pub(super) fn scan(&self, cursor: u64) -> (u64, impl Iterator<Item = &Record>) {
        let from = u32::try_from(cursor).unwrap_or(u32::MAX);
        let bucket = address(from.reverse_bits(), self.buckets);
        let mask = self.buckets.next_power_of_two() - 1;
        let half = mask / 2 + 1;
        let is_split = bucket >= half || bucket + half < self.buckets;
        let low_bits = if is_split { mask } else { mask >> 1 }.count_ones();
        let size = 1_u64 << (u32::BITS - low_bits);
        let next = (u64::from(from) / size + 1) * size;
        let next = if next > u64::from(u32::MAX) { 0 } else { next };
        let records = self.bucket(from.reverse_bits()).iter();
        (next, records.filter(move |record| record.hash().reverse_bits() >= from))
    }

    fn position(&self, hash: u32, key: &[u8]) -> Option<usize> {
        self.bucket(hash).iter().position(|record| record.hash() == hash && record.key() == key)
    }

    fn bucket(&self, hash: u32) -> &Bucket {
        let index = address(hash, self.buckets);
        &self.segments[index / SEGMENT_BUCKETS][index % SEGMENT_BUCKETS]
    }

    fn bucket_mut(&mut self, hash: u32) -> &mut Bucket {
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
        let (moved, kept) = source.into_iter().partition(|record: &Record| address(record.hash(), buckets) == added);
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
fn address(hash: u32, buckets: usize) -> usize {
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
