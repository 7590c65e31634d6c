//! Compares the transaction manager over PostgreSQL and MariaDB with the same statements by hand: the row that tells
//! later whether the branch was committed, the update, PREPARE at both servers at once, the decision forced to a file
//! by one fdatasync, COMMIT at both at once. Both are measured in turn in one run, on throwaway servers.
//!
//! `cargo bench -p quorate-two-phase-commit --features manager,mysql,postgres --bench databases -- [seconds a turn]`.
//! Absolute figures mean little; the ratios matter.
#![expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/servers/mod.rs"]
mod servers;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use quorate_two_phase_commit::manager::mysql::Mysql;
use quorate_two_phase_commit::manager::postgres::Postgres;
use quorate_two_phase_commit::manager::{Manager, Outcome, Resource};
use servers::{Server, System};
use tokio_postgres::{Client, Config, NoTls};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let seconds: f64 = arguments.next().map_or(Ok(4.0), |seconds| seconds.parse())?;
    let postgres = Server::start(System::Postgres, &["max_connections=300", "max_prepared_transactions=300"]);
    let mariadb = Server::start(System::MariaDb, &["max-connections=300"]);
    let (Some(postgres), Some(mariadb)) = (postgres, mariadb) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&postgres, &mariadb, Duration::from_secs_f64(seconds)))
}

/// How to reach both databases, and where decisions made by hand are written.
#[derive(Clone)]
struct Databases {
    postgres: Config,
    mariadb: OptsBuilder,
    decisions: Option<Arc<File>>,
}

async fn run(postgres: &Server, mariadb: &Server, turn: Duration) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut config = Config::new();
    config.host_path(postgres.directory()).user("postgres").dbname("postgres");
    let opts = OptsBuilder::default().socket(Some(mariadb.socket().display().to_string())).user(Some("root"));
    Conn::new(opts.clone()).await?.query_drop("CREATE DATABASE bank").await?;
    let decisions = Arc::new(File::create(folder.path().join("decisions"))?);
    let forced = Databases { postgres: config, mariadb: opts.db_name(Some("bank")), decisions: Some(decisions) };
    let unforced = Databases { decisions: None, ..forced.clone() };
    set_up(&forced).await?;
    let savings = Resource::new("savings", Postgres::new(forced.postgres.clone(), NoTls));
    let current = Resource::new("current", Mysql::new(forced.mariadb.clone()));
    let log = folder.path().join("manager");
    let manager = Manager::builder("bench", log).resource(&savings).resource(&current).open().await?;
    println!("transactions a second over PostgreSQL and MariaDB, in turns of {turn:?}");
    println!("clients   manager   by hand   ratio   by hand without a decision");
    for clients in [1, 64] {
        // The first turn of each fills the pools.
        let mut counts = [0, 0, 0];
        for round in 0..4 {
            let managed = managed(&manager, &savings, &current, clients, turn).await?;
            let done = [managed, by_hand(&forced, clients, turn).await?, by_hand(&unforced, clients, turn).await?];
            if round > 0 {
                counts = [0, 1, 2].map(|of| counts[of] + done[of]);
            }
        }
        let [manager, forced, unforced] = counts.map(|count| count as f64 / (3.0 * turn.as_secs_f64()));
        println!("{clients:>7}   {manager:>7.0}   {forced:>7.0}   {:>5.2}   {unforced:>8.0}", manager / forced);
    }
    manager.close().await;
    Ok(())
}

async fn set_up(databases: &Databases) -> Result<(), Failure> {
    let table = "CREATE TABLE account (id int PRIMARY KEY, balance int)";
    let evidence = "CREATE TABLE evidence (branch varchar(60) PRIMARY KEY)";
    let rows: Vec<String> = (0..64).map(|id| format!("({id}, 0)")).collect();
    let rows = format!("INSERT INTO account VALUES {}", rows.join(", "));
    connect(&databases.postgres).await?.batch_execute(&format!("{table}; {evidence}; {rows}")).await?;
    let mut mariadb = Conn::new(databases.mariadb.clone()).await?;
    for statement in [table, evidence, &rows] {
        mariadb.query_drop(statement).await?;
    }
    Ok(())
}

