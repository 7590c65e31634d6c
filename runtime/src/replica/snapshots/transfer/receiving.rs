//! The receiving side of one transfer.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{Instant, ReplicatedLog, SnapshotMeta, Ticket};

use super::id::TransferId;
use crate::group::snapshot::SnapshotOperation;
use crate::replica::context::Context;
use crate::replica::message::{Flow, SnapshotMessage};
use crate::replica::settings::ReplicaSettings;
use crate::replica::status::TransferProgress;

/// A snapshot that the core admitted, with the part of it that has arrived. At most `window_bytes` of it wait to be
/// written.
#[derive(Debug)]
pub(super) struct Receiving {
    /// The core's request.
    pub(super) request: Ticket,
    /// The only transfer whose pieces are accepted: of this leader, in this term.
    pub(super) transfer: TransferId,
    pub(super) meta: SnapshotMeta,
    /// The whole content, once the first piece has come.
    content: Option<Content>,
    /// Everything before this offset was passed to the store.
    accepted: u64,
    /// Everything before this offset is written. Not above `accepted`.
    written: u64,
    /// Writes under way, in their order.
    writes: VecDeque<Write>,
    /// Set once everything is written: the check of the whole content. No piece is accepted after that.
    pub(super) finishing: Option<Ticket>,
    /// True if a gap was reported. It is not reported again before the next piece fits.
    is_gap_told: bool,
    /// The time at which the transfer is given up, unless it makes progress.
    deadline: Instant,
}

/// The whole content of a snapshot, according to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica::snapshots) struct Content {
    pub(in crate::replica::snapshots) length: u64,
    /// CRC-32C.
    pub(in crate::replica::snapshots) checksum: u32,
}

/// A write of one piece.
#[derive(Clone, Copy, Debug)]
struct Write {
    ticket: Ticket,
    /// The offset at which the piece ends.
    end: u64,
}

/// The reaction to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
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
        transfer: TransferId,
        meta: SnapshotMeta,
        now: Instant,
        settings: &ReplicaSettings,
    ) -> Self {
        Self {
            request,
            transfer,
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

    pub(super) fn progress(&self) -> TransferProgress {
        let (peer, index) = (self.transfer.peer, self.meta.index);
        let length = self.content.map_or(0, |content| content.length);
        TransferProgress { peer, index, bytes: self.written, length }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Decides about a piece. If its content differs from that of the first piece, the snapshot is received from the
    /// start again.
    pub(super) fn judge(&mut self, offset: u64, content: Content, bytes: usize, window_bytes: usize) -> Reaction {
        if self.finishing.is_some() {
            return Reaction::Tell(Flow::Steady);
        }
        if self.content.is_some_and(|known| known != content) || (self.content.is_none() && offset > 0) {
            self.forget_content();
            if offset > 0 {
                return self.gap();
            }
        }
        if offset != self.accepted {
            return if offset > self.accepted { self.gap() } else { Reaction::Tell(Flow::Steady) };
        }
        let waiting = usize::try_from(self.accepted - self.written).unwrap_or(usize::MAX);
        if waiting.saturating_add(bytes) > window_bytes.saturating_mul(2) {
            return Reaction::Drop;
        }
        self.is_gap_told = false;
        if self.content.is_none() { Reaction::Begin } else { Reaction::Write }
    }

    /// Notes that a piece is passed to the store.
    pub(super) fn accept(&mut self, ticket: Ticket, content: Content, bytes: usize) {
        self.content = Some(content);
        self.accepted += bytes as u64;
        self.writes.push_back(Write { ticket, end: self.accepted });
    }

    /// Returns true if this is one of the writes under way.
    pub(super) fn is_write(&self, ticket: Ticket) -> bool {
        self.writes.iter().any(|write| write.ticket == ticket)
    }

    /// Notes that a write is done. Writes complete in their order. Returns the checksum once everything is written.
    pub(super) fn wrote(&mut self, ticket: Ticket, now: Instant, settings: &ReplicaSettings) -> Option<u32> {
        while let Some(write) = self.writes.pop_front() {
            self.written = write.end;
            if write.ticket == ticket {
                break;
            }
        }
        self.moved(now, settings);
        let Content { length, checksum } = self.content?;
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

    /// Reports the offset up to which the content is written.
    pub(super) fn tell_progress<L: ReplicatedLog>(&self, context: &mut Context<L>, flow: Flow) {
        self.transfer.send(context, SnapshotMessage::Progress { offset: self.written, flow }, Bytes::new());
    }

    /// Discards the part that the store holds.
    pub(super) fn abort<L: ReplicatedLog>(&self, context: &mut Context<L>) {
        if self.content.is_some() {
            context.operate(SnapshotOperation::Abort);
        }
    }

    fn forget_content(&mut self) {
        self.content = None;
        self.accepted = 0;
        self.written = 0;
        self.writes.clear();
    }

    fn gap(&mut self) -> Reaction {
        if std::mem::replace(&mut self.is_gap_told, true) { Reaction::Drop } else { Reaction::Tell(Flow::Broken) }
    }
}
