//! Losses of disks that a group whose members change can bear.

use std::collections::BTreeSet;

use quorate_protocol::{Configuration, LogIndex, LogStatus, Member, NodeId, ReplicatedLog};

use super::NodeMachine;
use super::replica::{REPLICA_GROUP, Replicated, Service, replica_of};
use crate::schedule::{MemberStep, Who};
use crate::world::NodeView;

type View<'a, V> = NodeView<'a, NodeMachine<Replicated<V>>>;

/// True if each configuration that a node has in force keeps the disks of a majority of its voters when this node loses
/// its own. A majority of the voters of each must run: otherwise there may be a newer one that no running node has.
pub(super) fn tolerates<V: Service>(nodes: &[View<'_, V>], losing: NodeId) -> bool {
    let is_kept = |node: NodeId| node != losing && nodes.iter().any(|view| view.node == node && !view.is_lost);
    let runs = |node: NodeId| nodes.iter().any(|view| view.node == node && !view.is_lost && view.machine.is_some());
    let halves = |configuration: &Configuration, holds: &dyn Fn(NodeId) -> bool| {
        [configuration.members(), configuration.outgoing()].iter().all(|half| is_majority(half, holds))
    };
    statuses(nodes).all(|status| {
        let is_committed = status.configuration_index <= status.commit_index;
        halves(&status.configuration, &is_kept) && (!is_committed || halves(&status.configuration, &runs))
    })
}

/// True if most voters have their disks after the leader made these changes.
pub(super) fn bears_change<V: Service>(nodes: &[View<'_, V>], leader: NodeId, steps: &[MemberStep]) -> bool {
    let Some(status) = statuses(nodes).find(|status| status.node == leader) else { return false };
    let leaves = |node: NodeId| {
        steps.iter().any(|step| match step {
            MemberStep::Demote { node: gone } | MemberStep::Remove { node: Who::Node(gone) } => *gone == node.0,
            MemberStep::Replace { old, new } => old == new && *old == node.0,
            _ => false,
        })
    };
    let members = status.configuration.members().iter().filter(|member| !leaves(member.node));
    let members: Vec<Member> = members.cloned().collect();
    is_majority(&members, &|node| nodes.iter().any(|view| view.node == node && !view.is_lost))
}

/// True if the newest configuration that is known to be committed has the node with its new disk, or not at all.
pub(super) fn is_replaced<V: Service>(nodes: &[View<'_, V>], lost: &View<'_, V>) -> bool {
    let committed = statuses(nodes).filter(|status| status.configuration_index <= status.commit_index);
    let Some(newest) = committed.max_by_key(|status| status.configuration_index) else { return false };
    let configuration = newest.configuration;
    let disk = Some(lost.disk.incarnation());
    let mut all = configuration.members().iter().chain(configuration.outgoing());
    newest.configuration_index > LogIndex::ZERO
        && all.all(|member| member.node != lost.node || member.incarnation == disk)
}

/// True if most voters among these members hold something. There may be none.
fn is_majority(members: &[Member], holds: &dyn Fn(NodeId) -> bool) -> bool {
    let voters: BTreeSet<NodeId> = members.iter().filter(|member| member.votes()).map(|member| member.node).collect();
    voters.is_empty() || voters.iter().filter(|node| holds(**node)).count() * 2 > voters.len()
}

fn statuses<'a, V: Service>(nodes: &'a [View<'_, V>]) -> impl Iterator<Item = LogStatus> + 'a {
    let machines = nodes.iter().filter_map(|view| view.machine);
    machines.filter_map(|machine| Some(replica_of(machine, REPLICA_GROUP)?.core().status()))
}
