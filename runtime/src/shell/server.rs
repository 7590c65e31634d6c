//! A node of a cluster in a few lines: the data directory, the log, the transport, the groups, the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{Configuration, GroupId, LogIndex, Member, NodeId, ReplicatedLog};
use quorate_transport::tcp::{BindError, TcpSettings, TcpTransport, Tls};
use quorate_transport::{ChannelId, Peer, Transport};
use quorate_wal::disk::RealDisk;
use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;

use crate::bound::{Bound, BoundSettings};
use crate::group::hostable::Hostable;
use crate::group::interface::Group;
use crate::group::start::{BoxError, GroupStart, MakeGroup, ReopenGroup, SkippedCommand};
use crate::replica::Replica;
use crate::replica::seat::Seat;
use crate::replica::settings::ReplicaSettings;
use crate::replica::state_machine::StateMachine;
use crate::shell::directory::{DirectoryError, cluster_id, draw_incarnation};
use crate::shell::driver::Driver;
use crate::shell::driver::addresses::{ReadAddresses, read_address};
use crate::shell::driver::calls::{LocalHandle, NodeHandle};
use crate::shell::driver::clock::Clock;
use crate::shell::driver::shutdown::Stopped;
use crate::shell::driver::start::Parts;
use crate::shell::error::{ServerConfigError, ServerOpenError};
use crate::shell::launch::Launch;
use crate::shell::opening::{Opened, Opening, Unstarted};
use crate::shell::replica_handle::{LocalReplicaHandle, ReplicaHandle};
use crate::shell::skip::{Skip, SkipError};

