//! Finds requests in the bytes that a client sent.
//!
//! The scan reads each byte once, however the bytes are cut into reads. It checks every length against its limit before
//! memory is reserved, and its errors have Redis's texts. A request that is too large as a whole, or for which there is
//! no room now, is read without being kept, so that its client gets an answer and the connection goes on. A complete
//! request is then decoded by `redis-protocol`, in place.

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use crate::store::parse_integer;

use super::inline;

mod room;

pub use room::{RequestRoom, Reservation};

/// Limits of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of an argument (`proto-max-bulk-len`). A longer one is an error, as in Redis.
    pub argument_bytes_max: usize,
    /// Maximum bytes of a whole request. A longer one is read to its end and refused.
    pub request_bytes_max: usize,
}

/// Reason why a client's bytes are not a request. The connection is closed after the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is not a number, or above the limit.
    #[error("invalid multibulk length")]
    Count,
    /// The length of an argument is not a number, or above the limit.
    #[error("invalid bulk length")]
    Length,
    /// An argument does not begin with `$`.
    #[error("expected '$', got '{}'", char::from(*.0))]
    Kind(u8),
    /// An inline command is too long.
    #[error("too big inline request")]
    InlineTooLong,
    /// The line with the number of arguments is too long.
    #[error("too big mbulk count string")]
    CountTooLong,
    /// The line with the length of an argument is too long.
    #[error("too big bulk count string")]
    LengthTooLong,
    /// A client that has to log in sends more arguments than a login has.
    #[error("unauthenticated multibulk length")]
    StrangerCount,
    /// A client that has to log in sends more bytes than a login has.
    #[error("unauthenticated bulk length")]
    StrangerLength,
    /// The quotes of an inline command are unbalanced.
    #[error(transparent)]
    Quotes(#[from] inline::UnbalancedQuotes),
}

/// The arguments of a request; the first is the command's name.
#[derive(Debug)]
pub enum Request<'a> {
    /// Slices of the input.
    Array(Vec<&'a [u8]>),
    /// Unquoted copies, from an inline command. Empty for a blank line.
    Inline(Vec<Vec<u8>>),
    /// A request that exceeds [`Limits`]. Its bytes were read and dropped, so that the connection can go on behind it.
    TooLarge,
    /// A request for which there was no [room](RequestRoom). Its bytes were read and dropped as well.
    NoRoom,
}

impl Request<'_> {
    /// The arguments as slices.
    pub fn arguments(&self) -> Vec<&[u8]> {
        match self {
            Self::Array(arguments) => arguments.clone(),
            Self::Inline(arguments) => arguments.iter().map(Vec::as_slice).collect(),
            Self::TooLarge | Self::NoRoom => Vec::new(),
        }
    }
}

/// The progress of the scan. Each call gets the same input, which may only grow, until [`consume`] ends its first
/// request. Only the bytes that [`pass_over`] counts are removed from its front in between.
///
/// [`consume`]: Self::consume
/// [`pass_over`]: Self::pass_over
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    room: RequestRoom,
    /// The client has to log in first, so its requests must be small.
    is_of_stranger: bool,
    scan: Scan,
}

/// The scan of one request.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of the request that have been scanned.
    at: usize,
    /// Bytes that the request has at least, and for which there is room, if it is large.
    reserved: Option<Reservation>,
    /// Arguments that are still to come, once their number is known.
    arguments_left: Option<usize>,
    /// The request exceeds the limits, or there is no room for it: its bytes are not kept.
    is_too_large: bool,
    /// There is no room for the request.
    lacks_room: bool,
    /// Bytes of an argument of such a request that are still to come.
    skipped_left: usize,
    /// Bytes of the first request, once it is complete.
    whole: Option<usize>,
}

/// The result of a step of the scan.
enum Step {
    Again,
    Incomplete,
    Whole(usize),
}

impl RequestReader {
    /// A reader at the start of the input. Large requests take their memory from `room`.
    pub fn new(limits: Limits, room: RequestRoom) -> Self {
        Self { limits, room, is_of_stranger: false, scan: Scan::default() }
    }

    /// Has large requests take their memory from this room from now on.
    pub fn share_room(&mut self, room: &RequestRoom) {
        self.room = room.clone();
    }

