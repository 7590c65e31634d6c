//! What clients ask, and what they are told.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a client asks: a register or some lists, of which there are few, so that calls meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Read a register.
    Read {
        /// Which.
        key: u8,
    },
    /// Write a register.
    Write {
        /// Which.
        key: u8,
        /// What: never zero, which is absence.
        value: u64,
    },
    /// Write a register if it holds the old value. One that does not match is not done.
    Cas {
        /// Which.
        key: u8,
        /// What it must hold.
        old: u64,
        /// What it shall hold.
        new: u64,
    },
    /// Append to lists and read lists, all at once.
    Txn {
        /// The steps: a list, and what to append to it, or nothing to read it.
        steps: Vec<(u64, Option<u64>)>,
    },
}

/// What came of a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Of a read: the register's value; zero: absent.
    pub value: u64,
    /// Of a transaction: the lists that it read, in order.
    pub lists: Vec<Vec<u64>>,
}

impl Request {
    /// As bytes, for the payload of an entry.
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

    /// The request in bytes that [`Request::encode`] made; nothing for other bytes.
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
