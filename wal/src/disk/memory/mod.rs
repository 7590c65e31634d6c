//! A disk in memory with the losses that a real one may have.

mod fault;
mod sectors;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use quorate_protocol::Random;

pub use self::fault::{Crash, DiskOperation, SECTOR_BYTES, Sector};

use self::state::{Content, NameChange, ROOT, State, name_of};
use super::{Disk, DiskFile};

/// A disk in memory. Clones are the same disk.
///
/// In a [`MemoryDisk::crash`] each sector that was not synced is lost, kept or becomes garbage. Names whose directory
/// was not synced may be lost as well. A failed sync loses for good the data it should have written, as on Linux. The
/// n-th operation can be made to fail, or to be the last one before the power is cut.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`MemoryDisk`]. After a crash every operation on it fails.
#[derive(Debug)]
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    epoch: u64,
}

/// A lock on a [`MemoryDisk`]; a crash releases it.
#[derive(Debug)]
pub struct MemoryLock {
    state: Arc<Mutex<State>>,
    path: String,
    epoch: u64,
}

impl MemoryDisk {
    /// An empty disk without a bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Crashes all users of the disk. `crash` decides the fate of data that was not synced. Every open file and lock is
    /// gone, and so are the faults that were set for an operation by its number.
    pub fn crash(&self, crash: Crash) {
        let seed = if let Crash::Seeded(seed) | Crash::Torn(seed) = crash { seed } else { 0 };
        let mut random = Random::new(seed);
        if crash == Crash::Process {
            return self.lock().restart();
        }
        self.crash_with(
            |_, _| match crash {
                Crash::LoseUnsynced | Crash::LoseBytes => Sector::Drop,
                Crash::KeepAll | Crash::Process => Sector::Keep,
                Crash::Torn(_) => [Sector::Keep, Sector::Drop][draw(&mut random, 2)],
                Crash::Seeded(_) => [Sector::Keep, Sector::Drop, Sector::Garbage][draw(&mut random, 3)],
            },
            crash,
        );
    }

    /// As [`MemoryDisk::crash`] with all names kept. `fate` decides the fate of each unsynced sector, from the number
    /// of its file and the number of the sector.
    pub fn tear(&self, fate: impl FnMut(u64, u64) -> Sector) {
        self.crash_with(fate, Crash::KeepAll);
    }

    fn crash_with(&self, mut fate: impl FnMut(u64, u64) -> Sector, names: Crash) {
        let mut state = self.lock();
        let mut random = Random::new(if let Crash::Seeded(seed) | Crash::Torn(seed) = names { !seed } else { 0 });
        for directory in state.directories.values_mut() {
            let kept = match names {
                Crash::LoseUnsynced => 0,
                Crash::KeepAll | Crash::LoseBytes | Crash::Process => directory.pending.len(),
                Crash::Seeded(_) | Crash::Torn(_) => draw(&mut random, directory.pending.len() + 1),
            };
            directory.settle(kept);
        }
        for (inode, content) in &mut state.files {
            content.settle(|sector| fate(*inode, sector));
        }
        state.restart();
    }

    /// An independent copy, unsynced parts included. No lock on it is held.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut copy = self.lock().clone();
        copy.locks.clear();
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// Number of changes so far, failed ones included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The changes so far, in order.
    #[must_use]
    pub fn history(&self) -> Vec<DiskOperation> {
        self.lock().history.clone()
    }

    /// Makes the `number`-th change from now on (from 0) fail; later ones work.
    pub fn fail(&self, number: u64, error: io::ErrorKind) {
        let mut state = self.lock();
        let at = state.operations + number;
        state.fail_at.insert(at, error);
    }

    /// Makes the next operation of this kind fail; `None` takes that back. A write that fails leaves its first half.
    pub fn fail_next(&self, operation: DiskOperation, error: Option<io::ErrorKind>) {
        let mut state = self.lock();
        match error {
            Some(error) => state.fail_next.insert(operation, error),
            None => state.fail_next.remove(&operation),
        };
    }

    /// Makes every read fail; `None` takes that back.
    pub fn fail_reads(&self, error: Option<io::ErrorKind>) {
        self.lock().reads_fail = error;
    }

    /// Makes the `number`-th read from now on (from 0) fail; later ones work.
    pub fn fail_read(&self, number: u64, error: io::ErrorKind) {
        let mut state = self.lock();
        state.read_fails_at = Some((state.reads + number, error));
    }

    /// Makes the next write land on wrong sectors of some file, drawn from the seed, and report success; `None` takes
    /// that back.
    pub fn misdirect(&self, seed: Option<u64>) {
        self.lock().misdirected = seed;
    }

