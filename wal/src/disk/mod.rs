//! The operations of a disk that the log needs, and no more, so that a simulated disk can replace files.

#[cfg(feature = "inspect")]
mod read_only;
mod real;

#[cfg(any(test, feature = "testing"))]
mod memory;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

#[cfg(feature = "inspect")]
pub use read_only::{ReadOnlyDisk, ReadOnlyFile};
pub use real::{RealDisk, RealFile, RealLock};

#[cfg(any(test, feature = "testing"))]
pub use memory::{Crash, DiskOperation, MemoryDisk, MemoryFile, MemoryLock, SECTOR_BYTES, Sector};

/// A directory tree. Paths are relative to its root and never leave it.
///
/// Nothing is durable before it is synced: a file's content by [`DiskFile::sync_data`], its size too by
/// [`DiskFile::sync_all`], its name by [`Disk::sync_dir`] of its directory.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;
    /// A lock, held until it is dropped or its process ends.
    type Lock: Send + Sync + 'static;

    /// Creates a new, empty file.
    ///
    /// # Errors
    /// `AlreadyExists` when a file has that name, and any error of the disk.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none, and any error of the disk.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, replacing one that has it.
    ///
    /// # Errors
    /// `NotFound` when there is none, and any error of the disk.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// `NotFound` when there is none, `DirectoryNotEmpty` when the directory holds something, and any error of the
    /// disk.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory, and any error of the disk.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory and those above it that are missing.
    ///
    /// # Errors
    /// Any error of the disk.
    fn create_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Any error of the disk.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Bytes that new files may take, or `None` if the disk cannot tell. With it a caller need not fill a disk to find
    /// out whether it is full.
    ///
    /// # Errors
    /// Any error of the disk.
    fn available(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Takes the exclusive lock on the file of this name, which is created if it is missing.
    ///
    /// # Errors
    /// `WouldBlock` when another holder has it, and any error of the disk.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;
}

/// An open file. Reads do not wait for a running sync.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads from `offset` on until `into` is full or the file ends, and returns the number of bytes.
    ///
    /// # Errors
    /// Any error of the disk.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file where needed. Not durable before a sync.
    ///
    /// # Errors
    /// Any error of the disk; part of the bytes may be written then.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable, and the size as far as reading the content needs it.
    ///
    /// # Errors
    /// Any error of the disk. The content since the last sync may be lost then, even if a later sync succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content, size and attributes durable.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// The size in bytes.
    ///
    /// # Errors
    /// Any error of the disk.
    fn len(&self) -> io::Result<u64>;

    /// Sets the size: cuts the file off, or extends it with zeros.
    ///
    /// # Errors
    /// Any error of the disk.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Returns true if the file is empty.
    ///
    /// # Errors
    /// Any error of the disk.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `into.len()` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before that, and any error of the disk.
    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.read_at(offset, into)? == into.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
