//! Libraries of functions (`FUNCTION`, `FCALL`).
//!
//! A library is kept as its text. Each call runs in a state of its own, in which the library registers its functions
//! again, so nothing is left over from one call to the next.

use mlua::{Function, Lua, LuaString, Table, Value};

use crate::command::context::Change;
use crate::command::errors::{is, number, syntax_error, unknown_subcommand, wrong_arity};
use crate::command::{dump, glob};
use crate::rdb::{self, RdbError};
use crate::resp::{Encoder, Reply};
use crate::store::{Libraries, Library, LibraryFunction};

use super::{Done, Run, host};

/// `FCALL` and `FCALL_RO`.
pub(super) fn call(change: &mut Change<'_>, rest: &[&[u8]], reads_only: bool, out: &mut Encoder<'_>) -> Done {
    let name = String::from_utf8_lossy(rest[0]);
    let known = change.store.libraries().function(&name);
    let (library, function) = known.ok_or_else(|| Reply::error("ERR Function not found"))?;
    let only_reads = function.flags.iter().any(|flag| &**flag == "no-writes");
    if reads_only && !only_reads {
        return Err(Reply::error("ERR Can not execute a script with write flag using *_ro command."));
    }
    let (code, called) = (library.code.clone(), function.name.clone());
    let run = Run::parse(rest, &name, only_reads, "user_function", "ERR Bad number of keys provided")?;
    let (_, body) = split(&code).map_err(Reply::error)?;
    let start = |lua: &Lua, prelude: Table, library| {
        let (keys, arguments) = run.lists(lua)?;
        prelude.get::<Function>("call")?.call((library, &*called, keys, arguments))
    };
    run.start(change, body, start, |ran| run.reply(ran, out))
}

/// `FUNCTION`.
pub(super) fn manage(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (name, rest) = rest.split_first().expect("the arity asks for it");
    match rest {
        [code] if is(name, "load") => load(change, code, false, out)?,
        [option, code] if is(name, "load") && is(option, "replace") => load(change, code, true, out)?,
        [option, _] if is(name, "load") => {
            return Err(Reply::Error([b"ERR Unknown option given: ", *option].concat()));
        }
        [library] if is(name, "delete") => {
            if !change.store.libraries_mut().remove(&String::from_utf8_lossy(library)) {
                return Err(Reply::error("ERR Library not found"));
            }
            out.status("OK");
        }
        options if is(name, "flush") => flush(change, name, options, out)?,
        [] if is(name, "dump") => {
            let libraries = change.store.libraries().iter().map(|(_, library)| &*library.code);
            out.bulk(&rdb::dump_functions(libraries));
        }
        [dump, policy @ ..] if is(name, "restore") => restore(change, name, dump, policy, out)?,
        options if is(name, "list") => list(change.store.libraries(), options, out)?,
        [] if is(name, "stats") => stats(change.store.libraries(), out),
        // A function ends by itself, so there is none by the time at which another command is carried out.
        [] if is(name, "kill") => return Err(Reply::error("NOTBUSY No scripts in execution right now.")),
        _ => {
            let known =
                ["load", "delete", "stats", "kill", "dump", "restore"].into_iter().find(|known| is(name, known));
            return Err(known.map_or_else(
                || unknown_subcommand("function", name),
                |known| wrong_arity(&format!("function|{known}")),
            ));
        }
    }
    Ok(())
}

fn flush(change: &mut Change<'_>, name: &[u8], options: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    match options {
        [] => {}
        [mode] if is(mode, "async") || is(mode, "sync") => {}
        [_] => return Err(Reply::error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(unknown_or_wrong_number(name)),
    }
    change.store.libraries_mut().clear();
    out.status("OK");
    Ok(())
}

fn unknown_or_wrong_number(name: &[u8]) -> Reply {
    let start = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
    Reply::Error([start, name, b"'. Try FUNCTION HELP."].concat())
}

fn load(change: &mut Change<'_>, code: &[u8], replaces: bool, out: &mut Encoder<'_>) -> Done {
    let (name, _) = split(code).map_err(Reply::error)?;
    if !replaces && change.store.libraries().get(name).is_some() {
        return Err(Reply::error(format!("ERR Library '{name}' already exists")));
    }
    let library = compile(change, code)?;
    let kept = change.store.libraries_mut().put(name, library);
    kept.map_err(|error| Reply::error(format!("ERR {error}")))?;
    out.bulk(name.as_bytes());
    Ok(())
}

