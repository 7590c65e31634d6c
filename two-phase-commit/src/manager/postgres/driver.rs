//! The statements that end branches, and the evidence of how they ended.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use async_trait::async_trait;
use tokio_postgres::error::SqlState;

use crate::{TransactionNumber, Vote};

use super::super::branch::{BranchId, ManagerId, ResourceId};
use super::super::database::{Driver, Finished, Patience, Row, branch_lock, branch_of_gid, gid, number, owner_lock};
use super::super::resource::ResourceError;
use super::connection::{CLEAN, Connection, name_is_taken, resource_error};
use super::resource::PostgresDriver;
use super::session::PostgresSession;
use super::set_up::{PostgresSetUpError, set_up};

/// The name of the setting that says which branch a transaction is.
const BRANCH_SETTING: &str = "quorate.branch";

/// How an open branch was ended.
enum Work {
    /// It has changed something, and was ended as was asked.
    Written,
    /// It has changed nothing, and nothing of it is left.
    ReadOnly,
}

#[async_trait]
impl Driver for PostgresDriver {
    type Connection = Connection;
    type Session = PostgresSession;

    async fn connect(&self) -> Result<Connection, ResourceError> {
        let connection = Connection::new(&self.connect, &self.processes).await.map_err(resource_error)?;
        self.ready.get_or_try_init(|| set_up(&connection, &self.schema)).await.map_err(|error| match error {
            PostgresSetUpError::Database(error) => resource_error(error),
            error => ResourceError::Refused(Box::new(error)),
        })?;
        Ok(connection)
    }

    async fn clean(connection: &mut Connection) -> bool {
        connection.run(CLEAN).await.is_ok()
    }

    async fn is_alive(&self, connection: &mut Connection) -> bool {
        connection.run("").await.is_ok()
    }

    /// The locks show which session works on the branch, and outlive the memory of the manager. They are taken in a
    /// transaction before the branch's: that has no snapshot yet, so that the application can choose its isolation.
    async fn begin(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let (lock, owner) = (branch_lock(branch), owner_lock(branch.manager, branch.resource));
        let begin = format!(
            "BEGIN; SELECT pg_try_advisory_lock({lock}), pg_advisory_lock_shared({owner}); COMMIT; \
             BEGIN; SET LOCAL {BRANCH_SETTING} = '{}'",
            gid(branch)
        );
        let rows = connection.rows(&begin).await.map_err(resource_error)?;
        match rows.first().and_then(|row| row.get(0)) {
            Some("t") => Ok(()),
            _ => Err(ResourceError::Busy("an earlier session works on the branch".into())),
        }
    }

    /// `PREPARE TRANSACTION` in a failed transaction says `ROLLBACK` and is no error, and the client does not show it:
    /// the statements in front of it, in one message, are what fails. Until the branch is committed on this connection,
    /// the settings of its user are not in force.
    async fn prepare(&self, connection: &mut Connection, branch: BranchId) -> Result<Vote, ResourceError> {
        let end = format!("PREPARE TRANSACTION '{}'; RESET ALL", gid(branch));
        Ok(match self.end_with(connection, branch, &end).await? {
            Work::Written => Vote::Yes,
            Work::ReadOnly => Vote::ReadOnly,
        })
    }

    /// The statements in front of the commit are what fails where the commit would roll back in silence. A commit that
    /// the application wants to be lazy waits for the disk all the same.
    async fn commit_one_phase(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let end = "SELECT set_config('synchronous_commit', 'on', true) \
                   WHERE current_setting('synchronous_commit') = 'off'; COMMIT";
        self.end_with(connection, branch, end).await.map(drop)
    }

    async fn roll_back_open(&self, connection: &mut Connection, _: BranchId) -> Result<(), ResourceError> {
        connection.run("ROLLBACK").await.map_err(resource_error)
    }

    async fn commit_prepared(&self, connection: &mut Connection, branch: BranchId) -> Result<Finished, ResourceError> {
        finish(connection, "COMMIT", branch).await
    }

    async fn roll_back_prepared(
        &self,
        connection: &mut Connection,
        branch: BranchId,
    ) -> Result<Finished, ResourceError> {
        finish(connection, "ROLLBACK", branch).await
    }

    async fn prepared_branches(&self, connection: &mut Connection) -> Result<Vec<BranchId>, ResourceError> {
        let listed = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
        let rows = connection.rows(listed).await.map_err(resource_error)?;
        Ok(rows.iter().filter_map(|row| branch_of_gid(row.get(0)?)).collect())
    }

    async fn is_prepared(&self, connection: &mut Connection, branch: BranchId) -> Result<bool, ResourceError> {
        let listed =
            format!("SELECT FROM pg_prepared_xacts WHERE database = current_database() AND gid = '{}'", gid(branch));
        connection.exists(&listed).await.map_err(resource_error)
    }

    async fn has_row(&self, connection: &mut Connection, branch: BranchId) -> Result<bool, ResourceError> {
        let Row { log, resource, epoch, sequence } = Row::new(branch)?;
        let (schema, cluster) = (&self.schema, branch.manager.cluster.0);
        let row = format!(
            "SELECT FROM {schema}.branches WHERE cluster = '{cluster:032x}' AND log = {log} \
             AND resource = {resource} AND epoch = {epoch} AND sequence = {sequence}"
        );
        connection.exists(&row).await.map_err(resource_error)
    }

    async fn end_session(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        end_holders(connection, branch_lock(branch), "true").await
    }

    /// Ends all sessions of earlier starts: their client may be gone without a trace, and they hold locks.
    async fn end_strangers(
        &self,
        connection: &mut Connection,
        manager: ManagerId,
        resource: ResourceId,
    ) -> Result<(), ResourceError> {
        let own: Vec<_> = {
            let own = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
            own.iter().map(ToString::to_string).collect()
        };
        let strangers = format!("pid NOT IN ({})", own.join(", "));
        end_holders(connection, owner_lock(manager, resource), &strangers).await
    }

