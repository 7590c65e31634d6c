//! What a shard's log holds: entries of commands, parts of transactions, changes of slots, and pieces of work that is
//! too long for one entry.
//!
//! Layout by the first byte. 4: an entry. 16: an entry whose sender was sent here by the shard from which its slot
//! moves; the entry follows. 17 and 18: the part of a transaction, which is carried out as it was voted on (17) or only
//! if its checks hold (18): the number of checks as u32, each with its key and a version as u64; the number of changes
//! as u32, each with its kind: 1, a key to be removed; 2, a record with a new version; 3, a record that keeps its
//! version. Keys and records begin with their length as u32. 19: a change of slots: its kind, a shard as u16, a
//! generation as u64, and the slots as u16. 20: a cut: its number as u64. 21: a piece of longer
//! work: the work's id as u128, the piece's place from 0 as u32, and the bytes. 22: the work of which the pieces were
//! brought: its id, and their number as u32. Numbers are little-endian.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::command::{self, keys_of_entry};
use crate::entry::{DecodeError, ENTRY_VERSION};
use crate::store::{Elsewhere, Record, SLOTS, SlotChange, Store, WorkId, encode_record, install_record, slot_of};

/// What a shard has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Carry out an entry of commands.
    Entry {
        /// The entry.
        entry: Bytes,
        /// The shard from which the slot of its key moves has sent the asker.
        asks: bool,
    },
    /// Carry out a part of a transaction.
    Part {
        /// The part.
        part: Part,
        /// Only if its checks hold.
        only_if: bool,
    },
    /// Change slots.
    Slots {
        /// The change.
        change: SlotChange,
        /// The generation of the layout in which their move began.
        generation: u64,
        /// The slots.
        slots: Vec<u16>,
    },
    /// Keep the store as it is, as this shard's part of a cut through all shards. While the cut is prepared, nothing
    /// else is done.
    Cut {
        /// The number of the cut.
        id: u64,
    },
    /// Keep a piece of work that is too long for one entry.
    Piece {
        /// The work.
        id: WorkId,
        /// The place of the piece, from 0.
        place: u32,
        /// The piece.
        bytes: Bytes,
    },
    /// Do the work whose pieces were brought. They are gone afterwards, unless a prepared transaction is in the way.
    Whole {
        /// The work.
        id: WorkId,
        /// The number of its pieces.
        count: u32,
    },
}

/// The part of a transaction that concerns one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Keys that were read, with the versions that were seen (0: no such key).
    pub checks: Vec<(Bytes, u64)>,
    /// What becomes of keys.
    pub effects: Vec<Effect>,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It is removed.
    Remove(Bytes),
    /// It is set to a record.
    Put {
        /// The key.
        key: Bytes,
        /// The record, encoded.
        record: Bytes,
        /// The record keeps its version: it only moves.
        moves: bool,
    },
}

/// The reply of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardReply {
    /// It was done. Holds the replies to the commands of an entry.
    Done(Bytes),
    /// Nothing was done: another shard has a key.
    Elsewhere(Elsewhere),
    /// Nothing was done: a check does not hold any more.
    Changed,
    /// Nothing was done: the slots are in another state.
    Refused(String),
    /// Nothing was done: some pieces of the work are not here. They made room for other work, or came too slowly.
    Dropped,
}

impl Effect {
    /// Sets a key to a record.
    pub fn put(record: &Record, moves: bool) -> Self {
        Self::Put { key: Bytes::copy_from_slice(record.key()), record: encode_record(record).into(), moves }
    }

    fn key(&self) -> &Bytes {
        match self {
            Self::Remove(key) | Self::Put { key, .. } => key,
        }
    }
}

impl Part {
    /// Bytes of the part as work.
    pub fn len(&self) -> usize {
        let checks: usize = self.checks.iter().map(|(key, _)| key.len() + 12).sum();
        let effects = self.effects.iter().map(|effect| match effect {
            Effect::Remove(key) => key.len() + 5,
            Effect::Put { record, .. } => record.len() + 5,
        });
        HEADER_BYTES + checks + effects.sum::<usize>()
    }

