//! Quorum systems: the sets of acceptors that are sufficient.

mod codec;
mod error;
mod meeting;
mod rule;
mod text;

use std::collections::BTreeSet;

use bytes::BytesMut;
use quorate_protocol::{NodeId, StateError};

pub(crate) use codec::SYSTEM_BYTES_MAX;
pub use error::QuorumError;
pub use rule::QuorumRule;
pub use text::QuorumTextError;

/// The sets of acceptors that must promise before a value is proposed, and the sets that must accept before it is
/// chosen.
///
/// Paxos requires only that each quorum of the first phase intersects each quorum of the second (Howard, Malkhi,
/// Spiegelman, "Flexible Paxos: Quorum Intersection Revisited", OPODIS 2016). Every system has this property: the
/// constructors refuse all others, and name two quorums that have no node in common.
///
/// A system is made by one of the constructors, from two rules, or from a text.
///
/// ```
/// use quorate_paxos::{QuorumError, QuorumSystem};
/// use quorate_protocol::NodeId;
/// let nodes = [1, 2, 3, 4, 5].map(NodeId);
/// let writes_are_cheap = QuorumSystem::flexible(nodes, 4, 2)?;
/// assert!(writes_are_cheap.is_accept_quorum(|node| node <= NodeId(2)));
/// let error = QuorumSystem::flexible(nodes, 3, 2).expect_err("they need not meet");
/// assert!(matches!(error, QuorumError::NotIntersecting { .. }));
///
/// let zones = "2 of [majority of [1, 2, 3], majority of [4, 5, 6], majority of [7, 8, 9]]";
/// let zones: QuorumSystem = zones.parse()?;
/// assert_eq!(zones.fault_tolerance()?.accept, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuorumSystem {
    acceptors: BTreeSet<NodeId>,
    prepare: QuorumRule,
    accept: QuorumRule,
}

/// Number of acceptors that may fail, whichever they are, without leaving no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultTolerance {
    /// In the first phase.
    pub prepare: usize,
    /// In the second phase.
    pub accept: usize,
}

impl QuorumSystem {
    /// A rule for each phase. The acceptors are the nodes that the rules name.
    ///
    /// # Errors
    /// When quorums of the two phases need not intersect, when a rule cannot be used or a bound is exceeded, and when
    /// it cannot be found out with a bounded effort whether the quorums intersect. The effort suffices for lists of
    /// quorums, and for rules that intersect and differ only in what they need; it may not for weights or nested lists
    /// that are not alike in both phases. A system that one release accepts every later one accepts.
    pub fn new(prepare: QuorumRule, accept: QuorumRule) -> Result<Self, QuorumError> {
        let (prepare, accept) = (prepare.weighing(1), accept.weighing(1));
        let mut terms = RULE_TERMS_MAX;
        prepare.check(RULE_DEPTH_MAX, &mut terms)?;
        if accept != prepare {
            accept.check(RULE_DEPTH_MAX, &mut terms)?;
        }
        let acceptors = prepare.nodes().union(&accept.nodes()).copied().collect::<BTreeSet<NodeId>>();
        if acceptors.len() > ACCEPTORS_MAX {
            return Err(QuorumError::TooMany);
        }
        match meeting::disjoint(&prepare, &accept)? {
            Some((prepare, accept)) => Err(QuorumError::NotIntersecting { prepare, accept }),
            None => Ok(Self { acceptors, prepare, accept }),
        }
    }

