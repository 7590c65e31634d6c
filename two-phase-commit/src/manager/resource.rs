//! What a manager asks of a resource, such as a database.

use std::collections::BTreeSet;
use std::error::Error;

use async_trait::async_trait;

use super::branch::{BranchId, ManagerId, ResourceId};
use crate::{Decision, TransactionNumber, Vote};

/// A resource that can take part in an atomic commit. Object-safe, and called from many tasks.
///
/// A manager makes at most one call for a branch at a time. If a call takes too long, the manager drops its future, and
/// may then make another call for the same branch: what the dropped call began may still take effect, also later, and
/// the resource must see to it that it does no harm (it ends the session first, for example).
///
/// Every call may be repeated, also after a restart of the manager or the resource, and must then give the same answer.
/// An error never means no: it means that nothing is known, and the call is repeated later.
#[async_trait]
pub trait ResourceManager: Send + Sync + 'static {
    /// Makes the branch ready for either decision, whatever happens to the session, the manager and the resource. After
    /// [`Vote::No`] and [`Vote::ReadOnly`] the branch has left no trace, and takes no effect.
    ///
    /// # Errors
    /// When it is unknown whether the branch is prepared.
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError>;

    /// Commits a branch that was prepared. If there is none, the resource finds out by evidence whether it was
    /// committed before; it never guesses.
    ///
    /// # Errors
    /// When it is unknown whether the branch is committed.
    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError>;

    /// Commits at once a branch that was not prepared, because it is the only one of its transaction. Repeated, it
    /// finds out by evidence how the first call ended.
    ///
    /// # Errors
    /// When it is unknown whether the branch is committed.
    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError>;

    /// Rolls the branch back, whatever has been done of it: it may be at work, prepared, or unknown. Afterwards it is
    /// not there, and never will be, even if an earlier call to prepare it is still under way in the resource.
    ///
    /// # Errors
    /// When it is unknown whether the branch is rolled back.
    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError>;

    /// Lists the prepared branches of this manager in this resource, of all epochs. Branches of others are never
    /// listed.
    ///
    /// # Errors
    /// When not every branch could be listed.
    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError>;

    /// Drops the evidence of finished transactions of this manager: those below `below`, except `unfinished`. No call
    /// for them comes any more.
    ///
    /// # Errors
    /// When some evidence may still be there. That does no harm, except that it takes up room.
    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError>;
}

/// How a call to commit a prepared branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CommitEnd {
    /// The branch is committed, now or earlier.
    Committed,
    /// Somebody else rolled the branch back, although it was prepared. The transaction is committed elsewhere.
    RolledBack,
    /// The branch is not there, and there is no evidence of how it ended: the resource lost data, or was set back to an
    /// earlier state.
    Lost,
}

/// How a call to roll a branch back ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RollBackEnd {
    /// The branch took no effect, and never will.
    RolledBack,
    /// Somebody else committed the branch, although it was only prepared. The transaction is aborted elsewhere.
    Committed,
}

/// Reason why a resource does not know how a call ended, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// The resource cannot be reached now, or the connection was lost in the middle.
    #[error("the resource cannot be reached")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The resource answers, and asks to try again later: a lock is held, or the branch is still in use by its session.
    #[error("the resource is busy")]
    Busy(#[source] Box<dyn Error + Send + Sync>),
    /// The resource refuses in a way that only an operator can change, such as a missing privilege or a setting.
    #[error("the resource refuses")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}
