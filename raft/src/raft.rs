//! The core: it takes every input and returns every output.

use quorate_protocol::{
    Chassis, Configuration, FailedWrite, HaltReason, Input, Instant, LogCommand, LogEvent, LogIndex, NodeId, Now,
    Operation, OutboxLimits, Output, PersistFailure, Protocol, Random, ReadFailure, RecoverError, Recovery,
    RefuseReason, Role, Signal, SnapshotMeta, Standing, Term, Ticket, View, VotingBar,
};

use crate::clock::Clock;
use crate::codec::{decode_state, encode_state};
use crate::error::Ignored;
use crate::log::{FOUNDING_INDEX, Log, bootstrap_entry};
use crate::message::{AppendOutcome, AppendResponse, Message, ReadOutcome, Verdict, VoteKind};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::state::{DurableState, Follower, Receiving, RoleState, Told};
use crate::{Config, Start, view};

/// One node's part in a group: Raft (Ongaro and Ousterhout, USENIX ATC 2014) as a pure state machine.
///
/// Inputs go in through [`handle`](Protocol::handle), outputs come out of [`poll_output`](Protocol::poll_output), and
/// [`deadline`](Protocol::deadline) returns the time of the next [`Signal::Timeout`]. Entries that were proposed or
/// received since the last poll leave as one write and one message to each peer. The crate's documentation shows the
/// loop around it.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) chassis: Chassis<Self, Ignored>,
    /// The newest state that was passed to the disk, and the write that makes it durable.
    pub(crate) state: DurableState,
    pub(crate) state_ticket: Ticket,
    pub(crate) role: RoleState,
    /// The leader of the current term, as far as it is known.
    pub(crate) leader: Option<NodeId>,
    /// The time at which the leader was last heard from.
    pub(crate) leader_heard_at: Instant,
    /// The last random wait before an election, and its end. Leaders do not use it.
    pub(crate) election_timeout_ns: u64,
    pub(crate) election_at: Instant,
    pub(crate) log: Log,
    /// The write that started the log again after the newest installed snapshot.
    pub(crate) reset_ticket: Ticket,
    /// Entries up to here were received from the leader of the current term, so they are equal to its log, durable or
    /// not. Zero on a leader.
    pub(crate) matched: LogIndex,
    /// The index up to which entries are known to be committed. Never goes back.
    pub(crate) commit_index: LogIndex,
    /// The commit index that was last written to the disk.
    pub(crate) commit_hinted: LogIndex,
    /// The newest durable snapshot.
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) receiving: Option<Receiving>,
    /// The time of the last change of the room on the disk.
    pub(crate) storage_since: Instant,
    /// The time at which the write under way was handed out, if there is one.
    pub(crate) writing_since: Option<Instant>,
    pub(crate) reads: Reads,
    pub(crate) clock: Clock,
    pub(crate) told: Told,
}

