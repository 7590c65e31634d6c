//! A turn of a connection: takes the answers that are ready, sends, and reads.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::JoinHandle;

use crate::command::Answer;
use crate::connection::{Connection, Reason, Written};
use crate::pubsub;

/// Work that was begun.
pub(super) struct Pending {
    pub(super) slot: u64,
    pub(super) answer: PendingAnswer,
}

pub(super) enum PendingAnswer {
    Write(Pin<Box<dyn Future<Output = Written>>>),
    Read(ReadFuture),
    Scan(JoinHandle<BytesMut>),
    Ask(Pin<Box<dyn Future<Output = pubsub::Answer>>>),
}

pub(super) type ReadFuture = Pin<Box<dyn Future<Output = Result<Answer, Reason>>>>;

/// Takes answers, sends and reads, each as far as possible. Ready if any of them made progress.
pub(super) fn poll_turn<S: AsyncRead + AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    stream: &mut S,
    connection: &mut Connection,
    pending: &mut VecDeque<Pending>,
) -> Poll<io::Result<()>> {
    let mut moved = take_answers(context, connection, pending);
    while !connection.output().is_empty() {
        let Poll::Ready(sent) = Pin::new(&mut *stream).poll_write(context, connection.output()) else {
            break;
        };
        connection.output().advance(sent?);
        moved = true;
    }
    // What was encrypted may still wait for the socket.
    if let Poll::Ready(flushed) = Pin::new(&mut *stream).poll_flush(context) {
        flushed?;
    }
    if connection.wants_input() {
        let expected = connection.input_expected().max(READ_BYTES);
        connection.input().reserve(expected);
        // Some streams clear all of the space that they are offered.
        let mut input = connection.input().limit(READ_BYTES_MAX);
        if let Poll::Ready(read) = pin!(stream.read_buf(&mut input)).poll(context) {
            moved = true;
            if read? == 0 {
                connection.end_input();
            }
        }
    }
    if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// Takes all ready answers up to the first that is missing. Only that one has to wake the task, since replies leave in
/// order.
fn take_answers(context: &mut Context<'_>, connection: &mut Connection, pending: &mut VecDeque<Pending>) -> bool {
    let mut moved = false;
    while let Some(Pending { slot, answer }) = pending.front_mut() {
        match answer {
            PendingAnswer::Write(written) => match written.as_mut().poll(context) {
                Poll::Ready(written) => connection.on_written(*slot, written),
                Poll::Pending => break,
            },
            PendingAnswer::Read(read) => match read.as_mut().poll(context) {
                Poll::Ready(Ok(Answer::Scan(scan))) => {
                    *answer = PendingAnswer::Scan(tokio::task::spawn_blocking(|| scan.run()));
                    continue;
                }
                Poll::Ready(read) => connection.on_read(*slot, read),
                Poll::Pending => break,
            },
            PendingAnswer::Scan(scan) => match Pin::new(scan).poll(context) {
                Poll::Ready(found) => {
                    let found = found.map(|encoded| Answer::Replies { encoded, rest: None });
                    connection.on_read(*slot, found.map_err(|_| Reason::Shutdown));
                }
                Poll::Pending => break,
            },
            PendingAnswer::Ask(asked) => match asked.as_mut().poll(context) {
                Poll::Ready(answer) => connection.on_asked(*slot, answer),
                Poll::Pending => break,
            },
        }
        pending.pop_front();
        moved = true;
    }
    moved
}

pub(super) fn too_late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the client does not {what} in time"))
}

/// Room for one read of a socket.
const READ_BYTES: usize = 16 * 1024;
/// Maximum bytes of one read of a socket.
const READ_BYTES_MAX: usize = 64 * 1024;
