//! The sockets of the transport. No other file knows the type of a connection, or whether it is encrypted.
//!
//! A connection is one [`Socket`] during its handshake. After it, two tasks or threads use it at once, each its own
//! half.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use quorate_protocol::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::tls::{Session, Tls};
use crate::link::Refusal;
use crate::wire::MAGIC;

/// A socket that listens for connections. It is made from a [`TcpListener`].
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at `address`.
    pub(super) async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// The address at which the socket listens.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for a connection. Dropping the future loses none.
    pub(super) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let (stream, remote) = self.0.accept().await?;
        Ok((Socket::plain(stream), remote))
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

/// A connection in its handshake.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// `None` on a connection that is not encrypted.
    session: Option<Session>,
    /// Bytes of the handshake that were decrypted, and not read yet.
    read: BytesMut,
}

impl Socket {
    fn plain(stream: TcpStream) -> Self {
        Self { stream, session: None, read: BytesMut::new() }
    }

    /// Connects to `address`, which is `host:port`.
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self::plain)
    }

    /// Lets written bytes leave at once, even if earlier ones are not acknowledged yet.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Encrypts an accepted connection from here on, if this node encrypts. The refusal of a peer that does not encrypt
    /// is to be answered on the plain connection.
    pub(super) async fn accept_encrypted(&mut self, tls: Option<&Tls>) -> Result<(), Refusal> {
        let Some(tls) = tls else { return Ok(()) };
        let mut first = [0; MAGIC.len()];
        let peeked = self.stream.peek(&mut first).await.map_err(|_| Refusal::HandshakeCut)?;
        if peeked > 0 && MAGIC.starts_with(&first[..peeked]) {
            return Err(Refusal::Unencrypted);
        }
        let session = tls.accept()?;
        self.shake_hands(session).await
    }

    /// Encrypts a dialled connection to a node from here on, if this node encrypts.
    pub(super) async fn dial_encrypted(&mut self, tls: Option<&Tls>, node: NodeId) -> Result<(), Refusal> {
        let Some(tls) = tls else { return Ok(()) };
        let session = tls.dial(node)?;
        self.shake_hands(session).await
    }

    async fn shake_hands(&mut self, session: Session) -> Result<(), Refusal> {
        let cut = |_| Refusal::HandshakeCut;
        let mut bytes = [0; HANDSHAKE_READ_BYTES];
        let done = loop {
            self.stream.write_all(&session.take_output()).await.map_err(cut)?;
            if !session.is_handshaking() {
                break Ok(());
            }
            let count = self.stream.read(&mut bytes).await.map_err(cut)?;
            if count == 0 {
                break Err(Refusal::HandshakeCut);
            }
            if let Err(refusal) = session.receive(&bytes[..count]) {
                break Err(refusal);
            }
        };
        // The other side is told the reason.
        let _ = self.stream.write_all(&session.take_output()).await;
        self.session = Some(session);
        done
    }

    /// Checks that an encrypted peer has the certificate of this node.
    pub(super) fn check_peer(&self, node: NodeId) -> Result<(), Refusal> {
        self.session.as_ref().map_or(Ok(()), |session| session.check_peer(node))
    }

    /// Reads until `bytes` is full.
    pub(super) async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let Some(session) = &self.session else {
            return self.stream.read_exact(bytes).await.map(|_| ());
        };
        let mut raw = [0; HANDSHAKE_READ_BYTES];
        while self.read.len() < bytes.len() {
            self.read.reserve(HANDSHAKE_READ_BYTES);
            match session.read(&mut self.read)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) => {}
                None => {
                    let count = self.stream.read(&mut raw).await?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    session.receive(&raw[..count]).map_err(io::Error::other)?;
                }
            }
        }
        bytes.copy_from_slice(&self.read.split_to(bytes.len()));
        Ok(())
    }

    /// Writes all of `bytes`.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &self.session else {
            return self.stream.write_all(bytes).await;
        };
        while !bytes.is_empty() {
            match session.write(&[IoSlice::new(bytes)], |encrypted| self.stream.try_write(encrypted)) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the other side that nothing more is written.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Separates the two directions.
    pub(super) fn into_split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.stream.into_split();
        let session = self.session.map(Arc::new);
        let read = ReadHalf { stream: read, session: session.clone(), decrypted: self.read };
        (read, WriteHalf { stream: write, session })
    }
}

/// The receiving direction of a connection.
#[derive(Debug)]
pub(super) struct ReadHalf {
    stream: OwnedReadHalf,
    session: Option<Arc<Session>>,
    /// Bytes that came with the handshake.
    decrypted: BytesMut,
}

impl ReadHalf {
    /// Waits for bytes, appends them to `buffer` and returns their number; 0 means the end of the stream or a full
    /// buffer. Dropping the future loses nothing.
    pub(super) async fn read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let Some(session) = &self.session else {
            return self.stream.read_buf(buffer).await;
        };
        if !self.decrypted.is_empty() {
            let count = self.decrypted.len().min(buffer.remaining_mut());
            buffer.put_slice(&self.decrypted.split_to(count));
            return Ok(count);
        }
        loop {
            if let Some(count) = session.read(buffer)? {
                return Ok(count);
            }
            self.stream.readable().await?;
            let mut bytes = [0; READ_BYTES];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Ok(0),
                Ok(count) => session.receive(&bytes[..count]).map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads and drops bytes until the other side closes.
    pub(super) async fn read_to_close(&mut self) {
        let mut rest = [0; 64];
        while self.stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// The sending direction of a connection. Dropping it tells the other side that nothing more is written.
#[derive(Debug)]
pub(super) struct WriteHalf {
    stream: OwnedWriteHalf,
    session: Option<Arc<Session>>,
}

impl WriteHalf {
    /// Waits until the socket accepts bytes again.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Writes as much of `bytes` as the socket accepts, without waiting. Returns the number of bytes. What it did not
    /// accept has to come again, at the front of the next write.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => self.stream.try_write(bytes),
            Some(session) => session.write(&[IoSlice::new(bytes)], |encrypted| self.stream.try_write(encrypted)),
        }
    }

    /// Like [`WriteHalf::try_write`], for bytes in several slices.
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.session {
            None => self.stream.try_write_vectored(slices),
            Some(session) => session.write(slices, |encrypted| self.stream.try_write(encrypted)),
        }
    }
}

/// Bytes that are read at once in a handshake.
const HANDSHAKE_READ_BYTES: usize = 4 << 10;
/// Bytes that are read at once from an encrypted connection.
const READ_BYTES: usize = 16 << 10;
