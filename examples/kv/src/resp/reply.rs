//! Replies in both versions of the protocol, encoded by `redis-protocol`.

use bytes::{BufMut, Bytes, BytesMut};
use redis_protocol::resp2;
use redis_protocol::resp3;
use redis_protocol::resp3::types::{FrameMap, VerbatimStringFormat};

use crate::store::format_double;

/// The version of the protocol a connection speaks. `HELLO` switches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// RESP2, with which a connection starts.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// A reply of any shape. The most common ones are written by [`Encoder`] without building one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A short text such as `OK`.
    Status(&'static str),
    /// An error, its code first.
    Error(Vec<u8>),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Bytes),
    /// No value.
    Null,
    /// A list.
    Array(Vec<Reply>),
    /// Different things in no particular order; under RESP2 a list.
    Set(Vec<Reply>),
    /// Keys and values in a given order; under RESP2 a flat list.
    Map(Vec<(Reply, Reply)>),
    /// Text for people; under RESP2 ordinary bytes.
    Text(String),
}

impl Reply {
    /// `OK`.
    pub const OK: Self = Self::Status("OK");

    /// Text as bytes.
    pub fn bulk(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    /// An error from its text.
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into().into_bytes())
    }
}

/// Writes replies behind one another.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut BytesMut,
    version: Version,
}

impl<'a> Encoder<'a> {
    /// Writes to `out` in the given version.
    pub fn new(out: &'a mut BytesMut, version: Version) -> Self {
        Self { out, version }
    }

    /// The version of the protocol that is written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Length of the output buffer, earlier content included.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Returns true if the output buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// A short text.
    pub fn status(&mut self, text: &str) {
        self.frame(&resp2::types::BorrowedFrame::SimpleString(text.as_bytes()));
    }

    /// A short text that is not known beforehand. Bytes that would end the line become blanks.
    pub fn status_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// An error. Bytes that would end the line become blanks, as in Redis.
    pub fn error(&mut self, text: &[u8]) {
        // Encoded here, since `redis-protocol` needs text, and the name of an unknown command may be other bytes.
        self.line(b'-', text);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.put_u8(kind);
        for byte in text {
            self.out.put_u8(if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
        }
        self.out.put_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.frame(&resp2::types::BorrowedFrame::Integer(number));
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.frame(&resp2::types::BorrowedFrame::BulkString(bytes));
    }

    /// No value.
    pub fn null(&mut self) {
        match self.version {
            Version::Resp2 => self.frame(&resp2::types::BorrowedFrame::Null),
            Version::Resp3 => self.frame3(&resp3::types::BytesFrame::Null),
        }
    }

    /// Bytes, or no value.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The head of a list; its elements follow as replies of their own.
    pub fn array(&mut self, count: usize) {
        self.head('*', count);
    }

    /// The head of a message that answers no request.
    pub fn push(&mut self, count: usize) {
        self.head(if self.version == Version::Resp2 { '*' } else { '>' }, count);
    }

    /// The head of a list whose elements have no order.
    pub fn set(&mut self, count: usize) {
        self.head(if self.version == Version::Resp2 { '*' } else { '~' }, count);
    }

    /// The head of keys and values; `count` pairs follow.
    pub fn map(&mut self, count: usize) {
        match self.version {
            Version::Resp2 => self.head('*', 2 * count),
            Version::Resp3 => self.head('%', count),
        }
    }

    /// No list.
    pub fn null_array(&mut self) {
        match self.version {
            Version::Resp2 => self.out.put_slice(b"*-1\r\n"),
            Version::Resp3 => self.null(),
        }
    }

    /// A number with a fraction.
    pub fn double(&mut self, number: f64) {
        self.double_text(&format_double(number));
    }

    /// A number with a fraction, in decimal notation.
    pub fn double_text(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.out.put_slice(format!(",{text}\r\n").as_bytes()),
        }
    }

    /// Refuses a reply that has become longer than any client takes.
    ///
    /// # Errors
    /// The reply to be sent in its place.
    pub fn check_size(&self) -> Result<(), Reply> {
        if self.out.len() > REPLIES_BYTES_MAX {
            return Err(Reply::error("ERR the reply would be longer than 128 MiB"));
        }
        Ok(())
    }

    /// Removes what was written since the output had this length.
    pub fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
    }

    fn head(&mut self, kind: char, count: usize) {
        self.out.put_slice(format!("{kind}{count}\r\n").as_bytes());
    }

    /// A reply of any shape.
    pub fn reply(&mut self, reply: &Reply) {
        match (reply, self.version) {
            (Reply::Error(text), _) => self.error(text),
            (reply, Version::Resp2) => {
                let encoded = resp2::encode::extend_encode(self.out, &frame2(reply), false);
                encoded.expect("the frame's length was reserved");
            }
            (reply, Version::Resp3) => self.frame3(&frame3(reply)),
        }
    }

    /// A frame that is the same in both versions.
    fn frame(&mut self, frame: &resp2::types::BorrowedFrame<'_>) {
        let encoded = resp2::encode::extend_encode_borrowed(self.out, frame, false);
        encoded.expect("the frame's length was reserved");
    }

    fn frame3(&mut self, frame: &resp3::types::BytesFrame) {
        let encoded = resp3::encode::complete::extend_encode(self.out, frame, false);
        encoded.expect("the frame's length was reserved");
    }
}

fn frame2(reply: &Reply) -> resp2::types::BytesFrame {
    use resp2::types::BytesFrame as Frame;
    match reply {
        Reply::Status(text) => Frame::SimpleString(Bytes::from_static(text.as_bytes())),
        Reply::Error(text) => Frame::Error(String::from_utf8_lossy(text).into_owned().into()),
        Reply::Integer(number) => Frame::Integer(*number),
        Reply::Bulk(bytes) => Frame::BulkString(bytes.clone()),
        Reply::Null => Frame::Null,
        Reply::Array(items) | Reply::Set(items) => Frame::Array(items.iter().map(frame2).collect()),
        Reply::Map(pairs) => Frame::Array(pairs.iter().flat_map(|(key, value)| [frame2(key), frame2(value)]).collect()),
        Reply::Text(text) => Frame::BulkString(Bytes::from(text.clone())),
    }
}

fn frame3(reply: &Reply) -> resp3::types::BytesFrame {
    use resp3::types::BytesFrame as Frame;
    let attributes = None;
    match reply {
        Reply::Status(text) => Frame::SimpleString { data: Bytes::from_static(text.as_bytes()), attributes },
        Reply::Error(text) => {
            Frame::SimpleError { data: String::from_utf8_lossy(text).into_owned().into(), attributes }
        }
        Reply::Integer(number) => Frame::Number { data: *number, attributes },
        Reply::Bulk(bytes) => Frame::BlobString { data: bytes.clone(), attributes },
        Reply::Null => Frame::Null,
        Reply::Array(items) => Frame::Array { data: items.iter().map(frame3).collect(), attributes },
        Reply::Set(items) => Frame::Set { data: items.iter().map(frame3).collect(), attributes },
        Reply::Map(pairs) => {
            let data: FrameMap<_, _> = pairs.iter().map(|(key, value)| (frame3(key), frame3(value))).collect();
            Frame::Map { data, attributes }
        }
        Reply::Text(text) => {
            Frame::VerbatimString { data: Bytes::from(text.clone()), format: VerbatimStringFormat::Text, attributes }
        }
    }
}

/// Maximum bytes of the replies to a batch.
const REPLIES_BYTES_MAX: usize = 128 * 1024 * 1024;
