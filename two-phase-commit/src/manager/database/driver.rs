//! What the two databases do differently.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use crate::{TransactionNumber, Vote};

use super::super::branch::{BranchId, ManagerId, ResourceId};
use super::super::resource::ResourceError;

/// The statements of a database, for the databases of this crate alone. After an error the connection is closed.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// A connection of this resource alone.
    type Connection: Send + From<Self::Session> + 'static;
    /// A connection that is lent to the application.
    type Session: Send + From<Self::Connection> + 'static;

    /// Makes a connection that is in no transaction, and sets the database up if that was not done yet.
    async fn connect(&self) -> Result<Self::Connection, ResourceError>;

    /// Takes away what a user has set in a connection that is in no transaction. Returns false if that fails.
    async fn clean(connection: &mut Self::Connection) -> bool;

    /// Whether an idle connection can be used.
    async fn is_alive(&self, connection: &mut Self::Connection) -> bool;

    /// Opens the branch on an idle connection, in such a way that other connections can find its session until the
    /// branch is prepared or has ended.
    async fn begin(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<(), ResourceError>;

    /// Prepares the open branch, with its row; or finds that it changed nothing, and ends it.
    async fn prepare(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<Vote, ResourceError>;

    /// Commits the open branch, with its row if it changed anything.
    async fn commit_one_phase(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<(), ResourceError>;

    /// Rolls the open branch back.
    async fn roll_back_open(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<(), ResourceError>;

    /// Commits a prepared branch.
    async fn commit_prepared(
        &self,
        connection: &mut Self::Connection,
        branch: BranchId,
    ) -> Result<Finished, ResourceError>;

    /// Rolls a prepared branch back.
    async fn roll_back_prepared(
        &self,
        connection: &mut Self::Connection,
        branch: BranchId,
    ) -> Result<Finished, ResourceError>;

    /// Lists all prepared branches whose names are ours.
    async fn prepared_branches(&self, connection: &mut Self::Connection) -> Result<Vec<BranchId>, ResourceError>;

    /// Whether the branch is prepared.
    async fn is_prepared(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<bool, ResourceError>;

    /// Whether the row of the branch is there. It says no only for good if no session works on the branch, and the
    /// branch was not prepared when that was looked at, before this call: a row is seen before its branch is no longer
    /// listed.
    async fn has_row(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<bool, ResourceError>;

    /// Ends the session that works on the branch, and waits until it is gone: until then what it does may take effect.
    async fn end_session(&self, connection: &mut Self::Connection, branch: BranchId) -> Result<(), ResourceError>;

    /// Ends sessions of earlier starts of the manager that could prepare branches after those were listed.
    async fn end_strangers(
        &self,
        connection: &mut Self::Connection,
        manager: ManagerId,
        resource: ResourceId,
    ) -> Result<(), ResourceError>;

    /// Deletes the rows of finished transactions.
    async fn forget(
        &self,
        connection: &mut Self::Connection,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError>;

    /// Whether a branch was not prepared because there is a prepared one of its name. That is not this branch: nothing
    /// else opens it, and its session has not prepared it before.
    fn is_name_taken(&self, error: &ResourceError) -> bool;

    /// Whether a branch is not to be prepared, whatever became of it, because its application left its session in the
    /// middle of a statement.
    fn is_broken(&self, error: &ResourceError) -> bool;
}

/// How a statement that finishes a prepared branch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It finished the branch.
    Done,
    /// The server knows no prepared branch of this name.
    NotThere,
}

/// The wait for sessions that are to end: a pause between two looks at them, and an end.
pub(in super::super) struct Patience {
    pauses: std::slice::Iter<'static, u64>,
    sessions: &'static str,
}

impl Patience {
    /// `sessions` names them for the error.
    pub(in super::super) fn with(sessions: &'static str) -> Self {
        Self { pauses: PAUSES_MS.iter(), sessions }
    }

    /// Waits until the next look.
    ///
    /// # Errors
    /// When they have not ended after the last pause: then the branch is busy.
    pub(in super::super) async fn pause(&mut self) -> Result<(), ResourceError> {
        let Some(pause) = self.pauses.next() else {
            return Err(ResourceError::Busy(format!("{} does not end", self.sessions).into()));
        };
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        Ok(())
    }
}

/// Pauses between looks at sessions that are to end, in milliseconds.
static PAUSES_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 200, 400, 400, 600];
