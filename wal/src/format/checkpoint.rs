//! The checkpoint file: the log's knowledge of records whose segments are gone. There are two copies of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes};
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};

use super::layout::{ALIGNMENT, FORMAT_VERSION, NUMBER_MAX};
use super::segment::{HeaderError, check_identity, check_version};

/// The content of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) identity: Identity,
    /// Grows with every write; the copy with the higher one counts.
    pub(crate) generation: u64,
    /// Segments below this one are free.
    pub(crate) oldest_segment: u64,
    /// This segment exists.
    pub(crate) newest_segment: u64,
    /// Every record up to this LSN was durable: none of them may be missing.
    pub(crate) durable_lsn: u64,
    /// The highest LSN ever seen: later batches have higher ones.
    pub(crate) seen_lsn: u64,
    /// The header CRC of the record with the durable LSN. A record with another CRC there is from another time.
    pub(crate) durable_chain: u32,
    /// Ids of deleted streams, ascending.
    pub(crate) deleted: Vec<RangeInclusive<u64>>,
    pub(crate) streams: BTreeMap<u64, StreamCheckpoint>,
}

/// The state of one stream in the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamCheckpoint {
    /// The newest state record.
    pub(crate) state: Option<StateRecord>,
    pub(crate) commit_hint: u64,
    /// The entry that compaction or a reset reached.
    pub(crate) base: StreamBase,
    /// The newest finished checkpoint of the journal.
    pub(crate) journal: Option<JournalCheckpoint>,
    /// Checkpoints of the journal under way: the LSN of each `CheckpointBegin` by id.
    pub(crate) pending: BTreeMap<u64, u64>,
}

/// A state record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateRecord {
    /// The LSN of its first copy.
    pub(crate) lsn: u64,
    pub(crate) bytes: Bytes,
}

/// The place before the first entry of a stream, zero when nothing was compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamBase {
    pub(crate) position: u64,
    pub(crate) mark: u64,
}

/// A finished checkpoint of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalCheckpoint {
    pub(crate) id: u64,
    /// The LSN of its `CheckpointBegin`: records up to it are not needed.
    pub(crate) lsn: u64,
}

/// Reason why a copy of the checkpoint does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointError {
    /// The bytes are not those that were written, or were written only in part.
    Damaged,
    /// The copy is intact, but not for this binary or node.
    Refused(HeaderError),
}

impl Checkpoint {
    /// The checkpoint of an empty log.
    pub(crate) fn of_new_log(identity: Identity, segment: u64) -> Self {
        Self {
            identity,
            generation: 0,
            oldest_segment: segment,
            newest_segment: segment,
            durable_lsn: 0,
            seen_lsn: 0,
            durable_chain: 0,
            deleted: Vec::new(),
            streams: BTreeMap::new(),
        }
    }

