//! The foundings of a node's groups, as nodes exchange and compare them.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::{GroupId, NodeId};
use serde::{Deserialize, Serialize};

use super::message::Edition;
use super::roster::Bound;

/// Groups with consecutive ids whose foundings are equal, as one node sends them to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FoundingRun {
    first: GroupId,
    count: u64,
    digest: u128,
    /// The first voters, for operators.
    voters: Vec<NodeId>,
}

/// Groups that two nodes founded differently, with the first voters on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) groups: Vec<GroupId>,
    pub(super) ours: Vec<NodeId>,
    pub(super) theirs: Vec<NodeId>,
}

/// The groups of a peer, as it stated them, compared with those of this node.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    /// The edition that was stated last.
    pub(super) edition: Edition,
    runs: Vec<FoundingRun>,
    /// Groups of both nodes that they founded differently.
    pub(super) foreign: BTreeSet<GroupId>,
    /// Groups of this node that the peer does not have.
    absent: BTreeSet<GroupId>,
}

impl Stated {
    /// Takes the statement of a peer.
    pub(super) fn new(edition: Edition, runs: Vec<FoundingRun>) -> Self {
        Self { edition, runs, foreign: BTreeSet::new(), absent: BTreeSet::new() }
    }

    /// Returns true if the peer has the group and founded it as this node did.
    pub(super) fn shares(&self, group: GroupId) -> bool {
        !self.foreign.contains(&group) && !self.absent.contains(&group)
    }

    /// Returns true if the comparison had the same result as that of another statement.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.foreign == other.foreign && self.absent == other.absent
    }

    /// Compares the statement with the groups of this node as they are now.
    pub(super) fn compare(&mut self, ours: &BTreeMap<GroupId, Bound>) -> Vec<Difference> {
        let differences = differences(ours, &self.runs);
        self.foreign = differences.iter().flat_map(|difference| difference.groups.iter().copied()).collect();
        self.absent = ours.keys().copied().collect();
        for run in &self.runs {
            let (first, last) = run.range();
            let stated: Vec<GroupId> = self.absent.range(first..=last).copied().collect();
            for group in stated {
                self.absent.remove(&group);
            }
        }
        differences
    }
}

impl FoundingRun {
    /// The first and the last group.
    fn range(&self) -> (GroupId, GroupId) {
        let last = GroupId(self.first.0.saturating_add(self.count.saturating_sub(1)));
        (self.first, last.max(self.first))
    }
}

/// Returns the foundings of this node's groups, as they are sent to peers.
pub(super) fn runs(groups: &BTreeMap<GroupId, Bound>) -> Vec<FoundingRun> {
    let mut runs: Vec<FoundingRun> = Vec::new();
    for (group, bound) in groups {
        let digest = bound.founding.digest();
        match runs.last_mut() {
            Some(run) if run.digest == digest && run.first.0 + run.count == group.0 => run.count += 1,
            _ => runs.push(FoundingRun {
                first: *group,
                count: 1,
                digest,
                voters: bound.founding.configuration().voters().collect(),
            }),
        }
    }
    runs
}

/// Returns the groups of both nodes whose foundings differ. A group that only one of them has is not compared.
pub(super) fn differences(ours: &BTreeMap<GroupId, Bound>, theirs: &[FoundingRun]) -> Vec<Difference> {
    let of_run = |run: &FoundingRun| {
        let (first, last) = run.range();
        let differing = ours.range(first..=last).filter(|(_, bound)| bound.founding.digest() != run.digest);
        let groups: Vec<GroupId> = differing.map(|(group, _)| *group).collect();
        let first = groups.first()?;
        let ours = ours[first].founding.configuration().voters().collect();
        Some(Difference { groups, ours, theirs: run.voters.clone() })
    };
    theirs.iter().filter_map(of_run).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quorate_protocol::{Configuration, GroupId, NodeId};
    use quorate_transport::ChannelId;
    use quorate_wal::StreamId;

    use super::{differences, runs};
    use crate::group::founding::Founding;
    use crate::node::roster::Bound;

    fn of(voters: &[u64], channel: u16) -> Founding {
        Founding::new(ChannelId(channel), Configuration::of_voters(voters.iter().copied().map(NodeId)))
    }

    fn table(groups: &[(u64, Founding)]) -> BTreeMap<GroupId, Bound> {
        let bound = |(id, founding): &(u64, Founding)| {
            (GroupId(*id), Bound { stream: StreamId(*id + 1), founding: founding.clone() })
        };
        groups.iter().map(bound).collect()
    }

    #[test]
    fn groups_of_both_are_compared_and_no_others() {
        let (three, five) = (of(&[1, 2, 3], 16), of(&[1, 2, 3, 4, 5], 16));
        let ours = table(&[(1, three.clone()), (2, three.clone()), (3, five.clone()), (9, three.clone())]);
        assert_eq!(runs(&ours).len(), 3, "one, two | three | nine");
        assert!(differences(&ours, &runs(&ours)).is_empty());
        let theirs = table(&[(2, five.clone()), (3, five.clone()), (4, three)]);
        let found = differences(&ours, &runs(&theirs));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].groups, [GroupId(2)]);
        assert_eq!((found[0].ours.len(), found[0].theirs.len()), (3, 5));
        assert!(
            differences(
                &ours,
                &[super::FoundingRun { first: GroupId(u64::MAX), count: u64::MAX, digest: 0, voters: vec![] }]
            )
            .is_empty()
        );
    }
}
