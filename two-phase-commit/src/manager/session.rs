//! Sessions: the client of a resource, lent to the application for the work of one branch.

use async_trait::async_trait;

use super::branch::BranchId;
use super::resource::{ResourceError, ResourceManager};

/// A resource whose work is done in sessions, such as the connections of a database.
///
/// A session is lent to the application as long as it works, and is kept by the resource in between, in a table of open
/// branches. [`ResourceManager::prepare`], [`ResourceManager::commit_one_phase`] and [`ResourceManager::roll_back`]
/// take it out of the table. If they find that the application still has it, they do not wait: to prepare is then
/// [`Vote::No`](crate::Vote::No), and to roll back is [`ResourceError::Busy`] until the session is back, unless the
/// resource can end it from outside.
///
/// A manager makes no two calls for a branch at a time, [`begin`](Sessions::begin) included, and calls `begin` at most
/// once for a branch, before any other call.
#[async_trait]
pub trait Sessions: ResourceManager {
    /// The client in which the application works. Its methods may need `&self` or `&mut self`.
    type Session: Send + 'static;

    /// Opens the branch and returns its session. If the future is dropped, the next call for the branch is
    /// [`ResourceManager::roll_back`].
    ///
    /// # Errors
    /// When there is no session. The branch is then rolled back.
    async fn begin(&self, branch: BranchId) -> Result<Self::Session, ResourceError>;

    /// Takes the session of an open branch out of the table; `None` if it is not there: it is lent, or the branch has
    /// ended.
    fn resume(&self, branch: BranchId) -> Option<Self::Session>;

    /// Takes the session back. It is in the table afterwards, unless the branch has ended meanwhile: then the session
    /// is closed, and nothing of its work may take effect.
    fn suspend(&self, branch: BranchId, session: Self::Session);
}
