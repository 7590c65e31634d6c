//! The thread of a manager's log: a node with one group, and nobody to talk to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use quorate_protocol::{Configuration, GroupId, Identity, NodeId, Protocol};
use quorate_runtime::group::{ChannelId, Group};
use quorate_runtime::hosted::{Hosted, Told};
use quorate_runtime::shell::{
    Clock, DirectoryError, Driver, LocalHandle, Opened, Opening, Parts, cluster_id, read_address,
};
use quorate_runtime::{BoxError, GroupStart, NodeHandle, ServerOpenError};
use quorate_transport::Limits;
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_wal::LogSettings;
use quorate_wal::disk::RealDisk;
use tokio::sync::{mpsc, oneshot};

use super::shared::{Lost, Shared};
use crate::ConfigError;
use crate::manager::core::{ManagerConfig, ManagerCore, ManagerSettings, ManagerStatus};
use crate::manager::{ManagerId, ResourceId, metrics};

/// Description of a log to open.
pub(super) struct LogOpening {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) resources: BTreeMap<ResourceId, String>,
    pub(super) settings: ManagerSettings,
}

/// A log that is open, whose thread runs.
pub(super) struct RunningLog {
    pub(super) manager: ManagerId,
    pub(super) node: NodeHandle,
    pub(super) group: GroupId,
    /// What the core tells.
    pub(super) news: mpsc::Receiver<Vec<Told<ManagerCore>>>,
}

impl LogOpening {
    /// Opens the log on a thread of its own.
    pub(super) async fn open(self) -> Result<RunningLog, ServerOpenError> {
        let (tell, told) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("quorate-{}", self.name));
        thread.spawn(move || self.run(tell)).map_err(ServerOpenError::Thread)?;
        let ended = |_| ServerOpenError::Thread(io::Error::other("the thread of the log panicked"));
        told.await.map_err(ended)?
    }

    fn run(self, tell: oneshot::Sender<Result<RunningLog, ServerOpenError>>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            // Nobody waits for the log if this fails.
            Err(error) => return drop(tell.send(Err(ServerOpenError::Thread(error)))),
        };
        runtime.block_on(async {
            let (driver, identity) = match self.driver() {
                Ok(opened) => opened,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let (tell_news, news) = mpsc::channel(NEWS_MAX);
            let log = RunningLog { manager: manager_id(&identity), node: driver.handle(), group: GROUP, news };
            let local = driver.local_handle();
            // If nobody waits any more, the log is not wanted.
            if tell.send(Ok(log)).is_ok() {
                tokio::join!(driver.run(), pass_on(local, tell_news));
            }
        });
    }

    fn driver(self) -> Result<(Driver, Identity), ServerOpenError> {
        let disk =
            RealDisk::new(&self.directory).map_err(|error| ServerOpenError::Directory(DirectoryError::Io(error)))?;
        let (resources, settings) = (self.resources, self.settings);
        let make = move |start: GroupStart| make_group(start, resources, settings);
        let opening = Opening {
            cluster: cluster_id(&self.name),
            node: NODE,
            members: Configuration::of_voters([NODE]),
            joining: BTreeSet::new(),
            log: LogSettings::default(),
            frame_bytes_max: Limits::default().frame_bytes_max,
            tail_bytes_max: 0,
            groups: BTreeMap::from([(GROUP, Box::new(make) as _)]),
            reopen: Box::new(|_| None),
        };
        let clock = Clock::start();
        let Opened { node, log, snapshots, lock, site, .. } = opening.open(disk, || clock.now(), draw)?;
        let identity = node.identity();
        let network = Network::new(Limits::default(), DeliveryTime::Immediate).expect("the default limits fit");
        let transport = network.join(identity);
        let read_addresses = Arc::new(read_address);
        let parts = Parts { node, clock, transport, read_addresses, log, snapshots, site, lock: Arc::new(lock) };
        Ok((Driver::new(parts)?, identity))
    }
}

