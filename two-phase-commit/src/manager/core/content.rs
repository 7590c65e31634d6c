//! The content of a manager's log, read by a node that does not serve it.

use std::collections::BTreeSet;

use quorate_protocol::{Now, Protocol, RecoverError, Recovery};

use super::ManagerCore;
use super::event::{AbortReason, Ended};
use super::settings::ManagerConfig;
use crate::manager::{ManagerId, ResourceId};
use crate::{Decision, Deviation, Epoch, Knowledge, TransactionNumber};

/// What a log says.
pub(crate) struct Content {
    core: ManagerCore,
    /// The newest epoch in the log.
    epoch: Epoch,
}

impl Content {
    /// Reads the content of a log. `None` if no manager has written to it yet.
    ///
    /// # Errors
    /// When the content is malformed, or of a newer version.
    pub(crate) fn read(now: Now, config: ManagerConfig, recovery: Recovery) -> Result<Option<Self>, RecoverError> {
        if recovery.state.is_none() {
            return Ok(None);
        }
        // A core is recovered in the epoch after that of the log, and this one never writes it.
        let core = ManagerCore::recover(now, config, recovery)?;
        let epoch = Epoch(core.epoch().0 - 1);
        Ok(Some(Self { core, epoch }))
    }

    /// Identity of the manager.
    pub(crate) fn id(&self) -> ManagerId {
        self.core.outside.config.id()
    }

    /// The outcome of a transaction, if it cannot change any more. In the newest epoch only a commit is certain,
    /// because the manager of that epoch may still write. It writes nothing once the log has a later one.
    pub(crate) fn knowledge(&self, number: TransactionNumber) -> Option<Knowledge> {
        let coordinator = &self.core.coordinator;
        if let Some(mixed) = coordinator.coordinator.mixed().get(&number) {
            return Some(Knowledge::Mixed(mixed.decision));
        }
        let is_open = number.epoch >= self.epoch;
        let knowledge = coordinator.coordinator.knowledge(&coordinator.base, number);
        (!is_open || knowledge == Knowledge::Committed).then_some(knowledge)
    }

    /// The outcome of a transaction as its application is told it. `None` if it is not certain yet.
    pub(crate) fn ended(&self, number: TransactionNumber) -> Option<Ended> {
        match self.knowledge(number)? {
            Knowledge::Committed | Knowledge::Mixed(Decision::Commit) => {
                Some(Ended::Committed { without: self.without(number) })
            }
            Knowledge::Aborted | Knowledge::Mixed(Decision::Abort) => Some(Ended::Aborted(AbortReason::TakenOver)),
            Knowledge::Undecided | Knowledge::InDoubt | Knowledge::Forgotten => None,
        }
    }

    /// The resources that did not follow a commit.
    fn without(&self, number: TransactionNumber) -> BTreeSet<ResourceId> {
        let mixed = self.core.coordinator.coordinator.mixed().get(&number);
        let by = mixed.into_iter().flat_map(|deviations| &deviations.by);
        by.filter(|(_, deviation)| **deviation != Deviation::Committed).map(|(node, _)| ResourceId(node.0)).collect()
    }
}
