//! One node: its replica, its clients and its http port, on a thread of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{HaltReason, LogIndex};
use quorate_raft::UpToDateLog;
use quorate_runtime::{
    Launch, NodeHandle, ReplicaHandle, ReplicaSettings, Server, ServerBuilder, ServerOpenError, SkippedCommand,
};
use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;

use super::backend::{GROUP, ReplicaBackend};
use super::config::{ClusterConfig, Engine};
use super::http::{HttpLimits, HttpServer, Pages};
use super::members::{MemberAnswer, MemberRequest};
use super::new_store;
use super::peers::{self, Peers};
use super::pubsub::Hub;
use super::server::{ServerLimits, serve};
use super::status::{GroupStatus, NodeStatus};
use super::store::Store;

/// The options of a node.
#[derive(Debug)]
pub struct NodeOptions {
    /// The cluster's name.
    pub cluster: String,
    /// This node's id.
    pub id: u64,
    /// The addresses for other nodes, by node id, this one included.
    pub peers: BTreeMap<u64, SocketAddr>,
    /// The nodes that do not begin the cluster.
    pub joining: BTreeSet<u64>,
    /// The addresses for clients, by node id. Clients that ask for the leader get its address.
    pub clients: BTreeMap<u64, SocketAddr>,
    /// Maximum number of connected clients.
    pub clients_max: usize,
    /// The folder of all data. This node's data are in a subfolder named by its id.
    pub data: PathBuf,
    /// Number of entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// The time for which the node looks for work before it sleeps.
    pub spin: Duration,
    /// The protocol that agrees on the log.
    pub engine: Engine,
    /// The listener for clients.
    pub client: TcpListener,
    /// The listener of the http port, and the metrics that `/metrics` shows.
    pub http: Option<(TcpListener, PrometheusHandle)>,
}

/// Reason why a node did not start, or ended. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its data, its log or its port for peers cannot be used.
    #[error("{}: {error}", folder.display())]
    Open {
        /// The node's folder.
        folder: PathBuf,
        /// The reason.
        error: Box<ServerOpenError>,
    },
    /// A thread or a listener could not be set up.
    #[error("the node cannot be set up: {0}")]
    Io(#[from] io::Error),
    /// It ran, and its group has stopped: its log has failed, or it received data that contradicts the protocol.
    #[error("its group has stopped: {0}")]
    GroupStopped(HaltReason),
}

/// A node that runs. Dropping it stops it as a crash would.
#[derive(Debug)]
pub struct RunningNode {
    id: u64,
    cluster: String,
    client: SocketAddr,
    handle: NodeHandle,
    http: Option<HttpServer>,
    crash: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl RunningNode {
    /// Starts a node and returns once it listens.
    ///
    /// # Errors
    /// When its data or a port cannot be used, or a thread cannot be started.
    pub fn start(options: NodeOptions) -> Result<Self, NodeError> {
        match options.engine {
            Engine::Raft => Self::start_on::<UpToDateLog>(options),
            Engine::Paxos => Self::start_on::<AnyLog>(options),
        }
    }

    fn start_on<E: Election>(options: NodeOptions) -> Result<Self, NodeError> {
        let builder = builder::<E>(&options);
        let folder = options.data.join(options.id.to_string());
        let NodeOptions { cluster, id, client: listener, http, clients, clients_max, .. } = options;
        let client = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (opened, opening) = mpsc::channel();
        let (crash, crashed) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("node-{id}")).spawn(move || {
            let clients = Clients { listener, addresses: clients, count_max: clients_max };
            // The caller that started the node may not wait any more.
            let _ = match run::<E>(builder, id, folder, clients, &opened, crashed) {
                Ok(()) => ends.send("its loop ended".to_owned()),
                Err(error) => {
                    tracing::error!(node = id, %error, "the node stopped");
                    let said = ends.send(error.to_string());
                    let _ = opened.send(Err(error));
                    said
                }
            };
        })?;
        let handle = opening.recv().map_err(|_| io::Error::other("the node's thread panicked"))??;
        let mut node =
            Self { id, cluster, client, handle, http: None, crash: Some(crash), ended, thread: Some(thread) };
        if let Some((listener, metrics)) = http {
            node.http = Some(HttpServer::start(listener, node.pages::<E>(metrics), HttpLimits::default())?);
        }
        Ok(node)
    }

    /// Its address for clients.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Waits until the node has stopped, and returns the reason.
    pub async fn stopped(&mut self) -> String {
        (&mut self.ended).await.unwrap_or_else(|_| "its thread panicked".to_owned())
    }

    /// Hands leadership over, answers waiting clients, syncs, and releases the data directory.
    ///
    /// # Errors
    /// When the runtime for waiting cannot be set up.
    pub fn shutdown(mut self) -> io::Result<()> {
        drop(self.http.take());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(self.handle.shutdown(SHUTDOWN_PATIENCE));
        Ok(())
    }

