//! Calls of a replica, by which its handles and operators use it.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    DiskState, Instant, LogCommand, LogIndex, LogStatus, MemberChange, NodeId, Now, ReplicatedLog, Role, Term,
};

use super::Replica;
use crate::group::hostable::Hostable;
use crate::group::interface::CallId;
use crate::group::outcome::{BuildError, CampaignError, NotApplied, Outcome, ReadError, TransferError};
use crate::group::reply::Reply;
use crate::replica::explain::{EntryState, Obstacle};
use crate::replica::proposals::ProposeOptions;
use crate::replica::seat::Seat;
use crate::replica::state_machine::StateMachine;
use crate::replica::status::{ReadContext, ReplicaStatus};

impl<L: ReplicatedLog + Hostable, S: StateMachine> Replica<L, S> {
    /// Proposes a command. The outcome comes as [`Reply::Outcome`]; [`Outcome`] lists the possible outcomes.
    ///
    /// On a replica that does not lead, the command is forwarded to the leader, once. While there is no leader it waits
    /// here.
    pub fn propose(&mut self, now: Now, call: CallId, command: Bytes, options: ProposeOptions) {
        self.begin(now);
        match self.refusal() {
            Some(reason) => self.context.reply(call, Reply::Outcome(options.delivery.refused(reason))),
            None => self.proposals.propose(&mut self.context, self.application.applied(), call, command, options),
        }
    }

    /// Answers a call without proposing anything.
    pub(crate) fn refuse(&mut self, call: CallId, reason: NotApplied) {
        self.context.reply(call, Reply::Outcome(Outcome::NotApplied(reason)));
    }

    /// Opens this replica's session, or opens it again. A session is required for exactly-once. It ends when no command
    /// of it was applied for `timeout` of log time. A process needs one session, not one for each client. Answered by
    /// [`Reply::Outcome`].
    pub fn open_session(&mut self, now: Now, call: CallId, timeout: Duration, deadline: Instant) {
        self.begin(now);
        match self.refusal() {
            Some(reason) => self.refuse(call, reason),
            None => {
                self.proposals.open_session(&mut self.context, self.application.applied(), call, timeout, deadline);
            }
        }
    }

    /// Closes this replica's session. Its commands that are still on their way are not applied. Answered by
    /// [`Reply::Outcome`].
    pub fn close_session(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.begin(now);
        match self.refusal() {
            Some(reason) => self.refuse(call, reason),
            None => self.proposals.close_session(&mut self.context, self.application.applied(), call, deadline),
        }
    }

    /// Starts a linearizable read. [`Reply::ReadReady`] comes out once the state machine has applied everything that
    /// was acknowledged by any node before `now`. Works on any replica. Reads that come between two turns share one
    /// round.
    pub fn read(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.begin(now);
        match self.read_refusal() {
            Some(error) => self.context.reply(call, Reply::ReadFailed(error)),
            None => self.reads.add(&mut self.context, call, deadline),
        }
    }

    /// Starts a read of a state that has applied at least `index`. [`Reply::ReadReady`] comes out once that holds here,
    /// without a message to any node. A client that passes the index of what it saw last ([`ReadContext::index`]) from
    /// one replica to the next never sees an older state.
    pub fn read_at_least(&mut self, now: Now, call: CallId, index: LogIndex, deadline: Instant) {
        self.begin(now);
        match self.read_refusal() {
            Some(error) => self.context.reply(call, Reply::ReadFailed(error)),
            None => self.reads.add_at_least(&mut self.context, call, index, deadline),
        }
    }

    /// Reads the present state at once, without a message, if this node leads and holds a lease. The lease is checked
    /// again after the access, because this thread may have been stopped meanwhile; `clock` must read the clock each
    /// time. `None` if the read must go its ordinary way ([`Replica::read`]): there is no lease, or it has ended, or
    /// something committed is not applied here yet.
    pub fn read_by_lease<R>(&mut self, clock: impl Fn() -> Now, read: impl FnOnce(&S, ReadContext) -> R) -> Option<R> {
        self.begin(clock());
        if !self.holds_lease(self.context.now()) {
            return None;
        }
        let result = read(self.state(), self.read_context());
        if !self.holds_lease(clock()) {
            return None;
        }
        self.context.counters.reads += 1;
        Some(result)
    }

