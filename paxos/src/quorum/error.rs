//! Reasons why a quorum system cannot be used.

use std::collections::BTreeSet;
use std::fmt;

use quorate_protocol::NodeId;

use super::{ACCEPTORS_MAX, RULE_DEPTH_MAX, RULE_TERMS_MAX};

/// Reason why a quorum system cannot be used, or lacks a property. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumError {
    /// A rule names no node.
    Empty,
    /// One list names a node twice.
    Repeated(NodeId),
    /// There are more than [`ACCEPTORS_MAX`] acceptors.
    TooMany,
    /// A rule needs nothing, or more than there is.
    Size,
    /// An item weighs nothing.
    Weight,
    /// The rows of the grid are not equally long.
    Ragged,
    /// Rules are nested more than [`RULE_DEPTH_MAX`] deep.
    TooDeep,
    /// The rules of both phases have more than [`RULE_TERMS_MAX`] terms.
    TooLong,
    /// The answer was not found within a bounded effort, because quorums can be combined in too many ways. It says
    /// nothing about whether they intersect.
    TooComplex,
    /// Two quorums of the two phases have no node in common: two values could be chosen.
    NotIntersecting {
        /// A quorum of the first phase.
        prepare: BTreeSet<NodeId>,
        /// A quorum of the second phase.
        accept: BTreeSet<NodeId>,
    },
    /// Two quorums of the first phase have no node in common.
    NotPairwise {
        /// One of them.
        one: BTreeSet<NodeId>,
        /// The other.
        other: BTreeSet<NodeId>,
    },
    /// A proposer of the new system may miss what the old one chose.
    NewMissesOld {
        /// A quorum of the new system's first phase.
        prepare: BTreeSet<NodeId>,
        /// A quorum of the old system's second phase.
        accept: BTreeSet<NodeId>,
    },
    /// A proposer of the old system may miss what the new one chose.
    OldMissesNew {
        /// A quorum of the old system's first phase.
        prepare: BTreeSet<NodeId>,
        /// A quorum of the new system's second phase.
        accept: BTreeSet<NodeId>,
    },
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a rule names no node"),
            Self::Repeated(node) => write!(f, "node {node} is named twice in one list"),
            Self::TooMany => write!(f, "more than {ACCEPTORS_MAX} acceptors"),
            Self::Size => f.write_str("a rule needs nothing, or more than there is"),
            Self::Weight => f.write_str("a weight of 0"),
            Self::Ragged => f.write_str("the rows of the grid are not equally long"),
            Self::TooDeep => write!(f, "rules nested more than {RULE_DEPTH_MAX} deep"),
            Self::TooLong => write!(f, "rules of more than {RULE_TERMS_MAX} terms"),
            Self::TooComplex => f.write_str("quorums can be combined in too many ways to check that they intersect"),
            Self::NotIntersecting { prepare, accept } => {
                let (prepare, accept) = (Nodes(prepare), Nodes(accept));
                write!(f, "quorum {prepare} of the first phase and {accept} of the second have no node in common")
            }
            Self::NotPairwise { one, other } => {
                write!(f, "quorums {} and {} of the first phase have no node in common", Nodes(one), Nodes(other))
            }
            Self::NewMissesOld { prepare, accept } => misses(f, ("new", prepare), ("old", accept)),
            Self::OldMissesNew { prepare, accept } => misses(f, ("old", prepare), ("new", accept)),
        }
    }
}

fn misses(
    f: &mut fmt::Formatter<'_>,
    (one, prepare): (&str, &BTreeSet<NodeId>),
    (other, accept): (&str, &BTreeSet<NodeId>),
) -> fmt::Result {
    let (prepare, accept) = (Nodes(prepare), Nodes(accept));
    write!(f, "quorum {prepare} of the {one} system's first phase and ")?;
    write!(f, "{accept} of the {other} system's second have no node in common")
}

struct Nodes<'a>(&'a BTreeSet<NodeId>);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if at == 0 { "[" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl std::error::Error for QuorumError {}
