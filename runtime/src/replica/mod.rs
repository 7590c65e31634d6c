//! A state machine on a replicated log: one member of a group of replicas. The member is itself a pure state machine.
//! You need this module to understand a replica that does not answer ([`Obstacle`]), to put a replica into a node
//! without [`Server`](crate::Server), or to drive one yourself, as a simulator or a test does.
//!
//! A replica consists of parts that own what belongs together. [`Replica`] passes each input to its part, and with it
//! the other parts that it needs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_protocol::{
    Configuration, Entry, EntryKind, HaltReason, Input, Instant, LoadFailure, Loaded, LogEvent, LogIndex, LogRequest,
    LogStatus, NodeId, Now, Output, ProposalId, RecoverError, Recovery, RefuseReason, ReplicatedLog, Rest, Signal,
    SnapshotMeta, Term, Ticket, VotingBar,
};
use quorate_transport::{ChannelId, Received, Sender, codec};

use crate::group::hostable::Hostable;
use crate::group::interface::{Group, GroupInput, GroupOutput, Membership};
use crate::group::notice::Notice;
use crate::group::snapshot::{SnapshotDone, SnapshotFailure};
use crate::group::start::SkippedCommand;
use crate::metrics::MetricKind;
use crate::panics::panic_message;

mod application;
mod calls;
mod catch_up;
mod content;
mod context;
pub(crate) mod explain;
mod foreign;
mod hand_over;
mod member_changes;
mod message;
mod payloads;
mod peers;
pub(crate) mod proposals;
mod reads;
pub(crate) mod seat;
pub(crate) mod sessions;
pub(crate) mod settings;
mod snapshots;
pub(crate) mod state_machine;
pub(crate) mod status;
mod ticks;
pub(crate) mod typed;

pub use application::FEATURE_LEVEL;
pub use explain::{EntryState, Obstacle};
pub use proposals::ProposeOptions;
pub use seat::Seat;
pub use sessions::{SESSION_RESPONSE_BYTES_MAX, SESSION_WINDOW};
pub use settings::ReplicaSettingsError;
pub use status::{CatchUp, ReplicaCounters, TransferProgress};

use application::{Application, Effect};
use catch_up::CatchUpWatch;
use content::Restored;
use context::{Context, Leadership};
use foreign::{ForeignProposals, Proposer};
use hand_over::HandOver;
use member_changes::{MemberChanges, is_change};
use message::{ForwardVerdict, ReplicaEnvelope, ReplicaMessage, WireRefusal};
use peers::Peers;
use proposals::Proposals;
use reads::WaitingReads;
use settings::ReplicaSettings;
use snapshots::Snapshots;
use state_machine::StateMachine;
use ticks::Ticks;

/// A state machine `S` on a replicated log `L`: the member of a group on one node.
///
/// Pure, like its core: inputs and calls go in, [`GroupOutput`]s come out, and the answer to each caller is one of
/// them. It adds to the core the parts that each application would otherwise have to write: outcomes, sessions,
/// forwarding to the leader, reads, snapshots and their transfer, ticks.
///
/// Everything that waits here is bounded by [`ReplicaSettings`]. Calls beyond the bounds are refused as `Overloaded`.
pub struct Replica<L, S: StateMachine> {
    context: Context<L>,
    application: Application<S>,
    proposals: Proposals,
    foreign: ForeignProposals,
    reads: WaitingReads,
    snapshots: Snapshots,
    peers: Peers,
    ticks: Ticks,
    hand_over: HandOver,
    member_changes: MemberChanges,
    catch_up: CatchUpWatch,
    /// Milliseconds by which the wall clock is ahead of log time, while the difference is too large.
    clock_differs: Option<i64>,
    /// Set once: nothing is accepted or applied any more.
    halted: Option<HaltReason>,
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Recovers a replica from the content of its log. `state` is the state machine before the first entry, or one that
    /// has stored its own state ([`StateMachine::applied`]). A newer snapshot replaces it.
    ///
    /// # Errors
    /// Those of the core, when the settings contradict each other, when the state machine panics, and when it has
    /// stored more than the log has.
    pub fn recover(
        now: Now,
        seat: Seat,
        settings: ReplicaSettings,
        config: L::Config,
        recovery: Recovery,
        state: S,
    ) -> Result<Self, RecoverError> {
        settings.check().map_err(|error| RecoverError::Settings(error.to_string()))?;
        let stored = catch_unwind(AssertUnwindSafe(|| state.applied()));
        let stored = stored.map_err(|panic| RecoverError::StateMachine(panic_message(&*panic)))?;
        let snapshot = recovery.snapshot.clone();
        let is_first = recovery.configurations.is_empty() && snapshot.is_none();
        let core = L::recover(now, config, recovery)?;
        let LogStatus { last_index: last, configuration, .. } = core.status();
        if let Some(applied) = stored.filter(|applied| *applied > last) {
            return Err(RecoverError::StateMachineAhead { applied, last });
        }
        let configuration = is_first.then_some(configuration);
        let mut replica = Self {
            application: Application::new(state, stored, configuration, &settings),
            context: Context::new(now, seat, settings, core),
            proposals: Proposals::new(),
            foreign: ForeignProposals::default(),
            reads: WaitingReads::default(),
            snapshots: Snapshots::new(),
            peers: Peers::default(),
            ticks: Ticks::default(),
            hand_over: HandOver::default(),
            member_changes: MemberChanges::default(),
            catch_up: CatchUpWatch::default(),
            clock_differs: None,
            halted: None,
        };
        if let Some(snapshot) = snapshot {
            replica.restore(snapshot);
        }
        let configuration = replica.context.core.status().configuration;
        replica.tell_members(&configuration);
        Ok(replica)
    }

