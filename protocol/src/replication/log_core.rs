//! The core: it takes every input, passes it to the present role, and returns every output.

use std::time::Duration;

use crate::replication::Election;
use crate::replication::error::Ignored;
use crate::replication::leader::Office;
use crate::replication::message::{AppendOutcome, AppendResponse, Message, ReadOutcome, Verdict, VoteKind};
use crate::replication::peers::replication::Ending;
use crate::replication::role::RoleState;
use crate::replication::shared::Shared;
use crate::replication::{Config, view};
use crate::{
    FailedWrite, HaltReason, Input, Instant, LogAnswer, LogCommand, LogEvent, LogIndex, MemberChange, NodeId, Now,
    Output, PersistFailure, Proposal, ProposalId, Protocol, RecoverError, Recovery, RefuseReason, Rest, Role, Signal,
    SnapshotMeta, Standing, StorageLevel, Term, Ticket, View, VotingBar,
};

/// One node's part in a group: Raft (Ongaro and Ousterhout, USENIX ATC 2014) as a pure state machine.
///
/// Inputs go in through [`handle`](Protocol::handle), outputs come out of [`poll_output`](Protocol::poll_output), and
/// [`deadline`](Protocol::deadline) returns the time of the next [`Signal::Timeout`]. Entries that were proposed or
/// received since the last poll leave as one write and one message to each peer. The crate's documentation shows the
/// loop around it.
#[derive(Clone, Debug)]
pub struct LogCore<E: Election> {
    pub(crate) shared: Shared<E>,
    pub(crate) role: RoleState,
    pub(crate) reported: Reported,
}

/// State that was last reported to the application, so that it gets changes only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) role: (Role, Term, Option<NodeId>),
    pub(crate) barred: Option<VotingBar>,
    /// The number of the configuration that was reported last.
    pub(crate) configuration: u64,
}

impl<E: Election> Protocol for LogCore<E> {
    type Config = Config;
    type Message = Message;
    type Command = LogCommand;
    type Event = LogEvent;
    type Request = crate::LogRequest;
    type Answer = LogAnswer;
    type View = View;

    fn recover(now: Now, config: Config, recovery: Recovery) -> Result<Self, RecoverError> {
        let mut shared = Shared::recover(now, config, &recovery)?;
        let role = (Role::Follower, shared.term(), None);
        shared.begin(recovery.snapshot);
        let reported = Reported { role, barred: None, configuration: shared.log.configurations().changes() };
        Ok(Self { shared, role: RoleState::follower(), reported })
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        self.shared.chassis.begin(now);
        let handled = match input {
            input if self.shared.chassis.is_halted() => self.shared.on_input_halted(input),
            Input::Message { from, message } => self.on_message(from, message),
            Input::Command(command) => self.on_command(command),
            Input::Completed { ticket, answer } => self.on_completed(ticket, answer),
            Input::Signal(signal) => self.on_signal(signal),
        };
        if self.shared.chassis.is_halted() {
            self.role = RoleState::follower();
        }
        self.shared.chassis.count(handled);
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        if self.shared.chassis.take_dirty() {
            self.flush();
        }
        let output = self.shared.chassis.outbox.poll();
        if matches!(output, Some(Output::Persist { .. })) {
            self.shared.disk.note_write(self.shared.now());
        }
        output
    }

    fn deadline(&self) -> Option<Instant> {
        let of_role = match &self.role {
            RoleState::Leader(leader) => leader.deadline(&self.shared),
            RoleState::Candidate(received) => {
                let again_at = received.catch_up().map(|catch_up| catch_up.again_at);
                again_at.into_iter().chain(self.campaign_at()).min()
            }
            _ => self.campaign_at(),
        };
        self.shared.chassis.deadline(of_role.into_iter().chain(self.shared.reads.deadline()))
    }

    fn model_view(&self) -> View {
        view::view(self)
    }

    fn may_rest(&self) -> bool {
        self.shared.settings().quiet_after.is_some()
    }

    fn rest(&self) -> Option<Rest> {
        let (leader, term) = (self.shared.election.leader()?, self.shared.term());
        let with = match &self.role {
            RoleState::Leader(office) => office.resting_peers()?,
            RoleState::Follower(follower) if follower.is_quiet() => vec![leader],
            _ => return None,
        };
        Some(Rest { leader, term, with })
    }

    fn older_copy(event: &LogEvent) -> Option<NodeId> {
        match event {
            LogEvent::AcknowledgedLost { node } => Some(*node),
            _ => None,
        }
    }

    fn check_invariants(&self) {
        crate::replication::invariants::check(self);
    }
}

