//! Elections: requesting votes, and granting them (Raft §5.2, §5.4.1; thesis §9.6 for pre-votes).

use std::collections::BTreeMap;

use crate::replication::catch_up::{CatchUp, Helping};
use crate::replication::error::Ignored;
use crate::replication::leader::Leader;
use crate::replication::log_core::INDEX_MAX;
use crate::replication::message::{ClockReading, Message, Removed, RequestVote, Verdict, VoteKind, VoteResponse};
use crate::replication::quorum::{Tally, tally};
use crate::replication::role::RoleState;
use crate::replication::shared::Shared;
use crate::replication::{Election, LogCore};
use crate::{Configuration, LogPosition, NodeId, ReadFailure, Standing, Term, Ticket};

/// Votes that a (pre-)candidate has received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VotesReceived {
    /// The answer of each voter. A candidate's own vote counts once it is durable.
    votes: BTreeMap<NodeId, bool>,
    /// The clocks of those who granted the vote.
    clocks: BTreeMap<NodeId, ClockReading>,
    /// The ends of their logs.
    logs: BTreeMap<NodeId, LogPosition>,
    /// The write that makes the candidate's own vote durable.
    own_vote: Ticket,
    /// The way of an elected candidate to the newest log of its voters.
    catch_up: Option<CatchUp>,
}

impl VotesReceived {
    /// Notes an answer. The first one counts: a candidate asks once, and a duplicate changes nothing.
    fn note(&mut self, from: NodeId, response: VoteResponse) {
        if *self.votes.entry(from).or_insert(response.verdict == Verdict::Granted) {
            self.clocks.entry(from).or_insert(response.clock);
            let log = LogPosition { index: response.last_index, term: response.last_term };
            self.logs.entry(from).or_insert(log);
        }
    }

    /// Forgets the answer of a node whose standing changed.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.votes.remove(&node);
        self.clocks.remove(&node);
        self.logs.remove(&node);
        self.catch_up.take_if(|catch_up| catch_up.from == node);
    }

    /// Returns the voter with the newest log among those that granted their votes, and the end of that log.
    pub(crate) fn best_log(&self) -> Option<(NodeId, LogPosition)> {
        let best = self.logs.iter().max_by_key(|(_, log)| (log.term, log.index));
        best.map(|(node, log)| (*node, *log))
    }

    /// Returns true if a quorum of this configuration has granted its votes.
    pub(crate) fn has_won(&self, configuration: &Configuration) -> bool {
        tally(configuration, |node| self.votes.get(&node).copied()) == Tally::Won
    }

    pub(crate) fn catch_up(&self) -> Option<CatchUp> {
        self.catch_up
    }

    pub(crate) fn begin_catch_up(&mut self, catch_up: CatchUp) {
        self.catch_up = Some(catch_up);
    }

    /// Notes that the logs are equal up to `at`.
    pub(crate) fn advance_to(&mut self, at: LogPosition) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.at = at;
        }
    }

    pub(crate) fn end_catch_up(&mut self) {
        self.catch_up = None;
    }

    pub(crate) fn own_vote(&self) -> Ticket {
        self.own_vote
    }

    /// The state that affects behaviour, except the ticket and the time.
    pub(crate) fn view(&self) -> impl std::fmt::Debug + '_ {
        let catch_up = self.catch_up.map(|catch_up| (catch_up.from, catch_up.at));
        (&self.votes, &self.clocks, &self.logs, catch_up)
    }
}

/// Campaigns, votes, and changes of the role.
impl<E: Election> LogCore<E> {
    /// Handles an election time-out: nothing was heard from a leader for long enough.
    pub(crate) fn on_election_timeout(&mut self) -> Result<(), Ignored> {
        self.shared.election.arm(self.shared.now());
        self.lose_leader();
        if !self.shared.may_campaign() {
            return Err(Ignored::NoCandidate);
        }
        self.become_pre_candidate();
        Ok(())
    }

    /// The leader transfers leadership to this node.
    pub(crate) fn on_timeout_now(&mut self) -> Result<(), Ignored> {
        if !self.shared.may_campaign() {
            return Err(Ignored::NoCandidate);
        }
        self.become_candidate(VoteKind::Transfer);
        Ok(())
    }

