//! The coordinator: it collects votes, decides, and makes sure that every participant commits.
//!
//! ```text
//!             Commit             all votes in        durable           all acknowledged      durable
//!  Working ──────────► Voting ──────────────► Deciding ───────► Committed ───────────────► Ending ───────► remembered
//!     │                  │ a no, too late         │ certainly not written
//!     └──────────────────┴────────────────────────┴──► aborted: nothing is kept, nothing was written
//!
//!             Commit, one participant   durable            its answer
//!  Working ─────────────────────► Delegating ───────► Delegated ─────────► Ending or Forgetting
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, StorageLevel};

use crate::codec::Record;
use crate::error::Ignored;
use crate::message::{Acknowledgement, CommitOnePhase, Decide, Message, Prepare};
use crate::state::{Awaited, Coordinated, Remembered, Stage, Voting};
use crate::timers::Timer;
use crate::{
    AbortReason, CommandId, Decision, Event, Knowledge, Outcome, RefuseReason, TransactionId, TransactionNumber,
    TwoPhaseCommit, Unready, Vote,
};

impl TwoPhaseCommit {
    pub(crate) fn on_begin(&mut self, command: CommandId) -> Result<(), RefuseReason> {
        self.check_standing(self.config.node()).map_err(|_| RefuseReason::NotIntroduced)?;
        if self.storage == StorageLevel::Low {
            return Err(RefuseReason::StorageLow);
        }
        if self.is_log_behind() {
            return Err(RefuseReason::LogBehind);
        }
        let settings = self.config.settings();
        // Begun transactions are announced only once the epoch is durable. These waiting events are bounded like
        // messages.
        let untold = self.outbox.held_events().count();
        if self.coordinated.len() >= settings.transactions_max || untold >= settings.held_messages_max {
            return Err(RefuseReason::Overloaded);
        }
        let number = self.next_number();
        self.next_sequence += 1;
        let it = Coordinated { stage: Stage::Working, since: self.now.instant, attempt: 0, is_reported: false };
        self.coordinated.insert(number, it);
        self.timers.arm(Timer::Coordinated(number), self.now.instant.after(self.config.settings().begin_timeout));
        self.outbox.event_after(self.epoch_ticket, Event::Begun { command, transaction: self.id_of(number) });
        Ok(())
    }

    pub(crate) fn on_commit(
        &mut self,
        transaction: TransactionId,
        branches: BTreeMap<NodeId, Bytes>,
    ) -> Result<(), RefuseReason> {
        let number = self.own(transaction)?;
        let settings = self.config.settings();
        let it = self.coordinated.get(&number).ok_or(RefuseReason::NotBegun)?;
        if it.stage != Stage::Working {
            return Err(RefuseReason::AlreadyDeciding);
        }
        if branches.is_empty() || branches.len() > settings.participants_max {
            return Err(RefuseReason::Participants);
        }
        if branches.values().any(|payload| payload.len() > settings.payload_bytes_max) {
            return Err(RefuseReason::TooLarge);
        }
        if let Some(node) = branches.keys().find(|node| self.is_forgotten(**node)) {
            return Err(RefuseReason::ParticipantForgotten(*node));
        }
        let bytes = branches.values().fold(self.coordinated_bytes, |sum, payload| sum.saturating_add(payload.len()));
        if bytes > settings.payload_bytes_total_max {
            return Err(RefuseReason::Overloaded);
        }
        if self.is_log_behind() {
            return Err(RefuseReason::LogBehind);
        }
        let until = self.now.instant.after(settings.vote_timeout);
        let only = branches.first_key_value().filter(|_| branches.len() == 1);
        if only.is_some_and(|(participant, payload)| self.may_delegate(*participant, payload.len())) {
            let (participant, payload) = branches.into_iter().next().expect("one");
            let key = self.new_key();
            let record = Record::Delegated { number, participant, payload: payload.clone() };
            self.enter(number, Stage::Delegating { key, participant, payload });
            self.write(key, &record, Some(Awaited::Delegated(number)));
            return Ok(());
        }
        self.enter(number, Stage::Voting(Voting { until, payloads: branches, ..Voting::default() }));
        self.ask_for_votes(number);
        Ok(())
    }

