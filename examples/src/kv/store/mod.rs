//! The keyspace: a deterministic state machine.
//!
//! All changes come through [`Store::apply`] and [`Store::tick`] with a log time, and depend on nothing else: two
//! stores that applied the same entries hold the same keys and have the same [`Store::digest`]. A key with a deadline
//! exists while the log time is before the deadline. Wall clocks have no influence.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;

use bytes::{Bytes, BytesMut};

mod codec;
mod outcome;
mod record;
mod snapshot;
mod table;
mod write;

pub use codec::DecodeError;
pub use outcome::{Refusal, WriteOutcome};
pub use record::VALUE_BYTES_MAX;
pub use snapshot::{RestoreError, Snapshot};
pub use write::{BATCH_VERSION, Batch, ExpireCondition, Expiry, SetAnswer, SetCondition, Unit, Write};

use record::Record;
use table::Table;

/// Maximum number of expired keys that an entry of the log removes, besides its own effect.
pub const EXPIRED_PER_ENTRY_MAX: usize = 32;

/// Maximum number of expired keys that a tick removes. While more are due, [`Store::next_deadline`] is in the past and
/// further ticks follow.
pub const EXPIRED_PER_TICK_MAX: usize = 10_000;

/// Keys, values and deadlines.
///
/// ```
/// use bytes::BytesMut;
/// use quorate_examples::kv::store::{Expiry, WriteOutcome, SetAnswer, SetCondition, Store, Write};
///
/// let mut store = Store::new(0);
/// let mut batch = BytesMut::new();
/// Write::Set {
///     key: b"planet",
///     value: b"earth",
///     condition: SetCondition::Always,
///     expiry: Expiry::Never,
///     answer: SetAnswer::Outcome,
/// }
/// .encode(&mut batch);
/// let answer = store.apply(1_000, &batch);
/// assert_eq!(WriteOutcome::decode_all(&answer).next(), Some(Ok(WriteOutcome::Ok)));
/// assert_eq!(store.get(1_000, b"planet"), Some(&b"earth"[..]));
/// ```
#[derive(Debug)]
pub struct Store {
    table: Table,
    /// Every record that has a deadline.
    deadlines: BTreeSet<Due>,
    /// Bytes of all keys and values.
    weight: u64,
    /// Wrapping sum of the records' digests, which does not depend on their order.
    digest: u64,
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

impl Store {
    /// An empty store. The seed decides the places of keys in memory and has no other effect. Each process should draw
    /// its own.
    pub fn new(seed: u64) -> Self {
        Self {
            table: Table::new(seed),
            deadlines: BTreeSet::new(),
            weight: 0,
            digest: 0,
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

    /// Applies a batch of [`Write`]s and returns their [`WriteOutcome`]s. `log_time` is that of the entry, in Unix ms.
    ///
    /// # Panics
    /// When the batch cannot be decoded: it was proposed by a newer program, and skipping it would make this replica
    /// differ from the others.
    pub fn apply(&mut self, log_time: u64, batch: &[u8]) -> Bytes {
        self.expire(log_time, EXPIRED_PER_ENTRY_MAX);
        let unreadable = |error| -> ! { panic!("an entry is unreadable: {error}") };
        let mut answers = Answers::default();
        for write in Batch::open(batch).unwrap_or_else(|error| unreadable(error)) {
            let write = write.unwrap_or_else(|error| unreadable(error));
            self.apply_one(log_time, &write, &mut answers);
        }
        answers.finish()
    }

    /// Removes keys whose deadline has passed, at most [`EXPIRED_PER_TICK_MAX`].
    pub fn tick(&mut self, log_time: u64) {
        self.expire(log_time, EXPIRED_PER_TICK_MAX);
    }

    /// The value of a key.
    pub fn get(&self, log_time: u64, key: &[u8]) -> Option<&[u8]> {
        Some(self.find(log_time, self.table.hash(key), key)?.value())
    }

    /// The end of a key's life.
    pub fn lifetime(&self, log_time: u64, key: &[u8]) -> Lifetime {
        match self.find(log_time, self.table.hash(key), key).map(Record::deadline) {
            None => Lifetime::Absent,
            Some(None) => Lifetime::Endless,
            Some(Some(deadline)) => Lifetime::Until(deadline),
        }
    }

    /// Number of keys that exist. Costs a step for each expired key that is not removed yet.
    pub fn len(&self, log_time: u64) -> usize {
        let gone = self.deadlines.iter().take_while(|due| due.deadline <= log_time).count();
        self.table.len() - gone
    }

    /// Number of keys with a deadline, including expired ones that are not removed yet.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// Bytes of all keys and values.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// The earliest deadline, in Unix ms of log time.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|due| due.deadline)
    }

    /// A number that is equal for stores that hold the same keys, values and deadlines, on every platform.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The present state of the store. Costs a few hundred pointer copies for a million keys. Later writes do not
    /// change it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.table.clone(), self.digest)
    }

