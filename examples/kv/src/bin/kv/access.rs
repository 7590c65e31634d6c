//! How the commands of `kv` enter a cluster.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use quorate_kv::config::{ClusterConfig, ToolFiles};
use quorate_kv::credentials::{Credentials, Login};

/// How a cluster is entered.
#[derive(Args)]
pub(crate) struct AccessArguments {
    /// The user as whom the cluster is entered, `default` unless given
    #[arg(long, global = true)]
    user: Option<String>,
    /// A file whose first line is the password; without it the environment variable KV_PASSWORD is
    #[arg(long, global = true)]
    password_file: Option<PathBuf>,
    /// The authorities of the nodes' certificates, in PEM; those of the cluster file unless given
    #[arg(long, global = true)]
    cacert: Option<PathBuf>,
    /// A certificate to show, in PEM; where one is needed, that of a node on this machine unless given
    #[arg(long, global = true, requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, global = true, requires = "cert")]
    key: Option<PathBuf>,
}

impl AccessArguments {
    /// What is shown to the nodes of a cluster, and what is trusted.
    pub(crate) fn credentials(&self, config: &ClusterConfig) -> Result<Credentials, Box<dyn Error>> {
        let password = match &self.password_file {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
            None => std::env::var("KV_PASSWORD").ok(),
        };
        let login = Login { user: self.user.clone(), password };
        let files = ToolFiles { ca: self.cacert.clone(), own: self.cert.clone().zip(self.key.clone()) };
        Ok(config.credentials(login, &files)?)
    }
}
