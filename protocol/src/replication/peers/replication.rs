//! Replication to peers: batches of entries that are encoded once, windows bounded in bytes, loads of entries that are
//! not in the cache, and snapshots where the log has the entries no longer (Raft §5.3, §7).

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::leader::Office;
use crate::replication::log::{FOUNDING_INDEX, Log};
use crate::replication::message::{AppendEntries, InstallSnapshot, Message};
use crate::replication::peers::Peers;
use crate::replication::progress::{Progress, SendState};
use crate::replication::shared::Shared;
use crate::{
    Entry, EntryBatch, HaltReason, Instant, LoadFailure, LoadRange, Loaded, LogIndex, LogRequest, NodeId, SnapshotMeta,
    Term, Ticket,
};

/// The batch that was encoded last. Followers with the same progress share it.
#[derive(Default)]
struct Encoded {
    first: LogIndex,
    last: LogIndex,
    batch: EntryBatch,
}

/// The result of a snapshot's transfer to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer has the snapshot.
    Done,
    /// The peer or the connection failed.
    GivenUp,
    /// This node could not read its own snapshot.
    Unread,
}

/// Messages to the peers, and the loads and transfers on their behalf.
impl Peers {
    /// Sends every peer the entries that were passed to this node's log and are not on their way yet, as far as its
    /// window allows.
    pub(crate) fn replicate<E: Election>(&mut self, shared: &mut Shared<E>) {
        let (settings, now) = (shared.config.settings(), shared.chassis.instant());
        let (term, commit_index) = (shared.durable.term(), shared.commitment.index());
        let submitted = shared.log.submitted();
        let mut encoded = Encoded::default();
        let mut unreachable = Vec::new();
        for (node, progress) in &mut self.progress {
            while progress.loading.is_none() && progress.may_send(settings.window_bytes_max) {
                let is_probe = matches!(progress.pace, SendState::Probe { .. });
                if progress.next_index > submitted && !is_probe {
                    break;
                }
                if progress.next_index == FOUNDING_INDEX.next()
                    && progress.match_index == LogIndex::ZERO
                    && shared.log.first() == FOUNDING_INDEX
                {
                    // Every founder wrote the first entry itself, so it is sent along to be compared.
                    progress.next_index = FOUNDING_INDEX;
                }
                let prev_index = progress.next_index.previous();
                let Some(prev_term) = shared.log.term_at(prev_index) else {
                    unreachable.push(*node);
                    break;
                };
                if progress.next_index <= submitted && progress.next_index < shared.log.cache_first() {
                    let end = shared.log.cache_first().min(submitted.next());
                    let range = progress.next_index..end;
                    let range = LoadRange::Entries { range, bytes_max: settings.batch_bytes_max };
                    progress.loading = Some(shared.chassis.outbox.load(range));
                    break;
                }
                encode(&mut encoded, &shared.log, progress.next_index, submitted, settings.batch_bytes_max);
                let batch = encoded.batch.clone();
                let message = AppendEntries { term, prev_index, prev_term, commit_index, batch };
                note_sent(progress, &message, encoded.last, now);
                shared.chassis.outbox.send(*node, Message::AppendEntries(message));
            }
        }
        for node in unreachable {
            self.send_snapshot(shared, node);
        }
    }

