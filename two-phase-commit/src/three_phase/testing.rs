//! Three-phase commit on the bench of the contract's crate: clusters of cores, the law across nodes, and the check that
//! nothing is said before it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::testing::{Faults, Stream, Subject};
use quorate_protocol::{Input, Law, NodeId, Ticket, Violation};

use super::event::Form;
use super::message::{Message, Position, Small};
use super::record::{Record, decode};
use super::site::{Attempt, Phase, Site};
use super::{Answer, Command, Config, Event, Request, Settings, ThreePhaseCommit};
use crate::{CommandId, Decision, TransactionId};

/// A cluster of cores of three-phase commit.
pub type Cluster = quorate_protocol::testing::Cluster<ThreePhaseCommit>;
/// The description of such a cluster.
pub type Builder = quorate_protocol::testing::Builder<ThreePhaseCommit>;
/// A node of such a cluster.
pub type Node = quorate_protocol::testing::Node<ThreePhaseCommit>;

/// The application of a node. It votes no on work that says so.
#[derive(Debug, Default)]
pub struct Application {
    /// What it was told, over all starts.
    pub decided: BTreeMap<TransactionId, BTreeSet<Decision>>,
    /// The work for which it holds locks.
    pub locked: BTreeSet<TransactionId>,
}

/// Work on which the application votes no.
pub const REFUSED: &[u8] = b"no";

impl Subject for ThreePhaseCommit {
    type Settings = Settings;
    type Application = Application;

    fn config(cluster: &Builder, node: NodeId, start: u64) -> Config {
        Config::new(node, cluster.seed ^ node.0 ^ start << 32, cluster.settings.clone()).expect("usable settings")
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        vec![Box::<OneDecision>::default()]
    }

    fn check_sent(node: &Node, _to: NodeId, message: &Message) {
        check_said(&node.disk, message);
    }

    fn on_event(node: &mut Node, event: &Event) {
        let application = &mut node.application;
        match event {
            Event::Recovered { transaction, .. } => drop(application.locked.insert(*transaction)),
            Event::Decided { transaction, decision } => {
                application.locked.remove(transaction);
                application.decided.entry(*transaction).or_default().insert(*decision);
            }
            Event::Begun { .. } | Event::Refused { .. } => {}
        }
    }

    fn on_request(cluster: &mut Cluster, node: NodeId, ticket: Ticket, request: Request) {
        if !cluster.strikes(cluster.faults.deafness_percent) {
            let delay = cluster.draw(cluster.faults.answer_max);
            cluster.ask_later(node, delay, ticket, request);
        }
    }

    fn on_asked(cluster: &mut Cluster, node: NodeId, ticket: Ticket, request: Request) {
        let Request::Prepare { transaction, payload } = request;
        if !cluster.survives(node) {
            return;
        }
        let application = &mut cluster.node_mut(node.0).application;
        // It may have been decided meanwhile.
        let answer = if payload == REFUSED { Answer::No } else { Answer::Yes };
        if answer == Answer::Yes && !application.decided.contains_key(&transaction) {
            application.locked.insert(transaction);
        }
        cluster.input(node, Input::Completed { ticket, answer });
    }

    fn on_crash(application: &mut Application) {
        application.locked.clear();
    }
}

/// No node decides a transaction in another way than another node (Gray and Lamport 2006, §2, "TCommit"). The classical
/// form breaks it under a partition, and is not checked.
#[derive(Debug, Default)]
pub struct OneDecision {
    decided: BTreeMap<TransactionId, (NodeId, Decision)>,
}

impl Law<ThreePhaseCommit> for OneDecision {
    fn name(&self) -> &'static str {
        "one decision"
    }

    fn check(&mut self, nodes: &[(NodeId, &ThreePhaseCommit)]) -> Result<(), Violation> {
        for (node, core) in nodes.iter().filter(|(_, core)| core.config.settings().form == Form::Quorum) {
            for (transaction, site) in &core.sites {
                let Phase::Decided(decision) = site.phase else { continue };
                let (first, known) = *self.decided.entry(*transaction).or_insert((*node, decision));
                if known != decision {
                    let detail = format!("{transaction}: node {first} has {known:?}, and node {node} {decision:?}");
                    return Err(Violation { law: self.name(), detail });
                }
            }
        }
        Ok(())
    }
}

