//! The keyspace: a deterministic state machine.
//!
//! All changes come from entries and ticks of the log with their log time, and depend on nothing else: two stores that
//! applied the same entries hold the same keys and have the same [`Store::digest`]. A key with a deadline exists while
//! the log time is before the deadline. Wall clocks have no influence.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

mod cut;
mod digest;
mod few;
mod key;
mod libraries;
mod number;
mod pieces;
mod record;
mod scripts;
mod sequence;
mod shard;
mod slots;
mod snapshot;
mod table;
mod trace;
mod users;
mod value;
mod waiters;

pub use cut::Cut;
pub use libraries::{Libraries, Library, LibraryError, LibraryFunction};
pub use number::{add_decimals, format_decimals, format_double, format_number, parse_double, parse_integer};
pub use pieces::{AGE_MAX, UNFINISHED_BYTES_MAX, UNFINISHED_MAX, WORK_BYTES_MAX, WorkId};
pub use record::{Record, VALUE_BYTES_MAX};
pub use scripts::Scripts;
pub use slots::{Elsewhere, SLOTS, Slot, SlotChange, SlotError, SlotState, slot_of};
pub use snapshot::{RestoreError, Snapshot};
pub(crate) use snapshot::{encode_record, install_record};
pub use trace::Touched;
pub use users::{CommandRule, DEFAULT_USER, Grant, KeyPattern, PasswordHash, TooManyUsers, User, Users};
pub use value::{
    Collection, Consumer, Group, Hash, List, Members, Pair, Pending, Set, SortedSet, Stream, StreamEntry, StreamId,
    Value,
};
pub use waiters::{Wait, Waiters};

use crate::random;
use pieces::Pieces;
use record::{Head, ListedKey};
use slots::Slots;
use table::Table;
use trace::Trace;

/// Maximum number of expired keys that an entry of the log removes, besides its own effect.
pub const EXPIRED_PER_ENTRY_MAX: usize = 32;

/// Maximum number of expired keys that a tick removes. While more are due, [`Store::next_deadline`] is in the past and
/// further ticks follow.
pub const EXPIRED_PER_TICK_MAX: usize = 10_000;

/// Keys, values and deadlines.
///
/// ```
/// use quorate_kv::store::{Lifetime, Store};
///
/// let mut store = Store::new();
/// store.put_text(b"planet", &[b"earth"], Some(2_000));
/// assert_eq!(store.text(1_000, b"planet"), Ok(Some(&b"earth"[..])));
/// assert_eq!(store.lifetime(2_000, b"planet"), Lifetime::Absent);
/// ```
#[derive(Debug)]
pub struct Store {
    table: Table,
    /// Every key that has a deadline.
    deadlines: BTreeSet<Due>,
    /// Number of changes so far. A record's version is the revision of its last change.
    revision: u64,
    /// The table's seed was agreed on.
    is_seeded: bool,
    /// Bytes of all keys and values.
    weight: u64,
    /// Wrapping sum of the records' digests, which does not depend on their order.
    digest: u64,
    scripts: Arc<Scripts>,
    users: Arc<Users>,
    /// The slots of a shard. `None` for a store that holds all keys.
    slots: Option<Slots>,
    /// Work of which not all pieces have come.
    pieces: Pieces,
    /// A cut through all shards that no node has taken yet, with its number.
    kept: RefCell<Option<(u64, Cut)>>,
    /// Notes what is touched, in a store that holds some keys of a larger one.
    trace: Option<Box<Trace>>,
    waiters: Arc<Waiters>,
    /// Those who wait for a change of the users.
    user_waiters: Arc<Waiters>,
    scratch: Vec<u8>,
    discard: Discard,
}

/// A function that disposes of keys that are no longer needed. Dropping them may take long.
pub type Discard = fn(Garbage);

/// Keys that were flushed, or whose store was dropped. Dropping this frees them, which takes a tenth of a second for a
/// million.
pub struct Garbage {
    table: Table,
    _deadlines: BTreeSet<Due>,
}

impl Garbage {
    /// Number of keys that will be freed.
    pub fn keys(&self) -> usize {
        self.table.len()
    }
}

impl fmt::Debug for Garbage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Garbage({} keys)", self.keys())
    }
}

/// The end of a key's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// There is no such key.
    Absent,
    /// The key stays.
    Endless,
    /// Log time in Unix ms from which on the key does not exist.
    Until(u64),
}

