//! A cluster in one process, for the tour.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use metrics_exporter_prometheus::PrometheusHandle;
use quorate_runtime::ServerOpenError;
use quorate_runtime::shell::DirectoryError;

use super::config::{ClusterConfig, ConfigError, Engine, Exposure, Listeners};
use super::credentials::Credentials;
use super::descriptors;
use super::http::record_metrics;
use super::node::{NodeError, NodeOptions, RunningNode};
use super::status::{self, GroupStatus};

/// Nodes on loopback, each on a thread of its own, with their data in one folder. The folder's `cluster.toml` is for
/// `kv status`.
#[derive(Debug)]
pub struct LocalCluster {
    config: ClusterConfig,
    metrics: PrometheusHandle,
    clients_max: usize,
    nodes: BTreeMap<u64, Option<RunningNode>>,
}

/// Reason why a cluster did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The folder's cluster file is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node did not start.
    #[error("node {id}: {error}")]
    Node {
        /// The node.
        id: u64,
        /// The reason.
        error: NodeError,
    },
    /// The folder's cluster began with another engine, and keeps it. Nothing was changed.
    #[error("the cluster in this folder runs on {0}: start it with --engine {0}")]
    OtherEngine(Engine),
    /// The folder's cluster has another number of shards. Nothing was changed.
    #[error("the cluster in this folder has another number of shards: start it with --shards {0}")]
    OtherShards(u16),
    /// A file or a port could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The process has another recorder of metrics.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
}

