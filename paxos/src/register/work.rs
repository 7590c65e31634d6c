//! The work of a proposer for one register: the commands that wait, and the ballot or query under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Instant, NodeId, ProposalId, ReadId, ViewWriter};

use super::RolesInForce;
use super::base::Base;
use super::content::{Content, Key};
use super::decide::Basis;
use super::message::{Accept, Prepare, Query};
use super::{Change, ChangeOutcome, Found, Message, ResolveOutcome, Trace};
use crate::Ballot;
use crate::waits::doubled;

/// The work for one register. It is dropped once there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// What needs a ballot, in order. The first is under way if there is an attempt.
    pub(crate) jobs: VecDeque<Job>,
    /// The ballot under way.
    pub(crate) attempt: Option<Attempt>,
    /// Time at which a pause ends that another proposer's higher ballot caused.
    pub(crate) rest_until: Option<Instant>,
    /// Number of times in a row that other proposers were faster.
    pub(crate) overtaken: u32,
    /// Reads that wait for a query.
    pub(crate) reads: Vec<WaitingRead>,
    /// The query under way.
    pub(crate) round: Option<ReadRound>,
    /// Number of queries in a row without a conclusion.
    pub(crate) inconclusive: u32,
}

/// Something that needs a ballot.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// A change.
    Change { id: ProposalId, change: Change, until: Instant, trace: Option<Trace> },
    /// The question what became of a change.
    Resolve { id: ReadId, trace: Trace, until: Instant },
    /// Reads that queries could not answer.
    Read { reads: Vec<WaitingRead> },
    /// A tombstone that every acceptor must accept before it is removed.
    Spread { until: Instant },
    /// A content that quorums of all roles in force must accept.
    Move { until: Instant },
    /// New roles.
    Settle { expected: Option<Bytes>, value: Bytes, until: Instant },
}

impl Job {
    /// Time at which the job ends without a result.
    pub(crate) fn until(&self) -> Instant {
        match self {
            Self::Change { until, .. }
            | Self::Resolve { until, .. }
            | Self::Spread { until }
            | Self::Move { until }
            | Self::Settle { until, .. } => *until,
            Self::Read { reads } => reads.iter().map(|read| read.until).min().expect("a job of reads has some"),
        }
    }
}

/// A read that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitingRead {
    pub(crate) id: ReadId,
    pub(crate) until: Instant,
    /// The query that began after the read; only its answers count.
    pub(crate) round: Option<u64>,
}

/// A ballot under way.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ballot: Ballot,
    pub(crate) phase: Phase,
    /// Acceptors that have promised a higher ballot.
    refused: BTreeSet<NodeId>,
    /// Time at which acceptors that have not answered are asked again.
    pub(crate) retry_at: Instant,
    retries: u32,
    /// True if its promises came with the acceptances of the ballot before.
    pub(crate) is_continued: bool,
}

/// Phase of a ballot.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Phase 1: asks for promises.
    Preparing {
        /// The acceptors that have promised, with the ballot of what they had accepted.
        promised: BTreeMap<NodeId, Ballot>,
        /// The accepted content with the highest of these ballots.
        newest: Option<(Ballot, Content)>,
        /// The highest round of a removed register.
        removed: u64,
    },
    /// Phase 2: asks to accept.
    Accepting {
        /// The ballot that is promised with the acceptance; equal to the ballot if there is none.
        next: Ballot,
        /// The content.
        content: Content,
        /// Kept for the next ballot.
        removed: u64,
        /// The acceptors that have accepted.
        accepted: BTreeSet<NodeId>,
        /// What is told once the content is chosen.
        result: JobResult,
    },
}

/// What a job ends with once its content is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobResult {
    Changed(ChangeOutcome),
    Resolved(ResolveOutcome),
    Read(Found),
    Spread,
    Moved,
    Settled(Option<Bytes>),
}

