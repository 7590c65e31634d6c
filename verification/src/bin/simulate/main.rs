//! `simulate`: runs protocols under faults from seeds, and judges the histories of clients.

mod check;
mod diagnosis;
mod explore;
mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs a protocol under faults, each run from one seed, and checks its laws after every step.
///
/// The exit code is 0 if every law held, 1 if not, 2 if something could not be read or written.
#[derive(Debug, Parser)]
#[command(name = "simulate", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    explore: explore::Explore,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(match arguments.command {
        Some(Command::Check(check)) => check.run(),
        None => arguments.explore.run(),
    })
}
