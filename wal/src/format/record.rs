//! The header of every record.

use bytes::{Buf, BufMut};

use super::layout::{NUMBER_MAX, RECORD_HEADER_BYTES};

/// The kind of a record. Kinds are only appended; zero is invalid, since space that was never written is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Opens a batch.
    Begin,
    /// Closes a batch.
    Commit,
    /// An entry behind the last one.
    Entry,
    /// The entries from the position on are gone.
    TruncateFrom,
    /// The entries up to the position are gone.
    CompactTo,
    /// The log starts again behind the position.
    Reset,
    /// The newest record of a key; without a payload, the key is gone.
    Journal,
    /// Marks the place up to which a checkpoint of the journal will cover it.
    CheckpointBegin,
    /// A checkpoint of the journal is durable elsewhere.
    CheckpointDone,
    /// A state record; written twice.
    State,
    /// Entries up to the position are committed.
    CommitHint,
    /// An entry that was copied forward so that its old segment can be freed.
    RelocatedEntry,
    /// A journal record that was copied forward; its mark is the LSN with which it was first written.
    RelocatedJournal,
    /// The stream is gone for good.
    StreamDeleted,
}

impl RecordKind {
    pub(crate) const ALL: [Self; 14] = [
        Self::Begin,
        Self::Commit,
        Self::Entry,
        Self::TruncateFrom,
        Self::CompactTo,
        Self::Reset,
        Self::Journal,
        Self::CheckpointBegin,
        Self::CheckpointDone,
        Self::State,
        Self::CommitHint,
        Self::RelocatedEntry,
        Self::RelocatedJournal,
        Self::StreamDeleted,
    ];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Begin => 1,
            Self::Commit => 2,
            Self::Entry => 3,
            Self::TruncateFrom => 4,
            Self::CompactTo => 5,
            Self::Reset => 6,
            Self::Journal => 7,
            Self::CheckpointBegin => 8,
            Self::CheckpointDone => 9,
            Self::State => 10,
            Self::CommitHint => 11,
            Self::RelocatedEntry => 12,
            Self::RelocatedJournal => 13,
            Self::StreamDeleted => 14,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// A record's header.
///
/// ```text
///  0                4      5                        8
/// +----------------+------+------+-----------------+-----------------+
/// | payload length | kind | zero                   | stream (8)      |  16
/// +----------------+------+------+-----------------+-----------------+
/// | LSN (8)                      | position (8)                      |  32
/// +------------------------------+------------------+----------------+
/// | mark (8)                     | payload crc      | predecessor's  |  48
/// +----------------+-------------+------------------+----------------+
/// | header crc     | zero        |                                      56
/// +----------------+-------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) length: u32,
    pub(crate) kind: RecordKind,
    pub(crate) stream: u64,
    pub(crate) lsn: u64,
    pub(crate) position: u64,
    pub(crate) mark: u64,
    /// CRC-32C of the payload; of the whole batch before it in a [`RecordKind::Commit`].
    pub(crate) payload_crc: u32,
    /// The header CRC of the record before this one.
    pub(crate) predecessor: u32,
}

impl Record {
    /// Appends the header without its CRC, which is filled in later.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.length);
        out.put_u8(self.kind.code());
        out.put_u8(0);
        out.put_u16_le(0);
        out.put_u64_le(self.stream);
        out.put_u64_le(self.lsn);
        out.put_u64_le(self.position);
        out.put_u64_le(self.mark);
        out.put_u32_le(self.payload_crc);
        out.put_u32_le(self.predecessor);
        out.put_u64_le(0);
    }

    /// The header at the start of `bytes` and its CRC, if it was written for this place.
    pub(crate) fn read(bytes: &[u8], segment: u64, offset: u64) -> Option<(Self, u32)> {
        let header = bytes.get(..RECORD_HEADER_BYTES)?;
        // A cheap look first: opening tries every multiple of 8 in a torn tail.
        if RecordKind::from_code(header[4]).is_none() || header[5..8] != [0; 3] || header[52..56] != [0; 4] {
            return None;
        }
        let stored = (&header[HEADER_CRC_AT..]).get_u32_le();
        if stored != place_crc(header, segment, offset) {
            return None;
        }
        Self::fields(header).filter(Self::is_sensible).map(|record| (record, stored))
    }

    /// Returns true if its numbers are within their bounds.
    fn is_sensible(&self) -> bool {
        let is_index = matches!(
            self.kind,
            RecordKind::Entry
                | RecordKind::RelocatedEntry
                | RecordKind::TruncateFrom
                | RecordKind::CompactTo
                | RecordKind::Reset
        );
        self.lsn <= NUMBER_MAX / 2 && (!is_index || self.position <= NUMBER_MAX)
    }

    /// Decodes a header without any check, to name damage.
    pub(crate) fn guess(bytes: &[u8]) -> Option<Self> {
        Self::fields(bytes.get(..RECORD_HEADER_BYTES)?)
    }

    /// Its LSN, or that of the record of which it is a copy. State records are compared by it, since copies stand
    /// behind all originals of their batch.
    pub(crate) fn original_lsn(&self) -> u64 {
        if self.kind == RecordKind::State { self.lsn.min(self.mark) } else { self.lsn }
    }

    /// Bytes of the record, padding included.
    pub(crate) fn stored_len(&self) -> u64 {
        (RECORD_HEADER_BYTES as u64 + u64::from(self.length)).next_multiple_of(8)
    }

    fn fields(header: &[u8]) -> Option<Self> {
        let mut rest = header;
        let length = rest.get_u32_le();
        let kind = RecordKind::from_code(rest.get_u8())?;
        rest.advance(3);
        Some(Self {
            length,
            kind,
            stream: rest.get_u64_le(),
            lsn: rest.get_u64_le(),
            position: rest.get_u64_le(),
            mark: rest.get_u64_le(),
            payload_crc: rest.get_u32_le(),
            predecessor: rest.get_u32_le(),
        })
    }
}

/// The header CRC: over the header up to this CRC, the segment's id and the header's offset in it. So a record passes
/// only at the place for which it was written.
pub(crate) fn place_crc(header: &[u8], segment: u64, offset: u64) -> u32 {
    let mut covered = [0; HEADER_CRC_AT + 16];
    covered[..HEADER_CRC_AT].copy_from_slice(&header[..HEADER_CRC_AT]);
    covered[HEADER_CRC_AT..HEADER_CRC_AT + 8].copy_from_slice(&segment.to_le_bytes());
    covered[HEADER_CRC_AT + 8..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&covered)
}

pub(super) const LSN_AT: usize = 16;
pub(super) const POSITION_AT: usize = 24;
pub(super) const MARK_AT: usize = 32;
pub(super) const PAYLOAD_CRC_AT: usize = 40;
pub(super) const PREDECESSOR_AT: usize = 44;
pub(super) const HEADER_CRC_AT: usize = 48;
