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

mod answers;
pub(crate) mod heuristics;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId, RecoverError, Ticket};

use self::heuristics::Heuristics;
use crate::base::Base;
use crate::codec::Record;
use crate::error::Ignored;
use crate::journal::KeyedRecord;
use crate::message::{Acknowledgement, CommitOnePhase, Finished, Message, Prepare, Stamp};
use crate::outcomes::Outcomes;
use crate::recovery::TWO_RECORDS;
use crate::room::Room;
use crate::state::{Branch, BranchEnd, BranchStage, KnownCoordinator, Tombstone};
use crate::timers::Timer;
use crate::{CoordinatorId, Decision, Event, TransactionId, TransactionRefusal, Unready, Vote};

/// The branches of transactions at this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Participant {
    /// The branches that are not settled. None of them has a tombstone. Each has a timer, unless it waits for the log
    /// alone.
    branches: BTreeMap<TransactionId, Branch>,
    /// The open requests to the application. Each is the request of a branch.
    requests: BTreeMap<Ticket, TransactionId>,
    /// Branches that were in doubt at the start and do not have their locks back yet. All are prepared.
    recovering: BTreeSet<TransactionId>,
    /// Those of `recovering` for which the application has not answered yet. Until it has answered for all, it gets no
    /// new branch.
    unheard: BTreeSet<TransactionId>,
    outcomes: Outcomes,
    /// Branches that ended as an operator forced them to, and whose decision is not known or was the other one. They
    /// are neither in `branches` nor in `outcomes`.
    heuristics: Heuristics,
    /// The resources of `branches` and of the tombstones in `outcomes`.
    room: Room,
}

impl Participant {
    pub(crate) fn branches(&self) -> &BTreeMap<TransactionId, Branch> {
        &self.branches
    }

    pub(crate) fn requests(&self) -> &BTreeMap<Ticket, TransactionId> {
        &self.requests
    }

    pub(crate) fn recovering(&self) -> &BTreeSet<TransactionId> {
        &self.recovering
    }

    pub(crate) fn unheard(&self) -> &BTreeSet<TransactionId> {
        &self.unheard
    }

    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn heuristics(&self) -> &Heuristics {
        &self.heuristics
    }

    pub(crate) fn heuristics_mut(&mut self) -> &mut Heuristics {
        &mut self.heuristics
    }

    fn stage_of(&self, transaction: TransactionId) -> Option<BranchStage> {
        self.branches.get(&transaction).map(|branch| branch.stage)
    }