    /// A node requests this node's vote.
    pub(crate) fn on_request_vote(&mut self, from: NodeId, request: RequestVote) -> Result<(), Ignored> {
        if self.shared.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.shared.durable.check_founding(request.founding)?;
        if self.shared.election.leader() == Some(from) && request.term > self.shared.term() {
            // A node that wants to lead a later term no longer leads this one. A quiet follower learns it here.
            self.lose_leader();
            self.shared.election.release();
        }
        if request.kind != VoteKind::Transfer && self.is_bound() {
            self.tell_if_removed(from);
            // The candidate may have lost contact with a leader that is quiet.
            self.wake();
            return Err(Ignored::LeaderAlive);
        }
        let is_current = match request.kind {
            VoteKind::Pre => request.term > self.shared.term(),
            VoteKind::Full | VoteKind::Transfer => request.term >= self.shared.term(),
        };
        if request.kind != VoteKind::Pre && request.term > self.shared.term() {
            self.become_follower(request.term, None);
        }
        let is_granted = is_current && may_grant(&self.shared, from, request);
        if is_granted && request.kind != VoteKind::Pre {
            if self.shared.durable.vote(from) {
                self.shared.persist_state();
            }
            self.shared.election.arm(self.shared.now());
        }
        if !is_granted {
            self.tell_if_removed(from);
        }
        let verdict = if is_granted { Verdict::Granted } else { Verdict::Refused };
        let now = self.shared.chassis.now();
        let clock = ClockReading { log_time: self.shared.clock.log_time(now), wall_ms: now.wall_ms };
        let (term, asked, kind) = (self.shared.term(), request.term, request.kind);
        let LogPosition { index: last_index, term: last_term } = self.shared.log.end();
        let response = VoteResponse { term, asked, kind, verdict, clock, last_index, last_term };
        self.shared.send(from, Message::VoteResponse(response));
        Ok(())
    }

    /// Tells a node that asks for votes and is no member any more that it was removed. Nobody else tells it: it was
    /// away while the leader did.
    fn tell_if_removed(&mut self, from: NodeId) {
        let (index, configuration) = self.shared.log.configurations().at(self.shared.commitment.index());
        if !configuration.contains(from) && configuration.voters().next().is_some() {
            let removed = Removed { term: self.shared.term(), index: *index };
            self.shared.send(from, Message::Removed(removed));
        }
    }

    /// Another node states that this node was removed. It stops campaigning until it gets a newer configuration.
    pub(crate) fn on_removed(&mut self, from: NodeId, message: Removed) -> Result<(), Ignored> {
        if self.shared.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        if message.index < self.shared.log.configurations().index() || message.index > INDEX_MAX {
            return Err(Ignored::StaleAnswer);
        }
        self.shared.removed_at = self.shared.removed_at.max(Some(message.index));
        if matches!(self.role, RoleState::PreCandidate(_) | RoleState::Candidate(_)) {
            self.step_down();
        }
        Ok(())
    }

    /// A voter answers a request.
    pub(crate) fn on_vote_response(&mut self, from: NodeId, response: VoteResponse) -> Result<(), Ignored> {
        if self.shared.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        let is_pre = response.kind == VoteKind::Pre;
        let term = self.shared.term();
        let received = match &mut self.role {
            RoleState::PreCandidate(received) if is_pre && response.asked == term.next() => received,
            RoleState::Candidate(received) if !is_pre && response.asked == term => received,
            _ => return Err(Ignored::StaleAnswer),
        };
        received.note(from, response);
        if is_pre && response.verdict == Verdict::Refused {
            self.pull_from(from);
        }
        self.count_votes();
        Ok(())
    }

