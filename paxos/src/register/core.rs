//! The core: it takes every input and gives every output.

use quorate_protocol::{
    FailedWrite, Input, Instant, NodeId, Now, Output, PersistFailure, Protocol, RecoverError, Recovery, Signal,
    Standing, Ticket, View, ViewWriter,
};

use super::acceptor::{Acceptor, on_require_ages};
use super::base::Base;
use super::codec::decode_state;
use super::copier::Copier;
use super::message::{AgeRaised, RaiseAge};
use super::proposer::Proposer;
use super::remover::Remover;
use super::table::Table;
use super::{
    ChangeOutcome, Command, CommandRefusal, Config, Event, Ignored, Message, ReadOutcome, RegisterObstacle,
    ResolveOutcome, Roles, Status,
};

/// One node's part in a group of registers: CASPaxos (Rystsov, "CASPaxos: Replicated State Machines without logs",
/// 2018) as a pure state machine.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The crate's documentation describes
/// the loop around it.
#[derive(Clone, Debug)]
pub struct Register {
    pub(super) base: Base,
    pub(super) acceptor: Acceptor,
    pub(super) proposer: Proposer,
    pub(super) remover: Remover,
    pub(super) copier: Copier,
}

impl Protocol for Register {
    type Config = Config;
    type Message = Message;
    type Command = Command;
    type Event = Event;
    /// This core makes no requests.
    type Request = std::convert::Infallible;
    type Answer = std::convert::Infallible;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let found = recovery.state.as_ref().map(decode_state).transpose().map_err(RecoverError::State)?;
        if found.as_ref().is_some_and(|(roles, _)| roles != config.roles()) {
            return Err(RecoverError::Inconsistent("the roles are others than the group was founded with"));
        }
        let copier = Copier::new(recovery.checkpoint);
        let table = Table::read(recovery.journal)?;
        if found.is_none() && table.len() > 0 {
            return Err(RecoverError::Inconsistent("there are registers and no state record"));
        }
        let base = Base::new(now, config, found.map(|(_, state)| state), table.round());
        let (acceptor, proposer, remover) = (Acceptor::new(table), Proposer::default(), Remover::default());
        Ok(Self { base, acceptor, proposer, remover, copier })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.base.chassis.begin(now);
        let handled = if self.base.chassis.is_halted() { self.on_input_halted(input) } else { self.on_input(input) };
        self.base.chassis.count(handled);
        self.settle();
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        if self.base.chassis.take_dirty() {
            self.flush();
        }
        self.base.chassis.outbox.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        self.base.chassis.deadline(self.remover.times().chain(self.proposer.deadline()))
    }

    /// Not included are the random generator, the lengths of future waits and the counters for operators.
    fn model_view(&self) -> View {
        let chassis = &self.base.chassis;
        let times = self.proposer.times().chain(self.remover.times()).chain(chassis.rewrite_at());
        let writes = self.base.tickets().chain(self.acceptor.table.tickets()).chain(self.copier.writes());
        let loads = self.acceptor.loads().chain(self.copier.loads());
        let mut writer = ViewWriter::new(chassis.instant(), times, &chassis.outbox, writes, loads);
        self.base.view(&mut writer);
        self.acceptor.view(&mut writer);
        self.proposer.view(&mut writer);
        self.remover.view(&mut writer);
        self.copier.view(&mut writer);
        writer.finish()
    }

    fn check_invariants(&self) {
        self.acceptor.check_invariants(&self.base);
        self.proposer.check_invariants(&self.base);
    }
}

impl Register {
    /// The roles with which the group was founded, which it keeps for ever; `None` if nothing was written yet.
    ///
    /// # Errors
    /// When the state record cannot be decoded.
    pub fn founded(recovery: &Recovery) -> Result<Option<Roles>, RecoverError> {
        let founded = recovery.state.as_ref().map(decode_state).transpose();
        Ok(founded.map_err(RecoverError::State)?.map(|(roles, _)| roles))
    }

    /// The configuration of this node.
    pub fn config(&self) -> &Config {
        &self.base.config
    }

    /// The state of this node.
    pub fn status(&self) -> Status {
        Status::of(self)
    }

    /// The obstacles to this node's work, the most important first.
    pub fn explain(&self) -> Vec<RegisterObstacle> {
        RegisterObstacle::all_of(self)
    }

