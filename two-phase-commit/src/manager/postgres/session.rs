//! The session in which the application works.

use std::fmt;
use std::ops::Deref;

use tokio_postgres::Client;

use super::connection::Connection;

/// A connection on which a branch is open. It is the [`Client`] of `tokio-postgres`, without what needs `&mut`: the
/// transaction is the manager's.
///
/// Two things end a branch, so that it cannot be prepared any more: statements that end the transaction (`COMMIT`,
/// `ROLLBACK`), and what PostgreSQL cannot prepare (temporary tables, `LISTEN`, `NOTIFY`, cursors `WITH HOLD`, exported
/// snapshots, `postgres_fdw`). A `NOTIFY` in a branch that changed nothing else is lost.
pub struct PostgresSession {
    connection: Connection,
}

impl Deref for PostgresSession {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection.client
    }
}

impl From<Connection> for PostgresSession {
    fn from(connection: Connection) -> Self {
        Self { connection }
    }
}

impl From<PostgresSession> for Connection {
    fn from(session: PostgresSession) -> Self {
        session.connection
    }
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSession").field("process", &self.connection.process).finish_non_exhaustive()
    }
}
