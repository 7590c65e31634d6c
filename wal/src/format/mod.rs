//! Bytes on disk. `FORMAT.md` describes every one of them.

mod batch;
mod checkpoint;
mod layout;
mod record;
mod segment;

pub(crate) use self::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchDamage, BatchDescription, BatchView, RecordLink, Witness,
};
pub(crate) use self::checkpoint::{
    Checkpoint, CheckpointError, JournalCheckpoint, StateRecord, StreamBase, StreamCheckpoint,
};
#[cfg(feature = "inspect")]
pub(crate) use self::layout::ALIGNMENT;
pub use self::layout::FORMAT_VERSION;
pub(crate) use self::layout::{
    ALIGNMENT_BYTES, NUMBER_MAX, RECORD_HEADER_BYTES, SEGMENT_DATA_START, aligned, in_memory,
};
pub(crate) use self::record::{Record, RecordKind};
pub(crate) use self::segment::{HeaderError, SegmentHeader};
