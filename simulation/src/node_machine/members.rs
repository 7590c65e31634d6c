//! The requests of an operator to change the members of the first group. Each attempt leaves a mark in the
//! configuration, so that it is known of every attempt whether it was made.

use bytes::Bytes;
use quorate_protocol::{Configuration, Member, MemberChange, NodeId};

use crate::schedule::{MemberStep, Who};
use crate::world::MemberCall;

/// An attempt to make a change, as it is marked in the context of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) change: u64,
    pub(super) attempt: u64,
}

/// The changes that an operator asks for, and those that leave the mark of this attempt and give each new member an
/// address.
pub(super) fn changes(call: &MemberCall, configuration: &Configuration) -> Vec<MemberChange> {
    let mut changes: Vec<MemberChange> = call.steps.iter().map(|step| change(*step)).collect();
    let leaves = |node: &NodeId| {
        changes.iter().any(|change| match change {
            MemberChange::Remove(gone) => gone == node,
            MemberChange::Replace { old, new } => old == node && new.node != *node,
            _ => false,
        })
    };
    let mut marked: Vec<NodeId> = call.steps.iter().filter_map(|step| touched(*step)).collect();
    if marked.is_empty() {
        let stays = configuration.members().iter().map(|member| member.node).find(|node| !leaves(node));
        marked.extend(stays);
    }
    for node in marked {
        let context = Bytes::from(format!("n{node} {}.{}", call.change, call.attempt));
        changes.push(MemberChange::Update { node, priority: None, context: Some(context) });
    }
    changes
}

/// The marks in a configuration.
pub(super) fn marks(configuration: &Configuration) -> impl Iterator<Item = Mark> + '_ {
    configuration.members().iter().filter_map(|member| {
        let text = std::str::from_utf8(&member.context).ok()?;
        let (change, attempt) = text.split_once(' ')?.1.split_once('.')?;
        Some(Mark { change: change.parse().ok()?, attempt: attempt.parse().ok()? })
    })
}

/// True if a node can be reached at the address that this context names.
pub(super) fn is_address(context: &[u8], node: NodeId) -> bool {
    let address = context.split(|byte| *byte == b' ').next();
    address == Some(format!("n{node}").as_bytes())
}

fn change(step: MemberStep) -> MemberChange {
    match step {
        MemberStep::AddLearner { node } => MemberChange::Add(Member::learner(NodeId(node))),
        MemberStep::AddVoter { node } => MemberChange::Add(Member::voter(NodeId(node))),
        MemberStep::Promote { node } => MemberChange::Promote(NodeId(node)),
        MemberStep::Demote { node } => MemberChange::Demote(NodeId(node)),
        MemberStep::Remove { node: Who::Node(node) } => MemberChange::Remove(NodeId(node)),
        MemberStep::Remove { node: Who::Role(_) } => unreachable!("the world names the node in this role"),
        MemberStep::Replace { old, new } => MemberChange::Replace { old: NodeId(old), new: Member::voter(NodeId(new)) },
    }
}

/// The member that a step adds or changes, and that stays.
fn touched(step: MemberStep) -> Option<NodeId> {
    match step {
        MemberStep::AddLearner { node }
        | MemberStep::AddVoter { node }
        | MemberStep::Promote { node }
        | MemberStep::Demote { node }
        | MemberStep::Replace { new: node, .. } => Some(NodeId(node)),
        MemberStep::Remove { .. } => None,
    }
}
