//! The statements that end branches, and the evidence of how they ended.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;

use crate::{TransactionNumber, Vote};

use super::super::branch::{BranchId, ManagerId, ResourceId};
use super::super::database::{Driver, Finished, Patience, Row, Xid, branch_of_xid, lock_name, number as stored};
use super::super::resource::ResourceError;
use super::connection::{Broken, Connection, NOT_THERE, ROLLED_BACK, number, resource_error};
use super::resource::MysqlDriver;
use super::session::MysqlSession;
use super::set_up::{MysqlSetUpError, set_up};

/// `KILL` of a connection that has just ended.
const NO_SUCH_CONNECTION: u16 = 1094;

/// Ranges of rows that one statement deletes at most.
const RANGES_MAX: usize = 500;

#[async_trait]
impl Driver for MysqlDriver {
    type Connection = Connection;
    type Session = MysqlSession;

    async fn connect(&self) -> Result<Connection, ResourceError> {
        let mut connection = Connection::new(&self.opts, &self.sessions).await.map_err(resource_error)?;
        self.table.get_or_try_init(|| set_up(&mut connection.conn)).await.map_err(|error| match error {
            MysqlSetUpError::Database(error) => resource_error(error),
            error => ResourceError::Refused(Box::new(error)),
        })?;
        Ok(connection)
    }

    async fn clean(connection: &mut Connection) -> bool {
        connection.clean().await.is_ok()
    }

    async fn is_alive(&self, connection: &mut Connection) -> bool {
        connection.conn.ping().await.is_ok()
    }

    /// The lock goes when the session is gone, after its branch was rolled back or left to others. If XA START fails
    /// the session must be closed: what it did later would commit by itself.
    async fn begin(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let (lock, xid) = (lock_name(branch), Xid::new(branch).literal());
        let begin = format!("SELECT GET_LOCK('{lock}', 0); XA START {xid}");
        match connection.conn.query_first::<Option<u8>, _>(begin).await.map_err(resource_error)? {
            Some(Some(1)) => Ok(()),
            _ => Err(ResourceError::Busy("an earlier session works on the branch".into())),
        }
    }

    /// The row is also what makes the server keep a branch that has only locked rows: none is read-only.
    async fn prepare(&self, connection: &mut Connection, branch: BranchId) -> Result<Vote, ResourceError> {
        let xid = Xid::new(branch).literal();
        self.end_with(connection, branch, &format!("XA PREPARE {xid}")).await?;
        Ok(Vote::Yes)
    }

    /// `ONE PHASE` must never follow XA PREPARE: the answer is the same for branches that are prepared, committed and
    /// unknown. What a dropped question left behind is read first, because nothing takes this commit back.
    async fn commit_one_phase(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let (name, xid) = (lock_name(branch), Xid::new(branch).literal());
        let seen = connection.conn.query_first::<String, _>(format!("SELECT '{name}'")).await;
        if seen.map_err(resource_error)? != Some(name) {
            return Err(ResourceError::Refused(Box::new(Broken)));
        }
        self.end_with(connection, branch, &format!("XA COMMIT {xid} ONE PHASE")).await
    }

    /// After a deadlock XA END fails, and the branch is rolled back without it.
    async fn roll_back_open(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let xid = Xid::new(branch).literal();
        let _ = connection.conn.query_drop(format!("XA END {xid}")).await;
        connection.conn.query_drop(format!("XA ROLLBACK {xid}")).await.map_err(resource_error)
    }

    async fn commit_prepared(&self, connection: &mut Connection, branch: BranchId) -> Result<Finished, ResourceError> {
        self.finish(connection, "XA COMMIT", branch).await
    }

    async fn roll_back_prepared(
        &self,
        connection: &mut Connection,
        branch: BranchId,
    ) -> Result<Finished, ResourceError> {
        self.finish(connection, "XA ROLLBACK", branch).await
    }

