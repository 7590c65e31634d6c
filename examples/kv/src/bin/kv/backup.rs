//! `kv backup`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use quorate_kv::backup::{BackupError, fetch};
use quorate_kv::config::ClusterConfig;

use crate::access::AccessArguments;

/// The arguments of `kv backup`.
#[derive(Args)]
pub(crate) struct BackupArguments {
    /// The file, which must not exist yet
    file: PathBuf,
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    config: PathBuf,
    /// The node that is asked; the first that answers unless given
    #[arg(long)]
    node: Option<u64>,
    #[command(flatten)]
    access: AccessArguments,
}

pub(crate) fn run(arguments: &BackupArguments) -> Result<(), Box<dyn Error>> {
    let config = ClusterConfig::read(&arguments.config)?;
    let credentials = arguments.access.credentials(&config)?;
    let wanted = |id: &u64| arguments.node.is_none_or(|node| node == *id);
    let nodes: Vec<_> = config.nodes.iter().filter(|(id, _)| wanted(id)).collect();
    if nodes.is_empty() {
        return Err(format!("there is no node {} in the file", arguments.node.unwrap_or_default()).into());
    }
    let mut failures = String::new();
    for (id, node) in nodes {
        let start = Instant::now();
        let bar = ProgressBar::new_spinner().with_style(style());
        let result = fetch(&credentials, &node.http, &arguments.file, |bytes| bar.set_position(bytes));
        bar.finish_and_clear();
        match result {
            Ok(content) => {
                let (file, keys, bytes) = (arguments.file.display(), content.keys, HumanBytes(content.bytes));
                let text =
                    format!("{file}: {keys} keys, {bytes}, from node {id} in {:.1} s\n", start.elapsed().as_secs_f64());
                // The reader may close the pipe before the end.
                let _ = io::stdout().write_all(text.as_bytes());
                return Ok(());
            }
            Err(BackupError::Exists) => {
                return Err(format!("{}: {}", arguments.file.display(), BackupError::Exists).into());
            }
            Err(error) => write!(failures, "\n  node {id}: {error}")?,
        }
    }
    Err(format!("no node gave a backup:{failures}").into())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {bytes} at {bytes_per_sec}, {elapsed}").expect("it is a constant")
}
