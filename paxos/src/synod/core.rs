//! The core: it takes every input and gives every output.

use quorate_protocol::{
    FailedWrite, Input, Instant, NodeId, Now, Output, PersistFailure, Protocol, RecoverError, Recovery, Signal,
    Standing, Ticket, View, ViewWriter,
};

use super::acceptor::Acceptor;
use super::base::Base;
use super::codec::decode_state;
use super::learner::Learner;
use super::proposer::Proposer;
use super::reader::Reader;
use super::state::Found;
use super::{
    Command, CommandRefusal, Config, DecisionObstacle, Event, Ignored, Message, ProposalOutcome, ReadOutcome, Status,
};
use crate::QuorumSystem;

/// One node's part in one decision: Paxos (Lamport, Paxos Made Simple, 2001) as a pure state machine.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The crate's documentation describes
/// the loop around it.
#[derive(Clone, Debug)]
pub struct Synod {
    pub(super) base: Base,
    pub(super) acceptor: Acceptor,
    pub(super) proposer: Proposer,
    pub(super) reader: Reader,
    pub(super) learner: Learner,
    /// True if everything must be written again, because the log asked to be compacted.
    is_rewrite_wanted: bool,
}

impl Protocol for Synod {
    type Config = Config;
    type Message = Message;
    type Command = Command;
    type Event = Event;
    /// This core makes no requests.
    type Request = std::convert::Infallible;
    type Answer = std::convert::Infallible;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let found = Found::read(&config, recovery)?;
        let mut base = Base::new(now, config);
        let learner = Learner::new(&mut base, found.chosen);
        let mut acceptor = Acceptor::new(found.state, found.accepted);
        if learner.chosen().is_none() {
            acceptor.arm_settling(&mut base);
        }
        let (proposer, reader) = (Proposer::default(), Reader::default());
        Ok(Self { base, acceptor, proposer, reader, learner, is_rewrite_wanted: false })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.base.chassis.begin(now);
        let handled = if self.base.chassis.is_halted() { self.on_input_halted(&input) } else { self.on_input(input) };
        self.base.chassis.count(handled);
        self.conclude();
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        if self.base.chassis.take_dirty() {
            self.flush();
        }
        self.base.chassis.outbox.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        self.base.chassis.deadline(self.times())
    }

    /// Not included are the random generator, the lengths of future waits and the counters for operators.
    fn model_view(&self) -> View {
        let chassis = &self.base.chassis;
        let times = self.times().chain(chassis.rewrite_at());
        let tickets = self.proposer.tickets().chain(self.acceptor.tickets()).chain([self.learner.chosen_ticket()]);
        let mut writer = ViewWriter::new(chassis.instant(), times, &chassis.outbox, tickets, []);
        self.base.view(&mut writer);
        self.acceptor.view(&mut writer);
        self.proposer.view(&mut writer);
        self.reader.view(&mut writer);
        self.learner.view(&mut writer);
        writer.put(&self.is_rewrite_wanted);
        writer.finish()
    }

    fn check_invariants(&self) {
        let queued = self.base.chassis.outbox.queued_writes().count();
        assert!(queued <= QUEUED_MAX, "writes that wait for the log are bounded: {queued}");
        self.acceptor.check_invariants(&self.learner);
        self.proposer.check_invariants(&self.base, &self.acceptor, &self.learner);
        self.reader.check_invariants(&self.base, &self.learner);
        self.learner.check_invariants();
    }
}

impl Synod {
    /// The quorum system with which the group was founded, which it keeps for ever; `None` if nothing was written yet.
    ///
    /// # Errors
    /// When the state record cannot be decoded.
    pub fn founded(recovery: &Recovery) -> Result<Option<QuorumSystem>, RecoverError> {
        let founded = recovery.state.as_ref().map(decode_state).transpose();
        Ok(founded.map_err(RecoverError::State)?.map(|(quorums, _)| quorums))
    }

    /// The configuration of this node.
    pub fn config(&self) -> &Config {
        &self.base.config
    }

    /// The state of this node.
    pub fn status(&self) -> Status {
        Status::of(self)
    }

