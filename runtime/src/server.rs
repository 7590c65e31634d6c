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

/// Describes a node: where its data lie, who the nodes are, which groups it runs. [`ServerBuilder::open`] starts it on
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

/// What a group starts from.
#[derive(Debug)]
pub struct GroupStart {
    /// The time.
    pub now: Now,
    /// The group.
    pub group: GroupId,
    /// The node that it starts on.
    pub identity: Identity,
    /// What its proposals of this start are named after.
    pub session: SessionId,
    /// What the group was founded with. A new group is founded with all nodes of the builder as voters, their addresses
    /// as context.
    pub members: Configuration,
    /// What its stream and its snapshots hold.
    pub recovery: Recovery,
    /// A number that no other group, node or start has: for chance.
    pub seed: u64,
    /// The longest frame, in bytes: a message must fit.
    pub frame_bytes_max: usize,
    /// The most bytes of one write to the log.
    pub write_bytes_max: usize,
}

/// Makes a group from what it starts from.
pub type MakeGroup = Box<dyn FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send>;

/// A replicated log that can be started with its usual settings, as [`ServerBuilder::replica`] does.
pub trait Launch: ReplicatedLog + Hostable {
    /// The usual settings for a group that starts from this.
    ///
    /// # Errors
    /// When they do not fit what the node's transport and log take.
    fn config(start: &GroupStart) -> Result<Self::Config, BoxError>;
}

/// Whatever keeps a group from starting.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A node that is open and not yet running.
pub struct Server {
    driver: Driver,
    transport: Arc<dyn Transport>,
}

/// A node that runs on a thread of its own. It goes on when this is dropped.
#[derive(Debug)]
pub struct Running {
    handle: NodeHandle,
    thread: JoinHandle<()>,
}

impl Server {
    /// Begins to describe a node of the cluster of this name, whose data lie in `<data>/<node id>`.
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