    /// Counts a candidate's vote for itself once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        let node = self.shared.config.node();
        if let RoleState::Candidate(received) = &mut self.role
            && self.shared.chassis.outbox.is_durable(received.own_vote)
            && received.votes.insert(node, true).is_none()
        {
            self.count_votes();
        }
    }

    /// Forgets the leader. Reads that wait for it fail.
    pub(crate) fn lose_leader(&mut self) {
        let now = self.shared.now();
        if let RoleState::Follower(follower) = &mut self.role {
            follower.end_quiet(&mut self.shared, now);
        }
        if self.shared.election.set_leader(None) {
            self.shared.fail_reads(ReadFailure::LeadershipLost);
        }
    }

    /// Enters `term`, or stays in it, as a follower of `leader`, if it is known.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.shared.term(), "a term never goes back");
        if term > self.shared.term() {
            self.shared.enter_term(term);
            self.shared.persist_state();
        }
        if self.shared.election.leader() != leader {
            self.shared.fail_reads(ReadFailure::LeadershipLost);
        }
        self.shared.election.set_leader(leader);
        // A leader has all that it asked for, and may change the log here while a load is under way.
        self.shared.helping = Helping::default();
        // The wait of a quiet follower was not started again since it went quiet.
        if !matches!(&self.role, RoleState::Follower(follower) if !follower.is_quiet()) {
            self.shared.election.arm(self.shared.now());
        }
        // Acknowledgements that were owed to an earlier leader, or earlier to this one, are no longer owed.
        self.role = RoleState::follower();
    }

    /// Stops leading or campaigning although no leader is known.
    pub(crate) fn step_down(&mut self) {
        self.become_follower(self.shared.term(), None);
    }

    /// Asks whether this node would win an election.
    pub(crate) fn become_pre_candidate(&mut self) {
        let mut received = VotesReceived::default();
        received.votes.insert(self.shared.config.node(), true);
        self.role = RoleState::PreCandidate(received);
        let term = self.shared.term().next();
        ask_for_votes(&mut self.shared, VoteKind::Pre, term);
        self.count_votes();
    }

    fn become_candidate(&mut self, kind: VoteKind) {
        let shared = &mut self.shared;
        shared.fail_reads(ReadFailure::LeadershipLost);
        shared.election.set_leader(None);
        let term = shared.term().next();
        shared.enter_term(term);
        shared.durable.vote(shared.config.node());
        shared.write_whole_log();
        shared.persist_state();
        self.role =
            RoleState::Candidate(VotesReceived { own_vote: shared.durable.ticket(), ..VotesReceived::default() });
        shared.election.arm(shared.now());
        ask_for_votes(shared, kind, term);
    }

    /// Becomes leader after a quorum has voted for this node.
    pub(crate) fn become_leader(&mut self) {
        if let RoleState::Candidate(received) = &self.role {
            let voters: Vec<ClockReading> = received.clocks.values().copied().collect();
            self.shared.clock.begin(self.shared.chassis.now(), self.shared.log.log_time(), &voters);
        }
        self.role = RoleState::Leader(Box::new(Leader::begin(&mut self.shared)));
    }

    fn count_votes(&mut self) {
        let (RoleState::PreCandidate(received) | RoleState::Candidate(received)) = &self.role else { return };
        let outcome = tally(self.shared.log.configuration(), |node| received.votes.get(&node).copied());
        match (outcome, &self.role) {
            (Tally::Won, RoleState::PreCandidate(_)) => self.become_candidate(VoteKind::Full),
            (Tally::Won, _) => self.lead_or_catch_up(),
            (Tally::Lost, _) => self.role = RoleState::follower(),
            (Tally::Open, _) => {}
        }
    }
}

/// Returns true if this node, in the candidate's term, may vote for it: the rule of election must allow it, and there
/// is one vote in a term (Raft §5.2). A pre-vote binds no node.
fn may_grant<E: Election>(shared: &Shared<E>, candidate: NodeId, request: RequestVote) -> bool {
    let candidate_log = LogPosition { index: request.last_index, term: request.last_term };
    let is_free =
        request.kind == VoteKind::Pre || (shared.election.leader().is_none() && shared.durable.may_vote_for(candidate));
    E::may_vote(shared.log.end(), candidate_log) && shared.may_vote() && is_free
}

/// Requests the vote of every other voter. The request describes this log, so it waits until all of the log is durable.
pub(crate) fn ask_for_votes<E: Election>(shared: &mut Shared<E>, kind: VoteKind, term: Term) {
    shared.write_whole_log();
    let (last_index, last_term) = (shared.log.last(), shared.log.last_term());
    let request = RequestVote { term, kind, last_index, last_term, founding: shared.durable.founding() };
    let newest_write = shared.chassis.outbox.newest_write();
    let (me, configuration) = (shared.config.node(), shared.log.configuration());
    for node in configuration.nodes().filter(|node| configuration.is_voter(*node) && *node != me) {
        shared.chassis.outbox.send_after(newest_write, node, Message::RequestVote(request));
    }
}
