//! Nodes come and go: one is introduced, accepts no branch, lost its disk, did not do what was decided, is given up, or
//! takes over the coordinator that this node serves.

use std::collections::BTreeSet;

use quorate_protocol::NodeId;

use super::Coordinator;
use crate::base::Base;
use crate::error::Ignored;
use crate::message::{Finished, Message};
use crate::state::Stage;
use crate::timers::Timer;
use crate::{
    AbortReason, Decision, Deviation, Epoch, Event, TransactionId, TransactionNumber, TransactionOutcome, Unready,
};

impl Coordinator {
    /// Another node serves the coordinator in a higher epoch, so this one decides nothing any more. The other node has
    /// read every decision in the log, and no decision of this node is written after that: transactions without one are
    /// aborted. The records stay in this node's log.
    pub(crate) fn retire(&mut self, base: &mut Base, server: NodeId, epoch: Epoch) {
        self.kept = self.records().collect();
        self.remembered.clear();
        self.mixed.clear();
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

    /// A participant says that it committed its branch, although the transaction is aborted. It says so until this is
    /// noted durably.
    pub(super) fn on_deviation(
        &mut self,
        base: &mut Base,
        from: NodeId,
        number: TransactionNumber,
    ) -> Result<(), Ignored> {
        // What is so old that commits were forgotten may be committed. A participant that knows the decision is never
        // that late.
        let is_aborted = !self.remembered.contains_key(&number) && number >= base.journal.state().forgotten_below;
        if !is_aborted || number >= self.next_number(base) {
            return Err(Ignored::Stale);
        }
        let written = self.mixed.note(base, number, Decision::Abort, from, Deviation::Committed)?;
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        base.chassis.outbox.send_after(written, from, Message::Noted { stamp, transaction });
        Ok(())
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

    /// Handles a participant's answer that it does not accept its branch now. This is not a vote: the participant is
    /// asked again until the time is up.
    pub(crate) fn on_unready(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: TransactionId,
        why: Unready,
    ) -> Result<(), Ignored> {
        let number = base.own(transaction).ok_or(Ignored::NotCoordinator)?;
        let Some(Stage::Voting(voting)) = self.coordinated.get_mut(&number).map(|it| &mut it.stage) else {
            return Err(Ignored::Stale);
        };
        if !voting.payloads.contains_key(&from) {
            return Err(Ignored::NotParticipant);
        }
        if voting.votes.contains_key(&from) {
            return Err(Ignored::Stale);
        }
        voting.unready.insert(from, why);
        if why == Unready::TooLarge {
            let told = voting.interested();
            self.abort_transaction(base, number, AbortReason::Unready(from, why), &told);
        }
        Ok(())
    }
}