    async fn prepared_branches(&self, connection: &mut Connection) -> Result<Vec<BranchId>, ResourceError> {
        // The name is binary: a column of text could not hold those of others.
        let rows: Vec<(u64, u64, u64, Vec<u8>)> = connection.conn.query("XA RECOVER").await.map_err(resource_error)?;
        Ok(rows.iter().filter_map(|(format_id, length, _, data)| branch_of_xid(*format_id, *length, data)).collect())
    }

    async fn is_prepared(&self, connection: &mut Connection, branch: BranchId) -> Result<bool, ResourceError> {
        Ok(self.prepared_branches(connection).await?.contains(&branch))
    }

    async fn has_row(&self, connection: &mut Connection, branch: BranchId) -> Result<bool, ResourceError> {
        let Row { log, resource, epoch, sequence } = Row::new(branch)?;
        let (table, cluster) = (self.table()?, branch.manager.cluster.0);
        let row = format!(
            "SELECT 1 FROM {table} WHERE cluster = X'{cluster:032x}' AND log = {log} AND resource = {resource} \
             AND epoch = {epoch} AND sequence = {sequence}"
        );
        Ok(connection.conn.query_first::<u8, _>(row).await.map_err(resource_error)?.is_some())
    }

    /// A session that has prepared the branch is ended as well: until it is gone nobody else can finish the branch.
    async fn end_session(&self, connection: &mut Connection, branch: BranchId) -> Result<(), ResourceError> {
        let holder = format!("SELECT IS_USED_LOCK('{}')", lock_name(branch));
        let mut patience = Patience::with("a session of the branch");
        loop {
            let held = connection.conn.query_first::<Option<u64>, _>(&holder).await.map_err(resource_error)?;
            let Some(session) = held.flatten() else { return Ok(()) };
            kill(connection, session).await?;
            patience.pause().await?;
        }
    }

    /// Only those that are in the middle of XA PREPARE can be told from other sessions of the role.
    async fn end_strangers(
        &self,
        connection: &mut Connection,
        manager: ManagerId,
        _: ResourceId,
    ) -> Result<(), ResourceError> {
        let under_way = format!(
            "SELECT id FROM information_schema.processlist WHERE info LIKE '%XA PREPARE ''{manager}''%' \
             AND id <> CONNECTION_ID()"
        );
        let mut patience = Patience::with("a session of an earlier start");
        loop {
            let sessions: Vec<u64> = connection.conn.query(&under_way).await.map_err(resource_error)?;
            let strangers: Vec<u64> = {
                let own = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                sessions.into_iter().filter(|session| !own.contains(session)).collect()
            };
            if strangers.is_empty() {
                return Ok(());
            }
            for session in strangers {
                kill(connection, session).await?;
            }
            patience.pause().await?;
        }
    }

    /// Only rows that are committed are looked for, and only ranges between those that stay are deleted: a row of a
    /// branch in doubt would be waited for.
    async fn forget(
        &self,
        connection: &mut Connection,
        manager: ManagerId,
        resource: ResourceId,
        below: TransactionNumber,
        unfinished: &BTreeSet<TransactionNumber>,
    ) -> Result<(), ResourceError> {
        let (epoch, sequence) = stored(below)?;
        let (table, cluster, log) = (self.table()?, manager.cluster.0, manager.log.cast_signed());
        let resource = resource.0.cast_signed();
        let of_owner = format!("cluster = X'{cluster:032x}' AND log = {log} AND resource = {resource}");
        let rows = format!(
            "SELECT epoch, sequence FROM {table} WHERE {of_owner} \
             AND (epoch < {epoch} OR (epoch = {epoch} AND sequence < {sequence})) ORDER BY epoch, sequence"
        );
        let rows: Vec<(i64, i64)> = connection.conn.query(rows).await.map_err(resource_error)?;
        let kept: BTreeSet<_> = unfinished.iter().map(|unfinished| stored(*unfinished)).collect::<Result<_, _>>()?;
        for ranges in ranges(&rows, &kept).chunks(RANGES_MAX) {
            let any = ranges
                .iter()
                .map(|(first, last)| format!("(epoch = {} AND sequence BETWEEN {} AND {})", first.0, first.1, last.1));
            let delete = format!(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; DELETE FROM {table} WHERE {of_owner} AND ({})",
                any.collect::<Vec<_>>().join(" OR ")
            );
            connection.conn.query_drop(delete).await.map_err(resource_error)?;
        }
        Ok(())
    }

