//! The core: it takes every input, keeps the transactions of this node, and writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Chassis, HaltReason, Input, Instant, NodeId, Now, Operation, OutboxLimits, Output, Protocol, Random, RecoverError,
    Recovery, Signal, StorageLevel, Ticket, Timers, View, ViewWriter,
};

use super::event::participants;
use super::message::Small;
use super::record::encode_finished;
use super::site::{Leading, Phase, Site};
use super::{Answer, Command, Config, Event, Message, Refusal, Request};
use crate::{CommandId, CoordinatorId, Decision, Epoch, Ignored, TransactionId, TransactionNumber};

/// One node's part in three-phase commit, as a pure state machine. It coordinates its own transactions and takes part
/// in its own and in others'. See the [module](super) for when not to use it.
///
/// Nodes that are not [members](quorate_protocol::Standing) count nowhere: a node whose disk was wiped may have
/// forgotten what it accepted.
#[derive(Clone, Debug)]
pub struct ThreePhaseCommit {
    pub(super) config: Config,
    pub(super) chassis: Chassis<Self, Ignored>,
    /// One timer a transaction that waits for something.
    pub(super) timers: Timers<TransactionId>,
    random: Random,
    pub(super) epoch: Epoch,
    /// The write that raised the epoch. No message of this start leaves before it is durable.
    pub(super) epoch_ticket: Ticket,
    next_sequence: u64,
    pub(super) next_key: u64,
    pub(super) next_checkpoint: u64,
    pub(super) checkpoint_ticket: Ticket,
    /// The transactions of this node, undecided and decided. Decided ones stay until every participant knows.
    pub(super) sites: BTreeMap<TransactionId, Site>,
    /// The open requests to the application.
    requests: BTreeMap<Ticket, TransactionId>,
    /// What each coordinator last said of its finished transactions, and the key of the record of it.
    pub(super) finished: BTreeMap<NodeId, (TransactionNumber, u64)>,
}

