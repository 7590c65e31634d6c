//! The state of a manager, for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_protocol::HaltReason;

use super::branches::age;
use super::event::Hazard;
use super::{ManagerCore, ManagerRequest};
use crate::manager::{ManagerId, ResourceId};
use crate::state::Stage as Decided;
use crate::{Epoch, TransactionNumber};

/// The state of a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagerStatus {
    /// Identity of the manager.
    pub manager: ManagerId,
    /// Number of this start.
    pub epoch: Epoch,
    /// Number of transactions that are not decided.
    pub open: usize,
    /// Transactions that are not the same everywhere yet: committed ones that a resource has not committed, and those
    /// whose decision was left to a resource that has not told it.
    pub in_doubt: BTreeMap<TransactionNumber, InDoubt>,
    /// Branches that did not follow the decision, until an operator says that they were dealt with.
    pub hazards: BTreeMap<TransactionNumber, BTreeMap<ResourceId, Hazard>>,
    /// The names of all resources that the log knows, also of those that the program does not describe any more.
    pub names: BTreeMap<ResourceId, String>,
    /// Work that failed at least once, or has not been done for `report_after`.
    pub stuck: Vec<Stuck>,
    /// The resources.
    pub resources: BTreeMap<ResourceId, ResourceStatus>,
    /// A later start of this manager, if a resource has branches of it.
    pub superseded_by: Option<Epoch>,
    /// Reason why the manager has stopped.
    pub halted: Option<HaltReason>,
}

/// A transaction that is not the same everywhere yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Time in this state, as far as this start knows.
    pub age: Duration,
    /// The resources that are waited for, by name. `None` for a resource whose name the log does not know.
    pub resources: BTreeMap<ResourceId, Option<String>>,
    /// True if the transaction is committed; false if the decision was left to the resource.
    pub is_committed: bool,
}

/// Work that a resource does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The work.
    pub request: ManagerRequest,
    /// Time since it was first asked for, as far as this start knows.
    pub age: Duration,
    /// Number of times that it failed.
    pub failures: u32,
    /// The last failure; `None` if it was never answered.
    pub why: Option<String>,
}

/// State of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// True if it has listed its prepared branches in this start.
    pub has_listed: bool,
}

impl ManagerStatus {
    pub(super) fn of(core: &ManagerCore) -> Self {
        let config = &core.outside.config;
        let resources = config.resources().iter().map(|(id, name)| {
            let has_listed = core.scans.resources().get(id).is_some_and(|resource| resource.has_listed);
            (*id, ResourceStatus { name: name.clone(), has_listed })
        });
        let names = core.names.known().filter_map(|id| Some((id, core.names.of(id)?.to_owned())));
        let hazards = core.coordinator.coordinator.mixed().iter().map(|(number, deviations)| {
            let by = deviations.by.iter().map(|(node, deviation)| (ResourceId(node.0), Hazard::of(*deviation)));
            (*number, by.collect())
        });
        Self {
            manager: config.id(),
            epoch: core.epoch(),
            open: core.transactions.in_use(),
            in_doubt: in_doubt(core),
            hazards: hazards.collect(),
            names: names.collect(),
            stuck: stuck(core),
            resources: resources.collect(),
            superseded_by: core.superseded_by,
            halted: core.halted.clone(),
        }
    }
}

fn in_doubt(core: &ManagerCore) -> BTreeMap<TransactionNumber, InDoubt> {
    let now = core.outside.now.instant;
    let named = |node: &quorate_protocol::NodeId| {
        let id = ResourceId(node.0);
        (id, core.names.of(id).map(str::to_owned))
    };
    let coordinated = core.coordinator.coordinator.coordinated().iter();
    let waiting = coordinated.filter_map(|(number, it)| {
        let age = now.since(it.since);
        match &it.stage {
            Decided::Committed { unacknowledged, .. } => {
                let resources = unacknowledged.iter().map(named).collect();
                Some((*number, InDoubt { age, resources, is_committed: true }))
            }
            Decided::Delegated { participant, .. } => {
                let resources = [named(participant)].into();
                Some((*number, InDoubt { age, resources, is_committed: false }))
            }
            _ => None,
        }
    });
    waiting.collect()
}

fn stuck(core: &ManagerCore) -> Vec<Stuck> {
    let (now, outside) = (core.outside.now.instant, &core.outside);
    let branches = core.branches.asked().filter_map(|(key, branch)| {
        let request = super::branches::request_of(branch.stage, outside.branch_id(key))?;
        Some((request, &branch.work))
    });
    let late = outside.config.settings().protocol.report_after;
    let all = branches.chain(core.scans.asked());
    let stuck = all.filter(|(_, work)| work.failures > 0 || age(work, now) >= late);
    let stuck = stuck.map(|(request, work)| Stuck {
        request,
        age: age(work, now),
        failures: work.failures,
        why: work.why.clone(),
    });
    stuck.collect()
}
