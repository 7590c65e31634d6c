//! The receiving side of all transfers.

use bytes::Bytes;
use quorate_protocol::{Instant, LogAnswer, LogIndex, NodeId, ReplicatedLog, SnapshotMeta, Ticket};

use super::id::TransferId;
use super::receiving::{Content, Reaction, Receiving};
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation, SnapshotReader};
use crate::replica::context::Context;
use crate::replica::message::{Flow, SnapshotId, SnapshotMessage};
use crate::replica::snapshots::failure::LastFailure;
use crate::replica::snapshots::restore::Restore;
use crate::replica::status::TransferProgress;

/// The snapshot that is being received, and the last ones that were.
#[derive(Debug, Default)]
pub(in crate::replica::snapshots) struct SnapshotReceiver {
    /// The transfer that the core admitted last.
    under_way: Option<Receiving>,
    /// The snapshot that could not be finished last.
    refused: Option<Refused>,
    /// The transfer that was completed last, so that its sender can be answered again.
    completed: Option<Completed>,
}

/// A snapshot that could not be finished.
#[derive(Debug)]
struct Refused {
    meta: SnapshotMeta,
    /// It is not received again before this time.
    until: Instant,
}

/// A transfer that was completed, in whatever term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Completed {
    from: NodeId,
    id: SnapshotId,
}

