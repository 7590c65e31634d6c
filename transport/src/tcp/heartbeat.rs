//! The transport's own frames: a probe, and the answer to it.

use bytes::{Bytes, BytesMut};
use quorate_protocol::{GroupId, Incarnation};

use crate::{ChannelId, Frame, Refusal, wire};

/// What a frame of the transport's own channel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// The dialer asks whether the other side lives.
    Ping,
    /// It does.
    Pong,
}

impl Heartbeat {
    /// The whole frame as this incarnation sends it.
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

    /// What this frame says.
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
