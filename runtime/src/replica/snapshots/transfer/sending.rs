//! The sending side of one transfer.

use bytes::Bytes;
use quorate_protocol::{Instant, LogIndex, Ticket};

use super::id::TransferId;
use crate::replica::message::Flow;
use crate::replica::settings::ReplicaSettings;
use crate::replica::status::TransferProgress;

/// A snapshot that is being sent to one peer. At most `window_bytes` are unacknowledged, and one piece is read at a
/// time.
#[derive(Debug)]
pub(in crate::replica::snapshots) struct Sending {
    /// The core's request.
    pub(in crate::replica::snapshots) request: Ticket,
    pub(in crate::replica::snapshots) transfer: TransferId,
    /// Bytes of the whole content, once a piece was read.
    length: Option<u64>,
    /// The peer has everything before this offset. Goes back only if the peer starts again.
    acknowledged: u64,
    /// The next byte to read. Not below `acknowledged`.
    next: u64,
    /// The read under way. At most one.
    reading: Option<Ticket>,
    /// True if the peer has answered since the last time-out. Otherwise only one piece is on its way.
    is_awaited: bool,
    /// The time of the last progress.
    moved_at: Instant,
    /// The time at which unacknowledged content is sent again.
    retry_at: Instant,
}

/// A piece to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes_max: usize,
}

impl Sending {
    pub(super) fn new(request: Ticket, transfer: TransferId, now: Instant) -> Self {
        Self {
            request,
            transfer,
            length: None,
            acknowledged: 0,
            next: 0,
            reading: None,
            is_awaited: false,
            moved_at: now,
            retry_at: now,
        }
    }

    /// Returns the index up to which the snapshot covers the log.
    pub(in crate::replica::snapshots) fn index(&self) -> LogIndex {
        self.transfer.id.index
    }

    pub(super) fn progress(&self) -> TransferProgress {
        let (peer, index) = (self.transfer.peer, self.index());
        TransferProgress { peer, index, bytes: self.acknowledged, length: self.length.unwrap_or(0) }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.retry_at
    }

    /// Returns the next piece to read, if the window has room and no piece is being read.
    pub(super) fn wants(&self, settings: &ReplicaSettings) -> Option<Piece> {
        let window = if self.is_awaited { settings.window_bytes } else { settings.chunk_bytes };
        let on_the_way = usize::try_from(self.next - self.acknowledged).unwrap_or(usize::MAX);
        let is_whole = self.length.is_some_and(|length| self.next >= length);
        let is_first = self.next == self.acknowledged;
        let has_room = is_first || on_the_way.saturating_add(settings.chunk_bytes) <= window;
        let wants = self.reading.is_none() && !is_whole && has_room;
        wants.then_some(Piece { offset: self.next, bytes_max: settings.chunk_bytes })
    }

    pub(super) fn reads(&mut self, ticket: Ticket) {
        self.reading = Some(ticket);
    }

    /// Returns true if this is the read under way, and marks it as done.
    pub(super) fn take_read(&mut self, ticket: Ticket) -> bool {
        self.reading.take_if(|reading| *reading == ticket).is_some()
    }

    /// Takes a piece that was read. Returns true if it is still the next to send.
    pub(super) fn read(&mut self, offset: u64, bytes: &Bytes, length: u64, retry_at: Instant) -> bool {
        self.length = Some(length);
        if offset != self.next || bytes.is_empty() {
            return false;
        }
        self.next += bytes.len() as u64;
        self.retry_at = retry_at;
        true
    }

    /// The peer has everything up to `offset`. The offset goes back only if the peer started again.
    pub(super) fn on_progress(&mut self, offset: u64, flow: Flow, now: Instant, settings: &ReplicaSettings) {
        if self.length.is_none_or(|length| offset > length) {
            return;
        }
        if offset > self.acknowledged || !self.is_awaited {
            self.moved_at = now;
            self.retry_at = now.after(settings.transfer_retry);
        }
        if flow == Flow::Broken || offset < self.acknowledged || offset > self.next || !self.is_awaited {
            self.next = offset;
        }
        self.is_awaited = true;
        self.acknowledged = offset;
    }

    /// Sends unacknowledged content again if it is time. Returns true if the transfer is given up.
    pub(super) fn on_timeout(&mut self, now: Instant, settings: &ReplicaSettings) -> bool {
        if self.retry_at > now {
            return false;
        }
        self.retry_at = now.after(settings.transfer_retry);
        self.is_awaited = false;
        self.next = self.acknowledged;
        if self.length == Some(self.acknowledged) {
            // Everything has arrived. A question for the end of the transfer needs a piece to send.
            self.next = self.acknowledged.saturating_sub(1);
            self.acknowledged = self.next;
        }
        now.since(self.moved_at) >= settings.transfer_timeout
    }
}
