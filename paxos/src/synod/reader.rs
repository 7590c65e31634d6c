//! Reads: they ask the acceptors for the chosen value without a ballot, so that readers do not disturb proposers.
//!
//! A chosen proposal was accepted by a quorum, and each of its acceptors keeps it or later accepts the same value. So
//! if enough acceptors to intersect every such quorum had accepted nothing when they were asked, nothing was chosen
//! when the read began. If a quorum had accepted a proposal in one ballot, it is chosen. In all other cases the read
//! waits for a while, because a proposer may be at work, and then finishes the proposal with a ballot.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::{Instant, NodeId, ReadId, ViewWriter};

use super::acceptor::Acceptor;
use super::base::Base;
use super::learner::Learner;
use super::message::{Query, Report};
use super::proposer::Proposer;
use super::state::AcceptedValue;
use super::{CommandRefusal, Event, Ignored, Message, Proposal, ReadOutcome};
use crate::waits::doubled;
use crate::{Ballot, QuorumSystem};

/// The reads that wait on a node, and the queries for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    /// Waiting reads, the oldest first. Bounded by `commands_max`.
    reads: VecDeque<WaitingRead>,
    /// The queries to acceptors that are under way. `None` once a proposal is known to be chosen.
    round: Option<ReadRound>,
    /// Number of rounds of queries so far. Never decreases.
    rounds: u64,
    /// Number of rounds in a row without a conclusion.
    inconclusive: u32,
    /// The accepted proposal that a ballot must finish, because reads wait for it. `None` while no read waits.
    newest: Option<AcceptedValue>,
}

/// A read that waits for its answer.
#[derive(Clone, Debug)]
struct WaitingRead {
    id: ReadId,
    until: Instant,
    /// The round of queries that began after the read. Its answers can show that nothing was chosen.
    round: Option<u64>,
}

/// A round of queries to the acceptors, for the reads that waited when it began.
#[derive(Clone, Debug)]
struct ReadRound {
    number: u64,
    /// The acceptors that have answered, with the ballot of their accepted proposal.
    answered: BTreeMap<NodeId, Option<Ballot>>,
    /// The accepted proposal with the highest of these ballots.
    newest: Option<AcceptedValue>,
    /// True if enough acceptors have answered without a conclusion.
    is_inconclusive: bool,
    /// Time at which acceptors that have not answered are asked again; if the answers lead to no conclusion, all are
    /// asked again.
    retry_at: Instant,
    /// Number of times that the acceptors were asked in this round.
    retries: u32,
}

impl Reader {
    /// Handles a read of the application.
    pub(crate) fn on_read(&mut self, base: &mut Base, learner: &Learner, proposer: &mut Proposer, id: ReadId) {
        if let Some(chosen) = learner.durable(base).cloned() {
            return base.chassis.outbox.event(Event::Read { id, outcome: ReadOutcome::Chosen(chosen) });
        }
        if let Some(reason) = base.refusal(self.reads.len()) {
            return base.chassis.outbox.event(Event::Read { id, outcome: ReadOutcome::Failed(reason) });
        }
        let until = base.chassis.instant().after(base.config.settings().command_timeout);
        self.reads.push_back(WaitingRead { id, until, round: None });
        proposer.hurry(base);
    }

    /// Begins to query for the waiting reads, unless a round is under way or a ballot will answer them.
    pub(crate) fn pursue(&mut self, base: &mut Base, acceptor: &Acceptor) {
        if !self.reads.is_empty() && self.round.is_none() && !self.is_finishing(base) {
            self.begin_round(base, acceptor);
        }
    }

    /// True if reads wait for a ballot: a proposal was accepted but is not known to be chosen, and no other proposer
    /// seems to finish it.
    pub(crate) fn is_finishing(&self, base: &Base) -> bool {
        !self.reads.is_empty() && self.newest.is_some() && base.is_counting()
    }

    /// Begins a round. Answers that were given before it say nothing about it.
    fn begin_round(&mut self, base: &mut Base, acceptor: &Acceptor) {
        self.rounds += 1;
        for read in &mut self.reads {
            read.round = Some(self.rounds);
        }
        let mut round = ReadRound::new(self.rounds, base.chassis.instant());
        if base.config.is_acceptor() && base.is_counting() {
            // A value on its way to the disk may be there or may still be lost.
            if acceptor.accepted().is_none() || acceptor.is_accepted_durable(base) {
                round.note(base.config.node(), acceptor.accepted().cloned());
            }
        }
        round.ask(base);
        self.round = Some(round);
        self.conclude(base);
    }

