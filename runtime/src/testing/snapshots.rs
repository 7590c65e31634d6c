//! The snapshots of one node, in memory: finished ones survive a crash, half received ones do not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{LogIndex, SnapshotMeta, crc32c};

use crate::group::snapshot::{SnapshotDone, SnapshotFailure, SnapshotOperation};

/// A store of snapshots in memory.
#[derive(Debug, Default)]
pub struct MemorySnapshots {
    /// Finished snapshots with their content.
    pub durable: BTreeMap<LogIndex, (SnapshotMeta, Vec<u8>)>,
    /// The snapshot that is being received.
    pub incoming: Option<(SnapshotMeta, u64, Vec<u8>)>,
    /// Snapshots whose content was damaged after it was written.
    pub rotten: BTreeSet<LogIndex>,
    /// The failure of every operation; `None` if they succeed.
    pub failure: Option<SnapshotFailure>,
}

impl MemorySnapshots {
    /// The newest finished snapshot.
    pub fn newest(&self) -> Option<SnapshotMeta> {
        self.durable.values().next_back().map(|(meta, _)| meta.clone())
    }

    /// Performs an operation at once.
    ///
    /// # Errors
    /// When the operation fails, as it would on a disk, or when all are to fail.
    pub fn perform(&mut self, operation: SnapshotOperation) -> Result<SnapshotDone, SnapshotFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match operation {
            SnapshotOperation::Build { meta, write } => {
                let mut content = Vec::new();
                write(&mut content).map_err(|error| SnapshotFailure::Io(error.to_string()))?;
                Ok(self.keep(meta, content))
            }
            SnapshotOperation::Create { meta, length } => {
                self.incoming = Some((meta, length, Vec::new()));
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Write { offset, bytes } => {
                let (_, length, content) = self.incoming.as_mut().ok_or(SnapshotFailure::Missing)?;
                assert_eq!(offset, content.len() as u64, "pieces are written in their order");
                content.extend_from_slice(&bytes);
                assert!(content.len() as u64 <= *length, "no more comes than was announced");
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Finish { checksum, read } => {
                let (meta, length, content) = self.incoming.take().ok_or(SnapshotFailure::Missing)?;
                if content.len() as u64 != length || crc32c(&content) != checksum {
                    return Err(SnapshotFailure::Damaged);
                }
                let state =
                    read(&mut &content[..]).map_err(|error| SnapshotFailure::Unrestorable(error.to_string()))?;
                self.keep(meta.clone(), content);
                Ok(SnapshotDone::Received { meta, state })
            }
            SnapshotOperation::Abort => {
                self.incoming = None;
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::DeleteAll => {
                self.incoming = None;
                self.durable.clear();
                Ok(SnapshotDone::Done)
            }
            SnapshotOperation::Read { index, offset, bytes_max } => {
                let (_, content) = self.durable.get(&index).ok_or(SnapshotFailure::Missing)?;
                let start = usize::try_from(offset).expect("small").min(content.len());
                let end = (start + bytes_max).min(content.len());
                let mut bytes = content[start..end].to_vec();
                if self.rotten.contains(&index) {
                    for byte in &mut bytes {
                        *byte ^= 1;
                    }
                }
                let (bytes, length) = (Bytes::from(bytes), content.len() as u64);
                Ok(SnapshotDone::Piece { offset, bytes, length, checksum: crc32c(content) })
            }
            SnapshotOperation::Restore { index, read } => {
                let (_, content) = self.durable.get(&index).ok_or(SnapshotFailure::Missing)?;
                let restored = read(&mut &content[..]).map_err(|error| SnapshotFailure::Io(error.to_string()))?;
                Ok(SnapshotDone::Restored(restored))
            }
            SnapshotOperation::Verify { index } if self.rotten.contains(&index) => Err(SnapshotFailure::Damaged),
            SnapshotOperation::Verify { .. } => Ok(SnapshotDone::Done),
            SnapshotOperation::DeleteBefore { index } => {
                self.durable = self.durable.split_off(&index);
                Ok(SnapshotDone::Done)
            }
        }
    }

    fn keep(&mut self, meta: SnapshotMeta, content: Vec<u8>) -> SnapshotDone {
        let (length, checksum) = (content.len() as u64, crc32c(&content));
        self.rotten.remove(&meta.index);
        self.durable.insert(meta.index, (meta.clone(), content));
        SnapshotDone::Durable { meta, length, checksum }
    }
}
