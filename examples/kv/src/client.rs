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

    /// Waits for the next answer.
    ///
    /// # Errors
    /// When the connection fails, or the received bytes are not an answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        loop {
            match decode_bytes_mut(&mut self.input) {
                Ok(Some((frame, _, _))) => return Ok(answer(frame)),
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
            let mut piece = [0; 8192];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&piece[..count]),
            }
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
