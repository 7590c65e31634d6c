//! The participant: it votes, stays in doubt until it learns the decision, and has the decision applied.
//!
//! ```text
//!            Prepare              yes             durable            Commit              applied, durable
//!  Enlisted ─────────► Preparing ─────► Writing ─────────► Prepared ────────► Committing ─────────► tombstone
//!     │                   │ no, read-only: tombstone            │ Abort, presumed
//!     └───────────────────┴──────────────┴────────────────────┴──────────► Aborting ─────────► tombstone
//! ```
//!
//! A tombstone stays until the coordinator reports the transaction as finished. It answers repeated messages, and
//! refuses a prepare that arrives after the decision.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId, Ticket};

use crate::codec::Record;
use crate::error::Ignored;
use crate::message::{Acknowledgement, CommitOnePhase, Message, Prepare};
use crate::state::{Awaited, Branch, BranchEnd, BranchStage};
use crate::timers::Timer;
use crate::{Decision, Event, RefuseReason, TransactionId, TwoPhaseCommit, Unready, Vote};

impl TwoPhaseCommit {
    pub(crate) fn on_enlist(&mut self, transaction: TransactionId) -> Result<(), RefuseReason> {
        self.check_standing(self.config.node()).map_err(|_| RefuseReason::NotIntroduced)?;
        let is_over = self.is_collected(transaction)
            || transaction.number.epoch < self.known_stamp(transaction.coordinator).epoch
            || self.tombstones.contains_key(&transaction);
        if is_over {
            return Err(RefuseReason::NotBegun);
        }
        if self.branches.contains_key(&transaction) {
            return Err(RefuseReason::AlreadyDeciding);
        }
        self.check_room(transaction.coordinator, 0).map_err(RefuseReason::Unready)?;
        self.add_branch(transaction, BranchStage::Enlisted, BTreeSet::new(), Bytes::new());
        let until = self.now.instant.after(self.config.settings().begin_timeout);
        self.timers.arm(Timer::Branch(transaction), until);
        Ok(())
    }

    pub(crate) fn on_prepare(&mut self, prepare: Prepare) -> Result<(), Ignored> {
        let Prepare { stamp, transaction, participants, payload } = prepare;
        // Undecided transactions of an older epoch are aborted.
        if transaction.number.epoch != stamp.epoch {
            return Err(Ignored::OldEpoch);
        }
        if self.is_collected(transaction) {
            return Err(Ignored::Collected);
        }
        if !participants.contains(&self.config.node()) {
            return Err(Ignored::Absurd);
        }
        match self.tombstones.get(&transaction).map(|tombstone| tombstone.end) {
            Some(BranchEnd::ReadOnly) => return self.vote_again(transaction, Vote::ReadOnly),
            Some(BranchEnd::Decided(Decision::Commit)) => return Err(Ignored::Stale),
            Some(BranchEnd::Decided(Decision::Abort) | BranchEnd::Abandoned) => {
                return self.vote_again(transaction, Vote::No);
            }
            None => {}
        }
        match self.branches.get(&transaction).map(|branch| branch.stage) {
            Some(BranchStage::Prepared) => return self.vote_again(transaction, Vote::Yes),
            Some(BranchStage::Enlisted) | None => {}
            Some(_) => return Err(Ignored::Repeated),
        }
        let settings = self.config.settings();
        if participants.len() > settings.participants_max || payload.len() > settings.payload_bytes_max {
            return self.refuse(transaction.coordinator, Some(transaction), Unready::TooLarge);
        }
        if let Err(why) = self.check_new(transaction, payload.len()) {
            return self.refuse(transaction.coordinator, Some(transaction), why);
        }
        self.unready = None;
        self.add_branch(transaction, BranchStage::Preparing, participants, payload);
        self.ask(transaction);
        Ok(())
    }

