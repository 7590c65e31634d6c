//! The invariants of a node's own state, all checked in full.

use crate::Raft;
use crate::state::RoleState;

impl Raft {
    /// Checks every invariant that this node's state alone can violate.
    pub(crate) fn check_own_laws(&self) {
        self.log.check_invariants();
        assert!(self.log.base().index <= self.commit_index, "only what is committed is compacted");
        assert!(self.commit_index <= self.log.last(), "what is committed is in the log");
        assert!(self.told.committed <= self.commit_index, "what was told is committed");
        assert!(self.log.last_term() <= self.state.term, "no entry is of a later term");
        assert!(self.matched <= self.log.last(), "what the leader sent is in the log");
        let snapshot_index = self.snapshot.as_ref().map(|snapshot| snapshot.index);
        assert!(snapshot_index.unwrap_or_default() >= self.log.base().index, "what was compacted is in a snapshot");
        assert!(self.reads.len() <= self.config.settings().reads_max, "waiting reads are bounded");
        let me = self.config.node();
        match &self.role {
            RoleState::Leader(leader) => {
                assert!(self.leader == Some(me), "a leader knows that it leads");
                assert!(self.state.voted_for == Some(me), "a leader voted for itself");
                assert!(self.chassis.outbox.is_durable(self.state_ticket), "a leader's term is durable");
                for progress in leader.progress.values() {
                    progress.check_invariants();
                    assert!(progress.match_index <= self.log.last(), "no peer matches beyond the log");
                    assert!(progress.next_index <= self.log.last().next(), "nothing is sent beyond the log");
                }
            }
            RoleState::Candidate(_) => assert!(self.state.voted_for == Some(me), "a candidate voted for itself"),
            RoleState::Follower(_) | RoleState::PreCandidate(_) => {
                assert!(self.leader != Some(me), "who does not lead is not the leader");
            }
        }
    }
}
