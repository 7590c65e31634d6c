//! Files of the operating system, opened for reading alone.

use std::io;
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, RealDisk, RealFile};

/// A directory of the operating system's file system, opened for reading alone: every change fails, and nothing is
/// locked.
#[derive(Clone, Debug)]
pub struct ReadOnlyDisk {
    disk: RealDisk,
}

/// A file of a [`ReadOnlyDisk`].
#[derive(Debug)]
pub struct ReadOnlyFile {
    file: RealFile,
}

impl ReadOnlyDisk {
    /// The directory `root`, which is not opened before it is read.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { disk: RealDisk::at(root.into()) }
    }
}

impl Disk for ReadOnlyDisk {
    type File = ReadOnlyFile;
    type Lock = ();

    fn create(&self, _: &Path) -> io::Result<ReadOnlyFile> {
        refuse()
    }

    fn open(&self, path: &Path) -> io::Result<ReadOnlyFile> {
        Ok(ReadOnlyFile { file: self.disk.open_to_read(path)? })
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn lock(&self, _: &Path) -> io::Result<()> {
        refuse()
    }
}

impl DiskFile for ReadOnlyFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refuse()
    }

    fn sync_data(&self) -> io::Result<()> {
        refuse()
    }

    fn sync_all(&self) -> io::Result<()> {
        refuse()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refuse()
    }
}

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}
