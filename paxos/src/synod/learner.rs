//! The learner: it learns the chosen value and makes sure that all learners do (Paxos Made Simple §2.3).

use std::collections::BTreeSet;

use quorate_protocol::{HaltReason, Instant, NodeId, Operation, Standing, Ticket, ViewWriter};

use super::acceptor::Acceptor;
use super::base::{Base, idle_max};
use super::codec::{CHOSEN_KEY, encode_chosen};
use super::message::Chosen;
use super::{Event, Ignored, Message, Proposal};

/// The chosen proposal, and the learners that are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    /// The chosen proposal. Never changes once it is known.
    chosen: Option<Proposal>,
    /// The write that makes it durable.
    chosen_ticket: Ticket,
    /// True once the application was told the chosen proposal. False while it is not durable.
    is_told: bool,
    /// Learners that have not confirmed that they know the chosen proposal. Empty while it is not known.
    unaware: BTreeSet<NodeId>,
    /// Time at which the unaware learners are told again. There is one while a learner is unaware.
    announce_at: Option<Instant>,
    /// Number of times in a row that they were told.
    announcements: u32,
}

impl Learner {
    /// The learner of a node that starts.
    pub(crate) fn new(base: &mut Base, chosen: Option<Proposal>) -> Self {
        let mut learner = Self {
            chosen,
            chosen_ticket: Ticket(0),
            is_told: false,
            unaware: BTreeSet::new(),
            announce_at: None,
            announcements: 0,
        };
        if learner.chosen.is_some() {
            learner.announce_to_all(base);
        }
        learner
    }

    /// Handles the chosen value from a node that knows it.
    pub(crate) fn on_chosen(&mut self, base: &mut Base, from: NodeId, message: Chosen) -> Result<(), Ignored> {
        base.check_known(from)?;
        self.learn(base, message.proposal);
        if !base.chassis.is_halted() {
            self.confirm(base, from);
        }
        Ok(())
    }

    /// Handles the announcement of a node that knows the chosen value.
    pub(crate) fn on_announce(&mut self, base: &mut Base, from: NodeId) -> Result<(), Ignored> {
        base.check_known(from)?;
        if self.chosen.is_some() {
            self.confirm(base, from);
        } else {
            base.chassis.outbox.send(from, Message::Inquire);
        }
        Ok(())
    }

    /// Tells a node that knows the chosen value that this one knows it too.
    fn confirm(&mut self, base: &mut Base, to: NodeId) {
        self.unaware.remove(&to);
        base.chassis.outbox.send_after(self.chosen_ticket, to, Message::Known);
    }

    /// Handles a learner's confirmation.
    pub(crate) fn on_known(&mut self, from: NodeId) -> Result<(), Ignored> {
        if self.chosen.is_none() {
            return Err(Ignored::NotKnown);
        }
        self.unaware.remove(&from);
        Ok(())
    }

    /// Handles a question for the chosen value. A proposer that does not know it finds out.
    pub(crate) fn on_inquire(&self, base: &mut Base, acceptor: &mut Acceptor, from: NodeId) -> Result<(), Ignored> {
        if self.answer(base, from) {
            return Ok(());
        }
        base.check_known(from)?;
        if !base.config.is_proposer() || !base.is_counting() {
            return Err(Ignored::NotKnown);
        }
        acceptor.begin_settling();
        Ok(())
    }

    /// Answers with the chosen value, if this node knows it: nothing is left to decide.
    pub(crate) fn answer(&self, base: &mut Base, to: NodeId) -> bool {
        let Some(chosen) = &self.chosen else { return false };
        let message = Chosen { system: base.config.system(), proposal: chosen.clone() };
        base.chassis.outbox.send_after(self.chosen_ticket, to, Message::Chosen(message));
        true
    }

    /// A quorum has accepted this proposal in this node's ballot: it is chosen, and this node is the first to know.
    pub(crate) fn learn_first(&mut self, base: &mut Base, proposal: Proposal) {
        self.learn(base, proposal);
        for to in &self.unaware {
            self.answer(base, *to);
        }
    }

    /// Notes the chosen proposal and makes it durable. It never changes.
    pub(crate) fn learn(&mut self, base: &mut Base, proposal: Proposal) {
        assert!(proposal.is_intact(), "a value is what it was when it was proposed");
        match &self.chosen {
            Some(chosen) if *chosen == proposal => {}
            Some(_) => base.chassis.halt(HaltReason::LawBroken("two proposals are chosen")),
            None => {
                self.chosen = Some(proposal);
                self.persist(base);
                self.announce_to_all(base);
            }
        }
    }