    /// Undoes the effect of misdirected writes on the bytes of each file that were synced last: those that went
    /// elsewhere, and those that were overwritten. No later bytes prove that these were durable, so no reader of the
    /// files could notice the loss.
    pub fn restore_newest(&self) {
        self.lock().files.values_mut().for_each(Content::restore_newest);
    }

    /// Returns true if the next write will land elsewhere.
    #[must_use]
    pub fn is_misdirecting(&self) -> bool {
        self.lock().misdirected.is_some()
    }

    /// Flips one bit on the medium, also while the file is open. Newer bytes that wait to be written stay.
    ///
    /// # Panics
    /// When the file is missing or shorter.
    pub fn rot(&self, path: impl AsRef<Path>, offset: u64, bit: u8) {
        let mut state = self.lock();
        let inode = state.find(path.as_ref()).expect("a file to damage");
        let content = state.files.get_mut(&inode).expect("a file to damage");
        let place = usize::try_from(offset).expect("a place in memory");
        let byte = content.durable[place] ^ (1 << bit);
        content.overwrite(place, &[byte]);
    }

    /// The durable content of a file, read without faults.
    #[must_use]
    pub fn durable_content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.find(path.as_ref()).ok()?;
        state.files.get(&inode).map(|content| content.durable.clone())
    }

    /// The paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().paths()
    }

    /// Cuts the power after `number` more changes: every later one, and every read, fails until [`MemoryDisk::crash`].
    pub fn power_off_after(&self, number: u64) {
        let mut state = self.lock();
        state.power_off_at = Some(state.operations + number);
    }

    /// Bounds the bytes of all files; `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes of all files, by their current sizes.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The current content of a file, read without faults.
    #[must_use]
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.find(path.as_ref()).ok()?;
        state.files.get(&inode).map(|content| content.current.clone())
    }

    /// Replaces a file's content on the medium, as rot and operators do. Creates the file if it is missing.
    ///
    /// # Panics
    /// When the directory is missing.
    pub fn replace(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut state = self.lock();
        let inode =
            state.find(path.as_ref()).or_else(|_| state.insert_file(path.as_ref())).expect("a directory for it");
        let content = Content { current: bytes.to_vec(), durable: bytes.to_vec(), ..Content::default() };
        state.files.insert(inode, content);
        let (parent, _) = state.split(path.as_ref()).expect("just found");
        let directory = state.directories.get_mut(&parent).expect("just found");
        let pending = directory.pending.len();
        directory.settle(pending);
    }

    /// Removes a file or a directory, durably, as operators and lost mounts do.
    ///
    /// # Panics
    /// When it is missing.
    pub fn lose(&self, path: impl AsRef<Path>) {
        let mut state = self.lock();
        state.find(path.as_ref()).expect("a file or directory to lose");
        let (parent, name) = state.split(path.as_ref()).expect("just found");
        state.directories.get_mut(&parent).expect("just found").place(&name, None);
    }

    /// Copies a file or a directory from another disk, durably, as an operator restores a copy. Anything that had the
    /// name is gone.
    ///
    /// # Panics
    /// When the other disk has none, or its parent directory is missing.
    pub fn restore(&self, path: impl AsRef<Path>, from: &Self) {
        let from = from.lock().clone();
        let inode = from.find(path.as_ref()).expect("a file or directory to copy");
        let mut state = self.lock();
        let (parent, name) = state.split(path.as_ref()).expect("a directory for it");
        state.copy(parent, &name, &from, inode);
    }

    /// Overwrites a part of the bytes that reads of a file return, without faults, and leaves the medium as it is. So a
    /// test can replace bytes and put them back.
    ///
    /// # Panics
    /// When the file is missing or shorter.
    pub fn poke(&self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let inode = state.find(path.as_ref()).expect("a file to overwrite");
        let content = state.files.get_mut(&inode).expect("a file to overwrite");
        let start = usize::try_from(offset).expect("a place in memory");
        content.current[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Flips one bit of a file on the medium.
    ///
    /// # Panics
    /// When the file is missing or shorter.
    pub fn flip(&self, path: impl AsRef<Path>, offset: u64, bit: u8) {
        let path = path.as_ref();
        let mut bytes = self.content(path).expect("a file to damage");
        bytes[usize::try_from(offset).expect("a place in memory")] ^= 1 << bit;
        self.replace(path, &bytes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        guard(&self.state)
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Lock = MemoryLock;

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.lock();
        state.change(DiskOperation::Create)?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.insert_file(path)?;
        Ok(MemoryFile { state: self.state.clone(), inode, epoch: state.epoch })
    }

    fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        let state = self.lock();
        state.powered()?;
        let inode = state.find(path)?;
        if !state.files.contains_key(&inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(MemoryFile { state: self.state.clone(), inode, epoch: state.epoch })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change(DiskOperation::Rename)?;
        let inode = state.find(from)?;
        let ((from_parent, from), (to_parent, to)) = (state.split(from)?, state.split(to)?);
        if from_parent != to_parent {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let directory = state.directories.get_mut(&from_parent).ok_or(io::ErrorKind::NotFound)?;
        directory.current.remove(&from);
        directory.current.insert(to.clone(), inode);
        directory.pending.push(NameChange::Rename(from, to));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change(DiskOperation::Remove)?;
        let inode = state.find(path)?;
        if state.directories.get(&inode).is_some_and(|directory| !directory.current.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = state.split(path)?;
        let directory = state.directories.get_mut(&parent).ok_or(io::ErrorKind::NotFound)?;
        directory.current.remove(&name);
        directory.pending.push(NameChange::Remove(name));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.powered()?;
        let inode = state.find(directory)?;
        let directory = state.directories.get(&inode).ok_or(io::ErrorKind::NotADirectory)?;
        Ok(directory.current.keys().cloned().collect())
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut parent = ROOT;
        for component in directory.components() {
            let name = name_of(component)?;
            let known = state.directories[&parent].current.get(&name).copied();
            parent = match known {
                Some(inode) if state.directories.contains_key(&inode) => inode,
                Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    state.change(DiskOperation::CreateDir)?;
                    state.insert_directory(parent, name)
                }
            };
        }
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change(DiskOperation::SyncDir)?;
        let inode = state.find(directory)?;
        let directory = state.directories.get_mut(&inode).ok_or(io::ErrorKind::NotADirectory)?;
        let pending = directory.pending.len();
        directory.settle(pending);
        Ok(())
    }

    fn available(&self) -> io::Result<Option<u64>> {
        let state = self.lock();
        state.powered()?;
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(state.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<MemoryLock> {
        let mut state = self.lock();
        state.powered()?;
        let path = path.display().to_string();
        if !state.locks.insert(path.clone()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(MemoryLock { state: self.state.clone(), path, epoch: state.epoch })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.enter()?;
        state.read()?;
        let content = &state.files[&self.inode].current;
        let start = content.len().min(in_memory(offset)?);
        let count = into.len().min(content.len() - start);
        into[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.enter()?;
        state.powered()?;
        let outcome = state.change(DiskOperation::Write);
        let bytes = if outcome.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        let end = in_memory(offset)? + bytes.len();
        state.grow(self.inode, end)?;
        let misdirected = state.misdirected.take();
        let is_elsewhere = misdirected.is_some_and(|seed| state.misdirect(bytes, seed));
        let content = state.files.get_mut(&self.inode).expect("an open file has content");
        content.meant.push((end - bytes.len(), bytes.to_vec()));
        if is_elsewhere {
            return outcome;
        }
        if content.current.len() < end {
            content.current.resize(end, 0);
        }
        content.current[end - bytes.len()..end].copy_from_slice(bytes);
        content.touch(offset, end as u64);
        outcome
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.enter()?;
        // A sync that a power cut interrupts may have written any part of the data: the crash decides.
        state.powered()?;
        let outcome = state.change(DiskOperation::Sync);
        let content = state.files.get_mut(&self.inode).expect("an open file has content");
        if outcome.is_err() {
            content.doom();
        } else {
            content.sync();
        }
        outcome
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.enter()?;
        state.powered()?;
        Ok(state.files[&self.inode].current.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.enter()?;
        state.change(DiskOperation::SetLen)?;
        let length = in_memory(length)?;
        state.grow(self.inode, length)?;
        let content = state.files.get_mut(&self.inode).expect("an open file has content");
        let before = content.current.len();
        if length < before {
            content.meant.clear();
            content.newest.clear();
        }
        content.current.resize(length, 0);
        content.touch(before.min(length) as u64, before.max(length) as u64);
        Ok(())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = guard(&self.state);
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

impl MemoryFile {
    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = guard(&self.state);
        if state.epoch == self.epoch { Ok(state) } else { Err(io::Error::other("the file was open across a crash")) }
    }
}

fn guard(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no operation of the disk panics while it holds the lock")
}

fn in_memory(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn draw(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.between(0, count as u64)).expect("below a usize")
}
