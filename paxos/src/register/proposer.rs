//! The proposer: changes registers with ballots (CASPaxos §2.2), one at a time for each register.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, ProposalId, ReadId, StorageLevel, ViewWriter};

use super::base::Base;
use super::content::{Key, ROLES_KEY};
use super::continued::Continued;
use super::decide::{Basis, Decision, unknown_or};
use super::message::{Accepted, Nack, Promise};
use super::refusals::{late, refusal, timeout, unable};
use super::work::{Attempt, Job, JobResult, Phase, WaitingRead, Work};
use super::{Change, ChangeOutcome, CommandRefusal, Event, Ignored, ReadOutcome, ResolveOutcome, Trace};
use crate::Ballot;

/// The commands that wait on a node, and its ballots and queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposer {
    works: BTreeMap<Key, Work>,
    /// The time at which something is due, for each register that has such a time.
    due: BTreeSet<(Instant, Key)>,
    /// Registers for which a ballot or a query may begin.
    wanted: BTreeSet<Key>,
    /// Ids of the changes that wait.
    changes: BTreeSet<ProposalId>,
    /// Bytes of the values of the changes that wait.
    bytes: usize,
    /// Number of changes and resolutions that wait.
    waiting: usize,
    /// Number of reads that wait.
    waiting_reads: usize,
    /// The promises for the next ballots.
    continued: Continued,
    /// Number of queries so far.
    pub(super) queries: u64,
    /// Tombstones that were to be spread: the ballot in which every acceptor has accepted it, or `None`.
    spread: Vec<(Key, Option<Ballot>)>,
    /// Registers that were to be accepted once more: true if they were.
    moved: Vec<(Key, bool)>,
    /// What the register of the roles contained at the end of each job; `None` if the job had no result in time.
    settled: Vec<Option<Bytes>>,
}

impl Proposer {
    /// Handles a change of the application.
    pub(crate) fn on_change(&mut self, base: &mut Base, key: &[u8], id: ProposalId, change: Change) {
        if let Some(reason) = self.refusal_of_change(base, key, id, &change) {
            let outcome = ChangeOutcome::NotTried(reason);
            return base.chassis.outbox.event(Event::Changed { id, outcome });
        }
        self.changes.insert(id);
        self.bytes += change.bytes();
        self.waiting += 1;
        let until = timeout(base);
        self.push(key, Job::Change { id, change, until, trace: None });
    }

    /// Handles the question what became of a change.
    pub(crate) fn on_resolve(&mut self, base: &mut Base, key: &[u8], id: ReadId, trace: Trace) {
        if let Some(reason) = refusal(base, key, self.waiting).or_else(|| unable(base)) {
            let outcome = ResolveOutcome::Failed(reason);
            return base.chassis.outbox.event(Event::Resolved { id, outcome });
        }
        self.waiting += 1;
        let until = timeout(base);
        self.push(key, Job::Resolve { id, trace, until });
    }

    /// Handles a read of the application.
    pub(crate) fn on_read(&mut self, base: &mut Base, key: &[u8], id: ReadId) {
        if let Some(reason) = refusal(base, key, self.waiting_reads) {
            return base.chassis.outbox.event(Event::Read { id, outcome: ReadOutcome::Failed(reason) });
        }
        self.waiting_reads += 1;
        let read = WaitingRead { id, until: timeout(base), round: None };
        self.change_work(key, |work| work.reads.push(read));
    }

    /// Has every acceptor accept the tombstone of a register.
    pub(crate) fn begin_spread(&mut self, base: &Base, key: &Key) {
        let until = timeout(base);
        self.push(key, Job::Spread { until });
    }

    /// The tombstones that were spread since the last call.
    pub(crate) fn take_spread(&mut self) -> Vec<(Key, Option<Ballot>)> {
        std::mem::take(&mut self.spread)
    }

