//! The bytes of a connection, as `FORMAT.md` describes them: a handshake, then frames. All numbers are little-endian.

mod handshake;

pub use self::handshake::{ANSWER_BYTES, HELLO_BYTES, HandshakeAnswer, Hello, MAGIC, VERSION_MAX, VERSION_MIN};
pub use crate::frame::HEADER_BYTES;

use bytes::{Buf, BufMut, Bytes};
use quorate_protocol::{GroupId, Incarnation};

use crate::frame::{ChannelId, Frame, SECTION_LENGTH_BYTES};
use crate::link::Refusal;

/// The version of a frame's header and body.
pub const FRAME_VERSION: u8 = 1;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of bytes that follow the header.
    pub body_bytes: u32,
    /// The channel of the frame.
    pub channel: ChannelId,
    /// The version of header and body.
    pub version: u8,
    /// Number of raw sections after the small one.
    pub sections: u8,
    /// The group the frame belongs to.
    pub group: GroupId,
    /// The incarnation of the sender; must be that of the handshake.
    pub incarnation: Incarnation,
    /// CRC-32C of the body.
    pub body_checksum: u32,
}

impl Header {
    /// Makes the header of `frame`, as this incarnation sends it.
    #[must_use]
    pub fn of(frame: &Frame, incarnation: Incarnation) -> Self {
        Self {
            body_bytes: u32::try_from(frame.body_bytes()).expect("checked when the frame was made"),
            channel: frame.channel(),
            version: FRAME_VERSION,
            sections: u8::try_from(frame.raw().len()).expect("checked when the frame was made"),
            group: frame.group(),
            incarnation,
            body_checksum: frame.checksum(),
        }
    }

    /// Encodes the header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32_le(self.body_bytes);
        out.put_u16_le(self.channel.0);
        out.put_u8(self.version);
        out.put_u8(self.sections);
        out.put_u64_le(self.group.0);
        out.put_u128_le(self.incarnation.0);
        out.put_u32_le(self.body_checksum);
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes a header. The header's own checksum is verified before its other fields are used, so that a corrupt
    /// length is never believed.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`], or [`Refusal::FrameVersion`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Refusal> {
        let mut rest = &bytes[CHECKED_BYTES..];
        if rest.get_u32_le() != crc32c::crc32c(&bytes[..CHECKED_BYTES]) {
            return Err(Refusal::Corrupt);
        }
        let mut rest = &bytes[..CHECKED_BYTES];
        let header = Self {
            body_bytes: rest.get_u32_le(),
            channel: ChannelId(rest.get_u16_le()),
            version: rest.get_u8(),
            sections: rest.get_u8(),
            group: GroupId(rest.get_u64_le()),
            incarnation: Incarnation(rest.get_u128_le()),
            body_checksum: rest.get_u32_le(),
        };
        if header.version == FRAME_VERSION { Ok(header) } else { Err(Refusal::FrameVersion) }
    }

    /// Length of the frame in bytes, header included.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES.saturating_add(usize::try_from(self.body_bytes).unwrap_or(usize::MAX))
    }

    /// Makes the frame from this header and its body. The sections are slices of the body.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`], or [`Refusal::FrameSections`].
    pub fn frame(&self, mut body: Bytes) -> Result<Frame, Refusal> {
        if crc32c::crc32c(&body) != self.body_checksum {
            return Err(Refusal::Corrupt);
        }
        let table_bytes = (1 + usize::from(self.sections)) * SECTION_LENGTH_BYTES;
        if body.len() < table_bytes {
            return Err(Refusal::FrameSections);
        }
        let mut table = body.split_to(table_bytes);
        let small = section(&mut table, &mut body)?;
        let raw = (0..self.sections).map(|_| section(&mut table, &mut body)).collect::<Result<Vec<_>, _>>()?;
        if !body.is_empty() {
            return Err(Refusal::FrameSections);
        }
        Ok(Frame::verified(self.channel, self.group, small, raw, self.body_checksum))
    }
}

/// Appends the part of `frame` before its sections: the header and the table of lengths.
pub fn put_head(frame: &Frame, incarnation: Incarnation, out: &mut impl BufMut) {
    out.put_slice(&Header::of(frame, incarnation).encode());
    for section in std::iter::once(frame.small()).chain(frame.raw()) {
        out.put_u32_le(u32::try_from(section.len()).expect("checked when the frame was made"));
    }
}

fn section(table: &mut Bytes, body: &mut Bytes) -> Result<Bytes, Refusal> {
    let length = usize::try_from(table.get_u32_le()).map_err(|_| Refusal::FrameSections)?;
    if length > body.len() {
        return Err(Refusal::FrameSections);
    }
    Ok(body.split_to(length))
}

/// The header's own checksum covers the bytes before it.
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
