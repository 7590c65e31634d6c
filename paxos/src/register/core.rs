//! The core: it takes every input and gives every output.

use quorate_protocol::{
    FailedWrite, Input, Instant, NodeId, Now, Output, PersistFailure, Protocol, RecoverError, Recovery, Signal,
    Standing, Ticket, View, ViewWriter,
};

use super::acceptor::{Acceptor, on_require_ages};
use super::base::Base;
use super::changer::Changer;
use super::codec::{StateRecord, decode_state};
use super::copier::Copier;
use super::in_force::ROLES_BYTES_MAX;
use super::message::{AgeRaised, RaiseAge};
use super::proposer::Proposer;
use super::remover::Remover;
use super::table::Table;
use super::{
    ChangeOutcome, Command, CommandRefusal, Config, Event, Ignored, Message, ReadOutcome, RegisterObstacle,
    ResolveOutcome, Roles, RolesInForce, RolesOutcome, RolesRefusal, Status, System,
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
    pub(super) changer: Changer,
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
        if found.as_ref().is_some_and(|found| found.founding != *config.roles()) {
            return Err(RecoverError::Inconsistent("the roles are others than the group was founded with"));
        }
        let copier = Copier::new(recovery.checkpoint);
        let table = Table::read(recovery.journal)?;
        if found.is_none() && table.len() > 0 {
            return Err(RecoverError::Inconsistent("there are registers and no state record"));
        }
        let base = Base::new(now, config, found.map(|found| (found.in_force, found.state)), table.round());
        let (acceptor, proposer, remover) = (Acceptor::new(table), Proposer::default(), Remover::default());
        Ok(Self { base, acceptor, proposer, remover, copier, changer: Changer::default() })
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
        let times = self.remover.times().chain(self.changer.times());
        self.base.chassis.deadline(times.chain(self.proposer.deadline()))
    }

    /// Not included are the random generator, the lengths of future waits and the counters for operators.
    fn model_view(&self) -> View {
        let chassis = &self.base.chassis;
        let times = self.proposer.times().chain(self.remover.times()).chain(self.changer.times());
        let times = times.chain(chassis.rewrite_at());
        let writes = self.base.tickets().chain(self.acceptor.table.tickets()).chain(self.copier.writes());
        let loads = self.acceptor.loads().chain(self.copier.loads());
        let mut writer = ViewWriter::new(chassis.instant(), times, &chassis.outbox, writes, loads);
        self.base.view(&mut writer);
        self.acceptor.view(&mut writer);
        self.proposer.view(&mut writer);
        self.remover.view(&mut writer);
        self.copier.view(&mut writer);
        self.changer.view(&mut writer);
        writer.finish()
    }

    fn check_invariants(&self) {
        self.acceptor.check_invariants(&self.base);
        self.proposer.check_invariants(&self.base);
    }
}

impl Register {
    /// The roles with which the group was founded; `None` if nothing was written yet.
    ///
    /// # Errors
    /// When the state record cannot be decoded.
    pub fn founded(recovery: &Recovery) -> Result<Option<Roles>, RecoverError> {
        let founded = recovery.state.as_ref().map(decode_state).transpose();
        Ok(founded.map_err(RecoverError::State)?.map(|StateRecord { founding, .. }| founding))
    }

    /// The configuration of this node.
    pub fn config(&self) -> &Config {
        &self.base.config
    }

    /// The roles in force, as far as this node knows.
    pub fn roles(&self) -> &RolesInForce {
        self.base.in_force()
    }

    /// The joint roles of a change that an application of this node waits for. Their nodes must be reached, although
    /// the roles may not be in force yet.
    pub fn roles_to_come(&self) -> Option<&RolesInForce> {
        self.changer.wanted()
    }

    /// Names the roles in force, as this node's messages do.
    pub fn system(&self) -> System {
        self.base.system()
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
        let Self { base, proposer, changer, .. } = self;
        match input {
            Input::Message { from, .. } if from == base.node() => return Err(Ignored::NotMember),
            Input::Message { from, message } => return self.on_message(from, message),
            Input::Signal(signal) => return self.on_signal(signal),
            Input::Command(Command::Change { key, id, change }) => proposer.on_change(base, &key, id, change),
            Input::Command(Command::Read { key, id }) => proposer.on_read(base, &key, id),
            Input::Command(Command::Resolve { key, id, trace }) => {
                proposer.on_resolve(base, &key, id, trace);
            }
            Input::Command(Command::ChangeRoles { id, change }) => changer.on_command(base, proposer, id, &change),
            Input::Completed { answer, .. } => match answer {},
        }
        Ok(())
    }

