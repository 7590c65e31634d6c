//! A node's data directory: its owner, its lock, and the check that its parts belong together.
//!
//! ```text
//! <data>/<node id>/lock       held while a process uses the directory
//! <data>/<node id>/identity   cluster, node, incarnation, and how many starts the log has counted
//! <data>/<node id>/log/       the log
//! <data>/<node id>/snapshots/ a folder for each group
//! <data>/<node id>/skipped    commands that an operator has marked; see `skip/file.rs`
//! ```
//!
//! `identity` identifies a disk to the peers, so it must not outlive the data that it vouches for. It counts starts as
//! the log does, one step later. A log that is missing or counts fewer starts is not the log that was left here, and an
//! `identity` that counts far fewer than the log is not the one that was left here. Both are refused. With no start
//! counted the directory was never used, and its parts are still being made.
//!
//! No file can show that *all* of the directory is an older copy, or both `identity` and the log, nor that the log is a
//! copy made during the same start. The peers may notice it.
//!
//! `identity` holds the same content twice, in two pages. Starts are written in place, to one page after the other.
//! Each page has 4096 bytes with zeros at the end, and all numbers are little-endian:
//!
//! ```text
//! magic "QUORATE\n" (8) | version (1) | cluster (16) | node (8) | incarnation (16) | starts (4) | CRC-32C (4)
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId, crc32c};
use quorate_wal::disk::{Disk, DiskFile};
use sha2::{Digest, Sha256};

/// Returns the id of the cluster with this name: the first half of SHA-256 over `quorate-cluster` and the name.
///
/// ```
/// use quorate_runtime::shell::cluster_id;
/// assert_ne!(cluster_id("orders"), cluster_id("invoices"));
/// ```
pub fn cluster_id(name: &str) -> ClusterId {
    let digest = Sha256::new().chain_update(CLUSTER_DOMAIN).chain_update(name).finalize();
    let (half, _) = digest.split_first_chunk::<16>().expect("a digest of 32 bytes");
    ClusterId(u128::from_be_bytes(*half))
}

/// Draws a new incarnation from the system's source of randomness.
///
/// # Errors
/// When there is no such source.
pub(crate) fn draw_incarnation() -> io::Result<Incarnation> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Incarnation(u128::from_le_bytes(bytes)))
}

/// A node's data directory, locked.
pub struct Directory<D: Disk> {
    disk: D,
    file: D::File,
    identity: Identity,
    /// Number of starts that `identity` counts.
    starts: u32,
    lock: D::Lock,
}

impl<D: Disk> Directory<D> {
    /// Locks the directory at the root of `disk` and reads its identity. A new directory, which must be empty, is made
    /// with the incarnation that `draw` returns. Before the node sends anything, [`Directory::check_log`] and
    /// `note_start` must be called.
    ///
    /// # Errors
    /// When another process uses it, it belongs to another node or cluster, it holds files but no `identity`, or the
    /// disk fails. Nothing was changed then, except that a new directory without an identity may exist.
    pub fn open(
        disk: D,
        cluster: ClusterId,
        node: NodeId,
        draw: impl FnOnce() -> io::Result<Incarnation>,
    ) -> Result<Self, DirectoryError> {
        let lock = disk.lock(Path::new(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DirectoryError::Locked,
            _ => DirectoryError::Io(error),
        })?;
        let file = match disk.open(Path::new(IDENTITY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_empty(&disk)?;
                let identity = Identity { cluster, node, incarnation: draw().map_err(DirectoryError::Io)? };
                make(&disk, identity)
            }
            outcome => outcome,
        };
        let file = file.map_err(DirectoryError::Io)?;
        let (identity, starts) = read(&file)?;
        if identity.cluster != cluster {
            return Err(DirectoryError::ForeignCluster { found: identity.cluster, wanted: cluster });
        }
        if identity.node != node {
            return Err(DirectoryError::ForeignNode { found: identity.node, wanted: node });
        }
        Ok(Self { disk, file, identity, starts, lock })
    }

