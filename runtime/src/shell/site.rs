//! What all groups of a node start with, whether the node starts with them or they are added later.

use quorate_protocol::{Configuration, GroupId, Identity, Now, Recovery, SessionId};

use crate::group::change::{GroupError, NewGroup};
use crate::group::start::{GroupStart, MakeGroup};
use crate::shell::skip::file::SkippedCommands;

/// The part of a [`GroupStart`] that all groups of a node share.
#[derive(Clone, Debug)]
pub struct Site {
    pub(crate) identity: Identity,
    pub(crate) session: SessionId,
    /// The nodes of the cluster, as described at this start.
    pub(crate) members: Configuration,
    pub(crate) frame_bytes_max: usize,
    pub(crate) write_bytes_max: usize,
    pub(crate) skipped: SkippedCommands,
}

impl Site {
    /// Returns the data that a group starts from.
    pub(crate) fn start(
        &self,
        now: Now,
        group: GroupId,
        members: Configuration,
        recovery: Recovery,
        seed: u64,
    ) -> GroupStart {
        let Self { identity, session, frame_bytes_max, write_bytes_max, .. } = *self;
        let skipped = self.skipped.get(&group).cloned().unwrap_or_default();
        GroupStart { now, group, identity, session, members, recovery, skipped, seed, frame_bytes_max, write_bytes_max }
    }

    /// Makes a group that has never run on this node. All nodes of the cluster are its first voters unless `members`
    /// says otherwise.
    ///
    /// # Errors
    /// When the group cannot be made.
    pub fn make(
        &self,
        now: Now,
        group: GroupId,
        members: Option<Configuration>,
        seed: u64,
        make: MakeGroup,
    ) -> Result<NewGroup, GroupError> {
        let members = members.unwrap_or_else(|| self.members.clone());
        let start = self.start(now, group, members.clone(), Recovery::default(), seed);
        let made = make(start).map_err(|error| GroupError::NotMade(error.to_string()))?;
        Ok(NewGroup { members, made })
    }
}
