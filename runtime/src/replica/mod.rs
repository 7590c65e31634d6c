//! A state machine on a replicated log: one member of a group of replicas. The member is itself a pure state
//! machine.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate_protocol::{
    Entry, GroupId, HaltReason, Input, Instant, LogCommand, LogEvent, LogIndex, LogRequest, LogTime, NodeId, Now,
    Output, RecoverError, Recovery, ReplicatedLog, SessionId, Signal, StorageLevel, Term, Ticket,
};
use quorate_transport::{ChannelId, Received, codec};

use crate::group::hostable::Hostable;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::notice::Notice;
use crate::group::outcome::{ReadError, TransferError};
use crate::group::reply::Reply;
use crate::metrics::MetricKind;
use crate::panics::panic_message;

mod apply;
pub(crate) mod catch_up;
mod context;
pub(crate) mod explain;
mod forwards;
mod hand_over;
mod message;
mod peers;
mod proposals;
pub(crate) mod propose;
mod reads;
pub(crate) mod sessions;
pub(crate) mod settings;
mod sizes;
mod snapshots;
pub(crate) mod state_machine;
pub(crate) mod status;
mod ticks;
mod transfer;
pub(crate) mod typed;

pub use catch_up::CatchUp;
pub use explain::{EntryState, Obstacle};
pub use propose::{Delivery, ProposeOptions};
pub use sessions::{SESSION_RESPONSE_BYTES_MAX, SESSION_WINDOW};
pub use settings::{ReplicaSettings, ReplicaSettingsError};
pub use state_machine::{ApplyContext, StateMachine};
pub use status::{ReplicaCounters, ReplicaStatus, TransferProgress};
pub use typed::{Typed, TypedStateMachine};

use apply::{Applied, Budget};
use catch_up::CatchUpWatch;
use context::{Context, Leadership};
use forwards::Forwards;
use hand_over::HandOver;
use peers::Peers;
use proposals::Proposals;
use propose::Waiting;
use reads::Reads;
use sessions::Sessions;
use snapshots::Snapshots;
use ticks::Ticks;

/// The newest feature level that this binary supports. A committed entry that requires a higher one halts the group on
/// this node.
pub const FEATURE_LEVEL: u32 = 0;

/// A state machine `S` on a replicated log `L`: the member of a group on one node.
///
/// Pure, like its core: inputs and calls go in, [`GroupOutput`]s come out, and the answer to each caller is one of
/// them. It adds to the core the parts that each application would otherwise have to write: outcomes, sessions,
/// forwarding to the leader, reads, snapshots and their transfer, ticks.
///
/// Everything that waits here is bounded by [`ReplicaSettings`]. Calls beyond the bounds are refused as `Overloaded`.
pub struct Replica<L, S: StateMachine> {
    context: Context<L>,
    /// Entries up to here may be applied.
    committed: LogIndex,
    state: S,
    applied: Applied,
    sessions: Sessions,
    proposals: Proposals,
    /// Proposals that wait for a leader, oldest first. Those without a slot are skipped.
    waiting: VecDeque<Waiting>,
    forwards: Forwards,
    reads: Reads,
    snapshots: Snapshots,
    peers: Peers,
    ticks: Ticks,
    hand_over: HandOver,
    catch_up: CatchUpWatch,
    /// The next entries to apply, taken from the core or the disk.
    taken: VecDeque<(LogIndex, Term, Entry)>,
    /// A read of entries that are no longer in the core's cache.
    loading: Option<Ticket>,
    /// The time at which applying is retried after entries could not be read.
    load_retry_at: Option<Instant>,
    /// The work that may still be done in this turn.
    budget: Budget,
    storage: StorageLevel,
    /// Milliseconds by which the wall clock is ahead of log time, while the difference is too large.
    clock_differs: Option<i64>,
    halted: Option<HaltReason>,
}