    pub(crate) fn on_commit_one_phase(&mut self, request: CommitOnePhase) -> Result<(), Ignored> {
        let CommitOnePhase { transaction, payload, .. } = request;
        if self.is_collected(transaction) {
            return Err(Ignored::Collected);
        }
        match self.tombstones.get(&transaction).map(|tombstone| tombstone.end) {
            Some(BranchEnd::Decided(decision)) => {
                self.tell_outcome(transaction.coordinator, transaction, decision);
                return Ok(());
            }
            // The branch was enlisted, and given up before it was asked to prepare.
            Some(BranchEnd::Abandoned | BranchEnd::ReadOnly) => {
                self.tell_outcome(transaction.coordinator, transaction, Decision::Abort);
                return Ok(());
            }
            None => {}
        }
        if !matches!(self.branches.get(&transaction).map(|branch| branch.stage), None | Some(BranchStage::Enlisted)) {
            return Err(Ignored::Repeated);
        }
        let is_too_large = payload.len() > self.config.settings().payload_bytes_max;
        if let Err(why) = self.check_new(transaction, if is_too_large { 0 } else { payload.len() }) {
            return self.refuse(transaction.coordinator, Some(transaction), why);
        }
        if is_too_large {
            // It will never be accepted, and no other node may decide: the decision was left to this node.
            self.decline(transaction);
            return Ok(());
        }
        self.unready = None;
        self.add_branch(transaction, BranchStage::Delegated, [self.config.node()].into(), payload);
        self.ask(transaction);
        Ok(())
    }

