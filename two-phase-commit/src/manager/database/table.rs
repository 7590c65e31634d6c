//! The connections of a database, and what is known of branches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::{Decision, TransactionNumber, Vote};

use super::super::branch::{BranchId, ManagerId, ResourceId};

/// Where each connection is: idle, at work for a branch, lent to the application, or with a prepared branch.
///
/// A connection that a call has taken out, and does not put back, is closed: so ends each that failed, or whose call
/// was dropped in the middle.
pub(in super::super) struct Table<C> {
    inner: Mutex<Inner<C>>,
}

struct Inner<C> {
    /// The one that was given back first is taken first: it is the likeliest to be clean.
    idle: VecDeque<Idle<C>>,
    /// Branches at work. `None` while the application has the session, or while it is opened.
    open: BTreeMap<BranchId, Option<C>>,
    prepared: BTreeMap<BranchId, C>,
    votes: BTreeMap<BranchId, Vote>,
    decisions: BTreeMap<BranchId, Decision>,
}

/// A connection that waits for its next use.
enum Idle<C> {
    Clean(C),
    /// What its last user left is being taken away; `None` if that fails.
    Cleaning(JoinHandle<Option<C>>),
}

/// What a branch that is no longer at work left in the table.
pub(in super::super) enum Closed<C> {
    /// Its connection, with the branch open in it.
    Open(C),
    /// The connection that prepared the branch.
    Prepared(C),
    /// Nothing: there may be a session in the server.
    Nothing,
}

impl<C> Table<C> {
    /// Idle connections above this number are closed.
    const IDLE_MAX: usize = 128;

    pub(in super::super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                idle: VecDeque::new(),
                open: BTreeMap::new(),
                prepared: BTreeMap::new(),
                votes: BTreeMap::new(),
                decisions: BTreeMap::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<C>> {
        // No method leaves it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle connection in which nothing is in force that its last user has set.
    pub(in super::super) async fn take_idle(&self) -> Option<C> {
        loop {
            let idle = self.inner().idle.pop_front()?;
            match idle {
                Idle::Clean(connection) => return Some(connection),
                Idle::Cleaning(cleaning) => {
                    if let Ok(Some(connection)) = cleaning.await {
                        return Some(connection);
                    }
                }
            }
        }
    }

    /// The connection must be in no transaction, and have no settings of an earlier user.
    pub(in super::super) fn put_idle(&self, connection: C) {
        self.put(Idle::Clean(connection));
    }

    /// A connection that is being cleaned, for which nobody waits now.
    pub(in super::super) fn put_cleaning(&self, cleaning: JoinHandle<Option<C>>) {
        self.put(Idle::Cleaning(cleaning));
    }

    fn put(&self, idle: Idle<C>) {
        let mut inner = self.inner();
        if inner.idle.len() < Self::IDLE_MAX {
            inner.idle.push_back(idle);
        }
    }

    pub(in super::super) fn open(&self, branch: BranchId) {
        self.inner().open.insert(branch, None);
    }

    pub(in super::super) fn resume(&self, branch: BranchId) -> Option<C> {
        self.inner().open.get_mut(&branch).and_then(Option::take)
    }

    pub(in super::super) fn suspend(&self, branch: BranchId, connection: C) {
        if let Some(place) = self.inner().open.get_mut(&branch) {
            *place = Some(connection);
        }
    }

    /// From now on the branch is not at work, and no session of it is taken back.
    pub(in super::super) fn close(&self, branch: BranchId) -> Closed<C> {
        let mut inner = self.inner();
        match (inner.open.remove(&branch).flatten(), inner.prepared.remove(&branch)) {
            (Some(connection), _) => Closed::Open(connection),
            (None, Some(connection)) => Closed::Prepared(connection),
            (None, None) => Closed::Nothing,
        }
    }

    pub(in super::super) fn put_prepared(&self, branch: BranchId, connection: C) {
        self.inner().prepared.insert(branch, connection);
    }

    pub(in super::super) fn take_prepared(&self, branch: BranchId) -> Option<C> {
        self.inner().prepared.remove(&branch)
    }

    pub(in super::super) fn vote(&self, branch: BranchId) -> Option<Vote> {
        self.inner().votes.get(&branch).copied()
    }

    pub(in super::super) fn put_vote(&self, branch: BranchId, vote: Vote) {
        self.inner().votes.insert(branch, vote);
    }

    pub(in super::super) fn decision(&self, branch: BranchId) -> Option<Decision> {
        self.inner().decisions.get(&branch).copied()
    }

    pub(in super::super) fn put_decision(&self, branch: BranchId, decision: Decision) {
        self.inner().decisions.insert(branch, decision);
    }

    /// Nothing is asked about finished transactions any more.
    pub(in super::super) fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) {
        let kept = |branch: &BranchId| {
            (branch.manager, branch.resource) != (manager, resource)
                || branch.number >= below
                || unfinished.contains(&branch.number)
        };
        let mut inner = self.inner();
        inner.votes.retain(|branch, _| kept(branch));
        inner.decisions.retain(|branch, _| kept(branch));
    }
}
