//! The way of this replica's own proposals to their outcomes: the paths of a command to the log, and the possible
//! answers if it does not get there.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{
    EntryKind, HaltReason, Instant, LogIndex, NodeId, Proposal, ProposalId, RefuseReason, ReplicatedLog, SessionId,
    Term, VotingBar,
};

use super::application::{Applied, FEATURE_LEVEL};
use super::context::Context;
use super::message::{ForwardAnswer, ForwardVerdict, Forwarded, ForwardedKind};
use super::sessions::ProposalState;
use crate::group::interface::CallId;
use crate::group::outcome::{NotApplied, Outcome, Retry, Unknown};
use crate::group::reply::Reply;

mod forwards;
mod open;

use forwards::Forwards;
use open::{Kind, OpenProposal, OpenProposals, Stage};

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
    /// The command belongs to the replica's session ([`Replica::open_session`](super::Replica::open_session)). After an
    /// unknown outcome it can be retried.
    ExactlyOnce,
    /// Retries a proposal of the session whose outcome was unknown. The command must be the same.
    Again(Retry),
}

/// This replica's own proposals.
#[derive(Debug)]
pub(super) struct Proposals {
    /// All proposals without an outcome. At most `proposals_max` calls wait for them, with at most
    /// `proposals_bytes_max` bytes of commands.
    open: OpenProposals,
    /// Proposals that wait for a leader, oldest first. Those that are no longer open are skipped.
    waiting: VecDeque<Waiting>,
    /// Proposals that go to the leader at the end of the turn.
    forwards: Forwards,
}

/// A proposal that waits for a leader.
#[derive(Debug)]
struct Waiting {
    sequence: u64,
    kind: EntryKind,
    payload: Bytes,
}

/// An entry that a call wants to be proposed.
#[derive(Debug)]
struct Request {
    call: CallId,
    deadline: Instant,
    kind: EntryKind,
    payload: Bytes,
}

impl Proposals {
    pub(super) fn new() -> Self {
        Self { open: OpenProposals::new(), waiting: VecDeque::new(), forwards: Forwards::default() }
    }

