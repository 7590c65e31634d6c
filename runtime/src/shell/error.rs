//! The errors that keep a node from being opened.

use std::io;

use quorate_protocol::{GroupId, NodeId, RecoverError};
use quorate_transport::PeerError;
use quorate_transport::tcp::BindError;
use quorate_wal::{OpenError as LogError, SnapshotError, WriteError};

use crate::group::start::BoxError;
use crate::shell::directory::DirectoryError;
use crate::shell::driver::start::StartError;

/// An invalid description of a node. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerConfigError {
    /// The cluster's name is empty.
    #[error("the cluster has no name")]
    NoCluster,
    /// A node was given twice.
    #[error("node {0} is given twice")]
    RepeatedNode(NodeId),
    /// A group was given twice.
    #[error("group {0} is given twice")]
    RepeatedGroup(GroupId),
    /// The node to open is not among the given nodes.
    #[error("node {0} is not a node of the cluster")]
    UnknownNode(NodeId),
    /// Every node joins, so that no node founds the groups.
    #[error("every node joins, and none founds the groups")]
    NoFounder,
    /// No group was given.
    #[error("the node has no group")]
    NoGroup,
    /// The content of one frame might not fit into one batch of the log.
    #[error("the longest frame is above the log's largest batch")]
    FrameAboveBatch,
}

/// Reason why a node cannot be opened. Its data directory is unchanged except as the errors of the parts state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerOpenError {
    /// The description is invalid.
    #[error("configuration: {0}")]
    Config(#[from] ServerConfigError),
    /// The data directory is in use, belongs to another node, or cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log is corrupt, belongs to another node, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The node's own stream cannot be read.
    #[error("the node's own stream: {0}")]
    Roster(#[from] RecoverError),
    /// The start could not be made durable.
    #[error("the start cannot be written to the log: {0}")]
    Write(#[from] WriteError),
    /// A group's newest snapshot is damaged, belongs to another group, or cannot be read.
    #[error("group {group}: {error}")]
    Snapshot {
        /// The group.
        group: GroupId,
        /// The reason.
        error: SnapshotError,
    },
    /// The program opens a group that was removed from this node for good. The data directory is unchanged.
    #[error("group {0} was removed from this node, and its id is never used again")]
    RemovedGroup(GroupId),
    /// A group cannot start from its recovered data.
    #[error("group {group}: {error}")]
    Group {
        /// The group.
        group: GroupId,
        /// The reason.
        error: BoxError,
    },
    /// The node cannot listen at its address. The start is not counted: the data directory is unchanged, or new and
    /// empty.
    #[error("cannot listen for peers at {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The settings of the transport contradict each other.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A peer's address is invalid.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The loop cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread cannot be started, or there is no source of randomness.
    #[error("the system refuses: {0}")]
    Thread(io::Error),
}
