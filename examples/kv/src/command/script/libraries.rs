//! The libraries that Redis gives to scripts beside its own: `cjson`, `cmsgpack`, `struct` and `bit`.

use std::rc::Rc;

use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value};

use super::{Steps, bits, json, msgpack, records, spend};

/// Reason why a function of a library refuses what it was given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// In its own words.
    #[error("{0}")]
    Text(String),
    /// An argument, by its place.
    #[error("bad argument #{0} ({1})")]
    Argument(usize, String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::external(refusal)
    }
}

/// A refusal with the place of the call, as a script sees it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LibraryError(pub(super) String);

/// Adds the functions to the table from which the prelude takes them.
pub(super) fn add(lua: &Lua, host: &Table, steps: &Steps) -> mlua::Result<()> {
    host.set("decode", lua.create_function(|lua, text: LuaString| json::decode(lua, &text.as_bytes()))?)?;
    let spent = Rc::clone(steps);
    let encode = move |lua: &Lua, value: Value| {
        let text = json::encode(&value)?;
        spend(lua, &spent, text.len() as u64)?;
        lua.create_string(text)
    };
    host.set("encode", lua.create_function(encode)?)?;
    host.set("null", Value::NULL)?;
    host.set("msgpack", packs(lua, steps)?)?;
    host.set("struct", structs(lua, steps)?)?;
    host.set("bit", operations(lua)?)
}

fn packs(lua: &Lua, steps: &Steps) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let spent = Rc::clone(steps);
    let pack = function(lua, "pack", move |lua, values| {
        let bytes = msgpack::pack(&values)?;
        spend(lua, &spent, bytes.len() as u64)?;
        one(Value::String(lua.create_string(bytes)?))
    })?;
    table.set("pack", pack)?;
    for (name, takes) in [("unpack", 1), ("unpack_one", 2), ("unpack_limit", 3)] {
        let spent = Rc::clone(steps);
        let unpack = move |lua: &Lua, arguments: MultiValue| {
            let text = text(lua, &arguments, 1)?;
            let text = text.as_bytes();
            let (limit, offset) = match takes {
                1 => (0, 0),
                2 => (1, number_or(lua, &arguments, 2, 0)?),
                _ => (number(lua, &arguments, 2)?, number_or(lua, &arguments, 3, 0)?),
            };
            spend(lua, &spent, 2 * text.len() as u64)?;
            msgpack::unpack(lua, &text, offset, limit)
        };
        table.set(name, function(lua, name, unpack)?)?;
    }
    table.set("_NAME", "cmsgpack")?;
    table.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    Ok(table)
}

fn structs(lua: &Lua, steps: &Steps) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let spent = Rc::clone(steps);
    let pack = function(lua, "pack", move |lua, mut arguments| {
        let format = text(lua, &arguments, 1)?;
        arguments.pop_front();
        let bytes = records::pack(lua, &format.as_bytes(), &arguments)?;
        spend(lua, &spent, (bytes.len() + format.as_bytes().len()) as u64)?;
        one(Value::String(lua.create_string(bytes)?))
    })?;
    table.set("pack", pack)?;
    let spent = Rc::clone(steps);
    let unpack = function(lua, "unpack", move |lua, arguments| {
        let (format, bytes) = (text(lua, &arguments, 1)?, text(lua, &arguments, 2)?);
        let start = number_or(lua, &arguments, 3, 1)?;
        spend(lua, &spent, (format.as_bytes().len() + bytes.as_bytes().len()) as u64)?;
        records::unpack(lua, &format.as_bytes(), &bytes.as_bytes(), start)
    })?;
    table.set("unpack", unpack)?;
    let size = function(lua, "size", |lua, arguments| {
        let size = records::size(&text(lua, &arguments, 1)?.as_bytes())?;
        one(Value::Integer(i64::try_from(size).unwrap_or(i64::MAX)))
    })?;
    table.set("size", size)?;
    Ok(table)
}

fn operations(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for name in bits::OPERATIONS {
        let compute = move |lua: &Lua, arguments: MultiValue| {
            let numbers = (1..=arguments.len().max(1)).map(|place| float(lua, &arguments, place));
            let numbers = numbers.collect::<mlua::Result<Vec<_>>>()?;
            one(Value::Number(bits::compute(name, &numbers)?))
        };
        table.set(name, function(lua, name, compute)?)?;
    }
    let hex = function(lua, "tohex", |lua, arguments| {
        let digits = if arguments.len() < 2 { 8.0 } else { float(lua, &arguments, 2)? };
        one(Value::String(lua.create_string(bits::hex(float(lua, &arguments, 1)?, digits))?))
    })?;
    table.set("tohex", hex)?;
    Ok(table)
}

fn one(value: Value) -> mlua::Result<MultiValue> {
    Ok(MultiValue::from_vec(vec![value]))
}

/// A function whose refusals bear the place of the call, and its name where the caller knows it.
fn function(
    lua: &Lua,
    name: &'static str,
    work: impl Fn(&Lua, MultiValue) -> mlua::Result<MultiValue> + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, arguments| work(lua, arguments).map_err(|error| located(lua, name, error)))
}

fn located(lua: &Lua, name: &str, error: Error) -> Error {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return error;
    };
    let caller = lua.inspect_stack(1, |debug| {
        let source = debug.source().short_src.filter(|source| source.starts_with("user_"))?;
        Some(format!("{source}:{}: ", debug.current_line()?))
    });
    let caller = caller.flatten();
    let name = if caller.is_some() { name } else { "?" };
    let text = match refusal {
        Refusal::Text(text) => text.clone(),
        Refusal::Argument(place, text) => format!("bad argument #{place} to '{name}' ({text})"),
    };
    Error::external(LibraryError(caller.unwrap_or_default() + &text))
}

fn text(lua: &Lua, arguments: &MultiValue, place: usize) -> mlua::Result<LuaString> {
    let value = arguments.get(place - 1).cloned().unwrap_or(Value::Nil);
    let refused = refused(arguments, place, "string");
    Ok(lua.coerce_string(value)?.ok_or(refused)?)
}

fn float(lua: &Lua, arguments: &MultiValue, place: usize) -> mlua::Result<f64> {
    let value = arguments.get(place - 1).cloned().unwrap_or(Value::Nil);
    let refused = refused(arguments, place, "number");
    Ok(lua.coerce_number(value)?.ok_or(refused)?)
}

#[allow(clippy::cast_possible_truncation)]
fn number(lua: &Lua, arguments: &MultiValue, place: usize) -> mlua::Result<i64> {
    float(lua, arguments, place).map(|number| number as i64)
}

fn number_or(lua: &Lua, arguments: &MultiValue, place: usize, other: i64) -> mlua::Result<i64> {
    let is_given = arguments.get(place - 1).is_some_and(|value| !value.is_nil());
    if is_given { number(lua, arguments, place) } else { Ok(other) }
}

fn refused(arguments: &MultiValue, place: usize, wanted: &str) -> Refusal {
    let kind = arguments.get(place - 1).map_or("no value", |value| match value {
        Value::Integer(_) => "number",
        value => value.type_name(),
    });
    Refusal::Argument(place, format!("{wanted} expected, got {kind}"))
}
