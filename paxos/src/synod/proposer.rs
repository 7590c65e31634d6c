//! The proposer: it makes ballots, one at a time (Paxos Made Simple §2.2, §2.4).

use std::collections::BTreeSet;

use quorate_protocol::{NodeId, Standing, StorageLevel};

use super::message::{Accept, Accepted, Nack, Prepare, Promise};
use super::pace::DOUBLINGS_MAX;
use super::state::{AcceptedValue, Attempt, Phase, WaitingProposal};
use super::{Event, Ignored, Message, Outcome, Proposal, RefuseReason, Synod};
use crate::Ballot;
use crate::ballot::ROUND_MAX;

impl Synod {
    /// Handles a proposal of the application.
    pub(crate) fn on_propose(&mut self, proposal: Proposal) {
        let Proposal { id, checksum, .. } = proposal;
        if let Some(chosen) = self.chosen.as_ref().filter(|_| self.is_chosen_durable()) {
            let outcome = outcome_of(&proposal, chosen);
            self.outbox.event(Event::Proposed { id, checksum, outcome });
            return;
        }
        if let Some(reason) = self.refusal_of(&proposal) {
            self.outbox.event(Event::Proposed { id, checksum, outcome: Outcome::NotTried(reason) });
            return;
        }
        let until = self.now.after(self.config.settings().command_timeout);
        // The same proposal may have been made before, and may be tried already.
        let is_tried = self.proposals.iter().any(|waiting| waiting.id() == id && waiting.is_tried);
        self.proposals.push_back(WaitingProposal { proposal, until, is_tried });
        self.hurry_attempt();
        self.count_answers();
    }

    fn refusal_of(&self, proposal: &Proposal) -> Option<RefuseReason> {
        let settings = self.config.settings();
        let bytes = self.proposals.iter().map(|waiting| waiting.proposal.value.len()).sum::<usize>();
        if proposal.value.len() > settings.value_bytes_max {
            Some(RefuseReason::TooLarge)
        } else if !proposal.is_intact() {
            Some(RefuseReason::Damaged)
        } else if self.storage == StorageLevel::Low {
            Some(RefuseReason::StorageLow)
        } else if self.proposals.iter().any(|it| it.id() == proposal.id && it.proposal != *proposal) {
            Some(RefuseReason::IdReused)
        } else if self.is_exhausted() {
            Some(RefuseReason::BallotsExhausted)
        } else if bytes + proposal.value.len() > settings.commands_bytes_max {
            Some(RefuseReason::Overloaded)
        } else {
            self.refusal(self.proposals.len())
        }
    }

    pub(crate) fn refusal(&self, waiting: usize) -> Option<RefuseReason> {
        if !self.is_proposer() {
            return Some(RefuseReason::NotProposer);
        }
        (waiting >= self.config.settings().commands_max).then_some(RefuseReason::Overloaded)
    }

    /// Begins a ballot if something must be decided and no obstacle prevents it.
    pub(crate) fn pursue(&mut self) {
        let is_wanted = !self.proposals.is_empty() || self.is_settling || self.is_read_finishing();
        let is_free = self.attempt.is_none() && self.rest_until.is_none() && self.chosen.is_none();
        let may_propose = self.is_proposer() && self.is_counting() && !self.is_exhausted();
        // While the log does not advance, a ballot would only add to its writes.
        let is_log_free = self.outbox.queued_writes().next().is_none();
        if is_wanted && is_free && may_propose && is_log_free {
            self.begin_ballot();
        }
    }

    /// The highest round that this node has used, promised or seen.
    pub(crate) fn rounds_known(&self) -> u64 {
        self.state.round.max(self.state.promised.round).max(self.round_seen)
    }

