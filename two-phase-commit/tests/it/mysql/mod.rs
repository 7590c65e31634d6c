//! MariaDB as a resource, against real servers. Where none is installed, the tests say so and pass.

mod conformance;
mod crashes;
mod ends;
mod facts;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, OptsBuilder};
use quorate_protocol::ClusterId;
use quorate_two_phase_commit::manager::mysql::Mysql;
use quorate_two_phase_commit::manager::{BranchId, ManagerId, ResourceId, Sessions};
use quorate_two_phase_commit::{Epoch, TransactionNumber};

use crate::servers::{Server, System};

/// A database of its own with the table `account(id, balance)`, a resource for it, and a connection beside.
struct Bench {
    opts: OptsBuilder,
    resource: Mysql,
    client: Conn,
    manager: ManagerId,
}

const RESOURCE: ResourceId = ResourceId(7);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A database on the server that all tests share, which none of them harms.
async fn bench() -> Option<Bench> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(System::MariaDb, &["max-connections=200"])).as_ref()?;
    Some(bench_on(server).await)
}

async fn bench_on(server: &Server) -> Bench {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let socket = server.socket().display().to_string();
    let opts = OptsBuilder::default().socket(Some(socket)).user(Some("root"));
    let name = format!("test_{number}");
    Conn::new(opts.clone()).await.unwrap().query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
    let opts = opts.db_name(Some(name));
    let mut client = Conn::new(opts.clone()).await.unwrap();
    let table = "CREATE TABLE account (id INT PRIMARY KEY, balance INT) ENGINE = InnoDB; \
                 INSERT INTO account VALUES (1, 100), (2, 100); SET innodb_lock_wait_timeout = 1";
    client.query_drop(table).await.unwrap();
    let manager = ManagerId { cluster: ClusterId(0xc1), log: number };
    Bench { resource: Mysql::new(opts.clone()), opts, client, manager }
}

impl Bench {
    fn branch(&self, sequence: u64) -> BranchId {
        BranchId { manager: self.manager, number: number(sequence), resource: RESOURCE }
    }

    /// A resource of the next start of the manager, which remembers nothing.
    fn restarted(&self) -> Mysql {
        Mysql::new(self.opts.clone())
    }

    /// Opens the branch, does its work, and gives the session back.
    async fn work(&self, branch: BranchId, statements: &str) {
        let mut session = self.resource.begin(branch).await.unwrap();
        session.query_drop(statements).await.unwrap();
        self.resource.suspend(branch, session);
    }

    async fn one<T: FromValue + Send + 'static>(&mut self, query: &str) -> T {
        self.client.query_first(query).await.unwrap().expect("a row")
    }

    async fn balance(&mut self) -> i64 {
        self.one("SELECT balance FROM account WHERE id = 1").await
    }

    async fn rows(&mut self) -> i64 {
        self.one("SELECT COUNT(*) FROM quorate_branches").await
    }

    /// The branches of this bench that the server lists.
    async fn prepared(&mut self) -> usize {
        let owner = self.manager.to_string();
        let rows: Vec<(u64, u64, u64, Vec<u8>)> = self.client.query("XA RECOVER").await.unwrap();
        rows.iter().filter(|row| row.3.starts_with(owner.as_bytes())).count()
    }

    /// Ends the other sessions in this database.
    async fn kill_sessions(&mut self) {
        let others = "FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        let ids: Vec<u64> = self.client.query(format!("SELECT id {others}")).await.unwrap();
        for id in ids {
            let _ = self.client.query_drop(format!("KILL {id}")).await;
        }
        self.until(&format!("SELECT COUNT(*) = 0 {others}")).await;
    }

    /// Waits until a query says yes.
    async fn until(&mut self, query: &str) {
        for _ in 0..6_000 {
            if self.one::<bool>(query).await {
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
