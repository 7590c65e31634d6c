//! Streams: listpacks of entries, then what is remembered besides, then the groups.
//!
//! A listpack has one entry's fields for all others that have the same: it begins with the number of entries, the
//! number of removed ones, the number of these fields, the fields, and 0. An entry is its flags, its id as differences
//! to that of the listpack, its values (or its own number of fields, and each with its value), and its number of items.

use std::io::Read;

use crate::store::{Group, Pending, Stream, StreamId, parse_integer};

use super::packed::{self, Item, ListpackWriter};
use super::source::Source;
use super::write::{put_count, put_length, put_text};
use super::{RdbError, kind};

pub(super) fn read<R: Read>(source: &mut Source<R>, kind: u8) -> Result<Stream, RdbError> {
    let mut stream = Stream::default();
    for _ in 0..source.count(2)? {
        let offset = source.offset();
        let malformed = |what| RdbError::Malformed { offset, what };
        let master = source.text()?;
        let master: [u8; 16] = master.try_into().map_err(|_| malformed("an id of a stream"))?;
        let packed = source.packed()?;
        let items = packed::listpack(&packed).ok_or_else(|| malformed("a listpack"))?;
        let mut items = Items { items: &items };
        add_entries(&mut stream, &mut items, read_id(master), |texts| {
            // Each has its length before it.
            let lengths = vec![0; texts.len() * LENGTH_BYTES_MAX];
            source.check_texts(offset, &[texts, &[&lengths]].concat(), 2)
        })?
        .ok_or_else(|| malformed("an entry of a stream"))?;
    }
    read_ids(source, kind, &mut stream)?;
    for _ in 0..source.count(5)? {
        let at = source.offset();
        let (name, group) = read_group(source, kind, &stream)?;
        if !stream.add_group(&name, group) {
            return Err(RdbError::Malformed { offset: at, what: "a group that is there twice" });
        }
    }
    Ok(stream)
}

/// The rest of a listpack.
struct Items<'a> {
    items: &'a [Item<'a>],
}

impl<'a> Items<'a> {
    fn text(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.items.split_first()?;
        self.items = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<i64> {
        parse_integer(self.text()?)
    }

    fn count(&mut self) -> Option<usize> {
        // Each of what is counted takes up an item.
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.items.len())
    }

    fn texts(&mut self, count: usize) -> Option<&'a [Item<'a>]> {
        let (texts, rest) = self.items.split_at_checked(count)?;
        self.items = rest;
        Some(texts)
    }
}

/// Adds the entries of a listpack to a stream. `None` if the listpack is malformed.
fn add_entries(
    stream: &mut Stream,
    items: &mut Items<'_>,
    master: StreamId,
    mut check: impl FnMut(&[&[u8]]) -> Result<(), RdbError>,
) -> Result<Option<()>, RdbError> {
    let Some((mut left, fields)) = master_entry(items) else {
        return Ok(None);
    };
    while !items.items.is_empty() {
        let Some((flags, id, texts)) = entry(items, master, fields) else {
            return Ok(None);
        };
        if flags & REMOVED != 0 {
            continue;
        }
        if left == 0 || id <= stream.last_id() {
            return Ok(None);
        }
        left -= 1;
        let bytes: Vec<&[u8]> = texts.iter().map(|text| &***text).collect();
        check(&bytes)?;
        stream.append(id, &bytes);
    }
    Ok((left == 0).then_some(()))
}

/// The number of entries that were not removed, and the fields that entries may share.
fn master_entry<'a>(items: &mut Items<'a>) -> Option<(usize, &'a [Item<'a>])> {
    let (count, _removed) = (items.count()?, items.number()?);
    let fields = items.count()?;
    let fields = items.texts(fields)?;
    (items.number()? == 0).then_some((count, fields))
}

