//! PostgreSQL as a resource, against real servers. Where none is installed, the tests say so and pass.

mod conformance;
mod crashes;
mod ends;
mod facts;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_protocol::ClusterId;
use quorate_two_phase_commit::manager::postgres::Postgres;
use quorate_two_phase_commit::manager::{BranchId, ManagerId, ResourceId, Sessions};
use quorate_two_phase_commit::{Epoch, TransactionNumber};
use tokio_postgres::{Client, Config, NoTls};

use crate::servers::{Server, System};

/// A database of its own with the table `account(id, balance)`, a resource for it, and a connection beside.
struct Bench {
    config: Config,
    resource: Postgres,
    client: Client,
    manager: ManagerId,
}

const RESOURCE: ResourceId = ResourceId(7);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A database on the server that all tests share, which none of them harms.
async fn bench() -> Option<Bench> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(System::Postgres, &["max_connections=200"])).as_ref()?;
    Some(bench_on(server).await)
}

async fn bench_on(server: &Server) -> Bench {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut config = Config::new();
    config.host_path(server.directory()).user("postgres").dbname("postgres");
    let name = format!("test_{number}");
    connect(&config).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    config.dbname(&name);
    let client = connect(&config).await;
    let table = "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 100), (2, 100)";
    client.batch_execute(table).await.unwrap();
    let manager = ManagerId { cluster: ClusterId(0xc1), log: number };
    Bench { resource: Postgres::new(config.clone(), NoTls), config, client, manager }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

impl Bench {
    fn branch(&self, sequence: u64) -> BranchId {
        BranchId { manager: self.manager, number: number(sequence), resource: RESOURCE }
    }

    /// A resource of the next start of the manager, which remembers nothing.
    fn restarted(&self) -> Postgres {
        Postgres::new(self.config.clone(), NoTls)
    }

    /// Opens the branch, does its work, and gives the session back.
    async fn work(&self, branch: BranchId, statements: &str) {
        let session = self.resource.begin(branch).await.unwrap();
        session.batch_execute(statements).await.unwrap();
        self.resource.suspend(branch, session);
    }

    /// Like `work`, of which an error is expected.
    async fn fail(&self, branch: BranchId, statements: &str) {
        let session = self.resource.begin(branch).await.unwrap();
        session.batch_execute(statements).await.unwrap_err();
        self.resource.suspend(branch, session);
    }

    async fn text(&self, query: &str) -> String {
        let row = self.client.query_one(query, &[]).await.unwrap();
        row.get(0)
    }

    async fn balance(&self) -> String {
        self.text("SELECT balance::text FROM account WHERE id = 1").await
    }

    async fn rows(&self) -> String {
        self.text("SELECT count(*)::text FROM quorate.branches").await
    }

    async fn prepared(&self) -> String {
        self.text("SELECT count(*)::text FROM pg_prepared_xacts WHERE database = current_database()").await
    }

    /// The process of a session that works in this database, other than ours.
    async fn kill_sessions(&self) {
        let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.client.batch_execute(&format!("SELECT pg_terminate_backend(pid) {others}")).await.unwrap();
        self.until(&format!("SELECT count(*) = 0 {others}")).await;
    }

    /// Waits until a query says yes.
    async fn until(&self, query: &str) {
        for _ in 0..6_000 {
            if self.client.query_one(query, &[]).await.unwrap().get(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no end of waiting for: {query}");
    }
}

const ADD: &str = "UPDATE account SET balance = balance + 5 WHERE id = 1";

fn number(sequence: u64) -> TransactionNumber {
    TransactionNumber { epoch: Epoch(1), sequence }
}

/// Begins a call and drops it when the condition holds, as a manager does at its deadline.
async fn dropped_when<T>(call: impl Future<Output = T>, condition: impl Future<Output = ()>) {
    tokio::select! {
        _ = call => panic!("the call ends"),
        () = condition => {}
    }
}

fn set<const N: usize>(branches: [BranchId; N]) -> BTreeSet<BranchId> {
    branches.into()
}
