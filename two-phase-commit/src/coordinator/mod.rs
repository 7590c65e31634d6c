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

pub(crate) mod mixed;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{NodeId, RecoverError, StorageLevel};

use self::mixed::{Deviations, Mixed};
use crate::base::Base;
use crate::codec::Record;
use crate::delegation::Held;
use crate::error::Ignored;
use crate::journal::KeyedRecord;
use crate::message::{Acknowledgement, CommitOnePhase, Decide, Message, Prepare, Stamp};
use crate::outcomes::Outcomes;
use crate::recovery::TWO_RECORDS;
use crate::state::{Awaited, Coordinated, Remembered, Stage, Voting};
use crate::timers::Timer;
use crate::{
    AbortReason, CommandId, Decision, Deviation, Event, Knowledge, TransactionId, TransactionNumber,
    TransactionOutcome, TransactionRefusal, Vote,
};

/// The transactions that this node coordinates.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    /// The sequence number of the next transaction of this epoch. Grows.
    next_sequence: u64,
    /// The unfinished transactions, all below the next number. Those that wait for another node or the application have
    /// a timer, and those that wait for the log alone have none.
    coordinated: BTreeMap<TransactionNumber, Coordinated>,
    /// The resources of `coordinated`.
    held: Held,
    /// Committed and finished transactions: the newest `outcomes_max` of them. None of them is in `coordinated`.
    remembered: BTreeMap<TransactionNumber, Remembered>,
    mixed: Mixed,
    /// Once another node has taken the coordinator over: the records that this node has of it.
    kept: Vec<KeyedRecord>,
}

/// The branches of a transaction whose commit is asked for.
pub(crate) struct Branches {
    pub(crate) payloads: BTreeMap<NodeId, Bytes>,
    /// The votes of those that are prepared already.
    pub(crate) votes: BTreeMap<NodeId, Vote>,
}

impl Coordinator {
    pub(crate) fn new() -> Self {
        let (coordinated, remembered) = (BTreeMap::new(), BTreeMap::new());
        Self {
            next_sequence: 1,
            coordinated,
            held: Held::default(),
            remembered,
            mixed: Mixed::default(),
            kept: Vec::new(),
        }
    }

