//! Builder of clusters.

use quorate_protocol::NodeId;

use super::cluster::Cluster;
use super::node::Node;
use crate::QuorumSystem;
use crate::synod::{Config, Group, Settings};

/// Settings of a cluster.
#[derive(Debug)]
pub struct Builder {
    group: Group,
    seed: u64,
    settings: Settings,
    are_strangers: bool,
}

impl Builder {
    /// A cluster of nodes 1 to `count`, each of which is proposer, acceptor and learner, with majorities as quorums.
    ///
    /// # Panics
    /// When the count is zero or very large.
    pub fn new(count: u64, seed: u64) -> Self {
        let quorums = QuorumSystem::majority((1..=count).map(NodeId)).expect("a sensible number of nodes");
        Self { group: Group::of(quorums), seed, settings: Settings::default(), are_strangers: false }
    }

    /// Sets the roles.
    pub fn group(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// Sets the settings of every node.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Makes nodes that have not met: see [`Cluster::introduce`].
    pub fn strangers(mut self) -> Self {
        self.are_strangers = true;
        self
    }

    /// Starts every node. They are introduced to each other unless they are strangers.
    ///
    /// # Panics
    /// When the settings contradict each other.
    pub fn start(self) -> Cluster {
        let mut nodes = self.group.quorums().acceptors().clone();
        nodes.extend(self.group.proposers());
        nodes.extend(self.group.learners());
        let mut cluster = Cluster::empty(self.seed);
        for node in &nodes {
            let seed = self.seed.wrapping_mul(1000) + node.0;
            let config = Config::new(*node, seed, self.group.clone(), self.settings.clone());
            let mut started = Node::new(config.expect("valid settings"));
            let is_known = |peer: &&NodeId| **peer == *node || !self.are_strangers;
            started.known = nodes.iter().filter(is_known).map(|peer| (*peer, 1)).collect();
            cluster.nodes.insert(*node, started);
        }
        for node in nodes {
            cluster.restart(node.0);
        }
        cluster
    }
}
