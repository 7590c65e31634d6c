//! One key with its value and its deadline.

use std::sync::Arc;

use super::digest::{digest, mix};
use super::key::Key;
use super::value::Value;

/// Maximum bytes of a key, of a string, and of any other argument. A longer argument ends its connection, as in Redis,
/// and an `APPEND` beyond it is refused when it is applied.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A key, its value and its deadline. Cloning shares them.
///
/// The bytes are always the record's own. A slice would keep alive the whole buffer in which it came from the network
/// or the log. So a store's memory is that of its keys and values. The price is one copy of each value, which takes a
/// few nanoseconds for 256 bytes.
#[derive(Debug, Clone)]
pub enum Record {
    /// A string, all of it in one allocation: version, deadline, length of the key, key, value.
    Text {
        /// The hash of the key.
        hash: u32,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// A value of several items.
    Object {
        /// The hash of the key.
        hash: u32,
        /// The rest.
        object: Arc<Object>,
    },
}

/// A key with a value of several items.
#[derive(Debug, Clone)]
pub struct Object {
    key: Key,
    /// [`NEVER`] if there is none.
    deadline: u64,
    version: u64,
    value: Value,
}

/// The part of a record that does not depend on its value's kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) hash: u32,
    pub(super) key: &'a [u8],
    pub(super) deadline: Option<u64>,
    pub(super) version: u64,
}

/// A key among others that have a deadline. It shares the record's allocation.
#[derive(Debug, Clone)]
pub(super) enum ListedKey {
    Text(Arc<[u8]>),
    Object(Key),
}

impl Record {
    /// A string, copied into one allocation. `scratch` is only working space, kept between calls.
    pub(super) fn text(scratch: &mut Vec<u8>, head: Head<'_>, value: &[&[u8]]) -> Self {
        let key_length = u32::try_from(head.key.len()).expect("a key is shorter than a request, which is bounded");
        scratch.clear();
        scratch.extend_from_slice(&head.version.to_le_bytes());
        scratch.extend_from_slice(&head.deadline.unwrap_or(NEVER).to_le_bytes());
        scratch.extend_from_slice(&key_length.to_le_bytes());
        scratch.extend_from_slice(head.key);
        for part in value {
            scratch.extend_from_slice(part);
        }
        let record = Self::Text { hash: head.hash, bytes: Arc::from(&scratch[..]) };
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        record
    }

    /// A value of several items.
    pub(super) fn object(head: Head<'_>, value: Value) -> Self {
        let (deadline, version) = (head.deadline.unwrap_or(NEVER), head.version);
        let object = Object { key: Key::new(head.key), deadline, version, value };
        Self::Object { hash: head.hash, object: Arc::new(object) }
    }

    /// The hash of the key.
    pub(super) fn hash(&self) -> u32 {
        let (Self::Text { hash, .. } | Self::Object { hash, .. }) = self;
        *hash
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Text { bytes, .. } => text_key(bytes),
            Self::Object { object, .. } => object.key.bytes(),
        }
    }

    /// The string, if the value is one.
    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Self::Text { bytes, .. } => Some(&bytes[HEADER + text_key(bytes).len()..]),
            Self::Object { .. } => None,
        }
    }

    /// The value, if it is no string.
    pub fn as_value(&self) -> Option<&Value> {
        match self {
            Self::Text { .. } => None,
            Self::Object { object, .. } => Some(&object.value),
        }
    }

    /// Log time in Unix ms from which on the key does not exist.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Self::Text { bytes, .. } => Some(number(bytes, VERSION_BYTES)).filter(|deadline| *deadline != NEVER),
            Self::Object { object, .. } => Some(object.deadline).filter(|deadline| *deadline != NEVER),
        }
    }

    /// The store's revision at which the record was last changed.
    pub fn version(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } => number(bytes, 0),
            Self::Object { object, .. } => object.version,
        }
    }

    /// The value and the version, to be changed. Another record that shares them keeps the old ones.
    pub(super) fn value_mut(&mut self) -> Option<(&mut Value, &mut u64)> {
        match self {
            Self::Text { .. } => None,
            Self::Object { object, .. } => {
                let object = Arc::make_mut(object);
                Some((&mut object.value, &mut object.version))
            }
        }
    }

    /// The same value under another key, deadline or version.
    pub(super) fn with_head(&self, scratch: &mut Vec<u8>, head: Head<'_>) -> Self {
        match self {
            Self::Text { .. } => Self::text(scratch, head, &[self.as_text().unwrap_or_default()]),
            Self::Object { object, .. } => Self::object(head, object.value.clone()),
        }
    }

    /// The key as it is listed by its deadline.
    pub(super) fn listed(&self) -> ListedKey {
        match self {
            Self::Text { bytes, .. } => ListedKey::Text(Arc::clone(bytes)),
            Self::Object { object, .. } => ListedKey::Object(object.key.clone()),
        }
    }

    /// Returns true if the key still exists at `log_time`.
    pub(super) fn lives_at(&self, log_time: u64) -> bool {
        self.deadline().is_none_or(|deadline| deadline > log_time)
    }

    /// Bytes of key and value.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } => (bytes.len() - HEADER) as u64,
            Self::Object { object, .. } => object.key.bytes().len() as u64 + object.value.bytes(),
        }
    }

    /// A stable digest of key, value and deadline. A store's digest is the wrapping sum of these.
    pub(super) fn digest(&self) -> u64 {
        match self {
            Self::Text { bytes, .. } => digest(&bytes[VERSION_BYTES..]),
            Self::Object { object, .. } => {
                let head = mix(digest(object.key.bytes()), object.deadline);
                mix(head, object.value.digest())
            }
        }
    }
}

impl ListedKey {
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => text_key(bytes),
            Self::Object(key) => key.bytes(),
        }
    }
}

fn text_key(bytes: &[u8]) -> &[u8] {
    let length = u32::from_le_bytes(bytes[HEADER - 4..HEADER].try_into().expect("four bytes"));
    &bytes[HEADER..HEADER + length as usize]
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Bytes of the version, which come first and are no part of the digest.
const VERSION_BYTES: usize = 8;
/// Bytes before the key: version, deadline, length of the key.
const HEADER: usize = VERSION_BYTES + 8 + 4;
/// A deadline that no log time reaches.
const NEVER: u64 = u64::MAX;
const SCRATCH_BYTES_MAX: usize = 64 * 1024;
