//! Transfers of snapshots between replicas, on the bulk lane: in pieces, within a window that the receiver moves.
//!
//! ```text
//!  core of the leader                                            core of the lagging follower
//!    │ SendSnapshot                                                │ ReceiveSnapshot: admits sender and term
//!    ▼                                                             ▼
//!  Sending ── Piece { offset, length, checksum } ──────────────► Receiving ── Create, Write ──► store
//!          ◄────────────────────────── Progress { offset } ──────          ◄── Done ──
//!          ── Piece … as far as the window reaches ────────────►
//!          ◄────────────────────────────────────── Durable ──────          ◄── Durable ── Finish: check, sync, rename
//!    │ SnapshotSent                                                │ SnapshotDurable: the core resets its log
//!    ▼                                                             ▼ Installed: restored
//! ```
//!
//! Both sides forget everything when they stop. A snapshot that was half received is then sent from its start.
//!
//! The receiver makes its new state machine before the snapshot counts. So a snapshot that it cannot read does no
//! harm: the replica continues with its old state, and is sent a snapshot again after
//! [`retry`](crate::ReplicaSettings::retry). If the received content does not match the sender's checksum, the sender
//! verifies its own copy, and makes a new snapshot if that is damaged.

use bytes::Bytes;
use quorate_protocol::{LogAnswer, NodeId, ReplicatedLog, SnapshotMeta, Term, Ticket};
use quorate_transport::{ChannelId, codec};

use super::Replica;
use super::message::{Flow, SnapshotEnvelope, SnapshotId, SnapshotMessage};
use crate::group::hostable::Hostable;
use crate::group::interface::GroupOutput;
use crate::group::notice::Notice;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};
use crate::replica::state_machine::StateMachine;

mod receiving;
mod sending;

pub(super) use receiving::{Received, Receiving};
pub(super) use sending::Sending;

