//! Replies to values of scripts, and back.

use mlua::{Lua, Table, Value};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use crate::resp::{Encoder, Reply};

use super::Done;

/// The value of an encoded reply, as Redis converts it for scripts.
pub(super) fn read(lua: &Lua, encoded: &[u8]) -> mlua::Result<Value> {
    let decoded = decode(encoded).ok().flatten();
    let (frame, _) = decoded.ok_or_else(|| mlua::Error::RuntimeError("a reply is unreadable".to_owned()))?;
    value(lua, &frame)
}

fn value(lua: &Lua, frame: &OwnedFrame) -> mlua::Result<Value> {
    let named = |name: &str, text: &[u8]| {
        let table = lua.create_table()?;
        table.set(name, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    };
    match frame {
        OwnedFrame::SimpleString(text) => named("ok", text),
        OwnedFrame::Error(text) => named("err", text.as_bytes()),
        // Numbers of Lua 5.1 have 53 bits, as in Redis.
        #[allow(clippy::cast_precision_loss)]
        OwnedFrame::Integer(number) => Ok(Value::Number(*number as f64)),
        OwnedFrame::BulkString(bytes) => lua.create_string(bytes).map(Value::String),
        OwnedFrame::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (place, item) in items.iter().enumerate() {
                table.raw_set(place + 1, value(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
        OwnedFrame::Null => Ok(Value::Boolean(false)),
    }
}

/// Writes a script's result as a reply.
pub(super) fn put(value: &Value, out: &mut Encoder<'_>, depth: usize) -> Done {
    if depth > DEPTH_MAX {
        return Err(Reply::error("ERR reached lua stack limit"));
    }
    match value {
        #[allow(clippy::cast_possible_truncation)]
        Value::Number(number) => out.integer(*number as i64),
        Value::Integer(number) => out.integer(*number),
        Value::String(text) => out.bulk(&text.as_bytes()),
        Value::Boolean(true) => out.integer(1),
        Value::Table(table) => put_table(table, out, depth)?,
        _ => out.null(),
    }
    out.check_size()
}

fn put_table(table: &Table, out: &mut Encoder<'_>, depth: usize) -> Done {
    let text = |name: &str| match table.raw_get(name) {
        Ok(Value::String(text)) => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    if let Some(error) = text("err") {
        out.error(&error);
        return Ok(());
    }
    if let Some(status) = text("ok") {
        out.status_bytes(&status);
        return Ok(());
    }
    let items = (1..).map(|place: usize| table.raw_get::<Value>(place).unwrap_or(Value::Nil));
    let items: Vec<Value> = items.take_while(|item| !matches!(item, Value::Nil)).collect();
    out.array(items.len());
    items.iter().try_for_each(|item| put(item, out, depth + 1))
}

/// Maximum depth of tables within tables in a reply.
const DEPTH_MAX: usize = 64;
