//! One node of a cluster under test: a core, its disk, its application, and their events.

use std::collections::{BTreeSet, VecDeque};

use quorate_protocol::{HaltReason, Instant, Operation, Ticket};

use super::disk::Disk;
use super::manager::Manager;
use crate::{Config, Decision, Event, Outcome, Request, TransactionId, TwoPhaseCommit};

/// Number of messages and writes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent to other nodes.
    pub messages: u64,
    /// Writes given to logs.
    pub writes: u64,
}

/// One node of a cluster under test.
#[derive(Debug)]
pub struct Node {
    /// Its core, while it runs.
    pub core: Option<TwoPhaseCommit>,
    /// State that survives a crash.
    pub disk: Disk,
    /// Its application.
    pub manager: Manager,
    /// Every event so far, in order.
    pub events: Vec<Event>,
    /// Reason why it stopped; `None` if it did not.
    pub halted: Option<HaltReason>,
    /// Its messages and writes so far.
    pub traffic: Traffic,
    pub(super) config: Config,
    pub(super) writes: VecDeque<(Ticket, Vec<Operation>)>,
    pub(super) held_requests: Vec<(Ticket, Request)>,
    /// Requests that the application has received since the start. One that comes again is the same request.
    pub(super) heard: BTreeSet<Ticket>,
    pub(super) is_disk_held: bool,
    pub(super) are_requests_held: bool,
    pub(super) starts: u64,
    /// Time until which its application is busy with earlier requests.
    pub(super) busy_until: Instant,
    pub(super) is_wiped: bool,
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        Self {
            core: None,
            disk: Disk::default(),
            manager: Manager::default(),
            events: Vec::new(),
            halted: None,
            traffic: Traffic::default(),
            config,
            writes: VecDeque::new(),
            held_requests: Vec::new(),
            heard: BTreeSet::new(),
            is_disk_held: false,
            are_requests_held: false,
            starts: 0,
            busy_until: Instant::ZERO,
            is_wiped: false,
        }
    }

    /// The running core.
    ///
    /// # Panics
    /// When the node is down.
    pub fn core(&self) -> &TwoPhaseCommit {
        self.core.as_ref().expect("the node runs")
    }

    /// The outcome that the application was told, if it was told.
    pub fn outcome(&self, transaction: TransactionId) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { transaction: id, outcome } if *id == transaction => Some(*outcome),
            _ => None,
        })
    }

    /// The end of the branch at this node, if it wrote and has ended.
    pub fn ended(&self, transaction: TransactionId) -> Option<Decision> {
        self.manager.ended.get(&transaction).copied()
    }
}
