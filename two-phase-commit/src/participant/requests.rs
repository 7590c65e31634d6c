//! Requests to the application, repeated until it answers.
//!
//! A request without an answer within `request_timeout` is repeated under the same ticket, at growing intervals. A
//! request that failed is repeated under a new ticket. A request that is not carried out within `report_after` is
//! reported once, and only its branch waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{Output, Ticket};

use super::heuristics::Heuristic;
use super::{Participant, answers};
use crate::base::Base;
use crate::codec::Record;
use crate::error::Ignored;
use crate::message::{Acknowledgement, Message};
use crate::state::{Awaited, Branch, BranchEnd, BranchStage};
use crate::timers::Timer;
use crate::{
    Answer, CommandId, Decision, Event, ForcedOutcome, Request, TransactionId, TransactionRefusal, UnansweredRequest,
    Unready, Vote,
};

impl Participant {
    /// Asks the application for the work of the current stage.
    pub(super) fn ask(&mut self, base: &mut Base, transaction: TransactionId) {
        let Some(request) = self.request_of(transaction) else { return };
        let ticket = base.chassis.outbox.request(request);
        let branch = self.branches.get_mut(&transaction).expect("it wants something");
        branch.request = Some(ticket);
        self.requests.insert(ticket, transaction);
        self.arm_request(base, transaction);
    }

    /// A timer of a branch that waits for its application: there was no answer, or it failed a while ago.
    pub(super) fn on_request_timeout(&mut self, base: &mut Base, transaction: TransactionId) {
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let Some(ticket) = branch.request else {
            self.report_request(base, transaction);
            return self.ask(base, transaction);
        };
        branch.attempt = branch.attempt.saturating_add(1);
        self.report_request(base, transaction);
        if let Some(request) = self.request_of(transaction) {
            base.chassis.outbox.push(Output::Request { ticket, request });
        }
        self.arm_request(base, transaction);
    }

    /// Handles an answer of the application. After a failure nothing is known, and the request is repeated after a
    /// while.
    pub(crate) fn on_completed(&mut self, base: &mut Base, ticket: Ticket, answer: Answer) -> Result<(), Ignored> {
        let transaction = self.requests.remove(&ticket).ok_or(Ignored::StaleAnswer)?;
        let branch = self.branches.get_mut(&transaction).expect("a request is about a branch");
        branch.request = None;
        base.timers.cancel(Timer::Branch(transaction));
        match (branch.stage, answer) {
            (BranchStage::Prepared, Answer::Done) => {
                self.on_branch_recovered(base, transaction);
                self.continue_forced(base, transaction);
            }
            (BranchStage::Preparing, Answer::Voted(Vote::Yes)) => self.write_prepared(base, transaction),
            (BranchStage::Preparing, Answer::Voted(Vote::ReadOnly)) => {
                self.bury(base, transaction, BranchEnd::ReadOnly, None);
                self.outcomes.collect(base, &mut self.room, transaction.coordinator);
                answers::vote(base, &self.outcomes, transaction, Vote::ReadOnly);
            }
            (BranchStage::Preparing, Answer::Voted(Vote::No)) => {
                self.settle_aborted(base, transaction, BranchEnd::Abandoned);
                answers::vote(base, &self.outcomes, transaction, Vote::No);
            }
            (BranchStage::Committing, Answer::Done) => self.settle_committed(base, transaction),
            (BranchStage::Aborting(end), Answer::Done) => self.settle_aborted(base, transaction, end),
            (BranchStage::Forced(forced), Answer::Done) => {
                let Some(branch) = self.branches.remove(&transaction) else { return Ok(()) };
                self.room.let_go(transaction.coordinator, branch.payload.len());
                let key = branch.key.unwrap_or_else(|| base.journal.new_key());
                self.heuristics.add(base, transaction, Heuristic::new(forced, branch.participants, key));
            }
            (BranchStage::Delegated, Answer::Decided(decision)) => {
                let written = self.settle(base, transaction, decision);
                answers::send_after(
                    base,
                    &self.outcomes,
                    written,
                    transaction,
                    Message::Outcome { transaction, decision },
                );
            }
            (_, answer) => {
                self.on_request_failed(base, transaction);
                return if answer == Answer::Failed { Ok(()) } else { Err(Ignored::StaleAnswer) };
            }
        }
        Ok(())
    }

    /// The request of a branch's stage, if it has one.
    fn request_of(&self, transaction: TransactionId) -> Option<Request> {
        let branch = self.branches.get(&transaction)?;
        let payload = || branch.payload.clone();
        match branch.stage {
            BranchStage::Preparing => Some(Request::Prepare { transaction, payload: payload() }),
            BranchStage::Prepared => Some(Request::Recover { transaction, payload: payload() }),
            BranchStage::Committing | BranchStage::Forced(Decision::Commit) => Some(Request::Commit { transaction }),
            BranchStage::Aborting(_) | BranchStage::Forced(Decision::Abort) => Some(Request::Abort { transaction }),
            BranchStage::Delegated => Some(Request::CommitOnePhase { transaction, payload: payload() }),
            BranchStage::Enlisted | BranchStage::Writing | BranchStage::Forcing(_) => None,
        }
    }

