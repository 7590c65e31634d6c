//! The content of a disk in memory, and its durable part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use quorate_protocol::Random;

use super::fault::{DiskOperation, SECTOR_BYTES, Sector};
use super::sectors::Sectors;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) epoch: u64,
    pub(super) next_inode: u64,
    pub(super) directories: BTreeMap<u64, Directory>,
    pub(super) files: BTreeMap<u64, Content>,
    pub(super) locks: BTreeSet<String>,
    pub(super) operations: u64,
    pub(super) history: Vec<DiskOperation>,
    pub(super) fail_at: BTreeMap<u64, io::ErrorKind>,
    /// The error with which the next operation of a kind fails.
    pub(super) fail_next: BTreeMap<DiskOperation, io::ErrorKind>,
    /// The error with which every read fails.
    pub(super) reads_fail: Option<io::ErrorKind>,
    /// Number of reads so far.
    pub(super) reads: u64,
    /// The number of a read, and the error with which it fails.
    pub(super) read_fails_at: Option<(u64, io::ErrorKind)>,
    /// The seed for the place of the next write, if that is to land elsewhere.
    pub(super) misdirected: Option<u64>,
    pub(super) power_off_at: Option<u64>,
    pub(super) capacity: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) current: BTreeMap<String, u64>,
    pub(super) durable: BTreeMap<String, u64>,
    /// Changes since the last sync, oldest first. A crash keeps the first few, in order.
    pub(super) pending: Vec<NameChange>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Insert(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) current: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written since the last sync.
    pub(super) dirty: Sectors,
    /// Sectors whose sync failed: the medium will never have them.
    pub(super) doomed: Sectors,
    /// Writes since the last sync: the intended offset, and the bytes.
    pub(super) meant: Vec<(usize, Vec<u8>)>,
    /// The writes of the last sync that had any.
    pub(super) newest: Vec<(usize, Vec<u8>)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            epoch: 0,
            next_inode: 1,
            directories: BTreeMap::from([(ROOT, Directory::default())]),
            files: BTreeMap::new(),
            locks: BTreeSet::new(),
            operations: 0,
            history: Vec::new(),
            fail_at: BTreeMap::new(),
            fail_next: BTreeMap::new(),
            reads_fail: None,
            reads: 0,
            read_fails_at: None,
            misdirected: None,
            power_off_at: None,
            capacity: None,
        }
    }
}

impl State {
    /// Counts a change, and fails if a fault is set for it.
    pub(super) fn change(&mut self, operation: DiskOperation) -> io::Result<()> {
        self.powered()?;
        let number = self.operations;
        self.operations += 1;
        self.history.push(operation);
        match self.fail_at.remove(&number).or_else(|| self.fail_next.remove(&operation)) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Counts a read, and fails if a fault is set for it.
    pub(super) fn read(&mut self) -> io::Result<()> {
        self.powered()?;
        let number = self.reads;
        self.reads += 1;
        let aimed = self.read_fails_at.take_if(|(at, _)| *at <= number).map(|(_, error)| error);
        self.reads_fail.or(aimed).map_or(Ok(()), |error| Err(error.into()))
    }

    /// Writes bytes to a wrong place on the medium. Returns false if the medium has no sectors.
    pub(super) fn misdirect(&mut self, bytes: &[u8], seed: u64) -> bool {
        let mut random = Random::new(seed);
        let sectors = |content: &Content| content.durable.len() as u64 / SECTOR_BYTES;
        let total: u64 = self.files.values().map(sectors).sum();
        if total == 0 {
            return false;
        }
        let mut place = random.between(0, total);
        for content in self.files.values_mut() {
            let own = sectors(content);
            if place < own {
                let start = usize::try_from(place * SECTOR_BYTES).expect("a place in memory");
                content.overwrite(start, bytes);
                return true;
            }
            place -= own;
        }
        false
    }

    /// Ends all users of the disk.
    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        self.locks.clear();
        self.fail_at.clear();
        self.read_fails_at = None;
        self.power_off_at = None;
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut waiting = vec![(PathBuf::new(), ROOT)];
        while let Some((path, inode)) = waiting.pop() {
            match self.directories.get(&inode) {
                Some(directory) => {
                    waiting.extend(directory.current.iter().map(|(name, inode)| (path.join(name), *inode)));
                }
                None => paths.push(path),
            }
        }
        paths.sort();
        paths
    }

