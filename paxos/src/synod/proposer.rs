//! The proposer: it makes ballots, one at a time (Paxos Made Simple §2.2, §2.4).

use std::collections::VecDeque;

use quorate_protocol::{Instant, NodeId, Standing, StorageLevel, Ticket, ViewWriter};

use super::acceptor::Acceptor;
use super::attempt::Attempt;
use super::base::{Base, idle_max};
use super::learner::Learner;
use super::message::{Accepted, Nack, Promise};
use super::reader::Reader;
use super::state::AcceptedValue;
use super::{CommandRefusal, Ignored, Proposal, ProposalOutcome};
use crate::{Ballot, QuorumSystem};

/// The proposals that wait on a node, and its ballots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposer {
    /// This node's own ballot under way. `None` while this node does not count, and once a proposal is known to be
    /// chosen.
    attempt: Option<Attempt>,
    /// End of the pause after this proposer was overtaken. It begins no ballot before.
    rest_until: Option<Instant>,
    /// Number of times in a row that this proposer was overtaken.
    outrun: u32,
    /// Waiting proposals, the oldest first. The oldest is the one that is tried. Bounded by `commands_max` and
    /// `commands_bytes_max`.
    proposals: VecDeque<WaitingProposal>,
}

/// A proposal that waits for its outcome.
#[derive(Clone, Debug)]
struct WaitingProposal {
    proposal: Proposal,
    until: Instant,
    /// True if this node has asked an acceptor, itself included, to accept a proposal with this id.
    is_tried: bool,
}

impl Proposer {
    /// Handles a proposal of the application.
    pub(crate) fn on_propose(
        &mut self,
        base: &mut Base,
        acceptor: &mut Acceptor,
        reader: &Reader,
        learner: &Learner,
        proposal: Proposal,
    ) {
        if let Some(chosen) = learner.durable(base) {
            let outcome = outcome_of(&proposal, chosen);
            return base.chassis.outbox.event(proposal.ended(outcome));
        }
        if let Some(reason) = self.refusal(base, acceptor, &proposal) {
            return base.chassis.outbox.event(proposal.ended(ProposalOutcome::NotTried(reason)));
        }
        let until = base.chassis.instant().after(base.config.settings().command_timeout);
        // The same proposal may have been made before, and may be tried already.
        let is_tried = self.proposals.iter().any(|waiting| waiting.proposal.id == proposal.id && waiting.is_tried);
        self.proposals.push_back(WaitingProposal { proposal, until, is_tried });
        self.hurry(base);
        self.count_promises(base, acceptor, reader);
    }

    fn refusal(&self, base: &Base, acceptor: &Acceptor, proposal: &Proposal) -> Option<CommandRefusal> {
        let settings = base.config.settings();
        if proposal.value.len() > settings.value_bytes_max {
            Some(CommandRefusal::TooLarge)
        } else if !proposal.is_intact() {
            Some(CommandRefusal::Damaged)
        } else if base.chassis.storage() == StorageLevel::Low {
            Some(CommandRefusal::StorageLow)
        } else if self.proposals.iter().any(|it| it.proposal.id == proposal.id && it.proposal != *proposal) {
            Some(CommandRefusal::IdReused)
        } else if acceptor.is_exhausted() {
            Some(CommandRefusal::BallotsExhausted)
        } else if self.bytes() + proposal.value.len() > settings.commands_bytes_max {
            Some(CommandRefusal::Overloaded)
        } else {
            base.refusal(self.proposals.len())
        }
    }

    /// Bytes of the values of waiting proposals.
    fn bytes(&self) -> usize {
        self.proposals.iter().map(|waiting| waiting.proposal.value.len()).sum()
    }

    /// Begins a ballot if something must be decided and no obstacle prevents it.
    pub(crate) fn pursue(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader) {
        let is_wanted = !self.proposals.is_empty() || acceptor.is_settling() || reader.is_finishing(base);
        let is_free = self.attempt.is_none() && self.rest_until.is_none();
        let may_propose = base.config.is_proposer() && base.is_counting() && !acceptor.is_exhausted();
        // While the log does not advance, a ballot would only add to its writes.
        let is_log_free = base.chassis.outbox.queued_writes().next().is_none();
        if is_wanted && is_free && may_propose && is_log_free {
            self.attempt = Some(Attempt::begin(base, acceptor, reader.newest()));
            self.ask(base, reader);
        }
    }

    /// Handles an acceptor's promise.
    pub(crate) fn on_promise(
        &mut self,
        base: &mut Base,
        acceptor: &mut Acceptor,
        reader: &Reader,
        from: NodeId,
        promise: Promise,
    ) -> Result<(), Ignored> {
        let accepted = promise.accepted.map(|(ballot, proposal)| AcceptedValue { ballot, proposal });
        self.answered(base, from, promise.ballot)?.note_promise(from, accepted)?;
        self.count_promises(base, acceptor, reader);
        Ok(())
    }

