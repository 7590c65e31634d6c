//! A ballot of this node under way, from its first request to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_protocol::{Instant, NodeId, Ticket, ViewWriter};

use super::acceptor::Acceptor;
use super::base::Base;
use super::message::{Accept, Prepare};
use super::state::AcceptedValue;
use super::status::AttemptStatus;
use super::{Ignored, Message, Proposal};
use crate::waits::doubled;
use crate::{Ballot, QuorumSystem};

/// This node's own ballot under way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    ballot: Ballot,
    phase: Phase,
    /// Acceptors that have promised or accepted durably.
    answered: BTreeSet<NodeId>,
    /// Acceptors that have promised a higher ballot. None of them is in `answered`.
    refused: BTreeSet<NodeId>,
    /// The write that makes the ballot's round durable. No message of the ballot leaves before.
    heard_after: Ticket,
    /// The write that makes this node's own promise or acceptance durable, until it is counted. Not before
    /// `heard_after`.
    own: Option<Ticket>,
    /// Time at which acceptors that have not answered are asked again.
    retry_at: Instant,
    /// Number of times that the acceptors were asked in this phase.
    retries: u32,
}

/// Phase of a ballot.
#[derive(Clone, Debug)]
enum Phase {
    /// Acceptors are asked for promises.
    Prepare {
        /// The accepted proposal with the highest ballot among the answers. Its ballot is below the attempt's.
        newest: Option<AcceptedValue>,
    },
    /// Acceptors are asked to accept this proposal, the only one of the ballot.
    Accept {
        /// The proposal.
        proposal: Proposal,
    },
}

impl Attempt {
    /// Phase 1a. The ballot is above every ballot used or seen. `heard` is an accepted proposal that reads found.
    pub(crate) fn begin(base: &mut Base, acceptor: &mut Acceptor, heard: Option<&AcceptedValue>) -> Self {
        let ballot = acceptor.begin_ballot(base);
        let newest = acceptor.accepted().into_iter().chain(heard).max_by_key(|newest| newest.ballot).cloned();
        let ticket = acceptor.state_ticket();
        Self {
            ballot,
            phase: Phase::Prepare { newest },
            answered: BTreeSet::new(),
            refused: BTreeSet::new(),
            heard_after: ticket,
            own: base.config.is_acceptor().then_some(ticket),
            retry_at: base.chassis.instant(),
            retries: 0,
        }
    }

