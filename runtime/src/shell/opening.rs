//! Opens a data directory and makes a node that can run. Every shell does this before its first connection.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use quorate_protocol::{ClusterId, Configuration, GroupId, Incarnation, NodeId, Now, SessionId};
use quorate_wal::disk::Disk;
use quorate_wal::{OpeningReport, StreamId, Wal, WriteError};

use crate::group::founding::Founding;
use crate::group::interface::Group;
use crate::group::notice::Notice;
use crate::group::start::{MakeGroup, ReopenGroup};
use crate::node::Node;
use crate::node::interface::NodeConfig;
use crate::node::roster::{NODE_STREAM, PendingStart};
use crate::shell::directory::{Directory, DirectoryError, SNAPSHOTS};
use crate::shell::error::ServerOpenError;
use crate::shell::site::Site;
use crate::shell::skip;
use crate::shell::snapshots::SnapshotStores;

/// Description of the node to open. The shell supplies the disk, the clock and the randomness.
pub struct Opening {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The id of the node.
    pub node: NodeId,
    /// The nodes that found a new group; a group that was founded before keeps its founding. The voters are always the
    /// node's peers, beside the present members of the groups. If this node is not one of them, it joins each new
    /// group: it learns everything from the leader once it is added.
    pub members: Configuration,
    /// Nodes that are peers as well and found no group: they may be added later, or were removed.
    pub joining: BTreeSet<NodeId>,
    /// Settings of the log.
    pub log: quorate_wal::LogSettings,
    /// Length of the longest frame in bytes.
    pub frame_bytes_max: usize,
    /// Bytes of the log's newest entries that a group starts with in memory.
    pub tail_bytes_max: usize,
    /// The groups that the node runs. Those that are new on this node are founded.
    pub groups: BTreeMap<GroupId, MakeGroup>,
    /// Makes the other groups that were founded on this node: those that were added while it ran.
    pub reopen: ReopenGroup,
}

/// A node that is recovered but whose start is not counted yet. Dropping it leaves the directory as it was found, or
/// new.
pub struct Unstarted<D: Disk> {
    site: Site,
    joining: BTreeSet<NodeId>,
    directory: Directory<D>,
    pending: PendingStart,
    groups: Vec<(GroupId, Box<dyn Group>)>,
    /// Groups that were founded and are not opened.
    closed: Vec<GroupId>,
    log: Wal<D>,
    snapshots: SnapshotStores<D>,
    report: OpeningReport,
}

/// A node that is open: its start counter is durable, and every group is recovered.
pub struct Opened<D: Disk> {
    /// The node, with its groups.
    pub node: Node,
    /// The log.
    pub log: Wal<D>,
    /// The snapshots.
    pub snapshots: SnapshotStores<D>,
    /// The data directory's lock.
    pub lock: D::Lock,
    /// The data that further groups start from.
    pub site: Site,
    /// Report of the log's recovery.
    pub report: OpeningReport,
}

impl Opening {
    /// Opens the data directory at the root of `disk`, or makes it, and recovers every group. Each call of `draw`
    /// returns 128 random bits, for the incarnation of a new directory and for the seeds of the groups.
    ///
    /// # Errors
    /// When the directory belongs to another node, is in use or damaged, a part of it is missing or older than the
    /// rest, the disk fails, a group was removed from this node, or a group cannot start from its recovered data.
    pub fn open<D: Disk>(
        self,
        disk: D,
        now: impl Fn() -> Now,
        draw: impl FnMut() -> io::Result<u128>,
    ) -> Result<Opened<D>, ServerOpenError> {
        self.read(disk, &now, draw)?.start(now())
    }