    /// Does not apply these commands.
    #[must_use]
    pub fn skipping(mut self, skipped: Vec<SkippedCommand>) -> Self {
        self.application.skip(skipped);
        self
    }

    /// Tells the node the members of the configuration that is in force now, and who of them counts.
    fn tell_members(&mut self, configuration: &Configuration) {
        let members = configuration.members().iter().chain(configuration.outgoing());
        let contexts = members.map(|member| (member.node, member.context.clone())).collect();
        self.context.push(GroupOutput::Members { contexts, membership: Membership::of(configuration) });
    }

    /// Begins an input or a call.
    fn begin(&mut self, now: Now) {
        self.context.set_now(now);
        self.application.renew_budget(&self.context.settings);
    }

    fn on_frame(&mut self, received: Received) {
        let from = received.from;
        self.peers.on_heard(from, self.context.instant());
        let frame = received.frame;
        let decoded = match frame.channel() {
            ChannelId::REPLICA => codec::decode(frame).map(|envelope| self.on_envelope(from, envelope)),
            ChannelId::SNAPSHOTS => codec::decode(frame).map(|envelope| {
                self.snapshots.on_envelope(&mut self.context, &mut self.catch_up, from.node, envelope);
            }),
            channel if channel == ChannelId(L::CHANNEL) => codec::decode(frame).map(|message| {
                self.context.input(Input::Message { from: from.node, message });
            }),
            _ => return self.context.counters.frames_malformed += 1,
        };
        self.context.counters.frames_malformed += u64::from(decoded.is_err());
    }

    fn on_envelope(&mut self, from: Sender, envelope: ReplicaEnvelope) {
        let ReplicaEnvelope { message, payloads } = envelope;
        match message {
            ReplicaMessage::Forward { level, session, proposals } if session.incarnation == from.incarnation => {
                let refused = self.forward_refusal(from.node, level);
                let (applied, proposer) = (self.application.applied(), Proposer { node: from.node, session });
                self.foreign.on_forward(&mut self.context, applied, proposer, proposals, payloads, refused);
            }
            ReplicaMessage::Forward { .. } => self.context.counters.frames_malformed += 1,
            ReplicaMessage::Answers { level, session, answers } => {
                self.proposals.on_answers(&mut self.context, from.node, level, session, answers, payloads);
            }
        }
    }

    /// Returns the reason why this node proposes nothing for another one, if there is one. It never forwards a
    /// forwarded proposal.
    fn forward_refusal(&self, from: NodeId, level: u32) -> Option<ForwardVerdict> {
        let leader = self.context.leadership.leader;
        // A stranger may have intended its proposal for the leader of another cluster.
        if !self.context.is_leader() || self.peers.is_stranger(from) {
            return Some(ForwardVerdict::Refused { reason: WireRefusal::NotLeader, leader });
        }
        if self.hand_over.is_stopping() {
            return Some(ForwardVerdict::Refused { reason: WireRefusal::Transferring, leader });
        }
        if level != self.application.applied().level() {
            return Some(ForwardVerdict::FeatureLevel);
        }
        let is_full = self.foreign.awaiting() >= self.context.settings.proposals_max;
        is_full.then_some(ForwardVerdict::Refused { reason: WireRefusal::Overloaded, leader })
    }

