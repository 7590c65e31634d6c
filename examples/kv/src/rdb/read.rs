//! Values in all of Redis's forms.

use std::borrow::Cow;
use std::io::Read;

use crate::store::{Hash, List, Members, Set, SortedSet, Value, parse_double};

use super::packed::{self, Item};
use super::source::Source;
use super::{Content, RdbError, kind, stream};

/// Takes a packed string apart.
type Unpack = for<'a> fn(&'a [u8]) -> Option<Vec<Item<'a>>>;

/// Reads a value of a kind.
pub(super) fn content<R: Read>(source: &mut Source<R>, kind: u8) -> Result<Content, RdbError> {
    let at = source.offset().saturating_sub(1);
    source.begin_value();
    let value = match kind {
        kind::STRING => return Ok(Content::Text(source.text()?)),
        kind::MODULE_2 => return module(source).map(|name| Content::Unknown(format!("a value of the module {name}"))),
        kind::HASH_DEADLINES | kind::HASH_DEADLINES_LISTPACK => {
            skip_deadlines(source, kind)?;
            return Ok(Content::Unknown("a hash whose fields have deadlines".to_owned()));
        }
        kind::LIST => Value::List(list(source)?),
        kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => Value::List(quicklist(source, kind)?),
        kind::SET => Value::Set(set(source)?),
        kind::SET_INTSET | kind::SET_LISTPACK => Value::Set(packed_set(source, kind)?),
        kind::HASH => Value::Hash(hash(source)?),
        kind::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => Value::Hash(packed_hash(source, kind)?),
        kind::SORTED_SET | kind::SORTED_SET_2 => Value::SortedSet(sorted_set(source, kind)?),
        kind::SORTED_SET_ZIPLIST | kind::SORTED_SET_LISTPACK => Value::SortedSet(packed_sorted_set(source, kind)?),
        kind::STREAM | kind::STREAM_2 | kind::STREAM_3 => Value::Stream(Box::new(stream::read(source, kind)?)),
        code => return Err(RdbError::Unknown { offset: at, what: KIND, code }),
    };
    if value.is_empty() { Err(RdbError::Malformed { offset: at, what: "an empty value" }) } else { Ok(value.into()) }
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self::Items(value)
    }
}

/// The items of a packed string that follows.
fn unpack<'a, R: Read>(
    source: &mut Source<R>,
    room: &'a mut Vec<u8>,
    unpack: Unpack,
    what: &'static str,
) -> Result<Vec<Item<'a>>, RdbError> {
    let offset = source.offset();
    *room = source.packed()?;
    let items = unpack(room).ok_or(RdbError::Malformed { offset, what })?;
    for item in &items {
        source.check_text(offset, item)?;
    }
    Ok(items)
}

fn list<R: Read>(source: &mut Source<R>) -> Result<List, RdbError> {
    let count = source.count(1)?;
    let mut list = List::default();
    for _ in 0..count {
        list.push_back(&source.text()?);
    }
    Ok(list)
}

fn quicklist<R: Read>(source: &mut Source<R>, kind: u8) -> Result<List, RdbError> {
    let nodes = if kind == kind::LIST_ZIPLIST { 1 } else { source.count(1)? };
    let (mut list, mut room) = (List::default(), Vec::new());
    for _ in 0..nodes {
        let form = if kind == kind::LIST_QUICKLIST_2 { source.length()? } else { QUICKLIST_PACKED };
        let items = match form {
            QUICKLIST_PLAIN => vec![Cow::Owned(source.text()?)],
            QUICKLIST_PACKED if kind == kind::LIST_QUICKLIST_2 => {
                unpack(source, &mut room, packed::listpack, "a listpack")?
            }
            QUICKLIST_PACKED => unpack(source, &mut room, packed::ziplist, "a ziplist")?,
            _ => return Err(source.malformed("a node of a list")),
        };
        for item in items {
            list.push_back(&item);
        }
    }
    Ok(list)
}

fn set<R: Read>(source: &mut Source<R>) -> Result<Set, RdbError> {
    let count = source.count(1)?;
    let mut members = Members::default();
    for _ in 0..count {
        let member = source.text()?;
        add(source, &mut members, &member, b"")?;
    }
    Ok(Set(members))
}

fn packed_set<R: Read>(source: &mut Source<R>, kind: u8) -> Result<Set, RdbError> {
    let (mut members, mut room) = (Members::default(), Vec::new());
    let items = match kind {
        kind::SET_INTSET => unpack(source, &mut room, packed::intset, "an intset")?,
        _ => unpack(source, &mut room, packed::listpack, "a listpack")?,
    };
    for item in items {
        add(source, &mut members, &item, b"")?;
    }
    Ok(Set(members))
}

