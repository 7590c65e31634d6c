//! Durable before said: the content of a message or event is on the disk of its node when it leaves.

use std::collections::BTreeSet;

use quorate_protocol::NodeId;
use quorate_protocol::testing::Stream;

use crate::codec::{Record, decode_state};
use crate::message::{Acknowledgement, Decide, Message, Prepare, Stamp};
use crate::state::{BranchEnd, DurableState};
use crate::{CoordinatorId, Decision, Event, TransactionId, TransactionNumber, TransactionOutcome, Vote};

/// Checks that a node's messages and events depend only on the content of its disk.
#[derive(Debug)]
pub(super) struct Said {
    records: Vec<Record>,
    state: DurableState,
}

impl Said {
    /// Makes a check for the node of this disk.
    pub(super) fn by(disk: &Stream) -> Self {
        let state = disk.state.clone().map(|bytes| decode_state(bytes).expect("a core wrote it"));
        Self { records: decoded(disk), state: state.unwrap_or_default() }
    }

    /// # Panics
    /// When the message states something that is not on the sender's disk.
    pub(super) fn check_message(&self, to: NodeId, message: &Message) {
        if let Some((_, stamp)) = message.of_coordinator() {
            self.check_stamp(stamp);
        }
        if let Message::Finished(finished) = message {
            self.check_finished(|number| number < finished.until && !finished.unfinished.contains(&number));
        }
        match message {
            Message::Prepare(Prepare { transaction, .. }) => {
                assert!(transaction.number.epoch == self.state.epoch, "a prepare is of the durable epoch");
            }
            Message::Vote { transaction, vote: Vote::Yes } => {
                assert!(self.is_prepared(*transaction), "{transaction}: a yes was said before it was durable");
            }
            Message::Decide(Decide { transaction, decision: Decision::Commit, .. }) => {
                assert!(self.is_decided(transaction.number), "{transaction}: a commit was said before it was durable");
            }
            Message::Decide(Decide { transaction, .. }) | Message::Presume { transaction, .. } => {
                let is_asked_to_commit = self.writers(transaction.number).any(|writers| writers.contains(&to));
                assert!(!is_asked_to_commit, "{transaction}: an abort was said of a durable commit");
            }
            Message::CommitOnePhase(request) => {
                let transaction = request.transaction;
                let is_left =
                    |it: &Record| matches!(it, Record::Delegated { number, .. } if *number == transaction.number);
                assert!(self.records.iter().any(is_left), "{transaction} was left to {to} before that was durable");
            }
            Message::Acknowledge { transaction, how: Acknowledgement::Forgotten } => {
                assert!(!self.is_in_doubt(*transaction), "{transaction} was said to be forgotten, and is in doubt");
            }
            Message::Acknowledge {
                transaction,
                how: Acknowledgement::HeuristicallyAborted | Acknowledgement::HeuristicallyCommitted,
            } => {
                let is_it = self.is_forced(*transaction) || self.is_finished(*transaction);
                assert!(is_it, "{transaction} was said to be forced before that was durable");
            }
            Message::Noted { transaction, .. } => {
                assert!(self.is_mixed(transaction.number), "{transaction} was said to be noted before it was durable");
            }
            Message::Acknowledge { transaction, .. } => {
                let is_there = self.is_settled(*transaction, Decision::Commit) || self.is_finished(*transaction);
                assert!(is_there, "{transaction}: a commit was acknowledged before it was durable");
            }
            Message::Outcome { transaction, decision } if self.is_server(to, transaction.coordinator) => {
                let is_there = self.is_settled(*transaction, *decision) || self.is_finished(*transaction);
                assert!(is_there, "{transaction}: {decision:?} was told before it was durable");
            }
            Message::Outcome { transaction, decision: Decision::Commit } => {
                let is_there = self.is_prepared(*transaction) || self.is_finished(*transaction);
                assert!(is_there, "{transaction}: another was told of a commit that is not known here");
            }
            Message::Unready { transaction, .. } => {
                assert!(!self.is_in_doubt(*transaction), "{transaction} is not taken, and was voted for");
            }
            Message::Outcome { .. }
            | Message::Vote { .. }
            | Message::Inquire { .. }
            | Message::InquireFinished { .. }
            | Message::Served { .. }
            | Message::Finished(_) => {}
        }
    }

