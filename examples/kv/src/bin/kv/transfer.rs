//! `kv import`, `kv export` and `kv restore`.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use quorate_kv::address::Address;
use quorate_kv::config::ClusterConfig;
use quorate_kv::credentials::Credentials;
use quorate_kv::transfer::{self, Progress, ServerUrl, Summary};

use crate::CommandResult;
use crate::access::AccessArguments;

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// A file that Redis wrote (SAVE, BGSAVE, redis-cli --rdb)
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    rdb: Option<PathBuf>,
    /// A running Redis: `redis://[user:password@]host:port[/database]`
    #[arg(long)]
    from: Option<ServerUrl>,
    /// The database of the file whose keys are taken
    #[arg(long, default_value_t = 0, conflicts_with = "from")]
    db: u64,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The backup, or another file that Redis wrote
    file: PathBuf,
    /// The cluster file of a cluster that runs and has no keys
    #[arg(long, default_value = "cluster.toml")]
    config: PathBuf,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Args)]
pub(crate) struct ExportArguments {
    /// The cluster file
    #[arg(long)]
    config: PathBuf,
    /// The file, which must not exist yet
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    access: AccessArguments,
}

/// Something was not taken, and has been named.
#[derive(Debug, thiserror::Error)]
#[error("not all was taken")]
pub(crate) struct NotWhole;

pub(crate) fn import(arguments: &ImportArguments) -> CommandResult {
    let (nodes, credentials) = cluster(&arguments.config, &arguments.access)?;
    let mut shown = Shown::new();
    let mut report = |progress: &Progress| shown.show(progress);
    let summary = match (&arguments.rdb, &arguments.from) {
        (Some(path), _) => transfer::import_file(path, arguments.db, &nodes, &credentials, &mut report)?,
        (None, Some(url)) => transfer::import_from(url, &nodes, &credentials, &mut report)?,
        (None, None) => return Err("either --rdb or --from is needed".into()),
    };
    end(&summary)
}

pub(crate) fn restore(arguments: &RestoreArguments) -> CommandResult {
    let (nodes, credentials) = cluster(&arguments.config, &arguments.access)?;
    let mut shown = Shown::new();
    let mut report = |progress: &Progress| shown.show(progress);
    end(&transfer::restore(&arguments.file, &nodes, &credentials, &mut report)?)
}

pub(crate) fn export(arguments: &ExportArguments) -> CommandResult {
    let (nodes, credentials) = cluster(&arguments.config, &arguments.access)?;
    let mut shown = Shown::new();
    let mut report = |progress: &Progress| shown.show(progress);
    end(&transfer::export(&nodes, &credentials, &arguments.out, &mut report)?)
}

/// The addresses of a cluster's nodes, and what they are shown.
fn cluster(config: &Path, access: &AccessArguments) -> Result<(Vec<Address>, Credentials), Box<dyn Error>> {
    let config = ClusterConfig::read(config)?;
    let credentials = access.credentials(&config)?;
    Ok((config.clients().into_values().collect(), credentials))
}

fn end(summary: &Summary) -> CommandResult {
    // The reader may close the pipe before the end.
    let _ = writeln!(io::stdout(), "{summary}");
    if summary.is_whole() { Ok(()) } else { Err(NotWhole.into()) }
}

/// Writes the progress to standard error, once a second.
struct Shown {
    began: Instant,
    last: Instant,
}

impl Shown {
    fn new() -> Self {
        Self { began: Instant::now(), last: Instant::now() }
    }

    fn show(&mut self, progress: &Progress) {
        if self.last.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last = Instant::now();
        let Progress { keys, bytes, keys_expected } = *progress;
        let seconds = self.began.elapsed().as_secs().max(1);
        let (rate, left) = (keys / seconds, keys_expected.saturating_sub(keys));
        let left = left.checked_div(rate).map_or_else(String::new, |seconds| format!(", about {seconds} s left"));
        let _ = writeln!(io::stderr(), "{keys} of {keys_expected} keys, {bytes} bytes, {rate} keys/s{left}");
    }
}