    /// One rule for both phases.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn symmetric(rule: QuorumRule) -> Result<Self, QuorumError> {
        Self::new(rule.clone(), rule)
    }

    /// More than half of the acceptors, in both phases.
    ///
    /// # Errors
    /// When there are no acceptors or too many, or one is named twice.
    pub fn majority(acceptors: impl IntoIterator<Item = NodeId>) -> Result<Self, QuorumError> {
        Self::symmetric(QuorumRule::majority_of(distinct(acceptors)?))
    }

    /// More than half of the weight of all acceptors, in both phases.
    ///
    /// # Errors
    /// When there are no acceptors or too many, one is named twice, or a weight is 0.
    pub fn weighted(acceptors: impl IntoIterator<Item = (NodeId, u16)>) -> Result<Self, QuorumError> {
        let acceptors = acceptors.into_iter().map(|(node, weight)| QuorumRule::from(node).weighing(weight));
        Self::symmetric(QuorumRule::majority_of(acceptors))
    }

    /// Any `prepare` acceptors in the first phase and any `accept` in the second.
    ///
    /// # Errors
    /// When two such sets need not intersect, when a size is zero or above the number of acceptors, or when the
    /// acceptors cannot be used.
    pub fn flexible(
        acceptors: impl IntoIterator<Item = NodeId>,
        prepare: usize,
        accept: usize,
    ) -> Result<Self, QuorumError> {
        let acceptors = distinct(acceptors)?;
        let rule = |needed: usize| {
            let needed = u32::try_from(needed).map_err(|_| QuorumError::Size)?;
            Ok(QuorumRule::at_least(needed, acceptors.iter().copied()))
        };
        Self::new(rule(prepare)?, rule(accept)?)
    }

    /// A grid: any whole row in the first phase, any whole column in the second. Every row intersects every column.
    ///
    /// # Errors
    /// When the rows are not equally long, or the acceptors cannot be used.
    pub fn grid(rows: Vec<Vec<NodeId>>) -> Result<Self, QuorumError> {
        distinct(rows.iter().flatten().copied())?;
        let width = rows[0].len();
        if rows.iter().any(|row| row.len() != width) {
            return Err(QuorumError::Ragged);
        }
        let columns = (0..width).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
        Self::explicit(rows, columns)
    }

    /// Majorities in `needed` of these zones, in both phases.
    ///
    /// # Errors
    /// When `needed` is not more than half of the zones, or the acceptors cannot be used.
    pub fn zones(needed: u32, zones: Vec<Vec<NodeId>>) -> Result<Self, QuorumError> {
        distinct(zones.iter().flatten().copied())?;
        Self::symmetric(QuorumRule::at_least(needed, zones.into_iter().map(QuorumRule::majority_of)))
    }

    /// These quorums.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn explicit(prepare: Vec<Vec<NodeId>>, accept: Vec<Vec<NodeId>>) -> Result<Self, QuorumError> {
        let any = |quorums: Vec<Vec<NodeId>>| QuorumRule::any_of(quorums.into_iter().map(QuorumRule::all_of));
        Self::new(any(prepare), any(accept))
    }

    /// The acceptors.
    pub fn acceptors(&self) -> &BTreeSet<NodeId> {
        &self.acceptors
    }

    /// The rule of the first phase.
    pub fn prepare_rule(&self) -> &QuorumRule {
        &self.prepare
    }

    /// The rule of the second phase.
    pub fn accept_rule(&self) -> &QuorumRule {
        &self.accept
    }

    /// True if the promises of all acceptors for which `has` is true suffice to propose a value.
    pub fn is_prepare_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.prepare.is_quorum(has)
    }

    /// True if a value is chosen once all acceptors for which `has` is true have accepted it in one ballot.
    pub fn is_accept_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.accept.is_quorum(has)
    }

    /// Number of acceptors that may fail, whichever they are, in each phase.
    ///
    /// # Errors
    /// [`TooComplex`](QuorumError::TooComplex).
    pub fn fault_tolerance(&self) -> Result<FaultTolerance, QuorumError> {
        Ok(FaultTolerance { prepare: tolerance(&self.prepare)?, accept: tolerance(&self.accept)? })
    }

    /// Checks that any two quorums of the first phase intersect. Then two nodes cannot both be elected at a time by
    /// promises that stand. Decisions and registers do not need this.
    ///
    /// # Errors
    /// [`NotPairwise`](QuorumError::NotPairwise) with two quorums that have no node in common, and
    /// [`TooComplex`](QuorumError::TooComplex).
    pub fn phase_one_pairwise_intersects(&self) -> Result<(), QuorumError> {
        match meeting::disjoint(&self.prepare, &self.prepare)? {
            Some((one, other)) => Err(QuorumError::NotPairwise { one, other }),
            None => Ok(()),
        }
    }

    /// Checks that a group may go over from this system to `new` without a system between: proposers of the new system
    /// learn what the old one chose, and those of the old one, which may still run, learn what the new one chose.
    ///
    /// # Errors
    /// [`NewMissesOld`](QuorumError::NewMissesOld) or [`OldMissesNew`](QuorumError::OldMissesNew) with two quorums that
    /// have no node in common, and [`TooComplex`](QuorumError::TooComplex).
    pub fn check_change_to(&self, new: &Self) -> Result<(), QuorumError> {
        if let Some((prepare, accept)) = meeting::disjoint(&new.prepare, &self.accept)? {
            return Err(QuorumError::NewMissesOld { prepare, accept });
        }
        match meeting::disjoint(&self.prepare, &new.accept)? {
            Some((prepare, accept)) => Err(QuorumError::OldMissesNew { prepare, accept }),
            None => Ok(()),
        }
    }

    /// Appends the system's bytes. Equal systems have equal bytes on every node and in every release.
    pub fn encode(&self, out: &mut BytesMut) {
        codec::encode(self, out);
    }

    /// Reads a system from all of `bytes`, as [`encode`](Self::encode) wrote them, and checks it like a new one.
    ///
    /// # Errors
    /// When the bytes are of another version, or are no bytes of a system.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        codec::decode(bytes)
    }
}

/// Number of nodes that may fail, whichever they are, without leaving no quorum.
fn tolerance(rule: &QuorumRule) -> Result<usize, QuorumError> {
    let nodes: Vec<NodeId> = rule.nodes().into_iter().collect();
    // Sets that meet every quorum leave none if they fail.
    let blocking = rule.dual();
    let survives = |failed: usize| {
        let running = u32::try_from(nodes.len() - failed).map_err(|_| QuorumError::TooMany)?;
        let others = QuorumRule::at_least(running, nodes.iter().copied());
        Ok(meeting::disjoint(&blocking, &others)?.is_none())
    };
    let (mut known, mut above) = (0, nodes.len());
    while known + 1 < above {
        let middle = known.midpoint(above);
        if survives(middle)? {
            known = middle;
        } else {
            above = middle;
        }
    }
    Ok(known)
}

/// Largest number of acceptors in a system: above it, replication costs more than it gains.
pub const ACCEPTORS_MAX: usize = 64;

/// Largest depth to which the lists of a rule are nested.
pub const RULE_DEPTH_MAX: usize = 8;

/// Largest number of terms of a system: the nodes and lists that its rules name, each as often as it is named. Rules
/// that are the same in both phases count once.
pub const RULE_TERMS_MAX: usize = 256;

fn distinct(nodes: impl IntoIterator<Item = NodeId>) -> Result<BTreeSet<NodeId>, QuorumError> {
    let mut acceptors = BTreeSet::new();
    for node in nodes {
        if !acceptors.insert(node) {
            return Err(QuorumError::Repeated(node));
        }
        if acceptors.len() > ACCEPTORS_MAX {
            return Err(QuorumError::TooMany);
        }
    }
    if acceptors.is_empty() { Err(QuorumError::Empty) } else { Ok(acceptors) }
}

#[cfg(test)]
mod tests;
