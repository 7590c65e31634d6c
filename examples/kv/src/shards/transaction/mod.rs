//! A transaction over several shards, without its messages.
//!
//! The node that has the client reads the keys from their shards, tries the commands on these records alone, and knows
//! the replies and what becomes of each key. Then each shard is asked to carry out its part, if the keys that were read
//! are as they were (Kung and Robinson, "On Optimistic Methods for Concurrency Control", TODS 1981). The parts take
//! effect together by two-phase commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::command;
use crate::entry::DecodeError;
use crate::store::{Record, Scripts, Store};

use super::work::{Effect, Part};

/// A key as its shard had it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The shard that was asked last, and had the answer.
    pub shard: u16,
    /// The record, if there was one.
    pub record: Option<Record>,
}

/// The result of an attempt.
#[derive(Debug)]
pub enum Trial {
    /// The commands need these keys too.
    Needs(BTreeSet<Box<[u8]>>),
    /// The commands need all keys of all shards.
    NeedsAll,
    /// The commands can be carried out.
    Ready {
        /// Their replies.
        replies: Bytes,
        /// What each shard has to check and to do.
        parts: BTreeMap<u16, Part>,
    },
}

/// Tries the commands of an entry on what is known, at a log time in Unix ms.
///
/// # Errors
/// When the entry cannot be read.
pub fn attempt(
    entry: &[u8],
    known: &BTreeMap<Box<[u8]>, Known>,
    scripts: Arc<Scripts>,
    log_time: u64,
) -> Result<Trial, DecodeError> {
    let mut store = Store::part_of(scripts, known.keys().cloned().collect());
    for record in known.values().filter_map(|known| known.record.as_ref()) {
        store.adopt(record);
    }
    // What was touched so far were the records themselves.
    store.take_touched();
    let replies = command::apply(&mut store, log_time, entry)?;
    let touched = store.take_touched();
    if touched.whole {
        return Ok(Trial::NeedsAll);
    }
    if !touched.missing.is_empty() {
        return Ok(Trial::Needs(touched.missing));
    }
    let mut parts: BTreeMap<u16, Part> = BTreeMap::new();
    let version = |known: &Known| known.record.as_ref().map_or(0, Record::version);
    for key in &touched.read {
        let known = &known[key];
        parts.entry(known.shard).or_default().checks.push((Bytes::copy_from_slice(key), version(known)));
    }
    for key in &touched.written {
        let known = &known[key];
        let effect = match store.changed_since(key, version(known)) {
            None => continue,
            Some(None) => Effect::Remove(Bytes::copy_from_slice(key)),
            Some(Some(record)) => Effect::put(record, false),
        };
        parts.entry(known.shard).or_default().effects.push(effect);
    }
    Ok(Trial::Ready { replies, parts })
}

#[cfg(test)]
mod tests;
