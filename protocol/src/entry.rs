//! Log entries: the same bytes on the wire and on disk.
//!
//! ```text
//!  0       1       2       3       4                 8
//! +-------+-------+-------+-------+-----------------+-------------------------+
//! |version| kind  | flags |   0   | payload length  | payload crc32c          |   12
//! +-------+-------+-------+-------+-----------------+-------------------------+
//! | incarnation of the proposer (16)                                          |   28
//! +---------------------------------+-----------------------------------------+
//! | start counter of the proposer   | sequence of the proposal (8)            |   40
//! +---------------------------------+-----------------------------------------+
//! | acknowledged below (8)          | log time, Unix ms (8)                   |   56
//! +---------------------------------+-----------------------------------------+
//! ```
//!
//! All numbers are little-endian. Index and term travel beside an entry and not in it, so that the bytes of an entry do
//! not change when its index or term does.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};

use crate::{Incarnation, LogTime, ProposalId, SessionId};

/// Length of an encoded entry header in bytes.
pub const ENTRY_HEADER_BYTES: usize = 56;

/// Purpose of an entry. New kinds are only appended to the list. A binary that does not know a kind halts the group and
/// reports the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A command for the state machine.
    Command,
    /// The members of the group from this index on.
    Configuration,
    /// No content: the first entry of a new leader, or an entry that fills a gap.
    NoOp,
    /// No content but the log time, so that deadlines pass when there are no commands.
    Tick,
    /// Switches on new behaviour, at this index on every replica.
    FeatureLevel,
    /// Opens the session of its proposal id.
    SessionOpen,
    /// Closes the session of its proposal id.
    SessionClose,
}

impl EntryKind {
    /// Ascending by their codes, which begin with one.
    const ALL: [Self; 7] = [
        Self::Command,
        Self::Configuration,
        Self::NoOp,
        Self::Tick,
        Self::FeatureLevel,
        Self::SessionOpen,
        Self::SessionClose,
    ];

    /// The byte that encodes the kind in an entry's header.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Command => 1,
            Self::Configuration => 2,
            Self::NoOp => 3,
            Self::Tick => 4,
            Self::FeatureLevel => 5,
            Self::SessionOpen => 6,
            Self::SessionClose => 7,
        }
    }

    /// The kind of the encoded entry at the start of `bytes`, without a look at the rest; nothing when the byte that
    /// stands for the kind is missing or unknown.
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        bytes.get(KIND_AT).and_then(|code| Self::from_code(*code))
    }

    fn from_code(code: u8) -> Option<Self> {
        let place = usize::from(code).checked_sub(1)?;
        Self::ALL.get(place).copied()
    }
}

/// Everything about an entry except its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryHeader {
    /// Purpose of the entry.
    pub kind: EntryKind,
    /// Id of the proposal; all zero in entries that the protocol wrote itself.
    pub id: ProposalId,
    /// Set if the proposal belongs to an open session: every proposal of the session with a smaller sequence number was
    /// answered, so its response may be forgotten. Zero if the proposal is outside any session.
    pub acknowledged_below: u64,
    /// Log time at which the leader appended the entry; never decreases along the log.
    pub log_time: LogTime,
    /// CRC-32C of the payload, computed where the payload is made and checked where it is received and where it is
    /// applied.
    pub checksum: u32,
    /// Length of the payload if the payload itself is left out. A witness keeps such entries.
    pub elided_length: Option<u32>,
}

/// An entry of a replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Everything about the entry except its payload.
    pub header: EntryHeader,
    /// The command, which the protocol does not interpret. Empty if the payload is left out.
    pub payload: Bytes,
}

impl Entry {
    /// Makes an entry that the protocol itself writes; it has no proposer.
    #[must_use]
    pub fn internal(kind: EntryKind, log_time: LogTime, payload: Bytes) -> Self {
        let header = EntryHeader {
            kind,
            id: ProposalId::default(),
            acknowledged_below: 0,
            log_time,
            checksum: crate::crc32c(&payload),
            elided_length: None,
        };
        Self { header, payload }
    }

