//! Finds requests in what a client sent.
//!
//! The scan goes over each byte once, however the bytes are cut into reads, holds every length against its limit before
//! anything is reserved for it, and words its complaints as Redis does. A request that is whole is then decoded by
//! `redis-protocol`, in place.

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use crate::kv::store::parse_integer;

use super::inline;

/// How much a request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes an argument may have.
    pub argument_bytes_max: usize,
    /// Bytes a whole request may have.
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
    /// The arguments together are more than a request may have.
    #[error("too big request")]
    TooLong,
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
}

impl Request<'_> {
    /// The arguments as slices.
    pub fn arguments(&self) -> Vec<&[u8]> {
        match self {
            Self::Array(arguments) => arguments.clone(),
            Self::Inline(arguments) => arguments.iter().map(Vec::as_slice).collect(),
        }
    }
}

/// Where in the input the scan stands. The same input, only ever longer, is given to each call until [`consume`] says
/// that its first request is done with.
///
/// [`consume`]: Self::consume
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    /// Bytes of the request that have been scanned.
    at: usize,
    /// Arguments that are still to come, once their number is known.
    arguments_left: Option<usize>,
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
        Self { limits, at: 0, arguments_left: None, whole: None }
    }

    /// The first request of the input, or `None` while it is not whole. Asked again it gives the same one.
    ///
    /// # Errors
    /// When the input is no request, or asks for too much.
    pub fn request<'a>(&mut self, input: &'a [u8]) -> Result<Option<Request<'a>>, ProtocolError> {
        let Some(length) = self.scan(input)? else {
            return Ok(None);
        };
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

    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        while self.whole.is_none() {
            let step = match (input.first(), self.arguments_left) {
                (None, _) => Step::Incomplete,
                (Some(b'*'), None) => self.scan_count(input)?,
                (Some(b'*'), Some(_)) => self.scan_argument(input)?,
                (Some(_), _) => self.scan_inline(input)?,
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
        let count_max = self.limits.request_bytes_max / ARGUMENT_BYTES_MIN;
        match usize::try_from(count) {
            Ok(0) | Err(_) => Ok(Step::Whole(after)),
            Ok(count) if count > count_max => Err(ProtocolError::Count),
            Ok(count) => {
                self.at = after;
                self.arguments_left = Some(count);
                Ok(Step::Again)
            }
        }
    }

    fn scan_argument(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let left = self.arguments_left.expect("the count was scanned");
        let Some((line, after)) = line(&input[self.at..], ProtocolError::LengthTooLong)? else {
            return Ok(Step::Incomplete);
        };
        match line.first() {
            Some(b'$') => {}
            other => return Err(ProtocolError::Kind(other.copied().unwrap_or(b'\r'))),
        }
        let length = parse_integer(&line[1..]).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= self.limits.argument_bytes_max).ok_or(ProtocolError::Length)?;
        let end = self.at + after + length + 2;
        if end > self.limits.request_bytes_max {
            return Err(ProtocolError::TooLong);
        }
        if end > input.len() {
            return Ok(Step::Incomplete);
        }
        self.at = end;
        self.arguments_left = Some(left - 1);
        Ok(if left == 1 { Step::Whole(end) } else { Step::Again })
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
/// `$0`, CRLF, CRLF.
const ARGUMENT_BYTES_MIN: usize = 6;

#[cfg(test)]
mod tests;
