//! Our two logs.

use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::testing::{Builder, Cluster};
use quorate_protocol::replication::{Election, Settings};
use quorate_protocol::{Input, LogCommand, NodeId, ReplicatedLog, Role};
use quorate_raft::UpToDateLog;

use super::{Group, STEP, TIMEOUT};

pub fn paxos(nodes: u64, seed: u64) -> Box<dyn Group> {
    Box::new(cluster::<AnyLog>(nodes, seed, false))
}

pub fn raft(nodes: u64, seed: u64) -> Box<dyn Group> {
    Box::new(cluster::<UpToDateLog>(nodes, seed, false))
}

/// Raft in which a node that is refused because of its old log first pulls what it lacks.
pub fn raft_that_pulls(nodes: u64, seed: u64) -> Box<dyn Group> {
    Box::new(cluster::<UpToDateLog>(nodes, seed, true))
}

fn cluster<E: Election>(nodes: u64, seed: u64, pull_before_election: bool) -> Cluster<E> {
    let settings = Settings { pull_before_election, ..Settings::default() };
    assert_eq!(settings.election_timeout_max, TIMEOUT);
    Builder::new(nodes, seed).settings(settings).start()
}

impl<E: Election> Group for Cluster<E> {
    fn only_links(&mut self, links: &[(u64, u64)]) {
        Cluster::only_links(self, links);
    }

    fn step(&mut self) {
        self.run(STEP);
    }

    fn propose(&mut self) {
        let leads = |node: &u64| self.node(*node).core().status().role == Role::Leader;
        let leaders: Vec<u64> = self.nodes.keys().map(|node| node.0).filter(leads).collect();
        for node in leaders {
            Cluster::propose(self, node, b"command");
        }
    }

    fn committed(&self) -> usize {
        self.nodes.values().map(|node| node.commands().len()).max().unwrap_or(0)
    }

    fn is_led_by(&self, node: u64) -> bool {
        self.leader() == Some(node)
    }

    fn campaign(&mut self, node: u64) {
        self.input(NodeId(node), Input::Command(LogCommand::Campaign));
    }
}