    pub(crate) fn on_abort(&mut self, transaction: TransactionId) -> Result<(), RefuseReason> {
        let number = self.own(transaction)?;
        let told = match &self.coordinated.get(&number).ok_or(RefuseReason::NotBegun)?.stage {
            Stage::Working => BTreeSet::new(),
            Stage::Voting(voting) => voting.interested(),
            _ => return Err(RefuseReason::AlreadyDeciding),
        };
        self.abort_transaction(number, AbortReason::Asked, &told);
        Ok(())
    }

    /// A transaction that is not known any more was aborted, unless it is so old that committed transactions may have
    /// been forgotten too.
    pub(crate) fn on_query(&mut self, command: CommandId, transaction: TransactionId) -> Result<(), RefuseReason> {
        self.check_standing(self.config.node()).map_err(|_| RefuseReason::NotIntroduced)?;
        let number = self.own(transaction)?;
        if number >= self.next_number() {
            return Err(RefuseReason::NotBegun);
        }
        if self.outbox.held_events().count() >= self.config.settings().held_messages_max {
            return Err(RefuseReason::Overloaded);
        }
        let knowledge = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Working | Stage::Voting(_) | Stage::Deciding { .. } | Stage::Delegating { .. }) => {
                Knowledge::Undecided
            }
            Some(Stage::Delegated { .. }) => Knowledge::InDoubt,
            Some(Stage::Committed { .. } | Stage::Ending { .. }) => Knowledge::Committed,
            None if self.remembered.contains_key(&number) => Knowledge::Committed,
            None if number < self.state.forgotten_below => Knowledge::Forgotten,
            Some(Stage::Forgetting) | None => Knowledge::Aborted,
        };
        self.outbox.event_after(self.epoch_ticket, Event::Known { command, transaction, knowledge });
        Ok(())
    }

    pub(crate) fn on_vote(&mut self, from: NodeId, transaction: TransactionId, vote: Vote) -> Result<(), Ignored> {
        let number = self.own(transaction).map_err(|_| Ignored::NotCoordinator)?;
        let Some(Stage::Voting(voting)) = self.coordinated.get_mut(&number).map(|it| &mut it.stage) else {
            // The vote comes too late. A participant that voted yes must learn the decision made without it.
            return if vote == Vote::Yes { self.on_inquire(from, number) } else { Err(Ignored::Stale) };
        };
        if !voting.payloads.contains_key(&from) {
            return Err(Ignored::NotParticipant);
        }
        match (voting.votes.get(&from), vote) {
            (_, Vote::No) => {
                let mut told = voting.interested();
                told.remove(&from);
                self.abort_transaction(number, AbortReason::Refused(from), &told);
                return Ok(());
            }
            // A participant that voted read-only and crashed may be asked again, and may then have something to write.
            (None, _) | (Some(Vote::ReadOnly), Vote::Yes) => voting.votes.insert(from, vote),
            (Some(_), _) => return Err(Ignored::Repeated),
        };
        if voting.votes.len() == voting.payloads.len() {
            self.decide(number);
        }
        Ok(())
    }

    /// Handles a question of a participant in doubt. A transaction that this coordinator does not know will never be
    /// committed (presumed abort, §4.1).
    pub(crate) fn on_inquire(&mut self, from: NodeId, number: TransactionNumber) -> Result<(), Ignored> {
        if number >= self.next_number() {
            return Err(Ignored::Absurd);
        }
        let writers = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Committed { writers, .. } | Stage::Ending { writers, .. }) => Some(writers),
            Some(Stage::Forgetting) => None,
            Some(_) => return Err(Ignored::Undecided),
            None => self.remembered.get(&number).map(|it| &it.writers),
        };
        let is_committed = writers.is_some_and(|writers| writers.contains(&from));
        let (stamp, transaction) = (self.stamp(), self.id_of(number));
        let answer = if is_committed {
            Message::Decide(Decide { stamp, transaction, decision: Decision::Commit })
        } else {
            Message::Presume { stamp, transaction }
        };
        self.send(from, answer);
        Ok(())
    }

    pub(crate) fn on_acknowledge(
        &mut self,
        from: NodeId,
        transaction: TransactionId,
        how: Acknowledgement,
    ) -> Result<(), Ignored> {
        let number = self.own(transaction).map_err(|_| Ignored::NotCoordinator)?;
        match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Committed { unacknowledged, .. }) if unacknowledged.contains(&from) => {}
            Some(Stage::Committed { .. }) => return Err(Ignored::Repeated),
            _ => return Err(Ignored::Stale),
        }
        if how == Acknowledgement::Forgotten {
            self.outbox.event(Event::BranchForgotten { transaction, participant: from });
        }
        self.count_acknowledgement(number, from);
        Ok(())
    }

    /// Notes that a writer of a committed transaction need not be told again.
    pub(crate) fn count_acknowledgement(&mut self, number: TransactionNumber, node: NodeId) {
        let Some(Stage::Committed { key, writers, unacknowledged }) =
            self.coordinated.get_mut(&number).map(|it| &mut it.stage)
        else {
            return;
        };
        unacknowledged.remove(&node);
        if unacknowledged.is_empty() {
            let (key, writers) = (*key, std::mem::take(writers));
            self.end(number, key, writers);
        }
    }

    /// Handles a participant's answer that it does not accept its branch now. This is not a vote: the participant is
    /// asked again until the time is up.
    pub(crate) fn on_unready(&mut self, from: NodeId, transaction: TransactionId, why: Unready) -> Result<(), Ignored> {
        let number = self.own(transaction).map_err(|_| Ignored::NotCoordinator)?;
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
            self.abort_transaction(number, AbortReason::Unready(from, why), &told);
        }
        Ok(())
    }

    /// Handles the outcome from the participant to which the decision was left.
    pub(crate) fn on_outcome(
        &mut self,
        from: NodeId,
        number: TransactionNumber,
        decision: Decision,
    ) -> Result<(), Ignored> {
        let Some(Stage::Delegated { key, participant, .. }) = self.coordinated.get(&number).map(|it| &it.stage) else {
            return Err(Ignored::Stale);
        };
        let (key, participant) = (*key, *participant);
        if participant != from {
            return Err(Ignored::NotParticipant);
        }
        let transaction = self.id_of(number);
        self.note_late(participant, false);
        match decision {
            Decision::Commit => {
                self.outbox.event(Event::Ended { transaction, outcome: Outcome::Committed });
                self.end(number, key, [participant].into());
            }
            Decision::Abort => {
                let outcome = Outcome::Aborted(AbortReason::Refused(from));
                self.outbox.event(Event::Ended { transaction, outcome });
                self.enter(number, Stage::Forgetting);
                self.erase_lazily(key, Some(Awaited::Ended(number)));
            }
        }
        Ok(())
    }

    /// The decision to commit is durable, and therefore final.
    pub(crate) fn on_decided(&mut self, number: TransactionNumber) {
        let Some(Stage::Deciding { key, writers }) = self.coordinated.get(&number).map(|it| &it.stage) else { return };
        let (key, writers) = (*key, writers.clone());
        self.enter(number, Stage::Committed { key, unacknowledged: writers.clone(), writers });
        let transaction = self.id_of(number);
        self.outbox.event(Event::Ended { transaction, outcome: Outcome::Committed });
        self.tell_commit(number);
    }

    /// The delegation to the participant is durable: the participant may be asked to decide.
    pub(crate) fn on_delegated(&mut self, number: TransactionNumber) {
        let Some(Stage::Delegating { key, participant, payload }) = self.coordinated.get(&number).map(|it| &it.stage)
        else {
            return;
        };
        let (key, participant, payload) = (*key, *participant, payload.clone());
        self.enter(number, Stage::Delegated { key, participant, payload });
        self.ask_to_decide(number);
    }

    /// The end of the transaction is durable: a restart need not return to it.
    pub(crate) fn on_ended(&mut self, number: TransactionNumber) {
        let Some(it) = self.coordinated.remove(&number) else { return };
        if let Stage::Ending { key, writers } = it.stage {
            self.remembered.insert(number, Remembered { key, writers });
        }
        self.forget_outcomes();
    }

    /// Keeps the newest `outcomes_max` outcomes, and notes the number from which on all are kept.
    pub(crate) fn forget_outcomes(&mut self) {
        while self.remembered.len() > self.config.settings().outcomes_max {
            let (oldest, it) = self.remembered.pop_first().expect("above a bound");
            self.state.forgotten_below = self.state.forgotten_below.max(oldest.next());
            self.write_state_lazily();
            self.erase_lazily(it.key, None);
        }
    }

    pub(crate) fn on_coordinated_timeout(&mut self, number: TransactionNumber) {
        let now = self.now.instant;
        let Some(it) = self.coordinated.get_mut(&number) else { return };
        it.attempt = it.attempt.saturating_add(1);
        match &it.stage {
            Stage::Working => self.abort_transaction(number, AbortReason::Idle, &BTreeSet::new()),
            Stage::Voting(voting) if voting.until <= now => {
                let (told, why) = (voting.interested(), voting.why_late());
                self.abort_transaction(number, why, &told);
            }
            Stage::Voting(_) => self.ask_for_votes(number),
            Stage::Committed { .. } => {
                self.report_unacknowledged(number);
                self.tell_commit(number);
            }
            Stage::Delegated { .. } => {
                self.report_delegated(number);
                self.ask_to_decide(number);
            }
            Stage::Deciding { .. } | Stage::Delegating { .. } | Stage::Ending { .. } | Stage::Forgetting => {}
        }
    }

    /// Aborts a transaction. Only participants that may have prepared are told, so that they need not ask.
    pub(crate) fn abort_transaction(&mut self, number: TransactionNumber, why: AbortReason, told: &BTreeSet<NodeId>) {
        let Some(it) = self.coordinated.remove(&number) else { return };
        self.release(&it.stage);
        self.timers.cancel(Timer::Coordinated(number));
        let (stamp, transaction) = (self.stamp(), self.id_of(number));
        for node in told {
            self.send(*node, Message::Decide(Decide { stamp, transaction, decision: Decision::Abort }));
        }
        let outcome = Outcome::Aborted(why);
        self.outbox.event_after(self.epoch_ticket, Event::Ended { transaction, outcome });
    }

    /// The node's disk is not the one that it voted from, so its votes do not count.
    pub(crate) fn forget_votes(&mut self, node: NodeId) {
        for it in self.coordinated.values_mut() {
            if let Stage::Voting(voting) = &mut it.stage {
                voting.votes.remove(&node);
            }
        }
    }

    fn own(&self, transaction: TransactionId) -> Result<TransactionNumber, RefuseReason> {
        let is_own = transaction.coordinator == self.config.node();
        if is_own { Ok(transaction.number) } else { Err(RefuseReason::NotCoordinator) }
    }

    /// Moves a transaction to the next stage.
    fn enter(&mut self, number: TransactionNumber, stage: Stage) {
        self.timers.cancel(Timer::Coordinated(number));
        self.hold(&stage);
        let it = Coordinated { stage, since: self.now.instant, attempt: 0, is_reported: false };
        let before = self.coordinated.insert(number, it).expect("looked up by the caller");
        self.release(&before.stage);
    }

    /// Asks the participants that have not voted, and sets a timer that ends before the time is up.
    fn ask_for_votes(&mut self, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Voting(voting) = &it.stage else { return };
        let (until, attempt) = (voting.until, it.attempt);
        let (stamp, transaction) = (self.stamp(), self.id_of(number));
        let participants: BTreeSet<NodeId> = voting.payloads.keys().copied().collect();
        let silent = voting.payloads.iter().filter(|(node, _)| !voting.votes.contains_key(node));
        let silent: Vec<(NodeId, Bytes)> = silent.map(|(node, payload)| (*node, payload.clone())).collect();
        for (node, payload) in silent {
            let participants = participants.clone();
            self.send(node, Message::Prepare(Prepare { stamp, transaction, participants, payload }));
        }
        let again_at = self.retry_at(attempt).min(until);
        self.timers.arm(Timer::Coordinated(number), again_at);
    }

    /// Every participant has voted, and none has voted no.
    fn decide(&mut self, number: TransactionNumber) {
        let Stage::Voting(voting) = &self.coordinated[&number].stage else { return };
        let yes = voting.votes.iter().filter(|(_, vote)| **vote == Vote::Yes);
        let writers: BTreeSet<NodeId> = yes.map(|(node, _)| *node).collect();
        if writers.is_empty() {
            let it = self.coordinated.remove(&number).expect("just seen");
            self.release(&it.stage);
            self.timers.cancel(Timer::Coordinated(number));
            let transaction = self.id_of(number);
            self.outbox.event(Event::Ended { transaction, outcome: Outcome::ReadOnly });
            return;
        }
        let key = self.new_key();
        let record = Record::Commit { number, writers: writers.clone() };
        self.enter(number, Stage::Deciding { key, writers });
        self.write(key, &record, Some(Awaited::Decided(number)));
    }

    /// Tells the participants that have not acknowledged, and sets a timer to repeat it.
    fn tell_commit(&mut self, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Committed { unacknowledged, .. } = &it.stage else { return };
        let (told, attempt) = (unacknowledged.clone(), it.attempt);
        let (stamp, transaction) = (self.stamp(), self.id_of(number));
        for node in told {
            self.send(node, Message::Decide(Decide { stamp, transaction, decision: Decision::Commit }));
        }
        let again_at = self.retry_at(attempt);
        self.timers.arm(Timer::Coordinated(number), again_at);
    }

    /// Asks the only participant to decide, and sets a timer to repeat it.
    fn ask_to_decide(&mut self, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Delegated { participant, payload, .. } = &it.stage else { return };
        let (participant, payload, attempt) = (*participant, payload.clone(), it.attempt);
        let (stamp, transaction) = (self.stamp(), self.id_of(number));
        self.send(participant, Message::CommitOnePhase(CommitOnePhase { stamp, transaction, payload }));
        let again_at = self.retry_at(attempt);
        self.timers.arm(Timer::Coordinated(number), again_at);
    }

    fn report_delegated(&mut self, number: TransactionNumber) {
        let (now, transaction) = (self.now.instant, self.id_of(number));
        let report_after = self.config.settings().report_after;
        let it = self.coordinated.get_mut(&number).expect("looked up by the caller");
        let age = now.since(it.since);
        if let Stage::Delegated { participant, .. } = it.stage
            && age >= report_after
            && !it.is_reported
        {
            it.is_reported = true;
            self.outbox.event(Event::InDoubt { transaction, age });
            self.note_late(participant, true);
        }
    }

    fn report_unacknowledged(&mut self, number: TransactionNumber) {
        let (now, transaction) = (self.now.instant, self.id_of(number));
        let report_after = self.config.settings().report_after;
        let it = self.coordinated.get_mut(&number).expect("looked up by the caller");
        let age = now.since(it.since);
        if let Stage::Committed { unacknowledged, .. } = &it.stage
            && age >= report_after
            && !it.is_reported
        {
            it.is_reported = true;
            let participants = unacknowledged.clone();
            self.outbox.event(Event::Unacknowledged { transaction, participants, age });
        }
    }

    /// All writers have committed. Until this is durable, the transaction counts as not finished.
    fn end(&mut self, number: TransactionNumber, key: u64, writers: BTreeSet<NodeId>) {
        let record = Record::Ended { number, writers: writers.clone() };
        self.enter(number, Stage::Ending { key, writers });
        self.write_lazily(key, &record, Some(Awaited::Ended(number)));
        self.outbox.event(Event::Finished { transaction: self.id_of(number) });
    }
}

