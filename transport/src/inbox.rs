//! The reading end of channels.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::claims::Claim;
use crate::queue::{Incoming, Queue};

/// The reading end of one or several channels: one queue and one waker, for one reader.
///
/// It is bounded in frames and bytes ([`Limits`](crate::Limits)). When it is full, the newest frames are dropped and
/// counted. Link events have a queue of their own and are read first. Dropping the inbox releases its channels.
#[derive(Debug)]
pub struct Inbox {
    queue: Arc<Queue>,
    _claim: Claim,
}

impl Inbox {
    pub(crate) fn new(queue: Arc<Queue>, claim: Claim) -> Self {
        Self { queue, _claim: claim }
    }

    /// Takes the next item, if there is one.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.queue.pop()
    }

    /// Like [`Inbox::recv`], for hand-written futures. Only the waker of the last call is woken.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.queue.poll_pop(context)
    }

    /// Waits for the next item. Returns `None` once the transport is shut down and the inbox is empty. Needs no
    /// runtime. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Incoming> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}
