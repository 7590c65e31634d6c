//! Replies to requests that are no command. Texts are Redis's.

use crate::resp::Reply;
use crate::store::{VALUE_BYTES_MAX, WrongType, parse_double, parse_integer};

impl From<WrongType> for Reply {
    fn from(error: WrongType) -> Self {
        Self::error(error.to_string())
    }
}

pub(super) fn wrong_arity(name: &str) -> Reply {
    Reply::error(format!("ERR wrong number of arguments for '{name}' command"))
}

pub(super) fn unknown_subcommand(container: &str, name: &[u8]) -> Reply {
    let shown = &name[..name.len().min(SHOWN_BYTES_MAX)];
    let try_help = format!("'. Try {} HELP.", container.to_ascii_uppercase());
    Reply::Error([b"ERR unknown subcommand '", shown, try_help.as_bytes()].concat())
}

pub(super) fn syntax_error() -> Reply {
    Reply::error("ERR syntax error")
}

pub(super) fn no_such_key() -> Reply {
    Reply::error("ERR no such key")
}

/// The reply to `EXEC` of a transaction that is refused as a whole.
pub fn abort_because(refusal: &Reply) -> Reply {
    match refusal {
        Reply::Error(text) => Reply::Error([&b"EXECABORT Transaction discarded because of: "[..], text].concat()),
        other => other.clone(),
    }
}

/// The reply to a command that may make a key grow while there is no room for it.
pub(super) fn out_of_memory() -> Reply {
    Reply::error("OOM command not allowed when used memory > 'maxmemory'.")
}

pub(super) fn too_long() -> Reply {
    Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
}

/// Refuses a string or an item that would be too long.
pub(super) fn check_length(bytes: usize) -> Result<(), Reply> {
    if bytes > VALUE_BYTES_MAX { Err(too_long()) } else { Ok(()) }
}

pub(super) fn integer(text: &[u8]) -> Result<i64, Reply> {
    parse_integer(text).ok_or_else(|| Reply::error("ERR value is not an integer or out of range"))
}

/// A number of things, which is not negative.
pub(super) fn count(text: &[u8]) -> Result<usize, Reply> {
    let positive = parse_integer(text).and_then(|number| usize::try_from(number).ok());
    positive.ok_or_else(|| Reply::error("ERR value is out of range, must be positive"))
}

pub(super) fn double(text: &[u8]) -> Result<f64, Reply> {
    parse_double(text).ok_or_else(|| Reply::error("ERR value is not a valid float"))
}

pub(super) fn unknown_command(name: &[u8], rest: &[&[u8]]) -> Reply {
    let shown = &name[..name.len().min(SHOWN_BYTES_MAX)];
    let mut text = [b"ERR unknown command '", shown, b"', with args beginning with: "].concat();
    let start = text.len();
    for argument in rest {
        let room = SHOWN_BYTES_MAX.saturating_sub(text.len() - start);
        if room == 0 {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(&argument[..argument.len().min(room)]);
        text.extend_from_slice(b"' ");
    }
    Reply::Error(text)
}

pub(super) fn invalid_time(command: &str) -> Reply {
    Reply::error(format!("ERR invalid expire time in '{command}' command"))
}

/// Returns true if an argument is this word, in upper or lower case.
pub(super) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// A number of things as a reply.
pub(super) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Maximum bytes of a client's own words that an error repeats.
const SHOWN_BYTES_MAX: usize = 128;