    /// The write that was handed out and is not durable yet.
    #[cfg(feature = "testing")]
    pub fn write_in_flight(&self) -> Option<Ticket> {
        self.base.chassis.outbox.in_flight()
    }

    fn on_input(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        let Self { base, proposer, .. } = self;
        match input {
            Input::Message { from, .. } if from == base.node() => return Err(Ignored::NotMember),
            Input::Message { from, message } => return self.on_message(from, message),
            Input::Signal(signal) => return self.on_signal(signal),
            Input::Command(Command::Change { key, id, change }) => proposer.on_change(base, &key, id, change),
            Input::Command(Command::Read { key, id }) => proposer.on_read(base, &key, id),
            Input::Command(Command::Resolve { key, id, trace }) => {
                proposer.on_resolve(base, &key, id, trace);
            }
            Input::Completed { answer, .. } => match answer {},
        }
        Ok(())
    }

    /// First the checks for all messages, then the handler of each message.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        let Self { base, acceptor, proposer, remover, .. } = self;
        if message.system().is_some_and(|system| system != base.config.system()) {
            return Err(base.on_other_system(from, &message));
        }
        if !base.config.roles().contains(from) {
            return Err(Ignored::NotMember);
        }
        check_content(&base.config, &message)?;
        match message {
            Message::Prepare(message) => acceptor.on_prepare(base, from, &message),
            Message::Accept(message) => acceptor.on_accept(base, from, message),
            Message::Query(message) => acceptor.on_query(base, from, &message),
            Message::Promise(message) => proposer.on_promise(base, from, message),
            Message::Accepted(message) => proposer.on_accepted(base, from, &message),
            Message::Nack(message) => proposer.on_nack(base, from, &message),
            Message::Report(message) => proposer.on_report(base, from, message),
            Message::RaiseAge(message) => self.on_raise_age(from, message),
            Message::AgeRaised(message) => remover.on_age_raised(base, from, message),
            Message::RequireAges(message) => on_require_ages(base, from, &message),
            Message::AgesRequired { removal } => remover.on_done(base, from, removal, false),
            Message::Remove(message) => {
                remover.yield_to(base, from);
                acceptor.on_remove(base, from, &message)
            }
            Message::Removed { removal } => remover.on_done(base, from, removal, true),
            // Such a message from a node with this node's own roles has no meaning.
            Message::OtherSystem { .. } => Err(Ignored::Unasked),
        }
    }

    /// Answers with an age under which all ballots are above the round. A repeated request does not raise it again.
    fn on_raise_age(&mut self, from: NodeId, message: RaiseAge) -> Result<(), Ignored> {
        let Self { base, proposer, remover, .. } = self;
        base.check_proposer(from)?;
        if !base.config.is_proposer() {
            return Err(Ignored::NotInRole);
        }
        if !base.is_counting() {
            return Err(Ignored::Barred);
        }
        base.check_round(message.round)?;
        remover.yield_to(base, from);
        if base.state().floor < message.round {
            base.raise_age(message.round);
            proposer.on_age_raised();
        }
        let answer = AgeRaised { removal: message.removal, age: base.state().age };
        base.post(base.state_ticket(), from, Message::AgeRaised(answer));
        Ok(())
    }

    fn on_signal(&mut self, signal: Signal) -> Result<(), Ignored> {
        match signal {
            Signal::PeerStanding { node, standing } => return self.on_peer_standing(node, standing),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            Signal::Unreachable(peer) => return self.base.on_unreachable(peer),
            Signal::Loaded { ticket, result } => {
                let Self { base, acceptor, copier, .. } = self;
                if let Some(loaded) = acceptor.on_loaded(base, ticket, &result) {
                    return loaded;
                }
                return copier.on_loaded(base, &acceptor.table, ticket, result);
            }
            Signal::Timeout => self.on_timeout(),
            Signal::Persisted(ticket) => {
                self.base.persisted(ticket);
                self.acceptor.on_persisted(&self.base);
                self.copier.on_persisted(&mut self.base, &self.acceptor.table);
            }
            Signal::PeerAlive(peer) if self.base.note_heard(peer) => self.hurry(),
            Signal::PeerAlive(_) | Signal::PeerSilent { .. } => {}
            Signal::CompactRequested => self.copier.begin(&mut self.base),
            Signal::Storage(level) => {
                self.base.chassis.set_storage(level);
            }
        }
        Ok(())
    }

    /// A stopped group only answers its own application.
    fn on_input_halted(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        if let Input::Command(command) = input {
            self.base.chassis.outbox.event(command.refused(CommandRefusal::Halted));
        }
        Err(Ignored::Halted)
    }

    fn on_timeout(&mut self) {
        let Self { base, acceptor, proposer, remover, .. } = self;
        base.chassis.resume_due_writes();
        proposer.on_timeout(base);
        remover.on_timeout(base, acceptor, proposer);
    }

    /// Applies a node's new standing. The answers of a node that no longer counts are dropped, and a node that counts
    /// again must answer again.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) -> Result<(), Ignored> {
        if !self.base.config.roles().contains(node) {
            return Err(Ignored::NotMember);
        }
        if !self.base.chassis.set_standing(node, standing) {
            return Ok(());
        }
        if !self.base.is_counting() {
            self.remover.end();
        }
        self.proposer.on_standing(&self.base, node);
        self.hurry();
        Ok(())
    }

    /// A node can be reached again: repetitions for it come soon.
    fn hurry(&mut self) {
        self.proposer.hurry(&mut self.base);
        self.remover.hurry(&mut self.base);
    }

    /// Handles a failed write. If it was certainly not written, the current content is written again after a while, and
    /// no output that depends on it leaves before. After any other failure the state of the disk is unknown, and the
    /// group halts.
    fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        let Base { chassis, config, .. } = &mut self.base;
        match chassis.failed_write(ticket, failure) {
            FailedWrite::Fatal(reason) => {
                chassis.halt(reason);
                return Err(Ignored::Halted);
            }
            FailedWrite::Stale => return Err(Ignored::StaleAnswer),
            FailedWrite::Refused => {}
        }
        chassis.outbox.refused();
        chassis.write_again_at(chassis.instant().after(config.settings().retry_interval_min));
        self.base.write_again();
        self.acceptor.table.write_again(&mut self.base.chassis.outbox);
        self.copier.on_refused();
        // What was one write may be several now. Everything that waited for it waits for all of them.
        self.base.rebind_held();
        self.acceptor.table.rebind(self.base.chassis.outbox.newest_write());
        Err(Ignored::LogRefuses)
    }

    /// Acts on the inputs since the last poll.
    fn flush(&mut self) {
        let Self { base, acceptor, proposer, remover, copier, .. } = self;
        copier.pursue(base, &acceptor.table);
        remover.arm(base, acceptor);
        proposer.pursue(base);
        self.settle();
    }

    /// Handles the messages of this node to itself, and what follows from them.
    fn settle(&mut self) {
        while !self.base.chassis.is_halted() {
            let spread = self.proposer.take_spread();
            if !spread.is_empty() {
                self.remover.on_spread(&mut self.base, spread);
            }
            let Some(message) = self.base.take_mail() else { break };
            let handled = self.on_message(self.base.node(), message);
            self.base.chassis.count(handled);
            // A job may have ended, and the next one begin.
            self.proposer.pursue(&mut self.base);
        }
        if self.base.chassis.is_halted() {
            self.proposer.on_halted();
            self.remover.end();
            self.base.drop_mail();
        }
    }
}

