//! A write-ahead log for consensus.

pub mod disk;

mod snapshot_store;

pub use snapshot_store::{
    SnapshotBuilder, SnapshotContent, SnapshotError, SnapshotFile, SnapshotStore, StoredSnapshot,
};