use receiving::Verdict;

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Sends the newest snapshot to a peer, as the core requests.
    pub(super) fn send_snapshot(&mut self, request: Ticket, to: NodeId, term: Term, meta: &SnapshotMeta) {
        self.snapshots.sending.retain(|sending| sending.to != to);
        if self.is_doubtful(meta.index) {
            // The core asks again later, for the snapshot that replaces this one.
            return self.context.complete(request, LogAnswer::SnapshotSendFailed { to });
        }
        let sending =
            Sending::new(request, to, term, meta, self.context.instant().after(self.context.settings.transfer_retry));
        self.snapshots.sending.push(sending);
        let notice = Notice::SnapshotSending { to, index: meta.index };
        self.context.notice(notice);
        self.read_pieces();
    }

    /// Receives a snapshot from the sender that the core admits.
    pub(super) fn receive_snapshot(&mut self, request: Ticket, from: NodeId, term: Term, meta: SnapshotMeta) {
        let now = self.context.instant();
        let under_way = &mut self.snapshots.receiving;
        if let Some(same) = under_way.as_mut().filter(|under_way| under_way.from == from && under_way.meta == meta) {
            (same.request, same.term) = (request, term);
            same.moved(now, &self.context.settings);
        } else if self.snapshots.refused.as_ref().is_some_and(|(refused, until)| *refused == meta && now < *until) {
            // The sender continues meanwhile, and is answered when it is time to retry.
            return self.context.complete(request, LogAnswer::SnapshotReceiveFailed);
        } else {
            self.abort_receiving();
            self.snapshots.receiving = Some(Receiving::new(request, from, term, meta, now, &self.context.settings));
        }
        self.tell_progress(Flow::Steady);
    }

    /// Drops all transfers, because this node no longer leads in this term. The next leader sends snapshots.
    pub(super) fn drop_sendings(&mut self) {
        self.snapshots.sending.clear();
        self.delete_old_snapshots();
    }

    pub(super) fn on_snapshot_envelope(&mut self, from: NodeId, envelope: SnapshotEnvelope) {
        let SnapshotEnvelope { term, id, message, content } = envelope;
        match message {
            SnapshotMessage::Piece { offset, length, checksum } => {
                self.on_piece(from, term, id, offset, (length, checksum), content);
            }
            SnapshotMessage::Progress { offset, flow } => {
                let (now, settings) = (self.context.instant(), &self.context.settings);
                if let Some(sending) = find(&mut self.snapshots.sending, from, term, id) {
                    sending.on_progress(offset, flow, now, settings);
                }
                self.read_pieces();
            }
            SnapshotMessage::Durable => {
                if let Some(sending) = self.end_sending(from, term, id) {
                    self.context.counters.snapshots_sent += 1;
                    self.snapshots.failure = None;
                    self.catch_up.on_snapshot_sent(from);
                    self.context.complete(sending.request, LogAnswer::SnapshotSent { to: from, index: id.index });
                }
            }
            SnapshotMessage::GivenUp => {
                if let Some(sending) = self.end_sending(from, term, id) {
                    let answer = LogAnswer::SnapshotSendFailed { to: sending.to };
                    self.on_sending_failed(&sending, answer, "the peer gave it up".into());
                }
            }
            SnapshotMessage::Damaged => {
                if let Some(sending) = self.end_sending(from, term, id) {
                    self.verify(id.index);
                    let answer = LogAnswer::SnapshotSendFailed { to: sending.to };
                    self.on_sending_failed(&sending, answer, "the peer found it damaged".into());
                }
            }
        }
    }

    pub(super) fn on_transfer_done(&mut self, ticket: Ticket, result: Result<SnapshotDone, SnapshotFailure>) {
        if let Some(place) = self.snapshots.sending.iter_mut().position(|sending| sending.take_read(ticket)) {
            return self.on_piece_read(place, result);
        }
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        if receiving.finishing == Some(ticket) {
            self.on_finished(result);
        } else if receiving.is_write(ticket) {
            self.on_written(ticket, result);
        }
    }

    pub(super) fn on_transfer_timeout(&mut self) {
        let now = self.context.instant();
        if let Some(receiving) = &mut self.snapshots.receiving
            && receiving.is_given_up(now, &self.context.settings)
        {
            self.give_up_receiving("no piece came for too long".into(), SnapshotMessage::GivenUp);
        }
        let mut given_up = Vec::new();
        for sending in &mut self.snapshots.sending {
            if sending.on_timeout(now, &self.context.settings) {
                given_up.push((sending.to, sending.term, sending.id));
            }
        }
        for (to, term, id) in given_up {
            if let Some(sending) = self.end_sending(to, term, id) {
                let answer = LogAnswer::SnapshotSendFailed { to: sending.to };
                self.on_sending_failed(&sending, answer, "the peer accepted no piece for too long".into());
            }
        }
        self.read_pieces();
    }

    fn read_pieces(&mut self) {
        for place in 0..self.snapshots.sending.len() {
            let sending = &self.snapshots.sending[place];
            let Some(piece) = sending.wants(&self.context.settings) else { continue };
            let index = sending.index();
            let (offset, bytes_max) = (piece.offset, piece.bytes_max);
            let ticket = self.context.operate(SnapshotOperation::Read { index, offset, bytes_max });
            self.snapshots.sending[place].reads(ticket);
        }
    }

    fn on_piece_read(&mut self, place: usize, result: Result<SnapshotDone, SnapshotFailure>) {
        let retry_at = self.context.instant().after(self.context.settings.transfer_retry);
        let sending = &mut self.snapshots.sending[place];
        match result {
            Ok(SnapshotDone::Piece { offset, bytes, length, checksum }) => {
                let (to, term, id) = (sending.to, sending.term, sending.id);
                if sending.read(offset, &bytes, length, retry_at) {
                    self.context.counters.snapshot_bytes_sent += bytes.len() as u64;
                    let message = SnapshotMessage::Piece { offset, length, checksum };
                    self.send_envelope(to, &SnapshotEnvelope { term, id, message, content: bytes });
                }
                self.read_pieces();
            }
            other => {
                let sending = self.snapshots.sending.remove(place);
                self.delete_old_snapshots();
                let failure = other.err();
                if matches!(failure, Some(SnapshotFailure::Damaged | SnapshotFailure::Missing)) {
                    self.replace_damaged(sending.index());
                }
                let answer = LogAnswer::SnapshotUnreadable { to: sending.to };
                self.on_sending_failed(&sending, answer, format!("it could not be read ({failure:?})"));
            }
        }
    }

    fn end_sending(&mut self, to: NodeId, term: Term, id: SnapshotId) -> Option<Sending> {
        let is_it = |sending: &Sending| (sending.to, sending.term, sending.id) == (to, term, id);
        let place = self.snapshots.sending.iter().position(is_it)?;
        let sending = self.snapshots.sending.remove(place);
        self.delete_old_snapshots();
        Some(sending)
    }

    fn on_sending_failed(&mut self, sending: &Sending, answer: LogAnswer, reason: String) {
        self.note_failure(sending.index(), reason);
        self.context.complete(sending.request, answer);
    }

    fn on_piece(&mut self, from: NodeId, term: Term, id: SnapshotId, offset: u64, content: (u64, u32), bytes: Bytes) {
        let received = Received { from, id };
        let Some(receiving) = &mut self.snapshots.receiving else {
            // The sender has not received the message that the snapshot is durable.
            if self.snapshots.received == Some(received) {
                return self.send_snapshot_message(from, term, id, SnapshotMessage::Durable);
            }
            self.context.counters.pieces_refused += 1;
            return;
        };
        if (receiving.from, receiving.term, receiving.id()) != (from, term, id) {
            self.context.counters.pieces_refused += 1;
            return;
        }
        match receiving.judge(offset, content, &bytes, self.context.settings.window_bytes) {
            Verdict::Drop => return self.context.counters.pieces_refused += 1,
            Verdict::Tell(flow) => return self.tell_progress(flow),
            Verdict::Begin => {
                let operation = SnapshotOperation::Create { meta: receiving.meta.clone(), length: content.0 };
                self.context.operate(operation);
            }
            Verdict::Write => {}
        }
        let length = bytes.len();
        self.context.counters.snapshot_bytes_received += length as u64;
        let ticket = self.context.operate(SnapshotOperation::Write { offset, bytes });
        let receiving = self.snapshots.receiving.as_mut().expect("just judged");
        receiving.accept(ticket, content, length);
    }

    fn on_written(&mut self, ticket: Ticket, result: Result<SnapshotDone, SnapshotFailure>) {
        if let Err(failure) = result {
            let reason = format!("it could not be written ({failure:?})");
            return self.give_up_receiving(reason, SnapshotMessage::GivenUp);
        }
        let now = self.context.instant();
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        let index = receiving.meta.index;
        let whole = receiving.wrote(ticket, now, &self.context.settings);
        self.tell_progress(Flow::Steady);
        if let Some(checksum) = whole {
            let read = self.reader(index);
            let ticket = self.context.operate(SnapshotOperation::Finish { checksum, read });
            let receiving = self.snapshots.receiving.as_mut().expect("just written");
            receiving.finishing = Some(ticket);
        }
    }

    fn on_finished(&mut self, result: Result<SnapshotDone, SnapshotFailure>) {
        match result {
            Ok(SnapshotDone::Received { state, .. }) => {
                let Some(receiving) = self.snapshots.receiving.take() else { return };
                let (from, term, id) = (receiving.from, receiving.term, receiving.id());
                self.snapshots.received = Some(Received { from, id });
                self.context.counters.snapshots_received += 1;
                self.snapshots.failure = None;
                self.keep_ready(receiving.meta.clone(), state);
                self.send_snapshot_message(from, term, id, SnapshotMessage::Durable);
                self.context.complete(receiving.request, LogAnswer::SnapshotDurable { snapshot: receiving.meta });
            }
            Err(SnapshotFailure::Damaged) => {
                self.give_up_receiving("it does not match the checksum of its sender".into(), SnapshotMessage::Damaged);
            }
            other => {
                let refused = self.snapshots.receiving.as_ref().map(|receiving| receiving.meta.clone());
                let until = self.context.instant().after(self.context.settings.retry);
                self.snapshots.refused = refused.map(|meta| (meta, until));
                let reason = format!("it could not be finished ({:?})", other.err());
                self.give_up_receiving(reason, SnapshotMessage::GivenUp);
            }
        }
    }

    fn give_up_receiving(&mut self, reason: String, message: SnapshotMessage) {
        let Some(receiving) = &self.snapshots.receiving else { return };
        let (from, term, id, request) = (receiving.from, receiving.term, receiving.id(), receiving.request);
        self.abort_receiving();
        self.note_failure(id.index, reason);
        self.send_snapshot_message(from, term, id, message);
        self.context.complete(request, LogAnswer::SnapshotReceiveFailed);
    }

    fn abort_receiving(&mut self) {
        if self.snapshots.receiving.take().is_some_and(|receiving| receiving.has_begun()) {
            self.context.operate(SnapshotOperation::Abort);
        }
    }

    fn tell_progress(&mut self, flow: Flow) {
        let Some(receiving) = &self.snapshots.receiving else { return };
        let (from, term, id, offset) = (receiving.from, receiving.term, receiving.id(), receiving.written());
        self.send_snapshot_message(from, term, id, SnapshotMessage::Progress { offset, flow });
    }

    fn send_snapshot_message(&mut self, to: NodeId, term: Term, id: SnapshotId, message: SnapshotMessage) {
        self.send_envelope(to, &SnapshotEnvelope { term, id, message, content: Bytes::new() });
    }

    fn send_envelope(&mut self, to: NodeId, envelope: &SnapshotEnvelope) {
        let frame = codec::encode(ChannelId::SNAPSHOTS, self.context.seat.group, envelope).expect("pieces are bounded");
        self.context.push(GroupOutput::Send { to, frame });
    }
}

fn find(sendings: &mut [Sending], to: NodeId, term: Term, id: SnapshotId) -> Option<&mut Sending> {
    sendings.iter_mut().find(|sending| (sending.to, sending.term, sending.id) == (to, term, id))
}
