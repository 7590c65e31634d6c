//! The state machine with branches.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::LogTime;
use quorate_runtime::{ApplyContext, StateMachine};

use super::codec::{Command, Response, UnknownCommand};
use crate::manager::{BranchId, CommitEnd, ManagerId, ResourceId, RollBackEnd};
use crate::{Decision, TransactionNumber, Vote};

/// A state machine whose commands can be prepared first and committed later.
///
/// It keeps its state in memory; one that stores its state itself ([`StateMachine::applied`]) cannot have branches. If
/// it does work by itself in [`StateMachine::tick`], that work must leave locked keys as they are: a prepared branch
/// relies on them.
pub trait BranchState: StateMachine {
    /// Names everything that this work reads or writes. From the vote to the end of the branch no other work with one
    /// of these keys is done.
    fn keys(&self, work: &Bytes) -> BTreeSet<Bytes>;

    /// Tells whether the work can be done as things are, without doing it. After [`Vote::Yes`],
    /// [`StateMachine::apply`] must be able to do it, as long as nothing with its keys has changed. `log_time` is that
    /// of the entry that asks, or of the last one that was applied.
    fn vote(&self, log_time: LogTime, work: &Bytes) -> Vote;

    /// A prepared branch that this work has to wait for, among those that hold the locked keys. By default one that
    /// holds a key of the work. To be overridden for work that concerns more keys than it can name.
    fn holder(&self, work: &Bytes, locks: &BTreeMap<Bytes, BranchId>) -> Option<BranchId> {
        self.keys(work).iter().find_map(|key| locks.get(key).copied())
    }

    /// Called once for work that is prepared, after the vote was [`Vote::Yes`]. Returns the work that is kept for the
    /// branch and locked, by default the same. To be overridden for work that is too long for one entry: earlier work
    /// brought its parts, to which this work only points, and they are kept with the branch from now on.
    fn take(&mut self, work: Bytes) -> Bytes {
        work
    }
}

/// A [`BranchState`] with branches: the state machine that a replica runs. Its commands come from
/// [`Replicated`](super::Replicated) and [`work_outside`](super::work_outside); other bytes are refused and change
/// nothing.
#[derive(Debug)]
pub struct Branched<S> {
    state: S,
    branches: Arc<Branches>,
    /// The branch that holds each key: those of `branches.prepared`.
    locks: BTreeMap<Bytes, BranchId>,
}

/// A [`Branched`] at one moment.
#[derive(Debug)]
pub struct BranchedSnapshot<T> {
    state: T,
    branches: Arc<Branches>,
}

/// What is kept of branches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Branches {
    /// The work of each prepared branch.
    pub(super) prepared: BTreeMap<BranchId, Bytes>,
    /// How branches ended: evidence for repeated commands, and fences against a prepare that comes after its roll-back.
    /// Kept until the manager says that their transactions are finished.
    pub(super) ended: BTreeMap<BranchId, Decision>,
    /// What each manager last said of its finished transactions. A prepare of a finished one is refused.
    pub(super) finished: BTreeMap<(ManagerId, ResourceId), Finished>,
}

/// All transactions below `below` are finished, except these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) below: TransactionNumber,
    pub(super) unfinished: BTreeSet<TransactionNumber>,
}

/// How work outside of a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutsideEnd {
    /// It is done. Holds the state machine's response.
    Done(Bytes),
    /// Nothing was done: this prepared branch holds one of its keys.
    Locked(BranchId),
}

impl<S: BranchState> Branched<S> {
    /// A state machine without branches.
    #[must_use]
    pub fn new(state: S) -> Self {
        Self { state, branches: Arc::default(), locks: BTreeMap::new() }
    }

    /// The state: what is committed.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The branches that are prepared.
    pub fn prepared(&self) -> BTreeSet<BranchId> {
        self.branches.prepared.keys().copied().collect()
    }

    /// The keys that are locked, and the branches that hold them.
    pub fn locks(&self) -> &BTreeMap<Bytes, BranchId> {
        &self.locks
    }

    /// The number of ended branches of which evidence is kept.
    pub fn evidence(&self) -> usize {
        self.branches.ended.len()
    }

    pub(super) fn prepared_of(&self, manager: ManagerId, resource: ResourceId) -> BTreeSet<BranchId> {
        let prepared = self.branches.prepared.keys().copied();
        prepared.filter(|branch| branch.manager == manager && branch.resource == resource).collect()
    }

    /// The vote on this work as things are.
    pub(super) fn would_vote(&self, log_time: LogTime, work: &Bytes) -> Vote {
        match self.holder(work) {
            Some(_) => Vote::No,
            None => self.state.vote(log_time, work),
        }
    }

    /// A prepared branch that this work has to wait for.
    pub fn holder(&self, work: &Bytes) -> Option<BranchId> {
        if self.locks.is_empty() { None } else { self.state.holder(work, &self.locks) }
    }

    fn prepare(&mut self, log_time: LogTime, branch: BranchId, work: Option<Bytes>) -> Vote {
        if self.branches.prepared.contains_key(&branch) {
            return Vote::Yes;
        }
        match (self.branches.ended.get(&branch), work) {
            (Some(Decision::Commit), _) => Vote::Yes,
            (None, Some(work)) if !self.branches.is_finished(branch) => {
                let vote = self.would_vote(log_time, &work);
                if vote == Vote::Yes {
                    let work = self.state.take(work);
                    self.lock(branch, &work);
                    Arc::make_mut(&mut self.branches).prepared.insert(branch, work);
                }
                vote
            }
            // Its work is lost, it was rolled back, or its transaction is over.
            _ => Vote::No,
        }
    }

