//! Attempts to decide a transaction: the coordinator's first one, and those of nodes that hear nothing.
//!
//! With quorums, an attempt is a ballot of consensus on one decision, as in E3PC (Keidar and Dolev 1998). Who answers a
//! higher attempt takes no part in lower ones. The answers of a majority tell the newest attempt in which something may
//! have been decided, and the new attempt proposes the same. Only the coordinator's first attempt may propose to commit
//! without such an answer, because it has all votes.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::NodeId;

use super::core::{ThreePhaseCommit, origin};
use super::event::Form;
use super::message::{Message, Position, Small};
use super::site::{Attempt, Leading, Phase, Site};
use crate::{Decision, Ignored, TransactionId};

impl ThreePhaseCommit {
    pub(super) fn on_vote(&mut self, from: NodeId, transaction: TransactionId, is_yes: bool) -> Result<(), Ignored> {
        let site = self.sites.get_mut(&transaction).ok_or(Ignored::Stale)?;
        let (everybody, first) = (site.participants.len(), Attempt::first(origin(transaction)));
        let Leading::Voting(votes) = &mut site.leading else { return Err(Ignored::Stale) };
        if !is_yes {
            self.decide(transaction, Decision::Abort);
            return Ok(());
        }
        votes.insert(from);
        if votes.len() == everybody {
            self.propose(transaction, first, Decision::Commit);
        }
        Ok(())
    }

    /// A transaction has waited for too long.
    pub(super) fn on_timeout(&mut self, transaction: TransactionId) {
        let is_classical = self.config.settings().form == Form::Classical;
        let Some(site) = self.sites.get_mut(&transaction) else { return };
        site.timeouts = site.timeouts.saturating_add(1);
        match (site.phase, &site.leading) {
            (Phase::Decided(decision), _) => {
                self.arm_silence(transaction);
                for node in self.sites[&transaction].unaware.clone() {
                    self.tell_decision(node, transaction, decision);
                }
            }
            // Nobody can have proposed to commit: this node has not voted, or has not yet used its first attempt.
            (Phase::Asked, _) | (_, Leading::Voting(_)) => self.decide(transaction, Decision::Abort),
            // Who has not answered by now has crashed, as the classical form sees it.
            (_, Leading::Electing(_)) if is_classical => self.choose(transaction),
            (_, Leading::Proposing(decision, _)) if is_classical => {
                let decision = *decision;
                self.decide(transaction, decision);
            }
            _ => self.elect(transaction),
        }
    }

    /// Begins an attempt: asks all participants how far they are.
    fn elect(&mut self, transaction: TransactionId) {
        let node = self.config.node();
        self.arm_silence(transaction);
        let site = self.site(transaction);
        let attempt = Attempt { round: site.elected.round.saturating_add(1), node };
        if attempt <= site.elected {
            return;
        }
        site.elected = attempt;
        site.leading = Leading::Electing(BTreeMap::new());
        self.write(transaction);
        self.send_all(transaction, &Message::Small(Small::Elect { transaction, attempt }));
    }

    pub(super) fn on_elect(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        attempt: Attempt,
    ) -> Result<(), Ignored> {
        if attempt.node != from {
            return Err(Ignored::Absurd);
        }
        let is_classical = self.config.settings().form == Form::Classical;
        let Some(site) = self.sites.get_mut(&transaction) else { return self.answer_unknown(from, transaction) };
        let position = match site.phase {
            Phase::Decided(decision) => {
                self.tell_decision(from, transaction, decision);
                return Ok(());
            }
            Phase::Asked => {
                self.decide(transaction, Decision::Abort);
                self.tell_decision(from, transaction, Decision::Abort);
                return Ok(());
            }
            Phase::Ready => Position::Ready,
            Phase::Accepted(decision) => Position::Accepted(decision, site.attempted),
        };
        if attempt < site.elected && !is_classical {
            return Err(Ignored::OldEpoch);
        }
        if attempt > site.elected {
            site.elected = attempt;
            site.leading = Leading::No;
            self.write(transaction);
            self.arm_silence(transaction);
        }
        let written = self.chassis.outbox.newest_write();
        let state = Message::Small(Small::State { transaction, attempt, position });
        self.chassis.outbox.send_after(written, from, state);
        Ok(())
    }

    /// Answers a question about a transaction of which this node has no record.
    fn answer_unknown(&mut self, from: NodeId, transaction: TransactionId) -> Result<(), Ignored> {
        if self.is_over(transaction) {
            self.send(from, Message::Small(Small::Presume { transaction }));
            return Ok(());
        }
        if origin(transaction) == self.config.node() {
            return Err(Ignored::Absurd);
        }
        self.fence(transaction);
        self.tell_decision(from, transaction, Decision::Abort);
        Ok(())
    }

