//! A disk that keeps callers waiting.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_wal::disk::{Disk, DiskFile, MemoryDisk};

/// A memory disk whose syncs can be held up.
#[derive(Clone)]
pub(crate) struct SlowDisk {
    disk: MemoryDisk,
    is_held: Arc<AtomicBool>,
}

pub(crate) struct SlowFile {
    file: <MemoryDisk as Disk>::File,
    is_held: Arc<AtomicBool>,
}

impl SlowDisk {
    /// An empty one. Syncs of content wait as long as `is_held` is set.
    pub(crate) fn new(is_held: Arc<AtomicBool>) -> Self {
        Self { disk: MemoryDisk::new(), is_held }
    }
}

impl Disk for SlowDisk {
    type File = SlowFile;
    type Lock = <MemoryDisk as Disk>::Lock;

    fn create(&self, path: &Path) -> io::Result<SlowFile> {
        Ok(SlowFile { file: self.disk.create(path)?, is_held: self.is_held.clone() })
    }

    fn open(&self, path: &Path) -> io::Result<SlowFile> {
        Ok(SlowFile { file: self.disk.open(path)?, is_held: self.is_held.clone() })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.create_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.disk.lock(path)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        while self.is_held.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