    /// A store from the bytes of [`Snapshot::write`]. Holds no more than one record besides the new store.
    ///
    /// # Errors
    /// When the reader fails, or the bytes are not a whole snapshot of a known version.
    pub fn restore(seed: u64, reader: &mut dyn Read) -> Result<Self, RestoreError> {
        let mut store = Self::new(seed);
        let announced = snapshot::read(reader, |key, value, deadline| store.put_parts(key, &[value], deadline))?;
        if announced.digest != store.digest || announced.records != store.table.len() as u64 {
            return Err(RestoreError::Mismatch);
        }
        Ok(store)
    }

    fn apply_one(&mut self, log_time: u64, write: &Write<'_>, answers: &mut Answers) {
        let outcome = match write {
            Write::Set { key, value, condition, expiry, answer } => {
                return self.set(log_time, (key, value), (*condition, *expiry), *answer, answers);
            }
            Write::Delete { keys } => {
                let removed = keys.iter().filter(|key| self.delete(log_time, key)).count();
                WriteOutcome::Integer(i64::try_from(removed).expect("a batch is bounded"))
            }
            Write::Add { key, by } => self.add(log_time, key, *by),
            Write::Append { key, value } => self.append(log_time, key, value),
            Write::SetMany { pairs } => {
                for (key, value) in pairs {
                    self.put_parts(key, &[value], None);
                }
                WriteOutcome::Ok
            }
            Write::Expire { key, in_ms, condition, unit } => {
                self.set_deadline(log_time, key, *in_ms, *condition, *unit)
            }
            Write::Persist { key } => self.persist(log_time, key),
            Write::FlushAll => {
                self.clear();
                WriteOutcome::Ok
            }
        };
        answers.push(&outcome);
    }

    fn set(
        &mut self,
        log_time: u64,
        (key, value): (&[u8], &[u8]),
        (condition, expiry): (SetCondition, Expiry),
        answer: SetAnswer,
        answers: &mut Answers,
    ) {
        if (condition, expiry, answer) == (SetCondition::Always, Expiry::Never, SetAnswer::Outcome) {
            // By far the most common write, and the only one that does not depend on the old value.
            answers.push(&WriteOutcome::Ok);
            self.put_parts(key, &[value], None);
            return;
        }
        let old = self.find(log_time, self.table.hash(key), key);
        let deadline = match expiry {
            Expiry::Never => Ok(None),
            Expiry::Keep => Ok(old.and_then(Record::deadline)),
            Expiry::In(ms) => deadline_of(log_time, ms).map(Some).ok_or(Refusal::SetTime),
        };
        let deadline = match deadline {
            Ok(deadline) => deadline,
            Err(refusal) => return answers.push(&WriteOutcome::Refused(refusal)),
        };
        let sets = match condition {
            SetCondition::Always => true,
            SetCondition::Absent => old.is_none(),
            SetCondition::Present => old.is_some(),
        };
        answers.push(&match answer {
            SetAnswer::Old => old.map_or(WriteOutcome::Nil, |old| WriteOutcome::Value(old.value())),
            SetAnswer::Outcome if sets => WriteOutcome::Ok,
            SetAnswer::Outcome => WriteOutcome::Nil,
        });
        if sets && deadline.is_some_and(|deadline| deadline <= log_time) {
            self.delete(log_time, key);
        } else if sets {
            self.put_parts(key, &[value], deadline);
        }
    }

    fn add(&mut self, log_time: u64, key: &[u8], by: i64) -> WriteOutcome<'static> {
        let old = self.find(log_time, self.table.hash(key), key);
        let deadline = old.and_then(Record::deadline);
        let Some(number) = old.map_or(Some(0), |old| parse_integer(old.value())) else {
            return WriteOutcome::Refused(Refusal::NotAnInteger);
        };
        let Some(sum) = number.checked_add(by) else {
            return WriteOutcome::Refused(Refusal::Overflow);
        };
        self.put_parts(key, &[sum.to_string().as_bytes()], deadline);
        WriteOutcome::Integer(sum)
    }

