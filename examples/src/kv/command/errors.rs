//! Replies to requests that are no command. Texts are Redis's.

use crate::kv::resp::Reply;
use crate::kv::store::parse_integer;

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

pub(super) fn integer(text: &[u8]) -> Result<i64, Reply> {
    parse_integer(text).ok_or_else(|| Reply::error("ERR value is not an integer or out of range"))
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

/// Maximum bytes of a client's own words that an error repeats.
const SHOWN_BYTES_MAX: usize = 128;