    /// The branches that the application is asked about, or will be asked about again.
    pub(crate) fn asked(&self, base: &Base) -> BTreeMap<TransactionId, UnansweredRequest> {
        let asked = self.branches.iter().filter_map(|(transaction, branch)| {
            let request = self.request_of(*transaction)?.kind();
            let is_over = branch.stage == BranchStage::Prepared && !self.recovering.contains(transaction);
            let age = base.now().since(branch.asked_since);
            (!is_over).then_some((*transaction, UnansweredRequest { request, age }))
        });
        asked.collect()
    }

    fn on_request_failed(&mut self, base: &mut Base, transaction: TransactionId) {
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.attempt = branch.attempt.saturating_add(1);
        branch.failures = branch.failures.saturating_add(1);
        let (stage, attempt) = (branch.stage, branch.attempt);
        let again_at = base.retry_at(attempt);
        base.timers.arm(Timer::Branch(transaction), again_at);
        self.report_request(base, transaction);
        if stage == BranchStage::Prepared {
            self.hear_of_recovery(base, transaction);
            self.continue_forced(base, transaction);
        }
    }

    /// The branch has its locks again.
    fn on_branch_recovered(&mut self, base: &mut Base, transaction: TransactionId) {
        self.recovering.remove(&transaction);
        let at = base.retry_at(0);
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        (branch.attempt, branch.failures) = (0, 0);
        base.timers.arm(Timer::Branch(transaction), at);
        self.hear_of_recovery(base, transaction);
    }

    /// The application has answered for a branch in doubt, or the branch is decided. Once this is true for all, waiting
    /// work may be served: the application knows what the branches that it could not recover hold.
    pub(super) fn hear_of_recovery(&mut self, base: &mut Base, transaction: TransactionId) {
        if self.unheard.remove(&transaction) && self.unheard.is_empty() {
            base.event(Event::Recovered { without: self.recovering.clone() });
        }
    }

    /// Reports once that the application does not carry out its request.
    fn report_request(&mut self, base: &mut Base, transaction: TransactionId) {
        let (now, report_after) = (base.now(), base.config.settings().report_after);
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let age = now.since(branch.asked_since);
        if age < report_after || branch.is_overdue {
            return;
        }
        branch.is_overdue = true;
        let failures = branch.failures;
        if let Some(request) = self.request_of(transaction) {
            base.event(Event::RequestOverdue { request: request.kind(), transaction, age, failures });
        }
    }

    fn arm_request(&mut self, base: &mut Base, transaction: TransactionId) {
        let branch = &self.branches[&transaction];
        // A failure is an answer, so that the request may be repeated without long waits.
        let attempt = branch.attempt.saturating_sub(branch.failures);
        let timeout = base.config.settings().request_timeout;
        let wait: Duration = timeout.saturating_mul(1 << attempt.min(REQUEST_DOUBLINGS_MAX));
        base.timers.arm(Timer::Branch(transaction), base.now().after(wait));
    }

    fn write_prepared(&mut self, base: &mut Base, transaction: TransactionId) {
        let key = base.journal.new_key();
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.stage = BranchStage::Writing;
        branch.key = Some(key);
        let record = branch.record(transaction);
        base.write(key, &record, Some(Awaited::Prepared(transaction)));
    }

    /// The application has carried out this decision. It is written before other nodes are told.
    pub(super) fn settle(&mut self, base: &mut Base, transaction: TransactionId, decision: Decision) -> Ticket {
        let end = BranchEnd::Decided(decision);
        let key = self.place_of(base, transaction);
        self.bury(base, transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, decision);
        let written = base.write(key, &Record::Settled { transaction, end }, Some(awaited));
        self.outcomes.collect(base, &mut self.room, transaction.coordinator);
        written
    }

    /// The branch is committed, and holds no lock any more. If a crash loses this record, the branch is in doubt
    /// again, and is committed again. So it can wait for another write, and its acknowledgement waits with it.
    fn settle_committed(&mut self, base: &mut Base, transaction: TransactionId) {
        let (end, key) = (BranchEnd::Decided(Decision::Commit), self.place_of(base, transaction));
        self.bury(base, transaction, end, Some(key));
        self.outcomes.set_unwritten(transaction, true);
        base.write_lazily(key, &Record::Settled { transaction, end }, Some(Awaited::Committed(transaction)));
        self.outcomes.collect(base, &mut self.room, transaction.coordinator);
    }

    /// The end of a committed branch is durable.
    pub(crate) fn on_committed(&mut self, base: &mut Base, transaction: TransactionId) {
        self.outcomes.set_unwritten(transaction, false);
        base.event(Event::Settled { transaction, decision: Decision::Commit });
        let (written, how) = (base.journal.epoch_ticket(), Acknowledgement::Applied);
        answers::send_after(base, &self.outcomes, written, transaction, Message::Acknowledge { transaction, how });
    }