    /// Handles an acceptor's report of what it has accepted.
    pub(crate) fn on_report(
        &mut self,
        base: &mut Base,
        acceptor: &mut Acceptor,
        from: NodeId,
        report: Report,
    ) -> Result<(), Ignored> {
        if !base.config.group().is_acceptor(from) {
            return Err(Ignored::NotMember);
        }
        base.check_known(from)?;
        if let Some((ballot, _)) = &report.accepted {
            acceptor.check_ballot(*ballot)?;
        }
        let is_of_this_start = report.start == base.config.seed();
        let Some(round) = self.round.as_mut().filter(|round| is_of_this_start && round.number == report.number) else {
            return Err(Ignored::StaleAnswer);
        };
        let accepted = report.accepted.map(|(ballot, proposal)| AcceptedValue { ballot, proposal });
        if let Some(accepted) = &accepted {
            acceptor.note_ballot(accepted.ballot);
        }
        round.note(from, accepted);
        self.conclude(base);
        Ok(())
    }

    /// Draws conclusions from the answers.
    fn conclude(&mut self, base: &mut Base) {
        let Some(round) = &mut self.round else { return };
        let quorums = base.config.group().quorums();
        if round.is_none_chosen(quorums) {
            return self.end_without_value(base);
        }
        let is_inconclusive =
            round.chosen(quorums).is_none() && quorums.is_prepare_quorum(|node| round.answered.contains_key(&node));
        if is_inconclusive && !round.is_inconclusive {
            // A proposer is probably at work: later answers of this round may still lead to a conclusion.
            round.is_inconclusive = true;
            round.retry_at = round.retry_at.min(base.draw_backoff(self.inconclusive));
        }
    }

    /// Nothing was chosen when the round began.
    fn end_without_value(&mut self, base: &mut Base) {
        let Some(round) = self.round.take() else { return };
        self.inconclusive = 0;
        let reads = std::mem::take(&mut self.reads);
        let (answered, waiting) = reads.into_iter().partition(|read| read.round == Some(round.number));
        self.reads = waiting;
        for read in answered {
            base.chassis.outbox.event(Event::Read { id: read.id, outcome: ReadOutcome::NoneYet });
        }
    }

    /// If the time of the round is over, acceptors that have not answered are asked again. If enough have answered
    /// without a conclusion, all are asked again, and after a few rounds a ballot finishes the accepted proposal.
    pub(crate) fn repeat_due(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        let Some(round) = self.round.as_mut().filter(|round| round.retry_at <= now) else { return };
        if self.reads.is_empty() {
            self.round = None;
        } else if round.is_inconclusive {
            let newest = round.newest.take();
            self.round = None;
            self.inconclusive = self.inconclusive.saturating_add(1);
            if self.inconclusive >= ROUNDS_BEFORE_BALLOT && base.is_counting() {
                self.newest = newest;
            }
        } else {
            round.ask(base);
        }
    }

    /// Ends reads whose time is over.
    pub(crate) fn expire(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        let is_introduced = base.chassis.standings().contains_key(&base.config.node());
        let reason = if is_introduced { CommandRefusal::TimedOut } else { CommandRefusal::NotIntroduced };
        while let Some(waiting) = self.reads.pop_front_if(|waiting| waiting.until <= now) {
            base.chassis.outbox.event(Event::Read { id: waiting.id, outcome: ReadOutcome::Failed(reason) });
        }
        if self.reads.is_empty() {
            self.end_queries();
        }
    }

    /// Answers all reads: this proposal is chosen.
    pub(crate) fn tell(&mut self, base: &mut Base, chosen: &Proposal) {
        for read in self.reads.drain(..) {
            base.chassis.outbox.event(Event::Read { id: read.id, outcome: ReadOutcome::Chosen(chosen.clone()) });
        }
    }

    /// Ends all queries: no read waits, or the chosen proposal is known.
    pub(crate) fn end_queries(&mut self) {
        self.round = None;
        self.newest = None;
        self.inconclusive = 0;
    }

