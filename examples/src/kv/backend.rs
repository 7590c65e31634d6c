//! Connects client connections to the replica on the same loop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{GroupId, RefuseReason};
use quorate_runtime::shell::LocalHandle;
use quorate_runtime::{LocalReplicaHandle, NotApplied, Outcome, ReadContext, ReadError};

use super::command::{About, Answer, At, Role};
use super::connection::{Freshness, Reason, Written};
use super::peers::Peers;
use super::pubsub::{self, Request};
use super::server::Backend;
use super::status;
use super::store::Store;

/// The group of all keys.
pub const GROUP: GroupId = GroupId(0);

/// Maximum time until a command is answered, if only by an error. It is longer than an election takes. A write that was
/// on its way to a leader that died is reported as unknown only after this time.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// The replica of [`GROUP`] on this loop's node.
#[derive(Clone)]
pub struct ReplicaBackend<E: Election> {
    replica: LocalReplicaHandle<LogCore<E>, Store>,
    /// The address for clients of each node.
    clients: Rc<BTreeMap<u64, SocketAddr>>,
    peers: Peers,
}

impl<E: Election> ReplicaBackend<E> {
    /// The replica that `node` runs. `clients` are the addresses for clients of all nodes, and `peers` asks them.
    pub fn new(node: LocalHandle, clients: BTreeMap<u64, SocketAddr>, peers: Peers) -> Self {
        let replica = LocalReplicaHandle::new(node, GROUP).timeout(COMMAND_TIMEOUT);
        Self { replica, clients: Rc::new(clients), peers }
    }
}

impl<E: Election> Backend for ReplicaBackend<E> {
    fn write(&self, entry: Bytes) -> impl Future<Output = Written> + 'static {
        let outcome = self.replica.propose(entry);
        async { written(outcome.await) }
    }

    fn read<F>(&self, freshness: Freshness, read: F) -> impl Future<Output = Result<Answer, Reason>> + 'static
    where
        F: FnOnce(&Store, At) -> Answer + Send + 'static,
    {
        let read = move |store: &Store, context: ReadContext| {
            read(store, At { log_time: context.log_time.0, now: context.now.0 })
        };
        let answer = match freshness {
            Freshness::Linearizable => self.replica.read(read),
            Freshness::Local => self.replica.read_local(read),
        };
        async { answer.await.map_err(|error| not_read(&error)) }
    }

    fn ask_others(&self, request: &Request) -> impl Future<Output = Vec<pubsub::Answer>> + 'static {
        self.peers.ask(request)
    }

    fn about(&self) -> impl Future<Output = About> + 'static {
        let (status, clients) = (self.replica.status(), Rc::clone(&self.clients));
        async move {
            let unknown = About { role: Role::Replica { master: None }, quorum: 0, lines: Vec::new() };
            status.await.map_or(unknown, |status| status::about(&status, &clients))
        }
    }
}

fn written(outcome: Outcome) -> Written {
    match outcome {
        Outcome::Applied(replies) => Written::Applied(replies),
        Outcome::NotApplied(reason) => Written::NotApplied(match reason {
            NotApplied::Overloaded | NotApplied::Refused { reason: RefuseReason::Overloaded, .. } => Reason::Overloaded,
            NotApplied::Refused { reason: RefuseReason::DiskFull, .. } => Reason::DiskFull,
            NotApplied::TooLarge | NotApplied::Refused { reason: RefuseReason::TooLarge, .. } => Reason::TooLarge,
            NotApplied::Stranger(_) => Reason::ReadOnly,
            NotApplied::ShuttingDown | NotApplied::Halted(_) | NotApplied::Stopped | NotApplied::NoGroup => {
                Reason::Shutdown
            }
            _ => Reason::NoQuorum,
        }),
        Outcome::Unknown { .. } => Written::Unknown,
    }
}

fn not_read(error: &ReadError) -> Reason {
    match error {
        ReadError::Overloaded => Reason::Overloaded,
        ReadError::ShuttingDown | ReadError::Halted(_) | ReadError::Stopped | ReadError::NoGroup => Reason::Shutdown,
        _ => Reason::NoQuorum,
    }
}