    fn commit(&mut self, context: ApplyContext, branch: BranchId) -> io::Result<CommitEnd> {
        if let Some(work) = self.branches.prepared.get(&branch).cloned() {
            self.state.apply(context, work)?;
            self.end(branch, Decision::Commit);
        }
        Ok(match self.branches.ended.get(&branch) {
            Some(Decision::Commit) => CommitEnd::Committed,
            Some(Decision::Abort) => CommitEnd::RolledBack,
            None => CommitEnd::Lost,
        })
    }

    fn commit_one_phase(
        &mut self,
        context: ApplyContext,
        branch: BranchId,
        work: Option<Bytes>,
    ) -> io::Result<Decision> {
        if let Some(decision) = self.branches.ended.get(&branch) {
            return Ok(*decision);
        }
        let work = work.filter(|_| !self.branches.is_finished(branch));
        let decision = match work {
            Some(work) if self.would_vote(context.log_time, &work) != Vote::No => {
                self.state.apply(context, work)?;
                Decision::Commit
            }
            _ => Decision::Abort,
        };
        self.end(branch, decision);
        Ok(decision)
    }

    fn roll_back(&mut self, branch: BranchId) -> RollBackEnd {
        if self.branches.ended.get(&branch) == Some(&Decision::Commit) {
            return RollBackEnd::Committed;
        }
        self.end(branch, Decision::Abort);
        RollBackEnd::RolledBack
    }

    fn outside(&mut self, context: ApplyContext, work: Bytes) -> io::Result<OutsideEnd> {
        match self.holder(&work) {
            Some(holder) => Ok(OutsideEnd::Locked(holder)),
            None => self.state.apply(context, work).map(OutsideEnd::Done),
        }
    }

    fn lock(&mut self, branch: BranchId, work: &Bytes) {
        for key in self.state.keys(work) {
            self.locks.insert(key, branch);
        }
    }

    /// The branch is no longer prepared. If its transaction is over, nothing about it comes any more.
    fn end(&mut self, branch: BranchId, decision: Decision) {
        self.locks.retain(|_, holder| *holder != branch);
        let branches = Arc::make_mut(&mut self.branches);
        branches.prepared.remove(&branch);
        if !branches.is_finished(branch) {
            branches.ended.insert(branch, decision);
        }
    }
}

impl Branches {
    fn is_finished(&self, branch: BranchId) -> bool {
        self.finished.get(&(branch.manager, branch.resource)).is_some_and(|finished| finished.covers(branch.number))
    }

    fn forget(&mut self, manager: ManagerId, resource: ResourceId, news: Finished) {
        let finished = self.finished.entry((manager, resource)).or_default();
        // An older report may come late.
        if news.below >= finished.below {
            *finished = news;
        }
        let finished = &self.finished;
        self.ended.retain(|branch, _| {
            let known = finished.get(&(branch.manager, branch.resource));
            known.is_none_or(|finished| !finished.covers(branch.number))
        });
    }
}

impl Finished {
    fn covers(&self, number: TransactionNumber) -> bool {
        number < self.below && !self.unfinished.contains(&number)
    }
}

impl<S: BranchState> StateMachine for Branched<S> {
    type Snapshot = BranchedSnapshot<S::Snapshot>;

    fn apply(&mut self, context: ApplyContext, command: Bytes) -> io::Result<Bytes> {
        let command = match Command::decode(command) {
            Ok(command) => command,
            Err(UnknownCommand::Never) => return Ok(Response::NoCommand.encode()),
            Err(UnknownCommand::Newer) => panic!("a newer program proposed this command"),
        };
        let response = match command {
            Command::Prepare { branch, work } => Response::Voted(self.prepare(context.log_time, branch, work)),
            Command::Commit { branch } => Response::Committed(self.commit(context, branch)?),
            Command::CommitOnePhase { branch, work } => {
                Response::Decided(self.commit_one_phase(context, branch, work)?)
            }
            Command::RollBack { branch } => Response::RolledBack(self.roll_back(branch)),
            Command::Forget { manager, resource, below, unfinished } => {
                Arc::make_mut(&mut self.branches).forget(manager, resource, Finished { below, unfinished });
                Response::Forgotten
            }
            Command::Outside { work } => Response::Outside(self.outside(context, work)?),
        };
        Ok(response.encode())
    }

    fn tick(&mut self, context: ApplyContext) -> io::Result<()> {
        self.state.tick(context)
    }

    fn end_batch(&mut self) -> io::Result<()> {
        self.state.end_batch()
    }

    fn snapshot(&self) -> Self::Snapshot {
        BranchedSnapshot { state: self.state.snapshot(), branches: Arc::clone(&self.branches) }
    }

    fn write(BranchedSnapshot { state, branches }: Self::Snapshot, out: &mut dyn io::Write) -> io::Result<()> {
        let bytes = branches.encode();
        out.write_all(&u64::try_from(bytes.len()).expect("a length fits").to_le_bytes())?;
        out.write_all(&bytes)?;
        S::write(state, out)
    }

    fn restore(from: &mut dyn io::Read) -> io::Result<Self> {
        let branches = Branches::read(from)?;
        let state = S::restore(from)?;
        let mut restored = Self { state, branches: Arc::new(branches), locks: BTreeMap::new() };
        for (branch, work) in &Arc::clone(&restored.branches).prepared {
            restored.lock(*branch, work);
        }
        Ok(restored)
    }

    fn digest(&self) -> u64 {
        // FNV-1a over what is kept of branches, from the digest of the state on.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.branches.encode().iter().fold(self.state.digest() ^ 0xcbf2_9ce4_8422_2325, fold)
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.state.next_deadline()
    }
}
