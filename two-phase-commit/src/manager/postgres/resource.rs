//! The resource, and how it is made.

use tokio::sync::OnceCell;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, Socket};

use super::super::database::Database;
use super::connection::{Connect, Connection, Processes, connector};
use super::set_up::{PostgresSetUpError, set_up};

/// A PostgreSQL database (from version 13) as a resource. One database is one resource: a prepared transaction can only
/// be finished in the database in which it was prepared.
///
/// The server's `max_prepared_transactions`, 0 by default, must be at least the number of transactions at a time. It
/// must not be lowered below the number of transactions that are prepared: the server would not start.
///
/// Each branch that changes something inserts a row into the table `branches` of the schema `quorate`
/// ([`with_schema`](Postgres::with_schema)). A row that is there after a crash is the evidence that its branch was
/// committed. The role needs:
///
/// - `CREATE` on the database, unless the schema and the table are there;
/// - otherwise `USAGE` on the schema, and `SELECT`, `INSERT` and `DELETE` on the table.
///
/// Sessions of a branch hold two advisory locks (`pg_locks`) whose keys are hashes of the branch's and of the manager's
/// name. A session that is in the way of an end is ended by `pg_terminate_backend`, which a role may do to its own.
///
/// A branch that is in doubt keeps its locks, also over a crash of the server. Who conflicts with it under
/// `SERIALIZABLE` gets error 40001 until it is finished; after a restart of the server so do those that only read its
/// rows.
pub type Postgres = Database<PostgresDriver>;

/// The statements of PostgreSQL.
pub struct PostgresDriver {
    pub(super) connect: Connect,
    pub(super) processes: Processes,
    pub(super) schema: String,
    pub(super) ready: OnceCell<()>,
}

impl Database<PostgresDriver> {
    /// A resource that makes its connections with this configuration. TLS is the caller's: a connector of one of the
    /// crates that go with `tokio-postgres`, or [`tokio_postgres::NoTls`].
    ///
    /// Nothing is asked of the server yet, so that a server that is down at the start of a manager stops nothing else.
    /// The first call that reaches it sets it up, as [`set_up`](Postgres::set_up) does.
    pub fn new<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self::with_driver(PostgresDriver {
            connect: connector(config, tls),
            processes: Processes::default(),
            schema: "quorate".to_owned(),
            ready: OnceCell::new(),
        })
    }

    /// Another schema for the table of branches. It must stay the same as long as branches are in doubt.
    ///
    /// # Panics
    /// When the name is not made of 1 to 63 lower-case letters, digits and `_`, or begins with a digit.
    pub fn with_schema(mut self, schema: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!((1..=63).contains(&schema.len()), "a schema has a name of 1 to 63 bytes");
        assert!(schema.bytes().all(plain) && !schema.as_bytes()[0].is_ascii_digit(), "not a plain name: {schema}");
        schema.clone_into(&mut self.driver.schema);
        self
    }

    /// Looks whether the server can take part, and makes the table of branches if it is not there.
    ///
    /// # Errors
    /// When the server cannot be reached, or cannot take part.
    pub async fn set_up(&self) -> Result<(), PostgresSetUpError> {
        let driver = &self.driver;
        let connection = Connection::new(&driver.connect, &driver.processes).await?;
        driver.ready.get_or_try_init(|| set_up(&connection, &driver.schema)).await?;
        Ok(())
    }
}
