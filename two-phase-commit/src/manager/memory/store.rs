//! The content of a resource in memory: values, locks and branches. Plain data, without threads.

use std::collections::{BTreeMap, BTreeSet};

use super::MemoryError;
use crate::manager::{BranchId, CommitEnd, ManagerId, ResourceId, RollBackEnd};
use crate::{Decision, TransactionNumber, Vote};

/// The changes of a branch; `None` removes a key.
type Writes<V> = BTreeMap<String, Option<V>>;

#[derive(Clone, Debug)]
pub(crate) struct Store<V> {
    /// What is committed.
    values: BTreeMap<String, V>,
    /// Branches that survive a crash of the resource.
    prepared: BTreeMap<BranchId, Writes<V>>,
    /// Evidence of committed branches, until it is forgotten.
    committed: BTreeSet<BranchId>,
    /// Volatile: branches at work.
    open: BTreeMap<BranchId, Open<V>>,
    /// Volatile, but for the locks of prepared branches: the branch that holds each key.
    locks: BTreeMap<String, BranchId>,
}

#[derive(Clone, Debug)]
struct Open<V> {
    writes: Writes<V>,
    is_lent: bool,
}

impl<V> Default for Store<V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            prepared: BTreeMap::new(),
            committed: BTreeSet::new(),
            open: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }
}

impl<V: Clone> Store<V> {
    pub(crate) fn values(&self) -> &BTreeMap<String, V> {
        &self.values
    }

    pub(crate) fn set_value(&mut self, key: String, value: V) {
        self.values.insert(key, value);
    }

    pub(crate) fn locks(&self) -> &BTreeMap<String, BranchId> {
        &self.locks
    }

    pub(crate) fn prepared(&self) -> impl Iterator<Item = BranchId> + '_ {
        self.prepared.keys().copied()
    }

    pub(crate) fn evidence(&self) -> &BTreeSet<BranchId> {
        &self.committed
    }

    /// Opens a branch. What an earlier start of the manager left at work is over: nothing asks for it any more.
    pub(crate) fn begin(&mut self, branch: BranchId) {
        let is_left = |other: &BranchId| {
            (other.manager, other.resource) == (branch.manager, branch.resource) && other.epoch() < branch.epoch()
        };
        let left: Vec<BranchId> = self.open.keys().copied().filter(is_left).collect();
        for other in left {
            self.open.remove(&other);
            self.release(other);
        }
        self.open.insert(branch, Open { writes: Writes::new(), is_lent: true });
    }

    /// Lends an open branch, or takes it back. False if the branch has ended, or is lent already.
    pub(crate) fn lend(&mut self, branch: BranchId) -> bool {
        self.open.get_mut(&branch).is_some_and(|open| !std::mem::replace(&mut open.is_lent, true))
    }

    pub(crate) fn take_back(&mut self, branch: BranchId) {
        if let Some(open) = self.open.get_mut(&branch) {
            open.is_lent = false;
        }
    }

    pub(crate) fn get(&mut self, branch: BranchId, key: &str) -> Result<Option<V>, MemoryError> {
        let open = self.lock(branch, key)?;
        let written = open.writes.get(key).cloned();
        Ok(written.unwrap_or_else(|| self.values.get(key).cloned()))
    }

    pub(crate) fn put(&mut self, branch: BranchId, key: &str, value: Option<V>) -> Result<(), MemoryError> {
        self.lock(branch, key)?.writes.insert(key.to_owned(), value);
        Ok(())
    }

    /// A branch that is not there has lost its work, and is not prepared.
    pub(crate) fn prepare(&mut self, branch: BranchId) -> Vote {
        if self.prepared.contains_key(&branch) {
            return Vote::Yes;
        }
        match self.open.remove(&branch) {
            Some(open) if open.is_lent => {
                self.release(branch);
                Vote::No
            }
            Some(open) if open.writes.is_empty() => {
                self.release(branch);
                Vote::ReadOnly
            }
            Some(open) => {
                self.locks.retain(|key, holder| *holder != branch || open.writes.contains_key(key));
                self.prepared.insert(branch, open.writes);
                Vote::Yes
            }
            None => Vote::No,
        }
    }

    pub(crate) fn commit(&mut self, branch: BranchId) -> CommitEnd {
        if let Some(writes) = self.prepared.remove(&branch) {
            self.apply(branch, writes);
        }
        if self.committed.contains(&branch) { CommitEnd::Committed } else { CommitEnd::Lost }
    }

    pub(crate) fn commit_one_phase(&mut self, branch: BranchId) -> Decision {
        if let Some(open) = self.open.remove(&branch) {
            if open.is_lent {
                self.release(branch);
            } else {
                self.apply(branch, open.writes);
            }
        }
        if self.committed.contains(&branch) { Decision::Commit } else { Decision::Abort }
    }

    pub(crate) fn roll_back(&mut self, branch: BranchId) -> RollBackEnd {
        if self.committed.contains(&branch) {
            return RollBackEnd::Committed;
        }
        self.open.remove(&branch);
        self.prepared.remove(&branch);
        self.release(branch);
        RollBackEnd::RolledBack
    }

    pub(crate) fn recover(&self, manager: ManagerId, resource: ResourceId) -> BTreeSet<BranchId> {
        self.prepared().filter(|branch| branch.manager == manager && branch.resource == resource).collect()
    }

    pub(crate) fn forget(
        &mut self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) {
        self.committed.retain(|branch| {
            let is_own = branch.manager == manager && branch.resource == resource;
            !is_own || branch.number >= below || unfinished.contains(&branch.number)
        });
    }

    /// Loses everything that is not prepared or committed. Prepared branches keep the locks of what they wrote.
    pub(crate) fn crash(&mut self) {
        self.open.clear();
        let prepared = &self.prepared;
        self.locks.retain(|_, holder| prepared.contains_key(holder));
    }

    fn apply(&mut self, branch: BranchId, writes: Writes<V>) {
        for (key, value) in writes {
            match value {
                Some(value) => drop(self.values.insert(key, value)),
                None => drop(self.values.remove(&key)),
            }
        }
        self.committed.insert(branch);
        self.release(branch);
    }

    fn lock(&mut self, branch: BranchId, key: &str) -> Result<&mut Open<V>, MemoryError> {
        let open = self.open.get_mut(&branch).ok_or(MemoryError::Ended)?;
        match self.locks.get(key) {
            Some(holder) if *holder != branch => return Err(MemoryError::Locked { key: key.to_owned() }),
            Some(_) => {}
            None => drop(self.locks.insert(key.to_owned(), branch)),
        }
        Ok(open)
    }

    fn release(&mut self, branch: BranchId) {
        self.locks.retain(|_, holder| *holder != branch);
    }
}
