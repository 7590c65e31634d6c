//! Reads: they ask the acceptors for the chosen value without a ballot, so that readers do not disturb proposers.
//!
//! A chosen proposal was accepted by a quorum, and each of its acceptors keeps it or later accepts the same value. So
//! if enough acceptors to intersect every such quorum had accepted nothing when they were asked, nothing was chosen
//! when the read began. If a quorum had accepted a proposal in one ballot, it is chosen. In all other cases the read
//! waits for a while, because a proposer may be at work, and then finishes the proposal with a ballot.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, ReadId, Standing};

use super::message::{Query, Report};
use super::pace::DOUBLINGS_MAX;
use super::state::{AcceptedValue, ReadRound, WaitingRead};
use super::{Event, Ignored, Message, ReadOutcome, RefuseReason, Synod};

impl Synod {
    /// Handles a read of the application.
    pub(crate) fn on_read(&mut self, id: ReadId) {
        if let Some(chosen) = self.chosen.clone().filter(|_| self.is_chosen_durable()) {
            self.outbox.event(Event::Read { id, outcome: ReadOutcome::Chosen(chosen) });
            return;
        }
        if let Some(reason) = self.refusal(self.reads.len()) {
            self.outbox.event(Event::Read { id, outcome: ReadOutcome::Failed(reason) });
            return;
        }
        let until = self.now.after(self.config.settings().command_timeout);
        self.reads.push_back(WaitingRead { id, until, round: None });
        self.hurry_attempt();
    }

    /// Begins to query for the waiting reads, unless a round is under way or a ballot will answer them.
    pub(crate) fn pursue_reads(&mut self) {
        let is_wanted = !self.reads.is_empty() && self.chosen.is_none();
        if is_wanted && self.read_round.is_none() && !self.is_read_finishing() {
            self.begin_read_round();
        }
    }

    /// True if reads wait for a ballot: a proposal was accepted but is not known to be chosen, and no other proposer
    /// seems to finish it.
    pub(crate) fn is_read_finishing(&self) -> bool {
        !self.reads.is_empty() && self.read_newest.is_some() && self.is_counting()
    }

