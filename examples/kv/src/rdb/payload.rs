//! One value, or all libraries of functions, as bytes of their own: the content, [`VERSION_WRITTEN`] as u16, and the
//! CRC-64 of all that.

use crate::store::{Record, Value};

use super::crc64::crc64;
use super::file::{FUNCTION, FUNCTION_BEFORE_RELEASE};
use super::source::Source;
use super::write::{put_record, put_text, put_value};
use super::{Content, Limits, RdbError, VERSION_READ_MAX, VERSION_WRITTEN, read};

/// The value of a record, as `DUMP` answers it.
pub fn dump(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_record(&mut bytes, record);
    with_checksum(bytes)
}

/// A value that is no string, as `DUMP` answers it.
pub fn dump_value(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_value(&mut bytes, value);
    with_checksum(bytes)
}

/// The value whose bytes `DUMP` answered, here or in Redis.
///
/// # Errors
/// When they are other bytes.
pub fn load(bytes: &[u8], limits: Limits) -> Result<Content, RdbError> {
    let content = covered(bytes)?;
    let mut source = Source::new(content, content.len() as u64, limits);
    let kind = source.byte()?;
    let value = read::content(&mut source, kind)?;
    if source.left() == 0 { Ok(value) } else { Err(source.malformed("the end of a value")) }
}

/// The bytes of a value without what stands behind it, its kind before it, as a file has them.
///
/// # Errors
/// When they are not whole.
pub fn value_of_dump(bytes: &[u8]) -> Result<&[u8], RdbError> {
    covered(bytes)
}

/// Libraries of functions by their texts, as `FUNCTION DUMP` answers them.
pub fn dump_functions<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for code in codes {
        bytes.push(FUNCTION);
        put_text(&mut bytes, code);
    }
    with_checksum(bytes)
}

/// The texts of the libraries that `FUNCTION DUMP` answered, here or in Redis.
///
/// # Errors
/// When they are other bytes.
pub fn load_functions(bytes: &[u8], limits: Limits) -> Result<Vec<Vec<u8>>, RdbError> {
    let content = covered(bytes)?;
    let mut source = Source::new(content, content.len() as u64, limits);
    let mut codes = Vec::new();
    while source.left() > 0 {
        let offset = source.offset();
        match source.byte()? {
            FUNCTION => codes.push(source.text()?),
            code @ FUNCTION_BEFORE_RELEASE => {
                return Err(RdbError::Unknown { offset, what: "form of functions", code });
            }
            _ => return Err(RdbError::Malformed { offset, what: NO_FUNCTION }),
        }
    }
    Ok(codes)
}

/// The bytes of a value as `DUMP` answers them: with the version and a checksum behind them.
pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    let sum = crc64(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The content of bytes that are whole.
fn covered(bytes: &[u8]) -> Result<&[u8], RdbError> {
    let too_short = || RdbError::TooShort(bytes.len() as u64);
    let (covered, sum) = bytes.split_last_chunk().ok_or_else(too_short)?;
    let (content, version) = covered.split_last_chunk().ok_or_else(too_short)?;
    let (version, found, computed) = (u16::from_le_bytes(*version), u64::from_le_bytes(*sum), crc64(0, covered));
    if version > VERSION_READ_MAX {
        return Err(RdbError::Version(version));
    }
    if found == computed { Ok(content) } else { Err(RdbError::Checksum { found, computed }) }
}

/// What is malformed if the bytes are of another kind than libraries of functions.
pub const NO_FUNCTION: &str = "a library of functions";
