//! Construction of a cluster.

use std::time::Duration;

use quorate_protocol::{Configuration, NodeId};

use super::cluster::Cluster;
use super::node::Node;
use crate::{Config, Settings, Start};

/// Description of a cluster.
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<NodeId>,
    seed: u64,
    settings: Settings,
    beat: Option<Duration>,
    tail_bytes_max: usize,
}

impl Builder {
    /// Starts the description of a cluster of nodes 1 to `count`.
    pub fn new(count: u64, seed: u64) -> Self {
        let nodes = (1..=count).map(NodeId).collect();
        Self { nodes, seed, settings: Settings::default(), beat: None, tail_bytes_max: usize::MAX }
    }

    /// Sets the settings of every node.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the interval at which living nodes are reported.
    pub fn beat(mut self, interval: Duration) -> Self {
        self.beat = Some(interval);
        self
    }

    /// Sets the maximum bytes of the log that a recovering core gets.
    pub fn tail_bytes_max(mut self, bytes: usize) -> Self {
        self.tail_bytes_max = bytes;
        self
    }

    /// Starts every node. All nodes are introduced to each other.
    ///
    /// # Panics
    /// When the settings contradict each other.
    pub fn start(self) -> Cluster {
        let members = Configuration::of_voters(self.nodes.iter().copied());
        let mut cluster = Cluster::empty(self.seed, self.tail_bytes_max, self.beat);
        for node in &self.nodes {
            let seed = self.seed.wrapping_mul(1000) + node.0;
            let config = Config::new(*node, seed, Start::Initial(members.clone()), self.settings.clone());
            let mut started = Node::new(config.expect("valid settings"));
            started.known = self.nodes.iter().map(|peer| (*peer, 1)).collect();
            cluster.nodes.insert(*node, started);
        }
        for node in self.nodes {
            cluster.restart(node);
        }
        cluster
    }
}
