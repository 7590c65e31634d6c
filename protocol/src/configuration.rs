//! The members of a group: the payload of a configuration entry and part of every snapshot's metadata.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::NodeId;

/// Role of a member in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemberRole {
    /// Votes, and counts towards the quorum that commits an entry.
    Voter,
    /// Receives the log. It does not vote and does not count towards a quorum.
    #[doc(alias = "observer")]
    Learner,
    /// Votes and counts towards quorums. It keeps entries without their payloads and never leads.
    Witness,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Id of the node.
    pub node: NodeId,
    /// Its role in the group.
    pub role: MemberRole,
    /// Preference as leader: a voter of higher priority is preferred, and one of priority 0 never campaigns. Usually 1.
    pub priority: u8,
    /// Bytes that the protocol does not interpret; usually the node's addresses.
    pub context: Bytes,
}

/// The members of a group. A joint configuration also has the members of the configuration that it replaces.
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
    /// The members of the configuration that is being replaced, in the order of their ids; empty unless joint.
    outgoing: Vec<Member>,
}

impl Configuration {
    /// Makes a configuration that is not joint.
    ///
    /// # Errors
    /// When a node appears twice, there is no voter, or the configuration is too large to encode.
    pub fn new(members: Vec<Member>) -> Result<Self, ConfigurationError> {
        Self::joint(members, Vec::new())
    }

    /// Makes the joint configuration on the way from `outgoing` to `members`. Decisions need a quorum of both sets.
    ///
    /// # Errors
    /// The errors of [`Configuration::new`], for each of the two sets.
    pub fn joint(mut members: Vec<Member>, mut outgoing: Vec<Member>) -> Result<Self, ConfigurationError> {
        members.sort_by_key(|member| member.node);
        outgoing.sort_by_key(|member| member.node);
        let configuration = Self { members, outgoing };
        configuration.check()?;
        Ok(configuration)
    }

    /// Makes a configuration of voters with equal priority and without a context. An id that repeats counts once. The
    /// number of voters is not checked: a caller that takes the ids from outside calls [`Configuration::check`]
    /// afterwards.
    pub fn of_voters(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let nodes: std::collections::BTreeSet<NodeId> = nodes.into_iter().collect();
        let voter = |node| Member { node, role: MemberRole::Voter, priority: 1, context: Bytes::new() };
        Self { members: nodes.into_iter().map(voter).collect(), outgoing: Vec::new() }
    }

    /// Checks that [`Configuration::new`] or [`Configuration::joint`] could have made this configuration.
    ///
    /// # Errors
    /// The errors of these two functions.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        check(&self.members)?;
        if self.outgoing.is_empty() { Ok(()) } else { check(&self.outgoing) }
    }

    /// The members, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members of the configuration that is being replaced; empty unless joint.
    #[must_use]
    pub fn outgoing(&self) -> &[Member] {
        &self.outgoing
    }

    /// True if decisions need a quorum of two sets.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The voters among [`Configuration::members`], in the order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        voters(&self.members)
    }

    /// The voters among [`Configuration::outgoing`], in the order of their ids.
    pub fn outgoing_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        voters(&self.outgoing)
    }

    /// True if `node` is a voter of either set.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters().chain(self.outgoing_voters()).any(|voter| voter == node)
    }

    /// True if `node` is a member of either set.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes().any(|member| member == node)
    }

    /// Every node of either set, once: first the members in the order of their ids, then the nodes that are only in the
    /// outgoing set.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let only_outgoing = self.outgoing.iter().filter(|old| self.members.iter().all(|new| new.node != old.node));
        self.members.iter().chain(only_outgoing).map(|member| member.node)
    }

    /// Encodes the payload of a configuration entry: a version byte and two counted lists, little-endian.
    ///
    /// # Panics
    /// When [`Configuration::check`] returns [`ConfigurationError::TooLarge`].
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

    /// Decodes a configuration from all of `bytes`.
    ///
    /// # Errors
    /// When bytes are missing or left over, the version is unknown, or [`Configuration::check`] fails.
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

/// Reason why members or bytes are not a configuration. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A node appears twice.
    Repeated(NodeId),
    /// There is no voter.
    NoVoter,
    /// There are more members, or a longer context, than the format can hold (65,535 of either).
    TooLarge,
    /// A newer version of the format wrote the bytes.
    Version(u8),
    /// The bytes are not those of a configuration.
    Malformed,
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated(node) => write!(f, "node {node} appears twice in the configuration"),
            Self::NoVoter => f.write_str("the configuration has no voter"),
            Self::TooLarge => {
                f.write_str("the configuration has more members or a longer context than its format can hold")
            }
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