impl Work {
    /// True if nothing waits and nothing is under way.
    pub(crate) fn is_done(&self) -> bool {
        self.jobs.is_empty() && self.reads.is_empty() && self.round.is_none() && self.attempt.is_none()
    }

    /// Time at which something is due. Jobs and reads end in their order, but for one that reads had put in front.
    pub(crate) fn due(&self) -> Option<Instant> {
        let jobs = self.jobs.iter().take(2).map(Job::until);
        jobs.chain(self.reads.first().map(|read| read.until)).chain(self.own_times()).min()
    }

    /// All times at which something is due.
    pub(crate) fn times(&self) -> impl Iterator<Item = Instant> + '_ {
        let jobs = self.jobs.iter().flat_map(|job| match job {
            Job::Read { reads } => reads.iter().map(|read| read.until).collect(),
            job => vec![job.until()],
        });
        jobs.chain(self.reads.iter().map(|read| read.until)).chain(self.own_times())
    }

    fn own_times(&self) -> impl Iterator<Item = Instant> {
        let attempt = self.attempt.as_ref().map(|attempt| attempt.retry_at);
        let round = self.round.as_ref().map(|round| round.retry_at);
        attempt.into_iter().chain(round).chain(self.rest_until)
    }

    pub(crate) fn view(&self, writer: &mut ViewWriter) {
        for job in &self.jobs {
            match job {
                Job::Change { id, change, until, trace } => writer.put(&(id, change, writer.time(*until), trace)),
                Job::Resolve { id, trace, until } => {
                    writer.put(&("resolve", id, trace, writer.time(*until)));
                }
                Job::Read { reads } => reads.iter().for_each(|read| read.view(writer)),
                Job::Spread { until } => writer.put(&("spread", writer.time(*until))),
                Job::Move { until } => writer.put(&("move", writer.time(*until))),
                Job::Settle { expected, value, until } => {
                    writer.put(&("settle", expected, value, writer.time(*until)));
                }
            }
        }
        if let Some(attempt) = &self.attempt {
            writer.put(&(attempt.ballot, &attempt.phase, &attempt.refused, writer.time(attempt.retry_at)));
            writer.put(&attempt.is_continued);
        }
        writer.put(&self.rest_until.map(|until| writer.time(until)));
        self.reads.iter().for_each(|read| read.view(writer));
        if let Some(round) = &self.round {
            writer.put(&(round.number, &round.answered, &round.newest, writer.time(round.retry_at)));
            writer.put(&round.is_inconclusive);
        }
        writer.put(&(self.inconclusive > 0));
    }
}

impl WaitingRead {
    fn view(&self, writer: &mut ViewWriter) {
        writer.put(&("read", self.id, writer.time(self.until), self.round));
    }
}

impl Attempt {
    /// A ballot that begins with phase 1.
    pub(crate) fn preparing(now: Instant, ballot: Ballot) -> Self {
        let phase = Phase::Preparing { promised: BTreeMap::new(), newest: None, removed: 0 };
        Self { ballot, phase, refused: BTreeSet::new(), retry_at: now, retries: 0, is_continued: false }
    }

    /// A ballot that was promised with the acceptances of the one before.
    pub(crate) fn continued(now: Instant, ballot: Ballot) -> Self {
        Self { is_continued: true, ..Self::preparing(now, ballot) }
    }

    /// Goes on to phase 2.
    pub(crate) fn accept(&mut self, next: Ballot, removed: u64, content: Content, result: JobResult) {
        self.phase = Phase::Accepting { next, content, removed, accepted: BTreeSet::new(), result };
        self.refused.clear();
        self.retries = 0;
    }