    /// The branch is aborted. If a crash loses this record, it is aborted again.
    fn settle_aborted(&mut self, base: &mut Base, transaction: TransactionId, end: BranchEnd) {
        let key = self.place_of(base, transaction);
        self.bury(base, transaction, end, Some(key));
        let awaited = Awaited::Settled(transaction, Decision::Abort);
        base.write_lazily(key, &Record::Settled { transaction, end }, Some(awaited));
        self.outcomes.collect(base, &mut self.room, transaction.coordinator);
    }

    fn place_of(&self, base: &mut Base, transaction: TransactionId) -> u64 {
        self.key_of(transaction).unwrap_or_else(|| base.journal.new_key())
    }

    /// An operator forces the outcome of a branch in doubt. It is carried out once it is durable.
    pub(crate) fn on_force(
        &mut self,
        base: &mut Base,
        command: CommandId,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<(), TransactionRefusal> {
        let is_in_doubt = |it: &Branch| it.stage == BranchStage::Prepared && it.forced.is_none();
        if !self.branches.get(&transaction).is_some_and(is_in_doubt) {
            return Err(TransactionRefusal::NotInDoubt);
        }
        if self.unheard.contains(&transaction) {
            return Err(TransactionRefusal::Unready(Unready::Recovering));
        }
        if self.heuristics.of().len() >= base.config.settings().branches_max {
            return Err(TransactionRefusal::Overloaded);
        }
        self.change_stage(base, transaction, BranchStage::Forcing(decision));
        let key = self.place_of(base, transaction);
        let record = self.branches[&transaction].record(transaction);
        let written = base.write(key, &record, Some(Awaited::Forced(transaction)));
        base.chassis.outbox.event_after(written, Event::Forced { command, transaction, decision });
        Ok(())
    }

    /// The forced outcome is durable.
    pub(crate) fn on_forced(&mut self, base: &mut Base, transaction: TransactionId) {
        if let Some(BranchStage::Forcing(decision)) = self.stage_of(transaction) {
            self.change_stage(base, transaction, BranchStage::Forced(decision));
            self.ask(base, transaction);
        }
    }

    /// The outcome was forced before this start, and the application knows the branch again.
    fn continue_forced(&mut self, base: &mut Base, transaction: TransactionId) {
        if let Some(decision) = self.branches.get(&transaction).and_then(|branch| branch.forced) {
            self.change_stage(base, transaction, BranchStage::Forced(decision));
            self.ask(base, transaction);
        }
    }

    /// The decision on a branch whose outcome was forced is known. If both are the same, the branch ends like others.
    pub(super) fn compare(&mut self, base: &mut Base, transaction: TransactionId, end: BranchEnd, decision: Decision) {
        let Some(it) = self.heuristics.compare(base, &self.outcomes, transaction, decision) else { return };
        self.bury(base, transaction, end, Some(it.key));
        let record = Record::Settled { transaction, end };
        if decision == Decision::Commit {
            let (written, how) = (base.write(it.key, &record, None), Acknowledgement::AlreadyDone);
            answers::send_after(base, &self.outcomes, written, transaction, Message::Acknowledge { transaction, how });
        } else {
            base.write_lazily(it.key, &record, None);
        }
        self.outcomes.collect(base, &mut self.room, transaction.coordinator);
    }

    /// An operator has dealt with a mixed transaction. Its end is kept like that of others. Returns false if the
    /// transaction is not known to be mixed here; one whose coordinator was given up never will be.
    pub(crate) fn forget_mixed(&mut self, base: &mut Base, transaction: TransactionId) -> bool {
        let is_lost = self.outcomes.is_forgotten(transaction.coordinator);
        let Some(it) = self.heuristics.of().get(&transaction).filter(|it| it.decision.is_some() || is_lost) else {
            return false;
        };
        let (key, end) = (it.key, BranchEnd::Heuristic(it.forced));
        self.heuristics.remove(base, transaction);
        if is_lost {
            base.erase_lazily(key, None);
            return true;
        }
        self.bury(base, transaction, end, Some(key));
        base.write_lazily(key, &Record::Settled { transaction, end }, None);
        self.outcomes.collect(base, &mut self.room, transaction.coordinator);
        true
    }

    /// The branches whose outcome was forced.
    pub(crate) fn forced(&self) -> impl Iterator<Item = (TransactionId, ForcedOutcome)> + '_ {
        let under_way = self.branches.iter().filter_map(|(transaction, branch)| match (branch.stage, branch.forced) {
            (BranchStage::Forcing(forced) | BranchStage::Forced(forced), _) | (_, Some(forced)) => {
                Some((*transaction, ForcedOutcome { forced, decision: None }))
            }
            _ => None,
        });
        let done = |(transaction, it): (&TransactionId, &Heuristic)| {
            (*transaction, ForcedOutcome { forced: it.forced, decision: it.decision })
        };
        under_way.chain(self.heuristics.of().iter().map(done))
    }
}

/// A request is repeated after `request_timeout`, then after twice that time, and at most after sixteen times.
const REQUEST_DOUBLINGS_MAX: u32 = 4;
