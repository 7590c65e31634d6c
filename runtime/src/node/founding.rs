//! The founding of a group: its first configuration and its protocol, as they were first written.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, BytesMut};
use quorate_protocol::{Configuration, GroupId, MemberRole, NodeId};
use quorate_transport::ChannelId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::roster::Bound;

/// The founding of a group. It is written once, when the group is first bound to a stream, and is never made again from
/// a later description. Two nodes whose foundings of a group differ have different entries at equal indexes of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founding {
    digest: u128,
    configuration: Configuration,
}

impl Founding {
    /// Makes the founding of a group with these first members. Its core speaks on `channel`, which stands for its
    /// protocol.
    ///
    /// Addresses are not compared: they may be spelled differently on two nodes, and they may change.
    #[must_use]
    pub fn new(channel: ChannelId, configuration: Configuration) -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_slice(DOMAIN);
        bytes.put_u8(FORMAT);
        bytes.put_u16_le(channel.0);
        for member in configuration.members() {
            bytes.put_u64_le(member.node.0);
            bytes.put_u8(role_code(member.role));
            bytes.put_u8(member.priority);
        }
        let digest = Sha256::digest(&bytes);
        let (half, _) = digest.split_first_chunk::<16>().expect("a digest of 32 bytes");
        Self { digest: u128::from_be_bytes(*half), configuration }
    }

    pub(super) fn from_parts(digest: u128, configuration: Configuration) -> Self {
        Self { digest, configuration }
    }

    /// Returns the number that nodes compare.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Returns the first configuration.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Returns the first voters.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.configuration.voters().collect()
    }
}

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

/// Returns the foundings of this node's groups, as they are sent to peers.
pub(super) fn runs(groups: &BTreeMap<GroupId, Bound>) -> Vec<FoundingRun> {
    let mut runs: Vec<FoundingRun> = Vec::new();
    for (group, bound) in groups {
        let digest = bound.founding.digest;
        match runs.last_mut() {
            Some(run) if run.digest == digest && run.first.0 + run.count == group.0 => run.count += 1,
            _ => runs.push(FoundingRun {
                first: *group,
                count: 1,
                digest,
                voters: bound.founding.configuration.voters().collect(),
            }),
        }
    }
    runs
}

/// Returns the groups of both nodes whose foundings differ. A group that only one of them has is not compared.
pub(super) fn differences(ours: &BTreeMap<GroupId, Bound>, theirs: &[FoundingRun]) -> Vec<Difference> {
    let of_run = |run: &FoundingRun| {
        let last = GroupId(run.first.0.saturating_add(run.count.saturating_sub(1)));
        let differing =
            ours.range(run.first..=last.max(run.first)).filter(|(_, bound)| bound.founding.digest != run.digest);
        let groups: Vec<GroupId> = differing.map(|(group, _)| *group).collect();
        let first = groups.first()?;
        let ours = ours[first].founding.configuration.voters().collect();
        Some(Difference { groups, ours, theirs: run.voters.clone() })
    };
    theirs.iter().filter_map(of_run).collect()
}

fn role_code(role: MemberRole) -> u8 {
    match role {
        MemberRole::Voter => 0,
        MemberRole::Learner => 1,
        MemberRole::Witness => 2,
        _ => u8::MAX,
    }
}

const DOMAIN: &[u8] = b"quorate-founding";
/// Must be raised if logs that were begun with the present value can no longer be led by nodes that begin with the new
/// one.
const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quorate_protocol::{Configuration, GroupId, NodeId};
    use quorate_transport::ChannelId;
    use quorate_wal::StreamId;

    use super::{Bound, Founding, differences, runs};

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
    fn it_depends_on_members_and_protocol_and_not_on_addresses() {
        let mut members = Configuration::of_voters([NodeId(1), NodeId(2)]).members().to_vec();
        members[0].context = "somewhere".into();
        let elsewhere = Founding::new(ChannelId(16), Configuration::new(members).expect("sound"));
        assert_eq!(elsewhere.digest(), of(&[1, 2], 16).digest());
        assert_ne!(of(&[1, 2, 3], 16).digest(), of(&[1, 2], 16).digest());
        assert_ne!(of(&[1, 2], 17).digest(), of(&[1, 2], 16).digest());
    }

    #[test]
    fn the_digest_never_changes() {
        assert_eq!(format!("{:032x}", of(&[1, 2, 3], 16).digest()), "fc65ca5b8dca5b2a2436cafa0133f578");
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
