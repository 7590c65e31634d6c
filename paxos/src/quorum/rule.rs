//! Rules that say which sets of nodes are quorums.

use std::collections::BTreeSet;

use quorate_protocol::NodeId;

use super::{QuorumError, RULE_TERMS_MAX};

/// Says which sets of nodes are quorums: a node alone, or enough items of a list, where an item is again a rule.
///
/// Each item weighs 1 unless it was given a weight, and a rule is satisfied once satisfied items weigh enough. So
/// `2 of [majority of [1, 2, 3], majority of [4, 5, 6], majority of [7, 8, 9]]` is: majorities in two of three zones.
///
/// ```
/// use quorate_paxos::QuorumRule;
/// use quorate_protocol::NodeId;
/// let zone = |first: u64| QuorumRule::majority_of((first..first + 3).map(NodeId));
/// let rule = QuorumRule::at_least(2, [zone(1), zone(4), zone(7)]);
/// assert!(rule.is_quorum(|node| [1, 2, 8, 9].contains(&node.0)));
/// assert!(!rule.is_quorum(|node| [1, 2, 3, 4, 7].contains(&node.0)));
/// assert_eq!(rule, rule.to_string().parse()?);
/// # Ok::<(), quorate_paxos::QuorumTextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuorumRule {
    /// The weight of the rule in the list that it stands in.
    pub(super) weight: u16,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shape {
    Node(NodeId),
    /// Satisfied items weigh `needed` or more. Items are sorted: rules that mean the same are equal.
    AtLeast {
        needed: u32,
        of: Vec<QuorumRule>,
    },
}

impl From<NodeId> for QuorumRule {
    fn from(node: NodeId) -> Self {
        Self { weight: 1, shape: Shape::Node(node) }
    }
}

impl QuorumRule {
    /// Items that together weigh `needed` or more.
    pub fn at_least(needed: u32, of: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::with(of, |_| needed)
    }

    /// Items that together weigh more than half of all.
    pub fn majority_of(of: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::with(of, |total| total / 2 + 1)
    }

    /// Every item.
    pub fn all_of(of: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::with(of, |total| total)
    }

    /// One item, whichever.
    pub fn any_of(of: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::with(of, |_| 1)
    }

    fn with(of: impl IntoIterator<Item = impl Into<Self>>, needed: impl FnOnce(u32) -> u32) -> Self {
        // A list that is longer is refused in any case.
        let mut of: Vec<Self> = of.into_iter().take(RULE_TERMS_MAX + 1).map(Into::into).collect();
        of.sort_unstable();
        Self { weight: 1, shape: Shape::AtLeast { needed: needed(total(&of)), of } }
    }

    /// The rule with another weight in the list that it is put in. Outside of a list it has no meaning.
    pub fn weighing(self, weight: u16) -> Self {
        Self { weight, ..self }
    }

    /// True if the nodes for which `has` is true are a quorum, or more.
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.is_satisfied(&has)
    }

    fn is_satisfied(&self, has: &impl Fn(NodeId) -> bool) -> bool {
        match &self.shape {
            Shape::Node(node) => has(*node),
            Shape::AtLeast { needed, of } => {
                let satisfied = of.iter().filter(|item| item.is_satisfied(has));
                let mut weights = satisfied.scan(0_u32, |sum, item| {
                    *sum = sum.saturating_add(item.weight.into());
                    Some(*sum)
                });
                *needed == 0 || weights.any(|sum| sum >= *needed)
            }
        }
    }

    /// The nodes that the rule names.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        self.add_nodes(&mut nodes);
        nodes
    }

    fn add_nodes(&self, nodes: &mut BTreeSet<NodeId>) {
        match &self.shape {
            Shape::Node(node) => {
                nodes.insert(*node);
            }
            Shape::AtLeast { of, .. } => of.iter().for_each(|item| item.add_nodes(nodes)),
        }
    }

    /// The rule whose quorums are the sets that meet every quorum of this one.
    pub(super) fn dual(&self) -> Self {
        let shape = match &self.shape {
            Shape::Node(node) => Shape::Node(*node),
            Shape::AtLeast { needed, of } => {
                let needed = total(of).saturating_add(1).saturating_sub(*needed);
                Shape::AtLeast { needed, of: of.iter().map(Self::dual).collect() }
            }
        };
        Self { weight: self.weight, shape }
    }

    /// Checks the rule, which may be nested `depth` deep and have `terms` terms. Takes its terms from `terms`.
    pub(super) fn check(&self, depth: usize, terms: &mut usize) -> Result<(), QuorumError> {
        *terms = terms.checked_sub(1).ok_or(QuorumError::TooLong)?;
        let Shape::AtLeast { needed, of } = &self.shape else { return Ok(()) };
        let depth = depth.checked_sub(1).ok_or(QuorumError::TooDeep)?;
        check_list(*needed, of)?;
        of.iter().try_for_each(|item| item.check(depth, terms))
    }
}

/// Checks one list without what its items contain.
pub(super) fn check_list(needed: u32, of: &[QuorumRule]) -> Result<(), QuorumError> {
    if of.is_empty() {
        return Err(QuorumError::Empty);
    }
    let mut named = BTreeSet::new();
    for item in of {
        if let Shape::Node(node) = item.shape
            && !named.insert(node)
        {
            return Err(QuorumError::Repeated(node));
        }
        if item.weight == 0 {
            return Err(QuorumError::Weight);
        }
    }
    if (1..=total(of)).contains(&needed) { Ok(()) } else { Err(QuorumError::Size) }
}

/// The weight of all items together.
pub(super) fn total(of: &[QuorumRule]) -> u32 {
    of.iter().fold(0, |sum, item| sum.saturating_add(item.weight.into()))
}
