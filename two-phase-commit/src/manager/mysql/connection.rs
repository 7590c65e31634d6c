//! A connection to MariaDB, and its errors by their numbers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts};

use super::super::resource::ResourceError;

/// The server's ids of the live connections of this resource.
pub(super) type Sessions = Arc<Mutex<BTreeSet<u64>>>;

/// A connection to MariaDB.
pub struct Connection {
    pub(super) conn: Conn,
    sessions: Sessions,
}

impl Connection {
    pub(super) async fn new(opts: &Opts, sessions: &Sessions) -> Result<Self, Error> {
        let mut conn = Conn::new(opts.clone()).await?;
        conn.query_drop(AUTOCOMMIT).await?;
        sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(u64::from(conn.id()));
        Ok(Self { conn, sessions: Arc::clone(sessions) })
    }

    /// Takes away what a user left in the session.
    ///
    /// A connection must not be reset while it has a prepared branch: XA COMMIT would then say OK and commit nothing.
    pub(super) async fn clean(&mut self) -> Result<(), Error> {
        self.conn.reset().await?;
        self.conn.query_drop(AUTOCOMMIT).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let id = u64::from(self.conn.id());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// With `autocommit` off no branch of another session can be finished.
const AUTOCOMMIT: &str = "SET autocommit = 1";

/// `XAER_NOTA`: there is no such branch, or its session or another finisher still has it.
pub(super) const NOT_THERE: u16 = 1397;

/// The branch was rolled back by the server: `XA_RBROLLBACK`, `XA_RBTIMEOUT`, `XA_RBDEADLOCK`. It is gone.
pub(super) const ROLLED_BACK: [u16; 3] = [1402, 1613, 1614];

/// Errors after which the same statement may succeed later: a time-out of a lock, a deadlock, a statement that was
/// ended (`KILL QUERY`, `max_statement_time`), a conflict of snapshots, too many connections.
const BUSY: [u16; 7] = [1205, 1213, 1317, 1969, 1020, 1040, NOT_THERE];

/// Shutdown, a connection that was ended.
const UNAVAILABLE: [u16; 4] = [1053, 1077, 1080, 1927];

/// A session whose answers do not belong to its questions: the future of a question was dropped.
#[derive(Debug, thiserror::Error)]
#[error("its session was broken")]
pub(super) struct Broken;

/// The number of an error of the server.
pub(super) fn number(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// What an error means for a call that can be repeated.
pub(super) fn resource_error(error: Error) -> ResourceError {
    match number(&error) {
        None => ResourceError::Unavailable(Box::new(error)),
        Some(number) if UNAVAILABLE.contains(&number) => ResourceError::Unavailable(Box::new(error)),
        Some(number) if BUSY.contains(&number) => ResourceError::Busy(Box::new(error)),
        Some(_) => ResourceError::Refused(Box::new(error)),
    }
}
