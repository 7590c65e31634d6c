//! Snapshots of one group, each a file that is there whole or not at all.
//!
//! A snapshot is written under a name with the suffix `.tmp`, synced, read back, renamed, and its directory synced.
//! Only then may the part of the log that it covers be dropped. `FORMAT.md` describes every byte.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{ClusterId, GroupId, LogIndex, SnapshotMeta};

use crate::disk::{Disk, DiskFile};
use crate::files::is_full;

/// The snapshots of one group in one directory.
#[derive(Clone, Debug)]
pub struct SnapshotStore<D: Disk> {
    disk: D,
    directory: PathBuf,
    cluster: ClusterId,
    group: GroupId,
}

/// A snapshot that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its metadata.
    pub meta: SnapshotMeta,
    /// Bytes of its content.
    pub length: u64,
    /// CRC-32C of its content.
    pub checksum: u32,
}

/// A snapshot being written. Dropping it leaves a leftover that the next [`SnapshotStore::open`] removes.
pub struct SnapshotBuilder<D: Disk> {
    store: SnapshotStore<D>,
    meta: SnapshotMeta,
    file: D::File,
    path: PathBuf,
    /// Content not yet written to the file.
    buffer: BytesMut,
    content_start: u64,
    /// Bytes of content so far, the buffer included.
    length: u64,
    checksum: u32,
}

/// A snapshot whose content is complete, synced and read back, still under its temporary name. Dropping it leaves a
/// leftover that the next [`SnapshotStore::open`] removes.
pub struct SealedSnapshot<D: Disk> {
    content: SnapshotContent<D>,
    store: SnapshotStore<D>,
    path: PathBuf,
}

/// A snapshot open for reading. It stays readable when it is deleted meanwhile.
pub struct SnapshotFile<D: Disk> {
    stored: StoredSnapshot,
    file: D::File,
    content_start: u64,
}

/// Reads a snapshot's content from its start, and fails at the end if the checksum does not match.
pub struct SnapshotContent<D: Disk> {
    snapshot: SnapshotFile<D>,
    offset: u64,
    checksum: u32,
}

/// Reason why a snapshot cannot be written or read. Durable snapshots stay as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk failed.
    #[error("snapshot {path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the disk.
        #[source]
        error: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("snapshot {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part that is damaged.
        what: &'static str,
    },
    /// Written by a newer version of the format, or with unknown feature bits. Nothing was changed.
    #[error("snapshot {path} has format version {version}, newer than {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// It belongs to another cluster or group. Nothing was changed.
    #[error("snapshot {path} belongs to another cluster or group")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file that no snapshot store wrote. Nothing was changed.
    #[error("{path} is not a snapshot")]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// No snapshot covers that index.
    #[error("there is no snapshot at index {0}")]
    Missing(LogIndex),
    /// A piece does not follow the one before it. Nothing was written.
    #[error("a piece at {offset} does not follow the {length} bytes before it")]
    Gap {
        /// The offset of the piece.
        offset: u64,
        /// The end of the content so far.
        length: u64,
    },
    /// The content's checksum is not the one its sender stated. No snapshot was created.
    #[error("the content's checksum is {found:08x}, not {expected:08x}")]
    Checksum {
        /// The checksum that the sender stated.
        expected: u32,
        /// The checksum of the written content.
        found: u32,
    },
}

impl SnapshotError {
    /// Returns true if the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { error, .. } if is_full(error))
    }
}

