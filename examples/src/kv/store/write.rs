//! Writes to the store, and their bytes in the log.
//!
//! A command of the log is a batch: one version byte, then one or more writes back to back. All of a batch is applied
//! at one index. Layout of a write: one byte for its kind, then its fields; lengths and counts are LEB128, numbers are
//! little-endian. A kind's layout never changes, and new kinds are only added. Tests compare the bytes with those of
//! the first release.

use bytes::{BufMut, BytesMut};

use super::codec::{DecodeError, Decoder, put_bytes, put_length};

/// The version of a batch that this program writes, and the newest it reads.
pub const BATCH_VERSION: u8 = 1;

/// A change to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write<'a> {
    /// Sets a key. Answers `Ok`, or `Nil` when the condition does not hold; with [`SetAnswer::Old`] the old value or
    /// `Nil`.
    Set {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
        /// The condition for setting it.
        condition: SetCondition,
        /// The key's deadline afterwards.
        expiry: Expiry,
        /// The content of the answer.
        answer: SetAnswer,
    },
    /// Removes keys. Answers the number that existed.
    Delete {
        /// The keys.
        keys: Vec<&'a [u8]>,
    },
    /// Adds to a number. Answers the sum.
    Add {
        /// The key; an absent one counts as 0.
        key: &'a [u8],
        /// The number to add.
        by: i64,
    },
    /// Appends to a value. Answers its new length in bytes.
    Append {
        /// The key; an absent one counts as empty.
        key: &'a [u8],
        /// The bytes to append.
        value: &'a [u8],
    },
    /// Sets several keys and removes their deadlines. Answers `Ok`.
    SetMany {
        /// Keys and values. For a key that occurs twice the last value counts.
        pairs: Vec<(&'a [u8], &'a [u8])>,
    },
    /// Gives a key a deadline. Answers 1, or 0 when there is no such key or the condition does not hold.
    Expire {
        /// The key.
        key: &'a [u8],
        /// Milliseconds from the log time of the entry to the deadline.
        in_ms: i64,
        /// The condition for the deadline.
        condition: ExpireCondition,
        /// The unit in which the client asked; only an error's text depends on it.
        unit: Unit,
    },
    /// Removes a key's deadline. Answers 1, or 0 when it had none.
    Persist {
        /// The key.
        key: &'a [u8],
    },
    /// Removes every key. Answers `Ok`.
    FlushAll,
}

/// Condition for `SET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetCondition {
    /// In any case.
    Always,
    /// If the key does not exist (`NX`).
    Absent,
    /// If the key exists (`XX`).
    Present,
}

/// Effect of `SET` on the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The key has none afterwards.
    Never,
    /// The key keeps its deadline (`KEEPTTL`).
    Keep,
    /// The key ends this number of milliseconds after the log time of the entry. This is a span. The node that takes
    /// the command converts a client's point of time to a span, by its own wall clock.
    In(i64),
}

/// Answer of `SET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAnswer {
    /// `Ok` if it was set, else `Nil`.
    Outcome,
    /// The value before (`GET`).
    Old,
}

/// Conditions for `EXPIRE`. Several may be given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpireCondition {
    /// Only if the key has none (`NX`).
    pub absent: bool,
    /// Only if the key has one (`XX`).
    pub present: bool,
    /// Only if the new one is later (`GT`). A key without a deadline counts as having the latest.
    pub later: bool,
    /// Only if the new one is earlier (`LT`).
    pub earlier: bool,
}