    /// Notes a promise. Returns false if it was there already or is for another phase.
    pub(crate) fn note_promise(&mut self, from: NodeId, told_removed: u64, told: Option<(Ballot, Content)>) -> bool {
        let Phase::Preparing { promised, newest, removed } = &mut self.phase else { return false };
        let ballot = told.as_ref().map_or(Ballot::ZERO, |(ballot, _)| *ballot);
        if promised.insert(from, ballot).is_some() {
            return false;
        }
        *removed = told_removed.max(*removed);
        // Of the accepted contents, the one with the highest ballot is the basis (Paxos Made Simple §2.2, P2c).
        if let Some(told) = told
            && newest.as_ref().is_none_or(|newest| newest.0 < told.0)
        {
            *newest = Some(told);
        }
        self.refused.remove(&from);
        true
    }

    /// Notes an acceptance. Returns false if it was there already or is for another phase.
    pub(crate) fn note_acceptance(&mut self, from: NodeId) -> bool {
        let Phase::Accepting { accepted, .. } = &mut self.phase else { return false };
        self.refused.remove(&from);
        accepted.insert(from)
    }

    /// Notes a refusal.
    pub(crate) fn note_refusal(&mut self, from: NodeId) {
        if !self.has_answered(from) {
            self.refused.insert(from);
        }
    }

    /// True if some acceptor has refused.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// True if the acceptors that have not refused suffice.
    pub(crate) fn is_possible(&self, quorums: &RolesInForce) -> bool {
        let may = |node| !self.refused.contains(&node);
        match &self.phase {
            Phase::Preparing { .. } => quorums.is_prepare_quorum(may),
            Phase::Accepting { result: JobResult::Spread, .. } => self.refused.is_empty(),
            Phase::Accepting { .. } => quorums.is_accept_quorum(may),
        }
    }

    /// The basis of a content, once enough acceptors have promised, and true if it is chosen: a quorum has accepted it
    /// in one ballot, and no acceptor of the quorum has accepted a later one.
    pub(crate) fn promised(&self, quorums: &RolesInForce) -> Option<(Basis, bool)> {
        let Phase::Preparing { promised, newest, removed } = &self.phase else { return None };
        if !quorums.is_prepare_quorum(|node| promised.contains_key(&node)) {
            return None;
        }
        let is_chosen = newest
            .as_ref()
            .is_none_or(|(newest, _)| quorums.is_accept_quorum(|node| promised.get(&node) == Some(newest)));
        let content = newest.as_ref().map(|(_, content)| content.clone());
        Some((Basis { content, removed: *removed }, is_chosen))
    }

    /// True if the content is chosen, and in the case of a spread accepted by every acceptor.
    pub(crate) fn is_chosen(&self, quorums: &RolesInForce) -> bool {
        let Phase::Accepting { accepted, result, .. } = &self.phase else { return false };
        match result {
            JobResult::Spread => quorums.acceptors().is_subset(accepted),
            _ => quorums.is_accept_quorum(|node| accepted.contains(&node)),
        }
    }

    /// True if an acceptor has promised or accepted.
    pub(crate) fn has_answered(&self, node: NodeId) -> bool {
        match &self.phase {
            Phase::Preparing { promised, .. } => promised.contains_key(&node),
            Phase::Accepting { accepted, .. } => accepted.contains(&node),
        }
    }

    /// The acceptors that were asked more than once in vain.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.retries > 1 && !self.has_answered(node) && !self.refused.contains(&node)
    }

    /// A node has a new standing: what it answered does not count.
    pub(crate) fn forget(&mut self, node: NodeId) {
        match &mut self.phase {
            // The content that it told may be the newest, and stays: it was proposed by someone.
            Phase::Preparing { promised, .. } => drop(promised.remove(&node)),
            Phase::Accepting { accepted, .. } => drop(accepted.remove(&node)),
        }
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    pub(crate) fn ask(&mut self, base: &mut Base, key: &Key) {
        let settings = base.config.settings();
        let wait = doubled(settings.retry_interval_min, self.retries).min(settings.retry_interval_max);
        self.retry_at = base.chassis.instant().after(wait);
        self.retries = self.retries.saturating_add(1);
        let (system, age, ballot) = (base.system(), base.state().age, self.ballot);
        let bytes = Bytes::copy_from_slice(key);
        let (message, highest) = match &self.phase {
            Phase::Preparing { .. } => (Message::Prepare(Prepare { system, age, key: bytes, ballot }), ballot),
            Phase::Accepting { next, content, .. } => {
                let (next, content) = (*next, content.clone());
                (Message::Accept(Accept { system, age, key: bytes, ballot, next, content }), next)
            }
        };
        let after = base.ballot_ticket(highest);
        for to in base.acceptors() {
            if !self.has_answered(to) {
                base.post(after, to, message.clone());
            }
        }
    }
}

