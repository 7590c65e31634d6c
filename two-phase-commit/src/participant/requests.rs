//! Requests to the application, repeated until it answers.
//!
//! A request without an answer within `request_timeout` is repeated under the same ticket, at growing intervals. A
//! request that failed is repeated under a new ticket. A request that is not carried out within `report_after` is
//! reported once, and only its branch waits for it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::{Output, Ticket};

use super::{Participant, answers};
use crate::base::Base;
use crate::error::Ignored;
use crate::message::{Acknowledgement, Message};
use crate::state::{BranchEnd, BranchStage};
use crate::timers::Timer;
use crate::{Answer, Decision, Event, Request, TransactionId, UnansweredRequest, Vote};

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
            (BranchStage::Prepared, Answer::Done) => self.on_branch_recovered(base, transaction),
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
            (BranchStage::Committing, Answer::Done) => {
                let written = self.settle(base, transaction, Decision::Commit);
                let how = Acknowledgement::Applied;
                answers::send_after(
                    base,
                    &self.outcomes,
                    written,
                    transaction,
                    Message::Acknowledge { transaction, how },
                );
            }
            (BranchStage::Aborting(end), Answer::Done) => self.settle_aborted(base, transaction, end),
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
            BranchStage::Committing => Some(Request::Commit { transaction }),
            BranchStage::Aborting(_) => Some(Request::Abort { transaction }),
            BranchStage::Delegated => Some(Request::CommitOnePhase { transaction, payload: payload() }),
            BranchStage::Enlisted | BranchStage::Writing => None,
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
}

/// A request is repeated after `request_timeout`, then after twice that time, and at most after sixteen times.
const REQUEST_DOUBLINGS_MAX: u32 = 4;
