//! Values in the forms that are written.

use crate::store::{Hash, Record, Set, Value, parse_integer};

use super::source::{LONG, LONGER};
use super::{kind, stream};

/// Appends a record's value, its kind before it.
pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) {
    match record.as_value() {
        None => {
            out.push(kind::STRING);
            put_text(out, record.as_text().unwrap_or_default());
        }
        Some(value) => put_value(out, value),
    }
}

/// Appends a value that is no string, its kind before it.
pub(super) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::List(list) => {
            out.push(kind::LIST);
            put_count(out, list.len());
            list.iter_from(0).for_each(|item| put_text(out, item));
        }
        Value::Set(Set(members)) => {
            out.push(kind::SET);
            put_count(out, members.len());
            members.iter().for_each(|(member, _)| put_text(out, member));
        }
        Value::Hash(Hash(members)) => {
            out.push(kind::HASH);
            put_count(out, members.len());
            members.iter().flat_map(|(field, value)| [field, value]).for_each(|text| put_text(out, text));
        }
        Value::SortedSet(set) => {
            out.push(kind::SORTED_SET_2);
            put_count(out, set.len());
            for (score, member) in set.iter_from(0) {
                put_text(out, member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Stream(stream) => {
            out.push(kind::STREAM_2);
            stream::write(out, stream);
        }
    }
}

/// Appends a string, as a number if it is a short one.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let number = if text.len() <= NUMBER_BYTES_MAX { parse_integer(text) } else { None };
    let Some(number) = number.and_then(|number| i32::try_from(number).ok()) else {
        put_count(out, text.len());
        out.extend_from_slice(text);
        return;
    };
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[0xc0, number.to_le_bytes()[0]]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        out.push(0xc2);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a number of bytes or items.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    put_length(out, count as u64);
}

/// Appends a length or another number without sign.
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length.to_be_bytes() {
        [0, 0, 0, 0, 0, 0, 0, low @ 0..0x40] => out.push(low),
        [0, 0, 0, 0, 0, 0, high @ 0..0x40, low] => out.extend_from_slice(&[0x40 | high, low]),
        [0, 0, 0, 0, low @ ..] => {
            out.push(LONG);
            out.extend_from_slice(&low);
        }
        bytes => {
            out.push(LONGER);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Maximum bytes of a string that is looked at as a number.
const NUMBER_BYTES_MAX: usize = 11;
