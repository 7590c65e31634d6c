//! A disk that can make callers wait or panic, and records the calling threads.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use quorate_wal::disk::{Disk, DiskFile, MemoryDisk};

/// A memory disk whose syncs can be held up.
#[derive(Clone)]
pub(crate) struct SlowDisk {
    disk: MemoryDisk,
    gate: Arc<Gate>,
}

pub(crate) struct SlowFile {
    file: <MemoryDisk as Disk>::File,
    gate: Arc<Gate>,
}

/// The gate through which all syncs of content pass.
#[derive(Default)]
pub(crate) struct Gate {
    is_shut: AtomicBool,
    is_awaited: AtomicBool,
    panics_at_sync: AtomicBool,
    panics_at_read: AtomicBool,
    callers: Mutex<BTreeSet<String>>,
}

impl Gate {
    /// Makes syncs wait from now on.
    pub(crate) fn shut(&self) {
        self.is_shut.store(true, Ordering::Release);
    }

    /// Lets waiting and later syncs pass.
    pub(crate) fn open(&self) {
        self.is_shut.store(false, Ordering::Release);
    }

    /// Makes the next sync of content panic.
    pub(crate) fn panic_at_sync(&self) {
        self.panics_at_sync.store(true, Ordering::Release);
    }

    /// Makes the next read panic.
    pub(crate) fn panic_at_read(&self) {
        self.panics_at_read.store(true, Ordering::Release);
    }

    /// Returns once a sync waits.
    pub(crate) fn await_sync(&self) {
        while !self.is_awaited.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    /// The names of the threads that read, wrote or synced since the last call.
    pub(crate) fn callers(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.callers.lock().unwrap())
    }

    fn note_caller(&self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.callers.lock().unwrap().insert(name);
    }
}

impl SlowDisk {
    /// An empty disk, and its gate.
    pub(crate) fn new() -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Self { disk: MemoryDisk::new(), gate: gate.clone() }, gate)
    }

    /// The files without the gate.
    pub(crate) fn files(&self) -> &MemoryDisk {
        &self.disk
    }

    fn file(&self, file: <MemoryDisk as Disk>::File) -> SlowFile {
        SlowFile { file, gate: self.gate.clone() }
    }
}

impl Disk for SlowDisk {
    type File = SlowFile;
    type Lock = <MemoryDisk as Disk>::Lock;

    fn create(&self, path: &Path) -> io::Result<SlowFile> {
        self.gate.note_caller();
        Ok(self.file(self.disk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<SlowFile> {
        self.gate.note_caller();
        Ok(self.file(self.disk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.gate.note_caller();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.gate.note_caller();
        self.disk.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.gate.note_caller();
        self.disk.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.gate.note_caller();
        self.disk.create_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.gate.note_caller();
        self.disk.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.gate.note_caller();
        self.disk.lock(path)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.gate.note_caller();
        assert!(!self.gate.panics_at_read.swap(false, Ordering::AcqRel), "a bug in reading");
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.gate.note_caller();
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.note_caller();
        assert!(!self.gate.panics_at_sync.swap(false, Ordering::AcqRel), "a bug in writing");
        while self.gate.is_shut.load(Ordering::Acquire) {
            self.gate.is_awaited.store(true, Ordering::Release);
            std::thread::yield_now();
        }
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.gate.note_caller();
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.gate.note_caller();
        self.file.set_len(length)
    }
}
