//! A few nodes in one process, for the small examples: on free ports of this machine, with their data in a temporary
//! folder. Each runs on a thread of its own, and can be killed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use quorate_runtime::{
    GroupId, Launch, NodeHandle, ReplicaHandle, Server, ServerBuilder, ServerOpenError, StateMachine,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Nodes 1 to `count` in this process. When this is dropped, those that are left are killed, and the data are removed.
#[derive(Debug)]
pub struct LocalNodes {
    nodes: BTreeMap<u64, LocalNode>,
    _folder: TempDir,
}

/// A node on a thread of its own.
#[derive(Debug)]
struct LocalNode {
    handle: NodeHandle,
    crash: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

/// Reason why nodes cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A folder, a port or a thread cannot be had. No node runs.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A node refuses to start. No node runs.
    #[error("node {node}: {error}")]
    Open {
        /// The node.
        node: u64,
        /// The reason.
        error: ServerOpenError,
    },
    /// A group has no leader.
    #[error("no leader was elected")]
    NoLeader,
}

impl LocalNodes {
    /// Starts the nodes. `describe` adds the groups to the description of each of them.
    ///
    /// # Errors
    /// When a node cannot be started.
    pub fn start(count: usize, describe: impl Fn(ServerBuilder) -> ServerBuilder) -> Result<Self, LocalError> {
        let folder = tempfile::tempdir()?;
        let addresses = free_addresses(count)?;
        let mut nodes = BTreeMap::new();
        for (id, _) in (1..).zip(&addresses) {
            let server = describe(Server::builder("local", folder.path()));
            let server = (1..).zip(&addresses).fold(server, |server, (id, at)| server.node(id, at.to_string()));
            nodes.insert(id, LocalNode::start(server, id)?);
        }
        Ok(Self { nodes, _folder: folder })
    }

    /// Returns a handle to a node. It stays usable when the node is killed: its calls then fail.
    ///
    /// # Panics
    /// When there is no such node, or it was killed.
    pub fn handle(&self, node: u64) -> NodeHandle {
        self.nodes[&node].handle.clone()
    }

    /// Waits until a group has a leader, and returns its node.
    ///
    /// # Errors
    /// When no leader is elected in time, or every node was killed.
    pub fn leader<L: Launch, S: StateMachine>(&self, group: GroupId) -> Result<u64, LocalError> {
        let handle = self.nodes.values().next().map(|node| node.handle.clone()).ok_or(LocalError::NoLeader)?;
        let replica = ReplicaHandle::<L, S>::new(handle, group).timeout(ELECTION_MAX);
        // A read is answered once there is a leader.
        replica.read(|_, _| ()).wait().map_err(|_| LocalError::NoLeader)?;
        let status = replica.status().wait().map_err(|_| LocalError::NoLeader)?;
        status.log.leader.map(|leader| leader.0).ok_or(LocalError::NoLeader)
    }

    /// Kills a node: it stops in the midst of what it does, as in a crash of its process. Killing it again changes
    /// nothing.
    pub fn kill(&mut self, node: u64) {
        if let Some(node) = self.nodes.remove(&node) {
            drop(node.crash);
            // A panic was printed where it happened.
            let _ = node.thread.join();
        }
    }
}

impl Drop for LocalNodes {
    fn drop(&mut self) {
        (1..=self.nodes.last_key_value().map_or(0, |last| *last.0)).for_each(|node| self.kill(node));
    }
}

impl LocalNode {
    /// Starts a node and returns once it is open.
    fn start(server: ServerBuilder, id: u64) -> Result<Self, LocalError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (tell, told) = mpsc::channel();
        let (crash, crashed) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("node-{id}")).spawn(move || {
            runtime.block_on(async {
                match server.open(id).await {
                    Ok(server) => {
                        // The caller waits for this.
                        let _ = tell.send(Ok(server.handle()));
                        // Once the other end of `crashed` is dropped, the node is dropped in the midst of its work.
                        tokio::select! { () = server.run() => {}, _ = crashed => {} }
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        })?;
        let opened = told.recv().map_err(|_| io::Error::other("the node's thread panicked"))?;
        let handle = opened.map_err(|error| LocalError::Open { node: id, error })?;
        Ok(Self { handle, crash, thread })
    }
}

/// Draws addresses of this machine whose ports are free, for nodes that are started later.
///
/// They are of a host of their own, since Linux answers for all of 127.0.0.0/8. On 127.0.0.1 another program could take
/// a port before the node does, if only as the port from which it connects.
///
/// # Errors
/// When a port cannot be had.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut drawn = [0; 3];
    getrandom::fill(&mut drawn).map_err(io::Error::other)?;
    let [a, b, c] = drawn;
    let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
    // All are held until the last is drawn, so that they differ.
    let held = (0..count).map(|_| TcpListener::bind((host, 0))).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

/// Time after which a leader is no longer waited for.
const ELECTION_MAX: Duration = Duration::from_secs(30);