    /// First the checks for all messages, then the handler of each message.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        self.check_system(from, &message)?;
        let Self { base, acceptor, proposer, remover, changer, .. } = self;
        match message {
            // These come from nodes that have no role, or do not know it yet.
            Message::InForce { roles, .. } => return self.on_in_force(roles),
            Message::Probe { .. } => return self.on_probe(from),
            Message::Ready { .. } => {
                base.check_known(from)?;
                changer.on_ready(base, proposer, from);
                return Ok(());
            }
            _ if !base.in_force().contains(from) => return Err(Ignored::NotMember),
            _ => {}
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
            Message::List(message) => {
                changer.yield_to(base, from);
                acceptor.on_list(base, from, &message)
            }
            Message::Listed(message) => changer.on_listed(base, proposer, from, message),
            // Such a message from a node with this node's own roles has no meaning. Others were handled before.
            Message::OtherSystem { .. }
            | Message::Behind { .. }
            | Message::InForce { .. }
            | Message::Probe { .. }
            | Message::Ready { .. } => Err(Ignored::Unasked),
        }
    }

    /// Checks that a message is of this group, and was sent under the roles that are in force here. If not, one side
    /// tells the other what it does not know.
    fn check_system(&mut self, from: NodeId, message: &Message) -> Result<(), Ignored> {
        let base = &mut self.base;
        let own = base.system();
        if let Message::InForce { founding, .. } = message {
            let is_own = *founding == own.founding;
            return if is_own { Ok(()) } else { Err(base.on_other_system(from, message)) };
        }
        let Some(system) = message.system().filter(|system| *system != own) else { return Ok(()) };
        if system.founding != own.founding {
            return Err(base.on_other_system(from, message));
        }
        if system.epoch < own.epoch {
            let roles = base.in_force().clone();
            base.post(base.state_ticket(), from, Message::InForce { founding: own.founding, roles });
        } else if !matches!(message, Message::Behind { .. }) {
            base.post(quorate_protocol::Ticket(0), from, Message::Behind { system: own });
        }
        Err(Ignored::OtherEpoch)
    }

    /// Handles the question whether this node is there. The others may meet it only once it has a role.
    fn on_probe(&mut self, from: NodeId) -> Result<(), Ignored> {
        let base = &mut self.base;
        base.check_proposer(from)?;
        base.post(quorate_protocol::Ticket(0), from, Message::Ready { system: base.system() });
        Ok(())
    }

    /// Roles were chosen: they are in force here from now on.
    fn on_in_force(&mut self, newer: RolesInForce) -> Result<(), Ignored> {
        if newer.epoch() <= self.base.in_force().epoch() {
            return Err(Ignored::StaleAnswer);
        }
        if newer.encode().len() > ROLES_BYTES_MAX || !self.base.has_room_for(&newer) {
            return Err(Ignored::TooLarge);
        }
        let Self { base, proposer, remover, changer, .. } = self;
        base.adopt(newer);
        proposer.on_roles();
        remover.end();
        changer.on_adopted(base);
        base.chassis.outbox.event(Event::RolesInForce { epoch: base.in_force().epoch() });
        Ok(())
    }

    /// Roles were chosen in this node's own ballot: it tells all that have or had a role.
    fn on_chosen_roles(&mut self, newer: RolesInForce) {
        let mut members = self.base.in_force().members();
        members.extend(newer.members());
        let told = Message::InForce { founding: self.base.system().founding, roles: newer.clone() };
        let handled = self.on_in_force(newer);
        self.base.chassis.count(handled);
        members.remove(&self.base.node());
        for node in members {
            self.base.chassis.outbox.send(node, told.clone());
        }
    }

    /// Answers with an age under which all ballots are above the round. A repeated request does not raise it again.
    fn on_raise_age(&mut self, from: NodeId, message: RaiseAge) -> Result<(), Ignored> {
        let Self { base, proposer, remover, .. } = self;
        base.check_proposer(from)?;
        if !base.is_proposer() {
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
            Signal::PeerStanding { node, standing } => self.on_peer_standing(node, standing),
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
        let Self { base, acceptor, proposer, remover, changer, .. } = self;
        base.chassis.resume_due_writes();
        proposer.on_timeout(base);
        remover.on_timeout(base, acceptor, proposer);
        changer.on_timeout(base);
    }

    /// Applies a node's new standing. The answers of a node that no longer counts are dropped, and a node that counts
    /// again must answer again.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) {
        // Also of a node without a role: it may get one.
        if !self.base.chassis.set_standing(node, standing) {
            return;
        }
        if !self.base.is_counting() {
            self.remover.end();
        }
        self.proposer.on_standing(&self.base, node);
        self.hurry();
    }

    /// A node can be reached again: repetitions for it come soon.
    fn hurry(&mut self) {
        self.proposer.hurry(&mut self.base);
        self.remover.hurry(&mut self.base);
        self.changer.hurry(&self.base);
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
        let Self { base, acceptor, proposer, remover, copier, changer } = self;
        copier.pursue(base, &acceptor.table);
        remover.arm(base, acceptor);
        changer.arm(base);
        proposer.pursue(base);
        if base.state().is_erasing && acceptor.erase_some(base) {
            base.end_erasing();
        }
        self.settle();
    }

    /// Handles the messages of this node to itself, and what follows from them.
    fn settle(&mut self) {
        while !self.base.chassis.is_halted() {
            let spread = self.proposer.take_spread();
            if !spread.is_empty() {
                self.remover.on_spread(&mut self.base, spread);
            }
            self.pursue_change();
            let Some(message) = self.base.take_mail() else { break };
            let handled = self.on_message(self.base.node(), message);
            self.base.chassis.count(handled);
            // A job may have ended, and the next one begin.
            self.proposer.pursue(&mut self.base);
        }
        if self.base.chassis.is_halted() {
            self.proposer.on_halted();
            self.remover.end();
            self.changer.on_halted();
            self.base.drop_mail();
        }
    }

    /// Goes on with a change of the roles.
    fn pursue_change(&mut self) {
        let (moved, settled) = (self.proposer.take_moved(), self.proposer.take_settled());
        if moved.is_empty() && settled.is_empty() {
            return;
        }
        self.changer.on_moved(&mut self.base, &mut self.proposer, moved);
        for settled in settled {
            if let Some(newer) = self.changer.on_settled(&mut self.base, &mut self.proposer, settled) {
                self.on_chosen_roles(newer);
            }
        }
        self.proposer.pursue(&mut self.base);
    }
}

