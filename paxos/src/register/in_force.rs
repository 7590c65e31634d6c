//! The roles that are in force in a group, and how they change.
//!
//! A change takes two steps, each of which has the number after the one before, its *epoch*. While the change is under
//! way the roles are joint: a ballot needs quorums of the old acceptors and of the new ones. Neighbouring epochs may
//! therefore be at work at the same time. Those that are not neighbours may not, and do not: see [`super::changer`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{NodeId, StateError};
use serde::{Deserialize, Serialize};

use super::codec::{describe, of_description};
use super::{Roles, RolesRefusal};

/// Names the roles under which a message was sent: nodes answer only messages of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct System {
    /// The checksum of the roles with which the group was founded: see [`Config::system`](super::Config::system).
    pub founding: u32,
    /// Number of the roles in force.
    pub epoch: u64,
}

/// The roles of a group at some time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RolesInForce {
    epoch: u64,
    roles: Roles,
    /// The roles before, while the change is under way.
    outgoing: Option<Roles>,
    /// The epoch in which each acceptor became one, unless the group was founded with it. What an acceptor promised and
    /// accepted before counts for nothing.
    since: BTreeMap<NodeId, u64>,
    /// How nodes that were added are reached.
    contexts: BTreeMap<NodeId, Bytes>,
    /// No acceptor had removed a register that was deleted in a higher round, when these roles came into force.
    removed: u64,
}

impl RolesInForce {
    /// The roles with which a group is founded.
    pub(crate) fn founding(roles: Roles) -> Self {
        let (since, contexts) = (BTreeMap::new(), BTreeMap::new());
        Self { epoch: 0, roles, outgoing: None, since, contexts, removed: 0 }
    }

    /// Number of changes so far; a change counts twice, when it begins and when it ends.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The roles; those to come while a change is under way.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The roles that end with the change under way; `None` if there is none.
    pub fn outgoing(&self) -> Option<&Roles> {
        self.outgoing.as_ref()
    }

