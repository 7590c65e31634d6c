//! The transport's own frames: a probe, and the answer to it.

use bytes::{Bytes, BytesMut};
use quorate_protocol::{GroupId, Incarnation};

use crate::frame::{ChannelId, Frame};
use crate::link::Refusal;
use crate::wire;

/// Content of a frame on the transport's own channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// The dialer asks whether the other side is alive.
    Ping,
    /// The other side answers that it is.
    Pong,
}

impl Heartbeat {
    /// Encodes the whole frame, as this incarnation sends it.
    pub(super) fn encode(self, incarnation: Incarnation) -> Bytes {
        let code: &'static [u8] = match self {
            Self::Ping => &[PING],
            Self::Pong => &[PONG],
        };
        let frame = Frame::new(ChannelId::TRANSPORT, GroupId(0), Bytes::from_static(code), Vec::new())
            .expect("a byte fits a frame");
        let mut out = BytesMut::with_capacity(frame.wire_bytes());
        wire::put_head(&frame, incarnation, &mut out);
        out.extend_from_slice(code);
        out.freeze()
    }

    /// Decodes the content of a frame.
    pub(super) fn decode(frame: &Frame) -> Result<Self, Refusal> {
        match frame.small()[..] {
            [PING] if frame.raw().is_empty() => Ok(Self::Ping),
            [PONG] if frame.raw().is_empty() => Ok(Self::Pong),
            _ => Err(Refusal::FrameChannel),
        }
    }
}

const PING: u8 = 0;
const PONG: u8 = 1;
