//! A node of a cluster in a few lines: the data directory, the log, the transport, the groups, the loop.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, GroupId, Identity, Member, MemberRole, NodeId, Now, RecoverError, Recovery, ReplicatedLog, SessionId,
};
use quorate_transport::tcp::{BindError, TcpSettings, TcpTransport};
use quorate_transport::{Peer, PeerError, Transport};
use quorate_wal::disk::RealDisk;
use quorate_wal::{OpenError as LogError, SnapshotError, WriteError};
use tokio::net::TcpListener;

use crate::{
    Clock, DirectoryError, Driver, Group, Hostable, LocalHandle, LocalReplicaHandle, NodeHandle, Opened, Opening,
    Parts, Recovered, Replica, ReplicaHandle, ReplicaSettings, Seat, StartError, StateMachine, Stopped, cluster_id,
    draw_incarnation,
};

/// Describes a node: its data directory, the nodes of the cluster, and its groups. [`ServerBuilder::open`] starts it on
/// the current tokio runtime, [`ServerBuilder::spawn`] on a thread of its own.
pub struct ServerBuilder {
    data: PathBuf,
    cluster: String,
    nodes: BTreeMap<NodeId, String>,
    groups: BTreeMap<GroupId, MakeGroup>,
    repeated: Option<ConfigError>,
    log: quorate_wal::Settings,
    tcp: TcpSettings,
    tail_bytes_max: usize,
}

/// The data that a group starts from.
#[derive(Debug)]
pub struct GroupStart {
    /// The time.
    pub now: Now,
    /// The group.
    pub group: GroupId,
    /// The node that it starts on.
    pub identity: Identity,
    /// Name of the session for proposals of this start.
    pub session: SessionId,
    /// Configuration that the group was founded with. A new group is founded with all nodes of the builder as voters
    /// and their addresses as context.
    pub members: Configuration,
    /// Content of the group's stream, and its newest snapshot.
    pub recovery: Recovery,
    /// Seed for random numbers. No other group, node or start has the same one.
    pub seed: u64,
    /// Length of the longest frame in bytes. Each message must fit into it.
    pub frame_bytes_max: usize,
    /// Maximum number of bytes in one write to the log.
    pub write_bytes_max: usize,
}

/// Makes a group from the data that it starts from.
pub type MakeGroup = Box<dyn FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send>;

/// A replicated log that can be started with its usual settings, as [`ServerBuilder::replica`] does.
pub trait Launch: ReplicatedLog + Hostable {
    /// Returns the usual settings for a group that starts from this data.
    ///
    /// # Errors
    /// When the settings exceed the limits of the node's transport or log.
    fn config(start: &GroupStart) -> Result<Self::Config, BoxError>;
}

/// The error that keeps a group from starting.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A node that is open but not yet running.
pub struct Server {
    driver: Driver,
    transport: Arc<dyn Transport>,
}

/// A node that runs on a thread of its own. It keeps running when this value is dropped.
#[derive(Debug)]
pub struct Running {
    handle: NodeHandle,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts the description of a node in the cluster with this name. The node's data are in `<data>/<node id>`.
    pub fn builder(cluster: impl Into<String>, data: impl Into<PathBuf>) -> ServerBuilder {
        ServerBuilder {
            data: data.into(),
            cluster: cluster.into(),
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            repeated: None,
            log: quorate_wal::Settings::default(),
            tcp: TcpSettings::default(),
            tail_bytes_max: TAIL_BYTES_MAX,
        }
    }

    /// Returns a handle for any thread and executor.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.driver.handle()
    }

    /// Returns a handle for the thread that [`Server::run`] runs on. Its calls cross no thread.
    #[must_use]
    pub fn local_handle(&self) -> LocalHandle {
        self.driver.local_handle()
    }

    /// Returns a typed handle to a replica, for any thread and executor.
    #[must_use]
    pub fn replica<L: ReplicatedLog + Hostable, S: StateMachine>(&self, group: GroupId) -> ReplicaHandle<L, S> {
        ReplicaHandle::new(self.handle(), group)
    }

    /// Returns a typed handle to a replica, for the thread that [`Server::run`] runs on.
    #[must_use]
    pub fn local_replica<L: ReplicatedLog + Hostable, S: StateMachine>(
        &self,
        group: GroupId,
    ) -> LocalReplicaHandle<L, S> {
        LocalReplicaHandle::new(self.local_handle(), group)
    }

    /// Returns the transport, for claiming the rpc channel and for reading its counters.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Runs the node until it is shut down. See [`Driver::run`].
    pub async fn run(self) {
        self.driver.run().await;
    }
}

