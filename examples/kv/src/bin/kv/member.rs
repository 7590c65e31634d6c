//! `kv member`: the members of the group.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_kv::config::ClusterConfig;
use quorate_kv::members::{self, MemberCommand, MemberError};
use quorate_kv::moves::ShardError;

use crate::access::AccessArguments;
use crate::transfer::NotWhole;

#[derive(Args)]
pub(crate) struct MemberArguments {
    #[command(subcommand)]
    change: Change,
    /// The cluster file
    #[arg(long, global = true, default_value = "cluster.toml")]
    config: PathBuf,
    /// Longest time to wait, in seconds. The change itself goes on
    #[arg(long, global = true, default_value_t = 600)]
    timeout: u64,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Subcommand)]
enum Change {
    /// Shows the members
    List,
    /// Adds a node that was started, and waits until it votes
    Add {
        /// The node
        id: u64,
        /// It becomes a learner, which does not vote; waits until it has caught up
        #[arg(long)]
        learner: bool,
    },
    /// Makes a learner a voter, and waits until it votes
    Promote {
        /// The node
        id: u64,
    },
    /// Makes a voter a learner
    Demote {
        /// The node
        id: u64,
    },
    /// Removes a node
    Remove {
        /// The node
        id: u64,
    },
    /// Replaces a node by another one, or by the empty disk on which it was started again, and waits until that votes
    Replace {
        /// The node that leaves
        old: u64,
        /// The node that takes its place; the same id if its data directory was lost
        new: u64,
    },
}

pub(crate) fn run(arguments: &MemberArguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = ClusterConfig::read(&arguments.config)?;
    let credentials = arguments.access.credentials(&config)?;
    let command = match arguments.change {
        Change::List => {
            let table = members::list(&credentials, &config)?;
            // The reader may close the pipe before the end.
            let _ = io::stdout().write_all(table.as_bytes());
            return Ok(());
        }
        Change::Add { id, learner: false } => MemberCommand::Add(id),
        Change::Add { id, learner: true } => MemberCommand::AddLearner(id),
        Change::Promote { id } => MemberCommand::Promote(id),
        Change::Demote { id } => MemberCommand::Demote(id),
        Change::Remove { id } => MemberCommand::Remove(id),
        Change::Replace { old, new } => MemberCommand::Replace { old, new },
    };
    let say = |line: &str| drop(writeln!(io::stdout(), "{line}"));
    say(&members::run(&credentials, &config, command, Duration::from_secs(arguments.timeout), say)?);
    Ok(())
}

/// The exit code for an error: 3 if a change of members or a move of slots may be under way, 4 if an import or export
/// did not take everything, 1 otherwise.
pub(crate) fn exit_code(error: &(dyn std::error::Error + 'static)) -> u8 {
    let changes_members = matches!(error.downcast_ref(), Some(MemberError::UnderWay(_)));
    let moves_slots = matches!(error.downcast_ref(), Some(ShardError::UnderWay(_)));
    match () {
        () if changes_members || moves_slots => 3,
        () if error.is::<NotWhole>() => 4,
        () => 1,
    }
}
