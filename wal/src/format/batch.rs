//! Batches: groups of records that are written at once and count whole or not at all.

use bytes::Buf;

use super::layout::{ALIGNMENT, RECORD_HEADER_BYTES, aligned, in_memory};
use super::record::{
    HEADER_CRC_AT, LSN_AT, MARK_AT, PAYLOAD_CRC_AT, POSITION_AT, PREDECESSOR_AT, Record, RecordKind, place_crc,
};

/// Builds one batch in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    bytes: Vec<u8>,
    /// Offset of each record in `bytes`.
    records: Vec<u32>,
    /// Numbers of the state records, as places in `records`.
    states: Vec<u32>,
    /// Bytes of the state records.
    state_bytes: usize,
}

/// The identity of a record, to which the next one refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordLink {
    pub(crate) lsn: u64,
    /// The header CRC of the record.
    pub(crate) chain: u32,
}

/// Statements of a batch about the log at the time of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Everything up to this LSN was durable when the batch was written.
    pub(crate) prev_durable: u64,
    /// Both copies of the checkpoint had this generation or a later one, durably.
    pub(crate) checkpoint: u64,
}

/// A state of a batch under construction, to return to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    bytes: usize,
    records: usize,
    states: usize,
    state_bytes: usize,
}

impl BatchBuilder {
    /// Starts an empty batch.
    pub(crate) fn start(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.states.clear();
        self.state_bytes = 0;
        self.push(RecordKind::Begin, 0, 0, 0, &[&[0; BEGIN_PAYLOAD_BYTES]]);
    }

    /// Adds a record whose payload is `parts`, one behind the other. They are copied here only.
    pub(crate) fn push(&mut self, kind: RecordKind, stream: u64, position: u64, mark: u64, parts: &[&[u8]]) {
        let start = self.bytes.len();
        if kind == RecordKind::State {
            self.states.push(number(self.records.len()));
        }
        self.records.push(number(start));
        let length = parts.iter().map(|part| part.len()).sum();
        let payload_crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let record =
            Record { length: number(length), kind, stream, lsn: 0, position, mark, payload_crc, predecessor: 0 };
        record.put(&mut self.bytes);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        if kind == RecordKind::State {
            self.state_bytes += self.bytes.len() - start;
        }
    }

