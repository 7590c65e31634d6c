//! What can go wrong, one small type an operation.

use alloc::boxed::Box;
use core::fmt;

/// Why a number is not a weight. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightError {
    /// The weight is not a number.
    NotANumber,
    /// The weight is zero or negative: leave the node out instead.
    NotPositive,
    /// The weight rounds to zero in steps of 1/65536.
    TooSmall,
    /// The weight is above [`Weight::MAX`](crate::Weight::MAX).
    TooLarge,
}

/// Why a set of nodes cannot be placed on. The caller's set is at fault; an existing placement is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no node at all.
    NoNodes,
    /// A node has an empty name.
    EmptyName,
    /// Two nodes have this name.
    DuplicateNode(Box<str>),
    /// There are more nodes than the algorithm can number.
    TooManyNodes {
        /// How many nodes were given.
        nodes: usize,
        /// How many the algorithm takes.
        max: usize,
    },
    /// The algorithm gives every node the same share, and the weights differ.
    UnequalWeights,
    /// The weight of this node is less than half a virtual node (or a whole table entry): it would own nothing, or too much.
    ShareTooSmall(Box<str>),
    /// Weights and virtual nodes ask for more tokens (or table entries) than the algorithm holds.
    TooManyTokens {
        /// How many tokens were asked for.
        tokens: u64,
        /// How many the algorithm holds.
        max: u64,
    },
    /// A size that must be a prime number is none, or does not fit the nodes.
    BadTableSize(u32),
    /// The weight of this node is not a whole number, and the compatible implementation knows no others.
    FractionalWeight(Box<str>),
    /// The names of these two nodes have the same 64-bit hash: one of them would own nothing.
    HashCollision(Box<str>, Box<str>),
    /// The names of these two nodes mean one server to the compatible implementation: one of them would own nothing.
    SameServer(Box<str>, Box<str>),
    /// The numbers of the nodes have gaps, since a node was removed, and the algorithm places by the numbers: see
    /// [`Nodes::renumbered`](crate::Nodes::renumbered).
    NumbersWithGaps,
    /// The ring sizes are none that Envoy accepts: the minimum is above the maximum, or one is above 8388608.
    BadRingSize {
        /// The least number of tokens wanted.
        minimum: u64,
        /// The greatest number of tokens wanted.
        maximum: u64,
    },
    /// The list of removed numbers and the nodes contradict each other.
    BadRemovals,
    /// No node has this name.
    UnknownNode(Box<str>),
}

/// Why a node was not removed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// No node has this name.
    UnknownNode(Box<str>),
    /// It is the last node, and a key without an owner does not exist.
    LastNode,
    /// The algorithm can only remove the node that was added last, which is this one.
    NotTheLastAdded(Box<str>),
}

/// Why there is no replica set as wanted. A set is never filled up with repeated nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaError {
    /// More replicas than nodes were wanted.
    TooFewNodes {
        /// How many replicas were wanted.
        wanted: usize,
        /// How many nodes there are.
        nodes: usize,
    },
    /// More replicas than [`REPLICAS_MAX`](crate::REPLICAS_MAX) were wanted at once.
    TooManyReplicas {
        /// How many replicas were wanted.
        wanted: usize,
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
        Self::UnequalWeights => f.write_str("the algorithm knows no weights, and those given differ"),
        Self::ShareTooSmall(name) => write!(f, "the weight of node {name:?} is too small a share for this table size"),
        Self::TooManyTokens { tokens, max } => write!(f, "{tokens} tokens, at most {max} are possible"),
        Self::BadTableSize(size) => write!(f, "table size {size} is not a prime that fits the nodes"),
        Self::FractionalWeight(name) => write!(f, "the weight of node {name:?} is not a whole number"),
        Self::HashCollision(one, other) => write!(f, "nodes {one:?} and {other:?} have the same hash"),
        Self::SameServer(one, other) => write!(f, "nodes {one:?} and {other:?} mean the same server"),
        Self::NumbersWithGaps => f.write_str("the nodes' numbers have gaps: number the nodes anew"),
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
        Self::TooManyReplicas { wanted } => {
            write!(f, "{wanted} replicas wanted, at most {} are given at once", crate::REPLICAS_MAX)
        }
    }
);
