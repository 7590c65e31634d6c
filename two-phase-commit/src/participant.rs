//! The participant: it votes, stays in doubt until it is told the decision, and has it applied.
//!
//! ```text
//!            Prepare              yes             durable            Commit              applied, durable
//!  Enlisted ─────────► Preparing ─────► Writing ─────────► Prepared ────────► Committing ─────────► tombstone
//!     │                   │ no, read-only: tombstone            │ Abort, presumed
//!     └───────────────────┴──────────────┴────────────────────┴──────────► Aborting ─────────► tombstone
//! ```
//!
//! A tombstone stays until the coordinator says that the transaction is finished. It answers what is sent again, and refuses a
//! prepare that comes behind the decision.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_protocol::{HaltReason, NodeId, StorageLevel, Ticket};

use crate::codec::Record;
use crate::error::Ignored;
use crate::message::{Acknowledgement, CommitOnePhase, Message, Prepare, Stamp};
use crate::state::{Awaited, Branch, BranchEnd, BranchStage, COORDINATORS_MAX, Tombstone};
use crate::timers::Timer;
use crate::{Answer, Decision, Event, RefuseReason, Request, TransactionId, TransactionNumber, TwoPhaseCommit, Vote};

impl TwoPhaseCommit {
    /// A coordinator of an older epoch is not heard: what it knows is not in force. What is finished need not be kept.
    pub(crate) fn on_stamp(&mut self, from: NodeId, stamp: Stamp) -> Result<(), Ignored> {
        if stamp.finished_below.epoch > stamp.epoch {
            return Err(Ignored::Absurd);
        }
        let known = self.state.coordinators.get(&from).copied();
        if known.is_none() && self.state.coordinators.len() >= COORDINATORS_MAX {
            return Err(Ignored::Overloaded);
        }
        let known = known.unwrap_or_default();
        if stamp.epoch < known.epoch {
            return Err(Ignored::OldEpoch);
        }
        let finished_below = stamp.finished_below.max(known.finished_below);
        let newest = Stamp { epoch: stamp.epoch, finished_below };
        if newest != known {
            self.state.coordinators.insert(from, newest);
            self.journal.is_state_dirty = true;
            self.collect(from);
        }
        Ok(())
    }

    pub(crate) fn on_enlist(&mut self, transaction: TransactionId) -> Result<(), RefuseReason> {
        self.check_standing(self.config.node()).map_err(|_| RefuseReason::NotIntroduced)?;
        let is_over = self.is_collected(transaction)
            || transaction.number.epoch < self.known(transaction.coordinator).epoch
            || self.tombstones.contains_key(&transaction);
        if is_over {
            return Err(RefuseReason::NotBegun);
        }
        if self.branches.contains_key(&transaction) {
            return Err(RefuseReason::AlreadyDeciding);
        }
        self.check_room(0).map_err(|_| RefuseReason::Overloaded)?;
        self.add_branch(transaction, BranchStage::Enlisted, BTreeSet::new(), Bytes::new());
        let until = self.now.instant.after(self.config.settings().begin_timeout);
        self.timers.arm(Timer::Branch(transaction), until);
        Ok(())
    }

    pub(crate) fn on_prepare(&mut self, prepare: Prepare) -> Result<(), Ignored> {
        let Prepare { stamp, transaction, participants, payload } = prepare;
        // An older epoch's undecided transactions are aborted.
        if transaction.number.epoch != stamp.epoch {
            return Err(Ignored::OldEpoch);
        }
        self.check_new(transaction, &payload)?;
        let is_sound =
            participants.contains(&self.config.node()) && participants.len() <= self.config.settings().participants_max;
        if !is_sound {
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
            Some(BranchStage::Enlisted) => self.check_bytes(payload.len())?,
            Some(_) => return Err(Ignored::Repeated),
            None => self.check_room(payload.len())?,
        }
        self.add_branch(transaction, BranchStage::Preparing, participants, payload);
        self.ask(transaction);
        Ok(())
    }

