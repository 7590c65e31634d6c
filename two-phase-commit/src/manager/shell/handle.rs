//! The handle of a manager.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_protocol::HaltReason;
use quorate_runtime::Stopped;

use super::builder::ManagerBuilder;
use super::error::{BeginError, OutcomeError};
use super::log::{PATIENCE, status_of};
use super::replicated::ReplicatedBuilder;
use super::shared::{CommandAnswer, Shared};
use super::transaction::Transaction;
use crate::manager::core::{ManagerCommand, ManagerStatus};
use crate::manager::{ManagerId, ResourceId, TransactionName};
use crate::{CommandId, Decision, Knowledge, TransactionRefusal};

/// A transaction manager. Cheap to clone; the log closes when the last clone and the last transaction are dropped.
///
/// The README of the crate shows it at work.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Closing>,
}

/// Closes the log when it is dropped.
struct Closing(Arc<Shared>);

impl Manager {
    /// Describes a manager with this name and the directory of its log. The directory belongs to it alone, and its loss
    /// makes another manager of it: branches that were prepared before stay until an operator ends them.
    pub fn builder(name: &str, directory: impl Into<PathBuf>) -> ManagerBuilder {
        ManagerBuilder::new(name, directory.into())
    }

    /// Describes a manager whose decision log is replicated, so that another node goes on when that of the manager
    /// dies. See [`ReplicatedBuilder`].
    pub fn replicated() -> ReplicatedBuilder {
        ReplicatedBuilder::new()
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Arc::new(Closing(shared)) }
    }

    /// Identity of the manager, as branches bear it.
    pub fn id(&self) -> ManagerId {
        self.inner().id
    }

    /// Begins a transaction, with the deadline of the settings.
    ///
    /// # Errors
    /// When too many transactions are open, the disk is full, another node serves the manager, or it has stopped.
    pub async fn begin(&self) -> Result<Transaction, BeginError> {
        self.begin_within(self.inner().timeout).await
    }

    /// Begins a transaction that is aborted unless it is decided within `timeout`.
    ///
    /// # Errors
    /// As [`Manager::begin`].
    pub async fn begin_within(&self, timeout: Duration) -> Result<Transaction, BeginError> {
        if let Some((number, known)) = self.inner().take_begun(timeout) {
            return Ok(Transaction::new(self.clone(), number, known));
        }
        match self.inner().ask(|command| ManagerCommand::Begin { command, timeout: Some(timeout) }).await {
            Some(CommandAnswer::Begun(number, known)) => Ok(Transaction::new(self.clone(), number, known)),
            Some(CommandAnswer::Refused(reason)) => Err(BeginError::Refused(reason)),
            Some(CommandAnswer::Elsewhere(leader)) => Err(BeginError::Elsewhere { leader }),
            _ => Err(BeginError::Stopped),
        }
    }

    /// The outcome of a transaction of this manager, also of an earlier start. It can be asked by its text:
    /// [`TransactionName`] implements [`FromStr`](std::str::FromStr). On a replicated log every node can be asked of
    /// transactions that were begun before the last take-over, and of committed ones.
    ///
    /// # Errors
    /// When another manager decides it, it was never begun, only the node that serves the manager knows, or it has
    /// stopped.
    pub async fn outcome(&self, transaction: TransactionName) -> Result<Knowledge, OutcomeError> {
        if transaction.manager != self.id() {
            return Err(OutcomeError::OtherManager(transaction.manager));
        }
        let query = |command| ManagerCommand::Query { command, transaction: transaction.number };
        match self.inner().ask(query).await {
            Some(CommandAnswer::Knowledge(knowledge)) => Ok(knowledge),
            Some(CommandAnswer::Refused(TransactionRefusal::Halted)) => Err(OutcomeError::Stopped),
            Some(CommandAnswer::Refused(reason)) => Err(OutcomeError::Refused(reason)),
            Some(CommandAnswer::Elsewhere(leader)) => self.inner().outcome_elsewhere(transaction.number, leader).await,
            _ => Err(OutcomeError::Stopped),
        }
    }

    /// The state of the manager: what is in doubt, and what is stuck and why. `None` if the manager has stopped, or
    /// another node serves it.
    pub async fn status(&self) -> Option<ManagerStatus> {
        status_of(&self.inner().node, self.inner().group).await
    }

    /// Waits until the manager has stopped by itself, and returns the reason: its log has failed, or a resource has
    /// branches of a later start of this manager. `None` if it was closed.
    pub async fn stopped(&self) -> Option<HaltReason> {
        self.inner().node.halted(self.inner().group).await.ok()
    }

    /// An operator has dealt with a transaction that a branch did not follow (`hazards` of [`Manager::status`]). The
    /// manager keeps it no longer, and its outcome is told as it was decided.
    ///
    /// # Errors
    /// When there is nothing of the kind, or the manager has stopped.
    pub async fn forget(&self, transaction: TransactionName) -> Result<(), OutcomeError> {
        let number = transaction.number;
        self.operate(transaction, |command| ManagerCommand::Forget { command, transaction: number }).await
    }

    /// A resource will never commit its branch of a committed transaction (`in_doubt` of [`Manager::status`]), as an
    /// operator says, for example because it is gone. The manager no longer waits for it in this start, and never again
    /// once every other resource of the transaction has committed or is released. A branch that is still prepared there
    /// is rolled back if the resource lists it after the transaction was forgotten: look first.
    ///
    /// # Errors
    /// When the manager does not wait for such a branch, or has stopped.
    pub async fn release(&self, transaction: TransactionName, resource: ResourceId) -> Result<(), OutcomeError> {
        let number = transaction.number;
        self.operate(transaction, |command| ManagerCommand::Release { command, transaction: number, resource }).await
    }

    /// An operator has found out how the only resource of a transaction ended its branch (`in_doubt` of
    /// [`Manager::status`], where `is_committed` is false), and says so in its place, because the resource will never
    /// answer. A wrong word makes the manager tell a wrong outcome for ever.
    ///
    /// # Errors
    /// When the manager does not wait for such a decision, or has stopped.
    pub async fn resolve(&self, transaction: TransactionName, decision: Decision) -> Result<(), OutcomeError> {
        let number = transaction.number;
        self.operate(transaction, |command| ManagerCommand::Resolve { command, transaction: number, decision }).await
    }

    /// Stops the manager. Transactions that are not decided are aborted, and their branches rolled back, as far as that
    /// takes at most five seconds; the rest is left to its next start. When this returns [`Stopped::InOrder`], the
    /// directory of the log is free. Without it, a process that ends leaves all of this to its next start.
    ///
    /// On a replicated log the node and its share of the log go on: shut the node down next, which hands the manager
    /// over.
    pub async fn close(&self) -> Stopped {
        let shared = self.inner();
        // What takes longer is ended by the next start.
        let _ = tokio::time::timeout(CLOSING_TIME, shared.abort_all()).await;
        // What the core has not heard yet is written before it stops.
        let _ = shared.inbox.call();
        if shared.replicated.is_some() {
            return Stopped::InOrder;
        }
        let stopped = shared.node.shutdown(PATIENCE).await;
        shared.close();
        stopped
    }

    async fn operate(
        &self,
        transaction: TransactionName,
        command: impl FnOnce(CommandId) -> ManagerCommand,
    ) -> Result<(), OutcomeError> {
        if transaction.manager != self.id() {
            return Err(OutcomeError::OtherManager(transaction.manager));
        }
        match self.inner().ask(command).await {
            Some(CommandAnswer::Done) => Ok(()),
            Some(CommandAnswer::Refused(reason)) => Err(OutcomeError::Refused(reason)),
            Some(CommandAnswer::Elsewhere(leader)) => Err(OutcomeError::Elsewhere { leader }),
            _ => Err(OutcomeError::Stopped),
        }
    }

    pub(super) fn inner(&self) -> &Arc<Shared> {
        &self.shared.0
    }
}

/// Time within which a manager that is closed aborts its transactions.
const CLOSING_TIME: Duration = Duration::from_secs(5);

impl Drop for Closing {
    fn drop(&mut self) {
        // The node of a replicated log is the program's.
        if self.0.replicated.is_some() {
            return;
        }
        let node = self.0.node.clone();
        self.0.close();
        let mut shutdown = Box::pin(async move { node.shutdown(PATIENCE).await });
        // The request is made when the future is first polled. Nobody waits for its end.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = shutdown.as_mut().poll(&mut context);
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("id", &self.id()).finish_non_exhaustive()
    }
}
