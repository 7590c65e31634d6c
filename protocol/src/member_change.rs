//! Changes of the members of a group.

use bytes::Bytes;

use crate::{Configuration, ConfigurationError, Member, MemberRole, NodeId, Promotion};

/// One change of the members of a group. Several of them are made together, in their order, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberChange {
    /// Adds a node. A member that is given as a voter becomes a learner first, and the leader makes it a voter once it
    /// has caught up. A learner stays one. A witness votes at once.
    Add(Member),
    /// Lets the leader make a learner a voter once it has caught up.
    Promote(NodeId),
    /// Makes a voter a learner.
    Demote(NodeId),
    /// Removes a node.
    Remove(NodeId),
    /// Adds the node `new`, or takes a learner, and removes `old` at the moment at which `new` has caught up and
    /// becomes a voter.
    ///
    /// With the id of `old`, `new` is another disk under that id, whose incarnation must be given: the member stops
    /// voting at once, and votes again once the new disk has caught up.
    Replace {
        /// The member that leaves.
        old: NodeId,
        /// The member that takes its place.
        new: Member,
    },
    /// Sets the priority or the context of a member.
    Update {
        /// The member.
        node: NodeId,
        /// Its new priority; `None` keeps the old one.
        priority: Option<u8>,
        /// Its new context; `None` keeps the old one.
        context: Option<Bytes>,
    },
}

impl Configuration {
    /// The configuration after these changes of [`Configuration::members`]. It is not joint.
    ///
    /// ```
    /// use quorate_protocol::{Configuration, Member, MemberChange, NodeId};
    /// let three = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
    /// let two = three.changed(&[MemberChange::Remove(NodeId(3))])?;
    /// assert_eq!(two, Configuration::of_voters([NodeId(1), NodeId(2)]));
    /// // A new voter is a learner until it has caught up.
    /// let four = three.changed(&[MemberChange::Add(Member::voter(NodeId(4)))])?;
    /// assert!(four.contains(NodeId(4)) && !four.is_voter(NodeId(4)));
    /// # Ok::<(), quorate_protocol::ConfigurationError>(())
    /// ```
    ///
    /// # Errors
    /// When a change does not fit the members, or no group can have the members that it leads to. The error names the
    /// node.
    pub fn changed(&self, changes: &[MemberChange]) -> Result<Self, ConfigurationError> {
        let mut members = self.members().to_vec();
        for change in changes {
            make(change, &mut members)?;
        }
        if !members.iter().any(Member::may_lead) && members.iter().any(Member::votes) {
            return Err(ConfigurationError::NoCandidate);
        }
        Self::new(members)
    }

    /// The configuration after each of these learners became a voter. The members that they replace leave.
    ///
    /// # Errors
    /// When no group can have these members.
    pub fn promoted(&self, learners: &[NodeId]) -> Result<Self, ConfigurationError> {
        let mut members = self.members().to_vec();
        let mut replaced = Vec::new();
        for member in members.iter_mut().filter(|member| learners.contains(&member.node)) {
            replaced.extend(member.promotion.take().and_then(|promotion| promotion.replaces));
            member.role = MemberRole::Voter;
        }
        members.retain(|member| !replaced.contains(&member.node));
        Self::new(members)
    }
}

fn make(change: &MemberChange, members: &mut Vec<Member>) -> Result<(), ConfigurationError> {
    match change {
        MemberChange::Add(member) => {
            if members.iter().any(|known| known.node == member.node) {
                return Err(ConfigurationError::AlreadyMember(member.node));
            }
            let mut member = member.clone();
            if member.role == MemberRole::Voter {
                wait_for_promotion(&mut member, None);
            }
            members.push(member);
        }
        MemberChange::Promote(node) => wait_for_promotion(learner(members, *node)?, None),
        MemberChange::Demote(node) => {
            let member = find(members, *node)?;
            if !member.votes() {
                return Err(ConfigurationError::NotVoter(*node));
            }
            member.role = MemberRole::Learner;
        }
        MemberChange::Remove(node) => {
            find(members, *node)?;
            members.retain(|member| member.node != *node);
        }
        MemberChange::Replace { old, new } => replace(members, *old, new)?,
        MemberChange::Update { node, priority, context } => {
            let member = find(members, *node)?;
            member.priority = priority.unwrap_or(member.priority);
            if let Some(context) = context {
                member.context = context.clone();
            }
        }
    }
    Ok(())
}

fn replace(members: &mut Vec<Member>, old: NodeId, new: &Member) -> Result<(), ConfigurationError> {
    let leaving = find(members, old)?;
    if new.node == old {
        if new.incarnation.is_none() {
            return Err(ConfigurationError::IncarnationUnknown(old));
        }
        if new.incarnation == leaving.incarnation {
            return Err(ConfigurationError::AlreadyMember(old));
        }
        let Member { priority, context, incarnation, .. } = new.clone();
        *leaving = Member { priority, context, incarnation, ..leaving.clone() };
        wait_for_promotion(leaving, None);
        return Ok(());
    }
    if members.iter().all(|member| member.node != new.node) {
        members.push(Member { role: MemberRole::Learner, ..new.clone() });
    }
    wait_for_promotion(learner(members, new.node)?, Some(old));
    Ok(())
}

fn wait_for_promotion(member: &mut Member, replaces: Option<NodeId>) {
    member.role = MemberRole::Learner;
    member.promotion = Some(Promotion { replaces });
}

fn find(members: &mut [Member], node: NodeId) -> Result<&mut Member, ConfigurationError> {
    members.iter_mut().find(|member| member.node == node).ok_or(ConfigurationError::NotMember(node))
}

fn learner(members: &mut [Member], node: NodeId) -> Result<&mut Member, ConfigurationError> {
    let member = find(members, node)?;
    if member.votes() { Err(ConfigurationError::NotLearner(node)) } else { Ok(member) }
}
