//! Nodes come and go: one is introduced, lost its disk, is given up, or takes over the coordinator that this node
//! serves.

use std::collections::BTreeSet;

use quorate_protocol::NodeId;

use super::Coordinator;
use crate::base::Base;
use crate::message::{Finished, Message};
use crate::state::Stage;
use crate::timers::Timer;
use crate::{AbortReason, Epoch, Event, TransactionNumber, TransactionOutcome};

impl Coordinator {
    /// Another node serves the coordinator in a higher epoch, so this one decides nothing any more. The other node has
    /// read every decision in the log, and no decision of this node is written after that: transactions without one are
    /// aborted. The records stay in this node's log.
    pub(crate) fn retire(&mut self, base: &mut Base, server: NodeId, epoch: Epoch) {
        self.kept = self.records().collect();
        self.remembered.clear();
        let mut unknown = BTreeSet::new();
        for (number, it) in std::mem::take(&mut self.coordinated) {
            self.held.release(&it.stage);
            base.timers.cancel(Timer::Coordinated(number));
            let transaction = base.id_of(number);
            match it.stage {
                Stage::Working | Stage::Voting(_) => {
                    let outcome = TransactionOutcome::Aborted(AbortReason::TakenOver);
                    base.event_of_epoch(Event::Ended { transaction, outcome });
                }
                Stage::Deciding { .. } | Stage::Delegating { .. } | Stage::Delegated { .. } => {
                    unknown.insert(transaction);
                }
                Stage::Committed { .. } | Stage::Ending { .. } | Stage::Forgetting => {}
            }
        }
        base.served_by = Some(server);
        base.event(Event::TakenOver { server, epoch, unknown });
    }

    /// The node's disk is not the one that it voted from, so its votes do not count.
    pub(crate) fn forget_votes(&mut self, node: NodeId) {
        for it in self.coordinated.values_mut() {
            if let Stage::Voting(voting) = &mut it.stage {
                voting.votes.remove(&node);
            }
        }
    }

    /// Tells a participant which transactions of this coordinator are finished, and that this node serves it.
    pub(crate) fn tell_finished(&self, base: &mut Base, to: NodeId) {
        if base.served_by.is_some() {
            return;
        }
        let (stamp, until) = (self.stamp(base), self.next_number(base));
        let unfinished = self.coordinated.keys().copied().collect();
        base.send(to, Message::Finished(Finished { stamp, until, unfinished }));
    }

    /// An operator has given the node up: transactions no longer wait for its acknowledgements.
    pub(crate) fn give_up(&mut self, base: &mut Base, node: NodeId) {
        let waits_for_it = self.coordinated.iter().filter(
            |(_, it)| matches!(&it.stage, Stage::Committed { unacknowledged, .. } if unacknowledged.contains(&node)),
        );
        let waiting: Vec<TransactionNumber> = waits_for_it.map(|(number, _)| *number).collect();
        for number in waiting {
            base.event(Event::BranchForgotten { transaction: base.id_of(number), participant: node });
            self.count_acknowledgement(base, number, node);
        }
    }
}