    /// A node has a new standing. An answer that it gave under the earlier one does not count.
    pub(crate) fn on_standing(&mut self, base: &Base, node: NodeId) {
        if let Some(round) = &mut self.round {
            round.answered.remove(&node);
        }
        if !base.is_counting() {
            self.newest = None;
        }
    }

    /// Drops everything, because the group has stopped.
    pub(crate) fn on_halted(&mut self) {
        self.reads.clear();
        self.end_queries();
    }

    /// Number of waiting reads.
    pub(crate) fn waiting(&self) -> usize {
        self.reads.len()
    }

    /// The accepted proposal that a ballot must finish, because reads wait for it.
    pub(crate) fn newest(&self) -> Option<&AcceptedValue> {
        self.newest.as_ref()
    }

    /// The proposal that is chosen, because enough acceptors reported it with the same ballot.
    pub(crate) fn chosen(&self, quorums: &QuorumSystem) -> Option<&Proposal> {
        self.round.as_ref()?.chosen(quorums)
    }

    /// True if acceptors were asked more than once in the round under way, and this one has not answered.
    pub(crate) fn is_silent(&self, acceptor: NodeId) -> bool {
        self.round.as_ref().is_some_and(|round| round.retries > 1 && !round.answered.contains_key(&acceptor))
    }

    /// Number of the round under way.
    #[cfg(feature = "testing")]
    pub(crate) fn round_number(&self) -> Option<u64> {
        self.round.as_ref().map(|round| round.number)
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let retry_at = self.round.as_ref().map(|round| round.retry_at);
        self.reads.iter().map(|waiting| waiting.until).chain(retry_at)
    }

    /// Checks the laws of this part.
    pub(crate) fn check_invariants(&self, base: &Base, learner: &Learner) {
        assert!(self.reads.len() <= base.config.settings().commands_max, "waiting reads are bounded");
        let is_asking = self.round.is_some() || self.newest.is_some();
        assert!(!is_asking || learner.chosen().is_none(), "what is chosen is asked no more");
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&(self.rounds, self.inconclusive > 1, &self.newest));
        for read in &self.reads {
            writer.put(&(read.id, writer.time(read.until), read.round));
        }
        if let Some(round) = &self.round {
            writer.put(&(round.number, &round.answered, &round.newest));
            writer.put(&(round.is_inconclusive, writer.time(round.retry_at)));
        }
    }
}

impl ReadRound {
    fn new(number: u64, now: Instant) -> Self {
        Self { number, answered: BTreeMap::new(), newest: None, is_inconclusive: false, retry_at: now, retries: 0 }
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    fn ask(&mut self, base: &mut Base) {
        let settings = base.config.settings();
        let wait = doubled(settings.retry_interval_min, self.retries).min(settings.retry_interval_max);
        self.retry_at = base.chassis.instant().after(wait);
        self.retries = self.retries.saturating_add(1);
        let (system, start) = (base.config.system(), base.config.seed());
        let query = Message::Query(Query { system, start, number: self.number });
        for to in base.config.other_acceptors().filter(|other| !self.answered.contains_key(other)) {
            base.chassis.outbox.send(to, query.clone());
        }
    }

    /// Notes what an acceptor has accepted.
    fn note(&mut self, node: NodeId, accepted: Option<AcceptedValue>) {
        self.answered.insert(node, accepted.as_ref().map(|accepted| accepted.ballot));
        if let Some(accepted) = accepted
            && self.newest.as_ref().is_none_or(|newest| newest.ballot < accepted.ballot)
        {
            self.newest = Some(accepted);
        }
    }

    /// True if the answers show that nothing was chosen when the round began: an acceptor that had accepted nothing is
    /// missing in every quorum that could have accepted.
    fn is_none_chosen(&self, quorums: &QuorumSystem) -> bool {
        !quorums.is_accept_quorum(|node| self.answered.get(&node) != Some(&None))
    }

    /// The proposal that the answers show to be chosen: a quorum has accepted it in one ballot.
    fn chosen(&self, quorums: &QuorumSystem) -> Option<&Proposal> {
        let newest = self.newest.as_ref()?;
        let has_accepted = |node: NodeId| self.answered.get(&node) == Some(&Some(newest.ballot));
        quorums.is_accept_quorum(has_accepted).then_some(&newest.proposal)
    }
}

/// Number of rounds without a conclusion that are left to other proposers, before a read begins a ballot.
const ROUNDS_BEFORE_BALLOT: u32 = 3;
