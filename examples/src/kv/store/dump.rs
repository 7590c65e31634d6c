//! One value as bytes of its own, for `DUMP` and `RESTORE`.
//!
//! Layout: a kind byte, the content, [`REDIS_VERSION`] as u16, and a CRC-64 of all that as u64; numbers are
//! little-endian. A string is of kind 0 and has the form that Redis gives it, so that strings go from one server to the
//! other in both directions. Another value has [`KIND_BASE`] added to its kind in snapshots, then [`FORMAT_VERSION`],
//! and the content as in snapshots.

use super::record::{Head, Record};
use super::snapshot::{kind, read_value, write_value};
use super::{Store, VALUE_BYTES_MAX};

/// Reason why bytes are not restored. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A newer program wrote them, or they were changed afterwards.
    #[error("ERR DUMP payload version or checksum are wrong")]
    Checksum,
    /// They are no value that this program knows.
    #[error("ERR Bad data format")]
    Malformed,
}

/// The value of a record.
pub(super) fn dump(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(text) = record.as_text() {
        bytes.push(REDIS_STRING);
        put_length(&mut bytes, text.len());
        bytes.extend_from_slice(text);
    } else {
        bytes.extend_from_slice(&[KIND_BASE + kind(record), FORMAT_VERSION]);
        write_value(&mut bytes, record).expect("memory takes all that is written");
    }
    bytes.extend_from_slice(&REDIS_VERSION.to_le_bytes());
    let sum = crc64(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The record of a value.
pub(super) fn load(store: &mut Store, bytes: &[u8], head: Head<'_>) -> Result<Record, LoadError> {
    let (covered, sum) = bytes.split_last_chunk().ok_or(LoadError::Checksum)?;
    let (content, version) = covered.split_last_chunk().ok_or(LoadError::Checksum)?;
    if u16::from_le_bytes(*version) > REDIS_VERSION || crc64(covered) != u64::from_le_bytes(*sum) {
        return Err(LoadError::Checksum);
    }
    match content {
        [REDIS_STRING, content @ ..] => {
            let text = redis_string(content).filter(|text| text.len() <= VALUE_BYTES_MAX);
            Ok(Record::text(&mut store.scratch, head, &[&text.ok_or(LoadError::Malformed)?]))
        }
        [kind, FORMAT_VERSION, rest @ ..] => {
            let mut rest = rest;
            let kind = kind.checked_sub(KIND_BASE).ok_or(LoadError::Malformed)?;
            let value = read_value(&mut rest, kind).map_err(|_| LoadError::Malformed)?;
            if rest.is_empty() { Ok(Record::object(head, value)) } else { Err(LoadError::Malformed) }
        }
        _ => Err(LoadError::Malformed),
    }
}

/// Appends a length as Redis writes it.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a string is bounded");
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..0x40 => bytes.push(low),
        0x40..0x4000 => bytes.extend_from_slice(&[0x40 | high, low]),
        _ => {
            bytes.push(0x80);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// A length as Redis writes it, and the rest.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = match bytes {
        [first @ 0..0x40, rest @ ..] => (u32::from(*first), rest),
        [first @ 0x40..0x80, second, rest @ ..] => (u32::from_be_bytes([0, 0, first & 0x3f, *second]), rest),
        [0x80, a, b, c, d, rest @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]), rest),
        _ => return None,
    };
    Some((usize::try_from(length).ok()?, rest))
}

/// A string in any of Redis's forms: as it is, as a number, or compressed.
fn redis_string(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes {
        [0xc0, byte] => Some(i8::from_le_bytes([*byte]).to_string().into_bytes()),
        [0xc1, a, b] => Some(i16::from_le_bytes([*a, *b]).to_string().into_bytes()),
        [0xc2, a, b, c, d] => Some(i32::from_le_bytes([*a, *b, *c, *d]).to_string().into_bytes()),
        [0xc3, rest @ ..] => {
            let (packed, rest) = length(rest)?;
            let (whole, rest) = length(rest)?;
            let fits = rest.len() == packed && whole <= VALUE_BYTES_MAX;
            unpack(rest, fits.then_some(whole)?)
        }
        bytes => {
            let (length, rest) = length(bytes)?;
            (rest.len() == length).then(|| rest.to_vec())
        }
    }
}

/// What was compressed by `LibLZF`, which has this length.
fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((control, after)) = rest.split_first() {
        let control = usize::from(*control);
        if control < 32 {
            let (plain, after) = after.split_at_checked(control + 1)?;
            bytes.extend_from_slice(plain);
            rest = after;
        } else {
            let (more, after) = if control >> 5 == 7 { after.split_first()? } else { (&0, after) };
            let (low, after) = after.split_first()?;
            let count = (control >> 5) + usize::from(*more) + 2;
            let from = bytes.len().checked_sub(((control & 31) << 8) + usize::from(*low) + 1)?;
            // It may reach into what it appends.
            for at in from..from + count {
                bytes.push(bytes[at]);
            }
            rest = after;
        }
        if bytes.len() > length {
            return None;
        }
    }
    (bytes.len() == length).then_some(bytes)
}

/// The CRC-64 of Jones, which Redis uses.
fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ sum >> 8)
}

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

/// The polynomial with its bits in reverse order.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
/// The version of the form of strings: that of Redis 7.0.
const REDIS_VERSION: u16 = 10;
/// The version of the form of other values that this program writes, and the only one that it reads.
const FORMAT_VERSION: u8 = 1;
const REDIS_STRING: u8 = 0;
/// Redis knows no kind of this number or above.
const KIND_BASE: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn strings_in_all_forms_of_redis_are_read() {
        let long = b"\xc3\x09\x41\x2c\x01aa\xe0\xff\x00\xe0\x19\x00";
        for (bytes, expected) in [
            (&b"\x05hello"[..], Some("hello".to_owned())),
            (b"\xc0\xff", Some("-1".to_owned())),
            (b"\xc1\x39\x30", Some("12345".to_owned())),
            (b"\xc2\x40\xe2\x01\x00", Some("123456".to_owned())),
            (b"\xc3\x0a\x41\x2c\x01aa\xe0\xff\x00\xe0\x19\x00", None),
            (&long[..], Some("a".repeat(300))),
            (b"\x05hell", None),
            (b"\xc4", None),
            (b"\xc3\x02\x05\x20\x00", None),
            (b"", None),
        ] {
            assert_eq!(redis_string(bytes), expected.map(String::into_bytes), "{bytes:?}");
        }
    }
}
