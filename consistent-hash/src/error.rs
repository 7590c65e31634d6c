//! Errors: one small type for each operation.

use alloc::boxed::Box;
use core::fmt;

/// Reason why a number is not a weight. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightError {
    /// The weight is not a number.
    NotANumber,
    /// The weight is zero or negative. Leave the node out instead.
    NotPositive,
    /// The weight rounds to zero in steps of 1/65536.
    TooSmall,
    /// The weight is above [`Weight::MAX`](crate::Weight::MAX).
    TooLarge,
}

/// Reason why nodes cannot be placed on. The caller's set is wrong; an existing placement is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// There are no nodes.
    NoNodes,
    /// A node has an empty name.
    EmptyName,
    /// Two nodes have this name.
    DuplicateNode(Box<str>),
    /// There are more nodes than the algorithm can number.
    TooManyNodes {
        /// Number of nodes that were given.
        nodes: usize,
        /// Number of nodes that the algorithm can have.
        max: usize,
    },
    /// The algorithm gives every node the same share, but the weights differ.
    UnequalWeights,
    /// The weight of this node is less than half a virtual node, or less than a whole table entry: it would own
    /// nothing, or too much.
    ShareTooSmall(Box<str>),
    /// Weights and virtual nodes need more tokens (or table entries) than the algorithm can have.
    TooManyTokens {
        /// Number of tokens needed.
        tokens: u64,
        /// Number of tokens that the algorithm can have.
        max: u64,
    },
    /// A size that must be prime is not, or does not fit the nodes.
    BadTableSize(u32),
    /// The weight of this node is not a whole number, but the other program has only such weights.
    FractionalWeight(Box<str>),
    /// The names of these two nodes have the same 64-bit hash, so that one of them would own nothing.
    HashCollision(Box<str>, Box<str>),
    /// The names of these two nodes mean one server to the other program, so that one of them would own nothing.
    SameServer(Box<str>, Box<str>),
    /// The numbers of the nodes have gaps, because a node was removed, but the algorithm places by the numbers: see
    /// [`Nodes::renumbered`](crate::Nodes::renumbered).
    NumbersWithGaps,
    /// The ring sizes are not accepted by Envoy or gRPC: the minimum is above the maximum, or Envoy is given one above
    /// 8388608.
    BadRingSize {
        /// Smallest number of tokens wanted.
        minimum: u64,
        /// Largest number of tokens wanted.
        maximum: u64,
    },
    /// The list of removed numbers and the nodes contradict each other.
    BadRemovals,
    /// No node has this name.
    UnknownNode(Box<str>),
}

/// Reason why a node was not removed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// No node has this name.
    UnknownNode(Box<str>),
    /// It is the last node. Without it, keys would have no owner.
    LastNode,
    /// The algorithm can remove only the node that was added last, which is this one.
    NotTheLastAdded(Box<str>),
}

/// Reason why there is no such replica set. A set is never filled up with repeated nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaError {
    /// More replicas are wanted than there are nodes.
    TooFewNodes {
        /// Number of replicas wanted.
        wanted: usize,
        /// Number of nodes.
        nodes: usize,
    },
    /// More replicas are wanted at once than [`REPLICAS_MAX`](crate::REPLICAS_MAX).
    TooManyReplicas {
        /// Number of replicas wanted.
        wanted: usize,
        /// Largest number.
        max: usize,
    },
}

macro_rules! display {
    ($type:ident, $self:ident, $f:ident, $body:expr) => {
        impl fmt::Display for $type {
            fn fmt(&$self, $f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $body
            }
        }

        impl core::error::Error for $type {}
    };
}
pub(crate) use display;

display!(
    WeightError,
    self,
    f,
    f.write_str(match self {
        Self::NotANumber => "weight is not a number",
        Self::NotPositive => "weight is not above zero",
        Self::TooSmall => "weight is below 1/131072",
        Self::TooLarge => "weight is above 4294967295",
    })
);

display!(
    BuildError,
    self,
    f,
    match self {
        Self::NoNodes => f.write_str("there are no nodes"),
        Self::EmptyName => f.write_str("a node has an empty name"),
        Self::DuplicateNode(name) => write!(f, "node {name:?} is given twice"),
        Self::TooManyNodes { nodes, max } => write!(f, "{nodes} nodes, at most {max} are possible"),
        Self::UnequalWeights => f.write_str("the algorithm has no weights, but those given differ"),
        Self::ShareTooSmall(name) => write!(f, "the weight of node {name:?} is too small a share for this table size"),
        Self::TooManyTokens { tokens, max } => write!(f, "{tokens} tokens, at most {max} are possible"),
        Self::BadTableSize(size) => write!(f, "table size {size} is not a prime that fits the nodes"),
        Self::FractionalWeight(name) => write!(f, "the weight of node {name:?} is not a whole number"),
        Self::HashCollision(one, other) => write!(f, "nodes {one:?} and {other:?} have the same hash"),
        Self::SameServer(one, other) => write!(f, "nodes {one:?} and {other:?} mean the same server"),
        Self::NumbersWithGaps => f.write_str("the nodes' numbers have gaps: renumber the nodes"),
        Self::BadRingSize { minimum, maximum } => write!(
            f,
            "a ring of at least {minimum} and at most {maximum} tokens is not possible: both are at most 8388608, in this order"
        ),
        Self::UnknownNode(name) => write!(f, "no node is named {name:?}"),
        Self::BadRemovals => f.write_str("removed numbers and nodes contradict each other"),
    }
);

display!(
    RemoveError,
    self,
    f,
    match self {
        Self::UnknownNode(name) => write!(f, "no node is named {name:?}"),
        Self::LastNode => f.write_str("the last node cannot be removed"),
        Self::NotTheLastAdded(name) => write!(f, "only the node added last, {name:?}, can be removed"),
    }
);

display!(
    ReplicaError,
    self,
    f,
    match self {
        Self::TooFewNodes { wanted, nodes } => write!(f, "{wanted} replicas wanted of {nodes} nodes"),
        Self::TooManyReplicas { wanted, max } => {
            write!(f, "{wanted} replicas wanted, at most {max} are given at once")
        }
    }
);
