//! A resource in memory: values under names, with locks. For tests, examples, and state that may be lost with the
//! process.

mod store;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, RollBackEnd, Sessions};
use crate::{Decision, TransactionNumber, Vote};

pub(crate) use store::Store;

/// A resource in memory. Clones are handles of the same resource. It outlives a manager, but not its process.
///
/// A session locks each name that it reads or writes until its branch has ended. A name that another branch holds is
/// refused at once, so that no two branches wait for each other. What a manager left at work ends when its next start
/// opens a branch.
pub struct Memory<V> {
    store: Arc<Mutex<Store<V>>>,
}

/// The client of a [`Memory`] for one branch.
pub struct MemorySession<V> {
    store: Arc<Mutex<Store<V>>>,
    branch: BranchId,
}

/// Reason why a session did not do something. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Another transaction holds the name.
    #[error("another transaction holds {key:?}")]
    Locked {
        /// The name.
        key: String,
    },
    /// The branch has ended: its transaction was aborted, or the resource has crashed.
    #[error("the branch has ended")]
    Ended,
}

impl<V: Clone> Memory<V> {
    /// An empty resource.
    #[must_use]
    pub fn new() -> Self {
        Self { store: Arc::default() }
    }

    /// Sets a value outside of any transaction.
    #[must_use]
    pub fn with(self, key: &str, value: V) -> Self {
        self.lock().set_value(key.to_owned(), value);
        self
    }

    /// The committed value of a name. It waits for no lock.
    pub fn value(&self, key: &str) -> Option<V> {
        self.lock().values().get(key).cloned()
    }

    /// The names that are locked.
    pub fn locked(&self) -> BTreeSet<String> {
        self.lock().locks().keys().cloned().collect()
    }

    /// The branches that are prepared.
    pub fn prepared(&self) -> BTreeSet<BranchId> {
        self.lock().prepared().collect()
    }

    /// The committed branches of which evidence is kept.
    pub fn evidence(&self) -> BTreeSet<BranchId> {
        self.lock().evidence().clone()
    }

    /// Loses everything that is neither prepared nor committed, as a crash would.
    pub fn crash(&self) {
        self.lock().crash();
    }

    fn lock(&self) -> MutexGuard<'_, Store<V>> {
        lock(&self.store)
    }
}

impl<V: Clone> MemorySession<V> {
    /// Reads a value, and locks its name.
    ///
    /// # Errors
    /// When another transaction holds the name, or the branch has ended.
    pub fn get(&self, key: &str) -> Result<Option<V>, MemoryError> {
        lock(&self.store).get(self.branch, key)
    }

    /// Writes a value, and locks its name.
    ///
    /// # Errors
    /// When another transaction holds the name, or the branch has ended.
    pub fn put(&self, key: &str, value: V) -> Result<(), MemoryError> {
        lock(&self.store).put(self.branch, key, Some(value))
    }

    /// Removes a value, and locks its name.
    ///
    /// # Errors
    /// When another transaction holds the name, or the branch has ended.
    pub fn remove(&self, key: &str) -> Result<(), MemoryError> {
        lock(&self.store).put(self.branch, key, None)
    }
}

#[async_trait]
impl<V: Clone + Send + 'static> ResourceManager for Memory<V> {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        Ok(self.lock().prepare(branch))
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        Ok(self.lock().commit(branch))
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        Ok(self.lock().commit_one_phase(branch))
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        Ok(self.lock().roll_back(branch))
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        Ok(self.lock().recover(manager, resource))
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        self.lock().forget(manager, resource, below, unfinished);
        Ok(())
    }
}

#[async_trait]
impl<V: Clone + Send + 'static> Sessions for Memory<V> {
    type Session = MemorySession<V>;

    async fn begin(&self, branch: BranchId) -> Result<MemorySession<V>, ResourceError> {
        self.lock().begin(branch);
        Ok(MemorySession { store: self.store.clone(), branch })
    }

    fn resume(&self, branch: BranchId) -> Option<MemorySession<V>> {
        self.lock().lend(branch).then(|| MemorySession { store: self.store.clone(), branch })
    }

    fn suspend(&self, branch: BranchId, _session: MemorySession<V>) {
        self.lock().take_back(branch);
    }
}

impl<V: Clone> Default for Memory<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Memory<V> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone() }
    }
}

impl<V> fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for MemorySession<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySession").field("branch", &self.branch).finish_non_exhaustive()
    }
}

/// A panic of another thread cannot leave a store half changed: no method panics in the middle.
fn lock<V>(store: &Mutex<Store<V>>) -> MutexGuard<'_, Store<V>> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