/// The rules for all servers (Raft figure 2), and the way of each input to the present role.
impl<E: Election> LogCore<E> {
    /// Applies the rules for all servers first, then the rules for the kind of message and the role.
    fn on_message(&mut self, from: NodeId, message: Message) -> Result<(), Ignored> {
        let term = message.term();
        if term > TERM_MAX || term.0 > self.shared.term().0.saturating_add(TERMS_AHEAD_MAX) {
            return Err(Ignored::AbsurdTerm);
        }
        if from == self.shared.config.node() {
            return Err(Ignored::NotMember);
        }
        // A leader is known to all voters before it votes for itself. A stranger leads other nodes, of a cluster that
        // was founded twice.
        if is_of_leader(&message) && self.shared.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.enter_term_of(from, &message)?;
        let shared = &mut self.shared;
        match (message, &mut self.role) {
            (Message::RequestVote(message), _) => self.on_request_vote(from, message),
            (Message::Removed(message), _) => self.on_removed(from, message),
            (Message::VoteResponse(message), _) => self.on_vote_response(from, message),
            (Message::PullEntries(message), _) => self.on_pull_entries(from, message),
            (Message::PulledEntries(message), _) => self.on_pulled_entries(from, message),
            (Message::PulledSnapshot(message), _) => self.on_missing_snapshot(from, message),
            (Message::TimeoutNow(_), _) => self.on_timeout_now(),
            (Message::CommitNotice(message), _) => {
                shared.commitment.follow(message.commit_index);
                Ok(())
            }
            (Message::ReadIndexResponse(message), _) => shared.on_read_index_response(from, message),
            // Everyone follows the sender of a leader's message by now.
            (Message::AppendEntries(message), RoleState::Follower(follower)) => {
                follower.on_append_entries(shared, from, &message)
            }
            (Message::Heartbeat(message), RoleState::Follower(follower)) => {
                follower.on_heartbeat(shared, from, message)
            }
            (Message::InstallSnapshot(message), RoleState::Follower(follower)) => {
                follower.on_install_snapshot(shared, from, message)
            }
            (Message::AppendResponse(message), RoleState::Leader(leader)) => {
                leader.on_append_response(shared, from, message)
            }
            (Message::AppendResponse(message), RoleState::Follower(_)) => shared.on_corrupt_help(from, message),
            (Message::HeartbeatResponse(message), RoleState::Leader(leader)) => {
                leader.on_heartbeat_response(shared, from, message)
            }
            (Message::LeasePromise(message), RoleState::Leader(leader)) => {
                leader.on_lease_promise(shared, from, message)
            }
            (Message::ReadIndex(message), RoleState::Leader(_)) => shared.on_read_index(from, message),
            (Message::ReadIndex(message), _) => {
                shared.answer_read(from, message.number, ReadOutcome::NotLeader);
                Err(Ignored::NotLeading)
            }
            _ => Err(Ignored::NotLeading),
        }
    }

    /// Takes over the term of a message, and follows its sender if that is the leader. A request for a vote is left
    /// out: the voter decides whether it takes over the candidate's term.
    fn enter_term_of(&mut self, from: NodeId, message: &Message) -> Result<(), Ignored> {
        let (term, current) = (message.term(), self.shared.term());
        if matches!(message, Message::RequestVote(_) | Message::Removed(_) | Message::PullEntries(_)) {
            return Ok(());
        }
        if term < current && !self.is_of_any_term(message) {
            return self.on_stale(from, message);
        }
        if term > current {
            if !is_of_leader(message) && !self.shared.log.configuration().contains(from) {
                return Err(Ignored::NotMember);
            }
            self.become_follower(term, None);
        }
        if is_of_leader(message) { self.follow(from) } else { Ok(()) }
    }

    /// Returns true for a message that counts although its sender's term is earlier: a granted pre-vote, and the two
    /// that lead to entries that this node lacks.
    fn is_of_any_term(&self, message: &Message) -> bool {
        match message {
            Message::VoteResponse(vote) if vote.kind == VoteKind::Pre => {
                vote.verdict == Verdict::Granted || self.shared.settings().pull_before_election
            }
            Message::PulledEntries(_) => true,
            _ => false,
        }
    }

    /// Does not act on a message of an earlier term. A leader of that term must be notified that it is over. Otherwise
    /// a node that knows a later term could never be included again by a leader whose followers do not time out.
    fn on_stale(&mut self, from: NodeId, message: &Message) -> Result<(), Ignored> {
        let term = self.shared.term();
        if is_of_leader(message) {
            let outcome = AppendOutcome::Stale;
            self.shared.send(from, Message::AppendResponse(AppendResponse { term, outcome }));
        } else if let Message::ReadIndex(question) = message {
            self.shared.answer_read(from, question.number, ReadOutcome::NotLeader);
        }
        Err(Ignored::StaleTerm)
    }

