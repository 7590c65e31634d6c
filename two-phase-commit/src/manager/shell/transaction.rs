//! A transaction in the hands of the application.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use super::ballot::Ballot;
use super::calls::Subject;
use super::error::EnlistError;
use super::handle::Manager;
use super::resource::Resource;
use super::shared::Known;
use crate::manager::core::{self, Ended, ManagerCommand};
use crate::manager::{BranchId, ResourceId, ResourceManager, Sessions, TransactionName};
use crate::{TransactionNumber, TransactionRefusal, Unready};

/// A transaction. Dropping it aborts it.
pub struct Transaction {
    manager: Manager,
    number: TransactionNumber,
    known: watch::Receiver<Known>,
    /// The resources that were enlisted, and whether their branch was opened.
    enlisted: Mutex<BTreeMap<ResourceId, bool>>,
    is_finished: bool,
}

/// Outcome of a transaction.
#[derive(Debug)]
#[must_use = "a transaction may be aborted or in doubt"]
pub enum Outcome {
    /// Every resource has committed, or will when it can be reached.
    Committed,
    /// The transaction is committed, and these resources did not follow: they lost their branch, or somebody else
    /// rolled it back. An operator must repair them: see [`Manager::forget`].
    Mixed {
        /// The names of the resources.
        without: BTreeSet<String>,
    },
    /// No work of the transaction takes effect.
    Aborted(AbortReason),
    /// It is not known yet whether the transaction is committed: the only resource does not answer, the manager has
    /// stopped, or another node takes it over.
    InDoubt(Unresolved),
}

/// Reason why a transaction was aborted. Resources are named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbortReason {
    /// The application asked for it.
    Asked,
    /// The deadline of the transaction passed before it was decided.
    Deadline,
    /// Not every resource prepared its branch within `vote_timeout`.
    Late,
    /// This resource could not prepare its branch.
    Refused(String),
    /// The decision could not be written: the disk of the log is full.
    NotWritten,
    /// The commit was not begun, for this reason.
    NotBegun(TransactionRefusal),
    /// This resource did not accept a branch.
    Unready(String, Unready),
    /// Another node has taken the manager over, and the transaction was not decided before.
    TakenOver,
}

/// A transaction whose outcome is not known yet.
pub struct Unresolved {
    manager: Manager,
    number: TransactionNumber,
    known: watch::Receiver<Known>,
}

/// The session of a branch, lent to the application. Dropping it gives it back to the resource, which the transaction
/// needs before it commits.
pub struct Enlisted<'a, R: Sessions> {
    session: Option<R::Session>,
    branch: BranchId,
    resource: &'a Resource<R>,
}

impl Transaction {
    pub(super) fn new(manager: Manager, number: TransactionNumber, known: watch::Receiver<Known>) -> Self {
        Self { manager, number, known, enlisted: Mutex::default(), is_finished: false }
    }

    /// The name of the transaction, for logs, and to ask for the outcome later.
    pub fn name(&self) -> TransactionName {
        TransactionName { manager: self.manager.id(), number: self.number }
    }

    /// Enlists a resource and lends its session; the second time, the same session. Work in the session is part of the
    /// transaction. The session borrows the transaction, so that it is given back before the commit.
    ///
    /// # Errors
    /// When the session is lent already, the branch has ended, or the resource gives no session.
    pub async fn enlist<'a, R: Sessions>(&'a self, resource: &'a Resource<R>) -> Result<Enlisted<'a, R>, EnlistError> {
        let branch = self.branch_of(resource)?;
        let is_open = self.lock().insert(resource.id(), true);
        let session = match is_open {
            Some(true) if *self.known.borrow() != Known::Undecided => return Err(EnlistError::Ended),
            Some(true) => resource.get().resume(branch).ok_or(EnlistError::Lent)?,
            Some(false) | None => self.begin(resource, branch).await?,
        };
        Ok(Enlisted { session: Some(session), branch, resource })
    }

    /// Enlists a resource without a session, whose work the application does itself under the name of the branch.
    ///
    /// # Errors
    /// When the manager was opened without the resource, or has stopped.
    pub fn branch<R: ResourceManager>(&self, resource: &Resource<R>) -> Result<BranchId, EnlistError> {
        let branch = self.branch_of(resource)?;
        if !self.lock().contains_key(&resource.id()) {
            self.post_enlist(resource.id())?;
            self.lock().entry(resource.id()).or_insert(false);
        }
        Ok(branch)
    }

    /// Commits the transaction: every resource prepares its branch, then the decision is forced to the log, then every
    /// resource commits.
    ///
    /// This returns when each resource was asked once to commit, so that the caller sees its own work. A resource that
    /// cannot be reached then commits later, and is asked until it has. *Other readers may see the commit of one
    /// resource before that of another*: between the two, a reader of both sees a part of the transaction, unless it
    /// takes locks that wait for prepared branches (`SELECT ... FOR UPDATE`, or serializable isolation in all
    /// resources).
    ///
    /// Dropping the future after its first poll loses only the answer.
    pub async fn commit(mut self) -> Outcome {
        self.is_finished = true;
        let enlisted: Vec<ResourceId> = self.lock().keys().copied().collect();
        let shared = self.manager.inner();
        match enlisted.len() {
            // The only resource decides, and is not asked to prepare.
            0 | 1 => shared.post_commit(self.number, enlisted.into_iter().map(|resource| (resource, None)).collect()),
            _ if *self.known.borrow() != Known::Undecided => {}
            _ => Ballot::hold(shared, self.number, enlisted),
        }
        self.ended().await
    }