    /// The obstacles to this node's part in the decision, the most important first. Without obstacles, it proposes and
    /// answers, or knows the chosen value.
    pub fn explain(&self) -> Vec<DecisionObstacle> {
        DecisionObstacle::all_of(self)
    }

    /// The write that was handed out and is not durable yet.
    #[cfg(feature = "testing")]
    pub fn write_in_flight(&self) -> Option<Ticket> {
        self.base.chassis.outbox.in_flight()
    }

    /// The start and the number of the current round of queries.
    #[cfg(feature = "testing")]
    pub fn question(&self) -> Option<(u64, u64)> {
        self.reader.round_number().map(|number| (self.base.config.seed(), number))
    }

    fn on_input(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        let Self { base, acceptor, proposer, reader, learner, .. } = self;
        match input {
            Input::Message { from, message } => return self.on_message(from, message),
            Input::Signal(signal) => return self.on_signal(&signal),
            Input::Command(Command::Propose(proposal)) => {
                proposer.on_propose(base, acceptor, reader, learner, proposal);
            }
            Input::Command(Command::Read { id }) => reader.on_read(base, learner, proposer, id),
            Input::Completed { answer, .. } => match answer {},
        }
        Ok(())
    }

    /// First the checks for all messages, then the handler of each message.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        let Self { base, acceptor, proposer, reader, learner, .. } = self;
        if message.system().is_some_and(|system| system != base.config.system()) {
            return Err(base.on_other_system(from, &message));
        }
        if from == base.config.node() || !base.config.group().contains(from) {
            return Err(Ignored::NotMember);
        }
        if let Some(proposal) = message.proposal() {
            if proposal.value.len() > base.config.settings().value_bytes_max {
                return Err(Ignored::TooLarge);
            }
            if !proposal.is_intact() {
                return Err(Ignored::Damaged);
            }
        }
        match message {
            Message::Prepare(message) => acceptor.on_prepare(base, learner, from, message),
            Message::Accept(message) => acceptor.on_accept(base, learner, from, message),
            Message::Query(message) => acceptor.on_query(base, learner, from, message),
            Message::Promise(message) => proposer.on_promise(base, acceptor, reader, from, message),
            Message::Accepted(message) => proposer.on_accepted(base, from, message),
            Message::Nack(message) => proposer.on_nack(base, acceptor, reader, from, message),
            Message::Report(message) => reader.on_report(base, acceptor, from, message),
            Message::Chosen(message) => learner.on_chosen(base, from, message),
            Message::Announce => learner.on_announce(base, from),
            Message::Known => learner.on_known(from),
            Message::Inquire => learner.on_inquire(base, acceptor, from),
            // Such a message from a node with this node's own system has no meaning.
            Message::OtherSystem { .. } => Err(Ignored::Unasked),
        }
    }

    fn on_signal(&mut self, signal: &Signal) -> Result<(), Ignored> {
        match *signal {
            Signal::PeerStanding { node, standing } => return self.on_peer_standing(node, standing),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            Signal::Unreachable(peer) => return self.base.on_unreachable(peer),
            Signal::Loaded { .. } => return Err(Ignored::Unasked),
            Signal::Timeout => self.on_timeout(),
            Signal::Persisted(ticket) => self.on_persisted(ticket),
            Signal::PeerAlive(peer) if self.base.note_heard(peer) => self.hurry_for(peer),
            Signal::PeerAlive(_) | Signal::PeerSilent { .. } => {}
            Signal::CompactRequested => self.is_rewrite_wanted = true,
            Signal::Storage(level) => {
                self.base.chassis.set_storage(level);
            }
        }
        Ok(())
    }

    /// A stopped group only answers its own application.
    fn on_input_halted(&mut self, input: &Input<Self>) -> Result<(), Ignored> {
        let outbox = &mut self.base.chassis.outbox;
        match input {
            Input::Command(Command::Propose(proposal)) => {
                outbox.event(proposal.ended(ProposalOutcome::NotTried(CommandRefusal::Halted)));
            }
            Input::Command(Command::Read { id }) => {
                outbox.event(Event::Read { id: *id, outcome: ReadOutcome::Failed(CommandRefusal::Halted) });
            }
            _ => {}
        }
        Err(Ignored::Halted)
    }

    fn on_timeout(&mut self) {
        let Self { base, acceptor, proposer, reader, learner, .. } = self;
        base.chassis.resume_due_writes();
        proposer.expire(base, acceptor);
        reader.expire(base);
        acceptor.settle_due(base);
        learner.announce_due(base);
        proposer.ask_due(base, acceptor, reader);
        reader.repeat_due(base);
        proposer.end_rest_due(base);
    }

    /// Applies a node's new standing. The answers of a node that no longer counts are dropped, and a node that counts
    /// again must answer again.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) -> Result<(), Ignored> {
        let Self { base, acceptor, proposer, reader, learner, .. } = self;
        if !base.config.group().contains(node) {
            return Err(Ignored::NotMember);
        }
        if !base.chassis.set_standing(node, standing) {
            return Ok(());
        }
        reader.on_standing(base, node);
        proposer.on_standing(base, node);
        if node != base.config.node() {
            learner.on_standing(base, node);
            self.hurry_for(node);
        } else if learner.chosen().is_none() {
            acceptor.on_own_standing(base);
        }
        Ok(())
    }

    /// A node can be reached again: repetitions for it come soon.
    fn hurry_for(&mut self, node: NodeId) {
        self.learner.hurry_for(&mut self.base, node);
        self.acceptor.hurry_settling(&mut self.base);
        self.proposer.hurry(&mut self.base);
    }

    fn on_persisted(&mut self, ticket: Ticket) {
        self.base.chassis.outbox.persisted(ticket);
        self.proposer.on_persisted(&mut self.base, &mut self.acceptor, &self.reader);
        self.tell();
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
        if self.learner.durable(&self.base).is_none() {
            // The next write may hold less than these messages state. They will be asked for again.
            let is_of_chosen =
                |message: &Message| matches!(message, Message::Chosen(_) | Message::Known | Message::Announce);
            self.base.chassis.outbox.drop_held(|_, message| is_of_chosen(message));
        }
        self.write_all_again();
        Err(Ignored::LogRefuses)
    }

    /// Writes everything that this node holds again, in place of earlier writes.
    fn write_all_again(&mut self) {
        self.acceptor.persist(&mut self.base);
        self.learner.persist(&mut self.base);
    }

    /// Acts on the inputs since the last poll.
    fn flush(&mut self) {
        if self.base.chassis.outbox.queued_writes().next().is_none() && std::mem::take(&mut self.is_rewrite_wanted) {
            self.write_all_again();
        }
        self.tell();
        if self.learner.chosen().is_none() {
            self.proposer.pursue(&mut self.base, &mut self.acceptor, &self.reader);
            self.reader.pursue(&mut self.base, &self.acceptor);
        }
        self.conclude();
    }

    /// Learns the proposal that the answers to this node show to be chosen. Nothing is proposed, asked for or settled
    /// once the chosen proposal is known, or once the group has stopped.
    fn conclude(&mut self) {
        let quorums = self.base.config.group().quorums();
        if let Some(proposal) = self.proposer.chosen(quorums).cloned() {
            self.learner.learn_first(&mut self.base, proposal);
        } else if let Some(proposal) = self.reader.chosen(quorums).cloned() {
            self.learner.learn(&mut self.base, proposal);
        }
        if self.learner.chosen().is_some() {
            self.proposer.on_chosen_known();
            self.reader.end_queries();
            self.acceptor.on_chosen_known();
        }
        if self.base.chassis.is_halted() {
            self.proposer.on_halted();
            self.reader.on_halted();
        }
    }

    /// Tells the application the chosen proposal, once it is durable, and answers every command.
    fn tell(&mut self) {
        if let Some(chosen) = self.learner.tell(&mut self.base) {
            self.proposer.tell(&mut self.base, &chosen);
            self.reader.tell(&mut self.base, &chosen);
        }
    }

    /// The deadlines of all roles.
    fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let rare = self.acceptor.deadline().into_iter().chain(self.learner.deadline());
        rare.chain(self.proposer.times()).chain(self.reader.times())
    }
}

/// The writes that a peer may cause, the node's own acceptance, the decision, and everything written again.
const QUEUED_MAX: usize = 6;