    /// Proposes a command.
    pub(super) fn propose<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        call: CallId,
        command: Bytes,
        options: ProposeOptions,
    ) {
        if let Some(reason) = self.refusal(context, command.len()) {
            return context.reply(call, Reply::Outcome(options.delivery.refused(reason)));
        }
        let request = Request { call, deadline: options.deadline, kind: EntryKind::Command, payload: command };
        match options.delivery {
            Delivery::AtMostOnce => self.start(context, applied, request, Kind::Loose),
            Delivery::ExactlyOnce if applied.sessions().opened(context.seat.session).is_none() => {
                context.reply(call, Reply::Outcome(Outcome::NotApplied(NotApplied::NoSession)));
            }
            Delivery::ExactlyOnce => {
                self.make_room_in_session(context);
                self.start(context, applied, request, Kind::First);
            }
            Delivery::Again(retry) => self.try_again(context, applied, retry, request),
        }
    }

    /// Proposes to open this replica's session.
    pub(super) fn open_session<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        call: CallId,
        timeout: Duration,
        deadline: Instant,
    ) {
        let mut payload = BytesMut::with_capacity(8);
        payload.put_u64_le(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let request = Request { call, deadline, kind: EntryKind::SessionOpen, payload: payload.freeze() };
        self.propose_for_session(context, applied, request);
    }

    /// Proposes to close this replica's session.
    pub(super) fn close_session<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        call: CallId,
        deadline: Instant,
    ) {
        let request = Request { call, deadline, kind: EntryKind::SessionClose, payload: Bytes::new() };
        self.propose_for_session(context, applied, request);
    }

    fn propose_for_session<L: ReplicatedLog>(&mut self, context: &mut Context<L>, applied: &Applied, request: Request) {
        match self.refusal(context, request.payload.len()) {
            Some(reason) => context.reply(request.call, Reply::Outcome(Outcome::NotApplied(reason))),
            None => self.start(context, applied, request, Kind::Session),
        }
    }

    /// Returns the reason why no command of this size is accepted, if there is one.
    fn refusal<L: ReplicatedLog>(&self, context: &Context<L>, bytes: usize) -> Option<NotApplied> {
        let settings = &context.settings;
        if bytes > settings.command_bytes_max {
            return Some(NotApplied::TooLarge);
        }
        let is_full =
            self.open.waiting() >= settings.proposals_max || self.open.bytes() + bytes > settings.proposals_bytes_max;
        is_full.then_some(NotApplied::Overloaded)
    }

    fn start<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        request: Request,
        delivery: Kind,
    ) {
        let Request { call, deadline, kind, payload } = request;
        let stage = Stage::Waiting;
        let proposal = OpenProposal { call: Some(call), deadline, bytes: payload.len(), delivery, stage };
        let sequence = self.open.add(proposal);
        self.dispatch(context, applied, Waiting { sequence, kind, payload });
    }

    /// Retries a proposal. If the session still has its response, no new entry is needed.
    fn try_again<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        retry: Retry,
        request: Request,
    ) {
        let (sequence, session) = (retry.sequence, context.seat.session);
        let Request { call, deadline, kind, payload } = request;
        if !self.open.try_again(sequence, call, deadline, payload.len()) {
            return context.reply(call, Reply::Outcome(unknown(Unknown::Forgotten)));
        }
        let sessions = applied.sessions();
        match (sessions.opened(session), sessions.known(ProposalId { session, sequence })) {
            (_, ProposalState::Applied(Some(response))) => self.resolve(context, sequence, Outcome::Applied(response)),
            (_, ProposalState::Applied(None)) => self.resolve(context, sequence, unknown(Unknown::ResponseForgotten)),
            (Some(_), ProposalState::NotApplied) => {
                self.dispatch(context, applied, Waiting { sequence, kind, payload });
            }
            _ => self.resolve(context, sequence, unknown(Unknown::SessionExpired)),
        }
    }

    /// Gives up the oldest proposals of the session when the next one would be beyond its window because of them. After
    /// that no replica applies them.
    fn make_room_in_session<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        while let Some(oldest) = self.open.beyond_window() {
            self.give_up(context, oldest, NotApplied::WindowPassed, Unknown::Forgotten);
            self.open.take(oldest);
        }
    }

    /// Dispatches a proposal: to this node's core, to the leader, or to the queue of those that wait for a leader.
    fn dispatch<L: ReplicatedLog>(&mut self, context: &mut Context<L>, applied: &Applied, proposal: Waiting) {
        let sequence = proposal.sequence;
        let stage = match context.leadership.leader {
            _ if context.is_leader() => Stage::Proposed,
            Some(to) if to != context.seat.node => Stage::Forwarded { to },
            _ => Stage::Waiting,
        };
        let Some(open) = self.open.get(sequence) else { return };
        open.stage = stage;
        let is_in_session = open.delivery.is_in_session();
        if stage == Stage::Waiting {
            return self.waiting.push_back(proposal);
        }
        let acknowledged_below = if is_in_session { self.open.acknowledged_below() } else { 0 };
        let Waiting { kind, payload, .. } = proposal;
        let checksum = crc32c::crc32c(&payload);
        if let Stage::Forwarded { to } = stage {
            let length = u32::try_from(payload.len()).expect("commands are bounded below 4 GiB");
            let kind = ForwardedKind::of(kind).expect("only what may be forwarded is proposed here");
            let forwarded = Forwarded { kind, sequence, acknowledged_below, checksum, length };
            self.forwards.add(to, applied.level(), forwarded, payload);
            context.counters.forwarded += 1;
        } else {
            let id = ProposalId { session: context.seat.session, sequence };
            context.propose(Proposal { id, kind, acknowledged_below, payload, checksum });
        }
    }

    /// Dispatches the waiting proposals once a leader is known.
    pub(super) fn dispatch_waiting<L: ReplicatedLog>(&mut self, context: &mut Context<L>, applied: &Applied) {
        if !context.is_leader() && context.leadership.leader.is_none() {
            return;
        }
        for proposal in std::mem::take(&mut self.waiting) {
            let open = self.open.get(proposal.sequence);
            if open.is_some_and(|open| open.stage == Stage::Waiting && open.call.is_some()) {
                self.dispatch(context, applied, proposal);
            }
        }
    }

    /// Sends the gathered forwards at the end of a turn.
    pub(super) fn send_forwards<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        self.forwards.send(context);
    }

    /// This node's core has appended a proposal.
    pub(super) fn on_appended(&mut self, sequence: u64, index: LogIndex, term: Term) {
        if let Some(open) = self.open.get(sequence)
            && open.stage == Stage::Proposed
        {
            open.stage = Stage::Appended { index, term };
        }
    }

    /// This node's core has refused a proposal.
    pub(super) fn on_refused<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        sequence: u64,
        reason: RefuseReason,
        leader: Option<NodeId>,
    ) {
        self.resolve(context, sequence, Outcome::NotApplied(NotApplied::Refused { reason, leader }));
    }

    /// Answers the call that waits for a proposal, if there is one. A retry that was not applied does not decide the
    /// outcome of the earlier tries.
    fn resolve<L: ReplicatedLog>(&mut self, context: &mut Context<L>, sequence: u64, outcome: Outcome) {
        let Some(open) = self.open.get(sequence).filter(|open| open.call.is_some()) else { return };
        let outcome = match (outcome, open.delivery) {
            (Outcome::NotApplied(NotApplied::SessionExpired), Kind::Again) => unknown(Unknown::SessionExpired),
            (Outcome::NotApplied(reason), Kind::Again) => unknown(Unknown::TryFailed(reason)),
            (outcome, _) => outcome,
        };
        let may_retry = open.delivery.is_in_session();
        let (call, outcome) = match outcome {
            Outcome::Unknown { reason, .. } if may_retry && is_open(&reason) => {
                let retry = Some(Retry { sequence });
                (self.open.leave_unresolved(sequence), Outcome::Unknown { reason, retry })
            }
            outcome => (self.open.take(sequence).and_then(|open| open.call), outcome),
        };
        if let Some(call) = call {
            context.counters.note(&outcome);
            context.reply(call, Reply::Outcome(outcome));
        }
    }

    /// Ends a proposal whose outcome is not waited for any longer. It was certainly not applied if it was never sent.
    fn give_up<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        sequence: u64,
        unsent: NotApplied,
        sent: Unknown,
    ) {
        let is_waiting = self.open.get(sequence).is_some_and(|open| open.stage == Stage::Waiting);
        self.resolve(context, sequence, if is_waiting { Outcome::NotApplied(unsent) } else { unknown(sent) });
    }

    /// Ends the proposals whose deadline has passed.
    pub(super) fn expire<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        let expired = self.open.expired(context.instant());
        if expired.is_empty() {
            return;
        }
        for sequence in expired {
            self.give_up(context, sequence, NotApplied::NoLeader, Unknown::DeadlinePassed);
        }
        let open = &mut self.open;
        self.waiting.retain(|waiting| open.get(waiting.sequence).is_some_and(|open| open.call.is_some()));
    }

    /// Answers all calls, because the group has stopped on this node.
    pub(super) fn on_halted<L: ReplicatedLog>(&mut self, context: &mut Context<L>, reason: &HaltReason) {
        self.waiting.clear();
        for sequence in self.open.matching(|open| open.call.is_some()) {
            let Some(open) = self.open.take(sequence) else { continue };
            let outcome = match (open.stage, open.delivery) {
                (Stage::Waiting, Kind::Loose | Kind::Session | Kind::First) => {
                    Outcome::NotApplied(NotApplied::Halted(reason.clone()))
                }
                _ => unknown(Unknown::Halted(reason.clone())),
            };
            context.counters.note(&outcome);
            if let Some(call) = open.call {
                context.reply(call, Reply::Outcome(outcome));
            }
        }
    }

    /// Refuses the proposals that wait for a leader, because they will not be sent.
    pub(super) fn on_shutdown<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        self.waiting.clear();
        for sequence in self.open.matching(|open| open.stage == Stage::Waiting && open.call.is_some()) {
            self.resolve(context, sequence, Outcome::NotApplied(NotApplied::ShuttingDown));
        }
    }

    /// Ends all proposals, because the other nodes treat this node as a stranger: an older copy of a disk has a session
    /// that was used before, and its entries are not those proposals.
    pub(super) fn on_stranger<L: ReplicatedLog>(&mut self, context: &mut Context<L>, bar: VotingBar) {
        self.waiting.clear();
        for sequence in self.open.matching(|open| open.call.is_some()) {
            self.give_up(context, sequence, NotApplied::Stranger(bar), Unknown::Stranger(bar));
        }
    }

    /// Answers the call that waits for an entry of this session. A proposal that was never sent has no entry: then the
    /// session was used before, by a disk of which this one is an older copy.
    pub(super) fn on_own_entry<L: ReplicatedLog>(&mut self, context: &mut Context<L>, sequence: u64, outcome: Outcome) {
        let is_unsent = |open: &mut OpenProposal| open.stage == Stage::Waiting && open.delivery != Kind::Again;
        if !self.open.get(sequence).is_some_and(is_unsent) {
            self.resolve(context, sequence, outcome);
        }
    }

    /// An entry of a later term is committed at `index`, so entries of an earlier term from there on are gone for good.
    pub(super) fn on_later_term<L: ReplicatedLog>(&mut self, context: &mut Context<L>, index: LogIndex, term: Term) {
        let is_gone = |stage: Stage| match stage {
            Stage::Appended { index: place, term: placed } => placed < term && place >= index,
            _ => false,
        };
        for sequence in self.open.matching(|open| is_gone(open.stage) && open.call.is_some()) {
            self.resolve(context, sequence, Outcome::NotApplied(NotApplied::Superseded));
        }
    }

    /// A snapshot replaced the entries up to `index`. The outcome of a proposal among them is in the session, or it is
    /// unknown.
    pub(super) fn on_covered<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        index: LogIndex,
    ) {
        for sequence in self.open.matching(|open| open.call.is_some()) {
            let Some(open) = self.open.get(sequence) else { continue };
            let is_covered = matches!(open.stage, Stage::Appended { index: place, .. } if place <= index);
            let is_in_session = open.delivery.is_in_session();
            let id = ProposalId { session: context.seat.session, sequence };
            let outcome = match if is_in_session { applied.sessions().known(id) } else { ProposalState::Nothing } {
                ProposalState::Applied(Some(response)) => Outcome::Applied(response),
                ProposalState::Applied(None) => unknown(Unknown::ResponseForgotten),
                ProposalState::NotApplied if is_covered => Outcome::NotApplied(NotApplied::Superseded),
                ProposalState::Nothing if is_covered => unknown(Unknown::CoveredBySnapshot),
                ProposalState::NotApplied | ProposalState::Nothing => continue,
            };
            self.resolve(context, sequence, outcome);
        }
    }

    /// Takes the answers of a leader to proposals that were forwarded to it.
    pub(super) fn on_answers<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        from: NodeId,
        level: u32,
        session: SessionId,
        answers: Vec<ForwardAnswer>,
        mut payloads: Bytes,
    ) {
        if session != context.seat.session || level > FEATURE_LEVEL {
            context.counters.answers_ignored += answers.len() as u64;
            return;
        }
        for ForwardAnswer { sequence, verdict } in answers {
            let response = match verdict {
                ForwardVerdict::Applied { length } => payloads.split_to(usize::try_from(length).unwrap_or(usize::MAX)),
                _ => Bytes::new(),
            };
            let open = self.open.get(sequence).filter(|open| open.call.is_some());
            let Some(open) = open.filter(|open| open.stage == Stage::Forwarded { to: from }) else {
                context.counters.answers_ignored += 1;
                continue;
            };
            // After this answer the caller proposes in the session, so this replica must know the session first.
            if open.delivery != Kind::Session || !matches!(verdict, ForwardVerdict::Applied { .. }) {
                self.resolve(context, sequence, outcome_of(verdict, level, response));
            }
        }
    }

    /// Returns the time of the next check for expired proposals.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.deadline()
    }

    /// Number of proposals for which a call waits.
    pub(super) fn waiting(&self) -> usize {
        self.open.waiting()
    }

    /// Bytes of the commands for which a call waits.
    pub(super) fn bytes(&self) -> usize {
        self.open.bytes()
    }
}

