//! Metadata of a snapshot.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Configuration, ConfigurationError, LogIndex, LogTime, Term};

/// Metadata of a snapshot, which covers the log up to and including `index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// Index of the last entry that the snapshot covers.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// That entry's log time.
    pub log_time: LogTime,
    /// The configuration in force at that entry.
    pub configuration: Configuration,
}

impl SnapshotMeta {
    /// Encodes the metadata: version, index, term, log time and configuration; little-endian.
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

    /// Decodes metadata from all of `bytes`.
    ///
    /// # Errors
    /// When bytes are missing or left over, the version is unknown, or the configuration cannot be decoded.
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

/// Reason why bytes are not a snapshot's metadata. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotMetaError {
    /// A newer version of the format wrote the bytes.
    Version(u8),
    /// The bytes are not those of a snapshot's metadata.
    Malformed,
    /// The configuration in the metadata cannot be decoded.
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