impl LocalCluster {
    /// Starts nodes 1 to `nodes` on free ports, with this number of shards, each with a log by `engine`. A folder that
    /// was used before keeps its cluster's name, and its data, and must be started with the same engine and shards.
    ///
    /// # Errors
    /// When a node does not start, or the folder cannot be used.
    pub fn start(folder: &Path, nodes: usize, shards: u16, engine: Engine) -> Result<Self, ClusterError> {
        let metrics = record_metrics().map_err(|error| ClusterError::Metrics(error.to_string()))?;
        let path = folder.join("cluster.toml");
        let before = if path.exists() { Some(ClusterConfig::read(&path)?) } else { None };
        if let Some(before) = before.as_ref().filter(|before| before.engine != engine) {
            return Err(ClusterError::OtherEngine(before.engine));
        }
        if let Some(before) = before.as_ref().filter(|before| before.shards != shards) {
            return Err(ClusterError::OtherShards(before.shards));
        }
        let name = before.map_or_else(draw_name, |before| Ok(before.name))?;
        let ids = 1..=nodes as u64;
        // All ports are held at once, so that they differ, and released just before they are used.
        let held: Vec<_> = ids.clone().map(|_| NodePorts::hold()).collect::<io::Result<_>>()?;
        let addresses = ids.clone().zip(held.iter().map(NodePorts::addresses));
        let addresses =
            addresses.map(|(id, addresses)| Ok((id, addresses?))).collect::<io::Result<BTreeMap<_, _>>>()?;
        fs::write(&path, describe(&name, engine, shards, &addresses))?;
        drop(held);
        let config = ClusterConfig::read(&path)?;
        let clients_max = descriptors::clients_max(descriptors::raise_limit()?, nodes);
        let mut cluster = Self { config, metrics, clients_max, nodes: ids.map(|id| (id, None)).collect() };
        for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
            cluster.restart(id)?;
        }
        Ok(cluster)
    }

    /// The addresses for clients of the running nodes, in the order of node ids.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.running().into_iter().map(|id| self.client_of(id)).collect()
    }

    /// A node's address for clients.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn client_of(&self, id: u64) -> SocketAddr {
        self.config.nodes[&id].client.resolve().expect("it is written as a number")
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.is_some()).map(|(id, _)| *id).collect()
    }

    /// A node that does not run, if there is one.
    pub fn stopped(&self) -> Option<u64> {
        self.nodes.iter().find(|(_, node)| node.is_none()).map(|(id, _)| *id)
    }

    /// The leader of each shard, if all running nodes name the same, and all of these run.
    pub fn leaders(&self) -> Option<Vec<u64>> {
        let told = self.running().into_iter().map(|id| {
            let groups = self.groups_of(id)?;
            groups.into_iter().map(|group| group.leader).collect::<Option<Vec<u64>>>()
        });
        let told: Vec<_> = told.collect::<Option<_>>()?;
        let first = told.first()?;
        let runs = |leader: &u64| self.nodes.get(leader).is_some_and(Option::is_some);
        (told.iter().all(|leaders| leaders == first) && first.iter().all(runs)).then(|| first.clone())
    }

    /// A running node's status of its shards.
    pub fn groups_of(&self, id: u64) -> Option<Vec<GroupStatus>> {
        status::fetch(&Credentials::default(), &self.config.nodes.get(&id)?.http).ok().map(|status| status.groups)
    }

    /// Stops a node as a crash would.
    pub fn kill(&mut self, id: u64) {
        self.nodes.insert(id, None);
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, id: u64) -> Result<(), ClusterError> {
        let start = Instant::now();
        let node = loop {
            let options = self.options(id)?;
            match RunningNode::start(options) {
                Ok(node) => break node,
                // A node that was killed a moment ago may still be writing.
                Err(NodeError::Open { error, .. }) if is_locked(&error) && start.elapsed() < PATIENCE => {
                    thread::sleep(GLANCE);
                }
                Err(error) => return Err(ClusterError::Node { id, error }),
            }
        };
        self.nodes.insert(id, Some(node));
        Ok(())
    }

    /// Shuts all nodes down, one after the other.
    ///
    /// # Errors
    /// Errors of a node.
    pub fn shutdown(self) -> io::Result<()> {
        self.nodes.into_values().flatten().try_for_each(RunningNode::shutdown)
    }

    fn options(&self, id: u64) -> Result<NodeOptions, ClusterError> {
        let Listeners { peer, client, http } = self.config.listeners(id, Exposure::Loopback)?;
        Ok(NodeOptions {
            spin: Duration::ZERO,
            cluster: self.config.name.clone(),
            id,
            peers: self.config.peers(),
            joining: self.config.joining(),
            clients: self.config.clients(),
            https: self.config.https(),
            clients_max: self.clients_max,
            data: self.config.data.clone(),
            snapshot_entries: self.config.snapshot_entries,
            memory_max: self.config.memory_max,
            engine: self.config.engine,
            shards: self.config.shards,
            redirect: self.config.redirect,
            peer,
            first_password: self.config.first_password(),
            tls: None,
            client: TcpListener::bind(client)?,
            http: Some((TcpListener::bind(http)?, self.metrics.clone())),
        })
    }
}

/// Three free ports of this machine.
struct NodePorts([TcpListener; 3]);

impl NodePorts {
    fn hold() -> io::Result<Self> {
        let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Ok(Self([any()?, any()?, any()?]))
    }

    fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        let [peer, client, http] = &self.0;
        Ok([peer.local_addr()?, client.local_addr()?, http.local_addr()?])
    }
}

fn is_locked(error: &ServerOpenError) -> bool {
    matches!(error, ServerOpenError::Directory(DirectoryError::Locked))
}

fn describe(name: &str, engine: Engine, shards: u16, nodes: &BTreeMap<u64, [SocketAddr; 3]>) -> String {
    let mut text = format!("cluster = \"{name}\"\ndata = \"data\"\nengine = \"{engine}\"\nshards = {shards}\n");
    for (id, [peer, client, http]) in nodes {
        let node = format!("\n[[node]]\nid = {id}\npeer = \"{peer}\"\nclient = \"{client}\"\nhttp = \"{http}\"\n");
        text.write_str(&node).expect("a string takes all");
    }
    text
}

fn draw_name() -> io::Result<String> {
    Ok(format!("demo-{:016x}", getrandom::u64().map_err(io::Error::other)?))
}

const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(10);
