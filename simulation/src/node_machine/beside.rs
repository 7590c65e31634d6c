//! Laws of the groups that come and go beside the first one.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{GroupId, Incarnation, ReplicatedLog, Role, Violation};
use quorate_runtime::StateMachine;

use super::NodeMachine;
use super::replica::{REPLICA_GROUP, Replicated, Service, replica_of};
use crate::world::NodeView;

/// Replicas of a group beside the first one have equal states, and a group that was removed from a disk never runs on
/// it again.
#[derive(Default)]
pub(super) struct BesideLaws {
    /// The state of each group at each applied index, as it was first seen.
    digests: BTreeMap<(GroupId, u64), u64>,
    removed: BTreeSet<(Incarnation, GroupId)>,
}

impl BesideLaws {
    pub(super) fn check<V: Service>(&mut self, machine: &NodeMachine<Replicated<V>>) -> Result<(), Violation> {
        let node = machine.node();
        let disk = node.identity().incarnation;
        self.removed.extend(node.roster().removed().map(|(group, _)| (disk, group)));
        for group in node.groups().map(|(group, _)| group).filter(|group| *group != REPLICA_GROUP) {
            if self.removed.contains(&(disk, group)) {
                let detail = format!("node {} runs group {group}", node.identity().node);
                return Err(Violation { law: "a removed group is removed for good", detail });
            }
            let Some(replica) = replica_of(machine, group) else { continue };
            let (applied, digest) = (replica.read_context().index, replica.state().digest());
            if *self.digests.entry((group, applied.0)).or_insert(digest) != digest {
                let detail = format!("node {}, group {group}, index {applied}", node.identity().node);
                return Err(Violation { law: "equal state at equal index", detail });
            }
        }
        Ok(())
    }
}

/// Checks, long after all was healed, that nothing is left of removed groups, and that each group has a leader if a
/// majority of the nodes votes in it.
pub(super) fn check_at_end<V: Service>(nodes: &[NodeView<'_, NodeMachine<Replicated<V>>>]) -> Result<(), Violation> {
    let machines: Vec<_> = nodes.iter().filter_map(|view| view.machine).collect();
    let mut voters: BTreeMap<GroupId, Vec<bool>> = BTreeMap::new();
    for machine in machines {
        let node = machine.node();
        if let Some(group) = machine.leftovers().first() {
            let detail = format!("node {}, group {group}", node.identity().node);
            return Err(Violation { law: "the data of a removed group leave the log", detail });
        }
        let votes = node.groups().map(|(group, _)| group).filter(|group| node.voting_bar(*group).is_none());
        for group in votes {
            let leads = replica_of(machine, group).is_some_and(|replica| replica.core().status().role == Role::Leader);
            voters.entry(group).or_default().push(leads);
        }
    }
    let is_headless = |leads: &[bool]| leads.len() * 2 > nodes.len() && !leads.contains(&true);
    match voters.iter().find(|(group, leads)| **group != REPLICA_GROUP && is_headless(leads)) {
        None => Ok(()),
        Some((group, _)) => Err(Violation { law: "each group with a quorum has a leader", detail: group.to_string() }),
    }
}
