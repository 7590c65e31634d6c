//! A node's data directory: who it belongs to, who may use it, and whether its parts belong together.
//!
//! ```text
//! <data>/<node id>/lock       held while a process uses the directory
//! <data>/<node id>/identity   cluster, node, incarnation, and how many starts the log has counted
//! <data>/<node id>/log/       the log
//! <data>/<node id>/snapshots/ a folder for each group
//! ```
//!
//! `identity` makes a disk the known one, so it must not outlive what it vouches for. It counts starts as the log does,
//! one after it: a log that is missing, or that counts fewer, is not the one that was left here, and neither is an
//! `identity` that counts far fewer than the log. Both are refused. With no start counted the directory was never used:
//! its parts are still being made.
//!
//! No file can tell that *all* of the directory is an older copy, or both `identity` and the log; nor that the log is a
//! copy of the same start. The peers may.
//!
//! `identity` holds the same twice, in different pages; starts are written to one after the other, in place. Each is
//! 4096 bytes, zeros behind what follows, all numbers little-endian:
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

/// The id of the cluster of this name: the first half of SHA-256 over `quorate-cluster` and the name.
///
/// ```
/// use quorate_runtime::cluster_id;
/// assert_ne!(cluster_id("orders"), cluster_id("invoices"));
/// ```
pub fn cluster_id(name: &str) -> ClusterId {
    let digest = Sha256::new().chain_update(CLUSTER_DOMAIN).chain_update(name).finalize();
    let (half, _) = digest.split_first_chunk::<16>().expect("a digest of 32 bytes");
    ClusterId(u128::from_be_bytes(*half))
}

/// A new incarnation from the system's source of randomness.
///
/// # Errors
/// When there is none.
pub fn draw_incarnation() -> io::Result<Incarnation> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Incarnation(u128::from_le_bytes(bytes)))
}

/// A node's data directory, locked.
pub struct Directory<D: Disk> {
    disk: D,
    file: D::File,
    identity: Identity,
    /// How many starts `identity` counts.
    starts: u32,
    lock: D::Lock,
}

impl<D: Disk> Directory<D> {
    /// Locks the directory at the root of `disk` and reads whose it is; a new one, which must be empty, is made with
    /// the incarnation that `draw` gives. Before the node says anything, [`Directory::check_log`] and
    /// [`Directory::note_start`] must be called.
    ///
    /// # Errors
    /// When another process uses it, it is another node's or cluster's, it holds files and no `identity`, or the disk
    /// fails. Nothing was changed then, but that a new directory may be there without an identity, as before it was
    /// made.
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

    /// Whether no start was counted: the node has never run, and its parts may be missing because they were not made
    /// yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.starts == 0
    }

    /// Makes the folder of the snapshots in a new directory; in one that was used before it must be there.
    ///
    /// # Errors
    /// When it is missing, or the disk fails.
    pub fn check_snapshots(&self) -> Result<(), DirectoryError> {
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

    /// Holds the starts that the log has counted against those that `identity` counts.
    ///
    /// # Errors
    /// When one of the two is older than the other. The disk fails.
    pub fn check_log(&mut self, starts: u32) -> Result<(), DirectoryError> {
        if starts < self.starts {
            return Err(DirectoryError::Older { part: "log", found: starts, known: self.starts });
        }
        // A start is counted in the log first; a crash may come before it is counted here, once.
        if starts > self.starts.saturating_add(1) {
            return Err(DirectoryError::Older { part: IDENTITY, found: self.starts, known: starts });
        }
        if starts > self.starts { self.note_start(starts) } else { Ok(()) }
    }

    /// Counts a start, durably, which must be durable in the log. From the first one on the directory is no longer new.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn note_start(&mut self, starts: u32) -> Result<(), DirectoryError> {
        let written = self.file.write_at(place_of(starts), &encode(self.identity, starts));
        written.and_then(|()| self.file.sync_data()).map_err(DirectoryError::Io)?;
        self.starts = starts;
        Ok(())
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The disk whose root it is.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Gives the lock alone: the directory is free once it is dropped.
    #[must_use]
    pub fn into_lock(self) -> D::Lock {
        self.lock
    }
}

