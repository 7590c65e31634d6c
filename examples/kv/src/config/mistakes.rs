//! What is wrong in a cluster file, and where.

use std::fmt;
use std::path::PathBuf;

use crate::address::AddressError;
use crate::shards::layout::SHARDS_MAX;

use super::{CLUSTER_NAME_BYTES_MAX, NODES_MAX, SNAPSHOT_ENTRIES_MIN};

/// All that is wrong in a cluster file that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in the order of the checks. At least one.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong in a cluster file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Its line, beginning at 1. `None` if it concerns the file as a whole.
    pub line: Option<usize>,
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The cluster has no name, or one that is too long.
    #[error("the name has 1 to {CLUSTER_NAME_BYTES_MAX} bytes")]
    Name,
    /// Snapshots would be made too often.
    #[error("at least {SNAPSHOT_ENTRIES_MIN}")]
    SnapshotEntries,
    /// It is no number of bytes.
    #[error("a number of bytes, or a text such as \"512mb\" or \"2gb\"")]
    Bytes,
    /// There are no shards, or too many.
    #[error("from 1 to {SHARDS_MAX}, not {0}")]
    Shards(u16),
    /// A store of several shards keeps the nodes with which it began.
    #[error("node {0} cannot join: a store of several shards keeps the nodes with which it began")]
    JoinsShards(u64),
    /// The first password is empty.
    #[error("not empty: without the key there is no password")]
    EmptyPassword,
    /// There are no nodes, or too many.
    #[error("a cluster has 1 to {NODES_MAX} nodes, not {0}")]
    NodeCount(usize),
    /// No node begins the cluster.
    #[error("every node has `join = true`: the nodes that begin the cluster have none")]
    NoFounder,
    /// An id is 0.
    #[error("node ids begin at 1")]
    ZeroId,
    /// Two nodes have the same id.
    #[error("node {0} stands there twice")]
    DuplicateId(u64),
    /// An address is invalid.
    #[error("{text:?} of node {node}: {error}")]
    Address {
        /// The node.
        node: u64,
        /// The text.
        text: String,
        /// The reason.
        error: AddressError,
    },
    /// Two listeners have the same address.
    #[error("{address} of node {node} is taken by another listener")]
    DuplicateAddress {
        /// The later of the nodes.
        node: u64,
        /// The address.
        address: String,
    },
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    /// A line for each mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some(line) = mistake.line {
                write!(f, "{line}:")?;
            }
            write!(f, " `{}`: {}", mistake.key, mistake.problem)?;
        }
        Ok(())
    }
}
