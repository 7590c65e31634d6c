//! The acceptor: promises and accepts (Paxos Made Simple §2.2).

use quorate_protocol::{HaltReason, NodeId, Standing};

use super::message::{Accept, Accepted, Chosen, Nack, Prepare, Promise, Query, Report};
use super::state::AcceptedValue;
use super::{Ignored, Message, Proposal, Synod};
use crate::Ballot;
use crate::ballot::{ROUND_LEAP_MAX, ROUND_MAX};

impl Synod {
    /// Handles a proposer's request for a promise.
    pub(crate) fn on_prepare(&mut self, from: NodeId, prepare: Prepare) -> Result<(), Ignored> {
        self.check_request(from, prepare.ballot)?;
        if self.answer_with_chosen(from) {
            return Ok(());
        }
        if prepare.ballot < self.state.promised {
            self.refuse_ballot(from, prepare.ballot);
            return Ok(());
        }
        if prepare.ballot > self.state.promised {
            self.check_log()?;
            self.state.promised = prepare.ballot;
            self.persist_state();
            self.arm_settling();
        }
        let accepted = self.accepted.as_ref().map(|accepted| (accepted.ballot, accepted.proposal.clone()));
        let promise = Promise { ballot: prepare.ballot, accepted };
        // The answer states the promise and the accepted value, so it waits for both writes.
        self.outbox.send_after(self.state_ticket.max(self.accepted_ticket), from, Message::Promise(promise));
        Ok(())
    }

    /// Handles a proposer's request to accept. Accepting is also a promise: lower ballots are refused from now on.
    pub(crate) fn on_accept(&mut self, from: NodeId, accept: Accept) -> Result<(), Ignored> {
        self.check_request(from, accept.ballot)?;
        if self.answer_with_chosen(from) {
            return Ok(());
        }
        if accept.ballot < self.state.promised {
            self.refuse_ballot(from, accept.ballot);
            return Ok(());
        }
        match &self.accepted {
            Some(accepted) if accepted.ballot == accept.ballot => {
                if accepted.proposal != accept.proposal {
                    self.halt(HaltReason::LawBroken("two proposals in one ballot"));
                    return Ok(());
                }
            }
            _ => {
                self.check_log()?;
                self.accept(accept.ballot, accept.proposal);
            }
        }
        let accepted = Message::Accepted(Accepted { ballot: accept.ballot });
        self.outbox.send_after(self.accepted_ticket, from, accepted);
        Ok(())
    }

    /// Accepts a proposal and promises its ballot, in one write.
    pub(crate) fn accept(&mut self, ballot: Ballot, proposal: Proposal) {
        assert!(ballot >= self.state.promised, "what was promised is kept");
        assert!(self.accepted.as_ref().is_none_or(|before| before.ballot < ballot), "a ballot is accepted once");
        assert!(proposal.is_intact(), "a value is what it was when it was proposed");
        self.state.promised = ballot;
        self.accepted = Some(AcceptedValue { ballot, proposal });
        self.persist_accepted();
        self.arm_settling();
    }

    /// Handles a reading proposer's query. It is answered whatever the sender's standing is, because a query has no
    /// effect.
    pub(crate) fn on_query(&mut self, from: NodeId, query: Query) -> Result<(), Ignored> {
        if !self.config.group().proposers().contains(&from) {
            return Err(Ignored::NotMember);
        }
        self.check_acceptor()?;
        if self.answer_with_chosen(from) {
            return Ok(());
        }
        let accepted = self.accepted.as_ref().map(|accepted| (accepted.ballot, accepted.proposal.clone()));
        let report = Report { start: query.start, number: query.number, accepted };
        self.outbox.send_after(self.accepted_ticket, from, Message::Report(report));
        Ok(())
    }

    /// The checks for every request to promise or accept.
    fn check_request(&self, from: NodeId, ballot: Ballot) -> Result<(), Ignored> {
        if !self.config.group().proposers().contains(&from) {
            return Err(Ignored::NotMember);
        }
        if ballot.node != from {
            return Err(Ignored::ForeignBallot);
        }
        self.check_ballot(ballot)?;
        // A proposer that lost its disk may have forgotten the ballots that it used.
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.check_acceptor()
    }

    /// Checks that a correct node can have begun this ballot.
    pub(crate) fn check_ballot(&self, ballot: Ballot) -> Result<(), Ignored> {
        let reached = self.rounds_known().saturating_add(ROUND_LEAP_MAX).min(ROUND_MAX);
        if ballot.round == 0 || ballot.round > reached { Err(Ignored::AbsurdBallot) } else { Ok(()) }
    }

    /// Checks that this node is an acceptor that may answer. An acceptor that lost its disk has forgotten what it
    /// promised and accepted.
    fn check_acceptor(&self) -> Result<(), Ignored> {
        if !self.config.group().is_acceptor(self.config.node()) {
            return Err(Ignored::NotAcceptor);
        }
        if !self.is_counting() {
            return Err(Ignored::Barred);
        }
        Ok(())
    }

    /// While the log does not advance, refuses requests that it could not write down in a few writes.
    fn check_log(&self) -> Result<(), Ignored> {
        if self.outbox.queued_writes().count() >= QUEUED_WRITES_MAX { Err(Ignored::LogBehind) } else { Ok(()) }
    }

    /// Answers with the chosen value, if this node knows it: nothing is left to decide.
    fn answer_with_chosen(&mut self, to: NodeId) -> bool {
        let Some(chosen) = &self.chosen else { return false };
        let message = Chosen { system: self.config.system(), proposal: chosen.clone() };
        self.outbox.send_after(self.chosen_ticket, to, Message::Chosen(message));
        true
    }

    fn refuse_ballot(&mut self, to: NodeId, ballot: Ballot) {
        let nack = Nack { ballot, promised: self.state.promised };
        self.outbox.send_after(self.state_ticket, to, Message::Nack(nack));
    }
}

/// Number of writes that may wait behind the one under way.
const QUEUED_WRITES_MAX: usize = 2;
