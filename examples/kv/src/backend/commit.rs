//! Two-phase commit between shards. Each founder of the cluster has a transaction manager, whose decisions are in a
//! replicated log of its own, so that another node goes on with them when it dies. It is led by that founder whenever
//! that one can, and each node coordinates what its own clients ask for.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use quorate_protocol::replication::{Election, LogCore};
use quorate_protocol::{GroupId, NodeId};
use quorate_runtime::group::ChannelId;
use quorate_runtime::{NodeHandle, ReplicaHandle};
use quorate_two_phase_commit::manager::core::ManagerSettings;
use quorate_two_phase_commit::manager::replica::Replicated;
use quorate_two_phase_commit::manager::{
    BeginError, Manager, Outcome, ReplicatedBuilder, Resource, Transaction, TransactionName,
};
use quorate_two_phase_commit::{Knowledge, Settings};
use tokio::time::Instant;

use super::{COMMAND_TIMEOUT, shard_group};
use crate::shards::work::Work;
use crate::store::Store;

/// The channel of the messages of transaction managers.
pub const COMMIT_CHANNEL: ChannelId = ChannelId(32);

/// The group with the decisions of the manager of a founder.
pub fn commit_group(founder: u64) -> GroupId {
    GroupId(COMMIT_GROUPS + founder)
}

/// The names of the shards as resources of a manager.
pub fn shard_resources(shards: u16) -> Vec<String> {
    (0..shards).map(|shard| format!("shard-{shard}")).collect()
}

/// The settings of the managers.
pub fn commit_settings() -> ManagerSettings {
    ManagerSettings {
        timeout: COMMAND_TIMEOUT,
        // Nobody sees a key that a prepared transaction holds.
        answer_when_decided: true,
        protocol: Settings { vote_timeout: COMMAND_TIMEOUT, ..ManagerSettings::default().protocol },
        ..ManagerSettings::default()
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// All parts are carried out, or will be before anybody sees their keys.
    Yes,
    /// None is, and none will be.
    No,
    /// It is not known.
    Unknown,
}

type ShardResource<E> = Resource<Replicated<LogCore<E>, Store>>;

/// The transaction managers that this node may serve.
pub(super) struct Commits<E: Election> {
    node: NodeHandle,
    id: NodeId,
    founders: Vec<u64>,
    resources: Vec<ShardResource<E>>,
    /// Those that are open, this node's own first.
    managers: RefCell<Vec<Manager>>,
}

impl<E: Election> Commits<E> {
    pub(super) fn new(node: NodeHandle, id: NodeId, founders: Vec<u64>, shards: u16) -> Self {
        let replica = |shard| ReplicaHandle::new(node.clone(), shard_group(shard)).timeout(COMMAND_TIMEOUT);
        let resources = (0..shards).zip(shard_resources(shards));
        let resources = resources.map(|(shard, name)| Resource::new(&name, Replicated::new(replica(shard))));
        Self { resources: resources.collect(), node, id, founders, managers: RefCell::default() }
    }

    /// Opens the managers, each as soon as its log can be read. They carry out their work as long as the node runs.
    pub(super) async fn open(&self) {
        let open = |founder: u64| async move {
            let manager = self.resources.iter().fold(Manager::replicated(), ReplicatedBuilder::resource);
            match manager.settings(commit_settings()).open::<LogCore<E>>(&self.node, commit_group(founder)).await {
                Ok(manager) => {
                    let mut managers = self.managers.borrow_mut();
                    let at = if founder == self.id.0 { 0 } else { managers.len() };
                    managers.insert(at, manager);
                }
                Err(error) => tracing::error!(founder, %error, "a transaction manager was not opened"),
            }
        };
        // A cluster has few founders.
        let mut opening: Vec<_> = self.founders.iter().map(|founder| Box::pin(open(*founder))).collect();
        std::future::poll_fn(|context| {
            opening.retain_mut(|open| open.as_mut().poll(context).is_pending());
            if opening.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// Has the shards do their work, all of it or none.
    pub(super) async fn commit(&self, works: impl Iterator<Item = (u16, Work)>, deadline: Instant) -> Committed {
        let Some(transaction) = self.begin(deadline).await else { return Committed::No };
        for (shard, work) in works {
            let Some(resource) = self.resources.get(usize::from(shard)) else { return Committed::No };
            match transaction.enlist(resource).await {
                Ok(session) => session.set_work(work.encode()),
                // A transaction that is dropped is aborted.
                Err(_) => return Committed::No,
            }
        }
        match transaction.commit().await {
            Outcome::Committed | Outcome::Mixed { .. } => Committed::Yes,
            Outcome::Aborted(_) => Committed::No,
            Outcome::InDoubt(unresolved) => {
                let (name, outcome) = (unresolved.name(), unresolved.outcome());
                match tokio::time::timeout_at(deadline, outcome).await {
                    Ok(Outcome::Committed | Outcome::Mixed { .. }) => Committed::Yes,
                    Ok(Outcome::Aborted(_)) => Committed::No,
                    Ok(Outcome::InDoubt(_)) | Err(_) => self.knows(name).await,
                }
            }
        }
    }

    /// Asks once more what became of a transaction.
    async fn knows(&self, name: TransactionName) -> Committed {
        let manager = self.managers.borrow().iter().find(|manager| manager.id() == name.manager).cloned();
        let Some(manager) = manager else { return Committed::Unknown };
        match tokio::time::timeout(LAST_QUESTION, manager.outcome(name)).await {
            Ok(Ok(Knowledge::Committed)) => Committed::Yes,
            _ => Committed::Unknown,
        }
    }

    /// Begins a transaction at a manager that this node serves, if there is one.
    async fn begin(&self, deadline: Instant) -> Option<Transaction> {
        let managers = self.managers.borrow().clone();
        for manager in managers {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match manager.begin_within(left).await {
                Ok(transaction) => return Some(transaction),
                Err(BeginError::Elsewhere { .. }) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl<E: Election> fmt::Debug for Commits<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits")
            .field("id", &self.id)
            .field("managers", &self.managers.borrow().len())
            .finish_non_exhaustive()
    }
}

/// The groups of managers have numbers above this.
const COMMIT_GROUPS: u64 = 1_000_000;
/// Time for the last question about a transaction in doubt.
const LAST_QUESTION: Duration = Duration::from_millis(100);
