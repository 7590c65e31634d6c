//! The core: it takes every input and gives every output.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_protocol::{
    HaltReason, Input, Instant, LogIndex, NodeId, Now, Operation, Outbox, OutboxLimits, Output, PersistFailure,
    Protocol, Random, RecoverError, Recovery, Signal, Standing, StorageLevel, Ticket,
};

use super::codec::{
    ACCEPTED_KEY, CHOSEN_KEY, RECORDS_OVERHEAD_BYTES, decode_accepted, decode_chosen, decode_state, encode_accepted,
    encode_chosen, encode_state,
};
use super::config::MEMBERS_MAX;
use super::state::{AcceptedValue, Attempt, DurableState, ReadRound, WaitingProposal, WaitingRead};
use super::view::View;
use super::{Command, Config, Event, Ignored, Message, Outcome, Proposal, ReadOutcome, RefuseReason};
use crate::QuorumSystem;

/// One node's part in one decision: Paxos (Lamport, Paxos Made Simple, 2001) as a pure state machine.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The crate's documentation describes
/// the loop around it.
#[derive(Clone, Debug)]
pub struct Synod {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    /// The newest state, and the write that makes it durable.
    pub(crate) state: DurableState,
    pub(crate) state_ticket: Ticket,
    /// The proposal accepted last, and the write that makes it durable together with its promise.
    pub(crate) accepted: Option<AcceptedValue>,
    pub(crate) accepted_ticket: Ticket,
    /// The chosen proposal, and the write that makes it durable. Never changes.
    pub(crate) chosen: Option<Proposal>,
    pub(crate) chosen_ticket: Ticket,
    /// True once the application was told the chosen proposal.
    pub(crate) is_chosen_told: bool,
    /// Learners that have not confirmed that they know the chosen proposal, and the time at which they are told again.
    pub(crate) unaware: BTreeSet<NodeId>,
    pub(crate) announce_at: Option<Instant>,
    pub(crate) announcements: u32,
    /// This node's own ballot under way. `None` once a proposal is known to be chosen.
    pub(crate) attempt: Option<Attempt>,
    /// End of this proposer's pause after it was overtaken.
    pub(crate) rest_until: Option<Instant>,
    /// Number of times in a row that this proposer was overtaken.
    pub(crate) outrun: u32,
    /// The highest round that this node has seen. The next ballot is above it.
    pub(crate) round_seen: u64,
    /// Waiting proposals, the oldest first. The oldest is the one that is tried.
    pub(crate) proposals: VecDeque<WaitingProposal>,
    pub(crate) reads: VecDeque<WaitingRead>,
    /// The queries to acceptors that are under way for reads.
    pub(crate) read_round: Option<ReadRound>,
    /// Number of rounds of queries so far.
    pub(crate) read_rounds: u64,
    /// Number of rounds in a row without a conclusion.
    pub(crate) inconclusive: u32,
    /// The accepted proposal that a ballot must finish, because reads wait for it.
    pub(crate) read_newest: Option<AcceptedValue>,
    /// Time at which an accepted but undecided proposal must be settled.
    pub(crate) settle_at: Option<Instant>,
    /// Number of times in a row that proposers were asked to settle it.
    pub(crate) inquiries: u32,
    /// True if this proposer must find the chosen value although no command asks for it.
    pub(crate) is_settling: bool,
    /// The standing of each node. A node without an entry is a stranger.
    pub(crate) standings: BTreeMap<NodeId, Standing>,
    /// Nodes that could not be reached, and were not heard since.
    pub(crate) lost: BTreeSet<NodeId>,
    /// Nodes that were founded with another quorum system.
    pub(crate) foreign: BTreeSet<NodeId>,
    pub(crate) storage: StorageLevel,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) ignored: BTreeMap<Ignored, u64>,
    pub(crate) outbox: Outbox<Self>,
    /// Time at which a write that the log refused is written again.
    pub(crate) rewrite_at: Option<Instant>,
    /// True if a write was refused while others waited, so that everything must be written again.
    pub(crate) is_rewrite_wanted: bool,
    /// True if an input arrived since the last poll.
    is_dirty: bool,
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
        let settings = config.settings();
        let limits = OutboxLimits {
            held_messages_max: settings.held_messages_max,
            write_bytes_max: settings.value_bytes_max.saturating_add(WRITE_OVERHEAD_BYTES),
        };
        let mut core = Self {
            random: Random::new(config.seed()),
            now: now.instant,
            state: found.state,
            state_ticket: Ticket(0),
            accepted: found.accepted,
            accepted_ticket: Ticket(0),
            chosen: found.chosen,
            chosen_ticket: Ticket(0),
            is_chosen_told: false,
            unaware: BTreeSet::new(),
            announce_at: None,
            announcements: 0,
            attempt: None,
            rest_until: None,
            outrun: 0,
            round_seen: 0,
            proposals: VecDeque::new(),
            reads: VecDeque::new(),
            read_round: None,
            read_rounds: 0,
            inconclusive: 0,
            read_newest: None,
            settle_at: None,
            inquiries: 0,
            is_settling: false,
            standings: BTreeMap::new(),
            // No node was heard in this start yet.
            lost: config.group().members().filter(|node| *node != config.node()).collect(),
            foreign: BTreeSet::new(),
            storage: StorageLevel::Enough,
            halted: None,
            ignored: BTreeMap::new(),
            outbox: Outbox::new(limits),
            rewrite_at: None,
            is_rewrite_wanted: false,
            is_dirty: true,
            config,
        };
        if core.chosen.is_some() {
            core.announce_to_all();
        }
        core.arm_settling();
        Ok(core)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.now = self.now.max(now.instant);
        self.is_dirty = true;
        let handled = if self.halted.is_some() { self.on_input_halted(&input) } else { self.on_input(input) };
        if let Err(ignored) = handled {
            *self.ignored.entry(ignored).or_default() += 1;
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        if self.is_dirty {
            self.is_dirty = false;
            self.flush();
        }
        self.outbox.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.halted.is_some() {
            return None;
        }
        self.times().min()
    }

    fn model_view(&self) -> View {
        View::of(self)
    }

    fn check_invariants(&self) {
        self.check_own_laws();
    }
}

