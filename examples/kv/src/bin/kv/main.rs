//! `kv`: a replicated key-value store that speaks the Redis protocol.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use quorate_kv::certs;
use quorate_kv::config::{ClusterConfig, Engine, Exposure, NodeConfig};
use quorate_kv::credentials::Credentials;
use quorate_kv::logging::{LogFormat, log_to_stderr};
use quorate_kv::status;

mod access;
mod backup;
mod load;
mod member;
mod record;
mod serve;
mod shard;
mod skip;
mod tour;
mod transfer;

use access::AccessArguments;

/// A replicated key-value store that speaks the Redis protocol. Without a command it gives a tour of a cluster of three
/// nodes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArguments,
}

#[derive(Subcommand)]
enum Command {
    /// A tour of three nodes in one process: an election, writes, a killed leader, the remaining data, the restart (the
    /// default)
    Demo(DemoArguments),
    /// Runs one node of a cluster until a signal stops it
    Serve(ServeArguments),
    /// Checks a cluster file, and names the place of each mistake
    Check(CheckArguments),
    /// Shows the status of each node of a cluster
    Status(StatusArguments),
    /// Shows or changes the members of a running cluster
    Member(member::MemberArguments),
    /// Shows the shards of a running cluster, or moves slots between them
    Shard(shard::ShardArguments),
    /// Writes all keys of a running cluster, as they are at one moment, to an RDB file
    Backup(backup::BackupArguments),
    /// Writes the keys of a backup into a cluster that runs and has none
    Restore(transfer::RestoreArguments),
    /// Makes certificates and keys for the nodes and clients of a cluster, to try encryption with
    Certs(CertsArguments),
    /// Marks a command at which every node stops: the node skips it from its next start on
    Skip(skip::SkipArguments),
    /// Writes keys of Redis, from a file or a running server, into a running cluster
    Import(transfer::ImportArguments),
    /// Writes the keys of a running cluster into a file that Redis loads
    Export(transfer::ExportArguments),
    /// Records the answers to clients of a running cluster under load; `simulate check` judges them
    Record(RecordArguments),
}

#[derive(Args)]
struct DemoArguments {
    /// Goes on serving after the tour, until it is interrupted
    #[arg(long)]
    serve: bool,
    /// Folder for node data; a temporary directory unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The protocol that agrees on the log: raft or paxos
    #[arg(long, default_value_t)]
    engine: Engine,
    /// Number of shards
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    shards: u16,
}

#[derive(Args)]
struct ServeArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The id of this node in the cluster file
    #[arg(long)]
    node: u64,
    /// Allows addresses that other machines can reach, unencrypted
    #[arg(long)]
    insecure: bool,
    /// The form of the lines of the log: text or json
    #[arg(long, default_value_t)]
    log_format: LogFormat,
    /// Looks for work for 300 us before it sleeps. A few clients get answers sooner, and the machine should have
    /// processors to spare
    #[arg(long)]
    spin: bool,
}

#[derive(Args)]
struct CheckArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
}

#[derive(Args)]
struct CertsArguments {
    /// The folder for the files, none of which may exist yet
    folder: PathBuf,
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
}

