//! Snapshots: they are made of this replica's own state, sent to peers and received from them, and restored.

use std::any::Any;

use quorate_protocol::{
    HaltReason, Input, Instant, LogAnswer, LogCommand, LogIndex, NodeId, Operation, ReplicatedLog, Signal,
    SnapshotMeta, StorageLevel, Term, Ticket,
};

use super::application::Application;
use super::catch_up::CatchUpWatch;
use super::content::Origin;
use super::context::Context;
use super::message::{SnapshotEnvelope, SnapshotMessage};
use super::sessions::SnapshotForm;
use crate::group::interface::CallId;
use crate::group::notice::Notice;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure};
use crate::replica::explain::Obstacle;
use crate::replica::state_machine::StateMachine;
use crate::replica::status::TransferProgress;

mod asked;
mod build;
mod failure;
mod growth;
mod restore;
mod sizes;
mod stored;
mod transfer;

use asked::Asked;
use build::Build;
use failure::LastFailure;
use restore::Restore;
use stored::Stored;
use transfer::{Content, Sending, SnapshotReceiver, SnapshotSender, TransferId, Unreadable};

/// Snapshots that are made, stored, restored, sent and received.
#[derive(Debug)]
pub(super) struct Snapshots {
    build: Build,
    asked: Asked,
    stored: Stored,
    restore: Restore,
    sender: SnapshotSender,
    receiver: SnapshotReceiver,
    last_failure: LastFailure,
}

impl Snapshots {
    pub(super) fn new() -> Self {
        Self {
            build: Build::new(),
            asked: Asked::default(),
            stored: Stored::default(),
            restore: Restore::default(),
            sender: SnapshotSender::default(),
            receiver: SnapshotReceiver::default(),
            last_failure: LastFailure::default(),
        }
    }

