//! What a user may do: commands, keys and channels.

use std::io::{self, Read, Write};

use super::super::snapshot::{RestoreError, read_bytes, read_count, write_bytes};
use super::write_count;

/// Commands, and the keys and channels that they may name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// The keys.
    pub keys: Vec<KeyPattern>,
    /// The patterns of channels.
    pub channels: Vec<Box<[u8]>>,
    /// Commands of which no rule speaks are allowed.
    pub allows_others: bool,
    /// The rules about commands. The last that is about a command decides.
    pub rules: Vec<CommandRule>,
}

/// Keys that match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    /// The pattern.
    pub pattern: Box<[u8]>,
    /// They may be read.
    pub reads: bool,
    /// They may be written.
    pub writes: bool,
}

/// A rule about commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRule {
    /// They are allowed; else refused.
    pub allows: bool,
    /// A command, one with its subcommand (`config|get`), or a category (`@read`), in lower case.
    pub name: Box<str>,
}

impl Grant {
    /// Every command on all keys and channels.
    pub fn everything() -> Self {
        Self {
            keys: vec![KeyPattern::all()],
            channels: vec![Box::from(&b"*"[..])],
            allows_others: true,
            rules: Vec::new(),
        }
    }

    /// Returns true if this allows everything.
    pub fn is_everything(&self) -> bool {
        self.allows_others && self.rules.is_empty() && self.allows_all_keys() && self.allows_all_channels()
    }

    /// Returns true if all keys may be read and written.
    pub fn allows_all_keys(&self) -> bool {
        self.keys.contains(&KeyPattern::all())
    }

    /// Returns true if all channels are allowed.
    pub fn allows_all_channels(&self) -> bool {
        self.channels.iter().any(|pattern| **pattern == *b"*")
    }

    /// Forgets all rules about commands, and allows or refuses each.
    pub fn set_commands(&mut self, allows: bool) {
        self.allows_others = allows;
        self.rules.clear();
    }

    /// Adds a rule about commands. It takes the place of those that it makes void.
    pub fn add_rule(&mut self, allows: bool, name: &str) {
        let is_void = |rule: &CommandRule| {
            *rule.name == *name || rule.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('|'))
        };
        self.rules.retain(|rule| !is_void(rule));
        let container = name.split('|').next().unwrap_or(name);
        let is_said = self.rules.iter().any(|rule| rule.name.starts_with('@') || *rule.name == *container);
        if is_said || self.allows_others != allows || name.starts_with('@') {
            self.rules.push(CommandRule { allows, name: name.into() });
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| ITEM_BYTES + key.pattern.len()).sum();
        let channels: usize = self.channels.iter().map(|channel| ITEM_BYTES + channel.len()).sum();
        let rules: usize = self.rules.iter().map(|rule| ITEM_BYTES + rule.name.len()).sum();
        keys + channels + rules + ITEM_BYTES
    }
}

impl KeyPattern {
    /// All keys.
    pub fn all() -> Self {
        Self { pattern: Box::from(&b"*"[..]), reads: true, writes: true }
    }
}

pub(super) fn write_all(writer: &mut impl Write, grants: &[Grant]) -> io::Result<()> {
    write_count(writer, grants.len())?;
    for grant in grants {
        write_count(writer, grant.keys.len())?;
        for KeyPattern { pattern, reads, writes } in &grant.keys {
            writer.write_all(&[u8::from(*reads) | u8::from(*writes) << 1])?;
            write_bytes(writer, pattern)?;
        }
        write_count(writer, grant.channels.len())?;
        grant.channels.iter().try_for_each(|channel| write_bytes(writer, channel))?;
        writer.write_all(&[u8::from(grant.allows_others)])?;
        write_count(writer, grant.rules.len())?;
        for CommandRule { allows, name } in &grant.rules {
            writer.write_all(&[u8::from(*allows)])?;
            write_bytes(writer, name.as_bytes())?;
        }
    }
    Ok(())
}

pub(super) fn read_all(reader: &mut impl Read) -> Result<Vec<Grant>, RestoreError> {
    (0..read_count(reader)?).map(|_| read(reader)).collect()
}

fn read(reader: &mut impl Read) -> Result<Grant, RestoreError> {
    let mut grant = Grant::default();
    for _ in 0..read_count(reader)? {
        let flags = byte(reader)?;
        let pattern = read_bytes(reader)?.into();
        grant.keys.push(KeyPattern { pattern, reads: flags & 1 != 0, writes: flags & 2 != 0 });
    }
    for _ in 0..read_count(reader)? {
        grant.channels.push(read_bytes(reader)?.into());
    }
    grant.allows_others = byte(reader)? != 0;
    for _ in 0..read_count(reader)? {
        let allows = byte(reader)? != 0;
        let name = String::from_utf8(read_bytes(reader)?).map_err(|_| RestoreError::Malformed)?;
        grant.rules.push(CommandRule { allows, name: name.into() });
    }
    Ok(grant)
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Bytes of a pattern or a rule besides its text.
const ITEM_BYTES: usize = 32;
