//! The resource, and how it is made.

use mysql_async::Opts;
use tokio::sync::OnceCell;

use super::super::database::Database;
use super::connection::{Connection, Sessions};
use super::set_up::{MysqlSetUpError, set_up};

/// A MariaDB database (from version 10.5) as a resource, over XA.
///
/// Each branch inserts a row into the table `quorate_branches` of the database that the connection chooses. A row that
/// is there after a crash is the evidence that its branch was committed. The role needs `CREATE` on the table, unless
/// it is there, and `SELECT`, `INSERT` and `DELETE`. MariaDB asks no privilege for finishing a branch: every user of
/// the server can end the branches of all others.
///
/// A branch keeps its connection from its begin until it is finished, and holds the user lock (`GET_LOCK`) of its name.
/// A session that is in the way of an end is ended by `KILL`, which a role may do to its own. A session that a machine
/// left behind without a word keeps the locks of a branch that was not prepared until the server notices: set
/// `wait_timeout` and TCP keep-alive accordingly.
///
/// A branch that is prepared loses its shared locks (below `SERIALIZABLE`), and in a crash of the server all locks of
/// rows that it did not change: write to rows that guard something. A server with `innodb_flush_log_at_trx_commit` 0 or
/// 2 may lose branches in a crash of the machine. Recovery must not be pointed at a replica: it lists the branches of
/// its primary, and finishing one there stops replication. A server that is `read_only` is refused.
///
/// The client is `mysql_async` and not `sqlx`: it sends several statements in one message, hands out single connections
/// that no pool resets or hands on, and brings fewer dependencies.
pub type Mysql = Database<MysqlDriver>;

/// The statements of MariaDB.
pub struct MysqlDriver {
    pub(super) opts: Opts,
    pub(super) sessions: Sessions,
    /// The name of the table of branches.
    pub(super) table: OnceCell<String>,
}

impl Database<MysqlDriver> {
    /// A resource that makes its connections with these options, which must choose a database. TLS is the caller's: it
    /// is an option if the caller's `mysql_async` has a feature for it.
    ///
    /// Nothing is asked of the server yet, so that a server that is down at the start of a manager stops nothing else.
    /// The first call that reaches it sets it up, as [`set_up`](Mysql::set_up) does.
    pub fn new(opts: impl Into<Opts>) -> Self {
        let driver = MysqlDriver { opts: opts.into(), sessions: Sessions::default(), table: OnceCell::new() };
        Self::with_driver(driver)
    }

    /// Looks whether the server can take part, and makes the table of branches if it is not there.
    ///
    /// # Errors
    /// When the server cannot be reached, or cannot take part.
    pub async fn set_up(&self) -> Result<(), MysqlSetUpError> {
        let mut connection = Connection::new(&self.driver.opts, &self.driver.sessions).await?;
        self.driver.table.get_or_try_init(|| set_up(&mut connection.conn)).await?;
        Ok(())
    }
}
