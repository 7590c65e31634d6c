//! `kv skip`: marks a command at which every node stops.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use quorate_kv::config::ClusterConfig;
use quorate_kv::skip_command;

#[derive(Args)]
pub(crate) struct SkipArguments {
    /// The index of the command, as the message of the stopped node names it
    index: u64,
    /// The id of the node, which must be stopped
    #[arg(long)]
    node: u64,
    /// The shard, whose number is that of its group
    #[arg(long, default_value_t = 0)]
    shard: u16,
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &SkipArguments) -> Result<(), Box<dyn std::error::Error>> {
    let SkipArguments { index, node, shard, .. } = *arguments;
    let config = ClusterConfig::read(&arguments.config)?;
    let skipped = skip_command(&config, node, shard, index)?;
    let line = format!(
        "node {node} will skip the command at index {index} (term {}, CRC-32C {:08x}). Its effect is lost. Mark it on \
         every other node as well before you start them: a node on which it is not marked stops at it again.",
        skipped.term.0, skipped.checksum
    );
    // The reader may close the pipe before the end.
    let _ = writeln!(io::stdout(), "{line}");
    Ok(())
}
