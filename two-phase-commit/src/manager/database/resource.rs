//! What the manager asks of a database, carried out by its driver.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;

use crate::{Decision, TransactionNumber, Vote};

use super::super::branch::{BranchId, ManagerId, ResourceId};
use super::super::resource::{CommitEnd, ResourceError, ResourceManager, RollBackEnd};
use super::super::session::Sessions;
use super::driver::{Driver, Finished};
use super::table::{Closed, Table};

/// A database as a resource: see the modules of the databases.
pub struct Database<D: Driver> {
    pub(in super::super) driver: D,
    table: Table<D::Connection>,
}

impl<D: Driver> Database<D> {
    pub(in super::super) fn with_driver(driver: D) -> Self {
        Self { driver, table: Table::new() }
    }

    /// A connection that is in no transaction.
    async fn connection(&self) -> Result<D::Connection, ResourceError> {
        while let Some(mut connection) = self.table.take_idle().await {
            // It may be dead, because the server was restarted.
            if self.driver.is_alive(&mut connection).await {
                return Ok(connection);
            }
        }
        self.driver.connect().await
    }

    /// Takes a connection back in which the application has worked, and which is in no transaction any more. The next
    /// user waits until it is clean, and nobody else does.
    fn give_back(&self, mut connection: D::Connection) {
        let cleaning = async move { D::clean(&mut connection).await.then_some(connection) };
        self.table.put_cleaning(tokio::spawn(cleaning));
    }

    /// Opens the branch.
    async fn open(&self, branch: BranchId) -> Result<D::Connection, ResourceError> {
        if let Some(mut connection) = self.table.take_idle().await
            && self.driver.begin(&mut connection, branch).await.is_ok()
        {
            return Ok(connection);
        }
        let mut connection = self.driver.connect().await?;
        self.driver.begin(&mut connection, branch).await?;
        Ok(connection)
    }

    /// Prepares the branch in its session. On an error the session is closed, and nothing is known.
    async fn prepare_open(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        let mut connection = self.session(branch)?;
        let vote = self.driver.prepare(&mut connection, branch).await?;
        match vote {
            Vote::Yes => self.table.put_prepared(branch, connection),
            Vote::ReadOnly | Vote::No => self.give_back(connection),
        }
        Ok(vote)
    }

    /// Commits the branch in its session. On an error the session is closed, and nothing is known.
    async fn commit_open(&self, branch: BranchId) -> Result<(), ResourceError> {
        let mut connection = self.session(branch)?;
        self.driver.commit_one_phase(&mut connection, branch).await?;
        self.give_back(connection);
        Ok(())
    }

    /// The session of a branch that is at work and not lent; the application cannot come back to it.
    fn session(&self, branch: BranchId) -> Result<D::Connection, ResourceError> {
        match self.table.close(branch) {
            Closed::Open(connection) => Ok(connection),
            Closed::Prepared(_) | Closed::Nothing => Err(ResourceError::Refused("it has no session".into())),
        }
    }

    /// Whether the branch is prepared, when no session works on it any more.
    async fn is_prepared_for_good(&self, branch: BranchId) -> Result<bool, ResourceError> {
        let mut connection = self.connection().await?;
        self.driver.end_session(&mut connection, branch).await?;
        let prepared = self.driver.is_prepared(&mut connection, branch).await?;
        self.table.put_idle(connection);
        Ok(prepared)
    }

    /// Rolls back whatever there is of the branch in the server.
    async fn roll_back_anything(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        let mut connection = self.connection().await?;
        self.driver.end_session(&mut connection, branch).await?;
        let finished = self.driver.roll_back_prepared(&mut connection, branch).await?;
        let committed = finished == Finished::NotThere && self.driver.has_row(&mut connection, branch).await?;
        self.table.put_idle(connection);
        Ok(if committed { RollBackEnd::Committed } else { RollBackEnd::RolledBack })
    }

    /// Rolls the branch back in its session. On an error the session is closed, and nothing is known.
    async fn roll_back_in_session(&self, branch: BranchId) -> Result<(), ResourceError> {
        let connection = match self.table.close(branch) {
            Closed::Open(mut connection) => {
                self.driver.roll_back_open(&mut connection, branch).await?;
                connection
            }
            Closed::Prepared(mut connection) => match self.driver.roll_back_prepared(&mut connection, branch).await? {
                Finished::Done => connection,
                Finished::NotThere => return Err(ResourceError::Refused("it is not prepared".into())),
            },
            Closed::Nothing => return Err(ResourceError::Refused("it has no session".into())),
        };
        self.give_back(connection);
        Ok(())
    }

