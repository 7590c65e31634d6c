//! Inspects the log of a stopped node, and reports whether it is intact. Changes nothing and takes no lock.

use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use quorate_wal::disk::ReadOnlyDisk;
use quorate_wal::inspect::{Condition, Detail, inspect};

/// Inspects a log and reports whether it is intact. Nothing is written, and no lock is taken.
///
/// The log of a running node changes while it is read: a batch that is being written looks like a torn tail, and a
/// segment that is freed meanwhile like a missing one. Stop the node, or look at a copy.
///
/// Exit codes: 0 clean; 1 torn, opening the log will repair it and lose nothing that was acknowledged; 2 corrupt,
/// the log will refuse to open; 3 cannot be judged: not readable, not a log, of a newer format, or wrong usage.
#[derive(Debug, Parser)]
#[command(name = "wal-inspect", version)]
struct Arguments {
    /// The log's directory, or the node's directory that holds it under the name `log`.
    directory: PathBuf,
    /// Prints damage, batches that opening will write again, and the condition alone.
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If the output is closed, the message is not wanted.
            let _ = error.print();
            return if error.use_stderr() { Condition::Unreadable.into() } else { ExitCode::SUCCESS };
        }
    };
    let within = arguments.directory.join("log");
    let directory = if within.is_dir() { within } else { arguments.directory };
    if let Err(error) = std::fs::read_dir(&directory) {
        eprintln!("wal-inspect: {}: {error}", directory.display());
        return Condition::Unreadable.into();
    }
    let detail = if arguments.verify { Detail::Condition } else { Detail::Everything };
    let mut out = BufWriter::new(stdout().lock());
    let looked = inspect(&ReadOnlyDisk::new(directory), Path::new(""), detail, &mut out);
    match looked.and_then(|condition| out.flush().map(|()| condition)) {
        Ok(condition) => condition.into(),
        Err(error) => {
            eprintln!("wal-inspect: {error}");
            Condition::Unreadable.into()
        }
    }
}
