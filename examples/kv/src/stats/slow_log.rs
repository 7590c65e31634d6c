//! The commands that took long (`SLOWLOG`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::resp::Reply;

/// The newest of the slow commands.
#[derive(Debug)]
pub struct SlowLog {
    entries: VecDeque<SlowCommand>,
    next_id: i64,
    /// Microseconds from which on a command is slow. Negative: none is.
    pub slower_than: i64,
    /// Maximum number of entries.
    length_max: usize,
}

/// A command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowCommand {
    /// When it was taken, in Unix seconds.
    pub unix_seconds: u64,
    /// Microseconds until its reply.
    pub micros: u64,
    /// Its arguments, shortened by [`SlowCommand::shorten`].
    pub arguments: Vec<Bytes>,
    /// The client's address.
    pub address: String,
    /// The client's name.
    pub name: Bytes,
}

impl Default for SlowLog {
    fn default() -> Self {
        Self { entries: VecDeque::new(), next_id: 0, slower_than: 10_000, length_max: 128 }
    }
}

impl SlowLog {
    /// Returns true if a command that took this time is slow.
    pub fn takes(&self, micros: u64) -> bool {
        u64::try_from(self.slower_than).is_ok_and(|limit| micros >= limit) && self.length_max > 0
    }

    /// Adds a command.
    pub fn add(&mut self, command: SlowCommand) {
        self.entries.push_front(command);
        self.next_id += 1;
        self.entries.truncate(self.length_max);
    }

    /// Maximum number of entries.
    pub fn length_max(&self) -> usize {
        self.length_max
    }

    /// Sets the maximum number of entries. Returns false if it is above the limit.
    pub fn set_length_max(&mut self, length: usize) -> bool {
        if length > LENGTH_MAX {
            return false;
        }
        self.length_max = length;
        self.entries.truncate(length);
        true
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The newest entries as the reply to `SLOWLOG GET`.
    pub fn reply(&self, count: usize) -> Reply {
        let integer = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let entry = |(id, command): (i64, &SlowCommand)| {
            Reply::Array(vec![
                Reply::Integer(id),
                integer(command.unix_seconds),
                integer(command.micros),
                Reply::Array(command.arguments.iter().cloned().map(Reply::Bulk).collect()),
                Reply::bulk(command.address.clone()),
                Reply::Bulk(command.name.clone()),
            ])
        };
        let ids = (0..self.next_id).rev();
        Reply::Array(ids.zip(&self.entries).take(count).map(entry).collect())
    }
}

impl SlowCommand {
    /// At most 32 arguments, of at most 128 bytes each, as Redis keeps them.
    pub fn shorten(arguments: &[&[u8]]) -> Vec<Bytes> {
        let is_long = arguments.len() > ARGUMENTS_MAX;
        let kept = if is_long { ARGUMENTS_MAX - 1 } else { arguments.len() };
        let shorten = |argument: &&[u8]| match argument.split_at_checked(ARGUMENT_BYTES_MAX) {
            Some((start, rest)) if !rest.is_empty() => {
                Bytes::from([start, format!("... ({} more bytes)", rest.len()).as_bytes()].concat())
            }
            _ => Bytes::copy_from_slice(argument),
        };
        let mut shortened: Vec<_> = arguments[..kept].iter().map(shorten).collect();
        if is_long {
            shortened.push(Bytes::from(format!("... ({} more arguments)", arguments.len() - kept)));
        }
        shortened
    }
}

const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;
/// Maximum of the maximum number of entries, which then take 40 MB.
const LENGTH_MAX: usize = 10_000;
