//! Requests of clients, and their responses.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A client's request for a register or some lists. There are few of them, so that calls conflict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterRequest {
    /// Read a register.
    Read {
        /// The register.
        key: u8,
    },
    /// Write a register.
    Write {
        /// The register.
        key: u8,
        /// The value; zero stands for an absent value, and deletes the register.
        value: u64,
    },
    /// Write a register if it holds the old value. If it does not, nothing is done.
    Cas {
        /// The register.
        key: u8,
        /// The old value.
        old: u64,
        /// The new value.
        new: u64,
    },
    /// Append to lists and read lists in one transaction.
    Txn {
        /// The steps: a list, and the value to append, or `None` to read it.
        steps: Vec<(u64, Option<u64>)>,
    },
}

/// Result of a [`RegisterRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Of a read: the register's value; zero if it is absent.
    pub value: u64,
    /// Of a transaction: the lists that it read, in order.
    pub lists: Vec<Vec<u64>>,
}

impl RegisterRequest {
    /// Encodes the request for the payload of an entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Read { key } => out.put_slice(&[READ, *key]),
            Self::Write { key, value } => {
                out.put_slice(&[WRITE, *key]);
                out.put_u64_le(*value);
            }
            Self::Cas { key, old, new } => {
                out.put_slice(&[CAS, *key]);
                out.put_u64_le(*old);
                out.put_u64_le(*new);
            }
            Self::Txn { steps } => {
                out.put_u8(TXN);
                for (list, appended) in steps {
                    out.put_u64_le(*list);
                    out.put_u64_le(appended.unwrap_or(0));
                }
            }
        }
        out.freeze()
    }

    /// Decodes a request that [`RegisterRequest::encode`] encoded; `None` for other bytes.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let request = match bytes.try_get_u8().ok()? {
            READ => Self::Read { key: bytes.try_get_u8().ok()? },
            WRITE => Self::Write { key: bytes.try_get_u8().ok()?, value: bytes.try_get_u64_le().ok()? },
            CAS => {
                let key = bytes.try_get_u8().ok()?;
                Self::Cas { key, old: bytes.try_get_u64_le().ok()?, new: bytes.try_get_u64_le().ok()? }
            }
            TXN => {
                let mut steps = Vec::new();
                while bytes.has_remaining() {
                    let (list, value) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
                    steps.push((list, (value != 0).then_some(value)));
                }
                Self::Txn { steps }
            }
            _ => return None,
        };
        bytes.is_empty().then_some(request)
    }
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const CAS: u8 = 3;
const TXN: u8 = 4;
