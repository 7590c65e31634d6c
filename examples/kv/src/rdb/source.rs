//! Bytes that are read from front to back: lengths, numbers and strings.

use std::io::Read;

use super::RdbError;
use super::crc64::crc64;
use super::lzf;

/// Bounds of what is kept in memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum bytes of a string: a key, a string value, or an item of another value.
    pub text_bytes_max: u64,
    /// Maximum bytes of all strings of one value.
    pub value_bytes_max: u64,
}

/// Bytes with their offset, their sum, and a bound on what they can still hold.
#[derive(Debug)]
pub(super) struct Source<R> {
    reader: R,
    offset: u64,
    end: u64,
    sum: u64,
    limits: Limits,
    /// Bytes of strings that the present value may still have.
    budget: u64,
}

/// A length, or the form of a string that is not kept as it is.
pub(super) enum Length {
    Bytes(u64),
    Form(u8),
}

impl<R: Read> Source<R> {
    /// The next `length` bytes of a reader.
    pub(super) fn new(reader: R, length: u64, limits: Limits) -> Self {
        Self { reader, offset: 0, end: length, sum: 0, limits, budget: limits.value_bytes_max }
    }

    /// Number of bytes that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes that were not read yet.
    pub(super) fn left(&self) -> u64 {
        self.end - self.offset
    }

    /// The sum of the bytes that were read.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// Begins a value, which may hold as many bytes as any.
    pub(super) fn begin_value(&mut self) {
        self.budget = self.limits.value_bytes_max;
    }

    pub(super) fn malformed(&self, what: &'static str) -> RdbError {
        RdbError::Malformed { offset: self.offset, what }
    }

    /// Some bytes, as they are.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>, RdbError> {
        if count > self.left() {
            return Err(RdbError::Truncated { offset: self.offset, wanted: count - self.left() });
        }
        let too_long = |_| RdbError::TooLong { offset: self.offset, bytes: count, max: usize::MAX as u64 };
        let mut bytes = vec![0; usize::try_from(count).map_err(too_long)?];
        self.reader.read_exact(&mut bytes).map_err(|error| RdbError::Io { offset: self.offset, error })?;
        self.sum = crc64(self.sum, &bytes);
        self.offset += count;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let missing = (N as u64).saturating_sub(self.left());
        if missing > 0 {
            return Err(RdbError::Truncated { offset: self.offset, wanted: missing });
        }
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(|error| RdbError::Io { offset: self.offset, error })?;
        self.sum = crc64(self.sum, &bytes);
        self.offset += N as u64;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        self.array().map(|[byte]| byte)
    }

    /// A length, or the form of a string.
    fn length_or_form(&mut self) -> Result<Length, RdbError> {
        let at = self.offset;
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Bytes(u64::from(first)),
            1 => Length::Bytes(u64::from(u16::from_be_bytes([first & 0x3f, self.byte()?]))),
            3 => Length::Form(first & 0x3f),
            _ if first == LONG => Length::Bytes(u64::from(u32::from_be_bytes(self.array()?))),
            _ if first == LONGER => Length::Bytes(u64::from_be_bytes(self.array()?)),
            _ => return Err(RdbError::Malformed { offset: at, what: "a length" }),
        })
    }

    /// A length or another number without sign.
    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        let at = self.offset;
        match self.length_or_form()? {
            Length::Bytes(length) => Ok(length),
            Length::Form(_) => Err(RdbError::Malformed { offset: at, what: "a length" }),
        }
    }

    /// The number of items that follow, of which each takes up some bytes.
    pub(super) fn count(&mut self, bytes_an_item: u64) -> Result<u64, RdbError> {
        let count = self.length()?;
        let needed = count.saturating_mul(bytes_an_item);
        if needed > self.left() {
            return Err(RdbError::Truncated { offset: self.offset, wanted: needed - self.left() });
        }
        Ok(count)
    }

    /// A string: a key, a string value, or an item.
    pub(super) fn text(&mut self) -> Result<Vec<u8>, RdbError> {
        let max = self.limits.text_bytes_max;
        self.string(max)
    }

    /// A string that holds several items.
    pub(super) fn packed(&mut self) -> Result<Vec<u8>, RdbError> {
        self.string(u64::MAX)
    }

    /// A string in any form: as it is, as a number, or compressed.
    fn string(&mut self, max: u64) -> Result<Vec<u8>, RdbError> {
        let at = self.offset;
        match self.length_or_form()? {
            Length::Bytes(length) => {
                self.check(at, length, max)?;
                self.take(length)
            }
            Length::Form(0) => Ok(i8::from_le_bytes(self.array()?).to_string().into_bytes()),
            Length::Form(1) => Ok(i16::from_le_bytes(self.array()?).to_string().into_bytes()),
            Length::Form(2) => Ok(i32::from_le_bytes(self.array()?).to_string().into_bytes()),
            Length::Form(3) => {
                let (packed, whole) = (self.length()?, self.length()?);
                let malformed = RdbError::Malformed { offset: at, what: "a compressed string" };
                if !lzf::is_possible(packed, whole) {
                    return Err(malformed);
                }
                self.check(at, whole, max)?;
                let packed = self.take(packed)?;
                let whole = usize::try_from(whole).ok();
                whole.and_then(|whole| lzf::unpack(&packed, whole)).ok_or(malformed)
            }
            Length::Form(code) => Err(RdbError::Unknown { offset: at, what: "form of a string", code }),
        }
    }

    /// Checks an item that was part of a packed string.
    pub(super) fn check_text(&self, offset: u64, text: &[u8]) -> Result<(), RdbError> {
        self.check_texts(offset, &[text], 1)
    }

    /// Checks items that belong together, and are as long as `texts_max` of the longest at most.
    pub(super) fn check_texts(&self, offset: u64, texts: &[&[u8]], texts_max: u64) -> Result<(), RdbError> {
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        let max = self.limits.text_bytes_max.saturating_mul(texts_max);
        if bytes > max { Err(RdbError::TooLong { offset, bytes, max }) } else { Ok(()) }
    }

    fn check(&mut self, offset: u64, bytes: u64, max: u64) -> Result<(), RdbError> {
        let max = max.min(self.budget);
        self.budget = self.budget.saturating_sub(bytes);
        if bytes > max { Err(RdbError::TooLong { offset, bytes, max }) } else { Ok(()) }
    }
}

/// Begins a length of four bytes.
pub(super) const LONG: u8 = 0x80;
/// Begins a length of eight bytes.
pub(super) const LONGER: u8 = 0x81;
