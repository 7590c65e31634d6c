//! A connection to PostgreSQL, and its errors.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_core::Stream;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage, SimpleQueryRow, Socket};

use super::super::resource::ResourceError;

/// Takes away what a user left in the session: `DISCARD ALL` without `DEALLOCATE ALL`, because the client keeps
/// prepared statements of its own, and in a form that may stand behind other statements.
pub(super) const CLEAN: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// The server's processes that serve live connections of this resource.
pub(super) type Processes = Arc<Mutex<BTreeSet<i32>>>;

type Connected = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send>>;
pub(super) type Connect = Box<dyn Fn() -> Connected + Send + Sync>;

/// A connection to PostgreSQL.
pub struct Connection {
    pub(super) client: Client,
    /// Id of the server's process.
    pub(super) process: i32,
    processes: Processes,
    driver: JoinHandle<()>,
}

/// Makes connections with a configuration that this module does not look into.
pub(super) fn connector<T>(config: Config, tls: T) -> Connect
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    Box::new(move || {
        let (config, tls) = (config.clone(), tls.clone());
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            // Its errors are those of the statements that it breaks off.
            let driver = tokio::spawn(async move { drop(connection.await) });
            Ok((client, driver))
        })
    })
}

impl Connection {
    pub(super) async fn new(connect: &Connect, processes: &Processes) -> Result<Self, Error> {
        let (client, driver) = connect().await?;
        let mut connection = Self { client, process: 0, processes: Arc::clone(processes), driver };
        let rows = connection.rows("SELECT pg_backend_pid()").await?;
        connection.process = rows.first().and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default();
        connection.processes.lock().unwrap_or_else(PoisonError::into_inner).insert(connection.process);
        Ok(connection)
    }

    /// Carries out statements, and awaits the last. If one fails, those behind it are not carried out.
    pub(super) async fn run(&self, statements: &str) -> Result<(), Error> {
        self.client.batch_execute(statements).await
    }

    /// The rows that the statements return.
    pub(super) async fn rows(&self, statements: &str) -> Result<Vec<SimpleQueryRow>, Error> {
        let (rows, ended) = self.rows_until(statements).await;
        ended.map(|()| rows)
    }

    /// The rows that the statements return until one fails, and whether one does.
    pub(super) async fn rows_until(&self, statements: &str) -> (Vec<SimpleQueryRow>, Result<(), Error>) {
        let mut rows = Vec::new();
        let mut answers = match self.client.simple_query_raw(statements).await {
            Ok(answers) => Box::pin(answers),
            Err(error) => return (rows, Err(error)),
        };
        loop {
            match poll_fn(|context| answers.as_mut().poll_next(context)).await {
                Some(Ok(SimpleQueryMessage::Row(row))) => rows.push(row),
                Some(Ok(_)) => {}
                Some(Err(error)) => return (rows, Err(error)),
                None => return (rows, Ok(())),
            }
        }
    }

    /// Whether the query returns a row.
    pub(super) async fn exists(&self, query: &str) -> Result<bool, Error> {
        Ok(!self.rows(query).await?.is_empty())
    }
}

impl Drop for Connection {
    /// Closes the socket at once, without a farewell that a hanging server could hold up.
    fn drop(&mut self) {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process);
        self.driver.abort();
    }
}

/// What an error means for a call that can be repeated.
pub(super) fn resource_error(error: Error) -> ResourceError {
    let error = Box::new(error);
    let Some(code) = error.code() else { return ResourceError::Unavailable(error) };
    match code {
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
        | &SqlState::LOCK_NOT_AVAILABLE
        | &SqlState::QUERY_CANCELED
        | &SqlState::T_R_SERIALIZATION_FAILURE
        | &SqlState::T_R_DEADLOCK_DETECTED
        | &SqlState::TOO_MANY_CONNECTIONS => ResourceError::Busy(error),
        // Connection exceptions, shortage of resources, shutdowns.
        code if ["08", "53", "57P"].iter().any(|class| code.code().starts_with(class)) => {
            ResourceError::Unavailable(error)
        }
        _ => ResourceError::Refused(error),
    }
}

/// Whether the branch cannot be prepared because there is a prepared one of its name, somewhere in the whole cluster.
/// That is not this branch: nothing else opens it, and this session has not prepared it before.
pub(super) fn name_is_taken(error: &ResourceError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    source.is_some_and(|error| error.code() == Some(&SqlState::DUPLICATE_OBJECT))
}
