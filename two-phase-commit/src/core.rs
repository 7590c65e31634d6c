//! The core: it takes every input and gives every output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_protocol::{
    HaltReason, Input, Instant, NodeId, Now, Outbox, OutboxLimits, Output, Protocol, Random, RecoverError, Recovery,
    Signal, Standing, StorageLevel, Ticket, View,
};

use crate::collection::Taken;
use crate::error::Ignored;
use crate::journal::Journal;
use crate::message::{Message, Stamp};
use crate::state::{Branch, Coordinated, Delegations, DurableState, Holdings, Known, Remembered, Tombstone};
use crate::timers::{Timer, Timers};
use crate::{Answer, Command, Config, Event, RefuseReason, Request, TransactionId, TransactionNumber, Unready};

/// One node's part in atomic commit: two-phase commit with presumed abort (Mohan, Lindsay, Obermarck, TODS 1986) as a
/// pure state machine. The node coordinates its own transactions and takes part in its own and in others'.
///
/// [`handle`](Protocol::handle) takes inputs, [`poll_output`](Protocol::poll_output) gives outputs, and
/// [`deadline`](Protocol::deadline) gives the time of the next [`Signal::Timeout`]. The crate's documentation describes
/// the loop around it.
#[derive(Clone, Debug)]
pub struct TwoPhaseCommit {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) now: Now,
    /// The newest state, written or included in the next write.
    pub(crate) state: DurableState,
    /// The write that raised the epoch. No message of this epoch leaves before it is durable.
    pub(crate) epoch_ticket: Ticket,
    /// The sequence number of the next transaction. Grows.
    pub(crate) next_sequence: u64,
    /// The unfinished transactions that this node coordinates.
    pub(crate) coordinated: BTreeMap<TransactionNumber, Coordinated>,
    /// Bytes of payloads in `coordinated`.
    pub(crate) coordinated_bytes: usize,
    /// The decisions in `coordinated` that are left to each participant. Participants without any are left out.
    pub(crate) delegations: BTreeMap<NodeId, Delegations>,
    /// Committed and finished transactions: the newest `outcomes_max` of them.
    pub(crate) remembered: BTreeMap<TransactionNumber, Remembered>,
    /// Branches at this node that are not settled. None of them has a tombstone.
    pub(crate) branches: BTreeMap<TransactionId, Branch>,
    /// Bytes of payloads in `branches`.
    pub(crate) branch_bytes: usize,
    /// The ends of branches, kept until their coordinator reports the transaction as finished.
    pub(crate) tombstones: BTreeMap<TransactionId, Tombstone>,
    /// The resources that each coordinator's branches and tombstones hold. Coordinators without any are left out.
    pub(crate) holdings: BTreeMap<NodeId, Holdings>,
    /// The last stamp of each coordinator, this node included. At most
    /// [`COORDINATORS_MAX`](crate::state::COORDINATORS_MAX).
    pub(crate) known: BTreeMap<NodeId, Known>,
    /// The last reported reason why branches are not accepted at present.
    pub(crate) unready: Option<Unready>,
    /// The open requests to the application, and the transaction of each.
    pub(crate) requests: BTreeMap<Ticket, TransactionId>,
    /// Branches that were in doubt at the start and do not have their locks back yet.
    pub(crate) recovering: BTreeSet<TransactionId>,
    /// Those of them for which the application has not answered yet. Until it has answered for all, it gets no new
    /// branch.
    pub(crate) unheard: BTreeSet<TransactionId>,
    /// The standing of each node. A node without an entry is a stranger.
    pub(crate) standings: BTreeMap<NodeId, Standing>,
    pub(crate) storage: StorageLevel,
    pub(crate) journal: Journal,
    pub(crate) timers: Timers,
    /// Number of times in a row that coordinators were asked in vain which outcomes may be dropped.
    pub(crate) collect_attempt: u32,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) ignored: BTreeMap<Ignored, u64>,
    pub(crate) outbox: Outbox<Self>,
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
        let settings = config.settings();
        let limits =
            OutboxLimits { held_messages_max: settings.held_messages_max, write_bytes_max: settings.write_bytes_max };
        let mut core = Self {
            random: Random::new(config.seed()),
            config,
            now,
            state: DurableState::default(),
            epoch_ticket: Ticket(0),
            next_sequence: 1,
            coordinated: BTreeMap::new(),
            coordinated_bytes: 0,
            delegations: BTreeMap::new(),
            remembered: BTreeMap::new(),
            branches: BTreeMap::new(),
            branch_bytes: 0,
            tombstones: BTreeMap::new(),
            holdings: BTreeMap::new(),
            known: BTreeMap::new(),
            unready: None,
            requests: BTreeMap::new(),
            recovering: BTreeSet::new(),
            unheard: BTreeSet::new(),
            standings: BTreeMap::new(),
            storage: StorageLevel::Enough,
            journal: Journal::default(),
            timers: Timers::default(),
            collect_attempt: 0,
            halted: None,
            ignored: BTreeMap::new(),
            outbox: Outbox::new(limits),
        };
        core.adopt(recovery)?;
        core.begin_epoch()?;
        Ok(core)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.now = Now { instant: self.now.instant.max(now.instant), wall_ms: now.wall_ms };
        let handled = if self.halted.is_some() { self.on_input_halted(input) } else { self.on_input(input) };
        self.count(handled);
    }

    /// Messages of a node to itself do not leave, because it coordinates and takes part in one core.
    fn poll_output(&mut self) -> Option<Output<Self>> {
        loop {
            match self.outbox.poll()? {
                Output::Send { to, message } if to == self.config.node() => {
                    let handled = self.on_message(to, message);
                    self.count(handled);
                }
                output => return Some(output),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.halted.is_some() { None } else { self.timers.next() }
    }

    fn model_view(&self) -> View {
        self.view()
    }

    fn check_invariants(&self) {
        self.check_own_laws();
    }
}

impl TwoPhaseCommit {
    fn on_input(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        match input {
            Input::Message { from, message } if from != self.config.node() => self.on_message(from, message),
            Input::Message { .. } => Err(Ignored::Absurd),
            Input::Command(command) => self.on_command(command),
            Input::Completed { ticket, answer } => self.on_completed(ticket, answer),
            Input::Signal(signal) => self.on_signal(&signal),
        }
    }

    fn on_signal(&mut self, signal: &Signal) -> Result<(), Ignored> {
        match *signal {
            Signal::Timeout => self.on_timeout(),
            Signal::PeerStanding { node, standing } => self.on_peer_standing(node, standing),
            Signal::Storage(level) => self.storage = level,
            Signal::CompactRequested => self.checkpoint(),
            Signal::Persisted(ticket) => self.on_persisted(ticket),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            // Repetitions have timers of their own, and this core never loads anything.
            Signal::PeerAlive(_) | Signal::Unreachable(_) | Signal::Loaded { .. } => {}
        }
        Ok(())
    }

    /// A stopped group only answers its own application.
    fn on_input_halted(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        if let Input::Command(command) = input {
            let reason = RefuseReason::Halted;
            self.outbox.event(Event::Refused { command: command.id(), reason });
        }
        Err(Ignored::Halted)
    }

    fn on_command(&mut self, command: Command) -> Result<(), Ignored> {
        let id = command.id();
        let taken = match command {
            Command::Begin { command } => self.on_begin(command),
            Command::Commit { transaction, branches, .. } => self.on_commit(transaction, branches),
            Command::Abort { transaction, .. } => self.on_abort(transaction),
            Command::Query { command, transaction } => self.on_query(command, transaction),
            Command::Enlist { transaction, .. } => self.on_enlist(transaction),
            Command::Forget { command, node } => self.on_forget(command, node),
        };
        taken.map_err(|reason| {
            self.outbox.event(Event::Refused { command: id, reason });
            Ignored::Refused
        })
    }

    /// First the checks for every message: its sender, and the owner of its transaction.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        self.check_standing(self.config.node()).map_err(|_| Ignored::NotIntroduced)?;
        self.check_standing(from)?;
        if self.is_forgotten(from) {
            return Err(Ignored::Forgotten);
        }
        if let Some((transaction, stamp)) = message.of_coordinator() {
            if transaction.is_some_and(|transaction| transaction.coordinator != from) {
                return Err(Ignored::NotCoordinator);
            }
            if transaction.is_some_and(|transaction| transaction.number.epoch > stamp.epoch) {
                return Err(Ignored::Absurd);
            }
            if self.on_stamp(from, stamp)? == Taken::NoRoom {
                return self.refuse(from, transaction, Unready::Coordinators);
            }
        }
        match message {
            Message::Prepare(prepare) => self.on_prepare(prepare),
            Message::Vote { transaction, vote } => self.on_vote(from, transaction, vote),
            Message::Decide(decide) => self.on_decide(decide.transaction, decide.decision),
            Message::Acknowledge { transaction, how } => self.on_acknowledge(from, transaction, how),
            Message::Inquire { transaction } if transaction.coordinator == self.config.node() => {
                self.on_inquire(from, transaction.number)
            }
            Message::Inquire { transaction } => self.on_peer_inquire(from, transaction),
            Message::Presume { transaction, .. } => self.on_presume(transaction),
            Message::Outcome { transaction, decision } if transaction.coordinator == self.config.node() => {
                self.on_outcome(from, transaction.number, decision)
            }
            Message::Outcome { transaction, decision } => self.on_peer_outcome(from, transaction, decision),
            Message::CommitOnePhase(request) => self.on_commit_one_phase(request),
            Message::InquireFinished => {
                self.tell_finished(from);
                Ok(())
            }
            Message::Finished(finished) => self.on_finished(from, finished),
            Message::Unready { transaction, why } => self.on_unready(from, transaction, why),
        }
    }

    fn on_timeout(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now.instant) {
            match timer {
                Timer::Coordinated(number) => self.on_coordinated_timeout(number),
                Timer::Branch(transaction) => self.on_branch_timeout(transaction),
                Timer::Lazy => {
                    self.flush();
                }
                Timer::Rewrite => self.outbox.resume_writes(),
                Timer::Collect => self.on_collect_timeout(),
            }
        }
    }

    /// A peer that is introduced is told the current epoch at once, so that it takes up nothing of an earlier one.
    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) {
        let before = self.standings.insert(node, standing);
        if before == Some(standing) {
            return;
        }
        match standing {
            Standing::Stranger => self.forget_votes(node),
            Standing::Member => self.tell_finished(node),
        }
    }

    /// Sends a message. Every message states at least the epoch, and therefore waits for its write.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.send_after(self.epoch_ticket, to, message);
    }

    /// The stamp of this node as a coordinator.
    pub(crate) fn stamp(&self) -> Stamp {
        let unfinished = self.coordinated.keys().next().copied();
        Stamp { epoch: self.state.epoch, finished_below: unfinished.unwrap_or_else(|| self.next_number()) }
    }

    /// The number of the next transaction.
    pub(crate) fn next_number(&self) -> TransactionNumber {
        TransactionNumber { epoch: self.state.epoch, sequence: self.next_sequence }
    }

    /// The id of a transaction that this node coordinates.
    pub(crate) fn id_of(&self, number: TransactionNumber) -> TransactionId {
        TransactionId { coordinator: self.config.node(), number }
    }

    pub(crate) fn check_standing(&self, node: NodeId) -> Result<(), Ignored> {
        match self.standings.get(&node) {
            Some(Standing::Member) => Ok(()),
            _ => Err(Ignored::Stranger),
        }
    }

    /// Time of the next attempt after `attempt` earlier ones: the wait doubles each time, up to a limit, and is
    /// jittered by half.
    pub(crate) fn retry_at(&mut self, attempt: u32) -> Instant {
        let settings = self.config.settings();
        let doubled = settings.retry_min.saturating_mul(1 << attempt.min(16));
        let wait = u64::try_from(doubled.min(settings.retry_max).as_nanos()).unwrap_or(u64::MAX / 2);
        let jittered = self.random.between(wait / 2, wait) + 1;
        self.now.instant.after(Duration::from_nanos(jittered))
    }

    /// Stops this group on this node. Outputs that are ready for the application still leave; held outputs do not.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        let ready: Vec<Output<Self>> = std::iter::from_fn(|| self.outbox.poll()).collect();
        self.outbox.poison();
        for output in ready.into_iter().filter(|output| matches!(output, Output::Event(_))) {
            self.outbox.push(output);
        }
        self.outbox.push(Output::Halt { reason: reason.clone() });
        self.halted = Some(reason);
    }

    fn count(&mut self, handled: Result<(), Ignored>) {
        if let Err(ignored) = handled {
            *self.ignored.entry(ignored).or_default() += 1;
        }
    }
}
