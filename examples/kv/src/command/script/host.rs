//! The functions that scripts call and that are not written in Lua.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;
use mlua::{Error, Lua, LuaString, MultiValue, Scope, Table, Value};

use crate::random::draw;
use crate::resp::{Encoder, Version};
use crate::store::format_number;

use super::super::acl;
use super::super::context::Change;
use super::super::execute;
use super::super::spec::{Action, Kind, Spec, Timeout, option};
use super::libraries::{self, LibraryError};
use super::{Steps, convert, sha1_hex, spend};

/// The error of a command that a script gave with `redis.call`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CommandError(String);

/// The text of a command's error, if this is one.
pub(super) fn command_error(error: &Error) -> Option<&str> {
    cause(error).map(|CommandError(text)| text.as_str())
}

/// The text of what a library refused, if this is that.
pub(super) fn library_error(error: &Error) -> Option<&str> {
    cause(error).map(|LibraryError(text)| text.as_str())
}

/// The error of this kind for which a function called from Lua failed.
fn cause<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    match error {
        Error::CallbackError { cause: inner, .. } => cause(inner),
        error => error.downcast_ref(),
    }
}

/// What a script sees of an error that it caught.
fn text(problem: &Value) -> Option<String> {
    let Value::Error(error) = problem else {
        return None;
    };
    Some(command_error(error).or_else(|| library_error(error)).map_or_else(|| error.to_string(), str::to_owned))
}

/// The text of an error that a library raised.
pub(super) fn error_text(problem: &Value) -> String {
    match problem {
        Value::String(text) => text.to_string_lossy(),
        Value::Error(error) => text(problem).unwrap_or_else(|| error.to_string()),
        other => other.type_name().to_owned(),
    }
}

/// A table of the functions, valid for the scope.
pub(super) fn functions<'scope, 'env: 'scope>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    change: &'env RefCell<&mut Change<'_>>,
    random: &'env Cell<u64>,
    steps: &Steps,
    reads_only: bool,
) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let run = move |lua: &Lua, arguments: MultiValue| {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(argument).collect::<mlua::Result<_>>()?;
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let mut reply = BytesMut::new();
        let mut out = Encoder::new(&mut reply, Version::Resp2);
        match refusal(&arguments, reads_only) {
            Some(text) => out.error(text.as_bytes()),
            None if let Some(denied) = denied(&change.borrow(), &arguments) => out.error(denied.as_bytes()),
            None if is_elsewhere(&change.borrow(), &arguments) => out.error(ELSEWHERE),
            None => execute::run(&mut change.borrow_mut(), &arguments, &mut out).map_err(Error::external)?,
        }
        convert::read(lua, &reply)
    };
    let call = move |lua: &Lua, arguments: MultiValue| {
        let reply = run(lua, arguments)?;
        let refused = reply.as_table().and_then(|table| table.raw_get::<Option<LuaString>>("err").ok().flatten());
        match refused {
            Some(text) => Err(Error::external(CommandError(text.to_string_lossy()))),
            None => Ok(reply),
        }
    };
    host.set("call", scope.create_function(call)?)?;
    host.set("pcall", scope.create_function(run)?)?;
    host.set("text", lua.create_function(|_, problem: Value| Ok(text(&problem)))?)?;
    host.set("sha1hex", lua.create_function(|_, text: LuaString| Ok(sha1_hex(&text.as_bytes())))?)?;
    libraries::add(lua, &host, steps)?;
    let steps = Rc::clone(steps);
    host.set("spend", lua.create_function(move |lua, count: f64| spend(lua, &steps, whole(count)))?)?;
    host.set("line", lua.create_function(|lua, ()| Ok(line(lua)))?)?;
    host.set("random", scope.create_function(move |_, bounds: MultiValue| draw_number(random, &bounds))?)?;
    host.set(
        "randomseed",
        scope.create_function(move |_, seed: f64| {
            random.set(seed.to_bits());
            Ok(())
        })?,
    )?;
    host.set(
        "check_pattern",
        lua.create_function(|_, (text, pattern): (Value, Value)| check_pattern(&text, &pattern))?,
    )?;
    Ok(host)
}

/// The line of the script that is being carried out.
fn line(lua: &Lua) -> Option<usize> {
    let at = |level| {
        lua.inspect_stack(level, |debug| {
            let is_script = debug.source().short_src.is_some_and(|source| source.starts_with("user_"));
            debug.current_line().filter(|_| is_script)
        })
    };
    (0..LEVELS_MAX).map_while(at).flatten().next()
}

/// An argument of a command.
fn argument(value: &Value) -> mlua::Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Integer(number) => Ok(number.to_string().into_bytes()),
        Value::Number(number) => Ok(format_number(*number, 17).into_bytes()),
        _ => Err(Error::RuntimeError("Lua redis lib command arguments must be strings or integers".to_owned())),
    }
}