impl<D: Disk> SnapshotStore<D> {
    /// Opens the directory, creates it if it is missing, and removes unfinished snapshots.
    ///
    /// # Errors
    /// When the disk refuses, or the directory holds a file that no snapshot store wrote; then nothing is removed.
    pub fn open(disk: D, directory: &Path, cluster: ClusterId, group: GroupId) -> Result<Self, SnapshotError> {
        let store = Self { disk, directory: directory.to_owned(), cluster, group };
        at(directory, store.disk.create_dir(directory))?;
        // Each directory above may be new as well, and its name is durable only once its parent is synced. A rename
        // that the last process had no time to sync counts from here on.
        for parent in directory.ancestors() {
            at(parent, store.disk.sync_dir(parent))?;
        }
        let names = at(directory, store.disk.list(directory))?;
        let is_ours = |name: &&String| index_of(name.strip_suffix(TEMPORARY).unwrap_or(name)).is_some();
        if let Some(unknown) = names.iter().find(|name| !is_ours(name)) {
            return Err(SnapshotError::Unknown { path: directory.join(unknown) });
        }
        for unfinished in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
            let path = directory.join(unfinished);
            at(&path, store.disk.remove(&path))?;
        }
        Ok(store)
    }

    /// The newest snapshot, with its content verified. A damaged one is an error, since the log may not go back to an
    /// older one.
    ///
    /// # Errors
    /// When the disk refuses, or the newest snapshot is damaged, foreign or of a newer format.
    pub fn newest(&self) -> Result<Option<StoredSnapshot>, SnapshotError> {
        let Some(index) = self.indexes()?.pop() else { return Ok(None) };
        let snapshot = self.read(index)?;
        let stored = snapshot.stored.clone();
        let path = self.path(index);
        let copied = io::copy(&mut snapshot.into_content(), &mut io::sink());
        match copied {
            Ok(_) => Ok(Some(stored)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(SnapshotError::Damaged { path, what: "content" })
            }
            Err(error) => Err(SnapshotError::Io { path, error }),
        }
    }

    /// The indexes that durable snapshots cover, ascending.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn indexes(&self) -> Result<Vec<LogIndex>, SnapshotError> {
        let names = at(&self.directory, self.disk.list(&self.directory))?;
        Ok(names.iter().filter_map(|name| index_of(name)).collect())
    }

    /// Begins to write a snapshot.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(&self, meta: SnapshotMeta) -> Result<SnapshotBuilder<D>, SnapshotError> {
        let path = self.directory.join(format!("{}{TEMPORARY}", name_of(meta.index)));
        if at(&self.directory, self.disk.list(&self.directory))?.iter().any(|name| path.ends_with(name)) {
            at(&path, self.disk.remove(&path))?;
        }
        let file = at(&path, self.disk.create(&path))?;
        let header = self.header(&meta);
        let content_start = header.len() as u64;
        at(&path, file.write_at(0, &header))?;
        let buffer = BytesMut::with_capacity(BUFFER_BYTES);
        Ok(SnapshotBuilder { store: self.clone(), meta, file, path, buffer, content_start, length: 0, checksum: 0 })
    }

    /// Opens the snapshot that covers `index`.
    ///
    /// # Errors
    /// When there is none, the disk refuses, or its header or footer is damaged, foreign or of a newer format.
    pub fn read(&self, index: LogIndex) -> Result<SnapshotFile<D>, SnapshotError> {
        let path = self.path(index);
        match self.disk.open(&path) {
            Ok(file) => self.check(&path, index, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SnapshotError::Missing(index)),
            Err(error) => Err(SnapshotError::Io { path, error }),
        }
    }

    /// Deletes every snapshot that covers less than `index`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn delete_before(&self, index: LogIndex) -> Result<(), SnapshotError> {
        for old in self.indexes()?.into_iter().filter(|old| *old < index) {
            let path = self.path(old);
            at(&path, self.disk.remove(&path))?;
        }
        at(&self.directory, self.disk.sync_dir(&self.directory))
    }

    fn path(&self, index: LogIndex) -> PathBuf {
        self.directory.join(name_of(index))
    }

    fn header(&self, meta: &SnapshotMeta) -> BytesMut {
        let meta = meta.encode();
        let mut header = BytesMut::new();
        header.put_slice(&MAGIC);
        header.put_u16_le(VERSION);
        header.put_u16_le(0);
        header.put_u128_le(self.cluster.0);
        header.put_u64_le(self.group.0);
        header.put_u32_le(u32::try_from(meta.len()).expect("a configuration fits an entry"));
        header.put_slice(&meta);
        header.put_u32_le(crc32c::crc32c(&header));
        header
    }

    fn check(&self, path: &Path, index: LogIndex, file: D::File) -> Result<SnapshotFile<D>, SnapshotError> {
        let damaged = |what| SnapshotError::Damaged { path: path.to_owned(), what };
        let size = at(path, file.len())?;
        let content_end = size.checked_sub(FOOTER_BYTES).ok_or_else(|| damaged("size"))?;
        let fixed = read_part(path, &file, 0, FIXED_BYTES)?;
        let meta_bytes = self.check_fixed(path, &fixed)?;
        let content_start = FIXED_BYTES + u64::from(meta_bytes) + 4;
        let length = content_end.checked_sub(content_start).ok_or_else(|| damaged("header length"))?;
        let header = read_part(path, &file, 0, content_start)?;
        let (covered, mut crc) = header.split_at(header.len() - 4);
        if crc32c::crc32c(covered) != crc.get_u32_le() {
            return Err(damaged("header"));
        }
        let meta = covered.get(fixed.len()..).map(SnapshotMeta::decode);
        let meta = meta.and_then(Result::ok).filter(|meta| meta.index == index).ok_or_else(|| damaged("metadata"))?;
        let footer = read_part(path, &file, content_end, FOOTER_BYTES)?;
        let (covered, mut crc) = footer.split_at(footer.len() - 4);
        let mut fields = covered;
        let (stated, checksum) = (fields.get_u64_le(), fields.get_u32_le());
        if crc32c::crc32c(covered) != crc.get_u32_le() || stated != length {
            return Err(damaged("footer"));
        }
        Ok(SnapshotFile { stored: StoredSnapshot { meta, length, checksum }, file, content_start })
    }

    /// Checks the part of the header whose size is fixed, and returns the size of the metadata behind it.
    fn check_fixed(&self, path: &Path, fixed: &Bytes) -> Result<u32, SnapshotError> {
        let mut fixed = fixed.clone();
        let mut magic = [0; MAGIC.len()];
        fixed.copy_to_slice(&mut magic);
        let (version, features) = (fixed.get_u16_le(), fixed.get_u16_le());
        let (cluster, group) = (ClusterId(fixed.get_u128_le()), GroupId(fixed.get_u64_le()));
        if magic != MAGIC {
            return Err(SnapshotError::Damaged { path: path.to_owned(), what: "magic" });
        }
        if version == 0 {
            return Err(SnapshotError::Damaged { path: path.to_owned(), what: "version" });
        }
        if version > VERSION || features != 0 {
            return Err(SnapshotError::Version { path: path.to_owned(), version });
        }
        if (cluster, group) != (self.cluster, self.group) {
            return Err(SnapshotError::Foreign { path: path.to_owned() });
        }
        Ok(fixed.get_u32_le())
    }
}