    /// Returns true if a read of the present state is linearizable at `now`.
    fn holds_lease(&self, now: Now) -> bool {
        let is_applied = |index| index <= self.application.applied().index() && !self.snapshots.is_restoring();
        self.read_refusal().is_none() && self.context.core.lease(now).is_some_and(is_applied)
    }

    fn read_refusal(&self) -> Option<ReadError> {
        match &self.halted {
            Some(reason) => Some(ReadError::Halted(reason.clone())),
            None => self.hand_over.is_stopping().then_some(ReadError::ShuttingDown),
        }
    }

    /// Transfers leadership to `to`, or to the best candidate if `to` is `None`. Answered by [`Reply::Transfer`].
    pub fn transfer(&mut self, now: Now, call: CallId, to: Option<NodeId>, deadline: Instant) {
        self.begin(now);
        match &self.halted {
            Some(reason) => self.context.reply(call, Reply::Transfer(Err(TransferError::Halted(reason.clone())))),
            None => self.hand_over.transfer(&mut self.context, &self.peers, call, to, deadline),
        }
    }

    /// Begins an election now instead of at this node's election time-out. The result of the election shows in the
    /// [status](Replica::status).
    ///
    /// # Errors
    /// When this node may not be elected, or knows a leader that is alive.
    pub fn campaign(&mut self, now: Now) -> Result<(), CampaignError> {
        self.begin(now);
        let status = self.status();
        if let Some(bar) = status.log.barred {
            return Err(CampaignError::MayNotVote(bar));
        }
        if status.log.role == Role::Leader {
            return Err(CampaignError::Leads);
        }
        if status.halted.is_some() {
            return Err(CampaignError::NotEligible);
        }
        self.context.command(LogCommand::Campaign);
        let LogStatus { role, leader, .. } = self.context.core.status();
        match (role, leader) {
            (Role::PreCandidate | Role::Candidate | Role::Leader, _) => Ok(()),
            (_, Some(leader)) => Err(CampaignError::LeaderAlive(leader)),
            _ => Err(CampaignError::NotEligible),
        }
    }

    /// Gives up the leadership without a successor: the other nodes are given time to elect one. [`Replica::transfer`]
    /// interrupts service for a shorter time.
    ///
    /// # Errors
    /// When this node does not lead.
    pub fn step_down(&mut self, now: Now) -> Result<(), TransferError> {
        self.begin(now);
        if let Some(reason) = &self.halted {
            return Err(TransferError::Halted(reason.clone()));
        }
        if !self.context.is_leader() {
            return Err(TransferError::NotLeader { leader: self.context.leadership.leader });
        }
        self.context.command(LogCommand::StepDown);
        Ok(())
    }

    /// Makes a snapshot of everything that is applied now, unless there is one. The log keeps as many entries as after
    /// every snapshot. Answered by [`Reply::Built`] once it is durable.
    pub fn snapshot(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.ask_for_snapshot(now, call, deadline, false);
    }

    /// As [`Replica::snapshot`], and then removes every entry from this node's log that the snapshot covers. A peer
    /// that lacks one of these is sent the snapshot.
    pub fn compact(&mut self, now: Now, call: CallId, deadline: Instant) {
        self.ask_for_snapshot(now, call, deadline, true);
    }

    fn ask_for_snapshot(&mut self, now: Now, call: CallId, deadline: Instant, compacts: bool) {
        self.begin(now);
        match &self.halted {
            Some(reason) => self.context.reply(call, Reply::Built(Err(BuildError::Halted(reason.clone())))),
            None => self.snapshots.ask(&self.context, &self.application, (call, deadline), compacts),
        }
    }