    /// Returns true if there is nothing to do and nothing to check.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.effects.is_empty()
    }

    fn keys(&self) -> BTreeSet<Bytes> {
        let checked = self.checks.iter().map(|(key, _)| key.clone());
        checked.chain(self.effects.iter().map(|effect| effect.key().clone())).collect()
    }

    /// Where another shard has to be asked, if one of the keys is not here.
    fn elsewhere(&self, store: &Store, log_time: u64) -> Option<Elsewhere> {
        self.keys().iter().find_map(|key| store.elsewhere(log_time, key, true))
    }

    fn holds(&self, store: &Store, log_time: u64) -> bool {
        self.checks.iter().all(|(key, version)| store.version(log_time, key) == *version)
    }

    fn carry_out(&self, store: &mut Store, log_time: u64) -> Result<(), DecodeError> {
        for effect in &self.effects {
            match effect {
                Effect::Remove(key) => {
                    store.remove(log_time, key);
                }
                Effect::Put { record, moves, .. } => {
                    install_record(record, *moves, store).map_err(|_| DecodeError::Length)?;
                }
            }
        }
        Ok(())
    }
}

impl Work {
    /// The work as bytes of the log.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Entry { entry, asks: false } => entry.clone(),
            Self::Entry { entry, asks: true } => [&[ASKS], &entry[..]].concat().into(),
            Self::Part { part, only_if } => encode_part(part, *only_if),
            Self::Slots { change, generation, slots } => encode_slots(*change, *generation, slots),
            Self::Cut { id } => [&[CUT][..], &id.to_le_bytes()].concat().into(),
            Self::Piece { id, place, bytes } => {
                [&[PIECE][..], &id.to_le_bytes(), &place.to_le_bytes(), bytes].concat().into()
            }
            Self::Whole { id, count } => [&[WHOLE][..], &id.to_le_bytes(), &count.to_le_bytes()].concat().into(),
        }
    }

    /// Work from the bytes of the log.
    ///
    /// # Errors
    /// When the bytes are of another kind: a newer program proposed them.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        match bytes.first().copied().ok_or(DecodeError::Short)? {
            ENTRY_VERSION => Ok(Self::Entry { entry: bytes, asks: false }),
            ASKS => Ok(Self::Entry { entry: bytes.slice(1..), asks: true }),
            kind @ (PART | PART_IF) => {
                bytes.advance(1);
                Ok(Self::Part { part: decode_part(&mut bytes)?, only_if: kind == PART_IF })
            }
            SLOTS_CHANGE => {
                bytes.advance(1);
                decode_slots(&mut bytes)
            }
            CUT => {
                let id = bytes[1..].try_into().map_err(|_| DecodeError::Length)?;
                Ok(Self::Cut { id: u64::from_le_bytes(id) })
            }
            kind @ (PIECE | WHOLE) => {
                bytes.advance(1);
                let id = bytes.try_get_u128_le().map_err(|_| DecodeError::Short)?;
                let number = take_u32(&mut bytes)?;
                match kind {
                    PIECE => Ok(Self::Piece { id, place: number, bytes }),
                    _ if bytes.is_empty() => Ok(Self::Whole { id, count: number }),
                    _ => Err(DecodeError::Length),
                }
            }
            kind => Err(DecodeError::Kind(kind)),
        }
    }

    /// Work from the bytes of the log; if pieces were brought of it, what they are together. `None` if some are
    /// missing.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_whole(bytes: Bytes, store: &Store) -> Result<Option<Self>, DecodeError> {
        match Self::decode(bytes)? {
            Self::Whole { id, count } => match store.joined_pieces(id, count) {
                Some(whole) => Self::decode(whole).map(|work| (!work.is_of_pieces()).then_some(work)),
                None => Ok(None),
            },
            work => Ok(Some(work)),
        }
    }

    /// Returns true for a piece, and for work that was brought in pieces. No work in pieces is of this kind.
    fn is_of_pieces(&self) -> bool {
        matches!(self, Self::Piece { .. } | Self::Whole { .. })
    }

    /// The keys that the work reads or changes, as far as it names them.
    pub fn keys(&self) -> BTreeSet<Bytes> {
        match self {
            Self::Entry { entry, .. } => {
                keys_of_entry(entry).unwrap_or_default().into_iter().map(Bytes::copy_from_slice).collect()
            }
            Self::Part { part, .. } => part.keys(),
            Self::Slots { .. } | Self::Piece { .. } | Self::Whole { .. } => BTreeSet::new(),
            Self::Cut { .. } => BTreeSet::from([Bytes::from_static(CUT_KEY)]),
        }
    }

    /// Returns true if a prepared transaction that has locked this key must end before the work is done.
    pub fn waits_for(&self, locked: &[u8]) -> bool {
        match self {
            // It changes no key.
            Self::Piece { .. } => false,
            // A cut has the locks of all keys.
            _ if locked == CUT_KEY => true,
            Self::Cut { .. } => true,
            Self::Entry { entry, .. } => command::is_whole(entry),
            // A key that is to come would be lost.
            Self::Slots { change: SlotChange::Release(_), slots, .. } => slots.contains(&slot_of(locked)),
            Self::Part { .. } | Self::Slots { .. } | Self::Whole { .. } => false,
        }
    }

    /// Returns true if the work could be done now.
    pub fn is_possible(&self, store: &Store, log_time: u64) -> bool {
        match self {
            Self::Part { part, .. } => part.elsewhere(store, log_time).is_none() && part.holds(store, log_time),
            Self::Cut { .. } => true,
            Self::Entry { .. } | Self::Slots { .. } | Self::Piece { .. } | Self::Whole { .. } => false,
        }
    }

    /// Does the work.
    ///
    /// # Errors
    /// When it contains something that a newer program wrote.
    pub fn carry_out(&self, store: &mut Store, log_time: u64) -> Result<ShardReply, DecodeError> {
        store.forget_old_cut(log_time);
        store.drop_old_pieces(log_time);
        match self {
            Self::Entry { entry, asks } => {
                if store.slots().is_some()
                    && let Some(elsewhere) = entry_elsewhere(store, log_time, entry, *asks)?
                {
                    return Ok(ShardReply::Elsewhere(elsewhere));
                }
                command::apply(store, log_time, entry).map(ShardReply::Done)
            }
            Self::Part { part, only_if } => {
                if *only_if && let Some(elsewhere) = part.elsewhere(store, log_time) {
                    return Ok(ShardReply::Elsewhere(elsewhere));
                }
                if *only_if && !part.holds(store, log_time) {
                    return Ok(ShardReply::Changed);
                }
                part.carry_out(store, log_time)?;
                Ok(ShardReply::Done(Bytes::new()))
            }
            Self::Slots { change, generation, slots } => Ok(match store.change_slots(*change, *generation, slots) {
                Ok(()) => ShardReply::Done(Bytes::new()),
                Err(error) => ShardReply::Refused(error.to_string()),
            }),
            Self::Cut { id } => {
                store.keep_cut(log_time, *id);
                Ok(ShardReply::Done(Bytes::new()))
            }
            Self::Piece { id, place, bytes } => {
                store.add_piece(log_time, *id, *place, bytes);
                Ok(ShardReply::Done(Bytes::new()))
            }
            Self::Whole { id, count } => match store.take_pieces(*id, *count).map(Self::decode).transpose()? {
                Some(work) if !work.is_of_pieces() => work.carry_out(store, log_time),
                _ => Ok(ShardReply::Dropped),
            },
        }
    }
}