    pub(crate) fn coordinated(&self) -> &BTreeMap<TransactionNumber, Coordinated> {
        &self.coordinated
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    pub(crate) fn remembered(&self) -> &BTreeMap<TransactionNumber, Remembered> {
        &self.remembered
    }

    pub(crate) fn mixed(&self) -> &BTreeMap<TransactionNumber, Deviations> {
        self.mixed.of()
    }

    pub(crate) fn mixed_mut(&mut self) -> &mut Mixed {
        &mut self.mixed
    }

    /// The number of the next transaction.
    pub(crate) fn next_number(&self, base: &Base) -> TransactionNumber {
        TransactionNumber { epoch: base.journal.epoch(), sequence: self.next_sequence }
    }

    /// The stamp of this node as a coordinator.
    pub(crate) fn stamp(&self, base: &Base) -> Stamp {
        let unfinished = self.coordinated.keys().next().copied();
        let finished_below = unfinished.unwrap_or_else(|| self.next_number(base));
        Stamp { coordinator: base.config.coordinator(), epoch: base.journal.epoch(), finished_below }
    }

    /// Takes up a transaction from its record. Transactions without a decision are aborted, because they have no
    /// record.
    pub(crate) fn adopt(&mut self, base: &Base, number: TransactionNumber, stage: Stage) -> Result<(), RecoverError> {
        if number.epoch > base.journal.epoch() {
            return Err(RecoverError::Inconsistent("a decision is of a later epoch than the state record"));
        }
        self.held.hold(&stage);
        let twice = self.coordinated.insert(number, Coordinated::new(stage, base.now())).is_some();
        if twice { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Takes up the outcome of a committed and finished transaction from its record.
    pub(crate) fn adopt_outcome(&mut self, number: TransactionNumber, outcome: Remembered) -> Result<(), RecoverError> {
        if self.remembered.insert(number, outcome).is_some() { Err(TWO_RECORDS) } else { Ok(()) }
    }

    /// Continues the transactions that were taken up from their records.
    pub(crate) fn begin(&mut self, base: &mut Base) {
        for number in self.coordinated.keys() {
            let at = base.retry_at(0);
            base.timers.arm(Timer::Coordinated(*number), at);
        }
    }

    /// Every record that counts.
    pub(crate) fn records(&self) -> impl Iterator<Item = KeyedRecord> + '_ {
        let unfinished = self.coordinated.iter().filter_map(|(number, it)| it.stage.record(*number));
        let ended = |(number, it): (&TransactionNumber, &Remembered)| {
            let record = Record::Ended { number: *number, writers: it.writers.clone() };
            KeyedRecord { key: it.key, record }
        };
        unfinished.chain(self.remembered.iter().map(ended)).chain(self.mixed.records()).chain(self.kept.iter().cloned())
    }

    pub(crate) fn on_begin(&mut self, base: &mut Base, command: CommandId) -> Result<(), TransactionRefusal> {
        base.check_introduced()?;
        if base.served_by.is_some() {
            return Err(TransactionRefusal::NotCoordinator);
        }
        if base.chassis.storage() == StorageLevel::Low {
            return Err(TransactionRefusal::StorageLow);
        }
        if base.is_log_behind() {
            return Err(TransactionRefusal::LogBehind);
        }
        let settings = base.config.settings();
        // Begun transactions are announced only once the epoch is durable. These waiting events are bounded like
        // messages.
        let untold = base.chassis.outbox.held_events().count();
        if self.coordinated.len() >= settings.transactions_max || untold >= settings.held_messages_max {
            return Err(TransactionRefusal::Overloaded);
        }
        let number = self.next_number(base);
        self.next_sequence += 1;
        self.coordinated.insert(number, Coordinated::new(Stage::Working, base.now()));
        base.timers.arm(Timer::Coordinated(number), base.now().after(base.config.settings().begin_timeout));
        base.event_of_epoch(Event::Begun { command, transaction: base.id_of(number) });
        Ok(())
    }

    pub(crate) fn on_commit(
        &mut self,
        base: &mut Base,
        outcomes: &Outcomes,
        transaction: TransactionId,
        Branches { payloads: branches, votes }: Branches,
    ) -> Result<(), TransactionRefusal> {
        let number = base.own(transaction).ok_or(TransactionRefusal::NotCoordinator)?;
        let settings = base.config.settings();
        let it = self.coordinated.get(&number).ok_or(TransactionRefusal::NotBegun)?;
        if it.stage != Stage::Working {
            return Err(TransactionRefusal::AlreadyDeciding);
        }
        if branches.is_empty() || branches.len() > settings.participants_max {
            return Err(TransactionRefusal::Participants);
        }
        if branches.values().any(|payload| payload.len() > settings.payload_bytes_max) {
            return Err(TransactionRefusal::TooLarge);
        }
        if let Some(node) = branches.keys().find(|node| outcomes.is_given_up(**node)) {
            return Err(TransactionRefusal::ParticipantForgotten(*node));
        }
        let bytes = branches.values().fold(self.held.payload_bytes(), |sum, payload| sum.saturating_add(payload.len()));
        if bytes > settings.payload_bytes_total_max {
            return Err(TransactionRefusal::Overloaded);
        }
        if base.is_log_behind() {
            return Err(TransactionRefusal::LogBehind);
        }
        let until = base.now().after(settings.vote_timeout);
        let only = branches.first_key_value().filter(|_| branches.len() == 1);
        if only.is_some_and(|(participant, payload)| self.held.may_delegate(settings, *participant, payload.len())) {
            let (participant, payload) = branches.into_iter().next().expect("one");
            let key = base.journal.new_key();
            let record = Record::Delegated { number, participant, payload: payload.clone() };
            self.enter(base, number, Stage::Delegating { key, participant, payload });
            base.write(key, &record, Some(Awaited::Delegated(number)));
            return Ok(());
        }
        self.enter(base, number, Stage::Voting(Voting { until, payloads: branches, ..Voting::default() }));
        for (node, vote) in votes {
            // After a no the others come too late.
            let _ = self.on_vote(base, node, transaction, vote);
        }
        if matches!(self.coordinated.get(&number).map(|it| &it.stage), Some(Stage::Voting(_))) {
            self.ask_for_votes(base, number);
        }
        Ok(())
    }

    pub(crate) fn on_abort(&mut self, base: &mut Base, transaction: TransactionId) -> Result<(), TransactionRefusal> {
        let number = base.own(transaction).ok_or(TransactionRefusal::NotCoordinator)?;
        let told = match &self.coordinated.get(&number).ok_or(TransactionRefusal::NotBegun)?.stage {
            Stage::Working => BTreeSet::new(),
            Stage::Voting(voting) => voting.interested(),
            _ => return Err(TransactionRefusal::AlreadyDeciding),
        };
        self.abort_transaction(base, number, AbortReason::Asked, &told);
        Ok(())
    }

    /// A transaction that is not known any more was aborted, unless it is so old that committed transactions may have
    /// been forgotten too.
    pub(crate) fn on_query(
        &mut self,
        base: &mut Base,
        command: CommandId,
        transaction: TransactionId,
    ) -> Result<(), TransactionRefusal> {
        base.check_introduced()?;
        let number = base.own(transaction).ok_or(TransactionRefusal::NotCoordinator)?;
        if number >= self.next_number(base) {
            return Err(TransactionRefusal::NotBegun);
        }
        if base.chassis.outbox.held_events().count() >= base.config.settings().held_messages_max {
            return Err(TransactionRefusal::Overloaded);
        }
        if let Some(it) = self.mixed.of().get(&number) {
            let (knowledge, covered) = (Knowledge::Mixed(it.decision), base.chassis.outbox.newest_write());
            base.chassis.outbox.event_after(covered, Event::Known { command, transaction, knowledge });
            return Ok(());
        }
        let knowledge = self.knowledge(base, number);
        base.event_of_epoch(Event::Known { command, transaction, knowledge });
        Ok(())
    }

    /// The outcome of a transaction below the next number, without regard to participants that did not follow it.
    pub(crate) fn knowledge(&self, base: &Base, number: TransactionNumber) -> Knowledge {
        match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Working | Stage::Voting(_) | Stage::Deciding { .. } | Stage::Delegating { .. }) => {
                Knowledge::Undecided
            }
            Some(Stage::Delegated { .. }) => Knowledge::InDoubt,
            Some(Stage::Committed { .. } | Stage::Ending { .. }) => Knowledge::Committed,
            None if self.remembered.contains_key(&number) => Knowledge::Committed,
            None if number < base.journal.state().forgotten_below => Knowledge::Forgotten,
            Some(Stage::Forgetting) | None => Knowledge::Aborted,
        }
    }