fn hash<R: Read>(source: &mut Source<R>) -> Result<Hash, RdbError> {
    let count = source.count(2)?;
    let mut members = Members::default();
    for _ in 0..count {
        let (field, value) = (source.text()?, source.text()?);
        add(source, &mut members, &field, &value)?;
    }
    Ok(Hash(members))
}

fn packed_hash<R: Read>(source: &mut Source<R>, kind: u8) -> Result<Hash, RdbError> {
    let (mut members, mut room) = (Members::default(), Vec::new());
    let items = match kind {
        kind::HASH_ZIPMAP => unpack(source, &mut room, packed::zipmap, "a zipmap")?,
        kind::HASH_ZIPLIST => unpack(source, &mut room, packed::ziplist, "a ziplist")?,
        _ => unpack(source, &mut room, packed::listpack, "a listpack")?,
    };
    let (pairs, rest) = items.as_chunks();
    for [field, value] in pairs {
        add(source, &mut members, field, value)?;
    }
    if rest.is_empty() { Ok(Hash(members)) } else { Err(source.malformed("a field without a value")) }
}

fn add<R: Read>(source: &Source<R>, members: &mut Members, name: &[u8], data: &[u8]) -> Result<(), RdbError> {
    if members.set(name, data) { Ok(()) } else { Err(source.malformed("a member that is there twice")) }
}

fn sorted_set<R: Read>(source: &mut Source<R>, kind: u8) -> Result<SortedSet, RdbError> {
    let count = source.count(2)?;
    let mut set = SortedSet::default();
    for _ in 0..count {
        let member = source.text()?;
        let score = if kind == kind::SORTED_SET_2 { f64::from_le_bytes(source.array()?) } else { score(source)? };
        rank(source, &mut set, &member, Some(score))?;
    }
    Ok(set)
}

/// A score in digits.
fn score<R: Read>(source: &mut Source<R>) -> Result<f64, RdbError> {
    match source.byte()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        length => {
            let digits = source.take(u64::from(length))?;
            parse_double(&digits).ok_or_else(|| source.malformed("a score"))
        }
    }
}

fn packed_sorted_set<R: Read>(source: &mut Source<R>, kind: u8) -> Result<SortedSet, RdbError> {
    let (mut set, mut room) = (SortedSet::default(), Vec::new());
    let items = match kind {
        kind::SORTED_SET_ZIPLIST => unpack(source, &mut room, packed::ziplist, "a ziplist")?,
        _ => unpack(source, &mut room, packed::listpack, "a listpack")?,
    };
    let (pairs, rest) = items.as_chunks();
    for [member, score] in pairs {
        rank(source, &mut set, member, parse_double(score))?;
    }
    if rest.is_empty() { Ok(set) } else { Err(source.malformed("a member without a score")) }
}

fn rank<R: Read>(source: &Source<R>, set: &mut SortedSet, member: &[u8], score: Option<f64>) -> Result<(), RdbError> {
    let score = score.filter(|score| !score.is_nan()).ok_or_else(|| source.malformed("a score"))?;
    if set.set(member, score) { Ok(()) } else { Err(source.malformed("a member that is there twice")) }
}

/// Passes over a hash whose fields have deadlines (Redis 7.4).
fn skip_deadlines<R: Read>(source: &mut Source<R>, kind: u8) -> Result<(), RdbError> {
    let _earliest: [u8; 8] = source.array()?;
    if kind == kind::HASH_DEADLINES_LISTPACK {
        return source.packed().map(drop);
    }
    for _ in 0..source.count(3)? {
        source.length()?;
        source.text()?;
        source.text()?;
    }
    Ok(())
}

/// Passes over what a module wrote, and returns the name of the module.
pub(super) fn module<R: Read>(source: &mut Source<R>) -> Result<String, RdbError> {
    let id = source.length()?;
    skip_module(source)?;
    Ok(module_name(id))
}

/// Passes over a module's parts up to the mark of their end.
pub(super) fn skip_module<R: Read>(source: &mut Source<R>) -> Result<(), RdbError> {
    loop {
        let at = source.offset();
        match source.length()? {
            0 => return Ok(()),
            1 | 2 => drop(source.length()?),
            3 => drop(source.array::<4>()?),
            4 => drop(source.array::<8>()?),
            5 => {
                source.begin_value();
                source.packed()?;
            }
            _ => return Err(RdbError::Malformed { offset: at, what: "a part of a module's value" }),
        }
    }
}

/// The name of a module's kind of value: nine letters of six bits each, the last ten bits are a version.
pub(super) fn module_name(id: u64) -> String {
    let letter = |place: u32| char::from(MODULE_LETTERS[(id >> (10 + 6 * (8 - place)) & 0x3f) as usize]);
    (0..9).map(letter).collect()
}

const MODULE_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// What is not known if a kind is not known.
pub(super) const KIND: &str = "kind of value";
const QUICKLIST_PLAIN: u64 = 1;
const QUICKLIST_PACKED: u64 = 2;