impl ServerBuilder {
    /// Adds a node of the cluster, also this one: its id, and the address at which its peers reach it, as `host:port`.
    pub fn node(mut self, id: u64, address: impl Into<String>) -> Self {
        if self.nodes.insert(NodeId(id), address.into()).is_some() {
            self.repeated = Some(ConfigError::RepeatedNode(NodeId(id)));
        }
        self
    }

    /// Adds a group. Every node of the cluster must have the same groups. All nodes are the first voters of each.
    pub fn group(
        mut self,
        id: GroupId,
        make: impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static,
    ) -> Self {
        if self.groups.insert(id, Box::new(make)).is_some() {
            self.repeated = Some(ConfigError::RepeatedGroup(id));
        }
        self
    }

    /// Adds a group that replicates this state machine with the log `L` and the usual settings of `L`.
    pub fn replica<L: Launch, S: StateMachine>(self, id: GroupId, state: S) -> Self {
        self.replica_with::<L, S>(id, ReplicaSettings::default(), L::config, state)
    }

    /// As [`ServerBuilder::replica`], with the given settings.
    pub fn replica_with<L: ReplicatedLog + Hostable, S: StateMachine>(
        self,
        id: GroupId,
        settings: ReplicaSettings,
        config: impl FnOnce(&GroupStart) -> Result<L::Config, BoxError> + Send + 'static,
        state: S,
    ) -> Self {
        self.group(id, move |start| {
            settings.check()?;
            if settings.chunk_bytes.saturating_add(FRAME_OVERHEAD_BYTES) > start.frame_bytes_max {
                return Err("chunk_bytes of the replica is above the longest frame".into());
            }
            let config = config(&start)?;
            let seat = Seat { group: start.group, node: start.identity.node, session: start.session };
            Ok(Box::new(Replica::<L, S>::recover(start.now, seat, settings, config, start.recovery, state)?))
        })
    }

    /// Replaces the settings of the log.
    pub fn log(mut self, settings: quorate_wal::Settings) -> Self {
        self.log = settings;
        self
    }

    /// Replaces the settings of the transport.
    pub fn tcp(mut self, settings: TcpSettings) -> Self {
        self.tcp = settings;
        self
    }

    /// Opens the data directory, recovers every group, and listens as the node `id`, on the current tokio runtime.
    /// Files are read without yielding, before any other task can wait for the node.
    ///
    /// # Errors
    /// When the description is invalid, the directory belongs to another node, is in use or damaged, or the address is
    /// taken.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn open(self, id: u64) -> Result<Server, OpenError> {
        let id = NodeId(id);
        self.check(id)?;
        let address = self.nodes[&id].clone();
        let peers: Vec<Peer> =
            self.nodes.iter().filter(|(node, _)| **node != id).map(|(node, at)| Peer::new(*node, at.clone())).collect();
        let settings = self.tcp;
        settings.check().map_err(BindError::Settings)?;
        let Prepared { recovered, clock } = self.prepare(id)?;
        // The port is taken before the start is counted, so that a start that fails because of the port does not count.
        let listener = match TcpListener::bind(&address).await {
            Ok(listener) => listener,
            Err(error) => return Err(OpenError::Listen { address, error }),
        };
        let Opened { node, log, snapshots, lock, report } = recovered.start(clock.now())?;
        let identity = node.identity();
        tracing::info!(node = id.0, %identity.incarnation, ?report, "the data directory is open");
        // The start counter is durable from here on. Connections made before have got no answer yet.
        let tcp = TcpSettings { start: node.roster().start(), ..settings };
        let transport = TcpTransport::with_listener(identity, listener, tcp)?;
        for peer in peers {
            transport.set_peer(peer)?;
        }
        let lock = Arc::new(lock);
        let driver = Driver::new(Parts { node, clock, transport: transport.clone(), log, snapshots, lock })?;
        Ok(Server { driver, transport })
    }

    /// As [`ServerBuilder::open`], and runs the node on a thread of its own. Returns when the node is open.
    ///
    /// # Errors
    /// As [`ServerBuilder::open`], and when the thread cannot be started.
    pub fn spawn(self, id: u64) -> Result<Running, OpenError> {
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("quorate-node-{id}")).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(OpenError::Thread(error)))),
            };
            runtime.block_on(async {
                match self.open(id).await {
                    Ok(server) => {
                        // The caller of `spawn` waits for this result. If the caller is gone, the node is not wanted.
                        if tell.send(Ok(server.handle())).is_ok() {
                            server.run().await;
                        }
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        });
        let thread = thread.map_err(OpenError::Thread)?;
        let handle = told.recv().map_err(|_| OpenError::Thread(io::Error::other("the node's thread panicked")))??;
        Ok(Running { handle, thread })
    }

    fn check(&self, id: NodeId) -> Result<(), ConfigError> {
        if let Some(repeated) = &self.repeated {
            return Err(repeated.clone());
        }
        if self.cluster.is_empty() {
            return Err(ConfigError::NoCluster);
        }
        if !self.nodes.contains_key(&id) {
            return Err(ConfigError::UnknownNode(id));
        }
        if self.groups.is_empty() {
            return Err(ConfigError::NoGroup);
        }
        if self.tcp.limits.frame_bytes_max as u64 > self.log.batch_bytes_max {
            return Err(ConfigError::FrameAboveBatch);
        }
        Ok(())
    }

    /// Recovers the content of the data directory.
    fn prepare(self, id: NodeId) -> Result<Prepared, OpenError> {
        let disk = RealDisk::new(self.data.join(id.to_string()))
            .map_err(|error| OpenError::Directory(DirectoryError::Io(error)))?;
        let opening = Opening {
            cluster: cluster_id(&self.cluster),
            node: id,
            members: self.members(),
            log: self.log,
            frame_bytes_max: self.tcp.limits.frame_bytes_max,
            tail_bytes_max: self.tail_bytes_max,
            groups: self.groups,
        };
        let clock = Clock::start();
        let recovered = opening.recover(disk, || clock.now(), || draw_incarnation().map(|drawn| drawn.0))?;
        Ok(Prepared { recovered, clock })
    }

    fn members(&self) -> Configuration {
        let member = |(node, address): (&NodeId, &String)| Member {
            node: *node,
            role: MemberRole::Voter,
            priority: 1,
            context: Bytes::from(address.clone()),
        };
        Configuration::new(self.nodes.iter().map(member).collect())
            .expect("nodes do not repeat, and one is checked to be there")
    }
}

