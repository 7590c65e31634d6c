//! What a snapshot stands for.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Configuration, ConfigurationError, LogIndex, LogTime, Term};

/// What a snapshot stands for: the log up to and including `index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot covers.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// That entry's log time.
    pub log_time: LogTime,
    /// The configuration in force at that entry.
    pub configuration: Configuration,
}

impl SnapshotMeta {
    /// The metadata's bytes: version, index, term, log time, configuration; little-endian.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u64_le(self.index.0);
        out.put_u64_le(self.term.0);
        out.put_u64_le(self.log_time.0);
        out.put_slice(&self.configuration.encode());
        out.freeze()
    }

    /// The metadata that `bytes` hold, and nothing else.
    ///
    /// # Errors
    /// When the bytes are short, long or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotMetaError> {
        if bytes.len() < FIXED_BYTES {
            return Err(SnapshotMetaError::Malformed);
        }
        let mut rest = bytes;
        let version = rest.get_u8();
        if version != VERSION {
            return Err(SnapshotMetaError::Version(version));
        }
        let (index, term, log_time) = (rest.get_u64_le(), rest.get_u64_le(), rest.get_u64_le());
        let configuration = Configuration::decode(rest).map_err(SnapshotMetaError::Configuration)?;
        Ok(Self { index: LogIndex(index), term: Term(term), log_time: LogTime(log_time), configuration })
    }
}

/// Why bytes are not a snapshot's metadata. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotMetaError {
    /// Written by a newer version of the format.
    Version(u8),
    /// The bytes are not those of a snapshot's metadata.
    Malformed,
    /// The configuration in them cannot be read.
    Configuration(ConfigurationError),
}

impl fmt::Display for SnapshotMetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "snapshot metadata version {version} is newer than {VERSION}"),
            Self::Malformed => f.write_str("the bytes are not those of a snapshot's metadata"),
            Self::Configuration(error) => write!(f, "snapshot metadata: {error}"),
        }
    }
}

impl std::error::Error for SnapshotMetaError {}

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 25;
