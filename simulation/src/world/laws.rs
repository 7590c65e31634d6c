//! Laws that hold across nodes.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, Violation};

use super::Machine;

/// Laws that hold across all nodes after every step, and at the end.
pub trait ClusterLaws<M: Machine> {
    /// Checks all nodes after a step.
    ///
    /// # Errors
    /// When a law is broken; the violation says how.
    fn check(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation>;

    /// Checks that all nodes agree, long after everything was healed. [`converged`] is enough for many machines. As
    /// long as they do not agree, it is called again for half a second.
    ///
    /// # Errors
    /// When they do not agree; the violation says how.
    fn at_end(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation>;

    /// The events that a campaign must reach and that only the laws see, each with the number of times.
    fn reached(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// A node, as laws see it.
pub struct NodeView<'a, M: Machine> {
    /// Id of the node.
    pub node: NodeId,
    /// The machine, if it runs.
    pub machine: Option<&'a M>,
    /// Its disk.
    pub disk: &'a M::Disk,
    /// True if it lost acknowledged data, because its disk was wiped, rotten or restored from a copy. It counts as down
    /// for good from then on.
    pub is_lost: bool,
    /// Number of changes of the node. A node with the same number as before need not be checked again.
    pub changes: u64,
}

impl<'a, M: Machine> NodeView<'a, M> {
    /// The node as the laws of an inner machine see it, around which `M` is built.
    #[must_use]
    pub fn project<N: Machine>(
        &self,
        machine: impl FnOnce(&'a M) -> &'a N,
        disk: impl FnOnce(&'a M::Disk) -> &'a N::Disk,
    ) -> NodeView<'a, N> {
        let Self { node, machine: whole, disk: whole_disk, is_lost, changes } = *self;
        NodeView { node, machine: whole.map(machine), disk: disk(whole_disk), is_lost, changes }
    }
}

impl<M: Machine> Clone for NodeView<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for NodeView<'_, M> {}

/// Detects whether a node has changed since the last check: laws need not check unchanged nodes.
#[derive(Debug, Default)]
pub struct Movements {
    /// Number of changes of each node at the last check.
    seen: BTreeMap<NodeId, u64>,
}

impl Movements {
    /// Compares all nodes with the last check, and returns whether any has changed.
    pub fn have_moved<M: Machine>(&mut self, nodes: &[NodeView<'_, M>]) -> bool {
        let mut have_moved = false;
        for view in nodes {
            have_moved |= self.seen.insert(view.node, view.changes) != Some(view.changes);
        }
        have_moved
    }
}

/// Checks that every node that counts runs, and that all have applied the same entries up to the same index.
///
/// # Errors
/// When a node is down, or two differ.
pub fn converged<M: Machine>(nodes: &[NodeView<'_, M>]) -> Result<(), Violation> {
    let broken = |detail| Err(Violation { law: "converges after healing", detail });
    let mut states = Vec::new();
    for view in nodes.iter().filter(|view| !view.is_lost) {
        let Some(machine) = view.machine else { return broken(format!("node {} is down", view.node)) };
        let seen = machine.observe();
        states.push((seen.applied, seen.digest, view.node));
    }
    let is_other = |pair: &&[(u64, u64, NodeId)]| (pair[0].0, pair[0].1) != (pair[1].0, pair[1].1);
    let Some(pair) = states.windows(2).find(is_other) else { return Ok(()) };
    let (one, other) = (pair[0], pair[1]);
    broken(format!("node {} applied up to {}, node {} up to {}", one.2, one.0, other.2, other.0))
}