impl Protocol for Raft {
    type Config = Config;
    type Message = Message;
    type Command = LogCommand;
    type Event = LogEvent;
    type Request = quorate_protocol::LogRequest;
    type Answer = quorate_protocol::LogAnswer;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let state = recover_state(&recovery)?;
        let settings = config.settings().clone();
        let log = Log::recover(&recovery, settings.cache_bytes_max)?;
        if log.last_term() > state.term {
            return Err(RecoverError::Inconsistent("the log is of a later term than the state record"));
        }
        let snapshot_index = recovery.snapshot.as_ref().map_or(LogIndex::ZERO, |snapshot| snapshot.index);
        if recovery.commit_hint > log.last().max(snapshot_index) {
            return Err(RecoverError::Inconsistent("the log ends before what was known to be committed"));
        }
        let commit_index = log.base().index.max(recovery.commit_hint.min(log.last()));
        let limits = OutboxLimits {
            held_messages_max: settings.held_messages_max,
            write_bytes_max: settings.batch_bytes_max.saturating_add(STATE_WRITE_BYTES),
        };
        let mut core = Self {
            random: Random::new(config.seed()),
            clock: Clock::new(settings.clock_step_max),
            config,
            chassis: Chassis::new(now, limits),
            state,
            state_ticket: Ticket(0),
            role: RoleState::Follower(Follower::default()),
            leader: None,
            leader_heard_at: now.instant,
            election_timeout_ns: 0,
            election_at: now.instant,
            log,
            reset_ticket: Ticket(0),
            matched: LogIndex::ZERO,
            commit_index,
            commit_hinted: recovery.commit_hint,
            snapshot: None,
            receiving: None,
            storage_since: now.instant,
            writing_since: None,
            reads: Reads::default(),
            told: Told {
                committed: snapshot_index,
                before_reset: snapshot_index,
                role: (Role::Follower, state.term, None),
                barred: None,
            },
        };
        core.arm_election_timer();
        if let Some(snapshot) = recovery.snapshot {
            core.adopt_recovered(snapshot);
        }
        // The first write may have been torn so that only its state record was found. Nothing that depends on it was
        // sent.
        let is_begun = core.log.last() > LogIndex::ZERO || core.state.term > Term(0);
        if !is_begun && let Start::Initial(configuration) = core.config.start().clone() {
            core.bootstrap(configuration);
        }
        Ok(core)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.chassis.begin(now);
        let handled = if self.chassis.is_halted() { self.on_input_halted(input) } else { self.on_input(input) };
        self.chassis.count(handled);
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        if self.chassis.take_dirty() {
            self.flush();
        }
        let output = self.chassis.outbox.poll();
        if matches!(output, Some(Output::Persist { .. })) {
            self.writing_since = Some(self.chassis.instant());
        }
        output
    }

    fn deadline(&self) -> Option<Instant> {
        let of_role = match &self.role {
            RoleState::Leader(leader) => leader.deadline(),
            _ => self.election_at,
        };
        self.chassis.deadline([of_role].into_iter().chain(self.reads.deadline()))
    }

    fn model_view(&self) -> View {
        view::view(self)
    }

    fn older_copy(event: &LogEvent) -> Option<NodeId> {
        match event {
            LogEvent::AcknowledgedLost { node } => Some(*node),
            _ => None,
        }
    }

    fn check_invariants(&self) {
        self.check_own_laws();
    }
}

impl Raft {
    fn on_input(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        match input {
            Input::Message { from, message } => self.on_message(from, message),
            Input::Command(command) => self.on_command(command),
            Input::Completed { ticket, answer } => self.on_completed(ticket, answer),
            Input::Signal(signal) => self.on_signal(signal),
        }
    }

    fn on_signal(&mut self, signal: Signal) -> Result<(), Ignored> {
        match signal {
            Signal::Timeout => return self.on_timeout(),
            Signal::PeerAlive(node) => self.on_peer_alive(node),
            Signal::Unreachable(node) => return self.on_unreachable(node),
            Signal::PeerStanding { node, standing } => self.on_peer_standing(node, standing),
            Signal::Storage(level) => self.on_storage(level),
            Signal::CompactRequested => self.on_compact_requested(),
            Signal::Persisted(ticket) => self.on_persisted(ticket),
            Signal::PersistFailed { ticket, failure } => return self.on_persist_failed(ticket, failure),
            Signal::Loaded { ticket, result: Ok(loaded) } => return self.on_loaded(ticket, loaded),
            Signal::Loaded { ticket, result: Err(failure) } => return self.on_load_failed(ticket, failure),
        }
        Ok(())
    }

    /// Handles an input of a group that has stopped: it answers its own application only.
    fn on_input_halted(&mut self, input: Input<Self>) -> Result<(), Ignored> {
        match input {
            Input::Command(LogCommand::Propose(proposal)) => self.refuse(proposal.id, RefuseReason::Halted),
            Input::Command(LogCommand::ChangeConfiguration { id, .. }) => self.refuse(id, RefuseReason::Halted),
            Input::Command(LogCommand::Read { id }) => {
                self.chassis.outbox.event(LogEvent::ReadFailed { id, reason: ReadFailure::NoLeader });
            }
            _ => {}
        }
        Err(Ignored::Halted)
    }

    fn on_command(&mut self, command: LogCommand) -> Result<(), Ignored> {
        match command {
            LogCommand::Propose(proposal) => self.on_propose(proposal),
            LogCommand::Read { id } => self.on_read(id),
            LogCommand::Compact { snapshot, keep_from } => return self.on_compact(snapshot, keep_from),
            LogCommand::Transfer { to, timeout } => return self.on_transfer(to, timeout),
            LogCommand::ChangeConfiguration { id, .. } => self.refuse(id, RefuseReason::ConfigurationInvalid),
        }
        Ok(())
    }