    pub(crate) fn on_vote(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: TransactionId,
        vote: Vote,
    ) -> Result<(), Ignored> {
        let number = base.own(transaction).ok_or(Ignored::NotCoordinator)?;
        let Some(Stage::Voting(voting)) = self.coordinated.get_mut(&number).map(|it| &mut it.stage) else {
            // The vote comes too late. A participant that voted yes must learn the decision made without it.
            return if vote == Vote::Yes { self.on_inquire(base, from, number) } else { Err(Ignored::Stale) };
        };
        if !voting.payloads.contains_key(&from) {
            return Err(Ignored::NotParticipant);
        }
        match (voting.votes.get(&from), vote) {
            (_, Vote::No) => {
                let mut told = voting.interested();
                told.remove(&from);
                self.abort_transaction(base, number, AbortReason::Refused(from), &told);
                return Ok(());
            }
            // A participant that voted read-only and crashed may be asked again, and may then have something to write.
            (None, _) | (Some(Vote::ReadOnly), Vote::Yes) => voting.votes.insert(from, vote),
            (Some(_), _) => return Err(Ignored::Repeated),
        };
        if voting.votes.len() == voting.payloads.len() {
            self.decide(base, number);
        }
        Ok(())
    }

    /// Handles a question of a participant in doubt. A transaction that this coordinator does not know will never be
    /// committed (presumed abort, §4.1).
    pub(crate) fn on_inquire(&self, base: &mut Base, from: NodeId, number: TransactionNumber) -> Result<(), Ignored> {
        if number >= self.next_number(base) {
            return Err(Ignored::Absurd);
        }
        let writers = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Committed { writers, .. } | Stage::Ending { writers, .. }) => Some(writers),
            Some(Stage::Forgetting) => None,
            Some(_) => return Err(Ignored::Undecided),
            None => self.remembered.get(&number).map(|it| &it.writers),
        };
        let is_committed = writers.is_some_and(|writers| writers.contains(&from));
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        let answer = if is_committed {
            Message::Decide(Decide { stamp, transaction, decision: Decision::Commit })
        } else {
            Message::Presume { stamp, transaction }
        };
        base.send(from, answer);
        Ok(())
    }

    pub(crate) fn on_acknowledge(
        &mut self,
        base: &mut Base,
        from: NodeId,
        transaction: TransactionId,
        how: Acknowledgement,
    ) -> Result<(), Ignored> {
        let number = base.own(transaction).ok_or(Ignored::NotCoordinator)?;
        match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Committed { unacknowledged, .. }) if unacknowledged.contains(&from) => {}
            Some(Stage::Committed { .. }) => return Err(Ignored::Repeated),
            None if how == Acknowledgement::HeuristicallyCommitted => return self.on_deviation(base, from, number),
            _ => return Err(Ignored::Stale),
        }
        let deviation = match how {
            Acknowledgement::Forgotten => {
                base.event(Event::BranchForgotten { transaction, participant: from });
                None
            }
            Acknowledgement::HeuristicallyAborted => Some(Deviation::Aborted),
            Acknowledgement::Lost => Some(Deviation::Lost),
            // It did what was decided, whoever told it.
            Acknowledgement::Applied | Acknowledgement::AlreadyDone | Acknowledgement::HeuristicallyCommitted => None,
        };
        if let Some(deviation) = deviation {
            self.mixed.note(base, number, Decision::Commit, from, deviation)?;
        }
        self.count_acknowledgement(base, number, from);
        Ok(())
    }

    /// Notes that a writer of a committed transaction need not be told again.
    fn count_acknowledgement(&mut self, base: &mut Base, number: TransactionNumber, node: NodeId) {
        let Some(Stage::Committed { key, writers, unacknowledged }) =
            self.coordinated.get_mut(&number).map(|it| &mut it.stage)
        else {
            return;
        };
        unacknowledged.remove(&node);
        if unacknowledged.is_empty() {
            let (key, writers) = (*key, std::mem::take(writers));
            self.end(base, number, key, writers);
        }
    }

    /// Handles the outcome from the participant to which the decision was left.
    pub(crate) fn on_outcome(
        &mut self,
        base: &mut Base,
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
        let transaction = base.id_of(number);
        self.held.note_late(participant, false);
        match decision {
            Decision::Commit => {
                base.event(Event::Ended { transaction, outcome: TransactionOutcome::Committed });
                self.end(base, number, key, [participant].into());
            }
            Decision::Abort => {
                let outcome = TransactionOutcome::Aborted(AbortReason::Refused(from));
                base.event(Event::Ended { transaction, outcome });
                self.enter(base, number, Stage::Forgetting);
                base.erase_lazily(key, Some(Awaited::Ended(number)));
            }
        }
        Ok(())
    }

    /// The decision to commit is durable, and therefore final.
    pub(crate) fn on_decided(&mut self, base: &mut Base, number: TransactionNumber) {
        let Some(Stage::Deciding { key, writers }) = self.coordinated.get(&number).map(|it| &it.stage) else { return };
        let (key, writers) = (*key, writers.clone());
        self.enter(base, number, Stage::Committed { key, unacknowledged: writers.clone(), writers });
        let transaction = base.id_of(number);
        base.event(Event::Ended { transaction, outcome: TransactionOutcome::Committed });
        self.tell_commit(base, number);
    }

    /// The delegation to the participant is durable: the participant may be asked to decide.
    pub(crate) fn on_delegated(&mut self, base: &mut Base, number: TransactionNumber) {
        let Some(Stage::Delegating { key, participant, payload }) = self.coordinated.get(&number).map(|it| &it.stage)
        else {
            return;
        };
        let (key, participant, payload) = (*key, *participant, payload.clone());
        self.enter(base, number, Stage::Delegated { key, participant, payload });
        self.ask_to_decide(base, number);
    }

    /// The end of the transaction is durable: a restart need not return to it.
    pub(crate) fn on_ended(&mut self, base: &mut Base, number: TransactionNumber) {
        let Some(it) = self.coordinated.remove(&number) else { return };
        if let Stage::Ending { key, writers } = it.stage {
            self.remembered.insert(number, Remembered { key, writers });
        }
        self.forget_outcomes(base);
    }

    /// Keeps the newest `outcomes_max` outcomes, and notes the number from which on all are kept.
    pub(crate) fn forget_outcomes(&mut self, base: &mut Base) {
        while self.remembered.len() > base.config.settings().outcomes_max {
            let (oldest, it) = self.remembered.pop_first().expect("above a bound");
            base.forget_below(oldest.next());
            base.erase_lazily(it.key, None);
        }
    }

    pub(crate) fn on_timeout(&mut self, base: &mut Base, number: TransactionNumber) {
        let now = base.now();
        let Some(it) = self.coordinated.get_mut(&number) else { return };
        it.attempt = it.attempt.saturating_add(1);
        match &it.stage {
            Stage::Working => self.abort_transaction(base, number, AbortReason::Idle, &BTreeSet::new()),
            Stage::Voting(voting) if voting.until <= now => {
                let (told, why) = (voting.interested(), voting.why_late());
                self.abort_transaction(base, number, why, &told);
            }
            Stage::Voting(_) => self.ask_for_votes(base, number),
            Stage::Committed { .. } => {
                self.report_late(base, number);
                self.tell_commit(base, number);
            }
            Stage::Delegated { .. } => {
                self.report_late(base, number);
                self.ask_to_decide(base, number);
            }
            Stage::Deciding { .. } | Stage::Delegating { .. } | Stage::Ending { .. } | Stage::Forgetting => {}
        }
    }

    /// Aborts a transaction. Only participants that may have prepared are told, so that they need not ask.
    fn abort_transaction(
        &mut self,
        base: &mut Base,
        number: TransactionNumber,
        why: AbortReason,
        told: &BTreeSet<NodeId>,
    ) {
        let Some(it) = self.coordinated.remove(&number) else { return };
        self.held.release(&it.stage);
        base.timers.cancel(Timer::Coordinated(number));
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        for node in told {
            base.send(*node, Message::Decide(Decide { stamp, transaction, decision: Decision::Abort }));
        }
        let outcome = TransactionOutcome::Aborted(why);
        base.event_of_epoch(Event::Ended { transaction, outcome });
    }

    /// Key of the record of a decision that is on its way to the disk.
    pub(crate) fn binding_key(&self, number: TransactionNumber) -> Option<u64> {
        match &self.coordinated.get(&number)?.stage {
            Stage::Deciding { key, .. } | Stage::Delegating { key, .. } => Some(*key),
            _ => None,
        }
    }

    /// A decision that was certainly not written is taken back.
    pub(crate) fn undecide(&mut self, base: &mut Base, number: TransactionNumber) {
        let told = match self.coordinated.get(&number).map(|it| &it.stage) {
            Some(Stage::Deciding { writers, .. }) => writers.clone(),
            Some(Stage::Delegating { .. }) => BTreeSet::new(),
            _ => return,
        };
        self.abort_transaction(base, number, AbortReason::NotWritten, &told);
    }

    /// Moves a transaction to the next stage.
    fn enter(&mut self, base: &mut Base, number: TransactionNumber, stage: Stage) {
        base.timers.cancel(Timer::Coordinated(number));
        self.held.hold(&stage);
        let before =
            self.coordinated.insert(number, Coordinated::new(stage, base.now())).expect("looked up by the caller");
        self.held.release(&before.stage);
    }

    /// Asks the participants that have not voted, and sets a timer that ends before the time is up.
    fn ask_for_votes(&mut self, base: &mut Base, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Voting(voting) = &it.stage else { return };
        let (until, attempt) = (voting.until, it.attempt);
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        let participants: BTreeSet<NodeId> = voting.payloads.keys().copied().collect();
        let silent = voting.payloads.iter().filter(|(node, _)| !voting.votes.contains_key(node));
        let silent: Vec<(NodeId, Bytes)> = silent.map(|(node, payload)| (*node, payload.clone())).collect();
        for (node, payload) in silent {
            let participants = participants.clone();
            base.send(node, Message::Prepare(Prepare { stamp, transaction, participants, payload }));
        }
        let again_at = base.retry_at(attempt).min(until);
        base.timers.arm(Timer::Coordinated(number), again_at);
    }

    /// Every participant has voted, and none has voted no.
    fn decide(&mut self, base: &mut Base, number: TransactionNumber) {
        let Stage::Voting(voting) = &self.coordinated[&number].stage else { return };
        let yes = voting.votes.iter().filter(|(_, vote)| **vote == Vote::Yes);
        let writers: BTreeSet<NodeId> = yes.map(|(node, _)| *node).collect();
        if writers.is_empty() {
            let it = self.coordinated.remove(&number).expect("just seen");
            self.held.release(&it.stage);
            base.timers.cancel(Timer::Coordinated(number));
            let transaction = base.id_of(number);
            base.event(Event::Ended { transaction, outcome: TransactionOutcome::ReadOnly });
            return;
        }
        let key = base.journal.new_key();
        let record = Record::Commit { number, writers: writers.clone() };
        self.enter(base, number, Stage::Deciding { key, writers });
        base.write(key, &record, Some(Awaited::Decided(number)));
    }

    /// Tells the participants that have not acknowledged, and sets a timer to repeat it. A participant acknowledges a
    /// commit with its next write, for which it waits up to `lazy_delay`.
    fn tell_commit(&mut self, base: &mut Base, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Committed { unacknowledged, .. } = &it.stage else { return };
        let (told, attempt) = (unacknowledged.clone(), it.attempt);
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        for node in told {
            base.send(node, Message::Decide(Decide { stamp, transaction, decision: Decision::Commit }));
        }
        let again_at = base.retry_at(attempt).after(base.config.settings().lazy_delay);
        base.timers.arm(Timer::Coordinated(number), again_at);
    }

    /// Asks the only participant to decide, and sets a timer to repeat it.
    fn ask_to_decide(&mut self, base: &mut Base, number: TransactionNumber) {
        let it = &self.coordinated[&number];
        let Stage::Delegated { participant, payload, .. } = &it.stage else { return };
        let (participant, payload, attempt) = (*participant, payload.clone(), it.attempt);
        let (stamp, transaction) = (self.stamp(base), base.id_of(number));
        base.send(participant, Message::CommitOnePhase(CommitOnePhase { stamp, transaction, payload }));
        let again_at = base.retry_at(attempt);
        base.timers.arm(Timer::Coordinated(number), again_at);
    }

    /// Reports once that a transaction waits long for its participants.
    fn report_late(&mut self, base: &mut Base, number: TransactionNumber) {
        let (transaction, report_after) = (base.id_of(number), base.config.settings().report_after);
        let it = self.coordinated.get_mut(&number).expect("looked up by the caller");
        let age = base.now().since(it.since);
        if it.is_reported || age < report_after {
            return;
        }
        it.is_reported = true;
        match &it.stage {
            Stage::Committed { unacknowledged, .. } => {
                base.event(Event::Unacknowledged { transaction, participants: unacknowledged.clone(), age });
            }
            Stage::Delegated { participant, .. } => {
                base.event(Event::InDoubt { transaction, age });
                self.held.note_late(*participant, true);
            }
            _ => {}
        }
    }

    /// All writers have committed. Until this is durable, the transaction counts as not finished.
    fn end(&mut self, base: &mut Base, number: TransactionNumber, key: u64, writers: BTreeSet<NodeId>) {
        let record = Record::Ended { number, writers: writers.clone() };
        self.enter(base, number, Stage::Ending { key, writers });
        base.write_lazily(key, &record, Some(Awaited::Ended(number)));
        base.event(Event::Finished { transaction: base.id_of(number) });
    }
}