    /// Follows the sender, which is the leader of this term.
    fn follow(&mut self, from: NodeId) -> Result<(), Ignored> {
        let leader = self.shared.election.leader();
        if matches!(self.role, RoleState::Leader(_)) || leader.is_some_and(|leader| leader != from) {
            self.shared.halt(HaltReason::LawBroken("two leaders in a term"));
            return Err(Ignored::Halted);
        }
        if leader.is_none() || !matches!(self.role, RoleState::Follower(_)) {
            self.become_follower(self.shared.term(), Some(from));
        }
        let now = self.shared.now();
        if let RoleState::Follower(follower) = &mut self.role {
            follower.end_quiet(&mut self.shared, now);
        }
        self.shared.election.hear_leader(now);
        Ok(())
    }

    fn on_command(&mut self, command: LogCommand) -> Result<(), Ignored> {
        match command {
            LogCommand::Propose(proposal) => self.on_propose(proposal),
            LogCommand::Read { id } => self.shared.on_read(id),
            LogCommand::Compact { snapshot, keep_from } => self.on_compact(snapshot, keep_from),
            LogCommand::Transfer { to, timeout } => self.on_transfer(to, timeout),
            LogCommand::Campaign => self.on_campaign(),
            LogCommand::StepDown => self.on_step_down(),
            LogCommand::ChangeConfiguration { id, changes } => self.on_change(id, &changes),
        }
    }

    fn on_propose(&mut self, proposal: Proposal) -> Result<(), Ignored> {
        if let RoleState::Leader(leader) = &mut self.role {
            return leader.on_propose(&mut self.shared, proposal);
        }
        self.shared.refuse(proposal.id, RefuseReason::NotLeader);
        Ok(())
    }

    fn on_change(&mut self, id: ProposalId, changes: &[MemberChange]) -> Result<(), Ignored> {
        match &mut self.role {
            RoleState::Leader(leader) => leader.on_change(&mut self.shared, id, changes),
            _ => self.shared.refuse(id, RefuseReason::NotLeader),
        }
        Ok(())
    }

    /// A snapshot is durable on this node: compacts the entries that it covers, except those that peers need.
    fn on_compact(&mut self, snapshot: SnapshotMeta, keep_from: LogIndex) -> Result<(), Ignored> {
        self.shared.adopt_snapshot(snapshot)?;
        match &mut self.role {
            RoleState::Leader(leader) => leader.on_compact(&mut self.shared, keep_from),
            _ => self.shared.compact(keep_from),
        }
        Ok(())
    }

    fn on_transfer(&mut self, to: Option<NodeId>, timeout: Duration) -> Result<(), Ignored> {
        let RoleState::Leader(leader) = &mut self.role else { return Err(Ignored::NotLeading) };
        leader.on_transfer(&self.shared, to, timeout)
    }

    /// A node that was promised to a leader, or hears one, must not elect another one.
    fn on_campaign(&mut self) -> Result<(), Ignored> {
        if self.is_bound() { Err(Ignored::LeaderAlive) } else { self.on_election_timeout() }
    }

    fn on_step_down(&mut self) -> Result<(), Ignored> {
        match self.role {
            RoleState::Leader(_) => self.act_on(Office::GivesWay),
            _ => Err(Ignored::NotLeading),
        }
    }

    /// Handles the application's answer to a request.
    fn on_completed(&mut self, ticket: Ticket, answer: LogAnswer) -> Result<(), Ignored> {
        let (to, ending) = match answer {
            LogAnswer::SnapshotDurable { snapshot } => {
                self.shared.on_snapshot_durable(ticket, snapshot)?;
                match &mut self.role {
                    RoleState::Follower(follower) => follower.owe_acknowledgement(),
                    RoleState::Candidate(_) => self.on_missing_snapshot_installed(),
                    RoleState::PreCandidate(_) | RoleState::Leader(_) => {}
                }
                return Ok(());
            }
            LogAnswer::SnapshotReceiveFailed => return self.shared.on_snapshot_failed(ticket),
            LogAnswer::SnapshotSent { to, .. } => (to, Ending::Done),
            LogAnswer::SnapshotSendFailed { to } => (to, Ending::GivenUp),
            LogAnswer::SnapshotUnreadable { to } => (to, Ending::Unread),
        };
        let RoleState::Leader(leader) = &mut self.role else { return self.on_sent_to_help(ticket) };
        let office = leader.peers.on_snapshot_ended(self.shared.now(), ticket, to, ending)?;
        self.act_on(office)
    }