    /// Passes a signal to the parts that need it, and on to the core. Loads of the replica are not the core's.
    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Timeout => return self.on_timeout(),
            Signal::Loaded { ticket, result } if context::is_own(ticket) => return self.on_loaded(ticket, result),
            Signal::PeerAlive(peer) => self.peers.on_alive(peer, self.context.instant()),
            Signal::CompactRequested => self.snapshots.on_compact_requested(),
            Signal::PeerStanding { node, standing } => self.peers.on_standing(node, standing),
            Signal::Storage(level) => self.snapshots.on_storage(level),
            Signal::PeerSilent { .. }
            | Signal::Unreachable(_)
            | Signal::Persisted(_)
            | Signal::PersistFailed { .. }
            | Signal::Loaded { .. } => {}
        }
        self.context.input(Input::Signal(signal));
    }

    fn on_loaded(&mut self, ticket: Ticket, result: Result<Loaded, LoadFailure>) {
        if let Err(reason) = self.application.on_loaded(&mut self.context, ticket, result) {
            self.halt(&reason);
        }
    }

    fn on_timeout(&mut self) {
        let now = self.context.instant();
        if self.context.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.context.input(Input::Signal(Signal::Timeout));
        }
        self.proposals.expire(&mut self.context);
        self.reads.expire(&mut self.context);
        self.hand_over.on_timeout(&mut self.context);
        self.member_changes.expire(&mut self.context);
        self.ticks.on_timeout(&mut self.context, || self.application.next_due());
        self.snapshots.on_timeout(&mut self.context);
        self.catch_up.sample(&self.context);
    }

    fn on_snapshot_done(&mut self, ticket: Ticket, result: Result<SnapshotDone, SnapshotFailure>) {
        match self.snapshots.take_restored(ticket) {
            Some(meta) => self.on_restored(meta, result),
            None => self.snapshots.on_done(&mut self.context, &self.application, ticket, result),
        }
    }

    fn on_shutdown(&mut self, deadline: Instant) {
        self.proposals.on_shutdown(&mut self.context);
        self.hand_over.on_shutdown(&mut self.context, deadline);
    }

    /// The node may no longer vote in the group, or may again, according to the introductions.
    fn on_barred(&mut self, bar: Option<VotingBar>) {
        self.peers.on_barred(bar);
        if let Some(bar) = self.peers.stranger_bar() {
            self.proposals.on_stranger(&mut self.context, bar);
        }
    }

    /// Carries out everything that the core wants, and then applies as much as the turn allows.
    fn turn(&mut self) {
        if self.halted.is_some() {
            return;
        }
        self.reads.ask(&mut self.context);
        while self.halted.is_none()
            && let Some(output) = self.context.core.poll_output()
        {
            self.on_core_output(output);
        }
        self.apply_committed();
        if !self.snapshots.is_restoring() {
            self.reads.answer(&mut self.context, self.application.applied().index());
        }
        if self.halted.is_none() {
            self.snapshots.build_if_due(&mut self.context, &self.application);
            self.ticks.plan(&self.context, self.application.applied(), || self.application.next_due());
        }
        self.proposals.send_forwards(&mut self.context);
        self.foreign.send_answers(&mut self.context);
    }

    fn on_core_output(&mut self, output: Output<L>) {
        let context = &mut self.context;
        match output {
            Output::Send { to, message } => context.send(ChannelId(L::CHANNEL), to, &message),
            Output::Persist { ticket, operations } => match self.application.check_write(&operations) {
                Ok(()) => {
                    self.snapshots.on_written(&operations);
                    context.push(GroupOutput::Persist { ticket, operations });
                }
                Err(reason) => self.halt(&reason),
            },
            Output::Load { ticket, range } => context.push(GroupOutput::Load { ticket, range }),
            Output::Request { ticket, request: LogRequest::SendSnapshot { to, term, snapshot } } => {
                self.snapshots.send(context, ticket, to, term, &snapshot);
            }
            Output::Request { ticket, request: LogRequest::ReceiveSnapshot { from, term, snapshot } } => {
                self.snapshots.receive(context, ticket, from, term, snapshot);
            }
            Output::Event(event) => self.on_event(event),
            Output::Halt { reason } => self.halt(&reason),
        }
    }

    fn on_event(&mut self, event: LogEvent) {
        let context = &mut self.context;
        match event {
            LogEvent::Appended { id, index, term } => match origin(context.seat, id) {
                ProposalOrigin::MemberChange => self.member_changes.on_appended(id.sequence, index, term),
                ProposalOrigin::Caller => self.proposals.on_appended(id.sequence, index, term),
                ProposalOrigin::Elsewhere => self.foreign.on_appended(id, index, term),
            },
            LogEvent::Refused { id, reason, leader } => self.on_refused(id, reason, leader),
            LogEvent::Committed { index } => {
                self.application.on_committed(index);
                self.snapshots.on_committed(context, index);
                self.catch_up.on_committed(self.application.applied().index(), index, &context.settings);
            }
            LogEvent::ReadReady { id, index } => self.reads.on_ready(id, index),
            LogEvent::ReadFailed { id, reason } => self.reads.on_failed(context, id, reason),
            LogEvent::Role { role, term, leader } => self.on_role(Leadership { role, term, leader }),
            LogEvent::Installed { snapshot } => {
                self.application.on_installed(snapshot.index);
                self.catch_up.on_installed();
                self.restore(snapshot);
            }
            LogEvent::Voting { barred } => context.notice(Notice::Voting { barred: self.peers.voting_bar(barred) }),
            LogEvent::Configuration { configuration } => self.tell_members(&configuration),
            LogEvent::AcknowledgedLost { node } => context.push(GroupOutput::OlderCopy { peer: node }),
            LogEvent::ClockDiffers { wall_ahead_ms } => {
                self.clock_differs = wall_ahead_ms;
                context.notice(Notice::ClockDiffers { wall_ahead_ms });
            }
        }
    }

    fn on_refused(&mut self, id: ProposalId, reason: RefuseReason, leader: Option<NodeId>) {
        let context = &mut self.context;
        match origin(context.seat, id) {
            _ if id == ProposalId::default() => self.ticks.on_ended(),
            ProposalOrigin::MemberChange => self.member_changes.on_refused(context, id.sequence, reason, leader),
            ProposalOrigin::Caller => self.proposals.on_refused(context, id.sequence, reason, leader),
            ProposalOrigin::Elsewhere => self.foreign.on_refused(self.application.applied(), id, reason, leader),
        }
    }

    fn on_role(&mut self, leadership: Leadership) {
        let context = &mut self.context;
        let before = std::mem::replace(&mut context.leadership, leadership);
        let Leadership { role, term, leader } = leadership;
        context.notice(Notice::Role { role, term, leader });
        if term != before.term || before.is_own() != leadership.is_own() {
            self.ticks.reset();
            self.snapshots.on_leader_changed(context);
        }
        self.hand_over.on_role(context);
        self.reads.hurry();
        self.proposals.dispatch_waiting(context, self.application.applied());
    }

    /// Applies committed entries, as many as the turn allows.
    fn apply_committed(&mut self) {
        while self.may_apply() && !self.application.is_turn_over() {
            let Some((index, term, entry)) = self.application.next(&mut self.context) else { continue };
            if let Err(reason) = self.apply(index, term, &entry) {
                self.halt(&reason);
            }
        }
        if let Err(reason) = self.application.end_batch() {
            self.halt(&reason);
        }
    }

    fn may_apply(&self) -> bool {
        let is_free = !self.snapshots.is_restoring() && self.halted.is_none();
        is_free && self.application.may_apply(self.context.instant())
    }

    fn apply(&mut self, index: LogIndex, term: Term, entry: &Entry) -> Result<(), HaltReason> {
        application::check(index, entry)?;
        if term > self.application.applied().term() {
            self.on_later_term(index, term);
        }
        let is_skipped = self.application.is_skipped(index, term, entry);
        if is_skipped {
            self.context.notice(Notice::CommandSkipped { index });
        }
        let effect = self.application.apply(index, term, entry, is_skipped)?;
        if entry.header.kind == EntryKind::Tick {
            self.ticks.on_ended();
        }
        self.tell(entry.header.id, index, term, effect);
        if entry.header.kind == EntryKind::Configuration {
            let is_joint = self.application.applied().configuration().is_some_and(Configuration::is_joint);
            self.member_changes.on_configuration(&mut self.context, is_joint);
        }
        self.snapshots.on_applied(index, entry.encoded_len());
        self.catch_up.on_applied(index, self.application.committed());
        Ok(())
    }

    /// Answers the caller on this node that waits for this entry, or the node that forwarded it.
    fn tell(&mut self, id: ProposalId, index: LogIndex, term: Term, effect: Effect) {
        match origin(self.context.seat, id) {
            ProposalOrigin::MemberChange => self.member_changes.on_own_entry(id.sequence),
            ProposalOrigin::Caller => self.proposals.on_own_entry(&mut self.context, id.sequence, effect.into()),
            ProposalOrigin::Elsewhere => self.foreign.on_applied(self.application.applied(), index, term, effect),
        }
    }

    /// An entry of a later term is committed at `index`, so entries of an earlier term from there on are gone for good.
    fn on_later_term(&mut self, index: LogIndex, term: Term) {
        self.proposals.on_later_term(&mut self.context, index, term);
        self.member_changes.on_later_term(&mut self.context, index, term);
        self.foreign.on_later_term(self.application.applied(), index, term);
    }

    /// Restores the state machine from a snapshot, off the loop. Nothing is applied meanwhile. A restore that is under
    /// way is superseded.
    fn restore(&mut self, snapshot: SnapshotMeta) {
        let is_old = |newest: LogIndex| snapshot.index <= newest;
        if is_old(self.application.applied().index()) || self.snapshots.restoring().is_some_and(is_old) {
            return;
        }
        self.application.forget_taken();
        if let Some(state) = self.snapshots.restore(&mut self.context, &self.application, &snapshot) {
            self.on_restored(snapshot, Ok(SnapshotDone::Restored(state)));
        }
    }

    fn on_restored(&mut self, meta: SnapshotMeta, result: Result<SnapshotDone, SnapshotFailure>) {
        let installed = content::restored(result).and_then(|restored: Restored<S>| {
            let form = restored.state.form();
            self.application.install(&meta, restored).map(|old| (old, form))
        });
        let (old, form) = match installed {
            Ok(installed) => installed,
            Err(reason) => return self.halt(&reason),
        };
        if let Some(old) = old {
            self.context.free(old);
        }
        let (index, term) = (meta.index, meta.term);
        self.catch_up.on_applied(index, self.application.committed());
        self.snapshots.on_restored(&mut self.context, meta, form);
        self.proposals.on_covered(&mut self.context, self.application.applied(), index);
        self.member_changes.on_covered(&mut self.context, index);
        self.foreign.on_covered(index);
        // The entries that follow are of this term or a later one.
        self.on_later_term(index.next(), term);
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
        self.proposals.on_halted(&mut self.context, reason);
        self.reads.on_halted(&mut self.context, reason);
        self.hand_over.on_halted(&mut self.context, reason);
        self.member_changes.on_halted(&mut self.context, reason);
        self.snapshots.on_halted(&mut self.context, reason);
    }
}