    fn append(&mut self, log_time: u64, key: &[u8], value: &[u8]) -> WriteOutcome<'static> {
        let old = self.find(log_time, self.table.hash(key), key).cloned();
        let before = old.as_ref().map_or(&[][..], Record::value);
        let length = before.len() + value.len();
        if length > VALUE_BYTES_MAX {
            return WriteOutcome::Refused(Refusal::TooLong);
        }
        self.put_parts(key, &[before, value], old.as_ref().and_then(Record::deadline));
        WriteOutcome::Integer(i64::try_from(length).expect("a value is bounded"))
    }

    fn set_deadline(
        &mut self,
        log_time: u64,
        key: &[u8],
        in_ms: i64,
        condition: ExpireCondition,
        unit: Unit,
    ) -> WriteOutcome<'static> {
        let Some(deadline) = deadline_of(log_time, in_ms) else {
            return WriteOutcome::Refused(match unit {
                Unit::Seconds => Refusal::ExpireTime,
                Unit::Milliseconds => Refusal::PexpireTime,
            });
        };
        let Some(record) = self.find(log_time, self.table.hash(key), key).cloned() else {
            return WriteOutcome::Integer(0);
        };
        let current = record.deadline();
        let refused = (condition.absent && current.is_some())
            || (condition.present && current.is_none())
            || (condition.later && current.is_none_or(|current| deadline <= current))
            || (condition.earlier && current.is_some_and(|current| deadline >= current));
        if refused {
            return WriteOutcome::Integer(0);
        }
        if deadline <= log_time {
            self.delete(log_time, key);
        } else {
            self.put_parts(key, &[record.value()], Some(deadline));
        }
        WriteOutcome::Integer(1)
    }

    fn persist(&mut self, log_time: u64, key: &[u8]) -> WriteOutcome<'static> {
        let record = self.find(log_time, self.table.hash(key), key).cloned();
        let Some(record) = record.filter(|record| record.deadline().is_some()) else {
            return WriteOutcome::Integer(0);
        };
        self.put_parts(key, &[record.value()], None);
        WriteOutcome::Integer(1)
    }

    /// Removes a key. Returns false if it did not exist, or had expired.
    fn delete(&mut self, log_time: u64, key: &[u8]) -> bool {
        let hash = self.table.hash(key);
        let Some(removed) = self.table.remove(hash, key) else {
            return false;
        };
        self.forget(&removed);
        removed.lives_at(log_time)
    }

    fn find(&self, log_time: u64, hash: u64, key: &[u8]) -> Option<&Record> {
        self.table.get(hash, key).filter(|record| record.lives_at(log_time))
    }

    fn put_parts(&mut self, key: &[u8], value: &[&[u8]], deadline: Option<u64>) {
        let record = Record::new(&mut self.scratch, key, value, deadline);
        let hash = self.table.hash(record.key());
        self.weight += record.weight();
        self.digest = self.digest.wrapping_add(record.digest());
        if let Some(replaced) = self.table.insert(hash, record.clone()) {
            self.forget(&replaced);
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert(Due { deadline, record });
        }
    }

    /// Removes a record that left the table from the deadlines and the sums.
    fn forget(&mut self, removed: &Record) {
        self.weight -= removed.weight();
        self.digest = self.digest.wrapping_sub(removed.digest());
        if let Some(deadline) = removed.deadline() {
            let listed = self.deadlines.remove(&Due { deadline, record: removed.clone() });
            assert!(listed, "a record with a deadline is listed");
        }
    }

    /// Removes expired keys by deadline and then by key, so that replicas which remove only some of them remove the
    /// same ones.
    fn expire(&mut self, log_time: u64, count_max: usize) {
        for _ in 0..count_max {
            let Some(due) = self.deadlines.first().filter(|due| due.deadline <= log_time) else {
                return;
            };
            let record = due.record.clone();
            let removed = self.table.remove(self.table.hash(record.key()), record.key());
            self.forget(&removed.expect("a listed record is in the table"));
        }
    }

    fn clear(&mut self) {
        let empty = self.table.empty();
        let garbage = Garbage {
            table: std::mem::replace(&mut self.table, empty),
            _deadlines: std::mem::take(&mut self.deadlines),
        };
        self.weight = 0;
        self.digest = 0;
        (self.discard)(garbage);
    }
}

impl Drop for Store {
    /// A store that a snapshot replaces takes as long to free as flushed keys.
    fn drop(&mut self) {
        self.clear();
    }
}

/// A record, ordered by its deadline.
#[derive(Debug, Clone)]
struct Due {
    deadline: u64,
    record: Record,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.cmp(&other.deadline).then_with(|| self.record.key().cmp(other.record.key()))
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

/// Collects the outcomes of a batch. A single `Ok` or `Nil`, by far the most common case, costs no allocation.
#[derive(Default)]
struct Answers {
    first: Option<Bytes>,
    encoded: BytesMut,
}

impl Answers {
    fn push(&mut self, outcome: &WriteOutcome<'_>) {
        if let Some(first) = self.first.take() {
            self.encoded.extend_from_slice(&first);
        } else if self.encoded.is_empty()
            && let Some(alone) = outcome.encoded_alone()
        {
            self.first = Some(alone);
            return;
        }
        outcome.encode(&mut self.encoded);
    }

    fn finish(self) -> Bytes {
        self.first.unwrap_or_else(|| self.encoded.freeze())
    }
}

/// A number as Redis accepts it: decimal, no plus sign, no leading zeros or blanks, and within 64 bits.
///
/// ```
/// use quorate_examples::kv::store::parse_integer;
///
/// assert_eq!(parse_integer(b"-17"), Some(-17));
/// assert_eq!(parse_integer(b"017"), None);
/// ```
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?);
        let shifted = number.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}

/// The log time `in_ms` milliseconds after `log_time`. `None` if it does not fit 64 bits. A time before 1970 counts as
/// the first millisecond of 1970.
fn deadline_of(log_time: u64, in_ms: i64) -> Option<u64> {
    let ms = i64::try_from(log_time).ok()?.checked_add(in_ms)?;
    Some(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests;