    /// Tries to commit the prepared branch on the connection that prepared it.
    async fn commit_where_prepared(&self, branch: BranchId) -> Option<CommitEnd> {
        let mut connection = self.table.take_prepared(branch)?;
        let Ok(Finished::Done) = self.driver.commit_prepared(&mut connection, branch).await else { return None };
        self.give_back(connection);
        Some(CommitEnd::Committed)
    }
}

#[async_trait]
impl<D: Driver> ResourceManager for Database<D> {
    async fn prepare(&self, branch: BranchId) -> Result<Vote, ResourceError> {
        if let Some(vote) = self.table.vote(branch) {
            return Ok(vote);
        }
        let vote = match self.prepare_open(branch).await {
            Ok(vote) => vote,
            Err(error) => {
                tracing::info!(%branch, error = %Reasons(&error), "the branch was not prepared");
                if self.driver.is_broken(&error) {
                    self.roll_back_anything(branch).await?;
                }
                let lost_answer = !self.driver.is_name_taken(&error) && self.is_prepared_for_good(branch).await?;
                if lost_answer { Vote::Yes } else { Vote::No }
            }
        };
        self.table.put_vote(branch, vote);
        Ok(vote)
    }

    async fn commit(&self, branch: BranchId) -> Result<CommitEnd, ResourceError> {
        if let Some(end) = self.commit_where_prepared(branch).await {
            return Ok(end);
        }
        let mut connection = self.connection().await?;
        // A session that still is in the middle of preparing the branch keeps others from finishing it.
        self.driver.end_session(&mut connection, branch).await?;
        let finished = self.driver.commit_prepared(&mut connection, branch).await?;
        let committed = finished == Finished::Done || self.driver.has_row(&mut connection, branch).await?;
        self.table.put_idle(connection);
        Ok(match self.table.vote(branch) {
            _ if committed => CommitEnd::Committed,
            Some(Vote::Yes) => CommitEnd::RolledBack,
            _ => CommitEnd::Lost,
        })
    }

    async fn commit_one_phase(&self, branch: BranchId) -> Result<Decision, ResourceError> {
        if let Some(decision) = self.table.decision(branch) {
            return Ok(decision);
        }
        let decision = match self.commit_open(branch).await {
            Ok(()) => Decision::Commit,
            Err(error) => {
                tracing::info!(%branch, error = %Reasons(&error), "it is to be found out how the branch ended");
                match self.roll_back_anything(branch).await? {
                    RollBackEnd::Committed => Decision::Commit,
                    RollBackEnd::RolledBack => Decision::Abort,
                }
            }
        };
        self.table.put_decision(branch, decision);
        Ok(decision)
    }

    /// A branch that voted no or read-only has nothing here: if there is one of its name, somebody else has made it.
    async fn roll_back(&self, branch: BranchId) -> Result<RollBackEnd, ResourceError> {
        if matches!(self.table.vote(branch), Some(Vote::No | Vote::ReadOnly)) {
            return Ok(RollBackEnd::RolledBack);
        }
        match self.roll_back_in_session(branch).await {
            Ok(()) => Ok(RollBackEnd::RolledBack),
            Err(_) => self.roll_back_anything(branch).await,
        }
    }

    async fn recover(&self, manager: ManagerId, resource: ResourceId) -> Result<BTreeSet<BranchId>, ResourceError> {
        let mut connection = self.connection().await?;
        self.driver.end_strangers(&mut connection, manager, resource).await?;
        let mut branches = BTreeSet::new();
        for branch in self.driver.prepared_branches(&mut connection).await? {
            if (branch.manager, branch.resource) == (manager, resource) {
                self.table.put_vote(branch, Vote::Yes);
                branches.insert(branch);
            }
        }
        self.table.put_idle(connection);
        Ok(branches)
    }

    async fn forget(
        &self,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        self.table.forget(manager, resource, below, unfinished);
        let mut connection = self.connection().await?;
        self.driver.forget(&mut connection, manager, resource, below, unfinished).await?;
        self.table.put_idle(connection);
        Ok(())
    }
}

#[async_trait]
impl<D: Driver> Sessions for Database<D> {
    type Session = D::Session;

    async fn begin(&self, branch: BranchId) -> Result<D::Session, ResourceError> {
        self.table.open(branch);
        Ok(self.open(branch).await?.into())
    }

    fn resume(&self, branch: BranchId) -> Option<D::Session> {
        self.table.resume(branch).map(Into::into)
    }

    fn suspend(&self, branch: BranchId, session: D::Session) {
        self.table.suspend(branch, session.into());
    }
}

impl<D: Driver> fmt::Debug for Database<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// An error with its sources.
struct Reasons<'a>(&'a dyn std::error::Error);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reason = Some(self.0);
        while let Some(error) = reason {
            write!(f, "{error}")?;
            reason = error.source();
            if reason.is_some() {
                f.write_str(": ")?;
            }
        }
        Ok(())
    }
}