    fn on_signal(&mut self, signal: Signal) -> Result<(), Ignored> {
        let shared = &mut self.shared;
        match (signal, &mut self.role) {
            (Signal::Timeout, _) => self.on_timeout(),
            (Signal::PeerAlive(node), RoleState::Leader(leader)) => leader.on_peer_alive(shared.now(), node),
            (Signal::PeerSilent { node, heard_at }, RoleState::Leader(leader)) => {
                leader.on_peer_silent(shared.now(), node, heard_at)
            }
            (Signal::PeerSilent { node, heard_at }, RoleState::Follower(follower))
                if shared.election.leader() == Some(node) =>
            {
                follower.end_quiet(shared, heard_at);
                Ok(())
            }
            (Signal::Unreachable(node), RoleState::Leader(leader)) => leader.on_unreachable(shared.now(), node),
            (Signal::Unreachable(node), RoleState::Follower(follower)) if shared.election.leader() == Some(node) => {
                let now = shared.now();
                follower.end_quiet(shared, now);
                Ok(())
            }
            (Signal::PeerAlive(_) | Signal::PeerSilent { .. } | Signal::Unreachable(_), _) => Ok(()),
            (Signal::PeerStanding { node, standing }, _) => self.on_peer_standing(node, standing),
            (Signal::Storage(level), _) => self.on_storage(level),
            (Signal::CompactRequested, _) => self.on_compact_requested(),
            (Signal::Persisted(ticket), _) => self.on_persisted(ticket),
            (Signal::PersistFailed { ticket, failure }, _) => self.on_persist_failed(ticket, failure),
            (Signal::Loaded { ticket, result: Ok(loaded) }, RoleState::Leader(leader)) => {
                leader.peers.on_loaded(shared, ticket, loaded)
            }
            (Signal::Loaded { ticket, result: Err(failure) }, RoleState::Leader(leader)) => {
                let office = leader.peers.on_load_failed(shared, ticket, failure)?;
                self.act_on(office)
            }
            (Signal::Loaded { ticket, result }, _) => self.on_loaded_to_help(ticket, result),
        }
    }

    fn on_timeout(&mut self) -> Result<(), Ignored> {
        let shared = &mut self.shared;
        shared.chassis.resume_due_writes();
        if let RoleState::Leader(leader) = &mut self.role {
            let office = leader.on_timeout(shared);
            return self.act_on(office);
        }
        shared.ask_again();
        self.ask_for_entries_again();
        let is_due = self.campaign_at().is_some_and(|at| at <= self.shared.now());
        if is_due { self.on_election_timeout() } else { Ok(()) }
    }

    fn on_peer_standing(&mut self, node: NodeId, standing: Standing) -> Result<(), Ignored> {
        if !self.shared.chassis.set_standing(node, standing) {
            return Ok(());
        }
        let is_own = node == self.shared.config.node();
        match &mut self.role {
            RoleState::Leader(_) | RoleState::PreCandidate(_) | RoleState::Candidate(_) if is_own => self.step_down(),
            RoleState::Leader(leader) => leader.on_peer_standing(&self.shared, node, standing),
            RoleState::PreCandidate(received) | RoleState::Candidate(received) => received.forget(node),
            RoleState::Follower(_) => {
                if standing == Standing::Stranger && self.shared.election.leader() == Some(node) {
                    self.lose_leader();
                }
            }
        }
        Ok(())
    }

    /// Notes that the disk's reserve is used up, or is available again.
    fn on_storage(&mut self, level: StorageLevel) -> Result<(), Ignored> {
        if self.shared.chassis.set_storage(level) {
            self.shared.disk.note_level(self.shared.now());
            self.wake();
        }
        Ok(())
    }

    /// The log's oldest segment waits for this group: compacts everything that the newest snapshot covers, even if
    /// peers lag.
    fn on_compact_requested(&mut self) -> Result<(), Ignored> {
        match &self.role {
            RoleState::Leader(leader) => leader.compact(&mut self.shared, INDEX_MAX),
            _ => self.shared.compact(INDEX_MAX),
        }
        Ok(())
    }

    fn on_persisted(&mut self, ticket: Ticket) -> Result<(), Ignored> {
        let shared = &mut self.shared;
        shared.chassis.outbox.persisted(ticket);
        if shared.chassis.outbox.in_flight().is_none() {
            shared.disk.note_idle();
        }
        let outbox = &shared.chassis.outbox;
        let is_longer = shared.log.persisted(|ticket| outbox.is_durable(ticket));
        match &mut self.role {
            RoleState::Leader(leader) if is_longer => leader.advance_commit(shared),
            RoleState::Candidate(_) => {
                self.count_own_vote();
                self.lead_if_caught_up();
            }
            _ => {}
        }
        Ok(())
    }

