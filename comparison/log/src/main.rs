//! Measures the cores of our two replicated logs beside those of omnipaxos and raft-rs.
//!
//! ```text
//! cargo run --profile whole -p compare-log -- cores
//! cargo run --profile whole -p compare-log -- recovery
//! ```

mod cores;
mod omni;
mod ours;
mod raft_rs;
mod recovery;

use clap::{Parser, Subcommand};

/// What to measure.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Entries per second of processor time: three cores in one loop, without encoding, syncs and sockets.
    Cores(cores::Arguments),
    /// Recovery in the three cases of partial connectivity, in election time-outs.
    Recovery(recovery::Arguments),
}

fn main() -> std::io::Result<()> {
    match Arguments::parse().what {
        What::Cores(arguments) => cores::run(&arguments),
        What::Recovery(arguments) => recovery::run(&arguments),
    }
}