    /// Returns true if no start was counted: the node has never run, so parts may be missing because they were not made
    /// yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.starts == 0
    }

    /// Makes the folder of the snapshots in a new directory. In a used directory the folder must exist.
    ///
    /// # Errors
    /// When it is missing, or the disk fails.
    pub(crate) fn check_snapshots(&self) -> Result<(), DirectoryError> {
        let made = self.disk.list(Path::new(SNAPSHOTS));
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DirectoryError::Io(error)),
            Err(_) if !self.is_new() => Err(DirectoryError::Missing(SNAPSHOTS)),
            Err(_) => {
                let made = self.disk.create_dir(Path::new(SNAPSHOTS));
                made.and_then(|()| self.disk.sync_dir(Path::new(""))).map_err(DirectoryError::Io)
            }
        }
    }

    /// Compares the number of starts that the log has counted with the number in `identity`.
    ///
    /// # Errors
    /// When one of the two is older than the other, or the disk fails.
    pub fn check_log(&mut self, starts: u32) -> Result<(), DirectoryError> {
        if starts < self.starts {
            return Err(DirectoryError::Older { part: "log", found: starts, known: self.starts });
        }
        // A start is counted in the log first. A crash may come before it is counted here, so the log may be one ahead.
        if starts > self.starts.saturating_add(1) {
            return Err(DirectoryError::Older { part: IDENTITY, found: self.starts, known: starts });
        }
        if starts > self.starts { self.note_start(starts) } else { Ok(()) }
    }

    /// Counts a start durably. It must already be durable in the log. After the first one the directory is no longer
    /// new.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn note_start(&mut self, starts: u32) -> Result<(), DirectoryError> {
        let written = self.file.write_at(place_of(starts), &encode(self.identity, starts));
        written.and_then(|()| self.file.sync_data()).map_err(DirectoryError::Io)?;
        self.starts = starts;
        Ok(())
    }

    /// Returns the owner of the directory.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns the disk whose root the directory is.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Returns the lock alone. The directory is free once it is dropped.
    #[must_use]
    pub(crate) fn into_lock(self) -> D::Lock {
        self.lock
    }
}

