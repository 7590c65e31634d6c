//! Files of the operating system.
//!
//! On Linux `fdatasync` and `fsync` reach the medium as far as the device keeps its word; the file system must not be
//! mounted with barriers off. A file system over a network is not supported.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::{Disk, DiskFile};

/// A directory of the operating system's file system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: Arc<PathBuf>,
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    file: File,
}

/// An exclusive lock on a file. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct RealLock {
    _file: File,
}

impl RealDisk {
    /// The directory `root`, which is made when it is missing.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root: Arc::new(root) })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// As [`RealDisk::new`], but makes nothing.
    #[cfg(feature = "inspect")]
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root: Arc::new(root) }
    }

    /// A file opened for reading alone. What is no file may keep whoever opens it waiting for ever, as a pipe does.
    #[cfg(feature = "inspect")]
    pub(super) fn open_to_read(&self, path: &Path) -> io::Result<RealFile> {
        let place = self.place(path);
        if !std::fs::metadata(&place)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        Ok(RealFile { file: File::open(place)? })
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.place(path))?;
        Ok(RealFile { file })
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.place(path))?;
        Ok(RealFile { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.place(from), self.place(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.place(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.place(directory))? {
            let name = entry?.file_name();
            let name = name.into_string().map_err(|name| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is not a name of ours", name.display()))
            })?;
            names.push(name);
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(self.place(directory))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(self.place(directory))?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.place(path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(RealLock { _file: file })
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.file.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
