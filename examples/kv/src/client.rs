//! A client of one connection that waits for its answers, for the tour and the tests. Not meant to be fast.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::address;
use super::credentials::Stream;
use super::store::parse_integer;

/// A connection to a server that speaks RESP2.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Stream>,
    input: BytesMut,
}

/// An answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A short text such as `OK`.
    Status(String),
    /// An error, its code first.
    Error(String),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(Bytes),
    /// No value.
    Nil,
    /// A list.
    Array(Vec<Answer>),
}

fn open(to: impl ToSocketAddrs, patience: Duration) -> io::Result<TcpStream> {
    let stream = address::connect(to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Client {
    /// Connects; waits at most `patience` for this and for each answer.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn connect(to: impl ToSocketAddrs, patience: Duration) -> io::Result<Self> {
        Ok(Self { stream: Box::new(open(to, patience)?), input: BytesMut::new() })
    }

    /// As [`connect`](Self::connect), to a server that encrypts and has a certificate for this name.
    ///
    /// # Errors
    /// When the server cannot be reached. Whether it is the right one shows at the first answer.
    pub fn connect_encrypted(
        to: impl ToSocketAddrs,
        patience: Duration,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let stream = StreamOwned::new(session, open(to, patience)?);
        Ok(Self { stream: Box::new(stream), input: BytesMut::new() })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When the connection fails. Then it is unknown whether the command took effect.
    pub fn ask(&mut self, command: &[&[u8]]) -> io::Result<Answer> {
        self.send(&[command])?;
        self.receive()
    }

    /// Sends commands without waiting.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, commands: &[&[&[u8]]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for command in commands {
            write!(bytes, "*{}\r\n", command.len())?;
            for argument in *command {
                write!(bytes, "${}\r\n", argument.len())?;
                bytes.extend_from_slice(argument);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.stream.write_all(&bytes)
    }

    /// Takes the first answer of the input. `None` if it is not whole.
    ///
    /// # Errors
    /// When the bytes are not an answer.
    pub fn decode(input: &mut BytesMut) -> io::Result<Option<Answer>> {
        if !is_whole(input)? {
            return Ok(None);
        }
        let decoded = decode_bytes_mut(input);
        let decoded = decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(decoded.map(|(frame, _, _)| answer(frame)))
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// When the connection fails, or the received bytes are not an answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(answer) = Self::decode(&mut self.input)? {
                return Ok(answer);
            }
            let mut piece = [0; 8192];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&piece[..count]),
            }
        }
    }
}

/// Returns true if the bytes begin with a whole answer. The decoder calls itself for each list in a list, so their
/// depth is bounded here.
fn is_whole(bytes: &[u8]) -> io::Result<bool> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    let (mut rest, mut open) = (bytes, Vec::new());
    loop {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return if rest.len() > LINE_BYTES_MAX { refused("a line of an answer does not end") } else { Ok(false) };
        };
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        rest = after;
        let number = line.get(1..).and_then(parse_integer);
        match (line.first(), number.and_then(|number| usize::try_from(number).ok())) {
            // The decoder takes numbers such as `+1` and `01`, which Redis does not write.
            (Some(b'*' | b'$'), None) if number != Some(-1) => return refused("a length in an answer is no number"),
            (Some(b'*'), Some(1..)) if open.len() == DEPTH_MAX => return refused("an answer is nested too deeply"),
            (Some(b'*'), Some(count @ 1..)) => {
                open.push(count);
                continue;
            }
            (Some(b'$'), Some(length)) if length > BULK_BYTES_MAX => return refused("a part of an answer is too long"),
            (Some(b'$'), Some(length)) => match rest.get(length + 2..) {
                Some(after) => rest = after,
                None => return Ok(false),
            },
            // All else is a line, or malformed.
            _ => {}
        }
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return Ok(true);
        }
    }
}

fn answer(frame: BytesFrame) -> Answer {
    match frame {
        BytesFrame::SimpleString(text) => Answer::Status(String::from_utf8_lossy(&text).into_owned()),
        BytesFrame::Error(text) => Answer::Error(text.to_string()),
        BytesFrame::Integer(number) => Answer::Integer(number),
        BytesFrame::BulkString(bytes) => Answer::Bulk(bytes),
        BytesFrame::Array(frames) => Answer::Array(frames.into_iter().map(answer).collect()),
        BytesFrame::Null => Answer::Nil,
    }
}

/// Maximum depth of lists in lists.
const DEPTH_MAX: usize = 32;
/// Redis's limit of a string.
const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Maximum bytes of a line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8]) -> io::Result<Option<Answer>> {
        Client::decode(&mut BytesMut::from(text))
    }

    /// The decoder would use up the stack.
    #[test]
    fn answers_nested_without_end_are_refused() {
        let error = decode(&b"*1\r\n".repeat(200_000)).unwrap_err();
        assert_eq!(error.to_string(), "an answer is nested too deeply");
        for other in ["*+1\r\n", "*01\r\n", "$+1\r\n", "*\r\n", "*-2\r\n"] {
            let error = decode(&other.as_bytes().repeat(100_000)).unwrap_err();
            assert_eq!(error.to_string(), "a length in an answer is no number", "{other}");
        }
        let deep = [&b"*1\r\n".repeat(DEPTH_MAX)[..], b":7\r\n"].concat();
        let mut answer = decode(&deep).unwrap().unwrap();
        while let Answer::Array(mut items) = answer {
            answer = items.remove(0);
        }
        assert_eq!(answer, Answer::Integer(7));
    }

    #[test]
    fn an_answer_is_taken_once_it_is_whole() {
        let text = b"*3\r\n$3\r\na\r\n\r\n*0\r\n$-1\r\n+next\r\n";
        let mut input = BytesMut::new();
        for byte in &text[..text.len() - 7] {
            assert_eq!(Client::decode(&mut input).unwrap(), None);
            input.extend_from_slice(&[*byte]);
        }
        input.extend_from_slice(b"+next\r\n");
        let expected = Answer::Array(vec![Answer::Bulk("a\r\n".into()), Answer::Array(Vec::new()), Answer::Nil]);
        assert_eq!(Client::decode(&mut input).unwrap(), Some(expected));
        assert_eq!(Client::decode(&mut input).unwrap(), Some(Answer::Status("next".to_owned())));
        assert!(decode(b"$536870913\r\n").is_err() && decode(&vec![b'+'; LINE_BYTES_MAX + 2]).is_err());
        assert!(decode(b"!3\r\nabc\r\n").is_err());
    }
}