    /// A handle for any thread and executor.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.driver.handle()
    }

    /// A handle for the thread that [`Server::run`] runs on; nothing crosses a thread.
    #[must_use]
    pub fn local_handle(&self) -> LocalHandle {
        self.driver.local_handle()
    }

    /// A typed handle to a replica, for any thread and executor.
    #[must_use]
    pub fn replica<L: ReplicatedLog + Hostable, S: StateMachine>(&self, group: GroupId) -> ReplicaHandle<L, S> {
        ReplicaHandle::new(self.handle(), group)
    }

    /// A typed handle to a replica, for the thread that [`Server::run`] runs on.
    #[must_use]
    pub fn local_replica<L: ReplicatedLog + Hostable, S: StateMachine>(
        &self,
        group: GroupId,
    ) -> LocalReplicaHandle<L, S> {
        LocalReplicaHandle::new(self.local_handle(), group)
    }

    /// The transport: to claim the channel of rpc, and to read its counters.
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
    /// Adds a node of the cluster, this one included: its id and where its peers reach it, as `host:port`.
    pub fn node(mut self, id: u64, address: impl Into<String>) -> Self {
        if self.nodes.insert(NodeId(id), address.into()).is_some() {
            self.repeated = Some(ConfigError::RepeatedNode(NodeId(id)));
        }
        self
    }

    /// Adds a group. Every node of the cluster has the same groups, with all nodes as their first voters.
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

    /// Adds a group that replicates this state machine with the log `L` and its usual settings.
    pub fn replica<L: Launch, S: StateMachine>(self, id: GroupId, state: S) -> Self {
        self.replica_with::<L, S>(id, ReplicaSettings::default(), L::config, state)
    }

    /// As [`ServerBuilder::replica`] with settings of its own.
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

    /// Other sizes of the log.
    pub fn log(mut self, settings: quorate_wal::Settings) -> Self {
        self.log = settings;
        self
    }

    /// Other bounds and times of the transport.
    pub fn tcp(mut self, settings: TcpSettings) -> Self {
        self.tcp = settings;
        self
    }

    /// Opens the data directory, recovers every group, and listens: the node `id`, on the current tokio runtime. Reads
    /// files without yielding, before anything else can wait for it.
    ///
    /// # Errors
    /// When the description does not hold, the directory is another's, in use or damaged, or the address is taken.
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
        // The port comes before the start is counted: a start that fails for want of it is none.
        let listener = match TcpListener::bind(&address).await {
            Ok(listener) => listener,
            Err(error) => return Err(OpenError::Listen { address, error }),
        };
        let Opened { node, log, snapshots, lock, report } = recovered.start(clock.now())?;
        let identity = node.identity();
        tracing::info!(node = id.0, %identity.incarnation, ?report, "the data directory is open");
        // Only now is the start counter durable. Connections made before this wait unanswered.
        let tcp = TcpSettings { start: node.roster().start(), ..settings };
        let transport = TcpTransport::with_listener(identity, listener, tcp)?;
        for peer in peers {
            transport.set_peer(peer)?;
        }
        let lock = Arc::new(lock);
        let driver = Driver::new(Parts { node, clock, transport: transport.clone(), log, snapshots, lock })?;
        Ok(Server { driver, transport })
    }

    /// As [`ServerBuilder::open`], and runs the node on a thread of its own. Returns when it is open.
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
                        // Whoever spawned it waits for this; if it is gone nobody wants the node.
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

    /// Recovers what the data directory holds.
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
    /// A handle for any thread and executor.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// A typed handle to a replica.
    #[must_use]
    pub fn replica<L: ReplicatedLog + Hostable, S: StateMachine>(&self, group: GroupId) -> ReplicaHandle<L, S> {
        ReplicaHandle::new(self.handle.clone(), group)
    }

    /// Stops the node and waits for it: see [`NodeHandle::shutdown`].
    ///
    /// # Panics
    /// Within an async task: there use [`NodeHandle::shutdown`].
    pub fn shutdown(self, patience: Duration) -> Stopped {
        let stopped = self.handle.begin_shutdown(patience);
        // An error says that the loop is gone, and all it held with it.
        let stopped = stopped.blocking_recv().unwrap_or(Stopped::InOrder);
        // A panic of the loop was printed where it happened.
        let _ = self.thread.join();
        stopped
    }
}

struct Prepared {
    recovered: Recovered<RealDisk>,
    clock: Clock,
}

/// A description of a node that does not hold. Nothing was touched.
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
    /// The node to open is none of those given.
    #[error("node {0} is not a node of the cluster")]
    UnknownNode(NodeId),
    /// There is nothing to run.
    #[error("the node has no group")]
    NoGroup,
    /// What comes in one frame could not be written in one batch.
    #[error("the longest frame is above the log's largest batch")]
    FrameAboveBatch,
}

/// Why a node cannot be opened. Its data directory is as it was, but for what the parts' errors say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The description does not hold.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The data directory is in use, another's, or cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log is corrupt, another's, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The node's own stream cannot be read.
    #[error("the node's own stream: {0}")]
    Roster(#[from] RecoverError),
    /// The start could not be made durable.
    #[error("the start cannot be written to the log: {0}")]
    Write(#[from] WriteError),
    /// A group's newest snapshot is damaged, another's, or cannot be read.
    #[error("group {group}: {error}")]
    Snapshot {
        /// Whose.
        group: GroupId,
        /// Why.
        error: SnapshotError,
    },
    /// A group cannot start from what it left.
    #[error("group {group}: {error}")]
    Group {
        /// Which.
        group: GroupId,
        /// Why.
        error: BoxError,
    },
    /// The node cannot listen at its address. The start is not counted: the data directory is as it was, or new and
    /// empty.
    #[error("cannot listen for peers at {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the system.
        error: io::Error,
    },
    /// The settings of the transport do not fit each other.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A peer's address cannot be one.
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
/// What stands in a frame beside a piece of a snapshot.
const FRAME_OVERHEAD_BYTES: usize = 4096;