    /// The part of [`Opening::open`] that counts no start. A node that may fail to get something else that it needs,
    /// such as its port, gets it before [`Unstarted::start`].
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn read<D: Disk>(
        self,
        disk: D,
        now: impl Fn() -> Now,
        mut draw: impl FnMut() -> io::Result<u128>,
    ) -> Result<Unstarted<D>, ServerOpenError> {
        let mut directory = Directory::open(disk.clone(), self.cluster, self.node, || draw().map(Incarnation))?;
        let identity = directory.identity();
        let write_bytes_max = usize::try_from(self.log.batch_bytes_max).unwrap_or(usize::MAX);
        directory.check_snapshots()?;
        let open_log = if directory.is_new() { Wal::open } else { Wal::open_existing };
        let (log, report) = open_log(disk.clone(), self.log, identity)?;
        let mut pending = PendingStart::recover(identity, now().wall_ms, log.recover(NODE_STREAM, 0)?)?;
        directory.check_log(pending.start() - 1)?;
        let site = Site {
            identity,
            session: SessionId { incarnation: identity.incarnation, start: pending.start() },
            members: self.members,
            frame_bytes_max: self.frame_bytes_max,
            write_bytes_max,
            skipped: skip::file::read(directory.disk())?,
        };
        if let Some(removed) = self.groups.keys().find(|group| pending.is_removed(**group)) {
            return Err(ServerOpenError::RemovedGroup(*removed));
        }
        let snapshots = SnapshotStores::new(disk, Path::new(SNAPSHOTS), identity.cluster);
        let mut groups = Vec::new();
        let (making, closed) = all_groups(self.groups, self.reopen, &pending);
        for (group, make) in making {
            let stream = pending.bind(group);
            let members = pending.founding(group).map_or(&site.members, Founding::configuration).clone();
            let newest = snapshots.open(group).map_err(|error| ServerOpenError::Snapshot { group, error })?;
            let mut recovery = log.recover(stream, self.tail_bytes_max)?;
            recovery.snapshot = newest.map(|stored| stored.meta);
            let drawn = draw().map_err(ServerOpenError::Thread)?;
            let seed = u64::try_from(drawn >> 64).expect("the upper half of 128 bits");
            let made = make(site.start(now(), group, members, recovery, seed));
            let made = made.map_err(|error| ServerOpenError::Group { group, error })?;
            pending.found(group, Founding::new(made.channel(), site.members.clone()));
            groups.push((group, made));
        }
        Ok(Unstarted { site, joining: self.joining, directory, pending, groups, closed, log, snapshots, report })
    }
}

/// Returns the groups to open, and the founded groups that stay closed.
fn all_groups(
    mut groups: BTreeMap<GroupId, MakeGroup>,
    mut reopen: ReopenGroup,
    pending: &PendingStart,
) -> (BTreeMap<GroupId, MakeGroup>, Vec<GroupId>) {
    let mut closed = Vec::new();
    for group in pending.groups() {
        if groups.contains_key(&group) {
            continue;
        }
        match reopen(group) {
            Some(make) => drop(groups.insert(group, make)),
            None => closed.push(group),
        }
    }
    (groups, closed)
}

impl<D: Disk> Unstarted<D> {
    /// Makes the start durable and makes the node.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn start(self, now: Now) -> Result<Opened<D>, ServerOpenError> {
        let Self { site, joining, mut directory, pending, groups, closed, mut log, snapshots, report } = self;
        write_start(&mut log, &pending)?;
        directory.note_start(pending.start())?;
        let own = directory.identity().node;
        let peers = site.members.voters().chain(joining).filter(|node| *node != own);
        let removed: BTreeMap<GroupId, StreamId> = pending.removed().collect();
        let mut node = Node::new(now, NodeConfig::new(peers), pending.durable());
        for (group, made) in groups {
            node.add(now, group, made);
            node.note_description(group, &site.members);
        }
        if !closed.is_empty() {
            node.note(Notice::NotOpened { groups: closed });
        }
        let on_disk = snapshots.left_of(&removed.keys().copied().collect()).map_err(DirectoryError::Io)?;
        let in_log: BTreeSet<StreamId> = log.streams().into_iter().collect();
        for (group, stream) in removed {
            if on_disk.contains(&group) || in_log.contains(&stream) {
                node.delete_leftovers(group, stream);
            }
        }
        Ok(Opened { node, log, snapshots, lock: directory.into_lock(), site, report })
    }
}

/// Makes the start durable. Nothing has left the groups before that, because the node that could send it does not exist
/// yet.
fn write_start<D: Disk>(log: &mut Wal<D>, pending: &PendingStart) -> Result<(), ServerOpenError> {
    for operations in pending.operations() {
        let written = log.write(&[(NODE_STREAM, operations)]).map_err(WriteError::from)?;
        if let Some((_, refusal)) = written.refused.first() {
            return Err(WriteError::from(*refusal).into());
        }
    }
    log.sync().map_err(WriteError::from)?;
    Ok(())
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("groups", &self.groups.len())
            .finish_non_exhaustive()
    }
}

impl<D: Disk> fmt::Debug for Unstarted<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unstarted").field("directory", &self.directory.identity()).finish_non_exhaustive()
    }
}

impl<D: Disk> fmt::Debug for Opened<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("node", &self.node).field("report", &self.report).finish_non_exhaustive()
    }
}
