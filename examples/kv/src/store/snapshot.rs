//! A store at one moment, and its bytes.
//!
//! Layout: `QKVS`, a version byte, 1 if the table's seed was agreed on, the seed and the revision as u64; the number of
//! scripts as u32, and each one's SHA-1 and text; the number of libraries as u32, and each one's name, text, number of
//! functions as u32, and for each function its name, 1 if it has a description, the description, the number of its
//! flags as u32, and the flags; the number of users as u32, and each one's name, three bytes (on, any password, checked
//! values), the number of passwords as u32, their hashes, and what it may do; 1 if the store is a shard's, then the
//! kind of each slot's state, its shard as u16 and its generation as u64; the number of unfinished works as u32, and
//! each one's id as u128, log time of the last piece as u64, number of pieces as u32, and for each piece its place as
//! u32 and its bytes; then the records; then 0, the number of records and the digest as u64. A record: its kind,
//! deadline as u64 (0: none), version as u64, the key; a string's value; of other kinds, 1 if the value is small, the
//! number of items as u32, and the items. Texts, keys, values, pieces and items begin with their length as u32. A
//! stream's items are followed by its ids, the number of groups as u32, and for each one its name and place, its
//! consumers, and what is pending, both as items. Numbers are little-endian. Records have no particular order, so two
//! snapshots of equal stores may differ in their bytes, but restore equal stores.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use super::libraries::Libraries;
use super::pieces::Pieces;
use super::record::{Head, Record};
use super::scripts::Scripts;
use super::sequence::Sequence;
use super::slots::Slots;
use super::table::Table;
use super::users::Users;
use super::value::{Hash, List, Members, Parts, Set, SortedSet, Stream, Value};
use super::{SLOTS, Slot, SlotState, Store, VALUE_BYTES_MAX};

/// The version that this program writes, and the newest it reads.
const SNAPSHOT_VERSION: u8 = 5;

/// A store at one moment: cheap to make, and `Send`, so that it is written and dropped off the loop.
#[derive(Debug)]
pub struct Snapshot {
    table: Table,
    digest: u64,
    revision: u64,
    is_seeded: bool,
    scripts: Arc<Scripts>,
    users: Arc<Users>,
    slots: Option<Arc<[Slot]>>,
    pieces: Pieces,
}

/// Reason why bytes were not restored. No store was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are not a snapshot of a store.
    #[error("the bytes are not a snapshot of a key-value store")]
    Foreign,
    /// Another program wrote them.
    #[error("snapshot version {0} is not known to this program")]
    Version(u8),
    /// A record is too long, or of an unknown kind.
    #[error("a record of the snapshot is malformed")]
    Malformed,
    /// The records do not match the number and digest at the end of the snapshot.
    #[error("the snapshot's records do not match its digest")]
    Mismatch,
    /// The bytes could not be read, or end too early.
    #[error("the snapshot could not be read: {0}")]
    Io(#[from] io::Error),
}

impl Snapshot {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            table: store.table.clone(),
            digest: store.digest(),
            revision: store.revision,
            is_seeded: store.is_seeded,
            scripts: Arc::clone(&store.scripts),
            users: Arc::clone(&store.users),
            slots: store.slots().cloned(),
            pieces: store.pieces.clone(),
        }
    }

    /// Number of keys in the snapshot, including expired ones that were not removed yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns true if the snapshot holds no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys that exist at `log_time`, in no particular order.
    pub fn keys(&self, log_time: u64) -> impl Iterator<Item = &[u8]> {
        self.records(log_time).map(Record::key)
    }

    /// The records of the keys that exist at `log_time`, in no particular order.
    pub fn records(&self, log_time: u64) -> impl Iterator<Item = &Record> {
        self.table.iter().filter(move |record| record.lives_at(log_time))
    }

    /// The libraries of functions.
    pub fn libraries(&self) -> &Libraries {
        self.scripts.libraries()
    }

    /// The users.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Writes the snapshot.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
        writer.write_all(MAGIC)?;
        writer.write_all(&[SNAPSHOT_VERSION, u8::from(self.is_seeded)])?;
        writer.write_all(&self.table.seed().to_le_bytes())?;
        writer.write_all(&self.revision.to_le_bytes())?;
        let scripts = u32::try_from(self.scripts.len()).map_err(io::Error::other)?;
        writer.write_all(&scripts.to_le_bytes())?;
        for (sha, script) in self.scripts.iter() {
            write_bytes(&mut writer, sha.as_bytes())?;
            write_bytes(&mut writer, script)?;
        }
        self.scripts.libraries().write(&mut writer)?;
        self.users.write(&mut writer)?;
        writer.write_all(&[u8::from(self.slots.is_some())])?;
        for slot in self.slots.iter().flat_map(|slots| slots.iter()) {
            let (kind, shard) = slot.state.code();
            writer.write_all(&[kind])?;
            writer.write_all(&shard.to_le_bytes())?;
            writer.write_all(&slot.generation.to_le_bytes())?;
        }
        self.pieces.write(&mut writer)?;
        for record in self.table.iter() {
            write_record(&mut writer, record)?;
        }
        writer.write_all(&[END])?;
        writer.write_all(&(self.len() as u64).to_le_bytes())?;
        writer.write_all(&self.digest.to_le_bytes())?;
        writer.flush()
    }
}

