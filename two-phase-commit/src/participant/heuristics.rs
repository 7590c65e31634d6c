//! Outcomes of branches that an operator forced while they were in doubt.
//!
//! A forced outcome is written, then carried out, and then kept here until the decision is known. If both are the
//! same, the branch has ended like others. If not, the transaction is mixed: this is written, told to the coordinator,
//! and kept until the operator says that it was dealt with.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate_protocol::{NodeId, RecoverError, Ticket};

use super::answers;
use crate::base::Base;
use crate::codec::Record;
use crate::journal::KeyedRecord;
use crate::message::{Acknowledgement, Message};
use crate::outcomes::Outcomes;
use crate::recovery::TWO_RECORDS;
use crate::state::Awaited;
use crate::timers::Timer;
use crate::{Decision, Deviation, Event, TransactionId};

/// The branches whose forced outcome was carried out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heuristics {
    of: BTreeMap<TransactionId, Heuristic>,
}

/// A branch whose forced outcome was carried out. It has a timer while it waits for the decision, or for the
/// coordinator's word that it has noted the other outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Heuristic {
    /// What was done.
    pub(crate) forced: Decision,
    /// What was decided, once this is known. It is the other one.
    pub(crate) decision: Option<Decision>,
    pub(crate) participants: BTreeSet<NodeId>,
    pub(crate) key: u64,
    /// Volatile: the coordinator has noted it.
    pub(crate) is_noted: bool,
    /// Volatile: number of questions or messages in a row that were not answered.
    pub(crate) attempt: u32,
}

impl Heuristic {
    pub(crate) fn new(forced: Decision, participants: BTreeSet<NodeId>, key: u64) -> Self {
        Self { forced, decision: None, participants, key, is_noted: false, attempt: 0 }
    }

    /// True if this node must speak to others about it. A coordinator that decided to commit asks by itself.
    pub(crate) fn waits(&self) -> bool {
        match self.decision {
            None => true,
            Some(Decision::Commit) => false,
            Some(Decision::Abort) => !self.is_noted,
        }
    }

    fn record(&self, transaction: TransactionId) -> Record {
        let Self { forced, decision, participants, .. } = self;
        Record::Heuristic { transaction, forced: *forced, decision: *decision, participants: participants.clone() }
    }
}

impl Heuristics {
    pub(crate) fn of(&self) -> &BTreeMap<TransactionId, Heuristic> {
        &self.of
    }

    pub(crate) fn contains(&self, transaction: TransactionId) -> bool {
        self.of.contains_key(&transaction)
    }

    /// Takes one up from its record.
    pub(crate) fn adopt(&mut self, transaction: TransactionId, heuristic: Heuristic) -> Result<(), RecoverError> {
        if self.of.insert(transaction, heuristic).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Continues those that were taken up from their records.
    pub(crate) fn begin(&self, base: &mut Base) {
        for (transaction, _) in self.of.iter().filter(|(_, it)| it.waits()) {
            arm(base, *transaction, 0);
        }
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyedRecord> + '_ {
        self.of.iter().map(|(transaction, it)| KeyedRecord { key: it.key, record: it.record(*transaction) })
    }

    /// The application has carried out the forced outcome.
    pub(super) fn add(&mut self, base: &mut Base, transaction: TransactionId, heuristic: Heuristic) {
        let awaited = Awaited::Settled(transaction, heuristic.forced);
        base.write(heuristic.key, &heuristic.record(transaction), Some(awaited));
        self.of.insert(transaction, heuristic);
        arm(base, transaction, 0);
    }

    /// Compares the forced outcome with the decision. Returns the branch if they are the same.
    pub(super) fn compare(
        &mut self,
        base: &mut Base,
        outcomes: &Outcomes,
        transaction: TransactionId,
        decision: Decision,
    ) -> Option<Heuristic> {
        let it = self.of.get_mut(&transaction)?;
        if it.forced == decision {
            // Once it is known to differ, a decision that does not is an old presumption.
            return if it.decision.is_none() { self.remove(base, transaction) } else { None };
        }
        if it.decision.is_some() {
            let covered = base.chassis.outbox.newest_write();
            tell(base, outcomes, covered, transaction, it.forced);
            return None;
        }
        (it.decision, it.attempt) = (Some(decision), 0);
        let (forced, participant) = (it.forced, base.config.node());
        let written = base.write(it.key, &it.record(transaction), None);
        let event = Event::Mixed { transaction, decision, participant, deviation: deviation(forced) };
        base.chassis.outbox.event_after(written, event);
        tell(base, outcomes, written, transaction, forced);
        base.timers.cancel(Timer::Branch(transaction));
        if it.waits() {
            arm(base, transaction, 0);
        }
        None
    }

    /// The coordinator has noted that this node did not do what was decided.
    pub(crate) fn on_noted(&mut self, base: &mut Base, transaction: TransactionId) {
        if let Some(it) = self.of.get_mut(&transaction).filter(|it| it.decision.is_some()) {
            it.is_noted = true;
            base.timers.cancel(Timer::Branch(transaction));
        }
    }

    /// Asks for the decision, or tells the coordinator of the other outcome, again.
    pub(super) fn on_timeout(&mut self, base: &mut Base, outcomes: &Outcomes, transaction: TransactionId) {
        let Some(it) = self.of.get_mut(&transaction).filter(|it| it.waits()) else { return };
        if it.decision.is_some() {
            let covered = base.chassis.outbox.newest_write();
            tell(base, outcomes, covered, transaction, it.forced);
        } else {
            for node in answers::asked(base, outcomes, transaction, &it.participants, it.attempt) {
                base.send(node, Message::Inquire { transaction });
            }
        }
        it.attempt = it.attempt.saturating_add(1);
        arm(base, transaction, it.attempt);
    }

    pub(super) fn remove(&mut self, base: &mut Base, transaction: TransactionId) -> Option<Heuristic> {
        base.timers.cancel(Timer::Branch(transaction));
        self.of.remove(&transaction)
    }
}

fn arm(base: &mut Base, transaction: TransactionId, attempt: u32) {
    let at = base.retry_at(attempt);
    base.timers.arm(Timer::Branch(transaction), at);
}

/// Tells the coordinator what was forced, once that is durable.
fn tell(base: &mut Base, outcomes: &Outcomes, written: Ticket, transaction: TransactionId, forced: Decision) {
    answers::send_after(base, outcomes, written, transaction, Message::Acknowledge { transaction, how: how(forced) });
}

/// The acknowledgement of a decision that is not `forced`.
pub(super) fn how(forced: Decision) -> Acknowledgement {
    match forced {
        Decision::Commit => Acknowledgement::HeuristicallyCommitted,
        Decision::Abort => Acknowledgement::HeuristicallyAborted,
    }
}

fn deviation(forced: Decision) -> Deviation {
    match forced {
        Decision::Commit => Deviation::Committed,
        Decision::Abort => Deviation::Aborted,
    }
}