    /// Makes a snapshot for a caller, unless the newest has everything that is applied.
    pub(super) fn ask<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &Context<L>,
        application: &Application<S>,
        (call, until): (CallId, Instant),
        compacts: bool,
    ) {
        self.asked.add(call, application.applied().index(), compacts, until.max(context.instant()));
        self.build.allow_retry();
    }

    /// Makes a snapshot if enough was applied since the last one, or the log or a caller wants one.
    pub(super) fn build_if_due<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &mut Context<L>,
        application: &Application<S>,
    ) {
        let is_due = self.build.is_due(context.instant(), &context.settings, self.asked.is_waiting());
        if !is_due || self.is_restoring() {
            return;
        }
        if !self.stored.wants(application.applied().index()) {
            self.build.on_fulfilled();
            return self.answer(context);
        }
        let form = if self.stored.is_state_wanted() { SnapshotForm::WithState } else { application.form() };
        if let Some(meta) = application.applied().snapshot_meta() {
            self.build.begin(context, application, meta, form);
        }
    }

    /// An entry was applied.
    pub(super) fn on_applied(&mut self, index: LogIndex, bytes: usize) {
        self.build.growth().on_applied(index, bytes);
    }

    /// The core writes to its log.
    pub(super) fn on_written(&mut self, operations: &[Operation]) {
        self.build.growth().on_written(operations);
    }

    /// The log wants a snapshot.
    pub(super) fn on_compact_requested(&mut self) {
        self.build.want();
    }

    /// The disk's reserve is used up, or is available again.
    pub(super) fn on_storage(&mut self, level: StorageLevel) {
        self.build.on_storage(level);
    }

    /// Everything up to `index` is committed.
    pub(super) fn on_committed<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) {
        self.restore.forget_ready(context, index);
    }

    /// Begins to restore a snapshot, off the loop. If its state machine is ready, returns it at once.
    pub(super) fn restore<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &mut Context<L>,
        application: &Application<S>,
        meta: &SnapshotMeta,
    ) -> Option<Box<dyn Any + Send>> {
        self.restore.begin(context, application, meta)
    }

    /// Ends the restore of this ticket, and returns its snapshot.
    pub(super) fn take_restored(&mut self, ticket: Ticket) -> Option<SnapshotMeta> {
        self.restore.take(ticket)
    }

    /// The state machine was restored from a snapshot.
    pub(super) fn on_restored<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        meta: SnapshotMeta,
        form: SnapshotForm,
    ) {
        self.build.growth().on_restored();
        context.notice(Notice::SnapshotInstalled { index: meta.index });
        self.stored.on_durable(meta, form);
        self.last_failure.clear();
        self.delete_old(context);
    }

    /// Takes the result of an operation other than a restore.
    pub(super) fn on_done<L: ReplicatedLog, S: StateMachine>(
        &mut self,
        context: &mut Context<L>,
        application: &Application<S>,
        ticket: Ticket,
        result: Result<SnapshotDone, SnapshotFailure>,
    ) {
        if let Some((meta, form)) = self.build.take(ticket) {
            self.on_built(context, meta, form, result);
        } else if let Some(index) = self.stored.take_verified(ticket) {
            self.on_verified(context, index, result.err());
        } else if let Some(place) = self.sender.take_read(ticket) {
            if let Some(unreadable) = self.sender.on_piece_read(context, place, result) {
                self.on_unreadable(context, unreadable);
            }
        } else if self.receiver.is_finish(ticket) {
            self.receiver.on_finished(context, &mut self.last_failure, &mut self.restore, result);
        } else if self.receiver.is_write(ticket) {
            let reader = |index| application.reader(Origin::Peer, index);
            self.receiver.on_written(context, &mut self.last_failure, ticket, result, reader);
        }
    }

    /// Sends the newest snapshot to a peer, as the core requests.
    pub(super) fn send<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        request: Ticket,
        to: NodeId,
        term: Term,
        meta: &SnapshotMeta,
    ) {
        self.sender.forget(to);
        let is_full = self.sender.len() >= context.settings.snapshot_sends_max;
        if is_full || self.stored.is_doubtful(meta.index) {
            // The core asks again later, for the snapshot that replaces this one if it is doubtful.
            return context.complete(request, LogAnswer::SnapshotSendFailed { to });
        }
        if self.stored.want_state(meta.index) {
            self.build.want_at_once();
            return context.complete(request, LogAnswer::SnapshotSendFailed { to });
        }
        self.sender.begin(context, request, TransferId::of(to, term, meta));
    }

    /// Receives a snapshot from the sender that the core admits.
    pub(super) fn receive<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        request: Ticket,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
    ) {
        self.receiver.begin(context, request, TransferId::of(from, term, &meta), meta);
    }

    /// The leader or the term has changed: this node sends no snapshots of its former term.
    pub(super) fn on_leader_changed<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        self.sender.clear();
        self.delete_old(context);
    }

    pub(super) fn on_envelope<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        catch_up: &mut CatchUpWatch,
        from: NodeId,
        envelope: SnapshotEnvelope,
    ) {
        let SnapshotEnvelope { term, id, message, content } = envelope;
        let transfer = TransferId { peer: from, term, id };
        match message {
            SnapshotMessage::Piece { offset, length, checksum } => {
                self.receiver.on_piece(context, transfer, Content { length, checksum }, offset, content);
            }
            SnapshotMessage::Progress { offset, flow } => self.sender.on_progress(context, transfer, offset, flow),
            SnapshotMessage::Durable => {
                if let Some(sending) = self.end_sending(context, transfer) {
                    context.counters.snapshots_sent += 1;
                    self.last_failure.clear();
                    catch_up.on_snapshot_sent(from);
                    context.complete(sending.request, LogAnswer::SnapshotSent { to: from, index: id.index });
                }
            }
            SnapshotMessage::GivenUp => self.give_up_sending(context, transfer, "the peer gave it up"),
            SnapshotMessage::Damaged => {
                if let Some(sending) = self.end_sending(context, transfer) {
                    self.stored.verify(context, id.index);
                    self.on_sending_failed(context, &sending, "the peer found it damaged");
                }
            }
        }
    }

    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        self.asked.on_halted(context, reason);
    }

    pub(super) fn on_timeout<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        self.asked.expire(context);
        self.receiver.on_timeout(context, &mut self.last_failure);
        for transfer in self.sender.on_timeout(context) {
            self.give_up_sending(context, transfer, "the peer accepted no piece for too long");
        }
        self.sender.read_pieces(context);
    }

    /// Returns the next time at which work is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines =
            [self.sender.deadline(), self.receiver.deadline(), self.build.deadline(), self.asked.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Index of the newest durable snapshot.
    pub(super) fn newest(&self) -> Option<LogIndex> {
        self.stored.newest_index()
    }

    /// Index of the snapshot that is being made.
    pub(super) fn building(&self) -> Option<LogIndex> {
        self.build.index()
    }

    /// Index of the snapshot that is being restored.
    pub(super) fn restoring(&self) -> Option<LogIndex> {
        self.restore.index()
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restoring().is_some()
    }

    pub(super) fn is_disk_low(&self) -> bool {
        self.build.is_disk_low()
    }

    pub(super) fn sending(&self) -> Vec<TransferProgress> {
        self.sender.progress()
    }

    pub(super) fn receiving(&self) -> Option<TransferProgress> {
        self.receiver.progress()
    }

    /// Returns the last failure.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        self.last_failure.obstacle()
    }

    fn on_built<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        meta: SnapshotMeta,
        form: SnapshotForm,
        result: Result<SnapshotDone, SnapshotFailure>,
    ) {
        if !self.stored.wants(meta.index) {
            // A snapshot from the leader has superseded it.
            return;
        }
        let reason = match result {
            Ok(SnapshotDone::Durable { length, .. }) => return self.on_snapshot_durable(context, meta, form, length),
            Ok(_) => "the store gave another answer than was asked for".into(),
            Err(failure) => format!("{failure:?}"),
        };
        self.build.on_failed(context.instant(), &context.settings);
        self.asked.on_failed(context, &reason);
        self.last_failure.note(context, meta.index, reason);
    }

    /// A snapshot of this replica's own state is durable: the log may drop what it covers.
    fn on_snapshot_durable<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        meta: SnapshotMeta,
        form: SnapshotForm,
        bytes: u64,
    ) {
        let keep_from = self.build.keep_from(meta.index, &context.settings);
        self.build.on_fulfilled();
        self.stored.on_durable(meta.clone(), form);
        self.last_failure.clear();
        context.counters.snapshots_built += 1;
        context.notice(Notice::SnapshotBuilt { index: meta.index, bytes });
        context.command(LogCommand::Compact { snapshot: meta, keep_from });
        if self.build.is_disk_low() {
            // Free space is more important than peers that lag: they are sent the snapshot.
            context.input(Input::Signal(Signal::CompactRequested));
        }
        self.answer(context);
        self.delete_old(context);
    }

    /// Answers the callers for whom the newest snapshot is enough.
    fn answer<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let index = self.stored.newest_index().unwrap_or_default();
        if self.asked.on_durable(context, index) {
            context.input(Input::Signal(Signal::CompactRequested));
        }
    }

    fn on_verified<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        index: LogIndex,
        failure: Option<SnapshotFailure>,
    ) {
        match failure {
            Some(SnapshotFailure::Damaged | SnapshotFailure::Missing) => self.replace_damaged(context, index),
            Some(failure) => {
                self.last_failure.note(context, index, format!("it could not be verified ({failure:?})"));
            }
            None => {}
        }
    }

    fn on_unreadable<L: ReplicatedLog>(&mut self, context: &mut Context<L>, unreadable: Unreadable) {
        let Unreadable { sending, failure } = unreadable;
        self.delete_old(context);
        if matches!(failure, Some(SnapshotFailure::Damaged | SnapshotFailure::Missing)) {
            self.replace_damaged(context, sending.index());
        }
        self.last_failure.note(context, sending.index(), format!("it could not be read ({failure:?})"));
        context.complete(sending.request, LogAnswer::SnapshotUnreadable { to: sending.transfer.peer });
    }

    /// Replaces a snapshot whose file is damaged. The state is in memory, so a new snapshot can be made.
    fn replace_damaged<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex) {
        if self.stored.on_damaged(index) {
            self.build.want_at_once();
            let reason = "its file is damaged: it is not sent, and a new one is made".into();
            self.last_failure.note(context, index, reason);
        }
    }

    fn give_up_sending<L: ReplicatedLog>(&mut self, context: &mut Context<L>, transfer: TransferId, reason: &str) {
        if let Some(sending) = self.end_sending(context, transfer) {
            self.on_sending_failed(context, &sending, reason);
        }
    }

    fn end_sending<L: ReplicatedLog>(&mut self, context: &mut Context<L>, transfer: TransferId) -> Option<Sending> {
        let sending = self.sender.end(transfer)?;
        self.delete_old(context);
        Some(sending)
    }

    fn on_sending_failed<L: ReplicatedLog>(&mut self, context: &mut Context<L>, sending: &Sending, reason: &str) {
        self.last_failure.note(context, sending.index(), reason.to_owned());
        context.complete(sending.request, LogAnswer::SnapshotSendFailed { to: sending.transfer.peer });
    }

    fn delete_old<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        self.stored.delete_old(context, self.sender.oldest());
    }
}
