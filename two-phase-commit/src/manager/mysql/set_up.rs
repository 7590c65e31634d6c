//! What is looked at and made once, before a database is used.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

/// Reason why a MariaDB database cannot take part in transactions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MysqlSetUpError {
    /// The server is not MariaDB from version 10.5. MySQL's XA differs, and was not tried.
    #[error("the server is {0}: MariaDB 10.5 or newer is needed")]
    Version(String),
    /// The server is `read_only`, as replicas are. To finish on a replica a branch of its primary would stop
    /// replication.
    #[error("the server is read_only")]
    ReadOnly,
    /// The connection chooses no database.
    #[error("no database is chosen")]
    NoDatabase,
    /// The table of branches is not there and cannot be made, or the server cannot be asked. The privileges that are
    /// needed stand at [`Mysql`](super::Mysql).
    #[error("the database cannot be set up")]
    Database(#[from] mysql_async::Error),
}

/// Returns the name of the table of branches, as it stands in statements.
pub(super) async fn set_up(conn: &mut Conn) -> Result<String, MysqlSetUpError> {
    let settings = "SELECT VERSION(), @@read_only, @@innodb_flush_log_at_trx_commit, DATABASE()";
    let row: Option<(String, u8, u64, Option<String>)> = conn.query_first(settings).await?;
    let (version, read_only, flush, database) = row.unwrap_or_default();
    if !is_supported(&version) {
        return Err(MysqlSetUpError::Version(version));
    }
    if read_only != 0 {
        return Err(MysqlSetUpError::ReadOnly);
    }
    if flush == 0 || flush == 2 {
        tracing::warn!("innodb_flush_log_at_trx_commit is {flush}: branches may be lost in a crash of the machine");
    }
    let database = database.ok_or(MysqlSetUpError::NoDatabase)?;
    let table = format!("`{}`.quorate_branches", database.replace('`', "``"));
    if is_there(conn).await? {
        return Ok(table);
    }
    let make = format!(
        "CREATE TABLE IF NOT EXISTS {table} (cluster BINARY(16), log BIGINT, resource BIGINT, epoch BIGINT, \
         sequence BIGINT, PRIMARY KEY (cluster, log, resource, epoch, sequence)) ENGINE = InnoDB COMMENT = \
         'Branches of distributed transactions that were committed here, until nobody asks for them any more'"
    );
    conn.query_drop(make).await?;
    Ok(table)
}

/// A role without `CREATE` gets an error even from `IF NOT EXISTS`.
async fn is_there(conn: &mut Conn) -> Result<bool, Error> {
    let there = "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() \
         AND table_name = 'quorate_branches'";
    Ok(conn.query_first::<u8, _>(there).await?.is_some())
}

fn is_supported(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return false };
    version.contains("MariaDB") && (major, minor) >= (10, 5)
}
