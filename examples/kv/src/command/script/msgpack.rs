//! `cmsgpack`: MessagePack for scripts, as the library of that name in Redis 7.0 writes and reads it.

use mlua::{Lua, MultiValue, Table, Value};
use rmp::Marker;
use rmp::decode::{self, RmpRead as _};
use rmp::encode;

use super::libraries::Refusal;

/// The bytes of values, one behind the other. What has no form, such as a function, becomes nil.
pub(super) fn pack(values: &MultiValue) -> mlua::Result<Vec<u8>> {
    if values.is_empty() {
        return Err(Refusal::Argument(0, "MessagePack pack needs input.".to_owned()).into());
    }
    let mut bytes = Vec::new();
    for value in values {
        put(value, &mut bytes, 0)?;
    }
    Ok(bytes)
}

fn put(value: &Value, bytes: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    // A table may stand in many places, so the bytes may be many more than all tables together.
    if bytes.len() > BYTES_MAX {
        return Err(Refusal::Text("cmsgpack makes at most 16 MiB".to_owned()).into());
    }
    match value {
        Value::Boolean(flag) => encode::write_bool(bytes, *flag).expect(WRITTEN),
        Value::Integer(number) => drop(encode::write_sint(bytes, *number).expect(WRITTEN)),
        Value::Number(number) => put_number(*number, bytes),
        Value::String(text) => {
            let text = text.as_bytes();
            encode::write_str_len(bytes, length(text.len())).expect(WRITTEN);
            bytes.extend_from_slice(&text);
        }
        Value::Table(table) if depth < DEPTH_MAX => return put_table(table, bytes, depth),
        _ => encode::write_nil(bytes).expect(WRITTEN),
    }
    Ok(())
}

/// A number without a fraction is an integer, another one takes four bytes if they hold all of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::float_cmp)]
fn put_number(number: f64, bytes: &mut Vec<u8>) {
    let (whole, short) = (number as i64, number as f32);
    if whole as f64 == number && whole != i64::MAX {
        encode::write_sint(bytes, whole).expect(WRITTEN);
    } else if f64::from(short) == number {
        encode::write_f32(bytes, short).expect(WRITTEN);
    } else if number.is_nan() {
        // Its sign differs between processors.
        encode::write_f64(bytes, -f64::NAN.abs()).expect(WRITTEN);
    } else {
        encode::write_f64(bytes, number).expect(WRITTEN);
    }
}

fn put_table(table: &Table, bytes: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    let mut pairs = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        pairs.push(pair?);
    }
    if is_array(&pairs) {
        encode::write_array_len(bytes, length(pairs.len())).expect(WRITTEN);
        for place in 1..=pairs.len() {
            put(&table.raw_get(place)?, bytes, depth + 1)?;
        }
        return Ok(());
    }
    encode::write_map_len(bytes, length(pairs.len())).expect(WRITTEN);
    for value in pairs.iter().flat_map(|(name, value)| [name, value]) {
        put(value, bytes, depth + 1)?;
    }
    Ok(())
}

/// Are the names the numbers from one to their count?
#[allow(clippy::cast_precision_loss)]
fn is_array(pairs: &[(Value, Value)]) -> bool {
    let is_place = |name: &Value| match name {
        Value::Integer(number) => usize::try_from(*number).is_ok_and(|place| (1..=pairs.len()).contains(&place)),
        Value::Number(number) => number.fract() == 0.0 && *number >= 1.0 && *number <= pairs.len() as f64,
        _ => false,
    };
    pairs.iter().all(|(name, _)| is_place(name))
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a script has less memory")
}

/// The values of a text from an offset on, at most so many. With an offset or a number they follow the place at which
/// the next one begins, or -1 at the end.
pub(super) fn unpack(lua: &Lua, text: &[u8], offset: i64, limit: i64) -> mlua::Result<MultiValue> {
    let refused = |text: String| Err(Refusal::Text(text).into());
    let (Ok(start), Ok(limit)) = (usize::try_from(offset), usize::try_from(limit)) else {
        return refused(format!("Invalid request to unpack with offset of {offset} and limit of {}.", text.len()));
    };
    let Some(mut rest) = text.get(start..) else {
        return refused(format!("Start offset {start} greater than input length {}.", text.len()));
    };
    let mut values = Vec::new();
    while !rest.is_empty() && (limit == 0 || values.len() < limit) {
        if values.len() == VALUES_MAX {
            return refused("too many return values at once".to_owned());
        }
        values.push(take(lua, &mut rest, 0)?);
    }
    if offset != 0 || limit != 0 {
        let place = if rest.is_empty() { -1 } else { i64::try_from(text.len() - rest.len()).expect("below 64 MiB") };
        values.insert(0, Value::Integer(place));
    }
    Ok(MultiValue::from_vec(values))
}

fn missing() -> Refusal {
    Refusal::Text("Missing bytes in input.".to_owned())
}