/// The kind of a record's value.
fn kind(record: &Record) -> u8 {
    match record.as_value() {
        None => TEXT,
        Some(Value::List(_)) => LIST,
        Some(Value::Hash(_)) => HASH,
        Some(Value::Set(_)) => SET,
        Some(Value::SortedSet(_)) => SORTED_SET,
        Some(Value::Stream(_)) => STREAM,
    }
}

fn write_record(writer: &mut impl Write, record: &Record) -> io::Result<()> {
    writer.write_all(&[kind(record)])?;
    writer.write_all(&record.deadline().unwrap_or(0).to_le_bytes())?;
    writer.write_all(&record.version().to_le_bytes())?;
    write_bytes(writer, record.key())?;
    write_value(writer, record)
}

/// Writes a record's value without its kind.
fn write_value(writer: &mut impl Write, record: &Record) -> io::Result<()> {
    match record.as_value() {
        None => write_bytes(writer, record.as_text().unwrap_or_default()),
        Some(Value::List(list)) => write_items(writer, true, list.len(), list.iter_from(0)),
        Some(Value::Hash(Hash(members)) | Value::Set(Set(members))) => {
            write_items(writer, members.is_small(), members.len(), members.items().iter())
        }
        Some(Value::SortedSet(set)) => write_items(writer, set.is_small(), set.len(), set.items().iter()),
        Some(Value::Stream(stream)) => write_stream(writer, stream),
    }
}

fn write_stream(writer: &mut impl Write, stream: &Stream) -> io::Result<()> {
    write_items(writer, true, stream.len(), stream.items().iter())?;
    let parts = stream.parts();
    write_bytes(writer, &parts.head)?;
    writer.write_all(&u32::try_from(parts.groups.len()).map_err(io::Error::other)?.to_le_bytes())?;
    for (head, consumers, pending) in &parts.groups {
        write_bytes(writer, head)?;
        write_items(writer, true, consumers.len(), consumers.iter())?;
        write_items(writer, true, pending.len(), pending.iter())?;
    }
    Ok(())
}

fn write_items<'a>(
    writer: &mut impl Write,
    is_small: bool,
    count: usize,
    items: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    writer.write_all(&[u8::from(is_small)])?;
    writer.write_all(&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes())?;
    for item in items {
        write_bytes(writer, item)?;
    }
    Ok(())
}

pub(super) fn write_bytes(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).expect("a key, a string or an item is bounded");
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(bytes)
}

/// The number of records and the digest at the end of a snapshot.
pub(super) struct Announced {
    pub(super) records: u64,
    pub(super) digest: u64,
}

/// Reads a snapshot into an empty store, record by record.
pub(super) fn read(reader: &mut dyn Read, store: &mut Store) -> Result<Announced, RestoreError> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    if array(&mut reader)? != *MAGIC {
        return Err(RestoreError::Foreign);
    }
    let [version] = array(&mut reader)?;
    if version != SNAPSHOT_VERSION {
        return Err(RestoreError::Version(version));
    }
    store.is_seeded = flag(&mut reader)?;
    store.table = Table::new(u64::from_le_bytes(array(&mut reader)?));
    store.revision = revision(u64::from_le_bytes(array(&mut reader)?))?;
    for _ in 0..u32::from_le_bytes(array(&mut reader)?) {
        let (sha, script) = (read_bytes(&mut reader)?, read_bytes(&mut reader)?);
        let sha = std::str::from_utf8(&sha).map_err(|_| RestoreError::Malformed)?;
        if !store.add_script(sha, &script) {
            return Err(RestoreError::Malformed);
        }
    }
    *store.libraries_mut() = Libraries::read(&mut reader)?;
    store.users = Arc::new(Users::read(&mut reader)?);
    if flag(&mut reader)? {
        store.slots = Some(Slots::new(read_slots(&mut reader)?));
    }
    store.pieces = Pieces::read(&mut reader)?;
    loop {
        match array(&mut reader)? {
            [END] => break,
            [kind] => {
                let record = read_record(&mut reader, kind, store)?;
                store.insert(record);
            }
        }
    }
    let announced =
        Announced { records: u64::from_le_bytes(array(&mut reader)?), digest: u64::from_le_bytes(array(&mut reader)?) };
    match reader.read(&mut [0])? {
        0 => Ok(announced),
        _ => Err(RestoreError::Malformed),
    }
}

