//! The session in which the application works.

use std::fmt;
use std::ops::{Deref, DerefMut};

use mysql_async::Conn;

use super::connection::Connection;

/// A connection on which a branch is open: an XA transaction. It is the [`Conn`] of `mysql_async`.
///
/// Some things end a branch, so that it cannot be prepared any more: a deadlock, a future of the client that was
/// dropped in the middle, [`Conn::reset`], statements that end the XA transaction, and giving back its lock
/// (`RELEASE_ALL_LOCKS()`). Changes of tables without transactions (MyISAM, Aria) are not undone by a rollback.
pub struct MysqlSession {
    connection: Connection,
}

impl Deref for MysqlSession {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.connection.conn
    }
}

impl DerefMut for MysqlSession {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.connection.conn
    }
}

impl From<Connection> for MysqlSession {
    fn from(connection: Connection) -> Self {
        Self { connection }
    }
}

impl From<MysqlSession> for Connection {
    fn from(session: MysqlSession) -> Self {
        session.connection
    }
}

impl fmt::Debug for MysqlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlSession").field("connection", &self.connection.conn.id()).finish_non_exhaustive()
    }
}