/// Reason why a script may not give this command.
fn refusal(arguments: &[&[u8]], reads_only: bool) -> Option<Cow<'static, str>> {
    let Some(name) = arguments.first() else {
        return Some("ERR Please specify at least one argument for this redis lib call".into());
    };
    let Some(spec) = Spec::find(name) else {
        return Some("ERR Unknown Redis command called from script".into());
    };
    if !spec.takes(arguments.len()) {
        return Some("ERR Wrong number of args calling Redis command from script".into());
    }
    let never_waits = spec.timeout.is_none_or(|timeout| timeout == Timeout::Block);
    match spec.action {
        _ if spec.timeout == Some(Timeout::Block) && option(arguments, "block").is_some() => {
            let name = String::from_utf8_lossy(name);
            Some(format!("ERR {name} command is not allowed with BLOCK option from scripts").into())
        }
        Action::Connection(_) | Action::Write(_) if spec.flags.contains(&"noscript") && never_waits => {
            Some("ERR This Redis command is not allowed from script".into())
        }
        Action::Connection(Kind::Ping | Kind::Echo) if arguments.len() <= 2 => None,
        Action::Connection(_) => Some("ERR This Redis command is not allowed from script".into()),
        Action::Write(_) if spec.group == "scripting" || !never_waits => {
            Some("ERR This Redis command is not allowed from script".into())
        }
        Action::Write(_) | Action::Message(_) if reads_only => {
            Some("ERR Write commands are not allowed from read-only scripts.".into())
        }
        _ => None,
    }
}

/// Reason why the user who runs the script may not give this command.
fn denied(change: &Change<'_>, arguments: &[&[u8]]) -> Option<&'static str> {
    let spec = Spec::find(arguments[0])?;
    acl::check(change.user()?, spec, arguments).err().map(|denied| denied.in_script())
}

/// Returns true if the command needs a key that another shard has. In the place of keys that a script does not name,
/// there would be none.
fn is_elsewhere(change: &Change<'_>, arguments: &[&[u8]]) -> bool {
    if change.store.slots().is_none() {
        return false;
    }
    let Some(spec) = Spec::find(arguments[0]) else { return false };
    let keys = spec.keys_of(arguments).unwrap_or_default();
    let is_away = |key: &&[u8]| change.store.elsewhere(change.log_time, key, true).is_some();
    spec.concerns_all() || spec.reads_unnamed(arguments) || keys.iter().any(is_away)
}

/// `math.random`: from the entry's number, and not from the system's.
fn draw_number(random: &Cell<u64>, bounds: &MultiValue) -> mlua::Result<f64> {
    let bounds: Vec<f64> = bounds.iter().filter_map(Value::as_number).collect();
    let (next, drawn) = draw(random.get());
    random.set(next);
    #[allow(clippy::cast_precision_loss)]
    let fraction = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    let (low, high) = match bounds[..] {
        [] => return Ok(fraction),
        [high] => (1.0, high.floor()),
        [low, high, ..] => (low.floor(), high.floor()),
    };
    if low > high {
        return Err(Error::RuntimeError("bad argument to 'random' (interval is empty)".to_owned()));
    }
    Ok(low + (fraction * (high - low + 1.0)).floor())
}

/// A count that a script gave. What is none costs more than there is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(count: f64) -> u64 {
    if count >= 0.0 { count as u64 } else { u64::MAX }
}

/// Refuses a search that could take very long: one that goes back to `k` repetitions in a text of `n` bytes may take
/// `n` to the power of `k` steps, which nothing counts.
fn check_pattern(text: &Value, pattern: &Value) -> mlua::Result<()> {
    let (Value::String(text), Value::String(pattern)) = (text, pattern) else {
        // The search itself refuses other values.
        return Ok(());
    };
    let repetitions = pattern.as_bytes().iter().filter(|byte| matches!(byte, b'*' | b'+' | b'-')).count();
    let length = u64::try_from(text.as_bytes().len()).unwrap_or(u64::MAX).max(2);
    let steps = length.checked_pow(u32::try_from(repetitions).unwrap_or(u32::MAX).saturating_add(1));
    if steps.is_none_or(|steps| steps > SEARCH_STEPS_MAX) {
        return Err(Error::RuntimeError("the pattern could take too long in a text of this length".to_owned()));
    }
    Ok(())
}

/// Maximum depth at which the line of an error is looked for.
const LEVELS_MAX: usize = 100;
const SEARCH_STEPS_MAX: u64 = 10_000_000_000;

/// The error that Redis Cluster gives.
const ELSEWHERE: &[u8] = b"ERR Script attempted to access a non local key in a cluster node";
