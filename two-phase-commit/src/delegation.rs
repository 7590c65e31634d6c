//! The payloads that a coordinator holds, and the number of decisions that it leaves to participants at a time.
//!
//! A transaction whose decision is left to its only participant cannot be ended by its coordinator. So that a
//! participant that does not answer cannot use up the coordinator's room, such transactions take at most half of it. To
//! a participant that has left one unanswered for `report_after`, no further decision is left. In both cases the
//! participant is asked for its vote, like several would be: then the transaction ends at the latest when the time for
//! votes is over.

use std::collections::BTreeMap;

use quorate_protocol::NodeId;

use crate::Settings;
use crate::config::OnePhase;
use crate::state::{Delegations, Stage};

/// The resources that the transactions of a coordinator take up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Bytes of payloads in all unfinished transactions.
    payload_bytes: usize,
    /// The decisions that are left to each participant. Participants without any are left out.
    delegations: BTreeMap<NodeId, Delegations>,
}

impl Held {
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    pub(crate) fn delegations(&self) -> &BTreeMap<NodeId, Delegations> {
        &self.delegations
    }

    /// True if the decision on work of this number of bytes is left to its only participant.
    pub(crate) fn may_delegate(&self, settings: &Settings, participant: NodeId, bytes: usize) -> bool {
        let is_late = self.delegations.get(&participant).is_some_and(|left| left.is_late);
        if settings.one_phase == OnePhase::Never || is_late {
            return false;
        }
        let count: usize = self.delegations.values().map(|left| left.count).sum();
        let held: usize = self.delegations.values().map(|left| left.payload_bytes).sum();
        let fits = held.checked_add(bytes).is_some_and(|held| held <= settings.payload_bytes_total_max / 2);
        fits && count < settings.transactions_max / 2
    }

    /// Counts the resources of a transaction in this stage.
    pub(crate) fn hold(&mut self, stage: &Stage) {
        let bytes = stage.payload_bytes();
        self.payload_bytes += bytes;
        if let Some(participant) = stage.delegate() {
            let left = self.delegations.entry(participant).or_default();
            left.count += 1;
            left.payload_bytes += bytes;
        }
    }

    /// A transaction is no longer in this stage.
    pub(crate) fn release(&mut self, stage: &Stage) {
        let bytes = stage.payload_bytes();
        self.payload_bytes -= bytes;
        if let Some(participant) = stage.delegate() {
            let left = self.delegations.get_mut(&participant).expect("counted when the stage began");
            left.count -= 1;
            left.payload_bytes -= bytes;
            if left.count == 0 {
                self.delegations.remove(&participant);
            }
        }
    }

    /// Notes whether the participant has left a decision unanswered for long.
    pub(crate) fn note_late(&mut self, participant: NodeId, is_late: bool) {
        if let Some(left) = self.delegations.get_mut(&participant) {
            left.is_late = is_late;
        }
    }
}
