//! Quorum systems: the sets of acceptors that are sufficient.

use std::collections::BTreeSet;
use std::fmt;

use quorate_protocol::NodeId;

/// The sets of acceptors that must promise before a value is proposed, and the sets that must accept before it is
/// chosen.
///
/// Paxos requires only that each quorum of the first kind intersects each quorum of the second (Howard, Malkhi,
/// Spiegelman, "Flexible Paxos: Quorum Intersection Revisited", OPODIS 2016). Every system has this property: the
/// constructors refuse all others.
///
/// ```
/// use quorate_paxos::{QuorumError, QuorumSystem};
/// use quorate_protocol::NodeId;
/// let nodes = [1, 2, 3, 4, 5].map(NodeId);
/// let writes_are_cheap = QuorumSystem::flexible(nodes, 4, 2)?;
/// assert!(writes_are_cheap.is_accept_quorum(|node| node <= NodeId(2)));
/// assert_eq!(QuorumSystem::flexible(nodes, 3, 2), Err(QuorumError::NotIntersecting));
/// # Ok::<(), QuorumError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuorumSystem {
    acceptors: BTreeSet<NodeId>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shape {
    /// These numbers of all acceptors.
    Sizes { prepare: usize, accept: usize },
    /// A whole row promises, a whole column accepts.
    Grid { rows: Vec<Vec<NodeId>> },
}

impl QuorumSystem {
    /// More than half of the acceptors, in both phases.
    ///
    /// # Errors
    /// When there are no acceptors or too many, or one is named twice.
    pub fn majority(acceptors: impl IntoIterator<Item = NodeId>) -> Result<Self, QuorumError> {
        let acceptors = distinct(acceptors)?;
        let size = acceptors.len() / 2 + 1;
        Ok(Self { acceptors, shape: Shape::Sizes { prepare: size, accept: size } })
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
        let sizes = 1..=acceptors.len();
        if !sizes.contains(&prepare) || !sizes.contains(&accept) {
            return Err(QuorumError::Size);
        }
        if prepare + accept <= acceptors.len() {
            return Err(QuorumError::NotIntersecting);
        }
        Ok(Self { acceptors, shape: Shape::Sizes { prepare, accept } })
    }

    /// A grid: any whole row in the first phase, any whole column in the second. Every row intersects every column.
    ///
    /// # Errors
    /// When the rows are not equally long, or the acceptors cannot be used.
    pub fn grid(rows: Vec<Vec<NodeId>>) -> Result<Self, QuorumError> {
        let acceptors = distinct(rows.iter().flatten().copied())?;
        if rows.iter().any(|row| row.len() != rows[0].len()) {
            return Err(QuorumError::Ragged);
        }
        Ok(Self { acceptors, shape: Shape::Grid { rows } })
    }

    /// The acceptors.
    pub fn acceptors(&self) -> &BTreeSet<NodeId> {
        &self.acceptors
    }

    /// True if the promises of all acceptors for which `has` is true suffice to propose a value.
    pub fn is_prepare_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        match &self.shape {
            Shape::Sizes { prepare, .. } => self.count(has) >= *prepare,
            Shape::Grid { rows } => rows.iter().any(|row| row.iter().all(|node| has(*node))),
        }
    }

    /// True if a value is chosen once all acceptors for which `has` is true have accepted it in one ballot.
    pub fn is_accept_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        match &self.shape {
            Shape::Sizes { accept, .. } => self.count(has) >= *accept,
            Shape::Grid { rows } => (0..rows[0].len()).any(|column| rows.iter().all(|row| has(row[column]))),
        }
    }

    fn count(&self, has: impl Fn(NodeId) -> bool) -> usize {
        self.acceptors.iter().filter(|node| has(**node)).count()
    }

    /// Writes a description of the system. Equal systems have equal descriptions on every node and in every release.
    /// Nodes compare descriptions before they accept each other's messages.
    pub(crate) fn describe(&self, out: &mut Vec<u8>) {
        let mut put = |number: usize| out.extend_from_slice(&(number as u64).to_le_bytes());
        match &self.shape {
            Shape::Sizes { prepare, accept } => [0, self.acceptors.len(), *prepare, *accept].map(&mut put),
            Shape::Grid { rows } => [1, self.acceptors.len(), rows.len(), rows[0].len()].map(&mut put),
        };
        let ordered: Vec<NodeId> = match &self.shape {
            Shape::Sizes { .. } => self.acceptors.iter().copied().collect(),
            Shape::Grid { rows } => rows.iter().flatten().copied().collect(),
        };
        for node in ordered {
            out.extend_from_slice(&node.0.to_le_bytes());
        }
    }

    /// The system with this description, as [`describe`](Self::describe) wrote it; `None` if the bytes are not a
    /// description.
    pub(crate) fn of_description(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || bytes.len() > DESCRIPTION_BYTES_MAX {
            return None;
        }
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let [shape, count, one, two, ref nodes @ ..] = numbers[..] else { return None };
        let (one, two) = (usize::try_from(one).ok()?, usize::try_from(two).ok()?);
        let nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        if nodes.len() as u64 != count {
            return None;
        }
        let system = match shape {
            0 => Self::flexible(nodes, one, two).ok()?,
            1 if one.checked_mul(two) == Some(nodes.len()) && two > 0 => {
                Self::grid(nodes.chunks(two).map(<[NodeId]>::to_vec).collect()).ok()?
            }
            _ => return None,
        };
        // Each system has exactly one description.
        let mut again = Vec::new();
        system.describe(&mut again);
        (again == bytes).then_some(system)
    }
}

/// Largest length of a description in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 8 * (4 + ACCEPTORS_MAX);

/// Largest number of acceptors in a system: above it, replication costs more than it gains.
pub const ACCEPTORS_MAX: usize = 64;

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

/// Reason why a quorum system cannot be used. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumError {
    /// There is no acceptor.
    Empty,
    /// An acceptor is named twice.
    Repeated(NodeId),
    /// There are more than [`ACCEPTORS_MAX`] acceptors.
    TooMany,
    /// A quorum is empty, or larger than the number of acceptors.
    Size,
    /// A quorum of the first phase and one of the second need not intersect: two values could be chosen.
    NotIntersecting,
    /// The rows of the grid are not equally long.
    Ragged,
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no acceptor"),
            Self::Repeated(node) => write!(f, "acceptor {node} is named twice"),
            Self::TooMany => write!(f, "more than {ACCEPTORS_MAX} acceptors"),
            Self::Size => f.write_str("a quorum is empty, or larger than the number of acceptors"),
            Self::NotIntersecting => f.write_str("quorums of the two phases need not intersect"),
            Self::Ragged => f.write_str("the rows of the grid are not equally long"),
        }
    }
}

impl std::error::Error for QuorumError {}

#[cfg(test)]
mod tests;
