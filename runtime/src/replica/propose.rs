//! The way of a proposal to its outcome: the paths of a command to the log, and the possible answers if it does not
//! get there.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{
    EntryKind, HaltReason, Instant, LogIndex, NodeId, Now, Proposal, ProposalId, RefuseReason, ReplicatedLog, Term,
    VotingBar,
};
use quorate_transport::Sender;

use super::Replica;
use super::forwards::Awaiting;
use super::message::{Answer, Forwarded, ForwardedKind, Refusal, ReplicaEnvelope, ReplicaMessage, Verdict};
use super::proposals::{Kind, Slot, Stage};
use crate::group::hostable::Hostable;
use crate::group::interface::CallId;
use crate::group::outcome::{NotApplied, Outcome, Retry, Unknown};
use crate::group::reply::Reply;
use crate::replica::FEATURE_LEVEL;
use crate::replica::sessions::Known;
use crate::replica::state_machine::StateMachine;

/// Options of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProposeOptions {
    /// The time by which the caller wants an answer.
    pub deadline: Instant,
    /// The guarantee if it is proposed more than once.
    pub delivery: Delivery,
}

/// The guarantee for a command that may be proposed more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The replica proposes the command once, so it is applied at most once. A caller that proposes it again after an
    /// unknown outcome may have it applied twice.
    #[default]
    AtMostOnce,
    /// The command belongs to the replica's session ([`Replica::open_session`]). After an unknown outcome it can be
    /// retried.
    ExactlyOnce,
    /// Retries a proposal of the session whose outcome was unknown. The command must be the same.
    Again(Retry),
}

/// A proposal that waits for a leader.
#[derive(Debug)]
pub(super) struct Waiting {
    sequence: u64,
    kind: EntryKind,
    payload: Bytes,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Proposes a command. The outcome comes as [`Reply::Outcome`]; [`Outcome`] lists the possible outcomes.
    ///
    /// On a replica that does not lead, the command is forwarded to the leader, once. While there is no leader it waits
    /// here.
    pub fn propose(&mut self, now: Now, call: CallId, command: Bytes, options: ProposeOptions) {
        self.set_now(now);
        if let Some(reason) = self.refusal(command.len()) {
            let outcome = refused_at_once(options.delivery, reason);
            return self.context.reply(call, Reply::Outcome(outcome));
        }
        match options.delivery {
            Delivery::AtMostOnce => {
                self.start(EntryKind::Command, command, call, options.deadline, Kind::Loose);
            }
            Delivery::ExactlyOnce if self.sessions.opened(self.context.seat.session).is_none() => {
                self.context.reply(call, Reply::Outcome(Outcome::NotApplied(NotApplied::NoSession)));
            }
            Delivery::ExactlyOnce => {
                self.make_room_in_session();
                self.start(EntryKind::Command, command, call, options.deadline, Kind::First);
            }
            Delivery::Again(retry) => self.try_again(retry, call, command, options.deadline),
        }
    }

    /// Answers a call without proposing anything.
    pub(crate) fn refuse(&mut self, call: CallId, reason: NotApplied) {
        self.context.reply(call, Reply::Outcome(Outcome::NotApplied(reason)));
    }

