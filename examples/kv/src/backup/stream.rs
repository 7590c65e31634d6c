//! The body of an answer that a thread writes while the client reads it.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes that a thread writes. The thread waits while the client is slow, and ends when the body is dropped.
#[derive(Debug)]
pub struct Written<G> {
    chunks: Receiver<Bytes>,
    /// Called for each chunk that the client takes.
    progress: G,
}

/// A body of what `write` writes, on a thread of its own. If `write` fails, the body ends early.
///
/// # Errors
/// When the thread cannot be started.
pub fn written<G: Fn()>(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    progress: G,
) -> io::Result<Written<G>> {
    let (sender, chunks) = channel(CHUNKS_MAX);
    thread::Builder::new().name("backup".to_owned()).spawn(move || {
        let mut chunks = ChunkWriter { sender, chunk: BytesMut::new() };
        if let Err(error) = write(&mut chunks).and_then(|()| chunks.flush()) {
            tracing::warn!(%error, "a backup was not written to its end");
        }
    })?;
    Ok(Written { chunks, progress })
}

impl<G: Fn() + Unpin> Body for Written<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = ready!(self.chunks.poll_recv(context));
        (self.progress)();
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Collects what is written into chunks, and waits until there is room for them.
struct ChunkWriter {
    sender: Sender<Bytes>,
    chunk: BytesMut,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = self.chunk.split().freeze();
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A chunk has at least this size, but for the last. It is longer where one value is.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 4;