    /// Adds the records of a batch that was sealed before, without the records that sealing added.
    pub(crate) fn push_again<'a>(&mut self, records: impl IntoIterator<Item = (&'a Record, &'a [u8])>) {
        for (record, payload) in records {
            match record.kind {
                RecordKind::Begin | RecordKind::Commit => {}
                RecordKind::State if record.mark < record.lsn => {}
                RecordKind::State => self.push(record.kind, record.stream, record.position, 0, &[payload]),
                _ => self.push(record.kind, record.stream, record.position, record.mark, &[payload]),
            }
        }
    }

    /// The present state, for [`BatchBuilder::go_back`].
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            bytes: self.bytes.len(),
            records: self.records.len(),
            states: self.states.len(),
            state_bytes: self.state_bytes,
        }
    }

    /// Removes the records that were added since.
    pub(crate) fn go_back(&mut self, to: Savepoint) {
        self.bytes.truncate(to.bytes);
        self.records.truncate(to.records);
        self.states.truncate(to.states);
        self.state_bytes = to.state_bytes;
    }

    /// Returns true if nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.len() <= 1
    }

    /// Bytes that the batch takes on disk at most.
    pub(crate) fn bytes_max(&self) -> u64 {
        let copies = if self.states.is_empty() { 0 } else { self.state_bytes + ALIGNMENT };
        aligned((self.bytes.len() + copies + RECORD_HEADER_BYTES) as u64)
    }

    /// Gives the batch its place: adds the second copies of state records and the commit record, and fills in all CRCs.
    pub(crate) fn seal(
        &mut self,
        segment: u64,
        offset: u64,
        first_lsn: u64,
        chain: u32,
        witness: Witness,
    ) -> RecordLink {
        self.copy_states(first_lsn);
        let commit = self.bytes.len();
        let count = self.records.len() as u64 + 1;
        self.push(RecordKind::Commit, 0, count, 0, &[]);
        self.describe(witness);
        let mut chain = chain;
        let last = self.records.len() - 1;
        for (number, start) in self.records.iter().enumerate() {
            let start = *start as usize;
            if number == last {
                let crc = crc32c::crc32c(&self.bytes[..commit]);
                self.bytes[commit + PAYLOAD_CRC_AT..][..4].copy_from_slice(&crc.to_le_bytes());
            }
            let header = &mut self.bytes[start..start + RECORD_HEADER_BYTES];
            header[LSN_AT..][..8].copy_from_slice(&(first_lsn + number as u64).to_le_bytes());
            header[PREDECESSOR_AT..][..4].copy_from_slice(&chain.to_le_bytes());
            chain = place_crc(header, segment, offset + start as u64);
            header[HEADER_CRC_AT..][..4].copy_from_slice(&chain.to_le_bytes());
        }
        self.bytes.resize(in_memory(aligned(self.bytes.len() as u64)), 0);
        RecordLink { lsn: first_lsn + last as u64, chain }
    }

    /// The batch's bytes, once it is sealed: whole pages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the sealed batch without its padding.
    pub(crate) fn used_bytes(&self) -> u64 {
        let last = self.records[self.records.len() - 1];
        u64::from(last) + RECORD_HEADER_BYTES as u64
    }

    /// Adds a second copy of each state record, in pages that hold none of the first copies. The two refer to each
    /// other by LSN.
    fn copy_states(&mut self, first_lsn: u64) {
        if self.states.is_empty() {
            return;
        }
        let last = self.records[self.states[self.states.len() - 1] as usize] as usize;
        let last_sector = (last + self.stored_len(last) - 1) / ALIGNMENT;
        if self.bytes.len() / ALIGNMENT <= last_sector {
            self.bytes.resize((last_sector + 1) * ALIGNMENT, 0);
        }
        for state in std::mem::take(&mut self.states) {
            let original = self.records[state as usize] as usize;
            let copy = self.bytes.len();
            let twin = first_lsn + self.records.len() as u64;
            self.records.push(number(copy));
            let stored = self.stored_len(original);
            self.bytes.extend_from_within(original..original + stored);
            self.bytes[original + MARK_AT..][..8].copy_from_slice(&twin.to_le_bytes());
            self.bytes[copy + MARK_AT..][..8].copy_from_slice(&(first_lsn + u64::from(state)).to_le_bytes());
        }
    }

    /// Fills in the fields of the first record that describe the whole batch.
    fn describe(&mut self, witness: Witness) {
        let (length, count) = (number(self.bytes.len()), number(self.records.len()));
        let payload = RECORD_HEADER_BYTES;
        self.bytes[payload..][..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[payload + 4..][..4].copy_from_slice(&count.to_le_bytes());
        let crc = crc32c::crc32c(&self.bytes[payload..payload + BEGIN_PAYLOAD_BYTES]);
        self.bytes[PAYLOAD_CRC_AT..][..4].copy_from_slice(&crc.to_le_bytes());
        self.bytes[MARK_AT..][..8].copy_from_slice(&witness.prev_durable.to_le_bytes());
        self.bytes[POSITION_AT..][..8].copy_from_slice(&witness.checkpoint.to_le_bytes());
    }

    fn stored_len(&self, start: usize) -> usize {
        let length = (&self.bytes[start..]).get_u32_le() as usize;
        (RECORD_HEADER_BYTES + length).next_multiple_of(8)
    }
}

/// The description of a batch in its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchDescription {
    /// Bytes from the first record to the end of the commit record.
    pub(crate) bytes: u64,
    /// Number of records, the first and the commit record included.
    pub(crate) records: u64,
    pub(crate) first_lsn: u64,
    pub(crate) witness: Witness,
    pub(crate) predecessor: u32,
}

impl BatchDescription {
    /// Returns true if the batch is a marker: it holds nothing but the proof of what was durable before it.
    pub(crate) fn is_marker(&self) -> bool {
        self.records == MARKER_RECORDS
    }