    /// Handles an acceptor's acceptance.
    pub(crate) fn on_accepted(&mut self, base: &Base, from: NodeId, accepted: Accepted) -> Result<(), Ignored> {
        self.answered(base, from, accepted.ballot)?.note_acceptance(from)
    }

    /// Handles the refusal of an acceptor that has promised a higher ballot.
    pub(crate) fn on_nack(
        &mut self,
        base: &mut Base,
        acceptor: &mut Acceptor,
        reader: &Reader,
        from: NodeId,
        nack: Nack,
    ) -> Result<(), Ignored> {
        let attempt = self.answered(base, from, nack.ballot)?;
        if nack.promised <= nack.ballot {
            return Err(Ignored::AbsurdBallot);
        }
        acceptor.check_ballot(nack.promised)?;
        acceptor.note_ballot(nack.promised);
        attempt.note_refusal(from)?;
        if attempt.is_possible(base.config.group().quorums()) {
            // A proposer that settles may have waited for this answer.
            self.count_promises(base, acceptor, reader);
        } else {
            self.give_way(base, acceptor, reader);
        }
        Ok(())
    }

    /// The attempt that is answered, after the checks for every answer: the sender is an acceptor that counts, and
    /// answers the current ballot.
    fn answered(&mut self, base: &Base, from: NodeId, ballot: Ballot) -> Result<&mut Attempt, Ignored> {
        if !base.config.group().is_acceptor(from) {
            return Err(Ignored::NotMember);
        }
        base.check_known(from)?;
        self.attempt.as_mut().filter(|attempt| attempt.ballot() == ballot).ok_or(Ignored::StaleAnswer)
    }

    /// Counts this node's own promise or acceptance once it is durable.
    pub(crate) fn on_persisted(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader) {
        if self.attempt.as_mut().is_some_and(|attempt| attempt.note_own_answer(base)) {
            self.count_promises(base, acceptor, reader);
        }
    }