    /// # Panics
    /// When the event states something that is not on the node's disk.
    pub(super) fn check_event(&self, event: &Event) {
        match event {
            Event::Begun { transaction, .. } => {
                assert!(
                    transaction.number.epoch == self.state.epoch,
                    "{transaction} was begun in an epoch that is not durable"
                );
            }
            Event::Ended { transaction, outcome: TransactionOutcome::Committed } => {
                let number = transaction.number;
                let is_left = |it: &Record| matches!(it, Record::Delegated { number: left, .. } if *left == number);
                let is_there = self.is_decided(number) || self.records.iter().any(is_left);
                assert!(is_there, "{transaction}: a commit was told before it was durable");
            }
            Event::Settled { transaction, decision: Decision::Commit } => {
                let is_there = self.is_settled(*transaction, Decision::Commit)
                    || self.is_forced(*transaction)
                    || self.is_finished(*transaction);
                assert!(is_there, "{transaction} is to be forgotten before its end is durable");
            }
            Event::Forced { transaction, .. } => {
                let is_it = self.is_forced(*transaction) || self.is_in_doubt(*transaction);
                assert!(is_it, "{transaction}: a forced outcome was told before it was durable");
            }
            Event::Mixed { transaction, .. } => {
                let is_it = self.is_forced(*transaction) || self.is_mixed(transaction.number);
                assert!(is_it, "{transaction} was told to be mixed before that was durable");
            }
            _ => {}
        }
    }

    /// Nothing of an epoch is told before the epoch is durable, and no transaction is reported as finished to which a
    /// restart would return.
    fn check_stamp(&self, stamp: Stamp) {
        assert!(stamp.epoch == self.state.epoch, "epoch {} was said before it was durable", stamp.epoch);
        self.check_finished(|number| number < stamp.finished_below);
    }

    fn check_finished(&self, is_finished: impl Fn(TransactionNumber) -> bool) {
        let unfinished = self.records.iter().find(|record| match record {
            Record::Commit { number, .. } | Record::Delegated { number, .. } => is_finished(*number),
            _ => false,
        });
        assert!(unfinished.is_none(), "it was said to be finished: {unfinished:?}");
    }

    fn writers(&self, of: TransactionNumber) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        self.records.iter().filter_map(move |record| match record {
            Record::Commit { number, writers } | Record::Ended { number, writers } if *number == of => Some(writers),
            _ => None,
        })
    }

    fn is_decided(&self, number: TransactionNumber) -> bool {
        self.writers(number).next().is_some() || number < self.state.forgotten_below
    }

    fn is_in_doubt(&self, of: TransactionId) -> bool {
        let is_it = |it: &Record| matches!(it, Record::Prepared { transaction, .. } | Record::Forced { transaction, .. } if *transaction == of);
        self.records.iter().any(is_it)
    }

    /// True if the branch ended as an operator forced it to.
    fn is_forced(&self, of: TransactionId) -> bool {
        self.records.iter().any(|record| match record {
            Record::Heuristic { transaction, .. } => *transaction == of,
            Record::Settled { transaction, end } => *transaction == of && matches!(end, BranchEnd::Heuristic(_)),
            _ => false,
        })
    }

    fn is_mixed(&self, of: TransactionNumber) -> bool {
        self.records.iter().any(|record| matches!(record, Record::Mixed { number, .. } if *number == of))
    }

    /// True if the branch was prepared at some time. The record of its end may have replaced that record.
    fn is_prepared(&self, of: TransactionId) -> bool {
        let is_it = |it: &Record| matches!(it, Record::Settled { transaction, .. } if *transaction == of);
        self.is_in_doubt(of) || self.records.iter().any(is_it)
    }

    fn is_settled(&self, of: TransactionId, decision: Decision) -> bool {
        self.records.iter().any(|record| match record {
            Record::Settled { transaction, end: BranchEnd::Decided(is) } if *transaction == of => *is == decision,
            // The branch was given up before the decision was left to it.
            Record::Settled { transaction, end: BranchEnd::Abandoned } if *transaction == of => {
                decision == Decision::Abort
            }
            _ => false,
        })
    }

    /// True if this node serves the coordinator, as far as is written down here.
    fn is_server(&self, node: NodeId, of: CoordinatorId) -> bool {
        let is_it = |record: &Record| matches!(record, Record::Known(known) if known.coordinator == of && known.server == Some(node));
        self.records.iter().any(is_it)
    }

    /// True if its coordinator reported it as finished, and this node has written that down.
    fn is_finished(&self, transaction: TransactionId) -> bool {
        self.records.iter().any(|record| match record {
            Record::Known(known) if known.coordinator == transaction.coordinator => {
                known.is_forgotten || transaction.number < known.finished_below
            }
            Record::Unfinished { coordinator, until, unfinished } if *coordinator == transaction.coordinator => {
                transaction.number < *until && !unfinished.contains(&transaction.number)
            }
            _ => false,
        })
    }
}

/// Number of a disk's records of transactions.
#[must_use]
pub fn records(disk: &Stream) -> usize {
    let is_of_one =
        |record: &&Record| !matches!(record, Record::Known(_) | Record::Unfinished { .. } | Record::GivenUp { .. });
    decoded(disk).iter().filter(is_of_one).count()
}

/// The newest record of each key.
fn decoded(disk: &Stream) -> Vec<Record> {
    disk.newest().into_values().map(|bytes| Record::decode(bytes.clone()).expect("a core wrote it")).collect()
}
