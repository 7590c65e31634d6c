//! `cluster.toml`: the nodes of a cluster and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, fs, io};

use serde::Deserialize;

use super::address::Address;
use super::command::hash_password;
use super::credentials::{Credentials, Login};
use super::store::PasswordHash;
use super::tls::{ClientsNeed, NodeTls, TlsFiles, TlsFilesError, dialer};

mod mistakes;
mod raw;

pub use mistakes::{Mistake, Mistakes, Problem};
use raw::{Check, RawCluster};

/// A checked cluster file. All addresses differ as they are written, and so do all ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name, from which its identity is derived.
    pub name: String,
    /// The folder of all data. Each node's data are in a subfolder named by the node's id.
    pub data: PathBuf,
    /// Number of log entries after which a node makes a snapshot (`snapshot_entries`, a million unless set). It keeps a
    /// hundredth of them for nodes that lag a little.
    pub snapshot_entries: u64,
    /// Maximum bytes of keys and values together (`maxmemory`, as in Redis, 0 unless set: no limit).
    pub memory_max: u64,
    /// The protocol that agrees on the log (`engine`, raft unless set).
    pub engine: Engine,
    /// Number of shards (`shards`, one unless set).
    pub shards: u16,
    /// A node answers a command for a shard that another node leads by that one's address (`redirect`), instead of
    /// having it carried out there.
    pub redirect: bool,
    /// The password of the user `default` until somebody changes that user by `ACL SETUSER` (`requirepass`, none unless
    /// set).
    pub requirepass: Option<String>,
    /// The certificates and keys (`tls`), without which nothing is encrypted.
    pub tls: Option<TlsFiles>,
    /// The nodes by id.
    pub nodes: BTreeMap<u64, NodeConfig>,
}

/// The protocol that agrees on the log. A cluster keeps the one with which it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Raft.
    #[default]
    Raft,
    /// Multi-Paxos.
    Paxos,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "raft" => Ok(Self::Raft),
            "paxos" => Ok(Self::Paxos),
            _ => Err("the engines are raft and paxos".to_owned()),
        }
    }
}

/// One node, and the addresses at which it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// For other nodes.
    pub peer: Address,
    /// For Redis clients. They are told this address of the node that leads.
    pub client: Address,
    /// For health checks, metrics and status.
    pub http: Address,
    /// The IP address at which the node listens (`bind`), such as 0.0.0.0. Unless set those of the hosts above, which
    /// a node behind a translation of addresses, or in a container, does not have.
    pub bind: Option<IpAddr>,
    /// The node is not one of those that begin the cluster: `kv member add` makes it a member.
    pub join: bool,
}

/// The addresses at which a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    /// For other nodes.
    pub peer: SocketAddr,
    /// For Redis clients.
    pub client: SocketAddr,
    /// For health checks, metrics and status.
    pub http: SocketAddr,
}

