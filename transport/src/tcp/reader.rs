//! Frames out of a socket.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::Incarnation;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::{HEADER_BYTES, Header};
use crate::{ChannelId, Frame, Lane, Refusal};

/// Cuts the byte stream of one connection into frames.
///
/// Each frame's body is an allocation of exactly its length, made after its length was checked, so that a section that
/// is kept pins its own frame and nothing else. The end of a long body is read straight into it.
#[derive(Debug)]
pub(super) struct FrameReader {
    frame_bytes_max: usize,
    incarnation: Incarnation,
    lane: Lane,
    buffer: BytesMut,
    buffer_bytes: usize,
    /// A frame whose body is not yet whole.
    partial: Option<(Header, BytesMut)>,
}

impl FrameReader {
    /// A reader of a connection on which this incarnation sends on this lane. At most `buffer_bytes`, which
    /// hold a header, are read at once.
    pub(super) fn new(frame_bytes_max: usize, incarnation: Incarnation, lane: Lane, buffer_bytes: usize) -> Self {
        let buffer = BytesMut::with_capacity(buffer_bytes);
        Self { frame_bytes_max, incarnation, lane, buffer, buffer_bytes, partial: None }
    }

    /// Waits for bytes and says how many came; 0 is the end of the stream. Dropping the future loses nothing.
    pub(super) async fn read<R: AsyncRead + Unpin>(&mut self, stream: &mut R) -> std::io::Result<usize> {
        if let Some((header, body)) = &mut self.partial {
            let missing = body_bytes(header) - body.len();
            return stream.read_buf(&mut body.limit(missing)).await;
        }
        // What is left is less than a header and moves to the front, so that the buffer never grows.
        self.buffer.reserve(self.buffer_bytes.saturating_sub(self.buffer.len()));
        stream.read_buf(&mut self.buffer).await
    }

    /// The next whole frame of what was read.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Refusal> {
        let (header, body) = match self.partial.take() {
            Some((header, body)) if body.len() < body_bytes(&header) => {
                self.partial = Some((header, body));
                return Ok(None);
            }
            Some((header, body)) => (header, body.freeze()),
            None => match self.next_buffered()? {
                Some(whole) => whole,
                None => return Ok(None),
            },
        };
        header.frame(body).map(Some)
    }

    /// Header and body of the next frame, if both were read.
    fn next_buffered(&mut self) -> Result<Option<(Header, Bytes)>, Refusal> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = self.checked(Header::decode(header)?)?;
        self.buffer.advance(HEADER_BYTES);
        let length = body_bytes(&header);
        if self.buffer.len() >= length {
            let body = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            return Ok(Some((header, body)));
        }
        let mut body = BytesMut::with_capacity(length);
        body.extend_from_slice(&self.buffer);
        self.buffer.clear();
        self.partial = Some((header, body));
        Ok(None)
    }

    /// The header, when the connection may carry such a frame.
    fn checked(&self, header: Header) -> Result<Header, Refusal> {
        if header.frame_bytes() > self.frame_bytes_max {
            return Err(Refusal::FrameTooLarge);
        }
        if header.incarnation != self.incarnation {
            return Err(Refusal::FrameSender);
        }
        if header.channel != ChannelId::TRANSPORT && header.channel.lane() != self.lane {
            return Err(Refusal::FrameChannel);
        }
        Ok(header)
    }
}

/// Checked against the frame cap, which is a `usize`.
fn body_bytes(header: &Header) -> usize {
    header.frame_bytes() - HEADER_BYTES
}