    pub(crate) fn on_commit_one_phase(&mut self, request: CommitOnePhase) -> Result<(), Ignored> {
        let CommitOnePhase { transaction, payload, .. } = request;
        self.check_new(transaction, &payload)?;
        match self.tombstones.get(&transaction).map(|tombstone| tombstone.end) {
            Some(BranchEnd::Decided(decision)) => {
                self.tell_outcome(transaction.coordinator, transaction, decision);
                return Ok(());
            }
            // It was enlisted, and given up before it was asked.
            Some(BranchEnd::Abandoned | BranchEnd::ReadOnly) => {
                self.tell_outcome(transaction.coordinator, transaction, Decision::Abort);
                return Ok(());
            }
            None => {}
        }
        match self.branches.get(&transaction).map(|branch| branch.stage) {
            Some(BranchStage::Enlisted) => self.check_bytes(payload.len())?,
            Some(_) => return Err(Ignored::Repeated),
            None => self.check_room(payload.len())?,
        }
        self.add_branch(transaction, BranchStage::Delegated, [self.config.node()].into(), payload);
        self.ask(transaction);
        Ok(())
    }

    pub(crate) fn on_decide(&mut self, transaction: TransactionId, decision: Decision) -> Result<(), Ignored> {
        self.check_recovered()?;
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

    /// The coordinator knows nothing of it, and so will never commit it.
    pub(crate) fn on_presume(&mut self, transaction: TransactionId) -> Result<(), Ignored> {
        self.check_recovered()?;
        match self.branches.get(&transaction).map(|branch| branch.stage) {
            Some(BranchStage::Enlisted | BranchStage::Preparing | BranchStage::Writing | BranchStage::Prepared) => {
                self.abort_branch(transaction, BranchEnd::Abandoned);
                Ok(())
            }
            _ => Err(Ignored::Stale),
        }
    }

    /// Another participant is in doubt. It is told what the coordinator said here, and nothing that this node only concludes
    /// (cooperative termination: Bernstein, Hadzilacos, Goodman 1987, §7.4).
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

    /// Another participant was told the decision.
    pub(crate) fn on_peer_outcome(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<(), Ignored> {
        self.check_recovered()?;
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

    /// The application has answered. A failure is nothing known: the same is asked again after a while.
    pub(crate) fn on_completed(&mut self, ticket: Ticket, answer: Answer) -> Result<(), Ignored> {
        let transaction = self.requests.remove(&ticket).ok_or(Ignored::StaleAnswer)?;
        let branch = self.branches.get_mut(&transaction).expect("a request is about a branch");
        branch.request = None;
        match (branch.stage, answer) {
            (BranchStage::Prepared, Answer::Done) => self.on_branch_recovered(transaction),
            (BranchStage::Preparing, Answer::Voted(Vote::Yes)) => self.write_prepared(transaction),
            (BranchStage::Preparing, Answer::Voted(Vote::ReadOnly)) => {
                self.bury(transaction, BranchEnd::ReadOnly, None);
                self.collect(transaction.coordinator);
                self.send_vote(transaction, Vote::ReadOnly);
            }
            (BranchStage::Preparing, Answer::Voted(Vote::No)) => {
                self.settle_aborted(transaction, BranchEnd::Abandoned);
                self.send_vote(transaction, Vote::No);
            }
            (BranchStage::Committing, Answer::Done) => {
                let written = self.settle(transaction, Decision::Commit);
                let how = Acknowledgement::Applied;
                self.outbox.send_after(written, transaction.coordinator, Message::Acknowledge { transaction, how });
            }
            (BranchStage::Aborting(end), Answer::Done) => self.settle_aborted(transaction, end),
            (BranchStage::Delegated, Answer::Decided(decision)) => {
                let written = self.settle(transaction, decision);
                let outcome = Message::Outcome { transaction, decision };
                self.outbox.send_after(written, transaction.coordinator, outcome);
            }
            (_, answer) => {
                branch.attempt = branch.attempt.saturating_add(1);
                let attempt = branch.attempt;
                let again_at = self.retry_at(attempt);
                self.timers.arm(Timer::Branch(transaction), again_at);
                return if answer == Answer::Failed { Ok(()) } else { Err(Ignored::StaleAnswer) };
            }
        }
        Ok(())
    }

    /// The vote is durable. From now on only a decision ends it.
    pub(crate) fn on_prepared(&mut self, transaction: TransactionId) {
        let now = self.now.instant;
        let Some(branch) = self.branches.get_mut(&transaction) else { return };
        if branch.stage != BranchStage::Writing {
            return;
        }
        branch.stage = BranchStage::Prepared;
        branch.since = now;
        self.send_vote(transaction, Vote::Yes);
        // The coordinator asks again for a vote that is lost; it is asked only when it could have decided.
        self.timers.arm(Timer::Branch(transaction), now.after(self.config.settings().vote_timeout));
    }

    pub(crate) fn on_branch_timeout(&mut self, transaction: TransactionId) {
        let Some(branch) = self.branches.get(&transaction) else { return };
        match branch.stage {
            BranchStage::Enlisted => self.abort_branch(transaction, BranchEnd::Abandoned),
            BranchStage::Prepared if !self.recovering.contains(&transaction) => self.inquire(transaction),
            BranchStage::Writing => {}
            _ => self.ask(transaction),
        }
    }

    /// Asks the coordinators of settled branches which of them are finished.
    pub(crate) fn on_collect_timeout(&mut self) {
        let coordinators: BTreeSet<NodeId> = self.tombstones.keys().map(|id| id.coordinator).collect();
        for coordinator in coordinators {
            self.send(coordinator, Message::InquireFinished);
        }
        self.collect_attempt = self.collect_attempt.saturating_add(1);
        self.arm_collect();
    }

    /// Aborts a branch that is not decided otherwise. Whatever the application is asked about it no longer counts.
    pub(crate) fn abort_branch(&mut self, transaction: TransactionId, end: BranchEnd) {
        self.change_stage(transaction, BranchStage::Aborting(end));
        self.ask(transaction);
    }

    pub(crate) fn send_vote(&mut self, transaction: TransactionId, vote: Vote) {
        self.send(transaction.coordinator, Message::Vote { transaction, vote });
    }

    /// Adopts a branch, or goes on with one that was enlisted.
    pub(crate) fn add_branch(
        &mut self,
        transaction: TransactionId,
        stage: BranchStage,
        participants: BTreeSet<NodeId>,
        payload: Bytes,
    ) {
        self.branch_bytes += payload.len();
        self.timers.cancel(Timer::Branch(transaction));
        let since = self.now.instant;
        let (key, request, attempt, is_reported) = (None, None, 0, false);
        let branch = Branch { stage, participants, payload, key, request, since, attempt, is_reported };
        self.branches.insert(transaction, branch);
    }

    /// Has the application do what the stage wants.
    pub(crate) fn ask(&mut self, transaction: TransactionId) {
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let payload = branch.payload.clone();
        let request = match branch.stage {
            BranchStage::Preparing => Request::Prepare { transaction, payload },
            BranchStage::Prepared => Request::Recover { transaction, payload },
            BranchStage::Committing => Request::Commit { transaction },
            BranchStage::Aborting(_) => Request::Abort { transaction },
            BranchStage::Delegated => Request::CommitOnePhase { transaction, payload },
            BranchStage::Enlisted | BranchStage::Writing => return,
        };
        let ticket = self.outbox.request(request);
        branch.request = Some(ticket);
        self.requests.insert(ticket, transaction);
    }

    pub(crate) fn arm_collect(&mut self) {
        if self.tombstones.is_empty() {
            self.collect_attempt = 0;
        } else if !self.timers.is_armed(Timer::Collect) {
            let at = self.retry_at(self.collect_attempt);
            self.timers.arm(Timer::Collect, at);
        }
    }

    /// The branch has its locks again. Once all have, whatever waits may be served.
    fn on_branch_recovered(&mut self, transaction: TransactionId) {
        self.recovering.remove(&transaction);
        let at = self.retry_at(0);
        self.timers.arm(Timer::Branch(transaction), at);
        if self.recovering.is_empty() {
            self.outbox.event(Event::Recovered);
        }
    }

    /// Still in doubt: asks the coordinator, and everybody who takes part if that was in vain.
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

    fn write_prepared(&mut self, transaction: TransactionId) {
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
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.stage = stage;
        branch.attempt = 0;
        if let Some(ticket) = branch.request.take() {
            self.requests.remove(&ticket);
        }
        self.timers.cancel(Timer::Branch(transaction));
    }

    /// The application has carried out this decision; that is written before it is said.
    fn settle(&mut self, transaction: TransactionId, decision: Decision) -> Ticket {
        let end = BranchEnd::Decided(decision);
        let key = self.place_of(transaction);
        self.bury(transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, decision);
        let written = self.write(key, &Record::Settled { transaction, end }, Some(awaited));
        self.collect(transaction.coordinator);
        written
    }

    /// The branch is aborted. If that is lost in a crash, it is aborted again.
    fn settle_aborted(&mut self, transaction: TransactionId, end: BranchEnd) {
        let key = self.place_of(transaction);
        self.bury(transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, Decision::Abort);
        self.write_lazily(key, &Record::Settled { transaction, end }, Some(awaited));
        self.collect(transaction.coordinator);
    }

    /// A decision to abort came ahead of the prepare, which will be refused.
    fn fence(&mut self, transaction: TransactionId) -> Result<(), Ignored> {
        let is_refused_anyway = transaction.number.epoch < self.known(transaction.coordinator).epoch;
        if self.is_collected(transaction) || is_refused_anyway {
            return Err(Ignored::Collected);
        }
        self.check_room(0)?;
        let (end, key) = (BranchEnd::Decided(Decision::Abort), self.new_key());
        self.bury(transaction, end, Some(key));
        self.write_lazily(key, &Record::Settled { transaction, end }, None);
        Ok(())
    }

    fn place_of(&mut self, transaction: TransactionId) -> u64 {
        let key = self.branches.get(&transaction).and_then(|branch| branch.key);
        key.unwrap_or_else(|| self.new_key())
    }

    /// Puts a tombstone in the place of a branch.
    fn bury(&mut self, transaction: TransactionId, end: BranchEnd, key: Option<u64>) {
        if let Some(branch) = self.branches.remove(&transaction) {
            self.branch_bytes -= branch.payload.len();
            self.timers.cancel(Timer::Branch(transaction));
        }
        self.tombstones.insert(transaction, Tombstone { end, key });
        self.arm_collect();
    }

    /// What is known to be finished of this coordinator's need not be kept.
    fn collect(&mut self, coordinator: NodeId) {
        let finished_below = self.known(coordinator).finished_below;
        let from = TransactionId { coordinator, number: TransactionNumber::default() };
        let to = TransactionId { coordinator, number: finished_below };
        let finished: Vec<TransactionId> = self.tombstones.range(from..to).map(|(id, _)| *id).collect();
        if !finished.is_empty() {
            // The state record says what is finished, in the same write that takes the records out.
            self.write_state_lazily();
            self.collect_attempt = 0;
        }
        for transaction in finished {
            let tombstone = self.tombstones.remove(&transaction).expect("just seen");
            if let Some(key) = tombstone.key {
                self.erase_lazily(key, None);
            }
        }
    }

    fn acknowledge(&mut self, transaction: TransactionId, how: Acknowledgement) {
        let covered = self.outbox.newest_write();
        self.outbox.send_after(covered, transaction.coordinator, Message::Acknowledge { transaction, how });
    }

    /// Tells a decision once everything that it rests on is durable.
    fn tell_outcome(&mut self, to: NodeId, transaction: TransactionId, decision: Decision) {
        let covered = self.flush();
        self.outbox.send_after(covered, to, Message::Outcome { transaction, decision });
    }

    fn vote_again(&mut self, transaction: TransactionId, vote: Vote) -> Result<(), Ignored> {
        self.send_vote(transaction, vote);
        Err(Ignored::Repeated)
    }

    fn check_recovered(&self) -> Result<(), Ignored> {
        if self.recovering.is_empty() { Ok(()) } else { Err(Ignored::Recovering) }
    }

    /// What holds for all new work.
    fn check_new(&self, transaction: TransactionId, payload: &Bytes) -> Result<(), Ignored> {
        self.check_recovered()?;
        if self.is_collected(transaction) {
            return Err(Ignored::Collected);
        }
        let is_short = payload.len() <= self.config.settings().payload_bytes_max;
        if is_short { Ok(()) } else { Err(Ignored::Absurd) }
    }

    fn check_room(&self, bytes: usize) -> Result<(), Ignored> {
        let settings = self.config.settings();
        let has_room = self.storage == StorageLevel::Enough
            && self.branches.len() < settings.branches_max
            && self.branches.len() + self.tombstones.len() < settings.tombstones_max;
        if has_room { self.check_bytes(bytes) } else { Err(Ignored::Overloaded) }
    }

    fn check_bytes(&self, bytes: usize) -> Result<(), Ignored> {
        let has_room = self.branch_bytes + bytes <= self.config.settings().payload_bytes_total_max;
        if has_room { Ok(()) } else { Err(Ignored::Overloaded) }
    }

    fn is_collected(&self, transaction: TransactionId) -> bool {
        transaction.number < self.known(transaction.coordinator).finished_below
    }

    fn known(&self, coordinator: NodeId) -> Stamp {
        self.state.coordinators.get(&coordinator).copied().unwrap_or_default()
    }

    fn break_law(&mut self, law: &'static str) -> Result<(), Ignored> {
        self.halt(HaltReason::LawBroken(law));
        Err(Ignored::Halted)
    }
}

const COMMIT_OF_ABORTED: &str = "a commit was decided of a branch that is aborted here";
const ABORT_OF_COMMITTED: &str = "an abort was decided of a branch that is committed here";
const COMMIT_WITHOUT_VOTE: &str = "a commit was decided without the vote of a participant";