/// Takes the value at the beginning of bytes.
fn take(lua: &Lua, bytes: &mut &[u8], depth: usize) -> mlua::Result<Value> {
    if depth > DEPTH_OF_INPUT_MAX {
        return Err(Refusal::Text("stack overflow (excessively nested MessagePack)".to_owned()).into());
    }
    let marker = decode::read_marker(bytes).map_err(|_| missing())?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)]
    let value = match marker {
        Marker::Null => Value::Nil,
        Marker::True => Value::Boolean(true),
        Marker::False => Value::Boolean(false),
        Marker::FixPos(number) => Value::Number(f64::from(number)),
        Marker::FixNeg(number) => Value::Number(f64::from(number)),
        Marker::U8 => Value::Number(f64::from(bytes.read_data_u8().map_err(|_| missing())?)),
        Marker::U16 => Value::Number(f64::from(bytes.read_data_u16().map_err(|_| missing())?)),
        Marker::U32 => Value::Number(f64::from(bytes.read_data_u32().map_err(|_| missing())?)),
        // The library takes the upper half for negative.
        Marker::U64 => Value::Number(bytes.read_data_u64().map_err(|_| missing())? as i64 as f64),
        Marker::I8 => Value::Number(f64::from(bytes.read_data_i8().map_err(|_| missing())?)),
        Marker::I16 => Value::Number(f64::from(bytes.read_data_i16().map_err(|_| missing())?)),
        Marker::I32 => Value::Number(f64::from(bytes.read_data_i32().map_err(|_| missing())?)),
        Marker::I64 => Value::Number(bytes.read_data_i64().map_err(|_| missing())? as f64),
        Marker::F32 => Value::Number(f64::from(bytes.read_data_f32().map_err(|_| missing())?)),
        Marker::F64 => Value::Number(bytes.read_data_f64().map_err(|_| missing())?),
        Marker::FixStr(length) => return take_text(lua, bytes, length.into()),
        Marker::Str8 => {
            let length = bytes.read_data_u8().map_err(|_| missing())?;
            return take_text(lua, bytes, length.into());
        }
        Marker::Str16 => {
            let length = bytes.read_data_u16().map_err(|_| missing())?;
            return take_text(lua, bytes, length.into());
        }
        Marker::Str32 => {
            let length = bytes.read_data_u32().map_err(|_| missing())?;
            return take_text(lua, bytes, length);
        }
        Marker::FixArray(length) => return take_array(lua, bytes, length.into(), depth),
        Marker::Array16 => {
            let length = bytes.read_data_u16().map_err(|_| missing())?;
            return take_array(lua, bytes, length.into(), depth);
        }
        Marker::Array32 => {
            let length = bytes.read_data_u32().map_err(|_| missing())?;
            return take_array(lua, bytes, length, depth);
        }
        Marker::FixMap(length) => return take_map(lua, bytes, length.into(), depth),
        Marker::Map16 => {
            let length = bytes.read_data_u16().map_err(|_| missing())?;
            return take_map(lua, bytes, length.into(), depth);
        }
        Marker::Map32 => {
            let length = bytes.read_data_u32().map_err(|_| missing())?;
            return take_map(lua, bytes, length, depth);
        }
        _ => return Err(Refusal::Text("Bad data format in input.".to_owned()).into()),
    };
    Ok(value)
}

fn take_text(lua: &Lua, bytes: &mut &[u8], length: u32) -> mlua::Result<Value> {
    match bytes.split_at_checked(length as usize) {
        Some((text, rest)) => {
            *bytes = rest;
            Ok(Value::String(lua.create_string(text)?))
        }
        None => Err(missing().into()),
    }
}

// No memory is reserved for a length that is only said.
fn take_array(lua: &Lua, bytes: &mut &[u8], length: u32, depth: usize) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for place in 1..=length {
        table.raw_set(place, take(lua, bytes, depth + 1)?)?;
    }
    Ok(Value::Table(table))
}

fn take_map(lua: &Lua, bytes: &mut &[u8], length: u32, depth: usize) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for _ in 0..length {
        let (name, value) = (take(lua, bytes, depth + 1)?, take(lua, bytes, depth + 1)?);
        match &name {
            Value::Nil => return Err(Refusal::Text("table index is nil".to_owned()).into()),
            Value::Number(number) if number.is_nan() => {
                return Err(Refusal::Text("table index is NaN".to_owned()).into());
            }
            _ => table.raw_set(name, value)?,
        }
    }
    Ok(Value::Table(table))
}

const WRITTEN: &str = "memory takes everything";
/// Maximum bytes that are made, but for the last value.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Depth from which on a table becomes nil, as in the library.
const DEPTH_MAX: usize = 16;
/// Maximum depth of tables that are read.
const DEPTH_OF_INPUT_MAX: usize = 1000;
/// Maximum number of values that a function returns.
const VALUES_MAX: usize = 7_000;
