//! `register`: named values on three nodes without a leader. Any node answers, and any one of them may be killed.
//!
//! - `serve.rs` is a node: a `quorate-paxos` register group on a server, and a listener for clients.
//! - `client.rs` asks one node after another until one gives an answer.
//! - `wire.rs` is what they say to each other: a line of JSON each way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::{Client, Failure};
use wire::Change;

mod client;
mod serve;
mod wire;

/// Named values on three nodes without a leader: any node takes reads and writes, and two of three are enough.
///
/// Exit codes: 0 it is done; 1 the key has no value, or another one than expected; 2 the command line is wrong; 3
/// nothing was changed; 4 it is unknown whether the change took effect.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    cluster: Cluster,
}

/// The nodes. The first is node 1.
#[derive(Args, Clone)]
struct Cluster {
    /// Where the nodes reach each other, by node
    #[arg(long, global = true, value_delimiter = ',',
        default_values = ["127.0.0.1:7201", "127.0.0.1:7202", "127.0.0.1:7203"])]
    peers: Vec<SocketAddr>,
    /// Where clients reach the nodes, by node
    #[arg(long, global = true, value_delimiter = ',',
        default_values = ["127.0.0.1:7211", "127.0.0.1:7212", "127.0.0.1:7213"])]
    clients: Vec<SocketAddr>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a node until it is interrupted
    Serve {
        /// The number of this node, from 1 on
        #[arg(long)]
        node: u64,
        /// The folder of the nodes' data
        #[arg(long, default_value = "register-data")]
        data: PathBuf,
    },
    /// Prints the value of a key
    Get {
        key: String,
        #[command(flatten)]
        first: First,
    },
    /// Sets the value of a key, whatever it was
    Set {
        key: String,
        value: String,
        #[command(flatten)]
        first: First,
    },
    /// Sets the value of a key if it is as expected
    Cas {
        key: String,
        /// The new value
        value: String,
        /// The value that the key must have; without this it must have none
        #[arg(long)]
        expect: Option<String>,
        #[command(flatten)]
        first: First,
    },
    /// Deletes a key, whatever its value was
    Delete {
        key: String,
        #[command(flatten)]
        first: First,
    },
}

#[derive(Args)]
struct First {
    /// The node to ask first
    #[arg(long, default_value_t = 1)]
    node: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { command, cluster } = Arguments::parse();
    let Err(failure) = run(command, cluster).await else { return ExitCode::SUCCESS };
    eprintln!("register: {failure}");
    ExitCode::from(failure.code())
}

async fn run(command: Command, cluster: Cluster) -> Result<(), Failure> {
    let client = |first: First| Client::new(cluster.clients.clone(), first.node);
    match command {
        Command::Serve { node, data } => serve::serve(node, &data, &cluster.peers, &cluster.clients).await,
        Command::Get { key, first } => {
            let value = client(first)?.get(key).await?.ok_or(Failure::NoValue)?;
            println!("{value}");
            Ok(())
        }
        Command::Set { key, value, first } => client(first)?.change(key, Change::Set { value }).await,
        Command::Cas { key, value, expect, first } => {
            client(first)?.change(key, Change::CompareAndSet { expect, value }).await
        }
        Command::Delete { key, first } => client(first)?.change(key, Change::Delete).await,
    }
}