    /// A write that was certainly not made is made again after a while. A leader or candidate lets other nodes lead
    /// meanwhile. After any other failure the state of the disk is not known.
    fn on_persist_failed(&mut self, ticket: Ticket, failure: PersistFailure) -> Result<(), Ignored> {
        match self.shared.chassis.failed_write(ticket, failure) {
            FailedWrite::Refused => {}
            FailedWrite::Stale => return Err(Ignored::StaleAnswer),
            FailedWrite::Fatal(reason) => {
                self.shared.halt(reason);
                return Err(Ignored::Halted);
            }
        }
        if !matches!(self.role, RoleState::Follower(_)) {
            self.step_down();
        }
        self.shared.rewind_writes();
        Err(Ignored::LogRefuses)
    }

    /// Ends leadership if its leader said so.
    fn act_on(&mut self, office: Office) -> Result<(), Ignored> {
        if office != Office::Stays {
            self.step_down();
        }
        if office == Office::GivesWay {
            self.shared.election.postpone();
        }
        Ok(())
    }

    /// Returns true if a leader is known to be alive (Raft §6), or was promised that no other node gets a vote.
    pub(crate) fn is_bound(&self) -> bool {
        match &self.role {
            RoleState::Leader(_) => true,
            RoleState::Follower(follower) if follower.is_quiet() => true,
            _ => self.shared.now() < self.shared.election.bound_until(),
        }
    }

    /// Returns the time of the next campaign unless a leader is heard from before. A quiet follower has none: it is
    /// told when its leader's node falls silent.
    fn campaign_at(&self) -> Option<Instant> {
        let is_quiet = matches!(&self.role, RoleState::Follower(follower) if follower.is_quiet());
        (!is_quiet).then(|| self.shared.election.at())
    }

    /// Ends quiet of a leader because of an activity.
    pub(crate) fn wake(&mut self) {
        if let RoleState::Leader(leader) = &mut self.role {
            leader.wake(self.shared.now());
        }
    }

    /// Produces the outputs for the inputs since the last poll: one write, one message to each peer, one event of each
    /// kind.
    fn flush(&mut self) {
        let submitted_bytes = self.shared.write_log();
        match &mut self.role {
            RoleState::Leader(leader) => leader.flush(&mut self.shared, submitted_bytes),
            RoleState::Follower(follower) => {
                follower.acknowledge(&mut self.shared);
                self.shared.start_question();
            }
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => {}
        }
        self.report();
    }

    /// Reports changes to the application.
    fn report(&mut self) {
        let role = (self.role_name(), self.shared.term(), self.shared.election.leader());
        let shared = &mut self.shared;
        if let Some(index) = shared.commitment.news(shared.log.durable()) {
            shared.chassis.outbox.event_after(shared.commitment.reset_ticket(), LogEvent::Committed { index });
        }
        if role != self.reported.role {
            self.reported.role = role;
            let (role, term, leader) = role;
            shared.chassis.outbox.event_after(shared.durable.ticket(), LogEvent::Role { role, term, leader });
        }
        let barred = shared.barred();
        if barred != self.reported.barred {
            self.reported.barred = barred;
            shared.chassis.outbox.event(LogEvent::Voting { barred });
        }
        if shared.log.configurations().changes() != self.reported.configuration {
            self.reported.configuration = shared.log.configurations().changes();
            let configuration = shared.log.configuration().clone();
            shared.chassis.outbox.event(LogEvent::Configuration { configuration });
        }
    }

    /// The role as it is reported to the application.
    pub(crate) fn role_name(&self) -> Role {
        let name = self.role.name();
        let is_learner = name == Role::Follower && !self.shared.log.configuration().is_voter(self.shared.config.node());
        if is_learner { Role::Learner } else { name }
    }
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

/// Terms and indexes above this do not come from a correct node. Below it no counter overflows.
pub(crate) const TERM_MAX: Term = Term(u64::MAX / 2);
/// Maximum number of terms that a message may be ahead. A group that elects ten times a second needs thirteen years for
/// them. A message from further ahead comes from a fault, and following it would bring every node of the group to that
/// term.
const TERMS_AHEAD_MAX: u64 = 1 << 32;
/// The same bound for indexes.
pub(crate) const INDEX_MAX: LogIndex = LogIndex(u64::MAX / 2);