impl Delivery {
    /// Returns the outcome of a proposal that is refused at once. If it is a retry, the refusal does not decide the
    /// outcome of the earlier tries.
    pub(super) fn refused(self, reason: NotApplied) -> Outcome {
        match self {
            Self::Again(retry) => Outcome::Unknown { reason: Unknown::TryFailed(reason), retry: Some(retry) },
            Self::AtMostOnce | Self::ExactlyOnce => Outcome::NotApplied(reason),
        }
    }
}

/// Returns the outcome that a leader's answer means. The leader runs at `level`.
fn outcome_of(verdict: ForwardVerdict, level: u32, response: Bytes) -> Outcome {
    let reason = match verdict {
        ForwardVerdict::Applied { .. } => return Outcome::Applied(response),
        ForwardVerdict::ResponseForgotten => return unknown(Unknown::ResponseForgotten),
        ForwardVerdict::SessionExpired => NotApplied::SessionExpired,
        ForwardVerdict::OutsideWindow => NotApplied::WindowPassed,
        ForwardVerdict::Superseded => NotApplied::Superseded,
        ForwardVerdict::FeatureLevel => NotApplied::FeatureLevel { level },
        ForwardVerdict::Refused { reason, leader } => NotApplied::Refused { reason: reason.into(), leader },
    };
    Outcome::NotApplied(reason)
}

fn unknown(reason: Unknown) -> Outcome {
    Outcome::Unknown { reason, retry: None }
}

/// Returns true if a retry may bring the outcome.
fn is_open(reason: &Unknown) -> bool {
    matches!(reason, Unknown::DeadlinePassed | Unknown::CoveredBySnapshot | Unknown::TryFailed(_))
}
