//! The members of a group: the payload of a configuration entry and part of every snapshot's metadata.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Incarnation, NodeId};

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
    /// Preference as leader: a voter of higher priority gets the leadership once it has caught up, and one of priority
    /// 0 never campaigns, even if it alone has the newest entries. Usually 1.
    pub priority: u8,
    /// Bytes that the protocol does not interpret; usually the node's addresses.
    pub context: Bytes,
    /// The only disk that is this member, if the configuration says so: a node whose disk was lost is admitted again
    /// under its old id in this way. Otherwise it is the first disk that the other members met under this id.
    pub incarnation: Option<Incarnation>,
    /// Set on a learner that the leader makes a voter once it has caught up.
    pub promotion: Option<Promotion>,
}

/// The leader's task to make a learner a voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promotion {
    /// The member that leaves the group at the moment at which the learner becomes a voter.
    pub replaces: Option<NodeId>,
}

impl Member {
    /// A voter of priority 1 without a context.
    #[must_use]
    pub fn voter(node: NodeId) -> Self {
        Self::of_role(node, MemberRole::Voter)
    }

    /// A learner of priority 1 without a context.
    #[must_use]
    pub fn learner(node: NodeId) -> Self {
        Self::of_role(node, MemberRole::Learner)
    }

    fn of_role(node: NodeId, role: MemberRole) -> Self {
        Self { node, role, priority: 1, context: Bytes::new(), incarnation: None, promotion: None }
    }

    /// True if the member counts towards quorums.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.role != MemberRole::Learner
    }

    /// True if the member may be elected leader.
    #[must_use]
    pub fn may_lead(&self) -> bool {
        self.role == MemberRole::Voter && self.priority > 0
    }
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
    /// When a node appears twice, there is no voter, there are too many witnesses, a promotion is of no learner, or the
    /// configuration is too large to encode.
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
        Self { members: nodes.into_iter().map(Member::voter).collect(), outgoing: Vec::new() }
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

    /// The member with this id: the newer one if both sets have it.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().chain(&self.outgoing).find(|member| member.node == node)
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

    /// Encodes the payload of a configuration entry: a version byte and two counted lists, little-endian. Version 2 has
    /// incarnations and promotions, and is written only if there are any.
    ///
    /// # Panics
    /// When [`Configuration::check`] returns [`ConfigurationError::TooLarge`].
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut all = self.members.iter().chain(&self.outgoing);
        let version = if all.all(is_plain) { PLAIN_VERSION } else { VERSION };
        let mut out = BytesMut::new();
        out.put_u8(version);
        for members in [&self.members, &self.outgoing] {
            out.put_u16_le(u16::try_from(members.len()).expect("a configuration of checked sizes"));
            for member in members {
                encode_member(member, version, &mut out);
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
        if version != PLAIN_VERSION && version != VERSION {
            return Err(ConfigurationError::Version(version));
        }
        let members = decode_members(version, &mut rest)?;
        let outgoing = decode_members(version, &mut rest)?;
        if !rest.is_empty() {
            return Err(ConfigurationError::Malformed);
        }
        Self::joint(members, outgoing)
    }
}

/// Reason why members or bytes are not a configuration, or why a change of members cannot be made. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A node appears twice.
    Repeated(NodeId),
    /// There is no voter.
    NoVoter,
    /// No voter may lead: every voter is a witness or has priority 0.
    NoCandidate,
    /// A quorum could consist of witnesses alone, which have no payloads.
    TooManyWitnesses,
    /// The change needs a member, and this node is none.
    NotMember(NodeId),
    /// The change adds a node that is a member already.
    AlreadyMember(NodeId),
    /// The change admits another disk under the id of a member, and does not name its incarnation.
    IncarnationUnknown(NodeId),
    /// The change needs a learner, and this member votes.
    NotLearner(NodeId),
    /// The change needs a voter, and this member is none.
    NotVoter(NodeId),
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
            Self::NoCandidate => f.write_str("no voter of the configuration may lead"),
            Self::TooManyWitnesses => f.write_str("witnesses alone would be a quorum of the configuration"),
            Self::NotMember(node) => write!(f, "node {node} is not a member"),
            Self::AlreadyMember(node) => write!(f, "node {node} is a member already"),
            Self::IncarnationUnknown(node) => {
                write!(f, "the incarnation of the disk that node {node} has now is not known")
            }
            Self::NotLearner(node) => write!(f, "node {node} is not a learner"),
            Self::NotVoter(node) => write!(f, "node {node} is not a voter"),
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
    members.iter().filter(|member| member.votes()).map(|member| member.node)
}

