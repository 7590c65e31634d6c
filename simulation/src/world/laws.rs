//! What must hold across nodes.

use std::collections::BTreeMap;

use quorate_protocol::{NodeId, Violation};

use super::Machine;

/// What must hold across all nodes after every step, and at the end.
pub trait ClusterLaws<M: Machine> {
    /// Looks at all nodes after a step.
    ///
    /// # Errors
    /// When a law is broken, and how.
    fn check(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation>;

    /// Looks at all nodes when everything has been healed for long: they must agree. [`converged`] does for many. While they do
    /// not it is asked again, for half a second.
    ///
    /// # Errors
    /// When they do not, and how.
    fn at_end(&mut self, nodes: &[NodeView<'_, M>]) -> Result<(), Violation>;
}

/// A node, as laws see it.
pub struct NodeView<'a, M: Machine> {
    /// Which.
    pub node: NodeId,
    /// The machine, if it runs.
    pub machine: Option<&'a M>,
    /// Its disk.
    pub disk: &'a M::Disk,
    /// It lost something that was acknowledged, by a wiped, rotten or restored disk: it counts as down for good, whatever
    /// it does.
    pub is_lost: bool,
    /// Goes up when anything happens to the node: one with the same number as before need not be looked at again.
    pub changes: u64,
}

impl<'a, M: Machine> NodeView<'a, M> {
    /// The node as laws of another machine see it, which `M` is built around.
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

/// Tells whether anything happened to a node since it was last looked at: laws need not look at what stands still.
#[derive(Debug, Default)]
pub struct Movements {
    /// How many changes each node had seen by then.
    seen: BTreeMap<NodeId, u64>,
}

impl Movements {
    /// Looks at all nodes, and says whether anything happened to any.
    pub fn have_moved<M: Machine>(&mut self, nodes: &[NodeView<'_, M>]) -> bool {
        let mut have_moved = false;
        for view in nodes {
            have_moved |= self.seen.insert(view.node, view.changes) != Some(view.changes);
        }
        have_moved
    }
}

/// Every node that counts runs, and they all applied the same, up to the same place.
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