    /// Bytes that the first request has at least. More than the input has, if the request is large and incomplete.
    pub fn bytes_expected(&self) -> usize {
        self.scan.reserved.as_ref().map_or(0, Reservation::bytes)
    }

    /// The room that the request takes up which [`request`](Self::request) gave, if it is large. For whoever keeps what
    /// was in it.
    pub fn take_reservation(&mut self) -> Option<Reservation> {
        self.scan.reserved.take()
    }

    /// Takes room for bytes that are kept of earlier requests. `None` if there is none.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        self.room.reserve(bytes)
    }

    /// Says whether the client has to log in first. Then a request may be no larger than a login: 10 arguments of 16
    /// KiB as in Redis, and 64 KiB together.
    pub fn set_stranger(&mut self, is_stranger: bool) {
        self.is_of_stranger = is_stranger;
    }

    /// The first request of the input, or `None` while it is incomplete. A further call gives the same one.
    ///
    /// # Errors
    /// When the input is not a request, or exceeds the limits of the protocol.
    pub fn request<'a>(&mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, ProtocolError> {
        let Some(length) = self.scan_request(input)? else {
            return Ok(None);
        };
        if self.scan.is_too_large {
            return Ok(Some(if self.scan.lacks_room { Request::NoRoom } else { Request::TooLarge }));
        }
        let bytes = &input[..length];
        if bytes[0] != b'*' {
            return Ok(Some(Request::Inline(inline::split(bytes)?)));
        }
        let range = |frame| match frame {
            RangeFrame::BulkString((start, end)) => Ok(&bytes[start..end]),
            _ => Err(ProtocolError::Length),
        };
        match decode_range(bytes) {
            Ok(Some((RangeFrame::Array(frames), _))) => {
                Ok(Some(Request::Array(frames.into_iter().map(range).collect::<Result<_, _>>()?)))
            }
            // `*0` and below: a request without arguments, which is passed over.
            _ => Ok(Some(Request::Array(Vec::new()))),
        }
    }

    /// Bytes of the request that [`request`](Self::request) gave.
    ///
    /// # Panics
    /// When there is no such request.
    pub fn request_bytes(&self) -> usize {
        self.scan.whole.expect("only of a request that was given")
    }

    /// Ends the request that [`request`](Self::request) gave, and returns its length. The next request begins behind
    /// it.
    ///
    /// # Panics
    /// When there is no such request.
    pub fn consume(&mut self) -> usize {
        let length = self.scan.whole.take().expect("only a request that was given is consumed");
        self.scan = Scan::default();
        length
    }

    /// Number of bytes at the front of the input that belong to a request which is too large, and are to be removed.
    pub fn pass_over(&mut self) -> usize {
        let Scan { is_too_large, at, whole, .. } = &mut self.scan;
        if *is_too_large && whole.is_none() { std::mem::take(at) } else { 0 }
    }

    fn scan_request(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        while self.scan.whole.is_none() {
            let step = match (self.scan.arguments_left, input.first()) {
                (Some(_), _) if self.scan.skipped_left > 0 => self.skip(input),
                (Some(_), _) => self.scan_argument(input)?,
                (None, None) => Step::Incomplete,
                (None, Some(b'*')) => self.scan_count(input)?,
                (None, Some(_)) => self.scan_inline(input)?,
            };
            match step {
                Step::Again => {}
                Step::Incomplete => return Ok(None),
                Step::Whole(length) => self.scan.whole = Some(length),
            }
        }
        Ok(self.scan.whole)
    }

    fn scan_inline(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        match input[self.scan.at..].iter().position(|byte| *byte == b'\n') {
            Some(position) => Ok(Step::Whole(self.scan.at + position + 1)),
            None if input.len() > LINE_BYTES_MAX => Err(ProtocolError::InlineTooLong),
            None => {
                self.scan.at = input.len();
                Ok(Step::Incomplete)
            }
        }
    }

    fn scan_count(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let Some((line, after)) = line(input, ProtocolError::CountTooLong)? else {
            return Ok(Step::Incomplete);
        };
        let count = parse_integer(&line[1..]).ok_or(ProtocolError::Count)?;
        match usize::try_from(count) {
            Ok(0) | Err(_) => Ok(Step::Whole(after)),
            Ok(count) if count > ARGUMENTS_MAX => Err(ProtocolError::Count),
            Ok(count) if self.is_of_stranger && count > STRANGER_ARGUMENTS_MAX => Err(ProtocolError::StrangerCount),
            Ok(count) => {
                self.scan.at = after;
                self.scan.is_too_large = count > self.limits.request_bytes_max / ARGUMENT_BYTES_MIN;
                self.scan.arguments_left = Some(count);
                Ok(Step::Again)
            }
        }
    }

    fn scan_argument(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let Some((line, after)) = line(&input[self.scan.at..], ProtocolError::LengthTooLong)? else {
            return Ok(Step::Incomplete);
        };
        match line.first() {
            Some(b'$') => {}
            other => return Err(ProtocolError::Kind(other.copied().unwrap_or(b'\r'))),
        }
        let length = parse_integer(&line[1..]).and_then(|length| usize::try_from(length).ok());
        let Limits { argument_bytes_max, request_bytes_max } = self.limits;
        let length = length.filter(|length| *length <= argument_bytes_max).ok_or(ProtocolError::Length)?;
        let (start, bytes) = (self.scan.at + after, length + LINE_END_BYTES);
        let is_too_much = length > STRANGER_ARGUMENT_BYTES_MAX || start + bytes > STRANGER_REQUEST_BYTES_MAX;
        if self.is_of_stranger && is_too_much {
            return Err(ProtocolError::StrangerLength);
        }
        self.scan.is_too_large |= start + bytes > request_bytes_max;
        if !self.scan.is_too_large && start + bytes > SMALL_BYTES_MAX && !self.has_room(start + bytes) {
            self.scan.is_too_large = true;
            self.scan.lacks_room = true;
        }
        if self.scan.is_too_large {
            self.scan.reserved = None;
            self.scan.at = start;
            self.scan.skipped_left = bytes;
            return Ok(Step::Again);
        }
        if start + bytes > input.len() {
            return Ok(Step::Incomplete);
        }
        self.scan.at = start + bytes;
        Ok(self.argument_ends())
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        match &mut self.scan.reserved {
            Some(reserved) => reserved.grow_to(bytes),
            reserved => {
                *reserved = self.room.reserve(bytes);
                reserved.is_some()
            }
        }
    }

    /// Skips bytes of an argument that is not kept.
    fn skip(&mut self, input: &[u8]) -> Step {
        let there = self.scan.skipped_left.min(input.len() - self.scan.at);
        self.scan.at += there;
        self.scan.skipped_left -= there;
        if self.scan.skipped_left > 0 { Step::Incomplete } else { self.argument_ends() }
    }

    fn argument_ends(&mut self) -> Step {
        let left = self.scan.arguments_left.expect("the count was scanned") - 1;
        self.scan.arguments_left = Some(left);
        if left == 0 { Step::Whole(self.scan.at) } else { Step::Again }
    }
}

/// The bytes up to CRLF, and the start of the next line.
fn line(input: &[u8], too_long: ProtocolError) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    match input.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\r') {
        Some(position) if position + 1 < input.len() => Ok(Some((&input[..position], position + 2))),
        None if input.len() > LINE_BYTES_MAX => Err(too_long),
        _ => Ok(None),
    }
}

/// Redis's limit of a line.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Redis's limit of a request's arguments.
const ARGUMENTS_MAX: usize = 1024 * 1024;
/// Redis's limit of the arguments of a client that has to log in.
const STRANGER_ARGUMENTS_MAX: usize = 10;
/// Redis's limit of an argument's bytes of such a client.
const STRANGER_ARGUMENT_BYTES_MAX: usize = 16 * 1024;
/// Maximum bytes of a request of such a client.
const STRANGER_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A request up to this size needs no room of those for large ones.
const SMALL_BYTES_MAX: usize = 1024 * 1024;
/// `$0`, CRLF, CRLF.
const ARGUMENT_BYTES_MIN: usize = 6;
/// CRLF.
const LINE_END_BYTES: usize = 2;

#[cfg(test)]
mod tests;