    /// Sends entries that were loaded because they were not in the cache.
    pub(crate) fn on_loaded<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        ticket: Ticket,
        loaded: Loaded,
    ) -> Result<(), Ignored> {
        let waiting = self.progress.iter_mut().find(|(_, progress)| progress.loading == Some(ticket));
        let (node, progress) = waiting.ok_or(Ignored::StaleAnswer)?;
        progress.loading = None;
        self.loads_failed = 0;
        let first = progress.next_index;
        let prev_index = first.previous();
        // If the entries were compacted meanwhile, the next flush sends a snapshot.
        let prev_term = shared.log.term_at(prev_index).ok_or(Ignored::StaleAnswer)?;
        let entries = checked_entries(shared, first, loaded)?;
        let last = first.plus(entries.len() as u64 - 1);
        let (term, commit_index) = (shared.term(), shared.commitment.index());
        let batch = EntryBatch::encode(first, entries.iter().map(|(_, term, entry)| (*term, entry)));
        let message = AppendEntries { term, prev_index, prev_term, commit_index, batch };
        note_sent(progress, &message, last, shared.now());
        shared.chassis.outbox.send(*node, Message::AppendEntries(message));
        Ok(())
    }

    /// Entries that were not in the cache could not be loaded. Nothing is sent in their place.
    pub(crate) fn on_load_failed<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        ticket: Ticket,
        failure: LoadFailure,
    ) -> Result<Office, Ignored> {
        let waiting = self.progress.values_mut().find(|progress| progress.loading == Some(ticket));
        let progress = waiting.ok_or(Ignored::StaleAnswer)?;
        let index = progress.next_index;
        // The peer waits until a heartbeat is answered, so that a failing disk is not read again at once.
        progress.become_probe(index);
        progress.pause(shared.now());
        self.loads_failed += 1;
        match failure {
            LoadFailure::Damaged => shared.halt(HaltReason::Damaged { index }),
            // Another node may be able to read its log.
            LoadFailure::Compacted => {}
            _ if self.loads_failed >= READS_FAILED_MAX => return Ok(Office::GivesWay),
            _ => {}
        }
        Ok(Office::Stays)
    }

    /// A follower received an entry whose payload does not match its checksum. If this node's own copy changed, it is
    /// read from disk again, where a checksum shows whether it is sound. If it changed on the way, it is sent again.
    pub(crate) fn on_corrupt<E: Election>(
        &mut self,
        shared: &mut Shared<E>,
        from: NodeId,
        index: LogIndex,
    ) -> Result<(), Ignored> {
        let progress = self.get_mut(from)?;
        if index <= progress.match_index || index > shared.log.last() {
            return Err(Ignored::StaleAnswer);
        }
        progress.become_probe(progress.match_index.next());
        progress.pause(shared.now());
        shared.log.drop_corrupt(index);
        Err(Ignored::CorruptEntries)
    }

    /// Sends a peer the newest snapshot, because the log does not contain its next entries.
    fn send_snapshot<E: Election>(&mut self, shared: &mut Shared<E>, node: NodeId) {
        let now = shared.now();
        let Some(snapshot) = shared.snapshots.newest().cloned() else { return };
        let Some(progress) = self.progress.get_mut(&node) else { return };
        if !progress.is_alive(shared) {
            // A peer that is away gets nothing and does not delay compaction. Its next answer to a heartbeat changes
            // that.
            progress.pause(now);
            return;
        }
        let (index, term) = (snapshot.index, shared.term());
        announce(shared, node, snapshot.clone());
        let request = shared.chassis.outbox.request(LogRequest::SendSnapshot { to: node, term, snapshot });
        progress.become_probe(index.next());
        progress.pace = SendState::Snapshot { index, request: Some(request), since: now };
    }

    /// With each round of heartbeats: repeats announcements, and gives up transfers to peers that are gone.
    pub(crate) fn announce_snapshots<E: Election>(&mut self, shared: &mut Shared<E>) {
        let now = shared.now();
        let overdue_after = shared.settings().election_timeout_max;
        for (node, progress) in &mut self.progress {
            let SendState::Snapshot { index, request, since } = progress.pace else { continue };
            let is_gone = !progress.is_alive(shared);
            let is_overdue = request.is_none() && now.since(since) >= overdue_after;
            match shared.snapshots.newest() {
                Some(snapshot) if snapshot.index == index && !is_gone && !is_overdue => {
                    let snapshot = snapshot.clone();
                    announce(shared, *node, snapshot);
                }
                Some(snapshot) if snapshot.index > index && !is_gone && !is_overdue => {}
                _ => progress.become_probe(progress.match_index.next()),
            }
        }
    }

    /// Handles the end of a snapshot's transfer to a peer, successful or not.
    pub(crate) fn on_snapshot_ended(
        &mut self,
        now: Instant,
        ticket: Ticket,
        to: NodeId,
        ending: Ending,
    ) -> Result<Office, Ignored> {
        let progress = self.progress.get_mut(&to).ok_or(Ignored::StaleAnswer)?;
        match &mut progress.pace {
            SendState::Snapshot { request, since, .. } if *request == Some(ticket) => {
                *request = None;
                *since = now;
            }
            _ => return Err(Ignored::StaleAnswer),
        }
        if ending == Ending::Done {
            self.snapshots_unread = 0;
            return Ok(Office::Stays);
        }
        // The transfer is retried once the peer answers a heartbeat.
        progress.become_probe(progress.match_index.next());
        progress.pause(now);
        self.snapshots_unread += u32::from(ending == Ending::Unread);
        // Another node may be able to read its snapshot.
        let gives_way = ending == Ending::Unread && self.snapshots_unread >= READS_FAILED_MAX;
        Ok(if gives_way { Office::GivesWay } else { Office::Stays })
    }
}

/// Checks that what was loaded is what was written from `first` on. Returns as many of the entries as one message may
/// have.
pub(crate) fn checked_entries<E: Election>(
    shared: &mut Shared<E>,
    first: LogIndex,
    loaded: Loaded,
) -> Result<Vec<(LogIndex, Term, Entry)>, Ignored> {
    let expected = |((index, term, entry), at): (&(LogIndex, _, Entry), u64)| {
        index.0 == at && shared.log.term_at(*index) == Some(*term) && entry.is_intact()
    };
    let mut entries = match loaded {
        Loaded::Entries(entries) if !entries.is_empty() && entries.iter().zip(first.0..).all(expected) => entries,
        // What was loaded differs from what was written. Nothing of it may be sent.
        _ => {
            shared.halt(HaltReason::Damaged { index: first });
            return Err(Ignored::Halted);
        }
    };
    let batch_bytes_max = shared.settings().batch_bytes_max;
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|(_, _, entry)| {
        bytes += entry.encoded_len();
        bytes <= batch_bytes_max
    });
    entries.truncate(fitting.count().max(1));
    Ok(entries)
}

fn announce<E: Election>(shared: &mut Shared<E>, node: NodeId, snapshot: SnapshotMeta) {
    let (term, founding) = (shared.term(), shared.durable.founding());
    shared.chassis.outbox.send(node, Message::InstallSnapshot(InstallSnapshot { term, snapshot, founding }));
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
const READS_FAILED_MAX: u32 = 3;
