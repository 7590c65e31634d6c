//! Files of the operating system.
//!
//! On Linux `fdatasync` and `fsync` reach the medium as far as the device keeps its word; the file system must not be
//! mounted with barriers off. A file system over a network is not supported.
//!
//! Directories and files that are created here are for their owner alone: directories have mode 0700, files 0600.
//! Existing directories keep their mode.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, statvfs};

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

/// An exclusive lock on a file. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct RealLock {
    _file: File,
}

impl RealDisk {
    /// The directory `root`, which is created durably if it is missing, with those above it.
    ///
    /// # Errors
    /// Any error of the operating system.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::made(root.into(), &mut |directory| File::open(directory)?.sync_all())
    }

    fn made(root: PathBuf, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<Self> {
        make_directory(&root)?;
        sync_names(&root, sync)?;
        Ok(Self { root: Arc::new(root) })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// As [`RealDisk::new`], but creates nothing.
    #[cfg(feature = "inspect")]
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root: Arc::new(root) }
    }

    /// Opens a file for reading alone. Anything but a file is refused, since opening a pipe may wait for ever.
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
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(FILE_MODE).open(self.place(path))?;
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
        let place = self.place(path);
        if fs::symlink_metadata(&place)?.is_dir() { fs::remove_dir(place) } else { fs::remove_file(place) }
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
        make_directory(&self.place(directory))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(self.place(directory))?.sync_all()
    }

    fn available(&self) -> io::Result<Option<u64>> {
        let found = statvfs(&*self.root)?;
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }

    fn lock(&self, path: &Path) -> io::Result<RealLock> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(FILE_MODE).open(self.place(path))?;
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

/// Creates a directory and those above it that are missing.
fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)
}

/// Makes the names of `directory` and of those above it durable, up to the root of their file system. They may be new,
/// or created by a process that ended before it had synced them.
fn sync_names(directory: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let absolute = fs::canonicalize(directory)?;
    let device = fs::metadata(&absolute)?.dev();
    for parent in absolute.ancestors().skip(1) {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match sync(parent) {
            // A process that may not read a directory has not created one in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            outcome => outcome?,
        }
    }
    Ok(())
}

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("data").join("1");
        let disk = RealDisk::new(&root).expect("made");
        disk.create_dir("log/deep".as_ref()).expect("made");
        drop(disk.create("log/segment".as_ref()).expect("made"));
        drop(disk.lock("lock".as_ref()).expect("free"));
        for directory in ["", "..", "log", "log/deep"] {
            assert_eq!(mode(&root.join(directory)), 0o700, "{directory}");
        }
        for file in ["log/segment", "lock"] {
            assert_eq!(mode(&root.join(file)), 0o600, "{file}");
        }
    }

    /// The name of a directory is stored in the one above it, which may be as new.
    #[test]
    fn every_name_above_the_root_is_synced() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = fs::canonicalize(folder.path()).expect("there");
        let root = base.join("data").join("cluster").join("1");
        let mut synced = Vec::new();
        let mut note = |directory: &Path| {
            synced.push(directory.to_owned());
            Ok(())
        };
        RealDisk::made(root.clone(), &mut note).expect("made");
        assert_eq!(synced[..3], [base.join("data").join("cluster"), base.join("data"), base.clone()]);

        let refused = RealDisk::made(root, &mut |_| Err(io::ErrorKind::Other.into()));
        assert!(refused.is_err(), "a name that may be lost is no directory");
    }
}
