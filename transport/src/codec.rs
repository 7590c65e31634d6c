//! Encoding of messages as frames: serde and bincode for the small section; raw sections are not encoded.
//!
//! No other module uses bincode, so that it can be replaced. Integers are little-endian varints. An enum's variant is
//! encoded as its position, so variants are only appended.

use std::fmt;
use std::io;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{GroupId, Wire, WireError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{ChannelId, Frame, FrameError};

/// Longest small section that is encoded or decoded, in bytes. Larger values belong into a raw section.
pub const SMALL_BYTES_MAX: usize = 1 << 20;

/// Makes the frame that carries `message`. One frame can be sent to any number of peers.
///
/// # Errors
/// When serde refuses a value, the small section is longer than [`SMALL_BYTES_MAX`], or the parts do not make a frame.
/// The caller is to blame.
pub fn encode<M>(channel: ChannelId, group: GroupId, message: &M) -> Result<Frame, EncodeError>
where
    M: Wire<Small: Serialize>,
{
    let mut raw = Vec::new();
    let small = encode_small(&message.to_parts(&mut raw))?;
    Ok(Frame::new(channel, group, small, raw)?)
}

/// Decodes the message that `frame` carries. Its raw sections are slices of the received bytes.
///
/// # Errors
/// When the small section is not exactly one value of this type, or the sections do not make a message. The sender is
/// to blame.
pub fn decode<M>(frame: Frame) -> Result<M, DecodeError>
where
    M: Wire<Small: DeserializeOwned>,
{
    let (small, raw) = frame.into_sections();
    Ok(M::from_parts(decode_small(&small)?, raw)?)
}

/// Encodes one serde value.
///
/// # Errors
/// The errors of [`encode`].
pub fn encode_small<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    let mut out = Out(BytesMut::with_capacity(SMALL_BYTES_USUAL));
    bincode::serde::encode_into_writer(value, &mut out, CONFIGURATION).map_err(|error| match error {
        bincode::error::EncodeError::UnexpectedEnd => EncodeError::TooLarge,
        _ => EncodeError::Value,
    })?;
    Ok(out.0.freeze())
}

/// Decodes one serde value from all of `bytes`.
///
/// # Errors
/// The errors of [`decode`].
pub fn decode_small<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIGURATION).map_err(|_| DecodeError::Small)?;
    if used == bytes.len() { Ok(value) } else { Err(DecodeError::Trailing { bytes: bytes.len() - used }) }
}

/// Writes one serde value of any length, to disk rather than into a frame.
///
/// # Errors
/// The errors of the writer, and `InvalidData` when serde refuses a value.
pub fn write_value<T: Serialize>(value: &T, out: &mut dyn io::Write) -> io::Result<()> {
    let mut out = Stream { stream: out, failure: None };
    let encoded = bincode::serde::encode_into_writer(value, &mut out, UNLIMITED);
    encoded.map_err(|error| out.failure.take().unwrap_or_else(|| invalid(&error)))
}

/// Reads a value that [`write_value`] wrote. The source must be trusted or verified, because lengths in it are not
/// checked.
///
/// # Errors
/// The errors of the reader, and `InvalidData` when the bytes are not a value of this type.
pub fn read_value<T: DeserializeOwned>(from: &mut dyn io::Read) -> io::Result<T> {
    let mut from = Stream { stream: from, failure: None };
    let decoded = bincode::serde::decode_from_reader(&mut from, UNLIMITED);
    decoded.map_err(|error| from.failure.take().unwrap_or_else(|| invalid(&error)))
}

/// Reason why a message cannot be made into a frame. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Serde refused a value.
    #[error("a value that cannot be encoded")]
    Value,
    /// The small section is longer than [`SMALL_BYTES_MAX`].
    #[error("the small section is longer than {SMALL_BYTES_MAX} bytes")]
    TooLarge,
    /// The parts do not make a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reason why a frame is not a message. The sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The small section is not a value of this type, or is longer than [`SMALL_BYTES_MAX`].
    #[error("the small section cannot be decoded")]
    Small,
    /// Bytes follow the value of the small section.
    #[error("{bytes} bytes follow the value of the small section")]
    Trailing {
        /// Number of these bytes.
        bytes: usize,
    },
    /// The sections do not make a message.
    #[error(transparent)]
    Parts(#[from] WireError),
}

/// A buffer that grows as needed up to [`SMALL_BYTES_MAX`].
struct Out(BytesMut);

impl Writer for Out {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        if self.0.len() + bytes.len() > SMALL_BYTES_MAX {
            return Err(bincode::error::EncodeError::UnexpectedEnd);
        }
        self.0.put_slice(bytes);
        Ok(())
    }
}

/// A stream of the standard library with the last error that it returned, because bincode without `std` cannot return
/// it.
struct Stream<'a, S: ?Sized> {
    stream: &'a mut S,
    failure: Option<io::Error>,
}

impl Writer for Stream<'_, dyn io::Write + '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.stream.write_all(bytes).map_err(|error| {
            self.failure = Some(error);
            bincode::error::EncodeError::UnexpectedEnd
        })
    }
}

impl Reader for &mut Stream<'_, dyn io::Read + '_> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), bincode::error::DecodeError> {
        let additional = bytes.len();
        self.stream.read_exact(bytes).map_err(|error| {
            self.failure = Some(error);
            bincode::error::DecodeError::UnexpectedEnd { additional }
        })
    }
}

fn invalid(error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

const UNLIMITED: Configuration = bincode::config::standard();

const CONFIGURATION: Configuration<LittleEndian, Varint, Limit<SMALL_BYTES_MAX>> =
    bincode::config::standard().with_limit::<SMALL_BYTES_MAX>();

/// Most small sections fit, so that encoding allocates once.
const SMALL_BYTES_USUAL: usize = 128;
