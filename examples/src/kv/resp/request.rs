//! Finds requests in what a client sent.
//!
//! The scan goes over each byte once, however the bytes are cut into reads, holds every length against its limit before
//! anything is reserved for it, and words its complaints as Redis does. A request that is too large for the store, and
//! not for the protocol, is read without being kept, so that its client gets an answer on a connection that goes on. A
//! request that is whole is then decoded by `redis-protocol`, in place.

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use crate::kv::store::parse_integer;

use super::inline;

/// How much a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes an argument may have. A request with a longer one is read to its end and refused.
    pub argument_bytes_max: usize,
    /// Bytes a whole request may have. A longer one is read to its end and refused.
    pub request_bytes_max: usize,
}

/// Why a client's bytes are no request. The connection is closed after the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is not a number, or more than a request may have.
    #[error("invalid multibulk length")]
    Count,
    /// The length of an argument is not a number, or more than one may have.
    #[error("invalid bulk length")]
    Length,
    /// Something else stands where an argument should begin.
    #[error("expected '$', got '{}'", char::from(*.0))]
    Kind(u8),
    /// A line without end.
    #[error("too big inline request")]
    InlineTooLong,
    /// A count without end.
    #[error("too big mbulk count string")]
    CountTooLong,
    /// A length without end.
    #[error("too big bulk count string")]
    LengthTooLong,
    /// Quotes of an inline command.
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
}

impl Request<'_> {
    /// The arguments as slices.
    pub fn arguments(&self) -> Vec<&[u8]> {
        match self {
            Self::Array(arguments) => arguments.clone(),
            Self::Inline(arguments) => arguments.iter().map(Vec::as_slice).collect(),
            Self::TooLarge => Vec::new(),
        }
    }
}

/// Where in the input the scan stands. The same input, only ever longer, is given to each call until [`consume`] says
/// that its first request is done with. What [`pass_over`] counts is taken from its front meanwhile.
///
/// [`consume`]: Self::consume
/// [`pass_over`]: Self::pass_over
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    /// Bytes of the request that have been scanned.
    at: usize,
    /// Arguments that are still to come, once their number is known.
    arguments_left: Option<usize>,
    /// The first request exceeds the limits: its bytes are not kept.
    is_too_large: bool,
    /// Bytes of an argument of such a request that are still to come.
    skipped_left: usize,
    /// Bytes of the first request, once it is whole.
    whole: Option<usize>,
}

/// What a step of the scan found.
enum Step {
    Again,
    Incomplete,
    Whole(usize),
}

impl RequestReader {
    /// A reader at the start of the input.
    pub fn new(limits: Limits) -> Self {
        Self { limits, at: 0, arguments_left: None, is_too_large: false, skipped_left: 0, whole: None }
    }

    /// The first request of the input, or `None` while it is not whole. Asked again it gives the same one.
    ///
    /// # Errors
    /// When the input is no request, or asks for more than the protocol allows.
    pub fn request<'a>(&mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, ProtocolError> {
        let Some(length) = self.scan(input)? else {
            return Ok(None);
        };
        if self.is_too_large {
            return Ok(Some(Request::TooLarge));
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
        self.whole.expect("only of a request that was given")
    }

    /// Ends the request that [`request`](Self::request) gave, and returns its length: what follows is the next one's.
    ///
    /// # Panics
    /// When there is no such request.
    pub fn consume(&mut self) -> usize {
        let length = self.whole.take().expect("only a request that was given is consumed");
        *self = Self::new(self.limits);
        length
    }

    /// How many bytes at the front of the input belong to a request that is too large, and are to be taken away.
    pub fn pass_over(&mut self) -> usize {
        if self.is_too_large && self.whole.is_none() { std::mem::take(&mut self.at) } else { 0 }
    }

    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        while self.whole.is_none() {
            let step = match (self.arguments_left, input.first()) {
                (Some(_), _) if self.skipped_left > 0 => self.skip(input),
                (Some(_), _) => self.scan_argument(input)?,
                (None, None) => Step::Incomplete,
                (None, Some(b'*')) => self.scan_count(input)?,
                (None, Some(_)) => self.scan_inline(input)?,
            };
            match step {
                Step::Again => {}
                Step::Incomplete => return Ok(None),
                Step::Whole(length) => self.whole = Some(length),
            }
        }
        Ok(self.whole)
    }

    fn scan_inline(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        match input[self.at..].iter().position(|byte| *byte == b'\n') {
            Some(position) => Ok(Step::Whole(self.at + position + 1)),
            None if input.len() > LINE_BYTES_MAX => Err(ProtocolError::InlineTooLong),
            None => {
                self.at = input.len();
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
            Ok(count) => {
                self.at = after;
                self.is_too_large = count > self.limits.request_bytes_max / ARGUMENT_BYTES_MIN;
                self.arguments_left = Some(count);
                Ok(Step::Again)
            }
        }
    }

    fn scan_argument(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let Some((line, after)) = line(&input[self.at..], ProtocolError::LengthTooLong)? else {
            return Ok(Step::Incomplete);
        };
        match line.first() {
            Some(b'$') => {}
            other => return Err(ProtocolError::Kind(other.copied().unwrap_or(b'\r'))),
        }
        let length = parse_integer(&line[1..]).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= ARGUMENT_BYTES_MAX).ok_or(ProtocolError::Length)?;
        let (start, bytes) = (self.at + after, length + LINE_END_BYTES);
        let Limits { argument_bytes_max, request_bytes_max } = self.limits;
        self.is_too_large |= length > argument_bytes_max || start + bytes > request_bytes_max;
        if self.is_too_large {
            self.at = start;
            self.skipped_left = bytes;
            return Ok(Step::Again);
        }
        if start + bytes > input.len() {
            return Ok(Step::Incomplete);
        }
        self.at = start + bytes;
        Ok(self.argument_ends())
    }

    /// Goes over bytes of an argument that nobody will see.
    fn skip(&mut self, input: &[u8]) -> Step {
        let there = self.skipped_left.min(input.len() - self.at);
        self.at += there;
        self.skipped_left -= there;
        if self.skipped_left > 0 { Step::Incomplete } else { self.argument_ends() }
    }

    fn argument_ends(&mut self) -> Step {
        let left = self.arguments_left.expect("the count was scanned") - 1;
        self.arguments_left = Some(left);
        if left == 0 { Step::Whole(self.at) } else { Step::Again }
    }
}

/// The bytes up to CRLF, and where the next line begins.
fn line(input: &[u8], too_long: ProtocolError) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    match input.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\r') {
        Some(position) if position + 1 < input.len() => Ok(Some((&input[..position], position + 2))),
        None if input.len() > LINE_BYTES_MAX => Err(too_long),
        _ => Ok(None),
    }
}

/// Redis's own limit of a line.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Redis's own limit of a request's arguments.
const ARGUMENTS_MAX: usize = 1024 * 1024;
/// Redis's own limit of an argument's bytes, `proto-max-bulk-len`.
const ARGUMENT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// `$0`, CRLF, CRLF.
const ARGUMENT_BYTES_MIN: usize = 6;
/// CRLF.
const LINE_END_BYTES: usize = 2;

#[cfg(test)]
mod tests;