    /// Makes the chosen proposal durable, if it is known.
    pub(crate) fn persist(&mut self, base: &mut Base) {
        if let Some(chosen) = &self.chosen {
            let journal = Operation::Journal { key: CHOSEN_KEY, bytes: encode_chosen(chosen) };
            self.chosen_ticket = base.chassis.outbox.persist([journal]);
        }
    }

    /// The chosen proposal, durable or not.
    pub(crate) fn chosen(&self) -> Option<&Proposal> {
        self.chosen.as_ref()
    }

    /// The chosen proposal, if it is known here and survives a crash.
    pub(crate) fn durable(&self, base: &Base) -> Option<&Proposal> {
        self.chosen.as_ref().filter(|_| base.chassis.outbox.is_durable(self.chosen_ticket))
    }

    /// The write that makes the chosen proposal durable.
    pub(crate) fn chosen_ticket(&self) -> Ticket {
        self.chosen_ticket
    }

    /// Tells the application the chosen proposal, once it is durable, and returns it.
    pub(crate) fn tell(&mut self, base: &mut Base) -> Option<Proposal> {
        let chosen = self.durable(base)?.clone();
        if !self.is_told {
            self.is_told = true;
            base.chassis.outbox.event(Event::Chosen(chosen.clone()));
        }
        Some(chosen)
    }

    /// Learners that have not confirmed that they know the chosen proposal.
    pub(crate) fn unaware(&self) -> &BTreeSet<NodeId> {
        &self.unaware
    }

    /// Begins to tell every learner until it confirms.
    fn announce_to_all(&mut self, base: &mut Base) {
        let node = base.config.node();
        self.unaware = base.config.group().learners().iter().copied().filter(|other| *other != node).collect();
        self.announcements = 0;
        self.arm_announcement(base);
    }

    /// Tells the learners that have not confirmed, if it is time, and sets the time of the next repetition.
    pub(crate) fn announce_due(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        if self.announce_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        for to in &self.unaware {
            base.chassis.outbox.send_after(self.chosen_ticket, *to, Message::Announce);
        }
        self.announcements = self.announcements.saturating_add(1);
        self.arm_announcement(base);
    }

    /// Sets the time of the next announcement if a learner has not confirmed. The wait continues to double: a node that
    /// is away for long is told when it is back.
    fn arm_announcement(&mut self, base: &mut Base) {
        let settings = base.config.settings();
        let (shortest, max) = (settings.retry_interval_min, idle_max(settings.retry_interval_max));
        let is_owed = !self.unaware.is_empty();
        self.announce_at = is_owed.then(|| base.draw_wait(shortest, self.announcements, max));
    }

    /// Another node has a new standing. Under another incarnation it may have forgotten what it confirmed.
    pub(crate) fn on_standing(&mut self, base: &mut Base, node: NodeId) {
        if self.chosen.is_some() && base.config.group().learners().contains(&node) {
            self.unaware.insert(node);
            self.announcements = 0;
            self.arm_announcement(base);
        }
    }

    /// A node can be reached again. If it has not confirmed, it is told soon.
    pub(crate) fn hurry_for(&mut self, base: &mut Base, node: NodeId) {
        let is_learner = base.config.group().learners().contains(&node);
        if self.chosen.is_some() && is_learner && base.chassis.standing(node) == Standing::Stranger {
            // It may have another disk than the one that confirmed.
            self.unaware.insert(node);
        }
        if self.unaware.contains(&node) {
            let soon = base.draw_soon();
            self.announcements = self.announcements.min(base.retries_soon());
            self.announce_at = Some(self.announce_at.map_or(soon, |at| at.min(soon)));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.announce_at
    }

    /// Checks the laws of this part.
    pub(crate) fn check_invariants(&self) {
        if self.chosen.is_none() {
            assert!(self.unaware.is_empty(), "what is not known is told to nobody");
            assert!(!self.is_told, "what is not known is told to nobody");
        }
        assert!(self.unaware.is_empty() || self.announce_at.is_some(), "who is unaware will be told");
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        writer.put(&(&self.chosen, writer.ticket(self.chosen_ticket), self.is_told));
        writer.put(&(&self.unaware, self.announce_at.map(|at| writer.time(at))));
    }
}
