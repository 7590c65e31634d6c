//! Who takes part in a group: the payload of a configuration entry and part of every snapshot's metadata.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::NodeId;

/// What a member does in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemberRole {
    /// Votes, and counts for commitment.
    Voter,
    /// Receives the log, counts for nothing.
    #[doc(alias = "observer")]
    Learner,
    /// Votes and counts, keeps entries without their payload, never leads.
    Witness,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// What it does.
    pub role: MemberRole,
    /// A voter of higher priority is preferred as leader; 0 never campaigns. Usually 1.
    pub priority: u8,
    /// Opaque to the protocol: usually the node's addresses.
    pub context: Bytes,
}

/// The members of a group; in a joint configuration also the members that are being left.
///
/// ```
/// use quorate_protocol::{Configuration, NodeId};
/// let configuration = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
/// assert!(configuration.is_voter(NodeId(2)));
/// assert_eq!(Configuration::decode(&configuration.encode())?, configuration);
/// # Ok::<(), quorate_protocol::ConfigurationError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The members, in the order of their ids.
    members: Vec<Member>,
    /// The members being left, in the order of their ids; empty outside a joint configuration.
    outgoing: Vec<Member>,
}

impl Configuration {
    /// A configuration of these members, which stands alone (is not joint).
    ///
    /// # Errors
    /// When a node appears twice, nobody votes, or it is too large to encode.
    pub fn new(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        Self::joint(members, Vec::new())
    }

    /// A configuration on its way from `outgoing` to `members`: decisions need a quorum of both.
    ///
    /// # Errors
    /// As [`Configuration::new`], for each of the two.
    pub fn joint(mut members: Vec<Member>, mut outgoing: Vec<Member>) -> Result<Self, ConfigurationError> {
        members.sort_by_key(|member| member.node);
        outgoing.sort_by_key(|member| member.node);
        let configuration = Self { members, outgoing };
        configuration.check()?;
        Ok(configuration)
    }

    /// Voters of equal priority and without a context; ids that repeat count once. Their number is not looked at: whoever takes a
    /// configuration from others calls [`Configuration::check`].
    pub fn of_voters(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let nodes: std::collections::BTreeSet<NodeId> = nodes.into_iter().collect();
        let voter = |node| Member { node, role: MemberRole::Voter, priority: 1, context: Bytes::new() };
        Self { members: nodes.into_iter().map(voter).collect(), outgoing: Vec::new() }
    }

    /// Whether it could have been made with [`Configuration::new`] or [`Configuration::joint`].
    ///
    /// # Errors
    /// As theirs.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        check(&self.members)?;
        if self.outgoing.is_empty() { Ok(()) } else { check(&self.outgoing) }
    }

    /// The members, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members being left; empty unless the configuration is joint.
    #[must_use]
    pub fn outgoing(&self) -> &[Member] {
        &self.outgoing
    }

    /// Whether decisions need a quorum of two sets.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The nodes whose votes count in the newer set, in the order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        voters(&self.members)
    }

    /// The nodes whose votes count in the set being left, in the order of their ids.
    pub fn outgoing_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        voters(&self.outgoing)
    }

    /// Whether `node`'s vote counts in either set.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters().chain(self.outgoing_voters()).any(|voter| voter == node)
    }

    /// Whether `node` is a member of either set.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes().any(|member| member == node)
    }

    /// Every node of either set, in order within each set; one of both sets appears once.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let only_outgoing = self.outgoing.iter().filter(|old| self.members.iter().all(|new| new.node != old.node));
        self.members.iter().chain(only_outgoing).map(|member| member.node)
    }

    /// The bytes of a configuration entry's payload: version, two counted lists, all little-endian.
    ///
    /// # Panics
    /// When [`Configuration::check`] would call it too large.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        for members in [&self.members, &self.outgoing] {
            out.put_u16_le(u16::try_from(members.len()).expect("a configuration of checked sizes"));
            for member in members {
                out.put_u64_le(member.node.0);
                out.put_u8(role_code(member.role));
                out.put_u8(member.priority);
                out.put_u16_le(u16::try_from(member.context.len()).expect("a configuration of checked sizes"));
                out.put_slice(&member.context);
            }
        }
        out.freeze()
    }

    /// The configuration that `bytes` hold, and nothing else.
    ///
    /// # Errors
    /// When the bytes are short, long, of another version, or not a configuration that could have been made.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        let mut rest = bytes;
        let version = rest.try_get_u8().map_err(|_| ConfigurationError::Malformed)?;
        if version != VERSION {
            return Err(ConfigurationError::Version(version));
        }
        let members = decode_members(&mut rest)?;
        let outgoing = decode_members(&mut rest)?;
        if !rest.is_empty() {
            return Err(ConfigurationError::Malformed);
        }
        Self::joint(members, outgoing)
    }
}

/// Why something is not a configuration. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A node appears twice.
    Repeated(NodeId),
    /// Nobody votes.
    NoVoter,
    /// More members, or a longer context, than the format holds (65,535 of either).
    TooLarge,
    /// Written by a newer version of the format.
    Version(u8),
    /// The bytes are not those of a configuration.
    Malformed,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated(node) => write!(f, "node {node} appears twice in the configuration"),
            Self::NoVoter => f.write_str("the configuration has no voter"),
            Self::TooLarge => f.write_str("the configuration has more members or context than its format holds"),
            Self::Version(version) => write!(f, "configuration format version {version} is newer than {VERSION}"),
            Self::Malformed => f.write_str("the bytes are not those of a configuration"),
        }
    }
}

impl std::error::Error for ConfigurationError {}

fn voters(members: &[Member]) -> impl Iterator<Item = NodeId> + '_ {
    members.iter().filter(|member| member.role != MemberRole::Learner).map(|member| member.node)
}

fn check(members: &[Member]) -> Result<(), ConfigurationError> {
    if let Some(pair) = members.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(ConfigurationError::Repeated(pair[0].node));
    }
    if voters(members).next().is_none() {
        return Err(ConfigurationError::NoVoter);
    }
    let fits = |length: usize| u16::try_from(length).is_ok();
    if !fits(members.len()) || !members.iter().all(|member| fits(member.context.len())) {
        return Err(ConfigurationError::TooLarge);
    }
    Ok(())
}

fn decode_members(rest: &mut &[u8]) -> Result<Vec<Member>, ConfigurationError> {
    let malformed = |_| ConfigurationError::Malformed;
    let count = rest.try_get_u16_le().map_err(malformed)?;
    let mut members = Vec::new();
    for _ in 0..count {
        let node = NodeId(rest.try_get_u64_le().map_err(malformed)?);
        let code = rest.try_get_u8().map_err(malformed)?;
        let role = role_from_code(code).ok_or(ConfigurationError::Malformed)?;
        let priority = rest.try_get_u8().map_err(malformed)?;
        let length = usize::from(rest.try_get_u16_le().map_err(malformed)?);
        let (context, behind) = rest.split_at_checked(length).ok_or(ConfigurationError::Malformed)?;
        members.push(Member { node, role, priority, context: Bytes::copy_from_slice(context) });
        *rest = behind;
    }
    Ok(members)
}

fn role_code(role: MemberRole) -> u8 {
    match role {
        MemberRole::Voter => 1,
        MemberRole::Learner => 2,
        MemberRole::Witness => 3,
    }
}

fn role_from_code(code: u8) -> Option<MemberRole> {
    [MemberRole::Voter, MemberRole::Learner, MemberRole::Witness].into_iter().find(|role| role_code(*role) == code)
}

const VERSION: u8 = 1;
