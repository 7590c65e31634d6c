//! What is asked of each resource as a whole: which branches it has prepared, and to drop the evidence of finished
//! ones.
//!
//! A branch of an earlier start belongs to nobody that runs: the coordinator's log says whether it is committed. A
//! branch of this start is live, whatever the list says. So the outcome depends on no interval.

use std::collections::{BTreeMap, BTreeSet};

use super::branches::{Key, Work};
use super::event::{ManagerAnswer, ManagerEvent, ManagerRequest};
use super::outside::{Outside, Subject, Timer};
use crate::manager::{BranchId, ResourceId};
use crate::{Epoch, TransactionNumber};

/// The resources of the manager.
#[derive(Clone, Debug)]
pub(super) struct Scans {
    resources: BTreeMap<ResourceId, Resource>,
}

#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub(super) list: Work,
    /// True if it has listed its branches in this start.
    pub(super) has_listed: bool,
    /// Branches that ended while a list was being made, which may still name them.
    ended: BTreeSet<Key>,
    forget: Work,
    /// Number of branches that ended since it was last asked to forget.
    finished: usize,
    /// True if the coordinator was asked which transactions are finished.
    wants_finished: bool,
    /// The open request to forget, so that it can be repeated.
    forgetting: Option<ManagerRequest>,
}

/// The branches of a list that concern this manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Branches of earlier starts.
    pub(super) earlier: Vec<Key>,
    /// The latest start of which there is a branch, if it is later than this one.
    pub(super) superseded_by: Option<Epoch>,
}

impl Scans {
    pub(super) fn new(outside: &Outside) -> Self {
        let now = outside.now.instant;
        let resource = || Resource {
            list: Work::new(now),
            has_listed: false,
            ended: BTreeSet::new(),
            forget: Work::new(now),
            finished: 0,
            wants_finished: false,
            forgetting: None,
        };
        Self { resources: outside.config.resources().keys().map(|id| (*id, resource())).collect() }
    }

    pub(super) fn resources(&self) -> &BTreeMap<ResourceId, Resource> {
        &self.resources
    }

    /// Asks every resource for its prepared branches.
    pub(super) fn begin(&mut self, outside: &mut Outside) {
        for id in outside.config.resources().keys().copied().collect::<Vec<_>>() {
            self.on_scan_timeout(outside, id);
            // What an earlier start left is dropped as well, even if nothing ends in this one.
            self.resources.get_mut(&id).expect("one of its resources").finished = 1;
            outside.arm_forget(id);
        }
    }

    /// The time has come to ask for the prepared branches, or the last request was not answered.
    pub(super) fn on_scan_timeout(&mut self, outside: &mut Outside, id: ResourceId) {
        let Some(resource) = self.resources.get_mut(&id) else { return };
        let request = ManagerRequest::Recover(id);
        if resource.list.request.is_some() {
            resource.list.unanswered = resource.list.unanswered.saturating_add(1);
        } else if resource.list.failures == 0 {
            resource.list = Work::new(outside.now.instant);
        }
        resource.ended.clear();
        resource.list.report(outside, &request);
        resource.list.ask(outside, Subject::Scan(id), request);
    }

    /// Handles the answer to a request for prepared branches.
    pub(super) fn on_list(
        &mut self,
        outside: &mut Outside,
        id: ResourceId,
        own: Epoch,
        answer: ManagerAnswer,
    ) -> Listed {
        let resource = self.resources.get_mut(&id).expect("an open request is about a resource");
        resource.list.request = None;
        let branches = match answer {
            ManagerAnswer::Listed(branches) => branches,
            ManagerAnswer::Failed(why) => {
                resource.list.on_failure(outside, Subject::Scan(id), why);
                resource.list.report(outside, &ManagerRequest::Recover(id));
                return Listed::default();
            }
            answer => {
                let why = format!("the answer does not fit the request: {answer:?}");
                resource.list.on_failure(outside, Subject::Scan(id), why);
                return Listed::default();
            }
        };
        let ended = std::mem::take(&mut resource.ended);
        let listed = sort(outside, id, own, branches, &ended);
        resource.list = Work::new(outside.now.instant);
        if !std::mem::replace(&mut resource.has_listed, true) {
            outside.event(ManagerEvent::Recovered { resource: id, branches: listed.earlier.len() });
        }
        let at = outside.after_about(outside.config.settings().scan_interval);
        outside.timers.arm(Timer::Scan(id), at);
        listed
    }