/// Commands to clusters, and what tests ask of them.
pub trait ThreePhases {
    /// True if a node's start is durable, so that it can begin transactions.
    fn is_ready(&self, node: u64) -> bool;

    /// Commits a transaction: each participant with its work. Returns its id.
    ///
    /// # Panics
    /// When the coordinator refuses.
    fn transact(&mut self, coordinator: u64, branches: &[(u64, &'static [u8])]) -> TransactionId;

    /// The decisions that the nodes were told.
    fn decisions(&self, transaction: TransactionId) -> BTreeSet<Decision>;

    /// Ends all faults, starts all nodes, and lets time pass until everything is decided.
    ///
    /// # Panics
    /// When something stays undecided or locked.
    fn quiesce(&mut self);
}

impl ThreePhases for Cluster {
    fn is_ready(&self, node: u64) -> bool {
        let core = self.node(node).core.as_ref().filter(|core| !core.chassis.is_halted());
        core.is_some_and(|core| core.chassis.outbox.is_durable(core.epoch_ticket))
    }

    fn transact(&mut self, coordinator: u64, branches: &[(u64, &'static [u8])]) -> TransactionId {
        let command = CommandId(self.next_id());
        let branches = branches.iter().map(|(node, work)| (NodeId(*node), Bytes::from_static(work))).collect();
        self.input(NodeId(coordinator), Input::Command(Command::Commit { command, branches }));
        let begun = self.node(coordinator).events.iter().find_map(|event| match event {
            Event::Begun { command: id, transaction } if *id == command => Some(*transaction),
            _ => None,
        });
        begun.expect("it is begun")
    }

    fn decisions(&self, transaction: TransactionId) -> BTreeSet<Decision> {
        let told = self.nodes.values().filter_map(|node| node.application.decided.get(&transaction));
        told.flatten().copied().collect()
    }

    fn quiesce(&mut self) {
        self.faults = Faults::default();
        self.crashes.clear();
        self.heal();
        self.release();
        for node in self.nodes.keys().map(|node| node.0).collect::<Vec<_>>() {
            if self.node(node).core.is_none() {
                self.restart(node);
            }
            self.release_disk(node);
        }
        self.run(Duration::from_mins(5));
        for (node, it) in &self.nodes {
            assert_eq!(it.core().undecided(), BTreeSet::new(), "node {node} has decided everything");
            assert_eq!(it.application.locked, BTreeSet::new(), "no lock remains on node {node}");
        }
    }
}

/// Checks that what a message states is on the disk of its sender.
fn check_said(disk: &Stream, message: &Message) {
    let transaction = message.transaction();
    let site = recorded(disk, transaction);
    let phase = site.as_ref().map(|site| site.phase);
    // What is over is erased.
    let is_decided = phase.is_none() || matches!(phase, Some(Phase::Decided(_)));
    let is_durable = match message {
        // They state nothing about this node. A proposal follows from answers of others.
        Message::Prepare { .. }
        | Message::Small(Small::Prepare { .. } | Small::Propose { .. } | Small::Presume { .. }) => true,
        Message::Small(Small::Vote { is_yes, .. }) => !is_yes || phase.is_some(),
        Message::Small(Small::Elect { attempt, .. }) => is_decided || site.is_some_and(|site| site.elected >= *attempt),
        Message::Small(Small::State { attempt, position, .. }) => {
            let accepted = match position {
                Position::Ready => Attempt::default(),
                Position::Accepted(_, attempted) => *attempted,
            };
            is_decided || site.is_some_and(|site| site.elected >= *attempt && site.attempted >= accepted)
        }
        Message::Small(Small::Accept { attempt, .. }) => {
            is_decided || site.is_some_and(|site| site.attempted >= *attempt)
        }
        Message::Small(Small::Decide { decision, .. }) => phase.is_none_or(|phase| phase == Phase::Decided(*decision)),
        Message::Small(Small::Known { .. }) => is_decided,
    };
    assert!(is_durable, "{message:?} was said with {phase:?} on disk");
}

/// The record of a transaction on a disk.
fn recorded(disk: &Stream, transaction: TransactionId) -> Option<Site> {
    disk.newest().into_iter().find_map(|(key, bytes)| match decode(key, bytes.clone()).expect("a core wrote it") {
        Record::Site(id, site) if id == transaction => Some(*site),
        _ => None,
    })
}
