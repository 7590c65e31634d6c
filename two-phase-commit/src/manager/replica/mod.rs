//! A replicated state machine as a resource: its branches survive as long as a majority of its nodes.
//!
//! [`Branched`] makes a state machine with branches out of one of yours ([`BranchState`]). It runs on any replicated
//! log. Prepare, commit and roll back are commands of that log, so every replica holds the same prepared branches and
//! the same locks, and they are part of its snapshots.

mod codec;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use quorate_protocol::ReplicatedLog;
use quorate_runtime::group::Hostable;
use quorate_runtime::{Outcome, ReplicaHandle};

use super::{BranchId, CommitEnd, ManagerId, ResourceError, ResourceId, ResourceManager, RollBackEnd, Sessions};
use crate::{Decision, TransactionNumber, Vote};
use codec::{Command, Response};

pub use codec::{UnknownResponse, work_outside};
pub use state::{BranchState, Branched, BranchedSnapshot, OutsideEnd};

/// A replicated state machine as a resource of a manager. Clones are handles of the same resource.
///
/// The work of a branch is one command of the state machine, which its session holds until the transaction commits.
pub struct Replicated<L, S: BranchState> {
    replica: ReplicaHandle<L, Branched<S>>,
    open: Arc<Mutex<BTreeMap<BranchId, Open>>>,
}

/// A branch at work in this process.
#[derive(Clone, Debug, Default)]
struct Open {
    work: Option<Bytes>,
    is_lent: bool,
}

/// The client of a [`Replicated`] for one branch.
pub struct ReplicatedSession<L, S: BranchState> {
    resource: Replicated<L, S>,
    branch: BranchId,
}

impl<L: ReplicatedLog + Hostable, S: BranchState> Replicated<L, S> {
    /// A resource on this replica. Its calls end after the time-out of the handle, and are then repeated by the
    /// manager.
    #[must_use]
    pub fn new(replica: ReplicaHandle<L, Branched<S>>) -> Self {
        Self { replica, open: Arc::default() }
    }

    /// The replica.
    pub fn replica(&self) -> &ReplicaHandle<L, Branched<S>> {
        &self.replica
    }

    /// Does work outside of any transaction.
    ///
    /// # Errors
    /// When it is unknown whether the work was done, or it was not proposed.
    pub async fn work_outside(&self, work: &[u8]) -> Result<OutsideEnd, ResourceError> {
        match self.execute(&Command::Outside { work: Bytes::copy_from_slice(work) }).await? {
            Response::Outside(end) => Ok(end),
            other => Err(odd(&other)),
        }
    }

