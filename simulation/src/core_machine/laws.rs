//! What must hold across nodes that run a core.

use std::collections::BTreeMap;

use quorate_protocol::{Law, LogIndex, NodeId, ReplicatedLog, Violation};

use super::{CoreDisk, CoreMachine};
use crate::world::{ClusterLaws, Machine};

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
    fn check(&mut self, nodes: &[(NodeId, Option<&CoreMachine<P>>, &CoreDisk)]) -> Result<(), Violation> {
        let running = || nodes.iter().filter_map(|(node, machine, _)| Some((*node, (*machine)?)));
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
}

fn check_durable<P: ReplicatedLog>(
    by: NodeId,
    index: LogIndex,
    nodes: &[(NodeId, Option<&CoreMachine<P>>, &CoreDisk)],
) -> Result<(), Violation> {
    // What a wiped disk held is not known any more: it may have been one of the copies.
    let has_it = |(_, _, disk): &&(NodeId, Option<&CoreMachine<P>>, &CoreDisk)| {
        disk.is_wiped() || disk.stream.base() >= index || disk.stream.term_at(index).is_some()
    };
    let copies = nodes.iter().filter(has_it).count();
    if copies * 2 > nodes.len() {
        return Ok(());
    }
    let detail = format!("entry {index} is committed, says node {by}, and durable on {copies} of {}", nodes.len());
    Err(Violation { law: "committed is durable on a quorum", detail })
}
