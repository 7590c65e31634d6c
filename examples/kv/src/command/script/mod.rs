//! Scripts in Lua 5.1, as Redis runs them.
//!
//! A script runs in an entry of the log on every replica, so nothing in it may differ between them: it has a state of
//! its own, log time, random numbers of the entry, a bound on its steps and on its memory, and no way to files, clocks
//! or addresses.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use sha1::{Digest, Sha1};

use crate::resp::{Encoder, Reply};
use crate::store::parse_integer;

use super::context::Change;
use super::errors::{is, unknown_subcommand, wrong_arity};
use super::spec::{Keys, Spec};

mod bits;
mod convert;
mod functions;
mod host;
mod json;
mod libraries;
mod msgpack;
mod records;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("eval", -3, Keys::Counted(2), |change, rest, out| eval(change, rest, false, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Runs a script."),
    Spec::write("eval_ro", -3, Keys::Counted(2), |change, rest, out| eval(change, rest, true, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Runs a script that changes nothing."),
    Spec::write("evalsha", -3, Keys::Counted(2), |change, rest, out| eval_known(change, rest, false, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Runs a script that is known by its SHA-1."),
    Spec::write("evalsha_ro", -3, Keys::Counted(2), |change, rest, out| eval_known(change, rest, true, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Runs a script that is known by its SHA-1 and changes nothing."),
    Spec::write("fcall", -3, Keys::Counted(2), |change, rest, out| functions::call(change, rest, false, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Calls a function of a library."),
    Spec::write("fcall_ro", -3, Keys::Counted(2), |change, rest, out| functions::call(change, rest, true, out))
        .flags(SCRIPT)
        .long()
        .about("scripting", "Calls a function of a library that changes nothing."),
    Spec::write("function", -2, Keys::None, functions::manage)
        .flags(&["write", "noscript"])
        .container()
        .long()
        .about("scripting", "Keeps libraries of functions, tells about them, or forgets them."),
    Spec::write("script", -2, Keys::None, manage)
        .flags(&["write", "noscript"])
        .container()
        .about("scripting", "Keeps scripts, tells which are known, or forgets them."),
];

const SCRIPT: &[&str] = &["write", "noscript", "movablekeys"];

/// The SHA-1 of a script in hexadecimal digits.
fn sha1_hex(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn eval(change: &mut Change<'_>, rest: &[&[u8]], reads_only: bool, out: &mut Encoder<'_>) -> Done {
    let sha = sha1_hex(rest[0]);
    Run::parse_script(rest, &sha, reads_only)?.run(change, rest[0], out)
}

fn eval_known(change: &mut Change<'_>, rest: &[&[u8]], reads_only: bool, out: &mut Encoder<'_>) -> Done {
    let sha = String::from_utf8_lossy(rest[0]).to_ascii_lowercase();
    let script = change.store.script(&sha);
    let script = script.ok_or_else(|| Reply::error("NOSCRIPT No matching script. Please use EVAL."))?;
    Run::parse_script(rest, &sha, reads_only)?.run(change, &script, out)
}

fn manage(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (name, rest) = rest.split_first().expect("the arity asks for it");
    match rest {
        [script] if is(name, "load") => {
            let sha = sha1_hex(script);
            compile(script)?;
            if !change.store.add_script(&sha, script) {
                return Err(Reply::error("ERR too many scripts are kept: forget them with SCRIPT FLUSH"));
            }
            out.bulk(sha.as_bytes());
        }
        [] if is(name, "load") => return Err(wrong_arity("script|load")),
        [] if is(name, "exists") => return Err(wrong_arity("script|exists")),
        shas if is(name, "exists") => {
            out.array(shas.len());
            for sha in shas {
                let sha = String::from_utf8_lossy(sha).to_ascii_lowercase();
                out.integer(i64::from(change.store.script(&sha).is_some()));
            }
        }
        [] if is(name, "flush") => flush(change, out),
        [mode] if is(name, "flush") && (is(mode, "async") || is(mode, "sync")) => flush(change, out),
        [_] if is(name, "flush") => return Err(Reply::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
        // A script ends by itself, so there is none by the time at which another command is carried out.
        [] if is(name, "kill") => return Err(Reply::error("NOTBUSY No scripts in execution right now.")),
        _ => return Err(unknown_subcommand("script", name)),
    }
    Ok(())
}

fn flush(change: &mut Change<'_>, out: &mut Encoder<'_>) {
    change.store.clear_scripts();
    out.status("OK");
}

/// Checks that a text is a script.
fn compile(script: &[u8]) -> Done {
    let lua = new_state().map_err(|error| Reply::error(format!("ERR {error}")))?;
    load(&lua, script, "user_script").map(drop)
}

fn load(lua: &Lua, script: &[u8], chunk: &str) -> Result<Function, Reply> {
    let loaded = lua.load(script).set_name(format!("@{chunk}")).set_mode(ChunkMode::Text);
    loaded.into_function().map_err(|error| {
        let text = error.to_string();
        let text = text.strip_prefix("syntax error: ").unwrap_or(&text);
        let what = if chunk == "user_script" { "script (new function)" } else { "function" };
        Reply::error(format!("ERR Error compiling {what}: {text}"))
    })
}

/// A script or a function with its arguments.
struct Run<'a> {
    /// The SHA-1 of the script, or the name of the function.
    name: &'a str,
    keys: &'a [&'a [u8]],
    arguments: &'a [&'a [u8]],
    reads_only: bool,
    /// The name that Lua gives the text in errors.
    chunk: &'static str,
}

/// What Lua returns: true and the result, or false, the error, and its line.
type Ran = (bool, Value, Option<usize>);

impl<'a> Run<'a> {
    fn parse_script(rest: &'a [&'a [u8]], sha: &'a str, reads_only: bool) -> Result<Self, Reply> {
        Self::parse(rest, sha, reads_only, "user_script", "ERR value is not an integer or out of range")
    }

    /// Keys and arguments of a script or a function. `no_count` is the error of a number of keys that is none.
    fn parse(
        rest: &'a [&'a [u8]],
        name: &'a str,
        reads_only: bool,
        chunk: &'static str,
        no_count: &str,
    ) -> Result<Self, Reply> {
        let count = parse_integer(rest[1]).ok_or_else(|| Reply::error(no_count))?;
        let count = usize::try_from(count).map_err(|_| Reply::error("ERR Number of keys can't be negative"))?;
        let split = rest[2..].split_at_checked(count);
        let (keys, arguments) =
            split.ok_or_else(|| Reply::error("ERR Number of keys can't be greater than number of args"))?;
        Ok(Self { name, keys, arguments, reads_only, chunk })
    }

    fn run(&self, change: &mut Change<'_>, script: &[u8], out: &mut Encoder<'_>) -> Done {
        let run = |lua: &Lua, prelude: Table, script| {
            let (keys, arguments) = self.lists(lua)?;
            lua.globals().raw_set("KEYS", keys)?;
            lua.globals().raw_set("ARGV", arguments)?;
            prelude.get::<Function>("run")?.call(script)
        };
        self.start(change, script, run, |ran| self.reply(ran, out))
    }

    /// Runs a text in a state of its own. `run` gets the functions of the prelude, and the text as a function; `take`
    /// gets what that returns, as long as the state is there.
    fn start<R>(
        &self,
        change: &mut Change<'_>,
        text: &[u8],
        run: impl FnOnce(&Lua, Table, Function) -> mlua::Result<Ran>,
        take: impl FnOnce(Ran) -> Result<R, Reply>,
    ) -> Result<R, Reply> {
        let lua = new_state().map_err(|error| self.broken(&error))?;
        let function = load(&lua, text, self.chunk)?;
        if self.chunk == "user_script" {
            change.store.add_script(self.name, text);
        }
        let random = Cell::new(change.random());
        let published = change.published();
        let change = RefCell::new(change);
        let steps = Steps::default();
        let ran = lua.scope(|scope| {
            let host = host::functions(&lua, scope, &change, &random, &steps, self.reads_only)?;
            let prelude: Table = lua.load(PRELUDE).set_name("=prelude").call(host)?;
            bound_steps(&lua, &steps)?;
            run(&lua, prelude, function)
        });
        lua.remove_hook();
        // A script sees no number of receivers, since its messages leave when it has ended.
        change.into_inner().hide_receivers(published);
        match ran {
            _ if steps.get() > STEPS_MAX => Err(self.broken(&too_many_steps())),
            Ok(ran) => take(ran),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn reply(&self, (is_ok, value, line): Ran, out: &mut Encoder<'_>) -> Done {
        if is_ok { convert::put(&value, out, 0) } else { Err(self.failed(&value, line)) }
    }

    /// Keys and arguments as lists of Lua.
    fn lists(&self, lua: &Lua) -> mlua::Result<(Table, Table)> {
        let list = |items: &[&[u8]]| {
            let items = items.iter().map(|item| lua.create_string(item)).collect::<mlua::Result<Vec<_>>>()?;
            lua.create_sequence_from(items)
        };
        Ok((list(self.keys)?, list(self.arguments)?))
    }

    /// The reply to a script that raised an error.
    fn failed(&self, error: &Value, line: Option<usize>) -> Reply {
        let text = match error {
            // Raw, so that no more of the script is run.
            Value::Table(table) => table.raw_get::<mlua::LuaString>("err").map(|text| text.to_string_lossy()).ok(),
            Value::String(text) => Some(format!("ERR {}", text.to_string_lossy())),
            Value::Error(error) => match (host::command_error(error), host::library_error(error)) {
                (Some(text), _) => Some(text.to_owned()),
                (None, Some(text)) => Some(format!("ERR {text}")),
                (None, None) => return self.broken(error),
            },
            _ => None,
        };
        let text = text.unwrap_or_else(|| format!("ERR {}", error.type_name()));
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        Reply::error(format!("{text} script: {}, on @{}{line}.", self.name, self.chunk))
    }

    /// The reply to a script that was ended from outside.
    fn broken(&self, error: &Error) -> Reply {
        let text = match error {
            Error::CallbackError { cause, .. } => return self.broken(cause),
            Error::MemoryError(_) => "not enough memory".to_owned(),
            Error::RuntimeError(text) => text.clone(),
            error => error.to_string(),
        };
        let text = text.lines().next().unwrap_or_default();
        Reply::error(format!("ERR {text} script: {}, on @{}.", self.name, self.chunk))
    }
}

fn new_state() -> mlua::Result<Lua> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
    lua.set_memory_limit(MEMORY_BYTES_MAX)?;
    Ok(lua)
}

/// The steps that a script has taken.
type Steps = Rc<Cell<u64>>;

/// Ends a script that takes too many steps.
fn bound_steps(lua: &Lua, steps: &Steps) -> mlua::Result<()> {
    let steps = Rc::clone(steps);
    let triggers = HookTriggers::new().every_nth_instruction(STEPS_PER_HOOK);
    lua.set_hook(triggers, move |lua, _| spend(lua, &steps, u64::from(STEPS_PER_HOOK)).map(|()| VmState::Continue))
}

/// Counts steps. Once there are too many, every further one fails, so that catching the error is of no use to the
/// script.
fn spend(lua: &Lua, steps: &Cell<u64>, count: u64) -> mlua::Result<()> {
    steps.set(steps.get().saturating_add(count));
    if steps.get() <= STEPS_MAX {
        return Ok(());
    }
    lua.set_hook(HookTriggers::new().every_nth_instruction(1), |_, _| Err(too_many_steps()))?;
    Err(too_many_steps())
}

fn too_many_steps() -> Error {
    Error::RuntimeError(format!("the script takes more than {STEPS_MAX} steps"))
}

const PRELUDE: &str = include_str!("prelude.lua");
/// Maximum number of instructions of a script, which take about a fifth of a second. Every replica waits for them.
const STEPS_MAX: u64 = 20_000_000;
const STEPS_PER_HOOK: u32 = 10_000;
/// Maximum memory of a script's state.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