/// Describes a node: its data directory, the nodes of the cluster, and its groups. [`ServerBuilder::open`] starts it on
/// the current tokio runtime, [`ServerBuilder::spawn`] on a thread of its own.
pub struct ServerBuilder {
    data: PathBuf,
    cluster: String,
    nodes: BTreeMap<NodeId, String>,
    joining: BTreeSet<NodeId>,
    listen: Option<String>,
    groups: BTreeMap<GroupId, MakeGroup>,
    reopen: ReopenGroup,
    repeated: Option<ServerConfigError>,
    log: quorate_wal::LogSettings,
    tcp: TcpSettings,
    tls: Option<Arc<Tls>>,
    read_addresses: ReadAddresses,
    spin: Duration,
    tail_bytes_max: usize,
}

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
            joining: BTreeSet::new(),
            listen: None,
            groups: BTreeMap::new(),
            reopen: Box::new(|_| None),
            repeated: None,
            log: quorate_wal::LogSettings::default(),
            tcp: TcpSettings::default(),
            tls: None,
            read_addresses: Arc::new(read_address),
            spin: Duration::ZERO,
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
    /// They also try the addresses that the configurations of the groups name (see
    /// [`ServerBuilder::read_addresses`]).
    pub fn node(mut self, id: u64, address: impl Into<String>) -> Self {
        if self.nodes.insert(NodeId(id), address.into()).is_some() {
            self.repeated = Some(ServerConfigError::RepeatedNode(NodeId(id)));
        }
        self
    }

    /// As [`ServerBuilder::node`], of a node that founds no group. It joins each group once it is added there
    /// ([`ReplicaHandle::change_membership`]), and until then keeps no other node from voting. On a data directory that
    /// was founded or joined before, this changes nothing.
    pub fn joining_node(self, id: u64, address: impl Into<String>) -> Self {
        let mut builder = self.node(id, address);
        builder.joining.insert(NodeId(id));
        builder
    }

    /// Listens at this address, as `host:port`, in place of the one at which the peers reach this node. For a node
    /// behind a translation of addresses, or in a container.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Adds a group. Every node of the cluster must have the same groups. All nodes but the joining ones are the first
    /// voters of each.
    pub fn group(
        mut self,
        id: GroupId,
        make: impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static,
    ) -> Self {
        if self.groups.insert(id, Box::new(make)).is_some() {
            self.repeated = Some(ServerConfigError::RepeatedGroup(id));
        }
        self
    }

    /// Opens the groups that were founded on this node and that are not among those of this description: those that
    /// were added with [`NodeHandle::add_group`]. `make` returns the function that makes the group, or `None` to leave
    /// the group closed; then its data stay.
    pub fn reopen(mut self, make: impl FnMut(GroupId) -> Option<MakeGroup> + Send + 'static) -> Self {
        self.reopen = Box::new(make);
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
        self.group(id, replica_with::<L, S>(settings, config, state))
    }

    /// Adds a group whose core `P` keeps its log in the replicated log `L`, with the usual settings of `L`. The node
    /// that leads serves the core; messages of the core travel on `channel` (17 or above). `config` makes the settings
    /// of the core each time that this node takes over. See [`Bound`].
    pub fn bound<L: Launch, P: Hostable>(
        self,
        id: GroupId,
        channel: ChannelId,
        config: impl FnMut(&GroupStart) -> Result<P::Config, BoxError> + Send + 'static,
    ) -> Self {
        self.bound_with::<L, P>(id, BoundSettings::default(), L::config, channel, config)
    }

    /// As [`ServerBuilder::bound`], with the given settings of the group and of the replicated log.
    pub fn bound_with<L: ReplicatedLog + Hostable, P: Hostable>(
        self,
        id: GroupId,
        settings: BoundSettings,
        log: impl FnOnce(&GroupStart) -> Result<L::Config, BoxError> + Send + 'static,
        channel: ChannelId,
        config: impl FnMut(&GroupStart) -> Result<P::Config, BoxError> + Send + 'static,
    ) -> Self {
        self.group(id, bound_with::<L, P>(settings, log, channel, config))
    }

    /// Replaces the settings of the log.
    pub fn log(mut self, settings: quorate_wal::LogSettings) -> Self {
        self.log = settings;
        self
    }

    /// Replaces the settings of the transport.
    pub fn tcp(mut self, settings: TcpSettings) -> Self {
        self.tcp = settings;
        self
    }

    /// Encrypts the connections to other nodes, each of which has to show the certificate of its node (feature `tls` of
    /// `quorate-transport`).
    pub fn encrypted(mut self, tls: Arc<Tls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Makes the node look for inputs for this time before it sleeps; see [`Driver::spinning`].
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Replaces the function that reads the addresses of a node, as `host:port`, from its context in the configuration
    /// of a group ([`Member::context`]). It returns `None` if it cannot read the context. An address that is read is
    /// tried before that of [`ServerBuilder::node`]. Without this call a context is one address as text.
    pub fn read_addresses(mut self, read: impl Fn(&[u8]) -> Option<Vec<String>> + Send + Sync + 'static) -> Self {
        self.read_addresses = Arc::new(read);
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
    pub async fn open(self, id: u64) -> Result<Server, ServerOpenError> {
        let id = NodeId(id);
        self.check(id)?;
        let address = self.listen.clone().unwrap_or_else(|| self.nodes[&id].clone());
        let peers: Vec<Peer> =
            self.nodes.iter().filter(|(node, _)| **node != id).map(|(node, at)| Peer::new(*node, at.clone())).collect();
        let (settings, tls, read_addresses, spin) =
            (self.tcp, self.tls.clone(), self.read_addresses.clone(), self.spin);
        settings.check().map_err(BindError::Settings)?;
        let Prepared { unstarted, clock } = self.prepare(id)?;
        // The port is taken before the start is counted, so that a start that fails because of the port does not count.
        let listener = match TcpListener::bind(&address).await {
            Ok(listener) => listener,
            Err(error) => return Err(ServerOpenError::Listen { address, error }),
        };
        let Opened { node, log, snapshots, lock, site, report } = unstarted.start(clock.now())?;
        let identity = node.identity();
        tracing::info!(node = id.0, %identity.incarnation, ?report, "the data directory is open");
        // The start counter is durable from here on. Connections made before have got no answer yet.
        let tcp = TcpSettings { start: node.roster().start(), ..settings };
        let transport = TcpTransport::encrypted(identity, listener, tcp, tls)?;
        for peer in peers {
            transport.set_peer(peer)?;
        }
        let lock = Arc::new(lock);
        let parts = Parts { node, clock, transport: transport.clone(), read_addresses, log, snapshots, site, lock };
        let driver = Driver::new(parts)?.spinning(spin);
        Ok(Server { driver, transport })
    }

    /// As [`ServerBuilder::open`], and runs the node on a thread of its own. Returns when the node is open.
    ///
    /// # Errors
    /// As [`ServerBuilder::open`], and when the thread cannot be started.
    pub fn spawn(self, id: u64) -> Result<Running, ServerOpenError> {
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("quorate-node-{id}")).spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = match runtime.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(ServerOpenError::Thread(error)))),
            };
            runtime.block_on(async {
                match self.open(id).await {
                    Ok(server) => {
                        // The caller of `spawn` waits for this result. If the caller is gone, the node is not wanted.
                        if tell.send(Ok(server.handle())).is_ok() {
                            // A task of its own: each wake-up of the future that a runtime blocks on costs a system
                            // call. A panic was printed where it happened.
                            let _ = tokio::task::spawn_local(server.run()).await;
                        }
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        });
        let thread = thread.map_err(ServerOpenError::Thread)?;
        let handle =
            told.recv().map_err(|_| ServerOpenError::Thread(io::Error::other("the node's thread panicked")))??;
        Ok(Running { handle, thread })
    }

    /// Marks a command of a group that no program can apply: from its next start on, the node `id` skips it. The node
    /// must be stopped. Mark the command on every node of the group; a node on which it is not marked stops at it
    /// again.
    ///
    /// Whoever proposed the command was told that its outcome is unknown. Its effect is lost on every node.
    ///
    /// # Errors
    /// When the node runs, the entry is no command, or the node has applied it: then its state differs from that of
    /// nodes that skip it, and it must be replaced. Nothing was changed.
    pub fn skip(&self, id: u64, group: GroupId, index: LogIndex) -> Result<SkippedCommand, SkipError> {
        let folder = self.data.join(id.to_string());
        // A disk would make the folder.
        let disk = folder.metadata().and_then(|_| RealDisk::new(folder));
        let disk = disk.map_err(|error| SkipError::Directory(DirectoryError::Io(error)))?;
        let (cluster, node, log) = (cluster_id(&self.cluster), NodeId(id), self.log.clone());
        Skip { cluster, node, log, group, index }.mark(&disk)
    }

    fn check(&self, id: NodeId) -> Result<(), ServerConfigError> {
        if let Some(repeated) = &self.repeated {
            return Err(repeated.clone());
        }
        if self.cluster.is_empty() {
            return Err(ServerConfigError::NoCluster);
        }
        if !self.nodes.contains_key(&id) {
            return Err(ServerConfigError::UnknownNode(id));
        }
        if self.joining.len() == self.nodes.len() {
            return Err(ServerConfigError::NoFounder);
        }
        if self.groups.is_empty() {
            return Err(ServerConfigError::NoGroup);
        }
        if self.tcp.limits.frame_bytes_max as u64 > self.log.batch_bytes_max {
            return Err(ServerConfigError::FrameAboveBatch);
        }
        Ok(())
    }

    /// Recovers the content of the data directory.
    fn prepare(self, id: NodeId) -> Result<Prepared, ServerOpenError> {
        let disk = RealDisk::new(self.data.join(id.to_string()))
            .map_err(|error| ServerOpenError::Directory(DirectoryError::Io(error)))?;
        let opening = Opening {
            cluster: cluster_id(&self.cluster),
            node: id,
            members: self.members(),
            joining: self.joining,
            log: self.log,
            frame_bytes_max: self.tcp.limits.frame_bytes_max,
            tail_bytes_max: self.tail_bytes_max,
            groups: self.groups,
            reopen: self.reopen,
        };
        let clock = Clock::start();
        let unstarted = opening.read(disk, || clock.now(), || draw_incarnation().map(|drawn| drawn.0))?;
        Ok(Prepared { unstarted, clock })
    }

    fn members(&self) -> Configuration {
        let member = |(node, address): (&NodeId, &String)| Member {
            context: Bytes::from(address.clone()),
            ..Member::voter(*node)
        };
        let founders = self.nodes.iter().filter(|(node, _)| !self.joining.contains(node));
        Configuration::new(founders.map(member).collect()).expect("nodes do not repeat, and one is checked to found")
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

/// Returns a function that makes a group which replicates this state machine with the log `L` and the usual settings of
/// `L`, for [`NodeHandle::add_group`] and [`ServerBuilder::reopen`].
pub fn replica<L: Launch, S: StateMachine>(state: S) -> MakeGroup {
    Box::new(replica_with::<L, S>(ReplicaSettings::default(), L::config, state))
}

/// As [`replica`], with the given settings.
pub fn replica_with<L: ReplicatedLog + Hostable, S: StateMachine>(
    settings: ReplicaSettings,
    config: impl FnOnce(&GroupStart) -> Result<L::Config, BoxError> + Send + 'static,
    state: S,
) -> impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static {
    move |start| {
        settings.check()?;
        check_chunks(&settings, &start)?;
        let config = config(&start)?;
        let seat = Seat { group: start.group, node: start.identity.node, session: start.session };
        let replica = Replica::<L, S>::recover(start.now, seat, settings, config, start.recovery, state)?;
        Ok(Box::new(replica.skipping(start.skipped)))
    }
}

/// Returns a function that makes a bound group with the usual settings of `L`, for [`NodeHandle::add_group`] and
/// [`ServerBuilder::reopen`]; see [`ServerBuilder::bound`].
pub fn bound<L: Launch, P: Hostable>(
    channel: ChannelId,
    config: impl FnMut(&GroupStart) -> Result<P::Config, BoxError> + Send + 'static,
) -> MakeGroup {
    Box::new(bound_with::<L, P>(BoundSettings::default(), L::config, channel, config))
}

/// As [`bound`], with the given settings.
pub fn bound_with<L: ReplicatedLog + Hostable, P: Hostable>(
    settings: BoundSettings,
    log: impl FnOnce(&GroupStart) -> Result<L::Config, BoxError> + Send + 'static,
    channel: ChannelId,
    mut config: impl FnMut(&GroupStart) -> Result<P::Config, BoxError> + Send + 'static,
) -> impl FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send + 'static {
    move |start| {
        check_chunks(&settings.replica, &start)?;
        let log = log(&start)?;
        let recover = move |start: GroupStart| Ok(P::recover(start.now, config(&start)?, start.recovery)?);
        Ok(Box::new(Bound::<L, P>::recover(start, settings, log, channel, Box::new(recover))?))
    }
}

fn check_chunks(settings: &ReplicaSettings, start: &GroupStart) -> Result<(), BoxError> {
    if settings.chunk_bytes.saturating_add(FRAME_OVERHEAD_BYTES) > start.frame_bytes_max {
        return Err("chunk_bytes of the replica is above the longest frame".into());
    }
    Ok(())
}

struct Prepared {
    unstarted: Unstarted<RealDisk>,
    clock: Clock,
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
