//! What other nodes send.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::{Configuration, Entry, EntryBatch, GroupId, SnapshotMeta};
use quorate_runtime::testing::decode_node_frame;
use quorate_transport::wire::{ANSWER_BYTES, HEADER_BYTES, HELLO_BYTES, HandshakeAnswer, Header, Hello};
use quorate_transport::{ChannelId, Frame, Limits, tcp};

pub(crate) fn handshake(bytes: &[u8]) {
    if let Some(hello) = bytes.first_chunk::<HELLO_BYTES>()
        && let Ok(decoded) = Hello::decode(hello)
    {
        assert_eq!(&decoded.encode()[..], &hello[..], "what is read is what was written");
    }
    if let Some(answer) = bytes.first_chunk::<ANSWER_BYTES>() {
        let _ = HandshakeAnswer::decode(answer);
    }
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let _ = Header::decode(header);
    }
}

pub(crate) fn frames(bytes: &[u8]) {
    let limits = Limits { frame_bytes_max: 1 << 20, ..Limits::default() };
    let _ = tcp::frames_of(bytes, &limits);
}

pub(crate) fn node(bytes: &[u8]) {
    if let Some(frame) = frame_of(bytes) {
        decode_node_frame(frame);
    }
}

pub(crate) fn entries(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    let _ = Entry::decode(whole.clone());
    let _ = Configuration::decode(bytes);
    let _ = SnapshotMeta::decode(bytes);
    if let Some(frame) = frame_of(bytes)
        && let [raw, ..] = frame.raw()
        && let Ok(header) = quorate_transport::codec::decode_small(frame.small())
    {
        let _ = EntryBatch::from_parts(header, raw.clone()).decode();
    }
}

/// A frame whose channel is the first byte, and whose sections follow, each behind its length as u16: the small one
/// first. `None` if the bytes end within one.
pub(crate) fn frame_of(bytes: &[u8]) -> Option<Frame> {
    let (channel, mut rest) = bytes.split_first()?;
    let mut sections = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (section, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        sections.push(Bytes::copy_from_slice(section));
        rest = after;
    }
    let small = sections.first()?.clone();
    Frame::new(ChannelId(u16::from(*channel)), GroupId(0), small, sections.split_off(1)).ok()
}

/// The bytes of which [`frame_of`] makes a frame.
pub(crate) fn bytes_of(frame: &Frame) -> Option<Vec<u8>> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(u8::try_from(frame.channel().0).ok()?);
    for section in std::iter::once(frame.small()).chain(frame.raw()) {
        bytes.put_u16_le(u16::try_from(section.len()).ok()?);
        bytes.put_slice(section);
    }
    Some(bytes.to_vec())
}
