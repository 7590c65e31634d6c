//! A disk whose syncs block for as long as a test wants.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use quorate_wal::disk::{Disk, DiskFile, MemoryDisk};

/// A disk in memory behind a gate. Clones share the gate.
#[derive(Clone)]
pub(super) struct Stalling {
    disk: MemoryDisk,
    gate: Arc<Gate>,
}

pub(super) struct StallingFile {
    file: <MemoryDisk as Disk>::File,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Stalling {
    pub(super) fn new() -> Self {
        Self { disk: MemoryDisk::new(), gate: Arc::default() }
    }

    /// Makes syncs block, or lets them continue.
    pub(super) fn stall(&self, is_stalled: bool) {
        *self.gate.is_shut.lock().expect("no panic holds it") = is_stalled;
        self.gate.opened.notify_all();
    }

    fn file(&self, file: <MemoryDisk as Disk>::File) -> StallingFile {
        StallingFile { file, gate: self.gate.clone() }
    }
}

impl Gate {
    fn pass(&self) {
        let is_shut = self.is_shut.lock().expect("no panic holds it");
        drop(self.opened.wait_while(is_shut, |is_shut| *is_shut));
    }
}

impl Disk for Stalling {
    type File = StallingFile;
    type Lock = <MemoryDisk as Disk>::Lock;

    fn create(&self, path: &Path) -> io::Result<StallingFile> {
        self.disk.create(path).map(|file| self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<StallingFile> {
        self.disk.open(path).map(|file| self.file(file))
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

impl DiskFile for StallingFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
