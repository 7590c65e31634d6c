//! Marks a command that a node skips, while the node is stopped.
//!
//! A command on which every replica panics stops the group at the same entry on every node, at each start. If no
//! program can apply it, an operator can skip it, on every node. A node on which it is not marked stops at it again, so
//! no replica differs silently from the others.

use std::fmt;
use std::path::Path;

use quorate_protocol::{ClusterId, EntryKind, GroupId, LoadFailure, LoadRange, Loaded, LogIndex, NodeId, RecoverError};
use quorate_wal::disk::Disk;
use quorate_wal::{LogSettings, OpenError, SnapshotError, Wal};

use crate::group::start::SkippedCommand;
use crate::node::roster::{NODE_STREAM, PendingStart};
use crate::shell::directory::{Directory, DirectoryError, SNAPSHOTS};
use crate::shell::snapshots::SnapshotStores;

pub(crate) mod file;

/// A node that is stopped, and the command that it is to skip.
pub(crate) struct Skip {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) log: LogSettings,
    pub(crate) group: GroupId,
    pub(crate) index: LogIndex,
}

/// Reason why no command was marked. Nothing was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SkipError {
    /// The data directory is in use, belongs to another node, or cannot be read.
    Directory(DirectoryError),
    /// The log cannot be opened.
    Log(OpenError),
    /// The node's own stream cannot be read.
    Roster(RecoverError),
    /// The snapshots of the group cannot be read.
    Snapshot(SnapshotError),
    /// The node has no such group.
    NoGroup(GroupId),
    /// The state of the newest snapshot contains the effect of the entry: this node has applied it.
    Applied {
        /// The index that the snapshot covers.
        snapshot: LogIndex,
    },
    /// The log has no such entry, or it cannot be read.
    Entry(LoadFailure),
    /// The entry is none that a state machine applies.
    NoCommand(EntryKind),
}

impl Skip {
    /// Marks the command: from its next start on, the node skips it.
    ///
    /// # Errors
    /// When the node runs, the entry is no command, or this node has certainly applied it.
    pub(crate) fn mark<D: Disk>(self, disk: &D) -> Result<SkippedCommand, SkipError> {
        let Self { cluster, node, log, group, index } = self;
        let no_node = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let directory = Directory::open(disk.clone(), cluster, node, no_node).map_err(SkipError::Directory)?;
        let (log, _) = Wal::open_existing(disk.clone(), log, directory.identity()).map_err(SkipError::Log)?;
        let own = log.recover(NODE_STREAM, 0).map_err(SkipError::Roster)?;
        let roster = PendingStart::recover(directory.identity(), 0, own).map_err(SkipError::Roster)?;
        let stream = roster.stream(group).ok_or(SkipError::NoGroup(group))?;
        let stores = SnapshotStores::new(disk.clone(), Path::new(SNAPSHOTS), cluster);
        let snapshot = stores.open(group).map_err(SkipError::Snapshot)?.map(|stored| stored.meta.index);
        if let Some(snapshot) = snapshot.filter(|snapshot| *snapshot >= index) {
            return Err(SkipError::Applied { snapshot });
        }
        let range = LoadRange::Entries { range: index..index.next(), bytes_max: usize::MAX };
        let loaded = log.reader().load(stream, &range).map_err(SkipError::Entry)?;
        let first = match loaded {
            Loaded::Entries(entries) => entries.into_iter().next(),
            Loaded::Keys(_) => None,
        };
        let (_, term, entry) = first.ok_or(SkipError::Entry(LoadFailure::Compacted))?;
        if entry.header.kind != EntryKind::Command {
            return Err(SkipError::NoCommand(entry.header.kind));
        }
        let command = SkippedCommand { index, term, checksum: entry.header.checksum };
        let mut skipped = file::read(disk).map_err(SkipError::Directory)?;
        let of_group = skipped.entry(group).or_default();
        if !of_group.contains(&command) {
            of_group.push(command);
            file::write(disk, &skipped).map_err(|error| SkipError::Directory(DirectoryError::Io(error)))?;
        }
        Ok(command)
    }
}

impl fmt::Display for SkipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::Roster(error) => write!(f, "the node's own stream: {error}"),
            Self::Snapshot(error) => error.fmt(f),
            Self::NoGroup(group) => write!(f, "the node has no group {group}"),
            Self::Applied { snapshot } => {
                write!(f, "this node has applied it: its newest snapshot covers everything up to index {snapshot}")
            }
            Self::Entry(LoadFailure::Compacted) => f.write_str("the log has no such entry"),
            Self::Entry(failure) => write!(f, "the entry cannot be read: {failure:?}"),
            Self::NoCommand(kind) => write!(f, "the entry is no command, but of the kind {kind:?}"),
        }
    }
}

impl std::error::Error for SkipError {}