    /// Phase 2a. This node accepts the proposal itself, if it is an acceptor and has promised nothing higher.
    pub(crate) fn begin_accept(&mut self, base: &mut Base, acceptor: &mut Acceptor, proposal: Proposal) {
        self.answered.clear();
        self.refused.clear();
        self.retries = 0;
        self.own = None;
        if base.config.is_acceptor() {
            if acceptor.promised() > self.ballot {
                self.refused.insert(base.config.node());
            } else {
                self.own = Some(acceptor.accept(base, self.ballot, proposal.clone()));
            }
        }
        self.phase = Phase::Accept { proposal };
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    pub(crate) fn ask(&mut self, base: &mut Base, wait_max: Duration) {
        let wait = doubled(base.config.settings().retry_interval_min, self.retries).min(wait_max);
        self.retry_at = base.chassis.instant().after(wait);
        self.retries = self.retries.saturating_add(1);
        let (system, ballot) = (base.config.system(), self.ballot);
        let message = match &self.phase {
            Phase::Prepare { .. } => Message::Prepare(Prepare { system, ballot }),
            Phase::Accept { proposal } => Message::Accept(Accept { system, ballot, proposal: proposal.clone() }),
        };
        for to in base.config.other_acceptors().filter(|other| !self.has_said(*other)) {
            base.chassis.outbox.send_after(self.heard_after, to, message.clone());
        }
    }

    /// A command arrived: if repetitions were rare, the next one comes soon.
    pub(crate) fn hurry(&mut self, base: &mut Base) {
        self.retry_at = self.retry_at.min(base.draw_soon());
        self.retries = self.retries.min(base.retries_soon());
    }

    /// Counts a promise of an acceptor, and notes the proposal that it has accepted.
    pub(crate) fn note_promise(&mut self, from: NodeId, accepted: Option<AcceptedValue>) -> Result<(), Ignored> {
        let Phase::Prepare { newest } = &mut self.phase else { return Err(Ignored::StaleAnswer) };
        if let Some(accepted) = accepted {
            if accepted.ballot >= self.ballot {
                return Err(Ignored::AbsurdBallot);
            }
            // Of the accepted proposals, the one with the highest ballot is proposed again (§2.2, P2c).
            if newest.as_ref().is_none_or(|newest| newest.ballot < accepted.ballot) {
                *newest = Some(accepted);
            }
        }
        self.note_answer(from);
        Ok(())
    }

    /// Counts an acceptance of an acceptor.
    pub(crate) fn note_acceptance(&mut self, from: NodeId) -> Result<(), Ignored> {
        if matches!(self.phase, Phase::Prepare { .. }) {
            return Err(Ignored::StaleAnswer);
        }
        self.note_answer(from);
        Ok(())
    }

    /// Counts a refusal of an acceptor that has not answered before.
    pub(crate) fn note_refusal(&mut self, from: NodeId) -> Result<(), Ignored> {
        if self.answered.contains(&from) {
            // The acceptor answered before it promised the higher ballot, so its answer stands.
            return Err(Ignored::StaleAnswer);
        }
        self.refused.insert(from);
        Ok(())
    }

    /// Counts this node's own promise or acceptance once it is durable. Returns true if it did.
    pub(crate) fn note_own_answer(&mut self, base: &Base) -> bool {
        let is_durable = self.own.take_if(|ticket| base.chassis.outbox.is_durable(*ticket)).is_some();
        if is_durable {
            self.note_answer(base.config.node());
        }
        is_durable
    }

    fn note_answer(&mut self, from: NodeId) {
        self.refused.remove(&from);
        self.answered.insert(from);
    }

    /// Drops the answer of an acceptor, which must answer again.
    pub(crate) fn drop_answer(&mut self, node: NodeId) {
        self.answered.remove(&node);
        self.refused.remove(&node);
    }

    pub(crate) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The proposal that acceptors are asked to accept; `None` until enough have promised.
    pub(crate) fn proposal(&self) -> Option<&Proposal> {
        match &self.phase {
            Phase::Prepare { .. } => None,
            Phase::Accept { proposal } => Some(proposal),
        }
    }

    /// The accepted proposal with the highest ballot among the promises.
    pub(crate) fn newest(&self) -> Option<&AcceptedValue> {
        match &self.phase {
            Phase::Prepare { newest } => newest.as_ref(),
            Phase::Accept { .. } => None,
        }
    }

    /// True if enough acceptors have promised.
    pub(crate) fn is_promised(&self, quorums: &QuorumSystem) -> bool {
        matches!(self.phase, Phase::Prepare { .. }) && quorums.is_prepare_quorum(|node| self.answered.contains(&node))
    }

    /// The proposal of this ballot, if enough acceptors have accepted it.
    pub(crate) fn chosen(&self, quorums: &QuorumSystem) -> Option<&Proposal> {
        self.proposal().filter(|_| quorums.is_accept_quorum(|node| self.answered.contains(&node)))
    }

    /// True if the acceptors that have not refused still make a quorum.
    pub(crate) fn is_possible(&self, quorums: &QuorumSystem) -> bool {
        let may = |node: NodeId| !self.refused.contains(&node);
        match self.phase {
            Phase::Prepare { .. } => quorums.is_prepare_quorum(may),
            Phase::Accept { .. } => quorums.is_accept_quorum(may),
        }
    }

    /// True if an acceptor that was asked for the first time may still answer. A proposer that settles waits for all
    /// acceptors: one of them has accepted the proposal to settle, and a quorum without it would not report the
    /// proposal.
    pub(crate) fn is_promise_awaited(&self, quorums: &QuorumSystem) -> bool {
        !self.is_repeated() && !quorums.acceptors().iter().all(|node| self.has_said(*node))
    }

    /// True if an acceptor refused.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// True if the acceptors were asked more than once in this phase.
    pub(crate) fn is_repeated(&self) -> bool {
        self.retries > 1
    }

    /// True if an acceptor has answered or refused.
    pub(crate) fn has_said(&self, node: NodeId) -> bool {
        self.answered.contains(&node) || self.refused.contains(&node)
    }

    /// Time at which acceptors that have not answered are asked again.
    pub(crate) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// The tickets on which the attempt depends.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.own.into_iter().chain([self.heard_after])
    }

    pub(crate) fn status(&self) -> AttemptStatus {
        AttemptStatus {
            ballot: self.ballot,
            proposal: self.proposal().cloned(),
            answered: self.answered.iter().copied().collect(),
            refused: self.refused.iter().copied().collect(),
        }
    }

    /// Checks the laws of a ballot under way.
    pub(crate) fn check_invariants(&self) {
        assert!(self.own.is_none_or(|own| own >= self.heard_after), "nobody answers a ballot before it is durable");
        assert!(self.answered.is_disjoint(&self.refused), "no acceptor both answered and refused");
        if let Some(newest) = self.newest() {
            assert!(newest.ballot < self.ballot, "nothing is accepted above the ballot that is prepared");
        }
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&(self.ballot, &self.phase, &self.answered, &self.refused));
        let tickets = (writer.ticket(self.heard_after), self.own.map(|own| writer.ticket(own)));
        writer.put(&(tickets, writer.time(self.retry_at), self.is_repeated()));
    }
}
