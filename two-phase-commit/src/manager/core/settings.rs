//! Settings of a manager's core, checked when they are set.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::NodeId;

use crate::manager::{ManagerId, ResourceId};
use crate::{Config, ConfigError, CoordinatorId, Settings};

/// Times and bounds of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerSettings {
    /// Time within which a transaction must be decided, unless it is begun with another one.
    pub timeout: Duration,
    /// Time between two looks for branches of earlier starts that nobody ended, in each resource. A late branch is
    /// found sooner or later; nothing else depends on it.
    pub scan_interval: Duration,
    /// Time after which a resource is asked to drop the evidence of finished transactions, if there are any.
    pub forget_interval: Duration,
    /// Number of finished transactions after which it is asked earlier.
    pub forget_batch: usize,
    /// A commit is answered as soon as it is decided, and not only once every resource was asked to commit: one forced
    /// write sooner. For resources that let nobody see what a prepared branch has locked. A branch that is lost is then
    /// told by `status().hazards` alone.
    pub answer_when_decided: bool,
    /// Times and bounds of the protocol. `begin_timeout` has no effect: every transaction has a deadline.
    pub protocol: Settings,
}

impl Default for ManagerSettings {
    /// Transactions have 30 s; looks for old branches every 10 s; evidence is dropped after 10 s or 1,000 transactions;
    /// 16,384 transactions at a time, and the protocol's defaults.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            scan_interval: Duration::from_secs(10),
            forget_interval: Duration::from_secs(10),
            forget_batch: 1_000,
            answer_when_decided: false,
            protocol: Settings {
                transactions_max: 16_384,
                payload_bytes_max: 0,
                vote_timeout: Duration::from_secs(10),
                ..Settings::default()
            },
        }
    }
}

/// Configuration of the core of a manager.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    id: ManagerId,
    resources: BTreeMap<ResourceId, String>,
    settings: ManagerSettings,
    protocol: Config,
    is_replicated: bool,
}

impl ManagerConfig {
    /// Makes the configuration of a manager with these resources. `id` is its identity if its log has none yet. Its
    /// random numbers come from `seed`, which differs in each start. `node` is the id of the node that holds the log.
    ///
    /// # Errors
    /// When times or bounds contradict each other, or a resource has the id of the node.
    pub fn new(
        id: ManagerId,
        node: NodeId,
        seed: u64,
        resources: BTreeMap<ResourceId, String>,
        settings: ManagerSettings,
    ) -> Result<Self, ConfigError> {
        let rules = [
            (!resources.contains_key(&ResourceId(node.0)), "no resource has the id of the node"),
            (settings.timeout > Duration::ZERO, "timeout is above zero"),
            (settings.scan_interval > Duration::ZERO, "scan_interval is above zero"),
            (settings.forget_interval > Duration::ZERO, "forget_interval is above zero"),
            (settings.forget_batch > 0, "forget_batch is above zero"),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(ConfigError::Contradiction(rule));
        }
        // Every transaction has a deadline of its own.
        let protocol = Settings { begin_timeout: Duration::MAX, ..settings.protocol.clone() };
        let protocol = Config::new(node, seed, protocol)?.with_coordinator(CoordinatorId(id.log));
        Ok(Self { id, resources, settings, protocol, is_replicated: false })
    }

    /// The same configuration for a replicated log. There another node may have taken the log over while this one does
    /// not know it yet. So when a resource has branches of a later epoch, this manager stops its work, but not its
    /// node.
    #[must_use]
    pub fn replicated(self) -> Self {
        Self { is_replicated: true, ..self }
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    /// Takes over the identity that the log has.
    pub(super) fn with_id(self, id: ManagerId) -> Self {
        let protocol = self.protocol.with_coordinator(CoordinatorId(id.log));
        Self { id, protocol, ..self }
    }

    /// Identity of the manager.
    pub fn id(&self) -> ManagerId {
        self.id
    }

    /// The resources and their names.
    pub fn resources(&self) -> &BTreeMap<ResourceId, String> {
        &self.resources
    }

    /// Times and bounds.
    pub fn settings(&self) -> &ManagerSettings {
        &self.settings
    }

    pub(super) fn seed(&self) -> u64 {
        self.protocol.seed()
    }

    pub(super) fn node(&self) -> NodeId {
        self.protocol.node()
    }

    pub(super) fn protocol(&self) -> &Config {
        &self.protocol
    }
}