/// Where another shard has to be asked for a key of an entry.
fn entry_elsewhere(store: &Store, log_time: u64, entry: &[u8], asks: bool) -> Result<Option<Elsewhere>, DecodeError> {
    let keys = keys_of_entry(entry)?;
    Ok(keys.into_iter().find_map(|key| store.elsewhere(log_time, key, asks)))
}

impl ShardReply {
    /// The reply as bytes. Replies to clients begin with none of the bytes of the others.
    pub fn encode(self) -> Bytes {
        match self {
            Self::Done(replies) => replies,
            Self::Elsewhere(Elsewhere::Unknown) => Bytes::from_static(&[NOT_DONE, 0]),
            Self::Elsewhere(Elsewhere::Moved(to)) => not_done(1, &to.to_le_bytes()),
            Self::Elsewhere(Elsewhere::Asked(to)) => not_done(2, &to.to_le_bytes()),
            Self::Changed => Bytes::from_static(&[NOT_DONE, 3]),
            Self::Refused(reason) => not_done(4, reason.as_bytes()),
            Self::Dropped => Bytes::from_static(&[NOT_DONE, 5]),
        }
    }

    /// A reply from its bytes.
    pub fn decode(bytes: Bytes) -> Self {
        let Some([NOT_DONE, kind, rest @ ..]) = bytes.get(..) else {
            return Self::Done(bytes);
        };
        let shard = || rest.try_into().map(u16::from_le_bytes).unwrap_or_default();
        match kind {
            0 => Self::Elsewhere(Elsewhere::Unknown),
            1 => Self::Elsewhere(Elsewhere::Moved(shard())),
            2 => Self::Elsewhere(Elsewhere::Asked(shard())),
            3 => Self::Changed,
            5 => Self::Dropped,
            _ => Self::Refused(String::from_utf8_lossy(rest).into_owned()),
        }
    }
}

