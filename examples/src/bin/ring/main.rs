//! `ring`: shows the owner of a key, the balance of the load, and the keys that move when the nodes change, for each
//! algorithm of `quorate-consistent-hash`.

mod algorithm;
mod balance;
mod circle;
mod config;
mod error;
mod explain;
mod input;
mod movement;
mod owners;
mod plot;
mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use algorithm::Algorithm;
use error::Failure;

/// Consistent hashing at the command line.
///
/// Nodes are read from a file, one a line: `name [weight [zone [rack]]]`. Keys are read one a line. Lines end with LF
/// or CRLF.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints each key and its owner, with a tab between.
    Owners(owners::Options),
    /// Prints the way from a key to its node, step by step.
    Explain(explain::Options),
    /// Prints the load of each node beside its fair share.
    Balance(balance::Options),
    /// Prints the keys that move between two sets of nodes, and the share moved beside the minimum.
    Move(movement::Options),
    /// Draws the load of each node, the ring itself if it is one, and with `--to` the keys that move, as SVG.
    Plot(plot::Options),
}

/// The options of placement.
#[derive(Debug, Args)]
struct Placing {
    /// The algorithm.
    #[arg(long, value_enum, conflicts_with = "config")]
    algorithm: Option<Algorithm>,

    /// Tokens of a node of weight one (`ring`).
    #[arg(long, default_value_t = 160)]
    virtual_nodes: u32,

    /// Entries of the table, a prime number (`maglev`, `envoy-maglev`).
    #[arg(long, default_value_t = 65537)]
    table_size: u32,

    /// The least number of tokens of the ring: 8388608 at most (`envoy`); above 4096 it counts as 4096 (`grpc`).
    #[arg(long, default_value_t = 1024)]
    ring_size: u64,

    /// The hash of keys, by its name in the system: `md5`, `fnv1a_64` and others (libmemcached, twemproxy), or words
    /// such as `"wt6 avalanche"` (`haproxy`).
    #[arg(long, value_name = "NAME")]
    hash: Option<String>,

    /// The two bytes between which a part of the key is hashed alone (`twemproxy`, `twemproxy-modula`).
    #[arg(long, value_name = "AB")]
    hash_tag: Option<String>,

    #[command(flatten)]
    config: config::Source,
}

/// The keys on which load is measured: those of a file, or a sample.
#[derive(Debug, Args)]
struct Sampling {
    /// Measures on these keys, one a line.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// The keys are decimal numbers, which are the hashes themselves.
    #[arg(long, requires = "keys")]
    numeric: bool,

    /// Without a file of keys, measures on this number of keys `0`, `1`, `2`, ...
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    samples: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    match run(&cli, &mut out).and_then(|()| out.flush().map_err(Failure::Output)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ring: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, out: &mut dyn Write) -> Result<(), Failure> {
    match &cli.command {
        Command::Owners(options) => owners::run(options, out),
        Command::Explain(options) => explain::run(options, out),
        Command::Balance(options) => balance::run(options, out),
        Command::Move(options) => movement::run(options, out),
        Command::Plot(options) => plot::run(options, out),
    }
}
