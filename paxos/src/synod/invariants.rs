//! The laws of a node's own state.

use super::Synod;
use super::state::Phase;

impl Synod {
    /// Thoroughly checks the laws that must hold between any two inputs.
    pub(crate) fn check_own_laws(&self) {
        let settings = self.config.settings();
        assert!(self.proposals.len() <= settings.commands_max, "waiting proposals are bounded");
        assert!(self.reads.len() <= settings.commands_max, "waiting reads are bounded");
        let bytes = self.proposals.iter().map(|waiting| waiting.proposal.value.len()).sum::<usize>();
        assert!(bytes <= settings.commands_bytes_max, "the bytes of waiting proposals are bounded");
        let queued = self.outbox.queued_writes().count();
        assert!(queued <= QUEUED_MAX, "writes that wait for the log are bounded: {queued}");
        if let Some(accepted) = &self.accepted {
            assert!(accepted.ballot <= self.state.promised, "what was accepted was promised");
        }
        if self.halted.is_some() {
            assert!(self.attempt.is_none(), "a stopped group tries nothing");
            return;
        }
        if self.chosen.is_some() {
            assert!(self.attempt.is_none(), "what is chosen is tried no more");
            assert!(self.settle_at.is_none() && !self.is_settling, "what is chosen is settled");
            assert!(self.read_round.is_none() && self.read_newest.is_none(), "what is chosen is asked no more");
        } else {
            assert!(self.unaware.is_empty(), "what is not known is told to nobody");
            assert!(!self.is_chosen_told, "what is not known is told to nobody");
        }
        assert!(self.unaware.is_empty() || self.announce_at.is_some(), "who is unaware will be told");
        self.check_attempt();
    }

    fn check_attempt(&self) {
        let is_left_open = self.accepted.is_some() && self.chosen.is_none();
        assert!(!is_left_open || self.is_settling || self.settle_at.is_some(), "what was accepted is seen to");
        let Some(attempt) = &self.attempt else { return };
        assert!(self.is_counting(), "a stranger has no ballot");
        assert!(attempt.ballot.node == self.config.node(), "a ballot is its node's own");
        assert!(attempt.ballot.round == self.state.round, "the last ballot is the one under way");
        assert!(
            attempt.own.is_none_or(|own| own >= attempt.heard_after),
            "nobody answers a ballot before it is durable"
        );
        assert!(attempt.answered.is_disjoint(&attempt.refused), "no acceptor both answered and refused");
        if let Phase::Prepare { newest: Some(newest) } = &attempt.phase {
            assert!(newest.ballot < attempt.ballot, "nothing is accepted above the ballot that is prepared");
        }
    }
}

/// The writes that a peer may cause, the node's own acceptance, the decision, and everything written again.
const QUEUED_MAX: usize = 6;
