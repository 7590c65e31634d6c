//! What a disk in memory can lose, and the operations that can fail.

/// Bytes of a sector: what is torn is torn at its borders.
pub const SECTOR_BYTES: u64 = 512;

/// What a crash does to everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it is lost.
    LoseUnsynced,
    /// All bytes of it are lost, and all names kept.
    LoseBytes,
    /// All of it is kept, and durable from then on.
    KeepAll,
    /// Nothing happens to it, neither good nor bad: a process ends, and the machine goes on.
    Process,
    /// Each sector is kept or lost, and each directory keeps some of its newest names, as the seed has it.
    Torn(u64),
    /// As [`Crash::Torn`], and a sector may be garbage as well.
    Seeded(u64),
}

/// What becomes of one unsynced sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// It reached the medium.
    Keep,
    /// The medium has what was there before.
    Drop,
    /// The medium has neither.
    Garbage,
}

/// A change of the disk, as faults are aimed at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskOperation {
    /// A file was made.
    Create,
    /// A file was renamed.
    Rename,
    /// A file was removed.
    Remove,
    /// A directory was made.
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