    pub(crate) fn on_decide(&mut self, transaction: TransactionId, decision: Decision) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        if let Some(tombstone) = self.tombstones.get(&transaction) {
            return match (tombstone.end, decision) {
                (BranchEnd::Decided(Decision::Commit), Decision::Commit) => {
                    self.acknowledge(transaction, Acknowledgement::AlreadyDone);
                    Ok(())
                }
                (BranchEnd::Decided(Decision::Commit), Decision::Abort) => self.break_law(ABORT_OF_COMMITTED),
                (_, Decision::Abort) => Err(Ignored::Repeated),
                (BranchEnd::ReadOnly, Decision::Commit) => Err(Ignored::Stale),
                (_, Decision::Commit) => self.break_law(COMMIT_OF_ABORTED),
            };
        }
        match (self.branches.get(&transaction).map(|branch| branch.stage), decision) {
            (Some(BranchStage::Prepared), Decision::Commit) => {
                self.commit_branch(transaction);
                Ok(())
            }
            (Some(BranchStage::Committing), Decision::Commit) | (Some(BranchStage::Aborting(_)), Decision::Abort) => {
                Err(Ignored::Repeated)
            }
            (Some(BranchStage::Aborting(_)), Decision::Commit) => self.break_law(COMMIT_OF_ABORTED),
            (Some(_), Decision::Commit) => self.break_law(COMMIT_WITHOUT_VOTE),
            (Some(BranchStage::Committing), Decision::Abort) => self.break_law(ABORT_OF_COMMITTED),
            (Some(BranchStage::Delegated), Decision::Abort) => Err(Ignored::Stale),
            (Some(_), Decision::Abort) => {
                self.abort_branch(transaction, BranchEnd::Decided(Decision::Abort));
                Ok(())
            }
            (None, Decision::Commit) => {
                self.acknowledge(transaction, Acknowledgement::Forgotten);
                Ok(())
            }
            (None, Decision::Abort) => self.fence(transaction),
        }
    }

    /// Handles the coordinator's statement that it does not know the transaction, and so will never commit it.
    pub(crate) fn on_presume(&mut self, transaction: TransactionId) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        match self.branches.get(&transaction).map(|branch| branch.stage) {
            Some(BranchStage::Enlisted | BranchStage::Preparing | BranchStage::Writing | BranchStage::Prepared) => {
                self.abort_branch(transaction, BranchEnd::Abandoned);
                Ok(())
            }
            _ => Err(Ignored::Stale),
        }
    }

    /// Handles the question of another participant in doubt. The answer is only what the coordinator told this node,
    /// not what this node concludes (cooperative termination: Bernstein, Hadzilacos, Goodman 1987, §7.4).
    pub(crate) fn on_peer_inquire(&mut self, from: NodeId, transaction: TransactionId) -> Result<(), Ignored> {
        let stage = self.branches.get(&transaction).map(|branch| branch.stage);
        let end = self.tombstones.get(&transaction).map(|tombstone| tombstone.end);
        let decision = match (stage, end) {
            (Some(BranchStage::Committing), _) => Decision::Commit,
            (Some(BranchStage::Aborting(BranchEnd::Decided(decision))), _)
            | (_, Some(BranchEnd::Decided(decision))) => decision,
            _ => return Err(Ignored::Undecided),
        };
        self.tell_outcome(from, transaction, decision);
        Ok(())
    }

    /// Handles a decision from another participant that knows it.
    pub(crate) fn on_peer_outcome(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        let branch = self.branches.get(&transaction).ok_or(Ignored::Stale)?;
        if branch.stage != BranchStage::Prepared {
            return Err(Ignored::Stale);
        }
        if !branch.participants.contains(&from) {
            return Err(Ignored::NotParticipant);
        }
        match decision {
            Decision::Commit => self.commit_branch(transaction),
            Decision::Abort => self.abort_branch(transaction, BranchEnd::Decided(Decision::Abort)),
        }
        Ok(())
    }

    /// The vote is durable. From now on only a decision ends the branch.
    pub(crate) fn on_prepared(&mut self, transaction: TransactionId) {
        let now = self.now.instant;
        let Some(branch) = self.branches.get_mut(&transaction) else { return };
        if branch.stage != BranchStage::Writing {
            return;
        }
        branch.stage = BranchStage::Prepared;
        branch.since = now;
        self.send_vote(transaction, Vote::Yes);
        // If the vote is lost, the coordinator asks again. This node asks only once the coordinator could have decided.
        self.timers.arm(Timer::Branch(transaction), now.after(self.config.settings().vote_timeout));
    }

    pub(crate) fn on_branch_timeout(&mut self, transaction: TransactionId) {
        let Some(branch) = self.branches.get(&transaction) else { return };
        match branch.stage {
            BranchStage::Enlisted => self.abort_branch(transaction, BranchEnd::Abandoned),
            BranchStage::Prepared if !self.recovering.contains(&transaction) => self.inquire(transaction),
            BranchStage::Prepared if !self.unheard.contains(&transaction) => {
                // Even without its locks the branch is in doubt, and the decision ends that.
                self.inquire(transaction);
                self.on_request_timeout(transaction);
            }
            BranchStage::Writing => {}
            _ => self.on_request_timeout(transaction),
        }
    }

    /// Aborts a branch that is not decided otherwise. An open request to the application no longer counts.
    pub(crate) fn abort_branch(&mut self, transaction: TransactionId, end: BranchEnd) {
        self.change_stage(transaction, BranchStage::Aborting(end));
        self.ask(transaction);
    }

    pub(crate) fn send_vote(&mut self, transaction: TransactionId, vote: Vote) {
        self.send(transaction.coordinator, Message::Vote { transaction, vote });
    }

    /// Adds a branch, or continues one that was enlisted.
    pub(crate) fn add_branch(
        &mut self,
        transaction: TransactionId,
        stage: BranchStage,
        participants: BTreeSet<NodeId>,
        payload: Bytes,
    ) {
        self.timers.cancel(Timer::Branch(transaction));
        self.take_on(transaction.coordinator, payload.len());
        let branch = Branch::new(stage, participants, payload, self.now.instant);
        if let Some(enlisted) = self.branches.insert(transaction, branch) {
            self.let_go(transaction.coordinator, enlisted.payload.len());
        }
    }

    /// Still in doubt: asks the coordinator, and all participants if the coordinator does not answer.
    fn inquire(&mut self, transaction: TransactionId) {
        let (now, report_after) = (self.now.instant, self.config.settings().report_after);
        let me = self.config.node();
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let mut asked = BTreeSet::from([transaction.coordinator]);
        if branch.attempt > 0 {
            asked.extend(branch.participants.iter().filter(|node| **node != me));
        }
        branch.attempt = branch.attempt.saturating_add(1);
        let (age, attempt) = (now.since(branch.since), branch.attempt);
        if age >= report_after && !branch.is_reported {
            branch.is_reported = true;
            self.outbox.event(Event::InDoubt { transaction, age });
        }
        for node in asked {
            self.send(node, Message::Inquire { transaction });
        }
        let again_at = self.retry_at(attempt);
        self.timers.arm(Timer::Branch(transaction), again_at);
    }

    pub(crate) fn write_prepared(&mut self, transaction: TransactionId) {
        let key = self.new_key();
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.stage = BranchStage::Writing;
        branch.key = Some(key);
        let (participants, payload) = (branch.participants.clone(), branch.payload.clone());
        let record = Record::Prepared { transaction, participants, payload };
        self.write(key, &record, Some(Awaited::Prepared(transaction)));
    }

    fn commit_branch(&mut self, transaction: TransactionId) {
        self.change_stage(transaction, BranchStage::Committing);
        self.ask(transaction);
    }

    fn change_stage(&mut self, transaction: TransactionId, stage: BranchStage) {
        let now = self.now.instant;
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.stage = stage;
        (branch.attempt, branch.failures, branch.is_overdue) = (0, 0, false);
        branch.asked_since = now;
        if let Some(ticket) = branch.request.take() {
            self.requests.remove(&ticket);
        }
        self.timers.cancel(Timer::Branch(transaction));
        // The branch needs its locks only to release them.
        self.recovering.remove(&transaction);
        self.hear_of_recovery(transaction);
    }

    /// The application has carried out this decision. It is written before other nodes are told.
    pub(crate) fn settle(&mut self, transaction: TransactionId, decision: Decision) -> Ticket {
        let end = BranchEnd::Decided(decision);
        let key = self.place_of(transaction);
        self.bury(transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, decision);
        let written = self.write(key, &Record::Settled { transaction, end }, Some(awaited));
        self.collect(transaction.coordinator);
        written
    }

    /// The branch is aborted. If a crash loses this record, it is aborted again.
    pub(crate) fn settle_aborted(&mut self, transaction: TransactionId, end: BranchEnd) {
        let key = self.place_of(transaction);
        self.bury(transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, Decision::Abort);
        self.write_lazily(key, &Record::Settled { transaction, end }, Some(awaited));
        self.collect(transaction.coordinator);
    }

    fn place_of(&mut self, transaction: TransactionId) -> u64 {
        let key = self.branches.get(&transaction).and_then(|branch| branch.key);
        key.unwrap_or_else(|| self.new_key())
    }

    fn acknowledge(&mut self, transaction: TransactionId, how: Acknowledgement) {
        let covered = self.outbox.newest_write();
        self.outbox.send_after(covered, transaction.coordinator, Message::Acknowledge { transaction, how });
    }

    /// Tells a decision once every record that it depends on is durable.
    fn tell_outcome(&mut self, to: NodeId, transaction: TransactionId, decision: Decision) {
        let covered = self.flush();
        self.outbox.send_after(covered, to, Message::Outcome { transaction, decision });
    }

    fn vote_again(&mut self, transaction: TransactionId, vote: Vote) -> Result<(), Ignored> {
        self.send_vote(transaction, vote);
        Err(Ignored::Repeated)
    }

    /// Aborts a transaction whose decision was left to this node.
    fn decline(&mut self, transaction: TransactionId) {
        if self.branches.contains_key(&transaction) {
            // The application has begun it. When asked again, this node tells the outcome.
            return self.abort_branch(transaction, BranchEnd::Decided(Decision::Abort));
        }
        let written = self.settle(transaction, Decision::Abort);
        let outcome = Message::Outcome { transaction, decision: Decision::Abort };
        self.outbox.send_after(written, transaction.coordinator, outcome);
    }

    /// Checks that the application was told what a branch in doubt holds before it is told the branch's end.
    fn check_heard(&self, transaction: TransactionId) -> Result<(), Ignored> {
        if self.unheard.contains(&transaction) { Err(Ignored::Recovering) } else { Ok(()) }
    }

    /// The checks for all new work.
    fn check_new(&self, transaction: TransactionId, bytes: usize) -> Result<(), Unready> {
        if !self.unheard.is_empty() {
            return Err(Unready::Recovering);
        }
        if self.branches.contains_key(&transaction) {
            return self.check_bytes(transaction.coordinator, bytes);
        }
        self.check_room(transaction.coordinator, bytes)
    }

    fn break_law(&mut self, law: &'static str) -> Result<(), Ignored> {
        self.halt(HaltReason::LawBroken(law));
        Err(Ignored::Halted)
    }
}

const COMMIT_OF_ABORTED: &str = "a commit was decided of a branch that is aborted here";
const ABORT_OF_COMMITTED: &str = "an abort was decided of a branch that is committed here";
const COMMIT_WITHOUT_VOTE: &str = "a commit was decided without the vote of a participant";
