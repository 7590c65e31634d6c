//! The core: it takes every input and gives every output.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{
    FailedWrite, Input, Instant, NodeId, Now, Output, PersistFailure, Protocol, RecoverError, Recovery, Signal,
    Standing, Ticket, View,
};

use crate::base::Base;
use crate::codec::Record;
use crate::coordinator::mixed::Deviations;
use crate::coordinator::{Branches, Coordinator};
use crate::error::Ignored;
use crate::journal::{Journal, KeyedRecord};
use crate::message::{Message, Stamp};
use crate::participant::Participant;
use crate::participant::heuristics::Heuristic;
use crate::recovery::Recovered;
use crate::state::{Awaited, Remembered, Stage, Tombstone};
use crate::timers::Timer;
use crate::{
    Answer, Command, CommandId, Config, CoordinatorId, Event, Request, Status, TransactionId, TransactionRefusal,
    invariants, view,
};

/// One node's part in atomic commit: two-phase commit with presumed abort (Mohan, Lindsay, Obermarck, TODS 1986) as a
/// pure state machine. The node coordinates its own transactions and takes part in its own and in others'.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The crate's documentation describes
/// the loop around it.
#[derive(Clone, Debug)]
pub struct TwoPhaseCommit {
    pub(crate) base: Base,
    pub(crate) coordinator: Coordinator,
    pub(crate) participant: Participant,
}

