//! The receiving side of one transfer.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{Instant, LogIndex, NodeId, SnapshotMeta, Term, Ticket};

use crate::ReplicaSettings;
use crate::replica::message::{Flow, SnapshotId};

/// A snapshot that the core admitted, as far as it has arrived. At most `window_bytes` of it wait to be written.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// The core's request.
    pub(super) request: Ticket,
    /// The leader that may send it.
    pub(super) from: NodeId,
    /// Its term: pieces that bear another are refused.
    pub(super) term: Term,
    pub(super) meta: SnapshotMeta,
    /// Bytes and CRC-32C of the whole, once the first piece has come.
    content: Option<(u64, u32)>,
    /// Everything before was given to the store.
    accepted: u64,
    /// Everything before is written. Not above `accepted`.
    written: u64,
    /// Writes under way, and where they end.
    writes: VecDeque<(Ticket, u64)>,
    pub(super) finishing: Option<Ticket>,
    /// A gap was told of; not again before the next piece fits.
    is_gap_told: bool,
    /// Given up then, unless it gets further.
    deadline: Instant,
}

/// A snapshot that was taken in whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(super) from: NodeId,
    pub(super) id: SnapshotId,
}

/// What to do with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin, and write it.
    Begin,
    /// Write it.
    Write,
    /// Say how far the content is here.
    Tell(Flow),
    /// Nothing.
    Drop,
}

impl Receiving {
    pub(super) fn new(
        request: Ticket,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
        now: Instant,
        settings: &ReplicaSettings,
    ) -> Self {
        Self {
            request,
            from,
            term,
            meta,
            content: None,
            accepted: 0,
            written: 0,
            writes: VecDeque::new(),
            finishing: None,
            is_gap_told: false,
            deadline: now.after(settings.transfer_timeout),
        }
    }

    pub(super) fn id(&self) -> SnapshotId {
        SnapshotId { index: self.meta.index, term: self.meta.term }
    }

    /// What is being taken in covers the log up to here; how much of it is here, of how much.
    pub(crate) fn progress(&self) -> (NodeId, LogIndex, u64, u64) {
        (self.from, self.meta.index, self.written, self.content.map_or(0, |(length, _)| length))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the store holds a part of it.
    pub(super) fn has_begun(&self) -> bool {
        self.content.is_some()
    }

    /// The content is here up to this offset.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Judges a piece. Pieces of other content than what came first begin it anew.
    pub(super) fn judge(&mut self, offset: u64, content: (u64, u32), bytes: &Bytes, window_bytes: usize) -> Verdict {
        if self.finishing.is_some() {
            return Verdict::Tell(Flow::Steady);
        }
        if self.content.is_some_and(|known| known != content) || (self.content.is_none() && offset > 0) {
            self.forget_content();
            if offset > 0 {
                return self.gap();
            }
        }
        if offset != self.accepted {
            return if offset > self.accepted { self.gap() } else { Verdict::Tell(Flow::Steady) };
        }
        let waiting = usize::try_from(self.accepted - self.written).unwrap_or(usize::MAX);
        if waiting.saturating_add(bytes.len()) > window_bytes.saturating_mul(2) {
            return Verdict::Drop;
        }
        self.is_gap_told = false;
        if self.content.is_none() { Verdict::Begin } else { Verdict::Write }
    }

    /// A piece goes to the store.
    pub(super) fn accept(&mut self, ticket: Ticket, content: (u64, u32), bytes: &Bytes) {
        self.content = Some(content);
        self.accepted += bytes.len() as u64;
        self.writes.push_back((ticket, self.accepted));
    }

    /// Whether this is one of the writes under way.
    pub(super) fn is_write(&self, ticket: Ticket) -> bool {
        self.writes.iter().any(|(write, _)| *write == ticket)
    }

    /// A write is done; they are done in their order. Gives the checksum when everything is written.
    pub(super) fn wrote(&mut self, ticket: Ticket, now: Instant, settings: &ReplicaSettings) -> Option<u32> {
        while let Some((write, end)) = self.writes.pop_front() {
            self.written = end;
            if write == ticket {
                break;
            }
        }
        self.moved(now, settings);
        let (length, checksum) = self.content?;
        (self.written == length).then_some(checksum)
    }

    pub(super) fn moved(&mut self, now: Instant, settings: &ReplicaSettings) {
        self.deadline = now.after(settings.transfer_timeout);
    }

    /// Whether it is given up: it did not get further for too long, and nothing is being done about it here.
    pub(super) fn is_given_up(&mut self, now: Instant, settings: &ReplicaSettings) -> bool {
        if self.deadline > now {
            return false;
        }
        if self.finishing.is_some() || !self.writes.is_empty() {
            self.deadline = now.after(settings.transfer_timeout);
            return false;
        }
        true
    }

    fn forget_content(&mut self) {
        self.content = None;
        self.accepted = 0;
        self.written = 0;
        self.writes.clear();
    }

    fn gap(&mut self) -> Verdict {
        if std::mem::replace(&mut self.is_gap_told, true) { Verdict::Drop } else { Verdict::Tell(Flow::Broken) }
    }
}