    /// XA START has failed then already.
    fn is_name_taken(&self, _: &ResourceError) -> bool {
        false
    }

    fn is_broken(&self, error: &ResourceError) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Broken>)
    }
}

impl MysqlDriver {
    fn table(&self) -> Result<&str, ResourceError> {
        let table = self.table.get().ok_or_else(|| ResourceError::Refused("the table of branches is not known".into()));
        table.map(String::as_str)
    }

    /// Ends the branch with its row, in one message. The first answer tells whether the answers of this connection
    /// belong to its questions, which they do not after a question whose future was dropped. Its question fails, and
    /// with it all that stands behind it, if the branch is not under its lock or there is no transaction: elsewhere the
    /// row would be evidence of a commit that never was.
    async fn end_with(&self, connection: &mut Connection, branch: BranchId, end: &str) -> Result<(), ResourceError> {
        let (name, xid, table) = (lock_name(branch), Xid::new(branch).literal(), self.table()?);
        let Row { log, resource, epoch, sequence } = Row::new(branch)?;
        let cluster = branch.manager.cluster.0;
        let statements = format!(
            "SELECT IF(IS_USED_LOCK('{name}') = CONNECTION_ID() AND @@in_transaction = 1, '{name}', \
             (SELECT 1 UNION SELECT 2)); \
             INSERT INTO {table} (cluster, log, resource, epoch, sequence) \
             VALUES (X'{cluster:032x}', {log}, {resource}, {epoch}, {sequence}); \
             XA END {xid}; {end}"
        );
        let seen = connection.conn.query_first::<String, _>(statements).await.map_err(resource_error)?;
        if seen == Some(name) { Ok(()) } else { Err(ResourceError::Refused(Box::new(Broken))) }
    }

    /// XAER_NOTA says that the branch is finished only if it is not listed: it also comes while the session that has
    /// prepared it is open, or another finisher is in the middle, who may fail.
    async fn finish(
        &self,
        connection: &mut Connection,
        verb: &str,
        branch: BranchId,
    ) -> Result<Finished, ResourceError> {
        match connection.conn.query_drop(format!("{verb} {}", Xid::new(branch).literal())).await {
            Ok(()) => Ok(Finished::Done),
            Err(error) if number(&error) == Some(NOT_THERE) => {
                if self.is_prepared(connection, branch).await? {
                    return Err(resource_error(error));
                }
                Ok(Finished::NotThere)
            }
            Err(error) if number(&error).is_some_and(|number| ROLLED_BACK.contains(&number)) => Ok(Finished::NotThere),
            Err(error) => Err(resource_error(error)),
        }
    }
}

async fn kill(connection: &mut Connection, session: u64) -> Result<(), ResourceError> {
    match connection.conn.query_drop(format!("KILL {session}")).await {
        Err(error) if number(&error) != Some(NO_SUCH_CONNECTION) => Err(resource_error(error)),
        _ => Ok(()),
    }
}

/// The largest ranges of these rows, within one epoch each, between which all of `kept` lie.
fn ranges(rows: &[(i64, i64)], kept: &BTreeSet<(i64, i64)>) -> Vec<((i64, i64), (i64, i64))> {
    let mut ranges: Vec<((i64, i64), (i64, i64))> = Vec::new();
    for &row in rows.iter().filter(|row| !kept.contains(row)) {
        match ranges.last_mut() {
            Some((_, last)) if last.0 == row.0 && kept.range(*last..row).next().is_none() => *last = row,
            _ => ranges.push((row, row)),
        }
    }
    ranges
}