    /// Changes the members of the group, all of `changes` together. Only the leader does; any other node answers
    /// `Refused { NotLeader }` with the leader that it knows. The outcome comes as [`Reply::Outcome`]: `Applied` once
    /// the change is complete. A node that is added as a voter, or that replaces one, is a learner then: the leader
    /// makes it a voter when it has caught up, which [`ReplicaStatus`] shows.
    pub fn change_membership(&mut self, now: Now, call: CallId, changes: Vec<MemberChange>, deadline: Instant) {
        self.begin(now);
        if let Some(reason) = self.refusal() {
            return self.refuse(call, reason);
        }
        let changes = changes.into_iter().map(|change| self.peers.with_incarnation(change)).collect();
        self.member_changes.propose(&mut self.context, call, changes, deadline);
    }

    /// As [`Replica::read_context`], with the clocks at `now`.
    pub fn read_context_at(&mut self, now: Now) -> ReadContext {
        self.begin(now);
        self.read_context()
    }

    /// Returns the term in which this node leads, as far as it knows; `None` if it does not, or has stopped.
    pub fn leading(&self) -> Option<Term> {
        let leadership = self.context.leadership;
        (self.halted.is_none() && leadership.is_own()).then_some(leadership.term)
    }

    /// Returns the leader, as far as this node knows it.
    pub fn leader(&self) -> Option<NodeId> {
        self.context.leadership.leader
    }

    /// Returns the present state machine.
    pub fn state(&self) -> &S {
        self.application.state()
    }

    /// Returns the context of a read of the present state.
    pub fn read_context(&self) -> ReadContext {
        let (context, applied) = (&self.context, self.application.applied());
        let leader_heard = match context.leadership.leader {
            _ if context.is_leader() => Some(Duration::ZERO),
            leader => leader.and_then(|leader| self.peers.silence(leader, context.instant())),
        };
        ReadContext {
            index: applied.index(),
            log_time: applied.log_time(),
            now: context.core.log_time(context.now()).max(applied.log_time()),
            leader_heard,
        }
    }

    /// Returns the index of the last entry that may be applied: committed, and durable on this node.
    pub fn committed(&self) -> LogIndex {
        self.application.committed()
    }

    /// Returns the core for inspection.
    pub fn core(&self) -> &L {
        &self.context.core
    }

    /// Returns the identity of this replica.
    pub fn seat(&self) -> Seat {
        self.context.seat
    }

    /// Returns the status for an operator. It is computed at each call, so do not call it in every turn.
    pub fn status(&self) -> ReplicaStatus {
        let applied = self.application.applied();
        let mut log = self.context.core.status();
        log.barred = self.peers.voting_bar(log.barred);
        ReplicaStatus {
            seat: self.context.seat,
            log,
            founding: self.peers.founding().cloned(),
            applied_index: applied.index(),
            applied_log_time: applied.log_time(),
            feature_level: applied.level(),
            sessions: applied.sessions().len(),
            proposals_waiting: self.proposals.waiting(),
            proposals_bytes: self.proposals.bytes(),
            forwards_waiting: self.foreign.awaiting(),
            reads_waiting: self.reads.len(),
            snapshot_index: self.snapshots.newest(),
            snapshot_building: self.snapshots.building(),
            snapshot_restoring: self.snapshots.restoring(),
            sending: self.snapshots.sending(),
            receiving: self.snapshots.receiving(),
            catch_up: self.catch_up.counts(),
            counters: self.context.counters,
            halted: self.halted.clone(),
        }
    }