impl<D: Disk> fmt::Debug for Directory<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another process uses it.
    #[error("the data directory is in use by another process")]
    Locked,
    /// It belongs to another cluster.
    #[error("the data directory belongs to cluster {found}, and this node to cluster {wanted}")]
    ForeignCluster {
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        wanted: ClusterId,
    },
    /// It belongs to another node.
    #[error("the data directory belongs to node {found}, and this is node {wanted}")]
    ForeignNode {
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        wanted: NodeId,
    },
    /// Its identity was written by a newer version.
    #[error("the data directory has version {0}, and this binary knows {VERSION}")]
    Version(u8),
    /// Its identity cannot be read.
    #[error("the file `identity` of the data directory is damaged")]
    Damaged,
    /// It holds files and no identity: `identity` was lost, or the directory is not a node's. To start as a new node,
    /// which counts for nothing before its peers admit it, it must be empty.
    #[error("the data directory holds `{found}` and no file `identity`")]
    IdentityMissing {
        /// What it holds.
        found: String,
    },
    /// A part is missing that was there when the node ran.
    #[error("`{0}` of the data directory is missing")]
    Missing(&'static str),
    /// A part is older than the rest: a copy of an earlier time was put in its place. What the node acknowledged since
    /// is not in it.
    #[error("`{part}` of the data directory is an older copy: it knows of {found} starts, and the rest of {known}")]
    Older {
        /// Which.
        part: &'static str,
        /// The starts that it counts.
        found: u32,
        /// The starts that were counted.
        known: u32,
    },
    /// The disk failed.
    #[error("the data directory cannot be read or written: {0}")]
    Io(io::Error),
}

/// Nobody makes a node's directory of one that holds something, but for what file systems and an earlier attempt leave.
fn check_empty<D: Disk>(disk: &D) -> Result<(), DirectoryError> {
    let names = disk.list(Path::new("")).map_err(DirectoryError::Io)?;
    let is_ours =
        |name: &String| [LOCK, IDENTITY_TMP, LOST_AND_FOUND].contains(&name.as_str()) || name.starts_with('.');
    match names.into_iter().find(|name| !is_ours(name)) {
        Some(found) => Err(DirectoryError::IdentityMissing { found }),
        None => Ok(()),
    }
}

/// Who the directory belongs to, and its starts, by the newer of the two places that are whole.
fn read(file: &impl DiskFile) -> Result<(Identity, u32), DirectoryError> {
    let places = [place_of(0), place_of(1)].map(|place| {
        let mut bytes = [0; IDENTITY_BYTES];
        let read = file.read_at(place, &mut bytes).map_err(DirectoryError::Io)?;
        if read == IDENTITY_BYTES { decode(&bytes) } else { Err(DirectoryError::Damaged) }
    });
    match places {
        [Ok((first, of_first)), Ok((second, of_second))] if first == second => Ok((first, of_first.max(of_second))),
        [Ok(_), Ok(_)] => Err(DirectoryError::Damaged),
        // One may have been torn when the power went, or rot; the other is at most one start older.
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

/// Where that many starts are written: never over the place that counts.
fn place_of(starts: u32) -> u64 {
    u64::from(starts % 2) * PAGE_BYTES
}

/// Writes beside and renames, so that a crash leaves no directory with half an identity.
fn make<D: Disk>(disk: &D, identity: Identity) -> io::Result<D::File> {
    let beside = Path::new(IDENTITY_TMP);
    match disk.remove(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(beside)?;
    // At its full size at once: a start needs no room, so that a full disk does not keep a node from starting.
    let page = [&encode(identity, 0)[..], &[0; PAGE_LENGTH - IDENTITY_BYTES]].concat();
    if let Err(error) = file.write_at(0, &page.repeat(2)).and_then(|()| file.sync_all()) {
        // Half of it is of no use. What cannot be removed is removed by the next attempt.
        let _ = disk.remove(beside);
        return Err(error);
    }
    disk.rename(beside, Path::new(IDENTITY))?;
    disk.sync_dir(Path::new(""))?;
    Ok(file)
}

const CLUSTER_DOMAIN: &str = "quorate-cluster";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
/// The folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Where file systems put what they find, at their root.
const LOST_AND_FOUND: &str = "lost+found";
const MAGIC: &[u8] = b"QUORATE\n";
const VERSION: u8 = 1;
const IDENTITY_BYTES: usize = 8 + 1 + 16 + 8 + 16 + 4 + 4;
const PAGE_LENGTH: usize = 4096;
const PAGE_BYTES: u64 = 4096;
const _: () = assert!(PAGE_LENGTH as u64 == PAGE_BYTES);

#[cfg(test)]
mod tests;