    /// Takes up a branch in doubt from its record. The branches of another node are none of this one's, although it may
    /// have taken over that node's log.
    pub(crate) fn adopt_branch(
        &mut self,
        base: &Base,
        key: u64,
        transaction: TransactionId,
        participants: BTreeSet<NodeId>,
        payload: Bytes,
        forced: Option<Decision>,
    ) -> Result<(), RecoverError> {
        if !participants.contains(&base.config.node()) {
            return Err(RecoverError::Inconsistent("a branch in the log is another node's"));
        }
        self.room.take_on(transaction.coordinator, payload.len());
        let mut branch = Branch::new(BranchStage::Prepared, participants, payload, base.now());
        (branch.key, branch.forced) = (Some(key), forced);
        self.unheard.insert(transaction);
        self.recovering.insert(transaction);
        if self.branches.insert(transaction, branch).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Takes up the end of a branch from its record.
    pub(crate) fn adopt_tombstone(&mut self, transaction: TransactionId, end: Tombstone) -> Result<(), RecoverError> {
        let twice = self.outcomes.keep(&mut self.room, transaction, end).is_some();
        if twice { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Takes up a record of a coordinator: `adopt` is given what is known of the coordinator.
    pub(crate) fn adopt_known(
        &mut self,
        coordinator: CoordinatorId,
        adopt: impl FnOnce(&mut KnownCoordinator) -> Option<u64>,
    ) -> Result<(), RecoverError> {
        self.outcomes.adopt_known(coordinator, adopt)
    }

    /// Drops outcomes at the start that are finished.
    pub(crate) fn collect_all(&mut self, base: &mut Base) {
        self.outcomes.collect_all(base, &mut self.room);
    }

    /// Asks for the locks of branches in doubt before anything else happens.
    pub(crate) fn begin(&mut self, base: &mut Base) {
        for transaction in self.recovering.clone() {
            self.ask(base, transaction);
        }
        if self.recovering.is_empty() {
            base.event(Event::Recovered { without: BTreeSet::new() });
        }
        self.outcomes.arm(base);
        self.heuristics.begin(base);
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyedRecord> + '_ {
        let prepared = self.branches.iter().filter_map(|(transaction, branch)| {
            branch.key.map(|key| KeyedRecord { key, record: branch.record(*transaction) })
        });
        prepared.chain(self.outcomes.records()).chain(self.heuristics.records())
    }

    /// Applies the stamp of a coordinator, which its message about the transaction has.
    pub(crate) fn on_stamp(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: Option<TransactionId>,
        stamp: Stamp,
    ) -> Result<(), Ignored> {
        self.outcomes.on_stamp(base, &mut self.room, from, transaction, stamp)
    }

    pub(crate) fn on_finished(&mut self, base: &mut Base, finished: Finished) -> Result<(), Ignored> {
        self.outcomes.on_finished(base, &mut self.room, finished)
    }

    pub(crate) fn on_collect_timeout(&mut self, base: &mut Base) {
        self.outcomes.on_timeout(base, &self.room);
    }

    /// An operator has given the node up.
    pub(crate) fn give_up(&mut self, base: &mut Base, node: NodeId) -> Result<(), TransactionRefusal> {
        self.outcomes.give_up(base, node)
    }

    /// An operator has given the coordinator up.
    pub(crate) fn forget_coordinator(
        &mut self,
        base: &mut Base,
        coordinator: CoordinatorId,
    ) -> Result<(), TransactionRefusal> {
        self.outcomes.forget_coordinator(base, &mut self.room, coordinator)
    }

    /// Takes up the record of a node that was given up.
    pub(crate) fn adopt_given_up(&mut self, node: NodeId, key: u64) -> Result<(), RecoverError> {
        self.outcomes.adopt_given_up(node, key)
    }

    pub(crate) fn on_enlist(&mut self, base: &mut Base, transaction: TransactionId) -> Result<(), TransactionRefusal> {
        base.check_introduced()?;
        let is_over = self.outcomes.is_forgotten(transaction.coordinator)
            || self.outcomes.is_collected(transaction)
            || transaction.number.epoch < self.outcomes.epoch_of(transaction.coordinator)
            || self.outcomes.tombstone(transaction).is_some()
            || self.heuristics.contains(transaction);
        if is_over {
            return Err(TransactionRefusal::NotBegun);
        }
        if self.branches.contains_key(&transaction) {
            return Err(TransactionRefusal::AlreadyDeciding);
        }
        self.room.check(base, transaction.coordinator, 0).map_err(TransactionRefusal::Unready)?;
        self.add_branch(base, transaction, BranchStage::Enlisted, BTreeSet::new(), Bytes::new());
        let until = base.now().after(base.config.settings().begin_timeout);
        base.timers.arm(Timer::Branch(transaction), until);
        Ok(())
    }

    pub(crate) fn on_prepare(&mut self, base: &mut Base, prepare: Prepare) -> Result<(), Ignored> {
        let Prepare { stamp, transaction, participants, payload } = prepare;
        // Undecided transactions of an older epoch are aborted.
        if transaction.number.epoch != stamp.epoch {
            return Err(Ignored::OldEpoch);
        }
        if self.outcomes.is_collected(transaction) {
            return Err(Ignored::Collected);
        }
        if !participants.contains(&base.config.node()) {
            return Err(Ignored::Absurd);
        }
        if self.heuristics.contains(transaction) {
            return Err(Ignored::Forced);
        }
        match self.outcomes.tombstone(transaction).map(|tombstone| tombstone.end) {
            Some(BranchEnd::ReadOnly) => return answers::vote_again(base, &self.outcomes, transaction, Vote::ReadOnly),
            Some(BranchEnd::Decided(Decision::Commit) | BranchEnd::Heuristic(_)) => return Err(Ignored::Stale),
            Some(BranchEnd::Decided(Decision::Abort) | BranchEnd::Abandoned) => {
                return answers::vote_again(base, &self.outcomes, transaction, Vote::No);
            }
            None => {}
        }
        match self.stage_of(transaction) {
            Some(BranchStage::Prepared) => return answers::vote_again(base, &self.outcomes, transaction, Vote::Yes),
            Some(BranchStage::Enlisted) | None => {}
            Some(_) => return Err(Ignored::Repeated),
        }
        let settings = base.config.settings();
        if participants.len() > settings.participants_max || payload.len() > settings.payload_bytes_max {
            return self.refuse(base, transaction, Unready::TooLarge);
        }
        if let Err(why) = self.check_new(base, transaction, payload.len()) {
            return self.refuse(base, transaction, why);
        }
        self.room.accept();
        self.add_branch(base, transaction, BranchStage::Preparing, participants, payload);
        self.ask(base, transaction);
        Ok(())
    }

    pub(crate) fn on_commit_one_phase(&mut self, base: &mut Base, request: CommitOnePhase) -> Result<(), Ignored> {
        let CommitOnePhase { transaction, payload, .. } = request;
        if self.outcomes.is_collected(transaction) {
            return Err(Ignored::Collected);
        }
        match self.outcomes.tombstone(transaction).map(|tombstone| tombstone.end) {
            Some(BranchEnd::Decided(decision)) => {
                answers::outcome(base, &self.outcomes, transaction, decision);
                return Ok(());
            }
            // Only what was prepared is forced, and only what was not prepared is left to decide.
            Some(BranchEnd::Heuristic(_)) => return Err(Ignored::Stale),
            // The branch was enlisted, and given up before it was asked to prepare.
            Some(BranchEnd::Abandoned | BranchEnd::ReadOnly) => {
                answers::outcome(base, &self.outcomes, transaction, Decision::Abort);
                return Ok(());
            }
            None => {}
        }
        let is_forced = self.heuristics.contains(transaction);
        if is_forced || !matches!(self.stage_of(transaction), None | Some(BranchStage::Enlisted)) {
            return Err(Ignored::Repeated);
        }
        let is_too_large = payload.len() > base.config.settings().payload_bytes_max;
        if let Err(why) = self.check_new(base, transaction, if is_too_large { 0 } else { payload.len() }) {
            return self.refuse(base, transaction, why);
        }
        if is_too_large {
            // It will never be accepted, and no other node may decide: the decision was left to this node.
            self.decline(base, transaction);
            return Ok(());
        }
        self.room.accept();
        self.add_branch(base, transaction, BranchStage::Delegated, [base.config.node()].into(), payload);
        self.ask(base, transaction);
        Ok(())
    }

    pub(crate) fn on_decide(
        &mut self,
        base: &mut Base,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        if self.heuristics.contains(transaction) {
            self.compare(base, transaction, BranchEnd::Decided(decision), decision);
            return Ok(());
        }
        if let Some(tombstone) = self.outcomes.tombstone(transaction) {
            return match (tombstone.end, decision) {
                // Its acknowledgement is on its way.
                (BranchEnd::Decided(Decision::Commit), Decision::Commit) if tombstone.is_unwritten => {
                    Err(Ignored::Repeated)
                }
                (BranchEnd::Decided(Decision::Commit), Decision::Commit) => {
                    answers::acknowledge(base, &self.outcomes, transaction, Acknowledgement::AlreadyDone);
                    Ok(())
                }
                (BranchEnd::Heuristic(forced), Decision::Commit) => {
                    answers::acknowledge(base, &self.outcomes, transaction, heuristics::how(forced));
                    Ok(())
                }
                (BranchEnd::Decided(Decision::Commit), Decision::Abort) => break_law(base, ABORT_OF_COMMITTED),
                (_, Decision::Abort) => Err(Ignored::Repeated),
                (BranchEnd::ReadOnly, Decision::Commit) => Err(Ignored::Stale),
                (_, Decision::Commit) => break_law(base, COMMIT_OF_ABORTED),
            };
        }
        match (self.stage_of(transaction), decision) {
            (Some(BranchStage::Prepared), _) if self.branches[&transaction].forced.is_some() => Err(Ignored::Forced),
            (Some(BranchStage::Prepared), Decision::Commit) => {
                self.commit_branch(base, transaction);
                Ok(())
            }
            (Some(BranchStage::Forcing(_) | BranchStage::Forced(_)), _) => Err(Ignored::Forced),
            (Some(BranchStage::Committing), Decision::Commit) | (Some(BranchStage::Aborting(_)), Decision::Abort) => {
                Err(Ignored::Repeated)
            }
            (Some(BranchStage::Aborting(_)), Decision::Commit) => break_law(base, COMMIT_OF_ABORTED),
            (Some(_), Decision::Commit) => break_law(base, COMMIT_WITHOUT_VOTE),
            (Some(BranchStage::Committing), Decision::Abort) => break_law(base, ABORT_OF_COMMITTED),
            (Some(BranchStage::Delegated), Decision::Abort) => Err(Ignored::Stale),
            (Some(_), Decision::Abort) => {
                self.abort_branch(base, transaction, BranchEnd::Decided(Decision::Abort));
                Ok(())
            }
            (None, Decision::Commit) => {
                answers::acknowledge(base, &self.outcomes, transaction, Acknowledgement::Forgotten);
                Ok(())
            }
            (None, Decision::Abort) => self.fence(base, transaction),
        }
    }

    /// Handles the coordinator's statement that it does not know the transaction, and so will never commit it.
    pub(crate) fn on_presume(&mut self, base: &mut Base, transaction: TransactionId) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        if self.heuristics.contains(transaction) {
            self.compare(base, transaction, BranchEnd::Abandoned, Decision::Abort);
            return Ok(());
        }
        match self.stage_of(transaction) {
            Some(BranchStage::Prepared) if self.branches[&transaction].forced.is_some() => Err(Ignored::Forced),
            Some(BranchStage::Enlisted | BranchStage::Preparing | BranchStage::Writing | BranchStage::Prepared) => {
                self.abort_branch(base, transaction, BranchEnd::Abandoned);
                Ok(())
            }
            _ => Err(Ignored::Stale),
        }
    }

    /// Handles the question of another participant in doubt. The answer is only what the coordinator told this node,
    /// not what this node concludes (cooperative termination: Bernstein, Hadzilacos, Goodman 1987, §7.4).
    pub(crate) fn on_peer_inquire(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: TransactionId,
    ) -> Result<(), Ignored> {
        let stage = self.stage_of(transaction);
        let end = self.outcomes.tombstone(transaction).map(|tombstone| tombstone.end);
        let decision = match (stage, end) {
            (Some(BranchStage::Committing), _) => Decision::Commit,
            (Some(BranchStage::Aborting(BranchEnd::Decided(decision))), _)
            | (_, Some(BranchEnd::Decided(decision))) => decision,
            _ => return Err(Ignored::Undecided),
        };
        answers::outcome_to(base, from, transaction, decision);
        Ok(())
    }

    /// Handles a decision from another participant that knows it.
    pub(crate) fn on_peer_outcome(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<(), Ignored> {
        self.check_heard(transaction)?;
        if let Some(it) = self.heuristics.of().get(&transaction) {
            if !it.participants.contains(&from) {
                return Err(Ignored::NotParticipant);
            }
            self.compare(base, transaction, BranchEnd::Decided(decision), decision);
            return Ok(());
        }
        let branch = self.branches.get(&transaction).ok_or(Ignored::Stale)?;
        if branch.stage != BranchStage::Prepared || branch.forced.is_some() {
            return Err(Ignored::Stale);
        }
        if !branch.participants.contains(&from) {
            return Err(Ignored::NotParticipant);
        }
        match decision {
            Decision::Commit => self.commit_branch(base, transaction),
            Decision::Abort => self.abort_branch(base, transaction, BranchEnd::Decided(Decision::Abort)),
        }
        Ok(())
    }

    /// The vote is durable. From now on only a decision ends the branch.
    pub(crate) fn on_prepared(&mut self, base: &mut Base, transaction: TransactionId) {
        let now = base.now();
        let Some(branch) = self.branches.get_mut(&transaction) else { return };
        if branch.stage != BranchStage::Writing {
            return;
        }
        branch.stage = BranchStage::Prepared;
        branch.since = now;
        answers::vote(base, &self.outcomes, transaction, Vote::Yes);
        // If the vote is lost, the coordinator asks again. This node asks only once the coordinator could have decided.
        base.timers.arm(Timer::Branch(transaction), now.after(base.config.settings().vote_timeout));
    }

    pub(crate) fn on_timeout(&mut self, base: &mut Base, transaction: TransactionId) {
        let Some(branch) = self.branches.get(&transaction) else {
            return self.heuristics.on_timeout(base, &self.outcomes, transaction);
        };
        match branch.stage {
            BranchStage::Enlisted => self.abort_branch(base, transaction, BranchEnd::Abandoned),
            BranchStage::Prepared if !self.recovering.contains(&transaction) => self.inquire(base, transaction),
            BranchStage::Prepared if !self.unheard.contains(&transaction) => {
                // Even without its locks the branch is in doubt, and the decision ends that.
                self.inquire(base, transaction);
                self.on_request_timeout(base, transaction);
            }
            BranchStage::Writing | BranchStage::Forcing(_) => {}
            _ => self.on_request_timeout(base, transaction),
        }
    }

    /// Aborts a branch that is not decided otherwise. An open request to the application no longer counts.
    fn abort_branch(&mut self, base: &mut Base, transaction: TransactionId, end: BranchEnd) {
        self.change_stage(base, transaction, BranchStage::Aborting(end));
        self.ask(base, transaction);
    }

    /// Key of the record of a branch.
    pub(crate) fn key_of(&self, transaction: TransactionId) -> Option<u64> {
        self.branches.get(&transaction)?.key
    }

    /// A vote that was certainly not written becomes a no.
    pub(crate) fn unprepare(&mut self, base: &mut Base, transaction: TransactionId) {
        let Some(branch) = self.branches.get_mut(&transaction) else { return };
        branch.key = None;
        if branch.stage == BranchStage::Writing {
            self.abort_branch(base, transaction, BranchEnd::Abandoned);
            answers::vote(base, &self.outcomes, transaction, Vote::No);
        }
    }

    /// Adds a branch, or continues one that was enlisted.
    fn add_branch(
        &mut self,
        base: &mut Base,
        transaction: TransactionId,
        stage: BranchStage,
        participants: BTreeSet<NodeId>,
        payload: Bytes,
    ) {
        base.timers.cancel(Timer::Branch(transaction));
        self.room.take_on(transaction.coordinator, payload.len());
        let branch = Branch::new(stage, participants, payload, base.now());
        if let Some(enlisted) = self.branches.insert(transaction, branch) {
            self.room.let_go(transaction.coordinator, enlisted.payload.len());
        }
    }

    /// Still in doubt: asks the coordinator, all participants if the coordinator does not answer, and then another
    /// member each time as well, which may have taken the coordinator over.
    fn inquire(&mut self, base: &mut Base, transaction: TransactionId) {
        let (now, report_after) = (base.now(), base.config.settings().report_after);
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let asked = answers::asked(base, &self.outcomes, transaction, &branch.participants, branch.attempt);
        branch.attempt = branch.attempt.saturating_add(1);
        let (age, attempt) = (now.since(branch.since), branch.attempt);
        if age >= report_after && !branch.is_reported {
            branch.is_reported = true;
            base.event(Event::InDoubt { transaction, age });
        }
        for node in asked {
            base.send(node, Message::Inquire { transaction });
        }
        let again_at = base.retry_at(attempt);
        base.timers.arm(Timer::Branch(transaction), again_at);
    }

    fn commit_branch(&mut self, base: &mut Base, transaction: TransactionId) {
        self.change_stage(base, transaction, BranchStage::Committing);
        self.ask(base, transaction);
    }

    fn change_stage(&mut self, base: &mut Base, transaction: TransactionId, stage: BranchStage) {
        let now = base.now();
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.stage = stage;
        (branch.attempt, branch.failures, branch.is_overdue) = (0, 0, false);
        branch.asked_since = now;
        if let Some(ticket) = branch.request.take() {
            self.requests.remove(&ticket);
        }
        base.timers.cancel(Timer::Branch(transaction));
        // The branch needs its locks only to release them.
        self.recovering.remove(&transaction);
        self.hear_of_recovery(base, transaction);
    }

    /// Aborts a transaction whose decision was left to this node.
    fn decline(&mut self, base: &mut Base, transaction: TransactionId) {
        if self.branches.contains_key(&transaction) {
            // The application has begun it. When asked again, this node tells the outcome.
            return self.abort_branch(base, transaction, BranchEnd::Decided(Decision::Abort));
        }
        let written = self.settle(base, transaction, Decision::Abort);
        answers::send_after(
            base,
            &self.outcomes,
            written,
            transaction,
            Message::Outcome { transaction, decision: Decision::Abort },
        );
    }

    /// A decision to abort arrived before the prepare, which will be refused.
    pub(crate) fn fence(&mut self, base: &mut Base, transaction: TransactionId) -> Result<(), Ignored> {
        let is_refused_anyway = transaction.number.epoch < self.outcomes.epoch_of(transaction.coordinator);
        if self.outcomes.is_collected(transaction) || is_refused_anyway {
            return Err(Ignored::Collected);
        }
        self.room.check(base, transaction.coordinator, 0).map_err(|_| Ignored::Unready)?;
        let (end, key) = (BranchEnd::Decided(Decision::Abort), base.journal.new_key());
        self.bury(base, transaction, end, Some(key));
        base.write_lazily(key, &Record::Settled { transaction, end }, None);
        Ok(())
    }

    /// Replaces a branch by a tombstone.
    fn bury(&mut self, base: &mut Base, transaction: TransactionId, end: BranchEnd, key: Option<u64>) {
        if let Some(branch) = self.branches.remove(&transaction) {
            self.room.let_go(transaction.coordinator, branch.payload.len());
            base.timers.cancel(Timer::Branch(transaction));
        }
        self.outcomes.bury(base, &mut self.room, transaction, Tombstone { end, key, is_unwritten: false });
    }

    /// Does not accept a branch now, and tells the coordinator why.
    fn refuse(&mut self, base: &mut Base, transaction: TransactionId, why: Unready) -> Result<(), Ignored> {
        let server = self.outcomes.server_of(transaction.coordinator);
        self.room.refuse(base, transaction.coordinator, server.map(|server| (server, transaction)), why)
    }

    /// Checks that the application was told what a branch in doubt holds before it is told the branch's end.
    fn check_heard(&self, transaction: TransactionId) -> Result<(), Ignored> {
        if self.unheard.contains(&transaction) { Err(Ignored::Recovering) } else { Ok(()) }
    }

    /// The checks for all new work.
    fn check_new(&self, base: &Base, transaction: TransactionId, bytes: usize) -> Result<(), Unready> {
        if !self.unheard.is_empty() {
            return Err(Unready::Recovering);
        }
        if self.branches.contains_key(&transaction) {
            return self.room.check_bytes(base, transaction.coordinator, bytes);
        }
        self.room.check(base, transaction.coordinator, bytes)
    }
}

fn break_law(base: &mut Base, law: &'static str) -> Result<(), Ignored> {
    base.halt(HaltReason::LawBroken(law));
    Err(Ignored::Halted)
}

const COMMIT_OF_ABORTED: &str = "a commit was decided of a branch that is aborted here";
const ABORT_OF_COMMITTED: &str = "an abort was decided of a branch that is committed here";
const COMMIT_WITHOUT_VOTE: &str = "a commit was decided without the vote of a participant";
