//! `simulate`: judges recorded histories.

mod check;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Judges what clients of a cluster saw.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check(check) => ExitCode::from(check.run()),
    }
}