    /// Has the present content of a register accepted once more, by quorums of all roles in force.
    pub(crate) fn begin_move(&mut self, base: &Base, key: &Key) {
        let until = timeout(base);
        self.push(key, Job::Move { until });
    }

    /// The registers that were to be accepted once more since the last call.
    pub(crate) fn take_moved(&mut self) -> Vec<(Key, bool)> {
        std::mem::take(&mut self.moved)
    }

    /// Writes the register of the roles if it contains what is expected.
    pub(crate) fn begin_settle(&mut self, base: &Base, expected: Option<Bytes>, value: Bytes) {
        let until = timeout(base);
        self.push(ROLES_KEY, Job::Settle { expected, value, until });
    }

    /// The outcomes of these jobs since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<Option<Bytes>> {
        std::mem::take(&mut self.settled)
    }

    /// Other roles are in force: what acceptors answered under those before does not count.
    pub(crate) fn on_roles(&mut self) {
        self.continued.clear();
        for (key, work) in &mut self.works {
            (work.attempt, work.round) = (None, None);
            self.wanted.insert(key.clone());
        }
        self.refresh_due();
    }

    fn push(&mut self, key: &[u8], job: Job) {
        self.change_work(key, |work| work.jobs.push_back(job));
    }

    fn change_work(&mut self, key: &[u8], change: impl FnOnce(&mut Work)) {
        let key: Key = key.into();
        let mut work = self.take_work(&key).unwrap_or_default();
        change(&mut work);
        self.wanted.insert(key.clone());
        self.put_back(key, work);
    }

    fn refusal_of_change(&self, base: &Base, key: &[u8], id: ProposalId, change: &Change) -> Option<CommandRefusal> {
        let settings = base.config.settings();
        let value = match change {
            Change::Set(value) | Change::CompareAndSet { value: Some(value), .. } => value.len(),
            Change::Apply { function, .. } if base.config.functions().get(function).is_none() => {
                return Some(CommandRefusal::UnknownFunction);
            }
            Change::Apply { argument, .. } => argument.len(),
            Change::Delete | Change::CompareAndSet { .. } => 0,
        };
        if value > settings.value_bytes_max {
            Some(CommandRefusal::TooLarge)
        } else if base.chassis.storage() == StorageLevel::Low {
            Some(CommandRefusal::StorageLow)
        } else if self.changes.contains(&id) {
            Some(CommandRefusal::IdReused)
        } else if self.bytes + change.bytes() > settings.commands_bytes_max {
            Some(CommandRefusal::Overloaded)
        } else {
            refusal(base, key, self.waiting).or_else(|| unable(base))
        }
    }

    /// Begins the ballots and queries that are wanted and not hindered.
    pub(crate) fn pursue(&mut self, base: &mut Base) {
        let may_begin = base.is_counting() && base.is_proposer() && !base.is_exhausted();
        // While the log does not advance, a ballot would only add to its writes.
        let is_log_free = base.chassis.outbox.queued_writes().count() < QUEUED_WRITES_MAX;
        for key in std::mem::take(&mut self.wanted) {
            let Some(mut work) = self.take_work(&key) else { continue };
            self.begin_round(base, &key, &mut work);
            let is_free = !work.jobs.is_empty() && work.attempt.is_none() && work.rest_until.is_none();
            if is_free && may_begin && is_log_free {
                self.begin_attempt(base, &key, &mut work);
            } else if is_free && may_begin {
                self.wanted.insert(key.clone());
            }
            self.put_back(key, work);
        }
    }

    /// Begins a ballot: with the promises that are there, or with phase 1.
    fn begin_attempt(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let is_spread = matches!(work.jobs.front(), Some(Job::Spread { .. }));
        if let Some((ballot, basis)) = self.continued.take(key).filter(|_| !is_spread) {
            work.attempt = Some(Attempt::continued(base.chassis.instant(), ballot));
            return self.propose(base, key, work, &basis, false);
        }
        let mut attempt = Attempt::preparing(base.chassis.instant(), base.take_ballot());
        attempt.ask(base, key);
        work.attempt = Some(attempt);
    }

    /// Handles an acceptor's promise.
    pub(crate) fn on_promise(&mut self, base: &mut Base, from: NodeId, promise: Promise) -> Result<(), Ignored> {
        let Promise { key, ballot, removed, accepted } = promise;
        if let Some((accepted, _)) = &accepted {
            base.check_ballot(*accepted)?;
            if *accepted >= ballot {
                return Err(Ignored::AbsurdBallot);
            }
        }
        self.answered(base, from, &key, ballot, |attempt| attempt.note_promise(from, removed, accepted))
    }

    /// Handles an acceptor's acceptance.
    pub(crate) fn on_accepted(&mut self, base: &mut Base, from: NodeId, accepted: &Accepted) -> Result<(), Ignored> {
        self.answered(base, from, &accepted.key, accepted.ballot, |attempt| attempt.note_acceptance(from))
    }

    /// Handles the refusal of an acceptor that has promised a higher ballot.
    pub(crate) fn on_nack(&mut self, base: &mut Base, from: NodeId, nack: &Nack) -> Result<(), Ignored> {
        base.check_ballot(nack.promised)?;
        if nack.promised <= nack.ballot {
            return Err(Ignored::AbsurdBallot);
        }
        let noted = self.answered(base, from, &nack.key, nack.ballot, |attempt| {
            attempt.note_refusal(from);
            true
        });
        if noted.is_ok() {
            base.note_round(nack.promised.round);
        }
        noted
    }

    /// Handles an answer to a ballot, after the checks for every answer: the sender is an acceptor that counts, and
    /// answers the ballot under way.
    fn answered(
        &mut self,
        base: &mut Base,
        from: NodeId,
        key: &[u8],
        ballot: Ballot,
        note: impl FnOnce(&mut Attempt) -> bool,
    ) -> Result<(), Ignored> {
        base.check_acceptor(from)?;
        let Some((key, _)) = self.works.get_key_value(key) else { return Err(Ignored::StaleAnswer) };
        let key = key.clone();
        let Some(mut work) = self.take_work(&key) else { return Err(Ignored::StaleAnswer) };
        let attempt = work.attempt.as_mut().filter(|attempt| attempt.ballot == ballot);
        let noted = if attempt.is_some_and(note) { Ok(()) } else { Err(Ignored::StaleAnswer) };
        if noted.is_ok() {
            self.advance(base, &key, &mut work);
        }
        self.put_back(key, work);
        noted
    }

    /// Goes on with a ballot if the answers suffice, or gives way if they never can.
    fn advance(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let quorums = base.in_force();
        let Some(attempt) = &work.attempt else { return };
        if let Some((basis, is_chosen)) = attempt.promised(quorums) {
            self.propose(base, key, work, &basis, is_chosen);
        } else if attempt.is_chosen(quorums) {
            self.conclude(base, key, work);
        } else if !attempt.is_possible(quorums) {
            self.give_way(base, key, work);
        }
    }

    /// Phase 2: computes the new content from the one that was found, and has it accepted. `is_chosen` is true if what
    /// was found is known to be chosen.
    fn propose(&mut self, base: &mut Base, key: &Key, work: &mut Work, basis: &Basis, is_chosen: bool) {
        let Some(ballot) = work.attempt.as_ref().map(|attempt| attempt.ballot) else { return };
        // A register that was never written has no record that could be removed with what was promised: it gets one.
        let is_settled = is_chosen && basis.content.is_some();
        let (content, result) = match work.jobs.front_mut() {
            None => return work.attempt = None,
            Some(Job::Change { id, change, trace, .. }) => {
                match basis.decide(&base.config, key, ballot, (*id, change, trace.as_ref())) {
                    Decision::End(outcome) => return self.end(base, key, work, JobResult::Changed(outcome)),
                    // An earlier try of this node may lie with acceptors that have not answered. Only a content in a
                    // higher ballot ends it.
                    Decision::Keep(outcome) if is_settled && (trace.is_none() || outcome.is_effect()) => {
                        return self.end(base, key, work, JobResult::Changed(outcome));
                    }
                    Decision::Keep(outcome) => (basis.kept(key), JobResult::Changed(outcome)),
                    Decision::Write(content, outcome) => {
                        let first = trace.map_or(ballot, |trace| trace.first);
                        let based = basis.version();
                        let lowest = trace.map_or(based, |trace| trace.base.min(based));
                        *trace = Some(Trace { id: *id, base: lowest, first });
                        (content, JobResult::Changed(outcome))
                    }
                }
            }
            Some(Job::Resolve { trace, .. }) => (basis.kept(key), JobResult::Resolved(basis.resolve(trace))),
            Some(Job::Read { .. }) if is_settled => {
                return self.end(base, key, work, JobResult::Read(basis.found()));
            }
            Some(Job::Read { .. }) => (basis.kept(key), JobResult::Read(basis.found())),
            Some(Job::Spread { .. }) if basis.content.as_ref().is_some_and(|content| content.value.is_none()) => {
                (basis.kept(key), JobResult::Spread)
            }
            Some(Job::Spread { .. }) => return self.end(base, key, work, JobResult::Spread),
            // What nobody accepted needs no new acceptors, nor does what they have accepted.
            Some(Job::Move { .. }) if is_chosen => return self.end(base, key, work, JobResult::Moved),
            Some(Job::Move { .. }) => (basis.kept(key), JobResult::Moved),
            Some(Job::Settle { expected, value, .. }) => {
                let found = basis.found().value;
                if found == *expected {
                    (basis.of_roles(ballot, value), JobResult::Settled(Some(value.clone())))
                } else if is_settled {
                    return self.end(base, key, work, JobResult::Settled(found));
                } else {
                    (basis.kept(key), JobResult::Settled(found))
                }
            }
        };
        // A tombstone that is to be removed may not be promised away. Others go on with what this node only moves.
        let is_last = matches!(result, JobResult::Spread | JobResult::Moved | JobResult::Settled(_));
        let next = if is_last { ballot } else { base.take_ballot() };
        if let Some(attempt) = &mut work.attempt {
            attempt.accept(next, basis.removed, content, result);
            attempt.ask(base, key);
        }
    }

    /// The content of the ballot is chosen.
    fn conclude(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let Some(attempt) = work.attempt.take() else { return };
        let Phase::Accepting { next, content, removed, accepted, result } = attempt.phase else { return };
        if result == JobResult::Spread {
            work.jobs.pop_front();
            self.spread.push((key.clone(), Some(attempt.ballot)));
            return self.want(key, work);
        }
        if next > attempt.ballot && base.in_force().is_prepare_quorum(|node| accepted.contains(&node)) {
            let basis = Basis { content: Some(content), removed };
            self.continued.keep(key, next, basis, base.config.settings().promises_max);
        }
        self.end(base, key, work, result);
    }

    /// Ends the first job.
    fn end(&mut self, base: &mut Base, key: &Key, work: &mut Work, result: JobResult) {
        (work.attempt, work.overtaken) = (None, 0);
        if let Some(job) = work.jobs.pop_front() {
            self.tell(base, key, job, Some(result));
        }
        self.want(key, work);
    }

    /// Tells the application the result of a job; `None` if there is none in time.
    fn tell(&mut self, base: &mut Base, key: &Key, job: Job, result: Option<JobResult>) {
        let reason = late(base);
        let outbox = &mut base.chassis.outbox;
        match job {
            Job::Change { id, change, trace, .. } => {
                self.changes.remove(&id);
                self.bytes -= change.bytes();
                self.waiting -= 1;
                let outcome = match result {
                    Some(JobResult::Changed(outcome)) => outcome,
                    _ => unknown_or(trace.as_ref(), reason),
                };
                outbox.event(Event::Changed { id, outcome });
            }
            Job::Resolve { id, .. } => {
                self.waiting -= 1;
                let outcome = match result {
                    Some(JobResult::Resolved(outcome)) => outcome,
                    _ => ResolveOutcome::Failed(reason),
                };
                outbox.event(Event::Resolved { id, outcome });
            }
            Job::Read { reads } => {
                let outcome = match result {
                    Some(JobResult::Read(found)) => ReadOutcome::Found(found),
                    _ => ReadOutcome::Failed(reason),
                };
                for read in reads {
                    self.answer_read(base, read.id, outcome.clone());
                }
            }
            Job::Spread { .. } => self.spread.push((key.clone(), None)),
            Job::Move { .. } => self.moved.push((key.clone(), result.is_some())),
            Job::Settle { .. } => self.settled.push(match result {
                Some(JobResult::Settled(value)) => value,
                _ => None,
            }),
        }
    }

    pub(super) fn answer_read(&mut self, base: &mut Base, id: ReadId, outcome: ReadOutcome) {
        self.waiting_reads -= 1;
        base.chassis.outbox.event(Event::Read { id, outcome });
    }

    /// Another proposer has a higher ballot: this one pauses for a random time that grows with each repetition, so that
    /// two proposers do not overtake each other for ever. If only a promise for the next ballot was overtaken, it
    /// prepares at once.
    fn give_way(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let Some(attempt) = work.attempt.take() else { return };
        if !attempt.is_continued {
            work.rest_until = Some(base.draw_backoff(work.overtaken));
            work.overtaken = work.overtaken.saturating_add(1);
        }
        self.want(key, work);
    }

    pub(super) fn want(&mut self, key: &Key, work: &Work) {
        if !work.is_done() {
            self.wanted.insert(key.clone());
        }
    }

    /// Does what is due: ends commands and pauses, and repeats requests.
    pub(crate) fn on_timeout(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now) {
            let key = key.clone();
            let mut work = self.take_work(&key).expect("what is due is there");
            self.expire(base, &key, &mut work);
            if work.rest_until.take_if(|until| *until <= now).is_some() {
                self.want(&key, &work);
            }
            if let Some(attempt) = work.attempt.as_mut().filter(|attempt| attempt.retry_at <= now) {
                // An acceptor that refused will refuse again, so the next ballot is higher.
                if attempt.is_refused() {
                    self.give_way(base, &key, &mut work);
                } else {
                    attempt.ask(base, &key);
                }
            }
            self.repeat_round(base, &key, &mut work);
            self.put_back(key, work);
        }
    }

    /// Ends commands whose time is over.
    fn expire(&mut self, base: &mut Base, key: &Key, work: &mut Work) {
        let now = base.chassis.instant();
        if work.jobs.front().is_some_and(|job| job.until() <= now) {
            work.attempt = None;
            self.want(key, work);
        }
        let (over, waiting) = std::mem::take(&mut work.jobs).into_iter().partition(|job| job.until() <= now);
        work.jobs = waiting;
        let over: std::collections::VecDeque<Job> = over;
        for job in over {
            self.tell(base, key, job, None);
        }
        let reason = late(base);
        let (over, waiting): (Vec<_>, Vec<_>) = work.reads.iter().partition(|read| read.until <= now);
        work.reads = waiting;
        for read in over {
            self.answer_read(base, read.id, ReadOutcome::Failed(reason));
        }
    }

    /// This proposer's age has grown: nothing that was promised to an earlier age counts (CASPaxos §3.1).
    pub(crate) fn on_age_raised(&mut self) {
        self.continued.clear();
        for (key, work) in &mut self.works {
            if work.attempt.take().is_some() {
                self.wanted.insert(key.clone());
            }
        }
        self.refresh_due();
    }

    /// A node has a new standing. An answer that it gave under the earlier one does not count.
    pub(crate) fn on_standing(&mut self, base: &Base, node: NodeId) {
        self.continued.clear();
        let is_counting = base.is_counting();
        for (key, work) in &mut self.works {
            if let Some(round) = &mut work.round {
                round.answered.remove(&node);
            }
            if let Some(attempt) = &mut work.attempt {
                attempt.forget(node);
            }
            if !is_counting {
                work.attempt = None;
            }
            self.wanted.insert(key.clone());
        }
        self.refresh_due();
    }

    /// A node can be reached again: it is asked soon.
    pub(crate) fn hurry(&mut self, base: &mut Base) {
        let now = base.chassis.instant();
        let soon = now.after(base.config.settings().retry_interval_min);
        for work in self.works.values_mut() {
            if let Some(attempt) = &mut work.attempt {
                attempt.retry_at = attempt.retry_at.min(soon);
            }
            if let Some(round) = &mut work.round {
                round.retry_at = round.retry_at.min(soon);
            }
        }
        self.refresh_due();
    }

    /// Drops everything, because the group has stopped.
    pub(crate) fn on_halted(&mut self) {
        *self = Self { queries: self.queries, ..Self::default() };
    }

    /// Takes the work of a register out, to look at it.
    pub(super) fn take_work(&mut self, key: &[u8]) -> Option<Work> {
        let (key, work) = self.works.remove_entry(key)?;
        if let Some(at) = work.due() {
            self.due.remove(&(at, key));
        }
        Some(work)
    }

    /// Puts the work of a register back, or drops it if nothing is left to do.
    pub(super) fn put_back(&mut self, key: Key, work: Work) {
        if work.is_done() {
            return;
        }
        if let Some(at) = work.due() {
            self.due.insert((at, key.clone()));
        }
        self.works.insert(key, work);
    }

    fn refresh_due(&mut self) {
        let due = self.works.iter().filter_map(|(key, work)| Some((work.due()?, key.clone())));
        self.due = due.collect();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Number of waiting commands.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting + self.waiting_reads
    }

    /// Number of registers whose next ballot is promised.
    pub(crate) fn continued(&self) -> usize {
        self.continued.len()
    }

    /// The work of every register that has some.
    pub(crate) fn works(&self) -> impl Iterator<Item = (&Key, &Work)> {
        self.works.iter()
    }

    /// All times at which something is due.
    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        self.works.values().flat_map(Work::times)
    }

    pub(crate) fn check_invariants(&self, base: &Base) {
        let settings = base.config.settings();
        assert!(self.waiting <= settings.commands_max, "waiting changes are bounded");
        assert!(self.waiting_reads <= settings.commands_max, "waiting reads are bounded");
        assert!(self.bytes <= settings.commands_bytes_max, "bytes of waiting changes are bounded");
        assert!(self.continued.len() <= settings.promises_max, "kept promises are bounded");
        let due: BTreeSet<_> = self.works.iter().filter_map(|(key, work)| Some((work.due()?, key.clone()))).collect();
        assert!(due == self.due, "deadlines are those of the work");
        for work in self.works.values() {
            assert!(work.attempt.is_none() || !work.jobs.is_empty(), "a ballot has a purpose");
            assert!(work.attempt.is_none() || base.is_counting(), "a stranger has no ballot");
            assert!(!work.is_done(), "work that is done is dropped");
        }
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        for (key, work) in &self.works {
            writer.put(key);
            work.view(writer);
        }
        writer.put(&(&self.wanted, self.queries, &self.spread, &self.moved, &self.settled));
        self.continued.view(writer);
    }
}

impl ChangeOutcome {
    /// True if the change took effect.
    fn is_effect(&self) -> bool {
        matches!(self, Self::Done(_) | Self::DoneBefore { .. })
    }
}

/// Number of writes that may wait while a ballot begins.
const QUEUED_WRITES_MAX: usize = 2;
