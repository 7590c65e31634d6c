//! The conformance suite.

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use quorate_two_phase_commit::manager::Sessions;
use quorate_two_phase_commit::manager::conformance::{Subject, check};
use tokio::sync::Mutex;

use super::*;

struct Tested {
    resource: Mysql,
    bench: Mutex<Bench>,
}

#[async_trait]
impl Subject for Tested {
    type Resource = Mysql;

    fn resource(&self) -> &Mysql {
        &self.resource
    }

    async fn write(&self, branch: BranchId, key: &str, value: u64) -> Result<(), String> {
        self.run(branch, &format!("SET innodb_lock_wait_timeout = 0; REPLACE INTO pair VALUES ('{key}', {value})"))
            .await
    }

    async fn read(&self, branch: BranchId, key: &str) -> Result<(), String> {
        self.run(branch, &format!("SELECT v FROM pair WHERE k = '{key}'")).await
    }

    async fn value(&self, key: &str) -> Option<u64> {
        let mut bench = self.bench.lock().await;
        bench.client.query_first(format!("SELECT v FROM pair WHERE k = '{key}'")).await.unwrap()
    }

    async fn crash(&self) {
        self.bench.lock().await.kill_sessions().await;
    }
}

impl Tested {
    async fn run(&self, branch: BranchId, statements: &str) -> Result<(), String> {
        let mut session = match self.resource.resume(branch) {
            Some(session) => session,
            None => self.resource.begin(branch).await.map_err(|error| error.to_string())?,
        };
        let done = session.query_drop(statements).await.map_err(|error| error.to_string());
        self.resource.suspend(branch, session);
        done
    }
}

#[tokio::test]
async fn every_clause_holds() {
    let Some(server) = Server::start(System::MariaDb, &[]) else { return };
    let clauses = check(|| async {
        let mut bench = bench_on(&server).await;
        // Names of branches are the same in every clause, and unique in the whole server.
        let sessions = "FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND command <> 'Daemon'";
        let ids: Vec<u64> = bench.client.query(format!("SELECT id {sessions}")).await.unwrap();
        for id in ids {
            let _ = bench.client.query_drop(format!("KILL {id}")).await;
        }
        bench.until(&format!("SELECT COUNT(*) = 0 {sessions}")).await;
        let left: Vec<(u64, u64, u64, String)> = bench.client.query("XA RECOVER FORMAT = 'SQL'").await.unwrap();
        for (_, _, _, xid) in left {
            bench.client.query_drop(format!("XA ROLLBACK {xid}")).await.unwrap();
        }
        bench.client.query_drop("CREATE TABLE pair (k VARCHAR(20) PRIMARY KEY, v BIGINT UNSIGNED)").await.unwrap();
        Tested { resource: bench.restarted(), bench: Mutex::new(bench) }
    });
    let failures = Box::pin(clauses).await;
    assert!(failures.is_empty(), "{failures:#?}");
}
