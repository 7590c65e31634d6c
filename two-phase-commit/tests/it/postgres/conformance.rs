//! The conformance suite.

use async_trait::async_trait;
use quorate_two_phase_commit::manager::Sessions;
use quorate_two_phase_commit::manager::conformance::{Subject, check};

use super::*;

#[async_trait]
impl Subject for Bench {
    type Resource = Postgres;

    fn resource(&self) -> &Postgres {
        &self.resource
    }

    async fn write(&self, branch: BranchId, key: &str, value: u64) -> Result<(), String> {
        let write = format!("INSERT INTO pair VALUES ('{key}', {value}) ON CONFLICT (k) DO UPDATE SET v = {value}");
        self.run(branch, &format!("SET LOCAL lock_timeout = '100ms'; {write}")).await
    }

    async fn read(&self, branch: BranchId, key: &str) -> Result<(), String> {
        self.run(branch, &format!("SELECT v FROM pair WHERE k = '{key}'")).await
    }

    async fn value(&self, key: &str) -> Option<u64> {
        let row = self.client.query_opt("SELECT v FROM pair WHERE k = $1", &[&key]).await.unwrap();
        row.map(|row| row.get::<_, i64>(0).cast_unsigned())
    }

    async fn crash(&self) {
        self.kill_sessions().await;
    }
}

impl Bench {
    async fn run(&self, branch: BranchId, statements: &str) -> Result<(), String> {
        let session = match self.resource.resume(branch) {
            Some(session) => session,
            None => self.resource.begin(branch).await.map_err(|error| error.to_string())?,
        };
        let done = session.batch_execute(statements).await.map_err(|error| error.to_string());
        self.resource.suspend(branch, session);
        done
    }
}

#[tokio::test]
async fn every_clause_holds() {
    let Some(server) = Server::start(System::Postgres, &[]) else { return };
    let clauses = check(|| async {
        let bench = bench_on(&server).await;
        let prepared = "SELECT gid FROM pg_prepared_xacts";
        // Names of branches are the same in every clause, and unique in the whole server.
        for row in bench.client.query(&format!("{prepared} WHERE database <> current_database()"), &[]).await.unwrap() {
            let gid: String = row.get(0);
            let place = format!("SELECT database::text FROM pg_prepared_xacts WHERE gid = '{gid}'");
            let mut config = bench.config.clone();
            config.dbname(bench.text(&place).await);
            connect(&config).await.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await.unwrap();
        }
        bench.client.batch_execute("CREATE TABLE pair (k text PRIMARY KEY, v bigint)").await.unwrap();
        bench
    });
    let failures = Box::pin(clauses).await;
    assert!(failures.is_empty(), "{failures:#?}");
}
