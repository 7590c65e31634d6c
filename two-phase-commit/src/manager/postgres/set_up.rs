//! What is looked at and made once, before a database is used.

use tokio_postgres::Error;

use super::connection::Connection;

/// Reason why a PostgreSQL database cannot take part in transactions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresSetUpError {
    /// `max_prepared_transactions` is 0, the default. It must be at least the number of transactions at a time, and the
    /// server reads it only when it starts.
    #[error("the server prepares no transactions: max_prepared_transactions is 0")]
    PreparedTransactionsDisabled,
    /// The server is a standby, on which nothing can be prepared or finished.
    #[error("the server is a standby")]
    Standby,
    /// The server is older than version 13.
    #[error("the server's version {0} is too old: 13 is needed")]
    Version(String),
    /// The table of branches is not there and cannot be made, or the server cannot be asked. The privileges that are
    /// needed stand at [`Postgres`](super::Postgres).
    #[error("the database cannot be set up")]
    Database(#[from] tokio_postgres::Error),
}

pub(super) async fn set_up(connection: &Connection, schema: &str) -> Result<(), PostgresSetUpError> {
    let settings = "SELECT current_setting('max_prepared_transactions'), pg_is_in_recovery(), \
         current_setting('server_version_num'), current_setting('server_version'), current_setting('fsync')";
    for row in connection.rows(settings).await? {
        let setting = |column: usize| row.get(column).unwrap_or_default();
        if setting(2).parse::<u32>().is_ok_and(|version| version < 130_000) {
            return Err(PostgresSetUpError::Version(setting(3).to_owned()));
        }
        if setting(1) == "t" {
            return Err(PostgresSetUpError::Standby);
        }
        if setting(0) == "0" {
            return Err(PostgresSetUpError::PreparedTransactionsDisabled);
        }
        if setting(4) == "off" {
            tracing::warn!("fsync is off: branches may be lost in a crash of the machine");
        }
    }
    if table_is_there(connection, schema).await? {
        return Ok(());
    }
    let made = connection.run(&make(schema)).await;
    // Somebody else may have made it at the same time, which makes ours fail.
    if made.is_err() && table_is_there(connection, schema).await? { Ok(()) } else { Ok(made?) }
}

async fn table_is_there(connection: &Connection, schema: &str) -> Result<bool, Error> {
    let there = format!("SELECT FROM pg_tables WHERE schemaname = '{schema}' AND tablename = 'branches'");
    connection.exists(&there).await
}

fn make(schema: &str) -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; \
         CREATE TABLE IF NOT EXISTS {schema}.branches (cluster uuid, log bigint, resource bigint, epoch bigint, \
         sequence bigint, PRIMARY KEY (cluster, log, resource, epoch, sequence)); \
         COMMENT ON TABLE {schema}.branches IS \
         'Branches of distributed transactions that were committed here, until nobody asks for them any more'"
    )
}
