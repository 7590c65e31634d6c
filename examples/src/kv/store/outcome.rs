//! The answer of a write. It is independent of the client's protocol, since replicas keep it.

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{DecodeError, Decoder, put_bytes};

/// The result of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome<'a> {
    /// No value, or a condition did not hold.
    Nil,
    /// The write was done.
    Ok,
    /// A number.
    Integer(i64),
    /// A value.
    Value(&'a [u8]),
    /// The write was applied and changed nothing, for this reason.
    Refused(Refusal),
}

/// Reason why a write changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The value is not a number in decimal, or does not fit 64 bits.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// The sum does not fit 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// The deadline does not fit 64 bits.
    #[error("ERR invalid expire time in 'set' command")]
    SetTime,
    /// The deadline does not fit 64 bits.
    #[error("ERR invalid expire time in 'expire' command")]
    ExpireTime,
    /// The deadline does not fit 64 bits.
    #[error("ERR invalid expire time in 'pexpire' command")]
    PexpireTime,
    /// The value would exceed its maximum length.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
}

impl<'a> WriteOutcome<'a> {
    /// Adds this outcome to those of a batch.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Nil => out.put_u8(NIL),
            Self::Ok => out.put_u8(OK),
            Self::Integer(number) => {
                out.put_u8(INTEGER);
                out.put_i64_le(*number);
            }
            Self::Value(value) => {
                out.put_u8(VALUE);
                put_bytes(out, value);
            }
            Self::Refused(refusal) => {
                out.put_u8(REFUSED);
                let code = REFUSALS.iter().position(|(_, known)| known == refusal);
                out.put_u8(REFUSALS[code.expect("every refusal has a code")].0);
            }
        }
    }

    /// The outcomes of a batch, in the order of its writes.
    pub fn decode_all(bytes: &'a [u8]) -> impl Iterator<Item = Result<Self, DecodeError>> {
        let mut decoder = Decoder::new(bytes);
        std::iter::from_fn(move || (!decoder.is_empty()).then(|| Self::decode(&mut decoder)))
    }

    /// The most common outcomes of a batch of one, without an allocation.
    pub(super) fn encoded_alone(&self) -> Option<Bytes> {
        match self {
            Self::Nil => Some(Bytes::from_static(&[NIL])),
            Self::Ok => Some(Bytes::from_static(&[OK])),
            _ => None,
        }
    }

    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        Ok(match decoder.byte()? {
            NIL => Self::Nil,
            OK => Self::Ok,
            INTEGER => Self::Integer(decoder.i64()?),
            VALUE => Self::Value(decoder.bytes()?),
            REFUSED => {
                let code = decoder.byte()?;
                let refusal = REFUSALS.iter().find(|(known, _)| *known == code);
                Self::Refused(refusal.ok_or(DecodeError::Kind(code))?.1)
            }
            kind => return Err(DecodeError::Kind(kind)),
        })
    }
}

const NIL: u8 = 0;
const OK: u8 = 1;
const INTEGER: u8 = 2;
const VALUE: u8 = 3;
const REFUSED: u8 = 4;

/// The codes of refusals. A code never changes.
const REFUSALS: [(u8, Refusal); 6] = [
    (1, Refusal::NotAnInteger),
    (2, Refusal::Overflow),
    (3, Refusal::SetTime),
    (4, Refusal::ExpireTime),
    (5, Refusal::PexpireTime),
    (6, Refusal::TooLong),
];