    /// The whole file, a multiple of 4096 bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; PREFIX_BYTES];
        out.put_u128_le(self.identity.cluster.0);
        out.put_u64_le(self.identity.node.0);
        out.put_u128_le(self.identity.incarnation.0);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.oldest_segment);
        out.put_u64_le(self.newest_segment);
        out.put_u64_le(self.durable_lsn);
        out.put_u64_le(self.seen_lsn);
        out.put_u32_le(self.durable_chain);
        put_count(&mut out, self.deleted.len());
        for ids in &self.deleted {
            out.put_u64_le(*ids.start());
            out.put_u64_le(*ids.end());
        }
        put_count(&mut out, self.streams.len());
        for (stream, checkpoint) in &self.streams {
            out.put_u64_le(*stream);
            checkpoint.put(&mut out);
        }
        let length = out.len() as u64;
        let mut prefix = &mut out[..PREFIX_BYTES];
        prefix.put_slice(MAGIC);
        prefix.put_u32_le(FORMAT_VERSION);
        prefix.put_u32_le(0);
        prefix.put_u64_le(length);
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        let crc = crc32c::crc32c_append(crc, &out[PREFIX_BYTES..]);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    /// The checkpoint in a file's bytes.
    pub(crate) fn decode(bytes: &[u8], expected: &Identity) -> Result<Self, CheckpointError> {
        if bytes.len() < PREFIX_BYTES || bytes[..MAGIC.len()] != *MAGIC {
            return Err(CheckpointError::Damaged);
        }
        let mut prefix = &bytes[MAGIC.len()..PREFIX_BYTES];
        let (version, features) = (prefix.get_u32_le(), prefix.get_u32_le());
        let length = usize::try_from(prefix.get_u64_le()).unwrap_or(usize::MAX);
        let stored = prefix.get_u32_le();
        if length < PREFIX_BYTES || length > bytes.len() {
            return Err(CheckpointError::Damaged);
        }
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        if stored != crc32c::crc32c_append(crc, &bytes[PREFIX_BYTES..length]) {
            return Err(CheckpointError::Damaged);
        }
        check_version(version, features).map_err(CheckpointError::Refused)?;
        let mut rest = &bytes[PREFIX_BYTES..length];
        let checkpoint = Self::take(&mut rest).ok_or(CheckpointError::Damaged)?;
        if !rest.is_empty() || !checkpoint.is_sensible() {
            return Err(CheckpointError::Damaged);
        }
        check_identity(&checkpoint.identity, expected).map_err(CheckpointError::Refused)?;
        Ok(checkpoint)
    }

    /// The identity that the bytes contain, unverified.
    #[cfg(feature = "inspect")]
    pub(crate) fn owner(bytes: &[u8]) -> Option<Identity> {
        take_identity(&mut bytes.get(PREFIX_BYTES..)?)
    }

    /// Returns true if its numbers are within their bounds.
    fn is_sensible(&self) -> bool {
        let own = [self.generation, self.oldest_segment, self.newest_segment, self.durable_lsn, self.seen_lsn];
        let ranges = self.deleted.iter().all(|ids| ids.start() <= ids.end())
            && self.deleted.windows(2).all(|pair| pair[0].end() < pair[1].start());
        own.iter().all(|number| *number <= NUMBER_MAX / 2)
            && ranges
            && self.streams.values().all(|stream| {
                let state = stream.state.as_ref().map_or(0, |state| state.lsn);
                let mark = stream.journal.map_or(0, |checkpoint| checkpoint.lsn);
                let pending = stream.pending.values().copied().max().unwrap_or(0);
                [stream.base.position, state, mark, pending].iter().all(|number| *number <= NUMBER_MAX)
            })
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let identity = take_identity(rest)?;
        let generation = rest.try_get_u64_le().ok()?;
        let oldest_segment = rest.try_get_u64_le().ok()?;
        let newest_segment = rest.try_get_u64_le().ok()?;
        let durable_lsn = rest.try_get_u64_le().ok()?;
        let seen_lsn = rest.try_get_u64_le().ok()?;
        let durable_chain = rest.try_get_u32_le().ok()?;
        let mut deleted = Vec::new();
        for _ in 0..rest.try_get_u32_le().ok()? {
            deleted.push(rest.try_get_u64_le().ok()?..=rest.try_get_u64_le().ok()?);
        }
        let mut streams = BTreeMap::new();
        for _ in 0..rest.try_get_u32_le().ok()? {
            let stream = rest.try_get_u64_le().ok()?;
            streams.insert(stream, StreamCheckpoint::take(rest)?);
        }
        Some(Self {
            identity,
            generation,
            oldest_segment,
            newest_segment,
            durable_lsn,
            seen_lsn,
            durable_chain,
            deleted,
            streams,
        })
    }
}

impl StreamCheckpoint {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.commit_hint);
        out.put_u64_le(self.base.position);
        out.put_u64_le(self.base.mark);
        out.put_u8(u8::from(self.state.is_some()) | u8::from(self.journal.is_some()) << 1);
        if let Some(StateRecord { lsn, bytes }) = &self.state {
            out.put_u64_le(*lsn);
            put_count(out, bytes.len());
            out.put_slice(bytes);
        }
        if let Some(JournalCheckpoint { id, lsn }) = self.journal {
            out.put_u64_le(id);
            out.put_u64_le(lsn);
        }
        put_count(out, self.pending.len());
        for (id, lsn) in &self.pending {
            out.put_u64_le(*id);
            out.put_u64_le(*lsn);
        }
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let commit_hint = rest.try_get_u64_le().ok()?;
        let base = StreamBase { position: rest.try_get_u64_le().ok()?, mark: rest.try_get_u64_le().ok()? };
        let present = rest.try_get_u8().ok()?;
        let mut state = None;
        if present & 1 != 0 {
            let lsn = rest.try_get_u64_le().ok()?;
            let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
            let (bytes, behind) = rest.split_at_checked(length)?;
            state = Some(StateRecord { lsn, bytes: Bytes::copy_from_slice(bytes) });
            *rest = behind;
        }
        let mut journal = None;
        if present & 2 != 0 {
            journal = Some(JournalCheckpoint { id: rest.try_get_u64_le().ok()?, lsn: rest.try_get_u64_le().ok()? });
        }
        let mut pending = BTreeMap::new();
        for _ in 0..rest.try_get_u32_le().ok()? {
            pending.insert(rest.try_get_u64_le().ok()?, rest.try_get_u64_le().ok()?);
        }
        Some(Self { state, commit_hint, base, journal, pending })
    }
}

fn take_identity(rest: &mut &[u8]) -> Option<Identity> {
    Some(Identity {
        cluster: ClusterId(rest.try_get_u128_le().ok()?),
        node: NodeId(rest.try_get_u64_le().ok()?),
        incarnation: Incarnation(rest.try_get_u128_le().ok()?),
    })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("memory holds fewer than 2^32 of them"));
}

const MAGIC: &[u8; 8] = b"QRTE-CKP";
/// Magic, version, features, length of all, CRC, zero.
const PREFIX_BYTES: usize = 32;
const CRC_AT: usize = 24;
