//! Raft in a cluster under test.

use super::laws::laws;
use super::{Builder, Cluster};
use crate::replication::quorum::reached_by_quorum;
use crate::replication::{Config, Election, LogCore, Settings, Start};
use crate::testing::{self, Node, Replica, Subject};
use crate::{Configuration, Law, LogEvent, LogIndex, LogRequest, NodeId, Ticket};

impl<E: Election> Subject for LogCore<E> {
    type Settings = Settings;
    type Application = Replica;

    fn config(cluster: &Builder<E>, node: NodeId, _start: u64) -> Config {
        let members = Configuration::of_voters((1..=cluster.nodes).map(NodeId));
        let seed = cluster.seed.wrapping_mul(1000) + node.0;
        let start = if members.contains(node) { Start::Initial(members) } else { Start::Join };
        Config::new(node, seed, start, cluster.settings.clone()).expect("valid settings")
    }

    fn laws() -> Vec<Box<dyn Law<Self>>> {
        laws()
    }

    /// Committed entries are on the disks of a quorum of the configuration at their index or of a later one. The
    /// content of a lost disk is unknown.
    fn check_disks(cluster: &Cluster<E>) {
        if cluster.nodes.values().any(Node::is_wiped) {
            return;
        }
        let running = cluster.nodes.values().filter_map(|node| node.core.as_ref());
        let Some(core) = running.max_by_key(|core| core.shared.commitment.index()) else { return };
        let (index, term) = (core.shared.commitment.index(), core.shared.log.term_at(core.shared.commitment.index()));
        let holds = |node: NodeId| {
            let node = &cluster.nodes[&node];
            let snapshot = node.disk.snapshot.as_ref().map_or(LogIndex::ZERO, |snapshot| snapshot.index);
            node.disk.base.index.max(snapshot) >= index || node.disk.term_at(index) == term
        };
        let counting: Vec<_> = core.shared.log.configurations().from(index).collect();
        // A leader counts by the newest configuration. That may come after the entry, and may be lost with the leader:
        // then it was the new half of a joint one.
        let is_on_quorum = counting.iter().any(|counting| {
            let new_half = Configuration::new(counting.members().to_vec()).unwrap_or_default();
            reached_by_quorum(&new_half, holds)
        });
        // Every member writes the bootstrap entry itself, so it may be committed before a quorum has it.
        assert!(index <= LogIndex(1) || is_on_quorum, "entry {index} is durable on no quorum of {counting:?}");
    }

    fn on_event(node: &mut Node<Self>, event: &LogEvent) {
        node.application.hear(event);
    }

    fn on_polled(node: &mut Node<Self>) {
        node.apply();
    }

    fn on_request(cluster: &mut Cluster<E>, node: NodeId, ticket: Ticket, request: LogRequest) {
        testing::on_snapshot_request(cluster, node, ticket, request);
    }

    fn on_asked(cluster: &mut Cluster<E>, node: NodeId, ticket: Ticket, request: LogRequest) {
        testing::send_snapshot(cluster, node, ticket, request);
    }

    fn on_crash(application: &mut Replica) {
        application.crash();
    }
}

/// Flips a bit in the memory of a node: in its copy of the entry at `index`, which must be cached and have a payload.
///
/// # Panics
/// When the node is down.
pub fn flip_cached<E: Election>(cluster: &mut Cluster<E>, node: u64, index: u64) {
    let core = cluster.node_mut(node).core.as_mut().expect("the node runs");
    core.shared.log.flip_cached(LogIndex(index));
}
