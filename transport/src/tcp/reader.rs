//! Frames read from a socket.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::Incarnation;

use super::socket::ReadHalf;
use crate::frame::{ChannelId, Frame, Lane};
use crate::link::Refusal;
use crate::wire::{HEADER_BYTES, Header};

/// Cuts the byte stream of one connection into frames.
///
/// The body of each frame is an allocation of exactly its length, made after the length was checked. So keeping a
/// section keeps the memory of its own frame only. The end of a long body is read straight into it.
#[derive(Debug)]
pub(super) struct FrameReader {
    frame_bytes_max: usize,
    incarnation: Incarnation,
    lane: Lane,
    buffer: BytesMut,
    buffer_bytes: usize,
    /// A frame whose body is not complete yet.
    partial: Option<(Header, BytesMut)>,
}

impl FrameReader {
    /// Makes a reader of a connection on which this incarnation sends on this lane. It reads at most `buffer_bytes` at
    /// once, which must hold a header.
    pub(super) fn new(frame_bytes_max: usize, incarnation: Incarnation, lane: Lane, buffer_bytes: usize) -> Self {
        let buffer = BytesMut::with_capacity(buffer_bytes);
        Self { frame_bytes_max, incarnation, lane, buffer, buffer_bytes, partial: None }
    }

    /// Waits for bytes and returns their number; 0 means the end of the stream. Dropping the future loses nothing.
    pub(super) async fn read(&mut self, socket: &mut ReadHalf) -> std::io::Result<usize> {
        if let Some((header, body)) = &mut self.partial {
            let missing = body_bytes(header) - body.len();
            return socket.read_buf(&mut body.limit(missing)).await;
        }
        // The rest is shorter than a header and moves to the front, so that the buffer never grows.
        self.buffer.reserve(self.buffer_bytes.saturating_sub(self.buffer.len()));
        socket.read_buf(&mut self.buffer).await
    }

    /// The next complete frame among the bytes that were read.
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

    /// Header and body of the next frame, if the buffer holds them. A body that is not complete becomes the partial
    /// frame.
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

    /// Checks that the connection may carry a frame with this header.
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

/// Length of the body. It was checked against the longest frame, which is a `usize`.
fn body_bytes(header: &Header) -> usize {
    header.frame_bytes() - HEADER_BYTES
}

/// The frames at the front of what a peer sends on a connection for messages, up to the first that is not whole.
///
/// # Errors
/// When no correct peer sends such bytes.
#[cfg(feature = "testing")]
pub fn frames_of(bytes: &[u8], limits: &crate::Limits) -> Result<Vec<Frame>, Refusal> {
    let header = bytes.first_chunk::<HEADER_BYTES>().and_then(|header| Header::decode(header).ok());
    let incarnation = header.map_or(Incarnation(0), |header| header.incarnation);
    let mut reader = FrameReader::new(limits.frame_bytes_max, incarnation, Lane::Control, HEADER_BYTES);
    reader.buffer.extend_from_slice(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next()? {
        frames.push(frame);
    }
    Ok(frames)
}
