//! The receiving side of one transfer.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{Instant, LogIndex, NodeId, SnapshotMeta, Term, Ticket};

use crate::replica::message::{Flow, SnapshotId};
use crate::replica::settings::ReplicaSettings;

/// A snapshot that the core admitted, with the part of it that has arrived. At most `window_bytes` of it wait to be
/// written.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// The core's request.
    pub(super) request: Ticket,
    /// The leader that may send it.
    pub(super) from: NodeId,
    /// The leader's term. Pieces with another term are refused.
    pub(super) term: Term,
    pub(super) meta: SnapshotMeta,
    /// Bytes and CRC-32C of the whole content, once the first piece has come.
    content: Option<(u64, u32)>,
    /// Everything before this offset was passed to the store.
    accepted: u64,
    /// Everything before this offset is written. Not above `accepted`.
    written: u64,
    /// Writes under way, with the offsets at which they end.
    writes: VecDeque<(Ticket, u64)>,
    pub(super) finishing: Option<Ticket>,
    /// True if a gap was reported. It is not reported again before the next piece fits.
    is_gap_told: bool,
    /// The time at which the transfer is given up, unless it makes progress.
    deadline: Instant,
}

/// A snapshot that was received completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(super) from: NodeId,
    pub(super) id: SnapshotId,
}

/// The reaction to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin a snapshot, and write the piece.
    Begin,
    /// Write the piece.
    Write,
    /// Report the offset up to which the content has arrived.
    Tell(Flow),
    /// Ignore the piece.
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

    /// Returns the sender, the index that the snapshot covers, and the bytes that have arrived and that there are in
    /// total.
    pub(crate) fn progress(&self) -> (NodeId, LogIndex, u64, u64) {
        (self.from, self.meta.index, self.written, self.content.map_or(0, |(length, _)| length))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns true if the store holds a part of it.
    pub(super) fn has_begun(&self) -> bool {
        self.content.is_some()
    }

    /// Returns the offset up to which the content is written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Decides about a piece. If its content differs from that of the first piece, the snapshot is received from the
    /// start again.
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

    /// Notes that a piece is passed to the store.
    pub(super) fn accept(&mut self, ticket: Ticket, content: (u64, u32), length: usize) {
        self.content = Some(content);
        self.accepted += length as u64;
        self.writes.push_back((ticket, self.accepted));
    }

    /// Returns true if this is one of the writes under way.
    pub(super) fn is_write(&self, ticket: Ticket) -> bool {
        self.writes.iter().any(|(write, _)| *write == ticket)
    }

    /// Notes that a write is done. Writes complete in their order. Returns the checksum once everything is written.
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

    /// Returns true if the transfer is given up: it made no progress for too long, and no work for it is under way
    /// here.
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