fn check(members: &[Member]) -> Result<(), ConfigurationError> {
    if let Some(pair) = members.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(ConfigurationError::Repeated(pair[0].node));
    }
    if voters(members).next().is_none() {
        return Err(ConfigurationError::NoVoter);
    }
    let witnesses = members.iter().filter(|member| member.role == MemberRole::Witness).count();
    if witnesses > voters(members).count() / 2 {
        return Err(ConfigurationError::TooManyWitnesses);
    }
    if let Some(voter) = members.iter().find(|member| member.votes() && member.promotion.is_some()) {
        return Err(ConfigurationError::NotLearner(voter.node));
    }
    let fits = |length: usize| u16::try_from(length).is_ok();
    if !fits(members.len()) || !members.iter().all(|member| fits(member.context.len())) {
        return Err(ConfigurationError::TooLarge);
    }
    Ok(())
}

/// True if version 1 of the format can hold the member.
fn is_plain(member: &Member) -> bool {
    member.incarnation.is_none() && member.promotion.is_none()
}

fn encode_member(member: &Member, version: u8, out: &mut BytesMut) {
    out.put_u64_le(member.node.0);
    out.put_u8(role_code(member.role));
    out.put_u8(member.priority);
    if version >= VERSION {
        let replaces = member.promotion.and_then(|promotion| promotion.replaces);
        let flags = [
            (member.incarnation.is_some(), HAS_INCARNATION),
            (member.promotion.is_some(), HAS_PROMOTION),
            (replaces.is_some(), HAS_REPLACED),
        ];
        out.put_u8(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
        if let Some(incarnation) = member.incarnation {
            out.put_u128_le(incarnation.0);
        }
        if let Some(node) = replaces {
            out.put_u64_le(node.0);
        }
    }
    out.put_u16_le(u16::try_from(member.context.len()).expect("a configuration of checked sizes"));
    out.put_slice(&member.context);
}

fn decode_members(version: u8, rest: &mut &[u8]) -> Result<Vec<Member>, ConfigurationError> {
    let count = rest.try_get_u16_le().map_err(malformed)?;
    (0..count).map(|_| decode_member(version, rest)).collect()
}

fn decode_member(version: u8, rest: &mut &[u8]) -> Result<Member, ConfigurationError> {
    let node = NodeId(rest.try_get_u64_le().map_err(malformed)?);
    let role = role_from_code(rest.try_get_u8().map_err(malformed)?).ok_or(ConfigurationError::Malformed)?;
    let priority = rest.try_get_u8().map_err(malformed)?;
    let flags = if version >= VERSION { rest.try_get_u8().map_err(malformed)? } else { 0 };
    let has = |flag: u8| flags & flag != 0;
    let is_known = flags & !(HAS_INCARNATION | HAS_PROMOTION | HAS_REPLACED) == 0;
    if !is_known || (has(HAS_REPLACED) && !has(HAS_PROMOTION)) {
        return Err(ConfigurationError::Malformed);
    }
    let mut incarnation = None;
    if has(HAS_INCARNATION) {
        incarnation = Some(Incarnation(rest.try_get_u128_le().map_err(malformed)?));
    }
    let mut promotion = has(HAS_PROMOTION).then(Promotion::default);
    if let Some(promotion) = promotion.as_mut().filter(|_| has(HAS_REPLACED)) {
        promotion.replaces = Some(NodeId(rest.try_get_u64_le().map_err(malformed)?));
    }
    let length = usize::from(rest.try_get_u16_le().map_err(malformed)?);
    let (context, behind) = rest.split_at_checked(length).ok_or(ConfigurationError::Malformed)?;
    *rest = behind;
    Ok(Member { node, role, priority, context: Bytes::copy_from_slice(context), incarnation, promotion })
}

fn malformed(_: bytes::TryGetError) -> ConfigurationError {
    ConfigurationError::Malformed
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

/// The format without incarnations and promotions.
const PLAIN_VERSION: u8 = 1;
const VERSION: u8 = 2;

const HAS_INCARNATION: u8 = 1;
const HAS_PROMOTION: u8 = 2;
/// The promotion names the member that leaves.
const HAS_REPLACED: u8 = 4;