    /// Lists the obstacles between this replica and its service, the most important first, and then problems that exist
    /// although it serves. An empty list means that this node knows of no obstacle. Ask another node for its own
    /// obstacles, such as a full disk of the leader or a transfer of leadership under way.
    pub fn explain(&self) -> Vec<Obstacle> {
        if let Some(reason) = &self.halted {
            return vec![Obstacle::Halted(reason.clone())];
        }
        let mut obstacles = Vec::new();
        if self.hand_over.is_stopping() {
            obstacles.push(Obstacle::ShuttingDown);
        }
        let context = &self.context;
        match context.leadership.leader {
            None => self.explain_no_leader(&mut obstacles),
            Some(leader) => {
                // This is reported even if there is a leader, because a node that does not count reduces the number of
                // failures that the group tolerates.
                obstacles.extend(self.peers.introduction_bar().map(Obstacle::MayNotVote));
                if leader != context.seat.node && self.peers.is_silent(leader, context.instant()) {
                    obstacles.push(Obstacle::LeaderSilent(leader));
                }
            }
        }
        let founded_otherwise = self.peers.founded_otherwise();
        if !founded_otherwise.is_empty() {
            obstacles.push(Obstacle::FoundedOtherwise(founded_otherwise.iter().copied().collect()));
        }
        if self.snapshots.is_disk_low() {
            obstacles.push(Obstacle::DiskFull);
        }
        let log = context.core.status();
        if log.disk == DiskState::Stalled {
            obstacles.push(Obstacle::DiskStalled);
        }
        let disks = log.peers.iter().filter(|peer| peer.disk != DiskState::Ready && peer.is_active);
        obstacles.extend(disks.map(|peer| Obstacle::PeerDisk { node: peer.node, disk: peer.disk }));
        obstacles.extend(self.snapshots.restoring().map(Obstacle::Restoring));
        obstacles.extend(self.application.obstacle());
        obstacles.extend(self.snapshots.obstacle());
        obstacles.extend(self.clock_differs.map(|wall_ahead_ms| Obstacle::ClockDiffers { wall_ahead_ms }));
        obstacles
    }

    /// Returns the state of the entry at `index`, and what it waits for.
    pub fn explain_entry(&self, index: LogIndex) -> EntryState {
        if index <= self.application.applied().index() {
            return EntryState::Applied;
        }
        if index <= self.application.committed() {
            return EntryState::Committed;
        }
        let log = self.context.core.status();
        if index > log.last_index {
            return EntryState::NotReached;
        }
        if index > log.durable_index {
            return EntryState::WaitsForOwnDisk;
        }
        if !self.context.is_leader() {
            return self.context.leadership.leader.map_or(EntryState::NoLeader, EntryState::WaitsForLeader);
        }
        let behind = log.peers.iter().filter(|peer| peer.match_index < index);
        let voters = behind.filter(|peer| log.configuration.is_voter(peer.node));
        EntryState::WaitsForPeers(voters.map(|peer| peer.node).collect())
    }

    fn explain_no_leader(&self, obstacles: &mut Vec<Obstacle>) {
        obstacles.push(Obstacle::NoLeader);
        let context = &self.context;
        let log = context.core.status();
        obstacles.extend(self.peers.voting_bar(log.barred).map(Obstacle::MayNotVote));
        if matches!(context.leadership.role, Role::Candidate | Role::PreCandidate) {
            obstacles.push(Obstacle::ElectionUnderWay(context.leadership.term));
        }
        let voters: Vec<NodeId> = log.configuration.voters().collect();
        let is_silent = |voter: &NodeId| *voter != context.seat.node && self.peers.is_silent(*voter, context.instant());
        let silent: Vec<NodeId> = voters.iter().copied().filter(is_silent).collect();
        if silent.len() * 2 >= voters.len() && !silent.is_empty() {
            obstacles.push(Obstacle::VotersSilent(silent));
        }
    }

    /// Returns the reason why this replica accepts no command at all, if there is one.
    fn refusal(&self) -> Option<NotApplied> {
        if let Some(reason) = &self.halted {
            return Some(NotApplied::Halted(reason.clone()));
        }
        if self.hand_over.is_stopping() {
            return Some(NotApplied::ShuttingDown);
        }
        // The leader would refuse it. The session of an older copy may also be one that was used before.
        self.peers.stranger_bar().map(NotApplied::Stranger)
    }
}