/// Adds the libraries of a dump: all of them or none.
fn restore(change: &mut Change<'_>, name: &[u8], dump: &[u8], policy: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let policy = match policy {
        [] => b"append",
        [policy] => *policy,
        _ => return Err(unknown_or_wrong_number(name)),
    };
    let keeps_others = !is(policy, "flush");
    if keeps_others && !is(policy, "append") && !is(policy, "replace") {
        return Err(Reply::error("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."));
    }
    let codes = rdb::load_functions(dump, dump::LIMITS).map_err(|error| match error {
        RdbError::Unknown { .. } => Reply::error("ERR Pre-GA function format not supported"),
        RdbError::Malformed { what: rdb::NO_FUNCTION, .. } => Reply::error("ERR given type is not a function"),
        other @ (RdbError::TooShort(_) | RdbError::Version(_) | RdbError::Checksum { .. }) => other.into(),
        _ => Reply::error("ERR Failed loading library payload"),
    })?;
    let before = if keeps_others { change.store.libraries().clone() } else { Libraries::default() };
    let mut libraries = before.clone();
    for code in &codes {
        let library = compile(change, code)?;
        let (name, _) = split(code).map_err(Reply::error)?;
        let replaces = is(policy, "replace") && before.get(name).is_some();
        if !replaces && libraries.get(name).is_some() {
            return Err(Reply::error(format!("ERR Library {name} already exists")));
        }
        libraries.put(name, library).map_err(|error| Reply::error(format!("ERR {error}")))?;
    }
    *change.store.libraries_mut() = libraries;
    out.status("OK");
    Ok(())
}

/// The library of a text.
fn compile(change: &mut Change<'_>, code: &[u8]) -> Result<Library, Reply> {
    let (name, body) = split(code).map_err(Reply::error)?;
    let run = Run { name, keys: &[], arguments: &[], reads_only: true, chunk: "user_function" };
    let start = |_: &Lua, prelude: Table, library| prelude.get::<Function>("register")?.call(library);
    let mut functions = run.start(change, body, start, |(is_ok, value, _)| {
        let functions = match &value {
            Value::Table(registered) if is_ok => functions(registered).map_err(|error| error.to_string()),
            _ => Err(host::error_text(&value)),
        };
        functions.map_err(|error| Reply::error(format!("ERR Error registering functions: ERR {error}")))
    })?;
    if functions.is_empty() {
        return Err(Reply::error("ERR No functions registered"));
    }
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Library { code: code.into(), functions })
}

/// The functions that a library registered.
fn functions(registered: &Table) -> mlua::Result<Vec<LibraryFunction>> {
    let text = |text: LuaString| text.to_string_lossy().into();
    let function = |pair: mlua::Result<(LuaString, Table)>| {
        let (name, function) = pair?;
        let description: Option<LuaString> = function.raw_get("description")?;
        let flags: Vec<LuaString> = function.raw_get::<Option<_>>("flags")?.unwrap_or_default();
        let description = description.map(|description| description.as_bytes().to_vec().into());
        Ok(LibraryFunction { name: text(name), description, flags: flags.into_iter().map(text).collect() })
    };
    registered.pairs().map(function).collect()
}

/// The name of a library from its first line, and the rest of its text.
fn split(code: &[u8]) -> Result<(&str, &[u8]), String> {
    let header = code.strip_prefix(b"#!").ok_or("ERR Missing library metadata")?;
    let end = header.iter().position(|byte| *byte == b'\n').ok_or("ERR Invalid library metadata")?;
    let body = &header[end..];
    let mut words = header[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if !is(engine, "lua") {
        return Err(format!("ERR Engine '{}' not found", String::from_utf8_lossy(engine)));
    }
    let mut name = None;
    for word in words {
        match word.strip_prefix(b"name=") {
            Some(_) if name.is_some() => {
                return Err("ERR Invalid metadata value, name argument was given multiple times".to_owned());
            }
            Some(value) => name = Some(value),
            None => return Err(format!("ERR Invalid metadata value given: {}", String::from_utf8_lossy(word))),
        }
    }
    let name = name.ok_or("ERR Library name was not given")?;
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let name = std::str::from_utf8(name).ok().filter(|_| is_name);
    let name = name.ok_or(
        "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
    )?;
    Ok((name, body))
}

fn list(libraries: &Libraries, options: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (mut shows_code, mut pattern, mut options) = (false, None, options);
    while let Some((option, rest)) = options.split_first() {
        options = rest;
        if is(option, "withcode") && !shows_code {
            shows_code = true;
        } else if is(option, "libraryname") && pattern.is_none() {
            let (name, rest) = options.split_first().ok_or_else(syntax_error)?;
            (pattern, options) = (Some(*name), rest);
        } else {
            return Err(Reply::Error([b"ERR Unknown argument ", *option].concat()));
        }
    }
    let is_asked = |name: &str| pattern.is_none_or(|pattern| glob::matches(pattern, name.as_bytes()));
    let asked: Vec<_> = libraries.iter().filter(|(name, _)| is_asked(name)).collect();
    out.array(asked.len());
    for (name, library) in asked {
        out.map(if shows_code { 4 } else { 3 });
        out.bulk(b"library_name");
        out.bulk(name.as_bytes());
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(function.name.as_bytes());
            out.bulk(b"description");
            out.bulk_or_null(function.description.as_deref());
            out.bulk(b"flags");
            out.set(function.flags.len());
            function.flags.iter().for_each(|flag| out.status(flag));
        }
        if shows_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
    }
    Ok(())
}

fn stats(libraries: &Libraries, out: &mut Encoder<'_>) {
    let functions = libraries.iter().map(|(_, library)| library.functions.len()).sum();
    out.map(2);
    out.bulk(b"running_script");
    out.null();
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    for (name, count) in [("libraries_count", libraries.len()), ("functions_count", functions)] {
        out.bulk(name.as_bytes());
        out.integer(number(count));
    }
}
