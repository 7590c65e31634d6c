//! The learner: it learns the chosen value and makes sure that all learners do (Paxos Made Simple §2.3).

use quorate_protocol::{HaltReason, Instant, NodeId, Standing};

use super::message::Chosen;
use super::pace::idle_max;
use super::proposer::outcome_of;
use super::{Event, Ignored, Message, Proposal, ReadOutcome, Synod};

impl Synod {
    /// A quorum has accepted this proposal in this node's ballot: it is chosen, and this node is the first to know.
    pub(crate) fn learn_first(&mut self, proposal: Proposal) {
        self.learn(proposal);
        let Some(chosen) = &self.chosen else { return };
        let message = Message::Chosen(Chosen { system: self.config.system(), proposal: chosen.clone() });
        for to in &self.unaware {
            self.outbox.send_after(self.chosen_ticket, *to, message.clone());
        }
    }

    /// Handles the chosen value from a node that knows it.
    pub(crate) fn on_chosen(&mut self, from: NodeId, message: Chosen) -> Result<(), Ignored> {
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.learn(message.proposal);
        if self.halted.is_none() {
            self.unaware.remove(&from);
            self.outbox.send_after(self.chosen_ticket, from, Message::Known);
        }
        Ok(())
    }

    /// Handles the announcement of a node that knows the chosen value.
    pub(crate) fn on_announce(&mut self, from: NodeId) -> Result<(), Ignored> {
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        if self.chosen.is_none() {
            self.outbox.send(from, Message::Inquire);
            return Ok(());
        }
        self.unaware.remove(&from);
        self.outbox.send_after(self.chosen_ticket, from, Message::Known);
        Ok(())
    }

    /// Handles a learner's confirmation.
    pub(crate) fn on_known(&mut self, from: NodeId) -> Result<(), Ignored> {
        if self.chosen.is_none() {
            return Err(Ignored::NotKnown);
        }
        self.unaware.remove(&from);
        Ok(())
    }

    /// Handles a question for the chosen value.
    pub(crate) fn on_inquire(&mut self, from: NodeId) -> Result<(), Ignored> {
        if let Some(chosen) = &self.chosen {
            let message = Chosen { system: self.config.system(), proposal: chosen.clone() };
            self.outbox.send_after(self.chosen_ticket, from, Message::Chosen(message));
            return Ok(());
        }
        if self.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        if !self.is_proposer() || !self.is_counting() {
            return Err(Ignored::NotKnown);
        }
        self.is_settling = true;
        self.settle_at = None;
        Ok(())
    }

    /// Notes the chosen proposal and makes it durable. It never changes.
    pub(crate) fn learn(&mut self, proposal: Proposal) {
        assert!(proposal.is_intact(), "a value is what it was when it was proposed");
        match &self.chosen {
            Some(chosen) if *chosen == proposal => {}
            Some(_) => self.halt(HaltReason::LawBroken("two proposals are chosen")),
            None => {
                self.chosen = Some(proposal);
                self.persist_chosen();
                self.attempt = None;
                self.forget_reads();
                self.rest_until = None;
                self.settle_at = None;
                self.is_settling = false;
                self.announce_to_all();
            }
        }
    }

    /// True if the chosen proposal is known here and survives a crash.
    pub(crate) fn is_chosen_durable(&self) -> bool {
        self.chosen.is_some() && self.outbox.is_durable(self.chosen_ticket)
    }

    /// Tells the application the chosen proposal, once it is durable, and answers every command.
    pub(crate) fn tell(&mut self) {
        if !self.is_chosen_durable() {
            return;
        }
        let Some(chosen) = self.chosen.clone() else { return };
        if !self.is_chosen_told {
            self.is_chosen_told = true;
            self.outbox.event(Event::Chosen(chosen.clone()));
        }
        for waiting in self.proposals.drain(..) {
            let outcome = outcome_of(&waiting.proposal, &chosen);
            self.outbox.event(waiting.ended(outcome));
        }
        for read in self.reads.drain(..) {
            self.outbox.event(Event::Read { id: read.id, outcome: ReadOutcome::Chosen(chosen.clone()) });
        }
    }

    /// Begins to tell every learner until it confirms.
    pub(crate) fn announce_to_all(&mut self) {
        let node = self.config.node();
        self.unaware = self.config.group().learners().iter().copied().filter(|other| *other != node).collect();
        self.announcements = 0;
        self.arm_announcement();
    }

    /// Tells the learners that have not confirmed, and sets the time of the next repetition.
    pub(crate) fn announce(&mut self) {
        for to in &self.unaware {
            self.outbox.send_after(self.chosen_ticket, *to, Message::Announce);
        }
        self.announcements = self.announcements.saturating_add(1);
        self.arm_announcement();
    }

    /// Sets the time of the next announcement if a learner has not confirmed. The wait continues to double: a node that
    /// is away for long is told when it is back.
    pub(crate) fn arm_announcement(&mut self) {
        let settings = self.config.settings();
        let (base, max) = (settings.retry_interval_min, idle_max(settings.retry_interval_max));
        let is_owed = !self.unaware.is_empty();
        self.announce_at = is_owed.then(|| self.draw_wait(base, self.announcements, max));
    }

    /// Sets the time after which an accepted proposal that is not known to be chosen is settled, if no other node does
    /// so before.
    pub(crate) fn arm_settling(&mut self) {
        let is_open = self.accepted.is_some() && self.chosen.is_none() && !self.is_settling;
        self.settle_at = is_open.then(|| self.draw_settling());
    }

    /// The time at which an accepted proposal is settled if it is not decided by then. Proposers are asked less and
    /// less often.
    pub(crate) fn draw_settling(&mut self) -> Instant {
        let longest = self.config.settings().settle_after.saturating_mul(2);
        self.draw_wait(longest, self.inquiries, idle_max(longest))
    }

    /// Settles the proposal accepted here, which no other node has decided.
    pub(crate) fn settle(&mut self) {
        if self.is_proposer() && self.is_counting() {
            self.is_settling = true;
            return;
        }
        let node = self.config.node();
        for to in self.config.group().proposers().iter().filter(|to| **to != node) {
            self.outbox.send(*to, Message::Inquire);
        }
        self.inquiries = self.inquiries.saturating_add(1);
        self.arm_settling();
    }
}