    fn pages<E: Election>(&self, metrics: PrometheusHandle) -> Pages {
        let replica = ReplicaHandle::<LogCore<E>, Store>::new(self.handle.clone(), GROUP);
        let (id, cluster) = (self.id, self.cluster.clone());
        let (reader, changer) = (replica.clone(), replica.timeout(CHANGE_PATIENCE));
        let status = move || {
            let (replica, cluster) = (replica.clone(), cluster.clone());
            async move {
                let status = replica.status().await.ok()?;
                let obstacles = replica.explain().await.ok()?;
                let group = replica.read_local(move |store, _| GroupStatus::new(&status, &obstacles, store)).await;
                Some(NodeStatus { node: id, cluster, groups: vec![group.ok()?] })
            }
        };
        // Does the work of a client's request: a read that needs a quorum. A stranger takes no writes.
        let serves = move || {
            let (status, read) = (reader.status(), reader.read(|_, _| ()));
            async {
                let takes_writes = status.await.is_ok_and(|it| it.log.barred.is_none_or(|bar| !bar.is_stranger()));
                takes_writes && read.await.is_ok()
            }
        };
        let change = move |request: MemberRequest| {
            let outcome = request.into_change().map(|change| changer.change_membership(vec![change]));
            async {
                match outcome {
                    Ok(outcome) => MemberAnswer::of(outcome.await),
                    Err(reason) => MemberAnswer::Refused { reason },
                }
            }
        };
        Pages::new(metrics, status, serves, change)
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        drop(self.crash.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

fn builder<E: Election>(options: &NodeOptions) -> ServerBuilder {
    let NodeOptions { cluster, peers, joining, data, snapshot_entries, spin, .. } = options;
    let settings = ReplicaSettings {
        snapshot_entries: *snapshot_entries,
        keep_entries: snapshot_entries / KEPT_SHARE,
        ..ReplicaSettings::default()
    };
    let builder = Server::builder(cluster, data).spin(*spin);
    let builder = builder.replica_with::<LogCore<E>, Store>(GROUP, settings, LogCore::<E>::config, new_store());
    peers.iter().fold(builder, |builder, (id, address)| {
        let address = address.to_string();
        if joining.contains(id) { builder.joining_node(*id, address) } else { builder.node(*id, address) }
    })
}

/// Marks a command that a node skips from its next start on. The node must be stopped.
///
/// # Errors
/// When the cluster has no such node, or as [`ServerBuilder::skip`].
pub fn skip_command(config: &ClusterConfig, id: u64, index: u64) -> Result<SkippedCommand, Box<dyn std::error::Error>> {
    if !config.nodes.contains_key(&id) {
        return Err(format!("the cluster file has no node {id}").into());
    }
    Ok(Server::builder(&config.name, &config.data).skip(id, GROUP, LogIndex(index))?)
}

/// A node's listener and limits for clients, and the other nodes' addresses for clients.
struct Clients {
    listener: TcpListener,
    addresses: BTreeMap<u64, SocketAddr>,
    count_max: usize,
}

/// Runs the node and its clients on one loop, until it is shut down or crashes.
fn run<E: Election>(
    builder: ServerBuilder,
    id: u64,
    folder: PathBuf,
    clients: Clients,
    opened: &mpsc::Sender<Result<NodeHandle, NodeError>>,
    crashed: oneshot::Receiver<()>,
) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let server = builder.open(id).await.map_err(|error| NodeError::Open { folder, error: error.into() })?;
        let listener = tokio::net::TcpListener::from_std(clients.listener)?;
        let (peers, requests) = Peers::open(Arc::clone(server.transport())).map_err(io::Error::other)?;
        let backend = ReplicaBackend::<E>::new(server.local_handle(), clients.addresses, peers);
        let hub = Rc::new(RefCell::new(Hub::default()));
        let limits = ServerLimits { connections_max: clients.count_max, ..ServerLimits::default() };
        tokio::task::spawn_local(peers::serve(requests, Rc::clone(&hub)));
        let clients = serve(listener, backend, hub, limits);
        // The caller waits for this. If it is gone, the node is not wanted.
        if opened.send(Ok(server.handle())).is_err() {
            return Ok(());
        }
        let stopped = group_stopped(server.handle());
        // A task of its own: each wake-up of the future that a runtime blocks on costs a system call.
        let node = tokio::task::spawn_local(server.run());
        tokio::select! {
            ended = node => ended.map_err(|error| io::Error::other(error).into()),
            served = clients => match served? {},
            reason = stopped => Err(NodeError::GroupStopped(reason)),
            _ = crashed => Ok(()),
        }
    })
}

/// Waits until the node's group has stopped and its clients had time to get their answers, and returns the reason. Only
/// a restart can help such a node: it reads its log again, or refuses it with an error that names the cause.
async fn group_stopped(node: NodeHandle) -> HaltReason {
    let Ok(reason) = node.halted(GROUP).await else {
        // The node has stopped before its group, which is noticed elsewhere.
        return std::future::pending().await;
    };
    tokio::time::sleep(LAST_ANSWERS).await;
    reason
}

/// One in this number of a snapshot's entries stays in the log.
const KEPT_SHARE: u64 = 100;
/// Maximum number of threads for `KEYS`. Further searches wait.
const BLOCKING_THREADS_MAX: usize = 2;
/// Time for the last answers to clients after the node's group has stopped.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Maximum time until a change of members is answered, if only by `Unknown`.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);