/// An entry: its flags, its id, and its fields and values in turn.
fn entry<'a>(
    items: &mut Items<'a>,
    master: StreamId,
    fields: &'a [Item<'a>],
) -> Option<(i64, StreamId, Vec<&'a Item<'a>>)> {
    let flags = items.number()?;
    let ms = master.ms.wrapping_add_signed(items.number()?);
    let seq = master.seq.wrapping_add_signed(items.number()?);
    let texts: Vec<&Item<'_>> = if flags & SAME_FIELDS != 0 {
        fields.iter().zip(items.texts(fields.len())?).flat_map(|(field, value)| [field, value]).collect()
    } else {
        let count = items.count()?;
        items.texts(count.checked_mul(2)?)?.iter().collect()
    };
    let _items = items.number()?;
    Some((flags, StreamId { ms, seq }, texts))
}

fn read_ids<R: Read>(source: &mut Source<R>, kind: u8, stream: &mut Stream) -> Result<(), RdbError> {
    let at = source.offset();
    let malformed = |what| RdbError::Malformed { offset: at, what };
    let count = source.length()?;
    let last_id = read_place(source)?;
    let (removed, added) = if kind == kind::STREAM {
        (StreamId::MIN, count)
    } else {
        let _first = read_place(source)?;
        (read_place(source)?, source.length()?)
    };
    // A stream for which this does not hold is not read from a snapshot either.
    if count != stream.len() as u64 || added < count || last_id < stream.end_id() {
        return Err(malformed("the number or the last id of a stream's entries"));
    }
    stream.set_ids(last_id, Some(added), Some(removed));
    Ok(())
}

fn read_group<R: Read>(source: &mut Source<R>, kind: u8, stream: &Stream) -> Result<(Vec<u8>, Group), RdbError> {
    let name = source.text()?;
    let last_id = read_place(source)?;
    let read = if kind == kind::STREAM {
        stream.place_of(last_id)
    } else {
        Some(source.length()?).filter(|read| *read != UNKNOWN)
    };
    let mut group = Group::new(last_id, read);
    let mut deliveries = std::collections::BTreeMap::new();
    for _ in 0..source.count(PENDING_BYTES)? {
        let at = source.offset();
        let id = read_id(source.array()?);
        let delivered = u64::from_le_bytes(source.array()?);
        if deliveries.insert(id, (delivered, source.length()?)).is_some() {
            return Err(RdbError::Malformed { offset: at, what: "a pending entry that is there twice" });
        }
    }
    for _ in 0..source.count(CONSUMER_BYTES)? {
        let at = source.offset();
        let malformed = |what| RdbError::Malformed { offset: at, what };
        let consumer = source.text()?;
        let seen = u64::from_le_bytes(source.array()?);
        if kind == kind::STREAM_3 {
            let _active: [u8; 8] = source.array()?;
        }
        if !group.see(&consumer, seen) {
            return Err(malformed("a consumer that is there twice"));
        }
        for _ in 0..source.count(16)? {
            let id = read_id(source.array()?);
            let known = deliveries.remove(&id);
            let (delivered, deliveries) = known.ok_or_else(|| malformed("a pending entry of a consumer"))?;
            group.assign(Pending { id, delivered, deliveries, consumer: &consumer });
        }
    }
    let is_whole = deliveries.is_empty();
    if is_whole { Ok((name, group)) } else { Err(source.malformed("a pending entry that no consumer has")) }
}

fn read_id(bytes: [u8; 16]) -> StreamId {
    let number = u128::from_be_bytes(bytes);
    let [ms, seq] = [number >> 64, number & u128::from(u64::MAX)];
    StreamId { ms: u64::try_from(ms).unwrap_or(u64::MAX), seq: u64::try_from(seq).unwrap_or(u64::MAX) }
}

/// An id as two numbers.
fn read_place<R: Read>(source: &mut Source<R>) -> Result<StreamId, RdbError> {
    Ok(StreamId { ms: source.length()?, seq: source.length()? })
}

