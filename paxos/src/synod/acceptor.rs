//! The acceptor: promises and accepts (Paxos Made Simple §2.2), and sees to it that the proposal which it accepted is
//! decided.

use quorate_protocol::{HaltReason, Instant, LogIndex, NodeId, Operation, Ticket, ViewWriter};

use super::base::{Base, idle_max};
use super::codec::{ACCEPTED_KEY, encode_accepted, encode_state};
use super::learner::Learner;
use super::message::{Accept, Accepted, Nack, Prepare, Promise, Query, Report};
use super::state::{AcceptedValue, DurableState};
use super::{Ignored, Message, Proposal};
use crate::Ballot;
use crate::ballot::{ROUND_LEAP_MAX, ROUND_MAX};

/// The promise and the accepted proposal of a node, and the rounds that it knows of.
///
/// A node that is no acceptor has one too: its state record holds the round of the ballots that it begins.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    /// The newest state record. The highest round known is at least as high as both of its rounds.
    state: DurableState,
    /// The write that makes the state record durable.
    state_ticket: Ticket,
    /// The proposal accepted last. Its ballot grows, and is at most the promised one.
    accepted: Option<AcceptedValue>,
    /// The write that makes the accepted proposal durable, together with its promise. At most `state_ticket`.
    accepted_ticket: Ticket,
    /// The highest round in answers to this node. Never decreases.
    round_seen: u64,
    /// Not `Idle` while a proposal is accepted here and none is known to be chosen. `Idle` once one is.
    settling: Settling,
    /// Number of times in a row that proposers were asked to settle the accepted proposal.
    inquiries: u32,
}

/// Progress of a decision that no command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settling {
    /// There is nothing to settle.
    Idle,
    /// The accepted proposal must be settled at this time, if no other node does so before.
    At(Instant),
    /// This proposer must find the chosen value.
    Wanted,
}

impl Acceptor {
    pub(crate) fn new(state: DurableState, accepted: Option<AcceptedValue>) -> Self {
        Self {
            state,
            state_ticket: Ticket(0),
            accepted,
            accepted_ticket: Ticket(0),
            round_seen: 0,
            settling: Settling::Idle,
            inquiries: 0,
        }
    }

    /// Handles a proposer's request for a promise.
    pub(crate) fn on_prepare(
        &mut self,
        base: &mut Base,
        learner: &Learner,
        from: NodeId,
        prepare: Prepare,
    ) -> Result<(), Ignored> {
        self.check_request(base, from, prepare.ballot)?;
        if learner.answer(base, from) {
            return Ok(());
        }
        if prepare.ballot < self.state.promised {
            self.refuse_ballot(base, from, prepare.ballot);
            return Ok(());
        }
        if prepare.ballot > self.state.promised {
            check_log(base)?;
            self.state.promised = prepare.ballot;
            self.persist_state(base);
            self.arm_settling(base);
        }
        let promise = Promise { ballot: prepare.ballot, accepted: self.accepted_pair() };
        // The answer states the promise and the accepted value: the newest state record is written with or after both.
        base.chassis.outbox.send_after(self.state_ticket, from, Message::Promise(promise));
        Ok(())
    }

    /// Handles a proposer's request to accept. Accepting is also a promise: lower ballots are refused from now on.
    pub(crate) fn on_accept(
        &mut self,
        base: &mut Base,
        learner: &Learner,
        from: NodeId,
        accept: Accept,
    ) -> Result<(), Ignored> {
        self.check_request(base, from, accept.ballot)?;
        if learner.answer(base, from) {
            return Ok(());
        }
        if accept.ballot < self.state.promised {
            self.refuse_ballot(base, from, accept.ballot);
            return Ok(());
        }
        match &self.accepted {
            Some(accepted) if accepted.ballot == accept.ballot => {
                if accepted.proposal != accept.proposal {
                    base.chassis.halt(HaltReason::LawBroken("two proposals in one ballot"));
                    return Ok(());
                }
            }
            _ => {
                check_log(base)?;
                self.accept(base, accept.ballot, accept.proposal);
            }
        }
        let accepted = Message::Accepted(Accepted { ballot: accept.ballot });
        base.chassis.outbox.send_after(self.accepted_ticket, from, accepted);
        Ok(())
    }

    /// Accepts a proposal and promises its ballot, in one write. Returns the write's ticket.
    pub(crate) fn accept(&mut self, base: &mut Base, ballot: Ballot, proposal: Proposal) -> Ticket {
        assert!(ballot >= self.state.promised, "what was promised is kept");
        assert!(self.accepted.as_ref().is_none_or(|before| before.ballot < ballot), "a ballot is accepted once");
        assert!(proposal.is_intact(), "a value is what it was when it was proposed");
        self.state.promised = ballot;
        self.accepted = Some(AcceptedValue { ballot, proposal });
        self.persist(base);
        self.arm_settling(base);
        self.accepted_ticket
    }

