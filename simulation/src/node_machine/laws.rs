//! Laws that hold across nodes that replicate a state machine.

use std::collections::BTreeMap;

use quorate_protocol::{Law, LogIndex, NodeId, ReplicatedLog, Violation};
use quorate_runtime::replica::Replica;

use super::beside::{self, BesideLaws};
use super::replica::{REPLICA_GROUP, Replicated, Service, replica_of};
use super::{MemberLaws, NodeMachine, check_nodes};
use crate::log_time::{LogTimePace, Look};
use crate::world::{ClusterLaws, Machine, NodeView, Observation, converged};

/// The core's own laws, and those that need more than the cores: a committed entry is durable on a quorum; logs applied
/// up to the same index give equal states; and each node's log keeps what was acknowledged.
pub struct ReplicaLaws<V: Service> {
    laws: Vec<Box<dyn Law<V::Log>>>,
    committed: LogIndex,
    /// The state at each applied index, as it was first seen.
    digests: BTreeMap<u64, u64>,
    /// Each node as it was last checked, with its number of changes at that time.
    seen: BTreeMap<NodeId, (u64, Observation)>,
    /// True for each node that ran when it was last checked. A node that stopped may have forgotten state that no other
    /// node saw.
    is_up: BTreeMap<NodeId, bool>,
    looks: u64,
    log_time: LogTimePace,
    beside: BesideLaws,
    /// The laws of the members, if they change.
    members: Option<MemberLaws<V>>,
}

impl<V: Service> ReplicaLaws<V> {
    /// Makes a set of the core's laws and the other laws.
    #[must_use]
    pub fn new(laws: Vec<Box<dyn Law<V::Log>>>) -> Self {
        Self {
            laws,
            committed: LogIndex::ZERO,
            digests: BTreeMap::new(),
            seen: BTreeMap::new(),
            is_up: BTreeMap::new(),
            looks: 0,
            log_time: LogTimePace::default(),
            beside: BesideLaws::default(),
            members: None,
        }
    }

    /// The members of the group change: quorums are those of the configuration, and these laws must hold as well.
    #[must_use]
    pub fn members(self, laws: MemberLaws<V>) -> Self {
        Self { members: Some(laws), ..self }
    }

    /// The node at the last check and now, if it has changed.
    fn has_moved(&mut self, view: &NodeView<'_, NodeMachine<Replicated<V>>>) -> Option<(Observation, Observation)> {
        let before = self.seen.get(&view.node);
        if before.is_some_and(|(changes, _)| *changes == view.changes) {
            return None;
        }
        let seen = view.machine.map(Machine::observe).unwrap_or_default();
        let before = self.seen.insert(view.node, (view.changes, seen)).unwrap_or_default().1;
        (before != seen).then_some((before, seen))
    }

    fn check_state(&mut self, node: NodeId, seen: &Observation) -> Result<(), Violation> {
        let first = *self.digests.entry(seen.applied).or_insert(seen.digest);
        if first == seen.digest {
            return Ok(());
        }
        let detail = format!("node {node} has another state than others at index {}", seen.applied);
        Err(Violation { law: "equal state at equal index", detail })
    }

    /// Checks all nodes. Returns the nodes that applied something since the last check, and the index that each
    /// reached.
    ///
    /// # Errors
    /// When a law is broken; the violation says how.
    pub fn look(
        &mut self,
        nodes: &[NodeView<'_, NodeMachine<Replicated<V>>>],
    ) -> Result<Vec<(NodeId, u64)>, Violation> {
        self.looks += 1;
        let mut is_due = self.looks.is_multiple_of(LOOKS_APART);
        let mut applied = Vec::new();
        for view in nodes {
            let is_up = view.machine.is_some();
            is_due |= self.is_up.insert(view.node, is_up) != Some(is_up);
            let Some((before, seen)) = self.has_moved(view) else { continue };
            is_due = true;
            let Some(machine) = view.machine else { continue };
            machine.check()?;
            self.check_state(view.node, &seen)?;
            if seen.applied != before.applied {
                applied.push((view.node, seen.applied));
            }
            if seen.committed > self.committed.0 {
                let before = std::mem::replace(&mut self.committed, LogIndex(seen.committed));
                self.check_durable(view, before, nodes)?;
            }
        }
        if let Some(laws) = &mut self.members {
            laws.check(nodes)?;
        }
        if is_due {
            let cores: Vec<_> =
                nodes.iter().filter_map(|view| Some((view.node, view.machine.and_then(core_of)?))).collect();
            self.laws.iter_mut().try_for_each(|law| law.check(&cores))?;
            nodes.iter().filter_map(|view| view.machine).try_for_each(|machine| self.beside.check(machine))?;
            let look = |machine: &NodeMachine<Replicated<V>>| {
                Some(Look { start: machine.start, now: machine.now, status: core_of(machine)?.status() })
            };
            let looks: Vec<Look> = nodes.iter().filter_map(|view| look(view.machine?)).collect();
            self.log_time.check(&looks)?;
        }
        Ok(applied)
    }

    /// Checks that the newest committed entry, as this node reports it, is on the disks of a quorum. `before` is the
    /// index that was committed before.
    fn check_durable(
        &self,
        by: &NodeView<'_, NodeMachine<Replicated<V>>>,
        before: LogIndex,
        nodes: &[NodeView<'_, NodeMachine<Replicated<V>>>],
    ) -> Result<(), Violation> {
        let index = self.committed;
        let term_at =
            |view: &NodeView<'_, NodeMachine<Replicated<V>>>| view.disk.durable(REPLICA_GROUP)?.term_at(index);
        // The node that reports the index has the entry, unless it has compacted it. Another entry in its place does
        // not count as a copy.
        let term = term_at(by);
        // The content of a lost disk is unknown: it may have been one of the copies.
        let has_it = |view: &NodeView<'_, NodeMachine<Replicated<V>>>| {
            let is_compacted = view.disk.durable(REPLICA_GROUP).is_some_and(|kept| kept.base() >= index);
            let here = term_at(view);
            view.is_lost || is_compacted || (here.is_some() && (term.is_none() || here == term))
        };
        if let Some(laws) = &self.members {
            return laws.check_durable(by, index, before, has_it, nodes);
        }
        let copies = nodes.iter().filter(|view| has_it(view)).count();
        if copies * 2 > nodes.len() {
            return Ok(());
        }
        let detail =
            format!("entry {index} is committed, says node {}, and durable on {copies} of {}", by.node, nodes.len());
        Err(Violation { law: "committed is durable on a quorum", detail })
    }
}

impl<V: Service> ClusterLaws<NodeMachine<Replicated<V>>> for ReplicaLaws<V> {
    fn check(&mut self, nodes: &[NodeView<'_, NodeMachine<Replicated<V>>>]) -> Result<(), Violation> {
        self.look(nodes).map(|_| ())
    }

    fn at_end(&mut self, nodes: &[NodeView<'_, NodeMachine<Replicated<V>>>]) -> Result<(), Violation> {
        check_nodes(nodes)?;
        beside::check_at_end(nodes)?;
        self.members.as_ref().map_or_else(|| converged(nodes), |laws| laws.at_end(nodes))
    }

    fn reached(&self) -> Vec<(&'static str, u64)> {
        self.members.iter().flat_map(MemberLaws::reached).collect()
    }
}

fn core_of<V: Service>(machine: &NodeMachine<Replicated<V>>) -> Option<&V::Log> {
    replica_of(machine, REPLICA_GROUP).map(Replica::core)
}

/// The cores are checked when a node has visibly changed, and otherwise after this number of steps.
const LOOKS_APART: u64 = 16;