    pub(super) fn on_presume(&mut self, transaction: TransactionId) -> Result<(), Ignored> {
        // If it were committed, its coordinator would keep it until this node knows.
        if self.sites.get(&transaction).is_none_or(Site::is_decided) {
            return Err(Ignored::Stale);
        }
        self.decide(transaction, Decision::Abort);
        Ok(())
    }

    pub(super) fn on_state(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        attempt: Attempt,
        position: Position,
    ) -> Result<(), Ignored> {
        let form = self.config.settings().form;
        let site = self.sites.get_mut(&transaction).ok_or(Ignored::Stale)?;
        let (needed, everybody) = (site.majority(), site.participants.len());
        let is_own = attempt == site.elected;
        let Leading::Electing(states) = &mut site.leading else { return Err(Ignored::Stale) };
        if !is_own {
            return Err(Ignored::Stale);
        }
        let state = match position {
            Position::Ready => (Phase::Ready, Attempt::default()),
            Position::Accepted(decision, attempted) => (Phase::Accepted(decision), attempted),
        };
        states.insert(from, state);
        let needed = if form == Form::Classical { everybody } else { needed };
        if states.len() == needed {
            self.choose(transaction);
        }
        Ok(())
    }

    /// Proposes what the answers allow.
    fn choose(&mut self, transaction: TransactionId) {
        let form = self.config.settings().form;
        let site = self.site(transaction);
        let Leading::Electing(states) = &site.leading else { return };
        let attempt = site.elected;
        let accepted = states.values().filter_map(|(phase, attempted)| match phase {
            Phase::Accepted(decision) => Some((*attempted, *decision)),
            _ => None,
        });
        let decision = match form {
            Form::Quorum => accepted.max().map_or(Decision::Abort, |(_, decision)| decision),
            Form::Classical if accepted.count() > 0 => Decision::Commit,
            Form::Classical => return self.decide(transaction, Decision::Abort),
        };
        self.propose(transaction, attempt, decision);
    }

    fn propose(&mut self, transaction: TransactionId, attempt: Attempt, decision: Decision) {
        self.site(transaction).leading = Leading::Proposing(decision, BTreeSet::new());
        self.arm_silence(transaction);
        self.send_all(transaction, &Message::Small(Small::Propose { transaction, attempt, decision }));
    }

    pub(super) fn on_propose(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        attempt: Attempt,
        decision: Decision,
    ) -> Result<(), Ignored> {
        if attempt.node != from {
            return Err(Ignored::Absurd);
        }
        let is_classical = self.config.settings().form == Form::Classical;
        let Some(site) = self.sites.get_mut(&transaction) else {
            // A commit is proposed only to participants that voted.
            let is_abort = decision == Decision::Abort;
            return if is_abort { self.answer_unknown(from, transaction) } else { Err(Ignored::Stale) };
        };
        match site.phase {
            Phase::Decided(decision) => {
                self.tell_decision(from, transaction, decision);
                return Ok(());
            }
            Phase::Asked if decision == Decision::Commit => return Err(Ignored::Absurd),
            Phase::Asked => {
                self.decide(transaction, Decision::Abort);
                return Ok(());
            }
            Phase::Ready | Phase::Accepted(_) => {}
        }
        if attempt < site.elected && !is_classical {
            return Err(Ignored::OldEpoch);
        }
        let is_new = attempt > site.elected;
        if is_new && attempt.node != self.config.node() {
            site.leading = Leading::No;
        }
        site.elected = site.elected.max(attempt);
        (site.attempted, site.phase) = (attempt, Phase::Accepted(decision));
        let written = self.write(transaction);
        self.arm_silence(transaction);
        let accept = Message::Small(Small::Accept { transaction, attempt });
        self.chassis.outbox.send_after(written, from, accept);
        Ok(())
    }

    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        attempt: Attempt,
    ) -> Result<(), Ignored> {
        let form = self.config.settings().form;
        let site = self.sites.get_mut(&transaction).ok_or(Ignored::Stale)?;
        let (majority, everybody) = (site.majority(), site.participants.len());
        let is_current = attempt == site.elected && attempt == site.attempted;
        let Leading::Proposing(decision, accepted) = &mut site.leading else { return Err(Ignored::Stale) };
        if !is_current && form == Form::Quorum {
            return Err(Ignored::Stale);
        }
        accepted.insert(from);
        let needed = if form == Form::Classical { everybody } else { majority };
        if accepted.len() == needed {
            let decision = *decision;
            self.decide(transaction, decision);
        }
        Ok(())
    }
}