    pub(super) fn powered(&self) -> io::Result<()> {
        if self.power_off_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    /// Bytes of the files that have a name: removed files take no room.
    pub(super) fn used(&self) -> u64 {
        let named = self.directories.values().flat_map(|directory| directory.current.values());
        named.filter_map(|inode| self.files.get(inode)).map(|content| content.current.len() as u64).sum()
    }

    /// Copies a file or directory of `from`, with everything below it, into a directory of this disk.
    pub(super) fn copy(&mut self, parent: u64, name: &str, from: &Self, inode: u64) {
        let copy = self.next_inode;
        self.next_inode += 1;
        if let Some(directory) = from.directories.get(&inode) {
            self.directories.insert(copy, Directory::default());
            for (name, inode) in &directory.current {
                self.copy(copy, name, from, *inode);
            }
        } else if let Some(content) = from.files.get(&inode) {
            let bytes = content.current.clone();
            self.files.insert(copy, Content { current: bytes.clone(), durable: bytes, ..Content::default() });
        }
        self.directories.get_mut(&parent).expect("a directory for it").place(name, Some(copy));
    }

    pub(super) fn grow(&self, inode: u64, length: usize) -> io::Result<()> {
        let added = (length as u64).saturating_sub(self.files[&inode].current.len() as u64);
        if self.capacity.is_some_and(|capacity| added > 0 && self.used() + added > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut inode = ROOT;
        for component in path.components() {
            let directory = self.directories.get(&inode).ok_or(io::ErrorKind::NotADirectory)?;
            inode = *directory.current.get(&name_of(component)?).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    pub(super) fn split(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(path.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    pub(super) fn insert_file(&mut self, path: &Path) -> io::Result<u64> {
        let (parent, name) = self.split(path)?;
        let inode = self.insert(parent, name)?;
        self.files.insert(inode, Content::default());
        Ok(inode)
    }

    pub(super) fn insert_directory(&mut self, parent: u64, name: String) -> u64 {
        let inode = self.insert(parent, name).expect("the parent is a directory");
        self.directories.insert(inode, Directory::default());
        inode
    }

    pub(super) fn insert(&mut self, parent: u64, name: String) -> io::Result<u64> {
        let inode = self.next_inode;
        let directory = self.directories.get_mut(&parent).ok_or(io::ErrorKind::NotADirectory)?;
        directory.current.insert(name.clone(), inode);
        directory.pending.push(NameChange::Insert(name, inode));
        self.next_inode += 1;
        Ok(inode)
    }
}

impl Directory {
    /// Gives a name to a file, or removes the name, durably.
    pub(super) fn place(&mut self, name: &str, inode: Option<u64>) {
        let pending = self.pending.len();
        self.settle(pending);
        match inode {
            Some(inode) => self.durable.insert(name.to_owned(), inode),
            None => self.durable.remove(name),
        };
        self.current = self.durable.clone();
    }

    /// Makes the first `kept` changes durable and forgets the others.
    pub(super) fn settle(&mut self, kept: usize) {
        for change in self.pending.drain(..).take(kept) {
            match change {
                NameChange::Insert(name, inode) => {
                    self.durable.insert(name, inode);
                }
                NameChange::Remove(name) => {
                    self.durable.remove(&name);
                }
                NameChange::Rename(from, to) => {
                    if let Some(inode) = self.durable.remove(&from) {
                        self.durable.insert(to, inode);
                    }
                }
            }
        }
        self.current = self.durable.clone();
    }
}

impl Content {
    pub(super) fn touch(&mut self, start: u64, end: u64) {
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.doomed.remove(sector);
            self.dirty.insert(sector);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for sector in self.dirty.take() {
            self.write_back(sector);
        }
        if !self.meant.is_empty() {
            self.newest = std::mem::take(&mut self.meant);
        }
    }

    /// Writes the data that was synced last to its intended place.
    pub(super) fn restore_newest(&mut self) {
        let newest = std::mem::take(&mut self.newest);
        for (start, bytes) in &newest {
            if self.durable.get(*start..*start + bytes.len()) != Some(&bytes[..]) {
                self.overwrite(*start, bytes);
            }
        }
        self.newest = newest;
    }

    /// Marks the data of a failed sync as lost, though it can still be read.
    pub(super) fn doom(&mut self) {
        self.doomed.extend(&self.dirty);
        self.dirty.clear();
        self.meant.clear();
    }

    /// Changes bytes on the medium, and in reads of them unless newer bytes wait to be written.
    pub(super) fn overwrite(&mut self, start: usize, bytes: &[u8]) {
        let end = self.durable.len().min(start + bytes.len());
        for place in start..end {
            let byte = bytes[place - start];
            self.durable[place] = byte;
            let sector = place as u64 / SECTOR_BYTES;
            if !self.dirty.contains(sector) && !self.doomed.contains(sector) && place < self.current.len() {
                self.current[place] = byte;
            }
        }
    }

    pub(super) fn settle(&mut self, mut fate: impl FnMut(u64) -> Sector) {
        self.doomed.clear();
        self.meant.clear();
        let truncated = self.current.len() < self.durable.len();
        for sector in self.dirty.take() {
            match fate(sector) {
                Sector::Drop => {}
                Sector::Keep if truncated && sector * SECTOR_BYTES >= self.current.len() as u64 => {
                    self.durable.truncate(self.current.len());
                }
                Sector::Keep => self.write_back(sector),
                Sector::Garbage => self.scramble(sector),
            }
        }
        self.current.clone_from(&self.durable);
    }

    /// Copies a sector to the medium, which grows where needed.
    pub(super) fn write_back(&mut self, sector: u64) {
        let start = usize::try_from(sector * SECTOR_BYTES).expect("a place in memory");
        let end = self.current.len().min(start + SECTOR_LENGTH);
        if start >= end {
            return;
        }
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.current[start..end]);
    }

    pub(super) fn scramble(&mut self, sector: u64) {
        self.write_back(sector);
        let start = usize::try_from(sector * SECTOR_BYTES).expect("a place in memory");
        let end = self.durable.len().min(start + SECTOR_LENGTH);
        let mut random = Random::new(sector);
        for byte in self.durable.get_mut(start..end).unwrap_or_default() {
            *byte ^= random.next_u64().to_le_bytes()[0] | 1;
        }
    }
}

pub(super) fn name_of(component: Component<'_>) -> io::Result<String> {
    match component {
        Component::Normal(name) => Ok(name.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

pub(super) const ROOT: u64 = 0;
const SECTOR_LENGTH: usize = 512;
const _: () = assert!(SECTOR_LENGTH as u64 == SECTOR_BYTES);