    /// The header of a batch that was written for this place, if `bytes` start with one.
    pub(crate) fn read(bytes: &[u8], segment: u64, offset: u64) -> Option<Self> {
        let (record, _) = Record::read(bytes, segment, offset)?;
        let mut payload = bytes.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + BEGIN_PAYLOAD_BYTES)?;
        let is_begin = record.kind == RecordKind::Begin && record.length as usize == BEGIN_PAYLOAD_BYTES;
        if !is_begin || record.payload_crc != crc32c::crc32c(payload) {
            return None;
        }
        Some(Self {
            bytes: u64::from(payload.get_u32_le()),
            records: u64::from(payload.get_u32_le()),
            first_lsn: record.lsn,
            witness: Witness { prev_durable: record.mark, checkpoint: record.position },
            predecessor: record.predecessor,
        })
    }
}

/// A batch in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchView<'a> {
    /// Bytes from the first record to the end of the commit record.
    bytes: &'a [u8],
    offset: u64,
    /// The commit record.
    pub(crate) last: RecordLink,
}

/// A record in a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredRecord<'a> {
    pub(crate) record: Record,
    /// Offset of the header in the segment.
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
}

/// The first place where the bytes of a batch are not those that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchDamage {
    /// Offset in the segment.
    pub(crate) offset: u64,
    /// The record header that the bytes there contain, unverified.
    pub(crate) record: Option<Record>,
}

impl<'a> BatchView<'a> {
    /// Checks the batch at the start of `bytes` in full. `bytes` reach to the end of its last page.
    pub(crate) fn read(
        bytes: &'a [u8],
        header: &BatchDescription,
        segment: u64,
        offset: u64,
        chain: u32,
    ) -> Result<Self, BatchDamage> {
        let length = in_memory(header.bytes);
        let damage =
            |at: usize| BatchDamage { offset: offset + at as u64, record: bytes.get(at..).and_then(Record::guess) };
        let (mut at, mut chain, mut lsn) = (0, chain, header.first_lsn);
        loop {
            at = skip_gap(bytes, at);
            let Some((record, crc)) =
                bytes.get(at..length).and_then(|rest| Record::read(rest, segment, offset + at as u64))
            else {
                return Err(damage(at));
            };
            if record.predecessor != chain || record.lsn != lsn {
                return Err(damage(at));
            }
            chain = crc;
            let end = at + in_memory(record.stored_len());
            if record.kind == RecordKind::Commit {
                let is_whole = end == length
                    && record.position == header.records
                    && record.lsn - header.first_lsn + 1 == header.records
                    && record.payload_crc == crc32c::crc32c(&bytes[..at])
                    && bytes[end..].iter().all(|byte| *byte == 0);
                return if is_whole {
                    Ok(Self { bytes: &bytes[..length], offset, last: RecordLink { lsn, chain } })
                } else {
                    Err(damage(at))
                };
            }
            let payload = bytes.get(at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + record.length as usize);
            if end > length || payload.is_none_or(|payload| crc32c::crc32c(payload) != record.payload_crc) {
                return Err(damage(at));
            }
            (at, lsn) = (end, lsn + 1);
        }
    }

    /// A batch that was just sealed.
    pub(crate) fn of_sealed(bytes: &'a [u8], offset: u64, last: RecordLink) -> Self {
        Self { bytes, offset, last }
    }

    /// Its records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = StoredRecord<'a>> + use<'a> {
        let (bytes, offset) = (self.bytes, self.offset);
        let mut at = 0;
        std::iter::from_fn(move || {
            at = skip_gap(bytes, at);
            let record = bytes.get(at..).and_then(Record::guess)?;
            let start = at;
            at += in_memory(record.stored_len());
            let payload = &bytes[start + RECORD_HEADER_BYTES..start + RECORD_HEADER_BYTES + record.length as usize];
            Some(StoredRecord { record, offset: offset + start as u64, payload })
        })
    }
}

/// Offset of the next record: zeros where a record could start reach to the next page.
pub(crate) fn skip_gap(bytes: &[u8], at: usize) -> usize {
    let is_gap = !at.is_multiple_of(ALIGNMENT) && bytes.get(at..at + 8).is_some_and(|start| start == [0; 8]);
    if is_gap { at.next_multiple_of(ALIGNMENT) } else { at }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("batches are far below 4 GiB")
}

/// Bytes of the record that opens a batch.
pub(crate) const BATCH_HEADER_BYTES: usize = RECORD_HEADER_BYTES + BEGIN_PAYLOAD_BYTES;
const BEGIN_PAYLOAD_BYTES: usize = 8;
/// Number of records in a marker: the first and the last.
const MARKER_RECORDS: u64 = 2;