    /// True if this node can begin no further ballot.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.rounds_known() >= ROUND_MAX
    }

    /// Phase 1a. The ballot is above every ballot used or seen, and its round is durable before other nodes learn of
    /// it.
    fn begin_ballot(&mut self) {
        let node = self.config.node();
        let round = self.rounds_known() + 1;
        let ballot = Ballot { round, node };
        self.state.round = round;
        let is_acceptor = self.config.group().is_acceptor(node);
        if is_acceptor {
            self.state.promised = ballot;
        }
        self.persist_state();
        let (accepted, heard) = (self.accepted.clone(), self.read_newest.clone());
        self.attempt = Some(Attempt {
            ballot,
            phase: Phase::Prepare { newest: accepted.into_iter().chain(heard).max_by_key(|newest| newest.ballot) },
            answered: BTreeSet::new(),
            refused: BTreeSet::new(),
            heard_after: self.state_ticket,
            own: is_acceptor.then_some(self.state_ticket.max(self.accepted_ticket)),
            retry_at: self.now,
            retries: 0,
        });
        self.ask();
    }

    /// Handles an acceptor's promise.
    pub(crate) fn on_promise(&mut self, from: NodeId, promise: Promise) -> Result<(), Ignored> {
        self.check_answer(from, promise.ballot)?;
        let Some(attempt) = &mut self.attempt else { return Err(Ignored::StaleAnswer) };
        let Phase::Prepare { newest } = &mut attempt.phase else { return Err(Ignored::StaleAnswer) };
        if let Some((ballot, proposal)) = promise.accepted {
            if ballot >= promise.ballot {
                return Err(Ignored::AbsurdBallot);
            }
            // Of the accepted proposals, the one with the highest ballot is proposed again (§2.2, P2c).
            if newest.as_ref().is_none_or(|newest| newest.ballot < ballot) {
                *newest = Some(AcceptedValue { ballot, proposal });
            }
        }
        attempt.refused.remove(&from);
        attempt.answered.insert(from);
        self.count_answers();
        Ok(())
    }

    /// Handles an acceptor's acceptance.
    pub(crate) fn on_accepted(&mut self, from: NodeId, accepted: Accepted) -> Result<(), Ignored> {
        self.check_answer(from, accepted.ballot)?;
        let Some(attempt) = &mut self.attempt else { return Err(Ignored::StaleAnswer) };
        if matches!(attempt.phase, Phase::Prepare { .. }) {
            return Err(Ignored::StaleAnswer);
        }
        attempt.refused.remove(&from);
        attempt.answered.insert(from);
        self.count_answers();
        Ok(())
    }

    /// Handles the refusal of an acceptor that has promised a higher ballot.
    pub(crate) fn on_nack(&mut self, from: NodeId, nack: Nack) -> Result<(), Ignored> {
        self.check_answer(from, nack.ballot)?;
        if nack.promised <= nack.ballot {
            return Err(Ignored::AbsurdBallot);
        }
        self.check_ballot(nack.promised)?;
        self.round_seen = self.round_seen.max(nack.promised.round);
        if self.attempt.as_ref().is_some_and(|attempt| attempt.answered.contains(&from)) {
            // The acceptor answered before it promised the higher ballot, so its answer stands.
            return Err(Ignored::StaleAnswer);
        }
        self.note_refusal(from);
        Ok(())
    }

    /// The checks for every answer: the sender is an acceptor that counts, and answers the current ballot.
    fn check_answer(&self, from: NodeId, ballot: Ballot) -> Result<(), Ignored> {
        if !self.config.group().is_acceptor(from) {
            return Err(Ignored::NotMember);
        }
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        match &self.attempt {
            Some(attempt) if attempt.ballot == ballot => Ok(()),
            _ => Err(Ignored::StaleAnswer),
        }
    }

    /// Counts this node's own promise or acceptance once it is durable.
    pub(crate) fn count_own_answer(&mut self) {
        let node = self.config.node();
        let Some(attempt) = &mut self.attempt else { return };
        let outbox = &self.outbox;
        if attempt.own.take_if(|ticket| outbox.is_durable(*ticket)).is_some() {
            attempt.answered.insert(node);
            self.count_answers();
        }
    }

    pub(crate) fn count_answers(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let has = |node: NodeId| attempt.answered.contains(&node);
        match &attempt.phase {
            Phase::Prepare { newest } if self.config.group().quorums().is_prepare_quorum(has) => {
                let adopted = newest.as_ref().map(|newest| newest.proposal.clone());
                if adopted.is_some() || !self.proposals.is_empty() || !self.is_promise_awaited(attempt) {
                    self.propose(adopted);
                }
            }
            Phase::Accept { proposal } if self.config.group().quorums().is_accept_quorum(has) => {
                let proposal = proposal.clone();
                self.learn_first(proposal);
            }
            Phase::Prepare { .. } | Phase::Accept { .. } => {}
        }
    }

    /// True if an acceptor that was asked for the first time may still answer. A proposer that settles waits for all
    /// acceptors: one of them has accepted the proposal to settle, and a quorum without it would not report the
    /// proposal.
    fn is_promise_awaited(&self, attempt: &Attempt) -> bool {
        let acceptors = self.config.group().quorums().acceptors();
        let has_said = |node: &NodeId| attempt.answered.contains(node) || attempt.refused.contains(node);
        attempt.retries <= 1 && !acceptors.iter().all(has_said)
    }

    /// Phase 2a: if the promises report an accepted proposal, only that may be proposed; otherwise any.
    fn propose(&mut self, adopted: Option<Proposal>) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let own = || self.proposals.front().map(|waiting| waiting.proposal.clone());
        let Some(proposal) = adopted.or_else(own) else {
            return self.end_without_value();
        };
        for waiting in self.proposals.iter_mut().filter(|waiting| waiting.id() == proposal.id) {
            waiting.is_tried = true;
        }
        let node = self.config.node();
        attempt.phase = Phase::Accept { proposal: proposal.clone() };
        attempt.answered.clear();
        attempt.refused.clear();
        attempt.retries = 0;
        attempt.own = None;
        if self.config.group().is_acceptor(node) {
            if self.state.promised > attempt.ballot {
                attempt.refused.insert(node);
            } else {
                self.accept(attempt.ballot, proposal);
                attempt.own = Some(self.accepted_ticket);
            }
        }
        self.attempt = Some(attempt);
        self.ask();
    }

    /// A quorum had accepted nothing, and there is nothing to propose.
    fn end_without_value(&mut self) {
        self.attempt = None;
        self.is_settling = false;
        self.outrun = 0;
        // Meanwhile this node may have accepted a proposal in a higher ballot.
        self.arm_settling();
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    fn ask(&mut self) {
        let (base, max) = (self.config.settings().retry_interval_min, self.wait_max());
        let Some(attempt) = &mut self.attempt else { return };
        let wait = base.saturating_mul(1 << attempt.retries.min(DOUBLINGS_MAX)).min(max);
        attempt.retry_at = self.now.after(wait);
        attempt.retries = attempt.retries.saturating_add(1);
        let (system, ballot) = (self.config.system(), attempt.ballot);
        let message = match &attempt.phase {
            Phase::Prepare { .. } => Message::Prepare(Prepare { system, ballot }),
            Phase::Accept { proposal } => Message::Accept(Accept { system, ballot, proposal: proposal.clone() }),
        };
        let node = self.config.node();
        let is_asked = |other: &&NodeId| {
            **other != node && !attempt.answered.contains(*other) && !attempt.refused.contains(*other)
        };
        for to in self.config.group().quorums().acceptors().iter().filter(is_asked) {
            self.outbox.send_after(attempt.heard_after, *to, message.clone());
        }
    }

    /// Not enough acceptors have answered in time. An acceptor that refused will refuse again, so the next ballot is
    /// higher.
    pub(crate) fn ask_again(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let is_wanted = self.has_commands() || self.is_settling;
        let has = |node: NodeId| attempt.answered.contains(&node);
        let is_preparing = matches!(attempt.phase, Phase::Prepare { .. });
        if !attempt.refused.is_empty() {
            self.give_way();
        } else if is_preparing && self.config.group().quorums().is_prepare_quorum(has) {
            // It waited for all acceptors, and does not wait longer for those that have not answered.
            self.end_without_value();
        } else if is_wanted {
            self.ask();
        } else {
            // The acceptors that have accepted a proposal will settle it.
            self.attempt = None;
        }
    }

    /// A command arrived: an attempt whose repetitions were rare repeats its requests soon.
    pub(crate) fn hurry_attempt(&mut self) {
        if self.attempt.is_none() {
            return;
        }
        let soon = self.soon();
        let retries = self.retries_soon();
        if let Some(attempt) = &mut self.attempt {
            attempt.retry_at = attempt.retry_at.min(soon);
            attempt.retries = attempt.retries.min(retries);
        }
    }

    fn note_refusal(&mut self, from: NodeId) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.refused.insert(from);
        let may = |node: NodeId| !attempt.refused.contains(&node);
        let quorums = self.config.group().quorums();
        let is_possible = match attempt.phase {
            Phase::Prepare { .. } => quorums.is_prepare_quorum(may),
            Phase::Accept { .. } => quorums.is_accept_quorum(may),
        };
        if is_possible {
            // A proposer that settles may have waited for this answer.
            self.count_answers();
        } else {
            self.give_way();
        }
    }

    /// Another proposer has a higher ballot: this one pauses for a random time that grows with each repetition, so that
    /// two proposers do not overtake each other for ever (§2.4 asks for one distinguished proposer; chance selects
    /// one).
    fn give_way(&mut self) {
        self.attempt = None;
        let settings = self.config.settings();
        let (base, max) = (settings.backoff_min, settings.backoff_max);
        self.rest_until = Some(self.draw_wait(base, self.outrun, max));
        self.outrun = self.outrun.saturating_add(1);
        if !self.has_commands() {
            // The proposer with the higher ballot is likely to decide it.
            self.is_settling = false;
            self.arm_settling();
        }
    }

    /// Ends commands whose time is over.
    pub(crate) fn expire_commands(&mut self) {
        let now = self.now;
        let reason = self.obstacle_to_proposals();
        while let Some(waiting) = self.proposals.pop_front_if(|waiting| waiting.until <= now) {
            let outcome = if waiting.is_tried { Outcome::Unknown } else { Outcome::NotTried(reason) };
            self.outbox.event(waiting.ended(outcome));
        }
        self.expire_reads();
    }

    /// Reason why a proposal was not tried in time.
    fn obstacle_to_proposals(&self) -> RefuseReason {
        match self.standings.get(&self.config.node()) {
            None => RefuseReason::NotIntroduced,
            Some(Standing::Stranger) => RefuseReason::Stranger,
            Some(Standing::Member) if self.is_exhausted() => RefuseReason::BallotsExhausted,
            Some(Standing::Member) => RefuseReason::TimedOut,
        }
    }

    pub(crate) fn has_commands(&self) -> bool {
        !self.proposals.is_empty() || !self.reads.is_empty()
    }

    pub(crate) fn is_proposer(&self) -> bool {
        self.config.group().proposers().contains(&self.config.node())
    }
}

/// The outcome of a proposal once the chosen proposal is known.
pub(crate) fn outcome_of(proposal: &Proposal, chosen: &Proposal) -> Outcome {
    if proposal == chosen {
        Outcome::Chosen
    } else if proposal.id == chosen.id {
        Outcome::IdReused { chosen: chosen.clone() }
    } else {
        Outcome::Superseded { chosen: chosen.clone() }
    }
}
