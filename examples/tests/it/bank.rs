//! The program `bank`, killed at chosen points and at any point, with real databases.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use tokio_postgres::{Config, NoTls};

use crate::servers::{Server, System};

struct Bank {
    postgres: Server,
    mariadb: Server,
    data: tempfile::TempDir,
}

impl Bank {
    /// `None` where the servers are not installed.
    async fn new() -> Option<Self> {
        let (postgres, mariadb) = (Server::start(System::Postgres, &[])?, Server::start(System::MariaDb, &[])?);
        let opts = OptsBuilder::default().socket(mariadb.socket().to_str()).user(Some("root"));
        Conn::new(opts).await.unwrap().query_drop("CREATE DATABASE bank").await.unwrap();
        Some(Self { postgres, mariadb, data: tempfile::tempdir().unwrap() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let host = self.postgres.directory().display().to_string().replace('/', "%2F");
        let socket = self.mariadb.socket().display().to_string();
        let mut command = program();
        command.args(arguments).arg("--postgres").arg(format!("postgres://postgres@{host}/postgres"));
        command.arg("--mysql").arg(format!("mysql://root@localhost/bank?socket={socket}"));
        command.arg("--data").arg(self.data.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Recovers and counts the money; none is missing, and nothing is left.
    fn audit(&self) {
        let output = self.run(&["audit"]);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("total: 64000 of 64000") && said.contains("in doubt or prepared: 0"), "{said}");
    }

    /// Waits until the run has committed further transactions.
    async fn wait_for_progress(&self, bank: &mut Child) {
        let mut config = Config::new();
        config.host_path(self.postgres.directory()).user("postgres").dbname("postgres");
        let last = "SELECT coalesce(max(epoch * 1000000 + sequence), 0)::bigint FROM quorate.branches";
        let mut first: Option<i64> = None;
        for _ in 0..6_000 {
            assert!(bank.try_wait().unwrap().is_none(), "the run has ended");
            if let Ok((client, connection)) = config.connect(NoTls).await {
                tokio::spawn(connection);
                if let Ok(row) = client.query_one(last, &[]).await {
                    let now: i64 = row.get(0);
                    if now > 20 + *first.get_or_insert(now) {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the run commits nothing");
    }
}

fn program() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_bank")))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_bank_alone_needs_no_database() {
    let output = program().args(["--transfers", "50"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("total: 64000 of 64000"), "{said}");
}

#[test]
fn a_bank_with_one_database_is_refused() {
    let output = program().args(["--postgres", "postgres://localhost"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let unreachable = ["--postgres", "postgres://nobody@%2Fnonexistent/x", "--mysql", "mysql://nobody@127.0.0.1:1/x"];
    let data = tempfile::tempdir().unwrap();
    let output = program().args(unreachable).arg("--data").arg(data.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

/// A process that is killed when the test ends, however it does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_operator_is_answered_by_a_bank_that_runs() {
    let mut run = program();
    run.args(["--transfers", "1000000000", "--admin", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = Killed(run.spawn().unwrap());
    let mut lines = BufReader::new(run.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| line.strip_prefix("operators: ").map(str::to_owned)).expect("it is printed");
    let ask = |question: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(format!("{question}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (code, text) = answer.split_once('\n').expect("the exit code has a line of its own");
        (code.parse::<u8>().unwrap(), text.to_owned())
    };
    let (code, listed) = ask("list");
    assert!(code <= 1 && listed.starts_with("manager ") && listed.contains("start 1,"), "{code} {listed}");
    let manager = listed.split([' ', ',']).nth(1).expect("its identity");
    // Until the first transfer has begun, nothing is known of it.
    let show = format!("show\t{manager}/1.1");
    let (code, shown) =
        std::iter::repeat_with(|| ask(&show)).find(|(code, _)| *code != 4).expect("it repeats for ever");
    assert!(code <= 1 && shown.starts_with(&format!("{manager}/1.1: ")), "{code} {shown}");
    assert_eq!(ask("show\tnothing").0, 2, "a question that is none");
    assert_eq!(ask(&format!("forget\t{manager}/1.1")).0, 4, "all followed it");

    let output = program().args(["--admin", "0.0.0.0:0"]).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("loopback"), "{}", said(&output));
}

#[tokio::test]
async fn a_coordinator_that_crashes_at_each_point_leaves_nothing_behind() {
    let Some(bank) = Bank::new().await else { return };
    for point in ["prepare", "decision", "first-commit"] {
        let output = bank.run(&["--transfers", "40", "--crash-after", point]);
        assert_eq!(output.status.code(), None, "{}", said(&output));
        assert!(said(&output).contains("crash: "), "{}", said(&output));
        bank.audit();
    }
    let output = bank.run(&["--transfers", "40", "--crash-after", "decision"]);
    assert_eq!(output.status.code(), None, "{}", said(&output));
    // A run on top of one that was killed recovers first.
    let output = bank.run(&["--transfers", "40"]);
    assert!(output.status.success() && said(&output).contains("40 transfers committed"), "{}", said(&output));
}

#[tokio::test]
async fn the_coordinator_and_each_server_are_killed_in_the_middle() {
    let Some(mut bank) = Bank::new().await else { return };
    let mut run = bank.command(&["--transfers", "1000000"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bank.wait_for_progress(&mut run).await;
    bank.postgres.crash();
    bank.postgres.restart(&[]);
    bank.wait_for_progress(&mut run).await;
    bank.mariadb.crash();
    bank.mariadb.restart(&[]);
    bank.wait_for_progress(&mut run).await;
    run.kill().unwrap();
    run.wait().unwrap();
    bank.audit();
}
