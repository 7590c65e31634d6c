//! Changes of the members of a group by an operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate_protocol::Random;
use serde::{Deserialize, Serialize};

use super::draws::pick;
use super::{Schedule, What, Who};

/// A step of a change of the members of the first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum MemberStep {
    /// Adds a learner, which stays one.
    AddLearner {
        /// Id of the node.
        node: u64,
    },
    /// Adds a voter, which the leader lets vote once it has caught up.
    AddVoter {
        /// Id of the node.
        node: u64,
    },
    /// Lets a learner vote once it has caught up.
    Promote {
        /// Id of the node.
        node: u64,
    },
    /// Makes a voter a learner.
    Demote {
        /// Id of the node.
        node: u64,
    },
    /// Removes a member.
    Remove {
        /// The node.
        node: Who,
    },
    /// Replaces a member by another node, or by the new disk of the same one.
    Replace {
        /// Id of the member that leaves.
        old: u64,
        /// Id of the node that takes its place.
        new: u64,
    },
}

impl fmt::Display for MemberStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddLearner { node } => write!(f, "add n{node} as a learner"),
            Self::AddVoter { node } => write!(f, "add n{node} as a voter"),
            Self::Promote { node } => write!(f, "promote n{node}"),
            Self::Demote { node } => write!(f, "demote n{node}"),
            Self::Remove { node } => write!(f, "remove {node}"),
            Self::Replace { old, new } => write!(f, "replace n{old} by n{new}"),
        }
    }
}

/// The members as they are if each change of a schedule was made.
#[derive(Clone)]
pub(super) struct Roll {
    places: BTreeMap<u64, Place>,
    /// Nodes whose disks were wiped and that were not replaced since.
    wiped: BTreeSet<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Voter,
    Learner,
    Outside,
}

impl Roll {
    pub(super) fn of(schedule: &Schedule) -> Self {
        let founders = schedule.nodes - schedule.joining;
        let place = |node| (node, if node > founders { Place::Outside } else { Place::Voter });
        let mut roll = Self { places: (1..=schedule.nodes).map(place).collect(), wiped: BTreeSet::new() };
        for fault in &schedule.faults {
            match &fault.what {
                What::Wipe { node: Who::Node(node) } => _ = roll.wiped.insert(*node),
                What::ChangeMembers { steps } => steps.iter().for_each(|step| roll.make(*step)),
                _ => {}
            }
        }
        roll
    }

    /// A change that fits the members; `None` if the drawn kind fits none of them.
    pub(super) fn change(&self, random: &mut Random) -> Option<Vec<MemberStep>> {
        let step = match random.between(0, 12) {
            0 | 1 => MemberStep::AddVoter { node: self.any(random, &[Place::Outside])? },
            2 => MemberStep::AddLearner { node: self.any(random, &[Place::Outside])? },
            3 => MemberStep::Promote { node: self.any(random, &[Place::Learner])? },
            4 => MemberStep::Demote { node: self.spared(random)? },
            5 => MemberStep::Remove { node: Who::Node(self.spared(random)?) },
            6 => self.spared(random).map(|_| MemberStep::Remove { node: Who::LEADER })?,
            7 => MemberStep::Remove { node: Who::Node(self.any(random, &[Place::Learner])?) },
            8 | 9 => self.replace(random)?,
            10 => {
                let (first, mut left) = (self.replace(random)?, self.clone());
                left.make(first);
                return left.replace(random).map(|second| vec![first, second]);
            }
            _ => {
                let wiped: Vec<u64> = self.wiped.iter().copied().collect();
                let node = any(random, &wiped)?;
                MemberStep::Replace { old: node, new: node }
            }
        };
        Some(vec![step])
    }

    /// A change that replaces a wiped node, by its new disk or by another node.
    pub(super) fn replacement(&self, random: &mut Random, wiped: u64) -> Vec<MemberStep> {
        let other = self.any(random, IDLE).filter(|other| *other != wiped);
        let new = other.filter(|_| random.between(0, 3) == 0).unwrap_or(wiped);
        vec![MemberStep::Replace { old: wiped, new }]
    }

    fn replace(&self, random: &mut Random) -> Option<MemberStep> {
        Some(MemberStep::Replace { old: self.any(random, &[Place::Voter])?, new: self.any(random, IDLE)? })
    }

    /// A voter that the group can do without.
    fn spared(&self, random: &mut Random) -> Option<u64> {
        let voters = self.places.values().filter(|place| **place == Place::Voter).count();
        self.any(random, &[Place::Voter]).filter(|_| voters > VOTERS_MIN)
    }

    fn any(&self, random: &mut Random, places: &[Place]) -> Option<u64> {
        let fits: Vec<u64> =
            self.places.iter().filter(|(_, place)| places.contains(place)).map(|(node, _)| *node).collect();
        any(random, &fits)
    }

    fn make(&mut self, step: MemberStep) {
        let (node, place) = match step {
            MemberStep::AddLearner { node } | MemberStep::Demote { node } => (node, Place::Learner),
            MemberStep::AddVoter { node } | MemberStep::Promote { node } => (node, Place::Voter),
            MemberStep::Remove { node: Who::Node(node) } => (node, Place::Outside),
            // It is not known whom this removes.
            MemberStep::Remove { node: Who::Role(_) } => return,
            MemberStep::Replace { old, new } => {
                self.wiped.remove(&new);
                self.places.insert(old, Place::Outside);
                (new, Place::Voter)
            }
        };
        self.places.insert(node, place);
    }
}

fn any(random: &mut Random, of: &[u64]) -> Option<u64> {
    (!of.is_empty()).then(|| of[pick(random, of.len())])
}

/// Nodes that may take the place of a voter.
const IDLE: &[Place] = &[Place::Outside, Place::Learner];
/// Voters that a group keeps.
const VOTERS_MIN: usize = 2;