    /// Applies the rules for all servers (Raft figure 2) first, then the rules for the kind of message and the role.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        let term = message.term();
        if term > TERM_MAX || term.0 > self.state.term.0.saturating_add(TERMS_AHEAD_MAX) {
            return Err(Ignored::AbsurdTerm);
        }
        if from == self.config.node() {
            return Err(Ignored::NotMember);
        }
        // A leader is known to all voters before it votes for itself. A stranger leads other nodes, of a cluster that
        // was founded twice.
        if is_of_leader(&message) && self.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.enter_term_of(from, &message)?;
        match message {
            Message::RequestVote(message) => return self.on_request_vote(from, message),
            Message::VoteResponse(message) => return self.on_vote_response(from, message),
            Message::AppendEntries(message) => return self.on_append_entries(from, &message),
            Message::AppendResponse(message) => return self.on_append_response(from, message),
            Message::Heartbeat(message) => self.on_heartbeat(from, message),
            Message::HeartbeatResponse(message) => return self.on_heartbeat_response(from, message),
            Message::CommitNotice(message) => self.commit_up_to(message.commit_index),
            Message::InstallSnapshot(message) => return self.on_install_snapshot(from, message),
            Message::ReadIndex(message) => return self.on_read_index(from, message),
            Message::ReadIndexResponse(message) => return self.on_read_index_response(from, message),
            Message::TimeoutNow(_) => return self.on_timeout_now(),
        }
        Ok(())
    }

    /// Takes over the term of a message, and follows its sender if that is the leader. A request for a vote is left
    /// out: the voter decides whether it takes over the candidate's term.
    fn enter_term_of(&mut self, from: NodeId, message: &Message) -> Result<(), Ignored> {
        let term = message.term();
        if matches!(message, Message::RequestVote(_)) {
            return Ok(());
        }
        if term < self.state.term && !is_pre_vote_granted(message) {
            return self.on_stale(from, message);
        }
        if term > self.state.term {
            if !is_of_leader(message) && !self.log.configuration().contains(from) {
                return Err(Ignored::NotMember);
            }
            self.become_follower(term, None);
        }
        if is_of_leader(message) { self.follow(from) } else { Ok(()) }
    }

    /// Does not act on a message of an earlier term. A leader of that term must be notified that it is over. Otherwise
    /// a node that knows a later term could never be included again by a leader whose followers do not time out.
    fn on_stale(&mut self, from: NodeId, message: &Message) -> Result<(), Ignored> {
        let term = self.state.term;
        if is_of_leader(message) {
            self.send(from, Message::AppendResponse(AppendResponse { term, outcome: AppendOutcome::Stale }));
        } else if let Message::ReadIndex(question) = message {
            self.answer_read(from, question.number, ReadOutcome::NotLeader);
        }
        Err(Ignored::StaleTerm)
    }

    fn on_timeout(&mut self) -> Result<(), Ignored> {
        self.chassis.resume_due_writes();
        if matches!(self.role, RoleState::Leader(_)) {
            self.on_leader_timeout();
        } else {
            self.ask_again();
            if self.election_at <= self.chassis.instant() {
                return self.on_election_timeout();
            }
        }
        Ok(())
    }

    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) {
        if !self.chassis.set_standing(node, standing) {
            return;
        }
        let next_index = self.log.last().next();
        match &mut self.role {
            RoleState::Leader(_) if node == self.config.node() => self.step_down(),
            RoleState::Leader(leader) => {
                // Its acknowledgements came from another process, or did not count. The leader asks again.
                if let Some(progress) = leader.progress.get_mut(&node) {
                    *progress = Progress::new(next_index, progress.heard_at, standing);
                }
                self.wake();
            }
            RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot) => {
                ballot.votes.remove(&node);
                ballot.clocks.remove(&node);
                if node == self.config.node() {
                    self.become_follower(self.state.term, None);
                }
            }
            RoleState::Follower(_) if standing == Standing::Stranger && self.leader == Some(node) => self.lose_leader(),
            RoleState::Follower(_) => {}
        }
    }

    fn on_persisted(&mut self, ticket: Ticket) {
        self.chassis.outbox.persisted(ticket);
        self.writing_since.take_if(|_| self.chassis.outbox.in_flight().is_none());
        let outbox = &self.chassis.outbox;
        let is_longer = self.log.persisted(|ticket| outbox.is_durable(ticket));
        match &self.role {
            RoleState::Leader(_) if is_longer => self.advance_commit(),
            RoleState::Candidate(_) => self.count_own_vote(),
            _ => {}
        }
    }

    /// A write that was certainly not made is made again after a while, with the content of that time; no output
    /// depended on it. A leader or candidate lets other nodes lead meanwhile. After any other failure the state of the
    /// disk is not known.
    fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        match self.chassis.failed_write(ticket, failure) {
            FailedWrite::Refused => {}
            FailedWrite::Stale => return Err(Ignored::StaleAnswer),
            FailedWrite::Fatal(reason) => {
                self.halt(reason);
                return Err(Ignored::Halted);
            }
        }
        if !matches!(self.role, RoleState::Follower(_)) {
            self.step_down();
        }
        let is_reset_lost = !self.chassis.outbox.is_durable(self.reset_ticket);
        self.chassis.outbox.refused();
        self.writing_since = None;
        let lost = if is_reset_lost { Some(self.log.rewind_reset()) } else { self.log.rewind() };
        self.persist_state_behind(lost);
        if is_reset_lost {
            self.reset_ticket = self.state_ticket;
        }
        self.log.mark_base(self.state_ticket);
        self.chassis.write_again_at(self.chassis.instant().after(self.config.settings().heartbeat_interval));
        Err(Ignored::LogRefuses)
    }

    /// Produces the outputs for the inputs since the last poll: one write, one message to each peer, one event of each
    /// kind.
    fn flush(&mut self) {
        self.write_log();
        match self.role {
            RoleState::Leader(_) => {
                self.replicate();
                self.start_reads();
                self.notice_commit();
                self.continue_transfer();
            }
            RoleState::Follower(_) => {
                self.acknowledge();
                self.start_reads();
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
        self.tell();
    }

    /// Passes entries to the log unless it is busy; then the batch grows meanwhile.
    fn write_log(&mut self) {
        if !self.chassis.outbox.is_writing() && self.log.wants_writing() {
            self.write_batch();
        }
    }

    /// Passes all entries to the log, busy or not, because the next output states all of them.
    pub(crate) fn write_whole_log(&mut self) {
        while self.log.wants_writing() {
            self.write_batch();
        }
    }

    fn write_batch(&mut self) {
        let unsubmitted_bytes = self.log.unsubmitted_bytes();
        let mut operations = self.log.hand_over(self.config.settings().batch_bytes_max);
        let committed = self.committed_here();
        if committed > self.commit_hinted {
            self.commit_hinted = committed;
            operations.push(Operation::CommitHint { index: committed });
        }
        let ticket = self.chassis.outbox.persist(operations);
        self.log.mark(ticket);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.note_submitted(self.log.submitted(), unsubmitted_bytes - self.log.unsubmitted_bytes());
        }
    }

    /// Notifies the application of changes.
    fn tell(&mut self) {
        let committed = self.committed_here();
        if committed > self.told.committed {
            self.told.committed = committed;
            self.chassis.outbox.event_after(self.reset_ticket, LogEvent::Committed { index: committed });
        }
        let role = (self.role_name(), self.state.term, self.leader);
        if role != self.told.role {
            self.told.role = role;
            let (role, term, leader) = role;
            self.chassis.outbox.event_after(self.state_ticket, LogEvent::Role { role, term, leader });
        }
        let barred = self.barred();
        if barred != self.told.barred {
            self.told.barred = barred;
            self.chassis.outbox.event(LogEvent::Voting { barred });
        }
    }

    /// The newest entry that is committed and durable on this node.
    pub(crate) fn committed_here(&self) -> LogIndex {
        self.commit_index.min(self.log.durable())
    }

    /// The newest entry that the application may take. Until the log has started again on disk, other entries are in
    /// the place of those that a snapshot covers, and the application does not know of the snapshot yet.
    pub(crate) fn may_be_applied(&self) -> LogIndex {
        if self.chassis.outbox.is_durable(self.reset_ticket) { self.told.committed } else { self.told.before_reset }
    }

    /// The role as it is reported to the application.
    pub(crate) fn role_name(&self) -> Role {
        let name = self.role.name();
        let is_learner = name == Role::Follower && !self.log.configuration().is_voter(self.config.node());
        if is_learner { Role::Learner } else { name }
    }

    /// Returns the reason why this node neither votes nor campaigns, if there is one.
    pub(crate) fn barred(&self) -> Option<VotingBar> {
        let node = self.config.node();
        match self.chassis.standings().get(&node) {
            None => Some(VotingBar::NotIntroduced),
            Some(Standing::Stranger) => Some(VotingBar::Stranger),
            Some(Standing::Member) if self.state.term >= TERM_MAX => Some(VotingBar::TermsUsedUp),
            Some(Standing::Member) => (!self.log.configuration().is_voter(node)).then_some(VotingBar::NotVoter),
        }
    }

    /// Makes the state durable. Messages that state it are held until then.
    pub(crate) fn persist_state(&mut self) {
        self.persist_state_behind(None);
    }

    /// As [`Self::persist_state`], after another operation in the same write.
    pub(crate) fn persist_state_behind(&mut self, operation: Option<Operation>) {
        self.commit_hinted = self.committed_here();
        let state = Operation::PutState { bytes: encode_state(&self.state), commit_hint: self.commit_hinted };
        self.state_ticket = self.chassis.outbox.persist(operation.into_iter().chain([state]));
    }

    /// Sends a message. It states the term, so it waits for the write of the term.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.chassis.outbox.send_after(self.state_ticket.max(self.reset_ticket), to, message);
    }

    /// The leader states that the log is committed up to `index`. That holds here as far as the leader's log is known
    /// to be here.
    pub(crate) fn commit_up_to(&mut self, index: LogIndex) {
        self.commit_index = self.commit_index.max(index.min(self.matched));
    }

    /// Draws a random wait and starts it.
    pub(crate) fn arm_election_timer(&mut self) {
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2);
        let settings = self.config.settings();
        let (min, max) = (nanos(settings.election_timeout_min), nanos(settings.election_timeout_max));
        self.election_timeout_ns = self.random.between(min, max);
        self.restart_election_timer();
    }

    /// Starts the last random wait again.
    pub(crate) fn restart_election_timer(&mut self) {
        self.election_at = self.chassis.instant().after(std::time::Duration::from_nanos(self.election_timeout_ns));
    }

    /// Stops this group on this node permanently. Held outputs are dropped.
    pub(crate) fn halt(&mut self, reason: HaltReason) {
        self.chassis.halt(reason);
        self.role = RoleState::Follower(Follower::default());
        self.leader = None;
        self.reads = Reads::default();
    }

    /// Every initial member appends the same entry, so that the configuration is in the log and in snapshots from the
    /// start.
    fn bootstrap(&mut self, configuration: Configuration) {
        let entry = bootstrap_entry(&configuration);
        self.state.founding = Some(entry.header.checksum);
        let index = self.log.append(Term(0), entry);
        self.log.note_configuration(index, configuration);
        self.persist_state();
    }
}

