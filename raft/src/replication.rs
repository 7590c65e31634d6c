//! Replication of entries to peers: batches that are encoded once, windows bounded in bytes, loads of entries that are
//! not in the cache.

use quorate_protocol::{
    Entry, EntryBatch, HaltReason, Instant, LoadFailure, LoadRange, Loaded, LogIndex, NodeId, Ticket,
};

use crate::Raft;
use crate::error::Ignored;
use crate::log::{FOUNDING_INDEX, Log};
use crate::message::{AppendEntries, Message};
use crate::progress::{Progress, SendState};
use crate::state::RoleState;

/// The batch that was encoded last. Followers with the same progress share it.
#[derive(Default)]
struct Encoded {
    first: LogIndex,
    last: LogIndex,
    batch: EntryBatch,
}

impl Raft {
    /// Sends every peer the entries that were passed to this node's log and are not on their way yet, as far as its
    /// window allows.
    pub(crate) fn replicate(&mut self) {
        let (settings, now) = (self.config.settings(), self.chassis.instant());
        let submitted = self.log.submitted();
        let mut encoded = Encoded::default();
        let mut unreachable = Vec::new();
        let RoleState::Leader(leader) = &mut self.role else { return };
        for (node, progress) in &mut leader.progress {
            while progress.loading.is_none() && progress.may_send(settings.window_bytes_max) {
                let is_probe = matches!(progress.pace, SendState::Probe { .. });
                if progress.next_index > submitted && !is_probe {
                    break;
                }
                if progress.next_index == FOUNDING_INDEX.next()
                    && progress.match_index == LogIndex::ZERO
                    && self.log.first() == FOUNDING_INDEX
                {
                    // Every founder wrote the first entry itself, so it is sent along to be compared.
                    progress.next_index = FOUNDING_INDEX;
                }
                let prev_index = progress.next_index.previous();
                let Some(prev_term) = self.log.term_at(prev_index) else {
                    unreachable.push(*node);
                    break;
                };
                if progress.next_index <= submitted && progress.next_index < self.log.cache_first() {
                    let end = self.log.cache_first().min(submitted.next());
                    let range = progress.next_index..end;
                    let range = LoadRange::Entries { range, bytes_max: settings.batch_bytes_max };
                    progress.loading = Some(self.chassis.outbox.load(range));
                    break;
                }
                encode(&mut encoded, &self.log, progress.next_index, submitted, settings.batch_bytes_max);
                let message = AppendEntries {
                    term: self.state.term,
                    prev_index,
                    prev_term,
                    commit_index: self.commit_index,
                    batch: encoded.batch.clone(),
                };
                note_sent(progress, &message, encoded.last, now);
                self.chassis.outbox.send(*node, Message::AppendEntries(message));
            }
        }
        for node in unreachable {
            self.send_snapshot(node);
        }
    }

    /// Sends entries that were loaded because they were not in the cache.
    pub(crate) fn on_loaded(&mut self, ticket: Ticket, loaded: Loaded) -> Result<(), Ignored> {
        let batch_bytes_max = self.config.settings().batch_bytes_max;
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::StaleAnswer) };
        let waiting = leader.progress.iter_mut().find(|(_, progress)| progress.loading == Some(ticket));
        let (node, progress) = waiting.ok_or(Ignored::StaleAnswer)?;
        progress.loading = None;
        leader.loads_failed = 0;
        let first = progress.next_index;
        let Some(prev_term) = self.log.term_at(first.previous()) else {
            // The entries were compacted meanwhile. The next flush sends a snapshot.
            return Err(Ignored::StaleAnswer);
        };
        let Loaded::Entries(mut entries) = loaded else {
            self.halt(HaltReason::Damaged { index: first });
            return Err(Ignored::Halted);
        };
        let expected = |((index, term, entry), at): (&(LogIndex, _, Entry), u64)| {
            index.0 == at && self.log.term_at(*index) == Some(*term) && entry.is_intact()
        };
        if entries.is_empty() || !entries.iter().zip(first.0..).all(expected) {
            // The loaded entries differ from those that were written. None of them may be sent.
            self.halt(HaltReason::Damaged { index: first });
            return Err(Ignored::Halted);
        }
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|(_, _, entry)| {
            bytes += entry.encoded_len();
            bytes <= batch_bytes_max
        });
        entries.truncate(fitting.count().max(1));
        let last = first.plus(entries.len() as u64 - 1);
        let message = AppendEntries {
            term: self.state.term,
            prev_index: first.previous(),
            prev_term,
            commit_index: self.commit_index,
            batch: EntryBatch::encode(first, entries.iter().map(|(_, term, entry)| (*term, entry))),
        };
        note_sent(progress, &message, last, self.chassis.instant());
        self.chassis.outbox.send(*node, Message::AppendEntries(message));
        Ok(())
    }

    /// A follower received an entry whose payload does not match its checksum. If this node's own copy changed, it is
    /// read from disk again, where a checksum shows whether it is sound. If it changed on the way, it is sent again.
    pub(crate) fn on_corrupt(&mut self, from: NodeId, index: LogIndex) -> Result<(), Ignored> {
        let now = self.chassis.instant();
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::NotLeading) };
        let progress = leader.progress.get_mut(&from).ok_or(Ignored::NotMember)?;
        if index <= progress.match_index || index > self.log.last() {
            return Err(Ignored::StaleAnswer);
        }
        progress.become_probe(progress.match_index.next());
        progress.pause(now);
        self.log.drop_corrupt(index);
        Err(Ignored::CorruptEntries)
    }

    /// Entries that were not in the cache could not be loaded. Nothing is sent in their place.
    pub(crate) fn on_load_failed(&mut self, ticket: Ticket, failure: LoadFailure) -> Result<(), Ignored> {
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::StaleAnswer) };
        let waiting = leader.progress.values_mut().find(|progress| progress.loading == Some(ticket));
        let progress = waiting.ok_or(Ignored::StaleAnswer)?;
        let index = progress.next_index;
        // The peer waits until a heartbeat is answered, so that a failing disk is not read again at once.
        progress.become_probe(index);
        progress.pause(self.chassis.instant());
        leader.loads_failed += 1;
        match failure {
            LoadFailure::Damaged => self.halt(HaltReason::Damaged { index }),
            // Another node may be able to read its log.
            LoadFailure::Compacted => {}
            _ if leader.loads_failed >= READS_FAILED_MAX => self.give_way(),
            _ => {}
        }
        Ok(())
    }
}

fn note_sent(progress: &mut Progress, message: &AppendEntries, last: LogIndex, now: Instant) {
    progress.sent(last, message.batch.raw().len(), now);
    progress.commit_told = progress.commit_told.max(message.commit_index.min(last));
}

/// Makes `encoded` hold the batch from `first` on; the batch is empty if there are no entries from there on.
fn encode(encoded: &mut Encoded, log: &Log, first: LogIndex, end: LogIndex, bytes_max: usize) {
    if encoded.first == first {
        return;
    }
    let (batch, last) = log.batch(first, end, bytes_max).unwrap_or((EntryBatch::default(), first.previous()));
    *encoded = Encoded { first, last, batch };
}

/// Number of consecutive failed loads, or failed reads of its snapshot, after which a leader steps down.
pub(crate) const READS_FAILED_MAX: u32 = 3;