pub(super) fn write(out: &mut Vec<u8>, stream: &Stream) {
    let (mut packs, mut pack) = (Vec::new(), None::<Pack>);
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let texts: Vec<&[u8]> = entry.texts().collect();
        if pack.as_ref().is_some_and(Pack::is_full) {
            packs.extend(pack.take());
        }
        pack.get_or_insert_with(|| Pack::new(entry.id, &texts)).add(entry.id, &texts);
    }
    packs.extend(pack);
    put_count(out, packs.len());
    for pack in packs {
        put_text(out, &id_bytes(pack.first));
        put_text(out, &pack.finish());
    }
    put_count(out, stream.len());
    for id in [stream.last_id(), stream.first_id(), stream.max_deleted_id()] {
        put_place(out, id);
    }
    put_length(out, stream.entries_added());
    put_count(out, stream.groups().len());
    for (name, group) in stream.groups() {
        write_group(out, name, group);
    }
}

fn write_group(out: &mut Vec<u8>, name: &[u8], group: &Group) {
    put_text(out, name);
    put_place(out, group.last_id);
    put_length(out, group.entries_read.unwrap_or(UNKNOWN));
    put_count(out, group.pending());
    for pending in group.iter_from(StreamId::MIN) {
        out.extend_from_slice(&id_bytes(pending.id));
        out.extend_from_slice(&pending.delivered.to_le_bytes());
        put_length(out, pending.deliveries);
    }
    put_count(out, group.consumers().len());
    for (name, consumer) in group.consumers() {
        put_text(out, name);
        out.extend_from_slice(&consumer.seen.to_le_bytes());
        put_count(out, consumer.pending());
        for pending in group.iter_of(consumer, StreamId::MIN) {
            out.extend_from_slice(&id_bytes(pending.id));
        }
    }
}

/// Entries that are being written into a listpack.
struct Pack {
    first: StreamId,
    fields: Vec<Vec<u8>>,
    entries: ListpackWriter,
    count: usize,
}

impl Pack {
    fn new(first: StreamId, texts: &[&[u8]]) -> Self {
        let fields = texts.iter().step_by(2).map(|field| field.to_vec()).collect();
        Self { first, fields, entries: ListpackWriter::new(), count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count >= PACK_ENTRIES_MAX || self.entries.len() >= PACK_BYTES_MAX
    }

    fn add(&mut self, id: StreamId, texts: &[&[u8]]) {
        let out = &mut self.entries;
        let is_same = self.fields.iter().eq(texts.iter().step_by(2));
        out.number(if is_same { SAME_FIELDS } else { 0 });
        out.number(id.ms.wrapping_sub(self.first.ms).cast_signed());
        out.number(id.seq.wrapping_sub(self.first.seq).cast_signed());
        let values: Vec<&[u8]> = if is_same {
            texts.iter().skip(1).step_by(2).copied().collect()
        } else {
            out.number(number(texts.len() / 2));
            texts.to_vec()
        };
        for value in &values {
            out.text(value);
        }
        out.number(number(values.len() + if is_same { 3 } else { 4 }));
        self.count += 1;
    }

    fn finish(self) -> Vec<u8> {
        let mut out = ListpackWriter::new();
        out.number(number(self.count));
        out.number(0);
        out.number(number(self.fields.len()));
        for field in &self.fields {
            out.text(field);
        }
        out.number(0);
        out.append(&self.entries);
        out.finish()
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a number of items in memory")
}

fn id_bytes(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

fn put_place(out: &mut Vec<u8>, id: StreamId) {
    put_length(out, id.ms);
    put_length(out, id.seq);
}

/// Flag of an entry that was removed.
const REMOVED: i64 = 1;
/// Flag of an entry that has the fields of its listpack.
const SAME_FIELDS: i64 = 2;
/// Stands for an unknown number of read entries.
const UNKNOWN: u64 = u64::MAX;
/// Maximum bytes of the length of a field or a value.
const LENGTH_BYTES_MAX: usize = 5;
/// Fewest bytes of a pending entry and of a consumer.
const PENDING_BYTES: u64 = 25;
const CONSUMER_BYTES: u64 = 10;
/// Bounds of a listpack that is written, as Redis has them by default.
const PACK_ENTRIES_MAX: usize = 100;
const PACK_BYTES_MAX: usize = 4096;