impl<D: Disk> fmt::Debug for Directory<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Reason why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another process uses it.
    #[error("the data directory is in use by another process")]
    Locked,
    /// It belongs to another cluster.
    #[error("the data directory belongs to cluster {found}, and this node to cluster {wanted}")]
    ForeignCluster {
        /// The owner.
        found: ClusterId,
        /// The expected owner.
        wanted: ClusterId,
    },
    /// It belongs to another node.
    #[error("the data directory belongs to node {found}, and this is node {wanted}")]
    ForeignNode {
        /// The owner.
        found: NodeId,
        /// The expected owner.
        wanted: NodeId,
    },
    /// Its identity was written by a newer version.
    #[error("the data directory has version {0}, and this binary knows {VERSION}")]
    Version(u8),
    /// Its identity is damaged.
    #[error("the file `identity` of the data directory is damaged")]
    Damaged,
    /// It holds files but no identity: `identity` was lost, or the directory is not a node's. To start as a new node,
    /// which does not count before its peers admit it, it must be empty.
    #[error("the data directory holds `{found}` and no file `identity`")]
    IdentityMissing {
        /// One of the files.
        found: String,
    },
    /// A part that existed when the node ran is missing.
    #[error("`{0}` of the data directory is missing")]
    Missing(&'static str),
    /// A part is older than the rest: it was replaced by an earlier copy. Data that the node acknowledged since are not
    /// in it.
    #[error("`{part}` of the data directory is an older copy: it knows of {found} starts, and the rest of {known}")]
    Older {
        /// The older part.
        part: &'static str,
        /// Number of starts that this part counts.
        found: u32,
        /// Number of starts that were counted.
        known: u32,
    },
    /// A file is not of the format that this binary knows.
    #[error("the file `{0}` of the data directory cannot be read")]
    Unreadable(&'static str),
    /// The disk failed.
    #[error("the data directory cannot be read or written: {0}")]
    Io(io::Error),
}

/// Refuses a directory that is not empty, except for files of the file system and of an earlier attempt: no node's
/// directory is made of it.
fn check_empty<D: Disk>(disk: &D) -> Result<(), DirectoryError> {
    let names = disk.list(Path::new("")).map_err(DirectoryError::Io)?;
    let is_ours =
        |name: &String| [LOCK, IDENTITY_TMP, LOST_AND_FOUND].contains(&name.as_str()) || name.starts_with('.');
    match names.into_iter().find(|name| !is_ours(name)) {
        Some(found) => Err(DirectoryError::IdentityMissing { found }),
        None => Ok(()),
    }
}

/// Returns the owner of the directory and its starts, from the newer of the two valid pages.
fn read(file: &impl DiskFile) -> Result<(Identity, u32), DirectoryError> {
    let places = [place_of(0), place_of(1)].map(|place| {
        let mut bytes = [0; IDENTITY_BYTES];
        let read = file.read_at(place, &mut bytes).map_err(DirectoryError::Io)?;
        if read == IDENTITY_BYTES { decode(&bytes) } else { Err(DirectoryError::Damaged) }
    });
    match places {
        [Ok((first, of_first)), Ok((second, of_second))] if first == second => Ok((first, of_first.max(of_second))),
        [Ok(_), Ok(_)] => Err(DirectoryError::Damaged),
        // A power failure may have torn one page, or it may have rotted. The other is at most one start older.
        [Ok(found), Err(DirectoryError::Damaged)] | [Err(DirectoryError::Damaged), Ok(found)] => Ok(found),
        [Err(error), _] | [_, Err(error)] => Err(error),
    }
}

fn decode(bytes: &[u8; IDENTITY_BYTES]) -> Result<(Identity, u32), DirectoryError> {
    let (content, mut checksum) = bytes.split_at(IDENTITY_BYTES - 4);
    if crc32c(content) != checksum.get_u32_le() || !content.starts_with(MAGIC) {
        return Err(DirectoryError::Damaged);
    }
    let mut rest = &content[MAGIC.len()..];
    let version = rest.get_u8();
    if version != VERSION {
        return Err(DirectoryError::Version(version));
    }
    let (cluster, node) = (ClusterId(rest.get_u128_le()), NodeId(rest.get_u64_le()));
    Ok((Identity { cluster, node, incarnation: Incarnation(rest.get_u128_le()) }, rest.get_u32_le()))
}

fn encode(identity: Identity, starts: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(IDENTITY_BYTES);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u128_le(identity.cluster.0);
    out.put_u64_le(identity.node.0);
    out.put_u128_le(identity.incarnation.0);
    out.put_u32_le(starts);
    out.put_u32_le(crc32c(&out));
    out.freeze()
}

/// Returns the offset of the page for this number of starts. It is never the page that counts now.
fn place_of(starts: u32) -> u64 {
    u64::from(starts % 2) * PAGE_BYTES
}

fn make<D: Disk>(disk: &D, identity: Identity) -> io::Result<D::File> {
    // Writes the full size at once, so that a later start needs no room and a full disk does not prevent it.
    let page = [&encode(identity, 0)[..], &[0; PAGE_LENGTH - IDENTITY_BYTES]].concat();
    replace_file(disk, IDENTITY, IDENTITY_TMP, &page.repeat(2))
}

/// Makes or replaces a file of the directory, durably: writes the temporary file `beside` and renames it, so that a
/// crash leaves no half of it under its name.
///
/// # Errors
/// When the disk fails. The old file is then unchanged, or replaced.
pub(crate) fn replace_file<D: Disk>(disk: &D, name: &str, beside: &str, content: &[u8]) -> io::Result<D::File> {
    let beside = Path::new(beside);
    match disk.remove(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(beside)?;
    if let Err(error) = file.write_at(0, content).and_then(|()| file.sync_all()) {
        // Half a file is of no use. If it cannot be removed now, the next attempt removes it.
        let _ = disk.remove(beside);
        return Err(error);
    }
    disk.rename(beside, Path::new(name))?;
    disk.sync_dir(Path::new(""))?;
    Ok(file)
}

const CLUSTER_DOMAIN: &str = "quorate-cluster";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
/// The folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// The directory in which file systems put recovered files, at their root.
const LOST_AND_FOUND: &str = "lost+found";
const MAGIC: &[u8] = b"QUORATE\n";
const VERSION: u8 = 1;
const IDENTITY_BYTES: usize = 8 + 1 + 16 + 8 + 16 + 4 + 4;
const PAGE_LENGTH: usize = 4096;
const PAGE_BYTES: u64 = 4096;
const _: () = assert!(PAGE_LENGTH as u64 == PAGE_BYTES);

#[cfg(test)]
mod tests;
