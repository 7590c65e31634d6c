//! A node's data directory: who it belongs to, and who may use it.
//!
//! ```text
//! <data>/<node id>/lock       held while a process uses the directory
//! <data>/<node id>/identity   cluster, node and incarnation; its appearance is the moment the directory is made
//! <data>/<node id>/log/       the log
//! <data>/<node id>/snapshots/ a folder for each group
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut, BytesMut};
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
    identity: Identity,
    lock: D::Lock,
}

impl<D: Disk> Directory<D> {
    /// Locks the directory at the root of `disk` and reads whose it is; a new one is made with the incarnation that `draw`
    /// gives.
    ///
    /// # Errors
    /// When another process uses it, it is another node's or cluster's, or the disk fails. Nothing was changed then, but that a new
    /// directory may be there without an identity, as before it was made.
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
        let identity = match disk.open(Path::new(IDENTITY)) {
            Ok(file) => read(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Identity { cluster, node, incarnation: draw().map_err(DirectoryError::Io)? };
                write(&disk, identity).map_err(DirectoryError::Io)?;
                identity
            }
            Err(error) => return Err(DirectoryError::Io(error)),
        };
        if identity.cluster != cluster {
            return Err(DirectoryError::ForeignCluster { found: identity.cluster, wanted: cluster });
        }
        if identity.node != node {
            return Err(DirectoryError::ForeignNode { found: identity.node, wanted: node });
        }
        Ok(Self { disk, identity, lock })
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
    /// The disk failed.
    #[error("the data directory cannot be read or written: {0}")]
    Io(io::Error),
}

fn read(file: &impl DiskFile) -> Result<Identity, DirectoryError> {
    let mut bytes = [0; IDENTITY_BYTES];
    let length = file.len().map_err(DirectoryError::Io)?;
    if length != IDENTITY_BYTES as u64 {
        return Err(DirectoryError::Damaged);
    }
    file.read_exact_at(0, &mut bytes).map_err(DirectoryError::Io)?;
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
    Ok(Identity { cluster, node, incarnation: Incarnation(rest.get_u128_le()) })
}

/// Writes beside and renames, so that a crash leaves no directory with half an identity.
fn write<D: Disk>(disk: &D, identity: Identity) -> io::Result<()> {
    let mut out = BytesMut::with_capacity(IDENTITY_BYTES);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u128_le(identity.cluster.0);
    out.put_u64_le(identity.node.0);
    out.put_u128_le(identity.incarnation.0);
    out.put_u32_le(crc32c(&out));
    let beside = Path::new(IDENTITY_TMP);
    match disk.remove(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(beside)?;
    file.write_at(0, &out)?;
    file.sync_all()?;
    disk.rename(beside, Path::new(IDENTITY))?;
    disk.sync_dir(Path::new(""))
}

const CLUSTER_DOMAIN: &str = "quorate-cluster";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
const MAGIC: &[u8] = b"QUORATE\n";
const VERSION: u8 = 1;
const IDENTITY_BYTES: usize = 8 + 1 + 16 + 8 + 16 + 4;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorate_protocol::{Incarnation, NodeId};
    use quorate_wal::disk::{Crash, MemoryDisk};

    use super::{Directory, DirectoryError, IDENTITY, cluster_id};

    fn open(disk: &MemoryDisk, cluster: &str, node: u64, drawn: u128) -> Result<Directory<MemoryDisk>, DirectoryError> {
        Directory::open(disk.clone(), cluster_id(cluster), NodeId(node), || Ok(Incarnation(drawn)))
    }

    #[test]
    fn the_incarnation_is_drawn_once() {
        let disk = MemoryDisk::new();
        drop(open(&disk, "a", 1, 7).expect("made"));
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(open(&disk, "a", 1, 8).expect("opened").identity().incarnation, Incarnation(7));
    }

    #[test]
    fn a_crash_while_it_is_made_leaves_all_or_nothing() {
        for number in 0.. {
            let disk = MemoryDisk::new();
            disk.power_off_after(number);
            let is_made = open(&disk, "a", 1, 7).is_ok();
            disk.crash(Crash::LoseUnsynced);
            let found = open(&disk, "a", 1, 8).expect("usable after the crash").identity().incarnation;
            assert!([Incarnation(7), Incarnation(8)].contains(&found));
            if is_made {
                assert_eq!(found, Incarnation(7));
                return;
            }
        }
    }

    #[test]
    fn a_second_process_is_locked_out() {
        let disk = MemoryDisk::new();
        let first = open(&disk, "a", 1, 7).expect("made");
        assert!(matches!(open(&disk, "a", 1, 7), Err(DirectoryError::Locked)));
        drop(first);
        open(&disk, "a", 1, 7).expect("free again");
    }

    #[test]
    fn a_foreign_directory_is_refused() {
        let disk = MemoryDisk::new();
        drop(open(&disk, "a", 1, 7).expect("made"));
        assert!(matches!(open(&disk, "b", 1, 7), Err(DirectoryError::ForeignCluster { .. })));
        assert!(matches!(open(&disk, "a", 2, 7), Err(DirectoryError::ForeignNode { .. })));
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_noticed() {
        let disk = MemoryDisk::new();
        drop(open(&disk, "a", 1, 7).expect("made"));
        let bytes = disk.content(IDENTITY).expect("there").len() as u64;
        for bit in 0..bytes * 8 {
            let damaged = disk.fork();
            damaged.flip(Path::new(IDENTITY), bit / 8, u8::try_from(bit % 8).expect("below 8"));
            assert!(matches!(open(&damaged, "a", 1, 7), Err(DirectoryError::Damaged)), "bit {bit}");
        }
    }

    #[test]
    fn the_cluster_id_never_changes() {
        assert_eq!(cluster_id("demo").to_string(), "136cf0dc08c5573d96a53ab2a50376b5");
    }
}