impl<D: Disk> SnapshotBuilder<D> {
    /// Bytes of content so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds a piece that a peer sent.
    ///
    /// # Errors
    /// When it does not follow the content so far, or the disk refuses.
    pub fn write_piece(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        if offset != self.length {
            return Err(SnapshotError::Gap { offset, length: self.length });
        }
        self.write_all(bytes).map_err(|error| SnapshotError::Io { path: self.path.clone(), error })
    }

    /// Makes the snapshot durable: footer, sync, reading all of it back, rename, sync of the directory.
    ///
    /// # Errors
    /// When the content's checksum is not the `expected` one (where one is given), the disk refuses, or what is read
    /// back is not what was written. No snapshot was created then.
    pub fn finish(self, expected: Option<u32>) -> Result<StoredSnapshot, SnapshotError> {
        self.seal(expected)?.keep()
    }

    /// As [`SnapshotBuilder::finish`] up to the rename, so that the content can be examined before it counts.
    ///
    /// # Errors
    /// As [`SnapshotBuilder::finish`].
    pub fn seal(mut self, expected: Option<u32>) -> Result<SealedSnapshot<D>, SnapshotError> {
        if let Some(expected) = expected.filter(|expected| *expected != self.checksum) {
            let found = self.checksum;
            self.abort()?;
            return Err(SnapshotError::Checksum { expected, found });
        }
        let (length, checksum) = (self.length, self.checksum);
        let mut footer = BytesMut::new();
        footer.put_u64_le(length);
        footer.put_u32_le(checksum);
        footer.put_u32_le(crc32c::crc32c(&footer));
        let written = self.flush().and_then(|()| self.file.write_at(self.content_start + length, &footer));
        let Self { store, meta, file, path, .. } = self;
        at(&path, written.and_then(|()| file.sync_all()))?;
        let mut content = store.check(&path, meta.index, file)?.into_content();
        let read_back = io::copy(&mut content, &mut io::sink());
        at(&path, read_back)?;
        Ok(SealedSnapshot { content, store, path })
    }