fn read_slots(reader: &mut impl Read) -> Result<Vec<Slot>, RestoreError> {
    let mut slots = Vec::with_capacity(usize::from(SLOTS));
    for _ in 0..SLOTS {
        let ([kind], shard) = (array(reader)?, u16::from_le_bytes(array(reader)?));
        let state = SlotState::of_code(kind, shard).ok_or(RestoreError::Malformed)?;
        slots.push(Slot { state, generation: u64::from_le_bytes(array(reader)?) });
    }
    Ok(slots)
}

/// A record as bytes of its own.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_record(&mut bytes, record).expect("memory takes all bytes");
    bytes
}

/// Sets a key to the record that [`encode_record`] made bytes of. It keeps its version, which a move does not change,
/// or gets the store's next one.
///
/// # Errors
/// When the bytes are something else. Nothing is changed.
pub(crate) fn install_record(mut bytes: &[u8], keeps_version: bool, store: &mut Store) -> Result<(), RestoreError> {
    let [kind] = array(&mut bytes)?;
    let record = read_record(&mut bytes, kind, store)?;
    if !bytes.is_empty() {
        return Err(RestoreError::Malformed);
    }
    if keeps_version {
        store.adopt(&record);
    } else {
        store.put_copy(&record, record.key(), record.deadline());
    }
    Ok(())
}

/// A revision that the store can count on from.
fn revision(number: u64) -> Result<u64, RestoreError> {
    if number <= REVISION_MAX { Ok(number) } else { Err(RestoreError::Malformed) }
}

fn read_record(reader: &mut impl Read, kind: u8, store: &mut Store) -> Result<Record, RestoreError> {
    let deadline = Some(u64::from_le_bytes(array(reader)?)).filter(|deadline| *deadline != 0);
    let version = revision(u64::from_le_bytes(array(reader)?))?;
    let key = read_bytes(reader)?;
    let head = Head { hash: store.table.hash(&key), key: &key, deadline, version };
    Ok(if kind == TEXT {
        let value = read_bytes(reader)?;
        Record::text(&mut store.scratch, head, &[&value])
    } else {
        Record::object(head, read_value(reader, kind)?)
    })
}

/// Reads a value that is no string, of a kind.
fn read_value(reader: &mut impl Read, kind: u8) -> Result<Value, RestoreError> {
    let (is_small, items) = read_items(reader)?;
    let value = match kind {
        LIST => Some(Value::List(List::from_items(items))),
        HASH => Members::from_items(items, is_small).map(|members| Value::Hash(Hash(members))),
        SET => Members::from_items(items, is_small).map(|members| Value::Set(Set(members))),
        SORTED_SET => SortedSet::from_items(items, is_small).map(Value::SortedSet),
        STREAM => read_parts(reader)?.build(items).map(|stream| Value::Stream(Box::new(stream))),
        _ => None,
    };
    value.filter(|value| !value.is_empty()).ok_or(RestoreError::Malformed)
}

fn read_parts(reader: &mut impl Read) -> Result<Parts, RestoreError> {
    let mut parts = Parts { head: read_bytes(reader)?, ..Parts::default() };
    for _ in 0..u32::from_le_bytes(array(reader)?) {
        parts.groups.push((read_bytes(reader)?, read_items(reader)?.1, read_items(reader)?.1));
    }
    Ok(parts)
}

/// Whether the value is small, and its items.
fn read_items(reader: &mut impl Read) -> Result<(bool, Sequence), RestoreError> {
    let is_small = flag(reader)?;
    let count = u32::from_le_bytes(array(reader)?);
    let mut failed = None;
    let items = (0..count).map_while(|_| read_bytes(reader).map_err(|error| failed = Some(error)).ok()).collect();
    failed.map_or(Ok((is_small, items)), Err)
}

pub(super) fn read_bytes(reader: &mut impl Read) -> Result<Vec<u8>, RestoreError> {
    let length = u32::from_le_bytes(array(reader)?) as usize;
    if length > ITEM_BYTES_MAX {
        return Err(RestoreError::Malformed);
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_count(reader: &mut impl Read) -> Result<u32, RestoreError> {
    Ok(u32::from_le_bytes(array(reader)?))
}

fn flag(reader: &mut impl Read) -> Result<bool, RestoreError> {
    match array(reader)? {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(RestoreError::Malformed),
    }
}

pub(super) fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    reader.read_exact(&mut array)?;
    Ok(array)
}

const MAGIC: &[u8; 4] = b"QKVS";
/// A version counts changes, of which no store sees so many.
const REVISION_MAX: u64 = 1 << 62;
const END: u8 = 0;
const TEXT: u8 = 1;
const LIST: u8 = 2;
const HASH: u8 = 3;
const SET: u8 = 4;
const SORTED_SET: u8 = 5;
const STREAM: u8 = 6;
const BUFFER_BYTES: usize = 64 * 1024;
/// A pair of the longest name and the longest data, and their length.
const ITEM_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX + 16;