    /// True while a change is under way.
    pub fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }

    /// How a node is reached that was added with this context.
    pub fn context(&self, node: NodeId) -> Option<&Bytes> {
        self.contexts.get(&node)
    }

    /// All nodes that were added with a context.
    pub fn contexts(&self) -> impl Iterator<Item = (NodeId, &Bytes)> {
        self.contexts.iter().map(|(node, context)| (*node, context))
    }

    /// The epoch in which a node became an acceptor.
    pub(crate) fn since(&self, node: NodeId) -> u64 {
        self.since.get(&node).copied().unwrap_or_default()
    }

    pub(crate) fn removed(&self) -> u64 {
        self.removed
    }

    fn both(&self) -> impl Iterator<Item = &Roles> {
        [&self.roles].into_iter().chain(&self.outgoing)
    }

    /// True if a node is an acceptor.
    pub fn is_acceptor(&self, node: NodeId) -> bool {
        self.both().any(|roles| roles.is_acceptor(node))
    }

    /// True if a node is a proposer.
    pub fn is_proposer(&self, node: NodeId) -> bool {
        self.both().any(|roles| roles.proposers().contains(&node))
    }

    /// True if a node has any role.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_acceptor(node) || self.is_proposer(node)
    }

    /// The acceptors.
    pub fn acceptors(&self) -> BTreeSet<NodeId> {
        self.both().flat_map(|roles| roles.quorums().acceptors()).copied().collect()
    }

    /// The proposers.
    pub fn proposers(&self) -> BTreeSet<NodeId> {
        self.both().flat_map(Roles::proposers).copied().collect()
    }

    /// Every node with a role.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.both().flat_map(Roles::members).collect()
    }

    /// True if the promises of all acceptors for which `has` is true suffice to propose a content.
    pub fn is_prepare_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.both().all(|roles| roles.quorums().is_prepare_quorum(&has))
    }

    /// True if a content is chosen once all acceptors for which `has` is true have accepted it in one ballot.
    pub fn is_accept_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.both().all(|roles| roles.quorums().is_accept_quorum(&has))
    }

    /// True if nothing can have been chosen when acceptors were asked, of which `answered` is true for those that have
    /// answered and `empty` for those of them that had accepted nothing: they are missing in every quorum that could
    /// have accepted.
    ///
    /// While a change is under way these must be old acceptors. The new ones know nothing of what the old ones chose
    /// alone; but enough of them must have answered to show that the change has not ended.
    pub(crate) fn is_nothing_chosen(&self, answered: impl Fn(NodeId) -> bool, empty: impl Fn(NodeId) -> bool) -> bool {
        let of = self.outgoing.as_ref().unwrap_or(&self.roles);
        let is_current = self.outgoing.is_none() || self.roles.quorums().is_prepare_quorum(answered);
        is_current && !of.quorums().is_accept_quorum(|node| !empty(node))
    }

    /// True if the old acceptors for which `has` is true are enough: without them the others can choose nothing under
    /// the old roles, and they know everything that was chosen under them.
    pub(crate) fn is_sealed_by(&self, has: impl Fn(NodeId) -> bool) -> bool {
        let sealed = |old: &Roles| old.quorums().is_prepare_quorum(&has) && old.quorums().is_accept_quorum(&has);
        self.outgoing.as_ref().is_some_and(sealed)
    }

    /// The joint roles with which a change to `roles` begins. `contexts` has those of nodes that are added.
    ///
    /// # Errors
    /// When a change is under way, or there would be no proposer or too many.
    pub(crate) fn begin(&self, roles: Roles, contexts: &BTreeMap<NodeId, Bytes>) -> Result<Self, RolesRefusal> {
        if self.is_joint() {
            return Err(RolesRefusal::UnderWay);
        }
        if !(1..=super::PROPOSERS_MAX).contains(&roles.proposers().len()) {
            return Err(RolesRefusal::Proposers);
        }
        if contexts.values().any(|context| u8::try_from(context.len()).is_err()) {
            return Err(RolesRefusal::TooLarge);
        }
        let epoch = self.epoch + 1;
        let mut since = self.since.clone();
        since.extend(
            roles.quorums().acceptors().difference(self.roles.quorums().acceptors()).map(|node| (*node, epoch)),
        );
        let mut known = self.contexts.clone();
        known.extend(contexts.iter().map(|(node, context)| (*node, context.clone())));
        let outgoing = Some(self.roles.clone());
        let joint = Self { epoch, roles, outgoing, since, contexts: known, removed: self.removed };
        Ok(joint.without_strangers())
    }

    /// The roles with which the change under way ends. `removed` is the highest round that an old acceptor told.
    pub(crate) fn ended(&self, removed: u64) -> Self {
        let ended = Self { epoch: self.epoch + 1, outgoing: None, removed: self.removed.max(removed), ..self.clone() };
        ended.without_strangers()
    }

    fn without_strangers(mut self) -> Self {
        let (acceptors, members) = (self.acceptors(), self.members());
        self.since.retain(|node, _| acceptors.contains(node));
        self.contexts.retain(|node, _| members.contains(node));
        self
    }

    /// The bytes of these roles, in the register of the roles, in messages and in state records.
    ///
    /// ```text
    ///  0         1         9            17           18
    /// +---------+---------+------------+------------+----------------------------------+
    /// | version | epoch(8)| removed (8)| is joint(1)| (length (2) and) roles, each     |
    /// +---------+---------+------------+------------+----------------------------------+
    /// | count (1) | since: node (8) epoch (8)... | count (1) | node (8) length (1) context... |
    /// +-----------+------------------------------+-----------+--------------------------------+
    /// ```
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u64_le(self.epoch);
        out.put_u64_le(self.removed);
        out.put_u8(self.is_joint().into());
        for roles in self.both() {
            let described = describe(roles);
            out.put_u16_le(u16::try_from(described.len()).expect("roles are bounded"));
            out.put_slice(&described);
        }
        out.put_u8(u8::try_from(self.since.len()).expect("acceptors are bounded"));
        for (node, epoch) in &self.since {
            out.put_u64_le(node.0);
            out.put_u64_le(*epoch);
        }
        out.put_u8(u8::try_from(self.contexts.len()).expect("members are bounded"));
        for (node, context) in &self.contexts {
            out.put_u64_le(node.0);
            out.put_u8(u8::try_from(context.len()).expect("contexts are bounded"));
            out.put_slice(context);
        }
        out.freeze()
    }

    /// Reads roles from all of `bytes`.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, StateError> {
        let mut rest = bytes.clone();
        match rest.try_get_u8() {
            Ok(VERSION) => {}
            Ok(version) => return Err(StateError::Version(version)),
            Err(_) => return Err(StateError::Malformed),
        }
        let read = get(&mut rest).filter(|_| rest.is_empty()).ok_or(StateError::Malformed)?;
        if read.encode() == *bytes { Ok(read) } else { Err(StateError::Malformed) }
    }
}

fn get(rest: &mut Bytes) -> Option<RolesInForce> {
    let (epoch, removed) = (rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
    let is_joint = match rest.try_get_u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let roles = get_roles(rest)?;
    let outgoing = if is_joint { Some(get_roles(rest)?) } else { None };
    let mut since = BTreeMap::new();
    for _ in 0..rest.try_get_u8().ok()? {
        since.insert(NodeId(rest.try_get_u64_le().ok()?), rest.try_get_u64_le().ok()?);
    }
    let mut contexts = BTreeMap::new();
    for _ in 0..rest.try_get_u8().ok()? {
        let (node, length) = (NodeId(rest.try_get_u64_le().ok()?), usize::from(rest.try_get_u8().ok()?));
        contexts.insert(node, split(rest, length)?);
    }
    let read = RolesInForce { epoch, roles, outgoing, since, contexts, removed };
    (!read.roles.proposers().is_empty()).then_some(read)
}

fn get_roles(rest: &mut Bytes) -> Option<Roles> {
    let length = usize::from(rest.try_get_u16_le().ok()?);
    of_description(split(rest, length)?).ok()
}

fn split(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

/// Largest size of encoded roles: they fit the state record, beside the roles with which the group was founded.
pub(crate) const ROLES_BYTES_MAX: usize = quorate_protocol::STATE_BYTES_MAX;

const VERSION: u8 = 1;
