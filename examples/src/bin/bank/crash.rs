//! A resource that ends the process at a chosen point.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quorate_two_phase_commit::manager::{
    BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, RollBackEnd, Sessions,
};
use quorate_two_phase_commit::{Decision, TransactionNumber, Vote};

use super::CrashAfter;

/// When the process is to be aborted.
pub(crate) struct Bomb {
    after: Option<CrashAfter>,
    is_armed: AtomicBool,
    /// Transactions with one prepared branch.
    prepared: Mutex<BTreeSet<TransactionNumber>>,
}

impl Bomb {
    pub(crate) fn new(after: Option<CrashAfter>) -> Arc<Self> {
        Arc::new(Self { after, is_armed: AtomicBool::new(false), prepared: Mutex::default() })
    }

    /// From now on the chosen point ends the process.
    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_there(&self) -> bool {
        self.after.is_some()
    }

    /// Whether the other branch of the transaction is prepared already.
    fn is_second(&self, transaction: TransactionNumber) -> bool {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let is_second = prepared.remove(&transaction);
        if !is_second {
            prepared.insert(transaction);
        }
        is_second
    }

    fn reach(&self, point: CrashAfter) {
        if self.after == Some(point) && self.is_armed.load(Ordering::SeqCst) {
            println!("crash: {point:?}");
            std::process::abort();
        }
    }
}

/// A resource whose calls pass the points of a [`Bomb`].
pub(crate) struct Crashing<R> {
    pub(crate) resource: R,
    bomb: Arc<Bomb>,
}

impl<R> Crashing<R> {
    pub(crate) fn new(resource: R, bomb: &Arc<Bomb>) -> Self {
        Self { resource, bomb: Arc::clone(bomb) }
    }
}

#[async_trait]
impl<R: ResourceManager> ResourceManager for Crashing<R> {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        let vote = self.resource.prepare(branch).await;
        if matches!(vote, Ok(Vote::Yes)) && self.bomb.is_second(branch.number) {
            self.bomb.reach(CrashAfter::Prepare);
        }
        vote
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        self.bomb.reach(CrashAfter::Decision);
        let end = self.resource.commit(branch).await;
        if matches!(end, Ok(CommitEnd::Committed)) {
            self.bomb.reach(CrashAfter::FirstCommit);
        }
        end
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        self.resource.commit_one_phase(branch).await
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        self.resource.roll_back(branch).await
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        self.resource.recover(manager, resource).await
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        self.resource.forget(manager, resource, below, unfinished).await
    }
}

#[async_trait]
impl<R: Sessions> Sessions for Crashing<R> {
    type Session = R::Session;

    async fn begin(&self, branch: BranchId) -> Result<R::Session, ResourceError> {
        self.resource.begin(branch).await
    }

    fn resume(&self, branch: BranchId) -> Option<R::Session> {
        self.resource.resume(branch)
    }

    fn suspend(&self, branch: BranchId, session: R::Session) {
        self.resource.suspend(branch, session);
    }
}