/// The part of a replica that waits for a proposal.
enum ProposalOrigin {
    MemberChange,
    Caller,
    /// The log itself proposed it, or another node did.
    Elsewhere,
}

fn origin(seat: Seat, id: ProposalId) -> ProposalOrigin {
    match id.session == seat.session {
        true if is_change(id.sequence) => ProposalOrigin::MemberChange,
        true => ProposalOrigin::Caller,
        false => ProposalOrigin::Elsewhere,
    }
}

impl<L: ReplicatedLog + Hostable, S: StateMachine> Group for Replica<L, S> {
    fn handle(&mut self, now: Now, input: GroupInput) {
        self.begin(now);
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
            GroupInput::Heard { node, at } => self.peers.on_alive(node, at),
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
        // There is more to apply than this turn allowed.
        let has_backlog = self.application.is_turn_over() && self.may_apply();
        let deadlines = [
            has_backlog.then_some(self.context.instant()),
            self.context.core.deadline(),
            self.proposals.deadline(),
            self.reads.deadline(),
            self.ticks.deadline(),
            self.hand_over.deadline(),
            self.member_changes.deadline(),
            self.snapshots.deadline(),
            self.application.retry_at(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn halted(&mut self, reason: &HaltReason) {
        self.context.keep_replies();
        self.fail_all(reason);
    }

    fn channel(&self) -> ChannelId {
        ChannelId(L::CHANNEL)
    }

    fn is_settled(&self) -> bool {
        let is_handed_over = self.halted.is_some() || !self.context.is_leader() || self.context.is_alone();
        is_handed_over && self.proposals.waiting() == 0 && self.reads.len() == 0
    }

    fn may_rest(&self) -> bool {
        self.context.core.may_rest()
    }

    fn rest(&self) -> Option<Rest> {
        self.context.core.rest()
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
            .field("committed", &self.application.committed())
            .field("applied", &self.application.applied())
            .field("halted", &self.halted)
            .field("core", &self.context.core)
            .finish_non_exhaustive()
    }
}
