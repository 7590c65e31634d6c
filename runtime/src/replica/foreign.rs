//! Proposals of other nodes: they are made here while this node leads, and answered.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_protocol::{LogIndex, NodeId, Proposal, ProposalId, RefuseReason, ReplicatedLog, SessionId, Term};
use quorate_transport::ChannelId;

use super::application::{Applied, Effect};
use super::context::Context;
use super::message::{ForwardAnswer, ForwardVerdict, Forwarded, ReplicaEnvelope, ReplicaMessage};
use super::payloads::Payloads;

/// Proposals that other nodes forwarded here.
#[derive(Debug, Default)]
pub(super) struct ForeignProposals {
    /// The newest session of each node that forwarded something here.
    proposers: Vec<Proposer>,
    /// Proposals that this node appended and that have no outcome yet, in the order of their indexes. Beyond
    /// `proposals_max` no more are accepted.
    awaiting: VecDeque<Awaiting>,
    /// Answers that are gathered until the end of a turn.
    frames: Vec<AnswerFrame>,
}

/// A node, and the session under which it proposes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proposer {
    pub(super) node: NodeId,
    pub(super) session: SessionId,
}

/// A proposal of another node that is in the log.
#[derive(Clone, Copy, Debug)]
struct Awaiting {
    index: LogIndex,
    term: Term,
    id: ProposalId,
    /// The node that is answered.
    to: NodeId,
}

/// The content of one frame of answers.
#[derive(Debug)]
struct AnswerFrame {
    to: NodeId,
    session: SessionId,
    /// The feature level at which the responses were made.
    level: u32,
    answers: Vec<ForwardAnswer>,
    /// The responses, in the order of `answers`.
    payloads: Payloads,
}

impl ForeignProposals {
    /// Proposes what another node forwarded, or answers `refused`, the reason why this node proposes nothing for it.
    pub(super) fn on_forward<L: ReplicatedLog>(
        &mut self,
        context: &mut Context<L>,
        applied: &Applied,
        proposer: Proposer,
        proposals: Vec<Forwarded>,
        mut payloads: Bytes,
        refused: Option<ForwardVerdict>,
    ) {
        self.note(proposer);
        for proposal in proposals {
            let Forwarded { kind, sequence, acknowledged_below, checksum, length } = proposal;
            let payload = payloads.split_to(usize::try_from(length).unwrap_or(usize::MAX));
            let id = ProposalId { session: proposer.session, sequence };
            if let Some(verdict) = refused {
                self.answer(applied, proposer.node, id, verdict, Bytes::new());
            } else if crc32c::crc32c(&payload) == checksum {
                context.propose(Proposal { id, kind: kind.entry_kind(), acknowledged_below, payload, checksum });
            } else {
                context.counters.frames_malformed += 1;
            }
        }
    }

    /// The core has appended a proposal of another session.
    pub(super) fn on_appended(&mut self, id: ProposalId, index: LogIndex, term: Term) {
        if let Some(to) = self.proposer_of(id) {
            self.awaiting.push_back(Awaiting { index, term, id, to });
        }
    }

    /// The core has refused a proposal of another session.
    pub(super) fn on_refused(
        &mut self,
        applied: &Applied,
        id: ProposalId,
        reason: RefuseReason,
        leader: Option<NodeId>,
    ) {
        if let Some(to) = self.proposer_of(id) {
            let verdict = ForwardVerdict::Refused { reason: reason.into(), leader };
            self.answer(applied, to, id, verdict, Bytes::new());
        }
    }

    /// An entry of another session was applied: answers the node that forwarded it, if one did.
    pub(super) fn on_applied(&mut self, applied: &Applied, index: LogIndex, term: Term, effect: Effect) {
        let is_it = |awaiting: &mut Awaiting| awaiting.index == index && awaiting.term == term;
        let Some(Awaiting { id, to, .. }) = self.awaiting.pop_front_if(is_it) else { return };
        let (verdict, response) = match effect {
            Effect::Applied(response) => {
                let length = u32::try_from(response.len()).expect("a response is shorter than 4 GiB");
                (ForwardVerdict::Applied { length }, response)
            }
            Effect::ResponseForgotten => (ForwardVerdict::ResponseForgotten, Bytes::new()),
            Effect::SessionExpired => (ForwardVerdict::SessionExpired, Bytes::new()),
            Effect::OutsideWindow => (ForwardVerdict::OutsideWindow, Bytes::new()),
        };
        self.answer(applied, to, id, verdict, response);
    }

    /// An entry of a later term is committed at `index`, so entries of an earlier term from there on are gone for good.
    pub(super) fn on_later_term(&mut self, applied: &Applied, index: LogIndex, term: Term) {
        let is_gone = |awaiting: &Awaiting| awaiting.term < term && awaiting.index >= index;
        let gone: Vec<Awaiting> = self.awaiting.iter().filter(|awaiting| is_gone(awaiting)).copied().collect();
        self.awaiting.retain(|awaiting| !is_gone(awaiting));
        for Awaiting { id, to, .. } in gone {
            self.answer(applied, to, id, ForwardVerdict::Superseded, Bytes::new());
        }
    }

    /// A snapshot replaced the entries up to `index`. Their outcomes are not known here.
    pub(super) fn on_covered(&mut self, index: LogIndex) {
        self.awaiting.retain(|awaiting| awaiting.index > index);
    }

    /// Sends the gathered answers at the end of a turn.
    pub(super) fn send_answers<L: ReplicatedLog>(&mut self, context: &mut Context<L>) {
        for AnswerFrame { to, session, level, answers, payloads } in self.frames.drain(..) {
            let message = ReplicaMessage::Answers { level, session, answers };
            let envelope = ReplicaEnvelope { message, payloads: payloads.into_bytes() };
            context.send(ChannelId::REPLICA, to, &envelope);
        }
    }

    /// Number of proposals without an outcome.
    pub(super) fn awaiting(&self) -> usize {
        self.awaiting.len()
    }

    fn note(&mut self, proposer: Proposer) {
        match self.proposers.iter_mut().find(|known| known.node == proposer.node) {
            Some(known) => *known = proposer,
            None => self.proposers.push(proposer),
        }
    }

    /// Returns the node that forwarded a proposal, unless it proposes under a newer session meanwhile.
    fn proposer_of(&self, id: ProposalId) -> Option<NodeId> {
        self.proposers.iter().find(|proposer| proposer.session == id.session).map(|proposer| proposer.node)
    }

    /// Adds an answer to the frame for the node that forwarded the proposal.
    fn answer(&mut self, applied: &Applied, to: NodeId, id: ProposalId, verdict: ForwardVerdict, response: Bytes) {
        let (session, level) = (id.session, applied.level());
        let is_fit =
            |one: &AnswerFrame| (one.to, one.session, one.level) == (to, session, level) && !one.payloads.is_full();
        let place = self.frames.iter().position(is_fit).unwrap_or_else(|| {
            let payloads = Payloads::default();
            self.frames.push(AnswerFrame { to, session, level, answers: Vec::new(), payloads });
            self.frames.len() - 1
        });
        let frame = &mut self.frames[place];
        frame.answers.push(ForwardAnswer { sequence: id.sequence, verdict });
        frame.payloads.push(response);
    }
}