    /// Opens this replica's session, or opens it again. A session is required for exactly-once. It ends when no command
    /// of it was applied for `timeout` of log time. A process needs one session, not one for each client. Answered by
    /// [`Reply::Outcome`].
    pub fn open_session(&mut self, now: Now, call: CallId, timeout: Duration, deadline: Instant) {
        let mut payload = BytesMut::with_capacity(8);
        payload.put_u64_le(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self.propose_for_session(now, call, EntryKind::SessionOpen, payload.freeze(), deadline);
    }

    /// Closes this replica's session. Its commands that are still on their way are not applied. Answered by
    /// [`Reply::Outcome`].
    pub fn close_session(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.propose_for_session(now, call, EntryKind::SessionClose, Bytes::new(), deadline);
    }

    fn propose_for_session(&mut self, now: Now, call: CallId, kind: EntryKind, payload: Bytes, deadline: Instant) {
        self.set_now(now);
        match self.refusal(payload.len()) {
            Some(reason) => self.context.reply(call, Reply::Outcome(Outcome::NotApplied(reason))),
            None => self.start(kind, payload, call, deadline, Kind::Session),
        }
    }

    /// Returns the reason why no command of this size is accepted, if there is one.
    fn refusal(&self, bytes: usize) -> Option<NotApplied> {
        if let Some(reason) = &self.halted {
            return Some(NotApplied::Halted(reason.clone()));
        }
        if self.hand_over.is_stopping() {
            return Some(NotApplied::ShuttingDown);
        }
        // The leader would refuse it. The session of an older copy may also be one that was used before.
        if let Some(bar) = self.peers.stranger_bar() {
            return Some(NotApplied::Stranger(bar));
        }
        if bytes > self.context.settings.command_bytes_max {
            return Some(NotApplied::TooLarge);
        }
        let is_full = self.proposals.waiting() >= self.context.settings.proposals_max
            || self.proposals.bytes() + bytes > self.context.settings.proposals_bytes_max;
        is_full.then_some(NotApplied::Overloaded)
    }

    fn start(&mut self, kind: EntryKind, payload: Bytes, call: CallId, deadline: Instant, delivery: Kind) {
        let slot = Slot { call: Some(call), deadline, bytes: payload.len(), delivery, stage: Stage::Waiting };
        let sequence = self.proposals.add(slot);
        self.dispatch(Waiting { sequence, kind, payload });
    }

    /// Retries a proposal. If the session still has its response, no new entry is needed.
    fn try_again(&mut self, retry: Retry, call: CallId, command: Bytes, deadline: Instant) {
        let sequence = retry.sequence;
        let id = ProposalId { session: self.context.seat.session, sequence };
        if !self.proposals.try_again(sequence, call, deadline, command.len()) {
            let outcome = Outcome::Unknown { reason: Unknown::Forgotten, retry: None };
            return self.context.reply(call, Reply::Outcome(outcome));
        }
        match (self.sessions.opened(self.context.seat.session), self.sessions.known(id)) {
            (_, Known::Applied(Some(response))) => self.resolve(sequence, Outcome::Applied(response)),
            (_, Known::Applied(None)) => self.resolve(sequence, unknown(Unknown::ResponseForgotten)),
            (Some(_), Known::NotApplied) => {
                self.dispatch(Waiting { sequence, kind: EntryKind::Command, payload: command });
            }
            _ => self.resolve(sequence, unknown(Unknown::SessionExpired)),
        }
    }

    /// Gives up the oldest proposals of the session when the next one would be beyond its window because of them. After
    /// that no replica applies them.
    fn make_room_in_session(&mut self) {
        while let Some(oldest) = self.proposals.beyond_window() {
            self.give_up(oldest, NotApplied::WindowPassed, Unknown::Forgotten);
            self.proposals.take(oldest);
        }
    }

    /// Dispatches a proposal: to this node's core, to the leader, or to the queue of those that wait for a leader.
    fn dispatch(&mut self, proposal: Waiting) {
        let (role, leader) = (self.context.is_leader(), self.context.leadership.leader);
        let sequence = proposal.sequence;
        let stage = match leader {
            _ if role => Stage::Proposed,
            Some(to) if to != self.context.seat.node => Stage::Forwarded { to },
            _ => Stage::Waiting,
        };
        let Some(slot) = self.proposals.get(sequence) else { return };
        slot.stage = stage;
        let is_in_session = slot.delivery.is_in_session();
        if stage == Stage::Waiting {
            return self.waiting.push_back(proposal);
        }
        let acknowledged_below = if is_in_session { self.proposals.acknowledged_below() } else { 0 };
        let Waiting { kind, payload, .. } = proposal;
        let checksum = crc32c::crc32c(&payload);
        if let Stage::Forwarded { to } = stage {
            let length = u32::try_from(payload.len()).expect("commands are bounded below 4 GiB");
            let kind = ForwardedKind::of(kind).expect("only what may be forwarded is proposed here");
            let forwarded = Forwarded { kind, sequence, acknowledged_below, checksum, length };
            self.forwards.forward(to, self.applied.level, forwarded, payload);
            self.context.counters.forwarded += 1;
        } else {
            let id = ProposalId { session: self.context.seat.session, sequence };
            self.context.propose(Proposal { id, kind, acknowledged_below, payload, checksum });
        }
    }

    /// Dispatches the waiting proposals once a leader is known.
    pub(super) fn dispatch_waiting(&mut self) {
        if !self.context.is_leader() && self.context.leadership.leader.is_none() {
            return;
        }
        for proposal in std::mem::take(&mut self.waiting) {
            let slot = self.proposals.get(proposal.sequence);
            if slot.is_some_and(|slot| slot.stage == Stage::Waiting && slot.call.is_some()) {
                self.dispatch(proposal);
            }
        }
    }

    pub(super) fn on_appended(&mut self, id: ProposalId, index: LogIndex, term: Term) {
        if id.session == self.context.seat.session {
            if let Some(slot) = self.proposals.get(id.sequence)
                && slot.stage == Stage::Proposed
            {
                slot.stage = Stage::Appended { index, term };
            }
        } else if let Some(to) = self.forwards.proposer(id.session) {
            let awaiting = Awaiting { index, term, session: id.session, sequence: id.sequence, to };
            self.forwards.await_outcome(awaiting);
        }
    }

    pub(super) fn on_refused(&mut self, id: ProposalId, reason: RefuseReason, leader: Option<NodeId>) {
        if id == ProposalId::default() {
            self.ticks.on_ended();
        } else if id.session == self.context.seat.session {
            self.resolve(id.sequence, Outcome::NotApplied(NotApplied::Refused { reason, leader }));
        } else if let Some(to) = self.forwards.proposer(id.session) {
            let verdict = Verdict::Refused { reason: reason.into(), leader };
            self.forwards.answer((to, id.session, id.sequence), self.applied.level, verdict, Bytes::new());
        }
    }

    /// Answers the call that waits for a proposal, if there is one. A retry that was not applied does not decide the
    /// outcome of the earlier tries.
    pub(super) fn resolve(&mut self, sequence: u64, outcome: Outcome) {
        let slot = self.proposals.get(sequence).filter(|slot| slot.call.is_some());
        let Some(slot) = slot else { return };
        let outcome = match (outcome, slot.delivery) {
            (Outcome::NotApplied(NotApplied::SessionExpired), Kind::Again) => unknown(Unknown::SessionExpired),
            (Outcome::NotApplied(reason), Kind::Again) => unknown(Unknown::TryFailed(reason)),
            (outcome, _) => outcome,
        };
        let may_retry = slot.delivery.is_in_session();
        let (call, outcome) = match outcome {
            Outcome::Unknown { reason, .. } if may_retry && is_open(&reason) => {
                let retry = Some(Retry { sequence });
                (self.proposals.leave_unresolved(sequence), Outcome::Unknown { reason, retry })
            }
            outcome => (self.proposals.take(sequence).and_then(|slot| slot.call), outcome),
        };
        if let Some(call) = call {
            self.context.counters.note(&outcome);
            self.context.reply(call, Reply::Outcome(outcome));
        }
    }

    /// Ends a proposal whose outcome is not waited for any longer. It was certainly not applied if it was never sent.
    fn give_up(&mut self, sequence: u64, unsent: NotApplied, sent: Unknown) {
        let is_waiting = self.proposals.get(sequence).is_some_and(|slot| slot.stage == Stage::Waiting);
        self.resolve(sequence, if is_waiting { Outcome::NotApplied(unsent) } else { unknown(sent) });
    }

    pub(super) fn expire_proposals(&mut self) {
        let expired = self.proposals.expired(self.context.instant());
        if expired.is_empty() {
            return;
        }
        for sequence in expired {
            self.give_up(sequence, NotApplied::NoLeader, Unknown::DeadlinePassed);
        }
        let proposals = &mut self.proposals;
        self.waiting.retain(|waiting| proposals.get(waiting.sequence).is_some_and(|slot| slot.call.is_some()));
    }

    pub(super) fn fail_proposals(&mut self, reason: &HaltReason) {
        self.waiting.clear();
        for sequence in self.proposals.matching(|slot| slot.call.is_some()) {
            let Some(slot) = self.proposals.take(sequence) else { continue };
            let outcome = match (slot.stage, slot.delivery) {
                (Stage::Waiting, Kind::Loose | Kind::Session | Kind::First) => {
                    Outcome::NotApplied(NotApplied::Halted(reason.clone()))
                }
                _ => unknown(Unknown::Halted(reason.clone())),
            };
            self.context.counters.note(&outcome);
            let reply = Reply::Outcome(outcome);
            if let Some(call) = slot.call {
                self.context.reply(call, reply);
            }
        }
    }

    /// Refuses the proposals that wait for a leader, because they will not be sent.
    pub(super) fn refuse_waiting(&mut self) {
        self.waiting.clear();
        for sequence in self.proposals.matching(|slot| slot.stage == Stage::Waiting && slot.call.is_some()) {
            self.resolve(sequence, Outcome::NotApplied(NotApplied::ShuttingDown));
        }
    }

    /// The node may no longer vote in the group, or may again, according to the incarnations. A stranger's proposals
    /// end: an older copy of a disk has a session that was used before, and its entries are not those proposals.
    pub(super) fn on_barred(&mut self, bar: Option<VotingBar>) {
        self.peers.on_barred(bar);
        let Some(bar) = self.peers.stranger_bar() else { return };
        self.waiting.clear();
        for sequence in self.proposals.matching(|slot| slot.call.is_some()) {
            self.give_up(sequence, NotApplied::Stranger(bar), Unknown::Stranger(bar));
        }
    }

    /// Answers the call that waits for an entry of this session. A proposal that was never sent has no entry: then the
    /// session was used before, by a disk of which this one is an older copy.
    pub(super) fn on_own_entry(&mut self, sequence: u64, outcome: Outcome) {
        let is_unsent = |slot: &mut Slot| slot.stage == Stage::Waiting && slot.delivery != Kind::Again;
        if !self.proposals.get(sequence).is_some_and(is_unsent) {
            self.resolve(sequence, outcome);
        }
    }

    /// An entry of a later term is committed at `index`, so entries of an earlier term from there on are gone for good.
    pub(super) fn on_later_term(&mut self, index: LogIndex, term: Term) {
        let is_gone = |stage: Stage| match stage {
            Stage::Appended { index: place, term: placed } => placed < term && place >= index,
            _ => false,
        };
        for sequence in self.proposals.matching(|slot| is_gone(slot.stage) && slot.call.is_some()) {
            self.resolve(sequence, Outcome::NotApplied(NotApplied::Superseded));
        }
        for awaiting in self.forwards.take_if(|awaiting| awaiting.term < term && awaiting.index >= index) {
            self.answer(&awaiting, Verdict::Superseded, Bytes::new());
        }
    }

    /// A snapshot replaced the entries up to `index`. The outcome of a proposal among them is in the session, or it is
    /// unknown.
    pub(super) fn on_covered(&mut self, index: LogIndex) {
        for sequence in self.proposals.matching(|slot| slot.call.is_some()) {
            let Some(slot) = self.proposals.get(sequence) else { continue };
            let is_covered = matches!(slot.stage, Stage::Appended { index: place, .. } if place <= index);
            let is_in_session = slot.delivery.is_in_session();
            let id = ProposalId { session: self.context.seat.session, sequence };
            let outcome = match if is_in_session { self.sessions.known(id) } else { Known::Nothing } {
                Known::Applied(Some(response)) => Outcome::Applied(response),
                Known::Applied(None) => unknown(Unknown::ResponseForgotten),
                Known::NotApplied if is_covered => Outcome::NotApplied(NotApplied::Superseded),
                Known::Nothing if is_covered => unknown(Unknown::CoveredBySnapshot),
                Known::NotApplied | Known::Nothing => continue,
            };
            self.resolve(sequence, outcome);
        }
        self.forwards.take_if(|awaiting| awaiting.index <= index);
    }

    pub(super) fn on_envelope(&mut self, from: Sender, envelope: ReplicaEnvelope) {
        let payloads = envelope.payloads;
        match envelope.message {
            ReplicaMessage::Forward { level, session, proposals } => {
                if session.incarnation != from.incarnation {
                    self.context.counters.frames_malformed += 1;
                    return;
                }
                self.forwards.note_proposer(session, from.node);
                let verdict = self.forward_refusal(from.node, level);
                let mut payloads = payloads;
                for proposal in proposals {
                    let payload = payloads.split_to(usize::try_from(proposal.length).unwrap_or(usize::MAX));
                    let id = ProposalId { session, sequence: proposal.sequence };
                    self.on_forwarded(from.node, id, proposal, payload, verdict);
                }
            }
            ReplicaMessage::Answers { level, session, answers } => {
                if session != self.context.seat.session || level > FEATURE_LEVEL {
                    self.context.counters.answers_ignored += answers.len() as u64;
                    return;
                }
                let mut payloads = payloads;
                for answer in answers {
                    self.on_answer(from.node, level, answer, &mut payloads);
                }
            }
        }
    }

    /// Returns the reason why this node proposes nothing for others, if there is one. It never forwards a forwarded
    /// proposal.
    fn forward_refusal(&self, from: NodeId, level: u32) -> Option<Verdict> {
        let leader = self.context.leadership.leader;
        // A stranger may have intended its proposal for the leader of another cluster.
        if !self.context.is_leader() || self.peers.is_stranger(from) {
            return Some(Verdict::Refused { reason: Refusal::NotLeader, leader });
        }
        if self.hand_over.is_stopping() {
            return Some(Verdict::Refused { reason: Refusal::Transferring, leader });
        }
        if level != self.applied.level {
            return Some(Verdict::FeatureLevel);
        }
        let is_full = self.forwards.awaiting() >= self.context.settings.proposals_max;
        is_full.then_some(Verdict::Refused { reason: Refusal::Overloaded, leader })
    }

    fn on_forwarded(
        &mut self,
        from: NodeId,
        id: ProposalId,
        proposal: Forwarded,
        payload: Bytes,
        refused: Option<Verdict>,
    ) {
        if let Some(verdict) = refused {
            return self.forwards.answer((from, id.session, id.sequence), self.applied.level, verdict, Bytes::new());
        }
        let Forwarded { kind, acknowledged_below, checksum, .. } = proposal;
        if crc32c::crc32c(&payload) != checksum {
            self.context.counters.frames_malformed += 1;
            return;
        }
        self.context.propose(Proposal { id, kind: kind.entry_kind(), acknowledged_below, payload, checksum });
    }

    fn on_answer(&mut self, from: NodeId, level: u32, answer: Answer, payloads: &mut Bytes) {
        let Answer { sequence, verdict } = answer;
        let response = match verdict {
            Verdict::Applied { length } => payloads.split_to(usize::try_from(length).unwrap_or(usize::MAX)),
            _ => Bytes::new(),
        };
        let slot = self.proposals.get(sequence).filter(|slot| slot.call.is_some());
        let Some(slot) = slot.filter(|slot| slot.stage == Stage::Forwarded { to: from }) else {
            self.context.counters.answers_ignored += 1;
            return;
        };
        if slot.delivery == Kind::Session && matches!(verdict, Verdict::Applied { .. }) {
            // After this answer the caller proposes in the session, so this replica must know the session first.
            return;
        }
        let outcome = match verdict {
            Verdict::Applied { .. } => Outcome::Applied(response),
            Verdict::ResponseForgotten => unknown(Unknown::ResponseForgotten),
            Verdict::SessionExpired => Outcome::NotApplied(NotApplied::SessionExpired),
            Verdict::OutsideWindow => Outcome::NotApplied(NotApplied::WindowPassed),
            Verdict::Superseded => Outcome::NotApplied(NotApplied::Superseded),
            Verdict::FeatureLevel => Outcome::NotApplied(NotApplied::FeatureLevel { level }),
            Verdict::Refused { reason, leader } => {
                Outcome::NotApplied(NotApplied::Refused { reason: reason.into(), leader })
            }
        };
        self.resolve(sequence, outcome);
    }

    pub(super) fn answer(&mut self, awaiting: &Awaiting, verdict: Verdict, response: Bytes) {
        let Awaiting { session, sequence, to, .. } = *awaiting;
        self.forwards.answer((to, session, sequence), self.applied.level, verdict, response);
    }
}

pub(super) fn unknown(reason: Unknown) -> Outcome {
    Outcome::Unknown { reason, retry: None }
}

/// Outcome of a proposal that was refused at once. If it is a retry, the refusal does not decide the outcome of the
/// earlier tries.
fn refused_at_once(delivery: Delivery, reason: NotApplied) -> Outcome {
    match delivery {
        Delivery::Again(retry) => Outcome::Unknown { reason: Unknown::TryFailed(reason), retry: Some(retry) },
        Delivery::AtMostOnce | Delivery::ExactlyOnce => Outcome::NotApplied(reason),
    }
}

/// Returns true if a retry may bring the outcome.
fn is_open(reason: &Unknown) -> bool {
    matches!(reason, Unknown::DeadlinePassed | Unknown::CoveredBySnapshot | Unknown::TryFailed(_))
}