/// The content of the log.
struct Found {
    state: DurableState,
    accepted: Option<AcceptedValue>,
    chosen: Option<Proposal>,
}

impl Found {
    fn read(config: &Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut found = Self { state: DurableState::default(), accepted: None, chosen: None };
        if let Some(bytes) = &recovery.state {
            let (quorums, state) = decode_state(bytes).map_err(RecoverError::State)?;
            if quorums != *config.group().quorums() {
                return Err(RecoverError::Inconsistent("the quorum system is another than the group was founded with"));
            }
            found.state = state;
        }
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            match key {
                ACCEPTED_KEY => found.accepted = Some(decode_accepted(&bytes).map_err(RecoverError::State)?),
                CHOSEN_KEY => found.chosen = Some(decode_chosen(&bytes).map_err(RecoverError::State)?),
                _ => return Err(RecoverError::Inconsistent("the journal has a key that no release writes")),
            }
        }
        if found.accepted.as_ref().is_some_and(|accepted| accepted.ballot > found.state.promised) {
            return Err(RecoverError::Inconsistent("a ballot was accepted above the one that was promised"));
        }
        Ok(found)
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

    fn on_input(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        match input {
            Input::Message { from, message } => return self.on_message(from, message),
            Input::Command(Command::Propose(proposal)) => self.on_propose(proposal),
            Input::Command(Command::Read { id }) => self.on_read(id),
            Input::Completed { answer, .. } => match answer {},
            Input::Signal(signal) => return self.on_signal(signal),
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: Signal) -> Result<(), Ignored> {
        match signal {
            Signal::Timeout => self.on_timeout(),
            Signal::PeerStanding { node, standing } => return self.on_peer_standing(node, standing),
            Signal::Storage(level) => self.storage = level,
            Signal::CompactRequested => self.is_rewrite_wanted = true,
            Signal::Persisted(ticket) => self.on_persisted(ticket),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            Signal::PeerAlive(peer) => self.on_peer_alive(peer),
            Signal::Unreachable(peer) => return self.on_unreachable(peer),
            Signal::Loaded { .. } => return Err(Ignored::Unasked),
        }
        Ok(())
    }

    /// A stopped group only answers its own application.
    fn on_input_halted(&mut self, input: &Input<Self>) -> Result<(), Ignored> {
        match input {
            Input::Command(Command::Propose(Proposal { id, checksum, .. })) => {
                let outcome = Outcome::NotTried(RefuseReason::Halted);
                self.outbox.event(Event::Proposed { id: *id, checksum: *checksum, outcome });
            }
            Input::Command(Command::Read { id }) => {
                self.outbox.event(Event::Read { id: *id, outcome: ReadOutcome::Failed(RefuseReason::Halted) });
            }
            _ => {}
        }
        Err(Ignored::Halted)
    }

    /// First the checks for all messages, then the handler of each message.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        if message.system().is_some_and(|system| system != self.config.system()) {
            return Err(self.on_other_system(from, &message));
        }
        if from == self.config.node() || !self.config.group().contains(from) {
            return Err(Ignored::NotMember);
        }
        if let Some(proposal) = message.proposal() {
            if proposal.value.len() > self.config.settings().value_bytes_max {
                return Err(Ignored::TooLarge);
            }
            if !proposal.is_intact() {
                return Err(Ignored::Damaged);
            }
        }
        match message {
            Message::Prepare(message) => self.on_prepare(from, message),
            Message::Accept(message) => self.on_accept(from, message),
            Message::Promise(message) => self.on_promise(from, message),
            Message::Accepted(message) => self.on_accepted(from, message),
            Message::Nack(message) => self.on_nack(from, message),
            Message::Chosen(message) => self.on_chosen(from, message),
            Message::Announce => self.on_announce(from),
            Message::Known => self.on_known(from),
            Message::Inquire => self.on_inquire(from),
            Message::Query(message) => self.on_query(from, message),
            Message::Report(message) => self.on_report(from, message),
            // Such a message from a node with this node's own system has no meaning.
            Message::OtherSystem { .. } => Err(Ignored::Unasked),
        }
    }

    /// Handles a message of a node that was founded with another quorum system. Both sides learn of the difference.
    fn on_other_system(&mut self, from: NodeId, message: &Message) -> Ignored {
        if self.foreign.len() < MEMBERS_MAX {
            self.foreign.insert(from);
        }
        if !matches!(message, Message::OtherSystem { .. }) && from != self.config.node() {
            self.outbox.send(from, Message::OtherSystem { system: self.config.system() });
        }
        Ignored::OtherSystem
    }

    fn on_timeout(&mut self) {
        if self.take_due(|core| &mut core.rewrite_at) {
            self.outbox.resume_writes();
        }
        self.expire_commands();
        if self.take_due(|core| &mut core.settle_at) {
            self.settle();
        }
        if self.take_due(|core| &mut core.announce_at) {
            self.announce();
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.retry_at <= self.now) {
            self.ask_again();
        }
        if self.read_round.as_ref().is_some_and(|round| round.retry_at <= self.now) {
            self.repeat_read_round();
        }
        self.take_due(|core| &mut core.rest_until);
    }

    /// True if this time has come. It is then cleared.
    fn take_due(&mut self, at: impl Fn(&mut Self) -> &mut Option<Instant>) -> bool {
        let now = self.now;
        at(self).take_if(|at| *at <= now).is_some()
    }

    /// Applies a node's new standing. The answers of a node that no longer counts are dropped, and a node that counts
    /// again must answer again.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) -> Result<(), Ignored> {
        if !self.config.group().contains(node) {
            return Err(Ignored::NotMember);
        }
        if self.standings.insert(node, standing) == Some(standing) {
            return Ok(());
        }
        if let Some(round) = &mut self.read_round {
            round.answered.remove(&node);
        }
        if node == self.config.node() {
            if standing == Standing::Stranger {
                self.attempt = None;
                self.read_newest = None;
                self.is_settling = false;
            }
            self.inquiries = 0;
            self.arm_settling();
            return Ok(());
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.answered.remove(&node);
            attempt.refused.remove(&node);
        }
        if self.chosen.is_some() && self.config.group().learners().contains(&node) {
            // Under another incarnation it may have forgotten what it confirmed.
            self.unaware.insert(node);
            self.announcements = 0;
            self.arm_announcement();
        }
        self.hurry_for(node);
        Ok(())
    }

    fn on_persisted(&mut self, ticket: Ticket) {
        self.outbox.persisted(ticket);
        self.count_own_answer();
        self.tell();
    }

    /// Handles a failed write. If it was certainly not written, the current content is written again after a while, and
    /// no output that depends on it leaves before. After any other failure the state of the disk is unknown, and the
    /// group halts.
    fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        if failure != PersistFailure::NotWritten {
            self.halt(HaltReason::LogFailed(failure));
            return Err(Ignored::Halted);
        }
        if self.outbox.in_flight() != Some(ticket) {
            return Err(Ignored::StaleAnswer);
        }
        self.outbox.refused();
        if !self.is_chosen_durable() {
            // The next write may hold less than these messages state. They will be asked for again.
            self.outbox
                .drop_held(|_, message| matches!(message, Message::Chosen(_) | Message::Known | Message::Announce));
        }
        self.write_all_again();
        self.rewrite_at = Some(self.now.after(self.config.settings().retry_interval_min));
        Err(Ignored::LogRefuses)
    }

    /// Acts on the inputs since the last poll.
    fn flush(&mut self) {
        if self.halted.is_some() {
            return;
        }
        if self.outbox.queued_writes().next().is_none() && std::mem::take(&mut self.is_rewrite_wanted) {
            self.write_all_again();
        }
        self.tell();
        self.pursue();
        self.pursue_reads();
    }

    /// Makes the state durable. Outputs that state it are held until then.
    pub(crate) fn persist_state(&mut self) {
        self.state_ticket = self.outbox.persist([self.put_state()]);
    }

    /// Makes the accepted proposal durable, in one write with its promise.
    pub(crate) fn persist_accepted(&mut self) {
        let record = self.accepted.as_ref().map(encode_accepted);
        let journal = record.map(|bytes| Operation::Journal { key: ACCEPTED_KEY, bytes });
        self.accepted_ticket = self.outbox.persist([self.put_state()].into_iter().chain(journal));
        self.state_ticket = self.accepted_ticket;
    }

    /// Makes the chosen proposal durable.
    pub(crate) fn persist_chosen(&mut self) {
        let record = self.chosen.as_ref().map(encode_chosen);
        let journal = record.map(|bytes| Operation::Journal { key: CHOSEN_KEY, bytes });
        self.chosen_ticket = self.outbox.persist(journal);
    }

    fn put_state(&self) -> Operation {
        Operation::PutState { bytes: encode_state(self.config.quorums(), &self.state), commit_hint: LogIndex::ZERO }
    }

    /// Writes everything that this node holds again, in place of earlier writes.
    fn write_all_again(&mut self) {
        self.persist_accepted();
        if self.chosen.is_some() {
            self.persist_chosen();
        }
    }

    /// True if this node may promise, accept and propose.
    pub(crate) fn is_counting(&self) -> bool {
        self.standing(self.config.node()) == Standing::Member
    }

    /// The standing of a node.
    pub(crate) fn standing(&self, node: NodeId) -> Standing {
        self.standings.get(&node).copied().unwrap_or_default()
    }

    /// All deadlines of this node.
    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let retry_at = self.attempt.as_ref().map(|attempt| attempt.retry_at);
        let read_at = self.read_round.as_ref().map(|round| round.retry_at);
        let rare = [self.rewrite_at, self.announce_at, self.settle_at, self.rest_until, retry_at, read_at];
        let commands = self.proposals.iter().map(|waiting| waiting.until);
        let reads = self.reads.iter().map(|waiting| waiting.until);
        rare.into_iter().flatten().chain(commands).chain(reads)
    }

    /// Stops this group on this node. No held output leaves any more.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.outbox.poison();
        self.outbox.push(Output::Halt { reason: reason.clone() });
        self.attempt = None;
        self.proposals.clear();
        self.reads.clear();
        self.forget_reads();
        self.halted = Some(reason);
    }
}

/// Room for the state record, and for the headers of both records, besides a value.
const WRITE_OVERHEAD_BYTES: usize = 512 + RECORDS_OVERHEAD_BYTES;