    /// Handles a reading proposer's query. It is answered whatever the sender's standing is, because a query has no
    /// effect.
    pub(crate) fn on_query(
        &self,
        base: &mut Base,
        learner: &Learner,
        from: NodeId,
        query: Query,
    ) -> Result<(), Ignored> {
        if !base.config.group().proposers().contains(&from) {
            return Err(Ignored::NotMember);
        }
        check_acceptor(base)?;
        if learner.answer(base, from) {
            return Ok(());
        }
        let report = Report { start: query.start, number: query.number, accepted: self.accepted_pair() };
        base.chassis.outbox.send_after(self.accepted_ticket, from, Message::Report(report));
        Ok(())
    }

    /// The checks for every request to promise or accept.
    fn check_request(&self, base: &Base, from: NodeId, ballot: Ballot) -> Result<(), Ignored> {
        if !base.config.group().proposers().contains(&from) {
            return Err(Ignored::NotMember);
        }
        if ballot.node != from {
            return Err(Ignored::ForeignBallot);
        }
        self.check_ballot(ballot)?;
        // A proposer that lost its disk may have forgotten the ballots that it used.
        base.check_known(from)?;
        check_acceptor(base)
    }

    fn refuse_ballot(&self, base: &mut Base, to: NodeId, ballot: Ballot) {
        let nack = Nack { ballot, promised: self.state.promised };
        base.chassis.outbox.send_after(self.state_ticket, to, Message::Nack(nack));
    }

    /// Begins a ballot of this node above every ballot used or seen. Its round is durable before other nodes learn of
    /// it. If this node is an acceptor, it promises the ballot in the same write.
    pub(crate) fn begin_ballot(&mut self, base: &mut Base) -> Ballot {
        let ballot = Ballot { round: self.rounds_known() + 1, node: base.config.node() };
        self.state.round = ballot.round;
        if base.config.is_acceptor() {
            self.state.promised = ballot;
        }
        self.persist_state(base);
        ballot
    }

    /// Checks that a correct node can have begun this ballot.
    pub(crate) fn check_ballot(&self, ballot: Ballot) -> Result<(), Ignored> {
        let reached = self.rounds_known().saturating_add(ROUND_LEAP_MAX).min(ROUND_MAX);
        if ballot.round == 0 || ballot.round > reached { Err(Ignored::AbsurdBallot) } else { Ok(()) }
    }

    /// Notes the round of a ballot in an answer.
    pub(crate) fn note_ballot(&mut self, ballot: Ballot) {
        self.round_seen = self.round_seen.max(ballot.round);
    }

    /// The highest round that this node has used, promised or seen.
    fn rounds_known(&self) -> u64 {
        self.state.round.max(self.state.promised.round).max(self.round_seen)
    }

