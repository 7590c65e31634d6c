//! Losses of a disk in memory, and the operations that can fail.

/// Bytes of a sector. A torn write is torn at sector borders.
pub const SECTOR_BYTES: u64 = 512;

/// The effect of a crash on everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it is lost.
    LoseUnsynced,
    /// All bytes of it are lost, and all names kept.
    LoseBytes,
    /// All of it is kept, and durable from then on.
    KeepAll,
    /// It stays as it is: the process ends, and the machine keeps running.
    Process,
    /// Each sector is kept or lost, and each directory keeps the first few of its unsynced changes, drawn from the
    /// seed.
    Torn(u64),
    /// As [`Crash::Torn`], and a sector may be garbage as well.
    Seeded(u64),
}

/// The fate of one unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// It reached the medium.
    Keep,
    /// The medium keeps the earlier bytes.
    Drop,
    /// The medium has other bytes.
    Garbage,
}

/// A kind of change of the disk, for which a fault can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskOperation {
    /// A file was created.
    Create,
    /// A file was renamed.
    Rename,
    /// A file was removed.
    Remove,
    /// A directory was created.
    CreateDir,
    /// A directory was synced.
    SyncDir,
    /// Bytes were written.
    Write,
    /// A file was synced.
    Sync,
    /// A file was cut off or extended.
    SetLen,
}
