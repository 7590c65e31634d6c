//! The place of a record.

use crate::format::{Record, aligned};

/// The place of a record, and the bytes that it takes on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Bytes that the record takes on disk, its share of the padding of its batch included.
    pub(crate) charge: u32,
}

impl Place {
    /// The place of a record at `offset` of a segment, in a batch of `batch_bytes` bytes without padding.
    pub(crate) fn of(record: &Record, segment: u64, offset: u64, batch_bytes: u64) -> Self {
        let charge = record.stored_len() * aligned(batch_bytes) / batch_bytes.max(1);
        Self {
            segment,
            offset: u32::try_from(offset).expect("segments are below 4 GiB"),
            charge: u32::try_from(charge).expect("batches are far below 4 GiB"),
        }
    }
}
