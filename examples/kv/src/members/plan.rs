//! The next step of a command of `kv member`, by what the leader says. Every command names the members that are wanted,
//! so that it can be tried again: what is done already is not done twice.

use super::MemberStatus;
use super::request::{MemberRequest, NewNode};
use crate::status::GroupStatus;

/// A command that changes the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberCommand {
    /// Adds a node and waits until it votes.
    Add(u64),
    /// Adds a node as a learner and waits until it has caught up.
    AddLearner(u64),
    /// Makes a learner a voter and waits until it votes.
    Promote(u64),
    /// Makes a voter a learner.
    Demote(u64),
    /// Removes a member.
    Remove(u64),
    /// Replaces a member by another node, or by the disk that the node has now, and waits until that votes.
    Replace {
        /// The member that leaves.
        old: u64,
        /// The node that takes its place.
        new: u64,
    },
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the leader for this change.
    Ask(MemberRequest),
    /// Ask the node itself for its disk first.
    AskNode(u64),
    /// Wait until this node has caught up.
    WaitFor(u64),
    /// Wait until the change is complete.
    Settle,
    /// The members are those that were wanted.
    Done(String),
    /// The command cannot be carried out.
    Refuse(String),
}

/// The knowledge that a step is chosen by.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// The leader's group.
    pub(super) group: &'a GroupStatus,
    /// The group of the node that becomes a member, if the node was reached.
    pub(super) node: Option<&'a GroupStatus>,
    /// Its address for other nodes.
    pub(super) address: &'a str,
    /// A learner has caught up once it has this entry.
    pub(super) goal: u64,
}

impl MemberCommand {
    /// The node that becomes a member, and the disk of which must be known.
    pub(super) fn newcomer(self) -> Option<u64> {
        match self {
            Self::Add(node) | Self::AddLearner(node) | Self::Replace { new: node, .. } => Some(node),
            Self::Promote(_) | Self::Demote(_) | Self::Remove(_) => None,
        }
    }

    pub(super) fn step(self, view: View<'_>) -> Step {
        let step = match self {
            Self::Add(node) => view.add(node, false),
            Self::AddLearner(node) => view.add(node, true),
            Self::Promote(node) => view.promote(node),
            Self::Demote(node) => view.demote(node),
            Self::Remove(node) => match view.member(node) {
                Some(_) => Step::Ask(MemberRequest::Remove(node)),
                None => Step::Done(format!("node {node} is no member")),
            },
            Self::Replace { old, new } if old == new => view.replace_disk(new),
            Self::Replace { old, new } => view.replace(old, new),
        };
        if matches!(step, Step::Done(_)) && !view.group.is_settled { Step::Settle } else { step }
    }
}

impl View<'_> {
    fn member(&self, node: u64) -> Option<&MemberStatus> {
        self.group.members.iter().find(|member| member.node == node)
    }

    fn add(&self, node: u64, learner: bool) -> Step {
        let Some(member) = self.member(node) else {
            return self.with_disk(node, |node| MemberRequest::Add { node, learner });
        };
        let has_other_disk =
            self.node.zip(member.incarnation.as_ref()).is_some_and(|(node, disk)| node.incarnation != *disk);
        if has_other_disk {
            return Step::Refuse(format!(
                "node {node} is a member with another disk: `replace {node} {node}` admits the disk that it has now"
            ));
        }
        match (learner, member.votes(), member.waits_for_promotion) {
            (false, true, _) => Step::Done(format!("node {node} votes")),
            (false, false, false) => {
                Step::Refuse(format!("node {node} is a learner: `promote {node}` makes it a voter"))
            }
            (true, true, _) | (true, false, true) => {
                Step::Refuse(format!("node {node} is a voter, or becomes one: `demote {node}` makes it a learner"))
            }
            (true, false, false) if self.match_index(node) >= self.goal => {
                Step::Done(format!("node {node} is a learner and has caught up"))
            }
            (false, false, true) | (true, false, false) => Step::WaitFor(node),
        }
    }

    fn promote(&self, node: u64) -> Step {
        match self.member(node) {
            None => not_member(node),
            Some(member) if member.votes() => Step::Done(format!("node {node} votes")),
            Some(member) if member.waits_for_promotion => Step::WaitFor(node),
            Some(_) => Step::Ask(MemberRequest::Promote(node)),
        }
    }

    fn demote(&self, node: u64) -> Step {
        match self.member(node) {
            None => not_member(node),
            Some(member) if member.votes() => Step::Ask(MemberRequest::Demote(node)),
            Some(member) if member.waits_for_promotion => {
                Step::Refuse(format!("node {node} is a learner that becomes a voter: `remove {node}` ends that"))
            }
            Some(_) => Step::Done(format!("node {node} is a learner")),
        }
    }

    fn replace(&self, old: u64, new: u64) -> Step {
        let (leaving, coming) = (self.member(old), self.member(new));
        match (leaving, coming) {
            (None, Some(coming)) if coming.votes() => {
                Step::Done(format!("node {new} votes and node {old} is no member"))
            }
            (None, _) => not_member(old),
            (Some(_), Some(coming)) if coming.votes() => {
                Step::Refuse(format!("node {new} votes already: `remove {old}` removes the other"))
            }
            (Some(_), Some(coming)) if coming.replaces == Some(old) => Step::WaitFor(new),
            (Some(_), Some(coming)) if coming.waits_for_promotion => {
                Step::Refuse(format!("node {new} becomes a voter already, and not in place of node {old}"))
            }
            (Some(_), _) => self.with_disk(new, |new| MemberRequest::Replace { old, new }),
        }
    }

    /// Another disk under the same id.
    fn replace_disk(&self, node: u64) -> Step {
        let Some(member) = self.member(node) else { return not_member(node) };
        let Some(of_node) = self.node else { return Step::AskNode(node) };
        let is_admitted = member.incarnation.as_ref() == Some(&of_node.incarnation);
        match (is_admitted, member.votes()) {
            (true, true) => Step::Done(format!("node {node} votes with the disk that it has now")),
            (true, false) if member.waits_for_promotion => Step::WaitFor(node),
            (true, false) => Step::Refuse(format!("node {node} is a learner with the disk that it has now")),
            (false, _) if of_node.vote.is_empty() => {
                Step::Refuse(format!("node {node} votes with the disk that it has: there is nothing to replace"))
            }
            (false, _) => self.with_disk(node, |new| MemberRequest::Replace { old: node, new }),
        }
    }

    fn with_disk(&self, id: u64, request: impl FnOnce(NewNode) -> MemberRequest) -> Step {
        let Some(node) = self.node else { return Step::AskNode(id) };
        Step::Ask(request(NewNode { id, address: self.address.to_owned(), incarnation: node.incarnation.clone() }))
    }

    fn match_index(&self, node: u64) -> u64 {
        self.group.progress.iter().find(|peer| peer.node == node).map_or(0, |peer| peer.match_index)
    }
}

fn not_member(node: u64) -> Step {
    Step::Refuse(format!("node {node} is not a member"))
}
