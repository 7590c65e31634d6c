//! Requests to the application, repeated until it answers.
//!
//! A request without an answer within `request_timeout` is repeated under the same ticket, at growing intervals. A
//! request that failed is repeated under a new ticket. A request that is not carried out within `report_after` is
//! reported once, and only its branch waits for it.

use std::time::Duration;

use quorate_protocol::{Output, Ticket};

use crate::error::Ignored;
use crate::message::{Acknowledgement, Message};
use crate::state::{BranchEnd, BranchStage};
use crate::timers::Timer;
use crate::{Answer, Event, Request, TransactionId, TwoPhaseCommit, Vote};

impl TwoPhaseCommit {
    /// Asks the application for the work of the current stage.
    pub(crate) fn ask(&mut self, transaction: TransactionId) {
        let Some(request) = self.request_of(transaction) else { return };
        let ticket = self.outbox.request(request);
        let branch = self.branches.get_mut(&transaction).expect("it wants something");
        branch.request = Some(ticket);
        self.requests.insert(ticket, transaction);
        self.arm_request(transaction);
    }

    /// A timer of a branch that waits for its application: there was no answer, or it failed a while ago.
    pub(crate) fn on_request_timeout(&mut self, transaction: TransactionId) {
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let Some(ticket) = branch.request else {
            self.report_request(transaction);
            return self.ask(transaction);
        };
        branch.attempt = branch.attempt.saturating_add(1);
        self.report_request(transaction);
        if let Some(request) = self.request_of(transaction) {
            self.outbox.push(Output::Request { ticket, request });
        }
        self.arm_request(transaction);
    }

    /// Handles an answer of the application. After a failure nothing is known, and the request is repeated after a
    /// while.
    pub(crate) fn on_completed(&mut self, ticket: Ticket, answer: Answer) -> Result<(), Ignored> {
        let transaction = self.requests.remove(&ticket).ok_or(Ignored::StaleAnswer)?;
        let branch = self.branches.get_mut(&transaction).expect("a request is about a branch");
        branch.request = None;
        self.timers.cancel(Timer::Branch(transaction));
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
                let written = self.settle(transaction, crate::Decision::Commit);
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
                self.on_request_failed(transaction);
                return if answer == Answer::Failed { Ok(()) } else { Err(Ignored::StaleAnswer) };
            }
        }
        Ok(())
    }

    /// The request of a branch's stage, if it has one.
    pub(crate) fn request_of(&self, transaction: TransactionId) -> Option<Request> {
        let branch = self.branches.get(&transaction)?;
        let payload = || branch.payload.clone();
        match branch.stage {
            BranchStage::Preparing => Some(Request::Prepare { transaction, payload: payload() }),
            BranchStage::Prepared => Some(Request::Recover { transaction, payload: payload() }),
            BranchStage::Committing => Some(Request::Commit { transaction }),
            BranchStage::Aborting(_) => Some(Request::Abort { transaction }),
            BranchStage::Delegated => Some(Request::CommitOnePhase { transaction, payload: payload() }),
            BranchStage::Enlisted | BranchStage::Writing => None,
        }
    }

    fn on_request_failed(&mut self, transaction: TransactionId) {
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        branch.attempt = branch.attempt.saturating_add(1);
        branch.failures = branch.failures.saturating_add(1);
        let (stage, attempt) = (branch.stage, branch.attempt);
        let again_at = self.retry_at(attempt);
        self.timers.arm(Timer::Branch(transaction), again_at);
        self.report_request(transaction);
        if stage == BranchStage::Prepared {
            self.hear_of_recovery(transaction);
        }
    }

    /// The branch has its locks again.
    fn on_branch_recovered(&mut self, transaction: TransactionId) {
        self.recovering.remove(&transaction);
        let at = self.retry_at(0);
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        (branch.attempt, branch.failures) = (0, 0);
        self.timers.arm(Timer::Branch(transaction), at);
        self.hear_of_recovery(transaction);
    }

    /// The application has answered for a branch in doubt, or the branch is decided. Once this is true for all, waiting
    /// work may be served: the application knows what the branches that it could not recover hold.
    pub(crate) fn hear_of_recovery(&mut self, transaction: TransactionId) {
        if self.unheard.remove(&transaction) && self.unheard.is_empty() {
            self.outbox.event(Event::Recovered { without: self.recovering.clone() });
        }
    }

    /// Reports once that the application does not carry out its request.
    fn report_request(&mut self, transaction: TransactionId) {
        let (now, report_after) = (self.now.instant, self.config.settings().report_after);
        let branch = self.branches.get_mut(&transaction).expect("looked up by the caller");
        let age = now.since(branch.asked_since);
        if age < report_after || branch.is_overdue {
            return;
        }
        branch.is_overdue = true;
        let failures = branch.failures;
        if let Some(request) = self.request_of(transaction) {
            self.outbox.event(Event::RequestOverdue { request: request.kind(), transaction, age, failures });
        }
    }

    fn arm_request(&mut self, transaction: TransactionId) {
        let branch = &self.branches[&transaction];
        // A failure is an answer, so that the request may be repeated without long waits.
        let attempt = branch.attempt.saturating_sub(branch.failures);
        let timeout = self.config.settings().request_timeout;
        let wait: Duration = timeout.saturating_mul(1 << attempt.min(REQUEST_DOUBLINGS_MAX));
        self.timers.arm(Timer::Branch(transaction), self.now.instant.after(wait));
    }
}

/// A request is repeated after `request_timeout`, then after twice that time, and at most after sixteen times.
const REQUEST_DOUBLINGS_MAX: u32 = 4;