    /// True if this node can begin no further ballot.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.rounds_known() >= ROUND_MAX
    }

    pub(crate) fn promised(&self) -> Ballot {
        self.state.promised
    }

    pub(crate) fn accepted(&self) -> Option<&AcceptedValue> {
        self.accepted.as_ref()
    }

    /// The accepted proposal as messages contain it.
    pub(crate) fn accepted_pair(&self) -> Option<(Ballot, Proposal)> {
        self.accepted.as_ref().map(|accepted| (accepted.ballot, accepted.proposal.clone()))
    }

    /// The write after which the state record and the accepted proposal are durable.
    pub(crate) fn state_ticket(&self) -> Ticket {
        self.state_ticket
    }

    /// True if the accepted proposal survives a crash.
    pub(crate) fn is_accepted_durable(&self, base: &Base) -> bool {
        base.chassis.outbox.is_durable(self.accepted_ticket)
    }

    /// True if the promise and the accepted proposal survive a crash.
    #[cfg(feature = "testing")]
    pub(crate) fn is_durable(&self, base: &Base) -> bool {
        base.chassis.outbox.is_durable(self.state_ticket)
    }

    /// The last ballot that this node began.
    pub(crate) fn last_ballot(&self, base: &Base) -> Ballot {
        Ballot { round: self.state.round, node: base.config.node() }
    }

    /// The writes on which its answers depend.
    pub(crate) fn tickets(&self) -> [Ticket; 2] {
        [self.state_ticket, self.accepted_ticket]
    }

    /// Makes the accepted proposal durable, in one write with its promise.
    pub(crate) fn persist(&mut self, base: &mut Base) {
        let record = self.accepted.as_ref().map(encode_accepted);
        let journal = record.map(|bytes| Operation::Journal { key: ACCEPTED_KEY, bytes });
        let operations = [self.put_state(base)].into_iter().chain(journal);
        self.accepted_ticket = base.chassis.outbox.persist(operations);
        self.state_ticket = self.accepted_ticket;
    }

    /// Makes the state record durable.
    fn persist_state(&mut self, base: &mut Base) {
        let state = self.put_state(base);
        self.state_ticket = base.chassis.outbox.persist([state]);
    }

    fn put_state(&self, base: &Base) -> Operation {
        Operation::PutState { bytes: encode_state(base.config.quorums(), &self.state), commit_hint: LogIndex::ZERO }
    }

    /// True if this proposer must find the chosen value although no command asks for it.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling == Settling::Wanted
    }

    /// Sets the time at which the accepted proposal is settled, unless this node is settling it. Part of each start,
    /// too.
    pub(crate) fn arm_settling(&mut self, base: &mut Base) {
        if !self.is_settling() && self.accepted.is_some() {
            self.settling = Settling::At(self.draw_settling(base));
        }
    }

    /// Has this proposer find the chosen value.
    pub(crate) fn begin_settling(&mut self) {
        self.settling = Settling::Wanted;
    }

    /// Ends the search for the chosen value without a result. An accepted proposal is settled later.
    pub(crate) fn end_settling(&mut self, base: &mut Base) {
        self.settling = Settling::Idle;
        self.arm_settling(base);
    }

    /// Nothing is to be settled any more, because the chosen proposal is known.
    pub(crate) fn on_chosen_known(&mut self) {
        self.settling = Settling::Idle;
    }

    /// Settles the accepted proposal if it is time: no other node has decided it.
    pub(crate) fn settle_due(&mut self, base: &mut Base) {
        if !matches!(self.settling, Settling::At(at) if at <= base.chassis.instant()) {
            return;
        }
        if base.config.is_proposer() && base.is_counting() {
            return self.begin_settling();
        }
        let node = base.config.node();
        for to in base.config.group().proposers().iter().filter(|to| **to != node) {
            base.chassis.outbox.send(*to, Message::Inquire);
        }
        self.inquiries = self.inquiries.saturating_add(1);
        self.arm_settling(base);
    }

    /// This node's own standing has changed. A stranger may not propose, so others must settle.
    pub(crate) fn on_own_standing(&mut self, base: &mut Base) {
        self.inquiries = 0;
        if base.is_counting() { self.arm_settling(base) } else { self.end_settling(base) }
    }

    /// A node can be reached again: the accepted proposal is settled soon.
    pub(crate) fn hurry_settling(&mut self, base: &mut Base) {
        if let Settling::At(at) = self.settling {
            self.inquiries = 0;
            self.settling = Settling::At(self.draw_settling(base).min(at));
        }
    }

    /// Draws the time at which the accepted proposal is settled. Proposers are asked less and less often.
    fn draw_settling(&self, base: &mut Base) -> Instant {
        let longest = base.config.settings().settle_after.saturating_mul(2);
        base.draw_wait(longest, self.inquiries, idle_max(longest))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.settling {
            Settling::At(at) => Some(at),
            Settling::Idle | Settling::Wanted => None,
        }
    }

    /// Checks the laws of this part.
    pub(crate) fn check_invariants(&self, learner: &Learner) {
        if let Some(accepted) = &self.accepted {
            assert!(accepted.ballot <= self.state.promised, "what was accepted was promised");
        }
        assert!(self.accepted_ticket <= self.state_ticket, "what was accepted is written with its promise");
        let is_idle = self.settling == Settling::Idle;
        if learner.chosen().is_some() {
            assert!(is_idle, "what is chosen is settled");
        } else {
            assert!(self.accepted.is_none() || !is_idle, "what was accepted is seen to");
        }
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        let tickets = (writer.ticket(self.state_ticket), writer.ticket(self.accepted_ticket));
        writer.put(&(&self.state, &self.accepted, tickets, self.round_seen));
        writer.put(&(self.deadline().map(|at| writer.time(at)), self.is_settling()));
    }
}

/// Checks that this node is an acceptor that may answer. An acceptor that lost its disk has forgotten what it promised
/// and accepted.
fn check_acceptor(base: &Base) -> Result<(), Ignored> {
    if !base.config.is_acceptor() {
        return Err(Ignored::NotAcceptor);
    }
    if !base.is_counting() {
        return Err(Ignored::Barred);
    }
    Ok(())
}

/// While the log does not advance, refuses requests that it could not write down in a few writes.
fn check_log(base: &Base) -> Result<(), Ignored> {
    let queued = base.chassis.outbox.queued_writes().count();
    if queued >= QUEUED_WRITES_MAX { Err(Ignored::LogBehind) } else { Ok(()) }
}

/// Number of writes that may wait behind the one under way.
const QUEUED_WRITES_MAX: usize = 2;