impl Voting {
    /// The participants that may have prepared or may still prepare.
    fn interested(&self) -> BTreeSet<NodeId> {
        let is_interested = |node: &&NodeId| self.votes.get(node) != Some(&Vote::ReadOnly);
        self.payloads.keys().filter(is_interested).copied().collect()
    }

    /// Reason why votes are missing, according to the participants that have not voted.
    fn why_late(&self) -> AbortReason {
        let mut unready = self.unready.iter().filter(|(node, _)| !self.votes.contains_key(node));
        unready.next().map_or(AbortReason::TimedOut, |(node, why)| AbortReason::Unready(*node, *why))
    }
}

impl Stage {
    /// Bytes of payloads that this stage holds.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Self::Voting(voting) => voting.payloads.values().map(Bytes::len).sum(),
            Self::Delegating { payload, .. } | Self::Delegated { payload, .. } => payload.len(),
            _ => 0,
        }
    }

    /// The participant that the decision is left to.
    pub(crate) fn delegate(&self) -> Option<NodeId> {
        match self {
            Self::Delegating { participant, .. } | Self::Delegated { participant, .. } => Some(*participant),
            _ => None,
        }
    }

    /// Time at which a transaction that collects votes is aborted.
    pub(crate) fn until(&self) -> Option<Instant> {
        if let Self::Voting(voting) = self { Some(voting.until) } else { None }
    }
}
