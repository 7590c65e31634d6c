//! One node of a cluster under test: a core, its disk, its application, and what they said.

use std::collections::{BTreeSet, VecDeque};

use quorate_protocol::{HaltReason, Instant, Operation, Ticket};

use super::disk::Disk;
use super::manager::Manager;
use crate::{Config, Decision, Event, Outcome, Request, TransactionId, TwoPhaseCommit};

/// What was said and written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages sent to other nodes.
    pub messages: u64,
    /// Writes handed to logs.
    pub writes: u64,
}

/// One node of a cluster under test.
#[derive(Debug)]
pub struct Node {
    /// Its core while it runs.
    pub core: Option<TwoPhaseCommit>,
    /// What survives a crash.
    pub disk: Disk,
    /// Its application.
    pub manager: Manager,
    /// Every event so far, in order.
    pub events: Vec<Event>,
    /// Why it stopped, if it did.
    pub halted: Option<HaltReason>,
    /// What was handed to the log.
    pub traffic: Traffic,
    pub(super) config: Config,
    pub(super) writes: VecDeque<(Ticket, Vec<Operation>)>,
    pub(super) held_requests: Vec<(Ticket, Request)>,
    /// Requests that the application heard of since the start: one that comes again is the same.
    pub(super) heard: BTreeSet<Ticket>,
    pub(super) is_disk_held: bool,
    pub(super) are_requests_held: bool,
    pub(super) starts: u64,
    /// Until then its application carries out what it was asked before.
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

    /// The outcome that the application was told, if it was.
    pub fn outcome(&self, transaction: TransactionId) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { transaction: id, outcome } if *id == transaction => Some(*outcome),
            _ => None,
        })
    }

    /// How the branch at this node ended, if it wrote and ended.
    pub fn ended(&self, transaction: TransactionId) -> Option<Decision> {
        self.manager.ended.get(&transaction).copied()
    }
}