async fn connect(config: &Config) -> Result<Client, Failure> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Transactions that the manager commits in this time. Each client has rows of its own.
async fn managed(
    manager: &Manager,
    savings: &Resource<Postgres>,
    current: &Resource<Mysql>,
    clients: u64,
    turn: Duration,
) -> Result<u64, Failure> {
    let end = Instant::now() + turn;
    let running: Vec<_> = (0..clients)
        .map(|id| {
            let (manager, savings, current) = (manager.clone(), savings.clone(), current.clone());
            tokio::spawn(async move {
                let mut committed = 0;
                while Instant::now() < end {
                    let transaction = manager.begin().await?;
                    {
                        let from = transaction.enlist(&savings).await?;
                        from.batch_execute(&update(id)).await?;
                        let mut to = transaction.enlist(&current).await?;
                        to.query_drop(update(id)).await?;
                    }
                    match transaction.commit().await {
                        Outcome::Committed => committed += 1,
                        other => return Err(Failure::from(format!("not committed: {other:?}"))),
                    }
                }
                Ok(committed)
            })
        })
        .collect();
    sum(running).await
}

/// Transactions that the same statements commit in this time.
async fn by_hand(databases: &Databases, clients: u64, turn: Duration) -> Result<u64, Failure> {
    let mut running = Vec::new();
    let end = Instant::now() + turn;
    for id in 0..clients {
        let databases = databases.clone();
        running.push(tokio::spawn(async move {
            let postgres = connect(&databases.postgres).await?;
            let mut mariadb = Conn::new(databases.mariadb.clone()).await?;
            let mut committed = 0;
            while Instant::now() < end {
                commit_by_hand(&postgres, &mut mariadb, databases.decisions.as_ref(), id).await?;
                committed += 1;
            }
            Ok(committed)
        }));
    }
    sum(running).await
}

async fn commit_by_hand(
    postgres: &Client,
    mariadb: &mut Conn,
    decisions: Option<&Arc<File>>,
    id: u64,
) -> Result<(), Failure> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let gid = format!("by-hand-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let evidence = format!("INSERT INTO evidence VALUES ('{gid}')");
    postgres.batch_execute(&format!("BEGIN; {evidence}")).await?;
    postgres.batch_execute(&update(id)).await?;
    mariadb.query_drop(format!("XA START '{gid}'")).await?;
    mariadb.query_drop(evidence).await?;
    mariadb.query_drop(update(id)).await?;
    mariadb.query_drop(format!("XA END '{gid}'")).await?;
    let prepare = format!("PREPARE TRANSACTION '{gid}'");
    let xa_prepare = format!("XA PREPARE '{gid}'");
    let prepared = tokio::join!(postgres.batch_execute(&prepare), mariadb.query_drop(&xa_prepare));
    prepared.0?;
    prepared.1?;
    if let Some(file) = decisions.cloned() {
        let decision = format!("{gid}\n");
        tokio::task::spawn_blocking(move || (&*file).write_all(decision.as_bytes()).and_then(|()| file.sync_data()))
            .await??;
    }
    let (commit, xa_commit) = (format!("COMMIT PREPARED '{gid}'"), format!("XA COMMIT '{gid}'"));
    let committed = tokio::join!(postgres.batch_execute(&commit), mariadb.query_drop(&xa_commit));
    committed.0?;
    committed.1?;
    Ok(())
}

fn update(id: u64) -> String {
    format!("UPDATE account SET balance = balance + 1 WHERE id = {id}")
}

async fn sum(running: Vec<tokio::task::JoinHandle<Result<u64, Failure>>>) -> Result<u64, Failure> {
    let mut sum = 0;
    for client in running {
        sum += client.await??;
    }
    Ok(sum)
}