impl Protocol for TwoPhaseCommit {
    type Config = Config;
    type Message = Message;
    type Command = Command;
    type Event = Event;
    type Request = Request;
    type Answer = Answer;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let recovered = Recovered::read(recovery)?;
        let base = Base::new(now, config, Journal::new(&recovered));
        let mut core = Self { base, coordinator: Coordinator::new(), participant: Participant::default() };
        for record in recovered.records {
            core.adopt(record)?;
        }
        core.begin_epoch()?;
        Ok(core)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.base.chassis.begin(now);
        let is_halted = self.base.chassis.is_halted();
        let handled = match input {
            Input::Command(command) if is_halted => {
                self.refuse(command.id(), TransactionRefusal::Halted, Ignored::Halted)
            }
            _ if is_halted => Err(Ignored::Halted),
            Input::Message { from, message } if from != self.base.config.node() => self.on_message(from, message),
            Input::Message { .. } => Err(Ignored::Absurd),
            Input::Command(command) => self.on_command(command),
            Input::Completed { ticket, answer } => self.participant.on_completed(&mut self.base, ticket, answer),
            Input::Signal(signal) => self.on_signal(&signal),
        };
        self.base.chassis.count(handled);
    }

    fn stopping(&mut self, now: Now) {
        self.base.chassis.begin(now);
        if !self.base.chassis.is_halted() {
            self.base.flush();
        }
    }

    /// Messages of a node to itself do not leave, because it coordinates and takes part in one core.
    fn poll_output(&mut self) -> Option<Output<Self>> {
        loop {
            match self.base.chassis.outbox.poll()? {
                Output::Send { to, message } if to == self.base.config.node() => {
                    let handled = self.on_message(to, message);
                    self.base.chassis.count(handled);
                }
                output => return Some(output),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.base.chassis.deadline(self.base.timers.next())
    }

    fn model_view(&self) -> View {
        view::view(self)
    }

    fn check_invariants(&self) {
        invariants::check(self);
    }
}

impl TwoPhaseCommit {
    /// The state of this node.
    pub fn status(&self) -> Status {
        Status::of(self)
    }

    /// As [`Command::Commit`], with the votes of some participants, which are then not asked.
    #[cfg(feature = "manager")]
    pub(crate) fn commit_with_votes(
        &mut self,
        now: Now,
        (command, transaction): (CommandId, TransactionId),
        branches: BTreeMap<NodeId, bytes::Bytes>,
        votes: BTreeMap<NodeId, crate::Vote>,
    ) {
        self.base.chassis.begin(now);
        let handled = if self.base.chassis.is_halted() {
            self.refuse(command, TransactionRefusal::Halted, Ignored::Halted)
        } else {
            let taken = self.coordinator.on_commit(
                &mut self.base,
                self.participant.outcomes(),
                transaction,
                Branches { payloads: branches, votes },
            );
            taken.or_else(|reason| self.refuse(command, reason, Ignored::Refused))
        };
        self.base.chassis.count(handled);
    }

    fn on_command(&mut self, command: Command) -> Result<(), Ignored> {
        let (id, base) = (command.id(), &mut self.base);
        let taken = match command {
            Command::Begin { command } => self.coordinator.on_begin(base, command),
            Command::Commit { transaction, branches, .. } => {
                let branches = Branches { payloads: branches, votes: BTreeMap::new() };
                self.coordinator.on_commit(base, self.participant.outcomes(), transaction, branches)
            }
            Command::Abort { transaction, .. } => self.coordinator.on_abort(base, transaction),
            Command::Query { command, transaction } => self.coordinator.on_query(base, command, transaction),
            Command::Enlist { transaction, .. } => self.participant.on_enlist(base, transaction),
            Command::Forget { command, node } => self.on_forget(command, node),
            Command::ForceOutcome { command, transaction, decision } => {
                self.participant.on_force(base, command, transaction, decision)
            }
            Command::ForgetMixed { command, transaction } => self.on_forget_mixed(command, transaction),
            Command::ForgetCoordinator { command, coordinator } => self.on_forget_coordinator(command, coordinator),
        };
        taken.or_else(|reason| self.refuse(id, reason, Ignored::Refused))
    }

    fn refuse(&mut self, command: CommandId, reason: TransactionRefusal, ignored: Ignored) -> Result<(), Ignored> {
        self.base.event(Event::Refused { command, reason });
        Err(ignored)
    }

    /// First the checks for every message: its sender, and its coordinator's stamp.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        self.base.check_introduced().map_err(|_| Ignored::NotIntroduced)?;
        if !self.base.chassis.is_member(from) {
            return Err(Ignored::Stranger);
        }
        if self.participant.outcomes().is_given_up(from) {
            return Err(Ignored::Forgotten);
        }
        if let Some((transaction, stamp)) = message.of_coordinator() {
            self.on_stamp(from, transaction, stamp).inspect_err(|reason| self.tell_server(from, stamp, *reason))?;
        }
        let Self { base, coordinator, participant } = self;
        match message {
            Message::Prepare(prepare) => participant.on_prepare(base, prepare),
            Message::Vote { transaction, vote } => coordinator.on_vote(base, from, transaction, vote),
            Message::Decide(decide) => participant.on_decide(base, decide.transaction, decide.decision),
            Message::Acknowledge { transaction, how } => coordinator.on_acknowledge(base, from, transaction, how),
            Message::Inquire { transaction } => match base.own(transaction) {
                Some(number) => coordinator.on_inquire(base, from, number),
                None => participant.on_peer_inquire(base, from, transaction),
            },
            Message::Presume { transaction, .. } => participant.on_presume(base, transaction),
            Message::Noted { transaction, .. } => {
                participant.heuristics_mut().on_noted(base, transaction);
                Ok(())
            }
            Message::Outcome { transaction, decision } => match base.own(transaction) {
                Some(number) => coordinator.on_outcome(base, from, number, decision),
                None => participant.on_peer_outcome(base, from, transaction, decision),
            },
            Message::CommitOnePhase(request) => participant.on_commit_one_phase(base, request),
            Message::InquireFinished { coordinator: asked } if asked == base.config.coordinator() => {
                coordinator.tell_finished(base, from);
                Ok(())
            }
            Message::InquireFinished { .. } => Err(Ignored::NotCoordinator),
            Message::Finished(finished) => participant.on_finished(base, finished),
            Message::Unready { transaction, why } => coordinator.on_unready(base, from, transaction, why),
            Message::Served { coordinator: named, epoch, server } => {
                let is_news = named == base.config.coordinator() && epoch > base.journal.epoch();
                if !is_news || base.served_by.is_some() {
                    return Err(Ignored::Stale);
                }
                base.send(server, Message::InquireFinished { coordinator: named });
                Ok(())
            }
        }
    }

    /// Checks the stamp of a message of a coordinator, and applies it. What counts is the coordinator's epoch, and not
    /// who sends the message. A higher epoch of this node's own coordinator means that the sender has taken it over.
    fn on_stamp(&mut self, from: NodeId, transaction: Option<TransactionId>, stamp: Stamp) -> Result<(), Ignored> {
        let Self { base, coordinator, participant } = self;
        let Stamp { coordinator: named, epoch, .. } = stamp;
        let is_absurd = |it: TransactionId| it.coordinator != named || it.number.epoch > epoch;
        if transaction.is_some_and(is_absurd) {
            return Err(Ignored::Absurd);
        }
        let is_rival = named == base.config.coordinator() && from != base.config.node() && base.served_by.is_none();
        if is_rival && epoch == base.journal.epoch() {
            return Err(Ignored::TwoServers);
        }
        if is_rival && epoch < base.journal.epoch() {
            return Err(Ignored::OldEpoch);
        }
        participant.on_stamp(base, from, transaction, stamp)?;
        if is_rival {
            base.flush();
            coordinator.retire(base, from, epoch);
        } else if named == base.config.coordinator() && from != base.config.node() {
            base.served_by = Some(from);
        }
        Ok(())
    }

    /// Tells a node that goes on serving a coordinator which node serves it now.
    fn tell_server(&mut self, from: NodeId, stamp: Stamp, reason: Ignored) {
        let (coordinator, outcomes) = (stamp.coordinator, self.participant.outcomes());
        let (epoch, server) = (outcomes.epoch_of(coordinator), outcomes.server_of(coordinator));
        if let Some(server) = server.filter(|server| *server != from && reason == Ignored::OldEpoch) {
            self.base.send(from, Message::Served { coordinator, epoch, server });
        }
    }

    fn on_signal(&mut self, signal: &Signal) -> Result<(), Ignored> {
        match *signal {
            Signal::Timeout => self.on_timeout(),
            Signal::PeerStanding { node, standing } => self.on_peer_standing(node, standing),
            Signal::Storage(level) => {
                self.base.chassis.set_storage(level);
            }
            Signal::CompactRequested => self.on_compact_requested(),
            Signal::Persisted(ticket) => self.on_persisted(ticket),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            // Repetitions have timers of their own, and this core never loads anything.
            Signal::PeerAlive(_) | Signal::PeerSilent { .. } | Signal::Unreachable(_) | Signal::Loaded { .. } => {}
        }
        Ok(())
    }

    fn on_timeout(&mut self) {
        let base = &mut self.base;
        base.chassis.resume_due_writes();
        while let Some(timer) = base.timers.pop_due(base.chassis.instant()) {
            match timer {
                Timer::Coordinated(number) => self.coordinator.on_timeout(base, number),
                Timer::Branch(transaction) => self.participant.on_timeout(base, transaction),
                Timer::Lazy => {
                    base.flush();
                }
                Timer::Collect => self.participant.on_collect_timeout(base),
            }
        }
    }

    /// A peer that is introduced is told the current epoch at once, so that it takes up nothing of an earlier one.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) {
        if !self.base.chassis.set_standing(node, standing) {
            return;
        }
        match standing {
            Standing::Stranger => self.coordinator.forget_votes(node),
            Standing::Member => self.coordinator.tell_finished(&mut self.base, node),
        }
    }

    /// A write is durable: carries out the actions that waited for it.
    fn on_persisted(&mut self, ticket: Ticket) {
        let base = &mut self.base;
        base.persisted(ticket);
        while let Some(effect) = base.next_durable() {
            match effect {
                Awaited::Decided(number) => self.coordinator.on_decided(base, number),
                Awaited::Delegated(number) => self.coordinator.on_delegated(base, number),
                Awaited::Ended(number) => self.coordinator.on_ended(base, number),
                Awaited::Prepared(transaction) => self.participant.on_prepared(base, transaction),
                Awaited::Committed(transaction) => self.participant.on_committed(base, transaction),
                Awaited::Forced(transaction) => self.participant.on_forced(base, transaction),
                Awaited::Settled(transaction, decision) => base.event(Event::Settled { transaction, decision }),
            }
        }
    }

    /// A write failed. If it was certainly not written, it is repeated after a while, except for the decisions and
    /// votes in it: these are taken back, because no other node was told them. After any other failure the state of the
    /// disk is unknown, and the group halts.
    fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        match self.base.chassis.failed_write(ticket, failure) {
            FailedWrite::Refused => {}
            FailedWrite::Stale => return Err(Ignored::StaleAnswer),
            FailedWrite::Fatal(reason) => {
                self.base.halt(reason);
                return Err(Ignored::Halted);
            }
        }
        let binding = self.base.journal.binding();
        let key = |effect: &Awaited| match effect {
            Awaited::Decided(number) | Awaited::Delegated(number) => self.coordinator.binding_key(*number),
            Awaited::Prepared(transaction) => self.participant.key_of(*transaction),
            _ => None,
        };
        let withdrawn: BTreeSet<u64> = binding.iter().filter_map(key).collect();
        let base = &mut self.base;
        base.write_again(&withdrawn);
        for effect in binding {
            match effect {
                Awaited::Decided(number) | Awaited::Delegated(number) => self.coordinator.undecide(base, number),
                Awaited::Prepared(transaction) => self.participant.unprepare(base, transaction),
                _ => {}
            }
        }
        Err(Ignored::LogRefuses)
    }

    /// Writes every record that counts again, so that all earlier ones may be removed.
    fn on_compact_requested(&mut self) {
        if self.base.may_checkpoint() {
            self.base.checkpoint(self.records());
        }
    }

    /// Handles an operator's statement that a node will not come back with its data: this node no longer waits for it.
    fn on_forget(&mut self, command: CommandId, node: NodeId) -> Result<(), TransactionRefusal> {
        let base = &mut self.base;
        base.check_introduced()?;
        if node == base.config.node() || base.chassis.is_member(node) {
            return Err(TransactionRefusal::StillMember);
        }
        self.participant.give_up(base, node)?;
        let written = base.flush();
        self.coordinator.give_up(base, node);
        base.chassis.outbox.event_after(written, Event::Forgotten { command, node });
        Ok(())
    }

    /// Handles an operator's statement that a mixed transaction was dealt with.
    fn on_forget_mixed(&mut self, command: CommandId, transaction: TransactionId) -> Result<(), TransactionRefusal> {
        let Self { base, coordinator, participant } = self;
        let is_own = base.own(transaction).is_some_and(|number| coordinator.mixed_mut().forget(base, number));
        if !participant.forget_mixed(base, transaction) && !is_own {
            return Err(TransactionRefusal::NotMixed);
        }
        let written = base.flush();
        base.chassis.outbox.event_after(written, Event::MixedForgotten { command, transaction });
        Ok(())
    }

    /// Handles an operator's statement that the decision log of a coordinator is lost.
    fn on_forget_coordinator(
        &mut self,
        command: CommandId,
        coordinator: CoordinatorId,
    ) -> Result<(), TransactionRefusal> {
        let base = &mut self.base;
        base.check_introduced()?;
        let is_own = base.served_by.is_none() && coordinator == base.config.coordinator();
        let server = self.participant.outcomes().server_of(coordinator);
        if is_own || server.is_some_and(|server| base.chassis.is_member(server)) {
            return Err(TransactionRefusal::StillMember);
        }
        self.participant.forget_coordinator(base, coordinator)?;
        let written = base.flush();
        base.chassis.outbox.event_after(written, Event::CoordinatorForgotten { command, coordinator });
        Ok(())
    }

    fn adopt(&mut self, KeyedRecord { key, record }: KeyedRecord) -> Result<(), RecoverError> {
        let Self { base, coordinator, participant } = self;
        match record {
            Record::Commit { number, writers } => {
                let unacknowledged = writers.clone();
                coordinator.adopt(base, number, Stage::Committed { key, writers, unacknowledged })
            }
            Record::Delegated { number, participant, payload } => {
                coordinator.adopt(base, number, Stage::Delegated { key, participant, payload })
            }
            Record::Ended { number, writers } => coordinator.adopt_outcome(number, Remembered { key, writers }),
            Record::Prepared { transaction, participants, payload } => {
                participant.adopt_branch(base, key, transaction, participants, payload, None)
            }
            Record::Forced { transaction, decision, participants, payload } => {
                participant.adopt_branch(base, key, transaction, participants, payload, Some(decision))
            }
            Record::Heuristic { transaction, forced, decision, participants } => {
                let heuristic = Heuristic { decision, ..Heuristic::new(forced, participants, key) };
                participant.heuristics_mut().adopt(transaction, heuristic)
            }
            Record::Mixed { number, decision, deviations } => {
                coordinator.mixed_mut().adopt(number, Deviations { decision, by: deviations, key })
            }
            Record::Settled { transaction, end } => {
                participant.adopt_tombstone(transaction, Tombstone { end, key: Some(key), is_unwritten: false })
            }
            Record::Known(record) => participant.adopt_known(record.coordinator, |known| {
                (known.epoch, known.server) = (record.epoch, record.server);
                (known.finished_below, known.is_forgotten) = (record.finished_below, record.is_forgotten);
                known.key.replace(key)
            }),
            Record::Unfinished { coordinator, until, unfinished } => participant.adopt_known(coordinator, |known| {
                (known.until, known.unfinished) = (until, unfinished);
                known.unfinished_key.replace(key)
            }),
            Record::GivenUp { node } => participant.adopt_given_up(node, key),
        }
    }

    /// Raises the epoch, and continues what the log holds. If another node has taken the coordinator over from this
    /// log's last epoch, this node does not serve it.
    fn begin_epoch(&mut self) -> Result<(), RecoverError> {
        let Self { base, coordinator, participant } = self;
        let (own, outcomes) = (base.config.coordinator(), participant.outcomes());
        let (epoch, server) = (outcomes.epoch_of(own), outcomes.server_of(own));
        match server.filter(|server| *server != base.config.node() && epoch > base.journal.epoch()) {
            Some(server) => coordinator.retire(base, server, epoch),
            None => base.journal.raise_epoch()?,
        }
        coordinator.forget_outcomes(base);
        participant.collect_all(base);
        base.begin_epoch();
        coordinator.begin(base);
        participant.begin(base);
        Ok(())
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> Vec<KeyedRecord> {
        self.coordinator.records().chain(self.participant.records()).collect()
    }
}