impl Running {
    /// Returns a handle for any thread and executor.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Returns a typed handle to a replica.
    #[must_use]
    pub fn replica<L: ReplicatedLog + Hostable, S: StateMachine>(&self, group: GroupId) -> ReplicaHandle<L, S> {
        ReplicaHandle::new(self.handle.clone(), group)
    }

    /// Stops the node and waits until it has stopped; see [`NodeHandle::shutdown`].
    ///
    /// # Panics
    /// Within an async task. Use [`NodeHandle::shutdown`] there.
    pub fn shutdown(self, patience: Duration) -> Stopped {
        let stopped = self.handle.begin_shutdown(patience);
        // An error means that the loop has ended and has released everything that it held.
        let stopped = stopped.blocking_recv().unwrap_or(Stopped::InOrder);
        // The panic hook has already printed a panic of the loop.
        let _ = self.thread.join();
        stopped
    }
}

struct Prepared {
    recovered: Recovered<RealDisk>,
    clock: Clock,
}

/// An invalid description of a node. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The cluster's name is empty.
    #[error("the cluster has no name")]
    NoCluster,
    /// A node was given twice.
    #[error("node {0} is given twice")]
    RepeatedNode(NodeId),
    /// A group was given twice.
    #[error("group {0} is given twice")]
    RepeatedGroup(GroupId),
    /// The node to open is not among the given nodes.
    #[error("node {0} is not a node of the cluster")]
    UnknownNode(NodeId),
    /// No group was given.
    #[error("the node has no group")]
    NoGroup,
    /// The content of one frame might not fit into one batch of the log.
    #[error("the longest frame is above the log's largest batch")]
    FrameAboveBatch,
}

/// Reason why a node cannot be opened. Its data directory is unchanged except as the errors of the parts state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The description is invalid.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The data directory is in use, belongs to another node, or cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log is corrupt, belongs to another node, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The node's own stream cannot be read.
    #[error("the node's own stream: {0}")]
    Roster(#[from] RecoverError),
    /// The start could not be made durable.
    #[error("the start cannot be written to the log: {0}")]
    Write(#[from] WriteError),
    /// A group's newest snapshot is damaged, belongs to another group, or cannot be read.
    #[error("group {group}: {error}")]
    Snapshot {
        /// The group.
        group: GroupId,
        /// The reason.
        error: SnapshotError,
    },
    /// A group cannot start from its recovered data.
    #[error("group {group}: {error}")]
    Group {
        /// The group.
        group: GroupId,
        /// The reason.
        error: BoxError,
    },
    /// The node cannot listen at its address. The start is not counted: the data directory is unchanged, or new and
    /// empty.
    #[error("cannot listen for peers at {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The settings of the transport contradict each other.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A peer's address is invalid.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The loop cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread cannot be started, or there is no source of randomness.
    #[error("the system refuses: {0}")]
    Thread(io::Error),
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("data", &self.data)
            .field("cluster", &self.cluster)
            .field("nodes", &self.nodes)
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Bytes of the log's newest entries that a group starts with in memory.
const TAIL_BYTES_MAX: usize = 16 << 20;
/// Bytes of a frame beside a piece of a snapshot.
const FRAME_OVERHEAD_BYTES: usize = 4096;
