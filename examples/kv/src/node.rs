//! One node: its replica, its clients and its http port, on a thread of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use quorate_paxos::log::AnyLog;
use quorate_paxos::register::{self, Functions};
use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{Configuration, GroupId, HaltReason, LogIndex, Member, NodeId};
use quorate_raft::UpToDateLog;
use quorate_runtime::bound::BoundSettings;
use quorate_runtime::{
    GroupStart, Launch, NodeHandle, ReplicaHandle, ReplicaSettings, Server, ServerBuilder, ServerOpenError,
    SkippedCommand, bound_with, replica_with,
};
use quorate_two_phase_commit::manager::ReplicatedBuilder;
use quorate_two_phase_commit::manager::core::ManagerCore;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::address::Address;
use super::backend::{
    COMMIT_CHANNEL, LAYOUT_GROUP, LayoutRegister, Place, ShardsBackend, commit_group, commit_settings, shard_group,
    shard_resources,
};
use super::config::{ClusterConfig, Engine};
use super::connection::Reason;
use super::http::{Admission, HttpLimits, HttpServer, NodeAddresses, Pages};
use super::machine::{Shard, new_store};
use super::members::{MemberAnswer, MemberRequest};
use super::moves::{LayoutAnswer, LayoutRequest, LayoutStatus};
use super::peers::{self, Peers};
use super::pubsub::Hub;
use super::server::{Question, ServerLimits, serve};
use super::shards::layout::SlotMove;
use super::status::{GroupStatus, NodeStatus};
use super::store::{Cut, PasswordHash};
use super::tls::NodeTls;

/// The options of a node.
#[derive(Debug)]
pub struct NodeOptions {
    /// The cluster's name.
    pub cluster: String,
    /// This node's id.
    pub id: u64,
    /// The addresses for other nodes, by node id, this one included.
    pub peers: BTreeMap<u64, Address>,
    /// The nodes that do not begin the cluster.
    pub joining: BTreeSet<u64>,
    /// The addresses for clients, by node id. Clients that ask for the leader get its address.
    pub clients: BTreeMap<u64, Address>,
    /// The addresses for tools, by node id.
    pub https: BTreeMap<u64, Address>,
    /// Maximum number of connected clients.
    pub clients_max: usize,
    /// The folder of all data. This node's data are in a subfolder named by its id.
    pub data: PathBuf,
    /// Number of entries after which a snapshot is made.
    pub snapshot_entries: u64,
    /// Maximum bytes of keys and values, 0 if there is no limit.
    pub memory_max: u64,
    /// The time for which the node looks for work before it sleeps.
    pub spin: Duration,
    /// The protocol that agrees on the log.
    pub engine: Engine,
    /// Number of shards.
    pub shards: u16,
    /// A command for a shard that another node leads is answered by its address.
    pub redirect: bool,
    /// The address at which it listens for other nodes.
    pub peer: SocketAddr,
    /// The password of the user `default` until somebody changes that user.
    pub first_password: Option<PasswordHash>,
    /// The certificates and keys. `None`: nothing is encrypted.
    pub tls: Option<Arc<NodeTls>>,
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
    shards: u16,
    handle: NodeHandle,
    http: Option<HttpServer>,
    crash: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<String>,
    thread: Option<JoinHandle<()>>,
    cuts: UnboundedSender<CutRequest>,
    questions: UnboundedSender<Question>,
}