/// Errors of a cluster file. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The file is not TOML, lacks a field, or has an unknown one.
    #[error("{}: {error}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The place and the reason.
        error: Box<toml::de::Error>,
    },
    /// Values of the file are wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The node that is to be started is not in the file.
    #[error("there is no node {0} in the file")]
    UnknownNode(u64),
    /// A host of the node that is to be started cannot be looked up.
    #[error("node {node}: `{field}` {address}: {error}")]
    UnknownHost {
        /// The node.
        node: u64,
        /// The field of the address.
        field: &'static str,
        /// The address.
        address: Address,
        /// The reason.
        error: io::Error,
    },
    /// A node's address can be reached from other machines, without encryption.
    #[error("node {node}: `{field}` {address} can be reached from other machines, unencrypted; --insecure allows it")]
    NotLoopback {
        /// The node.
        node: u64,
        /// The field of the address.
        field: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

impl ClusterConfig {
    /// Reads and checks a file. A relative `data` is taken from the file's folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a cluster file. All wrong values are named.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file of this name.
    ///
    /// # Errors
    /// When it is not a cluster file. All wrong values are named.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: RawCluster = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })?;
        let checked = Check::new(text).check(raw, path.parent().unwrap_or(Path::new("")));
        checked.map_err(|mistakes| Mistakes { path: path.to_owned(), mistakes }.into())
    }

    /// The nodes that do not begin the cluster.
    pub fn joining(&self) -> BTreeSet<u64> {
        self.nodes.iter().filter(|(_, node)| node.join).map(|(id, _)| *id).collect()
    }

    /// The hash of the first password.
    pub fn first_password(&self) -> Option<PasswordHash> {
        self.requirepass.as_ref().map(|password| hash_password(password.as_bytes()))
    }

    /// The addresses for other nodes, by node id.
    pub fn peers(&self) -> BTreeMap<u64, Address> {
        self.nodes.iter().map(|(id, node)| (*id, node.peer.clone())).collect()
    }

    /// The addresses for clients, by node id.
    pub fn clients(&self) -> BTreeMap<u64, Address> {
        self.nodes.iter().map(|(id, node)| (*id, node.client.clone())).collect()
    }

    /// The addresses for tools, by node id.
    pub fn https(&self) -> BTreeMap<u64, Address> {
        self.nodes.iter().map(|(id, node)| (*id, node.http.clone())).collect()
    }

    /// The addresses at which the node that is to be started listens, if `exposure` allows them. Looks its hosts up.
    ///
    /// # Errors
    /// When there is no such node, a host is unknown, or it would listen to other machines unencrypted and `exposure`
    /// does not allow it.
    pub fn listeners(&self, id: u64, exposure: Exposure) -> Result<Listeners, ConfigError> {
        let node = self.nodes.get(&id).ok_or(ConfigError::UnknownNode(id))?;
        let at = |field, address: &Address| {
            let found = match node.bind {
                Some(ip) => Ok(SocketAddr::new(ip, address.port())),
                None => address.resolve(),
            };
            let unknown = |error| ConfigError::UnknownHost { node: id, field, address: address.clone(), error };
            let address = found.map_err(unknown)?;
            if exposure == Exposure::Loopback && !address.ip().is_loopback() && !self.encrypts(field) {
                return Err(ConfigError::NotLoopback { node: id, field, address });
            }
            Ok(address)
        };
        let (peer, client) = (at("peer", &node.peer)?, at("client", &node.client)?);
        Ok(Listeners { peer, client, http: at("http", &node.http)? })
    }

    /// The certificates and keys of a node, read from their files. `None` if nothing is encrypted.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not fit each other.
    pub fn load_tls(&self, node: u64) -> Result<Option<Arc<NodeTls>>, TlsFilesError> {
        self.tls.as_ref().map(|files| NodeTls::load(files.of_node(node))).transpose()
    }

    /// What a tool shows to the nodes, and what it trusts: `given`, or what the section `tls` names if clients encrypt.
    /// If they need a certificate, that of the first node whose files are on this machine is shown.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not fit each other.
    pub fn credentials(&self, login: Login, given: &ToolFiles) -> Result<Credentials, TlsFilesError> {
        let files = self.tls.as_ref().filter(|files| files.clients != ClientsNeed::Nothing);
        let Some(authorities) = given.ca.as_deref().or(files.map(|files| &*files.ca)) else {
            return Ok(Credentials { login, tls: None });
        };
        let needed = files.filter(|files| files.clients == ClientsNeed::Certificate);
        let here = needed.and_then(|files| {
            let mut all = self.nodes.keys().map(|node| files.of_node(*node));
            all.find(|files| files.cert.exists() && files.key.exists()).map(|files| (files.cert, files.key))
        });
        let own = given.own.clone().or(here);
        let own = own.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        Ok(Credentials { login, tls: Some(dialer(authorities, own)?) })
    }

    /// Returns true if who connects to this listener has to encrypt.
    fn encrypts(&self, field: &str) -> bool {
        match (&self.tls, field) {
            (None, _) => false,
            (Some(_), "peer") => true,
            (Some(files), _) => files.clients != ClientsNeed::Nothing,
        }
    }
}

/// Files that a tool was given in place of those of the cluster file.
#[derive(Debug, Clone, Default)]
pub struct ToolFiles {
    /// The authorities, in PEM.
    pub ca: Option<PathBuf>,
    /// The tool's certificate and its key, in PEM.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// The machines from which a node may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// From this machine.
    Loopback,
    /// From anywhere, unencrypted (`--insecure`).
    Anywhere,
}

const SNAPSHOT_ENTRIES_MIN: u64 = 100;
const CLUSTER_NAME_BYTES_MAX: usize = 255;
const NODES_MAX: usize = 9;

#[cfg(test)]
mod tests;