/// A query to the acceptors, for the reads that waited when it began.
#[derive(Clone, Debug)]
pub(crate) struct ReadRound {
    pub(crate) number: u64,
    /// The acceptors that have answered, with the ballot of what they have accepted.
    pub(crate) answered: BTreeMap<NodeId, Option<Ballot>>,
    /// The accepted content with the highest of these ballots.
    pub(crate) newest: Option<(Ballot, Content)>,
    /// True if enough acceptors have answered without a conclusion.
    pub(crate) is_inconclusive: bool,
    /// Time at which acceptors that have not answered are asked again, or all if there is no conclusion.
    pub(crate) retry_at: Instant,
    retries: u32,
}

impl ReadRound {
    pub(crate) fn new(number: u64, now: Instant) -> Self {
        let answered = BTreeMap::new();
        Self { number, answered, newest: None, is_inconclusive: false, retry_at: now, retries: 0 }
    }

    /// Asks every acceptor that has not answered, and sets the time of the next repetition.
    pub(crate) fn ask(&mut self, base: &mut Base, key: &Key) {
        let settings = base.config.settings();
        let wait: Duration = doubled(settings.retry_interval_min, self.retries).min(settings.retry_interval_max);
        self.retry_at = base.chassis.instant().after(wait);
        self.retries = self.retries.saturating_add(1);
        let (system, start, number) = (base.system(), base.config.seed(), self.number);
        let query = Message::Query(Query { system, start, number, key: Bytes::copy_from_slice(key) });
        for to in base.acceptors() {
            if !self.answered.contains_key(&to) {
                base.post(quorate_protocol::Ticket(0), to, query.clone());
            }
        }
    }

    /// Notes what an acceptor has accepted.
    pub(crate) fn note(&mut self, node: NodeId, accepted: Option<(Ballot, Content)>) {
        self.answered.insert(node, accepted.as_ref().map(|(ballot, _)| *ballot));
        if let Some(accepted) = accepted
            && self.newest.as_ref().is_none_or(|newest| newest.0 < accepted.0)
        {
            self.newest = Some(accepted);
        }
    }

    /// The content at some moment since the query began, if the answers show it.
    pub(crate) fn found(&self, quorums: &RolesInForce) -> Option<Found> {
        let is_empty = |node: NodeId| self.answered.get(&node) == Some(&None);
        if quorums.is_nothing_chosen(|node| self.answered.contains_key(&node), is_empty) {
            return Some(Found::default());
        }
        let (newest, content) = self.newest.as_ref()?;
        let has_accepted = |node: NodeId| self.answered.get(&node) == Some(&Some(*newest));
        // A quorum has accepted it in one ballot, and none has accepted a later one before the query.
        (self.is_answered(quorums) && quorums.is_accept_quorum(has_accepted)).then(|| content.found())
    }

    /// True if the answers would show every content that was chosen before the query.
    pub(crate) fn is_answered(&self, quorums: &RolesInForce) -> bool {
        quorums.is_prepare_quorum(|node| self.answered.contains_key(&node))
    }

    /// True if acceptors were asked more than once, and this one has not answered.
    pub(crate) fn is_silent(&self, node: NodeId) -> bool {
        self.retries > 1 && !self.answered.contains_key(&node)
    }
}