    /// A branch has ended, so that its evidence may be dropped once its transaction is finished.
    pub(super) fn on_ended(&mut self, outside: &mut Outside, key: Key) {
        let Some(resource) = self.resources.get_mut(&key.resource) else { return };
        if resource.list.request.is_some() {
            resource.ended.insert(key);
        }
        resource.finished += 1;
        let is_idle = resource.forgetting.is_none();
        if resource.finished == outside.config.settings().forget_batch && is_idle {
            outside.timers.arm(Timer::Forget(key.resource), outside.now.instant);
        } else if is_idle && !outside.timers.is_armed(Timer::Forget(key.resource)) {
            outside.arm_forget(key.resource);
        }
    }

    /// The time has come to forget. Returns true if the coordinator must be asked which transactions are finished.
    /// Nothing is forgotten before the resource has listed what earlier starts left.
    pub(super) fn on_forget_timeout(&mut self, outside: &mut Outside, id: ResourceId) -> bool {
        let Some(resource) = self.resources.get_mut(&id) else { return false };
        if let Some(request) = resource.forgetting.clone() {
            if resource.forget.request.is_some() {
                resource.forget.unanswered = resource.forget.unanswered.saturating_add(1);
            }
            resource.forget.report(outside, &request);
            resource.forget.ask(outside, Subject::Forget(id), request);
            return false;
        }
        if !resource.has_listed {
            outside.arm_forget(id);
            return false;
        }
        let wants = resource.finished > 0;
        resource.wants_finished |= wants;
        wants
    }

    /// The coordinator says which of its transactions are finished: those below `below` except `unfinished`.
    pub(super) fn on_finished(
        &mut self,
        outside: &mut Outside,
        id: ResourceId,
        below: TransactionNumber,
        unfinished: BTreeSet<TransactionNumber>,
    ) {
        let Some(resource) = self.resources.get_mut(&id) else { return };
        if !std::mem::take(&mut resource.wants_finished) {
            return;
        }
        // Evidence of what is not finished stays, and must be dropped later.
        resource.finished = usize::from(!unfinished.is_empty());
        let request = ManagerRequest::Forget { resource: id, below, unfinished };
        resource.forgetting = Some(request.clone());
        resource.forget = Work::new(outside.now.instant);
        resource.forget.ask(outside, Subject::Forget(id), request);
    }

    /// Handles the answer to a request to forget.
    pub(super) fn on_forgotten(&mut self, outside: &mut Outside, id: ResourceId, answer: ManagerAnswer) {
        let resource = self.resources.get_mut(&id).expect("an open request is about a resource");
        resource.forget.request = None;
        outside.timers.cancel(Timer::Forget(id));
        match answer {
            ManagerAnswer::Forgotten => {
                resource.forgetting = None;
                if resource.finished > 0 {
                    outside.arm_forget(id);
                }
            }
            ManagerAnswer::Failed(why) => resource.forget.on_failure(outside, Subject::Forget(id), why),
            answer => {
                let why = format!("the answer does not fit the request: {answer:?}");
                resource.forget.on_failure(outside, Subject::Forget(id), why);
            }
        }
    }

    /// The work of each resource that is asked for, and that failed or has not been done.
    pub(super) fn asked(&self) -> impl Iterator<Item = (ManagerRequest, &Work)> + '_ {
        self.resources.iter().flat_map(|(id, resource)| {
            let list = (ManagerRequest::Recover(*id), &resource.list);
            let forget = resource.forgetting.clone().map(|request| (request, &resource.forget));
            let is_asked = resource.list.request.is_some() || resource.list.failures > 0;
            is_asked.then_some(list).into_iter().chain(forget)
        })
    }
}

impl Outside {
    fn arm_forget(&mut self, id: ResourceId) {
        let at = self.after_about(self.config.settings().forget_interval);
        self.timers.arm(Timer::Forget(id), at);
    }
}

/// The branches of this manager in this resource, by start. Others are none of its business.
fn sort(outside: &Outside, id: ResourceId, own: Epoch, branches: BTreeSet<BranchId>, ended: &BTreeSet<Key>) -> Listed {
    let mut listed = Listed::default();
    for branch in branches {
        if branch.manager != outside.config.id() || branch.resource != id {
            continue;
        }
        let key = Key { number: branch.number, resource: id };
        if branch.epoch() > own {
            listed.superseded_by = listed.superseded_by.max(Some(branch.epoch()));
        } else if branch.epoch() < own && !ended.contains(&key) {
            listed.earlier.push(key);
        }
    }
    listed
}