impl Command {
    /// The event that refuses this command.
    pub(super) fn refused(&self, reason: CommandRefusal) -> Event {
        match self {
            Self::Change { id, .. } => Event::Changed { id: *id, outcome: ChangeOutcome::NotTried(reason) },
            Self::Read { id, .. } => Event::Read { id: *id, outcome: ReadOutcome::Failed(reason) },
            Self::Resolve { id, .. } => Event::Resolved { id: *id, outcome: ResolveOutcome::Failed(reason) },
        }
    }
}

/// Checks the key and the content of a message.
fn check_content(config: &Config, message: &Message) -> Result<(), Ignored> {
    let settings = config.settings();
    let is_key = |key: &bytes::Bytes| (1..=settings.key_bytes_max).contains(&key.len());
    if let Message::Remove(remove) = message
        && !remove.deleted.iter().all(|(key, _)| is_key(key))
    {
        return Err(Ignored::Key);
    }
    let Some(key) = message.key() else { return Ok(()) };
    if !is_key(key) {
        return Err(Ignored::Key);
    }
    let Some(content) = message.content() else { return Ok(()) };
    if content.value.as_ref().is_some_and(|value| value.len() > settings.value_bytes_max) {
        return Err(Ignored::TooLarge);
    }
    if content.is_intact(key) { Ok(()) } else { Err(Ignored::Damaged) }
}
