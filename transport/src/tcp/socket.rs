//! The sockets of the transport. No other file knows the type of a connection, so that TLS has one place to wrap it.
//!
//! A connection is one [`Socket`] during its handshake. After it, two tasks or threads use it at once, each its own
//! half.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

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
        Ok((Socket(stream), remote))
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(listener)
    }
}

/// A connection in its handshake.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Connects to `address`, which is `host:port`.
    pub(super) async fn connect(address: &str) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self)
    }

    /// Lets written bytes leave at once, even if earlier ones are not acknowledged yet.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.0.set_nodelay(true)
    }

    /// Reads until `bytes` is full.
    pub(super) async fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(bytes).await.map(|_| ())
    }

    /// Writes all of `bytes`.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Tells the other side that nothing more is written.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }

    /// Separates the two directions.
    pub(super) fn into_split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.0.into_split();
        (ReadHalf(read), WriteHalf(write))
    }
}

/// The receiving direction of a connection.
#[derive(Debug)]
pub(super) struct ReadHalf(OwnedReadHalf);

impl ReadHalf {
    /// Waits for bytes, appends them to `buffer` and returns their number; 0 means the end of the stream or a full
    /// buffer. Dropping the future loses nothing.
    pub(super) async fn read_buf(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        self.0.read_buf(buffer).await
    }

    /// Reads and drops bytes until the other side closes.
    pub(super) async fn read_to_close(&mut self) {
        let mut rest = [0; 64];
        while self.0.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// The sending direction of a connection. Dropping it tells the other side that nothing more is written.
#[derive(Debug)]
pub(super) struct WriteHalf(OwnedWriteHalf);

impl WriteHalf {
    /// Waits until the socket accepts bytes again.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Writes as much of `bytes` as the socket accepts, without waiting. Returns the number of bytes.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Like [`WriteHalf::try_write`], for bytes in several slices.
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }
}
