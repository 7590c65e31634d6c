//! The two sides of a transfer: how money is added to an account in a session, and how a side's books are opened.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use quorate_two_phase_commit::manager::Sessions;
use quorate_two_phase_commit::manager::memory::{Memory, MemorySession};
use quorate_two_phase_commit::manager::mysql::{Mysql, MysqlSession};
use quorate_two_phase_commit::manager::postgres::{Postgres, PostgresSession};
use tokio_postgres::{Config, NoTls};

use super::Failure;
use super::crash::Crashing;

/// Accounts of each side.
pub(crate) const ACCOUNTS: u32 = 32;
/// Money in each account at the beginning.
pub(crate) const BALANCE: i64 = 1_000;

/// A resource with accounts.
#[async_trait]
pub(crate) trait Side: Sessions {
    /// Adds to the balance of an account.
    async fn add(session: &mut Self::Session, account: u32, amount: i64) -> Result<(), Failure>;
}

/// The books of a side, outside of every transaction.
#[async_trait]
pub(crate) trait Ledger: Send + Sync {
    /// Makes the accounts that are not there.
    async fn open(&self) -> Result<(), Failure>;
    /// The sum of all balances.
    async fn total(&self) -> Result<i64, Failure>;
}

#[async_trait]
impl Side for Postgres {
    async fn add(session: &mut PostgresSession, account: u32, amount: i64) -> Result<(), Failure> {
        let update = format!("UPDATE account SET balance = balance + {amount} WHERE id = {account}");
        session.batch_execute(&update).await?;
        Ok(())
    }
}

#[async_trait]
impl Side for Mysql {
    async fn add(session: &mut MysqlSession, account: u32, amount: i64) -> Result<(), Failure> {
        let update = format!("UPDATE account SET balance = balance + {amount} WHERE id = {account}");
        session.query_drop(update).await?;
        Ok(())
    }
}

#[async_trait]
impl Side for Memory<i64> {
    async fn add(session: &mut MemorySession<i64>, account: u32, amount: i64) -> Result<(), Failure> {
        let key = account.to_string();
        let balance = session.get(&key)?.unwrap_or_default();
        session.put(&key, balance + amount)?;
        Ok(())
    }
}

#[async_trait]
impl<R: Side> Side for Crashing<R> {
    async fn add(session: &mut R::Session, account: u32, amount: i64) -> Result<(), Failure> {
        R::add(session, account, amount).await
    }
}

/// The rows of the accounts, as they stand in an INSERT.
fn accounts() -> String {
    (1..=ACCOUNTS).map(|account| format!("({account}, {BALANCE})")).collect::<Vec<_>>().join(", ")
}

pub(crate) struct PostgresLedger(pub(crate) Config);

impl PostgresLedger {
    async fn client(&self) -> Result<tokio_postgres::Client, Failure> {
        let (client, connection) = self.0.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn open(&self) -> Result<(), Failure> {
        let client = self.client().await?;
        client
            .batch_execute("CREATE TABLE IF NOT EXISTS account (id int PRIMARY KEY, balance bigint NOT NULL)")
            .await?;
        // An account that is in doubt is there, and is not waited for.
        if client.query_opt("SELECT FROM account LIMIT 1", &[]).await?.is_none() {
            client.batch_execute(&format!("INSERT INTO account VALUES {}", accounts())).await?;
        }
        Ok(())
    }

    async fn total(&self) -> Result<i64, Failure> {
        let row = self.client().await?.query_one("SELECT sum(balance)::bigint FROM account", &[]).await?;
        Ok(row.get::<_, Option<i64>>(0).unwrap_or_default())
    }
}

pub(crate) struct MysqlLedger(pub(crate) Opts);

#[async_trait]
impl Ledger for MysqlLedger {
    async fn open(&self) -> Result<(), Failure> {
        let mut conn = Conn::new(self.0.clone()).await?;
        let table = "CREATE TABLE IF NOT EXISTS account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE = InnoDB";
        conn.query_drop(table).await?;
        let there: Option<i64> = conn.query_first("SELECT COUNT(*) FROM account").await?;
        if there == Some(0) {
            conn.query_drop(format!("INSERT INTO account VALUES {}", accounts())).await?;
        }
        Ok(())
    }

    async fn total(&self) -> Result<i64, Failure> {
        let mut conn = Conn::new(self.0.clone()).await?;
        let total: Option<i64> = conn.query_first("SELECT CAST(SUM(balance) AS SIGNED) FROM account").await?;
        Ok(total.unwrap_or_default())
    }
}

/// The accounts of an embedded side.
#[derive(Clone)]
pub(crate) struct InMemory(pub(crate) Memory<i64>);

impl Default for InMemory {
    fn default() -> Self {
        let memory = (1..=ACCOUNTS).fold(Memory::new(), |memory, account| memory.with(&account.to_string(), BALANCE));
        Self(memory)
    }
}

#[async_trait]
impl Ledger for InMemory {
    async fn open(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn total(&self) -> Result<i64, Failure> {
        Ok((1..=ACCOUNTS).filter_map(|account| self.0.value(&account.to_string())).sum())
    }
}
