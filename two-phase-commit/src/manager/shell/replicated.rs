//! A manager whose decision log is replicated: the core runs on the node that leads the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use quorate_protocol::{ClusterId, GroupId, Instant, NodeId, Now, Recovery};
use quorate_runtime::bound::BoundLog;
use quorate_runtime::group::Hostable;
use quorate_runtime::hosted::{HostedHandle, Told};
use quorate_runtime::{BoxError, GroupStart, NodeHandle, ReplicaHandle};
use tokio::runtime::Handle;

use super::builder::{Description, names};
use super::calls::Calls;
use super::error::{OpenError, OutcomeError};
use super::handle::Manager;
use super::log::{News, config, listen, manager_id, publish};
use super::resource::Resource;
use super::shared::Shared;
use crate::manager::core::{Content, ManagerConfig, ManagerCore, ManagerSettings};
use crate::manager::{ManagerId, ResourceId, ResourceManager};
use crate::{Knowledge, TransactionNumber};

/// Description of a [`Manager`] on a replicated log.
///
/// [`ReplicatedBuilder::core`] goes into the description of the server, and [`ReplicatedBuilder::open`] makes the
/// manager on the running one. Describe the same resources on every node, because each may come to serve the manager:
/// the one that leads the log does.
pub struct ReplicatedBuilder {
    description: Description,
}

/// The settings of a core, made from those of its group.
type MakeConfig = Box<dyn FnMut(&GroupStart) -> Result<ManagerConfig, BoxError> + Send>;

impl ReplicatedBuilder {
    pub(super) fn new() -> Self {
        Self { description: Description::default() }
    }

    /// As [`ManagerBuilder::resource`](super::ManagerBuilder::resource).
    pub fn resource<R: ResourceManager>(mut self, resource: &Resource<R>) -> Self {
        self.description.resource(resource);
        self
    }

    /// Replaces times and bounds.
    pub fn settings(mut self, settings: ManagerSettings) -> Self {
        self.description.settings = settings;
        self
    }

    /// The settings of the core, for [`ServerBuilder::bound`](quorate_runtime::ServerBuilder::bound).
    pub fn core(&self) -> impl FnMut(&GroupStart) -> Result<ManagerConfig, BoxError> + Send + 'static {
        core_of(names(&self.description.resources), self.description.settings.clone())
    }

    /// As [`ReplicatedBuilder::core`], for resources of these names. To be used if the resources are made from the
    /// running server, as replicas on it are.
    pub fn core_for<'a>(
        resources: impl IntoIterator<Item = &'a str>,
        settings: ManagerSettings,
    ) -> impl FnMut(&GroupStart) -> Result<ManagerConfig, BoxError> + Send + 'static {
        let named = resources.into_iter().map(|name| (ResourceId::of_name(name), name.to_owned()));
        core_of(named.collect(), settings)
    }

    /// Opens the manager on this node of the group `group`. It waits until a first node has served it, for which a
    /// majority of the nodes must run. From then on it lasts as long as the node, also without this handle: it carries
    /// out the work of the core whenever this node serves it. Calls to resources run in the current tokio runtime.
    ///
    /// # Errors
    /// When the description is wrong, the node has stopped or has no such group, or its log cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time.
    pub async fn open<L: quorate_protocol::ReplicatedLog + Hostable>(
        self,
        node: &NodeHandle,
        group: GroupId,
    ) -> Result<Manager, OpenError> {
        let Description { resources, settings, .. } = self.description.checked()?;
        let log = ReplicaHandle::<L, BoundLog>::new(node.clone(), group);
        let names = names(&resources);
        let calls = Calls::new(Handle::current());
        let settings = Arc::new(settings);
        let log = ReplicatedLog { log: Arc::new(log), names: Arc::new(names), settings: settings.clone() };
        let id = log.manager_id().await?;
        let shared = Shared::new(id, (node.clone(), group), Some(log), resources, &settings, calls);
        tokio::spawn(serve(shared.clone()));
        tokio::spawn(publish(Arc::downgrade(&shared)));
        Ok(Manager::new(shared))
    }
}

fn core_of(resources: BTreeMap<ResourceId, String>, settings: ManagerSettings) -> MakeConfig {
    Box::new(move |start| {
        // The group is part of it, because a node may have several.
        let ManagerId { cluster, log } = manager_id(&start.identity);
        let id = ManagerId { cluster, log: log ^ start.group.0.wrapping_mul(GROUP_FACTOR) };
        Ok(config(start, id, resources.clone(), settings.clone())?.replicated())
    })
}

