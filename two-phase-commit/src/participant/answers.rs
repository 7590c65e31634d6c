//! Answers of a participant to the node that serves a coordinator, and to other participants.

use std::collections::BTreeSet;

use quorate_protocol::{NodeId, Ticket};

use crate::base::Base;
use crate::error::Ignored;
use crate::message::{Acknowledgement, Message};
use crate::outcomes::Outcomes;
use crate::{Decision, TransactionId, Vote};

/// Sends a message to the node that serves the coordinator, once this write is durable.
pub(super) fn send_after(
    base: &mut Base,
    outcomes: &Outcomes,
    written: Ticket,
    transaction: TransactionId,
    message: Message,
) {
    if let Some(server) = outcomes.server_of(transaction.coordinator) {
        base.chassis.outbox.send_after(written, server, message);
    }
}

/// The nodes that a participant asks for a decision: the server of the coordinator; if it does not answer, all
/// participants too; and then another member each time as well, which may have taken the coordinator over.
pub(super) fn asked(
    base: &Base,
    outcomes: &Outcomes,
    transaction: TransactionId,
    participants: &BTreeSet<NodeId>,
    attempt: u32,
) -> BTreeSet<NodeId> {
    let mut asked: BTreeSet<NodeId> = outcomes.server_of(transaction.coordinator).into_iter().collect();
    if attempt > 0 {
        asked.extend(participants.iter().filter(|node| **node != base.config.node()));
        asked.extend(attempt.checked_sub(2).and_then(|number| base.member_in_turn(number)));
    }
    asked
}

pub(super) fn vote(base: &mut Base, outcomes: &Outcomes, transaction: TransactionId, vote: Vote) {
    let epoch = base.journal.epoch_ticket();
    send_after(base, outcomes, epoch, transaction, Message::Vote { transaction, vote });
}

pub(super) fn vote_again(
    base: &mut Base,
    outcomes: &Outcomes,
    transaction: TransactionId,
    again: Vote,
) -> Result<(), Ignored> {
    vote(base, outcomes, transaction, again);
    Err(Ignored::Repeated)
}

pub(super) fn acknowledge(base: &mut Base, outcomes: &Outcomes, transaction: TransactionId, how: Acknowledgement) {
    let covered = base.chassis.outbox.newest_write();
    send_after(base, outcomes, covered, transaction, Message::Acknowledge { transaction, how });
}

/// Tells the coordinator a decision that it left to this node, once every record that it depends on is durable.
pub(super) fn outcome(base: &mut Base, outcomes: &Outcomes, transaction: TransactionId, decision: Decision) {
    if let Some(server) = outcomes.server_of(transaction.coordinator) {
        outcome_to(base, server, transaction, decision);
    }
}

/// Tells a decision once every record that it depends on is durable.
pub(super) fn outcome_to(base: &mut Base, to: NodeId, transaction: TransactionId, decision: Decision) {
    let covered = base.flush();
    base.chassis.outbox.send_after(covered, to, Message::Outcome { transaction, decision });
}