/// Passes on what the core tells, until the node stops or the manager is dropped. All that is told in one turn crosses
/// to the other thread together.
async fn pass_on(local: LocalHandle, tell: mpsc::Sender<Vec<Told<ManagerCore>>>) {
    while let Some(told) = wait_for_news(local.clone()).await {
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

/// What the core tells, in order.
pub(super) trait News: Send + 'static {
    /// The next news; `None` if the core has stopped.
    fn next(&mut self) -> impl Future<Output = Option<Vec<Told<ManagerCore>>>> + Send;
}

impl News for mpsc::Receiver<Vec<Told<ManagerCore>>> {
    async fn next(&mut self) -> Option<Vec<Told<ManagerCore>>> {
        self.recv().await
    }
}

/// Takes up what the core tells, until the node stops or the manager is dropped.
pub(super) async fn listen(mut news: impl News, shared: Weak<Shared>) {
    loop {
        let told = news.next().await;
        let Some(shared) = shared.upgrade() else { return };
        let Some(told) = told else { return shared.close() };
        for news in told {
            if let Err(Lost(count)) = shared.hear(news) {
                tracing::error!(manager = %shared.id, count, "events were lost, so the manager stops");
                shared.close();
                let _ = shared.node.shutdown(PATIENCE).await;
                return;
            }
        }
    }
}

/// Publishes the state as metrics, until the manager is dropped.
///
/// # Panics
/// When it is called outside of a tokio runtime with time.
pub(super) fn publish(shared: Weak<Shared>) -> impl Future<Output = ()> + Send {
    publish_at(tokio::time::interval(PUBLISH_INTERVAL), shared)
}

async fn publish_at(mut interval: tokio::time::Interval, shared: Weak<Shared>) {
    loop {
        interval.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let (status, label) = (status_of(&shared.node, shared.group), shared.id.to_string());
        drop(shared);
        if let Some(status) = status.await {
            metrics::publish(&label, &status);
        }
    }
}

/// The state of the core; `None` if this node does not serve it.
pub(super) fn status_of(
    node: &NodeHandle,
    group: GroupId,
) -> impl Future<Output = Option<ManagerStatus>> + Send + use<> {
    let status = node.look(group, |hosted: &mut Hosted<ManagerCore>, _now| hosted.core().map(ManagerCore::status));
    async move { status.await.ok().flatten() }
}

/// The next events and requests of the core; `None` if it has stopped.
async fn wait_for_news(local: LocalHandle) -> Option<Vec<Told<ManagerCore>>> {
    let told = local.ask(
        GROUP,
        0,
        |hosted: &mut Hosted<ManagerCore>, _now, call| hosted.listen(call),
        |hosted, _reply| hosted.map(Hosted::take),
    );
    told.await.ok()?
}

fn make_group(
    start: GroupStart,
    resources: BTreeMap<ResourceId, String>,
    settings: ManagerSettings,
) -> Result<Box<dyn Group>, BoxError> {
    let config = config(&start, manager_id(&start.identity), resources, settings)?;
    let core = ManagerCore::recover(start.now, config, start.recovery)?;
    Ok(Box::new(Hosted::new(start.group, ChannelId::FIRST_CORE, core)))
}

/// The configuration of a core that starts from this data.
pub(super) fn config(
    start: &GroupStart,
    id: ManagerId,
    resources: BTreeMap<ResourceId, String>,
    mut settings: ManagerSettings,
) -> Result<ManagerConfig, ConfigError> {
    // The names of resources join a write.
    let room = start.write_bytes_max - NAMES_BYTES_MAX.min(start.write_bytes_max / 2);
    settings.protocol.write_bytes_max = settings.protocol.write_bytes_max.min(room);
    ManagerConfig::new(id, start.identity.node, start.seed, resources, settings)
}

/// A log that was lost and made anew has another identity, so that its manager presumes nothing of the lost one's
/// branches.
pub(super) fn manager_id(identity: &Identity) -> ManagerId {
    let log = u64::try_from(identity.incarnation.0 >> 64).expect("the upper half of 128 bits");
    ManagerId { cluster: identity.cluster, log }
}

fn draw() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

/// The only group of a manager's log.
const GROUP: GroupId = GroupId(1);
/// The only node of a manager's log.
const NODE: NodeId = NodeId(1);
/// Room for the names of resources in a write.
const NAMES_BYTES_MAX: usize = 1 << 20;
/// Turns of the core whose news wait for the other thread at most. Then they gather at the core, which has a bound.
const NEWS_MAX: usize = 16;
/// Time between two reports of the state as metrics.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which a shutdown waits for the last writes.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
