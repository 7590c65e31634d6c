//! The parts of the core that all others use: time, deadlines, requests and outputs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate_protocol::{Instant, NodeId, Now, Output, Random, Ticket, Timers};

use super::event::{ManagerEvent, ManagerRequest};
use super::settings::ManagerConfig;
use super::{Key, ManagerCore};
use crate::TransactionNumber;
use crate::manager::{BranchId, ResourceId};
use crate::message::Message;

/// Purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The transaction is aborted unless it is decided.
    Deadline(TransactionNumber),
    /// A request for the branch was not answered, or failed a while ago.
    Branch(Key),
    /// The resource is asked again for its prepared branches.
    Scan(ResourceId),
    /// The resource is asked to drop the evidence of finished transactions.
    Forget(ResourceId),
}

/// The subject of an open request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Branch(Key),
    Scan(ResourceId),
    Forget(ResourceId),
}

/// What the parts of the core share. Each is handed it with each call.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) config: ManagerConfig,
    pub(super) now: Now,
    pub(super) timers: Timers<Timer>,
    /// The open requests. Each subject has at most one.
    pub(super) requests: BTreeMap<Ticket, Subject>,
    last_ticket: Ticket,
    pub(super) outputs: VecDeque<Output<ManagerCore>>,
    /// Messages of resources to the coordinator.
    pub(super) to_coordinator: VecDeque<(NodeId, Message)>,
    random: Random,
}

impl Outside {
    pub(super) fn new(now: Now, config: ManagerConfig) -> Self {
        let random = Random::new(config.seed() ^ SEED_OF_THIS_PART);
        Self {
            config,
            now,
            timers: Timers::default(),
            requests: BTreeMap::new(),
            last_ticket: Ticket(0),
            outputs: VecDeque::new(),
            to_coordinator: VecDeque::new(),
            random,
        }
    }

    /// The name of a branch of this manager.
    pub(super) fn branch_id(&self, key: Key) -> BranchId {
        BranchId { manager: self.config.id(), number: key.number, resource: key.resource }
    }

    pub(super) fn event(&mut self, event: ManagerEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A resource speaks to the coordinator.
    pub(super) fn tell(&mut self, resource: ResourceId, message: Message) {
        self.to_coordinator.push_back((NodeId(resource.0), message));
    }

    /// Makes a request, which is replaced if it is not answered within `request_timeout`; after `attempt` such times
    /// the wait is longer.
    pub(super) fn request(&mut self, subject: Subject, request: ManagerRequest, attempt: u32) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        let ticket = self.last_ticket;
        self.requests.insert(ticket, subject);
        self.outputs.push_back(Output::Request { ticket, request });
        let wait = self.config.settings().protocol.request_timeout;
        let wait = wait.saturating_mul(1 << attempt.min(REQUEST_DOUBLINGS_MAX));
        self.timers.arm(timer_of(subject), self.now.instant.after(wait));
        ticket
    }

    /// Sets the timer for the next try after `failures` failed ones: waits grow, and are jittered by half.
    pub(super) fn arm_retry(&mut self, subject: Subject, failures: u32) {
        let at = self.retry_at(failures);
        self.timers.arm(timer_of(subject), at);
    }

    /// A time after roughly this wait, so that resources are not asked all at once.
    pub(super) fn after_about(&mut self, wait: Duration) -> Instant {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX / 2).max(2);
        self.now.instant.after(Duration::from_nanos(self.random.between(wait / 2, wait) + 1))
    }

    fn retry_at(&mut self, failures: u32) -> Instant {
        let settings = &self.config.settings().protocol;
        let wait = settings.retry_min.saturating_mul(1 << failures.min(16)).min(settings.retry_max);
        self.after_about(wait)
    }
}

fn timer_of(subject: Subject) -> Timer {
    match subject {
        Subject::Branch(key) => Timer::Branch(key),
        Subject::Scan(resource) => Timer::Scan(resource),
        Subject::Forget(resource) => Timer::Forget(resource),
    }
}

/// A request is replaced after `request_timeout`, then after twice that time, and at most after sixteen times.
const REQUEST_DOUBLINGS_MAX: u32 = 4;
/// So that the waits of this part and of the coordinator differ.
const SEED_OF_THIS_PART: u64 = 0x6d61_6e61_6765_7221;
