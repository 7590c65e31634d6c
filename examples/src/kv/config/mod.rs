//! `cluster.toml`: the nodes of a cluster and their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs, io};

use serde::Deserialize;

use super::shards::layout::SHARDS_MAX;

/// A checked cluster file. All addresses differ, and so do all ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name, from which its identity is derived.
    pub name: String,
    /// The folder of all data. Each node's data are in a subfolder named by the node's id.
    pub data: PathBuf,
    /// Number of log entries after which a node makes a snapshot (`snapshot_entries`, a million unless set). It keeps a
    /// hundredth of them for nodes that lag a little.
    pub snapshot_entries: u64,
    /// The protocol that agrees on the log (`engine`, raft unless set).
    pub engine: Engine,
    /// Number of shards (`shards`, one unless set).
    pub shards: u16,
    /// A node answers a command for a shard that another node leads by that one's address (`redirect`), instead of
    /// having it carried out there.
    pub redirect: bool,
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

/// One node, and the addresses on which it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConfig {
    /// For other nodes.
    pub peer: SocketAddr,
    /// For Redis clients.
    pub client: SocketAddr,
    /// For health checks, metrics and status.
    pub http: SocketAddr,
    /// The node is not one of those that begin the cluster: `kv member add` makes it a member.
    pub join: bool,
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
    /// The cluster has no name, or one that is too long.
    #[error("`cluster` is a name of 1 to {CLUSTER_NAME_BYTES_MAX} bytes")]
    Name,
    /// `snapshot_entries` is below its minimum.
    #[error("`snapshot_entries` is at least {SNAPSHOT_ENTRIES_MIN}")]
    SnapshotEntries,
    /// There are no shards, or too many.
    #[error("`shards` is from 1 to {SHARDS_MAX}, not {0}")]
    Shards(u16),
    /// A store of several shards keeps the nodes with which it began.
    #[error("node {0} has `join = true`: a store of several shards keeps the nodes with which it began")]
    JoinsShards(u64),
    /// There are no nodes, or too many.
    #[error("a cluster has 1 to {NODES_MAX} nodes, not {0}")]
    NodeCount(usize),
    /// No node begins the cluster.
    #[error("every node has `join = true`: the nodes that begin the cluster have none")]
    NoFounder,
    /// An id is 0.
    #[error("node ids begin at 1")]
    ZeroId,
    /// Two nodes have the same id.
    #[error("node {0} stands there twice")]
    DuplicateId(u64),
    /// An address is invalid.
    #[error("node {node}: `{field}` is an IP address and a port such as 127.0.0.1:7001, not {text:?}")]
    Address {
        /// The node.
        node: u64,
        /// The field of the address.
        field: &'static str,
        /// The text of the field.
        text: String,
    },
    /// A port is 0, which means any free one: other nodes could not find the node.
    #[error("node {node}: `{field}` {address} has no port: 0 is none that others can dial")]
    NoPort {
        /// The node.
        node: u64,
        /// The field of the address.
        field: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Two listeners have the same address.
    #[error("node {node}: `{field}` {address} is taken by another listener")]
    DuplicateAddress {
        /// The later of the nodes.
        node: u64,
        /// The field of the address.
        field: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The node that is to be started is not in the file.
    #[error("there is no node {0} in the file")]
    UnknownNode(u64),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    cluster: String,
    data: PathBuf,
    #[serde(default = "snapshot_entries_default")]
    snapshot_entries: u64,
    #[serde(default)]
    engine: Engine,
    #[serde(default = "shards_default")]
    shards: u16,
    #[serde(default)]
    redirect: bool,
    #[serde(default)]
    node: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: u64,
    peer: String,
    client: String,
    http: String,
    #[serde(default)]
    join: bool,
}

impl ClusterConfig {
    /// Reads and checks a file. A relative `data` is taken from the file's folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a cluster file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let raw = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), error: Box::new(error) })?;
        Self::check(raw, path.parent().unwrap_or(Path::new("")))
    }

    /// The nodes that do not begin the cluster.
    pub fn joining(&self) -> BTreeSet<u64> {
        self.nodes.iter().filter(|(_, node)| node.join).map(|(id, _)| *id).collect()
    }

    /// The addresses for other nodes, by node id.
    pub fn peers(&self) -> BTreeMap<u64, SocketAddr> {
        self.nodes.iter().map(|(id, node)| (*id, node.peer)).collect()
    }

    /// The addresses for clients, by node id.
    pub fn clients(&self) -> BTreeMap<u64, SocketAddr> {
        self.nodes.iter().map(|(id, node)| (*id, node.client)).collect()
    }

    /// The node that is to be started, if `exposure` allows its addresses.
    ///
    /// # Errors
    /// When there is no such node, or it would listen to other machines and `exposure` does not allow it.
    pub fn node(&self, id: u64, exposure: Exposure) -> Result<NodeConfig, ConfigError> {
        let node = *self.nodes.get(&id).ok_or(ConfigError::UnknownNode(id))?;
        for (field, address) in node.listeners() {
            if exposure == Exposure::Loopback && !address.ip().is_loopback() {
                return Err(ConfigError::NotLoopback { node: id, field, address });
            }
        }
        Ok(node)
    }

    fn check(raw: RawCluster, folder: &Path) -> Result<Self, ConfigError> {
        if raw.cluster.is_empty() || raw.cluster.len() > CLUSTER_NAME_BYTES_MAX {
            return Err(ConfigError::Name);
        }
        if raw.snapshot_entries < SNAPSHOT_ENTRIES_MIN {
            return Err(ConfigError::SnapshotEntries);
        }
        if raw.node.is_empty() || raw.node.len() > NODES_MAX {
            return Err(ConfigError::NodeCount(raw.node.len()));
        }
        if !(1..=SHARDS_MAX).contains(&raw.shards) {
            return Err(ConfigError::Shards(raw.shards));
        }
        let RawCluster { cluster: name, data, snapshot_entries, engine, shards, redirect, node: raw_nodes } = raw;
        let mut nodes = BTreeMap::new();
        let mut taken = Vec::new();
        for raw in raw_nodes {
            if raw.id == 0 {
                return Err(ConfigError::ZeroId);
            }
            let node = NodeConfig {
                peer: address(raw.id, "peer", raw.peer)?,
                client: address(raw.id, "client", raw.client)?,
                http: address(raw.id, "http", raw.http)?,
                join: raw.join,
            };
            for (field, address) in node.listeners() {
                if taken.contains(&address) {
                    return Err(ConfigError::DuplicateAddress { node: raw.id, field, address });
                }
                taken.push(address);
            }
            if nodes.insert(raw.id, node).is_some() {
                return Err(ConfigError::DuplicateId(raw.id));
            }
        }
        if nodes.values().all(|node| node.join) {
            return Err(ConfigError::NoFounder);
        }
        if let Some((id, _)) = nodes.iter().find(|(_, node)| node.join && shards > 1) {
            return Err(ConfigError::JoinsShards(*id));
        }
        Ok(Self { name, data: folder.join(data), snapshot_entries, engine, shards, redirect, nodes })
    }
}

/// The machines from which a node may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// From this machine.
    Loopback,
    /// From anywhere, unencrypted (`--insecure`).
    Anywhere,
}

impl NodeConfig {
    fn listeners(&self) -> [(&'static str, SocketAddr); 3] {
        [("peer", self.peer), ("client", self.client), ("http", self.http)]
    }
}

fn address(node: u64, field: &'static str, text: String) -> Result<SocketAddr, ConfigError> {
    let address: SocketAddr = text.parse().map_err(|_| ConfigError::Address { node, field, text })?;
    if address.port() == 0 { Err(ConfigError::NoPort { node, field, address }) } else { Ok(address) }
}

fn snapshot_entries_default() -> u64 {
    1_000_000
}

fn shards_default() -> u16 {
    1
}

const SNAPSHOT_ENTRIES_MIN: u64 = 100;
const CLUSTER_NAME_BYTES_MAX: usize = 255;
const NODES_MAX: usize = 9;

#[cfg(test)]
mod tests;
