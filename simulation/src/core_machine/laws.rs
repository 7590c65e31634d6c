//! What must hold across nodes that run a core.

use std::collections::BTreeMap;

use quorate_protocol::{Law, LogIndex, NodeId, ReplicatedLog, Violation};

use super::{CoreDisk, CoreMachine};
use crate::world::{ClusterLaws, Machine, NodeView, converged};

/// The core's own laws, and those that need more than the cores: a committed entry is durable on a quorum, and equally
/// far applied logs give equal states.
pub struct CoreLaws<P: ReplicatedLog> {
    laws: Vec<Box<dyn Law<P>>>,
    committed: LogIndex,
    /// The state at each applied index, as first seen.
    digests: BTreeMap<LogIndex, u64>,
    /// How far each node was looked at.
    applied: BTreeMap<NodeId, LogIndex>,
}

impl<P: ReplicatedLog> CoreLaws<P> {
    /// These laws of the core, and the others.
    #[must_use]
    pub fn new(laws: Vec<Box<dyn Law<P>>>) -> Self {
        Self { laws, committed: LogIndex::ZERO, digests: BTreeMap::new(), applied: BTreeMap::new() }
    }
}

impl<P> ClusterLaws<CoreMachine<P>> for CoreLaws<P>
where
    P: ReplicatedLog,
    CoreMachine<P>: Machine<Disk = CoreDisk>,
{
    fn check(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        let running = || nodes.iter().filter_map(|view| Some((view.node, view.machine?)));
        let cores: Vec<(NodeId, &P)> = running().map(|(node, machine)| (node, &machine.core)).collect();
        for law in &mut self.laws {
            law.check(&cores)?;
        }
        for (node, machine) in running() {
            let index = machine.applied.0;
            if self.applied.insert(node, index) != Some(index) {
                let digest = machine.registers.digest();
                let first = *self.digests.entry(index).or_insert(digest);
                if first != digest {
                    let detail = format!("node {node} has another state than others at index {index}");
                    return Err(Violation { law: "equal state at equal index", detail });
                }
            }
        }
        for (node, machine) in running() {
            let index = LogIndex(machine.told.committed);
            if index > self.committed {
                self.committed = index;
                check_durable(node, index, nodes)?;
            }
        }
        Ok(())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation> {
        converged(nodes)
    }
}

fn check_durable<P>(by: NodeId, index: LogIndex, nodes: &[NodeView<'_, CoreMachine<P>>]) -> Result<(), Violation>
where
    P: ReplicatedLog,
    CoreMachine<P>: Machine<Disk = CoreDisk>,
{
    // Whoever says so has it, unless it has compacted it. Another entry in its place is no copy.
    let term = nodes.iter().find(|view| view.node == by).and_then(|view| view.disk.stream.term_at(index));
    // What a lost disk held is not known any more: it may have been one of the copies.
    let has_it = |view: &&NodeView<'_, CoreMachine<P>>| {
        let here = view.disk.stream.term_at(index);
        view.is_lost || view.disk.stream.base() >= index || (here.is_some() && (term.is_none() || here == term))
    };
    let copies = nodes.iter().filter(has_it).count();
    if copies * 2 > nodes.len() {
        return Ok(());
    }
    let detail = format!("entry {index} is committed, says node {by}, and durable on {copies} of {}", nodes.len());
    Err(Violation { law: "committed is durable on a quorum", detail })
}
