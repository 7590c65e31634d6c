//! Errors of a manager, one type for each operation.

use quorate_protocol::NodeId;
use quorate_runtime::ServerOpenError;

use crate::manager::{ManagerId, ResourceError};
use crate::{ConfigError, TransactionRefusal};

/// Reason why a manager cannot be opened. Nothing was changed in any resource.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name of a resource is empty or longer than 64 bytes.
    #[error("the name {0:?} of a resource has not 1 to 64 bytes")]
    Name(String),
    /// Two resources have the same name, or names with the same id.
    #[error("two resources have the name {0:?} or its id")]
    Repeated(String),
    /// The settings contradict each other.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The log is in use by another process, belongs to another manager, or is damaged.
    #[error(transparent)]
    Log(#[from] ServerOpenError),
    /// The node of the log ended before the log was open.
    #[error("the node of the log has ended")]
    Ended,
    /// The replicated log has no content that a manager of this version can read.
    #[error("the replicated log cannot be read: {0}")]
    Content(String),
}

/// Reason why a transaction was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The manager does not accept work now. The reason says whether to try again.
    #[error("the manager accepts no transaction now: {0:?}")]
    Refused(TransactionRefusal),
    /// Another node serves the manager: begin there.
    #[error("another node serves the manager")]
    Elsewhere {
        /// The node that serves it or is about to, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The manager has stopped.
    #[error("the manager has stopped")]
    Stopped,
}

/// Reason why a resource was not enlisted. The transaction goes on without it, unless it has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnlistError {
    /// The manager was opened without a resource of this name.
    #[error("the manager does not know the resource {0:?}")]
    Unknown(String),
    /// The session of this resource is lent already: drop it first.
    #[error("the session of this resource is lent already")]
    Lent,
    /// The branch has ended: the deadline of the transaction has passed, the resource has lost the branch, or another
    /// node has taken the manager over.
    #[error("the branch has ended")]
    Ended,
    /// The manager has stopped, or too many calls wait for it.
    #[error("the manager has stopped, or too many calls wait for it")]
    Stopped,
    /// The resource gave no session. The transaction cannot be committed any more, and is aborted by a commit.
    #[error("the resource gave no session: {0}")]
    Resource(#[from] ResourceError),
}

/// Reason why the outcome of a transaction is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// Another manager decides the transaction.
    #[error("the transaction belongs to manager {0}")]
    OtherManager(ManagerId),
    /// The manager cannot tell now, or the transaction was never begun.
    #[error("the manager does not tell: {0:?}")]
    Refused(TransactionRefusal),
    /// Another node serves the manager: ask there. It is not known whether what was asked for is done.
    #[error("another node serves the manager")]
    Elsewhere {
        /// The node that serves it or is about to, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The manager has stopped: ask again after its next start.
    #[error("the manager has stopped")]
    Stopped,
}