    /// Rows of branches in doubt are not visible, so nothing waits for them.
    async fn forget(
        &self,
        connection: &mut Connection,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        let (epoch, sequence) = number(below)?;
        let (schema, cluster, log) = (&self.schema, manager.cluster.0, manager.log.cast_signed());
        let mut delete = format!(
            "DELETE FROM {schema}.branches WHERE cluster = '{cluster:032x}' AND log = {log} AND resource = {} \
             AND (epoch, sequence) < ({epoch}, {sequence})",
            resource.0.cast_signed()
        );
        let mut kept = Vec::new();
        for &unfinished in unfinished.iter().filter(|unfinished| **unfinished < below) {
            let (epoch, sequence) = number(unfinished)?;
            kept.push(format!("({epoch}, {sequence})"));
        }
        if !kept.is_empty() {
            delete.push_str(" AND (epoch, sequence) NOT IN (VALUES ");
            delete.push_str(&kept.join(", "));
            delete.push(')');
        }
        connection.run(&delete).await.map_err(resource_error)
    }

    fn is_name_taken(&self, error: &ResourceError) -> bool {
        name_is_taken(error)
    }

    /// The client answers a question that was dropped before it asks the next.
    fn is_broken(&self, _: &ResourceError) -> bool {
        false
    }
}

impl PostgresDriver {
    fn insert(&self, branch: BranchId) -> Result<String, ResourceError> {
        let Row { log, resource, epoch, sequence } = Row::new(branch)?;
        let (schema, cluster) = (&self.schema, branch.manager.cluster.0);
        Ok(format!(
            "INSERT INTO {schema}.branches (cluster, log, resource, epoch, sequence) \
             VALUES ('{cluster:032x}', {log}, {resource}, {epoch}, {sequence})"
        ))
    }

    /// Ends the open branch with its row, in one message; or finds that it changed nothing, and ends it without.
    ///
    /// Deferred constraints and triggers run first: within `PREPARE TRANSACTION` no time-out would bound them. The
    /// owner of a prepared transaction is the role of the moment, and must be one that can finish it. From then on the
    /// locks belong to the transaction, and nothing but its end gives them back. A division by zero stops all that
    /// stands behind it if this is not the branch, or there is nothing to write.
    async fn end_with(&self, connection: &Connection, branch: BranchId, end: &str) -> Result<Work, ResourceError> {
        let (lock, owner) = (branch_lock(branch), owner_lock(branch.manager, branch.resource));
        let (gid, insert) = (gid(branch), self.insert(branch)?);
        let statements = format!(
            "SET CONSTRAINTS ALL IMMEDIATE; RESET SESSION AUTHORIZATION; RESET ROLE; \
             SELECT current_setting('{BRANCH_SETTING}', true), pg_current_xact_id_if_assigned() IS NOT NULL, \
             current_setting('transaction_isolation'), pg_try_advisory_xact_lock({lock}), \
             pg_advisory_xact_lock_shared({owner}); \
             SELECT pg_advisory_unlock_all(); \
             SAVEPOINT quorate; \
             SELECT 1 / ((current_setting('{BRANCH_SETTING}', true) = '{gid}' \
             AND pg_current_xact_id_if_assigned() IS NOT NULL AND pg_try_advisory_xact_lock({lock})) IS TRUE)::int; \
             RELEASE SAVEPOINT quorate; {insert}; {end}"
        );
        let (rows, ended) = connection.rows_until(&statements).await;
        let Err(error) = ended else { return Ok(Work::Written) };
        let column = |column| rows.first().and_then(|row| row.get(column));
        let is_stopped = error.code() == Some(&SqlState::DIVISION_BY_ZERO);
        if is_stopped && (column(0) != Some(&gid) || column(3) != Some("t")) {
            return Err(ResourceError::Refused("its transaction was ended in the session".into()));
        }
        // A trigger may have divided by zero.
        if !is_stopped || column(1) != Some("f") {
            return Err(resource_error(error));
        }
        end_read_only(connection, column(2) == Some("serializable")).await?;
        Ok(Work::ReadOnly)
    }
}

/// Ends a branch that changed nothing, so that it takes no effect. Whoever reads under `SERIALIZABLE` has read valid
/// data only if the commit succeeds.
async fn end_read_only(connection: &Connection, serializable: bool) -> Result<(), ResourceError> {
    let end = if serializable { "ROLLBACK TO SAVEPOINT quorate; COMMIT" } else { "ROLLBACK" };
    connection.run(end).await.map_err(resource_error)
}

async fn finish(connection: &Connection, verb: &str, branch: BranchId) -> Result<Finished, ResourceError> {
    match connection.run(&format!("{verb} PREPARED '{}'", gid(branch))).await {
        Ok(()) => Ok(Finished::Done),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(Finished::NotThere),
        Err(error) => Err(resource_error(error)),
    }
}

/// Ends the sessions that hold this lock, and waits until they are gone. A prepared transaction has it without a
/// process.
async fn end_holders(connection: &Connection, lock: i64, which: &str) -> Result<(), ResourceError> {
    let (high, low) = (lock.cast_unsigned() >> 32, lock.cast_unsigned() & 0xffff_ffff);
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND classid = {high} AND objid = {low} AND objsubid = 1 AND granted AND pid IS NOT NULL AND {which}"
    );
    let mut patience = Patience::with("a session of the branch");
    while connection.exists(&end).await.map_err(resource_error)? {
        patience.pause().await?;
    }
    Ok(())
}