impl SnapshotReceiver {
    /// Receives a snapshot from the sender that the core admits.
    pub(in crate::replica::snapshots) fn begin<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        request: Ticket,
        transfer: TransferId,
        meta: SnapshotMeta,
    ) {
        let now = context.instant();
        let is_same = |under_way: &&mut Receiving| under_way.transfer.peer == transfer.peer && under_way.meta == meta;
        if let Some(same) = self.under_way.as_mut().filter(is_same) {
            (same.request, same.transfer) = (request, transfer);
            same.moved(now, &context.settings);
        } else if self.refused.as_ref().is_some_and(|refused| refused.meta == meta && now < refused.until) {
            // The sender continues meanwhile, and is answered when it is time to retry.
            return context.complete(request, LogAnswer::SnapshotReceiveFailed);
        } else {
            if let Some(other) = self.under_way.take() {
                other.abort(context);
            }
            self.under_way = Some(Receiving::new(request, transfer, meta, now, &context.settings));
        }
        if let Some(receiving) = &self.under_way {
            receiving.tell_progress(context, Flow::Steady);
        }
    }

    pub(in crate::replica::snapshots) fn on_piece<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        transfer: TransferId,
        content: Content,
        offset: u64,
        bytes: Bytes,
    ) {
        let Some(receiving) = &mut self.under_way else {
            // The sender has not received the message that the snapshot is durable.
            if self.completed == Some(Completed::of(transfer)) {
                return transfer.send(context, SnapshotMessage::Durable, Bytes::new());
            }
            context.counters.pieces_refused += 1;
            return;
        };
        if receiving.transfer != transfer {
            context.counters.pieces_refused += 1;
            return;
        }
        match receiving.judge(offset, content, bytes.len(), context.settings.window_bytes) {
            Reaction::Drop => return context.counters.pieces_refused += 1,
            Reaction::Tell(flow) => return receiving.tell_progress(context, flow),
            Reaction::Begin => {
                let (meta, length) = (receiving.meta.clone(), content.length);
                context.operate(SnapshotOperation::Create { meta, length });
            }
            Reaction::Write => {}
        }
        let length = bytes.len();
        context.counters.snapshot_bytes_received += length as u64;
        let ticket = context.operate(SnapshotOperation::Write { offset, bytes });
        receiving.accept(ticket, content, length);
    }

    /// Returns true if a write or the check of the received snapshot has this ticket.
    pub(in crate::replica::snapshots) fn is_write(&self, ticket: Ticket) -> bool {
        self.under_way.as_ref().is_some_and(|receiving| receiving.is_write(ticket))
    }

    /// Returns true if this is the check of the whole received snapshot.
    pub(in crate::replica::snapshots) fn is_finish(&self, ticket: Ticket) -> bool {
        self.under_way.as_ref().is_some_and(|receiving| receiving.finishing == Some(ticket))
    }

    /// A piece is written. After the last one, the whole snapshot is checked and a state machine is made with `reader`.
    pub(in crate::replica::snapshots) fn on_written<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        last_failure: &mut LastFailure,
        ticket: Ticket,
        result: Result<SnapshotDone, SnapshotFailure>,
        reader: impl FnOnce(LogIndex) -> SnapshotReader,
    ) {
        if let Err(failure) = result {
            let reason = format!("it could not be written ({failure:?})");
            return self.give_up(context, last_failure, reason, SnapshotMessage::GivenUp);
        }
        let now = context.instant();
        let Some(receiving) = &mut self.under_way else { return };
        let whole = receiving.wrote(ticket, now, &context.settings);
        receiving.tell_progress(context, Flow::Steady);
        if let Some(checksum) = whole {
            let read = reader(receiving.meta.index);
            receiving.finishing = Some(context.operate(SnapshotOperation::Finish { checksum, read }));
        }
    }

    /// The whole snapshot is checked: if it is durable, its state machine is kept until the core's log starts after it.
    pub(in crate::replica::snapshots) fn on_finished<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        last_failure: &mut LastFailure,
        restore: &mut Restore,
        result: Result<SnapshotDone, SnapshotFailure>,
    ) {
        match result {
            Ok(SnapshotDone::Received { state, .. }) => {
                let Some(Receiving { request, transfer, meta, .. }) = self.under_way.take() else { return };
                self.completed = Some(Completed::of(transfer));
                context.counters.snapshots_received += 1;
                last_failure.clear();
                restore.keep_ready(context, meta.clone(), state);
                transfer.send(context, SnapshotMessage::Durable, Bytes::new());
                context.complete(request, LogAnswer::SnapshotDurable { snapshot: meta });
            }
            Err(SnapshotFailure::Damaged) => {
                let reason = "it does not match the checksum of its sender".into();
                self.give_up(context, last_failure, reason, SnapshotMessage::Damaged);
            }
            other => {
                let until = context.instant().after(context.settings.retry);
                let meta = self.under_way.as_ref().map(|receiving| receiving.meta.clone());
                self.refused = meta.map(|meta| Refused { meta, until });
                let reason = format!("it could not be finished ({:?})", other.err());
                self.give_up(context, last_failure, reason, SnapshotMessage::GivenUp);
            }
        }
    }

    /// Gives the transfer up if it made no progress for too long.
    pub(in crate::replica::snapshots) fn on_timeout<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        last_failure: &mut LastFailure,
    ) {
        let now = context.instant();
        if self.under_way.as_mut().is_some_and(|receiving| receiving.is_given_up(now, &context.settings)) {
            let reason = "no piece came for too long".into();
            self.give_up(context, last_failure, reason, SnapshotMessage::GivenUp);
        }
    }

    pub(in crate::replica::snapshots) fn progress(&self) -> Option<TransferProgress> {
        self.under_way.as_ref().map(Receiving::progress)
    }

    pub(in crate::replica::snapshots) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(Receiving::deadline)
    }

    /// Ends the transfer without a snapshot, and reports it to the sender and the core.
    fn give_up<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        last_failure: &mut LastFailure,
        reason: String,
        message: SnapshotMessage,
    ) {
        let Some(receiving) = self.under_way.take() else { return };
        receiving.abort(context);
        last_failure.note(context, receiving.meta.index, reason);
        receiving.transfer.send(context, message, Bytes::new());
        context.complete(receiving.request, LogAnswer::SnapshotReceiveFailed);
    }
}

impl Completed {
    fn of(transfer: TransferId) -> Self {
        Self { from: transfer.peer, id: transfer.id }
    }
}
