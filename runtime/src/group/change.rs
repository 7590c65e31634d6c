//! Groups that are added to a running node, or removed from it.

use std::fmt;

use quorate_protocol::Configuration;

use crate::group::interface::Group;

/// A new group for a running node. It has never run on this node, so it starts from nothing.
pub struct NewGroup {
    /// The members that it is founded with, equal on all its nodes.
    pub members: Configuration,
    /// The group itself.
    pub made: Box<dyn Group>,
}

impl fmt::Debug for NewGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewGroup").field("members", &self.members).finish_non_exhaustive()
    }
}

/// Reason why a group was not added to a node, or not removed from it. Nothing was changed unless the variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The node has the group already, or it is being added.
    #[error("the node has the group already")]
    Exists,
    /// The group was founded on this node before, and the node was started without it. A founded group is opened when
    /// the node starts, with the data that it has.
    #[error("the group was founded on this node before: it is opened when the node starts")]
    NotOpened,
    /// The group was removed from this node. Its id is never used again there.
    #[error("the group was removed from this node, and its id is never used again")]
    Removed,
    /// The node has no such group.
    #[error("the node has no such group")]
    NoGroup,
    /// The group could not be made.
    #[error("the group cannot be made: {0}")]
    NotMade(String),
    /// The log accepts no more writes. A change that was requested before that may have become durable or not; the next
    /// start shows it.
    #[error("the log has failed")]
    LogFailed,
    /// The node is shutting down, or has stopped. A change that was requested before that may have become durable or
    /// not; the next start shows it.
    #[error("the node has stopped")]
    Stopped,
    /// Too many calls wait at the node.
    #[error("too many calls wait")]
    Overloaded,
}
