//! Constrained elections: a node that is refused a pre-vote because its log is older pulls the entries that it lacks
//! from the voter that refused, and asks again.
//!
//! It helps where one node alone reaches a quorum and its log lags: the voters with newer logs cannot win, and would
//! not vote for it. The argument why this is safe is in DESIGN.md. It rests on these rules:
//!
//! 1. **Only an extension.** The entries follow the last entry of the receiver's log, of the same index and term.
//!    Nothing is truncated, so nothing that was acknowledged is lost.
//! 2. **Never acknowledged.** What was pulled does not count as matching the log of any leader. The next leader
//!    compares it like any entry that an earlier leader left behind.
//! 3. **Never ahead of the own term.** No entry of a later term than the node's own is taken.
//! 4. **Without a leader.** Neither side does this while it knows a living leader.

use crate::replication::error::Ignored;
use crate::replication::follower::take_entries;
use crate::replication::message::{AppendEntries, Message, PullEntries, PulledEntries};
use crate::replication::role::RoleState;
use crate::replication::{Election, LogCore};
use crate::{LogIndex, LogPosition, NodeId, Standing};

impl<E: Election> LogCore<E> {
    /// Asks a voter that refused a pre-vote for what this node may lack.
    pub(crate) fn pull_from(&mut self, voter: NodeId) {
        let shared = &mut self.shared;
        if shared.settings().pull_before_election {
            let LogPosition { index: prev_index, term: prev_term } = shared.log.end();
            let term = shared.term();
            shared.send(voter, Message::PullEntries(PullEntries { term, prev_index, prev_term }));
        }
    }

    /// A node that lags asks for entries. Those that left the cache are not loaded for it.
    pub(crate) fn on_pull_entries(&mut self, from: NodeId, message: PullEntries) -> Result<(), Ignored> {
        let is_elected = message.term == self.shared.term() && self.shared.durable.state().voted_for == Some(from);
        if is_elected && E::elects_any() {
            return self.help_elected(from, message);
        }
        self.check_pull(from)?;
        let shared = &mut self.shared;
        let PullEntries { prev_index, prev_term, .. } = message;
        let is_behind = prev_index < shared.log.last() && shared.log.term_at(prev_index) == Some(prev_term);
        let bytes_max = shared.settings().batch_bytes_max;
        let batch = is_behind.then(|| shared.log.batch(prev_index.next(), shared.log.last(), bytes_max)).flatten();
        let (batch, _) = batch.ok_or(Ignored::StaleAnswer)?;
        shared.send_missing(from, LogPosition { index: prev_index, term: prev_term }, batch);
        Ok(())
    }

    /// Takes entries that follow the last entry here, and asks for votes again.
    pub(crate) fn on_pulled_entries(&mut self, from: NodeId, message: PulledEntries) -> Result<(), Ignored> {
        if matches!(self.role, RoleState::Candidate(_)) {
            return self.on_missing_entries(from, message);
        }
        self.check_pull(from)?;
        let shared = &mut self.shared;
        let PulledEntries { prev_index, prev_term, batch, .. } = message;
        let is_next = (prev_index, prev_term) == (shared.log.last(), shared.log.last_term());
        if !is_next || shared.election.leader().is_some() {
            return Err(Ignored::StaleAnswer);
        }
        let (term, commit_index) = (shared.term(), LogIndex::ZERO);
        take_entries(shared, from, &AppendEntries { term, prev_index, prev_term, commit_index, batch })?;
        if self.shared.may_campaign() {
            self.become_pre_candidate();
        }
        Ok(())
    }

    fn check_pull(&self, from: NodeId) -> Result<(), Ignored> {
        if self.shared.chassis.standing(from) == Standing::Stranger {
            return Err(Ignored::Stranger);
        }
        if !self.shared.settings().pull_before_election {
            return Err(Ignored::NotLeading);
        }
        // Who promised a leader to vote for nobody else does not campaign either.
        if self.is_bound() { Err(Ignored::LeaderAlive) } else { Ok(()) }
    }
}