/// The key holds a value of another kind than the command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
pub struct WrongType;

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            table: Table::new(0),
            deadlines: BTreeSet::new(),
            revision: 0,
            is_seeded: false,
            weight: 0,
            digest: 0,
            scripts: Arc::default(),
            users: Arc::default(),
            slots: None,
            pieces: Pieces::default(),
            kept: RefCell::new(None),
            trace: None,
            waiters: Arc::default(),
            user_waiters: Arc::default(),
            scratch: Vec::new(),
            discard: drop,
        }
    }

    /// Sets the function that frees flushed keys. By default they are freed at once.
    #[must_use]
    pub fn with_discard(mut self, discard: Discard) -> Self {
        self.discard = discard;
        self
    }

    /// Begins an entry of the log: removes some keys whose deadline has passed. `random` is a number of the entry that
    /// no client knows before. That of the first entry decides the places of keys in memory, on every replica.
    pub fn begin_entry(&mut self, log_time: u64, random: u64) {
        if !self.is_seeded && self.table.len() == 0 {
            self.table = Table::new(random);
            self.is_seeded = true;
        }
        self.expire(log_time, EXPIRED_PER_ENTRY_MAX);
    }

    /// Removes keys whose deadline has passed, at most [`EXPIRED_PER_TICK_MAX`].
    pub fn tick(&mut self, log_time: u64) {
        self.expire(log_time, EXPIRED_PER_TICK_MAX);
        self.drop_old_pieces(log_time);
    }

    /// The record of a key.
    pub fn get(&self, log_time: u64, key: &[u8]) -> Option<&Record> {
        if let Some(trace) = &self.trace {
            trace.read(key);
        }
        self.find(log_time, key)
    }

    fn find(&self, log_time: u64, key: &[u8]) -> Option<&Record> {
        self.table.get(self.table.hash(key), key).filter(|record| record.lives_at(log_time))
    }

    /// The string of a key.
    ///
    /// # Errors
    /// When the value is no string.
    pub fn text(&self, log_time: u64, key: &[u8]) -> Result<Option<&[u8]>, WrongType> {
        self.get(log_time, key).map(|record| record.as_text().ok_or(WrongType)).transpose()
    }

    /// The collection of a key.
    ///
    /// # Errors
    /// When the value is of another kind.
    pub fn collection<C: Collection>(&self, log_time: u64, key: &[u8]) -> Result<Option<&C>, WrongType> {
        let record = self.get(log_time, key);
        record.map(|record| record.as_value().and_then(C::of).ok_or(WrongType)).transpose()
    }

    /// The end of a key's life.
    pub fn lifetime(&self, log_time: u64, key: &[u8]) -> Lifetime {
        match self.get(log_time, key).map(Record::deadline) {
            None => Lifetime::Absent,
            Some(None) => Lifetime::Endless,
            Some(Some(deadline)) => Lifetime::Until(deadline),
        }
    }

    /// A number that changes whenever the key changes, and 0 while there is no such key. It is the same on every
    /// replica.
    pub fn version(&self, log_time: u64, key: &[u8]) -> u64 {
        self.get(log_time, key).map_or(0, Record::version)
    }

    /// Number of keys that exist. Costs a step for each expired key that is not removed yet.
    pub fn len(&self, log_time: u64) -> usize {
        self.touch_all();
        let gone = self.deadlines.iter().take_while(|due| due.deadline <= log_time).count();
        self.table.len() - gone
    }

    /// Number of keys with a deadline, including expired ones that are not removed yet.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// Returns true if an entry was ever applied.
    pub fn is_used(&self) -> bool {
        self.is_seeded || self.revision > 0
    }

    /// Bytes of all keys and values.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// The earliest deadline of a key or of unfinished work, in Unix ms of log time.
    pub fn next_deadline(&self) -> Option<u64> {
        let key = self.deadlines.first().map(|due| due.deadline);
        key.into_iter().chain(self.pieces.next_deadline()).min()
    }

    /// A number that is equal for stores that hold the same keys, values and deadlines, on every platform.
    pub fn digest(&self) -> u64 {
        let slots = self.slots.as_ref().map_or(0, Slots::digest);
        let beside = self.scripts.digest().wrapping_add(self.users.digest()).wrapping_add(self.pieces.digest());
        self.digest.wrapping_add(beside).wrapping_add(slots)
    }

    /// Some keys from a cursor on, which is 0 at the start, and the next cursor, which is 0 at the end. Keys that exist
    /// from the start to the end of a scan are met once at least, on whichever replica each step is made. A step looks
    /// at `count` keys at least, unless the end comes first.
    pub fn scan(&self, log_time: u64, cursor: u64, count: usize) -> (u64, Vec<&Record>) {
        self.touch_all();
        let (mut cursor, mut found, mut seen) = (cursor, Vec::new(), 0);
        loop {
            let (next, records) = self.table.scan(cursor);
            let before = found.len();
            found.extend(records.filter(|record| record.lives_at(log_time)));
            // An empty place counts, so that a step ends in a table of which most was removed.
            seen += (found.len() - before).max(1);
            cursor = next;
            if cursor == 0 || seen >= count {
                return (cursor, found);
            }
        }
    }

    /// A key that `random` decides, if there are keys.
    pub fn random_key(&self, log_time: u64, random: u64) -> Option<&[u8]> {
        self.touch_all();
        for start in [random & u64::from(u32::MAX), 0] {
            let mut cursor = start;
            loop {
                let (next, records) = self.table.scan(cursor);
                let living: Vec<_> = records.filter(|record| record.lives_at(log_time)).collect();
                if !living.is_empty() {
                    return Some(living[random::below(random, living.len())].key());
                }
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        None
    }

    /// The present state of the store. Costs a few hundred pointer copies for a million keys. Later writes do not
    /// change it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self)
    }

    /// A store from the bytes of [`Snapshot::write`]. Holds no more than one record besides the new store.
    ///
    /// # Errors
    /// When the reader fails, or the bytes are not a whole snapshot of a known version.
    pub fn restore(reader: &mut dyn Read) -> Result<Self, RestoreError> {
        let mut store = Self::new();
        let announced = snapshot::read(reader, &mut store)?;
        if announced.digest != store.digest() || announced.records != store.table.len() as u64 {
            return Err(RestoreError::Mismatch);
        }
        Ok(store)
    }

    /// Sets a key to a string, from its parts.
    pub fn put_text(&mut self, key: &[u8], value: &[&[u8]], deadline: Option<u64>) {
        self.revision += 1;
        let head = Head { hash: self.table.hash(key), key, deadline, version: self.revision };
        let record = Record::text(&mut self.scratch, head, value);
        self.insert(record);
    }

    /// Sets a key to a collection. An empty one removes the key.
    pub fn put<C: Collection>(&mut self, key: &[u8], collection: C, deadline: Option<u64>) {
        self.put_value(key, collection.wrap(), deadline);
    }

    /// Sets a key to a value that is no string. An empty one removes the key.
    pub fn put_value(&mut self, key: &[u8], value: Value, deadline: Option<u64>) {
        self.touch(key);
        self.revision += 1;
        let head = Head { hash: self.table.hash(key), key, deadline, version: self.revision };
        if value.is_empty() {
            self.take(head.hash, key);
        } else {
            self.insert(Record::object(head, value));
        }
    }

    /// Changes the collection of a key, which is empty before if there is no such key, and is removed if it is empty
    /// afterwards.
    ///
    /// # Errors
    /// When the value is of another kind. It is not changed.
    pub fn update<C: Collection, R>(
        &mut self,
        log_time: u64,
        key: &[u8],
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<R, WrongType> {
        let hash = self.table.hash(key);
        if let Some(trace) = &self.trace {
            trace.read(key);
            trace.written(key);
        }
        self.take_expired(log_time, hash, key);
        let Some(record) = self.table.get_mut(hash, key) else {
            let mut collection = C::default();
            let result = change(&mut collection);
            self.put(key, collection, None);
            return Ok(result);
        };
        let (weight, digest) = (record.weight(), record.digest());
        let (value, version) = record.value_mut().ok_or(WrongType)?;
        let news = value.news();
        let result = change(C::of_mut(value).ok_or(WrongType)?);
        let (is_empty, has_news) = (value.is_empty(), value.news() != news);
        let version = std::mem::replace(version, self.revision + 1);
        if record.digest() == digest {
            *record.value_mut().expect("it is a collection").1 = version;
        } else {
            self.revision += 1;
        }
        self.weight = self.weight - weight + record.weight();
        self.digest = self.digest.wrapping_sub(digest).wrapping_add(record.digest());
        if is_empty {
            self.take(hash, key);
        } else if has_news {
            self.waiters.wake(key);
        }
        Ok(result)
    }

    /// Sets the deadline of a key, or removes it. Returns false if there is no such key. A deadline that has passed
    /// removes the key.
    pub fn set_deadline(&mut self, log_time: u64, key: &[u8], deadline: Option<u64>) -> bool {
        let Some(record) = self.get(log_time, key).cloned() else {
            return false;
        };
        if deadline.is_some_and(|deadline| deadline <= log_time) {
            return self.remove(log_time, key);
        }
        self.put_copy(&record, key, deadline);
        true
    }

    /// Sets a key to the value of a record, with a deadline of its own.
    pub fn put_copy(&mut self, record: &Record, key: &[u8], deadline: Option<u64>) {
        self.revision += 1;
        let head = Head { hash: self.table.hash(key), key, deadline, version: self.revision };
        let copy = record.with_head(&mut self.scratch, head);
        self.insert(copy);
    }

    /// Removes a key. Returns false if it did not exist, or had expired.
    pub fn remove(&mut self, log_time: u64, key: &[u8]) -> bool {
        if let Some(trace) = &self.trace {
            trace.read(key);
            trace.written(key);
        }
        self.take(self.table.hash(key), key).is_some_and(|removed| removed.lives_at(log_time))
    }

    /// Those who wait for items of keys.
    pub fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    /// The script with this SHA-1, in lower-case hexadecimal digits.
    pub fn script(&self, sha: &str) -> Option<Arc<[u8]>> {
        self.scripts.get(sha)
    }

    /// Keeps a script under its SHA-1. Returns false if too many are kept already.
    pub fn add_script(&mut self, sha: &str, script: &[u8]) -> bool {
        Arc::make_mut(&mut self.scripts).add(sha, script)
    }

    /// The users.
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// The libraries of functions.
    pub fn libraries(&self) -> &Libraries {
        self.scripts.libraries()
    }

    /// The libraries of functions, to be changed.
    pub fn libraries_mut(&mut self) -> &mut Libraries {
        Arc::make_mut(&mut self.scripts).libraries_mut()
    }

    /// Forgets all scripts.
    pub fn clear_scripts(&mut self) {
        Arc::make_mut(&mut self.scripts).clear();
    }

    /// Removes all keys.
    pub fn clear(&mut self) {
        self.touch_all();
        self.revision += 1;
        let empty = self.table.empty();
        let garbage = Garbage {
            table: std::mem::replace(&mut self.table, empty),
            _deadlines: std::mem::take(&mut self.deadlines),
        };
        self.weight = 0;
        self.digest = 0;
        if let Some(slots) = &mut self.slots {
            slots.cleared();
        }
        (self.discard)(garbage);
        // Who waits as a member of a group has to hear that it is gone, and who waits for a key of a store that another
        // replaces has to look for it there.
        self.waiters.wake_all();
    }

    fn insert(&mut self, record: Record) {
        self.touch(record.key());
        if let Some(slots) = &mut self.slots {
            slots.added(record.key());
        }
        self.weight += record.weight();
        self.digest = self.digest.wrapping_add(record.digest());
        if record.as_value().is_some() {
            self.waiters.wake(record.key());
        }
        let due = record.deadline().map(|deadline| Due { deadline, key: record.listed() });
        if let Some(replaced) = self.table.insert(record) {
            self.forget(&replaced);
        }
        self.deadlines.extend(due);
    }

    fn touch(&self, key: &[u8]) {
        if let Some(trace) = &self.trace {
            trace.written(key);
        }
    }

    fn touch_all(&self) {
        if let Some(trace) = &self.trace {
            trace.whole();
        }
    }

    fn take(&mut self, hash: u32, key: &[u8]) -> Option<Record> {
        let removed = self.table.remove(hash, key)?;
        self.forget(&removed);
        if matches!(removed.as_value(), Some(Value::Stream(_))) {
            // Who waits as a member of a group has to hear that it is gone.
            self.waiters.wake(key);
        }
        Some(removed)
    }

    fn take_expired(&mut self, log_time: u64, hash: u32, key: &[u8]) {
        if self.table.get(hash, key).is_some_and(|record| !record.lives_at(log_time)) {
            self.take(hash, key);
        }
    }

    /// Removes a record that left the table from the deadlines and the sums.
    fn forget(&mut self, removed: &Record) {
        if let Some(slots) = &mut self.slots {
            slots.removed(removed.key());
        }
        self.weight -= removed.weight();
        self.digest = self.digest.wrapping_sub(removed.digest());
        if let Some(deadline) = removed.deadline() {
            let listed = self.deadlines.remove(&Due { deadline, key: removed.listed() });
            assert!(listed, "a record with a deadline is listed");
        }
    }

    /// Removes expired keys by deadline and then by key, so that replicas which remove only some of them remove the
    /// same ones.
    fn expire(&mut self, log_time: u64, count_max: usize) {
        for _ in 0..count_max {
            let Some(due) = self.deadlines.first().filter(|due| due.deadline <= log_time).cloned() else {
                return;
            };
            let removed = self.take(self.table.hash(due.key.key()), due.key.key());
            assert!(removed.is_some(), "a listed record is in the table");
        }
    }
}

impl Drop for Store {
    /// A store that a snapshot replaces takes as long to free as flushed keys.
    fn drop(&mut self) {
        self.user_waiters.wake_all();
        self.clear();
    }
}

/// A key, ordered by its deadline.
#[derive(Debug, Clone)]
struct Due {
    deadline: u64,
    key: ListedKey,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.cmp(&other.deadline).then_with(|| self.key.key().cmp(other.key.key()))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

#[cfg(test)]
mod tests;
