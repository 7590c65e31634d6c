//! `cjson`: JSON for scripts.

use mlua::{Lua, Table, Value};

/// The value of a text.
pub(super) fn decode(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    let parsed: serde_json::Value = serde_json::from_slice(text)
        .map_err(|error| mlua::Error::RuntimeError(format!("Expected value but found invalid token: {error}")))?;
    from_json(lua, &parsed)
}

fn from_json(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    Ok(match value {
        serde_json::Value::Null => Value::NULL,
        serde_json::Value::Bool(flag) => Value::Boolean(*flag),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::INFINITY)),
        serde_json::Value::String(text) => Value::String(lua.create_string(text)?),
        serde_json::Value::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (place, item) in items.iter().enumerate() {
                table.raw_set(place + 1, from_json(lua, item)?)?;
            }
            Value::Table(table)
        }
        serde_json::Value::Object(fields) => {
            let table = lua.create_table_with_capacity(0, fields.len())?;
            for (name, field) in fields {
                table.raw_set(name.as_str(), from_json(lua, field)?)?;
            }
            Value::Table(table)
        }
    })
}

/// The text of a value. Bytes that are no UTF-8 stay as they are.
pub(super) fn encode(value: &Value) -> mlua::Result<Vec<u8>> {
    let mut text = Vec::new();
    put(value, &mut text, 0)?;
    Ok(text)
}

fn put(value: &Value, text: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    let refused = |what: &str| Err(mlua::Error::RuntimeError(format!("Cannot serialise {what}")));
    if depth > DEPTH_MAX {
        return refused("excessively nested");
    }
    // A table may stand in many places, so the text may be much longer than all tables together.
    if text.len() > TEXT_BYTES_MAX {
        return refused("a text of more than 16 MiB");
    }
    match value {
        Value::Nil => text.extend_from_slice(b"null"),
        value if value.is_null() => text.extend_from_slice(b"null"),
        Value::Boolean(flag) => text.extend_from_slice(flag.to_string().as_bytes()),
        Value::Integer(number) => text.extend_from_slice(number.to_string().as_bytes()),
        Value::Number(number) if !number.is_finite() => return refused("number: must not be NaN or Inf"),
        Value::Number(number) => text.extend_from_slice(crate::store::format_number(*number, 14).as_bytes()),
        Value::String(string) => put_string(&string.as_bytes(), text),
        Value::Table(table) => put_table(table, text, depth)?,
        _ => return refused(&format!("{}: type not supported", value.type_name())),
    }
    Ok(())
}

fn put_table(table: &Table, text: &mut Vec<u8>, depth: usize) -> mlua::Result<()> {
    let length = table.raw_len();
    if length > 0 {
        text.push(b'[');
        for place in 1..=length {
            if place > 1 {
                text.push(b',');
            }
            put(&table.raw_get(place)?, text, depth + 1)?;
        }
        text.push(b']');
        return Ok(());
    }
    text.push(b'{');
    let start = text.len();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        if text.len() > start {
            text.push(b',');
        }
        match &name {
            Value::String(name) => put_string(&name.as_bytes(), text),
            Value::Number(number) => put_string(crate::store::format_number(*number, 14).as_bytes(), text),
            Value::Integer(number) => put_string(number.to_string().as_bytes(), text),
            _ => {
                let text = "Cannot serialise table: table key must be a number or string".to_owned();
                return Err(mlua::Error::RuntimeError(text));
            }
        }
        text.push(b':');
        put(&value, text, depth + 1)?;
    }
    text.push(b'}');
    Ok(())
}

fn put_string(string: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in string {
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'/' => text.extend_from_slice(b"\\/"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0x08 => text.extend_from_slice(b"\\b"),
            0x0c => text.extend_from_slice(b"\\f"),
            0..=0x1f | 0x7f => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => text.push(*byte),
        }
    }
    text.push(b'"');
}

/// Maximum bytes of a text, but for its last value.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Maximum depth of tables within tables.
const DEPTH_MAX: usize = 1000;
