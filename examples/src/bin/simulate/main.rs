//! `simulate`: runs protocols under faults from seeds, and judges the histories of clients.

// The simulator's own tests run `beside`, `decisions` and `transactions` too. They are in this package so that it is
// complete by itself.
mod beside;
mod check;
mod decisions;
mod diagnosis;
mod explore;
mod protocols;
mod raft;
mod replay;
mod synod;
mod transactions;
mod two_phase_commit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs a protocol under faults, each run from one seed, and checks its laws after every step.
///
/// The exit code is 0 if every law held, 1 if not, 2 if something could not be read or written.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
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