    /// Begins a round. Answers that were given before it say nothing about it.
    fn begin_read_round(&mut self) {
        self.read_rounds += 1;
        let number = self.read_rounds;
        for read in &mut self.reads {
            read.round = Some(number);
        }
        let (answered, newest) = (BTreeMap::new(), None);
        let (is_inconclusive, retry_at, retries) = (false, self.now, 0);
        let mut round = ReadRound { number, answered, newest, is_inconclusive, retry_at, retries };
        let node = self.config.node();
        if self.config.group().is_acceptor(node) && self.is_counting() {
            match self.accepted.clone() {
                Some(own) if self.outbox.is_durable(self.accepted_ticket) => note(&mut round, node, Some(own)),
                // A value on its way to the disk may be there or may still be lost.
                Some(_) => {}
                None => note(&mut round, node, None),
            }
        }
        self.read_round = Some(round);
        self.ask_for_reads();
        self.conclude_reads();
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    fn ask_for_reads(&mut self) {
        let settings = self.config.settings();
        let (base, max) = (settings.retry_interval_min, settings.retry_interval_max);
        let (system, start, node) = (self.config.system(), self.config.seed(), self.config.node());
        let Some(round) = &mut self.read_round else { return };
        round.retry_at = self.now.after(base.saturating_mul(1 << round.retries.min(DOUBLINGS_MAX)).min(max));
        round.retries = round.retries.saturating_add(1);
        let query = Message::Query(Query { system, start, number: round.number });
        let is_asked = |other: &&NodeId| **other != node && !round.answered.contains_key(*other);
        for to in self.config.group().quorums().acceptors().iter().filter(is_asked) {
            self.outbox.send(*to, query.clone());
        }
    }

    /// Handles an acceptor's report of what it has accepted.
    pub(crate) fn on_report(&mut self, from: NodeId, report: Report) -> Result<(), Ignored> {
        if !self.config.group().is_acceptor(from) {
            return Err(Ignored::NotMember);
        }
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        if let Some((ballot, _)) = &report.accepted {
            self.check_ballot(*ballot)?;
        }
        let is_asked = |round: &&mut ReadRound| round.number == report.number;
        let Some(round) = self.read_round.as_mut().filter(is_asked).filter(|_| report.start == self.config.seed())
        else {
            return Err(Ignored::StaleAnswer);
        };
        let accepted = report.accepted.map(|(ballot, proposal)| AcceptedValue { ballot, proposal });
        let ballot = accepted.as_ref().map(|accepted| accepted.ballot);
        note(round, from, accepted);
        self.round_seen = self.round_seen.max(ballot.map_or(0, |ballot| ballot.round));
        self.conclude_reads();
        Ok(())
    }

    /// Draws conclusions from the answers.
    fn conclude_reads(&mut self) {
        let Some(round) = &self.read_round else { return };
        let quorums = self.config.group().quorums();
        // An acceptor that had accepted nothing is missing in every quorum that could have accepted.
        let may_have_accepted = |node: NodeId| round.answered.get(&node) != Some(&None);
        if !quorums.is_accept_quorum(may_have_accepted) {
            return self.end_reads_without_value();
        }
        if let Some(newest) = &round.newest
            && quorums.is_accept_quorum(|node| round.answered.get(&node) == Some(&Some(newest.ballot)))
        {
            let chosen = newest.proposal.clone();
            return self.learn(chosen);
        }
        let is_inconclusive = quorums.is_prepare_quorum(|node| round.answered.contains_key(&node));
        if is_inconclusive && !round.is_inconclusive {
            // A proposer is probably at work: later answers of this round may still lead to a conclusion.
            let settings = self.config.settings();
            let (base, max) = (settings.backoff_min, settings.backoff_max);
            let again_at = self.draw_wait(base, self.inconclusive, max);
            if let Some(round) = &mut self.read_round {
                round.is_inconclusive = true;
                round.retry_at = round.retry_at.min(again_at);
            }
        }
    }

    /// Nothing was chosen when the round began.
    fn end_reads_without_value(&mut self) {
        let Some(round) = self.read_round.take() else { return };
        self.inconclusive = 0;
        let reads = std::mem::take(&mut self.reads);
        let (answered, waiting) = reads.into_iter().partition(|read| read.round == Some(round.number));
        self.reads = waiting;
        for read in answered {
            self.outbox.event(Event::Read { id: read.id, outcome: ReadOutcome::NoneYet });
        }
    }

    /// The time of a round is over: acceptors that have not answered are asked again. If enough have answered without a
    /// conclusion, all are asked again, and after a few rounds a ballot finishes the accepted proposal.
    pub(crate) fn repeat_read_round(&mut self) {
        let Some(round) = &mut self.read_round else { return };
        if self.reads.is_empty() {
            self.read_round = None;
        } else if round.is_inconclusive {
            let newest = round.newest.take();
            self.read_round = None;
            self.inconclusive = self.inconclusive.saturating_add(1);
            if self.inconclusive >= ROUNDS_BEFORE_BALLOT && self.is_counting() {
                self.read_newest = newest;
            }
        } else {
            self.ask_for_reads();
        }
    }

    /// Ends reads whose time is over.
    pub(crate) fn expire_reads(&mut self) {
        let now = self.now;
        let is_introduced = self.standings.contains_key(&self.config.node());
        let reason = if is_introduced { RefuseReason::TimedOut } else { RefuseReason::NotIntroduced };
        while let Some(waiting) = self.reads.pop_front_if(|waiting| waiting.until <= now) {
            self.outbox.event(Event::Read { id: waiting.id, outcome: ReadOutcome::Failed(reason) });
        }
        if self.reads.is_empty() {
            self.forget_reads();
        }
    }

    /// Ends all queries.
    pub(crate) fn forget_reads(&mut self) {
        self.read_round = None;
        self.read_newest = None;
        self.inconclusive = 0;
    }
}

/// Notes what an acceptor has accepted.
fn note(round: &mut ReadRound, node: NodeId, accepted: Option<AcceptedValue>) {
    round.answered.insert(node, accepted.as_ref().map(|accepted| accepted.ballot));
    if let Some(accepted) = accepted
        && round.newest.as_ref().is_none_or(|newest| newest.ballot < accepted.ballot)
    {
        round.newest = Some(accepted);
    }
}

/// Number of rounds without a conclusion that are left to other proposers, before a read begins a ballot.
const ROUNDS_BEFORE_BALLOT: u32 = 3;
