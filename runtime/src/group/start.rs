//! The start of a group: its data, and the function that makes the group from them.

use std::error::Error;

use quorate_protocol::{Configuration, GroupId, Identity, LogIndex, Now, Recovery, SessionId, Term};

use crate::group::interface::Group;

/// The data that a group starts from.
#[derive(Debug)]
pub struct GroupStart {
    /// The time.
    pub now: Now,
    /// The group.
    pub group: GroupId,
    /// The node that it starts on.
    pub identity: Identity,
    /// Name of the session for proposals of this start.
    pub session: SessionId,
    /// Configuration that the group was founded with. A new group is founded with all nodes of the builder but the
    /// joining ones as voters, and their addresses as context. A node that is not in it joins the group: it learns
    /// everything from the leader once it is added.
    pub members: Configuration,
    /// Content of the group's stream, and its newest snapshot.
    pub recovery: Recovery,
    /// Commands that an operator has marked: the node does not apply them.
    pub skipped: Vec<SkippedCommand>,
    /// Seed for random numbers. No other group, node or start has the same one.
    pub seed: u64,
    /// Length of the longest frame in bytes. Each message must fit into it.
    pub frame_bytes_max: usize,
    /// Maximum number of bytes in one write to the log.
    pub write_bytes_max: usize,
}

/// A command that the node does not apply ([`ServerBuilder::skip`](crate::ServerBuilder::skip)). It is named so that no
/// other one can be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedCommand {
    /// Index of its entry.
    pub index: LogIndex,
    /// Term of its entry.
    pub term: Term,
    /// CRC-32C of the command.
    pub checksum: u32,
}

/// Makes a group from the data that it starts from.
pub type MakeGroup = Box<dyn FnOnce(GroupStart) -> Result<Box<dyn Group>, BoxError> + Send>;

/// Makes the groups that were added to a node while it ran, when the node starts again. `None` leaves a group closed:
/// it does not run, and its data stay.
pub type ReopenGroup = Box<dyn FnMut(GroupId) -> Option<MakeGroup> + Send>;

/// The error that keeps a group from starting.
pub type BoxError = Box<dyn Error + Send + Sync>;