impl Command {
    /// The event that refuses this command.
    pub(super) fn refused(&self, reason: CommandRefusal) -> Event {
        match self {
            Self::Change { id, .. } => Event::Changed { id: *id, outcome: ChangeOutcome::NotTried(reason) },
            Self::Read { id, .. } => Event::Read { id: *id, outcome: ReadOutcome::Failed(reason) },
            Self::Resolve { id, .. } => Event::Resolved { id: *id, outcome: ResolveOutcome::Failed(reason) },
            Self::ChangeRoles { id, .. } => {
                let outcome = RolesOutcome::NotTried(RolesRefusal::Refused(reason));
                Event::RolesChanged { id: *id, outcome }
            }
        }
    }
}

/// Checks the key and the content of a message.
fn check_content(config: &Config, message: &Message) -> Result<(), Ignored> {
    let settings = config.settings();
    // The empty key is that of the register of the roles.
    let is_key = |key: &bytes::Bytes| key.len() <= settings.key_bytes_max;
    let are_keys = match message {
        Message::Remove(remove) => remove.deleted.iter().all(|(key, _)| is_key(key)),
        Message::List(list) => is_key(&list.after),
        Message::Listed(listed) => listed.keys.iter().all(is_key),
        _ => true,
    };
    if !are_keys {
        return Err(Ignored::Key);
    }
    let Some(key) = message.key() else { return Ok(()) };
    if !is_key(key) {
        return Err(Ignored::Key);
    }
    let Some(content) = message.content() else { return Ok(()) };
    let bytes_max = if key.is_empty() { ROLES_BYTES_MAX } else { settings.value_bytes_max };
    if content.value.as_ref().is_some_and(|value| value.len() > bytes_max) {
        return Err(Ignored::TooLarge);
    }
    if content.is_intact(key) { Ok(()) } else { Err(Ignored::Damaged) }
}
