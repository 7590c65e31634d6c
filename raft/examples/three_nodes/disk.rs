//! A disk, and how a core's `Recovery` is made from it.

use std::ops::Range;

use bytes::Bytes;
use quorate_protocol::{Entry, EntryKind, LoadFailure, LogIndex, LogPosition, Operation, Recovery, Term, Ticket};

use super::{CACHE_BYTES, Machine};

/// A disk: a list of writes, each of which is there as a whole after a crash, or not at all.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) writes: Vec<(Ticket, Vec<Operation>)>,
    /// The number of durable writes: a crash loses the others.
    pub(crate) synced: usize,
    /// The newest snapshot. A real one lies in a file, which is synced before anyone hears of it.
    pub(crate) snapshot: Option<Machine>,
}

/// The sum of the writes.
#[derive(Default)]
pub(crate) struct Content {
    state: Option<Bytes>,
    commit_hint: LogIndex,
    base: LogPosition,
    pub(crate) entries: Vec<(LogIndex, Term, Entry)>,
}

impl Disk {
    /// Syncs, and returns the newest ticket that became durable: it stands for all before it.
    pub(crate) fn sync(&mut self) -> Option<Ticket> {
        let (ticket, _) = self.writes[self.synced..].last()?;
        self.synced = self.writes.len();
        Some(*ticket)
    }

    /// Plays the first `writes` writes. A real log keeps an index instead.
    pub(crate) fn content(&self, writes: usize) -> Content {
        let mut content = Content::default();
        for operation in self.writes[..writes].iter().flat_map(|(_, operations)| operations) {
            match operation {
                Operation::Append { index, term, entries } => {
                    let numbered = (index.0..).zip(entries);
                    content.entries.extend(numbered.map(|(index, entry)| (LogIndex(index), *term, entry.clone())));
                }
                Operation::TruncateFrom { index } => content.entries.retain(|(at, ..)| at < index),
                Operation::CompactTo { index, term } => {
                    content.entries.retain(|(at, ..)| at > index);
                    content.base = LogPosition { index: *index, term: *term };
                }
                Operation::Reset { index, term } => {
                    content.entries.clear();
                    content.base = LogPosition { index: *index, term: *term };
                }
                Operation::PutState { bytes, commit_hint } => {
                    content.state = Some(bytes.clone());
                    content.commit_hint = content.commit_hint.max(*commit_hint);
                }
                Operation::CommitHint { index } => content.commit_hint = content.commit_hint.max(*index),
                _ => unreachable!("raft keeps no journal"),
            }
        }
        content
    }

    /// Reads entries until their size passes `bytes_max`.
    pub(crate) fn read(
        &self,
        range: &Range<LogIndex>,
        bytes_max: usize,
    ) -> Result<Vec<(LogIndex, Term, Entry)>, LoadFailure> {
        let mut bytes = 0;
        let wanted = self.content(self.writes.len()).entries.into_iter().filter(|(index, ..)| range.contains(index));
        let entries = wanted.take_while(|(_, _, entry)| {
            let has_room = bytes <= bytes_max;
            bytes += entry.encoded_len();
            has_room
        });
        let entries: Vec<_> = entries.collect();
        let is_there = entries.first().is_some_and(|(index, ..)| *index == range.start);
        if is_there { Ok(entries) } else { Err(LoadFailure::Compacted) }
    }

    /// All that a core needs to know of its disk when it starts. The disk of a new node gives `Recovery::default()`.
    pub(crate) fn recovery(&self) -> Recovery {
        let Content { state, commit_hint, base, entries } = self.content(self.synced);
        let numbered = || entries.iter().map(|(index, _, entry)| (*index, entry.clone()));
        let mut runs: Vec<LogPosition> = Vec::new();
        for (index, term, _) in &entries {
            if runs.last().is_none_or(|run| run.term != *term) {
                runs.push(LogPosition { index: *index, term: *term });
            }
        }
        let mut bytes = 0;
        let newest = entries.iter().rev().take_while(|(_, _, entry)| {
            bytes += entry.encoded_len();
            bytes <= CACHE_BYTES
        });
        let tail_begins = entries.len() - newest.count();
        Recovery {
            // The newest state record, as the core wrote it: its term and its vote. Never make one up: a node that
            // forgets its vote can vote twice.
            state,
            // Index and term of the last entry that was compacted: `CompactTo` and `Reset` set it.
            base,
            // Index of the last entry. Without entries it is that of the base.
            last: entries.last().map_or(base.index, |(index, ..)| *index),
            // The first position of each term. From them the core knows the term of every entry without reading it.
            runs,
            // The newest entries with their payloads, as many as the core's cache should begin with.
            tail: numbered().skip(tail_begins).collect(),
            // Every configuration entry, however old: the newest says who is a member, and the one before it is in
            // force again if the newest is truncated.
            configurations: numbered().filter(|(_, entry)| entry.header.kind == EntryKind::Configuration).collect(),
            // Metadata of the newest durable snapshot. Its content is the state machine's: see `Node::start`.
            snapshot: self.snapshot.as_ref().map(|machine| machine.covers.clone()),
            // Entries up to here were known to be committed, so they can be applied before a leader is there.
            commit_hint,
            // `checkpoint` and `journal`, which are for protocols without a log.
            ..Recovery::default()
        }
    }
}
