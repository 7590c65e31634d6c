//! `bank`: money moved between two databases, whatever crashes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use mysql_async::Opts;
use quorate_two_phase_commit::manager::memory::Memory;
use quorate_two_phase_commit::manager::mysql::Mysql;
use quorate_two_phase_commit::manager::postgres::Postgres;
use tokio_postgres::NoTls;

use crash::{Bomb, Crashing};
use run::Bank;
use side::{InMemory, MysqlLedger, PostgresLedger};

mod crash;
#[allow(dead_code, reason = "this program answers, and commit-admin asks")]
#[path = "../../../../two-phase-commit/examples/commit-admin/operator.rs"]
mod operator;
mod run;
mod side;

/// The end of a program that cannot go on.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Moves money between a PostgreSQL and a MariaDB database in atomic transactions. Without databases it moves it
/// between two resources in memory, which needs nothing installed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Command {
    /// Recovers what an earlier run has left, and counts the money. Exits with 0 if none is missing and nothing is in
    /// doubt or left prepared, with 1 if not
    Audit,
}

#[derive(clap::Args)]
struct Flags {
    /// The PostgreSQL database, such as postgres://bank@localhost/bank
    #[arg(long, global = true, requires = "mysql", requires = "data")]
    postgres: Option<String>,
    /// The MariaDB database, such as mysql://bank@localhost/bank
    #[arg(long, global = true, requires = "postgres")]
    mysql: Option<String>,
    /// The folder of the decision log
    #[arg(long, global = true, requires = "postgres")]
    data: Option<PathBuf>,
    /// The number of transfers
    #[arg(long, global = true, default_value_t = 1_000)]
    transfers: u64,
    /// The number of clients that transfer at the same time
    #[arg(long, global = true, default_value_t = 4)]
    clients: u64,
    /// Aborts the process in the middle of a transfer, half way through the run
    #[arg(long, global = true, requires = "postgres")]
    crash_after: Option<CrashAfter>,
    /// Answers `commit-admin --at` at this loopback address while it runs; with port 0 at a free one, which is printed
    #[arg(long, global = true)]
    admin: Option<SocketAddr>,
}

/// The point of a transfer after which the process is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CrashAfter {
    /// Both databases have prepared, and nothing is decided
    Prepare,
    /// The decision is durable, and neither database knows it
    Decision,
    /// One database has committed, and the other has not
    FirstCommit,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { command, flags } = Arguments::parse();
    let audit_only = command.is_some();
    match bank(flags, audit_only).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("bank: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether the books are right.
async fn bank(flags: Flags, audit_only: bool) -> Result<bool, Failure> {
    let Flags { postgres, mysql, data, transfers, clients, crash_after, admin } = flags;
    let (Some(postgres), Some(mysql), Some(data)) = (postgres, mysql, data) else {
        let scratch = tempfile::tempdir()?;
        let (here, there) = (InMemory::default(), InMemory::default());
        let (first, second): (Memory<i64>, Memory<i64>) = (here.0.clone(), there.0.clone());
        println!("no databases are named: the money is moved between two resources in memory");
        return Bank::new(("first", first, here), ("second", second, there))
            .with_admin(admin)
            .run(scratch.path(), transfers, clients)
            .await;
    };
    let bomb = Bomb::new(crash_after);
    let config: tokio_postgres::Config = postgres.parse()?;
    let opts = Opts::from_url(&mysql)?;
    let first = Crashing::new(Postgres::new(config.clone(), NoTls), &bomb);
    let second = Crashing::new(Mysql::new(opts.clone()), &bomb);
    let bank = Bank::new(("postgres", first, PostgresLedger(config)), ("mysql", second, MysqlLedger(opts)))
        .with_bomb(bomb)
        .with_admin(admin);
    if audit_only { bank.audit_only(&data).await } else { bank.run(&data, transfers, clients).await }
}