/// The identity of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Its group.
    pub group: GroupId,
    /// Its node.
    pub node: NodeId,
    /// Name of the session for its proposals in this start of the node. The start counter is durable before the first
    /// proposal.
    pub session: SessionId,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Recovers a replica from the content of its log. `state` is the state machine before the first entry, or one that
    /// has stored its own state ([`StateMachine::applied`]). A newer snapshot replaces it.
    ///
    /// # Errors
    /// Those of the core, when the settings contradict each other, and when the state machine panics.
    pub fn recover(
        now: Now,
        seat: Seat,
        settings: ReplicaSettings,
        config: L::Config,
        recovery: Recovery,
        state: S,
    ) -> Result<Self, RecoverError> {
        settings.check().map_err(|error| RecoverError::Settings(error.to_string()))?;
        let state_index = catch_unwind(AssertUnwindSafe(|| state.applied()));
        let state_index = state_index.map_err(|panic| RecoverError::StateMachine(panic_message(&*panic)))?;
        let snapshot = recovery.snapshot.clone();
        let is_first = recovery.configurations.is_empty() && snapshot.is_none();
        let core = L::recover(now, config, recovery)?;
        let status = core.status();
        let mut applied = Applied::new(state_index);
        if is_first {
            applied.configuration = Some(status.configuration);
        }
        let mut replica = Self {
            committed: LogIndex::ZERO,
            state,
            applied,
            sessions: Sessions::default(),
            proposals: Proposals::new(),
            waiting: VecDeque::new(),
            forwards: Forwards::new(seat.group, seat.session),
            reads: Reads::default(),
            snapshots: Snapshots::default(),
            peers: Peers::default(),
            ticks: Ticks::default(),
            hand_over: HandOver::default(),
            catch_up: CatchUpWatch::default(),
            taken: VecDeque::new(),
            loading: None,
            load_retry_at: None,
            budget: Budget::new(&settings),
            storage: StorageLevel::Enough,
            clock_differs: None,
            halted: None,
            context: Context::new(now, seat, settings, core),
        };
        if let Some(snapshot) = snapshot {
            replica.restore(snapshot);
        }
        Ok(replica)
    }

    /// Returns the present state machine.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Returns the context of a read of the present state.
    pub fn read_context(&self) -> ReadContext {
        ReadContext {
            index: self.applied.index,
            log_time: self.applied.log_time,
            now: self.context.core.log_time(self.context.now()).max(self.applied.log_time),
            leader_heard: self.leader_heard(),
        }
    }

    /// As [`Replica::read_context`], with the clocks at `now`.
    pub fn read_context_at(&mut self, now: Now) -> ReadContext {
        self.set_now(now);
        self.read_context()
    }

    /// Starts a linearizable read. [`Reply::ReadReady`] comes out once the state machine has applied everything that
    /// was acknowledged by any node before `now`. Works on any replica. Reads that come between two turns share one
    /// round.
    pub fn read(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.set_now(now);
        if let Some(reason) = &self.halted {
            let failure = ReadError::Halted(reason.clone());
            return self.context.reply(call, Reply::ReadFailed(failure));
        }
        if self.hand_over.is_stopping() {
            return self.context.reply(call, Reply::ReadFailed(ReadError::ShuttingDown));
        }
        if self.reads.len() >= self.context.settings.reads_max {
            return self.context.reply(call, Reply::ReadFailed(ReadError::Overloaded));
        }
        self.reads.add(call, deadline);
    }

    /// Returns the index of the last entry that may be applied: committed, and durable on this node.
    pub fn committed(&self) -> LogIndex {
        self.committed
    }

    /// Returns the core for inspection.
    pub fn core(&self) -> &L {
        &self.context.core
    }

    /// Returns the identity of this replica.
    pub fn seat(&self) -> Seat {
        self.context.seat
    }

    fn on_frame(&mut self, received: Received) {
        let from = received.from;
        self.peers.on_heard(from.node, self.context.instant());
        let channel = received.frame.channel();
        let is_understood = match channel {
            ChannelId::REPLICA => match codec::decode(received.frame) {
                Ok(envelope) => {
                    self.on_envelope(from, envelope);
                    true
                }
                Err(_) => false,
            },
            ChannelId::SNAPSHOTS => match codec::decode(received.frame) {
                Ok(envelope) => {
                    self.on_snapshot_envelope(from.node, envelope);
                    true
                }
                Err(_) => false,
            },
            ChannelId::FIRST_CORE => match codec::decode(received.frame) {
                Ok(message) => {
                    self.context.input(Input::Message { from: from.node, message });
                    true
                }
                Err(_) => false,
            },
            _ => false,
        };
        self.context.counters.frames_malformed += u64::from(!is_understood);
    }

    /// Notes what a signal means to the replica, and passes it on to the core. Loads of the replica are not the core's.
    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Timeout => return self.on_timeout(),
            Signal::Loaded { ticket, result } if context::is_own(ticket) => return self.on_loaded(ticket, result),
            Signal::PeerAlive(peer) => self.peers.on_heard(peer, self.context.instant()),
            Signal::CompactRequested => self.snapshots.is_wanted = true,
            Signal::PeerStanding { node, standing } => self.peers.on_standing(node, standing),
            Signal::Storage(level) => {
                // This group can free only the part of the log that a snapshot can replace.
                self.snapshots.is_wanted |= level == StorageLevel::Low && self.storage != level;
                self.storage = level;
            }
            _ => {}
        }
        self.context.input(Input::Signal(signal));
    }

    fn on_timeout(&mut self) {
        let now = self.context.instant();
        if self.context.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.context.input(Input::Signal(Signal::Timeout));
        }
        self.expire_proposals();
        let (expired, failure) = self.reads.expired(now);
        for call in expired {
            self.context.reply(call, Reply::ReadFailed(ReadError::DeadlinePassed(failure)));
        }
        self.hand_over.on_timeout(&mut self.context);
        self.ticks.on_timeout(&mut self.context, || next_due(&self.state, &self.sessions));
        self.on_transfer_timeout();
        self.catch_up.sample(self.context.instant(), &self.context.settings, self.context.leadership.role, || {
            self.context.core.status()
        });
    }

    /// Carries out everything that the core wants, and then applies as much as the turn allows.
    fn turn(&mut self) {
        if self.halted.is_some() {
            return;
        }
        if let Some(id) = self.reads.ask(self.context.instant()) {
            self.context.input(Input::Command(LogCommand::Read { id }));
        }
        while let Some(output) = self.context.core.poll_output() {
            self.on_core_output(output);
        }
        self.apply_committed();
        self.answer_reads();
        self.build_snapshot_if_due();
        if self.halted.is_none() {
            self.ticks.plan(&self.context, self.applied.log_time, || next_due(&self.state, &self.sessions));
        }
        for (to, frame) in self.forwards.finish() {
            self.context.send(to, frame);
        }
    }

    fn on_core_output(&mut self, output: Output<L>) {
        let output = match output {
            Output::Send { to, message } => {
                let frame = codec::encode(ChannelId::FIRST_CORE, self.context.seat.group, &message);
                GroupOutput::Send { to, frame: frame.expect("a core bounds its messages") }
            }
            Output::Persist { ticket, operations } => {
                self.snapshots.note_written(&operations);
                GroupOutput::Persist { ticket, operations }
            }
            Output::Load { ticket, range } => GroupOutput::Load { ticket, range },
            Output::Request { ticket, request: LogRequest::SendSnapshot { to, term, snapshot } } => {
                return self.send_snapshot(ticket, to, term, &snapshot);
            }
            Output::Request { ticket, request: LogRequest::ReceiveSnapshot { from, term, snapshot } } => {
                return self.receive_snapshot(ticket, from, term, snapshot);
            }
            Output::Event(event) => return self.on_event(event),
            Output::Halt { reason } => return self.halt(&reason),
        };
        self.context.push(output);
    }

    /// Transfers leadership to `to`, or to the best candidate if `to` is `None`. Answered by [`Reply::Transfer`].
    pub fn transfer(&mut self, now: Now, call: CallId, to: Option<NodeId>, deadline: Instant) {
        self.set_now(now);
        match &self.halted {
            Some(reason) => self.context.reply(call, Reply::Transfer(Err(TransferError::Halted(reason.clone())))),
            None => self.hand_over.transfer(&mut self.context, &self.peers, call, to, deadline),
        }
    }

    fn on_role(&mut self, leadership: Leadership) {
        let before = std::mem::replace(&mut self.context.leadership, leadership);
        let Leadership { role, term, leader } = leadership;
        self.context.notice(Notice::Role { role, term, leader });
        if term != before.term || before.is_own() != leadership.is_own() {
            self.ticks.reset();
            self.drop_sendings();
        }
        self.hand_over.on_role(&mut self.context);
        self.reads.hurry();
        self.dispatch_waiting();
    }

    fn on_shutdown(&mut self, deadline: Instant) {
        self.refuse_waiting();
        self.hand_over.on_shutdown(&mut self.context, deadline);
    }

    fn on_event(&mut self, event: LogEvent) {
        match event {
            LogEvent::Appended { id, index, term } => self.on_appended(id, index, term),
            LogEvent::Refused { id, reason, leader } => self.on_refused(id, reason, leader),
            LogEvent::Committed { index } => {
                assert!(index >= self.committed, "what is committed stays committed");
                self.committed = index;
                self.forget_ready(index);
                self.catch_up.on_committed(self.applied.index, index, &self.context.settings);
            }
            LogEvent::ReadReady { id, index } => self.reads.on_ready(id, index),
            LogEvent::ReadFailed { id, reason } => {
                self.reads.on_failed(id, reason, self.context.instant(), self.context.settings.read_retry);
            }
            LogEvent::Role { role, term, leader } => self.on_role(Leadership { role, term, leader }),
            LogEvent::Installed { snapshot } => {
                self.committed = self.committed.max(snapshot.index);
                self.catch_up.on_installed();
                self.restore(snapshot);
            }
            LogEvent::Voting { barred } => {
                let barred = self.peers.voting_bar(barred);
                self.context.notice(Notice::Voting { barred });
            }
            LogEvent::AcknowledgedLost { node } => self.context.push(GroupOutput::OlderCopy { peer: node }),
            LogEvent::ClockDiffers { wall_ahead_ms } => {
                self.clock_differs = wall_ahead_ms;
                self.context.notice(Notice::ClockDiffers { wall_ahead_ms });
            }
        }
    }

    fn answer_reads(&mut self) {
        if self.is_restoring() {
            return;
        }
        while let Some(calls) = self.reads.answerable(self.applied.index) {
            for call in calls {
                self.context.counters.reads += 1;
                self.context.reply(call, Reply::ReadReady);
            }
        }
    }

    /// Stops the group on this node. Nothing is lost, and every caller that waits gets the known outcome.
    fn halt(&mut self, reason: &HaltReason) {
        if self.halted.is_none() {
            self.context.push(GroupOutput::Halt { reason: reason.clone() });
            self.fail_all(reason);
        }
    }

    fn fail_all(&mut self, reason: &HaltReason) {
        self.halted = Some(reason.clone());
        self.fail_proposals(reason);
        for call in self.reads.drain() {
            self.context.reply(call, Reply::ReadFailed(ReadError::Halted(reason.clone())));
        }
        self.hand_over.on_halted(&mut self.context, reason);
    }

    fn set_now(&mut self, now: Now) {
        self.context.set_now(now);
        self.budget = Budget::new(&self.context.settings);
    }

    /// Returns the time since the leader was last heard from.
    fn leader_heard(&self) -> Option<Duration> {
        if self.context.is_leader() {
            return Some(Duration::ZERO);
        }
        self.peers.silence(self.context.leadership.leader?, self.context.instant())
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Group for Replica<L, S> {
    fn handle(&mut self, now: Now, input: GroupInput) {
        self.set_now(now);
        if self.halted.is_some() {
            return;
        }
        match input {
            GroupInput::Frame(received) => self.on_frame(received),
            GroupInput::Signal(signal) => self.on_signal(signal),
            GroupInput::Snapshot { ticket, result } => self.on_snapshot_done(ticket, result),
            GroupInput::Shutdown { deadline } => self.on_shutdown(deadline),
            // The only kind of job frees an old state, and needs no answer.
            GroupInput::Job { .. } => {}
            GroupInput::Barred(bar) => self.on_barred(bar),
            GroupInput::FoundedOtherwise(peers) => self.peers.on_founded_otherwise(peers),
            GroupInput::Founded(founding) => self.peers.on_founded(founding),
        }
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        if !self.context.has_outputs() {
            self.turn();
        }
        self.context.poll_output()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.halted.is_some() {
            return None;
        }
        let backlog = self.has_backlog().then_some(self.context.instant());
        let deadlines = [
            backlog,
            self.context.core.deadline(),
            self.proposals.deadline(),
            self.reads.deadline(),
            self.ticks.deadline(),
            self.hand_over.deadline(),
            self.snapshots.deadline(),
            self.load_retry_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn halted(&mut self, reason: &HaltReason) {
        self.context.keep_replies();
        self.fail_all(reason);
    }

    fn channel(&self) -> ChannelId {
        ChannelId::FIRST_CORE
    }

    fn is_settled(&self) -> bool {
        let is_handed_over = self.halted.is_some() || !self.context.is_leader() || self.context.is_alone();
        is_handed_over && self.proposals.waiting() == 0 && self.reads.len() == 0
    }

    fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        self.status().measure(tell);
    }
}

impl<L: fmt::Debug, S: StateMachine> fmt::Debug for Replica<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("seat", &self.context.seat)
            .field("leadership", &self.context.leadership)
            .field("committed", &self.committed)
            .field("applied", &self.applied)
            .field("halted", &self.halted)
            .field("core", &self.context.core)
            .finish_non_exhaustive()
    }
}

/// Context of a read beside the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadContext {
    /// The index of the last entry that the state machine has applied.
    pub index: LogIndex,
    /// The log time of that entry. The existence of data, such as a key with an expiry, depends on this alone.
    pub log_time: LogTime,
    /// The log time now, as far as this node knows it. It may affect a reply (the remaining life of a key, at least 0),
    /// but never the existence of data.
    pub now: LogTime,
    /// Time since the leader was last heard from: `None` if it never was, zero on the leader itself. The result of a
    /// local read may be older than this, because a leader that is itself cut off is heard from as well.
    pub leader_heard: Option<Duration>,
}

/// Returns the log time at which something is due without a command.
fn next_due<S: StateMachine>(state: &S, sessions: &Sessions) -> Option<LogTime> {
    state.next_deadline().into_iter().chain(sessions.next_expiry()).min()
}