/// The unit of a time in a client's command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl<'a> Write<'a> {
    /// Adds this write to a batch; an empty buffer gets the version first.
    pub fn encode(&self, batch: &mut BytesMut) {
        if batch.is_empty() {
            batch.put_u8(BATCH_VERSION);
        }
        match self {
            Self::Set { key, value, condition, expiry, answer } => {
                batch.put_u8(SET);
                encode_set(batch, *condition, *expiry, *answer);
                put_bytes(batch, key);
                put_bytes(batch, value);
            }
            Self::Delete { keys } => {
                batch.put_u8(DELETE);
                put_length(batch, keys.len());
                for key in keys {
                    put_bytes(batch, key);
                }
            }
            Self::Add { key, by } => {
                batch.put_u8(ADD);
                batch.put_i64_le(*by);
                put_bytes(batch, key);
            }
            Self::Append { key, value } => {
                batch.put_u8(APPEND);
                put_bytes(batch, key);
                put_bytes(batch, value);
            }
            Self::SetMany { pairs } => {
                batch.put_u8(SET_MANY);
                put_length(batch, pairs.len());
                for (key, value) in pairs {
                    put_bytes(batch, key);
                    put_bytes(batch, value);
                }
            }
            Self::Expire { key, in_ms, condition, unit } => {
                batch.put_u8(EXPIRE);
                encode_expire(batch, *in_ms, *condition, *unit);
                put_bytes(batch, key);
            }
            Self::Persist { key } => {
                batch.put_u8(PERSIST);
                put_bytes(batch, key);
            }
            Self::FlushAll => batch.put_u8(FLUSH_ALL),
        }
    }

    /// An upper bound of the bytes that [`encode`](Self::encode) adds, to reserve them at once.
    pub fn encoded_len_max(&self) -> usize {
        let fields = match self {
            Self::Set { key, value, .. } | Self::Append { key, value } => key.len() + value.len(),
            Self::Delete { keys } => keys.iter().map(|key| key.len() + LENGTH_MAX).sum(),
            Self::SetMany { pairs } => pairs.iter().map(|(key, value)| key.len() + value.len() + 2 * LENGTH_MAX).sum(),
            Self::Add { key, .. } | Self::Expire { key, .. } | Self::Persist { key } => key.len(),
            Self::FlushAll => 0,
        };
        fields + 2 * LENGTH_MAX + 16
    }

    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(match decoder.byte()? {
            SET => decode_set(decoder)?,
            DELETE => {
                let count = decoder.count()?;
                Self::Delete { keys: (0..count).map(|_| decoder.bytes()).collect::<Result<_, _>>()? }
            }
            ADD => Self::Add { by: decoder.i64()?, key: decoder.bytes()? },
            APPEND => Self::Append { key: decoder.bytes()?, value: decoder.bytes()? },
            SET_MANY => {
                let count = decoder.count()?;
                let pairs = (0..count).map(|_| Ok((decoder.bytes()?, decoder.bytes()?)));
                Self::SetMany { pairs: pairs.collect::<Result<_, DecodeError>>()? }
            }
            EXPIRE => decode_expire(decoder)?,
            PERSIST => Self::Persist { key: decoder.bytes()? },
            FLUSH_ALL => Self::FlushAll,
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

/// The writes of a batch, decoded one at a time.
#[derive(Debug)]
pub struct Batch<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Batch<'a> {
    /// Opens a batch.
    ///
    /// # Errors
    /// When the batch is of a version that this program does not know, or has none.
    pub fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        match decoder.byte()? {
            BATCH_VERSION => Ok(Self { decoder }),
            version => Err(DecodeError::Version(version)),
        }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Write<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.decoder.is_empty()).then(|| Write::decode(&mut self.decoder))
    }
}

fn encode_set(batch: &mut BytesMut, condition: SetCondition, expiry: Expiry, answer: SetAnswer) {
    let condition = match condition {
        SetCondition::Always => 0,
        SetCondition::Absent => 1,
        SetCondition::Present => 2,
    };
    let (kind, number) = match expiry {
        Expiry::Never => (0, None),
        Expiry::Keep => (1 << 2, None),
        Expiry::In(ms) => (2 << 2, Some(ms)),
    };
    batch.put_u8(condition | kind | if answer == SetAnswer::Old { 1 << 4 } else { 0 });
    if let Some(ms) = number {
        batch.put_i64_le(ms);
    }
}

fn decode_set<'a>(decoder: &mut Decoder<'a>) -> Result<Write<'a>, DecodeError> {
    let flags = decoder.byte()?;
    let condition = match flags & 0b11 {
        0 => SetCondition::Always,
        1 => SetCondition::Absent,
        2 => SetCondition::Present,
        _ => return Err(DecodeError::Flags(flags)),
    };
    let expiry = match flags >> 2 & 0b11 {
        0 => Expiry::Never,
        1 => Expiry::Keep,
        2 => Expiry::In(decoder.i64()?),
        _ => return Err(DecodeError::Flags(flags)),
    };
    let answer = match flags >> 4 {
        0 => SetAnswer::Outcome,
        1 => SetAnswer::Old,
        _ => return Err(DecodeError::Flags(flags)),
    };
    Ok(Write::Set { key: decoder.bytes()?, value: decoder.bytes()?, condition, expiry, answer })
}

fn encode_expire(batch: &mut BytesMut, in_ms: i64, condition: ExpireCondition, unit: Unit) {
    let ExpireCondition { absent, present, later, earlier } = condition;
    let flags = [absent, present, later, earlier, unit == Unit::Milliseconds];
    batch.put_u8(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    batch.put_i64_le(in_ms);
}

fn decode_expire<'a>(decoder: &mut Decoder<'a>) -> Result<Write<'a>, DecodeError> {
    let flags = decoder.byte()?;
    if flags >> 5 != 0 {
        return Err(DecodeError::Flags(flags));
    }
    let bit = |position: u8| flags >> position & 1 == 1;
    Ok(Write::Expire {
        in_ms: decoder.i64()?,
        condition: ExpireCondition { absent: bit(0), present: bit(1), later: bit(2), earlier: bit(3) },
        unit: if bit(4) { Unit::Milliseconds } else { Unit::Seconds },
        key: decoder.bytes()?,
    })
}

const SET: u8 = 1;
const DELETE: u8 = 2;
const ADD: u8 = 3;
const APPEND: u8 = 4;
const SET_MANY: u8 = 5;
const EXPIRE: u8 = 6;
const PERSIST: u8 = 7;
const FLUSH_ALL: u8 = 8;

/// Maximum bytes of a LEB128 length here.
const LENGTH_MAX: usize = 5;