impl Protocol for ThreePhaseCommit {
    type Config = Config;
    type Message = Message;
    type Command = Command;
    type Event = Event;
    type Request = Request;
    type Answer = Answer;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let settings = config.settings();
        let limits =
            OutboxLimits { held_messages_max: settings.held_messages_max, write_bytes_max: settings.write_bytes_max };
        let (chassis, random) = (Chassis::new(now, limits), Random::new(config.seed()));
        let mut core = Self {
            config,
            chassis,
            timers: Timers::default(),
            random,
            epoch: Epoch::default(),
            epoch_ticket: Ticket(0),
            next_sequence: 1,
            next_key: 0,
            next_checkpoint: 0,
            checkpoint_ticket: Ticket(0),
            sites: BTreeMap::new(),
            requests: BTreeMap::new(),
            finished: BTreeMap::new(),
        };
        core.read(recovery)?;
        core.begin();
        Ok(core)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.chassis.begin(now);
        let handled = match input {
            Input::Command(Command::Commit { command, branches }) => self.on_commit(command, branches),
            _ if self.chassis.is_halted() => Err(Ignored::Halted),
            Input::Message { from, message } if from != self.config.node() => self.on_message(from, message),
            Input::Message { .. } => Err(Ignored::Absurd),
            Input::Completed { ticket, answer } => self.on_answer(ticket, answer),
            Input::Signal(signal) => self.on_signal(&signal),
        };
        self.chassis.count(handled);
    }

    /// Messages of a node to itself do not leave.
    fn poll_output(&mut self) -> Option<Output<Self>> {
        loop {
            match self.chassis.outbox.poll()? {
                Output::Send { to, message } if to == self.config.node() => {
                    let handled = self.on_message(to, message);
                    self.chassis.count(handled);
                }
                output => return Some(output),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.chassis.deadline(self.timers.next())
    }

    fn model_view(&self) -> View {
        let (chassis, outbox) = (&self.chassis, &self.chassis.outbox);
        let times = self.timers.iter().map(|(at, _)| at).chain(chassis.rewrite_at());
        let writes = [self.epoch_ticket, self.checkpoint_ticket];
        let mut out = ViewWriter::new(chassis.instant(), times, outbox, writes, self.requests.keys().copied());
        out.put(&(self.config.node(), chassis.standings(), chassis.storage(), chassis.halted()));
        out.put(&(self.epoch, out.ticket(self.epoch_ticket), self.next_sequence, self.next_key));
        out.put(&(self.next_checkpoint, out.ticket(self.checkpoint_ticket), &self.finished));
        for (transaction, site) in &self.sites {
            out.put(&(transaction, site.key, &site.participants, &site.payload, site.phase, site.elected));
            let request = site.request.map(|ticket| out.ticket(ticket));
            out.put(&(site.attempted, &site.leading, request, &site.unaware));
        }
        for (at, timer) in self.timers.iter() {
            out.put(&(out.time(at), timer));
        }
        out.put(&chassis.rewrite_at().map(|at| out.time(at)));
        out.put_outbox(outbox);
        out.finish()
    }

    fn check_invariants(&self) {
        if self.chassis.is_halted() {
            return;
        }
        for (transaction, site) in &self.sites {
            let waits = self.timers.is_armed(*transaction);
            let wants = !site.is_decided() || !site.unaware.is_empty();
            assert!(waits == wants, "who waits has a timer: {transaction} {site:?}");
            assert!(site.attempted <= site.elected, "what was accepted was elected");
            assert!(site.request.is_none() || site.phase == Phase::Asked, "the vote was asked for and not given");
        }
        assert!(self.requests.len() <= self.sites.len(), "every request is about a transaction");
    }
}

impl ThreePhaseCommit {
    /// The transactions of this node that are not decided here.
    pub fn undecided(&self) -> BTreeSet<TransactionId> {
        self.sites.iter().filter(|(_, site)| !site.is_decided()).map(|(transaction, _)| *transaction).collect()
    }

    /// The decision on a transaction that this node still keeps.
    pub fn decision(&self, transaction: TransactionId) -> Option<Decision> {
        match self.sites.get(&transaction)?.phase {
            Phase::Decided(decision) => Some(decision),
            _ => None,
        }
    }

    /// Number of this start.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Number of transactions that this node keeps.
    pub fn kept(&self) -> usize {
        self.sites.len()
    }

    /// Raises the epoch, and goes on with what the log holds.
    fn begin(&mut self) {
        self.epoch_ticket = self.chassis.outbox.persist([self.state_record()]);
        for transaction in self.sites.keys().copied().collect::<Vec<_>>() {
            let site = self.sites.get_mut(&transaction).expect("one of the keys");
            if let Phase::Decided(decision) = site.phase {
                self.chassis.outbox.event(Event::Decided { transaction, decision });
                if origin(transaction) == self.config.node() {
                    self.tell_others(transaction, decision);
                    self.erase_if_over(transaction);
                }
            } else {
                let payload = site.payload.clone();
                self.chassis.outbox.event(Event::Recovered { transaction, payload });
                self.arm_silence(transaction);
            }
        }
    }

    fn on_commit(&mut self, command: CommandId, branches: BTreeMap<NodeId, Bytes>) -> Result<(), Ignored> {
        let (me, settings) = (self.config.node(), self.config.settings());
        let refusal = if self.chassis.is_halted() {
            Some(Refusal::Halted)
        } else if !self.chassis.is_member(me) {
            Some(Refusal::NotIntroduced)
        } else if !branches.contains_key(&me) || branches.len() > settings.participants_max {
            Some(Refusal::Participants)
        } else if branches.values().any(|payload| payload.len() > settings.payload_bytes_max) {
            Some(Refusal::TooLarge)
        } else if self.is_full() || self.chassis.outbox.held_events().count() >= settings.held_messages_max {
            Some(Refusal::Overloaded)
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.chassis.outbox.event(Event::Refused { command, reason });
            return Err(Ignored::Refused);
        }
        let transaction = TransactionId { coordinator: CoordinatorId::of_node(me), number: self.next_number() };
        self.next_sequence += 1;
        self.chassis.outbox.event_after(self.epoch_ticket, Event::Begun { command, transaction });
        let everybody = participants(&branches);
        let payload = branches[&me].clone();
        self.ask(transaction, everybody.clone(), payload);
        self.site(transaction).leading = Leading::Voting(BTreeSet::new());
        let finished_below = self.finished_below();
        for (node, payload) in branches.into_iter().filter(|(node, _)| *node != me) {
            let participants = everybody.clone();
            self.send(node, Message::Prepare { transaction, participants, finished_below, payload });
        }
        Ok(())
    }

    /// Takes up a transaction, and asks the application for its vote.
    fn ask(&mut self, transaction: TransactionId, participants: BTreeSet<NodeId>, payload: Bytes) {
        let mut site = Site::new(self.new_key(), participants, payload.clone());
        let ticket = self.chassis.outbox.request(Request::Prepare { transaction, payload });
        site.request = Some(ticket);
        self.requests.insert(ticket, transaction);
        self.sites.insert(transaction, site);
        let until = self.chassis.instant().after(self.config.settings().vote_timeout);
        self.timers.arm(transaction, until);
    }

    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        if !self.chassis.is_member(self.config.node()) {
            return Err(Ignored::NotIntroduced);
        }
        if !self.chassis.is_member(from) {
            return Err(Ignored::Stranger);
        }
        if let Some(below) = message.finished_below() {
            self.on_finished(from, below)?;
        }
        let transaction = message.transaction();
        if let Some(site) = self.sites.get(&transaction)
            && !site.participants.is_empty()
            && !site.participants.contains(&from)
        {
            return Err(Ignored::NotParticipant);
        }
        match message {
            Message::Prepare { participants, payload, .. } => self.on_prepare(from, transaction, participants, payload),
            Message::Small(Small::Prepare { .. }) => Err(Ignored::Absurd),
            Message::Small(Small::Vote { is_yes, .. }) => self.on_vote(from, transaction, is_yes),
            Message::Small(Small::Elect { attempt, .. }) => self.on_elect(from, transaction, attempt),
            Message::Small(Small::State { attempt, position, .. }) => {
                self.on_state(from, transaction, attempt, position)
            }
            Message::Small(Small::Propose { attempt, decision, .. }) => {
                self.on_propose(from, transaction, attempt, decision)
            }
            Message::Small(Small::Accept { attempt, .. }) => self.on_accept(from, transaction, attempt),
            Message::Small(Small::Decide { decision, .. }) => self.on_decide(transaction, decision),
            Message::Small(Small::Known { .. }) => self.on_known(from, transaction),
            Message::Small(Small::Presume { .. }) => self.on_presume(transaction),
        }
    }

    fn on_prepare(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        participants: BTreeSet<NodeId>,
        payload: Bytes,
    ) -> Result<(), Ignored> {
        let settings = self.config.settings();
        let is_odd = !participants.contains(&from) || !participants.contains(&self.config.node());
        if from != origin(transaction) || is_odd || from == self.config.node() {
            return Err(Ignored::Absurd);
        }
        if self.is_over(transaction) {
            return Err(Ignored::Collected);
        }
        if self.sites.contains_key(&transaction) {
            return Err(Ignored::Repeated);
        }
        let is_large = participants.len() > settings.participants_max || payload.len() > settings.payload_bytes_max;
        if is_large || self.is_full() {
            // This node has not voted and keeps nothing. If the message comes again, it may still vote yes.
            self.send(from, Message::Small(Small::Vote { transaction, is_yes: false }));
            return Err(Ignored::Unready);
        }
        self.ask(transaction, participants, payload);
        Ok(())
    }

    fn on_answer(&mut self, ticket: Ticket, answer: Answer) -> Result<(), Ignored> {
        let transaction = self.requests.remove(&ticket).ok_or(Ignored::StaleAnswer)?;
        let site = self.site(transaction);
        site.request = None;
        match answer {
            Answer::Yes => {
                site.phase = Phase::Ready;
                let written = self.write(transaction);
                let vote = Message::Small(Small::Vote { transaction, is_yes: true });
                self.chassis.outbox.send_after(written, origin(transaction), vote);
                // The coordinator waits for votes until its own time is up.
                if origin(transaction) != self.config.node() {
                    self.arm_silence(transaction);
                }
            }
            Answer::No => self.decide(transaction, Decision::Abort),
        }
        Ok(())
    }

    /// This node decides, and tells the others.
    pub(super) fn decide(&mut self, transaction: TransactionId, decision: Decision) {
        self.settle(transaction, decision);
        self.tell_others(transaction, decision);
        self.erase_if_over(transaction);
    }

    /// The decision is known. The application is told once it is durable.
    fn settle(&mut self, transaction: TransactionId, decision: Decision) {
        let site = self.site(transaction);
        (site.phase, site.leading) = (Phase::Decided(decision), Leading::No);
        let request = site.request.take();
        request.map(|ticket| self.requests.remove(&ticket));
        self.timers.cancel(transaction);
        // What this node was about to say of the way there is out of date.
        self.chassis.outbox.drop_held(|_, message| message.transaction() == transaction && message.is_answer());
        let written = self.write(transaction);
        self.chassis.outbox.event_after(written, Event::Decided { transaction, decision });
    }

    /// Tells the other participants the decision, once it is durable. The coordinator tells it until all know.
    fn tell_others(&mut self, transaction: TransactionId, decision: Decision) {
        let (me, finished_below) = (self.config.node(), self.finished_below());
        let site = self.site(transaction);
        let others: BTreeSet<NodeId> = site.participants.iter().copied().filter(|node| *node != me).collect();
        // An abort needs no acknowledgement: who asks for a transaction that its coordinator does not know is told that
        // it is aborted.
        if origin(transaction) == me && decision == Decision::Commit {
            site.unaware.clone_from(&others);
            self.arm_silence(transaction);
        }
        self.tell(transaction, decision, others, finished_below);
    }

    fn tell(
        &mut self,
        transaction: TransactionId,
        decision: Decision,
        to: BTreeSet<NodeId>,
        finished_below: TransactionNumber,
    ) {
        let written = self.chassis.outbox.newest_write();
        for node in to {
            let decide = Message::Small(Small::Decide { transaction, decision, finished_below });
            self.chassis.outbox.send_after(written, node, decide);
        }
    }

    /// Answers a question about a decided transaction.
    pub(super) fn tell_decision(&mut self, to: NodeId, transaction: TransactionId, decision: Decision) {
        let finished_below = self.finished_below();
        self.tell(transaction, decision, [to].into(), finished_below);
    }

    fn on_decide(&mut self, transaction: TransactionId, decision: Decision) -> Result<(), Ignored> {
        match self.sites.get(&transaction).map(|site| site.phase) {
            Some(Phase::Decided(known)) if known != decision => {
                self.chassis.halt_after_events(HaltReason::LawBroken("a transaction was decided in two ways"));
                return Err(Ignored::Halted);
            }
            Some(Phase::Decided(_)) => {}
            Some(_) => {
                self.settle(transaction, decision);
                if origin(transaction) == self.config.node() {
                    self.tell_others(transaction, decision);
                }
                self.erase_if_over(transaction);
            }
            None if self.is_over(transaction) => {}
            None if decision == Decision::Commit => return Err(Ignored::Absurd),
            None => self.fence(transaction),
        }
        if origin(transaction) != self.config.node() && decision == Decision::Commit {
            let written = self.chassis.outbox.newest_write();
            let known = Message::Small(Small::Known { transaction });
            self.chassis.outbox.send_after(written, origin(transaction), known);
        }
        Ok(())
    }

    /// This node has not voted on the transaction, so it is aborted. A late request for the vote is refused.
    pub(super) fn fence(&mut self, transaction: TransactionId) {
        let mut site = Site::new(self.new_key(), BTreeSet::new(), Bytes::new());
        site.phase = Phase::Decided(Decision::Abort);
        self.sites.insert(transaction, site);
        self.write(transaction);
    }

    fn on_known(&mut self, from: NodeId, transaction: TransactionId) -> Result<(), Ignored> {
        let site = self.sites.get_mut(&transaction).ok_or(Ignored::Stale)?;
        if !site.unaware.remove(&from) {
            return Err(Ignored::Repeated);
        }
        self.erase_if_over(transaction);
        Ok(())
    }

    /// Drops a decided transaction: at its coordinator once it is aborted, or every participant knows that it is
    /// committed, and elsewhere once the coordinator has said that it keeps it no longer.
    fn erase_if_over(&mut self, transaction: TransactionId) {
        let site = &self.sites[&transaction];
        let is_own = origin(transaction) == self.config.node();
        let is_over = if is_own { site.unaware.is_empty() } else { self.is_over(transaction) };
        if is_over && site.is_decided() {
            self.timers.cancel(transaction);
            self.erase(transaction);
        }
    }

    /// All transactions that `from` began below this number are over. What is decided of them here is dropped.
    fn on_finished(&mut self, from: NodeId, below: TransactionNumber) -> Result<(), Ignored> {
        let known = self.finished.get(&from).copied();
        if from == self.config.node() || known.is_some_and(|(known, _)| known >= below) {
            return Ok(());
        }
        if known.is_none() && self.finished.len() >= COORDINATORS_MAX {
            return Err(Ignored::Unready);
        }
        let key = known.map_or_else(|| self.new_key(), |(_, key)| key);
        self.finished.insert(from, (below, key));
        let is_over = |(transaction, site): &(&TransactionId, &Site)| {
            origin(**transaction) == from && transaction.number < below && site.is_decided()
        };
        let over: Vec<TransactionId> = self.sites.iter().filter(is_over).map(|(transaction, _)| *transaction).collect();
        if over.is_empty() {
            return Ok(());
        }
        // What is dropped must stay known to be over, so that a late request for a vote is refused.
        let bytes = encode_finished(from, below);
        self.chassis.outbox.persist([Operation::Journal { key, bytes }]);
        for transaction in over {
            self.erase(transaction);
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: &Signal) -> Result<(), Ignored> {
        match *signal {
            Signal::Timeout => {
                self.chassis.resume_due_writes();
                while let Some(transaction) = self.timers.pop_due(self.chassis.instant()) {
                    self.on_timeout(transaction);
                }
            }
            Signal::PeerStanding { node, standing } => {
                self.chassis.set_standing(node, standing);
            }
            Signal::Storage(level) => {
                self.chassis.set_storage(level);
            }
            Signal::CompactRequested if self.chassis.outbox.is_durable(self.checkpoint_ticket) => self.checkpoint(),
            Signal::Persisted(ticket) => self.chassis.outbox.persisted(ticket),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn site(&mut self, transaction: TransactionId) -> &mut Site {
        self.sites.get_mut(&transaction).expect("looked up by the caller")
    }

    /// Sends a message that states nothing but the epoch.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.chassis.outbox.send_after(self.epoch_ticket, to, message);
    }

    /// Sends a message to every participant, this node included, once everything so far is durable.
    pub(super) fn send_all(&mut self, transaction: TransactionId, message: &Message) {
        let written = self.chassis.outbox.newest_write();
        for node in self.sites[&transaction].participants.clone() {
            self.chassis.outbox.send_after(written, node, message.clone());
        }
    }

    /// Sets the timer of a transaction: the wait doubles with each timeout, up to a limit, and is jittered by half.
    pub(super) fn arm_silence(&mut self, transaction: TransactionId) {
        let timeouts = self.sites[&transaction].timeouts.min(4);
        let wait = self.config.settings().silence_timeout.saturating_mul(1 << timeouts);
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX / 2);
        let jittered = Duration::from_nanos(self.random.between(nanos / 2, nanos) + 1);
        self.timers.arm(transaction, self.chassis.instant().after(jittered));
    }

    pub(super) fn next_number(&self) -> TransactionNumber {
        TransactionNumber { epoch: self.epoch, sequence: self.next_sequence }
    }

    /// All transactions that this node began below this number are over.
    fn finished_below(&self) -> TransactionNumber {
        let mut own = self.sites.keys().filter(|transaction| origin(**transaction) == self.config.node());
        own.next().map_or_else(|| self.next_number(), |transaction| transaction.number)
    }

    /// True if the coordinator of the transaction keeps it no longer: every participant knows that it is committed, or
    /// it was aborted, or it was lost before the coordinator's own vote was durable. In each case no participant will
    /// ever commit it that has not done so.
    pub(super) fn is_over(&self, transaction: TransactionId) -> bool {
        let below = if origin(transaction) == self.config.node() {
            self.next_number()
        } else {
            self.finished.get(&origin(transaction)).map(|(below, _)| *below).unwrap_or_default()
        };
        transaction.number < below
    }

    fn is_full(&self) -> bool {
        let is_low = self.chassis.storage() == StorageLevel::Low;
        is_low || self.sites.len() >= self.config.settings().transactions_max
    }
}

/// The node that began a transaction.
pub(super) fn origin(transaction: TransactionId) -> NodeId {
    NodeId(transaction.coordinator.0)
}

/// Coordinators whose finished transactions a node keeps track of.
const COORDINATORS_MAX: usize = 1024;
