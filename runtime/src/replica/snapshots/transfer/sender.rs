//! The sending side of all transfers.

use quorate_protocol::{Instant, LogIndex, NodeId, ReplicatedLog, Ticket};

use super::id::TransferId;
use super::sending::Sending;
use crate::group::notice::Notice;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};
use crate::replica::context::Context;
use crate::replica::message::{Flow, SnapshotMessage};
use crate::replica::status::TransferProgress;

/// Snapshots that are being sent.
#[derive(Debug, Default)]
pub(in crate::replica::snapshots) struct SnapshotSender {
    /// At most one for each peer. Only on a leader, in its present term.
    sendings: Vec<Sending>,
    /// The time from which the rate allows the next piece.
    next_piece_at: Instant,
    /// True if a piece waits for that time.
    is_paced: bool,
}

/// A transfer whose snapshot could not be read.
pub(in crate::replica::snapshots) struct Unreadable {
    pub(in crate::replica::snapshots) sending: Sending,
    /// `None` if the store gave another answer than was asked for.
    pub(in crate::replica::snapshots) failure: Option<SnapshotFailure>,
}

impl SnapshotSender {
    /// Number of snapshots that are being sent.
    pub(in crate::replica::snapshots) fn len(&self) -> usize {
        self.sendings.len()
    }

    /// Sends a snapshot to a peer, as the core requests.
    pub(in crate::replica::snapshots) fn begin<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        request: Ticket,
        transfer: TransferId,
    ) {
        let retry_at = context.instant().after(context.settings.transfer_retry);
        self.sendings.push(Sending::new(request, transfer, retry_at));
        context.notice(Notice::SnapshotSending { to: transfer.peer, index: transfer.id.index });
        self.read_pieces(context);
    }

    /// Ends the transfer to a peer, because the core requests another one.
    pub(in crate::replica::snapshots) fn forget(&mut self, peer: NodeId) {
        self.sendings.retain(|sending| sending.transfer.peer != peer);
    }

    /// Drops all transfers, because this node no longer leads in this term. The next leader sends snapshots.
    pub(in crate::replica::snapshots) fn clear(&mut self) {
        self.sendings.clear();
    }

    /// Ends a transfer.
    pub(in crate::replica::snapshots) fn end(&mut self, transfer: TransferId) -> Option<Sending> {
        let place = self.sendings.iter().position(|sending| sending.transfer == transfer)?;
        Some(self.sendings.remove(place))
    }

    /// The peer has written the content up to `offset`.
    pub(in crate::replica::snapshots) fn on_progress<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        transfer: TransferId,
        offset: u64,
        flow: Flow,
    ) {
        if let Some(sending) = self.sendings.iter_mut().find(|sending| sending.transfer == transfer) {
            sending.on_progress(offset, flow, context.instant(), &context.settings);
        }
        self.read_pieces(context);
    }

    /// Returns the place of the transfer that waits for this read, and marks the read as done.
    pub(in crate::replica::snapshots) fn take_read(&mut self, ticket: Ticket) -> Option<usize> {
        self.sendings.iter_mut().position(|sending| sending.take_read(ticket))
    }

    /// Sends the piece that was read for the transfer at `place`. If it could not be read, ends and returns the
    /// transfer.
    pub(in crate::replica::snapshots) fn on_piece_read<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        place: usize,
        result: Result<SnapshotDone, SnapshotFailure>,
    ) -> Option<Unreadable> {
        let (offset, bytes, length, checksum) = match result {
            Ok(SnapshotDone::Piece { offset, bytes, length, checksum }) => (offset, bytes, length, checksum),
            other => return Some(Unreadable { sending: self.sendings.remove(place), failure: other.err() }),
        };
        let retry_at = context.instant().after(context.settings.transfer_retry);
        let sending = &mut self.sendings[place];
        if sending.read(offset, &bytes, length, retry_at) {
            context.counters.snapshot_bytes_sent += bytes.len() as u64;
            sending.transfer.send(context, SnapshotMessage::Piece { offset, length, checksum }, bytes);
        }
        self.read_pieces(context);
        None
    }

    /// Sends unacknowledged content again where it is time. Returns the transfers that are given up.
    pub(in crate::replica::snapshots) fn on_timeout<L: ReplicatedLog>(
        &mut self,
        context: &Context<L>,
    ) -> Vec<TransferId> {
        let (now, settings) = (context.instant(), &context.settings);
        let given_up = self.sendings.iter_mut().filter_map(|sending| {
            let is_given_up = sending.on_timeout(now, settings);
            is_given_up.then_some(sending.transfer)
        });
        given_up.collect()
    }

    /// Reads the next piece of each transfer whose window has room, as far as the rate allows. Transfers take turns.
    pub(in crate::replica::snapshots) fn read_pieces<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let now = context.instant();
        self.is_paced = false;
        for place in 0..self.sendings.len() {
            let sending = &mut self.sendings[place];
            let Some(piece) = sending.wants(&context.settings) else { continue };
            if self.next_piece_at > now {
                self.is_paced = true;
                // The first to wait is the first to go on.
                return self.sendings.rotate_left(place);
            }
            let (index, offset, bytes_max) = (sending.index(), piece.offset, piece.bytes_max);
            sending.reads(context.operate(SnapshotOperation::Read { index, offset, bytes_max }));
            self.next_piece_at = now.after(context.settings.piece_interval());
        }
    }

    /// Returns the index of the oldest snapshot that is being sent.
    pub(in crate::replica::snapshots) fn oldest(&self) -> Option<LogIndex> {
        self.sendings.iter().map(Sending::index).min()
    }

    pub(in crate::replica::snapshots) fn progress(&self) -> Vec<TransferProgress> {
        self.sendings.iter().map(Sending::progress).collect()
    }

    pub(in crate::replica::snapshots) fn deadline(&self) -> Option<Instant> {
        let paced = self.is_paced.then_some(self.next_piece_at);
        self.sendings.iter().map(Sending::deadline).chain(paced).min()
    }
}