#[derive(Args)]
struct StatusArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// Shows it again every two seconds, until it is interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Args)]
struct RecordArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// Duration of the recording in seconds
    #[arg(long)]
    seconds: u64,
    /// File for the history; must not exist yet
    #[arg(long)]
    out: PathBuf,
    /// Number of clients, each with one call at a time
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1000))]
    processes: u64,
    /// Number of keys that they share
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Records transactions over lists (MULTI, EXEC, WATCH, RPUSH, LRANGE) instead of calls on registers
    #[arg(long)]
    transactions: bool,
    #[command(flatten)]
    access: AccessArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => demo(&arguments.demo),
        Some(Command::Demo(demo_arguments)) => demo(&demo_arguments),
        Some(Command::Serve(serve_arguments)) => serve(&serve_arguments),
        Some(Command::Check(check_arguments)) => check(&check_arguments),
        Some(Command::Status(status_arguments)) => print_status(&status_arguments),
        Some(Command::Member(member_arguments)) => member::run(&member_arguments),
        Some(Command::Shard(shard_arguments)) => shard::run(&shard_arguments),
        Some(Command::Backup(backup_arguments)) => backup::run(&backup_arguments),
        Some(Command::Certs(certs_arguments)) => make_certs(&certs_arguments),
        Some(Command::Skip(skip_arguments)) => skip::run(&skip_arguments),
        Some(Command::Restore(restore_arguments)) => transfer::restore(&restore_arguments),
        Some(Command::Import(import_arguments)) => transfer::import(&import_arguments),
        Some(Command::Export(export_arguments)) => transfer::export(&export_arguments),
        Some(Command::Record(record_arguments)) => record(&record_arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code reports the failure as well.
            let _ = writeln!(io::stderr(), "kv: {error}");
            ExitCode::from(member::exit_code(&*error))
        }
    }
}

type CommandResult = Result<(), Box<dyn std::error::Error>>;

fn demo(arguments: &DemoArguments) -> CommandResult {
    let _log = log_to_stderr("error", LogFormat::Text);
    let end = if arguments.serve { tour::End::Serve } else { tour::End::Stop };
    tour::run(arguments.dir.as_deref(), arguments.engine, arguments.shards, end)
}

fn serve(arguments: &ServeArguments) -> CommandResult {
    let _log = log_to_stderr("info", arguments.log_format);
    let config = ClusterConfig::read(&arguments.config)?;
    let exposure = if arguments.insecure { Exposure::Anywhere } else { Exposure::Loopback };
    serve::run(&config, arguments.node, exposure, arguments.spin)
}

fn check(arguments: &CheckArguments) -> CommandResult {
    let config = ClusterConfig::read(&arguments.config)?;
    let joining = config.joining().len();
    let joining = if joining == 0 { String::new() } else { format!(", {joining} of which join later") };
    let (nodes, shards, engine) = (config.nodes.len(), config.shards, config.engine);
    let text = format!("{}: {nodes} nodes{joining}, shards: {shards}, engine: {engine}\n", arguments.config.display());
    // The reader may close the pipe before the end.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Shows the status again and again, in place of what was shown before if somebody looks. Ends when the reader does.
fn watch_status(credentials: &Credentials, config: &ClusterConfig) -> CommandResult {
    let mut out = io::stdout();
    let clear = if out.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let (table, _) = status::table(credentials, config);
        match writeln!(out, "{clear}{table}").and_then(|()| out.flush()) {
            Ok(()) => thread::sleep(WATCH_PERIOD),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Pause between two looks.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

fn print_status(arguments: &StatusArguments) -> CommandResult {
    let config = ClusterConfig::read(&arguments.config)?;
    let credentials = arguments.access.credentials(&config)?;
    if arguments.watch {
        return watch_status(&credentials, &config);
    }
    let (table, reached) = status::table(&credentials, &config);
    // The reader may close the pipe before the end.
    let _ = io::stdout().write_all(table.as_bytes());
    if reached == 0 {
        return Err("no node was reached".into());
    }
    Ok(())
}

fn make_certs(arguments: &CertsArguments) -> CommandResult {
    let config = ClusterConfig::read(&arguments.config)?;
    let hosts =
        |node: &NodeConfig| [&node.peer, &node.client, &node.http].map(|address| address.host().to_owned()).to_vec();
    let nodes = config.nodes.iter().map(|(id, node)| (*id, hosts(node))).collect();
    Ok(certs::make(&arguments.folder, &nodes)?)
}

fn record(arguments: &RecordArguments) -> CommandResult {
    let config = ClusterConfig::read(&arguments.config)?;
    let RecordArguments { seconds, processes, keys, transactions, .. } = *arguments;
    let calls = if transactions { record::Calls::Transactions } else { record::Calls::Registers };
    let credentials = arguments.access.credentials(&config)?;
    record::run(&config, &credentials, record::Load { seconds, processes, keys, calls }, &arguments.out)
}