/// Takes up what the core tells as long as the node runs.
async fn serve(shared: Arc<Shared>) {
    let core = HostedHandle::<ManagerCore>::new(shared.node.clone(), shared.group);
    listen(ToldTo { core, up_to: 0 }, Arc::downgrade(&shared)).await;
}

/// What a core tells that runs in a node of the program.
struct ToldTo {
    core: HostedHandle<ManagerCore>,
    /// The number of the last that was taken up.
    up_to: u64,
}

impl News for ToldTo {
    async fn next(&mut self) -> Option<Vec<Told<ManagerCore>>> {
        let heard = self.core.listen(self.up_to).await.ok()?;
        self.up_to = heard.up_to;
        Some(heard.told)
    }
}

/// The replicated log of a manager, for reading. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReplicatedLog {
    log: Arc<dyn ReadLog>,
    names: Arc<BTreeMap<ResourceId, String>>,
    settings: Arc<ManagerSettings>,
}

/// A replicated log of any protocol.
#[async_trait]
trait ReadLog: Send + Sync {
    /// What this node has applied, which may be old. `None` if the node has stopped.
    async fn local(&self) -> Option<Recovery>;

    /// What was written before this call. `None` if there is no leader, or the node has stopped.
    async fn newest(&self) -> Option<Recovery>;
}

#[async_trait]
impl<L: quorate_protocol::ReplicatedLog + Hostable> ReadLog for ReplicaHandle<L, BoundLog> {
    async fn local(&self) -> Option<Recovery> {
        self.read_local(|log, _| log.recovery()).await.ok()
    }

    async fn newest(&self) -> Option<Recovery> {
        self.read(|log, _| log.recovery()).await.ok()
    }
}

impl ReplicatedLog {
    fn read(&self, recovery: Recovery) -> Result<Option<Content>, String> {
        let none = ManagerId { cluster: ClusterId(0), log: 0 };
        let (names, settings) = ((*self.names).clone(), (*self.settings).clone());
        // The node id and the seed are of no account for what is only read.
        let config =
            ManagerConfig::new(none, NodeId(u64::MAX), 0, names, settings).map_err(|error| error.to_string())?;
        let start = Now { instant: Instant::ZERO, wall_ms: 0 };
        Content::read(start, config, recovery).map_err(|error| error.to_string())
    }

    /// Waits until the log names its manager.
    async fn manager_id(&self) -> Result<ManagerId, OpenError> {
        let mut pause = PAUSE_MIN;
        loop {
            let recovery = self.log.local().await.ok_or(OpenError::Ended)?;
            if let Some(content) = self.read(recovery).map_err(OpenError::Content)? {
                return Ok(content.id());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The outcome of a transaction as the log has it now.
    async fn knowledge(&self, number: TransactionNumber) -> Option<Knowledge> {
        let content = self.read(self.log.newest().await?).ok()??;
        content.knowledge(number)
    }
}

impl Shared {
    /// The outcome of a transaction, as a node knows it that does not serve the manager.
    pub(super) async fn outcome_elsewhere(
        &self,
        number: TransactionNumber,
        leader: Option<NodeId>,
    ) -> Result<Knowledge, OutcomeError> {
        let Some(log) = &self.replicated else { return Err(OutcomeError::Elsewhere { leader }) };
        log.knowledge(number).await.ok_or(OutcomeError::Elsewhere { leader })
    }
}

/// Reads the log until it tells the outcome of each transaction that this node was asked to commit and serves no more.
pub(super) async fn follow(shared: Weak<Shared>, log: ReplicatedLog) {
    let mut pause = PAUSE_MIN;
    loop {
        let Some(unresolved) = shared.upgrade().map(|shared| shared.unresolved()) else { return };
        if unresolved.is_empty() {
            return;
        }
        let Some(recovery) = log.log.local().await else { return };
        if let Ok(Some(content)) = log.read(recovery)
            && let Some(shared) = shared.upgrade()
        {
            for number in unresolved {
                match content.ended(number) {
                    Some(ended) => shared.resolved(number, ended),
                    None if content.knowledge(number) == Some(Knowledge::Forgotten) => shared.unknown(number),
                    None => {}
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl fmt::Debug for ReplicatedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(&self.description.resources);
        f.debug_struct("ReplicatedBuilder").field("resources", &names.values()).finish_non_exhaustive()
    }
}

/// Pauses between two looks at the applied log.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// An odd number, so that no two groups give the same product.
const GROUP_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
