//! The primitives of entries.

use bytes::{BufMut, BytesMut};

/// Reason why an entry could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("the bytes end within a field")]
    Short,
    /// A newer program wrote them.
    #[error("version {0} is not known to this program")]
    Version(u8),
    /// A newer program wrote them.
    #[error("kind {0} is not known to this program")]
    Kind(u8),
    /// A newer program wrote them.
    #[error("command {0:?} is not known to this program")]
    Command(String),
    /// A length that the encoder never writes.
    #[error("a length is out of range")]
    Length,
}

/// Reads fields from a slice and never beyond it.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes behind the fields that were read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A count of fields, each of which takes at least one byte. So no count makes the reader reserve more than the
    /// bytes that are left.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.length()?;
        if count > self.rest.len() { Err(DecodeError::Short) } else { Ok(count) }
    }

    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let mut length = 0;
        for shift in (0..u32::BITS).step_by(7) {
            let byte = self.byte()?;
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let length = u32::try_from(length).map_err(|_| DecodeError::Length)?;
                return Ok(length as usize);
            }
        }
        Err(DecodeError::Length)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// Writes a length as LEB128.
pub(crate) fn put_length(out: &mut BytesMut, length: usize) {
    let mut rest = u32::try_from(length).expect("lengths are bounded by the size of a request");
    while rest >= 0x80 {
        out.put_u8(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest.to_le_bytes()[0]);
}

/// Writes a length and the bytes.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.put_slice(bytes);
}
