//! Sizes and bounds that all parts of the format share.

/// The version that this binary writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Batches start on multiples of this: the page cache writes whole pages, so that a torn page holds one batch only.
pub(crate) const ALIGNMENT_BYTES: u64 = 4096;

/// [`ALIGNMENT_BYTES`] as a size in memory.
pub(crate) const ALIGNMENT: usize = 4096;

/// Bytes of a record's header. Records start on multiples of 8.
pub(crate) const RECORD_HEADER_BYTES: usize = 56;

/// Upper bound of positions of entries. LSNs, segment ids and generations, from which the log counts on, are at most
/// half of it, so that counting cannot overflow, whatever a damaged file contains.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Offset of the first batch of a segment.
pub(crate) const SEGMENT_DATA_START: u64 = ALIGNMENT_BYTES;

/// The place in memory of an offset that lies within a segment.
pub(crate) fn in_memory(offset: u64) -> usize {
    usize::try_from(offset).expect("segments are below 4 GiB")
}

/// Rounds up to the next multiple of the alignment.
pub(crate) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT_BYTES)
}