    /// True if the payload has the checksum that the header states, and always if the payload is left out.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.header.elided_length.is_some() || crate::crc32c(&self.payload) == self.header.checksum
    }

    /// Length of the encoded entry in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        ENTRY_HEADER_BYTES + self.payload.len()
    }

    /// Encodes the header. The header and the payload behind it are the bytes of the entry.
    ///
    /// # Panics
    /// When the payload is longer than `u32::MAX` bytes. The limits that are checked when it is proposed are far below.
    #[must_use]
    pub fn encode_header(&self) -> [u8; ENTRY_HEADER_BYTES] {
        let header = &self.header;
        let length = u32::try_from(self.payload.len()).expect("payloads are bounded far below 4 GiB");
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_u8(VERSION);
        out.put_u8(header.kind.code());
        out.put_u8(if header.elided_length.is_some() { FLAG_ELIDED } else { 0 });
        out.put_u8(0);
        out.put_u32_le(header.elided_length.unwrap_or(length));
        out.put_u32_le(header.checksum);
        out.put_u128_le(header.id.session.incarnation.0);
        out.put_u32_le(header.id.session.start);
        out.put_u64_le(header.id.sequence);
        out.put_u64_le(header.acknowledged_below);
        out.put_u64_le(header.log_time.0);
        bytes
    }

    /// Appends the bytes of the entry to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.encode_header());
        out.put_slice(&self.payload);
    }

    /// Takes one entry off the front of `bytes`. Its payload is a slice of `bytes`, not a copy.
    ///
    /// # Errors
    /// When bytes are missing, or the version, the kind or a flag is unknown to this binary. `bytes` is then unchanged.
    pub fn decode_front(bytes: &mut Bytes) -> Result<Self, EntryError> {
        let (header, length) = decode_header(bytes)?;
        let end = ENTRY_HEADER_BYTES + length;
        if bytes.len() < end {
            return Err(EntryError::Short { needed: end, found: bytes.len() });
        }
        let payload = bytes.slice(ENTRY_HEADER_BYTES..end);
        bytes.advance(end);
        Ok(Self { header, payload })
    }

    /// Decodes an entry from all of `bytes`.
    ///
    /// # Errors
    /// The errors of [`Entry::decode_front`], and [`EntryError::Trailing`] when bytes are left over.
    pub fn decode(mut bytes: Bytes) -> Result<Self, EntryError> {
        let entry = Self::decode_front(&mut bytes)?;
        if bytes.is_empty() { Ok(entry) } else { Err(EntryError::Trailing { bytes: bytes.len() }) }
    }
}

/// Reason why bytes are not an entry. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// There are fewer bytes than the header states.
    Short {
        /// Number of bytes that the entry needs.
        needed: usize,
        /// Number of bytes that are there.
        found: usize,
    },
    /// Bytes follow the entry.
    Trailing {
        /// Number of these bytes.
        bytes: usize,
    },
    /// A newer version of the format wrote the bytes.
    Version(u8),
    /// This binary does not know the kind.
    Kind(u8),
    /// This binary does not know a flag.
    Flags(u8),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, found } => write!(f, "the entry needs {needed} bytes, but there are {found}"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the entry"),
            Self::Version(version) => write!(f, "entry format version {version} is newer than {VERSION}"),
            Self::Kind(kind) => write!(f, "entry kind {kind} is unknown to this version"),
            Self::Flags(flags) => write!(f, "entry flags {flags:#04x} are unknown to this version"),
        }
    }
}

impl std::error::Error for EntryError {}

fn decode_header(bytes: &Bytes) -> Result<(EntryHeader, usize), EntryError> {
    let Some(header) = bytes.first_chunk::<ENTRY_HEADER_BYTES>() else {
        return Err(EntryError::Short { needed: ENTRY_HEADER_BYTES, found: bytes.len() });
    };
    let mut rest = &header[..];
    let version = rest.get_u8();
    if version != VERSION {
        return Err(EntryError::Version(version));
    }
    let code = rest.get_u8();
    let kind = EntryKind::from_code(code).ok_or(EntryError::Kind(code))?;
    let flags = rest.get_u8();
    let reserved = rest.get_u8();
    if flags & !FLAG_ELIDED != 0 || reserved != 0 {
        return Err(EntryError::Flags(flags));
    }
    let length = rest.get_u32_le();
    let elided = flags & FLAG_ELIDED != 0;
    let checksum = rest.get_u32_le();
    let session = SessionId { incarnation: Incarnation(rest.get_u128_le()), start: rest.get_u32_le() };
    let id = ProposalId { session, sequence: rest.get_u64_le() };
    let acknowledged_below = rest.get_u64_le();
    let log_time = LogTime(rest.get_u64_le());
    let elided_length = elided.then_some(length);
    let header = EntryHeader { kind, id, acknowledged_below, log_time, checksum, elided_length };
    let payload = if elided { 0 } else { usize::try_from(length).unwrap_or(usize::MAX - ENTRY_HEADER_BYTES) };
    Ok((header, payload))
}

const VERSION: u8 = 1;
const KIND_AT: usize = 1;
const FLAG_ELIDED: u8 = 1;
