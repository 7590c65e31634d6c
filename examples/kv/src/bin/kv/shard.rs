//! `kv shard`: the shards, and moves of slots between them.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_kv::config::ClusterConfig;
use quorate_kv::moves::{self, LayoutRequest};

use crate::access::AccessArguments;

#[derive(Args)]
pub(crate) struct ShardArguments {
    #[command(subcommand)]
    change: Change,
    /// The cluster file
    #[arg(long, global = true, default_value = "cluster.toml")]
    config: PathBuf,
    /// Shows which slots would move, and moves none
    #[arg(long, global = true)]
    dry_run: bool,
    /// Longest time to wait, in seconds. The move itself goes on
    #[arg(long, global = true, default_value_t = 3600)]
    timeout: u64,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Subcommand)]
enum Change {
    /// Shows the shards, and the moves under way
    List,
    /// Moves slots to another shard, and waits until all their keys are there
    Move {
        /// The shard that holds them
        from: u16,
        /// The shard that will hold them
        to: u16,
        /// The slots, such as 5 or 0-99
        #[arg(required = true, value_parser = slots)]
        slots: Vec<(u16, u16)>,
    },
    /// Moves half of a shard's slots to another one
    Split {
        /// The shard
        from: u16,
        /// The shard that gets them
        to: u16,
    },
    /// Moves as few slots as possible, so that each shard holds as many as the others
    Rebalance,
}

pub(crate) fn run(arguments: &ShardArguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = ClusterConfig::read(&arguments.config)?;
    let credentials = arguments.access.credentials(&config)?;
    // The reader may close the pipe before the end.
    let say = |line: &str| drop(writeln!(io::stdout(), "{line}"));
    let change = match &arguments.change {
        Change::List => {
            say(moves::list(&credentials, &config)?.trim_end());
            return Ok(());
        }
        Change::Move { from, to, slots } => {
            let slots = slots.iter().flat_map(|(first, last)| *first..=*last).collect();
            LayoutRequest::Move { from: *from, to: *to, slots }
        }
        Change::Split { from, to } => LayoutRequest::Split { from: *from, to: *to },
        Change::Rebalance => LayoutRequest::Rebalance,
    };
    say(moves::plan(&credentials, &config, &change)?.trim_end());
    if !arguments.dry_run {
        say(&moves::run(&credentials, &config, &change, Duration::from_secs(arguments.timeout), say)?);
    }
    Ok(())
}

fn slots(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no slot"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} comes after {last}")) } else { Ok((first, last)) }
}
