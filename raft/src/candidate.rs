//! Elections: requesting votes, and granting them (Raft §5.2, §5.4.1; thesis §9.6 for pre-votes).

use quorate_protocol::{LogIndex, Member, MemberRole, NodeId, ReadFailure, Standing, Term};

use crate::Raft;
use crate::error::Ignored;
use crate::message::{ClockReading, Message, RequestVote, Verdict, VoteKind, VoteResponse};
use crate::quorum::{Tally, tally};
use crate::state::{Ballot, Follower, RoleState};

impl Raft {
    /// Handles an election time-out: nothing was heard from a leader for long enough.
    pub(crate) fn on_election_timeout(&mut self) -> Result<(), Ignored> {
        self.arm_election_timer();
        self.lose_leader();
        if !self.may_campaign() {
            return Err(Ignored::NoCandidate);
        }
        self.become_pre_candidate();
        Ok(())
    }

    /// The leader transfers leadership to this node.
    pub(crate) fn on_timeout_now(&mut self) -> Result<(), Ignored> {
        if !self.may_campaign() {
            return Err(Ignored::NoCandidate);
        }
        self.become_candidate(VoteKind::Transfer);
        Ok(())
    }

    /// A node requests this node's vote.
    pub(crate) fn on_request_vote(&mut self, from: NodeId, request: RequestVote) -> Result<(), Ignored> {
        if self.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        self.check_founding(request.founding)?;
        if self.leader == Some(from) && request.term > self.state.term {
            // A node that wants to lead a later term no longer leads this one. A quiet follower learns it here.
            self.lose_leader();
        }
        if request.kind != VoteKind::Transfer && self.is_leader_alive() {
            // The candidate may have lost contact with a leader that is quiet.
            self.wake();
            return Err(Ignored::LeaderAlive);
        }
        let is_current = match request.kind {
            VoteKind::Pre => request.term > self.state.term,
            VoteKind::Full | VoteKind::Transfer => request.term >= self.state.term,
        };
        if request.kind != VoteKind::Pre && request.term > self.state.term {
            self.become_follower(request.term, None);
        }
        // The candidate's log must be at least as up-to-date: first its last term counts, then its length (§5.4.1).
        let is_up_to_date = (request.last_term, request.last_index) >= (self.log.last_term(), self.log.last());
        let is_granted =
            is_current && is_up_to_date && self.barred().is_none() && self.may_vote_for(from, request.kind);
        if is_granted && request.kind != VoteKind::Pre {
            if self.state.voted_for.is_none() {
                self.state.voted_for = Some(from);
                self.persist_state();
            }
            self.arm_election_timer();
        }
        let verdict = if is_granted { Verdict::Granted } else { Verdict::Refused };
        let clock =
            ClockReading { log_time: self.clock.log_time(self.chassis.now()), wall_ms: self.chassis.now().wall_ms };
        let response = VoteResponse { term: self.state.term, asked: request.term, kind: request.kind, verdict, clock };
        self.send(from, Message::VoteResponse(response));
        Ok(())
    }

    /// A voter answers a request.
    pub(crate) fn on_vote_response(&mut self, from: NodeId, response: VoteResponse) -> Result<(), Ignored> {
        if self.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        let is_pre = response.kind == VoteKind::Pre;
        let ballot = match &mut self.role {
            RoleState::PreCandidate(ballot) if is_pre && response.asked == self.state.term.next() => ballot,
            RoleState::Candidate(ballot) if !is_pre && response.asked == self.state.term => ballot,
            _ => return Err(Ignored::StaleAnswer),
        };
        // The first answer counts: a candidate asks once, and a duplicate changes nothing.
        if *ballot.votes.entry(from).or_insert(response.verdict == Verdict::Granted) {
            ballot.clocks.entry(from).or_insert(response.clock);
        }
        self.count_votes();
        Ok(())
    }

    /// Counts a candidate's vote for itself once it is durable.
    pub(crate) fn count_own_vote(&mut self) {
        let node = self.config.node();
        if let RoleState::Candidate(ballot) = &mut self.role
            && self.chassis.outbox.is_durable(ballot.own_vote)
            && ballot.votes.insert(node, true).is_none()
        {
            self.count_votes();
        }
    }