    /// Carries out a command. Each may be carried out more than once.
    async fn execute(&self, command: &Command) -> Result<Response, ResourceError> {
        match self.replica.propose(command.encode()).await {
            Outcome::Applied(response) => {
                Response::decode(response).map_err(|error| ResourceError::Refused(error.into()))
            }
            Outcome::NotApplied(reason) => Err(ResourceError::Unavailable(format!("not applied: {reason:?}").into())),
            Outcome::Unknown { reason, .. } => Err(ResourceError::Unavailable(format!("unknown: {reason:?}").into())),
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<BranchId, Open>> {
        // No method panics while it changes the table.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a branch at work out of the table. `None` if it is not there; its work is none if the application did
    /// nothing, or still has the session.
    fn take(&self, branch: BranchId) -> Option<Open> {
        self.table().remove(&branch)
    }
}

impl<L: ReplicatedLog + Hostable, S: BranchState> ReplicatedSession<L, S> {
    /// Sets the work of the branch, in place of earlier work. It is done when the transaction commits. The vote tells
    /// whether it could be prepared now; that may change until the transaction commits.
    ///
    /// # Errors
    /// When the state could not be read. The work is not set.
    pub async fn work(&self, work: impl Into<Bytes>) -> Result<Vote, ResourceError> {
        let work = work.into();
        let asked = work.clone();
        let vote = self.resource.replica.read(move |state, at| state.would_vote(at.log_time, &asked)).await;
        let vote = vote.map_err(|error| ResourceError::Unavailable(Box::new(error)))?;
        self.set_work(work);
        Ok(vote)
    }

    /// As [`ReplicatedSession::work`], without asking whether it could be prepared.
    pub fn set_work(&self, work: impl Into<Bytes>) {
        if let Some(open) = self.resource.table().get_mut(&self.branch) {
            open.work = Some(work.into());
        }
    }

    /// The replica, for reads. What they return is not locked: put what the work depends on into the work, and check it
    /// in [`BranchState::vote`].
    pub fn replica(&self) -> &ReplicaHandle<L, Branched<S>> {
        &self.resource.replica
    }
}

#[async_trait]
impl<L: ReplicatedLog + Hostable, S: BranchState> ResourceManager for Replicated<L, S> {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        // It stays in the table, because this may be asked again.
        let open = self.table().get(&branch).cloned();
        let work = match open {
            Some(Open { is_lent: true, .. }) | None => None,
            Some(Open { work: None, .. }) => {
                self.take(branch);
                return Ok(Vote::ReadOnly);
            }
            Some(Open { work, .. }) => work,
        };
        match self.execute(&Command::Prepare { branch, work }).await? {
            Response::Voted(vote) => Ok(vote),
            other => Err(odd(&other)),
        }
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        match self.execute(&Command::Commit { branch }).await? {
            Response::Committed(end) => {
                self.take(branch);
                Ok(end)
            }
            other => Err(odd(&other)),
        }
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        let open = self.table().get(&branch).filter(|open| !open.is_lent).cloned();
        let (is_here, work) = (open.is_some(), open.and_then(|open| open.work));
        if is_here && work.is_none() {
            self.take(branch);
            return Ok(Decision::Commit);
        }
        match self.execute(&Command::CommitOnePhase { branch, work }).await? {
            Response::Decided(decision) => {
                self.take(branch);
                Ok(decision)
            }
            other => Err(odd(&other)),
        }
    }

    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        self.take(branch);
        match self.execute(&Command::RollBack { branch }).await? {
            Response::RolledBack(end) => Ok(end),
            other => Err(odd(&other)),
        }
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        let listed = self.replica.read(move |state, _| state.prepared_of(manager, resource)).await;
        listed.map_err(|error| ResourceError::Unavailable(Box::new(error)))
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        let command = Command::Forget { manager, resource, below, unfinished: unfinished.clone() };
        self.execute(&command).await.map(|_| ())
    }
}

#[async_trait]
impl<L: ReplicatedLog + Hostable, S: BranchState> Sessions for Replicated<L, S> {
    type Session = ReplicatedSession<L, S>;

    async fn begin(&self, branch: BranchId) -> Result<ReplicatedSession<L, S>, ResourceError> {
        self.table().insert(branch, Open { work: None, is_lent: true });
        Ok(ReplicatedSession { resource: self.clone(), branch })
    }

    fn resume(&self, branch: BranchId) -> Option<ReplicatedSession<L, S>> {
        let mut table = self.table();
        let open = table.get_mut(&branch).filter(|open| !open.is_lent)?;
        open.is_lent = true;
        Some(ReplicatedSession { resource: self.clone(), branch })
    }

    fn suspend(&self, branch: BranchId, _session: ReplicatedSession<L, S>) {
        if let Some(open) = self.table().get_mut(&branch) {
            open.is_lent = false;
        }
    }
}

impl<L, S: BranchState> Clone for Replicated<L, S> {
    fn clone(&self) -> Self {
        Self { replica: self.replica.clone(), open: self.open.clone() }
    }
}

impl<L, S: BranchState> fmt::Debug for Replicated<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicated").finish_non_exhaustive()
    }
}

impl<L, S: BranchState> fmt::Debug for ReplicatedSession<L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedSession").field("branch", &self.branch).finish_non_exhaustive()
    }
}

fn odd(response: &Response) -> ResourceError {
    ResourceError::Refused(format!("the state machine answered another question: {response:?}").into())
}
