//! Construction of a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cluster, Node, Subject};
use crate::NodeId;

/// Description of a cluster.
#[derive(Clone, Debug)]
pub struct Builder<P: Subject> {
    /// Number of nodes that found the group; their ids run from 1.
    pub nodes: u64,
    /// Number of nodes after these that are not members at first.
    pub joining: u64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Settings of every node.
    pub settings: P::Settings,
    pub(super) beat: Option<Duration>,
    pub(super) tail_bytes_max: usize,
    is_recorded: bool,
    are_strangers: bool,
}

impl<P: Subject> Builder<P> {
    /// Starts the description of a cluster of nodes 1 to `nodes`.
    #[must_use]
    pub fn new(nodes: u64, seed: u64) -> Self {
        let (settings, tail_bytes_max) = (P::Settings::default(), usize::MAX);
        Self { nodes, joining: 0, seed, settings, beat: None, tail_bytes_max, is_recorded: false, are_strangers: false }
    }

    /// Sets the settings of every node.
    #[must_use]
    pub fn settings(mut self, settings: P::Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds nodes that are not members at first. They run, and all nodes know each other.
    #[must_use]
    pub fn joining(mut self, nodes: u64) -> Self {
        self.joining = nodes;
        self
    }

    /// Sets the interval at which nodes are told which other nodes are alive.
    #[must_use]
    pub fn beat(mut self, interval: Duration) -> Self {
        self.beat = Some(interval);
        self
    }

    /// Sets the maximum bytes of its log that a starting core gets.
    #[must_use]
    pub fn tail_bytes_max(mut self, bytes: usize) -> Self {
        self.tail_bytes_max = bytes;
        self
    }

    /// Records the events from the first start on: see [`Cluster::take_record`].
    #[must_use]
    pub fn recorded(mut self) -> Self {
        self.is_recorded = true;
        self
    }

    /// Makes nodes that have not met: see [`Cluster::introduce_all`].
    #[must_use]
    pub fn strangers(mut self) -> Self {
        self.are_strangers = true;
        self
    }

    /// Starts every node, and lets it do what needs no time. The nodes are introduced to each other unless they are
    /// strangers.
    ///
    /// # Panics
    /// When the settings contradict each other.
    #[must_use]
    pub fn start(self) -> Cluster<P> {
        let (nodes, is_recorded, are_strangers) = (self.nodes + self.joining, self.is_recorded, self.are_strangers);
        let mut cluster = Cluster::empty(self);
        if is_recorded {
            cluster.start_recording();
        }
        for node in (1..=nodes).map(NodeId) {
            let is_known = |peer: &NodeId| *peer == node || !are_strangers;
            let known: BTreeMap<NodeId, u64> = (1..=nodes).map(NodeId).filter(is_known).map(|peer| (peer, 1)).collect();
            cluster.nodes.insert(node, Node::new(known));
        }
        for node in 1..=nodes {
            cluster.restart(node);
        }
        cluster.settle();
        cluster
    }
}