    /// Gives the snapshot up and removes its file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn abort(self) -> Result<(), SnapshotError> {
        at(&self.path, self.store.disk.remove(&self.path))
    }
}

impl<D: Disk> SealedSnapshot<D> {
    /// The content, from its start.
    pub fn content(&mut self) -> &mut SnapshotContent<D> {
        (self.content.offset, self.content.checksum) = (0, 0);
        &mut self.content
    }

    /// Makes it count as a snapshot: rename, sync of the directory.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(self) -> Result<StoredSnapshot, SnapshotError> {
        let Self { content, store, path } = self;
        let stored = content.snapshot.stored;
        at(&path, store.disk.rename(&path, &store.path(stored.meta.index)))?;
        at(&path, store.disk.sync_dir(&store.directory))?;
        Ok(stored)
    }

    /// Gives the snapshot up and removes its file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn abort(self) -> Result<(), SnapshotError> {
        at(&self.path, self.store.disk.remove(&self.path))
    }
}

impl<D: Disk> Write for SnapshotBuilder<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        let piece = &bytes[..bytes.len().min(BUFFER_BYTES)];
        self.buffer.put_slice(piece);
        self.checksum = crc32c::crc32c_append(self.checksum, piece);
        self.length += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let start = self.content_start + self.length - self.buffer.len() as u64;
        self.file.write_at(start, &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl<D: Disk> SnapshotFile<D> {
    /// Its metadata, length and checksum.
    #[must_use]
    pub fn stored(&self) -> &StoredSnapshot {
        &self.stored
    }

    /// At most `bytes_max` bytes of content from `offset` on; none at the end.
    ///
    /// # Errors
    /// When the disk refuses or the file became shorter.
    pub fn read_piece(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let left = self.stored.length.saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max)];
        if piece.is_empty() {
            return Ok(Bytes::new());
        }
        self.file.read_exact_at(self.content_start + offset, &mut piece)?;
        Ok(Bytes::from(piece))
    }

    /// The content as a stream that verifies its checksum at the end.
    #[must_use]
    pub fn into_content(self) -> SnapshotContent<D> {
        SnapshotContent { snapshot: self, offset: 0, checksum: 0 }
    }
}

impl<D: Disk> Read for SnapshotContent<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let SnapshotFile { stored, file, content_start } = &self.snapshot;
        let left = usize::try_from(stored.length - self.offset).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        file.read_exact_at(content_start + self.offset, &mut into[..count])?;
        self.offset += count as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, &into[..count]);
        if self.offset == stored.length && self.checksum != stored.checksum {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot's content is damaged"));
        }
        Ok(count)
    }
}

fn read_part(path: &Path, file: &impl DiskFile, offset: u64, length: u64) -> Result<Bytes, SnapshotError> {
    let damaged = |what| SnapshotError::Damaged { path: path.to_owned(), what };
    let length = usize::try_from(length).ok().filter(|length| *length <= HEADER_BYTES_MAX);
    let mut bytes = vec![0; length.ok_or_else(|| damaged("header length"))?];
    match file.read_exact_at(offset, &mut bytes) {
        Ok(()) => Ok(Bytes::from(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("size")),
        Err(error) => Err(SnapshotError::Io { path: path.to_owned(), error }),
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, SnapshotError> {
    result.map_err(|error| SnapshotError::Io { path: path.to_owned(), error })
}

fn name_of(index: LogIndex) -> String {
    format!("{:020}{SUFFIX}", index.0)
}

fn index_of(name: &str) -> Option<LogIndex> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
    digits.parse().ok().map(LogIndex)
}

const MAGIC: [u8; 8] = *b"quorSNAP";
const VERSION: u16 = 1;
const FIXED_BYTES: u64 = 40;
const FOOTER_BYTES: u64 = 16;
/// A configuration of some thousand members; a header that states more is damaged.
const HEADER_BYTES_MAX: usize = 16 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const SUFFIX: &str = ".snapshot";
const TEMPORARY: &str = ".tmp";

#[cfg(test)]
mod tests;