    /// Proposes a value once enough acceptors have promised.
    fn count_promises(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader) {
        let quorums = base.config.group().quorums();
        let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.is_promised(quorums)) else { return };
        let adopted = attempt.newest().map(|newest| newest.proposal.clone());
        if adopted.is_some() || !self.proposals.is_empty() || !attempt.is_promise_awaited(quorums) {
            self.propose(base, acceptor, reader, adopted);
        }
    }

    /// Phase 2a: if the promises report an accepted proposal, only that may be proposed; otherwise any.
    fn propose(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader, adopted: Option<Proposal>) {
        let own = || self.proposals.front().map(|waiting| waiting.proposal.clone());
        let Some(proposal) = adopted.or_else(own) else {
            return self.end_without_value(base, acceptor);
        };
        for waiting in self.proposals.iter_mut().filter(|waiting| waiting.proposal.id == proposal.id) {
            waiting.is_tried = true;
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.begin_accept(base, acceptor, proposal);
        }
        self.ask(base, reader);
    }

    /// A quorum had accepted nothing, and there is nothing to propose. Meanwhile this node may have accepted a proposal
    /// in a higher ballot.
    fn end_without_value(&mut self, base: &mut Base, acceptor: &mut Acceptor) {
        self.attempt = None;
        self.outrun = 0;
        acceptor.end_settling(base);
    }

    /// Asks every acceptor that has not answered. Without a waiting command there is no hurry to repeat this.
    fn ask(&mut self, base: &mut Base, reader: &Reader) {
        let max = base.config.settings().retry_interval_max;
        let wait_max = if self.has_commands(reader) { max } else { idle_max(max) };
        if let Some(attempt) = &mut self.attempt {
            attempt.ask(base, wait_max);
        }
    }

    /// Asks again if not enough acceptors have answered in time. An acceptor that refused will refuse again, so the
    /// next ballot is higher.
    pub(crate) fn ask_due(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader) {
        let now = base.chassis.instant();
        let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.retry_at() <= now) else { return };
        if attempt.is_refused() {
            self.give_way(base, acceptor, reader);
        } else if attempt.is_promised(base.config.group().quorums()) {
            // It waited for all acceptors, and does not wait longer for those that have not answered.
            self.end_without_value(base, acceptor);
        } else if self.has_commands(reader) || acceptor.is_settling() {
            self.ask(base, reader);
        } else {
            // The acceptors that have accepted a proposal will settle it.
            self.attempt = None;
        }
    }

    /// Ends the pause if its time is over.
    pub(crate) fn end_rest_due(&mut self, base: &Base) {
        self.rest_until.take_if(|until| *until <= base.chassis.instant());
    }

    /// A command arrived, or a node can be reached again: an attempt whose repetitions were rare asks again soon.
    pub(crate) fn hurry(&mut self, base: &mut Base) {
        if let Some(attempt) = &mut self.attempt {
            attempt.hurry(base);
        }
    }

    /// Another proposer has a higher ballot: this one pauses for a random time that grows with each repetition, so that
    /// two proposers do not overtake each other for ever (§2.4 asks for one distinguished proposer; chance selects
    /// one).
    fn give_way(&mut self, base: &mut Base, acceptor: &mut Acceptor, reader: &Reader) {
        self.attempt = None;
        self.rest_until = Some(base.draw_backoff(self.outrun));
        self.outrun = self.outrun.saturating_add(1);
        if !self.has_commands(reader) {
            // The proposer with the higher ballot is likely to decide it.
            acceptor.end_settling(base);
        }
    }

    /// Ends proposals whose time is over.
    pub(crate) fn expire(&mut self, base: &mut Base, acceptor: &Acceptor) {
        let now = base.chassis.instant();
        let reason = match base.chassis.standings().get(&base.config.node()) {
            None => CommandRefusal::NotIntroduced,
            Some(Standing::Stranger) => CommandRefusal::Stranger,
            Some(Standing::Member) if acceptor.is_exhausted() => CommandRefusal::BallotsExhausted,
            Some(Standing::Member) => CommandRefusal::TimedOut,
        };
        while let Some(waiting) = self.proposals.pop_front_if(|waiting| waiting.until <= now) {
            let outcome = if waiting.is_tried { ProposalOutcome::Unknown } else { ProposalOutcome::NotTried(reason) };
            base.chassis.outbox.event(waiting.proposal.ended(outcome));
        }
    }

    /// Ends all proposals: this one is chosen.
    pub(crate) fn tell(&mut self, base: &mut Base, chosen: &Proposal) {
        for waiting in self.proposals.drain(..) {
            let outcome = outcome_of(&waiting.proposal, chosen);
            base.chassis.outbox.event(waiting.proposal.ended(outcome));
        }
    }

    /// Nothing is proposed any more, because the chosen proposal is known.
    pub(crate) fn on_chosen_known(&mut self) {
        self.attempt = None;
        self.rest_until = None;
    }

    /// A node has a new standing. An answer that it gave under the earlier one does not count.
    pub(crate) fn on_standing(&mut self, base: &Base, node: NodeId) {
        if let Some(attempt) = &mut self.attempt {
            attempt.drop_answer(node);
        }
        if !base.is_counting() {
            self.attempt = None;
        }
    }

    /// Drops everything, because the group has stopped.
    pub(crate) fn on_halted(&mut self) {
        self.attempt = None;
        self.proposals.clear();
    }

    fn has_commands(&self, reader: &Reader) -> bool {
        !self.proposals.is_empty() || reader.waiting() > 0
    }

    /// Number of waiting proposals.
    pub(crate) fn waiting(&self) -> usize {
        self.proposals.len()
    }

    /// This node's own ballot under way.
    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// The proposal that is chosen, because enough acceptors have accepted it in the ballot under way.
    pub(crate) fn chosen(&self, quorums: &QuorumSystem) -> Option<&Proposal> {
        self.attempt.as_ref()?.chosen(quorums)
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let retry_at = self.attempt.as_ref().map(Attempt::retry_at);
        self.rest_until.into_iter().chain(retry_at).chain(self.proposals.iter().map(|waiting| waiting.until))
    }

    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.attempt.iter().flat_map(Attempt::tickets)
    }

    /// Checks the laws of this part.
    pub(crate) fn check_invariants(&self, base: &Base, acceptor: &Acceptor, learner: &Learner) {
        let settings = base.config.settings();
        assert!(self.proposals.len() <= settings.commands_max, "waiting proposals are bounded");
        assert!(self.bytes() <= settings.commands_bytes_max, "the bytes of waiting proposals are bounded");
        let Some(attempt) = &self.attempt else { return };
        assert!(!base.chassis.is_halted(), "a stopped group tries nothing");
        assert!(learner.chosen().is_none(), "what is chosen is tried no more");
        assert!(base.is_counting(), "a stranger has no ballot");
        assert!(attempt.ballot() == acceptor.last_ballot(base), "the last ballot of this node is the one under way");
        attempt.check_invariants();
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&self.rest_until.map(|until| writer.time(until)));
        for waiting in &self.proposals {
            writer.put(&(&waiting.proposal, writer.time(waiting.until), waiting.is_tried));
        }
        if let Some(attempt) = &self.attempt {
            attempt.view(writer);
        }
    }
}

/// The outcome of a proposal once the chosen proposal is known.
fn outcome_of(proposal: &Proposal, chosen: &Proposal) -> ProposalOutcome {
    if proposal == chosen {
        ProposalOutcome::Chosen
    } else if proposal.id == chosen.id {
        ProposalOutcome::IdReused { chosen: chosen.clone() }
    } else {
        ProposalOutcome::Superseded { chosen: chosen.clone() }
    }
}