/// Returns the state record. The founding is taken from the log as well, as long as the log has its first entry.
fn recover_state(recovery: &Recovery) -> Result<DurableState, RecoverError> {
    let state = recovery.state.as_ref().map(|bytes| decode_state(bytes)).transpose();
    let mut state = state.map_err(RecoverError::State)?.unwrap_or_default();
    let snapshot = recovery.snapshot.as_ref().map(|newest| (newest.index, newest.term)).unwrap_or_default();
    if state.term.max(snapshot.1) > TERM_MAX || recovery.last.max(snapshot.0) > INDEX_MAX {
        return Err(RecoverError::Inconsistent("a term or an index that no group reaches"));
    }
    let first = recovery.configurations.iter().find(|(index, _)| *index == FOUNDING_INDEX);
    let in_log = first.map(|(_, entry)| entry.header.checksum);
    if in_log.is_some() && state.founding.is_some_and(|recorded| Some(recorded) != in_log) {
        return Err(RecoverError::Inconsistent("the first entry is not the one that the group was founded with"));
    }
    state.founding = state.founding.or(in_log);
    Ok(state)
}

/// Returns true if only a leader sends such messages.
fn is_of_leader(message: &Message) -> bool {
    matches!(
        message,
        Message::AppendEntries(_)
            | Message::Heartbeat(_)
            | Message::CommitNotice(_)
            | Message::InstallSnapshot(_)
            | Message::TimeoutNow(_)
    )
}

/// Returns true for a granted pre-vote. It counts whatever the voter's own term, which may be earlier.
fn is_pre_vote_granted(message: &Message) -> bool {
    matches!(message, Message::VoteResponse(vote) if vote.kind == VoteKind::Pre && vote.verdict == Verdict::Granted)
}

/// Terms and indexes above this do not come from a correct node. Below it no counter overflows.
pub(crate) const TERM_MAX: Term = Term(u64::MAX / 2);
/// Maximum number of terms that a message may be ahead. A group that elects ten times a second needs thirteen years for
/// them. A message from further ahead comes from a fault, and following it would bring every node of the group to that
/// term.
const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// The same bound for indexes.
pub(crate) const INDEX_MAX: LogIndex = LogIndex(u64::MAX / 2);

/// Room for a state record beside a batch of entries.
const STATE_WRITE_BYTES: usize = 4096;