/// Asks the node's loop for the stores of all shards at one moment.
type CutRequest = oneshot::Sender<Result<Vec<Cut>, Reason>>;

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
        let founders = founders(&options);
        let (first_password, tls) = (options.first_password, options.tls.clone());
        let for_tools = options.tls.clone().filter(|tls| tls.encrypts_clients());
        let (redirect, memory_max) = (options.redirect, options.memory_max);
        let NodeOptions { cluster, id, client: listener, http, https, clients, clients_max, shards, .. } = options;
        let known = clients.clone();
        let client = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (opened, opening) = mpsc::channel();
        let (crash, crashed) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let (cuts, cut_requests) = unbounded_channel();
        let (questions, asked) = unbounded_channel();
        let thread = thread::Builder::new().name(format!("node-{id}")).spawn(move || {
            let clients = Clients {
                listener,
                addresses: clients,
                count_max: clients_max,
                founders,
                shards,
                redirect,
                first_password,
                memory_max,
                tls,
                cut_requests,
                asked,
            };
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
        let mut node = Self {
            id,
            cluster,
            client,
            shards,
            handle,
            http: None,
            crash: Some(crash),
            ended,
            thread: Some(thread),
            cuts,
            questions,
        };
        if let Some((listener, metrics)) = http {
            let address =
                |(id, client): (u64, Address)| Some((id, NodeAddresses { http: https.get(&id)?.clone(), client }));
            let nodes = known.into_iter().filter_map(address).collect();
            let pages = node.pages::<E>(metrics).with_overview(id, nodes, for_tools.clone());
            node.http = Some(HttpServer::start(listener, pages, HttpLimits::default(), for_tools)?);
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
        let replica = |shard| ReplicaHandle::<LogCore<E>, Shard>::new(self.handle.clone(), shard_group(shard));
        let replicas: Vec<_> = (0..self.shards).map(replica).collect();
        let (id, cluster) = (self.id, self.cluster.clone());
        let (readers, replicas_shown) = (replicas.clone(), replicas.clone());
        let changer = replicas[0].timeout(CHANGE_PATIENCE);
        let status = move || {
            let (replicas, cluster) = (replicas.clone(), cluster.clone());
            async move {
                let mut groups = Vec::new();
                for replica in replicas {
                    let (status, obstacles) = (replica.status().await.ok()?, replica.explain().await.ok()?);
                    let group =
                        replica.read_local(move |shard, _| GroupStatus::new(&status, &obstacles, shard.state()));
                    groups.push(group.await.ok()?);
                }
                Some(NodeStatus { node: id, cluster, groups })
            }
        };
        // Does the work of a client's request: a read of each shard that needs a quorum. A stranger takes no writes.
        let serves = move || {
            let asked: Vec<_> = readers.iter().map(|reader| (reader.status(), reader.read(|_, _| ()))).collect();
            async {
                for (status, read) in asked {
                    let takes_writes = status.await.is_ok_and(|it| it.log.barred.is_none_or(|bar| !bar.is_stranger()));
                    if !takes_writes || read.await.is_err() {
                        return false;
                    }
                }
                true
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
        let cuts = self.cuts.clone();
        let cut = move || {
            let (answer, answered) = oneshot::channel();
            let is_asked = cuts.send(answer).is_ok();
            async move {
                match answered.await {
                    Ok(result) if is_asked => result.map_err(|reason| reason.to_string()),
                    _ => Err("the node has stopped".to_owned()),
                }
            }
        };
        let pages = Pages::new(metrics, status, serves, change);
        let pages = self.asking(pages).with_backup(self.cluster.clone(), cut);
        if self.shards == 1 {
            return pages;
        }
        let register = LayoutRegister::new(self.handle.clone());
        let (shown, changed) = (register.clone(), register);
        let show = move || show_layout(shown.clone(), replicas_shown.clone());
        let change = move |request: LayoutRequest| change_layout(changed.clone(), request);
        pages.with_layout(show, change)
    }

    /// Pages that ask the node's loop what was measured of clients, and who may do everything.
    fn asking(&self, pages: Pages) -> Pages {
        let (questions, of_guard) = (self.questions.clone(), self.questions.clone());
        let measures = move || {
            let (answer, answered) = oneshot::channel();
            // If the loop has ended, nobody answers.
            let _ = questions.send(Question::Measures(answer));
            async move { answered.await.ok() }
        };
        let guard = move |login| {
            let (answer, answered) = oneshot::channel();
            let _ = of_guard.send(Question::Admits(login, answer));
            async move { answered.await.unwrap_or(Admission::NotKnown) }
        };
        pages.with_measures(measures).guarded(guard)
    }
}

/// The layout, with the number of keys that are still to move.
async fn show_layout<E: Election>(
    register: LayoutRegister,
    replicas: Vec<ReplicaHandle<LogCore<E>, Shard>>,
) -> Option<LayoutStatus> {
    let layout = register.fetch().await.ok()??;
    let mut keys_left = Vec::new();
    for SlotMove { from, slots, .. } in layout.moves().to_vec() {
        let count = move |shard: &Shard, _| slots.iter().map(|slot| u64::from(shard.state().keys_in_slot(*slot))).sum();
        keys_left.push(replicas.get(usize::from(from))?.read_local(count).await.ok()?);
    }
    Some(LayoutStatus { layout, keys_left })
}

async fn change_layout(register: LayoutRegister, request: LayoutRequest) -> LayoutAnswer {
    let not_now = |reason: &str| LayoutAnswer::NotNow { reason: reason.to_owned() };
    let Ok(Some(layout)) = register.fetch().await else { return not_now("the layout is not known") };
    match request.begin(&layout) {
        Ok((_, moves)) if moves.is_empty() => LayoutAnswer::Begun { moves },
        Ok((next, moves)) => match register.replace(Some(&layout), &next).await {
            Ok(true) => LayoutAnswer::Begun { moves },
            Ok(false) | Err(_) => not_now("somebody else changes the layout, or no quorum answers"),
        },
        Err(error) => LayoutAnswer::Refused { reason: error.to_string() },
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
    let NodeOptions { cluster, peers, peer, joining, data, snapshot_entries, spin, shards, tls, .. } = options;
    let settings = ReplicaSettings {
        snapshot_entries: *snapshot_entries,
        keep_entries: snapshot_entries / KEPT_SHARE,
        ..ReplicaSettings::default()
    };
    let builder = Server::builder(cluster, data).listen(peer.to_string()).spin(*spin);
    let builder = tls.iter().fold(builder, |builder, tls| builder.encrypted(tls.peers()));
    let builder = match shards {
        1 => builder.replica_with::<LogCore<E>, Shard>(
            shard_group(0),
            settings,
            LogCore::<E>::config,
            Shard::new(new_store()),
        ),
        _ => several::<E>(builder, &founders(options), *shards, &settings),
    };
    peers.iter().fold(builder, |builder, (id, address)| {
        let address = address.to_string();
        if joining.contains(id) { builder.joining_node(*id, address) } else { builder.node(*id, address) }
    })
}

/// The groups of a store of several shards: the shards, whose leaders are spread over the nodes; a transaction manager
/// for each founder, which leads it; and the register of the layout.
fn several<E: Election>(
    mut builder: ServerBuilder,
    founders: &[u64],
    shards: u16,
    settings: &ReplicaSettings,
) -> ServerBuilder {
    for shard in 0..shards {
        let home = founders[usize::from(shard) % founders.len()];
        let settings = settings.clone();
        builder = builder.group(shard_group(shard), move |start| {
            let start = led_by(home, start);
            replica_with::<LogCore<E>, Shard>(settings, LogCore::<E>::config, Shard::new(new_store()))(start)
        });
    }
    for founder in founders.iter().copied() {
        let names = shard_resources(shards);
        builder = builder.group(commit_group(founder), move |start| {
            let core = ReplicatedBuilder::core_for(names.iter().map(String::as_str), commit_settings());
            let start = led_by(founder, start);
            bound_with::<LogCore<E>, ManagerCore>(BoundSettings::default(), LogCore::<E>::config, COMMIT_CHANNEL, core)(
                start,
            )
        });
    }
    builder.group(LAYOUT_GROUP, |start| register::host(start, Functions::default(), register::Settings::default()))
}

/// A start of a group that a node leads whenever it can.
fn led_by(home: u64, mut start: GroupStart) -> GroupStart {
    let with_priority = |member: &Member| {
        let priority = if member.node == NodeId(home) { 2 } else { 1 };
        Member { priority, ..member.clone() }
    };
    let members = start.members.members().iter().map(with_priority).collect();
    // Members that were valid are so with any priority.
    start.members = Configuration::new(members).unwrap_or(start.members);
    start
}

/// The nodes that begin the cluster.
fn founders(options: &NodeOptions) -> Vec<u64> {
    options.peers.keys().copied().filter(|id| !options.joining.contains(id)).collect()
}

/// Marks a command that a node skips from its next start on. The node must be stopped.
///
/// # Errors
/// When the cluster has no such node, or as [`ServerBuilder::skip`].
pub fn skip_command(
    config: &ClusterConfig,
    id: u64,
    shard: u16,
    index: u64,
) -> Result<SkippedCommand, Box<dyn std::error::Error>> {
    if !config.nodes.contains_key(&id) {
        return Err(format!("the cluster file has no node {id}").into());
    }
    Ok(Server::builder(&config.name, &config.data).skip(id, shard_group(shard), LogIndex(index))?)
}

/// A node's listener and limits for clients, and the other nodes' addresses for clients.
struct Clients {
    listener: TcpListener,
    addresses: BTreeMap<u64, Address>,
    count_max: usize,
    /// The nodes that began the cluster.
    founders: Vec<u64>,
    shards: u16,
    redirect: bool,
    cut_requests: UnboundedReceiver<CutRequest>,
    asked: UnboundedReceiver<Question>,
    first_password: Option<PasswordHash>,
    memory_max: u64,
    tls: Option<Arc<NodeTls>>,
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
        let backend = ShardsBackend::<E>::new(Place {
            local: server.local_handle(),
            node: server.handle(),
            id: NodeId(id),
            founders: clients.founders,
            clients: clients.addresses,
            shards: clients.shards,
            redirects: clients.redirect,
            peers,
            first_password: clients.first_password,
            memory_max: clients.memory_max,
        });
        let hub = Rc::new(RefCell::new(Hub::default()));
        let limits = ServerLimits { connections_max: clients.count_max, ..ServerLimits::default() };
        tokio::task::spawn_local(peers::serve(requests, Rc::clone(&hub), backend.breather()));
        let keeper = backend.clone();
        let keeper = tokio::task::spawn_local(async move { keeper.keep().await });
        tokio::task::spawn_local(serve_cuts(clients.cut_requests, backend.clone()));
        let groups = (0..clients.shards).map(shard_group).collect();
        let tls = clients.tls.filter(|tls| tls.encrypts_clients());
        let clients = serve(listener, backend, hub, limits, tls, clients.asked);
        // The caller waits for this. If it is gone, the node is not wanted.
        if opened.send(Ok(server.handle())).is_err() {
            return Ok(());
        }
        let stopped = group_stopped(server.handle(), groups);
        // A task of its own: each wake-up of the future that a runtime blocks on costs a system call.
        let node = tokio::task::spawn_local(server.run());
        tokio::select! {
            ended = node => ended.map_err(|error| io::Error::other(error).into()),
            served = clients => match served? {},
            reason = stopped => Err(NodeError::GroupStopped(reason)),
            _ = crashed => Ok(()),
            ended = keeper => ended.map_err(|error| io::Error::other(error).into()),
        }
    })
}

/// Answers requests for all shards at one moment, one after another.
async fn serve_cuts<E: Election>(mut requests: UnboundedReceiver<CutRequest>, backend: ShardsBackend<E>) {
    while let Some(answer) = requests.recv().await {
        // Who asked may be gone.
        let _ = answer.send(backend.cut().await);
    }
}

/// Waits until a shard of the node has stopped and its clients had time to get their answers, and returns the reason.
/// Only a restart can help such a node: it reads its log again, or refuses it with an error that names the cause.
async fn group_stopped(node: NodeHandle, groups: Vec<GroupId>) -> HaltReason {
    let halted = |group| {
        let halted = node.halted(group);
        async {
            match halted.await {
                Ok(reason) => reason,
                // The node has stopped before its group, which is noticed elsewhere.
                Err(_) => std::future::pending().await,
            }
        }
    };
    let mut all: Vec<_> = groups.into_iter().map(|group| Box::pin(halted(group))).collect();
    let first = std::future::poll_fn(|context| {
        let mut ends = all.iter_mut().map(|halted| halted.as_mut().poll(context));
        ends.find(Poll::is_ready).unwrap_or(Poll::Pending)
    });
    let reason = first.await;
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
