//! What tests ask of clusters of cores of two-phase commit, and of their nodes.

use std::time::Duration;

use quorate_protocol::testing::Faults;
use quorate_protocol::{Input, NodeId};

use super::manager::Work;
use super::said::records;
use super::{Cluster, Node};
use crate::{
    Command, CommandId, CoordinatorId, Decision, Event, Knowledge, Request, TransactionId, TransactionOutcome,
};

/// Commands of applications, and their answers.
pub trait Transactions {
    /// The running node that serves a coordinator, in its highest epoch. If there is none, the node of the
    /// coordinator's id.
    fn server(&self, coordinator: CoordinatorId) -> u64;

    /// True if a node's epoch is durable, so that it can begin transactions.
    fn is_ready(&self, node: u64) -> bool;

    /// Gives a node a command.
    fn command(&mut self, node: u64, command: impl FnOnce(CommandId) -> Command) -> CommandId;

    /// Begins a transaction at a node, and returns its id.
    ///
    /// # Panics
    /// When the node refuses.
    fn begin(&mut self, node: u64) -> TransactionId;

    /// Commits a begun transaction.
    fn commit(&mut self, transaction: TransactionId, branches: &[(u64, Work)]) -> CommandId;

    /// Begins a transaction and commits it.
    fn transact(&mut self, coordinator: u64, branches: &[(u64, Work)]) -> TransactionId {
        let transaction = self.begin(coordinator);
        self.commit(transaction, branches);
        transaction
    }

    /// The coordinator's answer to a query for a transaction; `None` while it is down or refuses.
    fn query(&mut self, transaction: TransactionId) -> Option<Knowledge>;

    /// Holds back the requests to a node's application.
    fn hold_requests(&mut self, node: u64);

    /// Gives a node's application its requests again, those that waited first.
    fn release_requests(&mut self, node: u64);

    /// The requests to a node's application that are held back.
    fn held_requests(&self, node: u64) -> Vec<Request>;

    /// Ends all faults, starts all nodes, and lets time pass until nothing is in doubt.
    ///
    /// # Panics
    /// When something stays in doubt, locked, or on disk.
    fn quiesce(&mut self);
}

impl Transactions for Cluster {
    fn server(&self, coordinator: CoordinatorId) -> u64 {
        let running = self.nodes.iter().filter_map(|(node, it)| Some((node.0, it.core.as_ref()?.status())));
        let serving = running.filter(|(_, status)| status.coordinator == coordinator && status.served_by.is_none());
        serving.max_by_key(|(_, status)| status.epoch).map_or(coordinator.0, |(node, _)| node)
    }

    fn is_ready(&self, node: u64) -> bool {
        let core = self.node(node).core.as_ref();
        core.is_some_and(|core| !core.base.chassis.is_halted() && core.base.is_epoch_durable())
    }

    fn command(&mut self, node: u64, command: impl FnOnce(CommandId) -> Command) -> CommandId {
        let id = CommandId(self.next_id());
        self.input(NodeId(node), Input::Command(command(id)));
        id
    }

    fn begin(&mut self, node: u64) -> TransactionId {
        let id = self.command(node, |command| Command::Begin { command });
        let begun = self.node(node).events.iter().find_map(|event| match event {
            Event::Begun { command, transaction } if *command == id => Some(*transaction),
            _ => None,
        });
        begun.expect("it is begun")
    }

    fn commit(&mut self, transaction: TransactionId, branches: &[(u64, Work)]) -> CommandId {
        let branches = branches.iter().map(|(node, work)| (NodeId(*node), work.payload())).collect();
        self.command(self.server(transaction.coordinator), |command| Command::Commit { command, transaction, branches })
    }

    fn query(&mut self, transaction: TransactionId) -> Option<Knowledge> {
        let coordinator = self.server(transaction.coordinator);
        let id = self.command(coordinator, |command| Command::Query { command, transaction });
        self.settle();
        self.node(coordinator).events.iter().find_map(|event| match event {
            Event::Known { command, knowledge, .. } if *command == id => Some(*knowledge),
            _ => None,
        })
    }

    fn hold_requests(&mut self, node: u64) {
        self.node_mut(node).application.is_holding = true;
    }

    fn release_requests(&mut self, node: u64) {
        let site = &mut self.node_mut(node).application;
        site.is_holding = false;
        for (ticket, request) in std::mem::take(&mut site.held) {
            self.ask_later(NodeId(node), Duration::ZERO, ticket, request);
        }
        self.settle();
    }

    fn held_requests(&self, node: u64) -> Vec<Request> {
        self.node(node).application.held.iter().map(|(_, request)| request.clone()).collect()
    }

    fn quiesce(&mut self) {
        self.faults = Faults::default();
        self.crashes.clear();
        self.heal();
        self.release();
        let nodes: Vec<u64> = self.nodes.keys().map(|node| node.0).collect();
        for node in nodes {
            if self.node(node).halted.is_some() || self.node(node).core.is_none() {
                self.restart(node);
            }
            self.release_disk(node);
            self.release_requests(node);
        }
        self.run(Duration::from_mins(1));
        for (node, it) in &self.nodes {
            let (status, manager) = (it.core().status(), &it.application.manager);
            assert_eq!((status.coordinated, status.branches, status.tombstones), (0, 0, 0), "node {node}: {status:?}");
            assert!(manager.locks.is_empty(), "no lock remains on node {node}: {:?}", manager.locks);
            assert_eq!(manager.prepared().count(), 0, "nothing is prepared on node {node}");
            // A node whose coordinator was taken over leaves the records in its log as they are.
            if status.served_by.is_none() {
                let shown = status.mixed.len() + status.forced.len();
                assert_eq!(records(&it.disk), status.remembered + shown, "node {node} keeps no more than it remembers");
            }
        }
    }
}

/// Ends that the application of a node knows.
pub trait Ends {
    /// The outcome that the application was told, if it was told.
    fn outcome(&self, transaction: TransactionId) -> Option<TransactionOutcome>;

    /// The end of the branch at this node, if it wrote and has ended.
    fn ended(&self, transaction: TransactionId) -> Option<Decision>;
}

impl Ends for Node {
    fn outcome(&self, transaction: TransactionId) -> Option<TransactionOutcome> {
        self.events.iter().find_map(|event| match event {
            Event::Ended { transaction: id, outcome } if *id == transaction => Some(*outcome),
            _ => None,
        })
    }

    fn ended(&self, transaction: TransactionId) -> Option<Decision> {
        self.application.manager.ended.get(&transaction).copied()
    }
}