    /// Returns true if this node may campaign. A node whose disk is stalled could not serve as leader.
    pub(crate) fn may_campaign(&self) -> bool {
        let node = self.config.node();
        let is_eligible =
            |member: &Member| member.node == node && member.role == MemberRole::Voter && member.priority > 0;
        let configuration = self.log.configuration();
        self.barred().is_none()
            && !self.is_stalled()
            && configuration.members().iter().chain(configuration.outgoing()).any(is_eligible)
    }

    /// Returns true if a leader is known to be alive. Then no other node is elected (Raft §6).
    pub(crate) fn is_leader_alive(&self) -> bool {
        let lease_end = self.leader_heard_at.after(self.config.settings().election_timeout_min);
        match &self.role {
            RoleState::Leader(_) => true,
            _ => self.leader.is_some() && self.chassis.instant() < lease_end,
        }
    }

    /// Forgets the leader. Reads that wait for it fail.
    pub(crate) fn lose_leader(&mut self) {
        if let RoleState::Follower(follower) = &mut self.role {
            follower.quiet_since = None;
        }
        if self.leader.take().is_some() {
            self.fail_reads(ReadFailure::LeadershipLost);
        }
    }

    /// Enters `term`, or stays in it, as a follower of `leader`, if it is known.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.state.term, "a term never goes back");
        if term > self.state.term {
            self.state.term = term;
            self.state.voted_for = None;
            self.matched = LogIndex::ZERO;
            self.drop_held_messages();
            self.persist_state();
        }
        if self.leader != leader {
            self.fail_reads(ReadFailure::LeadershipLost);
        }
        self.leader = leader;
        if !matches!(self.role, RoleState::Follower(_)) {
            self.arm_election_timer();
        }
        // Acknowledgements that were owed to an earlier leader, or earlier to this one, are no longer owed.
        self.role = RoleState::Follower(Follower::default());
    }

    fn become_pre_candidate(&mut self) {
        let mut ballot = Ballot::default();
        ballot.votes.insert(self.config.node(), true);
        self.role = RoleState::PreCandidate(ballot);
        self.ask_for_votes(VoteKind::Pre, self.state.term.next());
        self.count_votes();
    }

    fn become_candidate(&mut self, kind: VoteKind) {
        self.fail_reads(ReadFailure::LeadershipLost);
        self.leader = None;
        self.state.term = self.state.term.next();
        self.state.voted_for = Some(self.config.node());
        self.matched = LogIndex::ZERO;
        self.drop_held_messages();
        self.write_whole_log();
        self.persist_state();
        self.role = RoleState::Candidate(Ballot { own_vote: self.state_ticket, ..Ballot::default() });
        self.arm_election_timer();
        self.ask_for_votes(kind, self.state.term);
    }

    /// Requests the vote of every other voter. The request describes this log, so it waits until all of the log is
    /// durable.
    fn ask_for_votes(&mut self, kind: VoteKind, term: Term) {
        self.write_whole_log();
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        let request = RequestVote { term, kind, last_index, last_term, founding: self.state.founding };
        let newest_write = self.chassis.outbox.newest_write();
        let configuration = self.log.configuration();
        for node in configuration.nodes().filter(|node| configuration.is_voter(*node) && *node != self.config.node()) {
            self.chassis.outbox.send_after(newest_write, node, Message::RequestVote(request));
        }
    }

    fn count_votes(&mut self) {
        let (RoleState::PreCandidate(ballot) | RoleState::Candidate(ballot)) = &self.role else { return };
        let outcome = tally(self.log.configuration(), |node| ballot.votes.get(&node).copied());
        match (outcome, &self.role) {
            (Tally::Won, RoleState::PreCandidate(_)) => self.become_candidate(VoteKind::Full),
            (Tally::Won, _) => self.become_leader(),
            (Tally::Lost, _) => self.role = RoleState::Follower(Follower::default()),
            (Tally::Open, _) => {}
        }
    }

    /// Returns true if this node may vote for the candidate: there is one vote in a term (Raft §5.2). A pre-vote binds
    /// no node.
    fn may_vote_for(&self, candidate: NodeId, kind: VoteKind) -> bool {
        kind == VoteKind::Pre || (self.leader.is_none() && self.state.voted_for.is_none_or(|node| node == candidate))
    }

    /// Drops held messages by name: their acknowledgements and votes belong to the term that is over.
    fn drop_held_messages(&mut self) {
        let term = self.state.term;
        self.chassis.outbox.drop_held(|_, message| message.term() < term);
    }
}
