//! The handshake, with which two nodes prove their identities before the first frame.

use bytes::{Buf, BufMut};
use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};

use crate::frame::Lane;
use crate::link::Refusal;

/// The first bytes of every connection, in both directions.
pub const MAGIC: [u8; 8] = *b"quorate\n";

/// The oldest version of the format that this code speaks.
pub const VERSION_MIN: u16 = 1;

/// The newest version of the format that this code speaks.
pub const VERSION_MAX: u16 = 1;

/// Length of a [`Hello`] in bytes. The same in every version.
pub const HELLO_BYTES: usize = 92;

/// Length of an [`HandshakeAnswer`] in bytes. The same in every version.
pub const ANSWER_BYTES: usize = 68;

/// First message of the dialer: its identity, and the node that it wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that the dialer speaks.
    pub version_min: u16,
    /// The newest version that the dialer speaks.
    pub version_max: u16,
    /// The lane that the connection is for.
    pub lane: Lane,
    /// The dialer's identity.
    pub from: Identity,
    /// Id of the wanted node.
    pub to: NodeId,
    /// The wanted incarnation; `None` allows any.
    pub to_incarnation: Option<Incarnation>,
    /// Number of the start of the dialer's process.
    pub start: u32,
    /// Length of the longest frame that the dialer accepts, in bytes; at most `u32::MAX`.
    pub frame_bytes_max: u32,
}

impl Hello {
    /// Encodes the hello.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u16_le(self.version_min);
        out.put_u16_le(self.version_max);
        out.put_u8(lane_code(self.lane));
        out.put_u8(if self.to_incarnation.is_some() { FLAG_INCARNATION } else { 0 });
        out.put_u16_le(0);
        out.put_u128_le(self.from.cluster.0);
        out.put_u64_le(self.from.node.0);
        out.put_u128_le(self.from.incarnation.0);
        out.put_u64_le(self.to.0);
        out.put_u128_le(self.to_incarnation.unwrap_or_default().0);
        out.put_u32_le(self.start);
        out.put_u32_le(self.frame_bytes_max);
        seal(&mut bytes);
        bytes
    }

    /// Decodes a hello. A version that this code does not speak is refused before the rest is read.
    ///
    /// # Errors
    /// [`Refusal::Magic`], [`Refusal::Version`] or [`Refusal::Handshake`].
    pub fn decode(bytes: &[u8; HELLO_BYTES]) -> Result<Self, Refusal> {
        let mut rest = opened(bytes)?;
        let (version_min, version_max) = (rest.get_u16_le(), rest.get_u16_le());
        if agreed_version(version_min, version_max).is_none() {
            return Err(Refusal::Version);
        }
        let lane = lane_from_code(rest.get_u8()).ok_or(Refusal::Handshake)?;
        let flags = rest.get_u8();
        if flags & !FLAG_INCARNATION != 0 {
            return Err(Refusal::Handshake);
        }
        rest.advance(2);
        let cluster = ClusterId(rest.get_u128_le());
        let from = Identity { cluster, node: NodeId(rest.get_u64_le()), incarnation: Incarnation(rest.get_u128_le()) };
        let to = NodeId(rest.get_u64_le());
        let to_incarnation = Incarnation(rest.get_u128_le());
        Ok(Self {
            version_min,
            version_max,
            lane,
            from,
            to,
            to_incarnation: (flags == FLAG_INCARNATION).then_some(to_incarnation),
            start: rest.get_u32_le(),
            frame_bytes_max: rest.get_u32_le(),
        })
    }

    /// The newest version that both sides speak.
    #[must_use]
    pub fn agreed_version(&self) -> Option<u16> {
        agreed_version(self.version_min, self.version_max)
    }
}

/// The acceptor's answer to a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeAnswer {
    /// Frames may follow.
    Accepted {
        /// The version that both agree on.
        version: u16,
        /// The acceptor's identity.
        from: Identity,
        /// Number of the start of the acceptor's process.
        start: u32,
        /// Length of the longest frame that the acceptor accepts, in bytes; at most `u32::MAX`.
        frame_bytes_max: u32,
    },
    /// The connection is refused and ends.
    Refused(Refusal),
}

impl HandshakeAnswer {
    /// Encodes the answer. A refusal contains nothing about the acceptor but the versions that it speaks.
    #[must_use]
    pub fn encode(&self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION_MIN);
        out.put_u16_le(VERSION_MAX);
        match self {
            Self::Refused(refusal) => out.put_u16_le(refusal.code()),
            Self::Accepted { version, from, start, frame_bytes_max } => {
                out.put_u16_le(ACCEPTED);
                out.put_u16_le(*version);
                out.put_u128_le(from.cluster.0);
                out.put_u64_le(from.node.0);
                out.put_u128_le(from.incarnation.0);
                out.put_u32_le(*start);
                out.put_u32_le(*frame_bytes_max);
            }
        }
        seal(&mut bytes);
        bytes
    }

    /// Decodes an answer. A reason that this version does not know becomes [`Refusal::Handshake`].
    ///
    /// # Errors
    /// [`Refusal::Magic`], [`Refusal::Version`] or [`Refusal::Handshake`].
    pub fn decode(bytes: &[u8; ANSWER_BYTES]) -> Result<Self, Refusal> {
        let mut rest = opened(bytes)?;
        rest.advance(4);
        let code = rest.get_u16_le();
        if code != ACCEPTED {
            return Refusal::from_code(code).map(Self::Refused).ok_or(Refusal::Handshake);
        }
        let version = rest.get_u16_le();
        if agreed_version(version, version).is_none() {
            return Err(Refusal::Version);
        }
        let cluster = ClusterId(rest.get_u128_le());
        let from = Identity { cluster, node: NodeId(rest.get_u64_le()), incarnation: Incarnation(rest.get_u128_le()) };
        Ok(Self::Accepted { version, from, start: rest.get_u32_le(), frame_bytes_max: rest.get_u32_le() })
    }
}

/// Writes the checksum of all but the last four bytes into the last four.
fn seal(bytes: &mut [u8]) {
    let (checked, checksum) = bytes.split_at_mut(bytes.len() - CHECKSUM_BYTES);
    checksum.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
}

/// Checks magic and checksum, and returns the bytes between them.
fn opened(bytes: &[u8]) -> Result<&[u8], Refusal> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Refusal::Magic);
    }
    let (checked, mut checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(checked) != checksum.get_u32_le() {
        return Err(Refusal::Handshake);
    }
    Ok(&checked[MAGIC.len()..])
}

fn agreed_version(min: u16, max: u16) -> Option<u16> {
    let newest = max.min(VERSION_MAX);
    (newest >= min.max(VERSION_MIN)).then_some(newest)
}

fn lane_code(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Bulk => 1,
    }
}

fn lane_from_code(code: u8) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane_code(*lane) == code)
}

const CHECKSUM_BYTES: usize = 4;
const FLAG_INCARNATION: u8 = 1;
const ACCEPTED: u16 = 0;