    /// Rolls the transaction back. Dropping it has the same effect, without waiting for it.
    pub async fn roll_back(mut self) -> Outcome {
        self.abort();
        self.ended().await
    }

    async fn ended(&mut self) -> Outcome {
        let unresolved = Unresolved { manager: self.manager.clone(), number: self.number, known: self.known.clone() };
        let is_told = |known: &Known| *known != Known::Undecided;
        let known = self.known.wait_for(is_told).await.map_or(Known::InDoubt, |known| known.clone());
        match known {
            Known::Ended(ended) => outcome(&self.manager, ended),
            Known::Undecided | Known::InDoubt => Outcome::InDoubt(unresolved),
        }
    }

    fn abort(&mut self) {
        self.is_finished = true;
        self.manager.inner().post(ManagerCommand::Abort { transaction: self.number });
    }

    /// Opens a branch: first the call is in its place, so that nothing else is asked of the resource at the same time,
    /// then the core learns of the branch.
    async fn begin<R: Sessions>(&self, resource: &Resource<R>, branch: BranchId) -> Result<R::Session, EnlistError> {
        let (sender, receiver) = oneshot::channel();
        let shared = resource.shared();
        let call = async move {
            // The caller may have dropped its future: then the session is given back, and rolled back in time.
            if let Err(Ok(session)) = sender.send(shared.begin(branch).await) {
                shared.suspend(branch, session);
            }
        };
        self.manager.inner().calls.make(Subject::Branch(branch), call);
        if let Err(error) = self.post_enlist(resource.id()) {
            // Nobody else rolls it back.
            let shared = resource.shared();
            self.manager.inner().calls.make(Subject::Branch(branch), async move {
                if let Ok(Ok(session)) = receiver.await {
                    shared.suspend(branch, session);
                }
                // What fails here ends with the session.
                let _ = shared.roll_back(branch).await;
            });
            return Err(error);
        }
        match receiver.await {
            Ok(begun) => Ok(begun?),
            // Another call for the branch ended this one: the transaction has ended.
            Err(_) => Err(EnlistError::Ended),
        }
    }

    fn post_enlist(&self, resource: ResourceId) -> Result<(), EnlistError> {
        self.manager.inner().post_enlist(self.number, resource)
    }

    fn branch_of<R: ResourceManager>(&self, resource: &Resource<R>) -> Result<BranchId, EnlistError> {
        let manager = self.manager.inner();
        if !manager.resources.contains_key(&resource.id()) {
            return Err(EnlistError::Unknown(resource.name().to_owned()));
        }
        Ok(BranchId { manager: manager.id, number: self.number, resource: resource.id() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ResourceId, bool>> {
        self.enlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.is_finished {
            self.abort();
        }
    }
}

impl Unresolved {
    /// The name of the transaction, to ask for its outcome from another process or after a restart.
    pub fn name(&self) -> TransactionName {
        TransactionName { manager: self.manager.id(), number: self.number }
    }

    /// Waits until the outcome is known. On a replicated log that is soon after another node has taken over, as far as
    /// this node learns of it. If the manager stops first, the transaction is returned; its outcome can be asked of the
    /// manager's next start, or of another node.
    pub async fn outcome(mut self) -> Outcome {
        let is_ended = |known: &Known| matches!(known, Known::Ended(_));
        let known = self.known.wait_for(is_ended).await.map(|known| known.clone());
        match known {
            Ok(Known::Ended(ended)) => outcome(&self.manager, ended),
            _ => Outcome::InDoubt(self),
        }
    }
}

impl<R: Sessions> Deref for Enlisted<'_, R> {
    type Target = R::Session;

    fn deref(&self) -> &R::Session {
        self.session.as_ref().expect("given back only when dropped")
    }
}

impl<R: Sessions> DerefMut for Enlisted<'_, R> {
    fn deref_mut(&mut self) -> &mut R::Session {
        self.session.as_mut().expect("given back only when dropped")
    }
}

impl<R: Sessions> Drop for Enlisted<'_, R> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.resource.get().suspend(self.branch, session);
        }
    }
}

fn outcome(manager: &Manager, ended: Ended) -> Outcome {
    let name = |resource: ResourceId| manager.inner().name_of(resource);
    match ended {
        Ended::Committed { without } if without.is_empty() => Outcome::Committed,
        Ended::Committed { without } => Outcome::Mixed { without: without.into_iter().map(name).collect() },
        Ended::Aborted(reason) => Outcome::Aborted(match reason {
            core::AbortReason::Asked => AbortReason::Asked,
            core::AbortReason::Deadline => AbortReason::Deadline,
            core::AbortReason::Late => AbortReason::Late,
            core::AbortReason::Refused(resource) => AbortReason::Refused(name(resource)),
            core::AbortReason::NotWritten => AbortReason::NotWritten,
            core::AbortReason::NotBegun(why) => AbortReason::NotBegun(why),
            core::AbortReason::Unready(resource, why) => AbortReason::Unready(name(resource), why),
            core::AbortReason::TakenOver => AbortReason::TakenOver,
        }),
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unresolved").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl<R: Sessions> fmt::Debug for Enlisted<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enlisted").field("branch", &self.branch).finish_non_exhaustive()
    }
}