fn not_done(kind: u8, rest: &[u8]) -> Bytes {
    [&[NOT_DONE, kind], rest].concat().into()
}

fn encode_part(part: &Part, only_if: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(part.len());
    out.put_u8(if only_if { PART_IF } else { PART });
    put_count(&mut out, part.checks.len());
    for (key, version) in &part.checks {
        put_bytes(&mut out, key);
        out.put_u64_le(*version);
    }
    put_count(&mut out, part.effects.len());
    for effect in &part.effects {
        match effect {
            Effect::Remove(key) => {
                out.put_u8(REMOVE);
                put_bytes(&mut out, key);
            }
            Effect::Put { key, record, moves } => {
                out.put_u8(if *moves { MOVE } else { PUT });
                put_bytes(&mut out, key);
                put_bytes(&mut out, record);
            }
        }
    }
    out.freeze()
}

fn decode_part(bytes: &mut Bytes) -> Result<Part, DecodeError> {
    let mut part = Part::default();
    for _ in 0..take_u32(bytes)? {
        part.checks.push((take_bytes(bytes)?, bytes.try_get_u64_le().map_err(|_| DecodeError::Short)?));
    }
    for _ in 0..take_u32(bytes)? {
        let kind = bytes.try_get_u8().map_err(|_| DecodeError::Short)?;
        let key = take_bytes(bytes)?;
        part.effects.push(match kind {
            REMOVE => Effect::Remove(key),
            PUT | MOVE => Effect::Put { key, record: take_bytes(bytes)?, moves: kind == MOVE },
            other => return Err(DecodeError::Kind(other)),
        });
    }
    if bytes.is_empty() { Ok(part) } else { Err(DecodeError::Length) }
}

fn encode_slots(change: SlotChange, generation: u64, slots: &[u16]) -> Bytes {
    let (kind, shard) = match change {
        SlotChange::Found => (0, 0),
        SlotChange::Leave(to) => (1, to),
        SlotChange::Arrive => (2, 0),
        SlotChange::Release(to) => (3, to),
        SlotChange::Settle => (4, 0),
    };
    let mut out = BytesMut::with_capacity(HEADER_BYTES + 2 * slots.len());
    out.put_slice(&[SLOTS_CHANGE, kind]);
    out.put_u16_le(shard);
    out.put_u64_le(generation);
    for slot in slots {
        out.put_u16_le(*slot);
    }
    out.freeze()
}

fn decode_slots(bytes: &mut Bytes) -> Result<Work, DecodeError> {
    let kind = bytes.try_get_u8().map_err(|_| DecodeError::Short)?;
    let shard = bytes.try_get_u16_le().map_err(|_| DecodeError::Short)?;
    let change = match kind {
        0 => SlotChange::Found,
        1 => SlotChange::Leave(shard),
        2 => SlotChange::Arrive,
        3 => SlotChange::Release(shard),
        4 => SlotChange::Settle,
        other => return Err(DecodeError::Kind(other)),
    };
    let generation = bytes.try_get_u64_le().map_err(|_| DecodeError::Short)?;
    let mut slots = Vec::new();
    while bytes.has_remaining() {
        let slot = bytes.try_get_u16_le().map_err(|_| DecodeError::Short)?;
        slots.push(if slot < SLOTS { slot } else { return Err(DecodeError::Length) });
    }
    Ok(Work::Slots { change, generation, slots })
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("an entry is shorter than 4 GiB"));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

fn take_u32(bytes: &mut Bytes) -> Result<u32, DecodeError> {
    bytes.try_get_u32_le().map_err(|_| DecodeError::Short)
}

fn take_bytes(bytes: &mut Bytes) -> Result<Bytes, DecodeError> {
    let length = take_u32(bytes)? as usize;
    if length > bytes.len() { Err(DecodeError::Short) } else { Ok(bytes.split_to(length)) }
}

const ASKS: u8 = 16;
const PART: u8 = 17;
const PART_IF: u8 = 18;
const SLOTS_CHANGE: u8 = 19;
const CUT: u8 = 20;
const PIECE: u8 = 21;
const WHOLE: u8 = 22;
/// Stands for all keys among the locks. A client's key of this name is locked along with a cut, and locks all keys.
const CUT_KEY: &[u8] = b"\0cut";
const REMOVE: u8 = 1;
const PUT: u8 = 2;
const MOVE: u8 = 3;
/// No outcome of an entry begins with this byte.
const NOT_DONE: u8 = 1;
const HEADER_BYTES: usize = 16;

#[cfg(test)]
mod tests;
